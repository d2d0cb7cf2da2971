//! Queues over the keys: where their ends are, pushing, taking.
//!
//! For each queue that was used there is one control record with its bounds: no item lies outside,
//! and the ends are found by stepping inwards over what is missing.
//!
//! ```text
//! bounds     [front ............................................. back]     stored, rounded outwards
//! items         x  x  x     x  x                    x  x  x  x  x
//! push           widen the bounds, if need be; then store the item          at the back: max + 1
//! pull           remove the item; then narrow the bounds, when they are loose
//! put            of any new key that has the shape of an item: widen first
//! ```
//!
//! Every step is a record of its own, under one hold of the lock. Killed between two of them, the
//! bounds are too wide, which costs a few lookups, and nothing else. So no transaction is needed;
//! within one, all of it is in the overlay.
//!
//! Every number that is stepped over was the number of an item once, or the user's, and is never
//! stepped over again once the bounds are stored: so an end costs O(1) over time. When more numbers
//! are missing in a row than there are keys, counting is cheaper.
//!
//! Counting (no control record yet, or it was evicted, or a gap that is too long) takes no lock for
//! long: bounds that are empty and say `since` are stored first, from then on each new item widens
//! them; then all keys are walked over; then what was found is added, and `since` goes. Bounds
//! with `since` are used by nobody: whoever meets them counts, too.

use std::time::Duration;

use crate::clock::NEVER;
use crate::error::{Error, ErrorKind, Result};
use crate::format::queue::{Bounds, LAST, Queue, START, Side};
use crate::format::record::{EXPIRED, Header};
use crate::store::scan::Item;
use crate::store::writer::{Found, Put, PutValue};
use crate::store::{HashedKey, Store, Writer};

/// Numbers that are looked at while the lock is held, at most.
const STEP_LOOKS: u64 = 512;
/// So many numbers may be missing in a row before it is asked whether counting would be cheaper.
const MAX_MISSES: u64 = 1000;
/// A control record that was not stored for 30 days may be swept: the queue is counted again then.
const KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// How far a search for an end has come, from one hold of the lock to the next.
#[derive(Default)]
pub(crate) struct Search {
    /// Numbers in a row that were missing.
    misses: u64,
}

/// What a step under the lock has come to.
pub(crate) enum Step<T> {
    Done(T),
    /// There is more to look at; other writers get in between.
    More,
    /// The bounds are not known: [`Store::count_queue`] is to be called first.
    Unknown,
}

/// What a search has found: an item, and the bounds as they are stored and as they are.
struct Sought {
    item: Option<(u64, Found)>,
    stored: Bounds,
    bounds: Bounds,
}

impl Writer<'_> {
    /// Whether there is any control record.
    #[inline]
    pub(crate) fn has_controls(&self) -> bool {
        let own = self.session.overlay.as_ref().map_or(0, |overlay| overlay.controls);
        self.state.controls.saturating_add_signed(own) != 0
    }

    fn hashed<'a>(&self, bytes: &'a [u8]) -> HashedKey<'a> {
        HashedKey { bytes, hash: self.shared.hash(bytes) }
    }

    /// The stored bounds of a queue; `None` if there are none, or they are damaged.
    pub(crate) fn bounds(&self, queue: &Queue) -> Result<Option<Bounds>> {
        let Some(found) = self.find(self.hashed(queue.control()))? else { return Ok(None) };
        let (mut tag, mut value) = (Vec::new(), Vec::new());
        let is_sound = self.read(&found, &mut tag, &mut value)?;
        Ok(Bounds::decode(&value).filter(|_| is_sound))
    }

    fn store_bounds(&mut self, queue: &Queue, bounds: Bounds, now_ms: u64) -> Result<()> {
        let expires_ms = now_ms.saturating_add(KEPT_MS).min(NEVER);
        self.put_control(queue.control(), &bounds.encode(), expires_ms, now_ms)
    }

    /// Stores a control record.
    pub(crate) fn put_control(
        &mut self,
        key: &[u8],
        value: &[u8],
        expires_ms: u64,
        stored_ms: u64,
    ) -> Result<()> {
        let key = self.hashed(key);
        let found = self.find(key)?;
        let value = PutValue::Bytes(value);
        let put = Put { value_kind: 0, value, tag: &[], expires_ms, stored_ms, keep_access: false };
        self.put_within_bounds(key, found.as_ref(), put)
    }

    /// Widens the bounds of the queue that a new key is an item of, if it has any.
    pub(crate) fn widen_for(&mut self, key: &[u8], now_ms: u64) -> Result<()> {
        let Some((queue, number)) = Queue::of_item(key) else { return Ok(()) };
        let Some(mut bounds) = self.bounds(&queue)? else { return Ok(()) };
        if bounds.contains(number) {
            return Ok(());
        }
        bounds.include(number);
        self.store_bounds(&queue, bounds.rounded(), now_ms)
    }

    /// Finds the outermost item on a side, or the outermost that expires after `live_ms`, and removes
    /// those that it passes. Changes nothing after it has found one.
    fn seek(
        &mut self,
        queue: &Queue,
        side: Side,
        live_ms: Option<u64>,
        now_ms: u64,
        search: &mut Search,
    ) -> Result<Step<Sought>> {
        let stored = self.bounds(queue)?.filter(Bounds::is_whole);
        let Some(stored) = stored else { return Ok(Step::Unknown) };
        let (mut bounds, mut key) = (stored, Vec::new());
        for looks in 0.. {
            let Some(number) = bounds.end(side) else { break };
            if looks % STEP_LOOKS == STEP_LOOKS - 1 {
                if search.misses > MAX_MISSES.max(self.state().len) {
                    search.misses = 0;
                    self.begin_count(queue, now_ms)?;
                    return Ok(Step::Unknown);
                }
                // On a full disk it goes on from here, as the next would begin where this one did.
                if self.narrow(queue, bounds, now_ms)? {
                    return Ok(Step::More);
                }
            }
            match self.find(self.hashed(queue.key(number, &mut key)))? {
                Some(found) if live_ms.is_none_or(|now_ms| found.header.expires_ms > now_ms) => {
                    search.misses = 0;
                    return Ok(Step::Done(Sought { item: Some((number, found)), stored, bounds }));
                }
                Some(expired) => {
                    self.remove(&key, &expired, EXPIRED)?;
                    search.misses = 0;
                }
                None => search.misses += 1,
            }
            bounds.pass(side);
        }
        Ok(Step::Done(Sought { item: None, stored, bounds }))
    }

    /// Stores an item beyond the outermost one on a side; its number. `put` is taken when it is
    /// stored.
    pub(crate) fn queue_push(
        &mut self,
        queue: &Queue,
        side: Side,
        put: &mut Option<Put<'_>>,
        search: &mut Search,
    ) -> Result<Step<u64>> {
        let now_ms = put.as_ref().map_or(0, |put| put.stored_ms);
        let Sought { item, stored, mut bounds } =
            match self.seek(queue, side, None, now_ms, search)? {
                Step::Done(sought) => sought,
                Step::More => return Ok(Step::More),
                Step::Unknown => return Ok(Step::Unknown),
            };
        let number = match (item, side) {
            (None, _) => START,
            (Some((last, _)), Side::Front) => last - 1,
            (Some((last, _)), Side::Back) => last + 1,
        };
        if number == 0 || number > LAST {
            return Err(self.full(queue, side));
        }
        let mut key = Vec::new();
        let key = self.hashed(queue.key(number, &mut key));
        if !stored.contains(number) && self.find(key)?.is_some() {
            // What is said of the bounds is not so.
            self.begin_count(queue, now_ms)?;
            return Ok(Step::Unknown);
        }
        bounds.include(number);
        if bounds.are_worth_storing(&stored) {
            self.store_bounds(queue, bounds.rounded(), now_ms)?;
        }
        if let Some(put) = put.take() {
            self.put_within_bounds(key, None, put)?;
        }
        Ok(Step::Done(number))
    }

    fn full(&self, queue: &Queue, side: Side) -> Error {
        let (end, rest) = match side {
            Side::Front => ("front", "down to 1"),
            Side::Back => ("back", "up to 999999999999998"),
        };
        let mut key = Vec::new();
        let name = crate::format::key::Key::decode(queue.key(LAST, &mut key));
        let which = name.map_or_else(|_| String::new(), |name| format!(" of keys like {name}"));
        Error::new(
            ErrorKind::Overflow,
            format!(
                "cannot push to the {end} of the queue{which}: its keys are used {rest}; empty it, \
                 or push to the other side"
            ),
        )
        .at(self.shared.dir.path())
    }

    /// Removes the outermost item on a side that has not expired, if it is this one.
    pub(crate) fn queue_take(
        &mut self,
        queue: &Queue,
        side: Side,
        is_it: impl FnOnce(u64, &Header) -> bool,
        now_ms: u64,
        search: &mut Search,
    ) -> Result<Step<bool>> {
        let Sought { item, stored, mut bounds } =
            match self.seek(queue, side, Some(now_ms), now_ms, search)? {
                Step::Done(sought) => sought,
                Step::More => return Ok(Step::More),
                Step::Unknown => return Ok(Step::Unknown),
            };
        let Some((number, found)) = item.filter(|(number, found)| is_it(*number, &found.header))
        else {
            if bounds.are_worth_storing(&stored) {
                self.narrow(queue, bounds, now_ms)?;
            }
            return Ok(Step::Done(false));
        };
        let mut key = Vec::new();
        self.remove(queue.key(number, &mut key), &found, 0)?;
        bounds.pass(side);
        // Bounds of none are left as they are: the next push finds room within them.
        if !bounds.is_empty() && bounds.are_worth_storing(&stored) {
            // The item is taken, whatever becomes of this; what fails, the next one meets.
            let _ = self.narrow(queue, bounds, now_ms);
        }
        Ok(Step::Done(true))
    }

    /// Stores narrower bounds; false if the disk is full, on which wide ones do no harm.
    fn narrow(&mut self, queue: &Queue, bounds: Bounds, now_ms: u64) -> Result<bool> {
        match self.store_bounds(queue, bounds.rounded(), now_ms) {
            Err(error) if error.kind() == ErrorKind::Full => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// From now on every new item widens the bounds, and those with lower rows are to be counted.
    fn begin_count(&mut self, queue: &Queue, now_ms: u64) -> Result<()> {
        let since = self.state.next_row.max(1);
        self.store_bounds(queue, Bounds { since, ..Bounds::EMPTY }, now_ms)
    }

    /// Adds what was counted among the rows below `end_row`; false if that was in vain.
    fn end_count(
        &mut self,
        queue: &Queue,
        counted: &Bounds,
        end_row: u64,
        now_ms: u64,
    ) -> Result<bool> {
        let Some(mut bounds) = self.bounds(queue)? else { return Ok(false) };
        if bounds.is_whole() {
            return Ok(true);
        }
        if bounds.since > end_row {
            // Begun again by another since.
            return Ok(false);
        }
        if !counted.is_empty() {
            bounds.include(counted.front);
            bounds.include(counted.back);
        }
        bounds.since = 0;
        self.store_bounds(queue, bounds.rounded(), now_ms)?;
        Ok(true)
    }
}

impl Store {
    /// Walks over all keys to find the bounds of a queue, and stores them.
    pub(crate) fn count_queue(&self, queue: &Queue, timeout: Duration, now_ms: u64) -> Result<()> {
        loop {
            self.write(timeout, |writer| match writer.bounds(queue)? {
                Some(_) => Ok(()),
                None => writer.begin_count(queue, now_ms),
            })?;
            let (counted, end_row) = self.counted(queue)?;
            if self.write(timeout, |writer| writer.end_count(queue, &counted, end_row, now_ms))? {
                return Ok(());
            }
        }
    }

    /// The bounds of all items of a queue, and the row below which they were counted.
    fn counted(&self, queue: &Queue) -> Result<(Bounds, u64)> {
        let (mut scan, mut item, mut counted) = (self.scan(), Item::default(), Bounds::EMPTY);
        let end_row = scan.end_row();
        while scan.next(self, &mut item)? {
            if let Some(number) = queue.number(&item.key) {
                counted.include(number);
            }
        }
        Ok((counted, end_row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::crash_tests::{PATIENCE, open};
    use crate::store::writer::FoundAt;
    use crate::sys::sync::Ordering;

    fn queue() -> Queue {
        Queue::new(Some("q")).unwrap()
    }

    fn put_of(value: &[u8]) -> Put<'_> {
        let value = PutValue::Bytes(value);
        Put { value_kind: 7, value, tag: b"", expires_ms: NEVER, stored_ms: 1, keep_access: false }
    }

    fn push(store: &Store, side: Side) -> u64 {
        let (mut put, mut search) = (Some(put_of(b"item")), Search::default());
        loop {
            let step =
                store.write(PATIENCE, |it| it.queue_push(&queue(), side, &mut put, &mut search));
            match step.unwrap() {
                Step::Done(number) => return number,
                Step::More => {}
                Step::Unknown => store.count_queue(&queue(), PATIENCE, 1).unwrap(),
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
        store.count_queue(&queue(), PATIENCE, 1).unwrap();
        set(&store, 900);
        begin();
        assert!(!end(early), "it has not seen 900");
        assert!(end(store.counted(&queue()).unwrap()));
        assert!(stored(&store).unwrap().contains(900));
        assert!(end(early), "whole bounds stay");
        assert!(stored(&store).unwrap().contains(900));
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
            writer.remove(queue().control(), &found, EXPIRED)?;
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
        assert_eq!(found.unwrap().header.expires_ms, NOW_MS + KEPT_MS);
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
            Some(found) => writer.remove(key.bytes, &found, 0),
            None => Ok(()),
        };
        store.write(PATIENCE, remove).unwrap();
        assert!(stored(&store).unwrap().contains(START + 3000));
        assert_eq!(push(&store, Side::Back), START + 1);
        assert_eq!(stored(&store).unwrap(), Bounds { front: START, back: START + 7, since: 0 });
    }
}
