//! The writer's walk over the pages of entries: for sweeping, ranking, checking.
//!
//! It goes page by page, with the lock, and may give the lock back between two pages: like a walk of
//! a reader (`scan`), it remembers the row that it has reached.

use crate::error::Result;
use crate::format::entry::PAGE_ENTRIES;
use crate::log::reader;
use crate::store::Writer;
use crate::store::recover::key_in;
use crate::store::scan::{FEW, most_steps};
use crate::store::writer::{Found, FoundAt};
use crate::table::pages::{self, EntryView, Snapshot, bits};

/// Where a writer's walk over the pages is; it may be kept over several holds of the lock.
#[derive(Default)]
pub(crate) struct PageCursor {
    last: Option<(u32, u64)>,
    row: u64,
    is_done: bool,
    /// Pages that were met: many more than there are mean a loop of damaged links.
    steps: u64,
}

/// A page as a writer sees it.
pub(crate) struct PageView {
    pub(crate) number: u32,
    pub(crate) min_expiry_ms: u64,
    /// The entries in use, oldest first.
    pub(crate) entries: Vec<EntryView>,
}

impl Writer<'_> {
    /// The next page of the list.
    pub(crate) fn page(&self, cursor: &mut PageCursor) -> Result<Option<PageView>> {
        self.page_where(cursor, |_| true)
    }

    /// The next page of the list for which `wanted` holds.
    pub(crate) fn page_where(
        &self,
        cursor: &mut PageCursor,
        wanted: impl Fn(&Snapshot) -> bool,
    ) -> Result<Option<PageView>> {
        let table = &self.shared.table;
        let failures = table.failures();
        while let Some(snapshot) = self.next_page(cursor) {
            cursor.last = Some((snapshot.number, snapshot.life));
            cursor.row = snapshot.first_row.saturating_add(1);
            cursor.steps += 1;
            cursor.is_done =
                snapshot.next == 0 || cursor.steps > most_steps(self.shared, &self.state);
            if !wanted(&snapshot) {
                continue;
            }
            let first = snapshot.number * PAGE_ENTRIES as u32;
            let entries = bits(snapshot.bitmap)
                .filter_map(|index| pages::view(table, first + index))
                .filter(|view| !view.slot.is_empty())
                .collect();
            table.believe(failures)?;
            return Ok(Some(PageView {
                number: snapshot.number,
                min_expiry_ms: snapshot.min_expiry_ms,
                entries,
            }));
        }
        // The end of the list, unless a page could not be read.
        table.believe(failures).map(|()| None)
    }

    fn next_page(&self, cursor: &PageCursor) -> Option<Snapshot> {
        let table = &self.shared.table;
        if cursor.is_done {
            return None;
        }
        let Some((number, life)) = cursor.last else {
            return pages::snapshot(table, self.state.first_page.checked_sub(1)?);
        };
        if let Some(last) = pages::snapshot(table, number)
            && last.life == life
        {
            return pages::snapshot(table, last.next.checked_sub(1)?);
        }
        // That page has left the list: go on with the first that begins later, and with the one
        // before it, which may hold what was merged.
        let mut at = self.state.first_page;
        let mut before = None;
        for step in 0..=self.state.pages {
            if step > FEW && step > most_steps(self.shared, &self.state) {
                break;
            }
            let Some(page) = at.checked_sub(1).and_then(|at| pages::snapshot(table, at)) else {
                break;
            };
            if page.first_row >= cursor.row {
                return before.or(Some(page));
            }
            at = page.next;
            before = Some(page);
        }
        before
    }

    /// The entry at a random place among all entries; `None` if there is none just there.
    pub(crate) fn random_entry(&self, seed: u64) -> Option<EntryView> {
        let number = seed % (self.state.pages.max(1) * PAGE_ENTRIES);
        let table = &self.shared.table;
        let page = pages::snapshot(table, (number / PAGE_ENTRIES) as u32)?;
        let is_used = page.bitmap >> (number % PAGE_ENTRIES) & 1 != 0;
        pages::view(table, number as u32).filter(|view| is_used && !view.slot.is_empty())
    }

    /// The found record of an entry; `None` if the transaction of this thread has changed it, or
    /// if it is damaged.
    pub(crate) fn found(&self, view: &EntryView) -> Result<Option<Found>> {
        let at = view.slot.location();
        if let Some(overlay) = &self.session.overlay
            && overlay.replaces(at).is_some()
        {
            return Ok(None);
        }
        let header = self.header(at)?;
        Ok(header.map(|header| Found { place: FoundAt::Log(at), entry: view.number, header }))
    }

    /// The encoded key of a found record; false if it is damaged.
    pub(crate) fn key_of(&self, found: &Found, key: &mut Vec<u8>) -> Result<bool> {
        key.clear();
        match found.place {
            FoundAt::Own(own) => {
                if let Some(overlay) = &self.session.overlay {
                    key.extend_from_slice(overlay.key(own));
                }
                Ok(true)
            }
            FoundAt::Log(at) => {
                let mut body = Vec::new();
                let Some(words) = self.words(at)? else { return Ok(false) };
                let store_id = self.shared.identity.store_id;
                let Some(header) = reader::body(words, store_id, at, &mut body) else {
                    return Ok(false);
                };
                key.extend_from_slice(key_in(&header, &body));
                Ok(true)
            }
        }
    }

    /// Removes the key of an entry; outside transactions also one whose record is damaged.
    pub(crate) fn remove_entry(&mut self, view: &EntryView, flags: u8) -> Result<()> {
        if self.session.overlay.is_none() {
            return self.remove_at(view.slot.location(), view.number, flags);
        }
        let mut key = Vec::new();
        if let Some(found) = self.found(view)?
            && self.key_of(&found, &mut key)?
        {
            self.remove(self.hashed(&key), &found, flags)?;
        }
        Ok(())
    }

    /// The keys that the transaction of this thread has put.
    pub(crate) fn own(&self) -> Vec<(Vec<u8>, Found)> {
        let overlay = self.session.overlay.as_ref();
        overlay.map_or_else(Vec::new, |it| it.all().map(|(key, at)| (key.to_vec(), at)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::stress_tests::{PATIENCE, open, put, transact};

    #[test]
    fn a_walk_whose_page_left_the_list_goes_on_with_the_one_before_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 1 << 30);
        const PAGES: usize = 100;
        transact(&store, || (0..PAGES as u32 * 64).for_each(|key| put(&store, key, b"v")));
        let work = |writer: &mut Writer<'_>| {
            let (mut cursor, mut all) = (PageCursor::default(), Vec::new());
            while let Some(page) = writer.page(&mut cursor)? {
                all.push((page.number, cursor.row, page.entries.len()));
            }
            assert!(all.len() == PAGES && all.iter().all(|(_, _, entries)| *entries == 64));
            for (place, (number, row, _)) in all.iter().enumerate() {
                let mut cursor =
                    PageCursor { last: Some((*number, 0)), row: *row, ..PageCursor::default() };
                // It may hold what was merged into it.
                assert_eq!(writer.page(&mut cursor)?.unwrap().number, all[place].0, "{place}");
            }
            Ok(())
        };
        store.write(PATIENCE, work).unwrap();
    }
}
