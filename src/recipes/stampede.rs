//! Results that are computed anew before they expire.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::memoize::Memoized;

/// Makes a function whose results are kept for a time, and computed anew shortly before it is over,
/// so that nobody ever has to wait for one that has just expired.
///
/// By XFetch (Vattani, Chierichetti, Lowenstein 2015): each call draws a number, and the nearer the
/// expiry and the longer the last computation took, the likelier it is to compute. At most one call
/// at a time does, across processes: it computes in its own thread and gives the new result, while
/// all other calls go on with the old one and never wait. (There is no thread in the background. Who
/// wants none of its calls to take long calls the function now and then from a thread of its own.)
/// Only where there is no result at all, or none any more, the others wait for it, as in
/// [`Cache::memoize`].
///
/// `beta` is how early: 1.0 is about as long before the expiry as computing takes, more is earlier,
/// and 0 or NaN is never. Results are not shared with those of [`Cache::memoize`] under the same
/// name, as they are kept together with the seconds that they took.
///
/// ```
/// use std::time::Duration;
/// use firncache::{Cache, recipes::memoize_stampede};
///
/// let cache = Cache::temporary()?;
/// let day = Duration::from_secs(86_400);
/// let front_page = memoize_stampede(&cache, "front page", day, 1.0, |language: &str| {
///     format!("<html lang={language}>")
/// });
/// assert_eq!(front_page.call("la")?, "<html lang=la>");
/// # Ok::<(), firncache::Error>(())
/// ```
pub fn memoize_stampede<A, V>(
    cache: &Cache,
    name: &str,
    expire: Duration,
    beta: f64,
    function: impl Fn(&A) -> V + Send + Sync + 'static,
) -> Memoized<A, V>
where
    A: Serialize + ?Sized,
    V: Serialize + DeserializeOwned,
{
    Memoized::early(cache, name, expire, beta, Arc::new(function))
}
