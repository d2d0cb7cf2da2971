//! Many keys in one call.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::entry::SetOptions;
use crate::cache::read::with_scratch;
use crate::error::Result;
use crate::format::key_buf::{KeyBuf, ToKey};
use crate::store::read::BATCH;
use crate::store::writer::{Put, PutValue};

/// An encoded pair that waits for the lock.
pub(crate) struct Pair {
    key: KeyBuf,
    kind: u8,
    value: OwnedValue,
}

enum OwnedValue {
    Bytes(Vec<u8>),
    Placed(PutValue<'static>),
}

impl Cache {
    /// Reads the values of many keys, in their order; `None` for those that are missing or expired.
    ///
    /// Faster than one [`Cache::get`] after the other, as the reads wait for memory together. Not a
    /// snapshot: for that, read inside [`Cache::transact`].
    ///
    /// # Errors
    ///
    /// As [`Cache::get`], for the first key that fails.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set("b", &2)?;
    /// assert_eq!(cache.get_many::<i32>(["a", "b"])?, [None, Some(2)]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn get_many<V: DeserializeOwned>(
        &self,
        keys: impl IntoIterator<Item = impl ToKey>,
    ) -> Result<Vec<Option<V>>> {
        let mut keys = keys.into_iter();
        let mut values = Vec::with_capacity(keys.size_hint().0);
        let mut batch = Vec::with_capacity(BATCH);
        let mut hashes = Vec::with_capacity(BATCH);
        loop {
            batch.clear();
            hashes.clear();
            for key in keys.by_ref().take(BATCH) {
                let key = self.encoded_key(&key)?;
                hashes.push(self.0.store.hashed(key.as_bytes()).hash);
                batch.push(key);
            }
            if batch.is_empty() {
                return Ok(values);
            }
            self.0.store.prefetch(&hashes);
            for key in &batch {
                values.push(with_scratch(|buffer| self.get_encoded(key.as_bytes(), buffer))?);
            }
        }
    }

    /// Starts loading what reading these keys will need.
    pub(crate) fn prefetch<'a>(&self, keys: impl Iterator<Item = &'a KeyBuf>) {
        let hash = |key: &KeyBuf| self.0.store.hashed(key.as_bytes()).hash;
        self.0.store.prefetch(&keys.map(hash).collect::<Vec<_>>());
    }

    /// Stores many values with the same expiry and tag; gives their number. They become visible
    /// together, or not at all.
    ///
    /// Takes the lock once. All values are held in memory until then.
    ///
    /// # Errors
    ///
    /// As [`Cache::set_with`]; nothing is stored then.
    ///
    /// ```
    /// use firncache::SetOptions;
    /// # let cache = firncache::Cache::temporary()?;
    /// assert_eq!(cache.set_many([("a", 1), ("b", 2)], SetOptions::new())?, 2);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn set_many<K: ToKey, V: Serialize>(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
        options: SetOptions,
    ) -> Result<u64> {
        let mut encoded = Vec::new();
        for (key, value) in pairs {
            encoded.push(self.encode_pair(self.encoded_key(&key)?, &value, &options)?);
        }
        if encoded.is_empty() {
            return Ok(0);
        }
        let count = encoded.len() as u64;
        let transaction = self.begin()?;
        self.put_pairs(encoded, &options)?;
        transaction.commit()?;
        Ok(count)
    }

    /// Encodes a pair, and writes a large value to its file.
    pub(crate) fn encode_pair<V: Serialize>(
        &self,
        key: KeyBuf,
        value: &V,
        options: &SetOptions,
    ) -> Result<Pair> {
        let mut bytes = Vec::new();
        let kind = self.encode(value, &mut bytes)?;
        let placed = match self.place(key.as_bytes(), &bytes, options)? {
            PutValue::Bytes(_) => None,
            PutValue::Staged(staged) => Some(PutValue::Staged(staged)),
            PutValue::File(file) => Some(PutValue::File(file)),
        };
        let value = placed.map_or(OwnedValue::Bytes(bytes), OwnedValue::Placed);
        Ok(Pair { key, kind, value })
    }

    /// Stores encoded pairs, within a transaction.
    pub(crate) fn put_pairs(&self, pairs: Vec<Pair>, options: &SetOptions) -> Result<()> {
        let now_ms = self.now_ms();
        let (tag, expires_ms) =
            (options.tag_bytes().map_err(|error| self.here(error))?, options.expires_ms(now_ms));
        self.0.store.write(self.0.timeout, |writer| {
            for Pair { key, kind, value } in pairs {
                let key = self.0.store.hashed(key.as_bytes());
                let bytes;
                let value = match value {
                    OwnedValue::Placed(value) => value,
                    OwnedValue::Bytes(owned) => {
                        bytes = owned;
                        PutValue::Bytes(&bytes)
                    }
                };
                let found = writer.find(key)?;
                let put = Put {
                    value_kind: kind,
                    value,
                    tag,
                    expires_ms,
                    stored_ms: now_ms,
                    keep_access: false,
                };
                writer.put(key, found.as_ref(), put)?;
            }
            Ok(())
        })
    }

    /// Removes many keys; gives the number of those that were there and had not expired. They
    /// vanish together, or not at all.
    ///
    /// # Errors
    ///
    /// As [`Cache::delete`]; nothing is removed then.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set_many([("a", 1), ("b", 2)], Default::default())?;
    /// assert_eq!(cache.delete_many(["a", "b", "c"])?, 2);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn delete_many(&self, keys: impl IntoIterator<Item = impl ToKey>) -> Result<u64> {
        let keys =
            keys.into_iter().map(|key| self.encoded_key(&key)).collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            return Ok(0);
        }
        let transaction = self.begin()?;
        let removed = self.remove_encoded(&keys)?;
        transaction.commit()?;
        Ok(removed)
    }

    /// Removes the keys that are there, within a transaction; how many there were.
    pub(crate) fn remove_encoded(&self, keys: &[KeyBuf]) -> Result<u64> {
        let now_ms = self.now_ms();
        self.0.store.write(self.0.timeout, |writer| {
            let mut removed = 0;
            for key in keys {
                let key = self.0.store.hashed(key.as_bytes());
                let found = writer.find(key)?.filter(|it| it.header.expires_ms > now_ms);
                if let Some(found) = found {
                    writer.remove(key, &found, 0)?;
                    removed += 1;
                }
            }
            Ok(removed)
        })
    }
}
