//! How a deque is opened.

use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

use crate::cache::Cache;
use crate::cache::codec::Codec;
use crate::cache::compression::Compression;
use crate::cache::options::{Durability, Options};
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
/// All that there is to say of the handle, with the values that they have unless set:
///
/// ```
/// use firncache::{Bincode, Compression, DEFAULT_TIMEOUT, Deque, Durability};
///
/// let dir = tempfile::tempdir()?;
/// let deque = Deque::<i32>::options()
///     .timeout(DEFAULT_TIMEOUT)
///     .codec(Bincode)
///     .compression(Compression::NONE)
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
    cache: Options,
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
        DequeOptions { max_len: self.max_len, ..DequeOptions::of(self.cache.clone()) }
    }
}

impl<T> DequeOptions<T> {
    pub(crate) fn of(cache: Options) -> DequeOptions<T> {
        DequeOptions { cache, max_len: None, item: PhantomData }
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

    /// Sets how long a call waits for other writers, as
    /// [`Options::timeout`](crate::Options::timeout).
    pub fn timeout(mut self, timeout: Duration) -> DequeOptions<T> {
        self.cache = self.cache.timeout(timeout);
        self
    }

    /// Sets how items without a native form are written, as
    /// [`Options::codec`](crate::Options::codec).
    pub fn codec(mut self, codec: impl Codec) -> DequeOptions<T> {
        self.cache = self.cache.codec(codec);
        self
    }

    /// Sets how items are compressed, as [`Options::compression`](crate::Options::compression).
    pub fn compression(mut self, compression: Compression) -> DequeOptions<T> {
        self.cache = self.cache.compression(compression);
        self
    }

    /// Sets what a write that returned has survived, as
    /// [`Options::durability`](crate::Options::durability).
    pub fn durability(mut self, durability: Durability) -> DequeOptions<T> {
        self.cache = self.cache.durability(durability);
        self
    }

    /// Sets whether the handle only reads, as [`Options::read_only`](crate::Options::read_only).
    pub fn read_only(mut self, on: bool) -> DequeOptions<T> {
        self.cache = self.cache.read_only(on);
        self
    }

    /// Sets whether a deque that does not exist is made (on unless set).
    pub fn create(mut self, on: bool) -> DequeOptions<T> {
        self.cache = self.cache.create(on);
        self
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
        let cache = self.cache.eviction(Eviction::None).open(directory)?;
        opened(cache, self.max_len)
    }

    pub(crate) fn open_temporary(self) -> Result<Deque<T>> {
        let cache = self.cache.eviction(Eviction::None).open_temporary()?;
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
