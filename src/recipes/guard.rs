//! What the locks have in common: a name in a cache, acquiring it, and the guard.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::cache::Cache;
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_buf::{KeyBuf, ToKey};
use crate::holds::queue::{Answer, Ask, Hold, Release};

/// A name of a recipe: its kind and the user's key. A key that is refused is reported at its use.
#[derive(Clone)]
pub(crate) struct Name(Result<Vec<u8>, String>);

impl Name {
    pub(crate) fn new(kind: u8, key: &impl ToKey) -> Name {
        Name(match KeyBuf::of(key) {
            Ok(key) => Ok([&[kind], key.as_bytes()].concat()),
            Err(error) => Err(error.to_string()),
        })
    }

    pub(crate) fn bytes(&self) -> Result<&[u8]> {
        self.0.as_deref().map_err(|why| Error::key(why.as_str()))
    }
}

/// Something that can be held, in a cache.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) cache: Cache,
    pub(crate) name: Name,
    pub(crate) limit: u32,
    pub(crate) is_reentrant: bool,
}

impl Held {
    /// Waits for as long as it takes, but inside a transaction only as long as for the writer lock.
    pub(crate) fn acquire(&self) -> Result<Guard> {
        let limit = self.cache.is_in_transaction().then(|| self.cache.timeout());
        match self.ask(limit)? {
            Asked::Guard(guard) => Ok(guard),
            Asked::Taken(process) => Err(self.timed_out(process)),
        }
    }

    pub(crate) fn acquire_timeout(&self, patience: Duration) -> Result<Option<Guard>> {
        Ok(match self.ask(Some(patience))? {
            Asked::Guard(guard) => Some(guard),
            Asked::Taken(_) => None,
        })
    }

    fn ask(&self, patience: Option<Duration>) -> Result<Asked> {
        let ask = Ask {
            name: self.name.bytes().map_err(|error| error.at(self.cache.directory()))?,
            limit: self.limit,
            is_reentrant: self.is_reentrant,
            patience,
            timeout: self.cache.timeout(),
        };
        loop {
            return Ok(match self.cache.holds()?.acquire(&ask)? {
                Answer::Held(hold) => Asked::Guard(Guard::new(&self.cache, hold)),
                Answer::Taken(process) => Asked::Taken(process),
                Answer::Own => return Err(self.own()),
                // The record was lost; there is a queue anew.
                Answer::Dismissed => continue,
            });
        }
    }

    fn own(&self) -> Error {
        let what = match self.limit {
            1 => {
                "this thread holds it already, and would wait for itself: drop the other guard \
                 first, or use an RLock"
            }
            _ => {
                "this thread has all permits already, and would wait for itself: drop one of its \
                 guards first, or have more permits"
            }
        };
        Error::new(ErrorKind::Unsupported, what).at(self.cache.directory())
    }

    fn timed_out(&self, process: Option<u32>) -> Error {
        let who = process.map_or("another".to_owned(), |process| format!("process {process}"));
        Error::new(
            ErrorKind::Timeout,
            format!(
                "the lock was not free within {} ms, and inside a transaction it is not waited for \
                 any longer: {who} holds it; take the lock before the transaction begins",
                self.cache.timeout().as_millis()
            ),
        )
        .at(self.cache.directory())
    }
}

enum Asked {
    Guard(Guard),
    Taken(Option<u32>),
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("directory", &self.cache.directory()).finish_non_exhaustive()
    }
}

/// Holds a lock, or a permit of a semaphore, until it is dropped.
///
/// It belongs to the thread that acquired it and cannot be sent to another. In the child of a fork
/// it does nothing: the parent goes on holding.
///
/// ```
/// # let cache = firncache::Cache::temporary()?;
/// let lock = firncache::recipes::Lock::new(&cache, "report");
/// {
///     let _guard = lock.acquire()?;
///     // Nobody else is here now.
/// }
/// assert!(lock.try_acquire()?.is_some());
/// # Ok::<(), firncache::Error>(())
/// ```
///
/// ```compile_fail
/// # let cache = firncache::Cache::temporary().unwrap();
/// let guard = firncache::recipes::Lock::new(&cache, "report").acquire().unwrap();
/// std::thread::spawn(move || drop(guard)); // cannot be sent between threads
/// ```
#[must_use = "the lock is given back when the guard is dropped"]
pub struct Guard {
    cache: Cache,
    /// Present until it is given back.
    hold: Option<Hold>,
    /// Of one thread.
    thread: PhantomData<*const ()>,
}

impl Guard {
    fn new(cache: &Cache, hold: Hold) -> Guard {
        Guard { cache: cache.clone(), hold: Some(hold), thread: PhantomData }
    }

    /// Gives back what is held, as dropping the guard does; tells whether it was held still. It is
    /// not in the child of a fork, nor if the records of the locks were lost.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Full`], where a full disk has no room for handing over a permit of a semaphore
    /// that others hold, too; [`ErrorKind::Io`]. It is then given back with the next use of any lock
    /// of the cache in this process.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let guard = firncache::recipes::Lock::new(&cache, "report").acquire()?;
    /// assert!(guard.release()?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn release(mut self) -> Result<bool> {
        self.give_back()
    }

    fn give_back(&mut self) -> Result<bool> {
        match self.hold.take() {
            Some(hold) => self.cache.holds()?.release(&hold, Release::HandOver),
            None => Ok(false),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Nobody is there to be told; `release` tells.
        let _ = self.give_back();
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("directory", &self.cache.directory()).finish_non_exhaustive()
    }
}
