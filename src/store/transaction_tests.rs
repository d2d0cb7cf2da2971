//! What a transaction counts before it is committed.

use super::stress_tests::{PATIENCE, check, open, put, put_in, remove};
use crate::format::key::CONTROL_KEY;
use crate::store::writer::PutValue;
use crate::store::{Store, Writer};

fn put_value(store: &Store, key: &[u8], value: PutValue<'_>) {
    store.write(PATIENCE, |writer| put_in(store, writer, key, value)).unwrap();
}

fn put_file(store: &Store, key: u32, len: usize) {
    let staged = store.stage_bytes(&vec![7; len], PATIENCE).unwrap();
    put_value(store, &key.to_be_bytes(), PutValue::Staged(staged));
}

const OWN: &[u8] = &[CONTROL_KEY, 201];

fn remove_own(store: &Store) {
    let work = |writer: &mut Writer<'_>| {
        let found = writer.find(store.hashed(OWN))?.unwrap();
        writer.remove(store.hashed(OWN), &found, 0)
    };
    store.write(PATIENCE, work).unwrap();
}

/// Keys, own keys, bytes of records and of files.
fn counts(store: &Store) -> [u64; 4] {
    let state = store.write(PATIENCE, |writer: &mut Writer<'_>| Ok(writer.state())).unwrap();
    [state.len, state.controls, state.live_bytes, state.file_bytes]
}

#[test]
fn what_a_transaction_counts_is_what_it_commits() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..10).for_each(|key| put(&store, key, &[7; 100]));
    (10..14).for_each(|key| put_file(&store, key, 30_000));
    for number in 201..210 {
        put_value(&store, &[CONTROL_KEY, number], PutValue::Bytes(b"of its own"));
    }
    let before = counts(&store);
    let steps: [&dyn Fn(); 15] = [
        &|| put(&store, 100, &[7; 300]),
        &|| put(&store, 100, &[7; 50]),
        &|| put(&store, 0, &[7; 500]),
        &|| put(&store, 0, b"small"),
        &|| assert!(remove(&store, 1)),
        &|| assert!(remove(&store, 100)),
        &|| put_file(&store, 101, 50_000),
        &|| put_file(&store, 10, 90_000),
        &|| put(&store, 11, b"no file any more"),
        &|| assert!(remove(&store, 12)),
        &|| put(&store, 1, b"stored again"),
        &|| assert!(remove(&store, 2)),
        &|| assert!(remove(&store, 3)),
        &|| remove_own(&store),
        &|| put_value(&store, &[CONTROL_KEY, 200], PutValue::Bytes(b"of its own")),
    ];
    for last in 1..=steps.len() {
        let begun = store.begin(PATIENCE).unwrap();
        steps[..last].iter().for_each(|step| step());
        assert_ne!(counts(&store), before, "after {last} steps");
        drop(begun);
        assert_eq!(counts(&store), before, "{last} steps were rolled back");
    }
    let begun = store.begin(PATIENCE).unwrap();
    steps.iter().for_each(|step| step());
    let counted = counts(&store);
    begun.commit().unwrap();
    assert_eq!(counts(&store), counted);
    check(&store);
}

#[test]
fn a_file_that_a_transaction_has_stored_and_names_again_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let begun = store.begin(PATIENCE).unwrap();
    let staged = store.stage_bytes(&[7; 30_000], PATIENCE).unwrap();
    let file = staged.reference();
    put_value(&store, b"key", PutValue::Staged(staged));
    // As where only the expiry is changed.
    put_value(&store, b"key", PutValue::File(file));
    put_file(&store, 1, 1000);
    put_file(&store, 1, 2000);
    begun.commit().unwrap();
    assert!(store.shared().open_value_file(file).unwrap().is_some());
    assert_eq!(store.shared().value_files().unwrap().len(), 2);
    check(&store);
}

/// The value of a key as a writer reads it, and the length of its file if it has one.
fn read(store: &Store, key: u32) -> Option<Vec<u8>> {
    let work = |writer: &mut Writer<'_>| {
        let Some(found) = writer.find(store.hashed(&key.to_be_bytes()))? else { return Ok(None) };
        let (mut tag, mut value) = (b"x".to_vec(), b"y".to_vec());
        assert!(writer.read(&found, &mut tag, &mut value)?);
        assert_eq!(tag, b"");
        Ok(Some(value))
    };
    store.write(PATIENCE, work).unwrap()
}

#[test]
fn a_transaction_reads_what_it_has_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..3).for_each(|key| put(&store, key, b"old"));
    let begun = store.begin(PATIENCE).unwrap();
    put(&store, 1, b"new");
    put(&store, 3, b"added");
    assert!(remove(&store, 2));
    let all = || (0..4).map(|key| read(&store, key)).collect::<Vec<_>>();
    let value = |value: &[u8]| Some(value.to_vec());
    let expected = [value(b"old"), value(b"new"), None, value(b"added")];
    assert_eq!(all(), expected);
    begun.commit().unwrap();
    assert_eq!(all(), expected);
    check(&store);
}

/// Its last two records lie in one segment, whatever is left of that. Removals may use all of it.
#[test]
fn a_transaction_ends_anywhere_in_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..4000).for_each(|key| put(&store, key, b"v"));
    let first = store.shared().head.tail().segment();
    for key in 0..4000 {
        let begun = store.begin(PATIENCE).unwrap();
        assert!(remove(&store, key));
        begun.commit().unwrap();
    }
    assert!(store.shared().head.tail().segment().since(first) > 5);
    assert_eq!(store.state().len, 0);
    check(&store);
}
