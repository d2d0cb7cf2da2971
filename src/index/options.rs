//! How an index is opened.

use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::codec::Codec;
use crate::cache::compression::Compression;
use crate::cache::options::{Durability, Options, forward_options};
use crate::clock::Clock;
use crate::error::Result;
use crate::format::from_key::FromKey;
use crate::format::key_buf::ToKey;
use crate::format::settings::{Eviction, PowerLoss};
use crate::index::Index;

/// How an [`Index`] is opened; made by [`Index::options`].
///
/// ```
/// use firncache::{Durability, Index};
///
/// let dir = tempfile::tempdir()?;
/// let index = Index::options().durability(Durability::Sync).open(dir.path().join("index"))?;
/// index.insert(&1, &"one".to_owned())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// All of them, with the values that they have unless set:
///
/// ```
/// use firncache::{
///     Bincode, Compression, DEFAULT_TIMEOUT, DEFAULT_VALUE_FILE_THRESHOLD, Durability, Index,
///     PowerLoss, SystemClock,
/// };
///
/// let dir = tempfile::tempdir()?;
/// let index = Index::<String, i32>::options()
///     .value_file_threshold(DEFAULT_VALUE_FILE_THRESHOLD) // kept in the store
///     .power_loss(PowerLoss::Recover) // this, too
///     .timeout(DEFAULT_TIMEOUT) // of this handle, as all that follow
///     .codec(Bincode)
///     .compression(Compression::NONE)
///     .clock(SystemClock)
///     .read_only(false)
///     .create(true)
///     .allow_untrusted(false)
///     .durability(Durability::Process)
///     .open(dir.path())?;
/// assert!(index.is_empty()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "options do nothing until open() is called"]
pub struct IndexOptions<K, V> {
    options: Options,
    types: PhantomData<fn() -> (K, V)>,
}

/// # Kept in the store
///
/// These hold for every process that uses the index, now and later.
impl<K, V> IndexOptions<K, V> {
    forward_options! {
        /// Sets from how many bytes on a value lies in a file, as
        /// [`Options::value_file_threshold`].
        value_file_threshold(bytes: u64);
        /// Sets what is done for the case of power loss, as [`Options::power_loss`].
        power_loss(power_loss: PowerLoss);
    }
}

/// # Of this handle
///
/// These hold for the handle that [`IndexOptions::open`] gives, and its clones.
impl<K, V> IndexOptions<K, V> {
    forward_options! {
        /// Sets how long a call waits for the writer lock, as [`Options::timeout`].
        timeout(timeout: Duration);
        /// Sets how values without a native form are written, as [`Options::codec`].
        codec(codec: impl Codec);
        /// Sets how values are compressed, as [`Options::compression`].
        compression(compression: Compression);
        /// Sets the clock that tells when values were stored, as [`Options::clock`].
        clock(clock: impl Clock);
        /// Sets whether the handle only reads, as [`Options::read_only`].
        read_only(on: bool);
        /// Sets whether an index that does not exist is made, as [`Options::create`].
        create(on: bool);
        /// Sets whether an unsafe directory is opened, as [`Options::allow_untrusted`].
        allow_untrusted(on: bool);
        /// Sets what a write that returned has survived, as [`Options::durability`].
        durability(durability: Durability);
    }

    /// Of a handle with these options.
    pub(crate) fn new(options: Options) -> IndexOptions<K, V> {
        let options = options.eviction(Eviction::None).cull_limit(0);
        IndexOptions { options, types: PhantomData }
    }
}

impl<K: ToKey + FromKey, V: Serialize + DeserializeOwned> IndexOptions<K, V> {
    /// Opens the index in a directory, making it if need be.
    ///
    /// # Errors
    ///
    /// As [`Options::open`].
    ///
    /// ```
    /// use firncache::Index;
    ///
    /// let dir = tempfile::tempdir()?;
    /// let missing = Index::<String, i32>::options().create(false).open(dir.path().join("index"));
    /// assert!(missing.is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(self, directory: impl AsRef<Path>) -> Result<Index<K, V>> {
        self.options.open(directory).map(Index::from_cache)
    }

    /// Opens an index in a new directory, which goes with the last handle.
    pub(crate) fn open_temporary(self) -> Result<Index<K, V>> {
        self.options.open_temporary().map(Index::from_cache)
    }
}

impl<K, V> Clone for IndexOptions<K, V> {
    fn clone(&self) -> IndexOptions<K, V> {
        IndexOptions { options: self.options.clone(), types: PhantomData }
    }
}

impl<K, V> std::fmt::Debug for IndexOptions<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("IndexOptions").field(&self.options).finish()
    }
}
