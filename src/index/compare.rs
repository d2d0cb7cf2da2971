//! Whether an index and another map are equal.
//!
//! Two indexes are compared in their order, as both have one; a map without one, or with the order
//! of its keys, is compared key by key. Each comes as a method that can fail and as `==`.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::format::from_key::FromKey;
use crate::format::key_buf::ToKey;
use crate::index::Index;

impl<K: ToKey + FromKey, V: Serialize + DeserializeOwned + PartialEq> Index<K, V> {
    /// Tells whether two indexes have equal items in the same order.
    ///
    /// # Errors
    ///
    /// As [`Index::iter`].
    ///
    /// ```
    /// use firncache::Index;
    ///
    /// let one = Index::try_from_iter([(1, 10), (2, 20)])?;
    /// let other = Index::try_from_iter([(2, 20), (1, 10)])?;
    /// assert!(one.eq_index(&one.clone())? && !one.eq_index(&other)?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn eq_index(&self, other: &Index<K, V>) -> Result<bool>
    where
        K: PartialEq,
    {
        if self.len()? != other.len()? {
            return Ok(false);
        }
        let (mut own, mut others) = (self.iter(), other.iter());
        loop {
            match (own.next().transpose()?, others.next().transpose()?) {
                (None, None) => return Ok(true),
                (one, other) if one != other => return Ok(false),
                _ => {}
            }
        }
    }

    /// Tells whether the index has exactly the items of a map, in whatever order. The items come
    /// with different keys, as those of a map do.
    ///
    /// # Errors
    ///
    /// As [`Index::get`].
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// let index = firncache::Index::try_from_iter([(2, 20), (1, 10)])?;
    /// assert!(index.eq_map(&BTreeMap::from([(1, 10), (2, 20)]))?);
    /// assert!(!index.eq_map([(&1, &10)])?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn eq_map<'a>(&self, map: impl IntoIterator<Item = (&'a K, &'a V)>) -> Result<bool>
    where
        K: 'a,
        V: 'a,
    {
        let mut count = 0;
        // They may come in any order: each is looked up.
        for (key, value) in map {
            count += 1;
            if self.get(key)?.as_ref() != Some(value) {
                return Ok(false);
            }
        }
        Ok(count == self.len()?)
    }
}

/// Panics where an index cannot be read; [`Index::eq_index`] gives an error instead.
impl<K, V> PartialEq for Index<K, V>
where
    K: ToKey + FromKey + PartialEq,
    V: Serialize + DeserializeOwned + PartialEq,
{
    fn eq(&self, other: &Index<K, V>) -> bool {
        read(self.eq_index(other))
    }
}

/// In whatever order. Panics where the index cannot be read; [`Index::eq_map`] gives an error
/// instead.
impl<K, V, S: BuildHasher> PartialEq<HashMap<K, V, S>> for Index<K, V>
where
    K: ToKey + FromKey,
    V: Serialize + DeserializeOwned + PartialEq,
{
    fn eq(&self, map: &HashMap<K, V, S>) -> bool {
        read(self.eq_map(map))
    }
}

/// In whatever order. Panics where the index cannot be read; [`Index::eq_map`] gives an error
/// instead.
impl<K, V> PartialEq<BTreeMap<K, V>> for Index<K, V>
where
    K: ToKey + FromKey,
    V: Serialize + DeserializeOwned + PartialEq,
{
    fn eq(&self, map: &BTreeMap<K, V>) -> bool {
        read(self.eq_map(map))
    }
}

/// `==` has no other way to say that it could not be found out.
fn read(result: Result<bool>) -> bool {
    result.unwrap_or_else(|error| panic!("cannot compare the index: {error}"))
}
