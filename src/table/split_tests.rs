//! Splitting buckets in plain memory.

use crate::format::entry::{Access, Deadline};
use crate::format::location::Location;
use crate::format::slot::{Slot, bucket_of};
use crate::format::state::Geometry;
use crate::sys::sync::Ordering;
use crate::table::heap::Heap;
use crate::table::lookup::{Verdict, chain, link_of, lookup};
use crate::table::split::{overflows_needed, split};
use crate::table::{Space, pages, publish};

const GENERATION: u64 = 7;

fn geometry(buckets: u64) -> Geometry {
    Geometry::new(GENERATION, buckets)
}

fn hash(key: u64) -> u64 {
    key << 56 | key
}

fn place(key: u64) -> Location {
    Location::from_bits(key + 8)
}

/// A table of one bucket with so many keys, each in an entry of its own number; and how many
/// overflow buckets it has.
fn table(keys: u64, overflows: usize) -> (Heap, u64) {
    let table = Heap::new(geometry(1), 8, overflows, 1);
    let mut used = 0;
    for key in 1..=keys {
        let slot = Slot::new(hash(key), place(key));
        let (access, deadline) = (Access::new(0, 0), Deadline::new(0, 0));
        pages::store(&table, key as u32, slot, hash(key), Some(access), deadline, true);
        while !publish::insert(&table, table.bucket(0).unwrap(), slot, key as u32) {
            publish::spill(&table, 0, used as u32);
            used += 1;
        }
    }
    (table, used)
}

fn has_all(table: &Heap, keys: u64) {
    for key in 1..=keys {
        let found = lookup(table, hash(key), |candidate| {
            let is_it = candidate.slot.location() == place(key);
            if is_it { Verdict::Found(candidate.entry()) } else { Verdict::Other }
        });
        assert_eq!(found, Some(key as u32));
    }
}

/// The keys of a bucket's chain, sorted.
fn keys_of(table: &Heap, bucket: u64) -> Vec<u64> {
    let slots = chain(table, bucket).flat_map(|line| &line[..5]);
    let slots = slots.map(|word| Slot(word.load(Ordering::Relaxed)));
    let mut keys: Vec<_> =
        slots.filter(|slot| !slot.is_empty()).map(|slot| slot.location().bits() - 8).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn bucket_after_bucket_each_key_is_in_its_own() {
    let (table, mut overflows) = table(40, 20);
    for buckets in 1..8_u64 {
        let old = buckets - (1 << buckets.ilog2());
        let needed = overflows_needed(&table, geometry(buckets));
        assert_eq!(needed, chain(&table, old).count() as u64);
        let after = split(&table, geometry(buckets), overflows).unwrap();
        assert!(after >= overflows && after - overflows <= needed);
        overflows = after;
        assert_eq!(table.geometry().load(Ordering::Relaxed), geometry(buckets + 1).0);
        for bucket in 0..=buckets {
            let expected: Vec<_> =
                (1..=40).filter(|key| bucket_of(hash(*key), buckets + 1) == bucket).collect();
            assert_eq!(keys_of(&table, bucket), expected, "bucket {bucket} of {buckets} + 1");
        }
        has_all(&table, 40);
    }
    let mut links: Vec<_> =
        (0..8).flat_map(|bucket| chain(&table, bucket).filter_map(link_of)).collect();
    links.sort_unstable();
    let all: Vec<_> = (0..overflows as u32).collect();
    assert_eq!(links, all, "each overflow bucket is linked once");
}

#[test]
fn a_split_that_is_cut_short_and_done_again_is_whole() {
    let (table, overflows) = table(13, 8);
    assert_eq!(overflows, 2);
    let (_, after) = table
        .cut_anywhere(|table| split(table, geometry(1), overflows), |table| has_all(table, 13));
    assert_eq!(after, Some(3));
}

/// Six keys go to the new bucket, which needs an overflow bucket.
#[test]
fn a_bucket_that_cannot_be_reached_ends_a_split_before_anything_is_taken_away() {
    let (full, overflows) = table(12, 2);
    assert_eq!(split(&full, geometry(1), overflows), None, "no overflow bucket is left");
    has_all(&full, 12);
    assert_eq!(keys_of(&full, 0).len(), 12);
    let (small, overflows) = table(3, 2);
    assert_eq!(split(&small, geometry(8), overflows), None, "there are eight buckets only");
    let (torn, overflows) = table(12, 8);
    let words = torn.overflow(0).unwrap();
    words[7].store(words[7].load(Ordering::Relaxed) | 99 << 32, Ordering::Relaxed);
    assert_eq!(split(&torn, geometry(1), overflows), None, "a link that leads nowhere");
    let (lost, overflows) = table(3, 2);
    publish::find(&lost, 1, hash(3), place(3)).unwrap().set_entry(64);
    assert_eq!(split(&lost, geometry(1), overflows), None, "there is no page of that entry");
    for table in [&torn, &lost] {
        assert_eq!(table.geometry().load(Ordering::Relaxed), geometry(1).0);
    }
}

#[test]
fn the_geometry_only_moves_on() {
    for now in [geometry(3), geometry(2), Geometry::new(GENERATION + 1, 1)] {
        let (table, overflows) = table(8, 8);
        split(&table, geometry(1), overflows).unwrap();
        table.geometry().store(now.0, Ordering::Relaxed);
        split(&table, geometry(1), overflows).unwrap();
        assert_eq!(table.geometry().load(Ordering::Relaxed), now.0);
    }
}
