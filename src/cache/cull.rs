//! Making room: what a write removes on its own, and `cull()`.
//!
//! A write that finds the cache over its limit removes just enough, at most `cull_limit` keys, and
//! never the key it has just stored. Expired keys go first:
//!
//! ```text
//! cull_limit 0                         nothing
//! the store's expiry bound is past     expired keys, found by the pages' bounds   (Sweep)
//! over the limit, and room for more    by policy: the ranking (rank), the hand (sieve)
//! ```
//!
//! What a handle remembers between calls (how far the sweep is, who is next) is only a hint: every
//! entry is looked at again before it is removed, as other processes and the store's own upkeep may
//! have moved it.

use std::cell::Cell;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cache::Cache;
use crate::cache::rank::Ranking;
use crate::cache::sieve::Hand;
use crate::cache::spared::Spared;
use crate::clock::NEVER;
use crate::error::{Error, Result};
use crate::format::record::{CULLED, EXPIRED};
use crate::format::settings::{Eviction, Settings};
use crate::store::Writer;
use crate::store::page_walk::PageCursor;
use crate::store::space::volume;
use crate::table::pages::EntryView;

/// Keys that `cull()` removes while it holds the lock.
const STEP_KEYS: u64 = 10;
/// Pages whose bounds a write looks at to find expired keys.
const LOOKS: u64 = 8;
/// Up to this many pages a write looks at all of them.
const SMALL_PAGES: u64 = 64;

/// What a handle remembers of its culling from one write to the next.
#[derive(Default)]
pub(crate) struct Culling(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    sweep: Sweep,
    ranking: Ranking,
    hand: Hand,
}

impl Cache {
    /// Removes everything expired, then, by policy, as much as the size limit asks; gives the
    /// number of keys removed. In short steps: other writers get in between.
    ///
    /// Writes do this on their own, a few keys each; call it after lowering the limit. With
    /// [`Eviction::None`] only what is expired goes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout), whose message says how far it got;
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly).
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set_many((0..100).map(|key| (key, vec![7_u64; 1000])), Default::default())?;
    /// cache.update_settings(|settings| settings.size_limit = 400_000)?;
    /// assert!(cache.cull()? > 0);
    /// assert!(cache.volume()? < 400_000);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn cull(&self) -> Result<u64> {
        let mut removed = self.expire()?;
        loop {
            let settings = self.settings();
            let step = self.0.store.write(self.0.timeout, |writer| {
                self.remember(|memory| {
                    let demand = writer.demand_now(self.0.place.as_ref());
                    memory.evict(writer, &settings, STEP_KEYS, &Spared::None, |writer| {
                        demand.is_due_here(writer)
                    })
                })
            });
            match step.map_err(|error| error.progress(removed))? {
                0 => break,
                step => removed += step,
            }
        }
        self.made_durable()?;
        Ok(removed)
    }

    /// Makes room after a write, while the lock is still held. The write is done, so a failure to
    /// make room is left for the next one to meet.
    pub(crate) fn cull_after(&self, writer: &mut Writer<'_>, now_ms: u64, spared: &Spared) {
        let _ = self.cull_step(writer, now_ms, spared);
    }

    /// Makes room after `count` keys have been written together, a step for each.
    pub(crate) fn cull_after_many(&self, keys: &[u64]) {
        let Some(last) = keys.last() else { return };
        if self.settings().cull_limit == 0 {
            return;
        }
        let now_ms = self.now_ms();
        // If the others are not enough, all but the last of those just stored may go as well.
        let mut spared = Spared::Many(keys.iter().copied().collect());
        for _ in 0..=keys.len() {
            let step = self.0.store.write(self.0.timeout, |writer| {
                let removed = self.cull_step(writer, now_ms, &spared)?;
                let is_over = self.settings().has_limit()
                    && writer.demand_now(self.0.place.as_ref()).is_due_here(writer);
                Ok((removed, is_over))
            });
            match step {
                Ok((0, true)) if matches!(spared, Spared::Many(_)) => spared = Spared::One(*last),
                Ok((1.., true)) => {}
                _ => return,
            }
        }
    }

    fn cull_step(&self, writer: &mut Writer<'_>, now_ms: u64, spared: &Spared) -> Result<u64> {
        let settings = self.settings();
        let budget = u64::from(settings.cull_limit);
        if budget == 0 {
            return Ok(0);
        }
        let place = self.0.place.as_ref();
        let is_due = writer.min_expiry_ms() < now_ms;
        let demand = if settings.has_limit() { writer.demand(place) } else { None };
        let is_here = |writer: &Writer<'_>| demand.is_some_and(|it| it.is_due_here(writer));
        let is_exact = settings.exact_cull_count && settings.eviction != Eviction::None;
        let is_full = is_here(writer) || is_exact && volume(&writer.state()) >= settings.share();
        let mut removed = 0;
        if is_due || is_full {
            removed = self.remember(|memory| {
                let mut removed = 0;
                if is_due {
                    removed = memory.sweep.run(writer, now_ms, budget)?;
                }
                if is_full {
                    removed +=
                        memory.evict(writer, &settings, budget - removed, spared, |writer| {
                            is_exact || is_here(writer)
                        })?;
                }
                Ok::<_, Error>(removed)
            })?;
        }
        if let (Some(place), Some(demand)) = (place, demand) {
            writer.settle_demand(place, &demand, removed < budget);
        }
        Ok(removed)
    }

    /// Removes up to `most` keys for the sake of the caches that share a limit with this one: what
    /// is expired, then by policy, as long as all together are over it and this one takes `floor`
    /// bytes or more.
    pub(crate) fn relieve(&self, timeout: Duration, most: u64, floor: u64) -> Result<u64> {
        let (settings, now_ms) = (self.settings(), self.now_ms());
        self.0.store.write(timeout, |writer| {
            let is_due = writer.min_expiry_ms() < now_ms;
            self.remember(|memory| {
                let mut removed = 0;
                if is_due {
                    removed = memory.sweep.run(writer, now_ms, most)?;
                }
                let demand = writer.demand_now(self.0.place.as_ref());
                let left = most - removed;
                removed += memory.evict(writer, &settings, left, &Spared::None, |writer| {
                    demand.is_over(writer) && writer.takes_at_least(floor)
                })?;
                Ok(removed)
            })
        })
    }

    fn remember<R>(&self, work: impl FnOnce(&mut Memory) -> R) -> R {
        match self.0.culling.0.try_lock() {
            Some(mut memory) => work(&mut memory),
            // Held by a thread that this process lost in a fork.
            None => work(&mut Memory::default()),
        }
    }
}

impl Memory {
    /// Removes up to `budget` keys by policy, as long as `goes_on`.
    fn evict(
        &mut self,
        writer: &mut Writer<'_>,
        settings: &Settings,
        budget: u64,
        spared: &Spared,
        goes_on: impl Fn(&Writer<'_>) -> bool,
    ) -> Result<u64> {
        let mut removed = 0;
        self.ranking.begin(settings.eviction);
        while removed < budget && goes_on(writer) {
            let victim = match settings.eviction {
                Eviction::None => None,
                Eviction::Sieve => self.hand.next(writer, spared)?,
                policy => self.ranking.next(writer, policy, spared)?,
            };
            let Some(victim) = victim else { break };
            match remove(writer, &victim, CULLED)? {
                Removed::Nothing => break,
                Removed::Own => {}
                Removed::Key => removed += 1,
            }
        }
        Ok(removed)
    }
}

/// The search for expired keys, a few pages per write.
#[derive(Default)]
struct Sweep {
    /// How far it is; `None` before the first page.
    cursor: Option<PageCursor>,
    /// The page it is in, and the expired entries there that are still to go, the last first.
    page: Option<u32>,
    left: Vec<EntryView>,
    /// The lowest expiry of what was passed and stayed.
    lowest_ms: u64,
}

impl Sweep {
    fn run(&mut self, writer: &mut Writer<'_>, now_ms: u64, budget: u64) -> Result<u64> {
        let listed = writer.state().listed_pages;
        let most = if listed <= SMALL_PAGES { SMALL_PAGES } else { LOOKS };
        let is_whole = self.cursor.is_none();
        if is_whole {
            *self = Sweep { lowest_ms: NEVER, ..Sweep::default() };
        }
        let looks = Cell::new(0);
        let mut removed = 0;
        loop {
            while let Some(view) = self.left.pop() {
                if removed == budget {
                    self.left.push(view);
                    return Ok(removed);
                }
                // The key may have been stored again, or touched, since the page was read.
                let is_expired =
                    writer.current(&view).is_some_and(|now| now.deadline.expires_ms() < now_ms);
                if is_expired {
                    removed += remove(writer, &view, EXPIRED)?.count();
                }
            }
            if let Some(page) = self.page.take() {
                writer.tighten(page);
            }
            if looks.get() >= most {
                return Ok(removed);
            }
            let lowest = Cell::new(self.lowest_ms);
            let cursor = self.cursor.get_or_insert_default();
            let page = writer.page_where(cursor, |page| {
                looks.set(looks.get() + 1);
                let is_wanted = page.min_expiry_ms < now_ms;
                if !is_wanted {
                    lowest.set(lowest.get().min(page.min_expiry_ms));
                }
                is_wanted || looks.get() >= most
            })?;
            self.lowest_ms = lowest.get();
            let Some(page) = page else {
                // While the lock was free, anything can have been stored behind the sweep, also what
                // expires earlier than the sweep began. Then the bound stays as it is.
                if is_whole {
                    writer.set_min_expiry(self.lowest_ms)?;
                }
                self.cursor = None;
                return Ok(removed);
            };
            self.page = Some(page.number);
            for view in page.entries.iter().rev() {
                match view.deadline.expires_ms() {
                    expires_ms if expires_ms < now_ms => self.left.push(*view),
                    expires_ms => self.lowest_ms = self.lowest_ms.min(expires_ms),
                }
            }
        }
    }
}

/// What [`remove`] has removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Removed {
    Nothing,
    Key,
    /// A key of the cache's own, which nobody counts.
    Own,
}

impl Removed {
    pub(crate) fn count(self) -> u64 {
        u64::from(self == Removed::Key)
    }
}

/// Removes the key of an entry, if it is still there and this thread's transaction has not changed
/// it.
pub(crate) fn remove(writer: &mut Writer<'_>, view: &EntryView, flags: u8) -> Result<Removed> {
    let Some(view) = writer.current(view) else { return Ok(Removed::Nothing) };
    let is_joined = writer.session.overlay.is_some();
    let mut removed = Removed::Key;
    if is_joined || writer.has_controls() {
        match writer.found(&view)? {
            None if is_joined => return Ok(Removed::Nothing),
            Some(found) if found.header.is_control() => removed = Removed::Own,
            _ => {}
        }
    }
    writer.remove_entry(&view, flags)?;
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::cache::entry::SetOptions;

    #[test]
    fn what_comes_behind_a_sweep_and_is_over_already_is_known() {
        const PAGES: u32 = 100;
        let cache = Cache::temporary().unwrap();
        cache.set_many((0..64 * PAGES).map(|key| (key, ())), SetOptions::new()).unwrap();
        let set_over = |key: u32| {
            let over = SetOptions::new().expire_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
            cache.set_with(key, &(), over).unwrap();
        };
        // Every write goes on with the sweep that this one begins.
        set_over(64 * PAGES);
        cache.set(u32::MAX, &1).unwrap();
        set_over(0);
        for _ in 0..PAGES / 2 {
            cache.set(u32::MAX, &1).unwrap();
            assert_eq!(cache.check().unwrap().to_string(), "nothing found");
        }
        assert_eq!(cache.len().unwrap(), u64::from(64 * PAGES));
    }
}
