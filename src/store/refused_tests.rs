//! What cannot be done is refused before anything is committed, and spends nothing that others need.

use std::cell::Cell;
use std::io;

use super::stress_tests::{PATIENCE, check, get, open, put, try_put};
use crate::error::{Error, ErrorKind, Result};
use crate::format::settings::{PowerLoss, Settings};
use crate::format::state::State;
use crate::store::compact::NEEDED;
use crate::store::{Store, Writer};
use crate::sys::testing::{Step, watch};

const LIMIT: u64 = 100_000;

fn try_remove(store: &Store, key: u32) -> Result<()> {
    let key = key.to_be_bytes();
    store.write(PATIENCE, |writer| match writer.find(store.hashed(&key))? {
        Some(found) => writer.remove(store.hashed(&key), &found, 0),
        None => Ok(()),
    })
}

fn waiting(store: &Store) -> u32 {
    let state = store.state();
    state.first.since(state.oldest)
}

/// A hook that refuses the calls that need space of a disk.
fn no_space(step: Step) -> io::Result<()> {
    let needs_space = matches!(step, Step::Call("create" | "allocate" | "rename"));
    if needs_space { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}

fn no_allocation(step: Step) -> io::Result<()> {
    let is_refused = step == Step::Call("allocate");
    if is_refused { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}

/// Refuses to map what a write of a key needs, from one file on.
#[test]
fn a_write_that_cannot_reach_its_entry_has_not_happened() {
    type Write = fn(&Store, u32) -> Result<()>;
    let dir = tempfile::tempdir().unwrap();
    let writes: [Write; 2] = [|store, key| try_put(store, key, b"new"), try_remove];
    let store = open(dir.path(), 1 << 30);
    (0..1000).for_each(|key| put(&store, key, b"old"));
    drop(store);
    for (number, write) in (0..).zip(writes) {
        let mut refused = 0;
        for nth in 0.. {
            // It has written, so that it has a slot, and has mapped nothing of the table yet.
            let (store, key) = (open(dir.path(), 1 << 30), 600 + number);
            store.write(PATIENCE, |_| Ok(())).unwrap();
            let count = Cell::new(0);
            let hook = move |step: Step| {
                let is_open = step == Step::Call("open");
                count.set(count.get() + u32::from(is_open));
                let fails = is_open && count.get() > nth;
                if fails { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
            };
            let tail = store.shared().head.tail();
            if watch(hook, || write(&store, key)).is_ok() {
                assert_ne!(get(&store, key).as_deref(), Some(&b"old"[..]));
                break;
            }
            refused += 1;
            assert_eq!(store.shared().head.tail(), tail, "call {nth} of write {number}");
            assert_eq!(get(&store, key).unwrap(), b"old", "call {nth} of write {number}");
        }
        assert!(refused >= 2, "write {number} maps {refused} files");
    }
}

/// A directory can need a block for a name more.
#[test]
fn a_name_that_a_full_disk_refuses_is_refused_before_the_segment_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LIMIT);
    (0..2000).for_each(|n| put(&store, n % 20, &[7; 300]));
    store.sync(PATIENCE).unwrap();
    assert!(waiting(&store) > 0);
    store.shared().process().note_disk_full(true);
    let roll = || store.write(PATIENCE, |writer| writer.end_segment());
    let last = store.shared().head.tail().segment();
    watch(no_space, || {
        for _ in 0..2 {
            assert_eq!(roll().unwrap_err().kind(), ErrorKind::Full);
            assert_eq!(store.check(PATIENCE).unwrap(), [], "nothing waits to be applied");
        }
    });
    // Made ahead of its time.
    std::fs::File::create_new(dir.path().join(last.next().file_name())).unwrap();
    assert_eq!(roll().unwrap(), last);
    assert_eq!(store.shared().head.tail().segment(), last.next());
    put(&store, 1, b"v");
    check(&store);
}

/// What a drained file held may be nowhere else on disk.
#[test]
fn a_full_disk_takes_a_drained_file_that_is_large_enough_once_the_disk_has_what_it_held() {
    for (units, can_sync) in [(0, true), (0, false), (2000, true)] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), LIMIT);
        let needs_sync = |writer: &mut Writer<'_>| {
            let oldest = writer.state.oldest;
            let settings = writer.shared.head.settings();
            Ok(writer.waiting() > 0 && !writer.is_reusable(oldest, &settings)?)
        };
        let found = (0..5000u32).find(|n| {
            put(&store, n % 20, &[7; 300]);
            store.write(PATIENCE, needs_sync).unwrap()
        });
        assert!(found.is_some());
        let hook = move |step: Step| match step {
            Step::Sync(_) if !can_sync => Err(io::ErrorKind::Other.into()),
            _ => no_allocation(step),
        };
        let result = watch(hook, || store.write(PATIENCE, |writer| writer.roll(units)));
        let kind = result.as_ref().map_err(Error::kind);
        let expected = if units == 0 && can_sync { Ok(&()) } else { Err(ErrorKind::Full) };
        assert_eq!(kind, expected, "{units} units, sync {can_sync}: {result:?}");
        check(&store);
    }
}

#[test]
fn puts_on_a_full_disk_leave_removals_what_they_go_on_in() {
    for power_loss in [PowerLoss::Recover, PowerLoss::Clear] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), LIMIT);
        let settings = Settings { power_loss, ..store.settings() };
        store.write(PATIENCE, |writer| writer.set_settings(&settings)).unwrap();
        (0..2000).for_each(|n| put(&store, n % 200, &[7; 300]));
        store.shared().process().note_disk_full(true);
        watch(no_allocation, || {
            // Longer and longer values, as the table has no room for more keys either.
            let mut values = (0..).map(|n| (n % 200, vec![7; 300 + n as usize]));
            let error = values.find_map(|(key, value)| try_put(&store, key, &value).err()).unwrap();
            assert_eq!(error.kind(), ErrorKind::Full);
            let waiting = waiting(&store);
            assert!(waiting + 1 >= NEEDED, "{power_loss:?}: only {waiting} wait");
            for key in (0..200).rev() {
                let removed = try_remove(&store, key);
                assert!(removed.is_ok(), "{power_loss:?}: {key}: {removed:?}");
            }
        });
        check(&store);
    }
}

#[test]
fn damaged_counters_are_refused_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LIMIT);
    put(&store, 1, b"v");
    let (head, state) = (&store.shared().head, store.state());
    let applied = head.applied();
    let damaged = State { len: 1 << 40, ..state };
    head.flip(applied, applied.location(), &damaged);
    for _ in 0..3 {
        assert_eq!(try_put(&store, 2, b"v").unwrap_err().kind(), ErrorKind::Corrupt);
    }
    assert_eq!(get(&store, 1).unwrap(), b"v");
    store.repair(PATIENCE).unwrap();
    put(&store, 2, b"v");
    check(&store);
}

#[test]
fn a_repair_that_could_not_look_at_everything_finds_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), LIMIT);
    (0..1000).for_each(|key| put(&store, key, b"v"));
    drop(store);
    let mut done = 0;
    for nth in 0..20 {
        let (store, count) = (open(dir.path(), LIMIT), Cell::new(0));
        store.write(PATIENCE, |_| Ok(())).unwrap();
        let hook = move |step: Step| {
            count.set(count.get() + u32::from(step == Step::Call("open")));
            let fails = step == Step::Call("open") && count.get() == nth + 1;
            if fails { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
        };
        if let Ok(findings) = watch(hook, || store.repair(PATIENCE)) {
            assert_eq!(findings, [], "call {nth}");
            done += 1;
        }
        assert_eq!(store.repair(PATIENCE).unwrap(), []);
        check(&store);
    }
    assert!(done > 0);
}

#[test]
fn too_many_new_keys_for_one_bucket_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let refused = store.write(PATIENCE, |writer| writer.vacancies_for(7, 30_000)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooLarge);
    put(&store, 1, b"v");
    check(&store);
}
