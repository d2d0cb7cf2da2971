//! A writer is killed, or fails, when it has begun segments for what it could not commit.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use super::killed::{Left, VALUE, deletes_beyond_table, killed_at, leave};
use super::{boot, check, open, prefix, put};
use crate::format::segment::HEADER_UNITS;
use crate::format::settings::{PowerLoss, Settings};
use crate::store::Store;
use crate::store::crash_tests::PATIENCE;
use crate::sys::testing::{Step, watch};

fn has_begun_another(store: &Store) -> bool {
    let next = store.shared().head.tail().segment().next();
    std::fs::exists(store.directory().join(next.file_name())).unwrap()
}

#[test]
fn segments_begun_for_what_was_not_committed_are_deleted_by_the_next_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    put(&store, 0, b"v");
    leave(&store, &(1..60).collect::<Vec<_>>(), &VALUE, Left::Whole);
    assert!(has_begun_another(&store));
    put(&store, 1, b"v");
    assert!(!has_begun_another(&store));
    check(&store);
}

#[test]
fn a_transaction_that_fails_gives_its_segments_back_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    put(&store, 0, b"v");
    let count = Cell::new(0);
    let fills = move |step: Step| match step {
        Step::Call("allocate") if count.replace(count.get() + 1) >= 4 => {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        _ => Ok(()),
    };
    let begun = store.begin(PATIENCE).unwrap();
    (1..60).for_each(|key| put(&store, key, &VALUE));
    assert!(watch(fills, || begun.commit()).is_err());
    assert!(!has_begun_another(&store));
    put(&store, 1, b"v");
    check(&store);
}

/// A store whose last writer was killed in a transaction that had begun segments.
fn with_begun(path: &Path) -> Store {
    let store = open(path, 100_000);
    put(&store, 0, b"v");
    killed_at(|_| false, || leave(&store, &(1..60).collect::<Vec<_>>(), &VALUE, Left::Half));
    assert!(has_begun_another(&store));
    store
}

/// The log comes to the next segment, and nothing of the one that was begun before is there.
fn assert_begins_blank(store: &Store) {
    let before = store.shared().head.tail().segment();
    while store.shared().head.tail().segment() == before {
        put(store, 1, b"v");
    }
    let next = std::fs::read(store.directory().join(before.next().file_name())).unwrap();
    let left = next[8 * HEADER_UNITS as usize..].chunks(8).filter(|word| **word != [0; 8]).count();
    assert!(left < 100, "{left} words in a segment that has just begun");
    check(store);
}

#[test]
fn a_process_that_knows_the_state_deletes_what_another_has_begun() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_begun(dir.path());
    put(&store, 1, b"v");
    assert!(!has_begun_another(&store));
    assert_begins_blank(&store);
}

#[test]
fn who_is_killed_before_begun_segments_are_deleted_leaves_them_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_begun(dir.path());
    for nth in [1, 2] {
        let count = Cell::new(0);
        let is_at = move |step| {
            count.set(count.get() + u32::from(step == Step::Call("unlink")));
            count.get() == nth
        };
        killed_at(is_at, || put(&store, 1, b"v"));
        assert!(has_begun_another(&store), "the nearest goes last");
    }
    put(&store, 1, b"v");
    assert!(!has_begun_another(&store));
    assert_begins_blank(&store);
}

#[test]
fn a_segment_that_a_killed_rebuild_has_not_deleted_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    drop((with_begun(dir.path()), first));
    let _boot = boot(2);
    killed_at(deletes_beyond_table(dir.path()), || drop(open(dir.path(), 100_000)));
    let store = open(dir.path(), 100_000);
    assert!(has_begun_another(&store));
    assert_begins_blank(&store);
}

#[test]
fn a_drained_file_does_not_get_the_name_of_one_that_holds_records() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    // There drained files are used again at once.
    let settings = Settings { power_loss: PowerLoss::Clear, ..store.settings() };
    store.write(PATIENCE, |writer| writer.set_settings(&settings)).unwrap();
    let turn = || (0..20).for_each(|key| put(&store, key, &[7; 300]));
    (0..50).for_each(|_| turn());
    let ahead = (0..6).fold(store.shared().head.tail().segment(), |segment, _| segment.next());
    let path = store.directory().join(ahead.file_name());
    std::fs::write(&path, [0xEE; 8192]).unwrap();
    let (stale, met) = (path, Rc::new(Cell::new((0, 0))));
    let seen = Rc::clone(&met);
    let hook = move |step: Step| {
        if step == Step::Call("rename") {
            let is_stale = std::fs::read(&stale).is_ok_and(|bytes| bytes[64] == 0xEE);
            let (renamed, over) = seen.get();
            seen.set((renamed + 1, over + u32::from(is_stale)));
        }
        Ok(())
    };
    // Only once it is the next: others are renamed, too.
    while store.shared().head.tail().segment().next() != ahead {
        put(&store, 1, &[7; 300]);
    }
    watch(hook, || {
        while store.shared().head.tail().segment() != ahead {
            put(&store, 1, &[7; 300]);
        }
    });
    assert_eq!(met.get(), (1, 0), "a drained file has got the name, and replaced no other");
    check(&store);
}

/// The log and the table are on disk, and `head` is there as it was made: all that the first write
/// has flushed is gone with the power.
#[test]
fn nothing_is_found_under_a_head_that_never_reached_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    let head = dir.path().join("head");
    let made = std::fs::read(&head).unwrap();
    (0..9).for_each(|key| put(&store, key, b"v"));
    drop((store, first));
    std::fs::write(&head, made).unwrap();
    let _boot = boot(2);
    let store = open(dir.path(), 1 << 30);
    assert_eq!((store.state().len, prefix(&store, 9)), (0, 0));
    put(&store, 10, b"v");
    assert_eq!(prefix(&store, 9), 0);
    check(&store);
}
