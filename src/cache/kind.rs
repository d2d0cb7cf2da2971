//! The kinds of stored values.
//!
//! A record says the *kind* of its value in one byte, beside the payload.
//!
//! ```text
//! kind   payload
//!  0     none                        null: `()`, `None`, unit structs
//!  1, 2  none                        false, true
//!  3     i64, little-endian          every integer that fits
//!  4     u64, little-endian          integers above i64::MAX
//!  5     f64, little-endian          every bit of it, NaN too
//!  6     UTF-8                       text
//!  7     the bytes                   bytes
//! 16+id  what the codec wrote        everything else; id 0 ..= 239, see `codec`
//! 19, 20 zstd, LZ4                   one of the others, compressed; see `compression`
//! ```
//!
//! The kinds below 16 are native: they can be read without knowing Rust, and `incr` counts on 3 and
//! 4. They stay as they are for ever.

pub(crate) const KIND_NULL: u8 = 0;
pub(crate) const KIND_FALSE: u8 = 1;
pub(crate) const KIND_TRUE: u8 = 2;
pub(crate) const KIND_I64: u8 = 3;
pub(crate) const KIND_U64: u8 = 4;
pub(crate) const KIND_F64: u8 = 5;
pub(crate) const KIND_TEXT: u8 = 6;
pub(crate) const KIND_BYTES: u8 = 7;
/// The kind of what codec 0 wrote; that of codec `id` is `KIND_CODEC + id`.
pub(crate) const KIND_CODEC: u8 = 16;
/// Another kind, compressed with zstd.
pub(crate) const KIND_ZSTD: u8 = KIND_CODEC + 3;
/// Another kind, compressed with LZ4.
pub(crate) const KIND_LZ4: u8 = KIND_CODEC + 4;
