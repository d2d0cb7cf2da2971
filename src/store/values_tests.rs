//! Value files: written whole or not at all, and kept as long as the disk may need them.

use std::cell::Cell;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

use super::stress_tests::{PATIENCE, check, open, put, put_in, transact};
use crate::error::ErrorKind;
use crate::format::entry::LIFE;
use crate::format::record::FileRef;
use crate::store::writer::PutValue;
use crate::store::{Store, Writer};
use crate::sys::sync::Ordering;
use crate::sys::testing::{Child, Step, watch};
use crate::sys::trust::pretend::set_boot;
use crate::table::Space;

/// Gives one byte at a time, after an interruption each; then an end, or an error.
struct Halting {
    left: usize,
    is_interrupted: bool,
    fails: bool,
}

impl Read for Halting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.is_interrupted = !self.is_interrupted;
        match self.left {
            _ if self.is_interrupted => Err(io::ErrorKind::Interrupted.into()),
            0 if self.fails => Err(io::ErrorKind::BrokenPipe.into()),
            0 => Ok(0),
            _ => {
                (buffer[0], self.left) = (7, self.left - 1);
                Ok(1)
            }
        }
    }
}

fn halting(fails: bool) -> Halting {
    Halting { left: 5, is_interrupted: false, fails }
}

/// How many files there are below `values`.
fn files(store: &Store) -> usize {
    let Ok(entries) = std::fs::read_dir(store.directory().join("values")) else { return 0 };
    let count = |path: std::path::PathBuf| match path.is_dir() {
        true => path.read_dir().unwrap().count(),
        false => 1,
    };
    entries.map(|entry| count(entry.unwrap().path())).sum()
}

fn put_file(store: &Store) -> FileRef {
    put_file_of(store, 100)
}

fn put_file_of(store: &Store, len: usize) -> FileRef {
    let staged = store.stage_bytes(&vec![8; len], PATIENCE).unwrap();
    let file = staged.reference();
    let work = |writer: &mut Writer<'_>| put_in(store, writer, b"key", PutValue::Staged(staged));
    store.write(PATIENCE, work).unwrap();
    file
}

#[test]
fn what_a_reader_gives_is_staged_whole_or_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let staged = store.stage(&mut halting(false), PATIENCE).unwrap();
    assert_eq!((staged.len(), files(&store)), (5, 1));
    drop(staged);
    assert_eq!(files(&store), 0, "it was not kept");
    let error = store.stage(&mut halting(true), PATIENCE).map(drop).unwrap_err();
    assert_eq!((error.kind(), files(&store)), (ErrorKind::Io, 0));
}

#[test]
fn a_value_file_that_cannot_be_opened_is_not_taken_for_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let file = put_file(&store);
    let refused = |step: Step| match step {
        Step::Call("open") => Err(io::ErrorKind::Other.into()),
        _ => Ok(()),
    };
    assert!(watch(refused, || store.open_value_file(file)).is_err());
    assert!(store.open_value_file(file).unwrap().is_some());
    let missing = FileRef { number: !file.number, ..file };
    assert!(store.open_value_file(missing).unwrap().is_none());
}

#[test]
fn a_value_file_that_is_on_disk_stays_until_what_came_after_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let is_there = |file| store.open_value_file(file).unwrap().is_some();
    let first = put_file(&store);
    let second = put_file(&store);
    assert!(!is_there(first) && is_there(second), "the first has never been on disk");
    store.sync_log().unwrap();
    let third = put_file(&store);
    let fourth = put_file(&store);
    assert!(is_there(second), "what replaced it may be lost");
    assert!(!is_there(third) && is_there(fourth), "the third has never been on disk");
    store.compact(PATIENCE).unwrap();
    assert_eq!((files(&store), is_there(fourth)), (1, true));
}

/// Large: of an eighth of the limit, all together.
#[test]
fn files_that_wait_for_the_disk_are_few_and_not_large() {
    for (len, count) in [(140_000, 1), (60_000, 3), (1000, 8)] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 1 << 20);
        put_file_of(&store, len);
        for waiting in 1..=count {
            store.sync_log().unwrap();
            put_file_of(&store, len);
            let expected = if waiting < count { waiting + 1 } else { 1 };
            assert_eq!(files(&store), expected, "{waiting} of {len} bytes");
        }
    }
}

fn replace(store: &Store) {
    let work = |writer: &mut Writer<'_>| put_in(store, writer, b"key", PutValue::Bytes(b"v"));
    store.write(PATIENCE, work).unwrap();
}

#[test]
fn a_value_file_that_cannot_be_on_disk_goes_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put_file(&store);
    replace(&store);
    assert_eq!(files(&store), 0);
}

/// Its segment can be synced, and what replaced it be lost.
#[test]
fn a_value_file_named_in_an_older_segment_stays() {
    for is_transaction in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 1 << 30);
        put_file(&store);
        if is_transaction {
            // The commit lies in the next segment, the record that it is for in this one.
            let begun = store.begin(PATIENCE).unwrap();
            replace(&store);
            (0..100).for_each(|key| put(&store, key, &[7; 1000]));
            begun.commit().unwrap();
        } else {
            store.write(PATIENCE, |writer| writer.end_segment()).unwrap();
            replace(&store);
        }
        assert_eq!(files(&store), 1, "{is_transaction}");
    }
}

/// This process does not know how far the other one has got, or will get.
#[test]
fn a_value_file_that_another_process_syncs_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put_file(&store);
    assert!(Child::fork(|| store.sync_log().is_ok()).succeeded());
    replace(&store);
    assert_eq!(files(&store), 1);
}

#[test]
fn a_value_file_of_a_record_that_was_moved_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put_file(&store);
    let last = store.write(PATIENCE, |writer| writer.end_segment()).unwrap();
    while store.write(PATIENCE, |writer| writer.drain_to(last)).unwrap() {}
    replace(&store);
    assert_eq!(files(&store), 1);
}

/// What is replaced between the look at the end of the log and the promise is synced, too.
#[test]
fn a_sync_goes_on_to_where_the_log_ends_once_it_has_promised() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put_file(&store);
    let before = store.shared().head.tail();
    let is_done = Rc::new(Cell::new(false));
    let (other, done) = (store.clone(), Rc::clone(&is_done));
    let hook = move |step: Step| {
        if step == Step::Store && !done.replace(true) {
            replace(&other);
        }
        Ok(())
    };
    let promised = watch(hook, || store.shared().head.promise());
    assert!(is_done.get() && promised != before);
    assert_eq!(promised, store.shared().head.tail());
}

#[test]
fn a_value_file_that_was_replaced_is_synced_with_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let file = put_file(&store);
    let inode = std::fs::metadata(store.directory().join(file.name())).unwrap().ino();
    let segment = store.write(PATIENCE, |writer| writer.end_segment()).unwrap();
    replace(&store);
    let is_synced = Rc::new(Cell::new(false));
    let seen = Rc::clone(&is_synced);
    let hook = move |step: Step| {
        seen.set(seen.get() || step == Step::Sync(inode));
        Ok(())
    };
    watch(hook, || store.shared().sync_segment(segment, None)).unwrap();
    assert!(is_synced.get());
}

#[test]
fn a_transaction_deletes_the_files_of_what_it_replaces_and_removes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let remove = |writer: &mut Writer<'_>| {
        let key = store.hashed(b"key");
        let found = writer.find(key)?.unwrap();
        writer.remove(key, &found, 0)
    };
    put_file(&store);
    transact(&store, || replace(&store));
    assert_eq!(files(&store), 0);
    put_file(&store);
    transact(&store, || _ = put_file(&store));
    assert_eq!(files(&store), 1);
    transact(&store, || store.write(PATIENCE, remove).unwrap());
    assert_eq!(files(&store), 0);
}

/// With the power the number of claims of a slot can go, and with it that of its next owner begins anew.
#[test]
fn a_name_of_an_unfinished_file_that_an_earlier_boot_has_used_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    // Where no other test counts.
    let child = Child::fork(|| {
        let staged = store.stage_bytes(b"one", PATIENCE).unwrap();
        let (front, count) = staged.name().rsplit_once('.').unwrap();
        let next = format!("{front}.{:x}", u64::from_str_radix(count, 16).unwrap() + 1);
        let next = dir.path().join(next);
        std::fs::write(&next, b"of an earlier boot").unwrap();
        let staged = store.stage_bytes(b"two", PATIENCE);
        std::fs::read(&next).is_ok_and(|bytes| bytes == b"two") && staged.is_ok()
    });
    assert!(child.succeeded());
}

/// A slot is used again by whoever comes next, and lives as long as that one.
#[test]
fn what_a_killed_process_was_writing_is_swept_although_its_slot_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let stage = || {
        let store = open(dir.path(), 1 << 30);
        std::mem::forget(store.stage_bytes(&[8; 100], PATIENCE).unwrap());
        true
    };
    assert!(Child::fork(stage).succeeded());
    let store = open(dir.path(), 1 << 30);
    put_file(&store);
    let own = store.stage_bytes(&[8; 100], PATIENCE).unwrap();
    assert_eq!(files(&store), 3);
    store.compact(PATIENCE).unwrap();
    assert_eq!(files(&store), 2, "the value, and what this process is writing");
    drop(own);
    assert_eq!(files(&store), 1);
}

#[test]
fn a_value_file_that_is_whole_is_there_after_power_loss_and_no_other() {
    for is_whole in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let boot = set_boot(Some([1; 16]));
        let store = open(dir.path(), 1 << 30);
        put(&store, 1, b"before");
        let file = put_file(&store);
        if !is_whole {
            // Its length has reached the disk, its bytes have not.
            std::fs::write(dir.path().join(file.name()), [0; 100]).unwrap();
        }
        drop((store, boot));
        let _boot = set_boot(Some([2; 16]));
        let store = open(dir.path(), 1 << 30);
        assert_eq!(store.state().len, if is_whole { 2 } else { 1 });
        check(&store);
    }
}

#[test]
fn what_a_dead_process_was_writing_is_swept_away_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let kept = put_file(&store);
    let dying = Child::fork(|| {
        std::mem::forget(store.stage_bytes(&[8; 100], PATIENCE).unwrap());
        true
    });
    assert!(dying.succeeded());
    let staged = store.stage_bytes(&[9; 100], PATIENCE).unwrap();
    assert_eq!(files(&store), 3);
    store.compact(PATIENCE).unwrap();
    assert_eq!(files(&store), 2);
    assert!(store.open_value_file(kept).unwrap().is_some());
    let work = |writer: &mut Writer<'_>| put_in(&store, writer, b"other", PutValue::Staged(staged));
    store.write(PATIENCE, work).unwrap();
    check(&store);
}

#[test]
fn files_that_are_no_values_stay_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let file = put_file(&store);
    let values = dir.path().join("values");
    let beside = dir.path().join(file.name()).with_file_name("another");
    let apart = values.join("another").join("another");
    std::fs::create_dir(values.join("another")).unwrap();
    for path in [&beside, &apart] {
        std::fs::write(path, b"of the user").unwrap();
    }
    store.compact(PATIENCE).unwrap();
    store.write(PATIENCE, |writer| writer.clear()).unwrap();
    assert!(beside.exists() && apart.exists());
    assert!(store.open_value_file(file).unwrap().is_none());
}

/// A damaged page: what it names, and what pages behind it name, is not met.
#[test]
fn a_sweep_that_does_not_meet_all_records_deletes_no_values() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..200).for_each(|key| put(&store, key, b"v"));
    let file = put_file(&store);
    let life = &store.shared().table.page(1).unwrap()[LIFE];
    life.store(0, Ordering::Relaxed);
    store.compact(PATIENCE).unwrap();
    assert!(dir.path().join(file.name()).exists());
    assert!(!store.repair(PATIENCE).unwrap().is_empty());
    store.compact(PATIENCE).unwrap();
    assert!(store.open_value_file(file).unwrap().is_some());
    check(&store);
}
