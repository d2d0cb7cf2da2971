//! MessagePack: values that describe themselves, compactly.
//!
//! `rmp_serde` writes and reads it. It does not count how deep enums nest, and hands lengths on as
//! hints before it has seen that many bytes; so [`check`] walks over the bytes first, without
//! recursion: after it they are known to be one whole value of bounded depth, with no length that
//! is more than the bytes that are there.
//!
//! ```text
//! 00..7F, E0..FF  small integers          A0..BF, C4..C6, D9..DB  length, then text or bytes
//! C0, C2, C3      nil, false, true        90..9F, DC, DD          length, then items
//! CA..D3          numbers                 80..8F, DE, DF          length, then keys and values
//! C1              never                   C7..C9, D4..D8          length, then a type, then bytes
//! ```
//!
//! Structs are maps with the names of their fields, so that types can gain fields. `codec` calls
//! this.

use rmp_serde::decode::ReadRefReader;
use rmp_serde::{Deserializer, Serializer};
use serde::Serialize;

use crate::cache::value_error::ValueError;

/// The deepest nesting that is read.
const MAX_DEPTH: usize = 256;

/// Appends a value.
pub(crate) fn write<V>(value: &V, out: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error>
where
    V: Serialize + ?Sized,
{
    value.serialize(&mut Serializer::new(out).with_struct_map())
}

/// Checks the bytes and gives a deserializer over them.
pub(crate) fn reader(bytes: &[u8]) -> Result<Deserializer<ReadRefReader<'_, [u8]>>, ValueError> {
    check(bytes).map_err(|why| ValueError::Message(why.to_owned()))?;
    Ok(Deserializer::from_read_ref(bytes))
}

/// Checks that the bytes are one value and nothing else.
fn check(bytes: &[u8]) -> Result<(), &'static str> {
    let mut rest = Rest(bytes);
    // The items still to come, on each level that is open.
    let mut open = vec![1_u64];
    while let Some(left) = open.last_mut() {
        let Some(fewer) = left.checked_sub(1) else {
            open.pop();
            continue;
        };
        *left = fewer;
        let items = rest.one().ok_or("bytes that are no MessagePack, or too few of them")?;
        if items > rest.0.len() as u64 {
            return Err("more items are promised than there are bytes");
        }
        if items > 0 {
            if open.len() > MAX_DEPTH {
                return Err("nested too deep");
            }
            open.push(items);
        }
    }
    if rest.0.is_empty() { Ok(()) } else { Err("bytes are left over") }
}

/// What has not been walked over yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// Passes over one value, or the head of one with items inside; gives their number.
    fn one(&mut self) -> Option<u64> {
        let marker = self.number(1)?;
        let (content, items) = match marker {
            0x00..=0x7F | 0xC0 | 0xC2 | 0xC3 | 0xE0..=0xFF => (0, 0),
            0x80..=0x8F => (0, 2 * (marker & 0xF)),
            0x90..=0x9F => (0, marker & 0xF),
            0xA0..=0xBF => (marker & 0x1F, 0),
            0xC4..=0xC6 => (self.number(1 << (marker - 0xC4))?, 0),
            0xC7..=0xC9 => (self.number(1 << (marker - 0xC7))? + 1, 0),
            0xCA | 0xCB => (4 << (marker - 0xCA), 0),
            0xCC..=0xCF => (1 << (marker - 0xCC), 0),
            0xD0..=0xD3 => (1 << (marker - 0xD0), 0),
            0xD4..=0xD8 => ((1 << (marker - 0xD4)) + 1, 0),
            0xD9..=0xDB => (self.number(1 << (marker - 0xD9))?, 0),
            0xDC | 0xDD => (0, self.number(2 << (marker - 0xDC))?),
            0xDE | 0xDF => (0, 2 * self.number(2 << (marker - 0xDE))?),
            _ => return None,
        };
        self.take(content)?;
        Some(items)
    }

    /// Reads a number of up to four bytes, big-endian.
    fn number(&mut self, len: u64) -> Option<u64> {
        let bytes = self.take(len)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn take(&mut self, len: u64) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;
    use serde::Deserialize;
    use serde::de::IgnoredAny;
    use std::collections::BTreeMap;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    enum Chain {
        End,
        Next(Box<Chain>),
        Pair { one: Option<Box<Chain>>, other: u8 },
    }

    type Everything =
        (Vec<Option<i64>>, BTreeMap<String, f64>, (u128, i128), Vec<char>, [f32; 2], Chain);

    fn everything() -> Everything {
        let long: String = std::iter::repeat_n('x', 300).collect();
        let words = BTreeMap::from([(String::new(), 0.5), (long, f64::INFINITY)]);
        let numbers = [0, -1, 127, 128, -33, 1 << 20, i64::MIN, i64::MAX].map(Some);
        let pair = Chain::Pair { one: Some(Box::new(Chain::End)), other: 255 };
        let many = "\u{10FFFF}".repeat(70_000).chars().collect();
        (numbers.into(), words, (u128::MAX, i128::MIN), many, [1.5; 2], pair)
    }

    fn written<V: Serialize>(value: &V) -> Vec<u8> {
        let mut out = Vec::new();
        write(value, &mut out).unwrap();
        out
    }

    fn read<V: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<V, String> {
        let mut reader = reader(bytes).map_err(|error| error.to_string())?;
        V::deserialize(&mut reader).map_err(|error| error.to_string())
    }

    #[test]
    fn values_of_all_kinds_come_back() {
        assert_eq!(read::<Everything>(&written(&everything())).unwrap(), everything());
        let bytes: Vec<_> = (0..70_000_usize).map(|len| (len % 251) as u8).collect();
        for len in [0, 1, 2, 4, 8, 15, 16, 31, 32, 255, 256, 65_535, 65_536] {
            let value = (serde_bytes::ByteBuf::from(&bytes[..len]), &bytes[..len]);
            let back: (serde_bytes::ByteBuf, Vec<u8>) = read(&written(&value)).unwrap();
            assert_eq!((&back.0[..], &back.1[..]), (&bytes[..len], &bytes[..len]));
        }
    }

    #[test]
    fn every_cut_and_every_byte_too_many_is_refused() {
        let mut bytes = written(&(1, "text", [Some(2.5), None], Chain::Next(Box::new(Chain::End))));
        for len in 0..bytes.len() {
            assert!(read::<IgnoredAny>(&bytes[..len]).is_err(), "cut at {len}");
        }
        bytes.push(0);
        assert_eq!(read::<IgnoredAny>(&bytes).unwrap_err(), "bytes are left over");
    }

    #[test]
    fn lengths_beyond_the_bytes_are_refused() {
        for marker in [0xC6, 0xC9, 0xDB, 0xDD, 0xDF] {
            let bytes = [marker, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3];
            assert!(check(&bytes).is_err(), "{marker:X}");
        }
        assert!(check(&[0xC1]).is_err());
        assert!(check(&[0xC7, 1, 5, 9]).is_ok());
        assert!(check(&[0xD8; 18]).is_ok());
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth| (0..depth).fold(Chain::End, |chain, _| Chain::Next(Box::new(chain)));
        assert_eq!(read::<Chain>(&written(&nested(255))).unwrap(), nested(255));
        assert_eq!(read::<Chain>(&written(&nested(1000))).unwrap_err(), "nested too deep");
        let hostile = b"\x81\xA4Next".repeat(1_000_000);
        assert!(read::<Chain>(&hostile).is_err());
        assert!(read::<IgnoredAny>(&[0x91; 1_000_000]).is_err());
    }

    quickcheck! {
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, at: usize, byte: u8) -> bool {
            let _ = read::<Everything>(&bytes);
            let _ = read::<IgnoredAny>(&bytes);
            let _ = read::<Vec<Chain>>(&bytes);
            let value = (vec![Some(1), None], Chain::End, "text", 0.5, u128::MAX);
            let mut nearly = written(&value);
            let at = at % nearly.len();
            nearly[at] = byte;
            let _ = read::<(Vec<Option<u8>>, Chain, String, f64, u128)>(&nearly);
            let _ = read::<IgnoredAny>(&nearly);
            true
        }
    }
}
