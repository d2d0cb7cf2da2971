//! What is opened, what is made, and what is refused.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use super::stress_tests::{PATIENCE, check, get, open as stress_open, put, try_put};
use crate::error::{ErrorKind, Result};
use crate::format::head::HEAD_BYTES;
use crate::format::location::{Location, Segment};
use crate::format::segment::HEADER_UNITS;
use crate::format::state::State;
use crate::store::Store;
use crate::store::open::OpenOptions;
use crate::sys::sync::Ordering;
use crate::sys::testing::{Step, watch};
use crate::sys::trust::{Place, pretend::set_place};

fn open_with(path: &Path, create: bool, read_only: bool) -> Result<Store> {
    Store::open(path, &OpenOptions { create, read_only, allow_network: true, settings: None })
}

fn local_only(create: bool) -> OpenOptions {
    OpenOptions { create, read_only: false, allow_network: false, settings: None }
}

fn kind(result: Result<Store>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn nothing_is_made_where_nothing_is_to_be_made() {
    let place = tempfile::tempdir().unwrap();
    let missing = place.path().join("missing");
    for (create, read_only) in [(false, false), (false, true), (true, true)] {
        let what = format!("create {create}, read-only {read_only}");
        assert_eq!(kind(open_with(&missing, create, read_only)), Some(ErrorKind::Io), "{what}");
        assert!(!missing.exists(), "{what}");
        assert_eq!(kind(open_with(place.path(), create, read_only)), Some(ErrorKind::Io), "{what}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "{what}");
    }
    let store = open_with(&missing, true, false).unwrap();
    let (state, start) = (store.state(), Location::new(Segment::new(1), HEADER_UNITS));
    assert_eq!((state.synced, state.numbered, state.drained), (start, start, start));
}

#[test]
fn a_head_that_never_reached_the_disk_is_filled_and_no_other() {
    let zeros = |len| vec![0; len];
    let cases = [(zeros(0), true), (zeros(10), true), (zeros(HEAD_BYTES), true)];
    let strange = [vec![7; 10], vec![7; HEAD_BYTES]].map(|bytes| (bytes, false));
    for (bytes, is_blank) in cases.into_iter().chain(strange) {
        let place = tempfile::tempdir().unwrap();
        let (head, what) = (place.path().join("head"), format!("{} bytes", bytes.len()));
        fs::write(&head, &bytes).unwrap();
        let opened = open_with(place.path(), true, false);
        if is_blank {
            let store = opened.unwrap();
            put(&store, 1, b"v");
            assert_eq!(get(&store, 1).unwrap(), b"v");
            check(&store);
        } else {
            assert_eq!(kind(opened), Some(ErrorKind::Corrupt), "{what}");
            assert_eq!(fs::read(&head).unwrap(), bytes, "{what}");
        }
    }
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("head")).unwrap();
    assert_eq!(kind(open_with(place.path(), true, false)), Some(ErrorKind::Corrupt));
}

#[test]
fn directories_that_others_write_to_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let options = local_only(true);
    assert!(Store::vouch_for_directory(&place.path().join("missing")).is_ok());
    for (mode, is_fine) in [(0o700, true), (0o755, true), (0o720, false), (0o702, false)] {
        fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).unwrap();
        let expected = (!is_fine).then_some(ErrorKind::Unsupported);
        assert_eq!(kind(Store::open(place.path(), &options)), expected, "{mode:o}");
        let vouched = Store::vouch_for_directory(place.path()).err().map(|error| error.kind());
        assert_eq!(vouched, expected, "{mode:o}");
    }
}

#[test]
fn a_store_that_has_keys_and_no_log_is_damaged() {
    let changes: [fn(&mut State); 2] = [|state| state.len = 1, |state| state.next_row = 2];
    for (number, change) in changes.into_iter().enumerate() {
        let place = tempfile::tempdir().unwrap();
        let store = open_with(place.path(), true, false).unwrap();
        let (head, mut state) = (&store.shared().head, store.state());
        change(&mut state);
        let applied = head.applied();
        head.flip(applied, applied.location(), &state);
        let result = store.write(PATIENCE, |_| Ok(()));
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Corrupt, "change {number}");
    }
}

/// Another process may have mapped the files of a beginning that failed.
#[test]
fn no_number_of_a_beginning_that_failed_is_used_again() {
    let place = tempfile::tempdir().unwrap();
    let store = open_with(place.path(), true, false).unwrap();
    let first = store.state().geometry.generation();
    let file = |generation| place.path().join(format!("table.{generation:x}.0"));
    let refused = |step: Step| match step {
        Step::Call("allocate") => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    };
    for generation in [first, first + 2] {
        fs::write(file(generation), [7; 100]).unwrap();
    }
    for failures in 3..6 {
        let result = watch(refused, || store.write(PATIENCE, |_| Ok(())));
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Full);
        let is_there = |number: &u64| file(first + number).exists();
        let left: Vec<u64> = (0..10).filter(is_there).collect();
        assert_eq!(left, [failures - 1, failures]);
    }
    put(&store, 1, b"v");
    assert_eq!(store.state().geometry.generation(), first + 6);
    assert!(!(0..6).any(|number| file(first + number).exists()));
    check(&store);
}

#[test]
fn network_file_systems_are_refused_by_name_unless_they_are_allowed() {
    for name in ["NFS", "SMB", "9p"] {
        let place = tempfile::tempdir().unwrap();
        let _there = set_place(Place::Network(name));
        for create in [true, false] {
            let refused = Store::open(place.path(), &local_only(create)).err().unwrap();
            assert_eq!(refused.kind(), ErrorKind::Unsupported);
            let text = refused.to_string();
            assert!(text.contains(name) && text.contains("allow_untrusted(true)"), "{text}");
            assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
        }
        let store = open_with(place.path(), true, false).unwrap();
        put(&store, 1, b"v");
        // Also one that is there, and open.
        assert_eq!(
            kind(Store::open(place.path(), &local_only(false))),
            Some(ErrorKind::Unsupported)
        );
        assert_eq!(get(&open_with(place.path(), false, true).unwrap(), 1).unwrap(), b"v");
        check(&store);
    }
    let place = tempfile::tempdir().unwrap();
    let _there = set_place(Place::CopyOnWrite("btrfs"));
    put(&Store::open(place.path(), &local_only(true)).unwrap(), 1, b"v");
}

#[test]
fn who_only_reads_counts_nothing_and_can_write_nothing() {
    let place = tempfile::tempdir().unwrap();
    let store = open_with(place.path(), true, false).unwrap();
    put(&store, 1, &[7; 300]);
    let end = 8 * store.shared().head.tail().unit();
    let log = fs::File::options().write(true).open(place.path().join("log.0000001")).unwrap();
    log.write_all_at(b"x", end - 100).unwrap();
    let reader = open_with(place.path(), false, true).unwrap();
    let damaged = || store.shared().head.damaged().load(Ordering::Relaxed);
    assert_eq!((get(&reader, 1), damaged()), (None, 0));
    assert!(!reader.shared().head.map().is_writable());
    assert_eq!((get(&store, 1), damaged()), (None, 1));
}

/// Of a power cut or a stranger: the number after the last one is the first.
#[test]
fn a_rebuild_makes_its_table_in_files_of_its_own() {
    for name in ["table.ffffffffffffffff.0", "entries.ffffff.0", "overflow.fffffe.0"] {
        let place = tempfile::tempdir().unwrap();
        let store = open_with(place.path(), true, false).unwrap();
        (0..200).for_each(|key| put(&store, key, b"v"));
        let mut last = store.state().geometry.generation();
        for _ in 0..3 {
            fs::write(place.path().join(name), [7; 100]).unwrap();
            assert_eq!(store.repair(PATIENCE).unwrap(), [], "{name}");
            let generation = store.state().geometry.generation();
            assert!(generation != last && generation != 0, "{name}: {generation} after {last}");
            assert!((0..200).all(|key| get(&store, key).is_some()), "{name}");
            check(&store);
            last = generation;
        }
    }
}

/// A maker was killed before or after it gave `head` its name.
#[test]
fn what_is_left_of_a_head_in_the_making_is_swept_and_not_what_came_of_it() {
    let place = tempfile::tempdir().unwrap();
    let store = open_with(place.path(), true, false).unwrap();
    put(&store, 1, b"v");
    let [before, after, strange] = ["head.0123456789abcdef", "head.fedcba9876543210", "head.0"]
        .map(|it| place.path().join(it));
    fs::write(&before, [7; HEAD_BYTES]).unwrap();
    fs::hard_link(place.path().join("head"), &after).unwrap();
    fs::write(&strange, b"a stranger's").unwrap();
    store.sweep(PATIENCE).unwrap();
    assert_eq!([before, after, strange].map(|it| it.exists()), [false, false, true]);
    drop(store);
    let store = open_with(place.path(), false, false).unwrap();
    assert_eq!(get(&store, 1).unwrap(), b"v");
    check(&store);
}

/// All files of a directory are removed by hand while a process has the store open; another one
/// makes a new store of them, in files of the same names.
#[test]
fn who_has_the_store_open_that_was_there_before_leaves_the_files_of_the_next_alone() {
    let place = tempfile::tempdir().unwrap();
    let old = stress_open(place.path(), 100_000);
    (0..200).for_each(|key| put(&old, key, &[7; 300]));
    let remove = |entry: io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    };
    fs::read_dir(place.path()).unwrap().for_each(remove);
    let new = stress_open(place.path(), 100_000);
    let fill = |number: u8| (0..100).for_each(|key| put(&new, key, &[number; 300]));
    fill(1);
    let turns: [&dyn Fn() -> Option<ErrorKind>; 5] = [
        &|| (0..3000).find_map(|n| try_put(&old, n, &[7; 300]).err().map(|it| it.kind())),
        &|| old.compact(PATIENCE).err().map(|it| it.kind()),
        &|| old.repair(PATIENCE).err().map(|it| it.kind()),
        &|| old.sweep(PATIENCE).err().map(|it| it.kind()),
        &|| old.write(PATIENCE, |writer| writer.clear()).err().map(|it| it.kind()),
    ];
    for (number, turn) in turns.iter().enumerate() {
        let error = turn();
        assert!(error.is_none_or(|it| it == ErrorKind::Io), "{number}: {error:?}");
        assert!(number > 0 || error.is_some(), "a log grew where it has no files");
        let is_there = |key| get(&new, key).is_some_and(|it| it == [1 + number as u8; 300]);
        assert!((0..100).all(is_there), "{number}");
        check(&new);
        fill(2 + number as u8);
    }
}
