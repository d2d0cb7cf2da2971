//! How a deque is opened.

use std::marker::PhantomData;
use std::path::Path;

use crate::cache::Cache;
use crate::cache::forward::forward_options;
use crate::cache::options::Options;
use crate::deque::Deque;
use crate::error::Result;
use crate::format::settings::Eviction;

/// How a deque is opened; made by [`Deque::options`].
///
/// ```
/// use std::time::Duration;
/// use firncache::Deque;
///
/// let dir = tempfile::tempdir()?;
/// let deque = Deque::<i32>::options()
///     .max_len(100)
///     .timeout(Duration::from_secs(5))
///     .open(dir.path().join("deque"))?;
/// assert_eq!(deque.max_len()?, Some(100));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// All that there is to say, with the values that they have unless set:
///
/// ```
/// use firncache::{
///     Bincode, Compression, DEFAULT_TIMEOUT, DEFAULT_VALUE_FILE_THRESHOLD, Deque, Durability,
///     PowerLoss, SystemClock,
/// };
///
/// let dir = tempfile::tempdir()?;
/// let deque = Deque::<i32>::options()
///     .value_file_threshold(DEFAULT_VALUE_FILE_THRESHOLD)
///     .power_loss(PowerLoss::Recover)
///     .timeout(DEFAULT_TIMEOUT)
///     .codec(Bincode)
///     .compression(Compression::NONE)
///     .clock(SystemClock)
///     .allow_untrusted(false)
///     .durability(Durability::Process)
///     .read_only(false)
///     .create(true)
///     .open(dir.path())?;
/// assert!(deque.is_empty()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "options do nothing until open() is called"]
pub struct DequeOptions<T> {
    options: Options,
    max_len: Option<u64>,
    item: PhantomData<fn(T) -> T>,
}

impl<T> Default for DequeOptions<T> {
    fn default() -> DequeOptions<T> {
        DequeOptions::of(Cache::options())
    }
}

impl<T> Clone for DequeOptions<T> {
    fn clone(&self) -> DequeOptions<T> {
        DequeOptions { max_len: self.max_len, ..DequeOptions::of(self.options.clone()) }
    }
}

impl<T> DequeOptions<T> {
    pub(crate) fn of(options: Options) -> DequeOptions<T> {
        DequeOptions { options, max_len: None, item: PhantomData }
    }

    /// Sets the most items that the deque keeps, as [`Deque::set_max_len`]; unless named, it stays
    /// as it is in the directory.
    ///
    /// ```
    /// let dir = tempfile::tempdir()?;
    /// let deque = firncache::Deque::options().max_len(2).open(dir.path())?;
    /// deque.extend([1, 2, 3])?;
    /// assert_eq!(deque, [2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_len(mut self, most: u64) -> DequeOptions<T> {
        self.max_len = Some(most);
        self
    }
}

/// # Kept in the store
///
/// These hold for every process that uses the deque, now and later.
impl<T> DequeOptions<T> {
    forward_options! { ("Deque::<i32>", "deque", ".cache()"):
        value_file_threshold;
        power_loss;
    }
}

/// # Of this handle
///
/// These hold for the handle that [`DequeOptions::open`] gives, and its clones.
impl<T> DequeOptions<T> {
    forward_options! { ("Deque::<i32>", "deque", ".cache()"):
        timeout;
        codec;
        compression;
        clock;
        read_only;
        create;
        allow_untrusted;
        durability;
    }

    /// Opens the deque in a directory, making it if need be.
    ///
    /// # Errors
    ///
    /// See [`Options::open`](crate::Options::open).
    ///
    /// ```
    /// let dir = tempfile::tempdir()?;
    /// let deque = firncache::Deque::<i32>::options().open(dir.path().join("deque"))?;
    /// assert!(deque.is_empty()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(self, directory: impl AsRef<Path>) -> Result<Deque<T>> {
        let cache = self.options.eviction(Eviction::None).open(directory)?;
        opened(cache, self.max_len)
    }

    pub(crate) fn open_temporary(self) -> Result<Deque<T>> {
        let cache = self.options.eviction(Eviction::None).open_temporary()?;
        opened(cache, self.max_len)
    }
}

fn opened<T>(cache: Cache, max_len: Option<u64>) -> Result<Deque<T>> {
    let deque = Deque::from_cache(cache);
    if max_len.is_some() && deque.max_len()? != max_len {
        deque.set_max_len(max_len)?;
    }
    Ok(deque)
}
