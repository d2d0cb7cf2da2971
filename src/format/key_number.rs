//! Numbers in keys: integers and floats in one exact order, one form for each value.
//!
//! Every finite number but zero is `sign * 1.ffff..f * 2^exponent`. Its *class* holds sign and
//! exponent, its *fraction* the bits behind the leading one. Numbers order by class, and within a
//! class by fraction (backwards among the negative ones). As 2^53 + 1 and 2^53 differ in their
//! fractions whatever type they came from, no rounding enters the order, and `1` and `1.0` are the
//! same bytes.
//!
//! ```text
//! number   := class fraction            (a finite number but zero)
//!           | class                     (zero, the infinities)
//! class    := u16, big-endian: 0x2000 + c
//!             c = 0                          zero
//!             c = exponent + 1075            positive: 1 ..= 2098, from 2^-1074 up to 2^1023
//!             c = -(exponent + 1075)         negative
//!             c = 0xFFF, -0xFFF              the infinities
//! fraction := group{1,9}                7 bits each, the most significant ones first
//! group    := bits << 1 | more          more = 1: another group follows, and not all that follow
//!                                       are zero. Every bit is inverted if the number is negative
//! ```
//!
//! So the first byte of a number lies in 0x17 ..= 0x28, or is 0x10 or 0x2F. Small integers take
//! three bytes, no number more than eleven.

use std::cmp::Ordering;

/// The class of zero, in the middle of all classes.
const CENTRE: u16 = 0x2000;
/// Added to an exponent to make the smallest one, that of the smallest subnormal `f64`, 1.
const BIAS: i32 = 1075;
/// The class of infinity.
const INFINITE: i32 = 0xFFF;
/// The class of NaN, which has no bytes but a place in memory, behind all others.
const NAN: i32 = 0x1000;
/// The largest exponent that is encoded: that of the largest `f64`.
const MAX_EXPONENT: i32 = 1023;
/// Bits of a fraction in one byte.
const GROUP_BITS: u32 = 7;
/// Bytes that hold the fraction of a 64-bit number: 63 bits.
const MAX_GROUPS: u32 = 9;
/// The longest encoding of a number.
pub(crate) const MAX_NUMBER_BYTES: usize = 2 + MAX_GROUPS as usize;

/// What a decoded number is: an integer if it is one and fits 64 bits, else a float.
#[derive(Debug, PartialEq)]
pub(crate) enum Decoded {
    /// An integer in `i64::MIN ..= u64::MAX`.
    Int(i128),
    /// Any other number; never NaN.
    Float(f64),
}

/// A number in the form that orders: equal numbers are equal here, whatever type they came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Number {
    /// Sign and exponent, as in the encoding but for the centre.
    class: i32,
    /// The number from its leading one, which is the topmost bit; 0 where there is none.
    mantissa: u128,
}

impl Number {
    /// Any integer, of whatever size. Only those of 64 bits can be encoded.
    pub(crate) fn from_int(value: i128) -> Number {
        let magnitude = value.unsigned_abs();
        if magnitude == 0 {
            return Number { class: 0, mantissa: 0 };
        }
        let zeros = magnitude.leading_zeros();
        let class = 127 - zeros.cast_signed() + BIAS;
        Number::signed(value < 0, class, magnitude << zeros)
    }

    /// Any float; NaN too, which cannot be encoded.
    pub(crate) fn from_float(value: f64) -> Number {
        let bits = value.to_bits();
        let (exponent, fraction) = ((bits >> 52) & 0x7FF, bits & ((1 << 52) - 1));
        let (class, mantissa) = match (exponent, fraction) {
            (0, 0) => return Number { class: 0, mantissa: 0 },
            (0x7FF, 0) => (INFINITE, 0),
            (0x7FF, _) => return Number { class: NAN, mantissa: 0 },
            (0, _) => {
                let zeros = fraction.leading_zeros();
                (63 - zeros.cast_signed() - 1074 + BIAS, fraction << zeros)
            }
            _ => (exponent as i32 - 1023 + BIAS, 1 << 63 | fraction << 11),
        };
        Number::signed(value.is_sign_negative(), class, u128::from(mantissa) << 64)
    }

    fn signed(negative: bool, class: i32, mantissa: u128) -> Number {
        Number { class: if negative { -class } else { class }, mantissa }
    }

    /// Writes the number's bytes and returns how many they are; `None` for NaN and for integers of
    /// more than 64 bits.
    pub(crate) fn encode(self, out: &mut [u8; MAX_NUMBER_BYTES]) -> Option<usize> {
        let top = (self.mantissa >> 64) as u64;
        if self.class == NAN || u128::from(top) << 64 != self.mantissa {
            return None;
        }
        let class = CENTRE.checked_add_signed(i16::try_from(self.class).ok()?)?;
        let [high, low] = class.to_be_bytes();
        (out[0], out[1]) = (high, low);
        if top == 0 {
            return Some(2);
        }
        let invert = if self.class < 0 { 0xFF } else { 0 };
        let mut fraction = top << 1;
        let mut len = 2;
        loop {
            let group = (fraction >> (64 - GROUP_BITS)) as u8;
            fraction <<= GROUP_BITS;
            *out.get_mut(len)? = (group << 1 | u8::from(fraction != 0)) ^ invert;
            len += 1;
            if fraction == 0 {
                return Some(len);
            }
        }
    }

    /// Reads the number at the front of `bytes` and returns it with the rest; `None` for bytes
    /// that [`encode`](Number::encode) never writes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Decoded, &[u8])> {
        let (class, rest) = bytes.split_first_chunk::<2>()?;
        let class = i32::from(u16::from_be_bytes(*class)) - i32::from(CENTRE);
        let exponent = match class.abs() {
            0 => return Some((Decoded::Int(0), rest)),
            INFINITE => {
                let infinity = f64::INFINITY.copysign(f64::from(class));
                return Some((Decoded::Float(infinity), rest));
            }
            class => class - BIAS,
        };
        if exponent > MAX_EXPONENT {
            return None;
        }
        let negative = class < 0;
        let (fraction, rest) = decode_fraction(negative, rest)?;
        let mantissa = 1 << 63 | fraction >> 1;
        let number = match integer(negative, exponent, mantissa) {
            Some(value) => Decoded::Int(value),
            None => Decoded::Float(float(negative, exponent, mantissa)?),
        };
        Some((number, rest))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        let mantissas = self.mantissa.cmp(&other.mantissa);
        let mantissas = if self.class < 0 { mantissas.reverse() } else { mantissas };
        self.class.cmp(&other.class).then(mantissas)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The 63 bits of a fraction at the top of a word, and what follows them.
fn decode_fraction(negative: bool, mut bytes: &[u8]) -> Option<(u64, &[u8])> {
    let invert = if negative { 0xFF } else { 0 };
    let mut fraction = 0;
    for group in 0..MAX_GROUPS {
        let (&byte, rest) = bytes.split_first()?;
        bytes = rest;
        let byte = byte ^ invert;
        fraction |= u64::from(byte >> 1) << (64 - GROUP_BITS * (group + 1));
        if byte & 1 == 0 {
            let is_canonical = byte != 0 || group == 0;
            return is_canonical.then_some((fraction, bytes));
        }
    }
    None
}

/// The number as an integer, if it is one in `i64::MIN ..= u64::MAX`.
fn integer(negative: bool, exponent: i32, mantissa: u64) -> Option<i128> {
    let below_the_point = u32::try_from(63_i32.checked_sub(exponent)?).ok()?;
    let magnitude = mantissa.checked_shr(below_the_point)?;
    if magnitude << below_the_point != mantissa {
        return None;
    }
    let value = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
    (value >= i128::from(i64::MIN)).then_some(value)
}

/// The number as a float, if it is exactly one.
fn float(negative: bool, exponent: i32, mantissa: u64) -> Option<f64> {
    let (biased, dropped) = if exponent >= -1022 {
        (u64::try_from(exponent + 1023).ok()?, 11)
    } else {
        (0, u32::try_from(-1011 - exponent).ok()?)
    };
    let significand = mantissa.checked_shr(dropped)?;
    if significand << dropped != mantissa {
        return None;
    }
    let fraction = significand & ((1 << 52) - 1);
    Some(f64::from_bits(u64::from(negative) << 63 | biased << 52 | fraction))
}

/// The integer that a float is, if it is one and fits.
pub(crate) fn exact_int(value: f64) -> Option<i128> {
    const LIMIT: f64 = i128::MAX as f64;
    (value.fract() == 0.0 && (-LIMIT..LIMIT).contains(&value)).then_some(value as i128)
}

/// The float that is exactly an integer, if there is one.
pub(crate) fn exact_float(value: i128) -> Option<f64> {
    let float = value as f64;
    (exact_int(float) == Some(value)).then_some(float)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(number: Number) -> Vec<u8> {
        let mut out = [0; MAX_NUMBER_BYTES];
        let len = number.encode(&mut out).unwrap();
        out[..len].to_vec()
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(encoded(Number::from_int(0)), [0x20, 0x00]);
        assert_eq!(encoded(Number::from_int(1)), [0x24, 0x33, 0x00]);
        assert_eq!(encoded(Number::from_float(1.5)), [0x24, 0x33, 0x80]);
        assert_eq!(encoded(Number::from_int(-1)), [0x1B, 0xCD, 0xFF]);
        assert_eq!(encoded(Number::from_int(5)), [0x24, 0x35, 0x40]);
        assert_eq!(encoded(Number::from_int(501)), [0x24, 0x3B, 0xF5, 0x80]);
        assert_eq!(encoded(Number::from_float(f64::INFINITY)), [0x2F, 0xFF]);
        assert_eq!(encoded(Number::from_float(f64::NEG_INFINITY)), [0x10, 0x01]);
        assert_eq!(encoded(Number::from_int(u64::MAX.into())).len(), MAX_NUMBER_BYTES);
    }

    #[test]
    fn the_ends_of_the_range_come_back() {
        for value in [i128::from(i64::MIN), i128::from(u64::MAX), -1, 0, 1, 1 << 63] {
            let bytes = encoded(Number::from_int(value));
            assert_eq!(Number::decode(&bytes), Some((Decoded::Int(value), &[][..])));
        }
        let below = f64::from_bits((i64::MIN as f64).to_bits() + 1);
        let large = [f64::MAX, f64::MIN, (1_i128 << 64) as f64, below];
        let small = [5e-324, -5e-324, f64::MIN_POSITIVE, f64::MIN_POSITIVE / 2.0, 0.1];
        for value in large.into_iter().chain(small) {
            let bytes = encoded(Number::from_float(value));
            assert_eq!(Number::decode(&bytes), Some((Decoded::Float(value), &[][..])));
        }
    }

    #[test]
    fn numbers_have_one_order() {
        let numbers = [-2.5, -2.0, -0.5, 0.0, 0.5, 2.0, 2.5, 1e300].map(Number::from_float);
        assert!(numbers.is_sorted_by(|a, b| a.partial_cmp(b) == Some(Ordering::Less) && a < b));
    }

    #[test]
    fn what_cannot_be_encoded_says_so() {
        let mut out = [0; MAX_NUMBER_BYTES];
        assert_eq!(Number::from_float(f64::NAN).encode(&mut out), None);
        assert_eq!(Number::from_int((1 << 64) + 1).encode(&mut out), None);
        assert_eq!(Number::from_int(i128::MIN + 1).encode(&mut out), None);
    }

    #[test]
    fn bytes_that_no_number_has_are_refused() {
        let mut below_i64 = encoded(Number::from_int((1 << 63) + 1));
        for byte in &mut below_i64[2..] {
            *byte = !*byte;
        }
        below_i64[..2].copy_from_slice(&[0x1B, 0x8E]);
        let refused: [(&[u8], &str); 7] = [
            (&[0x20], "half a class"),
            (&[0x24, 0x33], "no fraction"),
            (&[0x24, 0x33, 0x81], "the promised group is not there"),
            (&[0x24, 0x33, 0x81, 0x00], "a group of zeros too many"),
            (&[0x2F, 0xFE, 0x00], "between the largest float and infinity"),
            (&[0x20, 0x01, 0x80], "1.5 times the smallest float"),
            (&below_i64, "an integer below i64 that is no float"),
        ];
        for (bytes, why) in refused {
            assert_eq!(Number::decode(bytes), None, "{why}");
        }
    }

    #[test]
    fn integers_and_floats_convert_only_exactly() {
        assert_eq!(exact_int(-3.0), Some(-3));
        assert_eq!(exact_int(0.5), None);
        assert_eq!(exact_int(f64::INFINITY), None);
        assert_eq!(exact_int(f64::NAN), None);
        assert_eq!(exact_int(1e300), None);
        assert_eq!(exact_float((1 << 53) + 1), None);
        assert_eq!(exact_float(1 << 100), Some((1_i128 << 100) as f64));
        assert_eq!(exact_float(i128::MAX), None);
    }
}
