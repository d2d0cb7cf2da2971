//! Taking a value out: reading and removing as one.
//!
//! The value is decoded before it is removed, so that one of the wrong type stays; and decoding is
//! the user's code, so that it runs without the lock. So the record is read and decoded first, and
//! removed under the lock if it is still the same one.

use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::entry::Entry;
use crate::cache::read::with_scratch;
use crate::error::Result;
use crate::format::key_buf::ToKey;
use crate::format::record::Header;

/// Reads of a key that others keep changing, before the lock is held over reading and removing.
const MAX_ATTEMPTS: usize = 8;

impl Cache {
    /// Removes a key and gives its value. A value that is not a `V` stays.
    ///
    /// Of several that pop a key at once, one gets it. Not counted as a read.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`] and [`Cache::delete`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set("ticket", &7)?;
    /// assert!(cache.pop::<String>("ticket").is_err());
    /// assert_eq!(cache.pop("ticket")?, Some(7));
    /// assert_eq!(cache.pop::<i32>("ticket")?, None);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn pop<V: DeserializeOwned>(&self, key: impl ToKey) -> Result<Option<V>> {
        Ok(self.pop_entry(key)?.map(|entry| entry.value))
    }

    /// Removes a key and gives its value, and what was known about it.
    ///
    /// # Errors
    ///
    /// As [`Cache::pop`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::{Key, SetOptions};
    /// cache.set_with("ticket", &7, SetOptions::new().tag("open"))?;
    /// let entry = cache.pop_entry::<i32>("ticket")?.unwrap();
    /// assert_eq!((entry.value, entry.tag), (7, Some(Key::from("open"))));
    /// assert!(!cache.contains("ticket")?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn pop_entry<V: DeserializeOwned>(&self, key: impl ToKey) -> Result<Option<Entry<V>>> {
        let key = self.encoded_key(&key)?;
        self.refuse_if_not_durable()?;
        for _ in 0..MAX_ATTEMPTS {
            let Some((header, entry)) = self.read_entry(key.as_bytes())? else { return Ok(None) };
            if self.remove_same(key.as_bytes(), &header)? {
                self.made_durable()?;
                return Ok(Some(entry));
            }
        }
        // Inside a transaction nobody else changes the key.
        self.transact(|_| match self.read_entry(key.as_bytes())? {
            None => Ok(None),
            Some((header, entry)) => {
                Ok(self.remove_same(key.as_bytes(), &header)?.then_some(entry))
            }
        })
    }

    /// Reads a live entry, and the header that tells whether it is still the same one.
    pub(crate) fn read_entry<V: DeserializeOwned>(
        &self,
        key: &[u8],
    ) -> Result<Option<(Header, Entry<V>)>> {
        let mut tag = Vec::new();
        with_scratch(|buffer| {
            let Some(record) = self.read_whole(key, Some(&mut tag), buffer)? else {
                return Ok(None);
            };
            let entry = Entry::read(&record.header, &tag, buffer, self)?;
            Ok(Some((record.header, entry)))
        })
    }

    /// Removes a key if its record still has this header. Headers name the row of the key and the
    /// place of the record before: no two records have the same.
    fn remove_same(&self, key: &[u8], header: &Header) -> Result<bool> {
        let key = self.0.store.hashed(key);
        self.0.store.write(self.0.timeout, |writer| {
            let Some(found) = writer.find(key)?.filter(|it| it.header == *header) else {
                return Ok(false);
            };
            writer.remove(key, &found, 0).map(|()| true)
        })
    }
}
