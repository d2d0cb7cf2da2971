//! Walks over what is not there: entries of the cache's own, empty pages, places that moved.

use std::collections::HashSet;

use super::stress_tests::{PATIENCE, open, put, put_in, remove, telling, walk};
use crate::format::entry::{LIFE, LINKS, PAGE_ENTRIES};
use crate::format::key::CONTROL_KEY;
use crate::store::scan::Item;
use crate::store::writer::PutValue;
use crate::store::{Store, Writer};
use crate::sys::sync::Ordering;
use crate::table::{Space, pages};

fn put_own(store: &Store, number: u8) {
    let key = [CONTROL_KEY, 200, number];
    let work = |writer: &mut Writer<'_>| put_in(store, writer, &key, PutValue::Bytes(b"own"));
    store.write(PATIENCE, work).unwrap();
}

#[test]
fn a_walk_passes_many_keys_of_the_caches_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    for key in [1, 2] {
        (0..100).for_each(|number| put_own(&store, 100 * (key - 1) + number));
        put(&store, key.into(), &telling(key.into(), 1, 0));
    }
    (0..50).for_each(|number| put_own(&store, 200 + number));
    for back in [false, true] {
        assert_eq!(walk(&store, &mut store.scan(), || back), HashSet::from([1, 2]), "{back}");
    }
}

/// As a transaction leaves them for a moment that removes many keys.
#[test]
fn a_walk_passes_many_empty_pages() {
    const PAGES: u32 = 100;
    const KEYS: u32 = PAGES * PAGE_ENTRIES as u32;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..KEYS).for_each(|key| put(&store, key, &telling(key, 1, 0)));
    (64..KEYS - 64).for_each(|entry| pages::remove(&store.shared().table, entry));
    let left: HashSet<u32> = (0..64).chain(KEYS - 64..KEYS).collect();
    for back in [false, true] {
        assert_eq!(walk(&store, &mut store.scan(), || back), left, "back {back}");
    }
}

#[test]
fn a_walk_whose_page_was_merged_goes_on_where_it_was() {
    for back in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 1 << 30);
        (0..2000).for_each(|key| put(&store, key, &telling(key, 1, 0)));
        let (mut scan, mut item) = (store.scan(), Item::default());
        let mut next = || {
            let found =
                if back { scan.next_back(&store, &mut item) } else { scan.next(&store, &mut item) };
            found.unwrap().then(|| u32::from_be_bytes(item.key[..].try_into().unwrap()))
        };
        let first: Vec<u32> = std::iter::from_fn(&mut next).take(1000).collect();
        let merged = store.state().numbered;
        (0..2000).filter(|key| key % 5 != 0).for_each(|key| assert!(remove(&store, key)));
        assert_ne!(store.state().numbered, merged, "no pages were merged");
        let rest: Vec<u32> = std::iter::from_fn(next).collect();
        let is_kept = |key: &u32| key.is_multiple_of(5);
        let met: Vec<u32> = first.into_iter().filter(is_kept).chain(rest).collect();
        let all = (0..2000).filter(is_kept);
        let all: Vec<u32> = if back { all.rev().collect() } else { all.collect() };
        assert_eq!(met, all, "back {back}");
    }
}

#[test]
fn a_walk_ends_in_a_circle_of_empty_pages() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..5 * 64).for_each(|key| put(&store, key, &telling(key, 1, 0)));
    let table = &store.shared().table;
    (64..3 * 64).for_each(|entry| pages::remove(table, entry));
    // The links are page numbers plus one: each is before and behind the other.
    for (page, other) in [(1, 2), (2, 1)] {
        table.page(page).unwrap()[LINKS].store((other + 1) << 32 | (other + 1), Ordering::Relaxed);
    }
    assert_eq!(walk(&store, &mut store.scan(), || false), (0..64).collect());
    assert_eq!(walk(&store, &mut store.scan(), || true), (3 * 64..5 * 64).collect());
}

/// A page that says that it is in no list, and is linked.
#[test]
fn a_walk_ends_at_a_damaged_page_and_counts_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..1000).for_each(|key| put(&store, key, &telling(key, 1, 0)));
    let life = &store.shared().table.page(7).unwrap()[LIFE];
    life.store(0, Ordering::Relaxed);
    for (back, rows) in [(false, 0..7 * 64), (true, 8 * 64..1000)] {
        assert_eq!(walk(&store, &mut store.scan(), || back), rows.collect(), "back {back}");
        assert_eq!(store.shared().head.damaged().load(Ordering::Relaxed), 1 + u64::from(back));
    }
    // Its rows are found again from the log.
    assert!(!store.repair(PATIENCE).unwrap().is_empty());
    assert_eq!(walk(&store, &mut store.scan(), || false), (0..1000).collect());
}
