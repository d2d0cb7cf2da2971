//! All keys: in the order in which they were first stored, or sorted.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::entry::Entry;
use crate::error::{Error, Result};
use crate::format::key::Key;
use crate::format::queue::Side;
use crate::format::record::{FileRef, Header};
use crate::store::scan::{Item, Scan};

/// Looks at an item whose value file keeps vanishing at most so often.
const MAX_LOOKS: usize = 16;

/// The keys of a cache in insertion order; made by [`Cache::iter`].
///
/// ```
/// # let cache = firncache::Cache::temporary()?;
/// cache.set_many([("b", 1), ("a", 2)], Default::default())?;
/// let keys = cache.iter().rev().collect::<firncache::Result<Vec<_>>>()?;
/// assert_eq!(keys, ["a".into(), "b".into()]);
/// # Ok::<(), firncache::Error>(())
/// ```
pub struct Iter(Walk);

/// The keys and values of a cache in insertion order; made by [`Cache::items`].
///
/// ```
/// # let cache = firncache::Cache::temporary()?;
/// cache.set_many([("b", 1), ("a", 2)], Default::default())?;
/// let mut sum = 0;
/// for item in cache.items::<i32>() {
///     let (_key, value) = item?;
///     sum += value;
/// }
/// assert_eq!(sum, 3);
/// # Ok::<(), firncache::Error>(())
/// ```
pub struct Items<V> {
    walk: Walk,
    value: PhantomData<fn() -> V>,
}

/// The keys of a cache in key order; made by [`Cache::sorted_keys`].
///
/// ```
/// # let cache = firncache::Cache::temporary()?;
/// cache.set_many([("b", 1), ("a", 2)], Default::default())?;
/// assert_eq!(cache.sorted_keys()?.next_back().transpose()?, Some("b".into()));
/// # Ok::<(), firncache::Error>(())
/// ```
#[derive(Debug)]
pub struct SortedKeys(std::vec::IntoIter<Vec<u8>>);

impl Cache {
    /// Iterates over the keys in the order in which they were first stored, from either end,
    /// including expired ones that have not been removed yet.
    ///
    /// Takes no lock. Weakly consistent: never a key twice, and never without one that was there
    /// throughout; keys stored meanwhile may be missing, and keys removed meanwhile still come.
    ///
    /// ```
    /// use firncache::Key;
    /// # let cache = firncache::Cache::temporary()?;
    /// for key in ["b", "a", "c"] {
    ///     cache.set(key, &())?;
    /// }
    /// let newest = cache.iter().next_back().transpose()?;
    /// assert_eq!(newest, Some(Key::from("c")));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use = "an iterator does nothing until it is advanced"]
    pub fn iter(&self) -> Iter {
        Iter(self.walk())
    }

    /// Iterates over keys and values, as [`Cache::iter`] over keys. Not counted as reads.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::Key;
    /// cache.set_many([("b", 1), ("a", 2)], Default::default())?;
    /// let items = cache.items().collect::<firncache::Result<Vec<(Key, i32)>>>()?;
    /// assert_eq!(items, [("b".into(), 1), ("a".into(), 2)]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use = "an iterator does nothing until it is advanced"]
    pub fn items<V: DeserializeOwned>(&self) -> Items<V> {
        Items { walk: self.walk(), value: PhantomData }
    }

    /// Iterates over the keys in key order, from either end, including expired ones.
    ///
    /// Reads all keys at once and holds them in memory, as bytes and 24 more each; use
    /// [`Cache::iter`] where the order does not matter.
    ///
    /// # Errors
    ///
    /// As reading any key.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set_many([("b", 1), ("a", 2)], Default::default())?;
    /// cache.set(9, &3)?;
    /// let keys = cache.sorted_keys()?.collect::<firncache::Result<Vec<_>>>()?;
    /// assert_eq!(keys, [9.into(), "a".into(), "b".into()]); // numbers before texts
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn sorted_keys(&self) -> Result<SortedKeys> {
        SortedKeys::of(std::slice::from_ref(self))
    }

    /// Reads the first or the last item by insertion order that has not expired. Removes nothing.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`].
    ///
    /// ```
    /// use firncache::{Key, Side};
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set("first", &1)?;
    /// cache.set("last", &2)?;
    /// let (key, entry) = cache.peek_item::<i32>(Side::Back)?.unwrap();
    /// assert_eq!((key, entry.value), (Key::from("last"), 2));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn peek_item<V: DeserializeOwned>(&self, side: Side) -> Result<Option<(Key, Entry<V>)>> {
        let mut walk = self.walk();
        while walk.step(side)? {
            let Some(header) = walk.load()? else { continue };
            if self.is_live(header.expires_ms) {
                let Item { key, tag, value, .. } = &walk.item;
                let entry = Entry::read(&header, tag, value, self)?;
                return Ok(Some((Key::decode(key)?, entry)));
            }
        }
        Ok(None)
    }

    fn walk(&self) -> Walk {
        Walk { cache: self.clone(), scan: self.0.store.scan(), item: Item::default() }
    }
}

impl SortedKeys {
    /// The keys of all of these caches, sorted together.
    pub(crate) fn of(caches: &[Cache]) -> Result<SortedKeys> {
        let mut keys = Vec::new();
        for cache in caches {
            let mut walk = cache.walk();
            while walk.step(Side::Front)? {
                keys.push(walk.item.key.as_slice().to_vec());
            }
        }
        keys.sort_unstable();
        Ok(SortedKeys(keys.into_iter()))
    }
}

/// A walk over the store, and the item it has come to.
struct Walk {
    cache: Cache,
    scan: Scan,
    item: Item,
}

impl Walk {
    /// Goes on to the next item; false if there is none.
    fn step(&mut self, side: Side) -> Result<bool> {
        let store = &self.cache.0.store;
        match side {
            Side::Front => self.scan.next(store, &mut self.item),
            Side::Back => self.scan.next_back(store, &mut self.item),
        }
    }

    fn next_key(&mut self, side: Side) -> Result<Option<Key>> {
        if self.step(side)? { Key::decode(&self.item.key).map(Some) } else { Ok(None) }
    }

    fn next_pair<V: DeserializeOwned>(&mut self, side: Side) -> Result<Option<(Key, V)>> {
        while self.step(side)? {
            let Some(header) = self.load()? else { continue };
            let value = self.cache.decode(header.value_kind, &self.item.value)?;
            return Ok(Some((Key::decode(&self.item.key)?, value)));
        }
        Ok(None)
    }

    /// Brings the value of the item into memory if it lies in a file; `None` if the key has been
    /// removed meanwhile.
    fn load(&mut self) -> Result<Option<Header>> {
        let Some(mut header) = self.item.header else { return Ok(None) };
        let Item { key, tag, value, .. } = &mut self.item;
        for _ in 0..MAX_LOOKS {
            if !header.is_file() {
                return Ok(Some(header));
            }
            let Some(reference) = FileRef::decode(value) else { break };
            if let Some(file) = self.cache.0.store.open_value_file(reference)? {
                let mut open = crate::cache::read::ValueFile { file, reference };
                let is_sound = open.read_to(value).map_err(|source| {
                    let path = self.cache.directory().join(reference.name());
                    Error::io("read the value file", &path, source)
                })?;
                if !is_sound {
                    break;
                }
                return Ok(Some(header));
            }
            let Some(now) = self.cache.record(key, Some(tag), value)? else { break };
            if now.header == header {
                // The record still names the file, which is damaged.
                break;
            }
            header = now.header;
        }
        Ok(None)
    }
}

impl Iterator for Iter {
    type Item = Result<Key>;

    fn next(&mut self) -> Option<Result<Key>> {
        self.0.next_key(Side::Front).transpose()
    }
}

impl DoubleEndedIterator for Iter {
    fn next_back(&mut self) -> Option<Result<Key>> {
        self.0.next_key(Side::Back).transpose()
    }
}

impl<V: DeserializeOwned> Iterator for Items<V> {
    type Item = Result<(Key, V)>;

    fn next(&mut self) -> Option<Result<(Key, V)>> {
        self.walk.next_pair(Side::Front).transpose()
    }
}

impl<V: DeserializeOwned> DoubleEndedIterator for Items<V> {
    fn next_back(&mut self) -> Option<Result<(Key, V)>> {
        self.walk.next_pair(Side::Back).transpose()
    }
}

impl Iterator for SortedKeys {
    type Item = Result<Key>;

    fn next(&mut self) -> Option<Result<Key>> {
        self.0.next().map(|key| Key::decode(&key))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for SortedKeys {
    fn next_back(&mut self) -> Option<Result<Key>> {
        self.0.next_back().map(|key| Key::decode(&key))
    }
}

impl ExactSizeIterator for SortedKeys {}

impl fmt::Debug for Iter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Iter").field(&self.0.cache).finish()
    }
}

impl<V> fmt::Debug for Items<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Items").field(&self.walk.cache).finish()
    }
}
