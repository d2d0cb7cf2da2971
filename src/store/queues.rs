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
use crate::store::{Store, Writer};

/// Numbers that are looked at while the lock is held, at most.
const STEP_LOOKS: u64 = 512;
/// So many numbers may be missing in a row before it is asked whether counting would be cheaper.
const MAX_MISSES: u64 = 1000;
/// Walks over all keys in one search. Others can make some of them vain; what keeps on disagreeing are
/// keys that are found and not met in walks, or the other way round: damage.
const MOST_COUNTS: u32 = 16;
/// A control record that was not stored for 30 days may be swept: the queue is counted again then.
const KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// How far a search for an end has come, from one hold of the lock to the next.
#[derive(Default)]
pub(crate) struct Search {
    /// Numbers in a row that were missing.
    misses: u64,
    /// How often all keys were walked over.
    counts: u32,
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
                    self.remove(self.hashed(&key), &expired, EXPIRED)?;
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
        self.remove(self.hashed(queue.key(number, &mut key)), &found, 0)?;
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
    /// Walks over all keys to find the bounds of a queue, and stores them, for a search.
    pub(crate) fn count_queue(
        &self,
        queue: &Queue,
        search: &mut Search,
        timeout: Duration,
        now_ms: u64,
    ) -> Result<()> {
        while search.counts < MOST_COUNTS {
            search.counts += 1;
            self.write(timeout, |writer| match writer.bounds(queue)? {
                Some(_) => Ok(()),
                None => writer.begin_count(queue, now_ms),
            })?;
            let (counted, end_row) = self.counted(queue)?;
            if self.write(timeout, |writer| writer.end_count(queue, &counted, end_row, now_ms))? {
                return Ok(());
            }
        }
        Err(self.0.counters_are_damaged())
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
mod tests;
