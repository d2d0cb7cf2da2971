//! What is promised changes, or cannot be kept: other settings, and a disk that fails.

use std::cell::Cell;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::rc::Rc;

use super::beside::flushes;
use super::killed::killed_at;
use super::{PATIENCE, boot, check, get, open, prefix, put, put_file};
use crate::error::ErrorKind;
use crate::format::location::Location;
use crate::format::settings::{PowerLoss, Settings};
use crate::format::state::State;
use crate::store::{Store, Writer};
use crate::sys::testing::{Step, watch};

pub(super) fn promise(store: &Store, power_loss: PowerLoss) {
    let settings = Settings { power_loss, ..store.settings() };
    store.write(PATIENCE, |writer| writer.set_settings(&settings)).unwrap();
}

/// Syncs of files of the log and others fail.
pub(super) fn no_sync(step: Step) -> std::io::Result<()> {
    match step {
        Step::Call("fdatasync") => Err(std::io::ErrorKind::Other.into()),
        _ => Ok(()),
    }
}

#[test]
fn a_promise_waits_for_what_was_written_and_repaired_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    promise(&store, PowerLoss::Clear);
    (0..200).for_each(|key| put(&store, key, &[7; 300]));
    assert_eq!(store.repair(PATIENCE).unwrap(), []);
    let (first, last) = (store.state().first, store.shared().head.tail().segment());
    assert!(last.since(first) > 1);
    let inode = |name: String| std::fs::metadata(dir.path().join(name)).unwrap().ino();
    let waited = Rc::new(Cell::new((false, false)));
    let (seen, first, last) =
        (Rc::clone(&waited), inode(first.file_name()), inode(last.file_name()));
    let hook = move |step: Step| {
        let (one, other) = seen.get();
        seen.set((one || step == Step::Sync(first), other || step == Step::Sync(last)));
        Ok(())
    };
    watch(hook, || promise(&store, PowerLoss::Recover));
    assert_eq!(waited.get(), (true, true));
}

#[test]
fn a_repair_does_not_make_good_what_the_disk_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"v");
    assert!(watch(no_sync, || store.sync_log()).is_err());
    assert_eq!(store.repair(PATIENCE).unwrap(), []);
    assert_eq!(store.sync_log().unwrap_err().kind(), ErrorKind::Io);
    drop((store, first));
    // Then what is there is what the disk has.
    let _boot = boot(2);
    open(dir.path(), 1 << 30).sync_log().unwrap();
}

/// After an error a disk may have dropped what it was to write, and say nothing of it the next time.
#[test]
fn what_is_written_and_synced_after_clear_does_not_need_what_the_disk_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    (0..50).for_each(|key| put(&store, key, &[7; 300]));
    assert!(watch(no_sync, || store.sync_log()).is_err());
    store.write(PATIENCE, |writer| writer.clear()).unwrap();
    (0..10).for_each(|key| put(&store, key, b"after"));
    store.sync_log().unwrap();
    drop((store, first));
    let log = std::fs::File::options().write(true).open(dir.path().join("log.0000001")).unwrap();
    log.write_all_at(&[0; 4096], 4096).unwrap();
    let _boot = boot(2);
    let store = open(dir.path(), 1 << 30);
    assert_eq!((prefix(&store, 50), get(&store, 9).unwrap()), (10, b"after".to_vec()));
    check(&store);
}

/// They may be the durable ones.
#[test]
fn value_files_stay_where_the_disk_has_not_what_replaced_them() {
    for fails in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 1 << 30);
        put_file(&store, 1, &[8; 5000]);
        store.sync_log().unwrap();
        let hook = move |step: Step| if fails { no_sync(step) } else { Ok(()) };
        watch(hook, || store.write(PATIENCE, |writer| writer.clear())).unwrap();
        assert_eq!(store.shared().value_files().unwrap().len(), usize::from(fails));
        assert_eq!(store.sync_log().is_err(), fails);
    }
}

/// Puts and syncs; then the log is damaged in the middle, and the counters are. A repair ends it there.
pub(super) fn synced_and_damaged(store: &Store) {
    (0..100).for_each(|key| put(store, key, &[7; 150]));
    store.sync_log().unwrap();
    let (head, state) = (&store.shared().head, store.state());
    let path = store.directory().join("log.0000001");
    let log = std::fs::File::options().write(true).open(path).unwrap();
    log.write_all_at(&[0; 4096], 8192).unwrap();
    let applied = head.applied();
    head.flip(applied, applied.location(), &State { len: 1 << 40, ..state });
}

#[test]
fn what_was_known_to_be_on_disk_is_not_known_of_a_log_that_ends_earlier() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    synced_and_damaged(&store);
    store.repair(PATIENCE).unwrap();
    let (synced, tail) = (store.shared().synced(), store.shared().head.tail());
    assert!(tail.is_at_or_after(synced), "{synced:?} beyond {tail:?}");
    check(&store);
}

#[test]
fn a_name_that_the_disk_did_not_let_go_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"v");
    let roll = || store.write(PATIENCE, |writer| writer.end_segment());
    let next = store.shared().head.tail().segment().next();
    std::fs::write(dir.path().join(next.file_name()), [0xEE; 8192]).unwrap();
    let names = std::fs::metadata(dir.path()).unwrap().ino();
    let hook = move |step: Step| match step {
        Step::Sync(inode) if inode == names => Err(std::io::ErrorKind::Other.into()),
        _ => Ok(()),
    };
    assert_eq!(watch(hook, roll).unwrap_err().kind(), ErrorKind::Io);
    roll().unwrap();
    assert_eq!(store.sync_log().unwrap_err().kind(), ErrorKind::Io);
    check(&store);
}

#[test]
fn what_the_disk_refused_a_killed_clear_is_not_forgotten_by_who_finishes_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put_file(&store, 1, &[8; 5000]);
    store.sync_log().unwrap();
    let waits = |step: Step| step == Step::Call("fdatasync");
    killed_at(waits, || drop(store.write(PATIENCE, |writer| writer.clear())));
    let shared = store.shared();
    assert!(shared.head.applied().location() != shared.head.tail());
    shared.head.set_sync_failed(&shared.whereabouts().unwrap());
    put(&store, 2, b"v");
    assert_eq!((get(&store, 1), store.state().len), (None, 1));
    assert_eq!(store.sync_log().unwrap_err().kind(), ErrorKind::Io);
}

/// Makes another promise; what it waits for once that is applied ends as `refused` says.
fn promise_refused(store: &Store, refused: fn(Step) -> std::io::Result<()>) {
    promise(store, PowerLoss::Clear);
    put(store, 1, b"v");
    let is_synced = Cell::new(false);
    let hook = move |step: Step| {
        if is_synced.get() {
            return refused(step);
        }
        is_synced.set(step == Step::Call("fdatasync"));
        Ok(())
    };
    let settings = Settings { power_loss: PowerLoss::Recover, ..store.settings() };
    let change = || store.write(PATIENCE, |writer| writer.set_settings(&settings));
    assert_eq!(watch(hook, change).unwrap_err().kind(), ErrorKind::Io);
}

/// Else nobody could write any more, as whoever comes next would have to finish it.
#[test]
fn a_promise_is_made_although_the_disk_refuses_what_it_waits_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    promise_refused(&store, no_sync);
    put(&store, 2, b"v");
    assert_eq!(store.settings().power_loss, PowerLoss::Recover);
    assert_eq!(store.sync_log().unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_promise_that_could_not_wait_for_want_of_descriptors_waits_with_the_next_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let no_files = |step: Step| match step {
        Step::Call("open") => Err(std::io::ErrorKind::Other.into()),
        _ => Ok(()),
    };
    promise_refused(&store, no_files);
    let log = std::fs::metadata(dir.path().join("log.0000001")).unwrap().ino();
    let waited = Rc::new(Cell::new(false));
    let seen = Rc::clone(&waited);
    let hook = move |step: Step| {
        seen.set(seen.get() || step == Step::Sync(log));
        Ok(())
    };
    watch(hook, || put(&store, 2, b"v"));
    assert!(waited.get());
    store.sync_log().unwrap();
}

/// As who is killed leaves it that has made the log anew, and not yet written its settings.
#[test]
fn a_promise_waits_although_the_log_does_not_say_what_was_promised_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    promise(&store, PowerLoss::Clear);
    let forget = |writer: &mut Writer<'_>| {
        writer.state.settings = Location::NONE;
        writer.flip(writer.applied.location())
    };
    store.write(PATIENCE, forget).unwrap();
    let (count, hook) = flushes();
    watch(hook, || promise(&store, PowerLoss::Recover));
    assert!(count.get() > 0, "the disk still says Clear");
}
