//! The write path through the buckets. Every caller holds the store's lock.
//!
//! Each function may be cut short at any store and called again with the same arguments: it then
//! completes what it began. That is all that recovery needs.

use crate::format::location::Location;
use crate::format::slot::{SLOTS, Slot, bucket_of, half_of};
use crate::sys::sync::Ordering;
use crate::table::lookup::{Place, chain, chain_from, link_of};
use crate::table::{Line, Space};

impl Place<'_> {
    /// Makes readers see `slot` here.
    pub(crate) fn publish(&self, slot: Slot) {
        // ORDERING: Release, pairs with the Acquire load in `lookup`: record and entry number are
        // visible with it.
        self.line[self.index].store(slot.0, Ordering::Release);
    }

    /// Fills an empty slot, or replaces what a fill that was cut short left.
    #[inline]
    pub(crate) fn fill(&self, slot: Slot, entry: u32) {
        self.set_entry(entry);
        self.publish(slot);
    }

    /// Changes the entry number beside the slot.
    pub(crate) fn set_entry(&self, entry: u32) {
        store_half(self.line, self.index, entry);
    }
}

/// The slot that names `location`, if the chain of `hash` has one.
pub(crate) fn find<S: Space>(
    space: &S,
    buckets: u64,
    hash: u64,
    location: Location,
) -> Option<Place<'_>> {
    place(space, bucket_of(hash, buckets), |slot| !slot.is_empty() && slot.location() == location)
}

/// An empty slot in the chain of `bucket`.
#[inline]
pub(crate) fn vacancy<S: Space>(space: &S, bucket: u64) -> Option<Place<'_>> {
    place(space, bucket, Slot::is_empty)
}

fn place<S: Space>(space: &S, bucket: u64, wanted: impl Fn(Slot) -> bool) -> Option<Place<'_>> {
    chain(space, bucket).find_map(|line| {
        let index = (0..SLOTS).find(|index| {
            // ORDERING: Relaxed, the only writer reads its own stores.
            wanted(Slot(line[*index].load(Ordering::Relaxed)))
        })?;
        Some(Place { line, index })
    })
}

/// Whether at least `count` slots of the chain are empty.
pub(crate) fn has_vacancies<S: Space>(space: &S, bucket: u64, count: usize) -> bool {
    let mut left = count;
    for line in chain(space, bucket) {
        let empty = line[..SLOTS].iter().filter(|word| word.load(Ordering::Relaxed) == 0).count();
        left = left.saturating_sub(empty);
        if left == 0 {
            return true;
        }
    }
    left == 0
}

/// Puts a new slot into the chain that begins with `first`, unless it is there; false if there is
/// no room.
pub(crate) fn insert<S: Space>(space: &S, first: &Line, slot: Slot, entry: u32) -> bool {
    let location = slot.location();
    let mut vacant = None;
    for line in chain_from(space, first) {
        for index in 0..SLOTS {
            let old = Slot(line[index].load(Ordering::Relaxed));
            if old.is_empty() {
                vacant = vacant.or(Some(Place { line, index }));
            } else if old.location() == location {
                Place { line, index }.fill(slot, entry);
                return true;
            }
        }
    }
    let Some(place) = vacant else { return false };
    place.fill(slot, entry);
    true
}

/// Links overflow bucket `overflow` to the end of the chain of `bucket`, unless it is linked. The end is
/// where the chain cannot be followed: who calls this has made sure that it is not for want of a map.
pub(crate) fn spill<S: Space>(space: &S, bucket: u64, overflow: u32) {
    let mut last = None;
    for line in chain(space, bucket) {
        if link_of(line) == Some(overflow) {
            return;
        }
        last = Some(line);
    }
    let (Some(last), Some(fresh)) = (last, space.overflow(overflow)) else {
        return;
    };
    for word in fresh {
        word.store(0, Ordering::Relaxed);
    }
    store_half(last, SLOTS, overflow.wrapping_add(1));
}

/// Says that keys may be in other slots from now on: before a transaction counts, so that whoever
/// passed a slot before it was filled looks again; and before its tombstones are emptied, so that
/// whoever took a filled slot for not yet committed does.
pub(crate) fn count_move<S: Space>(space: &S) {
    let moves = space.moves().load(Ordering::Relaxed);
    // ORDERING: Release, pairs with the Acquire loads in `lookup`.
    space.moves().store(moves.wrapping_add(1), Ordering::Release);
}

fn store_half(line: &Line, index: usize, value: u32) {
    let (word, shift) = half_of(index);
    let old = line[word].load(Ordering::Relaxed);
    let new = old & !(0xffff_ffff << shift) | u64::from(value) << shift;
    // ORDERING: Release, pairs with the Acquire load in `lookup::half`.
    line[word].store(new, Ordering::Release);
}
