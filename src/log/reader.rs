//! Reading one record: copy first, check then, believe last.

use crate::format::checksum::Checksum;
use crate::format::location::Location;
use crate::format::record::{
    HEADER_BYTES, HEADER_WORDS, Header, SUMMED_BYTES, expected_sum, tail_bytes, whole_sum,
};
use crate::log::copy::{copy_out, is_at};
use crate::sys::sync::{AtomicU64, Ordering};

/// Bodies up to this many bytes are copied to the stack, so that one checksum call sees them whole.
const SMALL_BYTES: usize = 512;

/// What reading a record for a key has shown.
#[derive(Debug)]
pub(crate) enum Reading {
    /// The key's record; its value is in the buffer.
    Record(Header),
    /// A sound record of another key, or of none.
    OtherKey,
    /// Not a record: overwritten meanwhile, or damaged.
    Damaged,
}

/// The header words at `at`.
fn header_words(segment: &[AtomicU64], at: Location) -> Option<[u64; HEADER_WORDS]> {
    let start = at.unit() as usize;
    let words = segment.get(start..start + HEADER_WORDS)?;
    Some(std::array::from_fn(|index| words[index].load(Ordering::Relaxed)))
}

/// The header of the record at `at`, if its own sum holds and the record lies within the segment.
pub(crate) fn header(segment: &[AtomicU64], store_id: u64, at: Location) -> Option<Header> {
    let header = Header::decode(&header_words(segment, at)?, store_id, at)?;
    fits(segment, at, &header).then_some(header)
}

fn fits(segment: &[AtomicU64], at: Location, header: &Header) -> bool {
    at.unit() + header.units() <= segment.len() as u64
}

/// Reads the record at `at` if it is one of `key`; its tag goes into `tag`, its value into `value`.
pub(crate) fn read(
    segment: &[AtomicU64],
    store_id: u64,
    at: Location,
    key: &[u8],
    mut tag: Option<&mut Vec<u8>>,
    value: &mut Vec<u8>,
) -> Reading {
    let Some(words) = header_words(segment, at) else { return Reading::Damaged };
    // Readers and writers believe the same records: those for which both sums hold.
    let Some(header) = Header::decode(&words, store_id, at) else { return Reading::Damaged };
    if !fits(segment, at, &header) {
        return Reading::Damaged;
    }
    let body_at = 8 * at.unit() as usize + HEADER_BYTES;
    let tag_len = usize::from(header.tag_len);
    let value_at = header.front_len();
    let mut small = [0; SUMMED_BYTES + SMALL_BYTES];
    if let Some(bytes) = small.get_mut(..SUMMED_BYTES + header.body_len()) {
        // One piece: the header words as loaded, then the body.
        bytes[..SUMMED_BYTES].copy_from_slice(&tail_bytes(&words));
        copy_out(segment, body_at, &mut bytes[SUMMED_BYTES..]);
        if sum_of(store_id, at, bytes) != expected_sum(words[0]) {
            return Reading::Damaged;
        }
        let body = &bytes[SUMMED_BYTES..];
        if body[tag_len..value_at] != *key {
            return Reading::OtherKey;
        }
        if let Some(tag) = tag.as_deref_mut() {
            tag.clear();
            tag.extend_from_slice(&body[..tag_len]);
        }
        value.clear();
        value.extend_from_slice(&body[value_at..]);
        return Reading::Record(header);
    }
    let mut front = vec![0; value_at];
    copy_out(segment, body_at, &mut front);
    value.resize(header.value_len as usize, 0);
    copy_out(segment, body_at + value_at, value);
    let mut sum = whole_sum(&words, store_id, at);
    sum.update(&front);
    sum.update(value);
    if sum.value() != expected_sum(words[0]) {
        return Reading::Damaged;
    }
    if front[tag_len..] != *key {
        return Reading::OtherKey;
    }
    if let Some(tag) = tag {
        tag.clear();
        tag.extend_from_slice(&front[..tag_len]);
    }
    Reading::Record(header)
}

fn sum_of(store_id: u64, at: Location, bytes: &[u8]) -> u32 {
    let mut sum = Checksum::at(store_id, at);
    sum.update(bytes);
    sum.value()
}

/// Copies the whole body (tag, key, value) of the record at `at`, if the record is sound.
pub(crate) fn body(
    segment: &[AtomicU64],
    store_id: u64,
    at: Location,
    body: &mut Vec<u8>,
) -> Option<Header> {
    let words = header_words(segment, at)?;
    let header = Header::decode(&words, store_id, at)?;
    if !fits(segment, at, &header) {
        return None;
    }
    body.resize(header.body_len(), 0);
    copy_out(segment, 8 * at.unit() as usize + HEADER_BYTES, body);
    let mut sum = whole_sum(&words, store_id, at);
    sum.update(body);
    (sum.value() == expected_sum(words[0])).then_some(header)
}

/// Whether the record at `at`, whose header is `header`, is one of `key`.
pub(crate) fn has_key(segment: &[AtomicU64], at: Location, header: &Header, key: &[u8]) -> bool {
    if header.key_len as usize != key.len() {
        return false;
    }
    let from = 8 * at.unit() as usize + HEADER_BYTES + usize::from(header.tag_len);
    is_at(segment, from, key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::location::Segment;
    use crate::format::record::Kind;
    use crate::log::writer::write_record;

    fn record(tag: &[u8], key: &[u8], value: &[u8]) -> (Vec<AtomicU64>, Location, Header) {
        let at = Location::new(Segment::new(1), 8);
        let header = Header {
            tag_len: tag.len() as u16,
            key_len: key.len() as u32,
            value_len: value.len() as u32,
            ..Header::job(Kind::Put, 0)
        };
        let segment: Vec<_> = (0..9 + header.units()).map(|_| AtomicU64::new(u64::MAX)).collect();
        assert!(write_record(&segment, 5, at, &header, &[tag, key, value], &mut Vec::new()));
        (segment, at, header)
    }

    #[test]
    fn small_and_large_records_come_back() {
        for len in [0, 1, 100, 511, 512, 513, 70_000] {
            let value: Vec<u8> = (0..len).map(|index| index as u8).collect();
            let (segment, at, header) = record(b"tag", b"the key", &value);
            let (mut tag, mut out) = (Vec::new(), b"junk".to_vec());
            let reading = read(&segment, 5, at, b"the key", Some(&mut tag), &mut out);
            assert!(matches!(reading, Reading::Record(found) if found == header), "{len}");
            assert_eq!((tag.as_slice(), &out), (&b"tag"[..], &value));
            let other = read(&segment, 5, at, b"no key", None, &mut out);
            assert!(matches!(other, Reading::OtherKey));
            assert!(has_key(&segment, at, &header, b"the key"));
            assert!(!has_key(&segment, at, &header, b"the kez"));
            assert_eq!(body(&segment, 5, at, &mut out), Some(header));
        }
    }

    /// Of a segment that was cut short no record is read that is not there as a whole.
    #[test]
    fn a_record_that_is_cut_off_is_none() {
        for len in [3, 600] {
            let (segment, at, whole) = record(b"", b"k", &vec![7; len]);
            let key = b"k".repeat(len);
            for end in 0..at.unit() + whole.units() {
                let (cut, mut out) = (&segment[..end as usize], Vec::new());
                assert!(matches!(read(cut, 5, at, b"k", None, &mut out), Reading::Damaged));
                assert_eq!(body(cut, 5, at, &mut out), None);
                assert_eq!(header(cut, 5, at), None);
                assert!(!has_key(cut, at, &Header { key_len: len as u32, ..whole }, &key));
            }
            assert_eq!(header(&segment, 5, at), Some(whole));
            assert!(!has_key(&segment, at, &whole, b"kk") && has_key(&segment, at, &whole, b"k"));
        }
    }

    #[test]
    fn every_flipped_bit_is_damage() {
        for len in [3, 600] {
            let (segment, at, header) = record(b"", b"k", &vec![7; len]);
            for word in 8..8 + header.units() as usize {
                for bit in 0..64 {
                    let whole = segment[word].load(Ordering::Relaxed);
                    segment[word].store(whole ^ 1 << bit, Ordering::Relaxed);
                    let mut out = Vec::new();
                    let reading = read(&segment, 5, at, b"k", None, &mut out);
                    let body_bits = 8 * (1 + len) - 64 * (word.saturating_sub(14)).min(1 + len / 8);
                    let is_padding = word == 7 + header.units() as usize && bit >= body_bits;
                    assert!(
                        matches!(reading, Reading::Damaged) || is_padding,
                        "word {word} bit {bit}: {reading:?}"
                    );
                    segment[word].store(whole, Ordering::Relaxed);
                }
            }
        }
    }
}
