//! What goes over all shards: sums, walks, removing.

use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::iterate::SortedKeys;
use crate::cache::stats::Stats;
use crate::error::Result;
use crate::fanout::FanoutCache;
use crate::format::key::Key;
use crate::format::key_buf::ToKey;

/// Keys that `cull()` removes while it holds a lock.
const STEP_KEYS: u64 = 10;

/// # Sums over all shards
///
/// Not of one instant: the shards are asked one after the other.
impl FanoutCache {
    /// Gives the number of keys, including expired ones that have not been removed yet.
    ///
    /// # Errors
    ///
    /// As [`Cache::len`].
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set("key", &1)?;
    /// assert_eq!(cache.len()?, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn len(&self) -> Result<u64> {
        self.sum(Cache::len)
    }

    /// Tells whether there is no key, not even an expired one.
    ///
    /// # Errors
    ///
    /// As [`Cache::is_empty`].
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// assert!(cache.is_empty()?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Gives the bytes by which the keys are accounted. Falls with every removal.
    ///
    /// # Errors
    ///
    /// As [`Cache::volume`].
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set_bytes("key", &[0; 1000])?;
    /// assert!(cache.volume()? > 1000);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn volume(&self) -> Result<u64> {
        self.sum(Cache::volume)
    }

    /// Gives the bytes that the shards take on disk; what was opened by
    /// [`FanoutCache::cache`] and the like is not counted. Asks the system about every file.
    ///
    /// # Errors
    ///
    /// As [`Cache::disk_usage`].
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// assert!(cache.disk_usage()? >= 8 * 4096);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn disk_usage(&self) -> Result<u64> {
        self.sum(Cache::disk_usage)
    }

    /// Gives the counters of all shards together.
    ///
    /// # Errors
    ///
    /// As [`Cache::stats`].
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// assert_eq!(cache.stats()?.evictions, 0);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn stats(&self) -> Result<Stats> {
        self.0.shards.iter().try_fold(Stats::default(), |sum, it| Ok(sum.plus(it.stats()?)))
    }

    /// Sets the counters of all shards to zero, and gives what they were.
    ///
    /// # Errors
    ///
    /// As [`Cache::reset_stats`].
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.reset_stats()?;
    /// assert_eq!(cache.stats()?.hits, 0);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn reset_stats(&self) -> Result<Stats> {
        self.0.patient.iter().try_fold(Stats::default(), |sum, it| Ok(sum.plus(it.reset_stats()?)))
    }

    fn sum(&self, of: impl Fn(&Cache) -> Result<u64>) -> Result<u64> {
        self.0.shards.iter().try_fold(0, |sum, shard| Ok(u64::saturating_add(sum, of(shard)?)))
    }
}

/// # Walks over all shards
///
/// One shard after the other, each in insertion order; weakly consistent, as [`Cache::iter`].
impl FanoutCache {
    /// Iterates over the keys, from either end, including expired ones that have not been removed
    /// yet.
    ///
    /// ```
    /// use firncache::Key;
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set("key", &1)?;
    /// assert_eq!(cache.iter().next_back().transpose()?, Some(Key::from("key")));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use = "an iterator does nothing until it is advanced"]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Result<Key>> + use<> {
        let walks: Vec<_> = self.0.shards.iter().map(Cache::iter).collect();
        walks.into_iter().flatten()
    }

    /// Iterates over keys and values, from either end. Not counted as reads.
    ///
    /// ```
    /// use firncache::Key;
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set("key", &1)?;
    /// let items = cache.items::<i32>().collect::<firncache::Result<Vec<_>>>()?;
    /// assert_eq!(items, [(Key::from("key"), 1)]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use = "an iterator does nothing until it is advanced"]
    pub fn items<V: DeserializeOwned>(
        &self,
    ) -> impl DoubleEndedIterator<Item = Result<(Key, V)>> + use<V> {
        let walks: Vec<_> = self.0.shards.iter().map(Cache::items).collect();
        walks.into_iter().flatten()
    }

    /// Iterates over the keys of all shards in key order, from either end, including expired ones.
    /// Reads all keys at once and holds them in memory.
    ///
    /// # Errors
    ///
    /// As [`Cache::sorted_keys`].
    ///
    /// ```
    /// use firncache::Key;
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set_many([("b", 1), ("a", 2)], firncache::SetOptions::new())?;
    /// let keys = cache.sorted_keys()?.collect::<firncache::Result<Vec<_>>>()?;
    /// assert_eq!(keys, [Key::from("a"), Key::from("b")]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn sorted_keys(&self) -> Result<SortedKeys> {
        SortedKeys::of(&self.0.shards)
    }
}

/// # Removing from all shards
///
/// In short steps, one shard after the other: other writers get in between. Each waits up to a
/// minute for a shard, or as long as the handle's timeout if that is longer.
impl FanoutCache {
    /// Removes every expired item; gives their number.
    ///
    /// # Errors
    ///
    /// As [`Cache::expire`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use firncache::SetOptions;
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set_with("soon", &1, SetOptions::new().expire(Duration::ZERO))?;
    /// assert_eq!(cache.expire()?, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn expire(&self) -> Result<u64> {
        self.remove(Cache::expire)
    }

    /// Removes every item with a tag, expired ones too; gives their number.
    ///
    /// # Errors
    ///
    /// As [`Cache::evict`].
    ///
    /// ```
    /// use firncache::SetOptions;
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set_many([("a", 1), ("b", 2)], SetOptions::new().tag("v1"))?;
    /// assert_eq!(cache.evict("v1")?, 2);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn evict(&self, tag: impl ToKey) -> Result<u64> {
        self.remove(|shard| shard.evict(&tag))
    }

    /// Removes everything expired, then, by policy and from the fullest shard, as much as the size
    /// limit asks; gives the number of keys removed.
    ///
    /// # Errors
    ///
    /// As [`Cache::cull`].
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// assert_eq!(cache.cull()?, 0);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn cull(&self) -> Result<u64> {
        let mut removed = self.expire()?;
        loop {
            let mut step = 0;
            for (index, floor) in self.fullest_first() {
                let patient = &self.0.patient[index];
                let given = patient.relieve(self.0.options.patience(), STEP_KEYS, floor);
                step = given.map_err(|error| error.progress_after(removed))?;
                if step > 0 {
                    break;
                }
            }
            if step == 0 {
                return Ok(removed);
            }
            removed += step;
        }
    }

    /// Removes every key; gives their number.
    ///
    /// # Errors
    ///
    /// As [`Cache::clear`].
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set("key", &1)?;
    /// assert_eq!(cache.clear()?, 1);
    /// assert!(cache.is_empty()?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn clear(&self) -> Result<u64> {
        self.remove(Cache::clear)
    }

    fn remove(&self, from: impl Fn(&Cache) -> Result<u64>) -> Result<u64> {
        self.0.patient.iter().try_fold(0, |removed, shard| {
            let here = from(shard).map_err(|error| error.progress_after(removed))?;
            Ok(removed + here)
        })
    }
}
