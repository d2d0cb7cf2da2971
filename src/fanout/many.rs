//! Many keys in one call.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::entry::SetOptions;
use crate::cache::read::with_scratch;
use crate::error::Result;
use crate::fanout::FanoutCache;
use crate::format::key_buf::{KeyBuf, ToKey};

/// Keys whose lookups wait for memory together.
const BATCH: usize = 32;

impl FanoutCache {
    /// Reads the values of many keys, in their order; `None` for those that are missing or expired.
    /// Not a snapshot.
    ///
    /// # Errors
    ///
    /// As [`Cache::get_many`](crate::Cache::get_many), for the first key that fails.
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set("b", &2)?;
    /// assert_eq!(cache.get_many::<i32>(["a", "b"])?, [None, Some(2)]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn get_many<V: DeserializeOwned>(
        &self,
        keys: impl IntoIterator<Item = impl ToKey>,
    ) -> Result<Vec<Option<V>>> {
        let mut keys = keys.into_iter();
        let mut values = Vec::with_capacity(keys.size_hint().0);
        loop {
            let batch = keys.by_ref().take(BATCH).map(|key| self.placed(&key));
            let batch = batch.collect::<Result<Vec<_>>>()?;
            if batch.is_empty() {
                return Ok(values);
            }
            for (index, shard) in self.0.shards.iter().enumerate() {
                shard.prefetch(batch.iter().filter(|(of, _)| *of == index).map(|(_, key)| key));
            }
            for (index, key) in &batch {
                let shard = &self.0.shards[*index];
                values.push(with_scratch(|buffer| shard.get_encoded(key.as_bytes(), buffer))?);
            }
        }
    }

    /// Stores many values with the same expiry and tag; gives their number.
    ///
    /// Takes the locks of the shards concerned together, in their order, and commits one shard after
    /// the other; see [`FanoutTransaction`](crate::FanoutTransaction) for what that promises. All
    /// values are held in memory until then.
    ///
    /// # Errors
    ///
    /// As [`Cache::set_many`](crate::Cache::set_many); nothing is stored then, unless it is the commit
    /// that fails.
    ///
    /// ```
    /// use firncache::SetOptions;
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// assert_eq!(cache.set_many([("a", 1), ("b", 2)], SetOptions::new())?, 2);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn set_many<K: ToKey, V: Serialize>(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
        options: SetOptions,
    ) -> Result<u64> {
        let mut parts = self.parts();
        let mut count = 0;
        for (key, value) in pairs {
            let (index, key) = self.placed(&key)?;
            parts[index].push(self.0.shards[index].encode_pair(key, &value, &options)?);
            count += 1;
        }
        let parts = self.concerned(parts);
        let transaction = self.begin_on(parts.iter().map(|(shard, _)| *shard))?;
        for (shard, pairs) in parts {
            shard.put_pairs(pairs, &options)?;
        }
        transaction.commit()?;
        Ok(count)
    }

    /// Removes many keys; gives the number of those that were there and had not expired.
    ///
    /// Takes locks and commits as [`FanoutCache::set_many`] does.
    ///
    /// # Errors
    ///
    /// As [`Cache::delete_many`](crate::Cache::delete_many); nothing is removed then, unless it is the
    /// commit that fails.
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set("a", &1)?;
    /// assert_eq!(cache.delete_many(["a", "b"])?, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn delete_many(&self, keys: impl IntoIterator<Item = impl ToKey>) -> Result<u64> {
        let mut parts = self.parts();
        for key in keys {
            let (index, key) = self.placed(&key)?;
            parts[index].push(key);
        }
        let parts = self.concerned(parts);
        let transaction = self.begin_on(parts.iter().map(|(shard, _)| *shard))?;
        let mut removed = 0;
        for (shard, keys) in parts {
            removed += shard.remove_encoded(&keys)?;
        }
        transaction.commit()?;
        Ok(removed)
    }

    /// A key, encoded, and the number of its shard.
    fn placed(&self, key: &impl ToKey) -> Result<(usize, KeyBuf)> {
        let key = self.encoded_key(key)?;
        Ok((self.index_of(&key), key))
    }

    /// Something for each shard, nothing yet.
    fn parts<T>(&self) -> Vec<Vec<T>> {
        self.0.shards.iter().map(|_| Vec::new()).collect()
    }

    /// The shards that have something, in their order.
    fn concerned<T>(&self, parts: Vec<Vec<T>>) -> Vec<(&Cache, Vec<T>)> {
        self.0.shards.iter().zip(parts).filter(|(_, part)| !part.is_empty()).collect()
    }
}
