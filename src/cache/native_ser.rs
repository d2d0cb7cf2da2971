//! The serializer that recognises native values.
//!
//! It allocates nothing but room in the output. Whatever is no native value it turns away at the
//! first call, before anything is written, and the codec takes the value from the start.

use std::fmt::{Display, Write};

use serde::Serialize;
use serde::ser::{Impossible, Serializer};

use crate::cache::codec::AnyCodec;
use crate::cache::kind::{
    KIND_BYTES, KIND_F64, KIND_FALSE, KIND_I64, KIND_NULL, KIND_TEXT, KIND_TRUE, KIND_U64,
};
use crate::cache::value_error::ValueError;

type Result<T, E = ValueError> = std::result::Result<T, E>;
type No = Impossible<u8, ValueError>;

/// Appends a payload and gives its kind.
pub(crate) struct NativeSerializer<'a> {
    codec: &'a AnyCodec,
    out: &'a mut Vec<u8>,
}

impl<'a> NativeSerializer<'a> {
    pub(crate) fn new(codec: &'a AnyCodec, out: &'a mut Vec<u8>) -> NativeSerializer<'a> {
        NativeSerializer { codec, out }
    }

    fn put(self, kind: u8, payload: &[u8]) -> Result<u8> {
        self.out.extend_from_slice(payload);
        Ok(kind)
    }

    /// Appends a value natively if that can be, and else with the codec: a whole value, or one in a
    /// wrapper that is not stored.
    pub(crate) fn append<T: Serialize + ?Sized>(self, value: &T) -> Result<u8> {
        let NativeSerializer { codec, out } = self;
        match value.serialize(NativeSerializer::new(codec, &mut *out)) {
            Err(ValueError::NotNative) => codec.encode(value, out).map_err(ValueError::Codec),
            stored => stored,
        }
    }
}

/// The methods that turn a value away.
macro_rules! not_native {
    ($($method:ident($($argument:ty),*) -> $result:ty;)*) => {$(
        fn $method(self, $(_: $argument),*) -> Result<$result> {
            Err(ValueError::NotNative)
        }
    )*};
}

/// The integers that always fit an `i64`.
macro_rules! integers {
    ($($method:ident($int:ty);)*) => {$(
        fn $method(self, value: $int) -> Result<u8> {
            self.serialize_i64(value.into())
        }
    )*};
}

impl Serializer for NativeSerializer<'_> {
    type Ok = u8;
    type Error = ValueError;
    type SerializeSeq = No;
    type SerializeTuple = No;
    type SerializeTupleStruct = No;
    type SerializeTupleVariant = No;
    type SerializeMap = No;
    type SerializeStruct = No;
    type SerializeStructVariant = No;

    // Addresses, dates and the like become text, which other languages read as well.
    fn is_human_readable(&self) -> bool {
        true
    }

    fn serialize_unit(self) -> Result<u8> {
        Ok(KIND_NULL)
    }

    fn serialize_none(self) -> Result<u8> {
        Ok(KIND_NULL)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<u8> {
        Ok(KIND_NULL)
    }

    fn serialize_bool(self, value: bool) -> Result<u8> {
        Ok(if value { KIND_TRUE } else { KIND_FALSE })
    }

    integers! {
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
    }

    fn serialize_i64(self, value: i64) -> Result<u8> {
        self.put(KIND_I64, &value.to_le_bytes())
    }

    fn serialize_u64(self, value: u64) -> Result<u8> {
        match i64::try_from(value) {
            Ok(value) => self.serialize_i64(value),
            Err(_) => self.put(KIND_U64, &value.to_le_bytes()),
        }
    }

    fn serialize_i128(self, value: i128) -> Result<u8> {
        match i64::try_from(value) {
            Ok(value) => self.serialize_i64(value),
            Err(_) => u64::try_from(value)
                .map_err(|_| ValueError::NotNative)
                .and_then(|value| self.serialize_u64(value)),
        }
    }

    fn serialize_u128(self, value: u128) -> Result<u8> {
        u64::try_from(value)
            .map_err(|_| ValueError::NotNative)
            .and_then(|value| self.serialize_u64(value))
    }

    fn serialize_f32(self, value: f32) -> Result<u8> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<u8> {
        self.put(KIND_F64, &value.to_bits().to_le_bytes())
    }

    fn serialize_char(self, value: char) -> Result<u8> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<u8> {
        self.put(KIND_TEXT, value.as_bytes())
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<u8> {
        struct Text<'a>(&'a mut Vec<u8>);

        impl Write for Text<'_> {
            fn write_str(&mut self, text: &str) -> std::fmt::Result {
                self.0.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }

        write!(Text(self.out), "{value}")
            .map_err(|_| ValueError::Message("its Display failed".to_owned()))?;
        Ok(KIND_TEXT)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<u8> {
        self.put(KIND_BYTES, value)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<u8> {
        self.append(value)
    }

    fn serialize_newtype_struct<T>(self, _: &'static str, value: &T) -> Result<u8>
    where
        T: Serialize + ?Sized,
    {
        self.append(value)
    }

    fn serialize_newtype_variant<T>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<u8>
    where
        T: Serialize + ?Sized,
    {
        Err(ValueError::NotNative)
    }

    not_native! {
        serialize_unit_variant(&'static str, u32, &'static str) -> u8;
        serialize_seq(Option<usize>) -> No;
        serialize_tuple(usize) -> No;
        serialize_tuple_struct(&'static str, usize) -> No;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> No;
        serialize_map(Option<usize>) -> No;
        serialize_struct(&'static str, usize) -> No;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> No;
    }
}
