//! A record: the unit of the log. Six header words, then tag, key and value, padded to 8 bytes.
//!
//! ```text
//! word 0  sum of words 1 to 5 (low half) | CRC-32 of everything after this word (high half)
//! word 1  kind 8 | flags 8 | value kind 8 | key length, high 8 | tag length 16 | key length, low 16
//! word 2  value length in bytes (low half) | entry number (high half)
//! word 3  previous location 48 | expiry bits 0..16
//! word 4  row id 48            | expiry bits 16..32
//! word 5  store time 48        | expiry bits 32..48
//! ```
//!
//! Both sums are seeded with the store id and the record's own location. A record never changes
//! once `tail` has passed it. It says all that applying it stores (beside what the state block
//! says), so that applying it again after a kill stores the same.
//!
//! A `Put` whose value lies in a file of its own has the `FILE` flag and 24 bytes as its value: the
//! number of the file, its length, and the CRC-32 of its content. All other kinds but `Put` carry their arguments as words in
//! place of a value.

use crate::format::checksum::{Checksum, word_sum};
use crate::format::location::{LOCATION_MASK, Location};

/// Words of a record's header.
pub(crate) const HEADER_WORDS: usize = 6;
/// Bytes of a record's header.
pub(crate) const HEADER_BYTES: usize = 8 * HEADER_WORDS;
/// Bytes by which an entry and its share of a bucket are accounted, beside the record.
pub(crate) const INDEX_SHARE_BYTES: u64 = 48;

/// The record is part of a transaction: it counts only with its commit record.
pub(crate) const TRANSACTION: u8 = 1;
/// Time of access and uses of the entry are kept: a relocation, or a touch.
pub(crate) const KEEP_ACCESS: u8 = 2;
/// The value lies in a file of its own.
pub(crate) const FILE: u8 = 4;
/// The key goes because of the eviction policy.
pub(crate) const CULLED: u8 = 8;
/// The key goes because it expired.
pub(crate) const EXPIRED: u8 = 16;
/// The key is one of the cache's own, which no user sees; of a `Delete`, too.
pub(crate) const CONTROL: u8 = 32;

const ALL_FLAGS: u8 = 63;

/// The uses that the entry of a control record is given when it is stored: policies that count
/// uses, or look for any, take it for used.
pub(crate) const CONTROL_USES: u16 = u16::MAX;

/// What a record does when it is applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Makes this the current record of its key.
    Put = 1,
    /// Removes the key whose record is the previous location: a tombstone.
    Delete = 2,
    /// Commits the transaction that begins at word 0 and has word 1 records.
    Commit = 3,
    /// Clears what the transaction that begins at word 0 left pending.
    Settle = 4,
    /// Ends a segment; the log goes on in the next, of word 0 units. Word 1: the units of the drained
    /// file that the next one is made from, or 0.
    Seal = 5,
    /// Says that the oldest live segment, word 0, holds nothing live any more.
    Retire = 6,
    /// Opens page word 0 of entries.
    AddPage = 7,
    /// Takes the empty page word 0 out of the list.
    DropPage = 8,
    /// Replaces pages word 0 and word 1 by page word 2, which holds the entries of both.
    MergePages = 9,
    /// Links overflow bucket word 1 to the chain of bucket word 0.
    Spill = 10,
    /// Splits word 0 buckets.
    Grow = 11,
    /// Removes everything; the table begins again as generation word 0.
    Clear = 12,
    /// Replaces the settings that are kept in the store.
    Settings = 13,
    /// Deletes the oldest segment file, word 0 of word 1 units, which is drained.
    Discard = 14,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        use Kind::*;
        [
            Put, Delete, Commit, Settle, Seal, Retire, AddPage, DropPage, MergePages, Spill, Grow,
            Clear, Settings, Discard,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// The header of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) value_kind: u8,
    pub(crate) tag_len: u16,
    pub(crate) key_len: u32,
    /// Bytes of the value as it lies in the record.
    pub(crate) value_len: u32,
    pub(crate) entry: u32,
    /// Where the current record of the key was when this one was written.
    pub(crate) previous: Location,
    /// When the key was first stored, as a number that only grows.
    pub(crate) row: u64,
    pub(crate) expires_ms: u64,
    pub(crate) stored_ms: u64,
}

impl Header {
    /// A header with everything zero but the kind and the length of its arguments.
    pub(crate) fn job(kind: Kind, argument_words: usize) -> Header {
        Header {
            kind,
            flags: 0,
            value_kind: 0,
            tag_len: 0,
            key_len: 0,
            value_len: 8 * argument_words as u32,
            entry: 0,
            previous: Location::NONE,
            row: 0,
            expires_ms: 0,
            stored_ms: 0,
        }
    }

    /// Bytes after the header, without padding.
    pub(crate) fn body_len(&self) -> usize {
        self.front_len() + self.value_len as usize
    }

    /// Bytes of tag and key, which lie before the value.
    pub(crate) fn front_len(&self) -> usize {
        usize::from(self.tag_len) + self.key_len as usize
    }

    /// 8-byte units of the whole record.
    pub(crate) fn units(&self) -> u64 {
        HEADER_WORDS as u64 + (self.body_len() as u64).div_ceil(8)
    }

    pub(crate) fn is_file(&self) -> bool {
        self.flags & FILE != 0
    }

    pub(crate) fn is_control(&self) -> bool {
        self.flags & CONTROL != 0
    }

    /// The header as words, with both sums; `body` is tag, key and value as they will lie.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn encode(&self, store_id: u64, at: Location, body: &[&[u8]]) -> [u64; 6] {
        let words = self.words();
        let mut sum = whole_sum(&words, store_id, at);
        body.iter().for_each(|part| sum.update(part));
        with_sums(words, store_id, at, sum)
    }

    /// The header as words, without its sums.
    pub(crate) fn words(&self) -> [u64; HEADER_WORDS] {
        let expires = self.expires_ms & LOCATION_MASK;
        [
            0,
            u64::from(self.kind as u8)
                | u64::from(self.flags) << 8
                | u64::from(self.value_kind) << 16
                | u64::from(self.key_len >> 16 & 0xff) << 24
                | u64::from(self.tag_len) << 32
                | u64::from(self.key_len & 0xffff) << 48,
            u64::from(self.value_len) | u64::from(self.entry) << 32,
            self.previous.bits() | (expires & 0xffff) << 48,
            self.row & LOCATION_MASK | (expires >> 16 & 0xffff) << 48,
            self.stored_ms & LOCATION_MASK | (expires >> 32) << 48,
        ]
    }

    /// The header in `words`, if its own sum holds for this place of this store.
    pub(crate) fn decode(words: &[u64; HEADER_WORDS], store_id: u64, at: Location) -> Option<Self> {
        if word_sum(store_id, at, &words[1..]) != words[0] as u32 {
            return None;
        }
        let flags = (words[1] >> 8) as u8;
        if flags & !ALL_FLAGS != 0 {
            return None;
        }
        Some(Header {
            kind: Kind::from_byte(words[1] as u8)?,
            flags,
            value_kind: (words[1] >> 16) as u8,
            tag_len: (words[1] >> 32) as u16,
            key_len: (words[1] >> 48 | (words[1] >> 24 & 0xff) << 16) as u32,
            value_len: words[2] as u32,
            entry: (words[2] >> 32) as u32,
            previous: Location::from_bits(words[3]),
            row: words[4] & LOCATION_MASK,
            expires_ms: words[3] >> 48 | words[4] >> 48 << 16 | words[5] >> 48 << 32,
            stored_ms: words[5] & LOCATION_MASK,
        })
    }
}

/// Header words with both sums; `whole` has seen them and the body.
pub(crate) fn with_sums(
    mut words: [u64; HEADER_WORDS],
    store_id: u64,
    at: Location,
    whole: Checksum,
) -> [u64; HEADER_WORDS] {
    let own = word_sum(store_id, at, &words[1..]);
    words[0] = u64::from(own) | u64::from(whole.value()) << 32;
    words
}

/// The sum of a whole record whose header words and body have been copied out.
pub(crate) fn whole_sum(words: &[u64; HEADER_WORDS], store_id: u64, at: Location) -> Checksum {
    let mut sum = Checksum::at(store_id, at);
    sum.update(&tail_bytes(words));
    sum
}

/// The sum that the first header word says the whole record has.
pub(crate) fn expected_sum(first_word: u64) -> u32 {
    (first_word >> 32) as u32
}

/// Bytes of the header words that the sums see: all but the first.
pub(crate) const SUMMED_BYTES: usize = HEADER_BYTES - 8;

/// The header words that the sums see, as bytes.
pub(crate) fn tail_bytes(words: &[u64; HEADER_WORDS]) -> [u8; SUMMED_BYTES] {
    let mut bytes = [0; SUMMED_BYTES];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(&words[1..]) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// What the 24 bytes of a `Put` with a value file say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileRef {
    pub(crate) number: u64,
    pub(crate) len: u64,
    /// CRC-32 of the content.
    pub(crate) sum: u32,
}

/// Bytes of a reference to a value file.
pub(crate) const FILE_REF_BYTES: usize = 24;

impl FileRef {
    pub(crate) fn encode(self) -> [u8; FILE_REF_BYTES] {
        let mut bytes = [0; FILE_REF_BYTES];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..].copy_from_slice(&u64::from(self.sum).to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<FileRef> {
        let (number, rest) = bytes.split_at_checked(8)?;
        let (len, sum) = rest.split_at_checked(8)?;
        Some(FileRef {
            number: u64::from_le_bytes(number.try_into().ok()?),
            len: u64::from_le_bytes(len.try_into().ok()?),
            sum: u64::from_le_bytes(sum.try_into().ok()?).try_into().ok()?,
        })
    }

    /// Bytes by which the file is accounted: whole blocks of 4 KiB.
    pub(crate) fn disk_bytes(self) -> u64 {
        self.len.checked_next_multiple_of(4096).unwrap_or(self.len)
    }

    /// The file's name, relative to the store's directory.
    pub(crate) fn name(self) -> String {
        format!("values/{:02x}/{:014x}", self.number >> 56, self.number & ((1 << 56) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::location::Segment;
    use quickcheck::quickcheck;

    fn header(seed: u64) -> Header {
        Header {
            kind: Kind::Put,
            flags: FILE | KEEP_ACCESS,
            value_kind: seed as u8,
            tag_len: (seed >> 3) as u16,
            key_len: (seed >> 5) as u32 & 0xff_ffff,
            value_len: (seed >> 7) as u32,
            entry: (seed >> 11) as u32,
            previous: Location::from_bits(seed >> 2),
            row: seed & LOCATION_MASK,
            expires_ms: (seed >> 9) & LOCATION_MASK,
            stored_ms: (seed >> 13) & LOCATION_MASK,
        }
    }

    quickcheck! {
        fn round_trip(seed: u64, body: Vec<u8>) -> bool {
            let at = Location::new(Segment::new(seed), 8);
            let words = header(seed).encode(seed, at, &[&body]);
            let mut sum = whole_sum(&words, seed, at);
            sum.update(&body);
            Header::decode(&words, seed, at) == Some(header(seed))
                && sum.value() == expected_sum(words[0])
        }

        fn any_words_are_safe(words: (u64, u64, u64), more: (u64, u64, u64)) -> bool {
            let words = [words.0, words.1, words.2, more.0, more.1, more.2];
            let _ = Header::decode(&words, 1, Location::from_bits(9));
            true
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_seen() {
        let at = Location::new(Segment::new(1), 8);
        let words = header(0x1234_5678_9abc).encode(7, at, &[b"body"]);
        for bit in (0..32).chain(64..6 * 64) {
            let mut broken = words;
            broken[bit / 64] ^= 1 << (bit % 64);
            assert_eq!(Header::decode(&broken, 7, at), None, "bit {bit}");
        }
    }

    #[test]
    fn flags_and_kinds_that_are_unknown_are_refused_though_the_sum_holds() {
        let at = Location::new(Segment::new(1), 8);
        let mut words = header(1).encode(7, at, &[]);
        for word in [words[1] | 1 << 15, words[1] | 0xff] {
            words[1] = word;
            words[0] = word_sum(7, at, &words[1..]).into();
            assert_eq!(Header::decode(&words, 7, at), None, "{word:x}");
        }
    }

    #[test]
    fn file_names_say_the_number() {
        let file = FileRef { number: 0xab00_0000_0000_0001, len: 5, sum: 6 };
        assert_eq!(file.name(), "values/ab/00000000000001");
        assert_eq!(FileRef::decode(&file.encode()), Some(file));
        for len in 0..FILE_REF_BYTES {
            assert_eq!(FileRef::decode(&file.encode()[..len]), None, "{len}");
        }
        let wide = [file.encode().as_slice(), &[0]].concat();
        assert_eq!(FileRef::decode(&wide), None);
        let mut large = file.encode();
        large[20] = 1;
        assert_eq!(FileRef::decode(&large), None);
    }

    #[test]
    fn flags_that_nobody_sets_are_no_record() {
        let at = Location::new(Segment::new(1), 8);
        for flags in 0..=u8::MAX {
            let header = Header { flags, ..Header::job(Kind::Put, 0) };
            let decoded = Header::decode(&header.encode(7, at, &[]), 7, at);
            assert_eq!(decoded.is_some(), flags <= ALL_FLAGS, "{flags}");
            assert_eq!(header.is_file(), flags & 4 != 0);
            assert_eq!(header.is_control(), flags & 32 != 0);
        }
    }

    #[test]
    fn a_record_is_as_long_as_its_parts() {
        let of = |tag_len, key_len, value_len| {
            let header = Header { tag_len, key_len, value_len, ..Header::job(Kind::Put, 0) };
            (header.front_len(), header.body_len(), header.units())
        };
        assert_eq!(of(0, 0, 0), (0, 0, 6));
        assert_eq!(of(1, 2, 5), (3, 8, 7));
        assert_eq!(of(1, 2, 6), (3, 9, 8));
    }

    #[test]
    fn value_files_take_whole_blocks() {
        let of = |len| FileRef { number: 1, len, sum: 0 }.disk_bytes();
        assert_eq!([0, 1, 4096, 4097].map(of), [0, 4096, 4096, 8192]);
        assert_eq!(of(u64::MAX), u64::MAX);
        let mut wide = FileRef { number: 1, len: 2, sum: 3 }.encode();
        wide[20] = 1;
        assert_eq!(FileRef::decode(&wide), None, "a sum has 32 bits");
    }
}
