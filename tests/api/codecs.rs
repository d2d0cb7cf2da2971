//! Codecs and compression: what one handle stores, every other reads.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use firncache::{Bincode, Cache, Codec, Compression, ErrorKind, Options, ReadValue, Result};
use serde_bytes::Bytes;

use crate::common::{Fixture, cache_with, kind_of};

type Table = BTreeMap<String, Vec<Option<f64>>>;

/// Bincode, backwards: a codec that only handles with it can read.
struct Backwards;

impl Codec for Backwards {
    fn id(&self) -> u8 {
        90
    }

    fn name(&self) -> &str {
        "backwards"
    }

    fn encode(
        &self,
        value: &dyn firncache::erased_serde::Serialize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let start = out.len();
        Bincode.encode(value, out)?;
        out[start..].reverse();
        Ok(())
    }

    fn decode(&self, bytes: &[u8], read: &mut ReadValue<'_>) -> Result<()> {
        let plain: Vec<u8> = bytes.iter().rev().copied().collect();
        Bincode.decode(&plain, read)
    }
}

/// Options with every codec that is built in.
fn codecs() -> Vec<Options> {
    vec![
        Cache::options(),
        #[cfg(feature = "json")]
        Cache::options().codec(firncache::Json),
        #[cfg(feature = "messagepack")]
        Cache::options().codec(firncache::MessagePack),
    ]
}

/// Every compression that is built in.
fn compressions() -> Vec<Compression> {
    vec![
        Compression::NONE,
        #[cfg(feature = "zstd")]
        Compression::zstd(3),
        #[cfg(feature = "lz4")]
        Compression::lz4(),
    ]
}

/// Handles on one cache, with every codec and every compression.
fn handles(fixture: &Fixture) -> Vec<Cache> {
    let open = |options: Options| options.open(fixture.cache.directory()).unwrap();
    let pairs = codecs().into_iter().flat_map(|codec| {
        compressions().into_iter().map(move |compression| codec.clone().compression(compression))
    });
    pairs.map(open).collect()
}

fn table() -> Table {
    (0..200).map(|row| (format!("row {row}"), vec![Some(row.into()), None, Some(0.5)])).collect()
}

#[test]
fn every_handle_reads_what_any_other_stored() {
    let fixture = cache_with(|options| options);
    let (text, bytes) = ("some text ".repeat(500), [7_u8; 5000]);
    for writer in handles(&fixture) {
        writer.set("table", &table()).unwrap();
        writer.set("text", &text).unwrap();
        writer.set("bytes", Bytes::new(&bytes)).unwrap();
        writer.set_bytes("raw", &bytes).unwrap();
        writer.set_many([("many", &text)], Default::default()).unwrap();
        assert!(!writer.add("text", "other").unwrap());
        for reader in handles(&fixture) {
            assert_eq!(reader.get("table").unwrap(), Some(table()));
            assert_eq!(reader.get_entry::<Table>("table").unwrap().unwrap().value, table());
            assert_eq!(reader.get("text").unwrap().as_ref(), Some(&text));
            assert_eq!(reader.get_many::<String>(["many"]).unwrap()[0].as_ref(), Some(&text));
            for key in ["bytes", "raw"] {
                assert_eq!(reader.get::<Vec<u8>>(key).unwrap().unwrap(), bytes);
                assert_eq!(reader.get_bytes(key).unwrap().unwrap(), bytes);
            }
            assert_eq!(kind_of(reader.get_bytes("text")), ErrorKind::Codec);
            assert_eq!(kind_of(reader.get::<String>("raw")), ErrorKind::Codec);
            assert_eq!(kind_of(reader.incr("text", 1)), ErrorKind::Codec);
        }
        assert!(fixture.check().unwrap().is_clean());
    }
}

#[test]
fn readers_read_compressed_values_wherever_they_lie() {
    let fixture = cache_with(|options| options.value_file_threshold(8192));
    let numbers: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
    for writer in handles(&fixture) {
        for text in ["x".repeat(7000), numbers.join(" ")] {
            writer.set("text", &text).unwrap();
            writer.set_bytes("bytes", text.as_bytes()).unwrap();
            for key in ["text", "bytes"] {
                let mut reader = fixture.reader(key).unwrap().unwrap();
                assert_eq!(reader.len(), text.len() as u64);
                let mut read = String::new();
                reader.read_to_string(&mut read).unwrap();
                assert_eq!(read, text);
                reader.seek(SeekFrom::End(-2)).unwrap();
                read.clear();
                reader.read_to_string(&mut read).unwrap();
                assert_eq!(read, &text[text.len() - 2..]);
            }
            assert_eq!(fixture.pop::<String>("text").unwrap(), Some(text));
        }
        writer.set("list", &table()).unwrap();
        assert_eq!(kind_of(fixture.reader("list").map(|_| ())), ErrorKind::Codec);
    }
}

#[test]
fn values_that_shrink_take_less_room() {
    let fixture = cache_with(|options| options);
    let text = "<li>one of many</li>".repeat(5000);
    for (compression, handle) in compressions().into_iter().zip(handles(&fixture)) {
        let is_packed = compression != Compression::NONE;
        for key in ["text", "raw", "table"] {
            fixture.clear().unwrap();
            match key {
                "text" => handle.set(key, &text).unwrap(),
                "raw" => handle.set_bytes(key, text.as_bytes()).unwrap(),
                _ => handle.set(key, &vec![text.clone()]).unwrap(),
            }
            let volume = fixture.volume().unwrap();
            assert_eq!(volume < 10_000, is_packed, "{key} takes {volume} bytes");
        }
    }
}

#[test]
fn streams_are_stored_as_they_are() {
    let fixture = cache_with(|options| options);
    for handle in handles(&fixture) {
        for len in [1000_u64, 200_000] {
            let options = Default::default();
            assert_eq!(handle.set_from("it", std::io::repeat(1).take(len), options).unwrap(), len);
            assert!(fixture.volume().unwrap() > len);
            assert_eq!(fixture.get_bytes("it").unwrap().unwrap().len() as u64, len);
        }
    }
}

#[test]
fn a_codec_of_ones_own_is_compressed_and_needed() {
    let fixture = cache_with(|options| options);
    for compression in compressions() {
        let own = Cache::options().codec(Backwards).compression(compression);
        let own = own.open(fixture.directory()).unwrap();
        own.set("table", &table()).unwrap();
        assert_eq!(own.get("table").unwrap(), Some(table()));
        for other in handles(&fixture) {
            let error = other.get::<Table>("table").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Codec);
            assert!(error.to_string().contains("id 90"), "{error}");
        }
        for other in handles(&fixture) {
            other.set("table", &table()).unwrap();
            assert_eq!(own.get("table").unwrap(), Some(table()));
        }
    }
}

#[cfg(feature = "zstd")]
#[test]
fn a_level_that_does_not_exist_is_refused() {
    let fixture = cache_with(|options| options);
    for level in [0, 23] {
        let options = Cache::options().compression(Compression::zstd(level));
        let error = options.open(fixture.directory()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Setting);
        assert!(error.to_string().contains("1 (fastest) to 22"), "{error}");
    }
}

#[cfg(feature = "messagepack")]
#[test]
fn message_pack_serves_types_that_change_or_ask_what_is_stored() {
    use serde::{Deserialize, Serialize};

    #[derive(Serialize)]
    struct Old<'a> {
        name: &'a str,
        gone: u8,
    }

    #[derive(Deserialize, PartialEq, Debug)]
    struct New {
        #[serde(default)]
        added: Option<u32>,
        name: String,
    }

    #[derive(Deserialize, PartialEq, Debug)]
    #[serde(untagged)]
    enum Any {
        Named { name: String },
    }

    let fixture = cache_with(|options| options.codec(firncache::MessagePack));
    fixture.set("it", &Old { name: "Ada", gone: 1 }).unwrap();
    let name = "Ada".to_owned();
    assert_eq!(fixture.get("it").unwrap(), Some(New { added: None, name: name.clone() }));
    assert_eq!(fixture.get("it").unwrap(), Some(Any::Named { name }));
    assert_eq!(kind_of(fixture.get::<Vec<u8>>("it")), ErrorKind::Codec);
}
