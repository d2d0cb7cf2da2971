//! A writer is killed before it has committed, another goes on at the same place, and then the power
//! is cut: the disk may have kept the records of the first. [`super::begun`] has the segments that
//! were begun for them.

use std::cell::{Cell, RefCell};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{boot, check, get, open, put, transact};
use crate::error::Result;
use crate::format::location::{LOCATION_MASK, Location};
use crate::format::record::{Header, Kind, TRANSACTION};
use crate::format::segment::HEADER_UNITS;
use crate::store::crash_tests::PATIENCE;
use crate::store::{Store, Writer};
use crate::sys::testing::{Child, Step, watch};
use crate::table::extents::file_generation;

/// Of a value whose record with a key of 4 bytes has two sectors.
pub(super) const VALUE: [u8; 1024 - 48 - 4] = [7; 1024 - 48 - 4];

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

/// Does `work` in another process, which is killed before the first step for which `is_at`.
pub(super) fn killed_at(is_at: impl Fn(Step) -> bool + 'static, work: impl FnOnce()) {
    use rustix::process::{Signal, getpid, kill_process};
    let mut child = Child::fork(|| {
        let hook = move |step: Step| {
            if is_at(step) {
                kill_process(getpid(), Signal::KILL)?;
            }
            Ok(())
        };
        watch(hook, work);
        true
    });
    child.wait();
}

/// A step that deletes another file than those of the table: a rebuild deletes these first.
pub(super) fn deletes_beyond_table(path: &Path) -> impl Fn(Step) -> bool + 'static {
    let names = std::fs::read_dir(path).unwrap().map(|it| it.unwrap().file_name());
    let table = names.filter(|it| file_generation(it.to_str().unwrap()).is_some()).count();
    let count = Cell::new(0);
    move |step| {
        count.set(count.get() + usize::from(step == Step::Call("unlink")));
        step == Step::Call("unlink") && count.get() > table
    }
}

fn first_segment(store: &Store) -> PathBuf {
    store.directory().join("log.0000001")
}

/// Which keys there are after a cut that has kept, of what lies in the first record behind key 0, what
/// the disk had before `work`, or has after the last sync in it; and all else as it is after `work`.
fn cut_after(leave: impl Fn(&Store), work: impl Fn(&Store)) -> Vec<u32> {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    put(&store, 0, b"");
    // Behind it a sector begins.
    let used = 8 * store.shared().head.tail().unit() as usize;
    put(&store, 0, &vec![7; (used + 48 + 4).next_multiple_of(512) - used - 48 - 4]);
    let start = 8 * store.shared().head.tail().unit() as usize;
    assert_eq!(start % 512, 0);
    leave(&store);
    let (path, kept) = (first_segment(&store), Rc::new(RefCell::new(Vec::new())));
    *kept.borrow_mut() = std::fs::read(&path).unwrap();
    assert_ne!(kept.borrow()[start..start + 8], [0; 8], "something is left");
    let (log, seen, synced) = (inode(&store), Rc::clone(&kept), path.clone());
    let hook = move |step: Step| {
        if step == Step::Sync(log) {
            *seen.borrow_mut() = std::fs::read(&synced)?;
        }
        Ok(())
    };
    watch(hook, || work(&store));
    drop((store, first));
    let log = std::fs::File::options().write(true).open(path).unwrap();
    log.write_all_at(&kept.borrow()[start..start + 1024], start as u64).unwrap();
    let _boot = boot(2);
    let store = open(dir.path(), 1 << 30);
    check(&store);
    (0..6).filter(|key| get(&store, *key).is_some()).collect()
}

fn inode(store: &Store) -> u64 {
    std::fs::metadata(first_segment(store)).unwrap().ino()
}

/// By this process, which then does not know the state, or by another one, so that it does.
fn left_by(is_other: bool, left: Left) -> impl Fn(&Store) {
    move |store| match is_other {
        false => leave(store, &[1, 2], &VALUE, left),
        true => killed_at(|_| false, || leave(store, &[1, 2], &VALUE, left)),
    }
}

fn three_puts(store: &Store) {
    (3..6).for_each(|key| put(store, key, &VALUE));
}

#[test]
fn what_was_not_committed_takes_no_place_of_what_came_after() {
    for is_other in [false, true] {
        let there = cut_after(left_by(is_other, Left::Plain), three_puts);
        assert_eq!(there, [0], "1 was never there, and 4 came after 3");
    }
}

#[test]
fn a_killed_transaction_does_not_mix_with_the_next_one() {
    let work = |store: &Store| transact(store, || (3..5).for_each(|key| put(store, key, &VALUE)));
    for is_other in [false, true] {
        let there = cut_after(left_by(is_other, Left::Whole), work);
        assert_eq!(there, [0], "1 is of the one, 4 of the other");
    }
}

#[test]
fn who_is_killed_before_the_disk_has_the_blanks_leaves_the_waiting_to_the_next() {
    let work = |store: &Store| {
        let log = inode(store);
        killed_at(move |step| step == Step::Sync(log), || put(store, 3, &VALUE));
        three_puts(store);
    };
    assert_eq!(cut_after(left_by(false, Left::Plain), work), [0]);
}

#[test]
fn nothing_is_written_before_the_disk_has_the_blanks() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 0, b"v");
    leave(&store, &[1, 2], &VALUE, Left::Plain);
    let (log, syncs) = (inode(&store), Rc::new(Cell::new(0)));
    let count = Rc::clone(&syncs);
    let fails_once = move |step: Step| {
        count.set(count.get() + u32::from(step == Step::Sync(log)));
        match step == Step::Sync(log) && count.get() == 1 {
            true => Err(std::io::ErrorKind::Other.into()),
            false => Ok(()),
        }
    };
    watch(fails_once, || {
        assert!(store.write(PATIENCE, |_| Ok(())).is_err());
        put(&store, 3, &VALUE);
    });
    assert_eq!((syncs.get(), get(&store, 1)), (2, None));
    check(&store);
}

/// The disk has the beginning of a transaction for certain, and not its end. The power goes again when
/// what lay behind is deleted, and the names are not.
#[test]
fn a_transaction_of_which_the_end_is_lost_leaves_no_gap_in_what_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 100_000);
    put(&store, 0, b"v");
    transact(&store, || (1..20).for_each(|key| put(&store, key, &VALUE)));
    let last = store.shared().head.tail().segment();
    let begin_another = |writer: &mut Writer<'_>| {
        writer.state.synced = Location::new(last, HEADER_UNITS);
        writer.end_segment()
    };
    store.write(PATIENCE, begin_another).unwrap();
    let segments = || {
        let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.to_str().unwrap().contains("log."))
    };
    let path = dir.path().join(last.file_name());
    drop((store, first));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8 * HEADER_UNITS as usize..].fill(0);
    std::fs::write(path, bytes).unwrap();
    let named: Vec<_> = segments().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    for number in 2..4 {
        let _boot = boot(number);
        let store = open(dir.path(), 100_000);
        assert_eq!((get(&store, 0).unwrap(), store.state().len), (b"v".to_vec(), 1));
        check(&store);
        drop(store);
        for (bytes, path) in named.iter().filter(|(_, path)| !path.exists()) {
            std::fs::write(path, bytes).unwrap();
        }
    }
    // What is written behind it counts, and it does not.
    let _boot = boot(4);
    let store = open(dir.path(), 100_000);
    transact(&store, || (30..33).for_each(|key| put(&store, key, b"new")));
    drop(store);
    let _boot = boot(5);
    let store = open(dir.path(), 100_000);
    let there: Vec<u32> = (0..40).filter(|key| get(&store, *key).is_some()).collect();
    assert_eq!(there, [0, 30, 31, 32]);
    assert_eq!(store.repair(PATIENCE).unwrap(), []);
    assert_eq!(store.state().len, 4);
    check(&store);
}
