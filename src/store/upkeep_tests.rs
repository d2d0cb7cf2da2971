//! What upkeep must do, and what it must leave as it is.

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::stress_tests::{PATIENCE, check, get, open, put, put_in, remove, telling, transact};
use crate::error::ErrorKind;
use crate::format::entry::{ACCESS, Access, PAGE_ENTRIES};
use crate::format::key::CONTROL_KEY;
use crate::format::record::{Header, Kind};
use crate::format::settings::{Eviction, PowerLoss, Settings};
use crate::store::space::{most_dead, segment_units};
use crate::store::writer::{FoundAt, PutValue};
use crate::store::{Store, Writer};
use crate::sys::testing::{Step, watch};
use crate::table::pages;

/// Bytes of log, of live records, and of a segment.
fn sizes(store: &Store) -> (u64, u64, u64) {
    let state = store.state();
    (8 * state.log_units, state.live_bytes, 8 * segment_units(&state, &store.settings()))
}

/// Moves every record once.
fn move_all(store: &Store) {
    let last = store.write(PATIENCE, |writer| writer.end_segment()).unwrap();
    while store.write(PATIENCE, |writer| writer.drain_to(last)).unwrap() {}
}

#[test]
fn moving_a_record_leaves_its_access_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..100).for_each(|key| put(&store, key, &telling(key, 1, 3)));
    let access = |entry| &pages::entry(&store.shared().table, entry).unwrap()[ACCESS];
    (0..100).for_each(|entry| access(entry).store(u64::from(entry) << 8, Ordering::Relaxed));
    for round in 1..4 {
        move_all(&store);
        let is_kept = |entry| access(entry).load(Ordering::Relaxed) == u64::from(entry) << 8;
        assert!((0..100).all(is_kept), "moved {round} times");
        assert!((0..100).all(|key| get(&store, key).unwrap() == telling(key, 1, 3)));
        check(&store);
    }
}

#[test]
fn writes_give_back_the_segments_that_are_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..5000).for_each(|key| put(&store, key, &[7; 300]));
    (10..5000).for_each(|key| assert!(remove(&store, key)));
    (0..500).for_each(|n| put(&store, n % 10, &[8; 300]));
    let (log, live, segment) = sizes(&store);
    assert!(log <= 2 * live + 4 * segment, "{log} bytes of log for {live}, segments of {segment}");
    check(&store);
}

#[test]
fn draining_stops_while_three_drained_files_wait() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let mut most = 0;
    for n in 0..10_000u32 {
        put(&store, n.wrapping_mul(2_654_435_761) % 2000, &[7; 300]);
        let (spare, (_, _, segment)) = (8 * store.state().spare_units, sizes(&store));
        assert!(spare <= 4 * segment, "{spare} bytes of segments of {segment} wait after {n}");
        most = most.max(spare / segment);
    }
    assert!(most >= 3, "no more than {most}");
    check(&store);
}

#[test]
fn what_draining_leaves_too_much_goes_with_the_same_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 2 << 20);
    // Nobody waits for the disk: each drained file can go.
    let settings = Settings { power_loss: PowerLoss::Clear, ..store.settings() };
    store.write(PATIENCE, |writer| writer.set_settings(&settings)).unwrap();
    let look = |what: &str| {
        let (state, (log, live, segment)) = (store.state(), sizes(&store));
        let allowed = live + most_dead(store.shared(), &state, &settings);
        let is_kept = state.spare_units == 0 || log <= allowed + 2 * segment;
        assert!(is_kept, "{log} bytes of log, {allowed} allowed, segments of {segment}: {what}");
    };
    for round in 0..4 {
        for key in 0..1500 {
            put(&store, key, &[7; 300]);
            look(&format!("{round}, put {key}"));
        }
        for key in 0..1500 {
            assert!(remove(&store, key));
            look(&format!("{round}, removal {key}"));
        }
    }
    check(&store);
}

#[test]
fn compact_leaves_an_eighth_dead_and_then_moves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    for round in 0..3 {
        (0..5000).filter(|key| key % (1 + round) == 0).for_each(|key| put(&store, key, &[7; 300]));
    }
    store.compact(PATIENCE).unwrap();
    let (log, live, segment) = sizes(&store);
    assert!(log <= live + live / 8 + 3 * segment, "{log} bytes of log for {live}");
    let tail = store.shared().head.tail();
    store.compact(PATIENCE).unwrap();
    assert_eq!(store.shared().head.tail(), tail);
    check(&store);
}

#[test]
fn each_bell_is_a_word_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let bell = |number| std::ptr::from_ref(store.shared().head.bell(number).unwrap()).addr();
    let all: HashSet<usize> = (0..128).map(bell).collect();
    assert_eq!((all.len(), bell(128), bell(u64::MAX)), (128, bell(0), bell(127)));
    assert!((1..128).all(|number| bell(number) == bell(number - 1) + size_of::<u32>()));
}

#[test]
fn repairing_what_was_never_written_makes_no_other_table() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let generation = || store.state().geometry.generation();
    let before = generation();
    assert_eq!(store.repair(PATIENCE).unwrap(), []);
    assert_eq!(generation(), before);
    put(&store, 1, b"v");
    assert_eq!(store.repair(PATIENCE).unwrap(), []);
    assert_eq!(get(&store, 1).unwrap(), b"v");
    check(&store);
}

#[test]
fn a_table_that_is_made_anew_fits() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..5000).for_each(|key| put(&store, key, b"v"));
    for left in [5000, 300] {
        (left..5000).for_each(|key| _ = remove(&store, key));
        assert_eq!(store.repair(PATIENCE).unwrap(), []);
        let (buckets, keys) = (store.state().geometry.buckets(), u64::from(left));
        assert!(buckets <= keys && keys <= 4 * buckets, "{buckets} buckets for {keys} keys");
        check(&store);
    }
}

#[test]
fn nobody_waits_for_the_disk_inside_a_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"v");
    let syncs = Rc::new(Cell::new(0));
    let seen = Rc::clone(&syncs);
    let hook = move |step: Step| {
        seen.set(seen.get() + u32::from(matches!(step, Step::Sync(_))));
        Ok(())
    };
    watch(hook, || {
        transact(&store, || {
            store.shared().process().ask_for_sync(true);
            put(&store, 2, b"v");
            assert_eq!(syncs.get(), 0, "others wait meanwhile");
        });
    });
    assert!(syncs.get() > 0);
}

#[test]
fn a_rebuild_keeps_what_is_the_caches_own_apart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..10).for_each(|key| put(&store, key, b"v"));
    for number in 0..3 {
        let work = |writer: &mut Writer<'_>| {
            put_in(&store, writer, &[CONTROL_KEY, 200 + number], PutValue::Bytes(b"of its own"))
        };
        store.write(PATIENCE, work).unwrap();
    }
    let count = || (store.state().len, store.state().controls);
    let before = count();
    assert_eq!(store.repair(PATIENCE).unwrap(), []);
    assert_eq!((before, count()), ((13, 3), (13, 3)));
    check(&store);
}

/// Committed, damaged, and not applied yet: writers are told where it is, and repairing passes over it.
#[test]
fn a_damaged_record_that_is_not_applied_stops_writers_and_says_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..10).for_each(|key| put(&store, key, b"v"));
    let work = |writer: &mut Writer<'_>| {
        let words = writer.shared.head.settings().encode().map(u64::to_le_bytes).concat();
        let at = writer.append(&Header::job(Kind::Settings, 3), &[&words])?;
        writer.shared.head.set_tail(writer.tail);
        writer.words(at)?.unwrap()[at.unit() as usize].fetch_xor(1, Ordering::Relaxed);
        Ok(at)
    };
    let at = store.write(PATIENCE, work).unwrap();
    let refused = store.write(PATIENCE, |_| Ok(())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    let place = format!("byte {}", 8 * at.unit());
    assert!(refused.to_string().contains(&place), "{refused}");
    assert!((0..10).all(|key| get(&store, key).is_some()));
    assert!(store.repair(PATIENCE).unwrap().iter().any(|it| it.what.contains(&place)));
    assert!((0..10).all(|key| get(&store, key).is_some()));
    check(&store);
}

/// A page that is used again has words of its former life; the key that they tell of is elsewhere.
#[test]
fn an_entry_of_a_page_that_is_used_again_is_not_current() {
    const LAST: u32 = 63;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..1000).for_each(|key| put(&store, key, b"v"));
    let table = &store.shared().table;
    let page = pages::snapshot(table, store.state().first_page - 1).unwrap();
    // Of key 63, which stays, at the end of the first page.
    let view = pages::view(table, page.number * PAGE_ENTRIES as u32 + LAST).unwrap();
    let is_current = || store.write(PATIENCE, |writer| Ok(writer.current(&view).is_some()));
    assert!(is_current().unwrap());
    (0..1000).filter(|key| key % 3 != 0).for_each(|key| assert!(remove(&store, key)));
    let mut new = 1000..10_000;
    let is_used_again = || {
        pages::snapshot(table, page.number)
            .is_some_and(|now| now.life != page.life && now.bitmap >> LAST & 1 == 0)
    };
    while !is_used_again() {
        put(&store, new.next().unwrap(), b"v");
    }
    assert!(!is_current().unwrap());
    assert_eq!(get(&store, LAST).unwrap(), b"v");
}

#[test]
fn a_page_leaves_the_list_with_its_last_key_unless_new_keys_go_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..4 * 64).for_each(|key| put(&store, key, b"v"));
    let pages = || store.state().listed_pages;
    assert_eq!(pages(), 4);
    (64..127).for_each(|key| assert!(remove(&store, key)));
    assert_eq!(pages(), 4);
    assert!(remove(&store, 127));
    assert_eq!(pages(), 3);
    transact(&store, || (0..64).for_each(|key| assert!(remove(&store, key))));
    assert_eq!(pages(), 2);
    (192..256).for_each(|key| assert!(remove(&store, key)));
    assert_eq!(pages(), 2);
    check(&store);
}

#[test]
fn a_transaction_opens_as_many_pages_as_it_fills() {
    for (keys, pages) in [(1, 1), (63, 1), (64, 1), (65, 2), (129, 3)] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 1 << 30);
        transact(&store, || (0..keys).for_each(|key| put(&store, key, b"v")));
        assert_eq!(store.state().listed_pages, pages, "{keys} keys");
        transact(&store, || (keys..129).for_each(|key| put(&store, key, b"v")));
        assert_eq!((store.state().listed_pages, store.state().len), (3, 129), "{keys} keys");
        check(&store);
    }
}

/// Also after pages were merged into others, where the entries are others.
#[test]
fn each_entry_is_met_by_chance_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..1000).for_each(|key| put(&store, key, b"v"));
    (0..1000).filter(|key| key % 5 != 0).for_each(|key| assert!(remove(&store, key)));
    let work = |writer: &mut Writer<'_>| {
        let places = writer.state().pages * PAGE_ENTRIES;
        assert!(writer.state().listed_pages * PAGE_ENTRIES < places, "no page has gone");
        for round in 0..3 {
            let seeds = round * places..(round + 1) * places;
            let met: Vec<_> = seeds.filter_map(|seed| writer.random_entry(seed)).collect();
            assert!(met.iter().all(|view| writer.current(view).is_some()), "round {round}");
            assert_eq!(met.len(), 200, "round {round}");
        }
        Ok(())
    };
    store.write(PATIENCE, work).unwrap();
}

#[test]
fn a_hit_is_noted_as_the_policy_needs_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"v");
    let key = 1u32.to_be_bytes();
    let hit = store.get(store.hashed(&key), None, &mut Vec::new()).unwrap().unwrap();
    let access = &pages::entry(&store.shared().table, hit.entry).unwrap()[ACCESS];
    access.store(Access::new(100, 0).0, Ordering::Relaxed);
    for (policy, expected) in [
        (Eviction::None, (100, 0)),
        (Eviction::LeastRecentlyStored, (100, 0)),
        (Eviction::LeastRecentlyUsed, (200, 0)),
        (Eviction::LeastFrequentlyUsed, (200, 1)),
        (Eviction::LeastFrequentlyUsed, (200, 2)),
        (Eviction::Sieve, (200, 1)),
        (Eviction::Sieve, (200, 1)),
    ] {
        store.mark_used(&hit, policy, 200);
        let noted = Access(access.load(Ordering::Relaxed));
        assert_eq!((noted.time_ms(), noted.uses()), expected, "{policy:?}");
    }
}

#[test]
fn records_say_the_number_of_their_entry_unless_pages_were_merged_since() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let is_numbered = |key: u32| {
        let key = key.to_be_bytes();
        let work = |writer: &mut Writer<'_>| {
            let FoundAt::Log(at) = writer.find(store.hashed(&key))?.unwrap().place else {
                panic!("no transaction is open")
            };
            Ok(writer.is_numbered(at))
        };
        store.write(PATIENCE, work).unwrap()
    };
    (0..1000).for_each(|key| put(&store, key, b"v"));
    assert!(is_numbered(0) && is_numbered(999));
    (0..1000).filter(|key| key % 5 != 0).for_each(|key| assert!(remove(&store, key)));
    assert!(!is_numbered(0) && !is_numbered(995));
    put(&store, 0, b"new");
    assert!(is_numbered(0) && !is_numbered(995));
}

#[test]
fn a_write_makes_no_call_of_the_system() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..10).for_each(|key| put(&store, key, b"v"));
    let refused = |step: Step| match step {
        Step::Store => Ok(()),
        other => panic!("{other:?}"),
    };
    watch(refused, || {
        (5..15).for_each(|key| put(&store, key, b"new"));
        (0..5).for_each(|key| assert!(remove(&store, key)));
        transact(&store, || (0..10).for_each(|key| put(&store, key, b"last")));
    });
    check(&store);
}

#[test]
fn what_is_removed_by_its_place_is_gone_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..100).for_each(|key| put(&store, key, b"v"));
    for key in (0..100u32).step_by(2) {
        let remove = |writer: &mut Writer<'_>| {
            let found = writer.find(store.hashed(&key.to_be_bytes()))?.unwrap();
            let FoundAt::Log(at) = found.place else { panic!("no transaction is open") };
            writer.remove_at(at, found.entry, 0)
        };
        store.write(PATIENCE, remove).unwrap();
        check(&store);
    }
    assert_eq!(store.state().len, 50);
    assert!((0..100).all(|key| get(&store, key).is_some() == (key % 2 == 1)));
}

#[test]
fn a_write_splits_eight_buckets_until_the_table_has_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let buckets = || store.state().geometry.buckets();
    let (first, mut doubled) = (buckets(), 0);
    for key in 0..100 * first as u32 {
        let before = buckets();
        put(&store, key, b"v");
        let is_through = buckets().is_power_of_two();
        assert!(is_through || buckets() == before + 8, "{before} to {}", buckets());
        doubled += u32::from(is_through && buckets() != before);
    }
    assert!(doubled >= 3, "{doubled}");
}

/// Whoever comes next, in whatever process, goes on from there.
#[test]
fn how_far_draining_got_is_stored_though_nothing_was_moved() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let mut places = HashSet::new();
    for _ in 0..5000 {
        put(&store, 1, b"dead soon");
        let drained = store.write(PATIENCE, |writer| Ok(writer.state.drained)).unwrap();
        assert_eq!(store.state().drained, drained);
        places.insert(drained.bits());
    }
    assert!(places.len() > 100, "{} places", places.len());
}
