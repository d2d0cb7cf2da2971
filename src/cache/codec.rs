//! Codecs: how values are stored that have no native form.
//!
//! The id of the codec is kept with each record, so that one cache can hold values of several
//! codecs: the codec of a handle is the one it *writes* with. It reads what that one wrote, and
//! what any of the crate's own codecs wrote.
//!
//! ```text
//! 0 bincode    1 JSON    2 MessagePack    3, 4 not codecs: compressed values
//! 5 ..= 63 reserved      64 ..= 239 of users
//! ```

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::bincode_de::BincodeReader;
use crate::cache::compression::Compression;
use crate::cache::kind::KIND_CODEC;
#[cfg(feature = "messagepack")]
use crate::cache::message_pack;
use crate::cache::peel::Peel;
use crate::cache::value_error::ValueError;
use crate::error::{Error, ErrorKind, Result};

const BINCODE: u8 = 0;
const JSON: u8 = 1;
const MESSAGE_PACK: u8 = 2;
const MIN_USER_ID: u8 = 64;
const MAX_USER_ID: u8 = u8::MAX - KIND_CODEC;

/// What a [`Codec`] calls once with a deserializer over the stored bytes.
///
/// ```
/// use firncache::{Bincode, Codec};
/// let mut bytes = Vec::new();
/// Bincode.encode(&(1_u8, "one"), &mut bytes)?;
/// let mut value = None;
/// Bincode.decode(&bytes, &mut |deserializer| {
///     let decoded = firncache::erased_serde::deserialize::<(u8, String)>(deserializer);
///     value = Some(decoded.map_err(|error| firncache::Error::codec(error.to_string()))?);
///     Ok(())
/// })?;
/// assert_eq!(value, Some((1, String::from("one"))));
/// # Ok::<(), firncache::Error>(())
/// ```
pub type ReadValue<'a> = dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> Result<()> + 'a;

/// How values are stored that are not null, a boolean, a number, text or bytes.
///
/// [`Bincode`] is the default. To make values smaller is not for codecs: see
/// [`Options::compression`](crate::Options::compression). A codec of your own, and a longer one in
/// `examples/own_codec.rs`:
///
/// ```
/// # #[cfg(feature = "json")]
/// # mod example {
/// use firncache::{Codec, Error, ReadValue, Result};
///
/// struct Pretty;
///
/// impl Codec for Pretty {
///     fn id(&self) -> u8 {
///         100
///     }
///
///     fn name(&self) -> &str {
///         "pretty JSON"
///     }
///
///     fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
///         serde_json::to_writer_pretty(out, value).map_err(|error| Error::codec(error.to_string()))
///     }
///
///     fn decode(&self, bytes: &[u8], read: &mut ReadValue<'_>) -> Result<()> {
///         let mut json = serde_json::Deserializer::from_slice(bytes);
///         read(&mut <dyn erased_serde::Deserializer>::erase(&mut json))?;
///         json.end().map_err(|error| Error::codec(error.to_string()))
///     }
/// }
/// # }
/// ```
///
/// `Some(x)` and a newtype of `x` come to the codec as `x`.
pub trait Codec: Send + Sync + 'static {
    /// The number that is kept with each value: 64 to 239, the same for ever. The others belong to
    /// this crate.
    ///
    /// ```
    /// use firncache::{Bincode, Codec};
    /// assert!(Bincode.id() < 64); // one of this crate's own
    /// ```
    fn id(&self) -> u8;

    /// What to call the codec in messages.
    ///
    /// ```
    /// use firncache::{Bincode, Codec};
    /// assert_eq!(Bincode.name(), "bincode");
    /// ```
    fn name(&self) -> &str;

    /// Appends the value to `out`.
    ///
    /// # Errors
    ///
    /// See [`Error::codec`]. What was appended is dropped then.
    ///
    /// ```
    /// use firncache::{Bincode, Codec};
    /// let mut out = vec![7];
    /// Bincode.encode(&(1_u8, 2_u16), &mut out)?;
    /// assert_eq!(out, [7, 1, 2, 0]);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()>;

    /// Calls `read` once, with a deserializer over `bytes`, and hands on its error. All of `bytes`
    /// must belong to the value.
    ///
    /// The bytes may have been written as another type, or be damaged: they must not lead to a
    /// panic, nor to memory or work out of proportion to their number.
    ///
    /// # Errors
    ///
    /// See [`Error::codec`].
    ///
    /// ```
    /// use firncache::{Bincode, Codec, Error, erased_serde};
    /// let mut pair = (0_u8, 0_u16);
    /// Bincode.decode(&[1, 2, 0], &mut |deserializer| {
    ///     pair = erased_serde::deserialize(deserializer)
    ///         .map_err(|error| Error::codec(error.to_string()))?;
    ///     Ok(())
    /// })?;
    /// assert_eq!(pair, (1, 2));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    fn decode(&self, bytes: &[u8], read: &mut ReadValue<'_>) -> Result<()>;
}

/// The default codec: bincode 2 with integers of fixed width, little-endian. Fast, compact, and for
/// types that are the same when they are read: it stores no names.
///
/// Types that ask what is stored (`serde_json::Value`, and those with serde's `untagged`, `flatten`
/// or `tag`) cannot be read back from it, nor can what is nested deeper than 256 levels, or has
/// more than 2^20 items that take no bytes.
///
/// ```
/// use firncache::{Bincode, Cache};
///
/// let dir = tempfile::tempdir()?;
/// let cache = Cache::options().codec(Bincode).open(dir.path())?; // as without codec()
/// cache.set("point", &(1.5, "north"))?;
/// assert_eq!(cache.get("point")?, Some((1.5, String::from("north"))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Bincode;

impl Codec for Bincode {
    fn id(&self) -> u8 {
        BINCODE
    }

    fn name(&self) -> &str {
        "bincode"
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        bincode_encode(value, out)
    }

    fn decode(&self, bytes: &[u8], read: &mut ReadValue<'_>) -> Result<()> {
        let mut reader = BincodeReader::new(bytes);
        read(&mut <dyn erased_serde::Deserializer>::erase(&mut reader))?;
        reader.end().map_err(|error| cannot_read(self.name(), &error))
    }
}

/// JSON: larger and slower, stores names, so that types can change, and other languages can read
/// it. NaN and the infinities become null.
///
/// ```
/// use firncache::{Cache, Json};
///
/// let dir = tempfile::tempdir()?;
/// let cache = Cache::options().codec(Json).open(dir.path())?;
/// cache.set("page", &serde_json::json!({"title": "Home", "visits": 3}))?;
/// assert_eq!(cache.get::<serde_json::Value>("page")?.unwrap()["visits"], 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

#[cfg(feature = "json")]
impl Codec for Json {
    fn id(&self) -> u8 {
        JSON
    }

    fn name(&self) -> &str {
        "JSON"
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        json_encode(value, out)
    }

    fn decode(&self, bytes: &[u8], read: &mut ReadValue<'_>) -> Result<()> {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        read(&mut <dyn erased_serde::Deserializer>::erase(&mut json))?;
        json.end().map_err(|error| cannot_read(self.name(), &error))
    }
}

/// MessagePack: as JSON it stores names and can be read in other languages, and by types that ask
/// what is stored; but it is binary, smaller and faster, and keeps every float as it is.
///
/// Structs are maps with the names of their fields. What is nested deeper than 256 levels cannot be
/// read back.
///
/// ```
/// use firncache::{Cache, MessagePack};
///
/// let dir = tempfile::tempdir()?;
/// let cache = Cache::options().codec(MessagePack).open(dir.path())?;
/// cache.set("point", &(1.5, "north"))?;
/// assert_eq!(cache.get("point")?, Some((1.5, String::from("north"))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "messagepack")]
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagePack;

#[cfg(feature = "messagepack")]
impl Codec for MessagePack {
    fn id(&self) -> u8 {
        MESSAGE_PACK
    }

    fn name(&self) -> &str {
        "MessagePack"
    }

    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
        message_pack_encode(value, out)
    }

    fn decode(&self, bytes: &[u8], read: &mut ReadValue<'_>) -> Result<()> {
        let mut reader =
            message_pack::reader(bytes).map_err(|error| cannot_read(self.name(), &error))?;
        read(&mut <dyn erased_serde::Deserializer>::erase(&mut reader))
    }
}

/// The codec of a handle. The crate's own ones are called directly, without erasing types.
#[derive(Clone)]
pub(crate) enum AnyCodec {
    Bincode,
    #[cfg(feature = "json")]
    Json,
    #[cfg(feature = "messagepack")]
    MessagePack,
    User(Arc<dyn Codec>),
    /// One of the others, and the compression of what is stored.
    Compressed(Box<AnyCodec>, Compression),
}

impl AnyCodec {
    /// Takes a codec, or refuses one whose id is not its own.
    pub(crate) fn new(codec: impl Codec) -> Result<AnyCodec> {
        match codec.id() {
            BINCODE if codec.name() == Bincode.name() => Ok(AnyCodec::Bincode),
            #[cfg(feature = "json")]
            JSON if codec.name() == Json.name() => Ok(AnyCodec::Json),
            #[cfg(feature = "messagepack")]
            MESSAGE_PACK if codec.name() == MessagePack.name() => Ok(AnyCodec::MessagePack),
            MIN_USER_ID..=MAX_USER_ID => Ok(AnyCodec::User(Arc::new(codec))),
            id => Err(Error::new(
                ErrorKind::Setting,
                format!(
                    "the codec {} cannot have the id {id}: give it one in \
                     {MIN_USER_ID} ..= {MAX_USER_ID}",
                    codec.name()
                ),
            )),
        }
    }

    /// Adds a compression, or refuses one that does not exist.
    pub(crate) fn compressed(self, compression: Compression) -> Result<AnyCodec> {
        compression.check()?;
        if compression == Compression::NONE {
            return Ok(self);
        }
        Ok(AnyCodec::Compressed(Box::new(self), compression))
    }

    /// How what is stored is to be compressed.
    pub(crate) fn compression(&self) -> Compression {
        match self {
            AnyCodec::Compressed(_, compression) => *compression,
            _ => Compression::NONE,
        }
    }

    /// Appends the payload of a value, not compressed, and returns its kind.
    pub(crate) fn encode<V>(&self, value: &V, out: &mut Vec<u8>) -> Result<u8>
    where
        V: Serialize + ?Sized,
    {
        let id = match self {
            AnyCodec::Compressed(inner, _) => return inner.encode(value, out),
            AnyCodec::Bincode => bincode_encode(value, out).map(|()| BINCODE)?,
            #[cfg(feature = "json")]
            AnyCodec::Json => json_encode(value, out).map(|()| JSON)?,
            #[cfg(feature = "messagepack")]
            AnyCodec::MessagePack => message_pack_encode(value, out).map(|()| MESSAGE_PACK)?,
            AnyCodec::User(codec) => codec.encode(&value, out).map(|()| codec.id())?,
        };
        id.checked_add(KIND_CODEC)
            .ok_or_else(|| Error::codec(format!("the codec's id {id} is above {MAX_USER_ID}")))
    }

    /// Reads what codec `id` wrote.
    pub(crate) fn decode<V: DeserializeOwned>(&self, id: u8, bytes: &[u8]) -> Result<V> {
        match (id, self) {
            (BINCODE, _) => {
                let mut reader = BincodeReader::new(bytes);
                V::deserialize(Peel(&mut reader))
                    .and_then(|value| reader.end().map(|()| value))
                    .map_err(|error| cannot_read(Bincode.name(), &error))
            }
            #[cfg(feature = "json")]
            (JSON, _) => {
                serde_json::from_slice(bytes).map_err(|error| cannot_read(Json.name(), &error))
            }
            #[cfg(not(feature = "json"))]
            (JSON, _) => Err(not_built_in("JSON", "json")),
            #[cfg(feature = "messagepack")]
            (MESSAGE_PACK, _) => message_pack::reader(bytes)
                .map_err(|error| error.to_string())
                .and_then(|mut reader| {
                    V::deserialize(Peel(&mut reader)).map_err(|error| error.to_string())
                })
                .map_err(|error| cannot_read(MessagePack.name(), &error)),
            #[cfg(not(feature = "messagepack"))]
            (MESSAGE_PACK, _) => Err(not_built_in("MessagePack", "messagepack")),
            (id, AnyCodec::Compressed(inner, _)) => inner.decode(id, bytes),
            (id, AnyCodec::User(codec)) if codec.id() == id => user_decode(&**codec, bytes),
            (id, _) => Err(Error::codec(format!(
                "the value was stored by the codec with id {id}, which this handle does not have: \
                 open the cache with that codec"
            ))),
        }
    }
}

#[cfg_attr(
    all(feature = "json", feature = "messagepack"),
    expect(dead_code, reason = "everything is built in")
)]
fn not_built_in(codec: &str, feature: &str) -> Error {
    Error::codec(format!(
        "the value is stored as {codec}: build firncache with its feature \"{feature}\" to read it"
    ))
}

fn cannot_read(codec: &str, error: &dyn std::fmt::Display) -> Error {
    Error::codec(format!(
        "cannot read the value, stored as {codec}: {error}; read it as the type that was stored"
    ))
}

fn cannot_encode(codec: &str, error: &dyn std::fmt::Display) -> Error {
    Error::codec(format!(
        "cannot encode the value as {codec}: {error}; store another type, or use another codec"
    ))
}

fn bincode_encode<V: Serialize + ?Sized>(value: &V, out: &mut Vec<u8>) -> Result<()> {
    struct Out<'a>(&'a mut Vec<u8>);

    impl bincode::enc::write::Writer for Out<'_> {
        fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }

    let config = bincode::config::standard().with_little_endian().with_fixed_int_encoding();
    bincode::serde::encode_into_writer(value, Out(out), config)
        .map_err(|error| cannot_encode(Bincode.name(), &error))
}

#[cfg(feature = "json")]
fn json_encode<V: Serialize + ?Sized>(value: &V, out: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(out, value).map_err(|error| cannot_encode(Json.name(), &error))
}

#[cfg(feature = "messagepack")]
fn message_pack_encode<V: Serialize + ?Sized>(value: &V, out: &mut Vec<u8>) -> Result<()> {
    message_pack::write(value, out).map_err(|error| cannot_encode(MessagePack.name(), &error))
}

fn user_decode<V: DeserializeOwned>(codec: &dyn Codec, bytes: &[u8]) -> Result<V> {
    let mut value = None;
    codec.decode(bytes, &mut |deserializer| {
        let read = V::deserialize(Peel(deserializer));
        value = Some(read.map_err(|error| cannot_read(codec.name(), &error))?);
        Ok(())
    })?;
    value.ok_or_else(|| {
        let why = ValueError::Message("its decode did not call `read`".to_owned());
        cannot_read(codec.name(), &why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::value::{decode, encode};
    use serde::Deserialize;
    use std::io::Write;

    type Value = Vec<(String, Option<i32>)>;

    /// Bincode with every byte inverted: a codec that decodes from memory of its own.
    struct Inverted {
        id: u8,
        reads: bool,
    }

    impl Codec for Inverted {
        fn id(&self) -> u8 {
            self.id
        }

        fn name(&self) -> &str {
            "inverted"
        }

        fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
            let mut plain = Vec::new();
            Bincode.encode(value, &mut plain)?;
            out.extend(plain.iter().map(|byte| !byte));
            Ok(())
        }

        fn decode(&self, bytes: &[u8], read: &mut ReadValue<'_>) -> Result<()> {
            let plain: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
            if self.reads { Bincode.decode(&plain, read) } else { Ok(()) }
        }
    }

    fn inverted() -> AnyCodec {
        AnyCodec::new(Inverted { id: 77, reads: true }).unwrap()
    }

    fn value() -> Value {
        vec![("one".to_owned(), Some(1)), (String::new(), None)]
    }

    fn stored(codec: &AnyCodec) -> (u8, Vec<u8>) {
        let mut out = Vec::new();
        let kind = encode(&value(), codec, &mut out).unwrap();
        (kind, out)
    }

    fn read(codec: &AnyCodec, (kind, bytes): &(u8, Vec<u8>)) -> Result<Value> {
        decode(*kind, bytes, codec)
    }

    #[test]
    fn a_user_codec_reads_what_it_wrote_and_what_ours_wrote() {
        let own = stored(&inverted());
        assert_eq!(own.0, KIND_CODEC + 77);
        assert_eq!(read(&inverted(), &own).unwrap(), value());
        assert_eq!(decode::<Option<Value>>(own.0, &own.1, &inverted()).unwrap(), Some(value()));
        let bincode = stored(&AnyCodec::new(Bincode).unwrap());
        assert_eq!(bincode.0, KIND_CODEC);
        assert_eq!(read(&inverted(), &bincode).unwrap(), value());
    }

    #[test]
    fn the_error_names_the_codec_that_is_needed() {
        let error = read(&AnyCodec::Bincode, &stored(&inverted())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert!(error.to_string().contains("id 77"), "{error}");
        let other = AnyCodec::new(Inverted { id: 78, reads: true }).unwrap();
        let error = read(&other, &stored(&inverted())).unwrap_err();
        assert!(error.to_string().contains("id 77"), "{error}");
        let error = read(&AnyCodec::Bincode, &(KIND_CODEC + 5, vec![])).unwrap_err();
        assert!(error.to_string().contains("id 5"), "{error}");
    }

    #[test]
    fn ids_of_others_are_refused() {
        for id in [0, 1, 2, 63, 240, 255] {
            let error = AnyCodec::new(Inverted { id, reads: true }).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Setting);
        }
        for id in [64, 239] {
            assert!(AnyCodec::new(Inverted { id, reads: true }).is_ok());
        }
    }

    #[test]
    fn a_codec_that_reads_nothing_is_an_error() {
        let lazy = AnyCodec::new(Inverted { id: 77, reads: false }).unwrap();
        let error = read(&lazy, &stored(&inverted())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert!(error.to_string().contains("did not call"), "{error}");
    }

    #[test]
    fn bytes_left_over_are_an_error() {
        for codec in [AnyCodec::Bincode, inverted()] {
            let mut stored = stored(&codec);
            stored.1.write_all(b"\0").unwrap();
            assert_eq!(read(&codec, &stored).unwrap_err().kind(), ErrorKind::Codec);
        }
    }

    #[test]
    fn types_that_ask_what_is_stored_are_told_the_cure() {
        #[derive(Debug, Deserialize)]
        #[serde(untagged)]
        enum Any {
            Number(#[expect(dead_code, reason = "only its type matters")] i32),
        }
        let (kind, bytes) = stored(&AnyCodec::Bincode);
        let error = decode::<Any>(kind, &bytes, &AnyCodec::Bincode).unwrap_err();
        assert!(error.to_string().contains("such as Json"), "{error}");
    }

    #[cfg(not(all(feature = "json", feature = "messagepack")))]
    #[test]
    fn the_error_names_the_feature_that_is_missing() {
        for (id, feature, is_here) in [
            (JSON, "\"json\"", cfg!(feature = "json")),
            (MESSAGE_PACK, "\"messagepack\"", cfg!(feature = "messagepack")),
        ] {
            let error = read(&inverted(), &(KIND_CODEC + id, vec![])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Codec);
            assert!(is_here || error.to_string().contains(feature), "{error}");
        }
    }

    #[cfg(feature = "messagepack")]
    #[test]
    fn message_pack_is_read_by_every_handle() {
        let message_pack = AnyCodec::new(MessagePack).unwrap();
        let mut stored = stored(&message_pack);
        assert_eq!(stored, (KIND_CODEC + 2, b"\x92\x92\xA3one\x01\x92\xA0\xC0".to_vec()));
        for codec in [AnyCodec::Bincode, message_pack, inverted()] {
            assert_eq!(read(&codec, &stored).unwrap(), value());
            assert_eq!(
                decode::<Option<Value>>(stored.0, &stored.1, &codec).unwrap(),
                Some(value())
            );
        }
        let mut erased = None;
        MessagePack
            .decode(&stored.1, &mut |bytes| {
                erased = erased_serde::deserialize::<Value>(bytes).ok();
                Ok(())
            })
            .unwrap();
        assert_eq!(erased, Some(value()));
        stored.1.push(b'1');
        assert_eq!(read(&AnyCodec::Bincode, &stored).unwrap_err().kind(), ErrorKind::Codec);
    }

    #[cfg(feature = "json")]
    #[test]
    fn json_is_read_by_every_handle() {
        let json = AnyCodec::new(Json).unwrap();
        let mut stored = stored(&json);
        assert_eq!(stored, (KIND_CODEC + 1, br#"[["one",1],["",null]]"#.to_vec()));
        for codec in [AnyCodec::Bincode, json, inverted()] {
            assert_eq!(read(&codec, &stored).unwrap(), value());
        }
        stored.1.push(b'1');
        assert_eq!(read(&AnyCodec::Bincode, &stored).unwrap_err().kind(), ErrorKind::Codec);
    }
}
