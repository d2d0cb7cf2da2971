//! Walking over the keys in the order in which they were first stored.
//!
//! Row ids only grow, pages are in the order of their rows, and so are the entries in a page. A
//! walk therefore remembers the row it has reached; when the page it is in leaves the list, it
//! finds its place again by that row. It never yields a row twice, and every key that is there
//! throughout has one row that it comes by.

use crate::error::Result;
use crate::format::entry::PAGE_ENTRIES;
use crate::format::location::Location;
use crate::format::record::{Header, Kind};
use crate::format::slot::Slot;
use crate::format::state::State;
use crate::log::reader;
use crate::store::look::{Meaning, resolve};
use crate::store::recover::key_in;
use crate::store::writer::{Found, FoundAt};
use crate::store::{Shared, Store};
use crate::table::Space;
use crate::table::lookup::{Verdict, lookup};
use crate::table::pages::{self, EntryView, Snapshot};
use crate::table::walk::{self, Way};

/// So many steps are taken without asking how many there can be.
pub(crate) const FEW: u64 = 64;
/// Looks at one entry at most so often while writers keep changing it.
const MAX_RETRIES: usize = 1 << 10;

/// One key as a walk meets it.
#[derive(Default)]
pub(crate) struct Item {
    pub(crate) key: Vec<u8>,
    pub(crate) tag: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) header: Option<Header>,
}

/// A walk from both ends, weakly consistent and without a lock.
pub(crate) struct Scan {
    front: End,
    back: End,
    /// Rows in `from..to` are still to come.
    from: u64,
    to: u64,
    /// What the transaction of this thread has added, still to come: positions in its list.
    added: std::ops::Range<usize>,
}

/// Where one end of a walk is.
#[derive(Default)]
struct End {
    page: Option<Snapshot>,
    /// The entries of the page that are still to come.
    bitmap: u64,
}

impl Store {
    /// Begins a walk over the user's keys that are there now.
    pub(crate) fn scan(&self) -> Scan {
        let state = self.state();
        let added = self.own_overlay(|overlay| overlay.len_of_changes()).unwrap_or(0);
        Scan {
            front: End::default(),
            back: End::default(),
            from: 0,
            to: state.next_row,
            added: 0..added,
        }
    }
}

impl Scan {
    /// The row below which all keys come that are there throughout.
    pub(crate) fn end_row(&self) -> u64 {
        self.to
    }

    /// The next key from the front; false at the end.
    pub(crate) fn next(&mut self, store: &Store, item: &mut Item) -> Result<bool> {
        let failures = store.0.table.failures();
        let mut steps = 0;
        while self.from < self.to && (steps < FEW || steps < PAGE_ENTRIES * most_pages(store)) {
            steps += 1;
            let Some((page, index)) = self.step_front(store) else { break };
            let row = store.0.item(page, index, store, item, || self.front.is_current(store))?;
            // Only now is it known that the entry was of this life of the page.
            let is_current = self.front.is_current(store);
            let Some(row) = row.filter(|_| is_current) else { continue };
            if row >= self.from && row < self.to {
                // One before it may have been passed because a bucket could not be read.
                store.0.table.believe(failures)?;
                self.from = row + 1;
                return Ok(true);
            }
            if row >= self.to {
                break;
            }
        }
        // The end, even where it is an error: whoever goes on behind that must not go on for ever.
        self.from = self.to;
        store.0.table.believe(failures)?;
        for position in self.added.by_ref() {
            if store.added_item(position, item) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The next key from the back; false at the end.
    pub(crate) fn next_back(&mut self, store: &Store, item: &mut Item) -> Result<bool> {
        let failures = store.0.table.failures();
        while let Some(position) = self.added.next_back() {
            if store.added_item(position, item) {
                return Ok(true);
            }
        }
        let mut steps = 0;
        while self.from < self.to && (steps < FEW || steps < PAGE_ENTRIES * most_pages(store)) {
            steps += 1;
            let Some((page, index)) = self.step_back(store) else { break };
            let row = store.0.item(page, index, store, item, || self.back.is_current(store))?;
            let is_current = self.back.is_current(store);
            let Some(row) = row.filter(|_| is_current) else { continue };
            if row >= self.from && row < self.to {
                // One before it may have been passed because a bucket could not be read.
                store.0.table.believe(failures)?;
                self.to = row;
                return Ok(true);
            }
            if row < self.from {
                break;
            }
        }
        self.to = self.from;
        store.0.table.believe(failures)?;
        Ok(false)
    }

    /// The page and the position in it of the next entry from the front.
    fn step_front(&mut self, store: &Store) -> Option<(u32, u32)> {
        for step in 0.. {
            if step > FEW && step > most_pages(store) {
                break;
            }
            let page = self.front.page_or(store, self.from)?;
            if self.front.bitmap != 0 {
                let index = self.front.bitmap.trailing_zeros();
                self.front.bitmap &= self.front.bitmap - 1;
                return Some((page, index));
            }
            self.front.enter_neighbour(store, |page| page.next)?;
        }
        None
    }

    /// The page and the position in it of the next entry from the back.
    fn step_back(&mut self, store: &Store) -> Option<(u32, u32)> {
        for step in 0.. {
            if step > FEW && step > most_pages(store) {
                break;
            }
            let page = self.back.page_or(store, self.to.saturating_sub(1))?;
            if self.back.bitmap != 0 {
                let index = 63 - self.back.bitmap.leading_zeros();
                self.back.bitmap &= !(1 << index);
                return Some((page, index));
            }
            self.back.enter_neighbour(store, |page| page.previous)?;
        }
        None
    }
}

/// Steps between pages within which a walk comes to an entry, if its links are sound; writers may
/// send it back a few times. Asked again with each step, as a step can map more pages.
fn most_pages(store: &Store) -> u64 {
    most_steps(&store.0, &store.state())
}

pub(crate) fn most_steps(shared: &Shared, state: &State) -> u64 {
    4 * state.pages.min(shared.table.pages_there()) + 64
}

impl End {
    fn enter(&mut self, page: Snapshot) {
        self.bitmap = page.bitmap;
        self.page = Some(page);
    }

    fn is_current(&self, store: &Store) -> bool {
        self.page.as_ref().is_some_and(|page| page.is_current(&store.0.table))
    }

    /// The number of the page, which is found by `row` if there is none or if it left the list.
    fn page_or(&mut self, store: &Store, row: u64) -> Option<u32> {
        if !self.is_current(store) {
            self.enter(walk::find_page(&store.0.table, || store.0.head.state(), row)?);
        }
        self.page.as_ref().map(|page| page.number)
    }

    /// Goes on to the neighbour that `side` names; `None` at the end of the list, also where damage
    /// ends it. When a page leaves the list meanwhile, the place is found again by the row.
    fn enter_neighbour(&mut self, store: &Store, side: impl Fn(&Snapshot) -> u32) -> Option<()> {
        let table = &store.0.table;
        let Snapshot { number, life, .. } = self.page.take()?;
        // The page may have another neighbour by now.
        let same_life = pages::snapshot(table, number).filter(|page| page.life == life);
        match same_life.map_or(Way::Changed, |page| walk::neighbour(table, &page, side)) {
            Way::Page(neighbour) => self.enter(neighbour),
            Way::Changed => {}
            Way::End => return None,
            Way::Damaged => {
                store.0.head.count_damaged();
                return None;
            }
        }
        Some(())
    }
}

impl Shared {
    /// Reads the key of an entry into `item`; its row, or `None` if there is no key.
    fn item(
        &self,
        page: u32,
        index: u32,
        store: &Store,
        item: &mut Item,
        is_current: impl Fn() -> bool,
    ) -> Result<Option<u64>> {
        let number = page * PAGE_ENTRIES as u32 + index;
        for _ in 0..MAX_RETRIES {
            let Some(view) = pages::view(&self.table, number) else { return Ok(None) };
            if view.slot.is_empty() {
                return Ok(None);
            }
            if let Some(known) = store
                .own_overlay(|it| {
                    it.replaces(view.slot.location())
                        .map(|found| found.is_some_and(|found| fill_own(it, &found, item)))
                })
                .flatten()
            {
                let own = item.header.filter(|header| known && !header.is_control());
                return Ok(own.map(|header| header.row));
            }
            // What no reader finds may be old: the entry says where to look, the bucket what is there.
            let header = match self.slot_of(&view) {
                None => None,
                Some(slot) => match resolve(self, slot, || self.head.applied(), false)? {
                    Meaning::Nothing => return Ok(None),
                    Meaning::Unreadable => None,
                    Meaning::Record(at) => self.copy_item(at, item)?,
                },
            };
            if let Some(header) = header {
                let is_users = header.kind == Kind::Put && !header.is_control();
                return Ok(is_users.then_some(header.row));
            }
            if pages::is_unchanged(&self.table, &view) {
                // A page whose life is over stays as it was, while the buckets go on.
                if is_current() {
                    self.head.count_damaged();
                }
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// The slot of the bucket that leads to this entry. While its record is replaced the bucket has
    /// another slot for a moment, and while its page is merged another entry, but never both.
    fn slot_of(&self, view: &EntryView) -> Option<Slot> {
        lookup(&self.table, view.hash, |candidate| {
            match candidate.slot == view.slot || candidate.entry() == view.number {
                true => Verdict::Found(candidate.slot),
                false => Verdict::Other,
            }
        })
    }

    fn copy_item(&self, at: Location, item: &mut Item) -> Result<Option<Header>> {
        let Some(words) = self.segment(at.segment())? else { return Ok(None) };
        let Some(header) = reader::body(words, self.identity.store_id, at, &mut item.value) else {
            return Ok(None);
        };
        item.tag.clear();
        item.tag.extend_from_slice(&item.value[..usize::from(header.tag_len)]);
        item.key.clear();
        item.key.extend_from_slice(key_in(&header, &item.value));
        item.value.drain(..header.front_len());
        item.header = Some(header);
        Ok(Some(header))
    }
}

fn fill_own(overlay: &crate::store::transaction::Overlay, found: &Found, item: &mut Item) -> bool {
    let FoundAt::Own(own) = found.place else { return false };
    item.key.clear();
    item.key.extend_from_slice(overlay.key(own));
    item.header = Some(found.header);
    overlay.read(own, &mut item.tag, &mut item.value)
}

impl Store {
    /// Looks at the open transaction of this thread.
    pub(crate) fn own_overlay<R>(
        &self,
        look: impl FnOnce(&crate::store::transaction::Overlay) -> R,
    ) -> Option<R> {
        let mutex = &self.0.process().session;
        if !mutex.is_owned_by_current_thread() {
            return None;
        }
        let guard = mutex.try_lock()?;
        let session = guard.try_borrow().ok()?;
        session.overlay.as_ref().map(look)
    }

    fn added_item(&self, position: usize, item: &mut Item) -> bool {
        self.own_overlay(|overlay| {
            let added = overlay.added(position).filter(|found| !found.header.is_control());
            added.is_some_and(|found| fill_own(overlay, &found, item))
        })
        .unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::stress_tests::{open, put, remove};
    use crate::sys::sync::Ordering;

    /// A walk that is slow in a page that is merged, and whose key is stored again.
    #[test]
    fn a_page_whose_life_is_over_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 1 << 30);
        (0..1000).for_each(|key| put(&store, key, b"old"));
        let (shared, state) = (store.shared(), store.state());
        let page = pages::snapshot(&shared.table, state.first_page - 1).unwrap();
        let view = || pages::view(&shared.table, page.number * PAGE_ENTRIES as u32).unwrap();
        let mut slot = view().slot;
        let is_current = || page.is_current(&shared.table);
        let mut gone = (0..1000).filter(|key| key % 3 != 0);
        while is_current() {
            slot = view().slot;
            assert!(remove(&store, gone.next().unwrap()));
        }
        put(&store, 0, b"new");
        assert_eq!(view().slot, slot);
        let row = shared.item(page.number, 0, &store, &mut Item::default(), is_current);
        assert_eq!(row.unwrap(), None);
        assert_eq!(shared.head.damaged().load(Ordering::Relaxed), 0);
        let row = shared.item(page.number, 0, &store, &mut Item::default(), || true);
        assert_eq!(row.unwrap(), None);
        assert_eq!(shared.head.damaged().load(Ordering::Relaxed), 1);
    }
}
