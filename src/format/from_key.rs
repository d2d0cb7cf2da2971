//! Keys back into Rust's types.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::format::key::Key;
use crate::format::key_number::{exact_float, exact_int};

/// What a key can be read back as: the types of [`ToKey`](crate::ToKey) in their owned forms.
///
/// A number is read as any type that holds it exactly, whatever it was stored as.
///
/// ```
/// use firncache::{FromKey, Key};
/// let key = Key::from(("user", 42));
/// assert_eq!(<(String, u8)>::from_key(key)?, (String::from("user"), 42));
/// # Ok::<(), firncache::Error>(())
/// ```
pub trait FromKey: Sized {
    /// Reads the key as this type.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Key`](crate::ErrorKind::Key) if the key is of another type, or a number that
    /// this type cannot hold exactly; see [`Error::key`].
    ///
    /// ```
    /// use firncache::{Error, FromKey, Key, Result};
    ///
    /// struct Even(i64);
    ///
    /// impl FromKey for Even {
    ///     fn from_key(key: Key) -> Result<Even> {
    ///         match i64::from_key(key)? {
    ///             odd if odd % 2 != 0 => Err(Error::key(format!("{odd} is odd"))),
    ///             even => Ok(Even(even)),
    ///         }
    ///     }
    /// }
    ///
    /// assert_eq!(Even::from_key(Key::from(4))?.0, 4);
    /// assert!(Even::from_key(Key::from(5)).is_err());
    /// # Ok::<(), Error>(())
    /// ```
    fn from_key(key: Key) -> Result<Self>;
}

fn wrong_type(key: &Key, wanted: &str) -> Error {
    Error::key(format!("the key {key} is not {wanted}: read it as the type that was stored"))
}

macro_rules! from_key_int {
    ($($int:ty)*) => {$(
        impl FromKey for $int {
            fn from_key(key: Key) -> Result<$int> {
                let value = match key {
                    Key::Int(value) => Some(value),
                    Key::Float(value) => exact_int(value),
                    _ => None,
                };
                value.and_then(|value| <$int>::try_from(value).ok()).ok_or_else(|| {
                    wrong_type(&key, concat!("an integer that fits ", stringify!($int)))
                })
            }
        }
    )*};
}

from_key_int!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize);

fn float(key: &Key) -> Option<f64> {
    match key {
        Key::Float(value) => Some(*value),
        Key::Int(value) => exact_float(*value),
        _ => None,
    }
}

impl FromKey for f64 {
    fn from_key(key: Key) -> Result<f64> {
        float(&key).ok_or_else(|| wrong_type(&key, "a number that f64 holds exactly"))
    }
}

impl FromKey for f32 {
    fn from_key(key: Key) -> Result<f32> {
        float(&key)
            .filter(|&value| value.is_nan() || f64::from(value as f32) == value)
            .map(|value| value as f32)
            .ok_or_else(|| wrong_type(&key, "a number that f32 holds exactly"))
    }
}

macro_rules! from_key {
    ($($target:ty, $wanted:literal, $pattern:pat => $value:expr;)*) => {$(
        impl FromKey for $target {
            fn from_key(key: Key) -> Result<$target> {
                match key {
                    $pattern => Ok($value),
                    key => Err(wrong_type(&key, $wanted)),
                }
            }
        }
    )*};
}

from_key! {
    (), "null", Key::Null => ();
    bool, "a boolean", Key::Bool(value) => value;
    String, "text", Key::Text(text) => text;
    Vec<u8>, "bytes", Key::Bytes(bytes) => bytes;
}

impl FromKey for Key {
    fn from_key(key: Key) -> Result<Key> {
        Ok(key)
    }
}

impl<const N: usize> FromKey for [u8; N] {
    fn from_key(key: Key) -> Result<[u8; N]> {
        if let Key::Bytes(bytes) = &key
            && let Ok(array) = <[u8; N]>::try_from(&bytes[..])
        {
            return Ok(array);
        }
        Err(wrong_type(&key, &format!("{N} bytes")))
    }
}

impl<T: FromKey> FromKey for Option<T> {
    fn from_key(key: Key) -> Result<Option<T>> {
        match key {
            Key::Null => Ok(None),
            key => T::from_key(key).map(Some),
        }
    }
}

impl<T: FromKey> FromKey for Box<T> {
    fn from_key(key: Key) -> Result<Box<T>> {
        T::from_key(key).map(Box::new)
    }
}

impl<T: ToOwned<Owned: FromKey> + ?Sized> FromKey for Cow<'_, T> {
    fn from_key(key: Key) -> Result<Self> {
        FromKey::from_key(key).map(Cow::Owned)
    }
}

macro_rules! from_key_tuples {
    ($($len:literal ($($part:ident)+))*) => {$(
        impl<$($part: FromKey),+> FromKey for ($($part,)+) {
            fn from_key(key: Key) -> Result<Self> {
                let parts = match key {
                    Key::Tuple(parts) => <[Key; $len]>::try_from(parts).map_err(Key::Tuple),
                    key => Err(key),
                };
                #[expect(non_snake_case, reason = "a part is named as its type")]
                let [$($part),+] = parts
                    .map_err(|key| wrong_type(&key, concat!("a tuple of ", stringify!($len))))?;
                Ok(($($part::from_key($part)?,)+))
            }
        }
    )*};
}

from_key_tuples! {
    1 (A) 2 (A B) 3 (A B C) 4 (A B C D) 5 (A B C D E) 6 (A B C D E F) 7 (A B C D E F G)
    8 (A B C D E F G H)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use quickcheck::quickcheck;
    use std::fmt::Debug;

    fn check<T: FromKey + Into<Key> + Clone + PartialEq + Debug>(value: T) {
        assert_eq!(T::from_key(value.clone().into()).unwrap(), value);
    }

    fn refused<T: FromKey + Debug>(key: impl Into<Key>) {
        let error = T::from_key(key.into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Key);
        assert!(error.to_string().contains(" is not "), "{error}");
    }

    #[test]
    fn every_type_comes_back() {
        check(());
        check(true);
        check(i8::MIN);
        check(u64::MAX);
        check(0.1);
        check(0.1_f32);
        check(String::from("text"));
        check(Cow::Borrowed("text"));
        check(vec![1_u8, 2]);
        check([0_u8; 4]);
        check(None::<u8>);
        check(Some(3_u8));
        assert_eq!(*Box::<u8>::from_key(Key::Int(3)).unwrap(), 3);
        check((1, String::new(), None::<bool>, (vec![0_u8],)));
        check((1, 2, 3, 4, 5, 6, 7, 8));
        check(Key::Tuple(vec![]));
    }

    #[test]
    fn numbers_are_read_by_value() {
        assert_eq!(u8::from_key(Key::Float(255.0)).unwrap(), 255);
        assert_eq!(f64::from_key(Key::Int(3)).unwrap(), 3.0);
        assert_eq!(f32::from_key(Key::Int(3)).unwrap(), 3.0);
        assert_eq!(f32::from_key(Key::Float(f64::INFINITY)).unwrap(), f32::INFINITY);
        assert!(f32::from_key(Key::Float(f64::NAN)).unwrap().is_nan());
        refused::<u8>(256);
        refused::<u8>(-1);
        refused::<i32>(0.5);
        refused::<f64>((1_i64 << 53) + 1);
        refused::<f32>(0.1_f64);
        refused::<f32>("0.1");
    }

    #[test]
    fn other_types_are_refused() {
        refused::<bool>(1);
        refused::<u8>(true);
        refused::<String>(&b"x"[..]);
        refused::<Vec<u8>>("x");
        refused::<[u8; 2]>([1_u8; 3]);
        refused::<[u8; 2]>("xx");
        refused::<()>(0);
        refused::<(u8, u8)>((1, 2, 3));
        refused::<(u8,)>(1);
    }

    quickcheck! {
        fn tuples_come_back(key: (i64, String, Option<u16>)) -> bool {
            <(i64, String, Option<u16>)>::from_key(key.clone().into()).ok() == Some(key)
        }
    }
}
