//! A cache of several shards, so that several writers go on at once.
//!
//! ```text
//! dir/000 .. dir/007      the shards: caches, each with a writer lock of its own
//! dir/cache/<name>        what `cache(name)` opens; `index/` alike
//!
//! key -> encoded bytes -> shard_of (format::shard) -> Cache::set, ..   then `relieve`
//! ```
//!
//! The first shard leads: its settings hold, the others follow (`upkeep`), and the number of shards
//! is among them. All shards keep the whole size limit, and know of each other (`store::budget`).
//!
//! ```text
//! options       opening, and what the number of shards is
//! keys many     what names a key: forwarded to its shard
//! memoize       functions, each result in the shard of its key
//! whole         sums and walks over all shards, removing from all
//! upkeep        settings, checking, the disk
//! transaction   all shards at once
//! named         caches and the like under the same directory
//! ```
//!
//! Invariants: locks of several shards are only ever held together by a transaction, and taken in
//! the order of the shards; making room in another shard waits for no lock.

pub(crate) mod keys;
pub(crate) mod many;
pub(crate) mod memoize;
pub(crate) mod named;
pub(crate) mod options;
pub(crate) mod transaction;
pub(crate) mod upkeep;
pub(crate) mod whole;

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cache::Cache;
use crate::cache::options::Options;
use crate::cache::temporary::TemporaryDir;
use crate::error::Result;
use crate::fanout::options::FanoutOptions;
use crate::format::key_buf::{KeyBuf, ToKey};
use crate::format::shard::shard_of;
use crate::store::budget::Budget;

/// A persistent map like [`Cache`], spread over shards so that several writers go on at once.
///
/// Each key belongs to one shard, and each shard has a writer lock of its own. With many writing
/// processes on many cores this multiplies what they do together; a single writer gains nothing,
/// and insertion order is kept within shards only. A call that names a key waits at most
/// [`timeout`](FanoutOptions::timeout), by default 10 ms; what goes over all shards waits a minute
/// for each, or `timeout` if that is longer.
///
/// There is one size limit for the whole: a value may be as large as all of it, and eviction begins
/// when the shards together exceed it. Each takes some tens of KiB for itself, so small limits want
/// few shards.
///
/// ```
/// use firncache::FanoutCache;
///
/// let dir = tempfile::tempdir()?;
/// let cache = FanoutCache::open(dir.path().join("cache"))?;
/// cache.set("answer", &42)?;
/// assert_eq!(cache.get("answer")?, Some(42));
/// assert_eq!((cache.len()?, cache.shards()), (1, 8));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct FanoutCache(Arc<Inner>);

/// What the clones of a handle share.
struct Inner {
    shards: Vec<Cache>,
    /// The same, for operations on all of them: these wait longer.
    patient: Vec<Cache>,
    budget: Arc<Budget>,
    directory: PathBuf,
    /// For what is opened under the same directory.
    options: Options,
    /// Last, so that the directory goes after the shards are closed.
    #[expect(dead_code, reason = "held for its drop")]
    temporary: Option<TemporaryDir>,
}

impl FanoutCache {
    /// Opens the cache in a directory with the default options, making it if need be.
    ///
    /// # Errors
    ///
    /// See [`FanoutOptions::open`].
    ///
    /// ```
    /// let dir = tempfile::tempdir()?;
    /// let cache = firncache::FanoutCache::open(dir.path())?;
    /// assert!(cache.is_empty()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(directory: impl AsRef<Path>) -> Result<FanoutCache> {
        FanoutCache::options().open(directory)
    }

    /// Opens a cache in a new temporary directory, which is removed with all that was opened under
    /// it when the last clone is dropped.
    ///
    /// # Errors
    ///
    /// See [`FanoutOptions::open`].
    ///
    /// ```
    /// let cache = firncache::FanoutCache::temporary()?;
    /// cache.set("key", "value")?;
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn temporary() -> Result<FanoutCache> {
        FanoutCache::options().open_temporary()
    }

    /// Begins to say how a cache is to be opened.
    ///
    /// ```
    /// let dir = tempfile::tempdir()?;
    /// let cache = firncache::FanoutCache::options().shards(4).open(dir.path())?;
    /// assert_eq!(cache.shards(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn options() -> FanoutOptions {
        FanoutOptions::default()
    }

    /// Gives the directory of the cache.
    ///
    /// ```
    /// let cache = firncache::FanoutCache::temporary()?;
    /// assert!(cache.directory().join("000").is_dir());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Gives the number of shards, which is kept in the store.
    ///
    /// ```
    /// let cache = firncache::FanoutCache::temporary()?;
    /// assert_eq!(cache.shards(), 8);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn shards(&self) -> usize {
        self.0.shards.len()
    }

    fn index_of(&self, key: &KeyBuf) -> usize {
        shard_of(key.as_bytes(), self.0.shards.len())
    }

    #[inline]
    fn encoded_key(&self, key: &impl ToKey) -> Result<KeyBuf> {
        KeyBuf::of(key).map_err(|error| error.at(self.directory()))
    }

    /// The shard that a key belongs to.
    #[inline]
    fn shard(&self, key: &impl ToKey) -> Result<&Cache> {
        Ok(&self.0.shards[self.index_of(&self.encoded_key(key)?)])
    }

    /// Writes in the shard of a key, and has the others make room if that one could not.
    #[inline]
    fn write<K: ToKey, R>(&self, key: K, work: impl FnOnce(&Cache, K) -> Result<R>) -> Result<R> {
        let result = work(self.shard(&key)?, key);
        self.relieve_if_asked();
        result
    }

    /// Makes room in another shard if one has asked for it.
    #[inline]
    fn relieve_if_asked(&self) {
        if let Some(asking) = self.0.budget.asked() {
            self.relieve(asking);
        }
    }

    /// Makes room in the fullest shard, for one that could not make enough in itself; gives the
    /// number of keys removed.
    ///
    /// A lock that is taken is not waited for: whoever holds it is writing there, and looks at the
    /// limit, too.
    #[cold]
    fn relieve(&self, asking: usize) -> u64 {
        if self.0.shards.iter().any(Cache::is_in_transaction) {
            return 0;
        }
        let most = self.settings().cull_limit.into();
        let others: Vec<_> = self.fullest_first().filter(|(index, _)| *index != asking).collect();
        for (index, floor) in others {
            let removed = self.0.shards[index].relieve(Duration::ZERO, most, floor);
            if let Ok(removed @ 1..) = removed {
                return removed;
            }
        }
        0
    }

    /// The shards, the fullest first, each with what the next one takes.
    fn fullest_first(&self) -> impl Iterator<Item = (usize, u64)> + use<> {
        let all = self.0.budget.fullest_first();
        let floors: Vec<u64> = all.iter().skip(1).map(|(_, bytes)| *bytes).chain([0]).collect();
        all.into_iter().map(|(index, _)| index).zip(floors)
    }
}

/// A panic leaves nothing half done: open transactions are rolled back, and locks given back.
impl UnwindSafe for FanoutCache {}
impl RefUnwindSafe for FanoutCache {}

impl fmt::Debug for FanoutCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanoutCache")
            .field("directory", &self.directory())
            .field("shards", &self.shards())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::os::unix::fs::MetadataExt;
    use std::rc::Rc;

    use super::*;
    use crate::cache::options::Durability;
    use crate::error::ErrorKind;
    use crate::format::settings::{PowerLoss, Settings};
    use crate::store::Store;
    use crate::store::open::OpenOptions;
    use crate::sys::sync::Ordering;
    use crate::sys::testing::{Step, watch};

    fn assert_shareable<T: Send + Sync + Clone + fmt::Debug + 'static>() {}
    fn assert_unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}

    #[test]
    fn handles_can_be_shared_between_threads() {
        assert_shareable::<FanoutCache>();
        assert_shareable::<FanoutOptions>();
        assert_unwind_safe::<FanoutCache>();
    }

    #[test]
    fn shards_can_be_opened_although_the_disk_of_one_fails() {
        let dir = tempfile::tempdir().unwrap();
        let open = || FanoutCache::options().shards(2).open(dir.path()).unwrap();
        let clears = |settings: &mut Settings| settings.power_loss = PowerLoss::Clear;
        let cache = open();
        (0..100).for_each(|key| assert!(cache.set(key, &key).is_ok()));
        let options =
            OpenOptions { create: false, read_only: false, allow_network: true, settings: None };
        let store = Store::open(cache.0.shards[1].directory(), &options).unwrap();
        store.shared().head.set_sync_failed(&store.shared().whereabouts().unwrap());
        assert_eq!(cache.update_settings(clears).unwrap_err().kind(), ErrorKind::Io);
        drop((cache, store));
        let cache = open();
        assert_eq!(cache.sync().unwrap_err().kind(), ErrorKind::Io);
        cache.clear().unwrap();
        cache.update_settings(clears).unwrap();
        cache.sync().unwrap();
        let promised = |shard: &Cache| shard.settings().power_loss;
        assert!(cache.0.shards.iter().all(|shard| promised(shard) == PowerLoss::Clear));
    }

    /// Without it, after power loss, nobody would look where the key is.
    #[test]
    fn a_durable_write_in_any_shard_makes_the_number_of_shards_durable() {
        let dir = tempfile::tempdir().unwrap();
        let options = FanoutCache::options().shards(3).durability(Durability::Sync);
        let cache = options.open(dir.path()).unwrap();
        let key = (0..100).find(|key| cache.index_of(&KeyBuf::of(key).unwrap()) == 2).unwrap();
        let steps = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&steps);
        let hook = move |step: Step| {
            seen.borrow_mut().push(step);
            Ok(())
        };
        watch(hook, || cache.set(key, &1)).unwrap();
        let inode = |index: usize| cache.0.shards[index].directory().metadata().unwrap().ino();
        let names_of = |index| steps.borrow().contains(&Step::Sync(inode(index)));
        assert_eq!([0, 1, 2].map(names_of), [true, false, true]);
        let heads = steps.borrow().iter().filter(|step| **step == Step::Flush).count();
        assert_eq!(heads, 3, "that of the shard before its first change, and both after it");
        steps.borrow_mut().clear();
        cache.set(key, &2).unwrap();
        assert_eq!([0, 1, 2].map(names_of), [false, false, false], "once in each process");
    }

    #[test]
    fn sums_of_damaged_counters_are_no_panic() {
        let cache = FanoutCache::temporary().unwrap();
        let options =
            OpenOptions { create: false, read_only: false, allow_network: true, settings: None };
        for shard in &cache.0.shards {
            let store = Store::open(shard.directory(), &options).unwrap();
            store.shared().head.hits().store(u64::MAX, Ordering::Relaxed);
        }
        assert_eq!(cache.stats().unwrap().hits, u64::MAX);
    }
}
