//! Means that many processes add to.

use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::format::key::Key;
use crate::format::key_buf::{KeyBuf, ToKey};

/// A running mean under a key of the cache, which all processes can add to.
///
/// It is stored as sum and number, `(f64, u64)`, under that very key, where it can be read, deleted
/// and evicted like any other: with [`Eviction::None`](crate::Eviction) it is not.
///
/// ```
/// use firncache::{Cache, recipes::Averager};
///
/// let cache = Cache::temporary()?;
/// let latency = Averager::new(&cache, "latency");
/// latency.add(3.0)?;
/// latency.add(5.0)?;
/// assert_eq!(latency.get()?, Some(4.0));
/// # Ok::<(), firncache::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Averager {
    cache: Cache,
    /// Decoded anew at each use; a key that is refused is reported then.
    key: Result<Key, String>,
}

impl Averager {
    /// Makes a mean, which touches nothing yet.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// assert_eq!(firncache::recipes::Averager::new(&cache, "latency").get()?, None);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn new(cache: &Cache, key: impl ToKey) -> Averager {
        let key = KeyBuf::of(&key).and_then(|key| Key::decode(key.as_bytes()));
        Averager { cache: cache.clone(), key: key.map_err(|error| error.to_string()) }
    }

    /// Adds a number; of several that add at once, none is lost. Within a transaction of this thread it
    /// is part of that. A sum that would leave the range of `f64` stays at its end. Costs about one read and one [`Cache::set`].
    ///
    /// # Errors
    ///
    /// As [`Cache::set`]; [`ErrorKind::Codec`] if the key holds something else;
    /// [`ErrorKind::Overflow`] for NaN and infinities, which would spoil the mean for ever.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let latency = firncache::recipes::Averager::new(&cache, "latency");
    /// latency.add(2.5)?;
    /// assert_eq!(cache.get("latency")?, Some((2.5, 1_u64)));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn add(&self, value: f64) -> Result<()> {
        let key = self.key()?;
        if !value.is_finite() {
            let what = format!("cannot add {value} to a mean: add finite numbers only");
            return Err(Error::new(ErrorKind::Overflow, what).at(self.cache.directory()));
        }
        self.cache.update(key, |old: Option<(f64, u64)>| {
            let (sum, count) = old.unwrap_or_default();
            ((sum + value).clamp(f64::MIN, f64::MAX), count.saturating_add(1))
        })
    }

    /// Gives the mean; `None` if nothing was added.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let latency = firncache::recipes::Averager::new(&cache, "latency");
    /// latency.add(2.0)?;
    /// latency.add(3.0)?;
    /// assert_eq!(latency.get()?, Some(2.5));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn get(&self) -> Result<Option<f64>> {
        Ok(self.cache.get(self.key()?)?.and_then(mean))
    }

    /// Gives the mean and begins anew, so that nothing is counted twice or left out.
    ///
    /// # Errors
    ///
    /// As [`Cache::pop`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let latency = firncache::recipes::Averager::new(&cache, "latency");
    /// latency.add(2.0)?;
    /// assert_eq!((latency.pop()?, latency.get()?), (Some(2.0), None));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn pop(&self) -> Result<Option<f64>> {
        Ok(self.cache.pop(self.key()?)?.and_then(mean))
    }

    fn key(&self) -> Result<&Key> {
        let refused = |why: &String| Error::key(why.as_str()).at(self.cache.directory());
        self.key.as_ref().map_err(refused)
    }
}

fn mean((sum, count): (f64, u64)) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}
