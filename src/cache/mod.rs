//! The cache: policy, time and meaning on top of the store.
//!
//! Below this floor there are encoded keys, bytes and milliseconds; here they become keys, values
//! of the user's types, expiry, tags and eviction. Nothing here knows where a byte lies on disk.
//!
//! The two walks, station by station:
//!
//! ```text
//! get   KeyBuf::of       the key, encoded on the stack                     (format::key_buf)
//!       Store::get       hash, bucket, record: no lock, no system call     (store::read)
//!       is_live          the clock, only if the record can expire
//!       note_read        hits and marks, only if a setting wants them      (stats)
//!       decode           the user's type, or the codec; decompressed first (value, compression)
//!
//! set   KeyBuf::of, encode                the user's code runs before the lock is taken
//!       place            too large? of its own file?                       (write)
//!       Store::write     the lock: find, put                               (store::session, writer)
//!       cull             expired and least needed keys, a few at most      (cull)
//!       made_durable     waits for the disk, only if the handle asks
//! ```
//!
//! ```text
//! options forward entry    what can be said when opening and storing
//! read write counter update  one key at a time
//! queue ends               both ends of queues of keys; what a deque asks for
//! many stream              many keys at once; values of any size
//! once memoize early       values that are computed once at a time
//! iterate                  all keys, in insertion order or sorted
//! cull expire tags         removing: by policy, by time, by label
//! transaction stats admin  several operations as one; counters; upkeep
//! ```
//!
//! Invariants: user code (serde, codecs, clocks, readers) never runs while the lock is held, unless
//! the user holds it with a transaction. A key whose time is over counts as missing, wherever it is
//! asked for by name; it stays in `len` and iteration until something removes it. Reads remove
//! nothing.

pub(crate) mod admin;
pub(crate) mod arguments;
pub(crate) mod bincode_de;
pub(crate) mod codec;
pub(crate) mod compression;
pub(crate) mod counter;
pub(crate) mod cull;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod durable_tests;
pub(crate) mod early;
pub(crate) mod ends;
pub(crate) mod entry;
pub(crate) mod expire;
#[cfg(test)]
mod fork_tests;
pub(crate) mod forward;
pub(crate) mod iterate;
pub(crate) mod kind;
pub(crate) mod many;
pub(crate) mod memoize;
#[cfg(feature = "macros")]
pub(crate) mod memoized;
#[cfg(feature = "messagepack")]
pub(crate) mod message_pack;
pub(crate) mod native_de;
pub(crate) mod native_ser;
pub(crate) mod once;
pub(crate) mod options;
pub(crate) mod peel;
pub(crate) mod pop;
pub(crate) mod queue;
pub(crate) mod rank;
pub(crate) mod read;
pub(crate) mod sieve;
pub(crate) mod spared;
pub(crate) mod stats;
pub(crate) mod stream;
pub(crate) mod tags;
pub(crate) mod temporary;
pub(crate) mod transaction;
pub(crate) mod update;
pub(crate) mod value;
pub(crate) mod value_error;
pub(crate) mod write;

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::codec::AnyCodec;
use crate::cache::cull::Culling;
use crate::cache::options::{Durability, Options};
use crate::cache::temporary::TemporaryDir;
use crate::cache::value::{decode, encode};
use crate::clock::{Clock, NEVER, to_ms};
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_buf::{KeyBuf, ToKey};
use crate::holds::Holds;
use crate::store::Store;
use crate::store::budget::Place;

/// A persistent map from keys to values, in a directory, shared by threads and processes.
///
/// Cheap to clone; clones are the same handle. Reads take no lock and never wait; writes take turns.
/// What a write returned from survives the end of any process; see [`Cache::sync`] for power loss.
/// There is no background thread: expired and evicted items are removed by writes, a few at a time.
///
/// A missing or expired key is `None` or `false`, never an error.
///
/// ```
/// use std::time::Duration;
/// use firncache::{Cache, SetOptions};
///
/// let dir = tempfile::tempdir()?;
/// let cache = Cache::open(dir.path().join("cache"))?;
/// cache.set("greeting", "hello")?;
/// cache.set_with(("user", 7), &vec![1.5, 2.5], SetOptions::new().expire(Duration::from_secs(9)))?;
/// assert_eq!(cache.get("greeting")?, Some(String::from("hello")));
/// assert_eq!(cache.get::<Vec<f64>>(("user", 7))?, Some(vec![1.5, 2.5]));
/// assert_eq!(cache.get::<u8>("missing")?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Cache(Arc<Handle>);

/// What the clones of a handle share.
struct Handle {
    store: Store,
    holds: Arc<Holds>,
    timeout: Duration,
    codec: AnyCodec,
    clock: Arc<dyn Clock>,
    durability: Durability,
    culling: Arc<Culling>,
    /// Where the limit is shared with other stores: which of them this is.
    place: Option<Place>,
    /// Last, so that the directory goes after the store is closed.
    #[expect(dead_code, reason = "held for its drop")]
    temporary: Option<TemporaryDir>,
}

impl Cache {
    /// Opens the cache in a directory with the default options, making it if need be.
    ///
    /// # Errors
    ///
    /// See [`Options::open`].
    ///
    /// ```
    /// let dir = tempfile::tempdir()?;
    /// firncache::Cache::open(dir.path().join("cache"))?.set("key", &1)?;
    /// assert_eq!(firncache::Cache::open(dir.path().join("cache"))?.get("key")?, Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(directory: impl AsRef<Path>) -> Result<Cache> {
        Cache::options().open(directory)
    }

    /// Opens a cache in a new temporary directory, which is removed when the last clone is dropped.
    ///
    /// # Errors
    ///
    /// See [`Options::open`].
    ///
    /// ```
    /// let cache = firncache::Cache::temporary()?;
    /// let directory = cache.directory().to_owned();
    /// assert!(directory.is_dir());
    /// drop(cache);
    /// assert!(!directory.exists());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn temporary() -> Result<Cache> {
        Cache::options().open_temporary()
    }

    /// Begins to say how a cache is to be opened.
    ///
    /// ```
    /// let dir = tempfile::tempdir()?;
    /// let cache = firncache::Cache::options().size_limit(8 << 20).open(dir.path())?;
    /// assert_eq!(cache.settings().size_limit, 8 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn options() -> Options {
        Options::default()
    }

    /// Gives the directory of the cache.
    ///
    /// ```
    /// let dir = tempfile::tempdir()?;
    /// let cache = firncache::Cache::open(dir.path())?;
    /// assert_eq!(cache.directory(), dir.path());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.0.store.directory()
    }

    fn new(handle: Handle) -> Cache {
        Cache(Arc::new(handle))
    }

    /// The same cache for calls that wait longer, or less long, for the lock.
    pub(crate) fn with_timeout(&self, timeout: Duration) -> Cache {
        let Handle { store, holds, codec, clock, durability, culling, place, .. } = &*self.0;
        Cache::new(Handle {
            store: store.clone(),
            holds: Arc::clone(holds),
            timeout,
            codec: codec.clone(),
            clock: Arc::clone(clock),
            durability: *durability,
            culling: Arc::clone(culling),
            place: place.clone(),
            temporary: None,
        })
    }

    /// Encodes a key.
    #[inline]
    fn encoded_key<K: ToKey + ?Sized>(&self, key: &K) -> Result<KeyBuf> {
        KeyBuf::of(key).map_err(|error| self.here(error))
    }

    /// Appends the payload of a value, and gives its kind.
    #[inline]
    fn encode<V: Serialize + ?Sized>(&self, value: &V, out: &mut Vec<u8>) -> Result<u8> {
        encode(value, &self.0.codec, out).map_err(|error| self.here(error))
    }

    /// Reads a value from its kind and payload.
    #[inline]
    fn decode<V: DeserializeOwned>(&self, kind: u8, bytes: &[u8]) -> Result<V> {
        decode(kind, bytes, &self.0.codec).map_err(|error| self.here(error))
    }

    /// Names the directory in an error about a key or a value, which knows of none.
    #[cold]
    fn here(&self, error: Error) -> Error {
        error.at(self.directory())
    }

    /// Whether nothing can be written by this handle.
    pub(crate) fn is_read_only(&self) -> bool {
        self.0.store.is_read_only()
    }

    /// The time now, as it is stored; never so late that what never expires is over.
    fn now_ms(&self) -> u64 {
        to_ms(self.0.clock.now()).min(NEVER - 1)
    }

    /// Whether what expires at `expires_ms` can still be read.
    #[inline]
    fn is_live(&self, expires_ms: u64) -> bool {
        expires_ms == NEVER || expires_ms > self.now_ms()
    }

    /// Refuses to change anything if this handle promises what the disk cannot keep. After the change it
    /// would be too late: who then tries again takes or adds the next one.
    fn refuse_if_not_durable(&self) -> Result<()> {
        let store = &self.0.store;
        if self.0.durability == Durability::Sync && !store.is_in_transaction() {
            store.shared().refuse_if_failed()?;
            if let Some(place) = &self.0.place {
                place.budget.sync_lead()?;
            }
        }
        Ok(())
    }

    /// Waits for the disk if this handle promises so. Within a transaction the commit does.
    fn made_durable(&self) -> Result<()> {
        let store = &self.0.store;
        if self.0.durability == Durability::Sync && !store.is_in_transaction() {
            store.sync_log()?;
        }
        Ok(())
    }

    /// What is held and waited for in this cache; not for handles that only read.
    pub(crate) fn holds(&self) -> Result<&Holds> {
        if !self.0.store.is_read_only() {
            return Ok(&self.0.holds);
        }
        Err(Error::new(
            ErrorKind::ReadOnly,
            "cannot hold anything in a cache that was opened read-only: open it without \
             read_only(true), with write access to its directory",
        )
        .at(self.directory()))
    }

    /// How long this handle waits for a writer lock.
    pub(crate) fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// Whether this thread has a transaction open on this cache.
    pub(crate) fn is_in_transaction(&self) -> bool {
        self.0.store.is_in_transaction()
    }

    /// Refuses what cannot be part of a transaction.
    fn outside_transaction(&self, what: &str) -> Result<()> {
        if !self.0.store.is_in_transaction() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("{what} cannot be part of a transaction: call it before or after"),
        )
        .at(self.directory()))
    }
}

/// A panic leaves nothing half done: an open transaction is rolled back, and a lock given back.
impl UnwindSafe for Cache {}
impl RefUnwindSafe for Cache {}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("directory", &self.directory()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_shareable<T: Send + Sync + Clone + fmt::Debug + 'static>() {}
    fn assert_unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}

    #[test]
    fn handles_can_be_shared_between_threads() {
        assert_shareable::<Cache>();
        assert_shareable::<Options>();
        assert_unwind_safe::<Cache>();
    }
}
