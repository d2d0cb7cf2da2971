//! Compression: less room on disk for some of the processor's time.
//!
//! A handle with a [`Compression`] compresses the payload of a value after it was encoded, natively
//! or by a codec, where that pays; else the value is stored as if there were no compression. So the
//! kind in the record says whether a value is compressed, and what is not costs no byte.
//!
//! ```text
//! kind ZSTD, LZ4:   byte 0        the kind of what lies inside
//!                   bytes 1..5    its length, u32, little-endian
//!                   the rest      one zstd frame; one LZ4 block
//! ```
//!
//! Reading does not depend on the handle: every handle reads everything that was built in. The
//! bytes are not trusted: memory grows with what they really hold, not with the length that they
//! state, and never above [`MAX_BYTES`].

#[cfg(feature = "zstd")]
use std::cell::Cell;

#[cfg(feature = "zstd")]
use zstd::zstd_safe::{self, CCtx, DCtx};

use crate::cache::kind::{KIND_LZ4, KIND_ZSTD};
use crate::error::{Error, ErrorKind, Result};

/// Values below this are stored as they are.
const MIN_BYTES: usize = 256;
/// Values above this are stored as they are, and no compressed value holds more.
const MAX_BYTES: usize = 256 << 20;
/// Kind and length.
const HEADER_BYTES: usize = 5;
/// An LZ4 block holds at most this many bytes for each of its own.
#[cfg(feature = "lz4")]
const MAX_LZ4_RATIO: usize = 255;
/// The room that is tried first for the content of a zstd frame, for each byte of it; and by how
/// much more the next.
#[cfg(feature = "zstd")]
const FIRST_ZSTD_RATIO: usize = 32;
#[cfg(feature = "zstd")]
const MORE_ROOM: usize = 8;
/// A thread keeps its compressor and its decompressor if their last value was no larger.
#[cfg(feature = "zstd")]
const MAX_KEPT_BYTES: usize = 1 << 20;

/// How a handle compresses the values that it stores; see
/// [`Options::compression`](crate::Options::compression).
///
/// Compressed are text, bytes, and what a codec wrote, from 256 bytes to 256 MiB, if they become
/// smaller by an eighth at least. All else is stored as it would be without compression.
///
/// What is compressed is read by every handle, whatever its own compression is, as long as its
/// program was built with the same feature (`zstd`, `lz4`): by [`Cache::get`](crate::Cache::get)
/// and the others as what it was, by [`Cache::get_bytes`](crate::Cache::get_bytes) and
/// [`Cache::reader`](crate::Cache::reader) too. Without the feature it is
/// [`ErrorKind::Codec`](crate::ErrorKind::Codec), and the message names the feature.
///
/// Values given to [`Cache::set_from`](crate::Cache::set_from) are never compressed, as they are
/// never whole in memory.
///
/// ```
/// # #[cfg(feature = "zstd")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use firncache::{Cache, Compression};
///
/// let dir = tempfile::tempdir()?;
/// let page = "<li>one of many</li>".repeat(1000);
/// Cache::options().compression(Compression::zstd(3)).open(dir.path())?.set("page", &page)?;
///
/// let cache = Cache::open(dir.path())?;
/// assert!(cache.volume()? < 1000);
/// assert_eq!(cache.get("page")?, Some(page));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "zstd"))]
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression(Method);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Method {
    #[default]
    None,
    #[cfg(feature = "zstd")]
    Zstd(i32),
    #[cfg(feature = "lz4")]
    Lz4,
}

impl Compression {
    /// Compresses nothing: the default.
    ///
    /// ```
    /// use firncache::Compression;
    /// assert_eq!(Compression::default(), Compression::NONE);
    /// ```
    pub const NONE: Compression = Compression(Method::None);

    /// Compresses with zstd (feature `zstd`, which needs a C compiler when it is built).
    ///
    /// Level 1 is the fastest; 3 is what most choose; each level above takes longer to store and
    /// gains a little; 22 is the last. Reading takes the same time at every level. A level out of
    /// range is refused when the cache is opened.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use firncache::{Cache, Compression};
    /// let cache = Cache::options().compression(Compression::zstd(3)).open(dir.path())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "zstd")]
    #[must_use]
    pub const fn zstd(level: i32) -> Compression {
        Compression(Method::Zstd(level))
    }

    /// Compresses with LZ4 (feature `lz4`): less well than zstd, and several times as fast.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use firncache::{Cache, Compression};
    /// let cache = Cache::options().compression(Compression::lz4()).open(dir.path())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "lz4")]
    #[must_use]
    pub const fn lz4() -> Compression {
        Compression(Method::Lz4)
    }

    /// Refuses a level that does not exist.
    pub(crate) fn check(self) -> Result<()> {
        match self.0 {
            #[cfg(feature = "zstd")]
            Method::Zstd(level) if !(1..=22).contains(&level) => Err(Error::new(
                ErrorKind::Setting,
                format!("there is no zstd level {level}: use 1 (fastest) to 22 (smallest)"),
            )),
            _ => Ok(()),
        }
    }

    /// Appends a value's compressed payload to `out` and returns its kind; does nothing if that
    /// does not pay.
    pub(crate) fn pack(self, kind: u8, plain: &[u8], out: &mut Vec<u8>) -> Option<u8> {
        if self == Compression::NONE || !(MIN_BYTES..=MAX_BYTES).contains(&plain.len()) {
            return None;
        }
        let most = plain.len() - plain.len() / 8 - HEADER_BYTES;
        let (packed_kind, packed) = self.compressed(plain)?;
        if packed.len() > most {
            return None;
        }
        out.push(kind);
        out.extend_from_slice(&u32::try_from(plain.len()).ok()?.to_le_bytes());
        out.extend_from_slice(&packed);
        Some(packed_kind)
    }

    /// Compresses; `None` is allowed if that makes it no smaller.
    #[cfg_attr(
        not(any(feature = "zstd", feature = "lz4")),
        expect(unused_variables, reason = "there is nothing to compress with")
    )]
    fn compressed(self, plain: &[u8]) -> Option<(u8, Vec<u8>)> {
        match self.0 {
            Method::None => None,
            #[cfg(feature = "zstd")]
            Method::Zstd(level) => Some((KIND_ZSTD, zstd_compress(plain, level)?)),
            #[cfg(feature = "lz4")]
            Method::Lz4 => Some((KIND_LZ4, lz4_flex::block::compress(plain))),
        }
    }
}

/// Whether a value of this kind is compressed.
#[inline]
pub(crate) fn is_packed(kind: u8) -> bool {
    matches!(kind, KIND_ZSTD | KIND_LZ4)
}

/// Decompresses a payload; gives the kind and the payload that lie inside.
pub(crate) fn unpack(kind: u8, packed: &[u8]) -> Result<(u8, Vec<u8>)> {
    let Some((header, content)) = packed.split_first_chunk::<HEADER_BYTES>() else {
        return Err(damaged(kind, "it has no length"));
    };
    let [inner, len @ ..] = *header;
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if len > MAX_BYTES {
        return Err(damaged(kind, "it states a length above all limits"));
    }
    if is_packed(inner) {
        return Err(damaged(kind, "it is compressed twice"));
    }
    let plain = decompress(kind, content, len)?;
    Ok((inner, plain.ok_or_else(|| damaged(kind, "it does not hold what it states"))?))
}

/// Decompresses `len` bytes, no more and no fewer.
fn decompress(kind: u8, packed: &[u8], len: usize) -> Result<Option<Vec<u8>>> {
    match kind {
        #[cfg(feature = "zstd")]
        KIND_ZSTD => Ok(zstd_decompress(packed, len)),
        #[cfg(feature = "lz4")]
        KIND_LZ4 => Ok(lz4_decompress(packed, len)),
        _ => {
            let (bytes, name) = (packed.len(), name(kind));
            Err(Error::codec(format!(
                "the value, {len} bytes in {bytes}, is compressed with {name}: build firncache with \
                 its feature \"{name}\" to read it"
            )))
        }
    }
}

/// Decompresses what is in `value` if it is compressed; gives the kind of what is there then.
pub(crate) fn unpack_in_place(kind: u8, value: &mut Vec<u8>) -> Result<u8> {
    if !is_packed(kind) {
        return Ok(kind);
    }
    let (kind, plain) = unpack(kind, value)?;
    *value = plain;
    Ok(kind)
}

fn name(kind: u8) -> &'static str {
    if kind == KIND_ZSTD { "zstd" } else { "lz4" }
}

fn damaged(kind: u8, why: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "the value, compressed with {}, is damaged: {why}; run repair(), or delete the key",
            name(kind)
        ),
    )
}

/// `None` if what comes out is larger.
#[cfg(feature = "zstd")]
fn zstd_compress(plain: &[u8], level: i32) -> Option<Vec<u8>> {
    thread_local! {
        static KEPT: Cell<Option<CCtx<'static>>> = const { Cell::new(None) };
    }
    // At the end of a thread nothing may be kept any more.
    let kept = KEPT.try_with(Cell::take).ok().flatten();
    let mut context = kept.or_else(CCtx::try_create)?;
    let mut packed = Vec::with_capacity(plain.len());
    let is_done = context.compress(&mut packed, plain, level).is_ok();
    if plain.len() <= MAX_KEPT_BYTES {
        let _ = KEPT.try_with(|kept| kept.set(Some(context)));
    }
    is_done.then_some(packed)
}

#[cfg(feature = "zstd")]
fn zstd_decompress(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    use zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as TOO_SMALL;

    thread_local! {
        static KEPT: Cell<Option<DCtx<'static>>> = const { Cell::new(None) };
    }
    let kept = KEPT.try_with(Cell::take).ok().flatten();
    let mut context = kept.or_else(DCtx::try_create)?;
    let mut room = packed.len().saturating_mul(FIRST_ZSTD_RATIO).min(len);
    let plain = loop {
        let mut plain = Vec::new();
        plain.try_reserve_exact(room).ok()?;
        match context.decompress(&mut plain, packed) {
            Ok(_) => break Some(plain),
            // The length that is stated is believed only as far as there was so much already.
            Err(error) if room < len && zstd_safe::is_error_kind(error, TOO_SMALL) => {
                room = room.saturating_mul(MORE_ROOM).min(len);
            }
            Err(_) => break None,
        }
    };
    if len <= MAX_KEPT_BYTES {
        let _ = KEPT.try_with(|kept| kept.set(Some(context)));
    }
    plain.filter(|plain| plain.len() == len)
}

#[cfg(feature = "lz4")]
fn lz4_decompress(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    if len > packed.len().saturating_mul(MAX_LZ4_RATIO) {
        return None;
    }
    let mut plain = vec![0; len];
    let filled = lz4_flex::block::decompress_into(packed, &mut plain).ok()?;
    (filled == len).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::codec::AnyCodec;
    use crate::cache::kind::{KIND_BYTES, KIND_CODEC, KIND_TEXT};
    use crate::cache::value::{decode, encode};
    use quickcheck::quickcheck;

    fn methods() -> Vec<Compression> {
        vec![
            #[cfg(feature = "zstd")]
            Compression::zstd(1),
            #[cfg(feature = "zstd")]
            Compression::zstd(19),
            #[cfg(feature = "lz4")]
            Compression::lz4(),
        ]
    }

    /// Bytes that no method makes smaller.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..len).map(|_| next()).collect()
    }

    fn packed(method: Compression, plain: &[u8]) -> Option<(u8, Vec<u8>)> {
        let mut out = Vec::new();
        let kind = method.pack(KIND_BYTES, plain, &mut out);
        assert_eq!(kind.is_none(), out.is_empty());
        kind.map(|kind| (kind, out))
    }

    #[test]
    fn what_is_compressed_comes_back() {
        for method in methods() {
            let mixed = [noise(1000), vec![7; 100_000]].concat();
            for plain in [vec![0; MIN_BYTES], b"abcdefgh".repeat(1000), mixed, vec![1; 3 << 20]] {
                let (kind, bytes) = packed(method, &plain).unwrap();
                assert!(is_packed(kind) && bytes.len() < plain.len(), "{method:?}");
                assert_eq!(unpack(kind, &bytes).unwrap(), (KIND_BYTES, plain));
            }
        }
    }

    #[test]
    fn what_does_not_pay_stays_as_it_is() {
        for method in methods().into_iter().chain([Compression::NONE]) {
            assert_eq!(packed(method, &[0; MIN_BYTES - 1]), None);
            assert_eq!(packed(method, &noise(100_000)), None);
            assert_eq!(packed(method, &[]), None);
        }
        assert_eq!(packed(Compression::NONE, &[0; 100_000]), None);
    }

    #[test]
    fn values_keep_their_kind() {
        let (text, list) = ("text ".repeat(1000), vec![5_u16; 5000]);
        for method in methods() {
            let codec = AnyCodec::Bincode.compressed(method).unwrap();
            let mut out = b"before".to_vec();
            let kind = encode(&text, &codec, &mut out).unwrap();
            assert_eq!((is_packed(kind), out[6]), (true, KIND_TEXT));
            assert_eq!(decode::<String>(kind, &out[6..], &AnyCodec::Bincode).unwrap(), text);
            let error = decode::<Vec<u8>>(kind, &out[6..], &codec).unwrap_err();
            assert!(error.to_string().contains("stored as text"), "{error}");

            out.clear();
            let kind = encode(&list, &codec, &mut out).unwrap();
            assert_eq!((is_packed(kind), out[0]), (true, KIND_CODEC));
            assert_eq!(decode::<Vec<u16>>(kind, &out, &AnyCodec::Bincode).unwrap(), list);

            out.clear();
            assert_eq!(encode("short", &codec, &mut out).unwrap(), KIND_TEXT);
            assert_eq!(out, b"short");
        }
    }

    #[test]
    fn lengths_that_are_stated_are_not_believed() {
        for method in methods() {
            let (kind, bytes) = packed(method, &[0; 1000]).unwrap();
            for len in [0_u32, 999, 1001, 60_000, MAX_BYTES as u32, u32::MAX] {
                let mut bytes = bytes.clone();
                bytes[1..HEADER_BYTES].copy_from_slice(&len.to_le_bytes());
                assert_eq!(unpack(kind, &bytes).unwrap_err().kind(), ErrorKind::Corrupt, "{len}");
            }
            for len in 0..HEADER_BYTES {
                assert_eq!(unpack(kind, &bytes[..len]).unwrap_err().kind(), ErrorKind::Corrupt);
            }
        }
    }

    #[test]
    fn what_is_in_a_buffer_is_unpacked_there_if_it_is_packed() {
        let mut value = b"plain".to_vec();
        assert_eq!(unpack_in_place(KIND_TEXT, &mut value).unwrap(), KIND_TEXT);
        assert_eq!(value, b"plain");
        for method in methods() {
            let (kind, mut value) = packed(method, &[7; 1000]).unwrap();
            assert_eq!(unpack_in_place(kind, &mut value).unwrap(), KIND_BYTES);
            assert_eq!(value, [7; 1000]);
        }
    }

    #[test]
    fn nothing_is_compressed_twice() {
        for method in methods() {
            let mut out = Vec::new();
            let kind = method.pack(KIND_ZSTD, &[0; 1000], &mut out).unwrap();
            let error = unpack(kind, &out).unwrap_err();
            assert!(error.to_string().contains("twice"), "{error}");
            assert_eq!(unpack_in_place(kind, &mut out).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn levels_out_of_range_are_refused() {
        for level in [i32::MIN, -1, 0, 23, i32::MAX] {
            let error = AnyCodec::Bincode.compressed(Compression::zstd(level)).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Setting);
        }
        assert!(AnyCodec::Bincode.compressed(Compression::zstd(22)).is_ok());
    }

    #[cfg(not(all(feature = "zstd", feature = "lz4")))]
    #[test]
    fn the_error_names_the_feature_that_is_missing() {
        let bytes = [KIND_BYTES, 0, 1, 0, 0, 1, 2, 3];
        for (kind, feature, is_here) in [
            (KIND_ZSTD, "\"zstd\"", cfg!(feature = "zstd")),
            (KIND_LZ4, "\"lz4\"", cfg!(feature = "lz4")),
        ] {
            let error = decode::<String>(kind, &bytes, &AnyCodec::Bincode).unwrap_err();
            if !is_here {
                assert_eq!(error.kind(), ErrorKind::Codec);
                assert!(error.to_string().contains(feature), "{error}");
            }
        }
    }

    quickcheck! {
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, len: u32) -> bool {
            let stated = [&[KIND_BYTES][..], &(len % (1 << 20)).to_le_bytes(), &bytes].concat();
            for kind in [KIND_ZSTD, KIND_LZ4] {
                let _ = unpack(kind, &bytes);
                let _ = unpack(kind, &stated);
                let _ = decode::<Vec<String>>(kind, &stated, &AnyCodec::Bincode);
            }
            true
        }

        fn flipped_bits_never_panic(plain: Vec<u8>, at: usize, bit: u8) -> bool {
            let plain = plain.repeat(50);
            for method in methods() {
                if let Some((kind, mut bytes)) = packed(method, &plain) {
                    let at = at % bytes.len();
                    bytes[at] ^= 1 << (bit % 8);
                    let _ = unpack(kind, &bytes);
                    let _ = decode::<String>(kind, &bytes, &AnyCodec::Bincode);
                    let _ = unpack(kind, &bytes[..at]);
                }
            }
            true
        }
    }
}
