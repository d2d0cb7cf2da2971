//! Finding the page where a walk over the keys goes on.
//!
//! The state block names the first page of the list. A writer that takes that very page out of the
//! list first ends its life and then stores the new state; a reader in between, and that may be for
//! long when the writer is stopped there, finds a first page that is dead. The next link of a dead
//! page leads to what took its place, and is good as long as the state has not moved on.

use crate::format::state::{Applied, State};
use crate::table::Space;
use crate::table::pages::{Snapshot, links, snapshot};

/// A walk begins again at most so often: each time, a writer has taken a page away in front of it.
const MAX_RETRIES: usize = if cfg!(loom) { 4 } else { 1 << 16 };

/// A page that is not in the list is looked for so often while nothing is applied: a writer may be about
/// to go on, the table about to be exchanged, or the link that leads there is damaged. Each time can be
/// a call of the operating system.
const MAX_MISSING: usize = if cfg!(loom) { 4 } else { 1 << 10 };

/// So many pages are passed without asking how many there can be.
const FEW: u64 = 64;

/// No list is longer: entry numbers have 32 bits.
const MAX_PAGES: u64 = 1 << 26;

/// Whether a list of so many pages has more than there can be: its links lead in a circle, and the
/// count is damaged.
fn is_circle<S: Space>(space: &S, pages: u64) -> bool {
    pages > FEW && pages > space.pages_there()
}

/// The last page that begins at or before `row`, or the first page; `None` if there are no pages.
pub(crate) fn find_page<S: Space>(
    space: &S,
    state: impl Fn() -> (Applied, State),
    row: u64,
) -> Option<Snapshot> {
    let mut missing = 0;
    'again: for _ in 0..MAX_RETRIES {
        let (applied, state_now) = state();
        let mut found: Option<Snapshot> = None;
        let mut next = state_now.first_page;
        // One more than were counted: a page is linked before it counts, one at a time.
        for step in 0..=state_now.pages.min(MAX_PAGES) {
            if is_circle(space, step) {
                break;
            }
            let Some(number) = next.checked_sub(1) else { return found };
            let can_be = u64::from(number) <= state_now.pages;
            let Some(page) = can_be.then(|| snapshot(space, number)).flatten() else {
                let is_first = next == state_now.first_page;
                if !can_be || !is_first || space.page(number).is_none() {
                    // Where no writer has gone on meanwhile, none may ever do so.
                    missing += usize::from(state().0 == applied);
                    if missing == MAX_MISSING {
                        return found;
                    }
                    continue 'again;
                }
                next = links(space.page(number)?).0;
                if state().0 != applied {
                    continue 'again;
                }
                continue;
            };
            // Still linked after it was read: so it was read in the life in which it is the next.
            let is_linked = found.as_ref().is_none_or(|before| {
                snapshot(space, before.number)
                    .is_some_and(|again| again.life == before.life && again.next == next)
            });
            if !is_linked {
                continue 'again;
            }
            if found.is_some() && page.first_row > row {
                return found;
            }
            next = page.next;
            found = Some(page);
        }
        return found;
    }
    None
}
