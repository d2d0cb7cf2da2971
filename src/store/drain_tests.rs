//! What draining carries over, what it lets go, and what it leaves alone.

use std::sync::atomic::Ordering;

use super::stress_tests::{PATIENCE, check, get, open, put, put_in, remove, transact};
use crate::format::key::CONTROL_KEY;
use crate::store::space::segment_units;
use crate::store::writer::{FoundAt, PutValue};
use crate::store::{Store, Writer};

const CONTROL: [u8; 2] = [CONTROL_KEY, 200];
const OTHER_CONTROL: [u8; 2] = [CONTROL_KEY, 201];

/// Moves every record once.
fn move_all(store: &Store) {
    let last = store.write(PATIENCE, |writer| writer.end_segment()).unwrap();
    while store.write(PATIENCE, |writer| writer.drain_to(last)).unwrap() {}
}

fn put_control(store: &Store, key: &[u8]) {
    let work = |writer: &mut Writer<'_>| put_in(store, writer, key, PutValue::Bytes(b"of its own"));
    store.write(PATIENCE, work).unwrap();
}

/// Keys that are accounted: all, those of the cache's own, bytes of records and of value files.
fn counted(store: &Store) -> [u64; 4] {
    let state = store.state();
    [state.len, state.controls, state.live_bytes, state.file_bytes]
}

#[test]
fn what_is_moved_stays_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"plain");
    put_control(&store, &CONTROL);
    let staged = store.stage_bytes(&[8; 100], PATIENCE).unwrap();
    let file = staged.reference();
    let work = |writer: &mut Writer<'_>| put_in(&store, writer, b"file", PutValue::Staged(staged));
    store.write(PATIENCE, work).unwrap();
    transact(&store, || put(&store, 2, b"of a transaction"));
    let before = counted(&store);
    for _ in 0..2 {
        move_all(&store);
        assert_eq!(counted(&store), before);
        assert_eq!(get(&store, 1).unwrap(), b"plain");
        assert_eq!(get(&store, 2).unwrap(), b"of a transaction");
        assert!(store.open_value_file(file).unwrap().is_some());
        check(&store);
    }
}

/// Flips a bit in the last byte of a key's record.
fn damage(store: &Store, key: &[u8]) {
    let work = |writer: &mut Writer<'_>| {
        let found = writer.find(store.hashed(key))?.unwrap();
        let FoundAt::Log(at) = found.place else { panic!("no transaction is open") };
        let last = at.unit() + found.header.units() - 1;
        writer.words(at)?.unwrap()[last as usize].fetch_xor(1, Ordering::Relaxed);
        Ok(())
    };
    store.write(PATIENCE, work).unwrap();
}

/// Also in the counts of the cache's own keys.
#[test]
fn a_damaged_value_that_draining_meets_is_gone_and_no_longer_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"sound");
    put_control(&store, &OTHER_CONTROL);
    let expected = counted(&store);
    put(&store, 2, b"damaged");
    put_control(&store, &CONTROL);
    damage(&store, &2u32.to_be_bytes());
    damage(&store, &CONTROL);
    move_all(&store);
    assert_eq!(store.shared().head.damaged().load(Ordering::Relaxed), 2);
    assert_eq!(counted(&store), expected);
    assert_eq!((get(&store, 1).unwrap(), get(&store, 2)), (b"sound".to_vec(), None));
    check(&store);
}

#[test]
fn a_damaged_value_is_a_miss_that_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (1..3).for_each(|key| put(&store, key, b"value"));
    damage(&store, &2u32.to_be_bytes());
    assert_eq!((get(&store, 1).unwrap(), get(&store, 2)), (b"value".to_vec(), None));
    assert_eq!(store.shared().head.damaged().load(Ordering::Relaxed), 1);
}

#[test]
fn compact_leaves_what_is_hardly_dead() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..8000).for_each(|key| put(&store, key, &[7; 300]));
    (0..8000).step_by(28).for_each(|key| assert!(remove(&store, key)));
    let (state, segment) = (store.state(), 8 * segment_units(&store.state(), &store.settings()));
    let dead = 8 * state.log_units - state.live_bytes;
    assert!((state.live_bytes / 8..=state.live_bytes / 8 + 2 * segment).contains(&dead), "{dead}");
    let tail = store.shared().head.tail();
    store.compact(PATIENCE).unwrap();
    assert_eq!(store.shared().head.tail(), tail);
}

/// A rebuild finds them in the log, or nowhere.
#[test]
fn the_record_of_the_settings_is_carried_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"v");
    let (settings, first) = (store.settings(), store.state().settings);
    assert!(!first.is_none(), "the log begins with it");
    for _ in 0..2 {
        let before = store.state().settings;
        move_all(&store);
        let (state, tail) = (store.state(), store.shared().head.tail());
        assert!(
            state.settings != before
                && state.settings.segment().is_within(state.first, tail.segment())
        );
        assert_eq!(store.settings(), settings);
    }
}
