//! The bytes of a key back into a [`Key`].
//!
//! Strict: every key has one encoding, and anything else is damage. The bytes come from a file, so
//! the depth is bounded, and memory by the length of the input.

use crate::error::{Error, ErrorKind, Result};
use crate::format::key::{
    BYTES, END, ESCAPED_ZERO, FALSE, FIRST_NUMBER, Key, LAST_NUMBER, MAX_DEPTH, MAX_KEY_BYTES,
    NULL, TEXT, TRUE, TUPLE,
};
use crate::format::key_number::{Decoded, Number};

impl Key {
    /// Reads an encoded key, all of it. An integer of 64 bits becomes an `Int`, any other number a
    /// `Float`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Key> {
        let key = if bytes.len() > MAX_KEY_BYTES { None } else { whole(bytes) };
        key.ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                format!(
                    "{} stored bytes are no key, beginning with {:02x?}: run repair(), or delete \
                     the directory",
                    bytes.len(),
                    &bytes[..bytes.len().min(16)]
                ),
            )
        })
    }
}

/// A key that ends where the bytes end.
fn whole(bytes: &[u8]) -> Option<Key> {
    let (&first, mut rest) = bytes.split_first()?;
    match first {
        TEXT => Some(Key::Text(str::from_utf8(rest).ok()?.to_owned())),
        BYTES => Some(Key::Bytes(rest.to_vec())),
        TUPLE => {
            let mut parts = Vec::new();
            while !rest.is_empty() {
                parts.push(part(&mut rest, 1)?);
            }
            Some(Key::Tuple(parts))
        }
        _ => {
            rest = bytes;
            let key = part(&mut rest, 0)?;
            rest.is_empty().then_some(key)
        }
    }
}

/// A part at the front of the bytes, inside `depth` tuples; takes it off.
fn part(bytes: &mut &[u8], depth: usize) -> Option<Key> {
    let (&first, rest) = bytes.split_first()?;
    if let FIRST_NUMBER..=LAST_NUMBER = first {
        let (number, rest) = Number::decode(bytes)?;
        *bytes = rest;
        return Some(match number {
            Decoded::Int(value) => Key::Int(value),
            Decoded::Float(value) => Key::Float(value),
        });
    }
    *bytes = rest;
    match first {
        NULL => Some(Key::Null),
        FALSE => Some(Key::Bool(false)),
        TRUE => Some(Key::Bool(true)),
        TEXT => Some(Key::Text(String::from_utf8(content(bytes)?).ok()?)),
        BYTES => Some(Key::Bytes(content(bytes)?)),
        TUPLE if depth < MAX_DEPTH => {
            let mut parts = Vec::new();
            loop {
                if let Some(rest) = bytes.strip_prefix(&[END]) {
                    *bytes = rest;
                    return Some(Key::Tuple(parts));
                }
                parts.push(part(bytes, depth + 1)?);
            }
        }
        _ => None,
    }
}

/// Text or bytes up to their end mark, without the escapes; takes them off.
fn content(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let end = bytes.iter().position(|&byte| byte == END)?;
        let (before, rest) = bytes.split_at(end);
        content.extend_from_slice(before);
        if let Some(rest) = rest.strip_prefix(&ESCAPED_ZERO) {
            content.push(0);
            *bytes = rest;
        } else {
            *bytes = rest.get(1..)?;
            return Some(content);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::key_buf::KeyBuf;
    use quickcheck::{Arbitrary, Gen, quickcheck};
    use std::hash::{DefaultHasher, Hash, Hasher};

    /// Numbers where integers and floats lie close together.
    fn arbitrary_number(g: &mut Gen) -> Key {
        let base = *g.choose(&[0_i128, 1 << 24, 1 << 53, 1 << 63, 1 << 64, -(1 << 53)]).unwrap();
        let near = (base + i128::from(i8::arbitrary(g))).clamp(i64::MIN.into(), u64::MAX.into());
        match u8::arbitrary(g) % 6 {
            0 => Key::Int(near),
            1 => Key::Int((-near).clamp(i64::MIN.into(), u64::MAX.into())),
            2 => Key::Int(i64::arbitrary(g).into()),
            3 => Key::Float(near as f64),
            4 => Key::Float(f64::from_bits((near as f64).to_bits() ^ u64::from(u8::arbitrary(g)))),
            _ => Key::Float(f64::arbitrary(g)),
        }
    }

    fn arbitrary_key(g: &mut Gen, depth: usize) -> Key {
        let few = usize::from(u8::arbitrary(g) % 4);
        match u8::arbitrary(g) % if depth < 3 { 12 } else { 9 } {
            0 => Key::Null,
            1 => Key::Bool(bool::arbitrary(g)),
            2..=4 => arbitrary_number(g),
            5 => Key::Text(String::arbitrary(g)),
            6 => Key::Text((0..few).map(|_| *g.choose(&['\0', 'a', '\u{FF}']).unwrap()).collect()),
            7 => Key::Bytes(Vec::arbitrary(g)),
            8 => Key::Bytes((0..few).map(|_| *g.choose(&[0, 1, 0x60, 0xFF]).unwrap()).collect()),
            _ => Key::Tuple((0..few).map(|_| arbitrary_key(g, depth + 1)).collect()),
        }
    }

    impl Arbitrary for Key {
        fn arbitrary(g: &mut Gen) -> Key {
            loop {
                let key = arbitrary_key(g, 0);
                if KeyBuf::of(&key).is_ok() {
                    return key;
                }
            }
        }

        fn shrink(&self) -> Box<dyn Iterator<Item = Key>> {
            match self.clone() {
                Key::Text(text) => Box::new(text.shrink().map(Key::Text)),
                Key::Bytes(bytes) => Box::new(bytes.shrink().map(Key::Bytes)),
                Key::Tuple(parts) => Box::new(parts.shrink().map(Key::Tuple)),
                _ => quickcheck::empty_shrinker(),
            }
        }
    }

    fn encoded(key: &Key) -> Vec<u8> {
        KeyBuf::of(key).unwrap().as_bytes().to_vec()
    }

    fn hashed(key: &Key) -> u64 {
        let mut state = DefaultHasher::new();
        key.hash(&mut state);
        state.finish()
    }

    fn assert_ascending(keys: &[Key]) {
        for pair in keys.windows(2) {
            assert!(pair[0] < pair[1] && encoded(&pair[0]) < encoded(&pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn numbers_sort_exactly_across_types() {
        let two53 = (1_i128 << 53) as f64;
        assert_ascending(&[
            Key::Float(f64::NEG_INFINITY),
            Key::Float(f64::MIN),
            Key::Float(-((1_i128 << 64) as f64)),
            Key::Int(i64::MIN.into()),
            Key::Int(-(1 << 53) - 1),
            Key::Float(-two53),
            Key::Float(-0.5),
            Key::Float(-5e-324),
            Key::Int(0),
            Key::Float(5e-324),
            Key::Float(0.999),
            Key::Int(1),
            Key::Float(two53),
            Key::Int((1 << 53) + 1),
            Key::Float(two53 + 2.0),
            Key::Int(i64::MAX.into()),
            Key::Float((1_i128 << 63) as f64),
            Key::Int((1 << 63) + 1),
            Key::Int(u64::MAX.into()),
            Key::Float((1_i128 << 64) as f64),
            Key::Float(f64::MAX),
            Key::Float(f64::INFINITY),
        ]);
    }

    #[test]
    fn types_sort_in_their_order() {
        assert_ascending(&[
            Key::Null,
            Key::Bool(false),
            Key::Bool(true),
            Key::from(-1e300),
            Key::from(5),
            Key::from(""),
            Key::from("a"),
            Key::from("a\0"),
            Key::from(b""),
            Key::from(b"\0"),
            Key::Tuple(vec![]),
            Key::from(((),)),
            Key::from(("a",)),
            Key::from(("a", ())),
            Key::from(("a\0",)),
            Key::from((("a",), 1)),
            Key::from((("a", 1),)),
        ]);
    }

    #[test]
    fn depth_is_bounded_both_ways() {
        let nested = |depth| (0..depth).fold(Key::Null, |key, _| Key::Tuple(vec![key]));
        assert_eq!(Key::decode(&encoded(&nested(MAX_DEPTH))).unwrap(), nested(MAX_DEPTH));
        let error = KeyBuf::of(&nested(MAX_DEPTH + 1)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Key);
        let mut deeper = vec![TUPLE; MAX_DEPTH + 1];
        deeper.resize(2 * MAX_DEPTH + 1, END);
        assert!(Key::decode(&deeper).is_err());
        assert!(Key::decode(&deeper[1..2 * MAX_DEPTH]).is_ok());
        assert!(Key::decode(&vec![TUPLE; MAX_KEY_BYTES]).is_err());
    }

    #[test]
    fn other_bytes_are_damage() {
        let damaged: [&[u8]; 12] = [
            b"",
            b"\x00",
            b"\x04",
            b"\x01\x01",
            b"\x20\x00\x00",
            b"\x40\xFF",
            b"\x60\x00",
            b"\x60\x40a",
            b"\x60\x40\xFF\x00",
            b"\x60\x60\x01",
            b"\x60\x50\x00\xFF",
            b"\xFF",
        ];
        for bytes in damaged {
            let error = Key::decode(bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{bytes:x?}");
        }
        let mut longest = vec![b'x'; MAX_KEY_BYTES];
        longest[0] = TEXT;
        assert!(Key::decode(&longest).is_ok());
        longest.push(b'x');
        assert!(Key::decode(&longest).is_err());
    }

    quickcheck! {
        fn bytes_order_as_keys_do(a: Key, b: Key) -> bool {
            encoded(&a).cmp(&encoded(&b)) == a.cmp(&b)
        }

        fn equal_keys_have_equal_hashes(a: Key) -> bool {
            let back = Key::decode(&encoded(&a)).unwrap();
            back == a && hashed(&back) == hashed(&a)
        }

        fn floats_come_back_by_their_value(value: f64) -> bool {
            let back = KeyBuf::of(&value).and_then(|buf| Key::decode(buf.as_bytes()));
            match back {
                Ok(Key::Int(int)) => int as f64 == value,
                Ok(Key::Float(float)) => float == value,
                Ok(_) => false,
                Err(error) => value.is_nan() && error.kind() == ErrorKind::Key,
            }
        }

        fn arbitrary_bytes_are_damage_or_canonical(bytes: Vec<u8>) -> bool {
            Key::decode(&bytes).map_or(true, |key| encoded(&key) == bytes)
        }

        fn bytes_nearly_of_a_key_are_damage_or_canonical(key: Key, at: usize, byte: u8) -> bool {
            let mut bytes = encoded(&key);
            let at = at % bytes.len();
            bytes[at] = byte;
            Key::decode(&bytes).map_or(true, |key| encoded(&key) == bytes)
        }
    }
}
