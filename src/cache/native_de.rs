//! Native values, and reading them as Rust's types.
//!
//! The type that is asked for decides, by serde's rules, with three more: a number that the type
//! cannot hold is an error, bytes are no text, and text is no bytes. Bytes can be read as a
//! sequence, so that `Vec<u8>` is served.

use serde::de::value::SeqDeserializer;
use serde::de::{Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use crate::cache::kind::{
    KIND_BYTES, KIND_F64, KIND_FALSE, KIND_I64, KIND_NULL, KIND_TEXT, KIND_TRUE, KIND_U64,
};
use crate::cache::value_error::ValueError;
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_number::exact_float;

type ReadResult<T> = std::result::Result<T, ValueError>;

/// A value that is stored without a codec.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Native<'de> {
    Null,
    Bool(bool),
    I64(i64),
    U64(u64),
    F64(f64),
    Text(&'de str),
    Bytes(&'de [u8]),
}

impl<'de> Native<'de> {
    /// Reads a payload of a native kind.
    pub(crate) fn parse(kind: u8, bytes: &'de [u8]) -> Result<Native<'de>> {
        let word = || <[u8; 8]>::try_from(bytes).ok();
        let native = match kind {
            KIND_NULL => bytes.is_empty().then_some(Native::Null),
            KIND_FALSE | KIND_TRUE => bytes.is_empty().then_some(Native::Bool(kind == KIND_TRUE)),
            KIND_I64 => word().map(|word| Native::I64(i64::from_le_bytes(word))),
            KIND_U64 => word().map(|word| Native::U64(u64::from_le_bytes(word))),
            KIND_F64 => word().map(|word| Native::F64(f64::from_le_bytes(word))),
            KIND_TEXT => str::from_utf8(bytes).ok().map(Native::Text),
            KIND_BYTES => Some(Native::Bytes(bytes)),
            _ => {
                return Err(Error::codec(format!(
                    "cannot read the value: its kind {kind} is unknown here; use a newer version"
                )));
            }
        };
        native.ok_or_else(|| {
            let message = format!(
                "the value's {} bytes do not make its kind {kind}: run repair(), or delete the key",
                bytes.len()
            );
            Error::new(ErrorKind::Corrupt, message)
        })
    }

    /// What to call it in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Native::Null => "null",
            Native::Bool(_) => "a boolean",
            Native::I64(_) | Native::U64(_) => "an integer",
            Native::F64(_) => "a float",
            Native::Text(_) => "text",
            Native::Bytes(_) => "bytes",
        }
    }

    /// The number as a float, if it is one or is exactly one.
    fn float(self) -> ReadResult<f64> {
        let (float, integer) = match self {
            Native::F64(value) => return Ok(value),
            Native::I64(value) => (exact_float(value.into()), i128::from(value)),
            Native::U64(value) => (exact_float(value.into()), i128::from(value)),
            _ => return Err(ValueError::custom(format!("{} is no number", self.name()))),
        };
        float.ok_or_else(|| ValueError::custom(format!("no float is exactly {integer}")))
    }
}

/// The methods that differ only in the types that they refuse.
macro_rules! refuse {
    ($($method:ident: $refused:pat, $unexpected:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> ReadResult<V::Value> {
            match self {
                $refused => Err(ValueError::invalid_type($unexpected, &visitor)),
                other => other.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Native<'de> {
    type Error = ValueError;

    // As the serializer: addresses, dates and the like are text.
    fn is_human_readable(&self) -> bool {
        true
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> ReadResult<V::Value> {
        match self {
            Native::Null => visitor.visit_unit(),
            Native::Bool(value) => visitor.visit_bool(value),
            Native::I64(value) => visitor.visit_i64(value),
            Native::U64(value) => visitor.visit_u64(value),
            Native::F64(value) => visitor.visit_f64(value),
            Native::Text(text) => visitor.visit_borrowed_str(text),
            Native::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> ReadResult<V::Value> {
        match self {
            Native::Null => visitor.visit_none(),
            some => visitor.visit_some(some),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> ReadResult<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> ReadResult<V::Value> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> ReadResult<V::Value> {
        let value = self.float()?;
        if value.is_finite() && (value as f32).is_infinite() {
            return Err(ValueError::custom(format!("{value:e} is beyond the range of f32")));
        }
        visitor.visit_f64(value)
    }

    refuse! {
        deserialize_str: Native::Bytes(bytes), Unexpected::Bytes(bytes);
        deserialize_string: Native::Bytes(bytes), Unexpected::Bytes(bytes);
        deserialize_char: Native::Bytes(bytes), Unexpected::Bytes(bytes);
        deserialize_bytes: Native::Text(text), Unexpected::Str(text);
        deserialize_byte_buf: Native::Text(text), Unexpected::Str(text);
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> ReadResult<V::Value> {
        let Native::Bytes(bytes) = self else { return self.deserialize_any(visitor) };
        let mut sequence = SeqDeserializer::<_, ValueError>::new(bytes.iter().copied());
        let value = visitor.visit_seq(&mut sequence)?;
        sequence.end()?;
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> ReadResult<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> ReadResult<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> ReadResult<V::Value> {
        match self {
            Native::Text(name) => visitor.visit_enum(name.into_deserializer()),
            other => other.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 unit unit_struct map struct identifier
        ignored_any
    }
}
