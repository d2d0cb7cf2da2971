//! What a sync waits for.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

use super::stress_tests::{PATIENCE, open, put, put_in};
use crate::error::ErrorKind;
use crate::format::location::{Location, Segment};
use crate::format::segment::HEADER_UNITS;
use crate::log::segments::MAX_SEGMENTS;
use crate::store::open::OpenOptions;
use crate::store::writer::PutValue;
use crate::store::{Store, Writer};
use crate::sys::testing::{Child, Step, watch};
use crate::sys::trust::pretend::set_boot;

/// The kinds of all files and directories, by their inodes.
fn kinds(path: &Path, kind: &'static str, found: &mut HashMap<u64, &'static str>) {
    found.insert(path.metadata().unwrap().ino(), kind);
    if !path.is_dir() {
        return;
    }
    for entry in std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        let kind = match (kind, name.split('.').next().unwrap()) {
            ("names", "log") => "log",
            ("names", "table" | "entries") => "table",
            ("names", "values") => "names of values",
            ("names of values", _) => "values",
            ("values", _) => "value",
            _ => "another",
        };
        kinds(&entry.path(), kind, found);
    }
}

/// What `work` waits for, by kind.
fn waits(store: &Store, work: impl FnOnce()) -> BTreeSet<&'static str> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let steps = Rc::clone(&seen);
    let hook = move |step: Step| {
        if matches!(step, Step::Sync(_) | Step::Flush) {
            steps.borrow_mut().push(step);
        }
        Ok(())
    };
    watch(hook, work);
    let mut found = HashMap::new();
    kinds(store.directory(), "names", &mut found);
    let kind = |step: &Step| match step {
        Step::Sync(inode) => found.get(inode).copied().unwrap_or("gone"),
        _ => "head",
    };
    seen.borrow().iter().map(kind).collect()
}

#[test]
fn a_sync_waits_for_all_that_a_rebuild_needs_and_for_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let sync_log = || waits(&store, || store.sync_log().unwrap());
    let put_file = || {
        let staged = store.stage_bytes(&[8; 100], PATIENCE).unwrap();
        let work =
            |writer: &mut Writer<'_>| put_in(&store, writer, b"file", PutValue::Staged(staged));
        store.write(PATIENCE, work).unwrap();
    };
    put(&store, 1, b"v");
    assert_eq!(sync_log(), BTreeSet::from(["head", "log", "names"]));
    put(&store, 2, b"v");
    assert_eq!(sync_log(), BTreeSet::from(["log"]));
    put_file();
    let with_file = ["log", "names", "names of values", "value", "values"];
    assert_eq!(sync_log(), BTreeSet::from(with_file), "the file in a new directory");
    store.write(PATIENCE, |writer| writer.end_segment()).unwrap();
    put(&store, 3, b"v");
    let names = ["log", "names", "names of values"];
    assert!(sync_log().is_superset(&BTreeSet::from(names)), "a segment more");
    put(&store, 4, b"v");
    let all = ["head", "log", "names", "names of values", "table"];
    let sync = waits(&store, || store.sync(PATIENCE).unwrap());
    assert!(sync.is_superset(&BTreeSet::from(all)), "{sync:?}");
}

#[test]
fn a_sync_does_not_look_for_segments_that_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"v");
    let head = &store.shared().head;
    let (tail, far) = (head.tail(), Segment::new(u64::from(MAX_SEGMENTS) + 10));
    head.set_tail(Location::new(far, HEADER_UNITS));
    assert_eq!(store.sync_log().unwrap_err().kind(), ErrorKind::Corrupt);
    head.set_tail(tail);
    store.sync_log().unwrap();
}

#[test]
fn who_only_reads_waits_for_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"v");
    let options =
        OpenOptions { create: false, read_only: true, allow_network: true, settings: None };
    let reader = Store::open(dir.path(), &options).unwrap();
    let waited = waits(&reader, || {
        assert_eq!(reader.sync_log().unwrap_err().kind(), ErrorKind::ReadOnly);
        assert_eq!(reader.sync(PATIENCE).unwrap_err().kind(), ErrorKind::ReadOnly);
    });
    assert_eq!(waited, BTreeSet::new());
}

#[test]
fn a_sync_fails_where_the_names_of_value_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let staged = store.stage_bytes(&[8; 100], PATIENCE).unwrap();
    let work = |writer: &mut Writer<'_>| put_in(&store, writer, b"file", PutValue::Staged(staged));
    store.write(PATIENCE, work).unwrap();
    let names = dir.path().join("values").metadata().unwrap().ino();
    let hook = move |step: Step| match step {
        Step::Sync(inode) if inode == names => Err(std::io::ErrorKind::Other.into()),
        _ => Ok(()),
    };
    assert_eq!(watch(hook, || store.sync_log()).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(store.sync_log().unwrap_err().kind(), ErrorKind::Io, "it is remembered");
}

#[test]
fn what_is_known_to_be_on_disk_is_what_whoever_knows_most_has_seen() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"v");
    store.sync_log().unwrap();
    let first = store.shared().head.tail();
    assert_eq!(store.shared().synced(), first);
    put(&store, 2, b"v");
    assert!(Child::fork(|| store.sync(PATIENCE).is_ok()).succeeded());
    let second = store.shared().head.tail();
    assert!(second != first && store.shared().own_synced() == first);
    assert_eq!(store.shared().synced(), second);
    // Who knows less does not take it back.
    put(&store, 3, b"v");
    assert_eq!(store.state().synced, second);
}

#[test]
fn segments_and_tables_that_are_nobodys_go_with_a_rebuild_and_with_compact() {
    for is_rebuilt in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let boot = set_boot(Some([1; 16]));
        let store = open(dir.path(), 1 << 30);
        put(&store, 1, b"v");
        let left = [Segment::new(1000).file_name(), "table.1000.0".to_owned()];
        for name in &left {
            std::fs::write(dir.path().join(name), [0; 8192]).unwrap();
        }
        let store = if is_rebuilt {
            drop((store, boot));
            let _boot = set_boot(Some([2; 16]));
            open(dir.path(), 1 << 30)
        } else {
            store.compact(PATIENCE).unwrap();
            store
        };
        assert!(left.iter().all(|name| !dir.path().join(name).exists()), "{is_rebuilt}");
        assert_eq!(store.state().len, 1);
    }
}

#[test]
fn what_is_read_between_two_equal_numbers_was_there_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"v");
    let first = store.at_rest().unwrap();
    assert_eq!(store.at_rest(), Some(first));
    put(&store, 2, b"v");
    let second = store.at_rest().unwrap();
    assert!(second != first);
    let (head, tail) = (&store.shared().head, store.shared().head.tail());
    head.set_tail(tail.plus(1));
    assert_eq!(store.at_rest(), None, "a write is under way");
    head.set_tail(tail);
    assert_eq!(store.at_rest(), Some(second));
}
