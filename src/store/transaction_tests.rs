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
