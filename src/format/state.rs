//! The state of the store: the counters and cursors that change with every applied record.
//!
//! `head` holds two state blocks. A write prepares the one not in use and then stores `applied`,
//! whose low bit says which block holds: position and counters move together, in one store.
//!
//! ```text
//! applied   location 48 | flips 16
//! ```

use crate::format::entry::PAGE_ENTRIES;
use crate::format::location::{LOCATION_MASK, Location, MAX_SEGMENT_UNITS, Segment};
use crate::format::segment::TINY_SEGMENT_UNITS;
use crate::format::slot::FIRST_BUCKETS;

/// Words of a state block.
pub(crate) const STATE_WORDS: usize = 24;
/// Bits of a geometry word that count the buckets; the rest is the generation of the table.
const BUCKET_BITS: u32 = 40;

/// The word that says how far the log has been applied and which state block holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Applied(pub(crate) u64);

impl Applied {
    pub(crate) fn new(location: Location, flips: u64) -> Applied {
        Applied(location.bits() | flips << 48)
    }

    pub(crate) fn location(self) -> Location {
        Location::from_bits(self.0)
    }

    /// Whether the record at `at` has been applied.
    pub(crate) fn has_passed(self, at: Location) -> bool {
        self.location() != at && self.location().is_at_or_after(at)
    }

    /// The state block that holds: 0 or 1.
    pub(crate) fn block(self) -> usize {
        (self.0 >> 48 & 1) as usize
    }

    /// The word that moves to `location` and to the other block.
    pub(crate) fn flip(self, location: Location) -> Applied {
        Applied::new(location, (self.0 >> 48) + 1)
    }
}

/// How many buckets there are, and in which generation of table files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Geometry(pub(crate) u64);

impl Geometry {
    pub(crate) fn new(generation: u64, buckets: u64) -> Geometry {
        Geometry(generation << BUCKET_BITS | buckets & ((1 << BUCKET_BITS) - 1))
    }

    pub(crate) fn generation(self) -> u64 {
        self.0 >> BUCKET_BITS
    }

    /// The generation after this one.
    pub(crate) fn next_generation(self) -> u64 {
        (self.generation() + 1) & (u64::MAX >> BUCKET_BITS)
    }

    pub(crate) fn buckets(self) -> u64 {
        self.0 & ((1 << BUCKET_BITS) - 1)
    }
}

/// One consistent set of counters and cursors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct State {
    /// Keys in the store, expired ones and its own included.
    pub(crate) len: u64,
    /// Bytes of the current records and of their share of the table.
    pub(crate) live_bytes: u64,
    /// Bytes of the value files that current records name.
    pub(crate) file_bytes: u64,
    pub(crate) geometry: Geometry,
    /// Overflow buckets handed out.
    pub(crate) overflows: u64,
    /// The row id of the next new key.
    pub(crate) next_row: u64,
    /// Pages ever handed out, free ones included.
    pub(crate) pages: u64,
    /// Pages in the list.
    pub(crate) listed_pages: u64,
    /// First and last page of the list, and the first free page; each plus one, 0 for none.
    pub(crate) first_page: u32,
    pub(crate) last_page: u32,
    pub(crate) free_page: u32,
    /// Entries used in the last page.
    pub(crate) last_fill: u32,
    /// The oldest segment file, live or drained.
    pub(crate) oldest: Segment,
    /// The oldest segment that can hold live records.
    pub(crate) first: Segment,
    /// Up to where `first` has been drained.
    pub(crate) drained: Location,
    /// 8-byte units of all segment files.
    pub(crate) log_units: u64,
    /// 8-byte units of the drained segment files that wait to be used again.
    pub(crate) spare_units: u64,
    /// The log before this place is on disk.
    pub(crate) synced: Location,
    /// The page from which the next merge is looked for; plus one.
    pub(crate) merge_page: u64,
    /// No key expires before this time, in milliseconds.
    pub(crate) min_expiry_ms: u64,
    /// Keys removed by the policy, and by expiry.
    pub(crate) evictions: u64,
    pub(crate) expirations: u64,
    /// The record that holds the settings.
    pub(crate) settings: Location,
    /// Keys among `len` that are the cache's own.
    pub(crate) controls: u64,
    /// From here on records say the numbers that their entries have: no pages have been merged, and
    /// the table has not been made anew, since. `NONE` says nothing.
    pub(crate) numbered: Location,
}

impl State {
    pub(crate) fn encode(&self) -> [u64; STATE_WORDS] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let mut words = [0; STATE_WORDS];
        let packed = [
            self.len,
            self.live_bytes,
            self.file_bytes,
            self.geometry.0,
            self.overflows,
            self.next_row,
            self.pages,
            self.listed_pages,
            pair(self.first_page, self.last_page),
            pair(self.free_page, self.last_fill),
            pair(self.oldest.number(), self.first.number()),
            self.drained.bits(),
            self.log_units,
            self.synced.bits(),
            self.merge_page,
            self.min_expiry_ms,
            self.evictions,
            self.expirations,
            self.settings.bits(),
            self.spare_units,
            self.controls,
            self.numbered.bits(),
        ];
        words[..packed.len()].copy_from_slice(&packed);
        words
    }

    pub(crate) fn decode(words: &[u64; STATE_WORDS]) -> State {
        let low = |word: u64| word as u32;
        let high = |word: u64| (word >> 32) as u32;
        State {
            len: words[0],
            live_bytes: words[1],
            file_bytes: words[2],
            geometry: Geometry(words[3]),
            overflows: words[4],
            next_row: words[5],
            pages: words[6],
            listed_pages: words[7],
            first_page: low(words[8]),
            last_page: high(words[8]),
            free_page: low(words[9]),
            last_fill: high(words[9]),
            oldest: Segment::new(words[10] & 0xffff_ffff),
            first: Segment::new(words[10] >> 32),
            drained: Location::from_bits(words[11]),
            log_units: words[12],
            synced: Location::from_bits(words[13]),
            merge_page: words[14],
            min_expiry_ms: words[15],
            evictions: words[16],
            expirations: words[17],
            settings: Location::from_bits(words[18]),
            spare_units: words[19],
            controls: words[20],
            numbered: Location::from_bits(words[21]),
        }
    }

    /// A store without keys or log.
    pub(crate) fn empty(geometry: Geometry) -> State {
        State { geometry, min_expiry_ms: LOCATION_MASK, ..State::decode(&[0; STATE_WORDS]) }
    }

    /// Whether these can be the numbers of a store whose log ends at `tail`: what is computed from
    /// them then neither overflows nor takes for ever.
    pub(crate) fn is_plausible(&self, tail: Location, most_segments: u32) -> bool {
        let segments = tail.segment().since(self.oldest);
        let page_ids = [self.first_page, self.last_page, self.free_page];
        segments < most_segments
            && self.first.is_within(self.oldest, tail.segment())
            && self.drained.segment() == self.first
            && self.log_units <= u64::from(most_segments) * MAX_SEGMENT_UNITS
            && self.spare_units <= self.log_units
            && self.pages < 1 << 26
            && self.listed_pages <= self.pages
            && page_ids.iter().all(|page| u64::from(*page) <= self.pages)
            && u64::from(self.last_fill) <= PAGE_ENTRIES
            && self.overflows < 1 << 32
            && (1..=(self.pages * PAGE_ENTRIES).max(FIRST_BUCKETS))
                .contains(&self.geometry.buckets())
            && self.len <= self.pages * PAGE_ENTRIES
            && self.controls <= self.len
            && self.live_bytes <= 8 * self.log_units
            && self.file_bytes < 1 << 60
            && self.next_row <= LOCATION_MASK
    }

    /// Whether the log can have as many segments as lie between the oldest and `last`, where it has
    /// been applied to: each is a file that is counted.
    pub(crate) fn has_files_for(&self, last: Segment) -> bool {
        let segments = u64::from(last.since(self.oldest)) + 1;
        self.log_units == 0 || segments <= self.log_units / TINY_SEGMENT_UNITS
    }

    /// The user's keys in the store, expired ones included.
    pub(crate) fn user_len(&self) -> u64 {
        self.len.saturating_sub(self.controls)
    }

    /// Bytes that count against the size limit: records, table share and value files.
    pub(crate) fn volume(&self) -> u64 {
        self.live_bytes.saturating_add(self.file_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn words_round_trip(seeds: Vec<u64>) -> bool {
            let mut words = [0; STATE_WORDS];
            for (word, seed) in words.iter_mut().take(22).zip(&seeds) {
                *word = *seed;
            }
            let state = State::decode(&words);
            State::decode(&state.encode()) == state
        }
    }

    #[test]
    fn a_flip_changes_the_block_and_survives_the_wrap() {
        let at = Location::new(Segment::new(1), 8);
        let mut applied = Applied::new(at, 0xffff);
        assert_eq!(applied.block(), 1);
        applied = applied.flip(at);
        assert_eq!((applied.block(), applied.location()), (0, at));
    }

    #[test]
    fn geometry_keeps_both_parts() {
        let geometry = Geometry::new(7, 1 << 33);
        assert_eq!((geometry.generation(), geometry.buckets()), (7, 1 << 33));
    }

    #[test]
    fn what_has_been_applied_lies_before_and_not_at_the_place() {
        let at = |unit| Location::new(Segment::new(7), unit);
        let applied = Applied::new(at(20), 3);
        assert!(applied.has_passed(at(19)) && applied.has_passed(at(8)));
        assert!(!applied.has_passed(at(20)) && !applied.has_passed(at(21)));
        assert_eq!((applied.flip(at(21)).location(), applied.flip(at(21)).block()), (at(21), 0));
        assert_eq!(applied.flip(at(21)).0 >> 48, 4);
    }

    #[test]
    fn generations_follow_one_another_and_begin_again() {
        assert_eq!(Geometry::new(7, 64).next_generation(), 8);
        assert_eq!(Geometry::new((1 << 24) - 1, 64).next_generation(), 0);
        assert_eq!(Geometry::new(0, u64::MAX).generation(), 0, "too many buckets change no more");
    }

    /// A state at the limits of what is plausible: a tail in segment 12, at most 10 segments.
    fn plausible() -> State {
        State {
            len: 640,
            live_bytes: 8000,
            file_bytes: (1 << 60) - 1,
            geometry: Geometry::new(1, 640),
            overflows: u32::MAX.into(),
            next_row: LOCATION_MASK,
            pages: 10,
            listed_pages: 10,
            first_page: 10,
            last_page: 10,
            free_page: 10,
            last_fill: 64,
            oldest: Segment::new(3),
            first: Segment::new(12),
            drained: Location::new(Segment::new(12), 8),
            log_units: 1000,
            spare_units: 1000,
            controls: 640,
            ..State::empty(Geometry::new(1, 64))
        }
    }

    #[test]
    fn a_state_is_plausible_up_to_its_limits_and_not_beyond() {
        let tail = Location::new(Segment::new(12), 800);
        let is_plausible = |change: fn(&mut State)| {
            let mut state = plausible();
            change(&mut state);
            state.is_plausible(tail, 10)
        };
        let good: [fn(&mut State); 7] = [
            |_| (),
            |it| (it.first, it.drained) = (it.oldest, Location::new(it.oldest, 8)),
            |it| it.geometry = Geometry::new(1, 1),
            |it| (it.pages, it.listed_pages) = ((1 << 26) - 1, 0),
            |it| it.log_units = 10 * MAX_SEGMENT_UNITS,
            |it| (it.first_page, it.last_page, it.free_page) = (0, 0, 0),
            |it| {
                *it = State { oldest: it.first, ..State::empty(Geometry::new(1, 64)) }.at(it.first)
            },
        ];
        for (number, change) in good.into_iter().enumerate() {
            assert!(is_plausible(change), "{number}");
        }
        let bad: [fn(&mut State); 19] = [
            |it| it.oldest = Segment::new(2),
            |it| it.oldest = Segment::new(13),
            |it| (it.first, it.drained) = (Segment::new(2), Location::new(Segment::new(2), 8)),
            |it| (it.first, it.drained) = (Segment::new(13), Location::new(Segment::new(13), 8)),
            |it| it.drained = Location::new(Segment::new(11), 8),
            |it| it.log_units = 10 * MAX_SEGMENT_UNITS + 1,
            |it| it.spare_units = 1001,
            |it| (it.pages, it.listed_pages) = (1 << 26, 0),
            |it| it.listed_pages = 11,
            |it| it.first_page = 11,
            |it| it.last_page = 11,
            |it| it.free_page = 11,
            |it| it.last_fill = 65,
            |it| it.overflows = 1 << 32,
            |it| it.geometry = Geometry::new(1, 641),
            |it| it.geometry = Geometry::new(1, 0),
            |it| (it.len, it.controls) = (641, 0),
            |it| it.len = 639,
            |it| it.live_bytes = 8001,
        ];
        for (number, change) in bad.into_iter().enumerate() {
            assert!(!is_plausible(change), "{number}");
        }
        assert!(!is_plausible(|it| it.file_bytes = 1 << 60));
        assert!(!is_plausible(|it| it.next_row = LOCATION_MASK + 1));
    }

    impl State {
        fn at(self, first: Segment) -> State {
            State { first, drained: Location::new(first, 8), ..self }
        }
    }

    #[test]
    fn a_log_without_pages_may_have_the_first_buckets() {
        let tail = Location::new(Segment::new(1), 8);
        let of = |buckets| State::empty(Geometry::new(1, buckets)).at(Segment::new(1));
        let of = |buckets| State { oldest: Segment::new(1), ..of(buckets) };
        assert!(of(FIRST_BUCKETS).is_plausible(tail, 1));
        assert!(!of(FIRST_BUCKETS + 1).is_plausible(tail, 1));
    }

    #[test]
    fn each_segment_is_a_file_that_is_counted() {
        let state = |log_units| State { log_units, ..plausible() };
        for (units, last, expected) in [
            (0, 1000, true),
            (3 * TINY_SEGMENT_UNITS, 5, true),
            (3 * TINY_SEGMENT_UNITS, 6, false),
            (3 * TINY_SEGMENT_UNITS - 1, 5, false),
        ] {
            assert_eq!(state(units).has_files_for(Segment::new(last)), expected, "{units} {last}");
        }
    }

    #[test]
    fn keys_and_bytes_are_counted_without_wrapping() {
        let empty = State::empty(Geometry::new(7, 64));
        assert_eq!((empty.geometry, empty.min_expiry_ms), (Geometry::new(7, 64), LOCATION_MASK));
        let state = State { len: 5, controls: 2, live_bytes: 10, file_bytes: 7, ..plausible() };
        assert_eq!((state.user_len(), state.volume()), (3, 17));
        let damaged = State { len: 1, file_bytes: u64::MAX, ..state };
        assert_eq!((damaged.user_len(), damaged.volume()), (0, u64::MAX));
    }
}
