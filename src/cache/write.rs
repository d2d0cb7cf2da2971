//! Storing one key.
//!
//! Everything that can fail for the caller's sake, or that runs the caller's code, happens before
//! the lock: encoding, the tag, the size, writing a large value to its file. Under the lock there
//! are a lookup, an append, and a few removals.

use serde::Serialize;

use crate::cache::Cache;
use crate::cache::entry::SetOptions;
use crate::cache::kind::KIND_BYTES;
use crate::cache::read::with_scratch;
use crate::cache::spared::Spared;
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_buf::ToKey;
use crate::format::record::{FILE_REF_BYTES, FileRef, Header};
use crate::format::settings::Settings;
use crate::store::HashedKey;
use crate::store::space::inline_limit;
use crate::store::writer::{Found, Put, PutValue};

/// How often a key is looked at again that changes meanwhile.
pub(crate) const MAX_ATTEMPTS: usize = 4;

/// Values up to this size never get a file: the record's reference to it would be as large.
const ALWAYS_INLINE_BYTES: u64 = FILE_REF_BYTES as u64;

/// What a value may be stored over.
#[derive(Clone, Copy)]
pub(crate) enum Over {
    Any,
    /// No live record.
    Nothing,
    /// The live record that has this header. Headers name the row of the key and the place of the
    /// record before: no two records have the same.
    This(Header),
}

impl Over {
    fn allows(self, found: Option<&Found>, now_ms: u64) -> bool {
        let live = found.map(|found| found.header).filter(|header| header.expires_ms > now_ms);
        match self {
            Over::Any => true,
            Over::Nothing => live.is_none(),
            Over::This(header) => live == Some(header),
        }
    }
}

impl Cache {
    /// Stores a value, replacing what the key held. It never expires and has no tag.
    ///
    /// Costs about a microsecond; with values above
    /// [`value_file_threshold`](crate::Settings::value_file_threshold), the writing of a file. A
    /// key that was there keeps its place in the insertion order. May remove a few other keys, by
    /// expiry and by the eviction policy.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the value cannot be encoded; [`ErrorKind::TooLarge`] if it can never
    /// fit under the size limit; [`ErrorKind::Full`] if the disk is full; [`ErrorKind::Timeout`];
    /// [`ErrorKind::ReadOnly`]; [`ErrorKind::Key`]. The key then holds what it held.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set("answer", &42)?;
    /// cache.set(("grid", 3, 4), &vec![0.5; 10])?;
    /// assert_eq!(cache.get("answer")?, Some(42));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn set<V: Serialize + ?Sized>(&self, key: impl ToKey, value: &V) -> Result<()> {
        self.set_with(key, value, SetOptions::new())
    }

    /// Stores a value with an expiry or a tag, replacing what the key held.
    ///
    /// # Errors
    ///
    /// As [`Cache::set`]; [`ErrorKind::Key`] also for what cannot be a tag.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use std::time::Duration;
    /// use firncache::SetOptions;
    /// let a_day = SetOptions::new().expire(Duration::from_secs(86_400)).tag("menus");
    /// cache.set_with("menu", "soup", a_day)?;
    /// assert_eq!(cache.get("menu")?, Some(String::from("soup")));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn set_with<V: Serialize + ?Sized>(
        &self,
        key: impl ToKey,
        value: &V,
        options: SetOptions,
    ) -> Result<()> {
        let key = self.encoded_key(&key)?;
        self.store_encoded(key.as_bytes(), value, &options, Over::Any).map(|_| ())
    }

    /// Stores a value if the key is missing or expired; tells whether it did. Of several that try
    /// at once, one does. A key whose record is damaged, or whose value file has gone, is missing.
    ///
    /// # Errors
    ///
    /// As [`Cache::set`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// assert!(cache.add("first", "wins")?);
    /// assert!(!cache.add("first", "too late")?);
    /// assert_eq!(cache.get("first")?, Some(String::from("wins")));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn add<V: Serialize + ?Sized>(&self, key: impl ToKey, value: &V) -> Result<bool> {
        self.add_with(key, value, SetOptions::new())
    }

    /// Stores a value with an expiry or a tag if the key is missing or expired; tells whether it
    /// did.
    ///
    /// # Errors
    ///
    /// As [`Cache::set_with`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use std::time::Duration;
    /// use firncache::SetOptions;
    /// let briefly = || SetOptions::new().expire(Duration::from_secs(60));
    /// assert!(cache.add_with("mail sent", &true, briefly())?);
    /// assert!(!cache.add_with("mail sent", &true, briefly())?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn add_with<V: Serialize + ?Sized>(
        &self,
        key: impl ToKey,
        value: &V,
        options: SetOptions,
    ) -> Result<bool> {
        let key = self.encoded_key(&key)?;
        let key = key.as_bytes();
        for _ in 0..MAX_ATTEMPTS {
            if self.store_encoded(key, value, &options, Over::Nothing)? {
                return Ok(true);
            }
            let Some(damaged) = self.unreadable(key)? else { break };
            if self.store_encoded(key, value, &options, Over::This(damaged))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Stores bytes as they are, without serde; [`Cache::get_bytes`] reads them. They are compressed
    /// if the handle compresses.
    ///
    /// # Errors
    ///
    /// As [`Cache::set`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set_bytes("raw", b"bytes")?;
    /// assert_eq!(cache.get_bytes("raw")?, Some(b"bytes".to_vec()));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn set_bytes(&self, key: impl ToKey, bytes: &[u8]) -> Result<()> {
        self.set_bytes_with(key, bytes, SetOptions::new())
    }

    /// Stores bytes as they are, with an expiry or a tag.
    ///
    /// # Errors
    ///
    /// As [`Cache::set_with`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::SetOptions;
    /// cache.set_bytes_with("raw", b"bytes", SetOptions::new().tag("images"))?;
    /// assert_eq!(cache.evict("images")?, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn set_bytes_with(&self, key: impl ToKey, bytes: &[u8], options: SetOptions) -> Result<()> {
        let key = self.encoded_key(&key)?;
        let key = self.0.store.hashed_ahead(key.as_bytes());
        with_scratch(|buffer| {
            let packed = self.0.codec.compression().pack(KIND_BYTES, bytes, buffer);
            let (kind, stored) = packed.map_or((KIND_BYTES, bytes), |kind| (kind, &buffer[..]));
            let value = self.place(key.bytes, stored, &options)?;
            self.put(key, kind, value, &options, Over::Any).map(|_| ())
        })
    }

    /// The header of a key's live record if there is no reading it: its bytes are damaged, or its
    /// value file has gone. What is in such a file is not looked at.
    fn unreadable(&self, key: &[u8]) -> Result<Option<Header>> {
        with_scratch(|value| {
            if self.look_up(key, None, value)?.is_some() {
                return Ok(None);
            }
            let (key, now_ms) = (self.0.store.hashed(key), self.now_ms());
            // With the lock: nobody replaces the record between the two looks.
            self.0.store.write(self.0.timeout, |writer| {
                let found = writer.find(key)?.filter(|it| it.header.expires_ms > now_ms);
                let Some(found) = found else { return Ok(None) };
                let is_sound = writer.read(&found, &mut Vec::new(), value)?;
                let file = FileRef::decode(value).filter(|_| found.header.is_file());
                let is_there = match file.filter(|_| is_sound) {
                    Some(file) => self.0.store.open_value_file(file)?.is_some(),
                    None => is_sound && !found.header.is_file(),
                };
                Ok((!is_there).then_some(found.header))
            })
        })
    }

    /// Stores a value under an encoded key.
    pub(crate) fn store_encoded<V: Serialize + ?Sized>(
        &self,
        key: &[u8],
        value: &V,
        options: &SetOptions,
        over: Over,
    ) -> Result<bool> {
        let key = self.0.store.hashed_ahead(key);
        with_scratch(|buffer| {
            let kind = self.encode(value, buffer)?;
            let value = self.place(key.bytes, buffer, options)?;
            self.put(key, kind, value, options, over)
        })
    }

    /// Decides where an encoded value is to lie, and writes it there if that is a file.
    pub(crate) fn place<'a>(
        &self,
        key: &[u8],
        value: &'a [u8],
        options: &SetOptions,
    ) -> Result<PutValue<'a>> {
        let (settings, len) = (self.settings(), value.len() as u64);
        self.check_size(&settings, key, len, options)?;
        if len <= inline_limit(&settings).max(ALWAYS_INLINE_BYTES) {
            return Ok(PutValue::Bytes(value));
        }
        self.0.store.stage_bytes(value, self.0.timeout).map(PutValue::Staged)
    }

    /// Refuses a value that would not fit if it were alone.
    pub(crate) fn check_size(
        &self,
        settings: &Settings,
        key: &[u8],
        value_len: u64,
        options: &SetOptions,
    ) -> Result<()> {
        let around = key.len() + options.tag_bytes().map_err(|error| self.here(error))?.len();
        let len = value_len.saturating_add(around as u64);
        if len <= settings.size_limit || !settings.has_limit() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "key and value take {len} bytes, and size_limit is {}: raise it, or store less",
                settings.size_limit
            ),
        )
        .at(self.directory()))
    }

    /// Stores an encoded value; false if what the key holds is not what it may be stored over.
    pub(crate) fn put(
        &self,
        key: HashedKey<'_>,
        value_kind: u8,
        value: PutValue<'_>,
        options: &SetOptions,
        over: Over,
    ) -> Result<bool> {
        let store = &self.0.store;
        let now_ms = self.now_ms();
        let put = Put {
            value_kind,
            value,
            tag: options.tag_bytes().map_err(|error| self.here(error))?,
            expires_ms: options.expires_ms(now_ms),
            stored_ms: now_ms,
            keep_access: false,
        };
        self.refuse_if_not_durable()?;
        let may_cull = !store.is_in_transaction();
        let is_stored = store.write_to(key.hash, self.0.timeout, |writer| {
            let found = writer.find(key)?;
            if !over.allows(found.as_ref(), now_ms) {
                return Ok(false);
            }
            writer.put(key, found.as_ref(), put)?;
            if may_cull {
                self.cull_after(writer, now_ms, &Spared::One(key.hash));
            }
            Ok(true)
        })?;
        if is_stored {
            self.made_durable()?;
        }
        Ok(is_stored)
    }

    /// Changes when a key expires, `None` being never; false if it is missing or expired. Value,
    /// tag, place in the orders and time of storing stay.
    ///
    /// # Errors
    ///
    /// As [`Cache::delete`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use std::time::Duration;
    /// cache.set("session", &7)?;
    /// assert!(cache.touch("session", Some(Duration::from_secs(60)))?);
    /// assert!(cache.get_entry::<i32>("session")?.is_some_and(|it| it.expires_at.is_some()));
    /// assert!(cache.touch("session", None)?); // never
    /// assert!(!cache.touch("missing", None)?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn touch(&self, key: impl ToKey, expire: Option<std::time::Duration>) -> Result<bool> {
        let key = self.encoded_key(&key)?;
        let store = &self.0.store;
        let key = store.hashed_ahead(key.as_bytes());
        let now_ms = self.now_ms();
        let mut options = SetOptions::new();
        if let Some(after) = expire {
            options = options.expire(after);
        }
        let expires_ms = options.expires_ms(now_ms);
        let mut tag = Vec::new();
        self.refuse_if_not_durable()?;
        let is_touched = with_scratch(|value| {
            store.write_to(key.hash, self.0.timeout, |writer| {
                let found = writer.find(key)?.filter(|it| it.header.expires_ms > now_ms);
                let Some(found) = found else { return Ok(false) };
                if !writer.read(&found, &mut tag, value)? {
                    return Ok(false);
                }
                let header = found.header;
                let kept = match FileRef::decode(value).filter(|_| header.is_file()) {
                    Some(file) => PutValue::File(file),
                    None => PutValue::Bytes(value),
                };
                let put = Put {
                    value_kind: header.value_kind,
                    value: kept,
                    tag: &tag,
                    expires_ms,
                    stored_ms: header.stored_ms,
                    keep_access: true,
                };
                writer.put(key, Some(&found), put).map(|()| true)
            })
        })?;
        if is_touched {
            self.made_durable()?;
        }
        Ok(is_touched)
    }

    /// Removes a key; false if it is missing or expired.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`], [`ErrorKind::ReadOnly`], [`ErrorKind::Key`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set("key", &1)?;
    /// assert!(cache.delete("key")?);
    /// assert!(!cache.delete("key")?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn delete(&self, key: impl ToKey) -> Result<bool> {
        let key = self.encoded_key(&key)?;
        let store = &self.0.store;
        let key = store.hashed_ahead(key.as_bytes());
        let now_ms = self.now_ms();
        self.refuse_if_not_durable()?;
        let is_removed = store.write_to(key.hash, self.0.timeout, |writer| {
            let found = writer.find(key)?.filter(|it| it.header.expires_ms > now_ms);
            let Some(found) = found else { return Ok(false) };
            writer.remove(key, &found, 0).map(|()| true)
        })?;
        if is_removed {
            self.made_durable()?;
        }
        Ok(is_removed)
    }
}
