//! What is opened, what is made, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::stress_tests::{check, get, put};
use crate::error::{ErrorKind, Result};
use crate::format::head::HEAD_BYTES;
use crate::format::location::{Location, Segment};
use crate::format::segment::HEADER_UNITS;
use crate::store::Store;
use crate::store::open::OpenOptions;

fn open_with(path: &Path, create: bool, read_only: bool) -> Result<Store> {
    Store::open(path, &OpenOptions { create, read_only, allow_network: true, settings: None })
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
    let options =
        OpenOptions { create: true, read_only: false, allow_network: false, settings: None };
    assert!(Store::vouch_for_directory(&place.path().join("missing")).is_ok());
    for (mode, is_fine) in [(0o700, true), (0o755, true), (0o720, false), (0o702, false)] {
        fs::set_permissions(place.path(), fs::Permissions::from_mode(mode)).unwrap();
        let expected = (!is_fine).then_some(ErrorKind::Unsupported);
        assert_eq!(kind(Store::open(place.path(), &options)), expected, "{mode:o}");
        let vouched = Store::vouch_for_directory(place.path()).err().map(|error| error.kind());
        assert_eq!(vouched, expected, "{mode:o}");
    }
}
