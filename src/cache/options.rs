//! How a cache is opened: the settings that are kept in the store, and those of one handle.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::codec::{AnyCodec, Codec};
use crate::cache::compression::Compression;
use crate::cache::{Cache, Handle, temporary::TemporaryDir};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::format::settings::{Eviction, PowerLoss, Settings};
use crate::format::shard::shard_name;
use crate::holds::Holds;
use crate::store::Store;
use crate::store::budget::Place;
use crate::store::open::OpenOptions;

/// The default of [`Options::timeout`]: one minute.
///
/// ```
/// assert_eq!(firncache::DEFAULT_TIMEOUT.as_secs(), 60);
/// ```
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// What a write that returned has survived.
///
/// ```
/// use firncache::{Cache, Durability};
///
/// let dir = tempfile::tempdir()?;
/// let cache = Cache::options().durability(Durability::Sync).open(dir.path())?;
/// cache.set("order", &17)?; // on disk when this returns
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Durability {
    /// The end of any process, also by `kill -9`. After power loss a prefix of the history
    /// survives, and at least what the last [`Cache::sync`] covered. The default.
    #[default]
    Process,
    /// Power loss as well. Every write, and every commit of a transaction, then waits for the disk:
    /// milliseconds instead of a microsecond. A write that the disk fails can have been made all the
    /// same. From then on writes are refused, and change nothing, until [`Cache::clear`].
    Sync,
}

/// How a cache is opened; made by [`Cache::options`].
///
/// ```
/// use std::time::Duration;
/// use firncache::{Cache, Eviction};
///
/// let dir = tempfile::tempdir()?;
/// let cache = Cache::options()
///     .size_limit(100 << 20)
///     .eviction(Eviction::LeastRecentlyUsed)
///     .timeout(Duration::from_secs(5))
///     .open(dir.path().join("cache"))?;
/// assert_eq!(cache.settings().size_limit, 100 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// All of them, with the values that they have unless set:
///
/// ```
/// use firncache::{
///     Bincode, Cache, Compression, DEFAULT_CULL_LIMIT, DEFAULT_SIZE_LIMIT, DEFAULT_TIMEOUT,
///     DEFAULT_VALUE_FILE_THRESHOLD, Durability, Eviction, PowerLoss, Settings, SystemClock,
/// };
///
/// let dir = tempfile::tempdir()?;
/// let cache = Cache::options()
///     .size_limit(DEFAULT_SIZE_LIMIT) // kept in the store, as all until power_loss
///     .eviction(Eviction::LeastRecentlyStored)
///     .cull_limit(DEFAULT_CULL_LIMIT)
///     .statistics(false)
///     .value_file_threshold(DEFAULT_VALUE_FILE_THRESHOLD)
///     .exact_cull_count(false)
///     .power_loss(PowerLoss::Recover)
///     .timeout(DEFAULT_TIMEOUT) // of this handle, as all that follow
///     .codec(Bincode)
///     .compression(Compression::NONE)
///     .clock(SystemClock)
///     .read_only(false)
///     .create(true)
///     .allow_untrusted(false)
///     .durability(Durability::Process)
///     .open(dir.path())?;
/// assert_eq!(cache.settings(), Settings::default());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "options do nothing until open() is called"]
pub struct Options {
    asked: Asked,
    timeout: Duration,
    /// A codec that is refused is reported by `open`.
    codec: Result<AnyCodec, String>,
    compression: Compression,
    clock: Arc<dyn Clock>,
    read_only: bool,
    create: bool,
    allow_untrusted: bool,
    durability: Durability,
}

/// The kept settings that the caller has named; the others stay as they are in the store.
#[derive(Clone, Default)]
struct Asked {
    size_limit: Option<u64>,
    eviction: Option<Eviction>,
    cull_limit: Option<u32>,
    statistics: Option<bool>,
    value_file_threshold: Option<u64>,
    exact_cull_count: Option<bool>,
    power_loss: Option<PowerLoss>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            asked: Asked::default(),
            timeout: DEFAULT_TIMEOUT,
            codec: Ok(AnyCodec::Bincode),
            compression: Compression::NONE,
            clock: Arc::new(SystemClock),
            read_only: false,
            create: true,
            allow_untrusted: false,
            durability: Durability::default(),
        }
    }
}

/// # Kept in the store
///
/// These hold for every process that uses the store, now and later. What is not named keeps the
/// value that the store has; a new store begins with the defaults. [`Cache::update_settings`]
/// changes them in an open cache.
impl Options {
    /// Sets the bytes on disk that the cache keeps to, give or take one segment of its log
    /// ([`DEFAULT_SIZE_LIMIT`](crate::DEFAULT_SIZE_LIMIT) unless set). Larger keeps more keys;
    /// smaller evicts earlier, and values that can never fit are refused. Zero is no "unlimited":
    /// nothing fits then, and every write is [`ErrorKind::TooLarge`]. [`Eviction::None`] is the
    /// setting without a limit.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let cache = firncache::Cache::options().size_limit(64 << 20).open(dir.path())?;
    /// assert_eq!(cache.settings().size_limit, 64 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn size_limit(mut self, bytes: u64) -> Options {
        self.asked.size_limit = Some(bytes);
        self
    }

    /// Sets which keys go when the limit is reached ([`Eviction::LeastRecentlyStored`] unless
    /// set). With [`Eviction::None`] the limit does not hold.
    ///
    /// ```
    /// use firncache::{Cache, Eviction};
    /// # let dir = tempfile::tempdir()?;
    /// let cache = Cache::options().eviction(Eviction::Sieve).open(dir.path())?;
    /// assert_eq!(cache.settings().eviction, Eviction::Sieve);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn eviction(mut self, eviction: Eviction) -> Options {
        self.asked.eviction = Some(eviction);
        self
    }

    /// Sets how many keys one write removes at most on its own, expired ones and evicted ones
    /// together ([`DEFAULT_CULL_LIMIT`](crate::DEFAULT_CULL_LIMIT) unless set). Larger brings the
    /// cache below a lowered limit sooner, smaller keeps single writes shorter; 0 switches removal
    /// off, and with it the limit.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let cache = firncache::Cache::options().cull_limit(100).open(dir.path())?;
    /// assert_eq!(cache.settings().cull_limit, 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cull_limit(mut self, keys: u32) -> Options {
        self.asked.cull_limit = Some(keys);
        self
    }

    /// Sets whether reads are counted as hits and misses (off unless set); see [`Cache::stats`].
    /// Counting costs a read one atomic addition on a word that all processes share.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let cache = firncache::Cache::options().statistics(true).open(dir.path())?;
    /// cache.get::<i32>("missing")?;
    /// assert_eq!(cache.stats()?.misses, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn statistics(mut self, on: bool) -> Options {
        self.asked.statistics = Some(on);
        self
    }

    /// Sets from how many bytes on a value lies in a file of its own
    /// ([`DEFAULT_VALUE_FILE_THRESHOLD`](crate::DEFAULT_VALUE_FILE_THRESHOLD) unless set). Smaller
    /// makes more files, each of which costs a fraction of a millisecond to write; larger lets
    /// compaction copy larger values. A small `size_limit` lowers it further.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let cache = firncache::Cache::options().value_file_threshold(1 << 16).open(dir.path())?;
    /// cache.set_bytes("large", &[7; 100_000])?;
    /// assert!(cache.reader("large")?.unwrap().path().is_some()); // a file of its own
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn value_file_threshold(mut self, bytes: u64) -> Options {
        self.asked.value_file_threshold = Some(bytes);
        self
    }

    /// Sets whether a write that finds the cache full removes exactly `cull_limit` keys, as
    /// python-diskcache does, instead of just enough (off unless set).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let cache = firncache::Cache::options().exact_cull_count(true).open(dir.path())?;
    /// assert!(cache.settings().exact_cull_count);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn exact_cull_count(mut self, on: bool) -> Options {
        self.asked.exact_cull_count = Some(on);
        self
    }

    /// Sets what the store does for the case of power loss ([`PowerLoss::Recover`] unless set).
    ///
    /// ```
    /// use firncache::{Cache, PowerLoss};
    /// # let dir = tempfile::tempdir()?;
    /// let cache = Cache::options().power_loss(PowerLoss::Clear).open(dir.path())?;
    /// assert_eq!(cache.settings().power_loss, PowerLoss::Clear);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn power_loss(mut self, power_loss: PowerLoss) -> Options {
        self.asked.power_loss = Some(power_loss);
        self
    }
}

/// # Of this handle
///
/// These hold for the handle that [`Options::open`] gives, and its clones.
impl Options {
    /// Sets how long a call waits for the writer lock ([`DEFAULT_TIMEOUT`] unless set) before it
    /// fails with [`ErrorKind::Timeout`]. Shorter suits those who would rather compute a value
    /// than wait; reads never wait. [`Duration::MAX`] waits for ever.
    ///
    /// ```
    /// use std::time::Duration;
    /// use firncache::{Cache, ErrorKind};
    /// # let dir = tempfile::tempdir()?;
    /// let cache = Cache::options().timeout(Duration::ZERO).open(dir.path())?;
    /// let transaction = cache.begin()?;
    /// let other = std::thread::spawn({
    ///     let cache = cache.clone();
    ///     move || cache.set("key", &1).map_err(|error| error.kind())
    /// });
    /// assert_eq!(other.join().unwrap(), Err(ErrorKind::Timeout));
    /// # drop(transaction);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Options {
        self.timeout = timeout;
        self
    }

    /// Sets how values without a native form are written ([`Bincode`](crate::Bincode) unless set);
    /// see [`Codec`]. What another codec of this crate wrote is read all the same.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # #[cfg(feature = "json")] {
    /// use firncache::{Cache, Json};
    /// let cache = Cache::options().codec(Json).open(dir.path())?;
    /// cache.set("list", &vec![1, 2])?;
    /// assert_eq!(Cache::open(dir.path())?.get("list")?, Some(vec![1, 2])); // whatever its codec
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn codec(mut self, codec: impl Codec) -> Options {
        self.codec = AnyCodec::new(codec).map_err(|error| error.to_string());
        self
    }

    /// Sets how the values that this handle stores are compressed ([`Compression::NONE`] unless
    /// set); all but streams and what is small, whatever the codec is. Compressed values are read
    /// by every handle whose program has the feature that it takes.
    ///
    /// ```
    /// use firncache::{Cache, Compression};
    /// # let dir = tempfile::tempdir()?;
    /// # #[cfg(feature = "zstd")]
    /// let cache = Cache::options().compression(Compression::zstd(3)).open(dir.path())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compression(mut self, compression: Compression) -> Options {
        self.compression = compression;
        self
    }

    /// Sets the clock by which items expire ([`SystemClock`] unless set), for tests. It must not
    /// use the cache.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use std::time::{Duration, SystemTime};
    /// use firncache::{Cache, SetOptions};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// static SECONDS: AtomicU64 = AtomicU64::new(1_000_000);
    /// let clock =
    ///     || SystemTime::UNIX_EPOCH + Duration::from_secs(SECONDS.load(Ordering::Relaxed));
    /// let cache = Cache::options().clock(clock).open(dir.path())?;
    /// cache.set_with("key", &1, SetOptions::new().expire(Duration::from_secs(60)))?;
    /// SECONDS.fetch_add(60, Ordering::Relaxed);
    /// assert_eq!(cache.get::<i32>("key")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clock(mut self, clock: impl Clock) -> Options {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets whether the handle only reads (off unless set). Then a directory without write access
    /// can be opened, and every write fails with [`ErrorKind::ReadOnly`].
    ///
    /// ```
    /// use firncache::{Cache, ErrorKind};
    /// # let dir = tempfile::tempdir()?;
    /// Cache::open(dir.path())?.set("key", &1)?;
    /// let cache = Cache::options().read_only(true).open(dir.path())?;
    /// assert_eq!(cache.get("key")?, Some(1));
    /// assert_eq!(cache.set("key", &2).unwrap_err().kind(), ErrorKind::ReadOnly);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read_only(mut self, on: bool) -> Options {
        self.read_only = on;
        self
    }

    /// Sets whether a cache that does not exist is made (on unless set).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let missing = dir.path().join("missing");
    /// assert!(firncache::Cache::options().create(false).open(&missing).is_err());
    /// assert!(!missing.exists());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(mut self, on: bool) -> Options {
        self.create = on;
        self
    }

    /// Sets whether a directory is opened that lies on a network file system, or that others can
    /// write to (off unless set). Processes of *one* machine may then share it; processes of
    /// several machines damage it.
    ///
    /// ```
    /// use std::os::unix::fs::PermissionsExt;
    /// use firncache::Cache;
    /// # let dir = tempfile::tempdir()?;
    /// let shared = dir.path().join("shared");
    /// std::fs::create_dir(&shared)?;
    /// std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o777))?;
    /// assert!(Cache::open(&shared).is_err());
    /// assert!(Cache::options().allow_untrusted(true).open(&shared).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn allow_untrusted(mut self, on: bool) -> Options {
        self.allow_untrusted = on;
        self
    }

    /// Sets what a write that returned has survived ([`Durability::Process`] unless set).
    ///
    /// ```
    /// use firncache::{Cache, Durability};
    /// # let dir = tempfile::tempdir()?;
    /// let cache = Cache::options().durability(Durability::Sync).open(dir.path())?;
    /// cache.set("key", &1)?; // it is on disk when this returns
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn durability(mut self, durability: Durability) -> Options {
        self.durability = durability;
        self
    }

    /// Opens the cache in a directory, making it if need be.
    ///
    /// Opening takes well under a millisecond whatever the size, takes no lock, and writes nothing
    /// when there is nothing to change.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Setting`] for an option that is out of range, and for the directory of a
    /// [`FanoutCache`](crate::FanoutCache); [`ErrorKind::ReadOnly`] if kept
    /// settings would have to change but cannot; [`ErrorKind::Unsupported`] for a directory that
    /// is not safe to share; [`ErrorKind::Version`] and [`ErrorKind::Corrupt`] for what is not a
    /// cache of this version; [`ErrorKind::Io`] for what the system refuses.
    ///
    /// ```
    /// use firncache::{Cache, ErrorKind};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let missing = Cache::options().create(false).open(dir.path().join("none"));
    /// assert_eq!(missing.unwrap_err().kind(), ErrorKind::Io);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(self, directory: impl AsRef<Path>) -> Result<Cache> {
        self.open_at(directory.as_ref(), None)
    }

    /// Opens a cache in a new directory, which goes with the last handle.
    pub(crate) fn open_temporary(self) -> Result<Cache> {
        let temporary = TemporaryDir::new()?;
        let path = temporary.path().to_path_buf();
        self.open_at(&path, Some(temporary))
    }

    /// The options of an open handle, for another directory.
    pub(super) fn alike(handle: &Handle) -> Options {
        Options {
            timeout: handle.timeout,
            codec: Ok(handle.codec.clone()),
            clock: Arc::clone(&handle.clock),
            durability: handle.durability,
            ..Options::default()
        }
    }

    fn open_at(self, path: &Path, temporary: Option<TemporaryDir>) -> Result<Cache> {
        self.refuse_shards(path)?;
        let store = self.open_store(path, self.settings_of_new())?;
        let cache = self.handle(store, None, temporary)?;
        self.settle(&cache)?;
        Ok(cache)
    }

    /// Refuses the directory of a `FanoutCache`: what is stored beside its shards, it would not see.
    fn refuse_shards(&self, path: &Path) -> Result<()> {
        let first = path.join(shard_name(0));
        if path.join("head").exists() || !first.join("head").exists() {
            return Ok(());
        }
        let looking = Options { read_only: true, ..self.clone() };
        match looking.open_store(&first, self.settings_of_new()) {
            Ok(shard) if shard.settings().shards > 0 => Err(Error::new(
                ErrorKind::Setting,
                "this is the directory of a FanoutCache: open it as such, or use another directory",
            )
            .at(path)),
            _ => Ok(()),
        }
    }

    /// The settings of a store that is made.
    pub(crate) fn settings_of_new(&self) -> Settings {
        let mut settings = Settings::default();
        self.asked.apply(&mut settings);
        settings
    }

    /// Opens a store, which gets these settings if it has to be made.
    pub(crate) fn open_store(&self, path: &Path, settings: Settings) -> Result<Store> {
        check_settings(&settings)?;
        self.checked_codec()?;
        Store::open(
            path,
            &OpenOptions {
                create: self.create && !self.read_only,
                read_only: self.read_only,
                allow_network: self.allow_untrusted,
                settings: Some(settings),
            },
        )
    }

    /// The codec, which compresses if it is to.
    fn checked_codec(&self) -> Result<AnyCodec> {
        let codec = self.codec.clone().map_err(|why| Error::new(ErrorKind::Setting, why))?;
        codec.compressed(self.compression)
    }

    /// A handle on an open store.
    pub(crate) fn handle(
        &self,
        store: Store,
        place: Option<Place>,
        temporary: Option<TemporaryDir>,
    ) -> Result<Cache> {
        let codec = self.checked_codec()?;
        Ok(Cache::new(Handle {
            holds: Arc::new(Holds::new(Arc::clone(store.dir()), self.allow_untrusted)),
            store,
            timeout: self.timeout,
            codec,
            clock: Arc::clone(&self.clock),
            durability: self.durability,
            culling: Arc::default(),
            place,
            temporary,
        }))
    }

    /// Changes the kept settings that were asked for and are not as asked.
    pub(crate) fn settle(&self, cache: &Cache) -> Result<()> {
        let mut wanted = cache.settings();
        self.asked.apply(&mut wanted);
        if wanted != cache.settings() {
            cache.update_settings(|settings| self.asked.apply(settings))?;
        }
        Ok(())
    }

    /// Refuses a directory above caches that is not safe to share.
    pub(crate) fn vouch_for(&self, path: &Path) -> Result<()> {
        if self.allow_untrusted { Ok(()) } else { Store::vouch_for_directory(path) }
    }

    /// The options of this handle alone, for another cache.
    pub(crate) fn of_handle(&self) -> Options {
        Options { asked: Asked::default(), ..self.clone() }
    }

    /// How long calls wait for the writer lock.
    pub(crate) fn patience(&self) -> Duration {
        self.timeout
    }
}

/// Refuses settings that cannot be kept.
pub(crate) fn check_settings(settings: &Settings) -> Result<()> {
    match settings.problem() {
        Some(why) => Err(Error::new(ErrorKind::Setting, why)),
        None => Ok(()),
    }
}

impl Asked {
    fn apply(&self, to: &mut Settings) {
        fn set<T: Copy>(asked: Option<T>, to: &mut T) {
            *to = asked.unwrap_or(*to);
        }
        set(self.size_limit, &mut to.size_limit);
        set(self.eviction, &mut to.eviction);
        set(self.cull_limit, &mut to.cull_limit);
        set(self.statistics, &mut to.statistics);
        set(self.value_file_threshold, &mut to.value_file_threshold);
        set(self.exact_cull_count, &mut to.exact_cull_count);
        set(self.power_loss, &mut to.power_loss);
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut settings = Settings::default();
        self.asked.apply(&mut settings);
        f.debug_struct("Options")
            .field("settings", &settings)
            .field("timeout", &self.timeout)
            .field("read_only", &self.read_only)
            .field("create", &self.create)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}
