//! Values of any size, never whole in memory.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::cache::Cache;
use crate::cache::compression::{is_packed, unpack_in_place};
use crate::cache::entry::SetOptions;
use crate::cache::kind::{KIND_BYTES, KIND_TEXT};
use crate::cache::write::Over;
use crate::error::{Error, Result};
use crate::format::key_buf::ToKey;
use crate::store::space::inline_limit;
use crate::store::writer::PutValue;

/// Reads the bytes of a stored value, from its file or from memory; made by [`Cache::reader`].
///
/// What it reads stays the same, also when the key is stored again or removed meanwhile. A value that
/// is read from start to end is checked: damage is an error of kind `InvalidData` at its end.
///
/// ```
/// # let cache = firncache::Cache::temporary()?;
/// use std::io::{Read, Seek, SeekFrom};
///
/// cache.set_bytes("raw", b"header, body")?;
/// let mut reader = cache.reader("raw")?.unwrap();
/// reader.seek(SeekFrom::Start(8))?;
/// let mut body = String::new();
/// reader.read_to_string(&mut body)?;
/// assert_eq!(body, "body");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ValueReader {
    source: Source,
    len: u64,
}

enum Source {
    File {
        file: File,
        path: PathBuf,
        /// The next byte to read. Not the file's own position, which a forked child has in common
        /// with its parent.
        position: u64,
        /// Of what was read, as long as it was read from start to end.
        sum: Option<crc32fast::Hasher>,
        expected: u32,
    },
    Memory(Cursor<Vec<u8>>),
}

impl Cache {
    /// Stores the bytes that a reader gives, to its end; gives their number.
    ///
    /// Holds no more than one piece in memory: a large value goes to its file as it is read, before
    /// the lock is taken. [`Cache::reader`] and [`Cache::get_bytes`] read it.
    ///
    /// # Errors
    ///
    /// As [`Cache::set_with`]; [`ErrorKind::Io`](crate::ErrorKind::Io) with the error of the
    /// reader.
    ///
    /// ```
    /// use std::io::Read;
    /// use firncache::SetOptions;
    /// # let cache = firncache::Cache::temporary()?;
    /// let source = std::io::repeat(7).take(1 << 20);
    /// assert_eq!(cache.set_from("zeros", source, SetOptions::new())?, 1 << 20);
    /// let mut bytes = Vec::new();
    /// if let Some(mut reader) = cache.reader("zeros")? {
    ///     reader.read_to_end(&mut bytes)?;
    /// }
    /// assert_eq!(bytes, vec![7; 1 << 20]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_from(
        &self,
        key: impl ToKey,
        mut reader: impl Read,
        options: SetOptions,
    ) -> Result<u64> {
        let key = self.encoded_key(&key)?;
        let settings = self.settings();
        self.check_size(&settings, key.as_bytes(), 0, &options)?;
        let mut start = Vec::new();
        let inline = inline_limit(&settings);
        reader
            .by_ref()
            .take(inline.saturating_add(1))
            .read_to_end(&mut start)
            .map_err(|source| Error::io("read the value to store in", self.directory(), source))?;
        if start.len() as u64 <= inline {
            let value = self.place(key.as_bytes(), &start, &options)?;
            self.put(self.0.store.hashed(key.as_bytes()), KIND_BYTES, value, &options, Over::Any)?;
            return Ok(start.len() as u64);
        }
        // One byte more than can fit shows that it does not.
        let most = if settings.has_limit() { settings.size_limit } else { u64::MAX };
        let mut whole = Cursor::new(start).chain(reader).take(most.saturating_add(1));
        let staged = self.0.store.stage(&mut whole, self.0.timeout)?;
        let len = staged.len();
        self.check_size(&settings, key.as_bytes(), len, &options)?;
        self.put(
            self.0.store.hashed(key.as_bytes()),
            KIND_BYTES,
            PutValue::Staged(staged),
            &options,
            Over::Any,
        )?;
        Ok(len)
    }

    /// Opens the bytes of a value for reading; `None` if the key is missing or expired. Counted as
    /// a read. A compressed value is decompressed in memory.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`]; [`ErrorKind::Codec`](crate::ErrorKind::Codec) if the value is neither
    /// bytes nor text.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use std::io::Read;
    /// cache.set("text", "also text")?;
    /// let mut text = String::new();
    /// cache.reader("text")?.unwrap().read_to_string(&mut text)?;
    /// assert_eq!(text, "also text");
    /// assert!(cache.reader("missing")?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reader(&self, key: impl ToKey) -> Result<Option<ValueReader>> {
        let (key, mut value) = (self.encoded_key(&key)?, Vec::new());
        let found = self.look_up(key.as_bytes(), None, &mut value)?;
        self.note_read(found.as_ref().map(|(record, _)| record));
        let Some((record, mut file)) = found else { return Ok(None) };
        let mut kind = record.header.value_kind;
        if is_packed(kind) {
            if let Some(file) = file.take()
                && !self.read_file(file, &mut value)?
            {
                return Ok(None);
            }
            kind = unpack_in_place(kind, &mut value).map_err(|error| self.here(error))?;
        }
        if !matches!(kind, KIND_BYTES | KIND_TEXT) {
            return Err(self.not_bytes());
        }
        Ok(Some(match file {
            None => {
                ValueReader { len: value.len() as u64, source: Source::Memory(Cursor::new(value)) }
            }
            Some(open) => ValueReader {
                len: open.reference.len,
                source: Source::File {
                    file: open.file,
                    position: 0,
                    sum: Some(crc32fast::Hasher::new()),
                    expected: open.reference.sum,
                    path: self.directory().join(open.reference.name()),
                },
            },
        }))
    }
}

impl ValueReader {
    /// Gives the number of bytes of the whole value.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set_bytes("raw", b"bytes")?;
    /// assert_eq!(cache.reader("raw")?.map(|reader| reader.len()), Some(5));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Tells whether the value has no bytes.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set_bytes("raw", b"")?;
    /// assert!(cache.reader("raw")?.is_some_and(|reader| reader.is_empty()));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives the value's own file, if it has one: for programs that want a path. The file goes when
    /// the key is stored again or removed; never write to it.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set_bytes("small", b"bytes")?;
    /// cache.set_bytes("large", &vec![7; 1 << 20])?;
    /// assert!(cache.reader("small")?.unwrap().path().is_none());
    /// assert!(cache.reader("large")?.unwrap().path().is_some_and(|path| path.is_file()));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::File { path, .. } => Some(path),
            Source::Memory(_) => None,
        }
    }
}

impl Read for ValueReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::File { file, position, sum, expected, .. } => {
                let len = file.read_at(buffer, *position)?;
                *position += len as u64;
                if len > 0 || buffer.is_empty() {
                    if let Some(sum) = sum {
                        sum.update(&buffer[..len]);
                    }
                } else if sum.take().is_some_and(|sum| sum.finalize() != *expected) {
                    return Err(damaged());
                }
                Ok(len)
            }
            Source::Memory(bytes) => bytes.read(buffer),
        }
    }

    fn read_to_end(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let (start, left) = match &mut self.source {
            Source::File { position, .. } => (buffer.len(), self.len.saturating_sub(*position)),
            Source::Memory(bytes) => return bytes.read_to_end(buffer),
        };
        buffer.try_reserve(usize::try_from(left).unwrap_or(usize::MAX))?;
        // Nothing of what turns out to be damaged is given.
        let read = Read::take(&mut *self, u64::MAX).read_to_end(buffer);
        read.inspect_err(|_| buffer.truncate(start))
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file of the value is damaged; store it again")
}

impl Seek for ValueReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &mut self.source {
            Source::File { position, sum, .. } => {
                // Only what is read from start to end can be checked.
                *sum = None;
                *position = match to {
                    SeekFrom::Start(at) => Some(at),
                    SeekFrom::End(by) => self.len.checked_add_signed(by),
                    SeekFrom::Current(by) => position.checked_add_signed(by),
                }
                .ok_or(io::ErrorKind::InvalidInput)?;
                Ok(*position)
            }
            Source::Memory(bytes) => bytes.seek(to),
        }
    }
}

impl fmt::Debug for ValueReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueReader").field("len", &self.len).field("path", &self.path()).finish()
    }
}
