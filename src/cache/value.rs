//! Values: what is stored for a user's value, and back.
//!
//! Every value has a kind and a payload; see [`crate::cache::kind`].
//!
//! What lies around a value without adding to it is not stored: `Some(x)` and a newtype of `x` are
//! stored as `x`, and can be read as `x` or as either of them. So a missing wrapper, or one too
//! many, never changes a stored value. What a handle compresses, it compresses last; see
//! [`crate::cache::compression`].
//!
//! `Cache` calls [`encode`] before it takes the lock, and [`decode`] on the copy it has checked.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::codec::AnyCodec;
use crate::cache::compression::{is_packed, unpack};
use crate::cache::kind::KIND_CODEC;
use crate::cache::native_de::Native;
use crate::cache::native_ser::NativeSerializer;
use crate::error::{Error, Result};

/// Appends the payload of a value and returns its kind. On an error `out` is as it was.
pub(crate) fn encode<V>(value: &V, codec: &AnyCodec, out: &mut Vec<u8>) -> Result<u8>
where
    V: Serialize + ?Sized,
{
    let start = out.len();
    let kind = NativeSerializer::new(codec, &mut *out).append(value).map_err(|error| {
        out.truncate(start);
        error.into_error("cannot encode the value", "store another type, or use another codec")
    })?;
    let mut packed = Vec::new();
    let Some(packed_kind) = codec.compression().pack(kind, &out[start..], &mut packed) else {
        return Ok(kind);
    };
    out.truncate(start);
    out.extend_from_slice(&packed);
    Ok(packed_kind)
}

/// Reads a value from its kind and payload.
pub(crate) fn decode<V: DeserializeOwned>(kind: u8, bytes: &[u8], codec: &AnyCodec) -> Result<V> {
    if is_packed(kind) {
        let (kind, plain) = unpack(kind, bytes)?;
        return decode_plain(kind, &plain, codec);
    }
    decode_plain(kind, bytes, codec)
}

#[inline]
fn decode_plain<V: DeserializeOwned>(kind: u8, bytes: &[u8], codec: &AnyCodec) -> Result<V> {
    if let Some(id) = kind.checked_sub(KIND_CODEC) {
        return codec.decode(id, bytes);
    }
    let native = Native::parse(kind, bytes)?;
    V::deserialize(native).map_err(|error| {
        Error::codec(format!(
            "cannot read the value: {error}; it is stored as {}, read it as that",
            native.name()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::kind::{
        KIND_BYTES, KIND_F64, KIND_FALSE, KIND_I64, KIND_NULL, KIND_TEXT, KIND_TRUE, KIND_U64,
    };
    use crate::error::ErrorKind;
    use quickcheck::quickcheck;
    use serde::Deserialize;
    use serde::de::IgnoredAny;
    use serde_bytes::{ByteBuf, Bytes};
    use std::fmt::Debug;
    use std::net::IpAddr;

    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    struct User {
        name: String,
        age: Option<u8>,
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Wrapped<T>(T);

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Unit;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    enum Shape {
        Point,
        Circle(f64),
    }

    fn encoded<V: Serialize + ?Sized>(value: &V) -> (u8, Vec<u8>) {
        let mut out = b"before".to_vec();
        let kind = encode(value, &AnyCodec::Bincode, &mut out).unwrap();
        (kind, out.split_off(6))
    }

    fn read<V: DeserializeOwned>((kind, bytes): &(u8, Vec<u8>)) -> Result<V> {
        decode(*kind, bytes, &AnyCodec::Bincode)
    }

    fn check<V: Serialize + DeserializeOwned + PartialEq + Debug>(value: V, kind: u8) {
        let stored = encoded(&value);
        assert_eq!(stored.0, kind, "{value:?}");
        assert_eq!(read::<V>(&stored).unwrap(), value);
        assert_eq!(read::<Option<V>>(&stored).unwrap(), (kind != KIND_NULL).then_some(value));
    }

    fn refused<V: DeserializeOwned + Debug>(value: impl Serialize) {
        let error = read::<V>(&encoded(&value)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert!(error.to_string().contains("it is stored as "), "{error}");
    }

    #[test]
    fn native_values_come_back() {
        check((), KIND_NULL);
        check(Unit, KIND_NULL);
        check(false, KIND_FALSE);
        check(true, KIND_TRUE);
        check(-5_i8, KIND_I64);
        check(i64::MIN, KIND_I64);
        check(255_u8, KIND_I64);
        check(i64::MAX as u64, KIND_I64);
        check(i64::MAX as u64 + 1, KIND_U64);
        check(u64::MAX, KIND_U64);
        check(-1_i128, KIND_I64);
        check(i128::from(u64::MAX), KIND_U64);
        check(7_u128, KIND_I64);
        check(0.1_f32, KIND_F64);
        check(-0.0, KIND_F64);
        check(f64::INFINITY, KIND_F64);
        check('\u{10FFFF}', KIND_TEXT);
        check(String::new(), KIND_TEXT);
        check(ByteBuf::from(vec![0, 255]), KIND_BYTES);
        check("::1".parse::<IpAddr>().unwrap(), KIND_TEXT);
        assert_eq!(encoded("text"), (KIND_TEXT, b"text".to_vec()));
        assert_eq!(encoded(Bytes::new(b"\xFF")), (KIND_BYTES, vec![255]));
        assert_eq!(encoded(&-2), (KIND_I64, (-2_i64).to_le_bytes().to_vec()));
    }

    #[test]
    fn everything_else_goes_to_the_codec() {
        let user = User { name: "Ada".to_owned(), age: Some(36) };
        check(user.clone(), KIND_CODEC);
        check(Shape::Point, KIND_CODEC);
        check(Shape::Circle(1.5), KIND_CODEC);
        check(vec![1_u8, 2], KIND_CODEC);
        check((1, "x".to_owned()), KIND_CODEC);
        check(i128::MIN, KIND_CODEC);
        check(u128::MAX, KIND_CODEC);
        check([Some(1), None], KIND_CODEC);
    }

    #[test]
    fn nan_keeps_its_bits() {
        let nan = f64::from_bits(0xFFF8_0000_0000_1234);
        assert_eq!(read::<f64>(&encoded(&nan)).unwrap().to_bits(), nan.to_bits());
        assert!(read::<f32>(&encoded(&f32::NAN)).unwrap().is_nan());
    }

    #[test]
    fn wrappers_are_not_stored() {
        assert_eq!(encoded(&None::<User>), encoded(&()));
        assert_eq!(encoded(&Some(Some("x"))), encoded("x"));
        assert_eq!(encoded(&Wrapped(5)), encoded(&5));
        assert_eq!(read::<Wrapped<Option<Wrapped<u8>>>>(&encoded(&5)).unwrap().0, Some(Wrapped(5)));

        let user = User { name: "Ada".to_owned(), age: None };
        assert_eq!(encoded(&Some(Wrapped(&user))), encoded(&user));
        let stored = encoded(&Wrapped(Some(&user)));
        assert_eq!(read::<User>(&stored).unwrap(), user);
        assert_eq!(read::<Wrapped<User>>(&stored).unwrap(), Wrapped(user.clone()));
        assert_eq!(read::<Option<Wrapped<Option<User>>>>(&stored).unwrap().unwrap().0, Some(user));
        assert_eq!(read::<Option<User>>(&encoded(&())).unwrap(), None);
    }

    #[test]
    fn native_values_are_read_as_what_can_hold_them() {
        assert_eq!(read::<u8>(&encoded(&200_i64)).unwrap(), 200);
        assert_eq!(read::<f64>(&encoded(&3)).unwrap(), 3.0);
        assert_eq!(read::<f32>(&encoded(&(1 << 24))).unwrap(), 16_777_216.0);
        assert_eq!(read::<String>(&encoded(&'x')).unwrap(), "x");
        assert_eq!(read::<char>(&encoded("x")).unwrap(), 'x');
        assert_eq!(read::<Vec<u8>>(&encoded(Bytes::new(b"ab"))).unwrap(), b"ab");
        assert_eq!(read::<[u8; 2]>(&encoded(Bytes::new(b"ab"))).unwrap(), *b"ab");
        assert_eq!(read::<Shape>(&encoded("Point")).unwrap(), Shape::Point);
        #[cfg(feature = "json")]
        assert_eq!(read::<serde_json::Value>(&encoded(&5)).unwrap(), serde_json::json!(5));
    }

    #[test]
    fn wrong_types_are_refused() {
        refused::<u8>(300);
        refused::<u8>(-1);
        refused::<i64>(u64::MAX);
        refused::<i64>(1.0);
        refused::<f64>((1_i64 << 53) + 1);
        refused::<f64>("1.0");
        refused::<f32>(1e300);
        refused::<bool>(1);
        refused::<u8>(true);
        refused::<u8>(());
        refused::<()>(0);
        refused::<String>(Bytes::new(b"text"));
        refused::<ByteBuf>("text");
        refused::<Vec<u8>>("text");
        refused::<[u8; 2]>(Bytes::new(b"abc"));
        refused::<[u8; 2]>(Bytes::new(b"a"));
        refused::<char>("ab");
        refused::<User>("text");
        refused::<Shape>("Square");
        refused::<Shape>(());
        refused::<Vec<u8>>(());
    }

    #[test]
    fn a_failed_encoding_leaves_the_output_as_it_was() {
        struct Fails;

        impl Serialize for Fails {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("no such thing"))
            }
        }

        let mut out = b"before".to_vec();
        let error = encode(&Fails, &AnyCodec::Bincode, &mut out).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("cannot encode the value: no such thing; store another"),
            "{text}"
        );
        let error = encode(&(1, "x", Fails), &AnyCodec::Bincode, &mut out).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert!(error.to_string().contains("no such thing"), "{error}");
        assert_eq!(out, b"before");
    }

    #[test]
    fn payloads_that_do_not_fit_their_kind_are_damage() {
        let kind_of =
            |kind, bytes| decode::<IgnoredAny>(kind, bytes, &AnyCodec::Bincode).unwrap_err().kind();
        for kind in [KIND_NULL, KIND_TRUE, KIND_FALSE, KIND_I64, KIND_U64, KIND_F64] {
            assert_eq!(kind_of(kind, b"x"), ErrorKind::Corrupt);
        }
        assert_eq!(kind_of(KIND_TEXT, b"\xFF"), ErrorKind::Corrupt);
        assert_eq!(kind_of(KIND_BYTES + 1, b""), ErrorKind::Codec);
        assert_eq!(kind_of(u8::MAX, b""), ErrorKind::Codec);
    }

    quickcheck! {
        fn arbitrary_stored_values_never_panic(kind: u8, bytes: Vec<u8>) -> bool {
            let kinds = [kind, kind % 24];
            for kind in kinds {
                let stored = (kind, bytes.clone());
                let _ = read::<u64>(&stored);
                let _ = read::<f32>(&stored);
                let _ = read::<String>(&stored);
                let _ = read::<Vec<u8>>(&stored);
                let _ = read::<Option<User>>(&stored);
                let _ = read::<Shape>(&stored);
                let _ = read::<IgnoredAny>(&stored);
            }
            true
        }

        fn integers_come_back(value: i64, unsigned: u64) -> bool {
            read::<i64>(&encoded(&value)).unwrap() == value
                && read::<u64>(&encoded(&unsigned)).unwrap() == unsigned
        }

        fn text_and_bytes_come_back(text: String, bytes: Vec<u8>) -> bool {
            read::<String>(&encoded(&text)).unwrap() == text
                && read::<Vec<u8>>(&encoded(Bytes::new(&bytes))).unwrap() == bytes
                && read::<Vec<u8>>(&encoded(&bytes)).unwrap() == bytes
        }
    }
}
