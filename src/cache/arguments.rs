//! Arguments as bytes: equal ones give equal bytes, and others give others.
//!
//! Every value tells what it is, so that values of different shapes never meet, not even those of
//! an `untagged` enum. Maps are sorted by their keys' bytes, as hashed ones come in any order.
//!
//! ```text
//! value   := tag payload
//! integer   its sign in the tag, length (1 byte), magnitude without leading zeros, little-endian
//! float     64 bits, little-endian; -0.0 as 0.0
//! text, bytes, names      length (8 bytes), bytes
//! sequence, tuple, map    values, END
//! struct, variant         name(s), fields with their names, END
//! ```
//!
//! An integer is the same whatever its width, so that a type can be widened. Nothing reads this
//! form; `memoize` makes keys of it.

use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use crate::cache::value_error::ValueError;
use crate::error::Result as CrateResult;

type Result<T, E = ValueError> = std::result::Result<T, E>;

const END: u8 = 0;
const NONE: u8 = 1;
const SOME: u8 = 2;
const FALSE: u8 = 3;
const TRUE: u8 = 4;
const NOT_NEGATIVE: u8 = 5;
const NEGATIVE: u8 = 6;
const FLOAT: u8 = 7;
const CHAR: u8 = 8;
const TEXT: u8 = 9;
const BYTES: u8 = 10;
const UNIT: u8 = 11;
const SEQUENCE: u8 = 12;
const TUPLE: u8 = 13;
const MAP: u8 = 14;
const STRUCT: u8 = 15;
const VARIANT: u8 = 16;

/// Encodes arguments.
pub(crate) fn encode<A: Serialize + ?Sized>(arguments: &A, out: &mut Vec<u8>) -> CrateResult<()> {
    let done = arguments.serialize(Encoder { out });
    done.map(|_| ())
        .map_err(|error| error.into_error("cannot make a key of the arguments", "use others"))
}

struct Encoder<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Encoder<'a> {
    fn tag(self, tag: u8) -> Encoder<'a> {
        self.out.push(tag);
        self
    }

    fn counted(self, bytes: &[u8]) -> Encoder<'a> {
        self.out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.out.extend_from_slice(bytes);
        self
    }

    fn variant(self, name: &str, variant: &str) -> Encoder<'a> {
        self.tag(VARIANT).counted(name.as_bytes()).counted(variant.as_bytes())
    }

    fn magnitude(self, tag: u8, value: u128) -> Result<()> {
        let bytes = value.to_le_bytes();
        let len = bytes.len() - value.leading_zeros() as usize / 8;
        let out = self.tag(tag).out;
        out.push(len as u8);
        out.extend_from_slice(&bytes[..len]);
        Ok(())
    }

    fn parts(self) -> Result<Parts<'a>> {
        Ok(Parts { out: self.out })
    }
}

macro_rules! integers {
    ($($method:ident($int:ty) => $wide:ident;)*) => {$(
        fn $method(self, value: $int) -> Result<()> {
            self.$wide(value.into())
        }
    )*};
}

impl<'a> Serializer for Encoder<'a> {
    type Ok = ();
    type Error = ValueError;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    integers! {
        serialize_i8(i8) => serialize_i128;
        serialize_i16(i16) => serialize_i128;
        serialize_i32(i32) => serialize_i128;
        serialize_i64(i64) => serialize_i128;
        serialize_u8(u8) => serialize_u128;
        serialize_u16(u16) => serialize_u128;
        serialize_u32(u32) => serialize_u128;
        serialize_u64(u64) => serialize_u128;
        serialize_f32(f32) => serialize_f64;
    }

    fn serialize_i128(self, value: i128) -> Result<()> {
        match u128::try_from(value) {
            Ok(value) => self.serialize_u128(value),
            Err(_) => self.magnitude(NEGATIVE, value.unsigned_abs()),
        }
    }

    fn serialize_u128(self, value: u128) -> Result<()> {
        self.magnitude(NOT_NEGATIVE, value)
    }

    fn serialize_bool(self, value: bool) -> Result<()> {
        self.tag(if value { TRUE } else { FALSE });
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<()> {
        let bits = if value == 0.0 { 0 } else { value.to_bits() };
        self.tag(FLOAT).out.extend_from_slice(&bits.to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.tag(CHAR).out.extend_from_slice(&u32::from(value).to_le_bytes());
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<()> {
        self.tag(TEXT).counted(value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        self.tag(BYTES).counted(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<()> {
        self.tag(NONE);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self.tag(SOME))
    }

    fn serialize_unit(self) -> Result<()> {
        self.tag(UNIT);
        Ok(())
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<()> {
        self.serialize_struct(name, 0)?.close()
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<()> {
        self.variant(name, variant).parts()?.close()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<()> {
        let mut parts = self.serialize_tuple_struct(name, 1)?;
        parts.add(value)?;
        parts.close()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        let mut parts = self.variant(name, variant).parts()?;
        parts.add(value)?;
        parts.close()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a>> {
        self.tag(SEQUENCE).parts()
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>> {
        self.tag(TUPLE).parts()
    }

    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Parts<'a>> {
        self.tag(STRUCT).counted(name.as_bytes()).parts()
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a>> {
        self.variant(name, variant).parts()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries<'a>> {
        Ok(Entries { out: self.tag(MAP).out, entries: Vec::new() })
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Parts<'a>> {
        self.serialize_tuple_struct(name, len)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a>> {
        self.variant(name, variant).parts()
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// What comes one after the other.
struct Parts<'a> {
    out: &'a mut Vec<u8>,
}

impl Parts<'_> {
    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(Encoder { out: self.out })
    }

    fn close(self) -> Result<()> {
        self.out.push(END);
        Ok(())
    }

    fn add_named<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<()> {
        self.add(name)?;
        self.add(value)
    }
}

macro_rules! parts {
    ($($kind:ident: $method:ident($($name:ident: $text:ty)?) => $add:ident;)*) => {$(
        impl $kind for Parts<'_> {
            type Ok = ();
            type Error = ValueError;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($name: $text,)?
                value: &T,
            ) -> Result<()> {
                self.$add($($name,)? value)
            }

            fn end(self) -> Result<()> {
                self.close()
            }
        }
    )*};
}

parts! {
    SerializeSeq: serialize_element() => add;
    SerializeTuple: serialize_element() => add;
    SerializeTupleStruct: serialize_field() => add;
    SerializeTupleVariant: serialize_field() => add;
    SerializeStruct: serialize_field(name: &'static str) => add_named;
    SerializeStructVariant: serialize_field(name: &'static str) => add_named;
}

/// The entries of a map, each by itself, to be sorted.
struct Entries<'a> {
    out: &'a mut Vec<u8>,
    entries: Vec<Vec<u8>>,
}

impl SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = ValueError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        let mut entry = Vec::new();
        key.serialize(Encoder { out: &mut entry })?;
        self.entries.push(entry);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        match self.entries.last_mut() {
            Some(entry) => value.serialize(Encoder { out: entry }),
            None => Err(ValueError::Message("a map gives a value before a key".to_owned())),
        }
    }

    fn end(mut self) -> Result<()> {
        self.entries.sort_unstable();
        self.entries.iter().for_each(|entry| self.out.extend_from_slice(entry));
        self.out.push(END);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;
    use std::collections::HashMap;

    fn encoded<A: Serialize + ?Sized>(arguments: &A) -> Vec<u8> {
        let mut out = Vec::new();
        encode(arguments, &mut out).unwrap();
        out
    }

    #[derive(Serialize)]
    #[serde(untagged)]
    enum Any {
        Int(i64),
        Float(f64),
        Text(String),
        Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
        List(Vec<Any>),
        Pair(Box<(Any, Any)>),
        Maybe(Option<Box<Any>>),
        Left { left: i64 },
        Right { right: i64 },
        Flag(Flag),
        Char(char),
        Empty,
    }

    #[derive(Serialize)]
    enum Flag {
        Up,
        Down(i64),
    }

    #[test]
    fn what_is_different_gives_different_bytes() {
        let text = |text: &str| Any::Text(text.to_owned());
        let all = [
            Any::Int(1),
            Any::Int(-1),
            Any::Int(256),
            Any::Int(4_607_182_418_800_017_408),
            Any::Float(1.0),
            Any::Char('a'),
            text("a"),
            text(""),
            Any::Bytes(b"a".to_vec()),
            Any::List(vec![]),
            Any::List(vec![text("a"), text("b")]),
            Any::List(vec![text("ab")]),
            Any::List(vec![Any::List(vec![text("a")]), text("b")]),
            Any::List(vec![Any::List(vec![text("a"), text("b")])]),
            Any::Pair(Box::new((text("a"), text("b")))),
            Any::Maybe(None),
            Any::Maybe(Some(Box::new(Any::Maybe(None)))),
            Any::Left { left: 1 },
            Any::Right { right: 1 },
            Any::Flag(Flag::Up),
            Any::Flag(Flag::Down(1)),
            Any::Empty,
        ];
        let mut bytes: Vec<Vec<u8>> = all.iter().map(encoded).collect();
        bytes.sort();
        bytes.dedup();
        assert_eq!(bytes.len(), all.len());
    }

    #[test]
    fn what_is_equal_gives_equal_bytes() {
        assert_eq!(encoded(&0.0), encoded(&-0.0));
        assert_eq!(encoded(&5_u8), encoded(&5_i64));
        assert_eq!(encoded(&-5_i8), encoded(&-5_i128));
        assert_eq!(encoded(&0.5_f32), encoded(&0.5_f64));
        let map = |keys: Vec<u32>| keys.into_iter().map(|key| (key, "v")).collect();
        let (one, other): (HashMap<u32, &str>, HashMap<u32, &str>) =
            (map((0..500).collect()), map((0..500).rev().collect()));
        assert_eq!(encoded(&one), encoded(&other));
    }

    #[test]
    fn the_bytes_stay() {
        let bytes = encoded(&("a", -258, None::<u8>, [true]));
        let mut expected = vec![TUPLE, TEXT, 1, 0, 0, 0, 0, 0, 0, 0, b'a', NEGATIVE, 2, 2, 1, NONE];
        expected.extend([TUPLE, TRUE, END, END]);
        assert_eq!(bytes, expected);
    }

    quickcheck! {
        fn integers_are_told_apart(one: i64, other: i64) -> bool {
            (encoded(&one) == encoded(&other)) == (one == other)
        }

        fn lists_are_told_apart(one: Vec<String>, other: Vec<String>) -> bool {
            (encoded(&one) == encoded(&other)) == (one == other)
        }
    }
}
