//! Throttles: so many calls in a time, in all processes.

use std::time::Duration;

use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_buf::ToKey;
use crate::holds::turns::Rate;
use crate::recipes::guard::Name;

const THROTTLE: u8 = b'T';
/// No time is longer: 146 years. Four of them can be added up.
const MOST_NS: u64 = u64::MAX / 4;

/// A leaky bucket: `count` calls in each `per`, of all processes that share the cache together.
///
/// After a pause as long as `per`, `count` calls go at once; from then on one in each `per / count`.
/// Newcomers join the others' count and do not begin anew. Time is that of the machine, which nobody
/// can turn; a new boot begins with an empty bucket.
///
/// ```
/// use std::time::Duration;
/// use firncache::{Cache, recipes::Throttle};
///
/// let cache = Cache::temporary()?;
/// let requests = Throttle::new(&cache, "requests", 2, Duration::from_secs(60))?;
/// assert!(requests.try_acquire()? && requests.try_acquire()?);
/// assert!(!requests.try_acquire()?); // the next one goes in half a minute
/// # Ok::<(), firncache::Error>(())
/// ```
#[derive(Clone)]
pub struct Throttle {
    cache: Cache,
    name: Name,
    rate: Rate,
}

impl Throttle {
    /// Makes a throttle, which touches nothing yet. All that use the name should agree about the
    /// rate; each goes by its own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Setting`] for a rate of no calls, or of more than one in a nanosecond.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::recipes::Throttle;
    /// let second = std::time::Duration::from_secs(1);
    /// assert!(Throttle::new(&cache, "requests", 10, second).is_ok());
    /// assert!(Throttle::new(&cache, "requests", 0, second).is_err());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn new(cache: &Cache, name: impl ToKey, count: u32, per: Duration) -> Result<Throttle> {
        let per_ns = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX).min(MOST_NS);
        let step_ns = per_ns.checked_div(count.into()).filter(|step_ns| *step_ns > 0);
        let step_ns = step_ns.ok_or_else(|| {
            Error::new(
                ErrorKind::Setting,
                format!(
                    "a throttle cannot let through {count} calls in {per:?}: give it one call \
                         at least, and a nanosecond for each"
                ),
            )
        })?;
        let name = Name::new(THROTTLE, &name);
        Ok(Throttle { cache: cache.clone(), name, rate: Rate { per_ns, step_ns } })
    }

    /// Takes a turn, and sleeps until it has come. Turns come in the order of the calls. One whose
    /// process dies before it came is lost.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ReadOnly`]; [`ErrorKind::Key`] for what cannot be a name; [`ErrorKind::Timeout`]
    /// if the lock of the records is not had in the handle's time; [`ErrorKind::Full`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::recipes::Throttle;
    /// let requests = Throttle::new(&cache, "requests", 100, std::time::Duration::from_secs(1))?;
    /// requests.acquire()?;
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn acquire(&self) -> Result<()> {
        if let Some(wait) = self.take(Duration::MAX)?.filter(|wait| !wait.is_zero()) {
            std::thread::sleep(wait);
        }
        Ok(())
    }

    /// Takes a turn if it is now; false if it is not, and nothing is taken.
    ///
    /// # Errors
    ///
    /// As [`Throttle::acquire`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::recipes::Throttle;
    /// let requests = Throttle::new(&cache, "requests", 1, std::time::Duration::from_secs(60))?;
    /// assert_eq!((requests.try_acquire()?, requests.try_acquire()?), (true, false));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn try_acquire(&self) -> Result<bool> {
        Ok(self.take(Duration::ZERO)?.is_some())
    }

    /// Waits for a turn, then runs a function and gives what it gives.
    ///
    /// # Errors
    ///
    /// As [`Throttle::acquire`]. `function` has not been run then.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::recipes::Throttle;
    /// let requests = Throttle::new(&cache, "requests", 100, std::time::Duration::from_secs(1))?;
    /// assert_eq!(requests.call(|| "response")?, "response");
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn call<R>(&self, function: impl FnOnce() -> R) -> Result<R> {
        self.acquire()?;
        Ok(function())
    }

    fn take(&self, patience: Duration) -> Result<Option<Duration>> {
        let (holds, name) = (self.cache.holds()?, self.name.bytes()?);
        holds.take_turn(name, self.rate, patience, self.cache.timeout())
    }
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttle")
            .field("directory", &self.cache.directory())
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}
