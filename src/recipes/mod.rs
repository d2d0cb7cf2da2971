//! What can be made of a cache that processes share: locks, semaphores, averages, throttles.
//!
//! ```text
//! Lock RLock BoundedSemaphore   who may go on: one thread, one thread several times, so many
//! Barrier                       one call of a function at a time
//! Throttle                      so many calls in a time
//! Averager                      a mean that many add to
//! memoize_stampede              results that are computed anew before they expire
//! ```
//!
//! Constructors touch nothing. What is held belongs to a thread of a process, and is given back when
//! its [`Guard`] is dropped or the process ends, however it ends: by `kill -9`, the next one that
//! waits goes on within a twentieth of a second. (A thread that ends without dropping its guard,
//! because that was given to `std::mem::forget`, holds on until its process ends.) Those who wait
//! sleep, are woken when it is their turn, and have their turns in the order in which they came.
//!
//! None of this is stored among the keys of the cache, so that nothing evicts it, no iteration shows
//! it, and `clear` leaves it alone; the [`Averager`]'s key is an ordinary one. It is not part of
//! transactions: a lock that is taken inside one stays taken when that is rolled back.
//!
//! ```
//! use firncache::{Cache, recipes::Lock};
//!
//! let cache = Cache::temporary()?;
//! let lock = Lock::new(&cache, "report");
//! let guard = lock.acquire()?;
//! assert!(lock.try_acquire().is_ok_and(|other| other.is_none())); // it is taken
//! drop(guard);
//! assert!(lock.try_acquire()?.is_some());
//! # Ok::<(), firncache::Error>(())
//! ```
//!
//! # Locks and transactions
//!
//! A transaction holds the writer lock of the cache. Take locks before it begins: a thread that
//! waits for a lock inside a transaction may wait for somebody who waits for the transaction. Such
//! a wait ends after the [timeout](crate::Options::timeout) of the handle, with
//! [`ErrorKind::Timeout`](crate::ErrorKind::Timeout).

mod averager;
mod barrier;
mod guard;
mod lock;
mod semaphore;
mod stampede;
mod throttle;

pub use crate::recipes::averager::Averager;
pub use crate::recipes::barrier::{AnyLock, Barrier};
pub use crate::recipes::guard::Guard;
pub use crate::recipes::lock::{Lock, RLock};
pub use crate::recipes::semaphore::BoundedSemaphore;
pub use crate::recipes::stampede::memoize_stampede;
pub use crate::recipes::throttle::Throttle;
