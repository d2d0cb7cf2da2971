//! What `fuzz/` reaches of the decoders that the public API hides. Built only by cargo-fuzz.

mod mend;

pub use mend::{FIELDS, mend, records, set_field};

use crate::cache::codec::AnyCodec;
use crate::cache::value;
use crate::format::checksum::Checksum;
use crate::format::head::Identity;
use crate::format::key::Key;
use crate::format::key_buf::KeyBuf;
use crate::format::location::{Location, Segment};
use crate::format::record::{FileRef, Header};
use crate::format::segment::SegmentHeader;
use crate::format::settings::Settings;
use crate::format::state::State;
use crate::log::reader;
use crate::sys::sync::AtomicU64;

const STORE: u64 = 1;

/// Reads the bytes as everything that can lie in a file.
///
/// # Panics
///
/// Where a decoder is wrong.
pub fn decode_all(bytes: &[u8]) {
    let words: Vec<u64> = bytes
        .chunks_exact(8)
        .map(|chunk| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
        .collect();
    headers(&words);
    record(&words, bytes);
    if let Ok(key) = Key::decode(bytes) {
        let again = KeyBuf::of(&key).map(|buf| buf.as_bytes() == bytes);
        assert!(again.is_ok_and(|is_same| is_same), "{key} is encoded otherwise");
    }
    if let Some((kind, payload)) = bytes.split_first() {
        values(*kind, payload);
    }
    let _ = FileRef::decode(bytes).map(FileRef::name);
}

fn headers(words: &[u64]) {
    if let Some(words) = words.first_chunk() {
        let _ = Identity::decode(words);
    }
    if let Some(words) = words.first_chunk() {
        let _ = SegmentHeader::decode(words, STORE);
    }
    if let Some(words) = words.first_chunk() {
        let _ = Settings::decode(words).problem();
    }
    if let Some(words) = words.first_chunk() {
        let state = State::decode(words);
        assert_eq!(State::decode(&state.encode()), state);
        let tail = Location::from_bits(words[0]);
        if state.is_plausible(tail, 1 << 16) {
            let _ = state.volume();
        }
    }
}

/// Reads a record whose sums are wrong, as they nearly always are, and then one whose sums are
/// made right.
fn record(words: &[u64], bytes: &[u8]) {
    let at = Location::new(Segment::new(1), 8);
    let mut segment: Vec<AtomicU64> = (0..8).map(|_| AtomicU64::new(0)).collect();
    segment.extend(words.iter().map(|word| AtomicU64::new(*word)));
    look(&segment, at);
    let Some(mut head) = words.first_chunk::<6>().copied() else { return };
    let mut sum = Checksum::at(STORE, at);
    head[1..].iter().for_each(|word| sum.update(&word.to_le_bytes()));
    head[0] = u64::from(sum.value());
    let Some(header) = Header::decode(&head, STORE, at) else { return };
    let Some(body) = bytes.get(48..).and_then(|body| body.get(..header.body_len())) else { return };
    for (place, word) in header.encode(STORE, at, &[body]).into_iter().enumerate() {
        segment[8 + place] = AtomicU64::new(word);
    }
    look(&segment, at);
}

fn look(segment: &[AtomicU64], at: Location) {
    let (mut tag, mut value) = (Vec::new(), Vec::new());
    for key in [&b""[..], b"\x40"] {
        let _ = reader::read(segment, STORE, at, key, Some(&mut tag), &mut value);
    }
    if let Some(header) = reader::header(segment, STORE, at) {
        let _ = reader::has_key(segment, at, &header, b"\x40key");
    }
    let _ = reader::body(segment, STORE, at, &mut value);
}

fn values(kind: u8, payload: &[u8]) {
    let codec = AnyCodec::Bincode;
    let _ = value::decode::<()>(kind, payload, &codec);
    let _ = value::decode::<u8>(kind, payload, &codec);
    let _ = value::decode::<f64>(kind, payload, &codec);
    let _ = value::decode::<String>(kind, payload, &codec);
    let _ = value::decode::<Vec<Option<(u64, String)>>>(kind, payload, &codec);
    let _ = value::decode::<std::collections::BTreeMap<String, Vec<i32>>>(kind, payload, &codec);
    let _ = value::decode::<Result<char, Box<[bool; 3]>>>(kind, payload, &codec);
}
