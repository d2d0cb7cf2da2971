//! Keys: what they are, their order, and the grammar of their bytes.
//!
//! A key is encoded so that comparing the bytes of two keys compares the keys, across all types,
//! and that equal keys have equal bytes. So the table can hash and compare bytes, and sorting needs
//! no decoding.
//!
//! ```text
//! key     := null | false | true | number
//!          | 0x40 utf8-byte*                  text, to the end
//!          | 0x50 byte*                       bytes, to the end
//!          | 0x60 part*                       tuple, to the end
//! part    := null | false | true | number
//!          | 0x40 content 0x00                text
//!          | 0x50 content 0x00                bytes
//!          | 0x60 part* 0x00                  tuple
//! content := (0x01..=0xFF | 0x00 0xFF)*       0x00 0xFF stands for a zero byte
//! null    := 0x01      false := 0x02      true := 0x03
//! number  := first byte 0x10..=0x2F; see `key_number`
//! ```
//!
//! A part never begins with 0x00 or 0xFF, so that 0x00 ends a part or a tuple below everything
//! that could go on there: shorter sorts first. What stands at the end of the key needs no end
//! mark, and no escapes.
//!
//! Three files share the work: `key_buf` writes, `key_decode` reads, and [`Key`] is the owned form
//! between them. `to_key` and `from_key` connect them to Rust's types, `key_from` fills a [`Key`].

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::format::key_number::{Number, exact_int};

/// The longest encoded key, in bytes. Text or bytes that are a whole key take one byte more than
/// their length, so up to 64 KiB fit; in tuples one byte more each, and one for each zero
/// byte inside. Longer keys are refused with [`ErrorKind::Key`](crate::ErrorKind::Key).
///
/// ```
/// let cache = firncache::Cache::temporary()?;
/// cache.set("x".repeat(firncache::MAX_KEY_BYTES - 1), &1)?;
/// assert!(cache.set("x".repeat(firncache::MAX_KEY_BYTES), &1).is_err());
/// # Ok::<(), firncache::Error>(())
/// ```
pub const MAX_KEY_BYTES: usize = 64 * 1024 + 1;

/// The deepest nesting of tuples.
pub(crate) const MAX_DEPTH: usize = 32;

pub(crate) const END: u8 = 0x00;
pub(crate) const ESCAPED_ZERO: [u8; 2] = [END, 0xFF];
pub(crate) const NULL: u8 = 0x01;
pub(crate) const FALSE: u8 = 0x02;
pub(crate) const TRUE: u8 = 0x03;
pub(crate) const FIRST_NUMBER: u8 = 0x10;
pub(crate) const LAST_NUMBER: u8 = 0x2F;
pub(crate) const TEXT: u8 = 0x40;
pub(crate) const BYTES: u8 = 0x50;
pub(crate) const TUPLE: u8 = 0x60;
/// The first byte of keys that are the cache's own, and no key type makes; see `queue`.
pub(crate) const CONTROL_KEY: u8 = 0xF0;

/// A key in its owned form, as iteration gives it back.
///
/// Keys of all types have one order: null, `false`, `true`, numbers, text, bytes, tuples. Integers
/// and floats are compared exactly as numbers, and equal ones are the same key: `1` and `1.0`. A
/// number read back from a cache is an `Int` if it is an integer of 64 bits, whatever it was
/// stored as. Text is compared by its bytes, a tuple part by part, the shorter first.
///
/// Two values can be held here that cannot be stored: NaN, which equals itself here and sorts after
/// all other numbers, and an integer outside `i64::MIN ..= u64::MAX`.
///
/// ```
/// use firncache::Key;
/// assert_eq!(Key::from(1), Key::from(1.0));
/// assert!(Key::from(true) < Key::from(-7) && Key::from(0.5) < Key::from("0"));
/// assert_eq!(Key::from(("user", 42)).to_string(), r#"("user", 42)"#);
/// ```
#[derive(Clone, Debug)]
pub enum Key {
    /// No value: `()` and `None`.
    Null,
    /// A boolean, which is never a number.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// A float.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Several keys as one.
    Tuple(Vec<Key>),
}

impl Key {
    fn number(&self) -> Option<Number> {
        match self {
            Key::Int(value) => Some(Number::from_int(*value)),
            Key::Float(value) => Some(Number::from_float(*value)),
            _ => None,
        }
    }

    /// The first byte of the encoding, or for numbers the first of all numbers.
    fn rank(&self) -> u8 {
        match self {
            Key::Null => NULL,
            Key::Bool(false) => FALSE,
            Key::Bool(true) => TRUE,
            Key::Int(_) | Key::Float(_) => FIRST_NUMBER,
            Key::Text(_) => TEXT,
            Key::Bytes(_) => BYTES,
            Key::Tuple(_) => TUPLE,
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Text(a), Key::Text(b)) => a.cmp(b),
            (Key::Bytes(a), Key::Bytes(b)) => a.cmp(b),
            (Key::Tuple(a), Key::Tuple(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()).then_with(|| self.number().cmp(&other.number())),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Key::Null | Key::Bool(_) => {}
            Key::Int(_) | Key::Float(_) => self.number().hash(state),
            Key::Text(text) => text.hash(state),
            Key::Bytes(bytes) => bytes.hash(state),
            Key::Tuple(parts) => parts.hash(state),
        }
    }
}

/// Writes the key as Rust would: text and bytes in quotes, so that no two keys look alike, and
/// equal numbers alike.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Null => f.write_str("null"),
            Key::Bool(value) => write!(f, "{value}"),
            Key::Int(value) => write!(f, "{value}"),
            Key::Float(value) => match exact_int(*value) {
                Some(int) => write!(f, "{int}"),
                None => write!(f, "{value:?}"),
            },
            Key::Text(text) => write!(f, "{text:?}"),
            Key::Bytes(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
            Key::Tuple(parts) => {
                f.write_str("(")?;
                for (position, part) in parts.iter().enumerate() {
                    let before = if position > 0 { ", " } else { "" };
                    write!(f, "{before}{part}")?;
                }
                f.write_str(if parts.len() == 1 { ",)" } else { ")" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_in_rust() {
        let shown = |key: Key, text| assert_eq!(key.to_string(), text);
        shown(Key::Null, "null");
        shown(Key::from(false), "false");
        shown(Key::from(-5), "-5");
        shown(Key::from(2.0), "2");
        shown(Key::from(0.5), "0.5");
        shown(Key::from(1e300), "1e300");
        shown(Key::from(f64::NEG_INFINITY), "-inf");
        shown(Key::from("a\"\n"), r#""a\"\n""#);
        shown(Key::from(b"a\0\xFF"), r#"b"a\x00\xff""#);
        shown(Key::Tuple(vec![]), "()");
        shown(Key::from((1,)), "(1,)");
        shown(Key::from((1, ("x", None::<u8>))), r#"(1, ("x", null))"#);
    }

    #[test]
    fn what_cannot_be_stored_still_has_an_order() {
        let nan = Key::from(f64::NAN);
        assert_eq!(nan, Key::from(-f64::NAN));
        assert!(Key::from(f64::INFINITY) < nan && nan < Key::from(""));
        assert!(Key::Int(i128::MIN) < Key::from(-1e38) && Key::from(-1e39) < Key::Int(i128::MIN));
        assert_eq!(Key::Int(1 << 100), Key::from((1_i128 << 100) as f64));
        assert!(Key::Int((1 << 100) + 1) > Key::from((1_i128 << 100) as f64));
    }

    /// Keys of all kinds, each less than the next.
    fn all() -> Vec<Key> {
        let numbers = [Key::from(i64::MIN), Key::from(-1.5), Key::from(-1), Key::from(0)];
        let more = [Key::from(1), Key::from(1.5), Key::from(2), Key::from(u64::MAX)];
        let texts = [Key::from(""), Key::from("a"), Key::from("b")];
        let bytes = [Key::from(b""), Key::from(b"a"), Key::from(b"b")];
        let tuples = [Key::Tuple(vec![]), Key::from((1,)), Key::from((1, 2)), Key::from((2,))];
        let few = [Key::Null, Key::from(false), Key::from(true)];
        few.into_iter().chain(numbers).chain(more).chain(texts).chain(bytes).chain(tuples).collect()
    }

    #[test]
    fn a_key_is_equal_to_itself_and_less_than_the_next() {
        let keys = all();
        for (first, a) in keys.iter().enumerate() {
            for (second, b) in keys.iter().enumerate() {
                assert_eq!(a.cmp(b), first.cmp(&second), "{a} {b}");
                assert_eq!(a.partial_cmp(b), Some(first.cmp(&second)), "{a} {b}");
                assert_eq!(a == b, first == second, "{a} {b}");
            }
        }
    }

    #[test]
    fn keys_that_differ_hash_differently() {
        let hashes: std::collections::HashSet<u64> = all()
            .iter()
            .map(|key| {
                let mut hasher = siphasher::sip::SipHasher13::new();
                key.hash(&mut hasher);
                hasher.finish()
            })
            .collect();
        assert_eq!(hashes.len(), all().len());
    }
}
