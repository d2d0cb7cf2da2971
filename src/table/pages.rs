//! Entries and their pages: what writers, iteration, expiry and eviction need.
//!
//! Pages form a list in the order in which keys were first stored. A page leaves the list when it
//! is empty or merged with its neighbour; its descriptor then loses its life number, and a reader
//! that was in it starts again from the row it had reached.

use crate::format::entry::{
    ACCESS, Access, BITMAP, DEADLINE, DESCRIPTOR_WORDS, Deadline, ENTRY_WORDS, FIRST_ROW,
    FREE_NEXT, HASH, LIFE, LINKS, MIN_EXPIRY, PAGE_ENTRIES, SLOT, TAG_FILTER, filter_bit,
};
use crate::format::location::{LOCATION_BITS, Location};
use crate::format::slot::Slot;
use crate::format::state::State;
use crate::sys::prefetch;
use crate::sys::sync::{AtomicU64, Ordering};
use crate::table::publish::find;
use crate::table::{Space, lookup};

/// The words of an entry, if there is such an entry.
pub(crate) fn entry<S: Space>(space: &S, number: u32) -> Option<&[AtomicU64]> {
    entry_in(space.page(number / PAGE_ENTRIES as u32)?, number)
}

#[inline]
fn entry_in(page: &[AtomicU64], number: u32) -> Option<&[AtomicU64]> {
    let start = DESCRIPTOR_WORDS + ENTRY_WORDS * (number as usize % PAGE_ENTRIES as usize);
    page.get(start..start + ENTRY_WORDS)
}

/// An entry as it was when it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryView {
    pub(crate) number: u32,
    pub(crate) slot: Slot,
    pub(crate) hash: u64,
    pub(crate) access: Access,
    pub(crate) deadline: Deadline,
}

/// Reads the entry `number`.
pub(crate) fn view<S: Space>(space: &S, number: u32) -> Option<EntryView> {
    let words = entry(space, number)?;
    // ORDERING: Acquire, pairs with `store` and `set_slot`: the record and the hash are visible with
    // the slot; and who sees the hash of a later life sees that the one before is over.
    let slot = Slot(words[SLOT].load(Ordering::Acquire));
    let hash = words[HASH].load(Ordering::Acquire);
    // ORDERING: Relaxed, only who holds the lock goes by these two.
    let access = Access(words[ACCESS].load(Ordering::Relaxed));
    let deadline = Deadline(words[DEADLINE].load(Ordering::Relaxed));
    Some(EntryView { number, slot, hash, access, deadline })
}

/// Whether an entry still holds the slot that was read: then its record cannot have been
/// reclaimed.
pub(crate) fn is_unchanged<S: Space>(space: &S, view: &EntryView) -> bool {
    entry(space, view.number).is_some_and(|words| lookup::is_unchanged(&words[SLOT], view.slot))
}

/// Writes an entry and, if it is a new one, marks it in its page. `access` is left alone when it is
/// `None`.
pub(crate) fn store<S: Space>(
    space: &S,
    number: u32,
    slot: Slot,
    hash: u64,
    access: Option<Access>,
    deadline: Deadline,
    is_new: bool,
) {
    let Some(page) = space.page(number / PAGE_ENTRIES as u32) else { return };
    let Some(words) = entry_in(page, number) else { return };
    // An entry that only gets another record leaves its page as it is: one cache line less to touch.
    // Its deadline is stored after the page was marked with it.
    if is_new || words[DEADLINE].load(Ordering::Relaxed) != deadline.0 {
        mark(page, deadline);
    }
    // ORDERING: Release, as the slot below; the two others as in `view`.
    words[HASH].store(hash, Ordering::Release);
    words[DEADLINE].store(deadline.0, Ordering::Relaxed);
    if let Some(access) = access {
        words[ACCESS].store(access.0, Ordering::Relaxed);
    }
    // ORDERING: Release, pairs with the Acquire load in `view`.
    words[SLOT].store(slot.0, Ordering::Release);
    if is_new {
        let bitmap = page[BITMAP].load(Ordering::Relaxed) | bit(number);
        // ORDERING: Release, pairs with the Acquire load in `snapshot`.
        page[BITMAP].store(bitmap, Ordering::Release);
    }
}

/// The hash of the key of an entry, if its record is the one at `location`. For the writer.
pub(crate) fn hash_if_current(entry: &[AtomicU64], location: Location) -> Option<u64> {
    let is_current = Slot(entry[SLOT].load(Ordering::Relaxed)).location() == location;
    is_current.then(|| entry[HASH].load(Ordering::Relaxed))
}

/// Starts loading an entry that is about to be written.
pub(crate) fn prefetch_entry<S: Space>(space: &S, number: u32) {
    if let Some(words) = entry(space, number) {
        prefetch(&words[SLOT]);
    }
}

/// Widens the bounds of a page to an entry.
fn mark(page: &[AtomicU64], deadline: Deadline) {
    // ORDERING: Relaxed, only who holds the lock goes by the bounds.
    if deadline.expires_ms() < page[MIN_EXPIRY].load(Ordering::Relaxed) {
        page[MIN_EXPIRY].store(deadline.expires_ms(), Ordering::Relaxed);
    }
    let filter = page[TAG_FILTER].load(Ordering::Relaxed) | filter_bit(deadline.tag_hash());
    page[TAG_FILTER].store(filter, Ordering::Relaxed);
}

/// Changes only the slot word of an entry.
pub(crate) fn set_slot<S: Space>(space: &S, number: u32, slot: Slot) {
    if let Some(words) = entry(space, number) {
        // ORDERING: Release, pairs with the Acquire load in `view`.
        words[SLOT].store(slot.0, Ordering::Release);
    }
}

/// Empties an entry. Its hash stays, so that the removal can be done again.
pub(crate) fn remove<S: Space>(space: &S, number: u32) {
    set_slot(space, number, Slot::EMPTY);
    if let Some(page) = space.page(number / PAGE_ENTRIES as u32) {
        let bitmap = page[BITMAP].load(Ordering::Relaxed) & !bit(number);
        // ORDERING: Release, as in `store`.
        page[BITMAP].store(bitmap, Ordering::Release);
    }
}

fn bit(number: u32) -> u64 {
    1 << (u64::from(number) % PAGE_ENTRIES)
}

/// Next and previous page of a page; each plus one, 0 for none.
pub(crate) fn links(page: &[AtomicU64]) -> (u32, u32) {
    // ORDERING: Acquire, pairs with `link`: a page is complete before it is linked.
    let word = page[LINKS].load(Ordering::Acquire);
    (word as u32, (word >> 32) as u32)
}

fn link(page: &[AtomicU64], next: u32, previous: u32) {
    // ORDERING: Release, pairs with the Acquire load in `links`.
    page[LINKS].store(u64::from(next) | u64::from(previous) << 32, Ordering::Release);
}

fn relink<S: Space>(space: &S, page_plus: u32, next: Option<u32>, previous: Option<u32>) {
    if let Some(page) = page_plus.checked_sub(1).and_then(|page| space.page(page)) {
        let (old_next, old_previous) = links(page);
        link(page, next.unwrap_or(old_next), previous.unwrap_or(old_previous));
    }
}

/// Opens page `number` at the end of the list; `life` is unique to this opening.
pub(crate) fn add<S: Space>(space: &S, state: &mut State, number: u32, life: u64) {
    let Some(page) = space.page(number) else { return };
    take_free(state, page, number);
    reset(page, life, state.next_row);
    link(page, 0, state.last_page);
    begin_life(page, life);
    relink(space, state.last_page, Some(number + 1), None);
    if state.first_page == 0 {
        state.first_page = number + 1;
    }
    state.last_page = number + 1;
    state.last_fill = 0;
    state.listed_pages += 1;
}

/// The identity of a life of a page that the record at `at` opens.
pub(crate) fn life(state: &State, at: Location) -> u64 {
    at.bits() | (state.geometry.generation() & 0xffff) << LOCATION_BITS
}

/// Notes the row of the first key that is put into a page.
pub(crate) fn set_first_row<S: Space>(space: &S, entry: u32, row: u64) {
    if u64::from(entry) % PAGE_ENTRIES == 0
        && let Some(page) = space.page(entry / PAGE_ENTRIES as u32)
    {
        // ORDERING: Release, pairs with the Acquire load in `snapshot`.
        page[FIRST_ROW].store(row, Ordering::Release);
    }
}

/// The page that `add` and `merge` are to use next.
pub(crate) fn next_number(state: &State) -> u32 {
    state.free_page.checked_sub(1).unwrap_or(state.pages as u32)
}

fn take_free(state: &mut State, page: &[AtomicU64], number: u32) {
    if state.free_page == number + 1 {
        state.free_page = page[FREE_NEXT].load(Ordering::Relaxed) as u32;
    } else {
        state.pages = state.pages.max(u64::from(number) + 1);
    }
}

/// Prepares a page that is not in the list for its next life, unless this life has begun: then its
/// readers must not see it empty again.
fn reset(page: &[AtomicU64], life: u64, first_row: u64) {
    if page[LIFE].load(Ordering::Relaxed) == life {
        return;
    }
    page[LIFE].store(0, Ordering::Relaxed);
    // ORDERING: Release, pairs with the Acquire loads in `snapshot`: who reads one of these sees
    // that the life before is over. The bounds as in `mark`.
    page[BITMAP].store(0, Ordering::Release);
    page[MIN_EXPIRY].store(u64::MAX, Ordering::Relaxed);
    page[TAG_FILTER].store(0, Ordering::Relaxed);
    page[FIRST_ROW].store(first_row, Ordering::Release);
}

fn begin_life(page: &[AtomicU64], life: u64) {
    // ORDERING: Release, pairs with the Acquire load in `snapshot`: the page is complete.
    page[LIFE].store(life, Ordering::Release);
}

fn end_life(page: &[AtomicU64], next_free: u32) {
    page[FREE_NEXT].store(u64::from(next_free), Ordering::Relaxed);
    // ORDERING: Release, pairs with the Acquire load in `snapshot`.
    page[LIFE].store(0, Ordering::Release);
}

/// Takes an empty page out of the list and makes it free.
pub(crate) fn drop_page<S: Space>(space: &S, state: &mut State, number: u32) {
    let Some(page) = space.page(number) else { return };
    let (next, previous) = links(page);
    bridge(space, state, previous, next, next, previous);
    end_life(page, state.free_page);
    state.free_page = number + 1;
    state.listed_pages -= 1;
}

/// Makes `after` follow `left` and `before` precede `right`; pages plus one, 0 for the ends.
fn bridge<S: Space>(space: &S, state: &mut State, left: u32, after: u32, right: u32, before: u32) {
    match left {
        0 => state.first_page = after,
        left => relink(space, left, Some(after), None),
    }
    match right {
        0 => state.last_page = before,
        right => relink(space, right, None, Some(before)),
    }
}

/// Replaces two neighbours of the list by one page that holds the entries of both, in order.
/// The second must not be the last page.
pub(crate) fn merge<S: Space>(
    space: &S,
    state: &mut State,
    pages: (u32, u32),
    into: u32,
    life: u64,
) {
    let (Some(left), Some(right), Some(target)) =
        (space.page(pages.0), space.page(pages.1), space.page(into))
    else {
        return;
    };
    take_free(state, target, into);
    reset(target, life, left[FIRST_ROW].load(Ordering::Relaxed));
    let entries = [pages.0, pages.1].into_iter().flat_map(|page| live(space, page));
    for (number, view) in (into * PAGE_ENTRIES as u32..).zip(entries) {
        store(space, number, view.slot, view.hash, Some(view.access), view.deadline, true);
        let buckets = state.geometry.buckets();
        if let Some(place) = find(space, buckets, view.hash, view.slot.location()) {
            place.set_entry(number);
        }
    }
    let (previous, next) = (links(left).1, links(right).0);
    link(target, next, previous);
    begin_life(target, life);
    bridge(space, state, previous, into + 1, next, into + 1);
    // From here on the way to what the left page held: see `walk`.
    link(left, into + 1, previous);
    end_life(left, state.free_page);
    end_life(right, pages.0 + 1);
    state.free_page = pages.1 + 1;
    state.listed_pages -= 1;
}

/// The entries in use in a page, as the writer sees them.
pub(crate) fn live<S: Space>(space: &S, page: u32) -> impl Iterator<Item = EntryView> {
    let bitmap = space.page(page).map_or(0, |page| page[BITMAP].load(Ordering::Relaxed));
    bits(bitmap).filter_map(move |index| view(space, page * PAGE_ENTRIES as u32 + index))
}

/// The positions of the set bits, lowest first.
pub(crate) fn bits(bitmap: u64) -> impl DoubleEndedIterator<Item = u32> {
    (0..PAGE_ENTRIES as u32).filter(move |index| bitmap >> index & 1 != 0)
}

/// What a reader sees of a page at one time.
pub(crate) struct Snapshot {
    pub(crate) number: u32,
    pub(crate) life: u64,
    pub(crate) bitmap: u64,
    pub(crate) min_expiry_ms: u64,
    pub(crate) tag_filter: u64,
    pub(crate) first_row: u64,
    /// Next and previous page; each plus one, 0 for none.
    pub(crate) next: u32,
    pub(crate) previous: u32,
}

impl Snapshot {
    /// Whether the page is still in the life in which this was read.
    pub(crate) fn is_current<S: Space>(&self, space: &S) -> bool {
        // ORDERING: Relaxed, what was read before this with Acquire and came from a later life has
        // brought the end of this one with it.
        space.page(self.number).is_some_and(|page| page[LIFE].load(Ordering::Relaxed) == self.life)
    }
}

/// Reads the descriptor of a page that is in the list; `None` when it is not, or just left it.
pub(crate) fn snapshot<S: Space>(space: &S, number: u32) -> Option<Snapshot> {
    let page = space.page(number)?;
    // ORDERING: Acquire, pairs with `begin_life`, `store` and `link`.
    let life = page[LIFE].load(Ordering::Acquire);
    let (next, previous) = links(page);
    let snapshot = Snapshot {
        number,
        life,
        bitmap: page[BITMAP].load(Ordering::Acquire),
        // ORDERING: Relaxed, as in `mark`.
        min_expiry_ms: page[MIN_EXPIRY].load(Ordering::Relaxed),
        tag_filter: page[TAG_FILTER].load(Ordering::Relaxed),
        first_row: page[FIRST_ROW].load(Ordering::Acquire),
        next,
        previous,
    };
    (life != 0 && snapshot.is_current(space)).then_some(snapshot)
}

/// Raises the expiry bound of a page to what its entries say.
pub(crate) fn tighten<S: Space>(space: &S, number: u32) {
    let bound = live(space, number).map(|view| view.deadline.expires_ms()).min();
    if let Some(page) = space.page(number) {
        // ORDERING: Relaxed, as in `mark`.
        page[MIN_EXPIRY].store(bound.unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
