//! What the table knows of a key beside its place in the log: entries, in pages of 64.
//!
//! Entries lie in the order in which their keys were first stored. A page is one descriptor and 64
//! entries; pages form a list from the oldest to the newest.
//!
//! ```text
//! page    word 0       bitmap of the entries in use
//!         word 1       lower bound of their expiry times, in milliseconds
//!         word 2       filter of their tags: a bit for each tag present
//!         word 3       next page + 1 (low half) | previous page + 1 (high half); 0 is none
//!         word 4       identity of this life of the page: where the record that opened it lies
//!         word 5       next free page + 1, while the page is free
//!         word 6       no row id in this page is below this one, none in an earlier page above
//!         word 7       zero
//!         word 8..     64 entries
//! entry   word 0       slot word of the current record, as in the bucket
//!         word 1       hash of the key
//!         word 2       time of access or store in milliseconds (48 bits) | uses (16 bits)
//!         word 3       expiry in milliseconds (48 bits) | tag hash (16 bits, 0: no tag)
//! ```

use crate::format::location::LOCATION_MASK;

/// Entries in a page.
pub(crate) const PAGE_ENTRIES: u64 = 64;
/// Words of a page's descriptor.
pub(crate) const DESCRIPTOR_WORDS: usize = 8;
/// Words of an entry.
pub(crate) const ENTRY_WORDS: usize = 4;
/// Words of a whole page.
pub(crate) const PAGE_WORDS: usize = DESCRIPTOR_WORDS + ENTRY_WORDS * PAGE_ENTRIES as usize;

/// Words of the descriptor.
pub(crate) const BITMAP: usize = 0;
pub(crate) const MIN_EXPIRY: usize = 1;
pub(crate) const TAG_FILTER: usize = 2;
pub(crate) const LINKS: usize = 3;
pub(crate) const LIFE: usize = 4;
pub(crate) const FREE_NEXT: usize = 5;
pub(crate) const FIRST_ROW: usize = 6;

/// Words of an entry.
pub(crate) const SLOT: usize = 0;
pub(crate) const HASH: usize = 1;
pub(crate) const ACCESS: usize = 2;
pub(crate) const DEADLINE: usize = 3;

/// The time and use count that rank an entry for eviction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access(pub(crate) u64);

impl Access {
    /// Stored or read at `now_ms`, used `uses` times.
    pub(crate) fn new(now_ms: u64, uses: u16) -> Access {
        Access((now_ms & LOCATION_MASK) << 16 | u64::from(uses))
    }

    pub(crate) fn time_ms(self) -> u64 {
        self.0 >> 16
    }

    pub(crate) fn uses(self) -> u16 {
        self.0 as u16
    }
}

/// When an entry expires, and a hash of its tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Deadline(pub(crate) u64);

impl Deadline {
    pub(crate) fn new(expires_ms: u64, tag_hash: u16) -> Deadline {
        Deadline((expires_ms & LOCATION_MASK) << 16 | u64::from(tag_hash))
    }

    pub(crate) fn expires_ms(self) -> u64 {
        self.0 >> 16
    }

    pub(crate) fn tag_hash(self) -> u16 {
        self.0 as u16
    }
}

/// A short hash of an encoded tag; 0 stands for "no tag".
pub(crate) fn tag_hash(tag: &[u8]) -> u16 {
    if tag.is_empty() {
        return 0;
    }
    let sum = crc32fast::hash(tag);
    ((sum ^ sum >> 16) as u16).max(1)
}

/// The bit of a tag hash in a page's filter.
pub(crate) fn filter_bit(tag_hash: u16) -> u64 {
    if tag_hash == 0 { 0 } else { 1 << (tag_hash % 64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_give_back_their_parts() {
        let access = Access::new(1_700_000_000_123, 9);
        assert_eq!((access.time_ms(), access.uses()), (1_700_000_000_123, 9));
        let deadline = Deadline::new(LOCATION_MASK, 77);
        assert_eq!((deadline.expires_ms(), deadline.tag_hash()), (LOCATION_MASK, 77));
    }

    #[test]
    fn no_tag_has_no_bit_and_every_tag_has_one() {
        assert_eq!(filter_bit(tag_hash(b"")), 0);
        for tag in 0u32..1000 {
            assert_eq!(filter_bit(tag_hash(&tag.to_le_bytes())).count_ones(), 1);
        }
    }
}
