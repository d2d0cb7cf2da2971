//! Semaphores: so many at a time, in all processes.

use std::time::Duration;

use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_buf::ToKey;
use crate::recipes::guard::{Guard, Held, Name};

const SEMAPHORE: u8 = b'S';

/// A semaphore: so many permits, shared by all threads of all processes that share the cache.
///
/// Permits that are given back go to those who have waited longest. There are never more than so
/// many, as only a [`Guard`] can give one back. Every use costs as many steps as permits are taken,
/// so it is for dozens, not for many thousands.
///
/// ```
/// use firncache::{Cache, recipes::BoundedSemaphore};
///
/// let cache = Cache::temporary()?;
/// let connections = BoundedSemaphore::new(&cache, "connections", 2);
/// let (one, two) = (connections.acquire()?, connections.acquire()?);
/// assert!(connections.try_acquire()?.is_none());
/// drop(one);
/// assert!(connections.try_acquire()?.is_some());
/// # Ok::<(), firncache::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BoundedSemaphore(Held);

impl BoundedSemaphore {
    /// Makes a semaphore of `permits`, which touches nothing yet. All that use the key must agree
    /// about the number.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let workers = firncache::recipes::BoundedSemaphore::new(&cache, "workers", 4);
    /// assert!(workers.try_acquire()?.is_some());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn new(cache: &Cache, key: impl ToKey, permits: u32) -> BoundedSemaphore {
        let name = Name::new(SEMAPHORE, &key);
        BoundedSemaphore(Held { cache: cache.clone(), name, limit: permits, is_reentrant: false })
    }

    /// Waits for a permit, and takes it. A thread can have several.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`](crate::recipes::Lock::acquire), the first if this thread has all permits
    /// already; [`ErrorKind::Setting`] if there are no permits, or if others use the key with
    /// another number of them.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let workers = firncache::recipes::BoundedSemaphore::new(&cache, "workers", 4);
    /// let _permit = workers.acquire()?;
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn acquire(&self) -> Result<Guard> {
        self.checked()?.acquire()
    }

    /// Takes a permit if there is one, without waiting. Those of dead processes are there again.
    ///
    /// # Errors
    ///
    /// As [`BoundedSemaphore::acquire`], but for the first two.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let workers = firncache::recipes::BoundedSemaphore::new(&cache, "workers", 1);
    /// let permit = workers.try_acquire()?;
    /// assert!(permit.is_some() && workers.try_acquire()?.is_none());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn try_acquire(&self) -> Result<Option<Guard>> {
        self.checked()?.acquire_timeout(Duration::ZERO)
    }

    /// Waits for a permit, but no longer than so; `None` if there was none until then.
    ///
    /// # Errors
    ///
    /// As [`BoundedSemaphore::acquire`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let workers = firncache::recipes::BoundedSemaphore::new(&cache, "workers", 4);
    /// assert!(workers.acquire_timeout(std::time::Duration::from_secs(1))?.is_some());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn acquire_timeout(&self, patience: Duration) -> Result<Option<Guard>> {
        self.checked()?.acquire_timeout(patience)
    }

    fn checked(&self) -> Result<&Held> {
        if self.0.limit > 0 {
            return Ok(&self.0);
        }
        Err(Error::new(
            ErrorKind::Setting,
            "a semaphore without permits lets nobody in: give it one at least",
        ))
    }
}
