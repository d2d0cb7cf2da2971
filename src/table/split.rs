//! Growing by one bucket at a time: linear hashing (Litwin, VLDB 1980).

use crate::format::entry::HASH;
use crate::format::slot::{SLOTS, Slot, bucket_of};
use crate::format::state::Geometry;
use crate::sys::prefetch;
use crate::sys::sync::Ordering;
use crate::table::Space;
use crate::table::lookup::{MAX_CHAIN, chain, chain_from, entry_of, link_of};
use crate::table::pages::entry;
use crate::table::publish::{insert, spill};

/// Splits the bucket whose turn it is into itself and the new bucket `before.buckets()`.
///
/// `overflows` is the number of overflow buckets handed out so far; the new number comes back. May
/// be cut short and done again from the same `before` and `overflows`. `None`: a bucket that it needs
/// cannot be reached; then nothing has been taken away.
pub(crate) fn split<S: Space>(space: &S, before: Geometry, overflows: u64) -> Option<u64> {
    let fresh = before.buckets();
    let after = Geometry::new(before.generation(), fresh + 1);
    let first = space.bucket(fresh)?;
    let old = fresh - (1 << fresh.ilog2());
    // Whatever is to be read can be read: a slot that was passed over would be a key lost.
    let mut moving = Vec::with_capacity(SLOTS);
    let mut line = space.bucket(old)?;
    for _ in 0..MAX_CHAIN {
        for index in (0..SLOTS).filter(|index| line[*index].load(Ordering::Relaxed) != 0) {
            let hash = entry(space, entry_of(line, index))?[HASH].load(Ordering::Relaxed);
            if bucket_of(hash, after.buckets()) == fresh {
                moving.push((line, index));
            }
        }
        let Some(link) = link_of(line) else { break };
        line = space.overflow(link)?;
    }
    let mut overflows = overflows;
    for line in chain_from(space, first) {
        if let Some(link) = link_of(line) {
            overflows = overflows.max(u64::from(link) + 1);
        }
    }
    for (line, index) in &moving {
        let slot = Slot(line[*index].load(Ordering::Relaxed));
        while !insert(space, first, slot, entry_of(line, *index)) {
            space.overflow(overflows as u32)?;
            spill(space, fresh, overflows as u32);
            overflows += 1;
        }
    }
    // The geometry only moves on: a split that is done again must not take buckets away that a
    // later one of the same record has filled.
    let current = Geometry(space.geometry().load(Ordering::Relaxed));
    if current.generation() == after.generation() && current.buckets() < after.buckets() {
        // ORDERING: Release, pairs with the Acquire load in `lookup`: the new bucket is complete.
        space.geometry().store(after.0, Ordering::Release);
    }
    for (line, index) in moving {
        // ORDERING: Release, pairs with the Acquire load of the slot in `lookup`: who sees it
        // empty sees the geometry above.
        line[index].store(0, Ordering::Release);
    }
    Some(overflows)
}

/// Starts loading the entries whose hashes the next `splits` splits will ask for.
pub(crate) fn prefetch_entries<S: Space>(space: &S, before: Geometry, splits: u64) {
    let old = before.buckets() - (1 << before.buckets().max(1).ilog2());
    for line in (old..old + splits).filter_map(|bucket| space.bucket(bucket)) {
        for index in 0..SLOTS {
            if line[index].load(Ordering::Relaxed) != 0
                && let Some(words) = entry(space, entry_of(line, index))
            {
                prefetch(&words[HASH]);
            }
        }
    }
}

/// Overflow buckets that splitting once can need at most.
pub(crate) fn overflows_needed<S: Space>(space: &S, before: Geometry) -> u64 {
    let old = before.buckets() - (1 << before.buckets().max(1).ilog2());
    chain(space, old).count() as u64
}
