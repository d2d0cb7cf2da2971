//! Running a function under a lock.

use crate::error::Result;
use crate::recipes::guard::Guard;
use crate::recipes::lock::{Lock, RLock};
use crate::recipes::semaphore::BoundedSemaphore;

mod sealed {
    use super::{Guard, Result};

    pub trait Sealed {
        fn enter(&self) -> Result<Guard>;
    }
}

/// Any of the locks: [`Lock`], [`RLock`] or [`BoundedSemaphore`].
///
/// ```
/// use firncache::recipes::{AnyLock, Barrier};
///
/// fn guarded<L: AnyLock>(lock: L) -> firncache::Result<i32> {
///     Barrier::new(lock).call(|| 42)
/// }
/// # let cache = firncache::Cache::temporary()?;
/// assert_eq!(guarded(firncache::recipes::RLock::new(&cache, "answer"))?, 42);
/// # Ok::<(), firncache::Error>(())
/// ```
pub trait AnyLock: sealed::Sealed {}

macro_rules! any_lock {
    ($($lock:ty),*) => {$(
        impl AnyLock for $lock {}

        impl sealed::Sealed for $lock {
            fn enter(&self) -> Result<Guard> {
                self.acquire()
            }
        }
    )*};
}

any_lock!(Lock, RLock, BoundedSemaphore);

/// Lets through one call at a time, in all processes; with a semaphore, so many.
///
/// ```
/// use firncache::{Cache, recipes::{Barrier, Lock}};
///
/// let cache = Cache::temporary()?;
/// let migrate = Barrier::new(Lock::new(&cache, "migrate"));
/// let tables = migrate.call(|| 7)?; // nobody else is in here meanwhile
/// assert_eq!(tables, 7);
/// # Ok::<(), firncache::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Barrier<L> {
    lock: L,
}

impl<L: AnyLock> Barrier<L> {
    /// Makes a barrier of a lock, which touches nothing yet.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::recipes::{Barrier, BoundedSemaphore};
    /// let barrier = Barrier::new(BoundedSemaphore::new(&cache, "builds", 2));
    /// barrier.call(|| ())?;
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn new(lock: L) -> Barrier<L> {
        Barrier { lock }
    }

    /// Runs a function while the lock is held, and gives what it gives. Its panic gives the lock
    /// back.
    ///
    /// # Errors
    ///
    /// Those of acquiring the lock. `function` has not been run then.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::recipes::{Barrier, Lock};
    /// assert_eq!(Barrier::new(Lock::new(&cache, "sum")).call(|| 1 + 1)?, 2);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn call<R>(&self, function: impl FnOnce() -> R) -> Result<R> {
        let _guard = self.lock.enter()?;
        Ok(function())
    }
}
