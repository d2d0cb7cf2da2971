//! What names one key: forwarded to the shard of the key.

use std::io::Read;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::entry::{Entry, SetOptions};
use crate::cache::stream::ValueReader;
use crate::error::{Error, Result};
use crate::fanout::FanoutCache;
use crate::format::key_buf::ToKey;

/// # Storing one key
///
/// Each is what the method of that name does on the [`Cache`](crate::Cache) that is the key's
/// shard, and fails likewise.
impl FanoutCache {
    /// Stores a value, replacing what the key held.
    ///
    /// # Errors
    ///
    /// As [`Cache::set`](crate::Cache::set).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set("key", &42)?;
    /// assert_eq!(cache.get("key")?, Some(42));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn set<V: Serialize + ?Sized>(&self, key: impl ToKey, value: &V) -> Result<()> {
        self.write(key, |shard, key| shard.set(key, value))
    }

    /// Stores a value with an expiry or a tag, replacing what the key held.
    ///
    /// # Errors
    ///
    /// As [`Cache::set_with`](crate::Cache::set_with).
    ///
    /// ```
    /// use firncache::SetOptions;
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set_with("key", &42, SetOptions::new().tag("numbers"))?;
    /// assert_eq!(cache.evict("numbers")?, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn set_with<V: Serialize + ?Sized>(
        &self,
        key: impl ToKey,
        value: &V,
        options: SetOptions,
    ) -> Result<()> {
        self.write(key, |shard, key| shard.set_with(key, value, options))
    }

    /// Stores a value if the key is missing or expired; tells whether it did.
    ///
    /// # Errors
    ///
    /// As [`Cache::add`](crate::Cache::add).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// assert!(cache.add("key", &1)?);
    /// assert!(!cache.add("key", &2)?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn add<V: Serialize + ?Sized>(&self, key: impl ToKey, value: &V) -> Result<bool> {
        self.write(key, |shard, key| shard.add(key, value))
    }

    /// Stores a value with an expiry or a tag if the key is missing or expired; tells whether it
    /// did.
    ///
    /// # Errors
    ///
    /// As [`Cache::add_with`](crate::Cache::add_with).
    ///
    /// ```
    /// use std::time::Duration;
    /// use firncache::SetOptions;
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// assert!(cache.add_with("key", &1, SetOptions::new().expire(Duration::ZERO))?);
    /// assert!(cache.add("key", &2)?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn add_with<V: Serialize + ?Sized>(
        &self,
        key: impl ToKey,
        value: &V,
        options: SetOptions,
    ) -> Result<bool> {
        self.write(key, |shard, key| shard.add_with(key, value, options))
    }

    /// Stores bytes as they are, without serde.
    ///
    /// # Errors
    ///
    /// As [`Cache::set_bytes`](crate::Cache::set_bytes).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set_bytes("key", b"bytes")?;
    /// assert_eq!(cache.get_bytes("key")?, Some(b"bytes".to_vec()));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn set_bytes(&self, key: impl ToKey, bytes: &[u8]) -> Result<()> {
        self.write(key, |shard, key| shard.set_bytes(key, bytes))
    }

    /// Stores bytes as they are, with an expiry or a tag.
    ///
    /// # Errors
    ///
    /// As [`Cache::set_bytes_with`](crate::Cache::set_bytes_with).
    ///
    /// ```
    /// use firncache::SetOptions;
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set_bytes_with("key", b"bytes", SetOptions::new().tag("raw"))?;
    /// assert!(cache.contains("key")?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn set_bytes_with(&self, key: impl ToKey, bytes: &[u8], options: SetOptions) -> Result<()> {
        self.write(key, |shard, key| shard.set_bytes_with(key, bytes, options))
    }

    /// Stores what a reader gives, of any size; gives the number of bytes.
    ///
    /// # Errors
    ///
    /// As [`Cache::set_from`](crate::Cache::set_from).
    ///
    /// ```
    /// use firncache::SetOptions;
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// assert_eq!(cache.set_from("key", &b"streamed"[..], SetOptions::new())?, 8);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn set_from(&self, key: impl ToKey, reader: impl Read, options: SetOptions) -> Result<u64> {
        self.write(key, |shard, key| shard.set_from(key, reader, options))
    }

    /// Changes when a key expires, `None` being never; false if it is missing or expired.
    ///
    /// # Errors
    ///
    /// As [`Cache::touch`](crate::Cache::touch).
    ///
    /// ```
    /// use std::time::Duration;
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set("key", &1)?;
    /// assert!(cache.touch("key", Some(Duration::from_secs(60)))?);
    /// assert!(!cache.touch("missing", None)?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn touch(&self, key: impl ToKey, expire: Option<Duration>) -> Result<bool> {
        self.write(key, |shard, key| shard.touch(key, expire))
    }

    /// Adds to an integer, a missing or expired one being 0; gives the sum.
    ///
    /// # Errors
    ///
    /// As [`Cache::incr`](crate::Cache::incr).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// assert_eq!(cache.incr("visits", 2)?, 2);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn incr(&self, key: impl ToKey, delta: i64) -> Result<i64> {
        self.write(key, |shard, key| shard.incr(key, delta))
    }

    /// Subtracts from an integer, a missing or expired one being 0; gives the difference.
    ///
    /// # Errors
    ///
    /// As [`Cache::decr`](crate::Cache::decr).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// assert_eq!(cache.decr("left", 2)?, -2);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn decr(&self, key: impl ToKey, delta: i64) -> Result<i64> {
        self.write(key, |shard, key| shard.decr(key, delta))
    }

    /// Adds to an integer; a missing or expired one counts as `default`, and with no default gives
    /// `None`.
    ///
    /// # Errors
    ///
    /// As [`Cache::incr_with`](crate::Cache::incr_with).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// assert_eq!(cache.incr_with("visits", 1, None)?, None);
    /// assert_eq!(cache.incr_with("visits", 1, Some(10))?, Some(11));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn incr_with(
        &self,
        key: impl ToKey,
        delta: i64,
        default: Option<i64>,
    ) -> Result<Option<i64>> {
        self.write(key, |shard, key| shard.incr_with(key, delta, default))
    }

    /// Reads a value; a missing one is computed once at a time, across threads and processes.
    ///
    /// # Errors
    ///
    /// As [`Cache::get_or_set_with`](crate::Cache::get_or_set_with).
    ///
    /// ```
    /// use firncache::{Error, SetOptions};
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// let once = || cache.get_or_set_with("key", SetOptions::new(), || Ok::<_, Error>(6 * 7));
    /// assert_eq!((once()?, once()?), (42, 42));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn get_or_set_with<V, E>(
        &self,
        key: impl ToKey,
        options: SetOptions,
        compute: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E>
    where
        V: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        let value = self.shard(&key)?.get_or_set_with(key, options, compute)?;
        self.relieve_if_asked();
        Ok(value)
    }

    /// Removes a key; false if it is missing or expired.
    ///
    /// # Errors
    ///
    /// As [`Cache::delete`](crate::Cache::delete).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set("key", &1)?;
    /// assert!(cache.delete("key")?);
    /// assert!(!cache.delete("key")?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn delete(&self, key: impl ToKey) -> Result<bool> {
        self.shard(&key)?.delete(key)
    }

    /// Removes a key and gives its value.
    ///
    /// # Errors
    ///
    /// As [`Cache::pop`](crate::Cache::pop).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set("key", &1)?;
    /// assert_eq!(cache.pop("key")?, Some(1));
    /// assert!(!cache.contains("key")?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn pop<V: DeserializeOwned>(&self, key: impl ToKey) -> Result<Option<V>> {
        self.shard(&key)?.pop(key)
    }

    /// Removes a key and gives its value, with what is known about it.
    ///
    /// # Errors
    ///
    /// As [`Cache::pop_entry`](crate::Cache::pop_entry).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set("key", &1)?;
    /// assert_eq!(cache.pop_entry::<i32>("key")?.map(|entry| entry.value), Some(1));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn pop_entry<V: DeserializeOwned>(&self, key: impl ToKey) -> Result<Option<Entry<V>>> {
        self.shard(&key)?.pop_entry(key)
    }
}

/// # Reading one key
///
/// Each is what the method of that name does on the [`Cache`](crate::Cache) that is the key's
/// shard. Reads take no lock and never wait.
impl FanoutCache {
    /// Reads the value of a key.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`](crate::Cache::get).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set("pi", &3.14)?;
    /// assert_eq!(cache.get("pi")?, Some(3.14));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn get<V: DeserializeOwned>(&self, key: impl ToKey) -> Result<Option<V>> {
        self.shard(&key)?.get(key)
    }

    /// Reads the value of a key, and what is known about it.
    ///
    /// # Errors
    ///
    /// As [`Cache::get_entry`](crate::Cache::get_entry).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set("key", &1)?;
    /// assert!(cache.get_entry::<i32>("key")?.is_some_and(|entry| entry.expires_at.is_none()));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn get_entry<V: DeserializeOwned>(&self, key: impl ToKey) -> Result<Option<Entry<V>>> {
        self.shard(&key)?.get_entry(key)
    }

    /// Reads the bytes that [`FanoutCache::set_bytes`] stored.
    ///
    /// # Errors
    ///
    /// As [`Cache::get_bytes`](crate::Cache::get_bytes).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// assert_eq!(cache.get_bytes("missing")?, None);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn get_bytes(&self, key: impl ToKey) -> Result<Option<Vec<u8>>> {
        self.shard(&key)?.get_bytes(key)
    }

    /// Reads the bytes that [`FanoutCache::set_bytes`] stored into `buffer`, replacing what is in
    /// it; false if there are none.
    ///
    /// # Errors
    ///
    /// As [`Cache::get_bytes_into`](crate::Cache::get_bytes_into).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set_bytes("key", b"bytes")?;
    /// let mut buffer = Vec::new();
    /// assert!(cache.get_bytes_into("key", &mut buffer)?);
    /// assert_eq!(buffer, b"bytes");
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn get_bytes_into(&self, key: impl ToKey, buffer: &mut Vec<u8>) -> Result<bool> {
        self.shard(&key)?.get_bytes_into(key, buffer)
    }

    /// Opens the value of a key for reading piece by piece.
    ///
    /// # Errors
    ///
    /// As [`Cache::reader`](crate::Cache::reader).
    ///
    /// ```
    /// use std::io::Read;
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set_bytes("key", b"bytes")?;
    /// let mut text = String::new();
    /// cache.reader("key")?.unwrap().read_to_string(&mut text)?;
    /// assert_eq!(text, "bytes");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reader(&self, key: impl ToKey) -> Result<Option<ValueReader>> {
        self.shard(&key)?.reader(key)
    }

    /// Tells whether a key is there and has not expired. Not counted as a read.
    ///
    /// # Errors
    ///
    /// As [`Cache::contains`](crate::Cache::contains).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set(1, "one")?;
    /// assert!(cache.contains(1.0)?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn contains(&self, key: impl ToKey) -> Result<bool> {
        self.shard(&key)?.contains(key)
    }
}
