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
use crate::sys::testing::{Step, watch};

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
