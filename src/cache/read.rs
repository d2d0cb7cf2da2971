//! Reading one key.
//!
//! [`Cache::look_up`] is the one way to a record: through the store without a lock, or, inside a
//! transaction of this thread, through the writer, which sees the transaction's own writes. A value
//! file can vanish between the look and the opening, when the key is stored again: then the key is
//! looked up again.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::compression::unpack_in_place;
use crate::cache::entry::Entry;
use crate::cache::kind::KIND_BYTES;
use crate::error::{Error, Result};
use crate::format::key_buf::ToKey;
use crate::format::record::{FileRef, Header};
use crate::store::HashedKey;
use crate::store::read::Hit;

/// Looks at a key whose value file keeps vanishing at most so often.
const MAX_LOOKS: usize = 16;
/// The largest buffer that a thread keeps for its next call.
const MAX_KEPT_BYTES: usize = 64 * 1024;

/// The current record of a key, as a reader found it.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    pub(crate) header: Header,
    /// Outside transactions: the entry at which the use of the key is noted.
    pub(crate) entry: Option<u32>,
}

/// The open file of a large value.
pub(crate) struct ValueFile {
    pub(crate) file: File,
    pub(crate) reference: FileRef,
}

impl Cache {
    /// Reads the value of a key.
    ///
    /// Takes no lock and makes no system call, unless the value is large enough to have a file of
    /// its own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if the value is not a `V`;
    /// [`ErrorKind::Key`](crate::ErrorKind::Key) for what cannot be a key.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set("pi", &3.14)?;
    /// assert_eq!(cache.get("pi")?, Some(3.14));
    /// assert_eq!(cache.get::<f64>("e")?, None);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn get<V: DeserializeOwned>(&self, key: impl ToKey) -> Result<Option<V>> {
        let key = self.encoded_key(&key)?;
        with_scratch(|buffer| self.get_encoded(key.as_bytes(), buffer))
    }

    pub(crate) fn get_encoded<V: DeserializeOwned>(
        &self,
        key: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<Option<V>> {
        let Some(record) = self.read_noted(key, None, buffer)? else { return Ok(None) };
        self.decode(record.header.value_kind, buffer).map(Some)
    }

    /// Reads the value of a key, and what is known about it.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::{Key, SetOptions};
    /// cache.set_with("home", "<html>", SetOptions::new().tag("pages"))?;
    /// let entry = cache.get_entry::<String>("home")?.unwrap();
    /// assert_eq!((entry.expires_at, entry.tag), (None, Some(Key::from("pages"))));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn get_entry<V: DeserializeOwned>(&self, key: impl ToKey) -> Result<Option<Entry<V>>> {
        let (key, mut tag) = (self.encoded_key(&key)?, Vec::new());
        with_scratch(|buffer| {
            let Some(record) = self.read_noted(key.as_bytes(), Some(&mut tag), buffer)? else {
                return Ok(None);
            };
            Entry::read(&record.header, &tag, buffer, self).map(Some)
        })
    }

    /// Reads the bytes that [`Cache::set_bytes`] stored.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`]; [`ErrorKind::Codec`](crate::ErrorKind::Codec) if the value is not bytes.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set_bytes("raw", b"bytes")?;
    /// assert_eq!(cache.get_bytes("raw")?, Some(b"bytes".to_vec()));
    /// assert_eq!(cache.get_bytes("missing")?, None);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn get_bytes(&self, key: impl ToKey) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        Ok(self.get_bytes_into(key, &mut bytes)?.then_some(bytes))
    }

    /// Reads the bytes that [`Cache::set_bytes`] stored into `buffer`, replacing what is in it.
    /// False, and an empty buffer, if there are none. Allocates only where the buffer is too small.
    ///
    /// # Errors
    ///
    /// As [`Cache::get_bytes`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set_bytes("raw", b"bytes")?;
    /// let mut buffer = Vec::new();
    /// assert!(cache.get_bytes_into("raw", &mut buffer)?);
    /// assert_eq!(buffer, b"bytes");
    /// assert!(!cache.get_bytes_into("missing", &mut buffer)?);
    /// assert!(buffer.is_empty());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn get_bytes_into(&self, key: impl ToKey, buffer: &mut Vec<u8>) -> Result<bool> {
        let key = self.encoded_key(&key)?;
        let kind = match self.read_noted(key.as_bytes(), None, buffer) {
            Ok(Some(record)) => record.header.value_kind,
            other => {
                buffer.clear();
                return other.map(|_| false);
            }
        };
        match unpack_in_place(kind, buffer) {
            Ok(KIND_BYTES) => Ok(true),
            other => {
                buffer.clear();
                Err(other.map_or_else(|error| self.here(error), |_| self.not_bytes()))
            }
        }
    }

    pub(super) fn not_bytes(&self) -> Error {
        let why = "cannot read the value as bytes: it is stored as something else; use get()";
        self.here(Error::codec(why))
    }

    /// Tells whether a key is there and has not expired. Not counted as a read.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Key`](crate::ErrorKind::Key) for what cannot be a key.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set(1, "one")?;
    /// assert!(cache.contains(1.0)? && !cache.contains("1")?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn contains(&self, key: impl ToKey) -> Result<bool> {
        let key = self.encoded_key(&key)?;
        self.contains_encoded(key.as_bytes())
    }

    pub(crate) fn contains_encoded(&self, key: &[u8]) -> Result<bool> {
        with_scratch(|buffer| {
            let record = self.record(key, None, buffer)?;
            Ok(record.is_some_and(|record| self.is_live(record.header.expires_ms)))
        })
    }

    /// Reads a live value whole, as [`Cache::read_whole`], and notes the hit or miss.
    #[inline]
    pub(crate) fn read_noted(
        &self,
        key: &[u8],
        tag: Option<&mut Vec<u8>>,
        value: &mut Vec<u8>,
    ) -> Result<Option<Record>> {
        let record = self.read_whole(key, tag, value)?;
        self.note_read(record.as_ref());
        Ok(record)
    }

    /// Reads a live value whole, wherever it lies.
    #[inline]
    pub(crate) fn read_whole(
        &self,
        key: &[u8],
        mut tag: Option<&mut Vec<u8>>,
        value: &mut Vec<u8>,
    ) -> Result<Option<Record>> {
        let Some(record) = self.record(key, tag.as_deref_mut(), value)? else { return Ok(None) };
        if !self.is_live(record.header.expires_ms) {
            return Ok(None);
        }
        if record.header.is_file() {
            return self.read_whole_file(key, tag, value);
        }
        Ok(Some(record))
    }

    #[cold]
    fn read_whole_file(
        &self,
        key: &[u8],
        tag: Option<&mut Vec<u8>>,
        value: &mut Vec<u8>,
    ) -> Result<Option<Record>> {
        let Some((record, file)) = self.look_up(key, tag, value)? else { return Ok(None) };
        if let Some(file) = file
            && !self.read_file(file, value)?
        {
            return Ok(None);
        }
        Ok(Some(record))
    }

    /// Reads a value file whole; false, and counted, if it is damaged.
    pub(crate) fn read_file(&self, mut file: ValueFile, value: &mut Vec<u8>) -> Result<bool> {
        let is_sound = file.read_to(value).map_err(|source| {
            let path = self.directory().join(file.reference.name());
            Error::io("read the value file", &path, source)
        })?;
        if !is_sound {
            self.0.store.shared().head.count_damaged();
        }
        Ok(is_sound)
    }

    /// Finds the live record of a key. Its value is in `value`, or in the file that comes with it.
    pub(crate) fn look_up(
        &self,
        key: &[u8],
        mut tag: Option<&mut Vec<u8>>,
        value: &mut Vec<u8>,
    ) -> Result<Option<(Record, Option<ValueFile>)>> {
        let mut vanished = None;
        for _ in 0..MAX_LOOKS {
            let Some(record) = self.record(key, tag.as_deref_mut(), value)? else {
                return Ok(None);
            };
            if !self.is_live(record.header.expires_ms) {
                return Ok(None);
            }
            if !record.header.is_file() {
                return Ok(Some((record, None)));
            }
            let Some(reference) = FileRef::decode(value) else { break };
            if let Some(file) = self.0.store.open_value_file(reference)? {
                return Ok(Some((record, Some(ValueFile { file, reference }))));
            }
            if vanished.replace(reference) == Some(reference) {
                // The record still names it: the file is damaged, not replaced.
                break;
            }
        }
        self.0.store.shared().head.count_damaged();
        Ok(None)
    }

    /// The current record of a key, expired or not.
    #[inline]
    pub(crate) fn record(
        &self,
        key: &[u8],
        tag: Option<&mut Vec<u8>>,
        value: &mut Vec<u8>,
    ) -> Result<Option<Record>> {
        let store = &self.0.store;
        let key = store.hashed(key);
        if store.is_in_transaction() {
            return self.own_record(key, tag, value);
        }
        let hit = store.get(key, tag, value)?;
        Ok(hit.map(|Hit { header, entry }| Record { header, entry: Some(entry) }))
    }

    /// The current record of a key, as the transaction of this thread sees it.
    #[cold]
    fn own_record(
        &self,
        key: HashedKey<'_>,
        tag: Option<&mut Vec<u8>>,
        value: &mut Vec<u8>,
    ) -> Result<Option<Record>> {
        self.0.store.write(self.0.timeout, |writer| {
            let Some(found) = writer.find(key)? else { return Ok(None) };
            let is_sound = writer.read(&found, tag.unwrap_or(&mut Vec::new()), value)?;
            Ok(is_sound.then_some(Record { header: found.header, entry: None }))
        })
    }
}

impl ValueFile {
    /// Reads the whole file; false if it is damaged.
    pub(crate) fn read_to(&mut self, value: &mut Vec<u8>) -> std::io::Result<bool> {
        value.clear();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.by_ref().take(self.reference.len).read_to_end(value)?;
        let is_whole = value.len() as u64 == self.reference.len;
        Ok(is_whole && crc32fast::hash(value) == self.reference.sum)
    }
}

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Runs `work` with an empty buffer of this thread, so that reading allocates nothing. When `work`
/// comes here again, it gets a new one.
#[inline]
pub(crate) fn with_scratch<R>(work: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut buffer = SCRATCH.try_with(Cell::take).unwrap_or_default();
    let result = work(&mut buffer);
    if buffer.capacity() <= MAX_KEPT_BYTES {
        buffer.clear();
        // At the end of a thread there may be no place any more to keep it.
        let _ = SCRATCH.try_with(|kept| kept.set(buffer));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scratch_buffer_is_empty_also_when_nested() {
        with_scratch(|outer| {
            outer.extend_from_slice(b"outer");
            with_scratch(|inner| {
                assert!(inner.is_empty());
                inner.push(1);
            });
            assert_eq!(outer, b"outer");
        });
        with_scratch(|again| assert!(again.is_empty()));
    }
}
