//! Queues: items that are numbered, and taken from either end.
//!
//! ```text
//! pull   look       the outermost live item, without the lock        (Look)
//!        decode     the user's code
//!        take       under the lock: is it still the outermost one? then it goes
//!        otherwise  from the start; after a few times within a transaction, in which nobody
//!                   else is in the way
//! peek   look, decode
//! ```
//!
//! Where the ends are is the store's knowledge (`store::queues`). A look that would be a long one,
//! or that finds no bounds, asks the store to put them in order first.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::entry::{Entry, SetOptions};
use crate::cache::read::with_scratch;
use crate::cache::spared::Spared;
use crate::error::Result;
use crate::format::key::Key;
use crate::format::key_buf::ToKey;
use crate::format::queue::{Bounds, LAST, Queue, Side};
use crate::format::record::Header;
use crate::store::queues::{Search, Step};
use crate::store::scan::Item;
use crate::store::writer::{Put, PutValue};

/// Pulls that others get ahead of, before the lock is held over looking and taking.
const MAX_ATTEMPTS: usize = 4;
/// Numbers that are looked at without the lock, before the store is asked to put bounds in order.
const MAX_LOOKS: usize = 48;
/// Looks without the lock that others spoil.
const MAX_CHANGES: usize = 64;
/// Times that bounds are put in order for one look. When that does not help, many items at the end
/// are damaged, and all keys are looked at.
const MAX_ROUNDS: usize = 16;

/// How an item is pushed: to which queue and side, when it expires, and under which tag.
///
/// ```
/// use firncache::{Cache, Key, PushOptions, Side};
///
/// let cache = Cache::temporary()?;
/// let urgent = PushOptions::new().prefix("jobs").side(Side::Front).tag("urgent");
/// cache.push_with("later", PushOptions::new().prefix("jobs"))?;
/// let key = cache.push_with("now", urgent)?;
/// assert_eq!(key, Key::from("jobs-499999999999999"));
/// # Ok::<(), firncache::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until they are used"]
pub struct PushOptions {
    prefix: Option<String>,
    side: Side,
    set: SetOptions,
}

impl Default for PushOptions {
    fn default() -> PushOptions {
        PushOptions { prefix: None, side: Side::Back, set: SetOptions::new() }
    }
}

impl PushOptions {
    /// Makes options for the back of the queue without a prefix, with neither expiry nor tag.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::PushOptions;
    /// cache.push_with("last", PushOptions::new())?; // as push()
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn new() -> PushOptions {
        PushOptions::default()
    }

    /// Chooses the queue of a prefix. No queue sees the items of another.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::{PushOptions, QueueOptions};
    /// cache.push_with("page", PushOptions::new().prefix("jobs"))?;
    /// assert!(cache.peek_with::<String>(QueueOptions::new().prefix("jobs"))?.is_some());
    /// assert!(cache.peek::<String>()?.is_none());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn prefix(mut self, prefix: &str) -> PushOptions {
        self.prefix = Some(prefix.to_owned());
        self
    }

    /// Chooses the side to push to; [`Side::Back`] unless set.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::{PushOptions, Side};
    /// cache.push("second")?;
    /// cache.push_with("first", PushOptions::new().side(Side::Front))?;
    /// assert_eq!(cache.pull::<String>()?.unwrap().1, "first");
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn side(mut self, side: Side) -> PushOptions {
        self.side = side;
        self
    }

    /// Lets the item expire when this time has passed; as [`SetOptions::expire`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use std::time::Duration;
    /// use firncache::PushOptions;
    /// cache.push_with("over", PushOptions::new().expire(Duration::ZERO))?;
    /// assert!(cache.pull::<String>()?.is_none());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn expire(mut self, after: Duration) -> PushOptions {
        self.set = self.set.expire(after);
        self
    }

    /// Lets the item expire at a time of day; as [`SetOptions::expire_at`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use std::time::{Duration, SystemTime};
    /// use firncache::PushOptions;
    /// let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    /// cache.push_with("today", PushOptions::new().expire_at(tomorrow))?;
    /// assert!(cache.pull::<String>()?.is_some());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn expire_at(mut self, time: SystemTime) -> PushOptions {
        self.set = self.set.expire_at(time);
        self
    }

    /// Labels the item; as [`SetOptions::tag`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::PushOptions;
    /// cache.push_with("page", PushOptions::new().tag("user 7"))?;
    /// assert_eq!(cache.evict("user 7")?, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn tag(mut self, tag: impl ToKey) -> PushOptions {
        self.set = self.set.tag(tag);
        self
    }
}

/// From which queue and side an item is read or taken.
///
/// ```
/// use firncache::{Cache, QueueOptions, Side};
///
/// let cache = Cache::temporary()?;
/// cache.push(&1)?;
/// cache.push(&2)?;
/// let last = cache.pull_with::<i32>(QueueOptions::new().side(Side::Back))?;
/// assert_eq!(last.unwrap().1.value, 2);
/// # Ok::<(), firncache::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until they are used"]
pub struct QueueOptions {
    prefix: Option<String>,
    side: Side,
}

impl Default for QueueOptions {
    fn default() -> QueueOptions {
        QueueOptions { prefix: None, side: Side::Front }
    }
}

impl QueueOptions {
    /// Makes options for the front of the queue without a prefix.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::QueueOptions;
    /// cache.push("first")?;
    /// assert!(cache.pull_with::<String>(QueueOptions::new())?.is_some()); // from where pull() takes
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn new() -> QueueOptions {
        QueueOptions::default()
    }

    /// Chooses the queue of a prefix.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::{PushOptions, QueueOptions};
    /// cache.push_with("page", PushOptions::new().prefix("jobs"))?;
    /// assert!(cache.pull_with::<String>(QueueOptions::new().prefix("job"))?.is_none());
    /// assert!(cache.pull_with::<String>(QueueOptions::new().prefix("jobs"))?.is_some());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn prefix(mut self, prefix: &str) -> QueueOptions {
        self.prefix = Some(prefix.to_owned());
        self
    }

    /// Chooses the side; [`Side::Front`] unless set.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use firncache::{QueueOptions, Side};
    /// cache.push(&1)?;
    /// cache.push(&2)?;
    /// let newest = cache.peek_with::<i32>(QueueOptions::new().side(Side::Back))?;
    /// assert_eq!(newest.unwrap().1.value, 2);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn side(mut self, side: Side) -> QueueOptions {
        self.side = side;
        self
    }
}

/// What a look at an end without the lock has found.
enum Look {
    /// The outermost live item; its tag and value are in the buffers.
    Item(u64, Header),
    /// None; or only items that have expired.
    Empty { has_expired: bool },
    /// The store is to put the bounds in order first: they are missing, or wide.
    Untidy,
}

impl Cache {
    /// Stores a value at the back of the queue; gives its key, a number.
    ///
    /// A queue is made of the cache's keys that are integers above 0 and below 999999999999999; the
    /// new one is the greatest so far plus 1, and 500000000000000 in an empty queue. Such keys of
    /// your own are part of the queue. Costs about two [`Cache::set`]s however long the queue is.
    /// The first use of a queue reads all keys once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overflow`](crate::ErrorKind::Overflow) when the numbers on that side are used
    /// up, and nothing is lost; also as [`Cache::set`].
    ///
    /// ```
    /// use firncache::Key;
    /// # let cache = firncache::Cache::temporary()?;
    /// assert_eq!(cache.push("first")?, Key::from(500_000_000_000_000_i64));
    /// cache.push("second")?;
    /// let (key, value) = cache.pull::<String>()?.unwrap();
    /// assert_eq!((key, value.as_str()), (Key::from(500_000_000_000_000_i64), "first"));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn push<V: Serialize + ?Sized>(&self, value: &V) -> Result<Key> {
        self.push_with(value, PushOptions::new())
    }

    /// Stores a value at either end of any queue; gives its key.
    ///
    /// The keys of a queue with a prefix are texts: the prefix, a hyphen, and the number in 15
    /// digits. Only keys of exactly that form are part of it.
    ///
    /// # Errors
    ///
    /// As [`Cache::push`]; [`ErrorKind::Key`](crate::ErrorKind::Key) also for a prefix that is too
    /// long, and for what cannot be a tag.
    ///
    /// ```
    /// use firncache::{Key, PushOptions};
    /// # let cache = firncache::Cache::temporary()?;
    /// let key = cache.push_with("page", PushOptions::new().prefix("jobs"))?;
    /// assert_eq!(key, Key::from("jobs-500000000000000"));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn push_with<V: Serialize + ?Sized>(&self, value: &V, options: PushOptions) -> Result<Key> {
        let PushOptions { prefix, side, set } = options;
        let queue = Queue::new(prefix.as_deref())?;
        let number = with_scratch(|buffer| {
            let kind = self.encode(value, buffer)?;
            let value = self.place(queue.key(LAST, &mut Vec::new()), buffer, &set)?;
            self.push_placed(&queue, side, kind, value, &set)
        })?;
        Key::decode(queue.key(number, &mut Vec::new()))
    }

    fn push_placed(
        &self,
        queue: &Queue,
        side: Side,
        value_kind: u8,
        value: PutValue<'_>,
        options: &SetOptions,
    ) -> Result<u64> {
        let store = &self.0.store;
        let now_ms = self.now_ms();
        let mut put = Some(Put {
            value_kind,
            value,
            tag: options.tag_bytes().map_err(|error| self.here(error))?,
            expires_ms: options.expires_ms(now_ms),
            stored_ms: now_ms,
            keep_access: false,
        });
        self.refuse_if_not_durable()?;
        let may_cull = !store.is_in_transaction();
        let mut search = Search::default();
        loop {
            let step = store.write(self.0.timeout, |writer| {
                let step = writer.queue_push(queue, side, &mut put, &mut search)?;
                if may_cull && let Step::Done(number) = step {
                    let hash = store.hashed(queue.key(number, &mut Vec::new())).hash;
                    self.cull_after(writer, now_ms, &Spared::One(hash));
                }
                Ok(step)
            })?;
            match step {
                Step::Done(number) => {
                    self.made_durable()?;
                    return Ok(number);
                }
                Step::More => {}
                Step::Unknown => store.count_queue(queue, &mut search, self.0.timeout, now_ms)?,
            }
        }
    }

    /// Takes the item at the front of the queue: removes it and gives its key and value. A value
    /// that is not a `V` stays.
    ///
    /// Of several that pull at once, each gets another item. Items that have expired are passed and
    /// removed. Not counted as a read. Costs about one read and one [`Cache::delete`].
    ///
    /// # Errors
    ///
    /// As [`Cache::get`] and [`Cache::delete`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.push(&7)?;
    /// assert!(cache.pull::<String>().is_err());
    /// assert_eq!(cache.pull::<i32>()?.unwrap().1, 7);
    /// assert!(cache.pull::<i32>()?.is_none());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn pull<V: DeserializeOwned>(&self) -> Result<Option<(Key, V)>> {
        let pulled = self.pull_with(QueueOptions::new())?;
        Ok(pulled.map(|(key, entry)| (key, entry.value)))
    }

    /// Takes the item at either end of any queue, as [`Cache::pull`]; gives its key, its value, and
    /// what was known about it.
    ///
    /// # Errors
    ///
    /// As [`Cache::pull`].
    ///
    /// ```
    /// use firncache::{PushOptions, QueueOptions};
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.push_with("page", PushOptions::new().prefix("jobs").tag("urgent"))?;
    /// assert!(cache.pull::<String>()?.is_none());
    /// let (_, entry) = cache.pull_with::<String>(QueueOptions::new().prefix("jobs"))?.unwrap();
    /// assert_eq!((entry.value.as_str(), entry.tag), ("page", Some("urgent".into())));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn pull_with<V: DeserializeOwned>(
        &self,
        options: QueueOptions,
    ) -> Result<Option<(Key, Entry<V>)>> {
        let queue = Queue::new(options.prefix.as_deref())?;
        self.refuse_if_not_durable()?;
        for _ in 0..MAX_ATTEMPTS {
            let Some((number, header, entry)) = self.read_end(&queue, options.side, true)? else {
                return Ok(None);
            };
            if self.take(&queue, options.side, |at, now| (at, now) == (number, &header))? {
                self.made_durable()?;
                return Ok(Some((Key::decode(queue.key(number, &mut Vec::new()))?, entry)));
            }
        }
        // Inside a transaction nobody else is in the way.
        self.transact(|_| {
            loop {
                let Some((number, header, entry)) = self.read_end(&queue, options.side, true)?
                else {
                    return Ok(None);
                };
                if self.take(&queue, options.side, |at, now| (at, now) == (number, &header))? {
                    return Ok(Some((Key::decode(queue.key(number, &mut Vec::new()))?, entry)));
                }
                self.remove_damaged_end(&queue, options.side)?;
            }
        })
    }

    /// Removes the outermost item on a side if it cannot be read, so that those behind it can be
    /// taken.
    fn remove_damaged_end(&self, queue: &Queue, side: Side) -> Result<()> {
        let end = Cell::new(None);
        let note = |at, header: &Header| {
            end.set(Some((at, *header)));
            false
        };
        self.take(queue, side, note)?;
        let Some((number, header)) = end.get() else { return Ok(()) };
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let key = queue.key(number, &mut key);
        let is_readable = match self.record(key, None, &mut value)? {
            Some(record) if record.header.is_file() => {
                self.read_whole(key, None, &mut value)?.is_some()
            }
            record => record.is_some(),
        };
        if !is_readable {
            self.take(queue, side, |at, now| (at, now) == (number, &header))?;
        }
        Ok(())
    }

    /// Reads the item at the front of the queue, and leaves it there.
    ///
    /// Takes no lock, as a rule; but it may remove a long run of expired items. Not counted as a read.
    ///
    /// # Errors
    ///
    /// As [`Cache::get`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.push(&7)?;
    /// assert_eq!(cache.peek::<i32>()?.unwrap().1, 7);
    /// assert_eq!(cache.peek::<i32>()?.unwrap().1, 7);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn peek<V: DeserializeOwned>(&self) -> Result<Option<(Key, V)>> {
        let seen = self.peek_with(QueueOptions::new())?;
        Ok(seen.map(|(key, entry)| (key, entry.value)))
    }

    /// Reads the item at either end of any queue, and leaves it there; gives its key, its value,
    /// and what is known about it.
    ///
    /// # Errors
    ///
    /// As [`Cache::peek`].
    ///
    /// ```
    /// use firncache::{QueueOptions, Side};
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.push(&1)?;
    /// cache.push(&2)?;
    /// let last = cache.peek_with::<i32>(QueueOptions::new().side(Side::Back))?;
    /// assert_eq!(last.unwrap().1.value, 2);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn peek_with<V: DeserializeOwned>(
        &self,
        options: QueueOptions,
    ) -> Result<Option<(Key, Entry<V>)>> {
        let queue = Queue::new(options.prefix.as_deref())?;
        let Some((number, _, entry)) = self.read_end(&queue, options.side, false)? else {
            return Ok(None);
        };
        Ok(Some((Key::decode(queue.key(number, &mut Vec::new()))?, entry)))
    }

    /// Reads the outermost live item on a side. If there are only expired ones, they stay unless
    /// this is for pulling.
    fn read_end<V: DeserializeOwned>(
        &self,
        queue: &Queue,
        side: Side,
        is_pull: bool,
    ) -> Result<Option<(u64, Header, Entry<V>)>> {
        let mut tag = Vec::new();
        with_scratch(|value| {
            let end = self.find_end(queue, side, is_pull, &mut tag, value)?;
            let Some((number, header)) = end else { return Ok(None) };
            let entry = Entry::read(&header, &tag, value, self)?;
            Ok(Some((number, header, entry)))
        })
    }

    /// The number and the header of the outermost live item on a side.
    pub(crate) fn outermost(&self, queue: &Queue, side: Side) -> Result<Option<(u64, Header)>> {
        with_scratch(|value| self.find_end(queue, side, false, &mut Vec::new(), value))
    }

    fn find_end(
        &self,
        queue: &Queue,
        side: Side,
        is_pull: bool,
        tag: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<Option<(u64, Header)>> {
        for round in 0.. {
            let is_stuck = round == MAX_ROUNDS || self.0.store.is_read_only();
            let look = match is_stuck {
                true => self.look_through(queue, side, tag, value)?,
                false => self.look(queue, side, tag, value)?,
            };
            match look {
                Look::Empty { has_expired: true } if is_pull => self.tidy(queue, side)?,
                Look::Empty { .. } => return Ok(None),
                Look::Untidy => self.tidy(queue, side)?,
                Look::Item(number, header) => return Ok(Some((number, header))),
            }
        }
        Ok(None)
    }

    /// The stored bounds of a queue, and the record that they were read from.
    fn stored_bounds(
        &self,
        queue: &Queue,
        value: &mut Vec<u8>,
    ) -> Result<Option<(Header, Bounds)>> {
        let Some(record) = self.record(queue.control(), None, value)? else { return Ok(None) };
        let bounds = Bounds::decode(value).filter(Bounds::is_whole);
        Ok(bounds.map(|bounds| (record.header, bounds)))
    }

    fn look(
        &self,
        queue: &Queue,
        side: Side,
        tag: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<Look> {
        let mut key = Vec::new();
        let mut has_expired = false;
        'again: for _ in 0..MAX_CHANGES {
            let next_row = self.0.store.state().next_row;
            let Some((header, mut bounds)) = self.stored_bounds(queue, value)? else {
                return Ok(Look::Untidy);
            };
            let was_empty = bounds.is_empty();
            for _ in 0..MAX_LOOKS {
                let Some(number) = bounds.end(side) else { break };
                let key = queue.key(number, &mut key);
                if let Some(record) = self.record(key, Some(&mut *tag), value)? {
                    if !self.is_live(record.header.expires_ms) {
                        has_expired = true;
                    } else if record.header.row >= next_row {
                        // Pushed after the look began: the end may be elsewhere by now.
                        continue 'again;
                    } else if !record.header.is_file() {
                        return Ok(Look::Item(number, record.header));
                    } else if let Some(record) = self.read_whole(key, Some(&mut *tag), value)? {
                        return Ok(Look::Item(number, record.header));
                    }
                }
                bounds.pass(side);
            }
            if !bounds.is_empty() {
                return Ok(Look::Untidy);
            }
            // Nothing was found. An item can have come behind the look meanwhile, and those before it
            // have gone: not if nothing came at all, or would have had to widen bounds that are empty.
            let is_still = was_empty || self.0.store.state().next_row == next_row;
            let now = self.stored_bounds(queue, value)?;
            if is_still && now.is_some_and(|(now, _)| now == header) {
                return Ok(Look::Empty { has_expired });
            }
        }
        Ok(Look::Untidy)
    }

    /// Looks where nothing can be put in order: at every key, if the bounds do not help.
    fn look_through(
        &self,
        queue: &Queue,
        side: Side,
        tag: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Result<Look> {
        match self.look(queue, side, tag, value)? {
            Look::Untidy => {}
            look => return Ok(look),
        }
        let (mut scan, mut item, mut numbers) = (self.0.store.scan(), Item::default(), Vec::new());
        while scan.next(&self.0.store, &mut item)? {
            numbers.extend(queue.number(&item.key));
        }
        numbers.sort_unstable();
        if side == Side::Back {
            numbers.reverse();
        }
        let mut key = Vec::new();
        for number in numbers {
            let key = queue.key(number, &mut key);
            if let Some(record) = self.read_whole(key, Some(&mut *tag), value)? {
                return Ok(Look::Item(number, record.header));
            }
        }
        Ok(Look::Empty { has_expired: false })
    }

    /// Brings the stored bounds to the outermost live item on a side.
    fn tidy(&self, queue: &Queue, side: Side) -> Result<()> {
        self.take(queue, side, |_, _| false).map(|_| ())
    }

    /// Removes the outermost live item on a side if it is the one that is meant.
    pub(crate) fn take(
        &self,
        queue: &Queue,
        side: Side,
        is_it: impl Fn(u64, &Header) -> bool,
    ) -> Result<bool> {
        let now_ms = self.now_ms();
        let mut search = Search::default();
        loop {
            let step = self.0.store.write(self.0.timeout, |writer| {
                writer.queue_take(queue, side, &is_it, now_ms, &mut search)
            })?;
            match step {
                Step::Done(is_taken) => return Ok(is_taken),
                Step::More => {}
                Step::Unknown => {
                    self.0.store.count_queue(queue, &mut search, self.0.timeout, now_ms)?
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::damage_tests::damage;

    #[test]
    fn damaged_items_are_passed_and_hold_nobody_up() {
        let (queue, mut key) = (Queue::new(None).unwrap(), Vec::new());
        for count in [1, 5, 200] {
            let cache = Cache::temporary().unwrap();
            for value in 0..=count {
                cache.push(&value).unwrap();
            }
            for number in 0..count {
                let number = crate::format::queue::START + number;
                damage(&cache, queue.key(number, &mut key), false);
            }
            assert_eq!(cache.peek::<u64>().unwrap().unwrap().1, count);
            assert_eq!(cache.pull::<u64>().unwrap().unwrap().1, count);
            assert!(cache.pull::<u64>().unwrap().is_none());
            assert!(cache.stats().unwrap().damaged > 0);
            cache.push(&7).unwrap();
            assert_eq!(cache.pull::<u64>().unwrap().unwrap().1, 7);
        }
    }
}
