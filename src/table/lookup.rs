//! The read path through the buckets.

use crate::format::location::Location;
use crate::format::slot::{SLOTS, Slot, bucket_of, half_of};
use crate::format::state::Geometry;
use crate::sys::sync::{AtomicU64, Ordering, fence};
use crate::table::{Line, Space};

/// No chain of a sound table comes near this many buckets; a longer one is damage.
pub(crate) const MAX_CHAIN: usize = 4096;
/// Each retry means that a writer has finished a split or a write meanwhile.
const MAX_RETRIES: usize = 1 << 20;

/// One slot of a bucket, as the reader meets it.
pub(crate) struct Candidate<'a> {
    /// What the slot held when it was loaded.
    pub(crate) slot: Slot,
    /// Which pass over the chain this is: what is believed in one pass must be consistent.
    pub(crate) pass: usize,
    word: &'a AtomicU64,
    line: &'a Line,
    index: usize,
}

impl<'a> Candidate<'a> {
    /// Whether the slot still holds what it held: then its record cannot have been reclaimed.
    pub(crate) fn is_unchanged(&self) -> bool {
        is_unchanged(self.word, self.slot)
    }

    /// The number of the key's entry.
    pub(crate) fn entry(&self) -> u32 {
        entry_of(self.line, self.index)
    }

    /// The slot, for the writer.
    pub(crate) fn place(&self) -> Place<'a> {
        Place { line: self.line, index: self.index }
    }
}

/// A slot of a bucket, for the writer: what it does with it stands in `publish`.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(in crate::table) line: &'a Line,
    pub(in crate::table) index: usize,
}

impl Place<'_> {
    pub(crate) fn slot(&self) -> Slot {
        // ORDERING: Relaxed, the only writer reads its own stores.
        Slot(self.line[self.index].load(Ordering::Relaxed))
    }

    pub(crate) fn entry(&self) -> u32 {
        entry_of(self.line, self.index)
    }

    /// Whether the slot names this location, or is empty if that is none.
    pub(crate) fn holds(&self, location: Location) -> bool {
        self.slot().location() == location
    }
}

/// Whether a word still holds the slot that was loaded from it before its record was read: if so,
/// no word of that record was of a later use of the same place.
pub(crate) fn is_unchanged(word: &AtomicU64, slot: Slot) -> bool {
    // ORDERING: Acquire, pairs with the Release fence in `log::writer::begin_reuse`: who has read
    // what overwrote a record sees that no slot names that record any more.
    fence(Ordering::Acquire);
    word.load(Ordering::Acquire) == slot.0
}

/// What a look at the record of a candidate has shown.
pub(crate) enum Verdict<T> {
    /// It is the key's record.
    Found(T),
    /// It is another key's.
    Other,
    /// The slot has changed meanwhile: look again.
    Again,
}

/// Finds the slot of a key; `look` tells whether a candidate is the one.
///
/// Never waits: a retry happens only when a writer has changed something in between. Touches one
/// cache line when the key's bucket has no overflow.
#[inline]
pub(crate) fn lookup<'a, S: Space, T>(
    space: &'a S,
    hash: u64,
    mut look: impl FnMut(Candidate<'a>) -> Verdict<T>,
) -> Option<T> {
    'again: for pass in 0..MAX_RETRIES {
        // ORDERING: Acquire, pairs with the Release store in `split::split`.
        let geometry = space.geometry().load(Ordering::Acquire);
        // ORDERING: Acquire, pairs with the Release store in `publish::count_move`.
        let moves = space.moves().load(Ordering::Acquire);
        let bucket = bucket_of(hash, Geometry(geometry).buckets());
        for line in chain(space, bucket) {
            for index in 0..SLOTS {
                let word = &line[index];
                // ORDERING: Acquire, pairs with the Release stores of `publish`: the record and
                // the entry number are visible with the slot that names them.
                let slot = Slot(word.load(Ordering::Acquire));
                if !slot.matches(hash) {
                    continue;
                }
                match look(Candidate { slot, pass, word, line, index }) {
                    Verdict::Found(found) => return Some(found),
                    Verdict::Other => {}
                    Verdict::Again => continue 'again,
                }
            }
        }
        // A slot emptied by a split was loaded with Acquire, so that the geometry stored before it
        // was emptied is visible here; and so is the count of a transaction that has come to hold.
        if space.geometry().load(Ordering::Acquire) == geometry
            && space.moves().load(Ordering::Acquire) == moves
        {
            return None;
        }
    }
    None
}

/// The buckets of a chain: the bucket itself and what is linked to it.
#[inline]
pub(crate) fn chain<S: Space>(space: &S, bucket: u64) -> Chain<'_, S> {
    Chain { space, first: space.bucket(bucket), last: None, left: MAX_CHAIN }
}

/// The buckets of the chain that begins with `first`.
#[inline]
pub(crate) fn chain_from<'a, S: Space>(space: &'a S, first: &'a Line) -> Chain<'a, S> {
    Chain { space, first: Some(first), last: None, left: MAX_CHAIN }
}

/// The buckets of a chain that are still to come. A link is loaded when what lies before it has been
/// looked at.
pub(crate) struct Chain<'a, S> {
    space: &'a S,
    first: Option<&'a Line>,
    last: Option<&'a Line>,
    left: usize,
}

impl<'a, S: Space> Iterator for Chain<'a, S> {
    type Item = &'a Line;

    #[inline]
    fn next(&mut self) -> Option<&'a Line> {
        let next = match self.last {
            None => self.first?,
            Some(line) => self.space.overflow(link_of(line)?)?,
        };
        self.left = self.left.checked_sub(1)?;
        self.last = Some(next);
        Some(next)
    }
}

/// The overflow bucket linked to this one.
pub(crate) fn link_of(line: &Line) -> Option<u32> {
    half(line, SLOTS).checked_sub(1)
}

/// The entry number of slot `index`.
pub(crate) fn entry_of(line: &Line, index: usize) -> u32 {
    half(line, index)
}

fn half(line: &Line, index: usize) -> u32 {
    let (word, shift) = half_of(index);
    // ORDERING: Acquire, pairs with `publish::store_half`: a linked bucket is visible with its
    // link.
    (line[word].load(Ordering::Acquire) >> shift) as u32
}
