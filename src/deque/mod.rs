//! A double-ended queue on disk: a cache whose items are numbered, with the cache's queue of
//! integers as its order.
//!
//! ```text
//! Deque            index                 0     1     2    ..        -1
//! Cache::push      number of the item    n    n+1   n+2   ..         m         holes where one was
//!                                                                              removed in the middle
//! store            control records       the bounds of n and m; the most items there may be
//! ```
//!
//! Invariants: what a deque knows, it reads from the store each time, so that all handles in all
//! processes agree. Each call is one step for everybody else, except where its documentation says
//! otherwise.
//!
//! ```text
//! options   how one is opened            change    rotate, reverse, copying
//! read      looking at items             compare   equality and order
//! ```

mod change;
mod compare;
mod options;
mod read;

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::queue::{PushOptions, QueueOptions};
use crate::error::{Error, Result};
use crate::format::queue::Side;

pub use crate::deque::options::DequeOptions;
pub use crate::deque::read::DequeIter;

/// A persistent double-ended queue, in a directory, shared by threads and processes.
///
/// Cheap to clone; clones are the same handle. Pushing and popping cost the same however long it
/// is. It never loses an item to a size limit; with [`Deque::set_max_len`] it keeps the newest.
///
/// ```
/// use firncache::Deque;
///
/// let dir = tempfile::tempdir()?;
/// let deque = Deque::<String>::open(dir.path().join("deque"))?;
/// deque.push_back(&"b".to_owned())?;
/// deque.push_back(&"c".to_owned())?;
/// deque.push_front(&"a".to_owned())?;
/// assert_eq!(deque.get(-1)?, Some("c".to_owned()));
/// assert_eq!(deque, ["a".to_owned(), "b".to_owned(), "c".to_owned()]);
/// assert_eq!(deque.pop_front()?, Some("a".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Deque<T> {
    cache: Cache,
    item: PhantomData<fn(T) -> T>,
}

impl<T> Deque<T> {
    /// Opens the deque in a directory, making it if need be.
    ///
    /// # Errors
    ///
    /// See [`Options::open`](crate::Options::open).
    ///
    /// ```
    /// use firncache::Deque;
    /// let dir = tempfile::tempdir()?;
    /// Deque::<i32>::open(dir.path().join("deque"))?.push_back(&1)?;
    /// assert_eq!(Deque::<i32>::open(dir.path().join("deque"))?.len()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(directory: impl AsRef<Path>) -> Result<Deque<T>> {
        Deque::options().open(directory)
    }

    /// Opens a deque in a new temporary directory, which is removed when the last clone is dropped.
    ///
    /// # Errors
    ///
    /// See [`Options::open`](crate::Options::open).
    ///
    /// ```
    /// let deque = firncache::Deque::<i32>::temporary()?;
    /// assert!(deque.is_empty()?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn temporary() -> Result<Deque<T>> {
        Deque::options().open_temporary()
    }

    /// Begins to say how a deque is to be opened.
    ///
    /// ```
    /// use firncache::Deque;
    /// let dir = tempfile::tempdir()?;
    /// let last = Deque::options().max_len(2).open(dir.path().join("deque"))?;
    /// last.extend([1, 2, 3])?;
    /// assert_eq!(last, [2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn options() -> DequeOptions<T> {
        DequeOptions::default()
    }

    /// Makes a deque of a cache: the deque is all of it. Keys of other forms than those of
    /// [`Cache::push`] are no items, but are counted by [`Deque::len`], and indexes are not to be
    /// relied upon where there are any; and what the cache evicts or lets expire, the deque loses.
    ///
    /// ```
    /// use firncache::{Cache, Deque};
    /// let cache = Cache::temporary()?;
    /// cache.push(&1)?;
    /// let deque = Deque::<i32>::from_cache(cache);
    /// assert_eq!(deque.pop_back()?, Some(1));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn from_cache(cache: Cache) -> Deque<T> {
        Deque { cache, item: PhantomData }
    }

    /// Gives the cache that holds the items.
    ///
    /// ```
    /// let deque = firncache::Deque::<i32>::temporary()?;
    /// deque.push_back(&1)?;
    /// assert!(deque.cache().check()?.is_clean());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Gives the directory of the deque.
    ///
    /// ```
    /// let deque = firncache::Deque::<i32>::temporary()?;
    /// assert!(deque.directory().exists());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.cache.directory()
    }

    /// Gives the number of items.
    ///
    /// # Errors
    ///
    /// As [`Cache::len`].
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend(["a", "b"].map(String::from))?;
    /// assert_eq!(deque.len()?, 2);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn len(&self) -> Result<u64> {
        self.cache.len()
    }

    /// Tells whether there is no item.
    ///
    /// # Errors
    ///
    /// As [`Cache::len`].
    ///
    /// ```
    /// assert!(firncache::Deque::<i32>::temporary()?.is_empty()?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn is_empty(&self) -> Result<bool> {
        self.cache.is_empty()
    }

    /// Gives the most items that the deque keeps, as it is kept in the directory; `None` if there
    /// is no limit.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`].
    ///
    /// ```
    /// let deque = firncache::Deque::<i32>::temporary()?;
    /// assert_eq!(deque.max_len()?, None);
    /// deque.set_max_len(Some(7))?;
    /// assert_eq!(deque.max_len()?, Some(7));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn max_len(&self) -> Result<Option<u64>> {
        self.cache.most_items()
    }

    /// Sets the most items that the deque keeps, in this and all other processes, and removes what
    /// is too many from the front. Kept in the directory.
    ///
    /// A push to a full deque removes the item at the other end; both happen, or neither.
    ///
    /// # Errors
    ///
    /// As [`Cache::set`].
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend(0..5)?;
    /// deque.set_max_len(Some(2))?;
    /// assert_eq!(deque, [3, 4]);
    /// deque.push_front(&2)?;
    /// assert_eq!(deque, [2, 3]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn set_max_len(&self, max_len: Option<u64>) -> Result<()> {
        self.cache.transact(|_| {
            self.cache.set_most_items(max_len)?;
            self.trim(Side::Front)
        })
    }

    /// Removes every item; the most items stay as they are. Takes about as long whatever their
    /// number, unless there is such a limit, or inside a transaction.
    ///
    /// # Errors
    ///
    /// As [`Cache::clear`].
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend(0..5)?;
    /// deque.clear()?;
    /// assert_eq!(deque.pop_front()?, None);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn clear(&self) -> Result<()> {
        if self.cache.clear_unless_limited()? {
            return Ok(());
        }
        self.cache.transact(|_| {
            let max_len = self.max_len()?;
            self.cache.clear()?;
            self.cache.set_most_items(max_len)
        })
    }

    /// Runs `work` as a transaction: what it does with the deque happens as a whole, or, if it
    /// gives an error or panics, not at all. Other writers wait.
    ///
    /// # Errors
    ///
    /// Those of `work`, and as [`Cache::transact`].
    ///
    /// ```
    /// use firncache::{Deque, Error};
    /// let deque = Deque::temporary()?;
    /// deque.extend([1, 2])?;
    /// deque.transact(|deque| {
    ///     let (first, second) = (deque.pop_front()?, deque.pop_front()?);
    ///     let sum: i32 = first.into_iter().chain(second).sum();
    ///     deque.push_back(&sum)
    /// })?;
    /// assert_eq!(deque, [3]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn transact<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&Deque<T>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.cache.transact(|_| work(self))
    }

    /// Within a transaction: removes what is too many from a side.
    fn trim(&self, side: Side) -> Result<()> {
        let Some(most) = self.max_len()? else { return Ok(()) };
        while self.cache.len()? > most && self.cache.drop_outermost(side)? {}
        Ok(())
    }
}

impl<T: Serialize> Deque<T> {
    /// Adds an item at the back. A full deque loses the one at the front.
    ///
    /// # Errors
    ///
    /// As [`Cache::push`].
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.push_back(&1)?;
    /// deque.push_back(&2)?;
    /// assert_eq!(deque, [1, 2]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn push_back(&self, item: &T) -> Result<()> {
        self.push(item, Side::Back)
    }

    /// Adds an item at the front. A full deque loses the one at the back.
    ///
    /// # Errors
    ///
    /// As [`Cache::push`].
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.push_front(&1)?;
    /// deque.push_front(&2)?;
    /// assert_eq!(deque, [2, 1]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn push_front(&self, item: &T) -> Result<()> {
        self.push(item, Side::Front)
    }

    fn push(&self, item: &T, side: Side) -> Result<()> {
        let push = || self.cache.push_with(item, PushOptions::new().side(side)).map(|_| ());
        let other = if side == Side::Front { Side::Back } else { Side::Front };
        if self.max_len()?.is_none() {
            push()?;
            // Another may have set it meanwhile, before this item was there to be counted.
            if self.max_len()?.is_none() {
                return Ok(());
            }
            return self.cache.transact(|_| self.trim(other));
        }
        self.cache.transact(|_| {
            push()?;
            self.trim(other)
        })
    }

    /// Adds items at the back, one by one: others may add theirs in between.
    ///
    /// # Errors
    ///
    /// As [`Deque::push_back`]; the items before it are added then.
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend(0..3)?;
    /// assert_eq!(deque, [0, 1, 2]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn extend(&self, items: impl IntoIterator<Item = T>) -> Result<()> {
        items.into_iter().try_for_each(|item| self.push_back(&item))
    }

    /// Adds items at the front, one by one, so that the last comes to be the first.
    ///
    /// # Errors
    ///
    /// As [`Deque::push_front`]; the items before it are added then.
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend_front(0..3)?;
    /// assert_eq!(deque, [2, 1, 0]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn extend_front(&self, items: impl IntoIterator<Item = T>) -> Result<()> {
        items.into_iter().try_for_each(|item| self.push_front(&item))
    }

    /// Opens the deque in a directory, as [`Deque::open`], and adds items at its back.
    ///
    /// # Errors
    ///
    /// As [`Deque::open`] and [`Deque::extend`].
    ///
    /// ```
    /// use firncache::Deque;
    /// let dir = tempfile::tempdir()?;
    /// let deque = Deque::try_from_iter(dir.path().join("deque"), "abc".chars())?;
    /// assert_eq!(deque, ['a', 'b', 'c']);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_from_iter(
        directory: impl AsRef<Path>,
        items: impl IntoIterator<Item = T>,
    ) -> Result<Deque<T>> {
        let deque = Deque::open(directory)?;
        deque.extend(items)?;
        Ok(deque)
    }
}

impl<T: DeserializeOwned> Deque<T> {
    /// Removes the item at the front and gives it; `None` if there is none. One that is not a `T`
    /// stays.
    ///
    /// # Errors
    ///
    /// As [`Cache::pull`].
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend(1..3)?;
    /// assert_eq!((deque.pop_front()?, deque.pop_front()?, deque.pop_front()?), (Some(1), Some(2), None));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn pop_front(&self) -> Result<Option<T>> {
        self.pop(Side::Front)
    }

    /// Removes the item at the back and gives it; `None` if there is none. One that is not a `T`
    /// stays.
    ///
    /// # Errors
    ///
    /// As [`Cache::pull`].
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend(1..3)?;
    /// assert_eq!((deque.pop_back()?, deque.pop_back()?, deque.pop_back()?), (Some(2), Some(1), None));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn pop_back(&self) -> Result<Option<T>> {
        self.pop(Side::Back)
    }

    fn pop(&self, side: Side) -> Result<Option<T>> {
        let pulled = self.cache.pull_with(QueueOptions::new().side(side))?;
        Ok(pulled.map(|(_, entry)| entry.value))
    }
}

impl<T> Clone for Deque<T> {
    fn clone(&self) -> Deque<T> {
        Deque::from_cache(self.cache.clone())
    }
}

impl<T> fmt::Debug for Deque<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deque").field("directory", &self.directory()).finish_non_exhaustive()
    }
}
