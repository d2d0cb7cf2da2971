//! What is promised, beside processes that are killed, repair, or meet a disk that fails.

use std::cell::Cell;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use super::killed::killed_at;
use super::promise::{no_sync, promise, synced_and_damaged};
use super::{PATIENCE, boot, check, get, open, prefix, put, try_put};
use crate::error::ErrorKind;
use crate::format::location::Location;
use crate::format::segment::HEADER_UNITS;
use crate::format::settings::PowerLoss;
use crate::format::state::State;
use crate::log::segments::MAX_SEGMENTS;
use crate::store::Store;
use crate::sys::testing::{Child, Step, watch};

pub(super) fn flushes() -> (Rc<Cell<u32>>, impl FnMut(Step) -> std::io::Result<()> + 'static) {
    let count = Rc::new(Cell::new(0));
    let seen = Rc::clone(&count);
    let hook = move |step: Step| {
        seen.set(seen.get() + u32::from(step == Step::Flush));
        Ok(())
    };
    (count, hook)
}

/// Puts into a store until its disk has refused one write; it refuses no other.
fn refused_once(store: &Store) {
    let failed = Rc::new(Cell::new(false));
    let seen = Rc::clone(&failed);
    let hook = move |step: Step| match step {
        Step::Call("fdatasync") if !seen.replace(true) => Err(std::io::ErrorKind::Other.into()),
        _ => Ok(()),
    };
    let mut numbers = 0..100_000u32;
    watch(hook, || {
        while !failed.get() {
            put(store, numbers.next().unwrap() % 20, &[7; 300])
        }
    });
    assert!(store.shared().head.has_sync_failed());
}

/// The next sync would be believed, and then what only it says to be on disk is overwritten.
#[test]
fn what_the_disk_refused_is_never_on_disk_and_puts_end_before_the_log_takes_it_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    refused_once(&store);
    let known = store.shared().synced();
    store.shared().sync_sealed();
    assert_eq!(store.shared().synced(), known, "{}", store.state().spare_units);
    let synced = store.state().synced;
    let put = |n: u32| try_put(&store, n % 20, &[7; 300]);
    let error = (0..5000).find_map(|n| put(n).err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(synced, store.state().synced);
    assert!(8 * store.state().log_units < 300_000);
    assert!((0..20).all(|key| get(&store, key).is_some()));
    check(&store);
    store.write(PATIENCE, |writer| writer.clear()).unwrap();
    (0..5000).for_each(|n| put(n).unwrap());
    store.sync(PATIENCE).unwrap();
    check(&store);
}

/// The first error of the disk ends the opening; the second sync finds nothing to complain of.
#[test]
fn a_rebuild_that_the_disk_refused_is_remembered_by_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    (0..20).for_each(|key| put(&store, key, b"v"));
    drop((store, first));
    let second = boot(2);
    let options = crate::store::open::OpenOptions {
        create: false,
        read_only: false,
        allow_network: true,
        settings: None,
    };
    assert!(watch(no_sync, || Store::open(dir.path(), &options)).is_err());
    let store = open(dir.path(), 1 << 30);
    assert_eq!(store.sync_log().unwrap_err().kind(), ErrorKind::Io);
    drop((store, second));
    let _boot = boot(3);
    let store = open(dir.path(), 1 << 30);
    store.sync_log().unwrap();
    assert_eq!(prefix(&store, 20), 20);
}

#[test]
fn a_repair_keeps_what_lies_beside_a_segment_that_is_missing() {
    for at in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 100_000);
        (0..200).for_each(|key| put(&store, key, &[7; 300]));
        let (first, last) = (store.state().first, store.shared().head.tail().segment());
        assert!(last.since(first) > 3);
        let missing = (0..at).fold(first, |segment, _| segment.next());
        std::fs::remove_file(dir.path().join(missing.file_name())).unwrap();
        let findings = store.repair(PATIENCE).unwrap();
        assert!(findings.iter().any(|it| it.what == "the segment is missing"), "{findings:?}");
        let there = (0..200).filter(|key| get(&store, *key).is_some()).count();
        assert!((150..200).contains(&there), "{there} with segment {at} missing");
        check(&store);
        drop(store);
        let store = open(dir.path(), 100_000);
        (0..3000).for_each(|n| put(&store, n % 200, &[8; 300]));
        check(&store);
        assert!(8 * store.state().log_units < 200_000);
    }
}

/// Nothing has been drained yet when the power goes.
#[test]
fn a_repair_that_ends_early_leaves_what_a_rebuild_reads_over() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 100_000);
    (0..200).for_each(|key| put(&store, key, &[7; 300]));
    store.sync_log().unwrap();
    let missing = store.state().first.next();
    std::fs::remove_file(dir.path().join(missing.file_name())).unwrap();
    let creations = Cell::new(0);
    let hook = move |step: Step| {
        creations.set(creations.get() + u32::from(step == Step::Call("create")));
        let is_begun = step == Step::Call("create") && creations.get() > 6;
        if is_begun { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    };
    let _ = watch(hook, || store.repair(PATIENCE));
    let there = (0..200).filter(|key| get(&store, *key).is_some()).count();
    assert!(there > 150);
    store.sync_log().unwrap();
    drop((store, first));
    let _boot = boot(2);
    let store = open(dir.path(), 100_000);
    assert_eq!((0..200).filter(|key| get(&store, *key).is_some()).count(), there);
    check(&store);
}

/// What one process waits for, another may be told to have failed.
#[test]
fn nothing_is_claimed_once_another_has_been_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    (0..100).for_each(|key| put(&store, key, &[7; 300]));
    let refused = |nth: u32| {
        let (other, count) = (store.clone(), Cell::new(0));
        move |step: Step| {
            count.set(count.get() + u32::from(step == Step::Call("fdatasync")));
            if count.get() == nth {
                let shared = other.shared();
                shared.head.set_sync_failed(&shared.whereabouts().unwrap());
            }
            Ok(())
        }
    };
    let mut is_refused = 0;
    for nth in 1..40 {
        let result = watch(refused(nth), || store.sync(PATIENCE));
        let (head, failed) = (&store.shared().head, store.shared().has_sync_failed());
        assert!(!failed || result.is_err() && !head.is_clean(), "{nth}");
        is_refused += u32::from(failed);
        head.forget_sync_failed();
        (0..30).for_each(|key| put(&store, key, &[nth as u8; 300]));
    }
    assert!((2..39).contains(&is_refused));
    // In the midst of waiting for sealed segments.
    let mut known = store.shared().synced();
    watch(refused(1), || {
        for n in 0..100_000 {
            put(&store, n % 30, &[7; 300]);
            if store.shared().has_sync_failed() {
                break;
            }
            known = store.shared().synced();
        }
    });
    assert!(store.shared().has_sync_failed());
    assert_eq!(store.shared().synced(), known);
}

/// A clean store is believed as it is, in another boot, too; but not what its disk refused.
#[test]
fn what_one_disk_refused_says_nothing_of_another_boot() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"v");
    store.sync(PATIENCE).unwrap();
    store.shared().head.set_sync_failed(&store.shared().whereabouts().unwrap());
    assert!(store.shared().has_sync_failed());
    drop((store, first));
    let _boot = boot(2);
    let store = open(dir.path(), 1 << 30);
    put(&store, 2, b"v");
    store.sync(PATIENCE).unwrap();
}

/// The log has the new settings on disk, the head has not; after a rebuild the head must go there.
#[test]
fn a_rebuild_that_finds_other_settings_flushes_the_head() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    (0..10).for_each(|key| put(&store, key, b"v"));
    store.sync_log().unwrap();
    let head = std::fs::read(dir.path().join("head")).unwrap();
    promise(&store, PowerLoss::Clear);
    drop((store, first));
    std::fs::write(dir.path().join("head"), &head).unwrap();
    let second = boot(2);
    let (flushed, hook) = flushes();
    let store = watch(hook, || {
        let store = open(dir.path(), 1 << 30);
        (10..20).for_each(|key| put(&store, key, b"v"));
        store
    });
    assert_eq!(store.settings().power_loss, PowerLoss::Clear);
    drop((store, second));
    if flushed.get() == 0 {
        std::fs::write(dir.path().join("head"), &head).unwrap();
    }
    let _boot = boot(3);
    assert_eq!(prefix(&open(dir.path(), 1 << 30), 20), 0);
}

/// Killed after the settings are committed and applied, before the head is on disk.
#[test]
fn what_is_synced_after_a_killed_change_to_recover_survives() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    promise(&store, PowerLoss::Clear);
    put(&store, 0, b"v");
    store.sync_log().unwrap();
    let head = std::fs::read(dir.path().join("head")).unwrap();
    let count = Cell::new(0);
    let second = move |step: Step| {
        count.set(count.get() + u32::from(step == Step::Flush));
        count.get() == 2
    };
    killed_at(second, || promise(&store, PowerLoss::Recover));
    assert_eq!(store.settings().power_loss, PowerLoss::Recover, "the new promise is in force");
    let (flushed, hook) = flushes();
    watch(hook, || {
        put(&store, 1, b"v");
        store.sync_log().unwrap();
    });
    drop((store, first));
    if flushed.get() == 0 {
        std::fs::write(dir.path().join("head"), &head).unwrap();
    }
    let _boot = boot(2);
    assert!(get(&open(dir.path(), 1 << 30), 1).is_some());
}

/// The beginning of a segment fails when its end is to be appended; another process makes it
/// anew in another size and goes on.
#[test]
fn a_writer_finds_a_key_in_a_segment_that_another_has_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 20);
    put(&store, 1, b"v");
    store.sync(PATIENCE).unwrap();
    let hook = |step: Step| match step {
        Step::Flush => Err(std::io::ErrorKind::Other.into()),
        _ => Ok(()),
    };
    assert!(watch(hook, || store.write(PATIENCE, |writer| writer.end_segment())).is_err());
    assert!(dir.path().join("log.0000002").exists());
    let other = Child::fork(|| {
        put(&store, 9, &vec![1; 200_000]);
        put(&store, 5, b"old");
        store.write(PATIENCE, |writer| writer.end_segment()).is_ok()
    });
    assert!(other.succeeded());
    put(&store, 5, b"new");
    assert_eq!(get(&store, 5).unwrap(), b"new");
    check(&store);
}

/// Another process meets the error meanwhile.
#[test]
fn a_sync_beside_one_that_fails_fails() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"v");
    let other = store.clone();
    let hook = move |step: Step| {
        if step == Step::Call("fdatasync") {
            let shared = other.shared();
            shared.head.set_sync_failed(&shared.whereabouts().unwrap());
        }
        Ok(())
    };
    assert!(watch(hook, || store.sync_log()).is_err());
}

/// As the test of one process, but another one repairs.
#[test]
fn what_was_known_to_be_on_disk_is_not_known_when_another_cuts_the_log_short() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    synced_and_damaged(&store);
    assert!(Child::fork(|| store.repair(PATIENCE).is_ok()).succeeded());
    put(&store, 1000, b"v");
    put(&store, 1001, b"v");
    let (synced, tail) = (store.state().synced, store.shared().head.tail());
    assert!(tail.is_at_or_after(synced), "{synced:?} beyond {tail:?}");
}

/// A repair after a failed sync gives up what may be the only copy, and says all is on disk.
#[test]
fn a_repair_after_a_failed_sync_claims_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"v");
    let before = store.state().synced;
    assert!(watch(no_sync, || store.sync_log()).is_err());
    store.repair(PATIENCE).unwrap();
    assert_eq!(store.state().synced, before);
}

/// A file without its first page is taken for one that never held a record.
#[test]
fn the_segment_that_a_cleared_cache_begins_with_is_blank() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    promise(&store, PowerLoss::Clear);
    (0..250).for_each(|key| put(&store, key, &[7; 300]));
    let last = store.shared().head.tail().segment();
    assert!(last.number() > 1);
    let path = dir.path().join(last.file_name());
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes[4096..8192].iter().any(|byte| *byte != 0));
    drop((store, first));
    std::fs::File::options().write(true).open(&path).unwrap().write_all_at(&[0; 4096], 0).unwrap();
    let _boot = boot(2);
    let store = open(dir.path(), 1 << 30);
    let tail = store.shared().head.tail();
    let bytes = std::fs::read(dir.path().join(tail.segment().file_name())).unwrap();
    assert!(bytes[8 * tail.unit() as usize..].iter().all(|byte| *byte == 0), "{tail:?}");
}

/// Another process repairs, the log ends earlier, and goes on in a segment of the same number.
#[test]
fn a_writer_does_not_go_on_in_the_file_that_a_repair_has_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..1000).for_each(|key| put(&store, key, &[7; 300]));
    let last = store.shared().head.tail().segment();
    std::fs::remove_file(dir.path().join(last.file_name())).unwrap();
    let other = Child::fork(|| {
        store.repair(PATIENCE).unwrap();
        while last.is_after(store.shared().head.tail().segment()) {
            store.write(PATIENCE, |writer| writer.end_segment()).unwrap();
        }
        put(&store, 5000, b"v");
        store.shared().head.tail().segment() == last
    });
    assert!(other.succeeded());
    put(&store, 6000, b"w");
    let options = crate::store::open::OpenOptions {
        create: false,
        read_only: true,
        allow_network: true,
        settings: None,
    };
    let fresh = Store::open(dir.path(), &options).unwrap();
    assert!(get(&fresh, 5000).is_some());
    assert!(get(&fresh, 6000).is_some());
}

/// As many as there can be, of a head that says so: none of them has ever been.
#[test]
fn a_repair_of_a_log_that_is_said_to_go_on_for_ever_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..100).for_each(|key| put(&store, key, &[7; 300]));
    let (head, state) = (&store.shared().head, store.state());
    let far = (0..MAX_SEGMENTS - 2).fold(head.tail().segment(), |it, _| it.next());
    let far = Location::new(far, HEADER_UNITS);
    head.set_tail(far);
    let log_units = u64::from(MAX_SEGMENTS) << 10;
    head.flip(head.applied(), far, &State { log_units, ..state });
    store.repair(PATIENCE).unwrap();
    assert!((0..100).all(|key| get(&store, key).is_some()));
    check(&store);
    (0..3000).for_each(|n| put(&store, n % 100, &[8; 300]));
    check(&store);
}
