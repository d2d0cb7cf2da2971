//! Counting: integers that are changed in place.

use crate::cache::Cache;
use crate::cache::kind::{KIND_I64, KIND_U64};
use crate::cache::read::with_scratch;
use crate::cache::spared::Spared;
use crate::clock::NEVER;
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_buf::ToKey;
use crate::store::writer::{Put, PutValue};
use crate::store::{HashedKey, Writer};

impl Cache {
    /// Adds to an integer, a missing or expired one being 0; gives the sum. Expiry and tag of the
    /// key stay. Of several that count at once, none is lost.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overflow`] if the sum is no `i64`; [`ErrorKind::Codec`] if the value is no
    /// integer; the value stays. Also as [`Cache::set`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// assert_eq!(cache.incr("visits", 2)?, 2);
    /// assert_eq!(cache.decr("visits", 5)?, -3);
    /// assert_eq!(cache.get("visits")?, Some(-3));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn incr(&self, key: impl ToKey, delta: i64) -> Result<i64> {
        self.count(key, delta.into(), Some(0)).map(Option::unwrap_or_default)
    }

    /// Subtracts from an integer, as [`Cache::incr`] adds.
    ///
    /// # Errors
    ///
    /// As [`Cache::incr`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set("left", &10)?;
    /// assert_eq!(cache.decr("left", 3)?, 7);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn decr(&self, key: impl ToKey, delta: i64) -> Result<i64> {
        self.count(key, -i128::from(delta), Some(0)).map(Option::unwrap_or_default)
    }

    /// Adds to an integer; a missing or expired one counts as `default`. With no default, a missing
    /// key gives `None`, and nothing is stored.
    ///
    /// # Errors
    ///
    /// As [`Cache::incr`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// assert_eq!(cache.incr_with("visits", 1, None)?, None);
    /// assert_eq!(cache.incr_with("visits", 1, Some(100))?, Some(101));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn incr_with(
        &self,
        key: impl ToKey,
        delta: i64,
        default: Option<i64>,
    ) -> Result<Option<i64>> {
        self.count(key, delta.into(), default)
    }

    fn count(&self, key: impl ToKey, delta: i128, default: Option<i64>) -> Result<Option<i64>> {
        let key = self.encoded_key(&key)?;
        let store = &self.0.store;
        let key = store.hashed(key.as_bytes());
        let now_ms = self.now_ms();
        self.refuse_if_not_durable()?;
        let may_cull = !store.is_in_transaction();
        let sum = store.write_to(key.hash, self.0.timeout, |writer| {
            let added = add(writer, key, delta, default, now_ms);
            let (sum, is_new) = added.map_err(|error| self.here(error))?;
            if may_cull && is_new {
                self.cull_after(writer, now_ms, &Spared::One(key.hash));
            }
            Ok(sum)
        })?;
        if sum.is_some() {
            self.made_durable()?;
        }
        Ok(sum)
    }
}

/// Adds under the lock; the sum, and whether the key was not there.
fn add(
    writer: &mut Writer<'_>,
    key: HashedKey<'_>,
    delta: i128,
    default: Option<i64>,
    now_ms: u64,
) -> Result<(Option<i64>, bool)> {
    let found = writer.find(key)?;
    let mut tag = Vec::new();
    let mut old = None;
    if let Some(live) = found.filter(|it| it.header.expires_ms > now_ms) {
        old = with_scratch(|value| {
            if !writer.read(&live, &mut tag, value)? {
                // A damaged record is a missing one.
                tag.clear();
                return Ok(None);
            }
            integer(live.header.value_kind, value)
                .map(|value| Some((value, live.header.expires_ms)))
        })?;
    }
    let (start, expires_ms) = match (old, default) {
        (Some(old), _) => old,
        (None, Some(default)) => (default.into(), NEVER),
        (None, None) => return Ok((None, false)),
    };
    let sum =
        start.checked_add(delta).and_then(|sum| i64::try_from(sum).ok()).ok_or_else(|| {
            Error::new(
                ErrorKind::Overflow,
                format!(
                    "{start} and {delta} make a sum that is no i64, and the value stays as it \
                     was: store a smaller one first"
                ),
            )
        })?;
    let put = Put {
        value_kind: KIND_I64,
        value: PutValue::Bytes(&sum.to_le_bytes()),
        tag: &tag,
        expires_ms,
        stored_ms: now_ms,
        keep_access: false,
    };
    writer.put(key, found.as_ref(), put)?;
    Ok((Some(sum), old.is_none()))
}

/// The integer that a stored value is.
fn integer(kind: u8, value: &[u8]) -> Result<i128> {
    let bytes = <[u8; 8]>::try_from(value);
    match (kind, bytes) {
        (KIND_I64, Ok(bytes)) => Ok(i64::from_le_bytes(bytes).into()),
        (KIND_U64, Ok(bytes)) => Ok(u64::from_le_bytes(bytes).into()),
        _ => Err(Error::codec(
            "cannot count with the value: it is stored as something else than an integer, and \
             stays as it was; store an integer first, or use another key",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stored_integers_are_integers() {
        assert_eq!(integer(KIND_I64, &(-7_i64).to_le_bytes()).unwrap(), -7);
        assert_eq!(integer(KIND_U64, &u64::MAX.to_le_bytes()).unwrap(), u64::MAX.into());
        for (kind, value) in [(5, &[0; 8][..]), (KIND_I64, &[0; 7]), (KIND_U64, &[])] {
            assert_eq!(integer(kind, value).unwrap_err().kind(), ErrorKind::Codec);
        }
    }
}
