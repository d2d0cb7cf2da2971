//! Reading bincode's format: bytes that were written as one type and may be read as another.
//!
//! The format describes nothing: the type that is asked for decides what the bytes mean. So a wrong
//! type finds lengths that were never lengths, and the reader must stay sound with any bytes at
//! all: memory in proportion to the input, bounded depth, bounded work. bincode's own reader
//! promises none of these for lengths and depths found at run time, so this one reads what bincode
//! writes.
//!
//! ```text
//! integers, floats   little-endian, of their own width        bool      u8: 0, 1
//! char               its UTF-8                                Option    u8: 0, 1, then the value
//! text, bytes        length: u64, then the bytes              (), unit structs   nothing
//! sequences, maps    length: u64, then the items              tuples, structs    their parts
//! enums              variant: u32, then its parts
//! ```

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use crate::cache::value_error::ValueError;

type Result<T> = std::result::Result<T, ValueError>;

/// The deepest nesting that is read.
const MAX_DEPTH: u32 = 256;
/// The most items of a value that may take no bytes, such as those of a `Vec<()>`: only these could
/// make much work of little input.
const MAX_EMPTY_ITEMS: u32 = 1 << 20;

/// What has not been read yet.
pub(crate) struct BincodeReader<'de> {
    rest: &'de [u8],
    depth: u32,
    empty_items: u32,
}

impl<'de> BincodeReader<'de> {
    pub(crate) fn new(bytes: &'de [u8]) -> BincodeReader<'de> {
        BincodeReader { rest: bytes, depth: 0, empty_items: 0 }
    }

    /// Checks that nothing is left.
    pub(crate) fn end(&self) -> Result<()> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(ValueError::custom(format!("{left} bytes are left over"))),
        }
    }

    fn take(&mut self, len: usize) -> Result<&'de [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(too_short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(too_short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte_below_two(&mut self, what: &str) -> Result<bool> {
        match self.array()? {
            [byte @ (0 | 1)] => Ok(byte == 1),
            [byte] => Err(ValueError::custom(format!("{byte} is no {what}"))),
        }
    }

    fn len(&mut self) -> Result<usize> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| too_short())
    }

    fn content(&mut self) -> Result<&'de [u8]> {
        let len = self.len()?;
        self.take(len)
    }

    fn text(&mut self) -> Result<&'de str> {
        str::from_utf8(self.content()?).map_err(|_| ValueError::custom("text that is not UTF-8"))
    }

    fn char(&mut self) -> Result<char> {
        let width = match self.rest.first() {
            Some(0..0x80) => 1,
            Some(0x80..0xE0) => 2,
            Some(0xE0..0xF0) => 3,
            _ => 4,
        };
        let char = str::from_utf8(self.take(width)?).ok().and_then(|text| text.chars().next());
        char.ok_or_else(|| ValueError::custom("a char that is not UTF-8"))
    }

    /// Reads something that lies inside.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            return Err(ValueError::custom(format!("nested deeper than {MAX_DEPTH}")));
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    /// Reads one item of several.
    fn item<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value> {
        let before = self.rest.len();
        let value = seed.deserialize(&mut *self)?;
        if self.rest.len() == before {
            self.empty_items += 1;
            if self.empty_items > MAX_EMPTY_ITEMS {
                return Err(ValueError::custom("too many items of no bytes"));
            }
        }
        Ok(value)
    }
}

fn too_short() -> ValueError {
    ValueError::custom("more bytes are needed than there are")
}

/// The items of a sequence, tuple, struct or map that are still to come.
struct Items<'a, 'de> {
    reader: &'a mut BincodeReader<'de>,
    left: usize,
}

impl Items<'_, '_> {
    /// What is promised cannot be more than what is there, but for items of no bytes.
    fn hint(&self) -> usize {
        self.left.min(self.reader.rest.len())
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = ValueError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        self.reader.item(seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = ValueError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        self.reader.item(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

impl<'de> EnumAccess<'de> for &mut BincodeReader<'de> {
    type Error = ValueError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self)> {
        let variant = u32::from_le_bytes(self.array()?);
        let value = seed.deserialize(IntoDeserializer::<ValueError>::into_deserializer(variant))?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for &mut BincodeReader<'de> {
    type Error = ValueError;

    fn unit_variant(self) -> Result<()> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_tuple(fields.len(), visitor)
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $number:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            visitor.$visit(<$number>::from_le_bytes(self.array()?))
        }
    )*};
}

macro_rules! not_described {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
            Err(ValueError::custom(
                "the type asks what is stored, and bincode does not say; store it with a codec \
                 that does, such as Json",
            ))
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut BincodeReader<'de> {
    type Error = ValueError;

    fn is_human_readable(&self) -> bool {
        false
    }

    numbers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_i128 visit_i128 i128;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_u128 visit_u128 u128;
        deserialize_f32 visit_f32 f32;
        deserialize_f64 visit_f64 f64;
    }

    not_described! { deserialize_any deserialize_identifier deserialize_ignored_any }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_bool(self.byte_below_two("boolean")?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_char(self.char()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_borrowed_bytes(self.content()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.byte_below_two("Option")? {
            self.nested(|reader| visitor.visit_some(reader))
        } else {
            visitor.visit_none()
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        self.nested(|reader| visitor.visit_newtype_struct(reader))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let len = self.len()?;
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        self.nested(|reader| visitor.visit_seq(Items { reader, left: len }))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let len = self.len()?;
        self.nested(|reader| visitor.visit_map(Items { reader, left: len }))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.nested(|reader| visitor.visit_enum(reader))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;
    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    enum Tree {
        Leaf,
        Char(char),
        Pair(bool, f32),
        Named { text: String, wide: u128 },
        Node(Vec<Tree>),
        Next(Option<Box<Tree>>),
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Unit;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Newtype(i16);

    type Everything = (Tree, (Unit, (), Newtype), BTreeMap<String, Vec<Option<i8>>>, [u64; 3], f64);

    fn written<T: Serialize>(value: &T) -> Vec<u8> {
        let config = bincode::config::standard().with_fixed_int_encoding();
        bincode::serde::encode_to_vec(value, config).unwrap()
    }

    fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
        let mut reader = BincodeReader::new(bytes);
        let value = T::deserialize(&mut reader)?;
        reader.end().map(|()| value)
    }

    fn everything() -> Everything {
        let tree = Tree::Node(vec![
            Tree::Leaf,
            Tree::Char('x'),
            Tree::Char('é'),
            Tree::Char('€'),
            Tree::Char('\u{1F600}'),
            Tree::Pair(true, -1.5),
            Tree::Named { text: "text".to_owned(), wide: u128::MAX - 1 },
            Tree::Next(Some(Box::new(Tree::Next(None)))),
        ]);
        let map = BTreeMap::from([("a".to_owned(), vec![Some(-1), None]), (String::new(), vec![])]);
        (tree, (Unit, (), Newtype(-2)), map, [0, 1, u64::MAX], f64::NEG_INFINITY)
    }

    #[test]
    fn what_bincode_writes_is_read() {
        assert_eq!(read::<Everything>(&written(&everything())).unwrap(), everything());
        assert_eq!(read::<Vec<()>>(&written(&vec![(); 1000])).unwrap().len(), 1000);
    }

    #[test]
    fn anything_cut_short_is_refused() {
        let bytes = written(&everything());
        for len in 0..bytes.len() {
            assert!(read::<Everything>(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn huge_lengths_take_no_memory_and_no_time() {
        for len in [u64::MAX, 1 << 62, 1 << 40] {
            let mut bytes = len.to_le_bytes().to_vec();
            bytes.extend_from_slice(b"few");
            assert!(read::<String>(&bytes).is_err());
            assert!(read::<serde_bytes::ByteBuf>(&bytes).is_err());
            assert!(read::<Vec<u8>>(&bytes).is_err());
            assert!(read::<Vec<()>>(&bytes).is_err());
            assert!(read::<Vec<[u64; 0]>>(&bytes).is_err());
            assert!(read::<BTreeMap<String, u8>>(&bytes).is_err());
            assert!(read::<BTreeMap<(), ()>>(&bytes).is_err());
        }
    }

    #[test]
    fn depth_is_bounded() {
        // Bytes, as a tree of that depth could not be dropped on every stack.
        let nested = |depth| [[5, 0, 0, 0, 1].repeat(depth), vec![0; 4]].concat();
        assert_eq!(nested(1), written(&Tree::Next(Some(Box::new(Tree::Leaf)))));
        assert!(read::<Tree>(&nested(100)).is_ok());
        let error = read::<Tree>(&nested(10_000)).unwrap_err();
        assert!(error.to_string().contains("nested deeper"), "{error}");
        let error = read::<Tree>(&4_u32.to_le_bytes().repeat(100_000)).unwrap_err();
        assert!(!error.to_string().is_empty());
    }

    quickcheck! {
        fn reads_as_bincode_does(bytes: Vec<u8>) -> bool {
            type Flat = (bool, char, Option<u16>, [i8; 2], f32);
            let config = bincode::config::standard().with_fixed_int_encoding();
            let theirs = bincode::serde::decode_from_slice::<Flat, _>(&bytes, config);
            match (read::<Flat>(&bytes), theirs) {
                (Ok(ours), Ok((theirs, len))) => {
                    len == bytes.len() && written(&ours) == written(&theirs)
                }
                (Err(_), Ok((_, len))) => len < bytes.len(),
                (Ok(_), Err(_)) => false,
                (Err(_), Err(_)) => true,
            }
        }

        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, at: usize, byte: u8) -> bool {
            let _ = read::<Everything>(&bytes);
            let _ = read::<Vec<Tree>>(&bytes);
            let mut nearly = written(&everything());
            let at = at % nearly.len();
            nearly[at] = byte;
            let _ = read::<Everything>(&nearly);
            true
        }
    }
}
