//! What surrounds a value: expiry, tag, time of storing; and how to say so when storing.

use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::clock::{NEVER, deadline, from_ms};
use crate::error::{Error, Result};
use crate::format::key::{Key, NULL};
use crate::format::key_buf::{KeyBuf, ToKey};
use crate::format::record::Header;

/// A value with what is known about it.
///
/// ```
/// # let cache = firncache::Cache::temporary()?;
/// use std::time::{Duration, SystemTime};
/// use firncache::{Key, SetOptions};
///
/// let options = SetOptions::new().expire(Duration::from_secs(60)).tag("pages");
/// cache.set_with("home", "<html>", options)?;
/// let entry = cache.get_entry::<String>("home")?.unwrap();
/// assert_eq!((entry.value.as_str(), entry.tag), ("<html>", Some(Key::from("pages"))));
/// assert!(entry.expires_at > Some(entry.stored_at));
/// # Ok::<(), firncache::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry<V> {
    /// The value.
    pub value: V,
    /// When the item expires, to the millisecond; `None`: never.
    pub expires_at: Option<SystemTime>,
    /// The tag that it was stored with.
    pub tag: Option<Key>,
    /// When it was last stored, to the millisecond.
    pub stored_at: SystemTime,
}

impl<V: DeserializeOwned> Entry<V> {
    /// Decodes what was read of a record.
    pub(crate) fn read(
        header: &Header,
        tag: &[u8],
        value: &[u8],
        cache: &Cache,
    ) -> Result<Entry<V>> {
        Ok(Entry {
            value: cache.decode(header.value_kind, value)?,
            expires_at: from_ms(header.expires_ms),
            tag: if tag.is_empty() { None } else { Some(Key::decode(tag)?) },
            stored_at: from_ms(header.stored_ms).unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }
}

/// How an item is stored: when it expires, and under which tag.
///
/// ```
/// use std::time::Duration;
/// use firncache::{Cache, SetOptions};
///
/// let cache = Cache::temporary()?;
/// let options = SetOptions::new().expire(Duration::from_secs(60)).tag("pages");
/// cache.set_with("/index", "<html>", options)?;
/// assert_eq!(cache.evict("pages")?, 1);
/// # Ok::<(), firncache::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until they are used"]
pub struct SetOptions {
    expiry: Option<Expiry>,
    /// The encoded tag, or why it cannot be one: the operation that uses it says so.
    tag: Option<Result<Vec<u8>, String>>,
}

#[derive(Clone, Copy, Debug)]
enum Expiry {
    After(Duration),
    At(SystemTime),
}

impl SetOptions {
    /// Makes options with neither expiry nor tag.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::SetOptions;
    /// cache.set_with("key", "value", SetOptions::new())?; // as set()
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn new() -> SetOptions {
        SetOptions::default()
    }

    /// Lets the item expire when this time has passed since it was stored. Zero is at once; what is
    /// too long to represent is never.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use std::time::Duration;
    /// use firncache::SetOptions;
    /// cache.set_with("over", "at once", SetOptions::new().expire(Duration::ZERO))?;
    /// assert!(!cache.contains("over")?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn expire(mut self, after: Duration) -> SetOptions {
        self.expiry = Some(Expiry::After(after));
        self
    }

    /// Lets the item expire at a time of day. The past is at once.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use std::time::{Duration, SystemTime};
    /// use firncache::SetOptions;
    /// let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    /// cache.set_with("menu", "soup", SetOptions::new().expire_at(tomorrow))?;
    /// assert!(cache.contains("menu")?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn expire_at(mut self, time: SystemTime) -> SetOptions {
        self.expiry = Some(Expiry::At(time));
        self
    }

    /// Labels the item, so that [`Cache::evict`](crate::Cache::evict) finds it. A tag is what a key
    /// can be; null is no tag. One that cannot be a key fails the operation that uses it, with
    /// [`ErrorKind::Key`](crate::ErrorKind::Key).
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::SetOptions;
    /// cache.set_with("home", "<html>", SetOptions::new().tag(("user", 7)))?;
    /// assert_eq!(cache.evict(("user", 7))?, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn tag(mut self, tag: impl ToKey) -> SetOptions {
        self.tag = match encode_tag(&tag) {
            Ok(None) => None,
            Ok(Some(tag)) => Some(Ok(tag.as_bytes().to_vec())),
            Err(error) => Some(Err(error.to_string())),
        };
        self
    }

    /// The expiry of an item that is stored at `now_ms`.
    pub(crate) fn expires_ms(&self, now_ms: u64) -> u64 {
        match self.expiry {
            None => NEVER,
            Some(Expiry::After(after)) => deadline(now_ms, after),
            // Rounded up, as nothing may end early.
            Some(Expiry::At(time)) => {
                time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| deadline(0, since))
            }
        }
    }

    /// The encoded tag; empty if there is none.
    pub(crate) fn tag_bytes(&self) -> Result<&[u8]> {
        match &self.tag {
            None => Ok(&[]),
            Some(Ok(tag)) => Ok(tag),
            Some(Err(why)) => Err(Error::key(format!("cannot use the tag: {why}"))),
        }
    }
}

/// The longest encoded tag: its length is kept in 16 bits.
const MAX_TAG_BYTES: usize = u16::MAX as usize;

/// Encodes a tag; null is none.
pub(crate) fn encode_tag(tag: &impl ToKey) -> Result<Option<KeyBuf>> {
    let tag = KeyBuf::within(tag, "tag", MAX_TAG_BYTES)?;
    Ok(if tag.as_bytes() == [NULL] { None } else { Some(tag) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_tag_that_is_too_long_is_refused() {
        let text = "x".repeat(MAX_TAG_BYTES);
        assert!(encode_tag(&text[1..].to_owned()).is_ok());
        for text in [text.clone(), text.repeat(2)] {
            let error = encode_tag(&text).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Key);
            assert!(error.to_string().contains("at most 65535 "), "{error}");
        }
    }

    #[test]
    fn expiries_saturate_and_are_never_early() {
        let new = SetOptions::new;
        assert_eq!(new().expires_ms(7), NEVER);
        assert_eq!(new().expire(Duration::ZERO).expires_ms(7), 7);
        assert_eq!(new().expire(Duration::from_nanos(1)).expires_ms(7), 8);
        assert_eq!(new().expire(Duration::MAX).expires_ms(7), NEVER);
        let at = |time| new().expire_at(time).expires_ms(7);
        assert_eq!(at(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), 0);
        assert_eq!(at(SystemTime::UNIX_EPOCH + Duration::from_micros(1500)), 2);
        assert_eq!(at(SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 50)), NEVER);
    }

    #[test]
    fn null_is_no_tag_and_nan_is_refused_when_used() {
        assert!(SetOptions::new().tag(()).tag_bytes().unwrap().is_empty());
        assert!(!SetOptions::new().tag("").tag_bytes().unwrap().is_empty());
        let error = SetOptions::new().tag(f64::NAN).tag_bytes().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Key);
    }
}
