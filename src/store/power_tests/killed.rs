//! A writer is killed before it has committed, another goes on at the same place, and then the power
//! is cut: the disk may have kept the records of the first.

use std::cell::RefCell;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::rc::Rc;

use super::{boot, check, get, open, put, transact};
use crate::error::Result;
use crate::format::location::LOCATION_MASK;
use crate::format::record::{Header, Kind, TRANSACTION};
use crate::store::crash_tests::PATIENCE;
use crate::store::{Store, Writer};
use crate::sys::testing::{Step, watch};

/// Of a value whose record with a key of 4 bytes has two sectors.
const VALUE: [u8; 1024 - 48 - 4] = [7; 1024 - 48 - 4];

/// What a writer has appended when it is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    Plain,
    /// A transaction without its end.
    Half,
    /// All of a transaction, but for the store of `tail` that commits it.
    Whole,
}

/// Appends records of these keys, as a writer that is killed before it commits them.
pub(super) fn leave(store: &Store, keys: &[u32], value: &[u8], left: Left) {
    let work = |writer: &mut Writer<'_>| -> Result<()> {
        let (before, mut start) = (writer.tail.segment(), None);
        writer.session.is_gathering = true;
        for (key, row) in keys.iter().zip(writer.state.next_row..) {
            let bytes = key.to_be_bytes();
            let header = Header {
                flags: if left == Left::Plain { 0 } else { TRANSACTION },
                key_len: bytes.len() as u32,
                value_len: value.len() as u32,
                entry: *key % 64,
                row,
                expires_ms: LOCATION_MASK,
                ..Header::job(Kind::Put, 0)
            };
            writer.room_for_job(header.units())?;
            start.get_or_insert(writer.tail);
            writer.append(&header, &[&bytes, value])?;
        }
        if left == Left::Whole {
            let start = start.unwrap_or(writer.tail);
            let arguments = [start.bits().to_le_bytes(), (keys.len() as u64).to_le_bytes()];
            let header = Header::job(Kind::Commit, 2);
            writer.room_for_job(header.units())?;
            writer.append(&header, &[&arguments.concat()])?;
        }
        // The maps of a process that is killed go with it.
        writer.forget_begun(before);
        Ok(())
    };
    store.write(PATIENCE, work).unwrap();
}

fn log_bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path.join("log.0000001")).unwrap()
}

/// Which keys there are after a cut that has kept, of what lies in the first record behind key 0, what
/// the disk had before `work`, or has after the last sync in it; and all else as it is after `work`.
fn cut_after(left: Left, work: impl Fn(&Store)) -> Vec<u32> {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    put(&store, 0, b"");
    // Behind it a sector begins.
    let used = 8 * store.shared().head.tail().unit() as usize;
    put(&store, 0, &vec![7; (used + 48 + 4).next_multiple_of(512) - used - 48 - 4]);
    let start = 8 * store.shared().head.tail().unit() as usize;
    assert_eq!(start % 512, 0);
    leave(&store, &[1, 2], &VALUE, left);
    let kept = Rc::new(RefCell::new(log_bytes(dir.path())));
    let log = std::fs::metadata(dir.path().join("log.0000001")).unwrap().ino();
    let (path, seen) = (dir.path().to_owned(), Rc::clone(&kept));
    let hook = move |step: Step| {
        if step == Step::Sync(log) {
            *seen.borrow_mut() = log_bytes(&path);
        }
        Ok(())
    };
    watch(hook, || work(&store));
    drop((store, first));
    let log = std::fs::File::options().write(true).open(dir.path().join("log.0000001")).unwrap();
    log.write_all_at(&kept.borrow()[start..start + 1024], start as u64).unwrap();
    let _boot = boot(2);
    let store = open(dir.path(), 1 << 30);
    check(&store);
    (0..6).filter(|key| get(&store, *key).is_some()).collect()
}

#[test]
fn what_was_not_committed_takes_no_place_of_what_came_after() {
    let work = |store: &Store| (3..6).for_each(|key| put(store, key, &VALUE));
    assert_eq!(cut_after(Left::Plain, work), [0], "1 was never there, and 4 came after 3");
}

#[test]
fn a_killed_transaction_does_not_mix_with_the_next_one() {
    let work = |store: &Store| transact(store, || (3..5).for_each(|key| put(store, key, &VALUE)));
    assert_eq!(cut_after(Left::Whole, work), [0], "1 is of the one, 4 of the other");
}

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
    let count = std::cell::Cell::new(0);
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
