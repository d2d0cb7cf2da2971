//! The layout of `head`, the one page that all processes of a store share.
//!
//! ```text
//! byte    0  magic, version, store id, hash key, CRC-32: never written again after creation
//! byte  512  boot id, device, inode, clean mark, failed-sync mark: in one sector
//! byte  640  promised
//! byte 1024  lock word (32 bits)
//! byte 1088  tail
//! byte 1152  applied
//! byte 1216  geometry, moves
//! byte 1280  hits     1344  misses     1408  damaged
//! byte 1536  state block 0
//! byte 1792  state block 1
//! byte 2048  settings
//! byte 3072  bells: 128 words of 32 bits
//! ```
//!
//! Words that different parties write lie on cache lines of their own.

use crate::format::checksum::Checksum;
use crate::format::location::Location;

/// The version of everything in a store's directory. A change that older code would misread makes
/// it one more.
pub(crate) const VERSION: u64 = 1;
/// Bytes of the file.
pub(crate) const HEAD_BYTES: usize = 4096;

/// Word indexes within the page.
pub(crate) const BOOT: usize = 512 / 8;
pub(crate) const DEVICE: usize = BOOT + 2;
pub(crate) const INODE: usize = BOOT + 3;
/// [`CHANGED`], [`IS_CLEAN`] or [`OWED`].
pub(crate) const CLEAN: usize = BOOT + 4;
pub(crate) const SYNC_FAILED: usize = BOOT + 5;
pub(crate) const PROMISED: usize = 640 / 8;
pub(crate) const TAIL: usize = 1088 / 8;
pub(crate) const APPLIED: usize = 1152 / 8;
pub(crate) const GEOMETRY: usize = 1216 / 8;
/// Right behind the geometry: a lookup reads both.
pub(crate) const MOVES: usize = GEOMETRY + 1;
pub(crate) const HITS: usize = 1280 / 8;
pub(crate) const MISSES: usize = 1344 / 8;
pub(crate) const DAMAGED: usize = 1408 / 8;
pub(crate) const BLOCKS: [usize; 2] = [1536 / 8, 1792 / 8];
pub(crate) const SETTINGS: usize = 2048 / 8;
/// What the clean mark says: the store has been changed since all of it was on disk.
pub(crate) const CHANGED: u64 = 0;
/// All of the store is on disk.
pub(crate) const IS_CLEAN: u64 = 1;
/// Not clean, and nothing may be changed before `head` and the names of files are on disk as they are.
pub(crate) const OWED: u64 = 2;
/// Byte offset of the lock word.
pub(crate) const LOCK_BYTE: usize = 1024;
/// Byte offset of the first bell, and how many there are: counters of 32 bits that waiters sleep on.
pub(crate) const BELLS_BYTE: usize = 3072;
pub(crate) const BELLS: usize = 128;

const _: () = assert!(BELLS_BYTE + 4 * BELLS <= HEAD_BYTES);

const MAGIC: u64 = u64::from_le_bytes(*b"firncach");
const IDENTITY_WORDS: usize = 6;

/// What never changes in the life of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) store_id: u64,
    /// The key of the hash function, random for each store.
    pub(crate) hash_key: [u64; 2],
}

/// Why the first bytes of `head` are not an identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unreadable {
    /// All zero: the page never reached the disk.
    Blank,
    /// Not a head, or a damaged one.
    Damaged,
    /// Of another version of the format.
    Version(u64),
}

impl Identity {
    pub(crate) fn encode(&self) -> [u64; IDENTITY_WORDS] {
        let mut words = [MAGIC, VERSION, self.store_id, self.hash_key[0], self.hash_key[1], 0];
        words[5] = u64::from(sum(&words));
        words
    }

    pub(crate) fn decode(words: &[u64; IDENTITY_WORDS]) -> Result<Identity, Unreadable> {
        if words.iter().all(|word| *word == 0) {
            return Err(Unreadable::Blank);
        }
        if words[0] != MAGIC || words[5] != u64::from(sum(words)) {
            return Err(Unreadable::Damaged);
        }
        if words[1] != VERSION {
            return Err(Unreadable::Version(words[1]));
        }
        Ok(Identity { store_id: words[2], hash_key: [words[3], words[4]] })
    }
}

fn sum(words: &[u64; IDENTITY_WORDS]) -> u32 {
    Checksum::of_words(0, Location::NONE, &words[..5])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_round_trip_and_refusals() {
        let identity = Identity { store_id: 1, hash_key: [2, 3] };
        let words = identity.encode();
        assert_eq!(Identity::decode(&words), Ok(identity));
        assert_eq!(Identity::decode(&[0; 6]), Err(Unreadable::Blank));
        for bit in 0..6 * 64 {
            let mut broken = words;
            broken[bit / 64] ^= 1 << (bit % 64);
            assert_eq!(Identity::decode(&broken), Err(Unreadable::Damaged), "bit {bit}");
        }
        let mut later = words;
        later[1] = VERSION + 1;
        later[5] = u64::from(sum(&later));
        assert_eq!(Identity::decode(&later), Err(Unreadable::Version(VERSION + 1)));
    }
}
