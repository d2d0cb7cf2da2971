//! The head: made once, read whole or not at all, and what lies beside one that is new.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

use super::stress_tests::{check, get, put};
use crate::error::{ErrorKind, Result};
use crate::format::head::HEAD_BYTES;
use crate::format::location::Segment;
use crate::format::settings::{PowerLoss, Settings};
use crate::store::Store;
use crate::store::open::{OpenOptions, is_blank};
use crate::sys::testing::{Child, Step, watch};

fn open_with(path: &Path, create: bool, read_only: bool) -> Result<Store> {
    Store::open(path, &OpenOptions { create, read_only, allow_network: true, settings: None })
}

fn kind(result: Result<Store>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// Else it would be filled as that of a new cache.
#[test]
fn a_head_that_cannot_be_read_is_not_taken_for_blank() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("head");
    fs::write(&path, [0; HEAD_BYTES]).unwrap();
    assert!(is_blank(&fs::File::open(&path).unwrap()).unwrap());
    let unreadable = fs::File::options().write(true).open(&path).unwrap();
    assert!(is_blank(&unreadable).is_err());
}

#[test]
fn only_a_directory_that_is_missing_is_vouched_for_unseen() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, b"no directory").unwrap();
    assert_eq!(Store::vouch_for_directory(&file).unwrap_err().kind(), ErrorKind::Io);
    Store::vouch_for_directory(&place.path().join("missing")).unwrap();
    Store::vouch_for_directory(place.path()).unwrap();
}

#[test]
fn a_head_that_cannot_be_opened_is_no_strangers() {
    let place = tempfile::tempdir().unwrap();
    drop(open_with(place.path(), true, false).unwrap());
    for nth in 0.. {
        let mut count = 0;
        let hook = move |step: Step| {
            count += u32::from(step == Step::Call("open"));
            let fails = step == Step::Call("open") && count == nth + 1;
            if fails { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
        };
        match kind(watch(hook, || open_with(place.path(), false, false))) {
            None => {
                assert!(nth > 0);
                break;
            }
            refused => assert_eq!(refused, Some(ErrorKind::Io), "file {nth}"),
        }
    }
}

#[test]
fn a_directory_is_opened_once_by_a_process_also_after_others() {
    let (place, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = open_with(place.path(), true, false).unwrap();
    let _other = open_with(other.path(), true, false).unwrap();
    let second = open_with(place.path(), true, false).unwrap();
    assert!(std::ptr::eq(first.shared(), second.shared()));
}

/// Unless all is given up after power loss.
#[test]
fn a_beginning_waits_until_the_segments_that_lay_there_are_gone() {
    for power_loss in [PowerLoss::Recover, PowerLoss::Clear] {
        let place = tempfile::tempdir().unwrap();
        let settings = Some(Settings { power_loss, ..Settings::default() });
        let options = OpenOptions { create: true, read_only: false, allow_network: true, settings };
        let store = Store::open(place.path(), &options).unwrap();
        for number in 1..3 {
            let name = Segment::new(number).file_name();
            fs::write(place.path().join(name), [7; 8192]).unwrap();
        }
        fs::write(place.path().join("table.1.0"), [7; 4096]).unwrap();
        let names = fs::metadata(place.path()).unwrap().ino();
        let synced = Rc::new(Cell::new(0));
        let seen = Rc::clone(&synced);
        let hook = move |step: Step| {
            seen.set(seen.get() + u32::from(step == Step::Sync(names)));
            Ok(())
        };
        watch(hook, || put(&store, 1, b"v"));
        assert_eq!(synced.get(), u32::from(power_loss == PowerLoss::Recover));
        check(&store);
    }
}

#[test]
fn who_makes_a_cache_while_another_does_opens_the_one_that_is_there() {
    let place = tempfile::tempdir().unwrap();
    let (path, is_made) = (place.path().to_owned(), Cell::new(false));
    let hook = move |step: Step| {
        if step == Step::Call("link") && !is_made.replace(true) {
            let other = Child::fork(|| {
                let store = open_with(&path, true, false).unwrap();
                put(&store, 1, b"of another");
                true
            });
            assert!(other.succeeded());
        }
        Ok(())
    };
    let store = watch(hook, || open_with(place.path(), true, false)).unwrap();
    assert_eq!(get(&store, 1).unwrap(), b"of another");
}

#[test]
fn a_head_that_cannot_be_linked_into_place_is_an_error_that_says_why() {
    let place = tempfile::tempdir().unwrap();
    let hook = |step: Step| match step {
        Step::Call("link") => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    };
    assert_eq!(kind(watch(hook, || open_with(place.path(), true, false))), Some(ErrorKind::Full));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
