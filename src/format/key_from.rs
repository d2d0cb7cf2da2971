//! Rust's types into the owned form of a key.

use std::borrow::Cow;

use crate::format::key::Key;

macro_rules! from {
    ($($source:ty => |$value:ident| $key:expr;)*) => {$(
        impl From<$source> for Key {
            fn from($value: $source) -> Key {
                $key
            }
        }
    )*};
}

from! {
    () => |_value| Key::Null;
    bool => |value| Key::Bool(value);
    i8 => |value| Key::Int(value.into());
    i16 => |value| Key::Int(value.into());
    i32 => |value| Key::Int(value.into());
    i64 => |value| Key::Int(value.into());
    i128 => |value| Key::Int(value);
    isize => |value| Key::Int(value as i128);
    u8 => |value| Key::Int(value.into());
    u16 => |value| Key::Int(value.into());
    u32 => |value| Key::Int(value.into());
    u64 => |value| Key::Int(value.into());
    usize => |value| Key::Int(value as i128);
    f32 => |value| Key::Float(value.into());
    f64 => |value| Key::Float(value);
    &str => |value| Key::Text(value.to_owned());
    &String => |value| Key::Text(value.clone());
    String => |value| Key::Text(value);
    Cow<'_, str> => |value| Key::Text(value.into_owned());
    &[u8] => |value| Key::Bytes(value.to_vec());
    &Vec<u8> => |value| Key::Bytes(value.clone());
    Vec<u8> => |value| Key::Bytes(value);
    Vec<Key> => |value| Key::Tuple(value);
    &Key => |value| value.clone();
}

impl<const N: usize> From<[u8; N]> for Key {
    fn from(value: [u8; N]) -> Key {
        Key::Bytes(value.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Key {
    fn from(value: &[u8; N]) -> Key {
        Key::Bytes(value.to_vec())
    }
}

impl<T: Into<Key>> From<Option<T>> for Key {
    fn from(value: Option<T>) -> Key {
        value.map_or(Key::Null, Into::into)
    }
}

macro_rules! from_tuples {
    ($(($($part:ident)+))*) => {$(
        impl<$($part: Into<Key>),+> From<($($part,)+)> for Key {
            fn from(value: ($($part,)+)) -> Key {
                #[expect(non_snake_case, reason = "a part is named as its type")]
                let ($($part,)+) = value;
                Key::Tuple(vec![$($part.into()),+])
            }
        }
    )*};
}

from_tuples! {
    (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H)
}
