//! Looking at items: by index, by value, one after the other.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::ends::Numbers;
use crate::cache::queue::QueueOptions;
use crate::deque::Deque;
use crate::error::Result;
use crate::format::queue::Side;

/// The items of a deque, from both ends; made by [`Deque::iter`].
///
/// ```
/// let deque = firncache::Deque::temporary()?;
/// deque.extend([1, 2, 3])?;
/// let items = deque.iter().rev().collect::<firncache::Result<Vec<_>>>()?;
/// assert_eq!(items, [3, 2, 1]);
/// # Ok::<(), firncache::Error>(())
/// ```
pub struct DequeIter<T> {
    cache: Cache,
    /// Taken when iteration begins; or why they could not be.
    numbers: Result<Numbers>,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Deque<T> {
    /// Reads the item at the front.
    ///
    /// # Errors
    ///
    /// As [`Cache::peek`].
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend(1..4)?;
    /// assert_eq!((deque.front()?, deque.back()?, deque.len()?), (Some(1), Some(3), 3));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn front(&self) -> Result<Option<T>> {
        self.peek(Side::Front)
    }

    /// Reads the item at the back.
    ///
    /// # Errors
    ///
    /// As [`Cache::peek`].
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend(1..4)?;
    /// assert_eq!(deque.back()?, Some(3));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn back(&self) -> Result<Option<T>> {
        self.peek(Side::Back)
    }

    fn peek(&self, side: Side) -> Result<Option<T>> {
        let seen = self.cache.peek_with(QueueOptions::new().side(side))?;
        Ok(seen.map(|(_, entry)| entry.value))
    }

    /// Reads the item with an index: 0 is the first, -1 the last; `None` outside.
    ///
    /// Costs the same for all of them as long as none was removed in the middle; after that, a walk
    /// from the nearer end.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`].
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend(["a", "b", "c"].map(String::from))?;
    /// assert_eq!(deque.get(1)?.as_deref(), Some("b"));
    /// assert_eq!(deque.get(-1)?.as_deref(), Some("c"));
    /// assert_eq!((deque.get(3)?, deque.get(-4)?), (None, None));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn get(&self, index: i64) -> Result<Option<T>> {
        self.cache.item_with_index(index)
    }

    /// Iterates over the items that are there now, from either end.
    ///
    /// Takes no lock. Items removed meanwhile may be missing; items added meanwhile do not come.
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend(1..4)?;
    /// let backwards: Vec<i32> = deque.iter().rev().collect::<firncache::Result<_>>()?;
    /// assert_eq!(backwards, [3, 2, 1]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use = "an iterator does nothing until it is advanced"]
    pub fn iter(&self) -> DequeIter<T> {
        let cache = self.cache.clone();
        DequeIter { numbers: cache.numbers(), cache, item: PhantomData }
    }

    /// Gives the index of the first item that is equal to `wanted`. Reads one item after the other.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`].
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend([5, 6, 5])?;
    /// assert_eq!((deque.position(&6)?, deque.position(&7)?), (Some(1), None));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn position(&self, wanted: &T) -> Result<Option<u64>>
    where
        T: PartialEq,
    {
        for (index, item) in (0..).zip(self.iter()) {
            if item? == *wanted {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Tells whether an item is equal to `wanted`. Reads one item after the other.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`].
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend([5, 6])?;
    /// assert!(deque.contains(&6)? && !deque.contains(&7)?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn contains(&self, wanted: &T) -> Result<bool>
    where
        T: PartialEq,
    {
        Ok(self.position(wanted)?.is_some())
    }

    /// Counts the items that are equal to `wanted`. Reads all items.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`].
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend([5, 6, 5])?;
    /// assert_eq!(deque.count(&5)?, 2);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn count(&self, wanted: &T) -> Result<u64>
    where
        T: PartialEq,
    {
        self.iter().try_fold(0, |count, item| Ok(count + u64::from(item? == *wanted)))
    }
}

impl<T: DeserializeOwned> DequeIter<T> {
    fn step(&mut self, next: fn(&mut Numbers) -> Option<u64>) -> Option<Result<T>> {
        if self.numbers.is_err() {
            // Said once; then there is nothing.
            let nothing = Ok(Numbers::Range(0..0));
            return std::mem::replace(&mut self.numbers, nothing).err().map(Err);
        }
        let numbers = self.numbers.as_mut().ok()?;
        loop {
            if let Some(item) = self.cache.item_at(next(numbers)?).transpose() {
                return Some(item);
            }
        }
    }
}

impl<T: DeserializeOwned> Iterator for DequeIter<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        self.step(Numbers::next)
    }
}

impl<T: DeserializeOwned> DoubleEndedIterator for DequeIter<T> {
    fn next_back(&mut self) -> Option<Result<T>> {
        self.step(Numbers::next_back)
    }
}

impl<T: DeserializeOwned> IntoIterator for &Deque<T> {
    type Item = Result<T>;
    type IntoIter = DequeIter<T>;

    fn into_iter(self) -> DequeIter<T> {
        self.iter()
    }
}

impl<T> fmt::Debug for DequeIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DequeIter").field(&self.cache).finish()
    }
}
