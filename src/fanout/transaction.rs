//! A transaction over all shards.
//!
//! The locks are taken in the order of the shards, by everybody, so that nobody waits in a circle.
//! All shards are committed before anything else is done, culling above all: that takes a lock
//! again, and would take it out of order.

use std::fmt;
use std::ops::Deref;

use crate::cache::Cache;
use crate::cache::transaction::Transaction;
use crate::error::{Error, Result};
use crate::fanout::FanoutCache;

/// An open transaction on all shards of a [`FanoutCache`].
///
/// It is a [`FanoutCache`]. It holds the writer locks of all shards, so that other writers wait;
/// readers go on and see the state before it. Operations of the same thread on *any* handle of the
/// cache are part of it. Dropped without [`FanoutTransaction::commit`], it is rolled back, in all
/// shards.
///
/// **The commit is atomic for each shard, not for all together.** The shards are committed one
/// after the other, in their order. A process that is killed in between, or a disk that is full
/// for a later shard, leaves the earlier ones with what the transaction did, and the later ones
/// without; each shard has its part whole or not at all. Readers can see the same for the moment of
/// the commit. What must be all or nothing belongs into a [`Cache`], such as
/// [`FanoutCache::cache`] opens.
///
/// ```
/// # let cache = firncache::FanoutCache::temporary()?;
/// let transaction = cache.begin()?;
/// transaction.set("key", &1)?;
/// drop(transaction);
/// assert!(!cache.contains("key")?);
/// # Ok::<(), firncache::Error>(())
/// ```
pub struct FanoutTransaction<'a> {
    cache: &'a FanoutCache,
    open: Vec<Transaction<'a>>,
}

impl FanoutCache {
    /// Runs `work` as a transaction over all shards: commits if it gives `Ok`, rolls back if it
    /// gives an error or panics. See [`FanoutTransaction`] for what holds when the commit itself is
    /// cut short.
    ///
    /// Waits up to a minute for each shard, or as long as the handle's timeout if that is longer.
    ///
    /// # Errors
    ///
    /// Those of `work`; [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) if a lock is not had;
    /// [`ErrorKind::Full`](crate::ErrorKind::Full) if the disk has no room for the commit.
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set("from", &10)?;
    /// cache.transact(|tx| {
    ///     tx.decr("from", 3)?;
    ///     tx.incr("to", 3)?;
    ///     Ok::<_, firncache::Error>(())
    /// })?;
    /// assert_eq!((cache.get("from")?, cache.get("to")?), (Some(7), Some(3)));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn transact<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&FanoutTransaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        let transaction = self.begin()?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Begins a transaction over all shards, waiting for their locks; or joins the one that this
    /// thread has open.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout),
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// let transaction = cache.begin()?;
    /// transaction.set("key", &1)?;
    /// transaction.commit()?;
    /// assert_eq!(cache.get("key")?, Some(1));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn begin(&self) -> Result<FanoutTransaction<'_>> {
        self.begin_on(self.0.patient.iter())
    }

    /// Begins a transaction on some shards, which come in their order.
    pub(crate) fn begin_on<'a>(
        &'a self,
        shards: impl Iterator<Item = &'a Cache>,
    ) -> Result<FanoutTransaction<'a>> {
        let open = shards.map(Cache::begin).collect::<Result<Vec<_>>>()?;
        Ok(FanoutTransaction { cache: self, open })
    }
}

impl FanoutTransaction<'_> {
    /// Commits one shard after the other, if this is the outermost transaction.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Full`](crate::ErrorKind::Full) if the disk has no room: the shards before that
    /// one are committed then, and it and the others are not. With
    /// [`Durability::Sync`](crate::Durability::Sync) an error can also come from the disk after the
    /// commit.
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// let transaction = cache.begin()?;
    /// transaction.set_many([("a", 1), ("b", 2)], firncache::SetOptions::new())?;
    /// transaction.commit()?;
    /// assert_eq!(cache.len()?, 2);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn commit(self) -> Result<()> {
        let FanoutTransaction { cache, open } = self;
        let mut committed = Vec::with_capacity(open.len());
        let mut result = Ok(());
        for transaction in open {
            if result.is_err() {
                // Dropped, and thereby rolled back.
                continue;
            }
            let shard = Cache::clone(&transaction);
            match transaction.commit_alone() {
                Ok(stored) => committed.extend(stored.map(|stored| (shard, stored))),
                Err(error) => result = Err(error),
            }
        }
        for (shard, stored) in committed {
            let after = shard.after_commit(&stored);
            result = result.and(after);
            cache.relieve_after(stored.len());
        }
        result
    }
}

impl FanoutCache {
    /// Has the shards make room for one of them that has stored many keys and asks for it.
    fn relieve_after(&self, stored: usize) {
        let Some(asking) = self.0.budget.asked() else { return };
        for _ in 0..stored {
            if self.relieve(asking) == 0 {
                return;
            }
        }
    }
}

impl Deref for FanoutTransaction<'_> {
    type Target = FanoutCache;

    fn deref(&self) -> &FanoutCache {
        self.cache
    }
}

impl fmt::Debug for FanoutTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanoutTransaction").field("cache", self.cache).finish_non_exhaustive()
    }
}
