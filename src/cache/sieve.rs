//! Who goes next under SIEVE: a hand over the keys in the order in which they were first stored.
//!
//! A key that was read since the hand last passed is spared, and its mark taken off; the first
//! without a mark goes. The hand belongs to the handle, the marks to the store: with several
//! processes each has a hand of its own over the same marks.

use crate::cache::rank::is_evictable;
use crate::cache::spared::Spared;
use crate::error::Result;
use crate::format::entry::Access;
use crate::store::Writer;
use crate::store::page_walk::PageCursor;
use crate::table::pages::EntryView;

/// Keys that the hand passes at most before it takes one with a mark.
const MAX_LOOKS: usize = 512;

#[derive(Default)]
pub(crate) struct Hand {
    cursor: PageCursor,
    /// The entries of its page that it has not passed, the next one last.
    ahead: Vec<EntryView>,
}

impl Hand {
    /// The entry that is to go next, as it is now.
    pub(crate) fn next(
        &mut self,
        writer: &mut Writer<'_>,
        spared: &Spared,
    ) -> Result<Option<EntryView>> {
        let mut second_choice = None;
        for _ in 0..MAX_LOOKS {
            let Some(view) = self.advance(writer)? else { break };
            let Some(view) = writer.current(&view) else { continue };
            if spared.contains(view.hash) || !is_evictable(writer, &view)? {
                continue;
            }
            if view.access.uses() == 0 {
                return Ok(Some(view));
            }
            writer.set_access(view.number, Access::new(view.access.time_ms(), 0));
            second_choice.get_or_insert(view);
        }
        Ok(second_choice.and_then(|view| writer.current(&view)))
    }

    /// The next entry, going on with the oldest after the newest; `None` if there is none at all.
    fn advance(&mut self, writer: &Writer<'_>) -> Result<Option<EntryView>> {
        let mut laps = 0;
        loop {
            if let Some(view) = self.ahead.pop() {
                return Ok(Some(view));
            }
            match writer.page(&mut self.cursor)? {
                Some(page) => self.ahead.extend(page.entries.into_iter().rev()),
                None if laps < 1 => {
                    laps += 1;
                    self.cursor = PageCursor::default();
                }
                None => return Ok(None),
            }
        }
    }
}
