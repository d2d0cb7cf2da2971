//! Rust's types as keys: what [`ToKey`] promises.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use crate::error::Result;
use crate::format::key::Key;
use crate::format::key_buf::{KeyBuf, ToKey};

macro_rules! to_key {
    ($($source:ty => |$value:ident, $out:ident| $encode:expr;)*) => {$(
        impl ToKey for $source {
            fn encode_key(&self, $out: &mut KeyBuf) -> Result<()> {
                let $value = self;
                $encode
            }
        }
    )*};
}

to_key! {
    () => |_value, out| out.null();
    bool => |value, out| out.bool(*value);
    i8 => |value, out| out.int((*value).into());
    i16 => |value, out| out.int((*value).into());
    i32 => |value, out| out.int((*value).into());
    i64 => |value, out| out.int((*value).into());
    i128 => |value, out| out.int(*value);
    isize => |value, out| out.int(*value as i128);
    u8 => |value, out| out.int((*value).into());
    u16 => |value, out| out.int((*value).into());
    u32 => |value, out| out.int((*value).into());
    u64 => |value, out| out.int((*value).into());
    // What does not fit i128 does not fit 64 bits either, and is refused there.
    u128 => |value, out| out.int(i128::try_from(*value).unwrap_or(i128::MAX));
    usize => |value, out| out.int(*value as i128);
    f32 => |value, out| out.float((*value).into());
    f64 => |value, out| out.float(*value);
    str => |value, out| out.text(value);
    String => |value, out| out.text(value);
    [u8] => |value, out| out.bytes(value);
    Vec<u8> => |value, out| out.bytes(value);
}

impl<const N: usize> ToKey for [u8; N] {
    fn encode_key(&self, out: &mut KeyBuf) -> Result<()> {
        out.bytes(self)
    }
}

impl<T: ToKey> ToKey for Option<T> {
    fn encode_key(&self, out: &mut KeyBuf) -> Result<()> {
        match self {
            Some(value) => value.encode_key(out),
            None => out.null(),
        }
    }
}

impl ToKey for Key {
    fn encode_key(&self, out: &mut KeyBuf) -> Result<()> {
        match self {
            Key::Null => out.null(),
            Key::Bool(value) => out.bool(*value),
            Key::Int(value) => out.int(*value),
            Key::Float(value) => out.float(*value),
            Key::Text(text) => out.text(text),
            Key::Bytes(bytes) => out.bytes(bytes),
            Key::Tuple(parts) => {
                out.tuple(|out| parts.iter().try_for_each(|part| part.encode_key(out)))
            }
        }
    }
}

macro_rules! to_key_through {
    ($($pointer:ty),*) => {$(
        impl<T: ToKey + ?Sized> ToKey for $pointer {
            fn encode_key(&self, out: &mut KeyBuf) -> Result<()> {
                (**self).encode_key(out)
            }
        }
    )*};
}

to_key_through!(&T, &mut T, Box<T>, Rc<T>, Arc<T>);

impl<T: ToKey + ToOwned + ?Sized> ToKey for Cow<'_, T> {
    fn encode_key(&self, out: &mut KeyBuf) -> Result<()> {
        (**self).encode_key(out)
    }
}

macro_rules! to_key_tuples {
    ($(($($part:ident)+))*) => {$(
        impl<$($part: ToKey),+> ToKey for ($($part,)+) {
            fn encode_key(&self, out: &mut KeyBuf) -> Result<()> {
                #[expect(non_snake_case, reason = "a part is named as its type")]
                let ($($part,)+) = self;
                out.tuple(|out| {
                    $($part.encode_key(out)?;)+
                    Ok(())
                })
            }
        }
    )*};
}

to_key_tuples! {
    (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn encoded(key: impl ToKey) -> Vec<u8> {
        KeyBuf::of(&key).unwrap().as_bytes().to_vec()
    }

    fn refused(key: impl ToKey) -> ErrorKind {
        KeyBuf::of(&key).err().unwrap().kind()
    }

    #[test]
    fn a_type_and_its_key_have_the_same_bytes() {
        macro_rules! check {
            ($($key:expr),* $(,)?) => {$(assert_eq!(encoded($key), encoded(Key::from($key)));)*};
        }
        check!((), true, false, 1_u8, -1_i8, u64::MAX, i64::MIN, 7_usize, 0.5, 1.25_f32, -3_i128);
        check!("text", String::from("text"), Cow::from("x"), vec![1_u8, 0], [0_u8; 3], b"bytes");
        check!(&b"bytes"[..], None::<u8>, Some("x"), (1, "a", ((), 2.5)), ("x",));
        check!((1, 2, 3, 4, 5, 6, 7, 8));
    }

    #[test]
    fn equal_keys_of_other_types_have_the_same_bytes() {
        assert_eq!(encoded(1_u8), encoded(1.0));
        assert_eq!(encoded(-0.0), encoded(0_u128));
        assert_eq!(encoded(1_u64 << 63), encoded((1_u64 << 63) as f32));
        assert_eq!(encoded(Some(())), encoded(None::<u8>));
        let reference = &&5_i128;
        assert_eq!(encoded(Box::new(5)), encoded(reference));
        assert_eq!(encoded(Arc::<str>::from("x")), encoded("x"));
        assert_ne!(encoded(true), encoded(1));
        assert_ne!(encoded("1"), encoded(b"1"));
        assert_ne!(encoded("1"), encoded(("1",)));
    }

    #[test]
    fn what_cannot_be_a_key_is_refused() {
        assert_eq!(refused(f64::NAN), ErrorKind::Key);
        assert_eq!(refused(f32::NAN), ErrorKind::Key);
        assert_eq!(refused(("x", f64::NAN)), ErrorKind::Key);
        assert_eq!(refused(u128::from(u64::MAX) + 1), ErrorKind::Key);
        assert_eq!(refused(i128::from(i64::MIN) - 1), ErrorKind::Key);
        assert_eq!(refused(u128::MAX), ErrorKind::Key);
        assert_eq!(encoded(u128::from(u64::MAX)), encoded(u64::MAX));
    }
}
