//! Functions whose results are kept in the shards.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::memoize::{MemoizeOptions, Memoized, Place};
use crate::fanout::FanoutCache;
use crate::format::shard::shard_of;

impl FanoutCache {
    /// Makes a function of which each result is computed once at a time, across threads and
    /// processes, and kept, as [`Cache::memoize`] does.
    ///
    /// It waits for other writers not for the short time of this handle, but for at least a minute,
    /// so that what was computed is not lost.
    ///
    /// ```
    /// use firncache::{FanoutCache, MemoizeOptions};
    ///
    /// let cache = FanoutCache::temporary()?;
    /// let words = cache.memoize("words", MemoizeOptions::new(), |text: &str| {
    ///     text.split_whitespace().count()
    /// });
    /// assert_eq!(words.call("to be or not to be")?, 6);
    /// assert_eq!(words.call("to be or not to be")?, 6); // not computed again
    /// assert!(cache.contains(words.key("to be or not to be")?)?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn memoize<A, V>(
        &self,
        name: &str,
        options: MemoizeOptions<V>,
        function: impl Fn(&A) -> V + Send + Sync + 'static,
    ) -> Memoized<A, V>
    where
        A: Serialize + ?Sized,
        V: Serialize + DeserializeOwned,
    {
        Memoized::new(self.clone(), name, options, Arc::new(function))
    }
}

impl Place for FanoutCache {
    fn cache_of(&self, key: &[u8]) -> &Cache {
        &self.0.patient[shard_of(key, self.0.patient.len())]
    }

    fn first(&self) -> &Cache {
        &self.0.patient[0]
    }

    fn has_stored(&self) {
        self.relieve_if_asked();
    }
}
