//! Bounds: found, kept, counted again, never too narrow.

use super::*;
use crate::format::entry::{BITMAP, PAGE_ENTRIES};
use crate::store::crash_tests::{PATIENCE, open};
use crate::store::writer::FoundAt;
use crate::sys::sync::Ordering;
use crate::sys::testing;
use crate::table::Space;

fn queue() -> Queue {
    Queue::new(Some("q")).unwrap()
}

fn put_of(value: &[u8]) -> Put<'_> {
    let value = PutValue::Bytes(value);
    Put { value_kind: 7, value, tag: b"", expires_ms: NEVER, stored_ms: 1, keep_access: false }
}

fn count(store: &Store, search: &mut Search) -> Result<()> {
    store.count_queue(&queue(), search, PATIENCE, 1)
}

fn push(store: &Store, side: Side) -> u64 {
    let (mut put, mut search) = (Some(put_of(b"item")), Search::default());
    loop {
        let step = store.write(PATIENCE, |it| it.queue_push(&queue(), side, &mut put, &mut search));
        match step.unwrap() {
            Step::Done(number) => return number,
            Step::More => {}
            Step::Unknown => count(store, &mut search).unwrap(),
        }
    }
}

fn set(store: &Store, number: u64) {
    let mut key = Vec::new();
    let key = store.hashed(queue().key(number, &mut key));
    store
        .write(PATIENCE, |writer| {
            let found = writer.find(key)?;
            writer.put(key, found.as_ref(), put_of(b"set"))
        })
        .unwrap();
}

fn stored(store: &Store) -> Option<Bounds> {
    store.write(PATIENCE, |writer| writer.bounds(&queue())).unwrap()
}

#[test]
fn bounds_that_are_damaged_do_not_come_back_older_and_narrower() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    for number in 0..20 {
        assert_eq!(push(&store, Side::Back), START + number);
    }
    store
        .write(PATIENCE, |writer| {
            let found = writer.find(writer.hashed(queue().control()))?.unwrap();
            let FoundAt::Log(at) = found.place else { panic!("no transaction is open") };
            let words = writer.words(at)?.unwrap();
            words[at.unit() as usize].store(0x1234, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
    assert!(!store.check(PATIENCE).unwrap().is_empty());
    store.repair(PATIENCE).unwrap();
    assert_eq!(store.check(PATIENCE).unwrap(), []);
    assert_eq!(stored(&store), None);
    assert_eq!(push(&store, Side::Back), START + 20);
    assert_eq!(store.state().user_len(), 21);
    assert_eq!(store.check(PATIENCE).unwrap(), []);
}

#[test]
fn damaged_bounds_are_counted_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    push(&store, Side::Back);
    store
        .write(PATIENCE, |writer| writer.put_control(queue().control(), b"odd", NEVER, 1))
        .unwrap();
    assert_eq!(push(&store, Side::Back), START + 1);
    assert_eq!(push(&store, Side::Front), START - 1);
}

#[test]
fn an_item_stored_while_keys_are_counted_is_within_the_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    set(&store, 500);
    store.write(PATIENCE, |writer| writer.begin_count(&queue(), 1)).unwrap();
    let (counted, end_row) = store.counted(&queue()).unwrap();
    set(&store, 900);
    let end = |counted: &Bounds, end_row| {
        store.write(PATIENCE, |writer| writer.end_count(&queue(), counted, end_row, 1)).unwrap()
    };
    assert!(!stored(&store).unwrap().is_whole());
    assert!(end(&counted, end_row));
    let bounds = stored(&store).unwrap();
    assert!(bounds.is_whole() && bounds.contains(500) && bounds.contains(900));
}

#[test]
fn what_was_counted_before_counting_began_again_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let begin = || store.write(PATIENCE, |it| it.begin_count(&queue(), 1)).unwrap();
    let end = |(counted, end_row): (Bounds, u64)| {
        let end = |it: &mut Writer<'_>| it.end_count(&queue(), &counted, end_row, 1);
        store.write(PATIENCE, end).unwrap()
    };
    begin();
    let early = store.counted(&queue()).unwrap();
    count(&store, &mut Search::default()).unwrap();
    set(&store, 900);
    begin();
    assert!(!end(early), "it has not seen 900");
    assert!(end(store.counted(&queue()).unwrap()));
    assert!(stored(&store).unwrap().contains(900));
    assert!(end(early), "whole bounds stay");
    assert!(stored(&store).unwrap().contains(900));
}

/// Its key is found, and walks do not meet it: counting again and again comes to the same.
#[test]
fn a_push_that_meets_an_item_which_walks_do_not_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    assert_eq!(push(&store, Side::Back), START);
    let hidden = push(&store, Side::Front);
    store.write(PATIENCE, |it| it.begin_count(&queue(), 1)).unwrap();
    let mut key = Vec::new();
    let key = store.hashed(queue().key(hidden, &mut key));
    let entry = store.write(PATIENCE, |it| it.find(key)).unwrap().unwrap().entry;
    let page = store.shared().table.page(entry / PAGE_ENTRIES as u32).unwrap();
    page[BITMAP].fetch_and(!(1 << (entry % PAGE_ENTRIES as u32)), Ordering::Relaxed);
    let (mut put, mut search, mut counts) = (Some(put_of(b"item")), Search::default(), 0);
    let error = loop {
        let step =
            store.write(PATIENCE, |it| it.queue_push(&queue(), Side::Front, &mut put, &mut search));
        assert!(matches!(step, Ok(Step::Unknown)) && counts < 100, "{counts}");
        counts += 1;
        if let Err(error) = count(&store, &mut search) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(counts > 10, "others may make some vain: {counts}");
}

#[test]
fn a_push_that_meets_an_item_beyond_the_bounds_counts() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    for _ in 0..20 {
        push(&store, Side::Back);
    }
    let narrow = Bounds { front: START, back: START + 7, since: 0 };
    store.write(PATIENCE, |writer| writer.store_bounds(&queue(), narrow, 1)).unwrap();
    assert_eq!(store.check(PATIENCE).unwrap().len(), 12);
    assert_eq!(push(&store, Side::Back), START + 20);
}

#[test]
fn bounds_that_nobody_uses_are_swept_and_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    push(&store, Side::Back);
    let header = |writer: &mut Writer<'_>| {
        let found = writer.find(writer.hashed(queue().control()))?.unwrap();
        writer.remove(writer.hashed(queue().control()), &found, EXPIRED)?;
        Ok(found.header)
    };
    let header = store.write(PATIENCE, header).unwrap();
    assert!(header.is_control() && header.expires_ms == 1 + KEPT_MS);
    assert_eq!((store.state().controls, store.state().expirations), (0, 0));
    assert_eq!(push(&store, Side::Back), START + 1);
    assert_eq!((store.state().controls, store.state().user_len()), (1, 2));
    assert_eq!(store.check(PATIENCE).unwrap(), []);
}

#[test]
fn bounds_that_are_narrowed_on_the_way_are_kept_as_long_as_others() {
    const NOW_MS: u64 = 1_800_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let bounds = Bounds { front: START, back: START + 900, since: 0 };
    store.write(PATIENCE, |it| it.store_bounds(&queue(), bounds, NOW_MS)).unwrap();
    let mut put = Some(Put { stored_ms: NOW_MS, ..put_of(b"item") });
    let mut search = Search::default();
    let step = store
        .write(PATIENCE, |it| it.queue_push(&queue(), Side::Back, &mut put, &mut search))
        .unwrap();
    assert!(matches!(step, Step::More));
    assert!(stored(&store).unwrap().back < START + 900);
    let found = store.write(PATIENCE, |it| it.find(it.hashed(queue().control()))).unwrap();
    assert_eq!(found.unwrap().header.expires_ms, NOW_MS + 30 * 86_400_000);
}

#[test]
fn a_hole_is_stepped_over_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    push(&store, Side::Back);
    set(&store, START + 3000);
    let mut key = Vec::new();
    let key = store.hashed(queue().key(START + 3000, &mut key));
    let remove = |writer: &mut Writer<'_>| match writer.find(key)? {
        Some(found) => writer.remove(key, &found, 0),
        None => Ok(()),
    };
    store.write(PATIENCE, remove).unwrap();
    assert!(stored(&store).unwrap().contains(START + 3000));
    assert_eq!(push(&store, Side::Back), START + 1);
    assert_eq!(stored(&store).unwrap(), Bounds { front: START, back: START + 7, since: 0 });
}

#[test]
fn a_hole_that_is_longer_than_the_keys_are_many_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let bounds = Bounds { front: START, back: START + 5000, since: 0 };
    store.write(PATIENCE, |it| it.store_bounds(&queue(), bounds, 1)).unwrap();
    set(&store, START + 4000);
    let mut search = Search::default();
    let mut step = || {
        let take = |writer: &mut Writer<'_>| {
            writer.queue_take(&queue(), Side::Front, |_, _| true, 1, &mut search)
        };
        store.write(PATIENCE, take).unwrap()
    };
    let steps = (0..).find(|_| !matches!(step(), Step::More)).unwrap();
    assert!((1..4).contains(&steps), "{steps}");
    assert!(!stored(&store).unwrap().is_whole());
    count(&store, &mut Search::default()).unwrap();
    assert!(matches!(step(), Step::Done(true)));
}

#[test]
fn what_is_live_is_taken_and_what_has_expired_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let put_until = |expires_ms| {
        let mut put = Some(Put { expires_ms, ..put_of(b"item") });
        let work = |writer: &mut Writer<'_>| {
            writer.queue_push(&queue(), Side::Back, &mut put, &mut Search::default())
        };
        assert!(matches!(store.write(PATIENCE, work).unwrap(), Step::Done(_)));
    };
    count(&store, &mut Search::default()).unwrap();
    (0..5).for_each(|number| put_until(100 + number));
    put_until(NEVER);
    let take = |now_ms| {
        let (mut taken, before) = (None, store.shared().head.tail());
        let is_it = |number, header: &Header| {
            taken = Some((number, header.expires_ms));
            true
        };
        let mut search = Search::default();
        let work = |writer: &mut Writer<'_>| {
            writer.queue_take(&queue(), Side::Front, is_it, now_ms, &mut search)
        };
        assert!(matches!(store.write(PATIENCE, work).unwrap(), Step::Done(_)));
        (taken, store.shared().head.tail().unit() - before.unit())
    };
    let removal = Header::job(crate::format::record::Kind::Delete, 0).units();
    // Bounds that are not much too wide are not stored again.
    assert_eq!(take(100), (Some((START + 1, 101)), 2 * removal));
    assert_eq!(take(102), (Some((START + 3, 103)), 2 * removal));
    let bounds = stored(&store);
    assert_eq!(take(104), (Some((START + 5, NEVER)), 2 * removal));
    assert_eq!(store.state().expirations, 3);
    assert_eq!((stored(&store), store.state().user_len()), (bounds, 0));
    assert_eq!(store.check(PATIENCE).unwrap(), []);
}

/// Where bounds cannot be made narrower, an item is found all the same, in one go.
#[test]
fn a_hole_is_stepped_over_on_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let bounds = Bounds { front: START, back: START + 900, since: 0 };
    store.write(PATIENCE, |it| it.store_bounds(&queue(), bounds, 1)).unwrap();
    set(&store, START + 800);
    let no_space = |step: testing::Step| match step {
        testing::Step::Call("allocate") => Err(std::io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    };
    let fill = |len: usize| {
        let key = store.hashed(b"another");
        let value = vec![7; len];
        let work = |writer: &mut Writer<'_>| {
            let found = writer.find(key)?;
            writer.put(key, found.as_ref(), put_of(&value))
        };
        let errors = (0..10_000).find_map(|_| store.write(PATIENCE, work).err());
        assert_eq!(errors.unwrap().kind(), ErrorKind::Full);
    };
    testing::watch(no_space, || {
        fill(1000);
        fill(1);
        let take = |writer: &mut Writer<'_>| {
            writer.queue_take(&queue(), Side::Front, |_, _| true, 1, &mut Search::default())
        };
        assert!(matches!(store.write(PATIENCE, take), Ok(Step::Done(true))));
    });
    assert_eq!(store.check(PATIENCE).unwrap(), []);
}

#[test]
fn the_last_number_is_given_and_none_beyond_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    set(&store, LAST - 1);
    assert_eq!(push(&store, Side::Back), LAST);
    let (mut put, mut search) = (Some(put_of(b"item")), Search::default());
    let beyond =
        store.write(PATIENCE, |it| it.queue_push(&queue(), Side::Back, &mut put, &mut search));
    assert_eq!(beyond.map(drop).unwrap_err().kind(), ErrorKind::Overflow);
}

#[test]
fn bounds_follow_what_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    (0..300).for_each(|_| _ = push(&store, Side::Back));
    let take = |writer: &mut Writer<'_>| {
        writer.queue_take(&queue(), Side::Front, |_, _| true, 1, &mut Search::default())
    };
    for _ in 0..200 {
        assert!(matches!(store.write(PATIENCE, take), Ok(Step::Done(true))));
    }
    let bounds = stored(&store).unwrap();
    assert!((START + 100..=START + 200).contains(&bounds.front), "{bounds:?}");
    assert_eq!(store.check(PATIENCE).unwrap(), []);
}
