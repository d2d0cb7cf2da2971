//! What transactions, walks and repairs must leave whole, one after the other.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::stress_tests::{PATIENCE, check, get, open, put, remove, telling, transact, walk};
use crate::error::ErrorKind;
use crate::format::entry::HASH;
use crate::store::page_walk::PageCursor;
use crate::store::scan::Item;
use crate::store::space::segment_units;
use crate::store::{Store, Writer};
use crate::sys::testing::Child;
use crate::table::pages::{self, EntryView};

#[test]
fn repairing_twice_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    (0..20_000).for_each(|n| put(&store, n % 500, &telling(n % 500, 1, 3)));
    for round in 0..3 {
        assert_eq!(store.repair(PATIENCE).unwrap(), []);
        assert_eq!(store.state().len, 500, "round {round}");
        check(&store);
    }
}

#[test]
fn a_forked_child_cannot_commit_its_parents_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let begun = RefCell::new(Some(store.begin(PATIENCE).unwrap()));
    put(&store, 1, b"v");
    // Not while the parent has the lock, nor when it is free again.
    let committed = dir.path().join("committed");
    let child = Child::fork(|| {
        while !committed.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let result = begun.take().unwrap().commit();
        result.is_err_and(|error| error.kind() == ErrorKind::Unsupported)
    });
    begun.take().unwrap().commit().unwrap();
    std::fs::write(&committed, b"").unwrap();
    assert!(child.succeeded());
    assert_eq!(get(&store, 1).unwrap(), b"v");
    check(&store);
}

#[test]
fn a_walk_loses_its_page_among_pages_of_one_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    transact(&store, || (0..320).for_each(|key| put(&store, key, &telling(key, 1, 0))));
    let (mut scan, mut item) = (store.scan(), Item::default());
    assert!((0..10).all(|_| scan.next(&store, &mut item).unwrap()));
    // One transaction empties a page by many removals.
    transact(&store, || (0..64).for_each(|key| assert!(remove(&store, key))));
    assert_eq!(walk(&store, &mut scan, || false), (64..320).collect());
    (1000..1400).for_each(|key| put(&store, key, b"v"));
    check(&store);
}

/// All stores of a job but the last, which makes its state hold.
#[test]
fn a_writer_stopped_in_a_page_job_hides_no_keys_from_walks() {
    for (is_merge, gone) in [(true, 2), (false, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let (store, last) = (open(dir.path(), 1 << 30), 64 * gone);
        (0..400).for_each(|key| put(&store, key, &telling(key, 1, 0)));
        (0..64 - u32::from(!is_merge)).for_each(|n| assert!(remove(&store, gone * n)));
        let (mut state, table) = (store.state(), &store.shared().table);
        let first = state.first_page - 1;
        if is_merge {
            let right = pages::snapshot(table, first).unwrap().next - 1;
            let (into, life) =
                (pages::next_number(&state), pages::life(&state, store.shared().head.tail()));
            pages::merge(table, &mut state, (first, right), into, life);
        } else {
            pages::remove(table, pages::live(table, first).next().unwrap().number);
            pages::drop_page(table, &mut state, first);
        }
        let left: HashSet<u32> = (0..400).filter(|key| *key >= last || key % gone != 0).collect();
        for back in [false, true] {
            assert_eq!(
                walk(&store, &mut store.scan(), || back),
                left,
                "merge {is_merge} back {back}"
            );
        }
    }
}

/// The hash in an entry leads to its bucket; bits that do not decide which one do no harm.
#[test]
fn a_walk_meets_a_key_whose_entry_has_a_damaged_hash() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..100).for_each(|key| put(&store, key, &telling(key, 1, 0)));
    let table = &store.shared().table;
    let hash = &pages::entry(table, 20).unwrap()[HASH];
    hash.fetch_xor(1 << 40, Ordering::Relaxed);
    for back in [false, true] {
        assert_eq!(walk(&store, &mut store.scan(), || back), (0..100).collect(), "back {back}");
    }
    assert_eq!(store.check(PATIENCE).unwrap().len(), 1);
}

#[test]
fn an_entry_whose_key_went_is_not_current() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..200).for_each(|key| put(&store, key, b"v"));
    let work = |writer: &mut Writer<'_>| {
        let mut views = Vec::new();
        let mut cursor = PageCursor::default();
        while let Some(page) = writer.page(&mut cursor)? {
            views.extend(page.entries);
        }
        assert!(views.iter().all(|view| writer.current(view).is_some()));
        for key in (0..200u32).filter(|key| key % 3 != 0 || *key < 64) {
            let bytes = key.to_be_bytes();
            let key = store.hashed(&bytes);
            let found = writer.find(key)?.unwrap();
            writer.remove(key, &found, 0)?;
        }
        let current = |view: &&EntryView| writer.current(view).is_some();
        Ok(views.iter().filter(current).count())
    };
    let current = store.write(PATIENCE, work).unwrap();
    // Pages with holes may have been merged into others meanwhile, where the entries are others.
    assert!((1..=45).contains(&current), "{current} of 45");
}

#[test]
fn clear_in_a_transaction_counts_what_it_has_put() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..5).for_each(|key| put(&store, key, b"v"));
    transact(&store, || {
        (4..8).for_each(|key| put(&store, key, b"w"));
        assert_eq!(store.write(PATIENCE, |writer| writer.clear()).unwrap(), 8);
        put(&store, 9, b"w");
    });
    assert_eq!((store.state().len, get(&store, 9)), (1, Some(b"w".to_vec())));
    check(&store);
}

#[test]
fn a_walk_removes_what_its_transaction_has_put() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    transact(&store, || {
        (0..10).for_each(|key| put(&store, key, b"v"));
        let (mut scan, mut item) = (store.scan(), Item::default());
        while scan.next(&store, &mut item).unwrap() {
            assert!(remove(&store, u32::from_be_bytes(item.key[..].try_into().unwrap())));
        }
    });
    assert_eq!(store.state().len, 0);
}

#[test]
fn a_transaction_begun_while_unwinding_can_be_rolled_back() {
    struct Late<'a>(&'a Store);
    impl Drop for Late<'_> {
        fn drop(&mut self) {
            let open = self.0.begin(PATIENCE).unwrap();
            put(self.0, 1, b"half");
            drop(open);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let unwind = std::panic::AssertUnwindSafe(|| {
        let _late = Late(&store);
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(std::panic::catch_unwind(unwind).is_err());
    assert_eq!(get(&store, 1), None);
}

#[test]
fn a_write_that_panics_leaves_its_transaction_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let panics = || {
        let work = |_: &mut Writer<'_>| std::panic::resume_unwind(Box::new("on purpose"));
        let unwind = std::panic::AssertUnwindSafe(|| store.write::<()>(PATIENCE, work));
        assert!(std::panic::catch_unwind(unwind).is_err());
    };
    for is_committed in [false, true] {
        let begun = store.begin(PATIENCE).unwrap();
        put(&store, 1, b"before");
        panics();
        put(&store, 2, b"after");
        match is_committed {
            true => begun.commit().unwrap(),
            false => drop(begun),
        }
        assert!([1, 2].iter().all(|key| get(&store, *key).is_some() == is_committed));
    }
    panics();
    put(&store, 3, b"the lock is free");
    check(&store);
}

#[test]
fn a_log_of_transactions_stays_within_its_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    for n in 0..10_000 {
        transact(&store, || {
            (0..4).for_each(|key| put(&store, 4 * (n % 20) + key, &[n as u8; 300]))
        });
    }
    let state = store.state();
    assert!(8 * state.log_units < 2 * state.live_bytes + 8 * 8192, "{state:?}");
    check(&store);
}

/// Reads key 0 in another thread while `work` runs; how often it was missed.
fn misses_during(store: &Store, work: impl FnOnce()) -> usize {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let reads =
                std::iter::from_fn(|| (!is_done.load(Ordering::Relaxed)).then(|| get(store, 0)));
            reads.filter(Option::is_none).count()
        });
        work();
        is_done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    })
}

#[test]
fn a_key_that_is_always_there_is_never_missed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    (0..1000).for_each(|key| put(&store, key, b"v"));
    let store_again = || {
        transact(&store, || {
            assert!(remove(&store, 0));
            put(&store, 0, b"w")
        })
    };
    assert_eq!(
        misses_during(&store, || (0..20_000).for_each(|_| store_again())),
        0,
        "stored again"
    );
    assert_eq!(
        misses_during(&store, || (0..20).for_each(|_| drop(store.repair(PATIENCE)))),
        0,
        "repair"
    );
}

/// However many dead records there are, one write looks at no more than it pays for.
#[test]
fn a_write_looks_at_a_small_part_of_a_dead_segment() {
    /// Records that a small write looks at, 32 and some for its own size; and with them what a
    /// segment leaves unused at its end.
    const RECORDS: u64 = 40;
    const SEGMENT_UNITS: u64 = 64 * 1024 / 8;
    const UNUSED_UNITS: u64 = 512;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let tail = || store.shared().head.tail().unit();
    let before = tail();
    put(&store, 1, b"v");
    put(&store, 1, b"v");
    let record = tail() - before;
    let (mut before, mut segments) = (store.state().drained, 0);
    for _ in 0..20_000 {
        put(&store, 1, b"v");
        let now = store.state().drained;
        let looked = match now.segment().since(before.segment()) {
            0 => now.unit() - before.unit(),
            _ => SEGMENT_UNITS - before.unit() - UNUSED_UNITS.min(SEGMENT_UNITS - before.unit()),
        };
        assert!(looked <= RECORDS * record, "{looked} units, records have less than {record}");
        segments += u64::from(now.segment() != before.segment());
        before = now;
    }
    assert!(segments > 2, "nothing was drained");
}

/// A map of a file that was made under a segment's name and has lost it since shows no records.
#[test]
fn a_map_of_another_file_is_not_drained() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    (0..200).for_each(|key| put(&store, key, &telling(key, 1, 20)));
    let first = store.state().first;
    assert!(store.shared().head.tail().segment().is_after(first), "all is in one segment");
    let (path, aside) = (dir.path().join(first.file_name()), dir.path().join("aside"));
    let units = std::fs::metadata(&path).unwrap().len() / 8;
    std::fs::rename(&path, &aside).unwrap();
    store.shared().log.create(first, units, |_| false).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    let last = store.write(PATIENCE, |writer| writer.end_segment()).unwrap();
    while store.write(PATIENCE, |writer| writer.drain_to(last)).unwrap() {}
    for key in 0..200 {
        assert_eq!(get(&store, key).expect("a key is missing"), telling(key, 1, 20), "key {key}");
    }
    check(&store);
}

/// Dead records take half as many bytes as live ones, and up to as many where the limit leaves that.
#[test]
fn dead_records_take_what_the_limit_leaves() {
    const KEYS: u32 = 5000;
    for (limit, least, most) in [(1 << 30, 1.75, 2.0), (1_200_000, 1.25, 1.5)] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), limit);
        for n in 0..8 * KEYS {
            // 7919 is prime, so that every key has its turn.
            put(&store, n * 7919 % KEYS, &telling(n * 7919 % KEYS, n.into(), 3));
        }
        let (state, settings) = (store.state(), store.settings());
        let segment = 8.0 * segment_units(&state, &settings) as f64;
        let (live, log) = (state.live_bytes as f64, 8.0 * state.log_units as f64);
        assert!(log <= most * live + 3.0 * segment, "limit {limit}: {log} of {live}");
        assert!(log >= least * live, "limit {limit}: {log} of {live}");
    }
}

/// Records name entries whose numbers have changed since: when pages were merged, when the table was
/// made anew. What is current among them is moved all the same when its segment is drained.
#[test]
fn what_has_got_another_entry_is_drained_as_current() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let drain = || {
        let last = store.write(PATIENCE, |writer| writer.end_segment()).unwrap();
        while store.write(PATIENCE, |writer| writer.drain_to(last)).unwrap() {}
        check(&store);
    };
    let look = |keys: &[u32], version| {
        for key in keys {
            assert_eq!(get(&store, *key).expect("a key is gone"), telling(*key, version, 3));
        }
    };
    let all: Vec<u32> = (0..6400).collect();
    all.iter().for_each(|key| put(&store, *key, &telling(*key, 1, 3)));
    // Every fourth stays: pages are merged while others go.
    let kept: Vec<u32> = all.iter().copied().filter(|key| key % 4 == 0).collect();
    all.iter().filter(|key| *key % 4 != 0).for_each(|key| assert!(remove(&store, *key)));
    let before = store.state().numbered;
    assert!(before.is_at_or_after(store.state().drained), "nothing was merged");
    drain();
    look(&kept, 1);
    kept.iter().for_each(|key| put(&store, *key, &telling(*key, 2, 3)));
    kept.iter().filter(|key| *key % 8 == 0).for_each(|key| assert!(remove(&store, *key)));
    let kept: Vec<u32> = kept.into_iter().filter(|key| key % 8 != 0).collect();
    assert_eq!(store.repair(PATIENCE).unwrap(), []);
    assert_ne!(store.state().numbered, before);
    drain();
    look(&kept, 2);
}

#[test]
fn what_only_has_the_name_of_a_segment_is_no_part_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..100).for_each(|key| put(&store, key, b"v"));
    std::fs::write(dir.path().join("log.0000100"), b"short").unwrap();
    assert_eq!(store.repair(PATIENCE).unwrap(), []);
    assert!((0..100).all(|key| get(&store, key).unwrap() == b"v"));
    check(&store);
}
