//! Walks over an index, and filling it from one.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::entry::SetOptions;
use crate::cache::iterate::Items;
use crate::error::Result;
use crate::format::from_key::FromKey;
use crate::format::key::Key;
use crate::format::key_buf::ToKey;
use crate::index::Index;

/// The items of an [`Index`] in insertion order; made by [`Index::iter`].
///
/// ```
/// let index = firncache::Index::<i32, i32>::temporary()?;
/// index.extend([(2, 20), (1, 10)])?;
/// let items = index.iter().rev().collect::<firncache::Result<Vec<_>>>()?;
/// assert_eq!(items, [(1, 10), (2, 20)]);
/// # Ok::<(), firncache::Error>(())
/// ```
pub struct IndexIter<K, V> {
    items: Items<V>,
    key: PhantomData<fn() -> K>,
}

impl<K: ToKey + FromKey, V: Serialize + DeserializeOwned> Index<K, V> {
    /// Iterates over keys and values in insertion order, from either end. Weakly consistent, as
    /// [`Cache::iter`](crate::Cache::iter).
    ///
    /// ```
    /// # let index = firncache::Index::<i32, i32>::temporary()?;
    /// index.extend([(2, 20), (1, 10)])?;
    /// let items = index.iter().rev().collect::<firncache::Result<Vec<_>>>()?;
    /// assert_eq!(items, [(1, 10), (2, 20)]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use = "an iterator does nothing until it is advanced"]
    pub fn iter(&self) -> IndexIter<K, V> {
        IndexIter { items: self.cache().items(), key: PhantomData }
    }

    /// Iterates over the keys in insertion order, from either end, without reading values.
    ///
    /// ```
    /// # let index = firncache::Index::<i32, i32>::temporary()?;
    /// index.extend([(2, 20), (1, 10)])?;
    /// assert_eq!(index.keys().collect::<firncache::Result<Vec<_>>>()?, [2, 1]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use = "an iterator does nothing until it is advanced"]
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = Result<K>> + use<K, V> {
        self.cache().iter().map(|key| K::from_key(key?))
    }

    /// Iterates over the values in insertion order of their keys, from either end.
    ///
    /// ```
    /// # let index = firncache::Index::<i32, i32>::temporary()?;
    /// index.extend([(2, 20), (1, 10)])?;
    /// assert_eq!(index.values().collect::<firncache::Result<Vec<_>>>()?, [20, 10]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use = "an iterator does nothing until it is advanced"]
    pub fn values(&self) -> impl DoubleEndedIterator<Item = Result<V>> + use<K, V> {
        self.cache().items().map(|item| item.map(|(_, value)| value))
    }

    /// Inserts all pairs, in one transaction: all of them become visible together, or none. They
    /// are held in memory until then.
    ///
    /// # Errors
    ///
    /// As [`Cache::set_many`](crate::Cache::set_many).
    ///
    /// ```
    /// # let index = firncache::Index::<i32, i32>::temporary()?;
    /// index.extend((0..100).map(|key| (key, key * key)))?;
    /// assert_eq!(index.get(7)?, Some(49));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn extend(&self, pairs: impl IntoIterator<Item = (K, V)>) -> Result<()> {
        self.cache().set_many(pairs, SetOptions::new()).map(drop)
    }

    /// Makes a temporary index, as [`Index::temporary`], of pairs.
    ///
    /// # Errors
    ///
    /// As [`Index::temporary`] and [`Index::extend`].
    ///
    /// ```
    /// let index = firncache::Index::try_from_iter([("a".to_owned(), 1), ("b".to_owned(), 2)])?;
    /// assert_eq!(index.len()?, 2);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn try_from_iter(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Index<K, V>> {
        let index = Index::temporary()?;
        index.extend(pairs)?;
        Ok(index)
    }
}

fn typed<K: FromKey, V>(item: Result<(Key, V)>) -> Result<(K, V)> {
    item.and_then(|(key, value)| Ok((K::from_key(key)?, value)))
}

impl<K: FromKey, V: DeserializeOwned> Iterator for IndexIter<K, V> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Result<(K, V)>> {
        self.items.next().map(typed)
    }
}

impl<K: FromKey, V: DeserializeOwned> DoubleEndedIterator for IndexIter<K, V> {
    fn next_back(&mut self) -> Option<Result<(K, V)>> {
        self.items.next_back().map(typed)
    }
}

impl<K: ToKey + FromKey, V: Serialize + DeserializeOwned> IntoIterator for &Index<K, V> {
    type Item = Result<(K, V)>;
    type IntoIter = IndexIter<K, V>;

    fn into_iter(self) -> IndexIter<K, V> {
        self.iter()
    }
}

impl<K, V> fmt::Debug for IndexIter<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IndexIter").field(&self.items).finish()
    }
}
