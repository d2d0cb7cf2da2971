//! Changed files with right sums: what a fuzzer needs to come behind them.

use std::collections::BTreeMap;

use crate::format::checksum::{Checksum, word_sum};
use crate::format::head::HEAD_BYTES;
use crate::format::location::{Location, MAX_SEGMENT_UNITS, Segment};
use crate::format::record::{FileRef, HEADER_WORDS, Header, Kind, whole_sum};
use crate::format::segment::HEADER_UNITS;

/// The files of a store, by their names.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// The fields of a record's header: word, first bit, bits.
pub const FIELDS: [(usize, u32, u32); 11] = [
    (1, 0, 8),
    (1, 8, 8),
    (1, 16, 8),
    (1, 24, 8),
    (1, 32, 16),
    (1, 48, 16),
    (2, 0, 32),
    (2, 32, 32),
    (3, 0, 48),
    (4, 0, 48),
    (5, 48, 16),
];

fn word(bytes: &[u8], index: usize) -> Option<u64> {
    let bytes = bytes.get(8 * index..8 * index + 8)?;
    Some(bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}

fn words<const N: usize>(bytes: &[u8], first: usize) -> Option<[u64; N]> {
    word(bytes, first + N - 1)?;
    Some(std::array::from_fn(|index| word(bytes, first + index).unwrap_or_default()))
}

fn put(bytes: &mut [u8], index: usize, value: u64) {
    if let Some(place) = bytes.get_mut(8 * index..8 * index + 8) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// Where the records of a segment file begin, as words, as far as their lengths lead.
pub fn records(bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = HEADER_UNITS as usize;
    while let Some(header) = words::<HEADER_WORDS>(bytes, at)
        && header[1] != 0
        && found.len() < bytes.len() / 8
    {
        found.push(at);
        let lens = (header[1] >> 48 | (header[1] >> 24 & 0xff) << 16) + (header[1] >> 32 & 0xffff);
        let body = lens as usize + (header[2] & 0xffff_ffff) as usize;
        at += HEADER_WORDS + body.div_ceil(8);
    }
    found
}

/// Gives a field of the record that begins at this word another value.
pub fn set_field(bytes: &mut [u8], record: usize, field: usize, value: u64) {
    let (index, shift, bits) = FIELDS[field % FIELDS.len()];
    if let Some(old) = word(bytes, record + index) {
        let mask = (1 << bits) - 1;
        put(bytes, record + index, old & !(mask << shift) | (value & mask) << shift);
    }
}

/// Gives everything that has a sum the sum that its bytes should have.
pub fn mend(files: &mut Files) {
    let Some(head) = files.get_mut("head").filter(|head| head.len() >= HEAD_BYTES) else { return };
    if let Some(identity) = words::<5>(head, 0) {
        put(head, 5, u64::from(Checksum::of_words(0, Location::NONE, &identity)));
    }
    let Some(store) = word(head, 2) else { return };
    let names: Vec<String> = files.keys().filter(|it| it.starts_with("log.")).cloned().collect();
    for name in names {
        let Some(mut bytes) = files.remove(&name) else { continue };
        mend_segment(&mut bytes, store, files);
        files.insert(name, bytes);
    }
}

fn mend_segment(bytes: &mut [u8], store: u64, files: &Files) {
    let Some(header) = words::<5>(bytes, 0) else { return };
    let segment = Segment::new(header[2] & 0xffff_ffff);
    put(bytes, 5, u64::from(Checksum::of_words(store, Location::new(segment, 0), &header)));
    for first in records(bytes) {
        if first as u64 >= MAX_SEGMENT_UNITS {
            return;
        }
        mend_record(bytes, store, Location::new(segment, first as u64), files);
    }
}

fn mend_record(bytes: &mut [u8], store: u64, at: Location, files: &Files) {
    let first = at.unit() as usize;
    let Some(mut words) = words::<HEADER_WORDS>(bytes, first) else { return };
    words[0] = u64::from(word_sum(store, at, &words[1..]));
    put(bytes, first, words[0]);
    let Some(header) = Header::decode(&words, store, at) else { return };
    let from = 8 * (first + HEADER_WORDS);
    let Some(body) = bytes.get_mut(from..from + header.body_len()) else { return };
    if header.kind == Kind::Put
        && header.is_file()
        && let Some(value) = body.get_mut(header.front_len()..)
        && let Some(file) = FileRef::decode(value)
        && let Some(content) = files.get(&file.name())
    {
        let found = FileRef { len: content.len() as u64, sum: crc32fast::hash(content), ..file };
        value[..24].copy_from_slice(&found.encode());
    }
    let mut sum = whole_sum(&words, store, at);
    sum.update(body);
    put(bytes, first, words[0] | u64::from(sum.value()) << 32);
}
