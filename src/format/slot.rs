//! One atomic word that says where the current record of a key lies.
//!
//! ```text
//!  63       49  48   47                                    0
//! +-----------+----+----------------------------------------+
//! | fp ^ mix  | pd |  location                               |
//! +-----------+----+----------------------------------------+
//! ```
//!
//! `fp` is a fingerprint of 15 hash bits, xored with a mix of the location: a flipped bit in either
//! makes the fingerprint wrong, which is a miss, and never leads to an older record of the key.
//! `pd` says that the record belongs to a transaction whose commit may not have happened yet: then
//! the record counts only if it lies before `applied`, and else the record it names as previous.
//! Zero is an empty slot.
//!
//! A bucket is one cache line: five slots, the entry number of each, and a link.
//!
//! ```text
//! word 0..5   slots
//! word 5      entry of slot 0 (low half) | entry of slot 1
//! word 6      entry of slot 2            | entry of slot 3
//! word 7      entry of slot 4            | overflow bucket + 1, or 0
//! ```

use crate::format::location::{LOCATION_MASK, Location};

/// Slots in a bucket.
pub(crate) const SLOTS: usize = 5;
/// Buckets that a table begins with.
pub(crate) const FIRST_BUCKETS: u64 = 64;
/// Words in a bucket: one cache line.
pub(crate) const BUCKET_WORDS: usize = 8;

const PENDING: u64 = 1 << 48;
const FINGERPRINT_SHIFT: u32 = 49;

/// The word in a slot of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot(pub(crate) u64);

impl Slot {
    pub(crate) const EMPTY: Slot = Slot(0);

    /// A slot for the record at `location` of a key with this hash.
    pub(crate) fn new(hash: u64, location: Location) -> Slot {
        let fingerprint = (hash >> FINGERPRINT_SHIFT) ^ mix(location);
        Slot(fingerprint << FINGERPRINT_SHIFT | location.bits())
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn location(self) -> Location {
        Location::from_bits(self.0 & LOCATION_MASK)
    }

    /// Whether the slot may belong to a key with this hash (wrong once in 32,768 times).
    pub(crate) fn matches(self, hash: u64) -> bool {
        self.0 != 0
            && (self.0 >> FINGERPRINT_SHIFT) ^ mix(self.location()) == hash >> FINGERPRINT_SHIFT
    }

    pub(crate) fn is_pending(self) -> bool {
        self.0 & PENDING != 0
    }

    pub(crate) fn pending(self) -> Slot {
        Slot(self.0 | PENDING)
    }
}

fn mix(location: Location) -> u64 {
    location.bits().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> FINGERPRINT_SHIFT
}

/// The word index and bit shift of the entry number of slot `index`; index 5 is the link.
pub(crate) fn half_of(index: usize) -> (usize, u32) {
    (SLOTS + index / 2, 32 * (index as u32 % 2))
}

/// Which bucket a hash belongs to when there are `buckets` of them (linear hashing: Litwin 1980).
pub(crate) fn bucket_of(hash: u64, buckets: u64) -> u64 {
    let level = buckets.max(1).ilog2();
    let wide = hash & ((2 << level) - 1);
    if wide < buckets { wide } else { hash & ((1 << level) - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::location::Segment;

    #[test]
    fn a_flipped_bit_is_a_mismatch() {
        let hash = 0xdead_beef_0123_4567;
        let slot = Slot::new(hash, Location::new(Segment::new(5), 800));
        assert!(slot.matches(hash));
        assert!(slot.pending().matches(hash));
        let survivors = (0..64).filter(|bit| Slot(slot.0 ^ 1 << bit).matches(hash)).count();
        assert_eq!(survivors, 1, "only the pending bit leaves the fingerprint alone");
    }

    #[test]
    fn pending_is_one_bit_beside_the_location() {
        let at = Location::new(Segment::new(5), 800);
        let slot = Slot::new(1, at);
        assert!(!slot.is_pending() && slot.pending().is_pending());
        assert_eq!(slot.pending().location(), at);
        assert_eq!(slot.pending().pending(), slot.pending());
        assert!(Slot::EMPTY.is_empty() && !slot.is_empty() && !slot.pending().is_empty());
    }

    #[test]
    fn a_split_sends_each_hash_to_the_old_or_the_new_bucket() {
        for buckets in 1..200u64 {
            let old = buckets - (1 << buckets.ilog2());
            for hash in 0..1000u64 {
                let (before, after) = (bucket_of(hash, buckets), bucket_of(hash, buckets + 1));
                assert!(before < buckets);
                assert!(after == before || (before == old && after == buckets));
            }
        }
    }
}
