//! Syncs that nobody waits for: what is believed, and when.

use std::io;

use super::stress_tests::{check, open, put};
use crate::error::ErrorKind;
use crate::format::location::Location;
use crate::store::Store;
use crate::sys::testing::{Child, Step, watch};

/// Steps that are refused while `work` runs.
fn refusing<R>(steps: &'static [&'static str], work: impl FnOnce() -> R) -> R {
    let hook = move |step| match step {
        Step::Call(name) if steps.contains(&name) => Err(io::ErrorKind::Other.into()),
        _ => Ok(()),
    };
    watch(hook, work)
}

/// Overwrites keys until drained files wait and so many more segments have been begun.
fn overwrite(store: &Store, segments: u32) {
    let mut rounds = 0;
    while store.state().spare_units == 0 {
        (0..300).for_each(|key| put(store, key, &[1; 100]));
        rounds += 1;
        assert!(rounds < 1000, "nothing is drained");
    }
    let first = store.shared().head.tail().segment();
    while store.shared().head.tail().segment().since(first) < segments {
        (0..10).for_each(|key| put(store, key, &[2; 100]));
    }
}

fn under_way(store: &Store) -> usize {
    store.shared().process().under_way.lock().len()
}

fn own(store: &Store) -> Location {
    Location::from_bits(store.shared().process().synced.load(std::sync::atomic::Ordering::Acquire))
}

#[test]
fn what_the_kernel_has_done_counts_when_it_is_fetched_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 20);
    let before = refusing(&["look"], || {
        overwrite(&store, 3);
        own(&store)
    });
    assert!(under_way(&store) > 0, "nothing was asked for");
    assert!(before.bits() == 0, "believed without having heard of it: {before:?}");
    store.shared().wait_for_syncs();
    assert_eq!(under_way(&store), 0);
    let tail = store.shared().head.tail();
    assert!(tail.segment().since(own(&store).segment()) <= 3, "{:?} of {tail:?}", own(&store));
    check(&store);
}

#[test]
fn a_drained_file_is_not_used_again_before_the_kernel_has_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 20);
    overwrite(&store, 1);
    store.shared().settle_on_disk();
    // Within what the log may be behind, nobody waits: a new file is made each time.
    refusing(&["look"], || {
        let oldest = store.state().oldest;
        let synced = own(&store);
        overwrite(&store, 2);
        let state = store.state();
        assert_eq!(own(&store), synced);
        let words = store.shared().segment(state.oldest).unwrap().unwrap();
        let mark =
            words[crate::format::segment::DRAINED_WORD].load(std::sync::atomic::Ordering::Acquire);
        let is_held = state.oldest == oldest || !synced.is_at_or_after(Location::from_bits(mark));
        assert!(is_held || state.oldest == state.first, "used again too early");
    });
    check(&store);
}

#[test]
fn an_error_that_the_kernel_tells_later_is_reported_by_sync() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 20);
    overwrite(&store, 1);
    store.shared().settle_on_disk();
    assert!(!store.shared().head.has_sync_failed());
    let before = own(&store);
    refusing(&["fdatasync"], || overwrite(&store, 3));
    assert_eq!(own(&store), before, "a failed sync was taken for one that succeeded");
    // The failed one may stand behind names that the kernel still syncs: `sync` waits for them.
    assert_eq!(store.sync().unwrap_err().kind(), ErrorKind::Io);
    assert!(store.shared().head.has_sync_failed());
    assert_eq!(store.sync_log().unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn sync_hears_of_an_error_that_is_still_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 20);
    overwrite(&store, 1);
    // Failed, and not looked at: what a kernel leaves that has told the error to this request.
    let failed = crate::sys::aio::Request::finished(&Err(io::ErrorKind::Other.into()));
    super::under_way::for_tests::add(&store, failed);
    assert!(!store.shared().head.has_sync_failed());
    assert_eq!(store.sync_log().unwrap_err().kind(), ErrorKind::Io);
    assert!(store.shared().head.has_sync_failed());
}

#[test]
fn where_the_kernel_refuses_each_sync_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 20);
    refusing(&["submit"], || {
        overwrite(&store, 4);
        assert_eq!(under_way(&store), 0);
        let tail = store.shared().head.tail().segment();
        assert!(tail.since(own(&store).segment()) <= 2, "{:?} of {tail:?}", own(&store));
    });
    check(&store);
}

#[test]
fn a_writer_killed_before_it_hears_has_told_nobody_anything() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 20);
    put(&store, 1, b"v");
    let there = dir.path().join("there");
    let child = Child::fork(|| {
        refusing(&["look"], || overwrite(&store, 3));
        assert!(under_way(&store) > 0 && own(&store).is_none());
        std::fs::write(&there, b"").unwrap();
        loop {
            std::thread::park();
        }
    });
    while !there.exists() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    drop(child);
    std::fs::remove_file(there).unwrap();
    let state = store.state();
    assert!(state.spare_units > 0);
    assert!(state.synced.is_none() || state.first.is_after(state.synced.segment()), "{state:?}");
    assert_eq!(under_way(&store), 0);
    overwrite(&store, 3);
    store.sync().unwrap();
    check(&store);
}

#[test]
fn the_child_of_a_fork_has_its_own_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 20);
    refusing(&["look"], || overwrite(&store, 3));
    let parents = under_way(&store);
    assert!(parents > 0);
    let child = Child::fork(|| {
        let is_fresh = under_way(&store) == 0 && own(&store).is_none();
        overwrite(&store, 4);
        store.shared().wait_for_syncs();
        is_fresh && !own(&store).is_none() && store.sync().is_ok()
    });
    assert!(child.succeeded());
    assert_eq!(under_way(&store), parents);
    store.shared().wait_for_syncs();
    assert_eq!(under_way(&store), 0);
    check(&store);
}

#[test]
fn a_store_is_closed_and_opened_again_with_syncs_under_way() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        let store = open(dir.path(), 1 << 20);
        refusing(&["look"], || overwrite(&store, 2));
        assert!(under_way(&store) > 0);
    }
    check(&open(dir.path(), 1 << 20));
}

#[test]
fn a_disk_that_is_slow_does_not_let_the_log_grow_beyond_its_bound() {
    let limit = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), limit);
    refusing(&["look"], || {
        let mut most = 0;
        for round in 0..400 {
            (0..300).for_each(|key| put(&store, key, &[round as u8; 300]));
            most = most.max(8 * store.state().log_units);
        }
        // Within the limit: a rest of its own is left to the table.
        assert!(most <= limit + limit / 16, "{most}");
    });
    check(&store);
}
