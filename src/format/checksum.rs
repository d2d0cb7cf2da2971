//! CRC-32 seeded with the identity of a place, so that bytes of another store, of another place or
//! of another life of the same file never pass for the ones expected.

use crate::format::location::Location;

/// A running checksum of the bytes that belong at one place of one store.
#[derive(Clone)]
pub(crate) struct Checksum(crc32fast::Hasher);

impl Checksum {
    /// Begins a checksum for bytes at `location` of the store `store_id`.
    pub(crate) fn at(store_id: u64, location: Location) -> Checksum {
        let mixed = (store_id ^ location.bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
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
    fn place_and_store_are_part_of_the_sum() {
        let here = Location::new(Segment::new(3), 8);
        let there = Location::new(Segment::new(4), 8);
        assert_eq!(sum(1, here, b"snow"), sum(1, here, b"snow"));
        assert_ne!(sum(1, here, b"snow"), sum(1, there, b"snow"));
        assert_ne!(sum(1, here, b"snow"), sum(2, here, b"snow"));
        assert_ne!(sum(1, here, b"snow"), sum(1, here, b"snov"));
    }
}
