//! Locks: one thread at a time, in all processes.

use std::time::Duration;

use crate::cache::Cache;
use crate::error::Result;
use crate::format::key_buf::ToKey;
use crate::recipes::guard::{Guard, Held, Name};

const LOCK: u8 = b'L';
const RE_ENTRANT: u8 = b'R';

/// A lock that one thread at a time holds, of all processes that share the cache.
///
/// Locks with equal keys in one cache are one lock; a [`Lock`], an [`RLock`] and a
/// [`BoundedSemaphore`](crate::recipes::BoundedSemaphore) with the same key have nothing to do with
/// each other, nor with what the key stands for in the cache. Cheap to clone.
///
/// ```
/// use firncache::{Cache, recipes::Lock};
///
/// let cache = Cache::temporary()?;
/// let lock = Lock::new(&cache, "import");
/// let _guard = lock.acquire()?;
/// // No other thread of any process is between here and the end of the guard.
/// # Ok::<(), firncache::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lock(Held);

impl Lock {
    /// Makes a lock, which touches nothing yet.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let lock = firncache::recipes::Lock::new(&cache, ("import", 7));
    /// assert!(lock.try_acquire()?.is_some());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn new(cache: &Cache, key: impl ToKey) -> Lock {
        let name = Name::new(LOCK, &key);
        Lock(Held { cache: cache.clone(), name, limit: 1, is_reentrant: false })
    }

    /// Waits until the lock is free, and takes it. Those who wait have it in the order in which
    /// they came. A free lock costs about a microsecond; waiting costs no processor time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if this thread holds it already;
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) inside a transaction, where it is waited
    /// for no longer than the handle's [timeout](crate::Options::timeout);
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly); [`ErrorKind::Key`](crate::ErrorKind::Key)
    /// for what cannot be a key; [`ErrorKind::Full`](crate::ErrorKind::Full).
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let lock = firncache::recipes::Lock::new(&cache, "import");
    /// let guard = lock.acquire()?;
    /// assert!(lock.acquire().is_err()); // this thread would wait for itself
    /// # drop(guard);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn acquire(&self) -> Result<Guard> {
        self.0.acquire()
    }

    /// Takes the lock if it is free, without waiting. One whose holder is dead is free.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`], but for the first two.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let lock = firncache::recipes::Lock::new(&cache, "import");
    /// let guard = lock.try_acquire()?;
    /// assert!(guard.is_some() && lock.try_acquire()?.is_none());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn try_acquire(&self) -> Result<Option<Guard>> {
        self.0.acquire_timeout(Duration::ZERO)
    }

    /// Waits for the lock, but no longer than so; `None` if it was not free until then.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let lock = firncache::recipes::Lock::new(&cache, "import");
    /// assert!(lock.acquire_timeout(std::time::Duration::from_secs(1))?.is_some());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn acquire_timeout(&self, patience: Duration) -> Result<Option<Guard>> {
        self.0.acquire_timeout(patience)
    }
}

/// A lock that the thread which holds it can take again: it is free when every guard is dropped.
///
/// Apart from that, as [`Lock`].
///
/// ```
/// use firncache::{Cache, recipes::RLock};
///
/// let cache = Cache::temporary()?;
/// let lock = RLock::new(&cache, "tree");
/// let outer = lock.acquire()?;
/// let inner = lock.acquire()?; // a function that was called meanwhile, say
/// drop(outer);
/// // It is still held.
/// drop(inner);
/// # Ok::<(), firncache::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RLock(Held);

impl RLock {
    /// Makes a lock, which touches nothing yet.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let lock = firncache::recipes::RLock::new(&cache, "tree");
    /// assert!(lock.try_acquire()?.is_some());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn new(cache: &Cache, key: impl ToKey) -> RLock {
        let name = Name::new(RE_ENTRANT, &key);
        RLock(Held { cache: cache.clone(), name, limit: 1, is_reentrant: true })
    }

    /// Waits until the lock is free or this thread's own, and takes it.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`], but for the first.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let lock = firncache::recipes::RLock::new(&cache, "tree");
    /// let guards = (lock.acquire()?, lock.acquire()?);
    /// # drop(guards);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn acquire(&self) -> Result<Guard> {
        self.0.acquire()
    }

    /// Takes the lock if it is free or this thread's own, without waiting.
    ///
    /// # Errors
    ///
    /// As [`Lock::try_acquire`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let lock = firncache::recipes::RLock::new(&cache, "tree");
    /// let _guard = lock.acquire()?;
    /// assert!(lock.try_acquire()?.is_some());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn try_acquire(&self) -> Result<Option<Guard>> {
        self.0.acquire_timeout(Duration::ZERO)
    }

    /// Waits for the lock, but no longer than so; `None` if another held it until then.
    ///
    /// # Errors
    ///
    /// As [`RLock::acquire`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let lock = firncache::recipes::RLock::new(&cache, "tree");
    /// assert!(lock.acquire_timeout(std::time::Duration::from_secs(1))?.is_some());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn acquire_timeout(&self, patience: Duration) -> Result<Option<Guard>> {
        self.0.acquire_timeout(patience)
    }
}
