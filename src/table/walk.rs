//! Finding the page where a walk over the keys goes on.
//!
//! A page is complete before it is linked, and what links to it leads elsewhere before it leaves the
//! list. So whoever reads a page, and then finds it linked as before, has read it in the life in which
//! it is linked; and a link that leads to no page of the list, and goes on to do so, is damaged.
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

/// A page that is linked and not in the list is looked at so often: each time, a writer may have
/// taken it out after the look, used it again, and linked it where it was.
const MAX_LOOKS: usize = if cfg!(loom) { 4 } else { 64 };

/// So many pages are passed without asking how many there can be.
const FEW: u64 = 64;

/// No list is longer: entry numbers have 32 bits.
const MAX_PAGES: u64 = 1 << 26;

/// Where a link leads.
pub(crate) enum Way {
    Page(Snapshot),
    /// It is the last page on this side.
    End,
    /// Writers have changed the link, or taken the page that has it out of the list.
    Changed,
    /// To no page of the list.
    Damaged,
}

/// The neighbour of a page on the side that `side` names.
pub(crate) fn neighbour<S: Space>(
    space: &S,
    page: &Snapshot,
    side: impl Fn(&Snapshot) -> u32,
) -> Way {
    let Some(number) = side(page).checked_sub(1) else { return Way::End };
    for _ in 0..MAX_LOOKS {
        let found = snapshot(space, number);
        let is_linked = snapshot(space, page.number)
            .is_some_and(|again| again.life == page.life && side(&again) == side(page));
        match found {
            _ if !is_linked => return Way::Changed,
            Some(found) => return Way::Page(found),
            None => {}
        }
    }
    Way::Damaged
}

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
    for _ in 0..MAX_RETRIES {
        let (applied, state_now) = state();
        let last = last_page(space, &state_now).filter(|last| last.first_row <= row);
        let start = last.or_else(|| first_page(space, &state_now));
        // Still there after it was read, or else it may be in another place by now.
        if state().0 != applied {
            continue;
        }
        if let Some(found) = search(space, start?, state_now.pages, row) {
            return Some(found);
        }
    }
    None
}

fn last_page<S: Space>(space: &S, state: &State) -> Option<Snapshot> {
    snapshot(space, state.last_page.checked_sub(1)?)
}

fn first_page<S: Space>(space: &S, state: &State) -> Option<Snapshot> {
    let number = state.first_page.checked_sub(1)?;
    let next = || snapshot(space, links(space.page(number)?).0.checked_sub(1)?);
    snapshot(space, number).or_else(next)
}

/// The last page from `start` on that begins at or before `row`; `None` if a link has changed.
fn search<S: Space>(space: &S, start: Snapshot, pages: u64, row: u64) -> Option<Snapshot> {
    let mut found = start;
    // One more than were counted: a page is linked before it counts, one at a time.
    for step in 1..=pages.min(MAX_PAGES) {
        if is_circle(space, step) {
            break;
        }
        match neighbour(space, &found, |page| page.next) {
            Way::Page(next) if next.first_row <= row => found = next,
            Way::Changed => return None,
            Way::Page(_) | Way::End | Way::Damaged => break,
        }
    }
    Some(found)
}
