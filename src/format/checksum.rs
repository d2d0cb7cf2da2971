//! Checksums seeded with the identity of a place, so that bytes of another store, of another place
//! or of another life of the same file never pass for the ones expected.
//!
//! CRC-32 for what can be long. The five words of a record's header, which every step of the engine
//! looks at, have a sum of their own that costs a tenth: of words that are damaged in any way, one in
//! 2^32 passes.

use crate::format::location::Location;

/// Odd, with its bits evenly spread: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sum of a few words at `location` of the store `store_id`. Each word is mixed in by steps that
/// can be undone (xor, multiplication by an odd number, xor with the upper half), so that two lists
/// that differ in one word differ in all 64 bits but by chance, until the last step keeps 32.
#[inline]
pub(crate) fn word_sum(store_id: u64, location: Location, words: &[u64]) -> u32 {
    let mut sum = (store_id ^ location.bits()).wrapping_mul(SPREAD);
    for word in words {
        sum = (sum ^ sum >> 32 ^ word).wrapping_mul(SPREAD);
    }
    (sum ^ sum >> 29).wrapping_mul(SPREAD).wrapping_shr(32) as u32
}

/// A running checksum of the bytes that belong at one place of one store.
#[derive(Clone)]
pub(crate) struct Checksum(crc32fast::Hasher);

impl Checksum {
    /// Begins a checksum for bytes at `location` of the store `store_id`.
    pub(crate) fn at(store_id: u64, location: Location) -> Checksum {
        let mixed = (store_id ^ location.bits()).wrapping_mul(SPREAD);
        Checksum(crc32fast::Hasher::new_with_initial((mixed >> 32) as u32))
    }

    /// The sum of words that belong at `location` of the store `store_id`.
    pub(crate) fn of_words(store_id: u64, location: Location, words: &[u64]) -> u32 {
        let mut checksum = Checksum::at(store_id, location);
        for word in words {
            checksum.update(&word.to_le_bytes());
        }
        checksum.value()
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn value(self) -> u32 {
        self.0.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::location::Segment;

    fn sum(store: u64, at: Location, bytes: &[u8]) -> u32 {
        let mut checksum = Checksum::at(store, at);
        checksum.update(bytes);
        checksum.value()
    }

    #[test]
    fn any_two_flipped_bits_are_seen_in_a_sum_of_words() {
        let (here, words) = (Location::new(Segment::new(3), 8), [1, 0, u64::MAX, 5, 7 << 40]);
        let sound = word_sum(1, here, &words);
        let flip = |words: &mut [u64; 5], bit: usize| words[bit / 64] ^= 1 << (bit % 64);
        for first in 0..5 * 64 {
            for second in 0..first {
                let mut broken = words;
                flip(&mut broken, first);
                assert_ne!(word_sum(1, here, &broken), sound, "bit {first}");
                flip(&mut broken, second);
                assert_ne!(word_sum(1, here, &broken), sound, "bits {first} and {second}");
            }
        }
        assert_ne!(word_sum(2, here, &words), sound);
        assert_ne!(word_sum(1, Location::new(Segment::new(3), 9), &words), sound);
    }

    #[test]
    fn place_and_store_are_part_of_the_sum() {
        let here = Location::new(Segment::new(3), 8);
        let there = Location::new(Segment::new(4), 8);
        assert_eq!(sum(1, here, b"snow"), sum(1, here, b"snow"));
        assert_ne!(sum(1, here, b"snow"), sum(1, there, b"snow"));
        assert_ne!(sum(1, here, b"snow"), sum(2, here, b"snow"));
        assert_ne!(sum(1, here, b"snow"), sum(1, here, b"snov"));
    }
}
