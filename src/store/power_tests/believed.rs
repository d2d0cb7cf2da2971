//! Whether a store is believed as it is, and the disk as well: who is killed, refused or forked while
//! that is being decided or undone.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::beside::flushes;
use super::killed::{deletes_beyond_table, killed_at};
use super::promise::promise;
use super::{PATIENCE, boot, check, get, open, prefix, put, put_file, remove, tear, try_put};
use crate::format::location::Segment;
use crate::format::segment::HEADER_UNITS;
use crate::format::settings::PowerLoss;
use crate::store::Store;
use crate::store::open::OpenOptions;
use crate::sys::file::Dir;
use crate::sys::liveness;
use crate::sys::testing::{Child, Mounted, Step, watch};
use crate::sys::trust::pretend::set_boot;

const ORDINARY: OpenOptions =
    OpenOptions { create: false, read_only: false, allow_network: true, settings: None };

/// What a value that was synced is after another boot, if the cut keeps all that `work` does to the
/// table, nothing of the log, and of `head` what it has flushed.
fn after_a_cut(hinder: impl FnOnce(&Store), work: impl FnOnce(&Store)) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"old");
    store.sync(PATIENCE).unwrap();
    let (path, end) = (dir.path().join("head"), 8 * store.shared().head.tail().unit());
    let head = fs::read(&path).unwrap();
    hinder(&store);
    let (flushed, hook) = flushes();
    watch(hook, || work(&store));
    drop((store, first));
    if flushed.get() == 0 {
        fs::write(&path, &head).unwrap();
    }
    tear(dir.path(), end);
    let _boot = boot(2);
    let store = open(dir.path(), 1 << 30);
    let found = get(&store, 1);
    check(&store);
    found
}

#[test]
fn who_is_killed_while_it_takes_the_clean_mark_back_leaves_that_to_the_next() {
    let killed = |store: &Store| killed_at(|step| step == Step::Flush, || put(store, 1, b"new"));
    assert_eq!(after_a_cut(killed, |store| put(store, 1, b"new")).unwrap(), b"old");
    let repair = |store: &Store| drop(store.repair(PATIENCE).unwrap());
    let killed = |store: &Store| killed_at(|step| step == Step::Flush, || repair(store));
    assert_eq!(after_a_cut(killed, repair).unwrap(), b"old");
}

#[test]
fn nothing_is_changed_before_the_disk_has_let_the_clean_mark_go() {
    let refused = |store: &Store| {
        let hook = |step: Step| match step {
            Step::Flush => Err(io::ErrorKind::Other.into()),
            _ => Ok(()),
        };
        watch(hook, || {
            (0..3).for_each(|_| assert!(try_put(store, 1, b"new").is_err()));
        });
    };
    assert_eq!(after_a_cut(refused, |store| put(store, 1, b"new")).unwrap(), b"old");
}

/// Whether the names in a directory have been waited for.
fn names_synced(path: &Path) -> (Rc<Cell<bool>>, impl FnMut(Step) -> io::Result<()> + 'static) {
    let synced = Rc::new(Cell::new(false));
    let (seen, inode) = (Rc::clone(&synced), fs::metadata(path).unwrap().ino());
    let hook = move |step: Step| {
        seen.set(seen.get() || step == Step::Sync(inode));
        Ok(())
    };
    (synced, hook)
}

/// Does `work` in another process, which is killed when it waits for the names that it has changed.
fn killed_before_names_are_synced(path: &Path, work: impl FnOnce()) {
    let (inode, unlinked) = (fs::metadata(path).unwrap().ino(), Cell::new(false));
    let is_at = move |step: Step| {
        unlinked.set(unlinked.get() || step == Step::Call("unlink"));
        unlinked.get() && step == Step::Sync(inode)
    };
    killed_at(is_at, work);
}

fn segment_file(path: &Path, segment: Segment) -> PathBuf {
    path.join(segment.file_name())
}

/// A store of boot 1 with some segments; the first, which has lost its second half; the second and
/// what is in it.
fn with_a_gap(path: &Path) -> (Segment, Vec<u8>) {
    let first = boot(1);
    let store = open(path, 100_000);
    (0..60).for_each(|key| put(&store, key, &[7; 300]));
    let begin = store.state().first;
    drop((store, first));
    let log = fs::File::options().write(true).open(segment_file(path, begin)).unwrap();
    let len = log.metadata().unwrap().len();
    log.write_all_at(&vec![0; len as usize / 2], len / 2).unwrap();
    let second = begin.next();
    (second, fs::read(segment_file(path, second)).unwrap())
}

/// Writes until the log has come to a segment, and a record is there.
fn go_on_to(store: &Store, segment: Segment) {
    while store.shared().head.tail().segment() != segment {
        put(store, 100, &[8; 300]);
    }
    put(store, 100, &[8; 300]);
}

/// Of the changes of names that were not waited for the cut keeps none.
fn cut_names(path: &Path, is_synced: bool, segment: Segment, bytes: &[u8]) {
    if !is_synced {
        fs::write(segment_file(path, segment), bytes).unwrap();
    }
}

/// Of the keys that were lost with the first cut none has come back with the second.
fn assert_not_risen(path: &Path, kept: u32) {
    let store = open(path, 100_000);
    assert_eq!((0..60).filter(|key| get(&store, *key).is_some()).count(), kept as usize);
    check(&store);
}

#[test]
fn what_a_killed_rebuild_has_deleted_does_not_rise_again() {
    let dir = tempfile::tempdir().unwrap();
    let (second, bytes) = with_a_gap(dir.path());
    let boot_2 = boot(2);
    killed_before_names_are_synced(dir.path(), || drop(open(dir.path(), 100_000)));
    assert!(!segment_file(dir.path(), second).exists(), "deleted, and not waited for");
    let (synced, hook) = names_synced(dir.path());
    let (store, kept) = watch(hook, || {
        let store = open(dir.path(), 100_000);
        let kept = prefix(&store, 60);
        go_on_to(&store, second);
        (store, kept)
    });
    drop((store, boot_2));
    cut_names(dir.path(), synced.get(), second, &bytes);
    let _boot = boot(3);
    assert_not_risen(dir.path(), kept);
}

/// The first one is killed before it deletes what is left behind the end.
#[test]
fn what_is_deleted_for_a_killed_rebuild_does_not_rise_again() {
    let remove: [fn(&Store, Segment); 2] = [go_on_to, |store, _| store.sweep(PATIENCE).unwrap()];
    for remove in remove {
        let dir = tempfile::tempdir().unwrap();
        let (second, bytes) = with_a_gap(dir.path());
        let boot_2 = boot(2);
        killed_at(deletes_beyond_table(dir.path()), || drop(open(dir.path(), 100_000)));
        assert!(segment_file(dir.path(), second).exists());
        let store = open(dir.path(), 100_000);
        let kept = prefix(&store, 60);
        killed_before_names_are_synced(dir.path(), || remove(&store, second));
        let (synced, hook) = names_synced(dir.path());
        watch(hook, || go_on_to(&store, second));
        drop((store, boot_2));
        cut_names(dir.path(), synced.get(), second, &bytes);
        let _boot = boot(3);
        assert_not_risen(dir.path(), kept);
    }
}

#[test]
fn what_a_killed_beginning_has_deleted_does_not_rise_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    let head = dir.path().join("head");
    let made = fs::read(&head).unwrap();
    (0..9).for_each(|key| put(&store, key, b"v"));
    drop((store, first));
    fs::write(&head, made).unwrap();
    let log = fs::read(segment_file(dir.path(), Segment::new(1))).unwrap();
    let second = boot(2);
    let store = open(dir.path(), 1 << 30);
    killed_before_names_are_synced(dir.path(), || put(&store, 20, b"v"));
    let (synced, hook) = names_synced(dir.path());
    watch(hook, || put(&store, 20, b"v"));
    drop((store, second));
    cut_names(dir.path(), synced.get(), Segment::new(1), &log);
    let _boot = boot(3);
    let store = open(dir.path(), 1 << 30);
    assert_eq!(prefix(&store, 9), 0);
    check(&store);
}

/// The child has all descriptors of its parent, and lives on when that has failed.
#[test]
fn a_child_of_who_rebuilds_keeps_nobody_from_doing_so() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    (0..20).for_each(|key| put(&store, key, b"v"));
    drop((store, first));
    let _boot = boot(2);
    let child = Rc::new(RefCell::new(None));
    let forked = Rc::clone(&child);
    let hook = move |step: Step| match step {
        Step::Call("create") => {
            let idle = || loop {
                std::thread::park();
            };
            forked.borrow_mut().get_or_insert_with(|| Child::fork(idle));
            Err(io::ErrorKind::StorageFull.into())
        }
        _ => Ok(()),
    };
    assert!(watch(hook, || Store::open(dir.path(), &ORDINARY)).is_err());
    assert!(child.borrow().is_some(), "forked in the middle");
    let head = fs::File::open(dir.path().join("head")).unwrap();
    let is_free = |_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        fs2::FileExt::try_lock_exclusive(&head).is_ok()
    };
    assert!((0..10_000).any(is_free));
    drop(head);
    assert_eq!(prefix(&open(dir.path(), 1 << 30), 20), 20);
}

/// A store whose log has lost its end.
fn torn(path: &Path) {
    let store = open(path, 1 << 30);
    (0..100).for_each(|key| put(&store, key, &[7; 150]));
    drop(store);
    tear(path, 10_000);
}

fn assert_made_anew(store: &Store) {
    let kept = prefix(store, 100);
    assert!((30..60).contains(&kept));
    assert_eq!(u64::from(kept), store.state().len);
    check(store);
}

/// It lives, has claimed a slot to rebuild, and could not.
#[test]
fn who_could_not_rebuild_does_not_vouch_for_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    torn(dir.path());
    drop(first);
    let _boot = boot(2);
    let place = Dir::open(dir.path()).unwrap();
    let _claim = liveness::claim(&place).unwrap();
    assert_made_anew(&open(dir.path(), 1 << 30));
}

#[test]
fn a_boot_that_is_not_known_is_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let _boot = set_boot(None);
    torn(dir.path());
    assert_made_anew(&open(dir.path(), 1 << 30));
    // Who lives has seen what is there in memory.
    let store = open(dir.path(), 1 << 30);
    let generation = store.state().geometry.generation();
    put(&store, 1, b"v");
    let beside = Child::fork(|| {
        let other = open(dir.path(), 1 << 30);
        other.state().geometry.generation() == generation && get(&other, 1).is_some()
    });
    assert!(beside.succeeded());
    assert!(store.shared().head.tail().unit() > HEADER_UNITS);
}

/// What the cut has left of a table that nobody believes is room for the new one; and what is given up
/// is, for the log that begins anew.
#[test]
fn a_full_disk_keeps_no_store_from_being_made_anew() {
    for (power_loss, len) in [
        (PowerLoss::Recover, 1),
        (PowerLoss::Recover, 30_000),
        (PowerLoss::Clear, 1),
        (PowerLoss::Clear, 30_000),
    ] {
        let Some(mount) = Mounted::tmpfs(2048) else { return };
        let path = mount.path().join("store");
        let first = boot(1);
        let store = open(&path, 1 << 30);
        promise(&store, power_loss);
        let put = |key: &u32| try_put(&store, *key, &vec![7; len]).is_ok();
        let count = (0..100_000).take_while(put).count() as u32;
        drop((store, first));
        let mut greedy = fs::File::create(mount.path().join("greedy")).unwrap();
        while greedy.write_all(&[1; 4096]).is_ok() {}
        let _boot = boot(2);
        let store = open(&path, 1 << 30);
        let expected = if power_loss == PowerLoss::Recover { count } else { 0 };
        assert_eq!(prefix(&store, count), expected, "{power_loss:?} {len}");
        check(&store);
        assert!(expected == 0 || remove(&store, 0));
    }
}

/// Of three values in files, and of their files, how many there are after another boot and a write.
/// `cut` is told where the first one ends in the log, and what `head` was when it was made.
fn value_files_after(power_loss: PowerLoss, cut: impl FnOnce(&Path, u64, &[u8])) -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    let head = fs::read(dir.path().join("head")).unwrap();
    promise(&store, power_loss);
    put_file(&store, 0, &[8; 5000]);
    let end = 8 * store.shared().head.tail().unit();
    (1..3).for_each(|key| put_file(&store, key, &[8; 5000]));
    assert_eq!(store.shared().value_files().unwrap().len(), 3);
    drop((store, first));
    cut(dir.path(), end, &head);
    let _boot = boot(2);
    let store = open(dir.path(), 1 << 30);
    put(&store, 9, b"v");
    check(&store);
    let there = (0..3).filter(|key| get(&store, *key).is_some()).count();
    (there, store.shared().value_files().unwrap().len())
}

/// They are counted no more, so that no limit would ever make them go.
#[test]
fn the_files_of_values_that_are_lost_are_gone() {
    assert_eq!(value_files_after(PowerLoss::Clear, |_, _, _| {}), (0, 0));
    assert_eq!(value_files_after(PowerLoss::Recover, |_, _, _| {}), (3, 3));
    assert_eq!(value_files_after(PowerLoss::Recover, |path, end, _| tear(path, end)), (1, 1));
    let lose_head = |path: &Path, _, head: &[u8]| fs::write(path.join("head"), head).unwrap();
    assert_eq!(value_files_after(PowerLoss::Recover, lose_head), (0, 0));
}
