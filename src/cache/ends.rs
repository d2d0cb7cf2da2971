//! What [`Deque`](crate::Deque) asks of a cache whose items are the queue of integers: numbers in
//! their order, an item by its number, and the most items there may be.
//!
//! ```text
//! numbers   front ..= back, if most of them are there; else a sorted list of those that are
//! place     of the item with an index: counted from the end, where nothing is missing in between;
//!           else found by a walk from the nearer end
//! ```

use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::options::Options;
use crate::cache::read::with_scratch;
use crate::clock::NEVER;
use crate::error::Result;
use crate::format::queue::{MOST_ITEMS, Queue, Side};
use crate::store::scan::Item;

/// Numbers that may be missing for each that is there, and in all, before they are listed.
const MOST_MISSING: (u64, u64) = (3, 1024);
/// Looks at both ends that others spoil, before the items are walked over.
const MAX_LOOKS: usize = 4;
/// Walks to an item whose place nobody reaches, for all of them are taken on the way.
const MAX_WALKS: usize = 64;
/// Reads of an item that is taken each time before it is read; and the same where the lock cannot be
/// had.
const MAX_READS: usize = 64;
const MAX_READS_ONLY: usize = 16 * MAX_READS;

/// The numbers of items, in order, from both ends; some of them may be of no item.
#[derive(Clone, Debug)]
pub(crate) enum Numbers {
    /// From the first to before the second.
    Range(std::ops::Range<u64>),
    List(std::vec::IntoIter<u64>),
}

impl Iterator for Numbers {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        match self {
            Numbers::Range(range) => range.next(),
            Numbers::List(list) => list.next(),
        }
    }
}

impl DoubleEndedIterator for Numbers {
    fn next_back(&mut self) -> Option<u64> {
        match self {
            Numbers::Range(range) => range.next_back(),
            Numbers::List(list) => list.next_back(),
        }
    }
}

impl Cache {
    /// The numbers of the items that are there now.
    pub(crate) fn numbers(&self) -> Result<Numbers> {
        let queue = Queue::new(None)?;
        if let (Some((front, _)), Some((back, _))) =
            (self.outermost(&queue, Side::Front)?, self.outermost(&queue, Side::Back)?)
        {
            let (span, len) = ((back + 1).saturating_sub(front), self.len()?);
            if span <= len.saturating_mul(1 + MOST_MISSING.0).saturating_add(MOST_MISSING.1) {
                return Ok(Numbers::Range(front..back + 1));
            }
        }
        let (mut scan, mut item, mut numbers) = (self.0.store.scan(), Item::default(), Vec::new());
        while scan.next(&self.0.store, &mut item)? {
            numbers.extend(queue.number(&item.key));
        }
        numbers.sort_unstable();
        Ok(Numbers::List(numbers.into_iter()))
    }

    /// Reads the item with a number. Not counted as a read.
    pub(crate) fn item_at<V: DeserializeOwned>(&self, number: u64) -> Result<Option<V>> {
        let (queue, mut key) = (Queue::new(None)?, Vec::new());
        with_scratch(|value| {
            let Some(record) = self.read_whole(queue.key(number, &mut key), None, value)? else {
                return Ok(None);
            };
            self.decode(record.header.value_kind, value).map(Some)
        })
    }

    /// Reads the item with an index. Not counted as a read.
    ///
    /// Without a lock, as long as others leave it in peace; else within a transaction, where they do.
    pub(crate) fn item_with_index<V: DeserializeOwned>(&self, index: i64) -> Result<Option<V>> {
        let reads = if self.is_read_only() { MAX_READS_ONLY } else { MAX_READS };
        for _ in 0..reads {
            let before = self.0.store.at_rest();
            let item = self.look_at_index(index)?;
            // It can have been taken in between, and another one have its index.
            if item.is_some() || self.is_still_at_rest(before) {
                return Ok(item);
            }
        }
        if self.is_read_only() { Ok(None) } else { self.transact(|_| self.look_at_index(index)) }
    }

    /// Whether nothing was written since the store was at rest, if it was.
    fn is_still_at_rest(&self, before: Option<u64>) -> bool {
        before.is_some() && self.0.store.at_rest() == before
    }

    fn look_at_index<V: DeserializeOwned>(&self, index: i64) -> Result<Option<V>> {
        self.number_at(index)?.map_or(Ok(None), |number| self.item_at(number))
    }

    /// The number of the item with an index, negative ones being counted from the back.
    pub(crate) fn number_at(&self, index: i64) -> Result<Option<u64>> {
        let queue = Queue::new(None)?;
        for _ in 0..MAX_LOOKS {
            let before = self.0.store.at_rest();
            let front = self.outermost(&queue, Side::Front)?;
            let back = self.outermost(&queue, Side::Back)?;
            let (Some((front, _)), Some((back, _))) = (front, back) else { return Ok(None) };
            let len = self.len()?;
            if !self.is_still_at_rest(before) {
                continue;
            }
            if (back + 1).saturating_sub(front) != len {
                break;
            }
            let offset = index.unsigned_abs();
            return Ok(match index {
                0.. => Some(front.saturating_add(offset)).filter(|number| *number <= back),
                _ => (back + 1).checked_sub(offset).filter(|number| *number >= front),
            });
        }
        self.walk_to(&queue, index)
    }

    fn walk_to(&self, queue: &Queue, index: i64) -> Result<Option<u64>> {
        let (len, offset) = (self.len()?, index.unsigned_abs());
        let is_reached = if index < 0 { offset <= len } else { offset < len };
        if !is_reached {
            return Ok(None);
        }
        let from_front = if index < 0 { len - offset } else { offset };
        let from_back = len - 1 - from_front;
        let is_forward = from_front <= from_back;
        let place = from_front.min(from_back);
        for _ in 0..MAX_WALKS {
            let before = self.0.store.at_rest();
            let number = self.walk_from(queue, is_forward, place)?;
            // All that were there when the walk began can have gone meanwhile, and others come.
            if number.is_some() || self.is_still_at_rest(before) {
                return Ok(number);
            }
        }
        Ok(None)
    }

    /// The number of the item that `place` others come before, from one end.
    fn walk_from(&self, queue: &Queue, is_forward: bool, place: u64) -> Result<Option<u64>> {
        let (mut numbers, mut left, mut key) = (self.numbers()?, place, Vec::new());
        loop {
            let number = if is_forward { numbers.next() } else { numbers.next_back() };
            let Some(number) = number else { return Ok(None) };
            if !self.contains_encoded(queue.key(number, &mut key))? {
                continue;
            }
            if left == 0 {
                return Ok(Some(number));
            }
            left -= 1;
        }
    }

    /// Removes the outermost item on a side, whatever its value; false if there is none.
    pub(crate) fn drop_outermost(&self, side: Side) -> Result<bool> {
        self.refuse_if_not_durable()?;
        let is_dropped = self.take(&Queue::new(None)?, side, |_, _| true)?;
        if is_dropped {
            self.made_durable()?;
        }
        Ok(is_dropped)
    }

    /// The most items that there may be, as it is kept in the store.
    pub(crate) fn most_items(&self) -> Result<Option<u64>> {
        with_scratch(|value| {
            if self.record(&MOST_ITEMS, None, value)?.is_none() {
                return Ok(None);
            }
            Ok(most(value))
        })
    }

    pub(crate) fn set_most_items(&self, most: Option<u64>) -> Result<()> {
        let (value, now_ms) = (most.unwrap_or(u64::MAX).to_le_bytes(), self.now_ms());
        self.refuse_if_not_durable()?;
        self.0.store.write(self.0.timeout, |writer| {
            writer.put_control(&MOST_ITEMS, &value, NEVER, now_ms)
        })?;
        self.made_durable()
    }

    /// Removes all items, unless a most number of them is set, which would go with them: then false.
    pub(crate) fn clear_unless_limited(&self) -> Result<bool> {
        let key = self.0.store.hashed(&MOST_ITEMS);
        let is_cleared = self.0.store.write(self.0.timeout, |writer| {
            let (mut tag, mut value) = (Vec::new(), Vec::new());
            let is_limited = match writer.find(key)? {
                Some(found) => writer.read(&found, &mut tag, &mut value)? && most(&value).is_some(),
                None => false,
            };
            if !is_limited {
                writer.clear()?;
            }
            Ok(!is_limited)
        })?;
        if is_cleared {
            self.made_durable()?;
        }
        Ok(is_cleared)
    }

    /// Options for another directory, with codec, clock, timeout and durability of this handle.
    pub(crate) fn options_alike(&self) -> Options {
        Options::alike(&self.0)
    }
}

/// The most items that stored bytes say; `None` for no limit.
fn most(bytes: &[u8]) -> Option<u64> {
    let most = bytes.try_into().map(u64::from_le_bytes).ok();
    most.filter(|most| *most != u64::MAX)
}
