//! Several operations as one.

use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;

use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::store::transaction::OpenTransaction;

/// An open transaction: its operations become visible together, or not at all.
///
/// It is a [`Cache`]. It holds the writer lock of the cache, so that other writers wait; readers go
/// on and see the state before it. Operations of the same thread on *any* handle of the cache are
/// part of it. Writes are kept in memory until the commit, values in files excepted. Dropped
/// without [`Transaction::commit`], it is rolled back.
///
/// Transactions nest: an inner one joins the outer, and only the outermost commits or rolls back.
///
/// ```
/// # let cache = firncache::Cache::temporary()?;
/// let transaction = cache.begin()?;
/// transaction.set("a", &1)?;
/// cache.set("b", &2)?; // the same thread: part of it, too
/// drop(transaction);
/// assert!(cache.is_empty()?);
/// # Ok::<(), firncache::Error>(())
/// ```
pub struct Transaction<'a> {
    cache: &'a Cache,
    open: OpenTransaction<'a>,
    is_outermost: bool,
}

impl Cache {
    /// Runs `work` as a transaction: commits if it gives `Ok`, rolls back if it gives an error or
    /// panics.
    ///
    /// # Errors
    ///
    /// Those of `work`; [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) if the lock is not had;
    /// [`ErrorKind::Full`](crate::ErrorKind::Full) if the disk has no room for the commit, and
    /// nothing is changed then.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
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
        work: impl FnOnce(&Transaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        let transaction = self.begin()?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Begins a transaction, waiting for the writer lock; or joins the one that this thread has
    /// open.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout),
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly).
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let transaction = cache.begin()?;
    /// transaction.set("a", &1)?;
    /// transaction.set("b", &2)?;
    /// transaction.commit()?;
    /// assert_eq!(cache.len()?, 2);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn begin(&self) -> Result<Transaction<'_>> {
        self.refuse_if_not_durable()?;
        let is_outermost = !self.0.store.is_in_transaction();
        let open = self.0.store.begin(self.0.timeout)?;
        Ok(Transaction { cache: self, open, is_outermost })
    }
}

impl Transaction<'_> {
    /// Makes everything visible at once, if this is the outermost transaction.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Full`](crate::ErrorKind::Full) if the disk has no room: nothing is changed
    /// then. With [`Durability::Sync`](crate::Durability::Sync) an error can also come from the
    /// disk after the commit.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let transaction = cache.begin()?;
    /// transaction.incr("count", 1)?;
    /// transaction.commit()?;
    /// assert_eq!(cache.get("count")?, Some(1));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn commit(self) -> Result<()> {
        let cache = self.cache;
        match self.commit_alone()? {
            Some(stored) => cache.after_commit(&stored),
            None => Ok(()),
        }
    }

    /// Commits, and leaves [`Cache::after_commit`] to the caller; comes with the hashes of the keys
    /// that were stored, if this was the outermost transaction.
    pub(crate) fn commit_alone(self) -> Result<Option<Vec<u64>>> {
        let Transaction { cache, open, is_outermost } = self;
        let stored = is_outermost.then(|| cache.stored_in_transaction()).transpose()?;
        open.commit()?;
        Ok(stored)
    }
}

impl Cache {
    /// What follows a commit, when the lock is free again: the disk, and room for what was stored.
    pub(crate) fn after_commit(&self, stored: &[u64]) -> Result<()> {
        self.made_durable()?;
        self.cull_after_many(stored);
        Ok(())
    }

    /// The hashes of the keys that the open transaction has stored.
    fn stored_in_transaction(&self) -> Result<Vec<u64>> {
        let store = &self.0.store;
        store.write(self.0.timeout, |writer| {
            let mut seen = HashSet::new();
            let hashes = writer.own().into_iter().map(|(key, _)| store.hashed(&key).hash);
            Ok(hashes.filter(|hash| seen.insert(*hash)).collect())
        })
    }
}

impl Deref for Transaction<'_> {
    type Target = Cache;

    fn deref(&self) -> &Cache {
        self.cache
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("directory", &self.cache.directory())
            .field("is_outermost", &self.is_outermost)
            .finish()
    }
}
