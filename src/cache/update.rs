//! Changing a value: reading and storing as one.
//!
//! The user's code, which decodes and encodes, runs without the lock. So the record is read, its value
//! changed and encoded, and stored under the lock if the record is still the same one.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::entry::SetOptions;
use crate::cache::write::{MAX_ATTEMPTS, Over};
use crate::error::Result;
use crate::format::key::Key;

impl Cache {
    /// Stores what `change` makes of the value of a key, `None` being a missing one. It never expires
    /// and has no tag then. `change` may be called several times.
    pub(crate) fn update<V: Serialize + DeserializeOwned>(
        &self,
        key: &Key,
        change: impl Fn(Option<V>) -> V,
    ) -> Result<()> {
        let (key, options) = (self.encoded_key(key)?, SetOptions::new());
        let key = key.as_bytes();
        for _ in 0..MAX_ATTEMPTS {
            let (over, old) = match self.read_entry(key)? {
                Some((header, entry)) => (Over::This(header), Some(entry.value)),
                None => (Over::Nothing, None),
            };
            if self.store_encoded(key, &change(old), &options, over)? {
                return Ok(());
            }
        }
        // Inside a transaction nobody else changes the key.
        self.transact(|_| {
            let old = self.read_entry(key)?.map(|(_, entry)| entry.value);
            self.store_encoded(key, &change(old), &options, Over::Any).map(|_| ())
        })
    }
}
