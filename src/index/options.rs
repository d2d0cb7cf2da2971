//! How an index is opened.

use std::marker::PhantomData;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::forward::forward_options;
use crate::cache::options::Options;
use crate::error::Result;
use crate::format::from_key::FromKey;
use crate::format::key_buf::ToKey;
use crate::format::settings::Eviction;
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
    forward_options! { ("Index::<String, i32>", "index", ".cache()"):
        value_file_threshold;
        power_loss;
    }
}

/// # Of this handle
///
/// These hold for the handle that [`IndexOptions::open`] gives, and its clones.
impl<K, V> IndexOptions<K, V> {
    forward_options! { ("Index::<String, i32>", "index", ".cache()"):
        timeout;
        codec;
        compression;
        clock;
        read_only;
        create;
        allow_untrusted;
        durability;
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
