//! The header of a segment file: eight words, then records to the end.
//!
//! ```text
//! word 0  magic "firnlog1"
//! word 1  store id
//! word 2  segment number (low half) | size of the segment in 8-byte units (high half)
//! word 3  first live segment (low half) | oldest segment file (high half), when this one began
//! word 4  how far the log was known to be on disk, when this one began
//! word 5  CRC-32 of words 0 to 4
//! word 6  once drained: where the log stood then; the file is free when the disk has that much
//! word 7  zero
//! ```
//!
//! The header repeats what a rebuild after power loss needs, so that a torn `head` is no loss.

use crate::format::checksum::Checksum;
use crate::format::location::{Location, MAX_SEGMENT_UNITS, Segment};

/// Words before the first record.
pub(crate) const HEADER_UNITS: u64 = 8;
/// Index of the word that is written when the segment has been drained.
pub(crate) const DRAINED_WORD: usize = 6;
/// The smallest segment there can be, for caches with a very small limit: 8 KiB.
pub(crate) const TINY_SEGMENT_UNITS: u64 = 8 * 1024 / 8;
/// The smallest segment of others: 64 KiB.
pub(crate) const MIN_SEGMENT_UNITS: u64 = 64 * 1024 / 8;

const MAGIC: u64 = u64::from_le_bytes(*b"firnlog1");

/// What the header of a segment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) segment: Segment,
    /// Size of the whole file, in 8-byte units.
    pub(crate) units: u64,
    /// The oldest segment that held live records when this one began.
    pub(crate) first: Segment,
    /// The oldest segment file there was when this one began.
    pub(crate) oldest: Segment,
    /// The log before this place was known to be on disk when this one began.
    pub(crate) synced: Location,
}

impl SegmentHeader {
    pub(crate) fn encode(&self, store_id: u64) -> [u64; HEADER_UNITS as usize] {
        let mut words = [
            MAGIC,
            store_id,
            u64::from(self.segment.number()) | self.units << 32,
            u64::from(self.first.number()) | u64::from(self.oldest.number()) << 32,
            self.synced.bits(),
            0,
            0,
            0,
        ];
        words[5] = u64::from(sum(&words, store_id, self.segment));
        words
    }

    /// The header in `words`, or `None` where they are not one of this store's.
    pub(crate) fn decode(words: &[u64; HEADER_UNITS as usize], store_id: u64) -> Option<Self> {
        let segment = Segment::new(words[2] & 0xffff_ffff);
        let units = words[2] >> 32;
        let valid = words[0] == MAGIC
            && words[1] == store_id
            && words[5] == u64::from(sum(words, store_id, segment))
            && (HEADER_UNITS..=MAX_SEGMENT_UNITS).contains(&units);
        valid.then(|| SegmentHeader {
            segment,
            units,
            first: Segment::new(words[3] & 0xffff_ffff),
            oldest: Segment::new(words[3] >> 32),
            synced: Location::from_bits(words[4]),
        })
    }
}

fn sum(words: &[u64; HEADER_UNITS as usize], store_id: u64, segment: Segment) -> u32 {
    Checksum::of_words(store_id, Location::new(segment, 0), &words[..5])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_flipped_bit_is_seen() {
        let header = SegmentHeader {
            segment: Segment::new(12),
            units: MIN_SEGMENT_UNITS,
            first: Segment::new(7),
            oldest: Segment::new(6),
            synced: Location::new(Segment::new(11), 99),
        };
        let words = header.encode(42);
        assert_eq!(SegmentHeader::decode(&words, 42), Some(header));
        assert_eq!(SegmentHeader::decode(&words, 43), None);
        for bit in 0..6 * 64 {
            let mut broken = words;
            broken[bit / 64] ^= 1 << (bit % 64);
            assert_eq!(SegmentHeader::decode(&broken, 42), None, "bit {bit}");
        }
    }

    /// The sum is right in each of these.
    #[test]
    fn segments_of_impossible_size_and_other_files_are_refused() {
        let header = |units| SegmentHeader {
            segment: Segment::new(12),
            units,
            first: Segment::new(7),
            oldest: Segment::new(6),
            synced: Location::NONE,
        };
        for (units, is_one) in [
            (HEADER_UNITS - 1, false),
            (HEADER_UNITS, true),
            (MAX_SEGMENT_UNITS, true),
            (MAX_SEGMENT_UNITS + 1, false),
        ] {
            let decoded = SegmentHeader::decode(&header(units).encode(42), 42);
            assert_eq!(decoded, is_one.then(|| header(units)));
        }
        let mut other = header(MIN_SEGMENT_UNITS).encode(42);
        other[0] += 1;
        other[5] = u64::from(sum(&other, 42, Segment::new(12)));
        assert_eq!(SegmentHeader::decode(&other, 42), None, "not a segment");
        let mut other = header(MIN_SEGMENT_UNITS).encode(42);
        other[1] = 41;
        other[5] = u64::from(sum(&other, 42, Segment::new(12)));
        assert_eq!(SegmentHeader::decode(&other, 42), None, "another store's");
    }
}
