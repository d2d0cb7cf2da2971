//! What `check()` finds, and what a repair makes of it.

use std::sync::atomic::Ordering;

use super::stress_tests::{PATIENCE, check, get, open, put, remove};
use crate::format::location::{Location, Segment};
use crate::format::record::{Header, Kind};
use crate::format::state::State;
use crate::log::segments::MAX_SEGMENTS;
use crate::store::writer::FoundAt;
use crate::store::{Store, Writer};
use crate::table::{pages, publish};

/// Where the record of a key is, and its entry.
fn place(store: &Store, key: u32) -> (Location, u32) {
    let key = key.to_be_bytes();
    let find = |writer: &mut Writer<'_>| writer.find(store.hashed(&key));
    let found = store.write(PATIENCE, find).unwrap().unwrap();
    let FoundAt::Log(at) = found.place else { panic!("not in a transaction") };
    (at, found.entry)
}

fn findings(store: &Store) -> Vec<String> {
    store.check(PATIENCE).unwrap().into_iter().map(|finding| finding.what).collect()
}

#[test]
fn every_damaged_place_of_the_log_is_found_also_where_nothing_is_live() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..10).for_each(|key| put(&store, key, b"old"));
    let dead = [3, 5].map(|key| place(&store, key).0);
    (0..10).for_each(|key| put(&store, key, b"new"));
    for at in dead {
        let words = store.shared().segment(at.segment()).unwrap().unwrap();
        words[at.unit() as usize].fetch_xor(1 << 40, Ordering::Relaxed);
    }
    let expected = dead.map(|at| format!("the log is damaged at byte {}", 8 * at.unit()));
    assert_eq!(findings(&store), expected);
    assert!((0..10).all(|key| get(&store, key).unwrap() == b"new"));
}

#[test]
fn a_bucket_and_an_entry_that_differ_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..10).for_each(|key| put(&store, key, b"v"));
    let ((at, entry), key) = (place(&store, 4), 4u32.to_be_bytes());
    let (table, hash) = (&store.shared().table, store.hashed(&key).hash);
    let buckets = store.state().geometry.buckets();
    let slot = pages::view(table, entry).unwrap().slot;
    publish::find(table, buckets, hash, at).unwrap().publish(slot.pending());
    let what = |what: &str| [format!("the key of the record at byte {}: {what}", 8 * at.unit())];
    assert_eq!(findings(&store), what("bucket and entry differ"));
    pages::set_slot(table, entry, slot.pending());
    assert_eq!(findings(&store), what("it is marked as of a transaction"));
    publish::find(table, buckets, hash, at).unwrap().publish(slot);
    pages::set_slot(table, entry, slot);
    publish::find(table, buckets, hash, at).unwrap().fill(slot, entry + 1);
    assert_eq!(findings(&store), what("its bucket has another entry"));
    publish::find(table, buckets, hash, at).unwrap().fill(slot, entry);
    check(&store);
}

/// Each would be looked for under its name, however many there are.
#[test]
fn a_repair_does_not_begin_with_segments_that_no_log_can_have() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"v");
    let retire = |writer: &mut Writer<'_>| {
        let (header, far) = (Header::job(Kind::Retire, 1), u64::from(MAX_SEGMENTS));
        writer.room_for_job(header.units())?;
        writer.append(&header, &[&far.to_le_bytes()])?;
        writer.shared.head.set_tail(writer.tail);
        writer.flip(writer.tail)
    };
    store.write(PATIENCE, retire).unwrap();
    store.repair(PATIENCE).unwrap();
    assert_eq!((store.state().first, get(&store, 1).unwrap()), (Segment::new(1), b"v".to_vec()));
    check(&store);
}

#[test]
fn a_repair_does_not_take_a_store_for_new_where_some_counters_say_so() {
    for which in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 1 << 30);
        (0..10).for_each(|key| put(&store, key, b"v"));
        let (head, state) = (&store.shared().head, store.state());
        let damaged = match which {
            0 => State { log_units: 0, ..state },
            1 => State { len: 0, ..state },
            2 => State { next_row: 1, ..state },
            3 => State { log_units: 0, next_row: 1, ..state },
            _ => State { len: 0, next_row: 1, ..state },
        };
        let applied = head.applied();
        head.flip(applied, applied.location(), &damaged);
        store.repair(PATIENCE).unwrap();
        assert!((0..10).all(|key| get(&store, key).unwrap() == b"v"));
        let after = store.state();
        assert_eq!((after.len, after.next_row), (state.len, state.next_row), "{which}");
        assert!(after.log_units != 0, "{which}");
        check(&store);
    }
}

/// Nothing says any more that the older one was replaced, or removed.
#[test]
fn of_two_records_of_a_key_a_repair_keeps_the_newer_one() {
    for is_removed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 1 << 30);
        put(&store, 2, b"another");
        put(&store, 1, b"old");
        let at = store.shared().head.tail();
        if is_removed {
            assert!(remove(&store, 1));
        } else {
            put(&store, 1, b"in between");
        }
        put(&store, 1, b"new");
        let words = store.shared().segment(at.segment()).unwrap().unwrap();
        words[at.unit() as usize].fetch_xor(1 << 40, Ordering::Relaxed);
        assert!(!store.repair(PATIENCE).unwrap().is_empty());
        assert_eq!((get(&store, 1).unwrap(), store.state().len), (b"new".to_vec(), 2));
        assert_eq!(get(&store, 2).unwrap(), b"another");
        check(&store);
    }
}

#[test]
fn a_repair_keeps_what_is_left_where_half_of_the_segments_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (1..150).for_each(|key| put(&store, key, &[7; 300]));
    let first = store.write(PATIENCE, |writer| writer.end_segment()).unwrap();
    put(&store, 150, b"left");
    assert_eq!(store.state().first, first);
    std::fs::remove_file(dir.path().join(first.file_name())).unwrap();
    let findings = store.repair(PATIENCE).unwrap();
    assert!(findings.iter().any(|it| it.what == "the segment is missing"), "{findings:?}");
    assert_eq!((get(&store, 149), get(&store, 150).unwrap()), (None, b"left".to_vec()));
    check(&store);
}
