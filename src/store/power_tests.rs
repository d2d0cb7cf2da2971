//! Power loss, as far as one machine can play it: another boot, and a log whose end is torn.
//! [`storm`] does so at random, over a [`disk`] that knows what was synced.

mod begun;
mod believed;
mod beside;
mod disk;
mod elsewhere;
mod killed;
mod promise;

mod storm;
mod torn_head;

use std::cell::Cell;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::rc::Rc;

use self::killed::{Left, deletes_beyond_table, leave};
use super::stress_tests::{PATIENCE, check, get, open, put, put_in, remove, transact, try_put};
use crate::error::ErrorKind;
use crate::format::settings::{PowerLoss, Settings};
use crate::store::writer::PutValue;
use crate::store::{Store, Writer};
use crate::sys::testing::{Step, watch};
use crate::sys::trust::pretend::{Pretence, set_boot};

/// From here on the machine has been started for the `number`th time.
fn boot(number: u8) -> Pretence {
    set_boot(Some([number; 16]))
}

/// Blanks the log from byte `from` of its only segment on: what had not reached the disk.
fn tear(path: &Path, from: u64) {
    let log = std::fs::File::options().write(true).open(path.join("log.0000001")).unwrap();
    let len = log.metadata().unwrap().len();
    log.write_all_at(&vec![0; (len - from) as usize], from).unwrap();
}

/// How many of the keys that were put in order are there; they must be the first ones.
fn prefix(store: &Store, count: u32) -> u32 {
    let there: Vec<u32> = (0..count).filter(|key| get(store, *key).is_some()).collect();
    assert!(there.iter().copied().eq(0..there.len() as u32), "no prefix: {there:?}");
    there.len() as u32
}

#[test]
fn another_boot_finds_everything_that_reached_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    for number in 1..5u8 {
        let _boot = boot(number);
        let store = open(dir.path(), 100_000);
        for key in (0..300).filter(|_| number > 1) {
            let expected = (key % 7 != 0).then(|| vec![number - 1; 1 + key as usize % 90]);
            assert_eq!(get(&store, key), expected, "key {key} in boot {number}");
        }
        check(&store);
        for round in 0..20 {
            for key in 0..300 {
                put(
                    &store,
                    key,
                    &vec![if round == 19 { number } else { 0 }; 1 + key as usize % 90],
                );
            }
        }
        transact(&store, || (0..300).step_by(7).for_each(|key| assert!(remove(&store, key))));
    }
}

#[test]
fn what_a_torn_log_leaves_is_a_prefix() {
    for from in (512..40_000).step_by(1536) {
        let dir = tempfile::tempdir().unwrap();
        let (before, after) = (boot(1), 200);
        let store = open(dir.path(), 1 << 30);
        (0..after).for_each(|key| put(&store, key, &[7; 150]));
        drop((store, before));
        tear(dir.path(), from);
        let _boot = boot(2);
        let store = open(dir.path(), 1 << 30);
        let kept = prefix(&store, after);
        let least = from.min(41_000).saturating_sub(1024);
        assert!(u64::from(kept) * 208 >= least, "{kept} of those before {from}");
        check(&store);
        (0..after).for_each(|key| put(&store, key, b"again"));
        assert_eq!(prefix(&store, after), after);
        check(&store);
    }
}

#[test]
fn half_a_transaction_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    put(&store, 0, b"before");
    let start = 8 * store.shared().head.tail().unit();
    transact(&store, || (0..50).for_each(|key| put(&store, key, &[7; 150])));
    drop((store, first));
    tear(dir.path(), start + 30 * 208);
    let _boot = boot(2);
    let store = open(dir.path(), 1 << 30);
    assert_eq!(get(&store, 0).unwrap(), b"before");
    assert_eq!(store.state().len, 1);
    check(&store);
    // What is left of it does not become part of the next one.
    transact(&store, || (0..10).for_each(|key| put(&store, key, b"after")));
    assert!(store.repair(PATIENCE).unwrap().is_empty());
    assert_eq!(prefix(&store, 50), 10);
    check(&store);
}

#[test]
fn two_transactions_that_were_killed_do_not_become_one() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    put(&store, 0, b"before");
    leave(&store, &[1, 2], b"", Left::Whole);
    leave(&store, &[3], b"", Left::Half);
    drop((store, first));
    let _boot = boot(2);
    let store = open(dir.path(), 1 << 30);
    let there: Vec<u32> = (0..5).filter(|key| get(&store, *key).is_some()).collect();
    assert_eq!(there, [0], "the first of one, the second of the other");
    check(&store);
}

/// The disk is full just when one of the last records of a transaction needs another segment.
#[test]
fn a_transaction_that_failed_does_not_come_back() {
    let mut failed = 0;
    for len in (5000..6500).step_by(40) {
        let dir = tempfile::tempdir().unwrap();
        let first = boot(1);
        let store = open(dir.path(), 100_000);
        (0..20).for_each(|key| put(&store, key, b"v"));
        put(&store, 20, &vec![7; len]);
        let full = |step: Step| match step {
            Step::Call("create" | "allocate") => Err(std::io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        };
        let begun = store.begin(PATIENCE).unwrap();
        (0..20).for_each(|key| assert!(remove(&store, key)));
        let is_done = watch(full, || begun.commit()).is_ok();
        failed += u32::from(!is_done);
        drop((store, first));
        let _boot = boot(2);
        let store = open(dir.path(), 100_000);
        let is_there = |key| get(&store, key).is_some();
        assert!((0..20).all(|key| is_there(key) != is_done), "{is_done} after {len} bytes");
        check(&store);
    }
    assert!(failed > 0, "the disk was never full");
}

#[test]
fn nothing_rises_again_behind_a_lost_page() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    (0..200).for_each(|key| put(&store, key, &[7; 150]));
    drop((store, first));
    let path = dir.path().join("log.0000001");
    let log = std::fs::File::options().write(true).open(&path).unwrap();
    log.write_all_at(&[0; 4096], 3 * 4096).unwrap();
    let _boot = boot(2);
    let store = open(dir.path(), 1 << 30);
    assert!((50..60).contains(&prefix(&store, 200)));
    // Another cut can keep what is written now up to any page, and then the rest as it is on disk.
    let tail = 8 * store.shared().head.tail().unit() as usize;
    assert!(std::fs::read(&path).unwrap()[tail..].iter().all(|byte| *byte == 0));
    check(&store);
}

#[test]
fn repair_takes_the_clean_mark_back_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"v");
    store.sync(PATIENCE).unwrap();
    let is_told = Rc::new(Cell::new(false));
    let seen = Rc::clone(&is_told);
    let head = store.shared();
    let is_clean = || head.head.is_clean();
    assert!(is_clean());
    let hook = move |step: Step| {
        // Before any file goes.
        assert!(seen.get() || step != Step::Call("unlink"));
        seen.set(seen.get() || step == Step::Flush);
        Ok(())
    };
    watch(hook, || store.repair(PATIENCE).unwrap());
    assert!(is_told.get() && !is_clean());
}

#[test]
fn sweeping_waits_for_what_has_replaced_a_value_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put_file(&store, 1, &[8; 5000]);
    store.sync(PATIENCE).unwrap();
    put(&store, 1, b"v");
    let synced = Rc::new(Cell::new(0));
    let seen = Rc::clone(&synced);
    let log = std::fs::metadata(dir.path().join("log.0000001")).unwrap().ino();
    let hook = move |step: Step| {
        seen.set(seen.get() + u64::from(step == Step::Sync(log)));
        assert!(seen.get() > 0 || step != Step::Call("unlink"), "it was the durable one");
        Ok(())
    };
    watch(hook, || store.sweep(PATIENCE).unwrap());
    assert!(store.shared().value_files().unwrap().is_empty());
    assert!(synced.get() > 0);
}

#[test]
fn a_value_file_without_its_bytes_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    put(&store, 0, b"v");
    put_file(&store, 1, &[8; 5000]);
    put(&store, 2, b"v");
    let name = store.shared().value_files().unwrap().remove(0);
    std::fs::write(dir.path().join(name), [0; 5000]).unwrap();
    drop((store, first));
    let _boot = boot(2);
    let store = open(dir.path(), 1 << 30);
    assert_eq!(prefix(&store, 3), 1);
    check(&store);
}

#[test]
fn what_was_synced_survives_and_a_clean_store_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    (0..100).for_each(|key| put(&store, key, &[7; 150]));
    store.sync(PATIENCE).unwrap();
    let generation = store.state().geometry.generation();
    drop((store, first));
    let second = boot(2);
    let store = open(dir.path(), 1 << 30);
    assert_eq!(store.state().geometry.generation(), generation, "nothing is made anew");
    assert_eq!(prefix(&store, 200), 100);
    (100..200).for_each(|key| put(&store, key, &[7; 150]));
    drop((store, second));
    tear(dir.path(), 30_000);
    let _boot = boot(3);
    assert!(prefix(&open(dir.path(), 1 << 30), 200) >= 100);
}

#[test]
fn a_cache_that_is_to_be_cleared_is_empty_after_power_loss_only() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    let settings = Settings { power_loss: PowerLoss::Clear, ..store.settings() };
    store.write(PATIENCE, |writer| writer.set_settings(&settings)).unwrap();
    (0..100).for_each(|key| put(&store, key, b"v"));
    drop(store);
    let store = open(dir.path(), 1 << 30);
    assert_eq!(prefix(&store, 100), 100, "in the same boot");
    drop((store, first));
    let _boot = boot(2);
    let store = open(dir.path(), 1 << 30);
    assert_eq!((prefix(&store, 100), store.state().len), (0, 0));
    put(&store, 1, b"v");
    check(&store);
}

/// It can be a copy, or not be on disk yet.
#[test]
fn a_rebuild_waits_for_what_it_has_read() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    (0..100).for_each(|key| put(&store, key, b"v"));
    drop((store, first));
    let _boot = boot(2);
    let log = std::fs::metadata(dir.path().join("log.0000001")).unwrap().ino();
    let synced = Rc::new(Cell::new(false));
    let (seen, is_too_early) = (Rc::clone(&synced), deletes_beyond_table(dir.path()));
    let hook = move |step: Step| {
        seen.set(seen.get() || step == Step::Sync(log));
        assert!(seen.get() || !is_too_early(step), "it was the only durable one");
        Ok(())
    };
    assert_eq!(prefix(&watch(hook, || open(dir.path(), 1 << 30)), 100), 100);
    assert!(synced.get());
}

#[test]
fn a_sync_that_failed_is_remembered_until_clear() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"v");
    let fails = |step: Step| match step {
        Step::Call("fdatasync") => Err(std::io::ErrorKind::Other.into()),
        _ => Ok(()),
    };
    assert!(watch(fails, || store.sync(PATIENCE)).is_err());
    for _ in 0..2 {
        assert_eq!(store.sync(PATIENCE).unwrap_err().kind(), ErrorKind::Io);
        put(&store, 2, b"v");
    }
    store.write(PATIENCE, |writer| writer.clear()).unwrap();
    store.sync(PATIENCE).unwrap();
}

/// They are a record like any other, which is moved as often as need be.
#[test]
fn settings_survive_a_lost_head_also_after_clear() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 100_000);
    let settings = Settings { cull_limit: 77, ..store.settings() };
    store.write(PATIENCE, |writer| writer.set_settings(&settings)).unwrap();
    store.write(PATIENCE, |writer| writer.clear()).unwrap();
    (0..2000).for_each(|n| put(&store, n % 20, &[7; 300]));
    drop((store, first));
    let head = std::fs::File::options().write(true).open(dir.path().join("head")).unwrap();
    head.write_all_at(&[0; 4096 - 512], 512).unwrap();
    let _boot = boot(2);
    let store = open(dir.path(), 100_000);
    assert_eq!((prefix(&store, 30), store.settings()), (20, settings));
    check(&store);
}

/// A value of its own file.
fn put_file(store: &Store, key: u32, value: &[u8]) {
    let staged = store.stage_bytes(value, PATIENCE).unwrap();
    let key = key.to_be_bytes();
    let put = |writer: &mut Writer<'_>| put_in(store, writer, &key, PutValue::Staged(staged));
    store.write(PATIENCE, put).unwrap();
}

fn delete_value_files(path: &Path) {
    std::fs::remove_dir_all(path.join("values")).unwrap();
}

#[test]
fn a_value_file_ends_the_history_if_it_is_lost_and_not_if_it_was_replaced() {
    for is_replaced in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let first = boot(1);
        let store = open(dir.path(), 1 << 30);
        (0..50).for_each(|key| put(&store, key, &[7; 150]));
        put_file(&store, 50, &[8; 5000]);
        (51..100).for_each(|key| put(&store, key, &[7; 150]));
        if is_replaced {
            put(&store, 50, &[7; 150]);
        }
        delete_value_files(dir.path());
        drop((store, first));
        let _boot = boot(2);
        let store = open(dir.path(), 1 << 30);
        assert_eq!(prefix(&store, 100), if is_replaced { 100 } else { 50 });
        check(&store);
    }
}

#[test]
fn a_removed_key_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let first = boot(1);
    let store = open(dir.path(), 1 << 30);
    (0..20).for_each(|key| put(&store, key, b"v"));
    (0..20).step_by(2).for_each(|key| assert!(remove(&store, key)));
    drop((store, first));
    let _boot = boot(2);
    let store = open(dir.path(), 1 << 30);
    assert!((0..20).all(|key| get(&store, key).is_some() == (key % 2 == 1)));
    check(&store);
}

/// What is drained may be the only durable copy, until what it was moved to is on disk.
#[test]
fn no_segment_is_used_again_before_the_disk_has_what_came_after_it() {
    for fails in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 100_000);
        let renamed = Rc::new(Cell::new(0));
        let counted = Rc::clone(&renamed);
        let hook = move |step: Step| {
            counted.set(counted.get() + u32::from(step == Step::Call("rename")));
            match fails && step == Step::Call("fdatasync") {
                true => Err(std::io::ErrorKind::Other.into()),
                false => Ok(()),
            }
        };
        let puts = || (0..3000).take_while(|n| try_put(&store, n % 20, &[7; 300]).is_ok()).count();
        assert_eq!(watch(hook, puts) < 3000, fails);
        assert_eq!(renamed.get() == 0, fails, "{} renamed", renamed.get());
        check(&store);
    }
}
