//! An index as a queue of numbered keys, and as the memory of a function.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::memoize::{MemoizeOptions, Memoized};
use crate::cache::queue::{PushOptions, QueueOptions};
use crate::error::Result;
use crate::format::from_key::FromKey;
use crate::format::key::Key;
use crate::format::key_buf::ToKey;
use crate::index::Index;

/// # As a queue
///
/// Items that are pushed have keys of their own: integers, or texts with a prefix, as
/// [`Cache::push_with`](crate::Cache::push_with) says. They are items of the index like all others, so
/// that walking over it gives an error at keys that are no `K`.
impl<K: ToKey + FromKey, V: Serialize + DeserializeOwned> Index<K, V> {
    /// Stores a value under the next number, at the back; gives its key.
    ///
    /// # Errors
    ///
    /// As [`Cache::push`](crate::Cache::push).
    ///
    /// ```
    /// let index = firncache::Index::<i64, String>::temporary()?;
    /// index.push(&"first".to_owned())?;
    /// index.push(&"second".to_owned())?;
    /// assert_eq!(index.pull()?.map(|(_, value)| value), Some("first".to_owned()));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn push(&self, value: &V) -> Result<Key> {
        self.cache().push(value)
    }

    /// Stores a value at either end of any queue; gives its key.
    ///
    /// # Errors
    ///
    /// As [`Cache::push_with`](crate::Cache::push_with).
    ///
    /// ```
    /// use firncache::{Index, PushOptions, Side};
    ///
    /// let index = Index::<String, i32>::temporary()?;
    /// index.push_with(&2, PushOptions::new().prefix("job"))?;
    /// index.push_with(&1, PushOptions::new().prefix("job").side(Side::Front))?;
    /// assert_eq!(index.first()?, Some(("job-500000000000000".to_owned(), 2)));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn push_with(&self, value: &V, options: PushOptions) -> Result<Key> {
        self.cache().push_with(value, options)
    }

    /// Takes the item at the front of the queue of integers; `None` if it is empty.
    ///
    /// # Errors
    ///
    /// As [`Cache::pull`](crate::Cache::pull).
    ///
    /// ```
    /// let index = firncache::Index::<i64, i32>::temporary()?;
    /// index.push(&7)?;
    /// assert_eq!(index.pull()?.map(|(_, value)| value), Some(7));
    /// assert!(index.pull()?.is_none());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn pull(&self) -> Result<Option<(Key, V)>> {
        self.pull_with(QueueOptions::new())
    }

    /// Takes the item at either end of any queue; `None` if it is empty.
    ///
    /// # Errors
    ///
    /// As [`Cache::pull_with`](crate::Cache::pull_with).
    ///
    /// ```
    /// use firncache::{Index, QueueOptions, Side};
    ///
    /// let index = Index::<i64, i32>::temporary()?;
    /// index.push(&1)?;
    /// index.push(&2)?;
    /// let last = index.pull_with(QueueOptions::new().side(Side::Back))?;
    /// assert_eq!(last.map(|(_, value)| value), Some(2));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn pull_with(&self, options: QueueOptions) -> Result<Option<(Key, V)>> {
        let pulled = self.cache().pull_with(options)?;
        Ok(pulled.map(|(key, entry)| (key, entry.value)))
    }

    /// Reads the item at the front of the queue of integers, and leaves it there.
    ///
    /// # Errors
    ///
    /// As [`Cache::peek`](crate::Cache::peek).
    ///
    /// ```
    /// let index = firncache::Index::<i64, i32>::temporary()?;
    /// let key = index.push(&7)?;
    /// assert_eq!(index.peek()?, Some((key, 7)));
    /// assert_eq!(index.len()?, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn peek(&self) -> Result<Option<(Key, V)>> {
        self.peek_with(QueueOptions::new())
    }

    /// Reads the item at either end of any queue, and leaves it there.
    ///
    /// # Errors
    ///
    /// As [`Cache::peek_with`](crate::Cache::peek_with).
    ///
    /// ```
    /// use firncache::{Index, QueueOptions, Side};
    ///
    /// let index = Index::<i64, i32>::temporary()?;
    /// index.push(&1)?;
    /// let key = index.push(&2)?;
    /// assert_eq!(index.peek_with(QueueOptions::new().side(Side::Back))?, Some((key, 2)));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn peek_with(&self, options: QueueOptions) -> Result<Option<(Key, V)>> {
        let seen = self.cache().peek_with(options)?;
        Ok(seen.map(|(key, entry)| (key, entry.value)))
    }

    /// Makes a function whose results are kept in this index, for ever: each is computed once at a
    /// time, across threads and processes. Their keys are tuples of the name and the arguments.
    ///
    /// ```
    /// use firncache::{Index, Key};
    ///
    /// let index = Index::<Key, u64>::temporary()?;
    /// let square = index.memoize("square", |number: &u64| number * number);
    /// assert_eq!((square.call(&7)?, square.call(&7)?), (49, 49));
    /// assert_eq!(index.len()?, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn memoize<A: Serialize + ?Sized>(
        &self,
        name: &str,
        function: impl Fn(&A) -> V + Send + Sync + 'static,
    ) -> Memoized<A, V> {
        self.cache().memoize(name, MemoizeOptions::new(), function)
    }
}
