//! How a fanout cache is opened, and how many shards it has.
//!
//! The number of shards is a setting of each shard. The first one is made with it, in one step; who
//! comes second, in this process or another, finds it there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::Cache;
use crate::cache::forward::forward_options;
use crate::cache::options::{DEFAULT_TIMEOUT, Options};
use crate::cache::temporary::TemporaryDir;
use crate::error::{Error, ErrorKind, Result};
use crate::fanout::{FanoutCache, Inner};
use crate::format::shard::{MAX_SHARDS, shard_name};
use crate::store::Store;
use crate::store::budget::{Budget, Place};

/// The default of [`FanoutOptions::shards`].
///
/// ```
/// let cache = firncache::FanoutCache::temporary()?;
/// assert_eq!(cache.shards(), firncache::DEFAULT_SHARDS);
/// # Ok::<(), firncache::Error>(())
/// ```
pub const DEFAULT_SHARDS: usize = 8;
/// The default of [`FanoutOptions::timeout`]: 10 ms.
///
/// ```
/// assert!(firncache::DEFAULT_FANOUT_TIMEOUT < firncache::DEFAULT_TIMEOUT);
/// ```
pub const DEFAULT_FANOUT_TIMEOUT: Duration = Duration::from_millis(10);

/// How a [`FanoutCache`] is opened; made by [`FanoutCache::options`].
///
/// ```
/// use std::time::Duration;
/// use firncache::{Eviction, FanoutCache};
///
/// let dir = tempfile::tempdir()?;
/// let cache = FanoutCache::options()
///     .shards(4)
///     .size_limit(100 << 20)
///     .eviction(Eviction::Sieve)
///     .timeout(Duration::from_secs(1))
///     .open(dir.path().join("cache"))?;
/// assert_eq!(cache.settings().size_limit, 100 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// All of them, with the values that they have unless set:
///
/// ```
/// use firncache::{
///     Bincode, Compression, DEFAULT_CULL_LIMIT, DEFAULT_FANOUT_TIMEOUT, DEFAULT_SHARDS,
///     DEFAULT_SIZE_LIMIT, DEFAULT_VALUE_FILE_THRESHOLD, Durability, Eviction, FanoutCache,
///     PowerLoss, SystemClock,
/// };
///
/// let dir = tempfile::tempdir()?;
/// let cache = FanoutCache::options()
///     .shards(DEFAULT_SHARDS) // kept in the store, as all until power_loss
///     .size_limit(DEFAULT_SIZE_LIMIT)
///     .eviction(Eviction::LeastRecentlyStored)
///     .cull_limit(DEFAULT_CULL_LIMIT)
///     .statistics(false)
///     .value_file_threshold(DEFAULT_VALUE_FILE_THRESHOLD)
///     .exact_cull_count(false)
///     .power_loss(PowerLoss::Recover)
///     .timeout(DEFAULT_FANOUT_TIMEOUT) // of this handle, as all that follow
///     .codec(Bincode)
///     .compression(Compression::NONE)
///     .clock(SystemClock)
///     .read_only(false)
///     .create(true)
///     .allow_untrusted(false)
///     .durability(Durability::Process)
///     .open(dir.path())?;
/// assert_eq!(cache.settings(), FanoutCache::open(dir.path())?.settings());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until open() is called"]
pub struct FanoutOptions {
    shards: Option<usize>,
    options: Options,
}

impl Default for FanoutOptions {
    fn default() -> FanoutOptions {
        let options = Options::default().timeout(DEFAULT_FANOUT_TIMEOUT);
        FanoutOptions { shards: None, options }
    }
}

/// # Kept in the store
///
/// These hold for every process that uses the store, now and later. What is not named keeps the
/// value that the store has; a new store begins with the defaults.
impl FanoutOptions {
    /// Sets the number of shards of a cache that is made ([`DEFAULT_SHARDS`] unless set; at most
    /// 1000). More let more writers go on at once; each takes some tens of KiB for itself. It stays:
    /// asking an existing cache for another number is an error.
    ///
    /// ```
    /// use firncache::{ErrorKind, FanoutCache};
    /// let dir = tempfile::tempdir()?;
    /// FanoutCache::options().shards(4).open(dir.path())?;
    /// assert_eq!(FanoutCache::open(dir.path())?.shards(), 4); // it is kept
    /// let other = FanoutCache::options().shards(5).open(dir.path());
    /// assert_eq!(other.unwrap_err().kind(), ErrorKind::Setting);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shards(mut self, shards: usize) -> FanoutOptions {
        self.shards = Some(shards);
        self
    }

    forward_options! { ("FanoutCache", "cache", ""):
        /// All shards together keep to it, give or take one segment of each one's log.
        size_limit;
        eviction;
        /// From each shard, that is.
        cull_limit;
        statistics;
        value_file_threshold;
        /// A shard is full when it has reached its part of the limit.
        exact_cull_count;
        power_loss;
    }
}

/// # Of this handle
///
/// These hold for the handle that [`FanoutOptions::open`] gives, and its clones.
impl FanoutOptions {
    forward_options! { ("FanoutCache", "cache", ""):
        /// That is for the lock of one shard, and for calls that name a key: [`DEFAULT_FANOUT_TIMEOUT`]
        /// unless set.
        timeout;
        codec;
        compression;
        clock;
        read_only;
        create;
        allow_untrusted;
        durability;
    }

    /// Opens the cache in a directory, making it if need be.
    ///
    /// Opens one shard after the other, each in well under a millisecond. Takes no lock and writes
    /// nothing when there is nothing to change.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Setting`] if the cache has another number of shards than was asked for, and the
    /// message says how many; or if the directory is that of a [`Cache`]. Also as
    /// [`Options::open`].
    ///
    /// ```
    /// use firncache::{ErrorKind, FanoutCache};
    ///
    /// let dir = tempfile::tempdir()?;
    /// FanoutCache::options().shards(2).open(dir.path())?;
    /// assert_eq!(FanoutCache::open(dir.path())?.shards(), 2);
    /// let error = FanoutCache::options().shards(16).open(dir.path()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Setting);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(self, directory: impl AsRef<Path>) -> Result<FanoutCache> {
        self.open_at(directory.as_ref(), None)
    }

    /// Opens a cache in a new directory, which goes with the last handle.
    pub(crate) fn open_temporary(self) -> Result<FanoutCache> {
        let temporary = TemporaryDir::new()?;
        let path = temporary.path().to_path_buf();
        self.open_at(&path, Some(temporary))
    }

    fn open_at(self, path: &Path, temporary: Option<TemporaryDir>) -> Result<FanoutCache> {
        let directory = std::path::absolute(path)
            .map_err(|source| Error::io("find the cache directory", path, source))?;
        let stores = self.open_stores(&directory)?;
        let options = self.options;
        let patience = options.patience().max(DEFAULT_TIMEOUT);
        let (count, budget) = (stores.len(), Arc::new(Budget::new(stores.clone())));
        let handle = |(index, store)| {
            // One alone has the limit for itself.
            let place = (count > 1).then(|| Place { budget: Arc::clone(&budget), index });
            options.handle(store, place, None)
        };
        let shards = stores.into_iter().enumerate().map(handle).collect::<Result<Vec<_>>>()?;
        let patient: Vec<Cache> = shards.iter().map(|it| it.with_timeout(patience)).collect();
        if let Some(lead) = patient.first() {
            options.settle(lead)?;
        }
        let options = options.of_handle().timeout(patience);
        let inner = Inner { shards, patient, budget, directory, options, temporary };
        let cache = FanoutCache(Arc::new(inner));
        // What somebody who changed settings had no time for.
        match cache.follow_the_lead() {
            // Of a shard whose disk fails: it says so to whoever writes or syncs there.
            Err(error) if error.kind() != ErrorKind::Io => Err(error),
            _ => Ok(cache),
        }
    }

    /// Opens the first shard, which says how many there are, and the others.
    fn open_stores(&self, directory: &Path) -> Result<Vec<Store>> {
        let refuse = |why: String| Err(Error::new(ErrorKind::Setting, why).at(directory));
        let asked = match self.shards {
            Some(asked) if !(1..=usize::from(MAX_SHARDS)).contains(&asked) => {
                return refuse(format!("cannot have {asked} shards: ask for 1 to {MAX_SHARDS}"));
            }
            asked => asked,
        };
        self.options.vouch_for(directory)?;
        let first = directory.join(shard_name(0));
        if !first.exists() && directory.join("head").exists() {
            return refuse(
                "this is the directory of a Cache: open it as such, or use another directory"
                    .to_owned(),
            );
        }
        let mut settings = self.options.settings_of_new();
        settings.shards = asked.unwrap_or(DEFAULT_SHARDS) as u16;
        let first = self.options.open_store(&first, settings)?;
        let settings = first.settings();
        let kept = usize::from(settings.shards);
        match asked {
            _ if !(1..=usize::from(MAX_SHARDS)).contains(&kept) => refuse(format!(
                "{} is no shard of a FanoutCache: open it as a Cache, or restore it",
                shard_name(0)
            )),
            Some(asked) if asked != kept => refuse(format!(
                "the cache has {kept} shards, and {asked} were asked for: ask for {kept}, or for \
                 no number"
            )),
            _ => {
                let others = (1..kept).map(|index| {
                    self.options.open_store(&directory.join(shard_name(index)), settings.clone())
                });
                std::iter::once(Ok(first)).chain(others).collect()
            }
        }
    }
}
