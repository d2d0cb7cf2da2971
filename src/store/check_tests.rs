//! What `check()` finds, and what a repair makes of it.

use std::sync::atomic::Ordering;

use super::stress_tests::{PATIENCE, check, get, open, put};
use crate::format::location::{Location, Segment};
use crate::format::record::{Header, Kind};
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
