//! An encoded key under construction.
//!
//! `Cache` takes `impl ToKey` wherever it takes a key, and encodes it once, into a [`KeyBuf`]. The
//! bytes of ordinary keys stay in the value itself, those of long ones go to the heap. The grammar
//! is in [`crate::format::key`]; this is the only place that writes it.

use crate::error::{Error, Result};
use crate::format::key::{
    BYTES, END, ESCAPED_ZERO, FALSE, MAX_DEPTH, MAX_KEY_BYTES, NULL, TEXT, TRUE, TUPLE,
};
use crate::format::key_number::{MAX_NUMBER_BYTES, Number};

/// The longest encoded key that needs no allocation.
const INLINE_BYTES: usize = 64;

/// What can be a key: integers up to 64 bits, floats but NaN, `bool`, `()`, text, bytes, `Option`,
/// tuples of these up to eight, [`Key`](crate::Key), and references to all of them.
///
/// `None` and `()` are null, and `Some(x)` is `x`. `Vec<u8>`, `[u8; N]` and `[u8]` are bytes. Equal
/// numbers are one key whatever their types. Keys up to 64 encoded bytes need no allocation;
/// [`MAX_KEY_BYTES`] is the most.
///
/// A type of your own becomes a key through what it is made of:
///
/// ```
/// use firncache::{KeyBuf, Result, ToKey};
///
/// struct Tile {
///     layer: String,
///     column: u32,
///     row: u32,
/// }
///
/// impl ToKey for Tile {
///     fn encode_key(&self, out: &mut KeyBuf) -> Result<()> {
///         (&self.layer, self.column, self.row).encode_key(out)
///     }
/// }
/// ```
pub trait ToKey {
    /// Encodes the key: delegates to exactly one value, which may be a tuple.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Key`](crate::ErrorKind::Key) for what cannot be a key; see [`Error::key`].
    ///
    /// ```
    /// use firncache::{Cache, KeyBuf, Result, ToKey};
    ///
    /// struct Color([u8; 3]);
    ///
    /// impl ToKey for Color {
    ///     fn encode_key(&self, out: &mut KeyBuf) -> Result<()> {
    ///         self.0.encode_key(out)
    ///     }
    /// }
    ///
    /// let cache = Cache::temporary()?;
    /// cache.set(Color([255, 0, 0]), "red")?;
    /// assert_eq!(cache.get::<String>(b"\xff\0\0")?.as_deref(), Some("red"));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    fn encode_key(&self, out: &mut KeyBuf) -> Result<()>;
}

/// Takes in the parts of a key; see [`ToKey`].
///
/// ```
/// use firncache::{Cache, KeyBuf, Result, ToKey};
///
/// struct UserId(u64);
///
/// impl ToKey for UserId {
///     fn encode_key(&self, out: &mut KeyBuf) -> Result<()> {
///         ("user", self.0).encode_key(out)
///     }
/// }
///
/// let cache = Cache::temporary()?;
/// cache.set(UserId(7), "Ada")?;
/// assert!(cache.contains(("user", 7))?);
/// # Ok::<(), firncache::Error>(())
/// ```
pub struct KeyBuf {
    inline: [u8; INLINE_BYTES],
    /// Bytes in use, in `inline` or in `heap`.
    len: usize,
    /// Holds everything as soon as it holds anything.
    heap: Vec<u8>,
    /// Tuples that are open.
    depth: usize,
    /// What it is to be, and the most bytes that it may take.
    what: &'static str,
    limit: usize,
}

impl KeyBuf {
    /// Encodes a key.
    pub(crate) fn of<K: ToKey + ?Sized>(key: &K) -> Result<KeyBuf> {
        KeyBuf::within(key, "key", MAX_KEY_BYTES)
    }

    /// Encodes what is like a key, but is called otherwise and has its own limit.
    #[inline]
    pub(crate) fn within<K>(key: &K, what: &'static str, limit: usize) -> Result<KeyBuf>
    where
        K: ToKey + ?Sized,
    {
        let (inline, heap) = ([0; INLINE_BYTES], Vec::new());
        let mut buf = KeyBuf { inline, len: 0, heap, depth: 0, what, limit };
        key.encode_key(&mut buf)?;
        if buf.len == 0 {
            return Err(Error::key("the key has no parts: its ToKey must encode one value"));
        }
        Ok(buf)
    }

    /// The encoded key; at most [`MAX_KEY_BYTES`] of them, and never none.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        if self.heap.is_empty() { &self.inline[..self.len] } else { &self.heap }
    }

    pub(crate) fn null(&mut self) -> Result<()> {
        self.begin(NULL)
    }

    pub(crate) fn bool(&mut self, value: bool) -> Result<()> {
        self.begin(if value { TRUE } else { FALSE })
    }

    pub(crate) fn int(&mut self, value: i128) -> Result<()> {
        if value < i128::from(i64::MIN) || value > i128::from(u64::MAX) {
            return Err(Error::key(
                "the key has an integer that does not fit 64 bits: use its text as the key",
            ));
        }
        self.number(Number::from_int(value))
    }

    pub(crate) fn float(&mut self, value: f64) -> Result<()> {
        self.number(Number::from_float(value))
    }

    fn number(&mut self, number: Number) -> Result<()> {
        let mut bytes = [0; MAX_NUMBER_BYTES];
        let Some(len) = number.encode(&mut bytes) else {
            return Err(Error::key(
                "NaN cannot be a key, as it is not equal to itself: use another number, or text",
            ));
        };
        self.one_value()?;
        self.push(&bytes[..len])
    }

    pub(crate) fn text(&mut self, text: &str) -> Result<()> {
        self.begin(TEXT)?;
        self.content(text.as_bytes())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.begin(BYTES)?;
        self.content(bytes)
    }

    /// Encodes a tuple of what `parts` encodes.
    pub(crate) fn tuple(&mut self, parts: impl FnOnce(&mut KeyBuf) -> Result<()>) -> Result<()> {
        if self.depth == MAX_DEPTH {
            return Err(Error::key(format!(
                "the key has tuples nested deeper than {MAX_DEPTH}: use a flatter one"
            )));
        }
        self.begin(TUPLE)?;
        self.depth += 1;
        parts(self)?;
        self.depth -= 1;
        if self.depth > 0 { self.push(&[END]) } else { Ok(()) }
    }

    fn begin(&mut self, first_byte: u8) -> Result<()> {
        self.one_value()?;
        self.push(&[first_byte])
    }

    /// Outside a tuple nothing could tell two values apart.
    fn one_value(&self) -> Result<()> {
        if self.depth == 0 && self.len > 0 {
            return Err(Error::key(
                "the key has two parts side by side: its ToKey must encode one value, or a tuple",
            ));
        }
        Ok(())
    }

    /// In a tuple, text and bytes must not run on into what follows.
    fn content(&mut self, bytes: &[u8]) -> Result<()> {
        if self.depth == 0 {
            return self.push(bytes);
        }
        for (position, part) in bytes.split(|&byte| byte == 0).enumerate() {
            if position > 0 {
                self.push(&ESCAPED_ZERO)?;
            }
            self.push(part)?;
        }
        self.push(&[END])
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let len = self.len + bytes.len();
        if len > self.limit {
            return Err(Error::key(format!(
                "the {0} takes {len} bytes or more, and at most {1} are allowed: use a hash of it \
                 as the {0}",
                self.what, self.limit
            )));
        }
        if let Some(free) = self.inline.get_mut(self.len..len) {
            free.copy_from_slice(bytes);
        } else {
            if self.heap.is_empty() {
                self.heap.reserve(len);
                self.heap.extend_from_slice(&self.inline[..self.len]);
            }
            self.heap.extend_from_slice(bytes);
        }
        self.len = len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn ordinary_keys_stay_inline_and_long_ones_do_not() {
        for len in [0, 1, 62, 63, 64, 65, 1000] {
            let text = "x".repeat(len);
            let buf = KeyBuf::of(&text).unwrap();
            assert_eq!(buf.as_bytes()[0], TEXT);
            assert_eq!(&buf.as_bytes()[1..], text.as_bytes());
            assert_eq!(buf.heap.is_empty(), len < INLINE_BYTES);
        }
    }

    #[test]
    fn the_limit_is_exact() {
        let zeros = vec![0_u8; MAX_KEY_BYTES];
        assert_eq!(KeyBuf::of(&zeros[1..]).unwrap().as_bytes().len(), MAX_KEY_BYTES);
        let error = KeyBuf::of(&zeros[..]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Key);
        assert!(error.to_string().contains("a hash of it"), "{error}");
        let in_a_tuple = KeyBuf::of(&(&zeros[..MAX_KEY_BYTES / 2],)).err().unwrap();
        assert_eq!(in_a_tuple.kind(), ErrorKind::Key);
    }

    #[test]
    fn zeros_grow_only_in_tuples() {
        assert_eq!(KeyBuf::of("a\0b").unwrap().as_bytes(), b"\x40a\0b");
        assert_eq!(KeyBuf::of(&("a\0b", ())).unwrap().as_bytes(), b"\x60\x40a\0\xFFb\0\x01");
        assert_eq!(KeyBuf::of(&((),)).unwrap().as_bytes(), b"\x60\x01");
        assert_eq!(KeyBuf::of(&(((),), true)).unwrap().as_bytes(), b"\x60\x60\x01\0\x03");
    }

    struct Parts(usize);

    impl ToKey for Parts {
        fn encode_key(&self, out: &mut KeyBuf) -> Result<()> {
            (0..self.0).try_for_each(|part| part.encode_key(out))
        }
    }

    #[test]
    fn a_key_is_exactly_one_value() {
        assert!(KeyBuf::of(&Parts(1)).is_ok());
        for parts in [0, 2] {
            assert_eq!(KeyBuf::of(&Parts(parts)).err().unwrap().kind(), ErrorKind::Key);
        }
    }
}
