//! An ordered map on disk: keys in the order in which they were first inserted.
//!
//! All of it is a [`Cache`] that removes nothing on its own: `Eviction::None`, `cull_limit` 0, no
//! expiry. What an operation costs and promises is what the cache's does.
//!
//! ```text
//! mod       one key at a time, and both ends
//! options   how it is opened
//! iterate   walks, filling from an iterator
//! queue     numbered keys, results of a function
//! compare   equality with other maps
//! ```

pub(crate) mod compare;
pub(crate) mod iterate;
pub(crate) mod options;
mod queue;

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::options::Options;
use crate::cache::transaction::Transaction;
use crate::error::{Error, Result};
use crate::format::from_key::FromKey;
use crate::format::key_buf::ToKey;
use crate::format::queue::Side;
use crate::index::options::IndexOptions;

/// Attempts without a transaction to store a key that is removed again each time.
const MAX_ATTEMPTS: usize = 4;

/// A persistent map that keeps the order of insertion, shared by threads and processes.
///
/// Nothing is ever evicted and nothing expires: what is inserted stays until it is removed. A key
/// that is inserted again keeps its place. Reads take no lock and never wait; writes take turns.
/// Cheap to clone; clones are the same handle. Empty, it takes one page on disk; with its first
/// item a few tens of KiB.
///
/// ```
/// use firncache::Index;
///
/// let dir = tempfile::tempdir()?;
/// let index = Index::<String, u32>::open(dir.path().join("index"))?;
/// index.insert(&"ann".to_owned(), &3)?;
/// index.insert(&"bob".to_owned(), &5)?;
/// assert_eq!(index.get("ann")?, Some(3));
/// assert_eq!(index.last()?, Some(("bob".to_owned(), 5)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Index<K, V> {
    cache: Cache,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: ToKey + FromKey, V: Serialize + DeserializeOwned> Index<K, V> {
    /// Opens the index in a directory, making it if need be.
    ///
    /// # Errors
    ///
    /// As [`Options::open`].
    ///
    /// ```
    /// let dir = tempfile::tempdir()?;
    /// let index = firncache::Index::<i64, String>::open(dir.path())?;
    /// assert!(index.is_empty()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(directory: impl AsRef<Path>) -> Result<Index<K, V>> {
        Index::options().open(directory)
    }

    /// Opens an index in a new temporary directory, which is removed when the last clone is dropped.
    ///
    /// # Errors
    ///
    /// As [`Options::open`].
    ///
    /// ```
    /// let index = firncache::Index::temporary()?;
    /// index.insert(&1, &"one".to_owned())?;
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn temporary() -> Result<Index<K, V>> {
        Index::options().open_temporary()
    }

    /// Begins to say how an index is to be opened.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let dir = tempfile::tempdir()?;
    /// let options = firncache::Index::<i64, String>::options();
    /// let index = options.timeout(Duration::from_secs(1)).open(dir.path())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn options() -> IndexOptions<K, V> {
        IndexOptions::new(Options::default())
    }

    /// Uses a cache as an index. All of its items become the index's; its settings stay. With an
    /// eviction policy other than [`Eviction::None`](crate::Eviction::None), or items that expire,
    /// some may vanish.
    ///
    /// ```
    /// use firncache::{Cache, Eviction, Index};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let cache = Cache::options().eviction(Eviction::None).open(dir.path())?;
    /// let index = Index::<String, i32>::from_cache(cache);
    /// index.insert(&"key".to_owned(), &1)?;
    /// assert_eq!(index.cache().get("key")?, Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn from_cache(cache: Cache) -> Index<K, V> {
        Index { cache, types: PhantomData }
    }

    /// Stores a value, replacing what the key held. A new key comes last; one that was there keeps
    /// its place.
    ///
    /// # Errors
    ///
    /// As [`Cache::set`].
    ///
    /// ```
    /// # let index = firncache::Index::temporary()?;
    /// index.insert(&"key".to_owned(), &1)?;
    /// assert_eq!(index.get("key")?, Some(1));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn insert(&self, key: &K, value: &V) -> Result<()> {
        self.cache.set(key, value)
    }

    /// Reads the value of a key, which can be named by whatever encodes alike: `&str` for `String`.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`].
    ///
    /// ```
    /// # let index = firncache::Index::<String, i32>::temporary()?;
    /// assert_eq!(index.get("missing")?, None);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn get(&self, key: impl ToKey) -> Result<Option<V>> {
        self.cache.get(key)
    }

    /// Reads the value of a key; a missing one gets the value that `make` gives. Of several that do
    /// so at once, one stores its value and all get that.
    ///
    /// `make` is called at most once, without a lock.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`] and [`Cache::add`].
    ///
    /// ```
    /// # let index = firncache::Index::<String, i32>::temporary()?;
    /// assert_eq!(index.get_or_insert_with(&"key".to_owned(), || 1)?, 1);
    /// assert_eq!(index.get_or_insert_with(&"key".to_owned(), || 2)?, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn get_or_insert_with(&self, key: &K, make: impl FnOnce() -> V) -> Result<V> {
        if let Some(value) = self.cache.get(key)? {
            return Ok(value);
        }
        let made = make();
        // Somebody can remove the key each time between the two calls.
        for _ in 0..MAX_ATTEMPTS {
            if self.cache.add(key, &made)? {
                return Ok(made);
            }
            if let Some(value) = self.cache.get(key)? {
                return Ok(value);
            }
        }
        // Or it is there and damaged.
        self.transact(|tx| match tx.get(key)? {
            Some(value) => Ok(value),
            None => tx.set(key, &made).map(|()| made),
        })
    }

    /// Removes a key and gives its value.
    ///
    /// # Errors
    ///
    /// As [`Cache::pop`].
    ///
    /// ```
    /// # let index = firncache::Index::<String, i32>::temporary()?;
    /// index.insert(&"key".to_owned(), &1)?;
    /// assert_eq!(index.remove("key")?, Some(1));
    /// assert_eq!(index.remove("key")?, None);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn remove(&self, key: impl ToKey) -> Result<Option<V>> {
        self.cache.pop(key)
    }

    /// Tells whether a key is there.
    ///
    /// # Errors
    ///
    /// As [`Cache::contains`].
    ///
    /// ```
    /// # let index = firncache::Index::<String, i32>::temporary()?;
    /// assert!(!index.contains_key("key")?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn contains_key(&self, key: impl ToKey) -> Result<bool> {
        self.cache.contains(key)
    }

    /// Removes every key; gives their number. Takes about as long whatever the number.
    ///
    /// # Errors
    ///
    /// As [`Cache::clear`].
    ///
    /// ```
    /// # let index = firncache::Index::temporary()?;
    /// index.insert(&1, &2)?;
    /// assert_eq!(index.clear()?, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn clear(&self) -> Result<u64> {
        self.cache.clear()
    }

    /// Reads the item that comes first.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`]; [`ErrorKind::Key`](crate::ErrorKind::Key) for a key that is no `K`.
    ///
    /// ```
    /// # let index = firncache::Index::<i32, i32>::temporary()?;
    /// index.extend([(2, 20), (1, 10)])?;
    /// assert_eq!(index.first()?, Some((2, 20)));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn first(&self) -> Result<Option<(K, V)>> {
        self.end(Side::Front)
    }

    /// Reads the item that comes last.
    ///
    /// # Errors
    ///
    /// As [`Index::first`].
    ///
    /// ```
    /// # let index = firncache::Index::<i32, i32>::temporary()?;
    /// index.extend([(2, 20), (1, 10)])?;
    /// assert_eq!(index.last()?, Some((1, 10)));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn last(&self) -> Result<Option<(K, V)>> {
        self.end(Side::Back)
    }

    /// Removes the item that comes first, and gives it. Of several that do so at once, each gets
    /// another one.
    ///
    /// # Errors
    ///
    /// As [`Index::first`], and the item stays; [`ErrorKind::Timeout`](crate::ErrorKind::Timeout);
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly).
    ///
    /// ```
    /// # let index = firncache::Index::<i32, i32>::temporary()?;
    /// index.extend([(2, 20), (1, 10)])?;
    /// assert_eq!(index.pop_first()?, Some((2, 20)));
    /// assert_eq!(index.len()?, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn pop_first(&self) -> Result<Option<(K, V)>> {
        self.pop_end(Side::Front)
    }

    /// Removes the item that comes last, and gives it. Of several that do so at once, each gets
    /// another one.
    ///
    /// # Errors
    ///
    /// As [`Index::pop_first`].
    ///
    /// ```
    /// # let index = firncache::Index::<i32, i32>::temporary()?;
    /// index.extend([(2, 20), (1, 10)])?;
    /// assert_eq!(index.pop_last()?, Some((1, 10)));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn pop_last(&self) -> Result<Option<(K, V)>> {
        self.pop_end(Side::Back)
    }

    /// Runs `work` as a transaction: commits if it gives `Ok`, rolls back if it gives an error or
    /// panics. What this thread does with the index meanwhile is part of it.
    ///
    /// # Errors
    ///
    /// As [`Cache::transact`].
    ///
    /// ```
    /// # let index = firncache::Index::<String, i32>::temporary()?;
    /// let result = index.transact(|_| {
    ///     index.insert(&"key".to_owned(), &1)?;
    ///     index.insert(&"other".to_owned(), &2)?;
    ///     Err::<(), _>(firncache::Error::codec("changed my mind"))
    /// });
    /// assert!(result.is_err() && index.is_empty()?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn transact<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.cache.transact(work)
    }

    fn end(&self, side: Side) -> Result<Option<(K, V)>> {
        let Some((key, entry)) = self.cache.peek_item(side)? else { return Ok(None) };
        Ok(Some((K::from_key(key)?, entry.value)))
    }

    fn pop_end(&self, side: Side) -> Result<Option<(K, V)>> {
        if self.is_empty()? {
            return Ok(None);
        }
        self.transact(|tx| {
            let Some((key, entry)) = tx.peek_item(side)? else { return Ok(None) };
            let item = (K::from_key(key.clone())?, entry.value);
            tx.delete(key)?;
            Ok(Some(item))
        })
    }
}

impl<K, V> Index<K, V> {
    /// Gives the number of keys.
    ///
    /// # Errors
    ///
    /// As [`Cache::len`].
    ///
    /// ```
    /// # let index = firncache::Index::temporary()?;
    /// index.insert(&1, &2)?;
    /// assert_eq!(index.len()?, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn len(&self) -> Result<u64> {
        self.cache.len()
    }

    /// Tells whether there is no key.
    ///
    /// # Errors
    ///
    /// As [`Cache::len`].
    ///
    /// ```
    /// let index = firncache::Index::<i32, i32>::temporary()?;
    /// assert!(index.is_empty()?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn is_empty(&self) -> Result<bool> {
        self.cache.is_empty()
    }

    /// Gives the cache that this index is, for what an index does not offer: `check`, `sync`,
    /// `compact`, `disk_usage`.
    ///
    /// ```
    /// let index = firncache::Index::<i32, i32>::temporary()?;
    /// assert!(index.cache().check()?.is_clean());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Gives the directory of the index.
    ///
    /// ```
    /// let index = firncache::Index::<i32, i32>::temporary()?;
    /// assert!(index.directory().is_dir());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.cache.directory()
    }
}

impl<K, V> Clone for Index<K, V> {
    fn clone(&self) -> Index<K, V> {
        Index { cache: self.cache.clone(), types: PhantomData }
    }
}

impl<K, V> fmt::Debug for Index<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("directory", &self.directory()).finish_non_exhaustive()
    }
}
