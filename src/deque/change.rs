//! Changing items in the middle, and all of them.
//!
//! Each of these is a transaction: it looks first, and what it has seen must still be so when it
//! changes it.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::queue::PushOptions;
use crate::deque::Deque;
use crate::deque::options::DequeOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::format::queue::Side;

impl<T: Serialize + DeserializeOwned> Deque<T> {
    /// Replaces the item with an index, counted as in [`Deque::get`]; false if there is none.
    ///
    /// # Errors
    ///
    /// As [`Cache::set`](crate::Cache::set).
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend([1, 2, 3])?;
    /// assert!(deque.set(-1, &30)? && !deque.set(3, &4)?);
    /// assert_eq!(deque, [1, 2, 30]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn set(&self, index: i64, item: &T) -> Result<bool> {
        self.cache.transact(|cache| {
            let Some(number) = cache.number_at(index)? else { return Ok(false) };
            cache.set(number, item).map(|()| true)
        })
    }

    /// Removes the item with an index, counted as in [`Deque::get`], and gives it.
    ///
    /// # Errors
    ///
    /// As [`Cache::pop`](crate::Cache::pop).
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend([1, 2, 3])?;
    /// assert_eq!((deque.remove_at(1)?, deque.remove_at(2)?), (Some(2), None));
    /// assert_eq!(deque, [1, 3]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn remove_at(&self, index: i64) -> Result<Option<T>> {
        self.cache.transact(|cache| match cache.number_at(index)? {
            Some(number) => cache.pop(number),
            None => Ok(None),
        })
    }

    /// Removes the first item that is equal to `unwanted`; false if there is none. Reads one item
    /// after the other, while other writers wait.
    ///
    /// # Errors
    ///
    /// As [`Cache::delete`](crate::Cache::delete).
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend([1, 2, 1])?;
    /// assert!(deque.remove(&1)? && !deque.remove(&7)?);
    /// assert_eq!(deque, [2, 1]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn remove(&self, unwanted: &T) -> Result<bool>
    where
        T: PartialEq,
    {
        self.cache.transact(|cache| {
            for number in cache.numbers()? {
                if cache.item_at::<T>(number)?.is_some_and(|item| item == *unwanted) {
                    return cache.delete(number);
                }
            }
            Ok(false)
        })
    }

    /// Moves the last item to the front, so many times; backwards if `steps` is negative.
    ///
    /// Costs as much as popping and pushing the moved items, at most half of all. Holds them in
    /// memory.
    ///
    /// # Errors
    ///
    /// As [`Deque::pop_back`] and [`Deque::push_front`]; nothing has moved then.
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend(0..5)?;
    /// deque.rotate(2)?;
    /// assert_eq!(deque, [3, 4, 0, 1, 2]);
    /// deque.rotate(-1)?;
    /// assert_eq!(deque, [4, 0, 1, 2, 3]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn rotate(&self, steps: i64) -> Result<()> {
        self.cache.transact(|cache| {
            let len = i64::try_from(cache.len()?).unwrap_or(i64::MAX);
            if len == 0 {
                return Ok(());
            }
            let right = steps.rem_euclid(len);
            let (from, to, count) = match right <= len - right {
                true => (Side::Back, Side::Front, right),
                false => (Side::Front, Side::Back, len - right),
            };
            for _ in 0..count {
                let Some(item) = self.pop(from)? else { break };
                cache.push_with(&item, PushOptions::new().side(to))?;
            }
            Ok(())
        })
    }

    /// Puts the items in the opposite order. Reads and stores all of them, and holds them in
    /// memory.
    ///
    /// # Errors
    ///
    /// As [`Cache::set`](crate::Cache::set); all are as before then.
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend(0..3)?;
    /// deque.reverse()?;
    /// assert_eq!(deque, [2, 1, 0]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn reverse(&self) -> Result<()> {
        self.cache.transact(|cache| {
            let mut items = Vec::new();
            for number in cache.numbers()? {
                if let Some(item) = cache.item_at::<T>(number)? {
                    items.push((number, item));
                }
            }
            let numbers = items.iter().map(|(number, _)| *number);
            for (number, (_, item)) in numbers.zip(items.iter().rev()) {
                cache.set(number, item)?;
            }
            Ok(())
        })
    }

    /// Copies all items, as they are at one instant, to a new deque in another directory, with the
    /// same [`Deque::max_len`]. Other writers of this one wait.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if there is something in that deque
    /// already; also as [`Deque::open`] and [`Deque::extend`], and some items may be there then.
    ///
    /// ```
    /// let deque = firncache::Deque::temporary()?;
    /// deque.extend(0..3)?;
    /// let dir = tempfile::tempdir()?;
    /// let copy = deque.copy_to(dir.path().join("copy"))?;
    /// deque.pop_front()?;
    /// assert_eq!(copy, [0, 1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn copy_to(&self, directory: impl AsRef<Path>) -> Result<Deque<T>> {
        let copy = DequeOptions::of(self.cache.options_alike()).open(directory)?;
        if !copy.is_empty()? {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "cannot copy the deque to where one with items is: clear it, or name another \
                 directory",
            )
            .at(copy.directory()));
        }
        self.cache.transact(|_| {
            copy.set_max_len(self.max_len()?)?;
            self.iter().try_for_each(|item| copy.push_back(&item?))
        })?;
        Ok(copy)
    }
}
