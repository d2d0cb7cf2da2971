//! A walk over the pages beside a writer that takes them out of the list and uses them again.

use std::sync::Arc;

use super::threads::thread;
use super::{check_to, state_block};
use crate::format::entry::{Access, Deadline, PAGE_ENTRIES};
use crate::format::head::BLOCKS;
use crate::format::location::Location;
use crate::format::slot::Slot;
use crate::format::state::{Applied, Geometry, STATE_WORDS, State};
use crate::sys::sync::AtomicU64;
use crate::table::heap::Heap;
use crate::table::pages::{self, bits, snapshot, view};
use crate::table::walk::find_page;

/// A table and its state. The hash of a key is its row, and its location the row plus one.
struct Table {
    heap: Heap,
    head: Vec<AtomicU64>,
}

impl Table {
    /// One key in each of so many pages.
    fn new(filled: u32, pages: usize) -> Table {
        let geometry = Geometry::new(1, 1);
        let heap = Heap::new(geometry, 1, 0, pages);
        let head: Vec<_> = (0..BLOCKS[1] + STATE_WORDS).map(|_| AtomicU64::new(0)).collect();
        let table = Table { heap, head };
        let mut state = State::empty(geometry);
        for _ in 0..filled {
            table.open(&mut state);
        }
        table.flip(&state);
        table
    }

    /// Opens a page and stores a key there; the page.
    fn open(&self, state: &mut State) -> u32 {
        let page = pages::next_number(state);
        pages::add(&self.heap, state, page, 1000 + state.next_row);
        let (entry, row) = (page * PAGE_ENTRIES as u32, state.next_row);
        let slot = Slot::new(row, Location::from_bits(row + 1));
        let (access, deadline) = (Access::new(0, 0), Deadline::new(0, 0));
        pages::store(&self.heap, entry, slot, row, Some(access), deadline, true);
        state.next_row += 1;
        page
    }

    /// The words of the state that walks need; they fit two words here.
    fn flip(&self, state: &State) {
        let words = [u64::from(state.first_page), state.pages];
        let applied = state_block::applied(&self.head);
        state_block::flip(&self.head, applied, applied.location(), words);
    }

    fn state(&self) -> (Applied, State) {
        let (applied, [first_page, pages]) = state_block::read(&self.head);
        let state = State::empty(Geometry::new(1, 1));
        (applied, State { first_page: first_page as u32, pages, ..state })
    }

    /// The rows of the page where a walk goes on at `row`, as a walk reads them.
    fn rows(&self, row: u64) -> Option<Vec<u64>> {
        let page = find_page(&self.heap, || self.state(), row)?;
        let rows = bits(page.bitmap)
            .filter_map(|index| view(&self.heap, page.number * PAGE_ENTRIES as u32 + index))
            .filter(|view| !view.slot.is_empty())
            .map(|view| view.slot.location().bits() - 1)
            .collect();
        page.is_current(&self.heap).then_some(rows)
    }
}

fn beside(
    switches: usize,
    filled: u32,
    pages: usize,
    writer: fn(&Table, &mut State),
    reader: fn(&Table),
) {
    check_to(switches, move || {
        let table = Arc::new(Table::new(filled, pages));
        let mut state = table.state().1;
        state.last_page = filled;
        state.next_row = filled.into();
        state.listed_pages = filled.into();
        let reading = {
            let table = Arc::clone(&table);
            thread::spawn(move || reader(&table))
        };
        writer(&table, &mut state);
        reading.join().unwrap();
    });
}

/// A page is emptied, dropped and used again: what was read while it stayed current is of the life
/// in which it was entered.
#[test]
fn pages_that_are_used_again() {
    beside(
        3,
        2,
        2,
        |table, state| {
            pages::remove(&table.heap, 0);
            pages::drop_page(&table.heap, state, 0);
            table.flip(state);
            assert_eq!(table.open(state), 0);
            table.flip(state);
        },
        |table| {
            let Some(page) = snapshot(&table.heap, 0) else { return };
            let (old, new) = (page.first_row == 0, page.first_row == 2);
            assert!(old || new, "{}", page.first_row);
            assert!((page.life == 1000) == old);
            let Some(view) = view(&table.heap, 0) else { return };
            if page.bitmap == 1 && page.is_current(&table.heap) {
                let row = view.slot.location().bits();
                assert!((old && row <= 1) || (new && row == 3), "{row} in {}", page.first_row);
            }
        },
    );
}

/// The first page is dropped: a walk finds the next one, whatever the writer is doing.
#[test]
fn a_first_page_that_is_dropped() {
    beside(
        3,
        2,
        2,
        |table, state| {
            pages::remove(&table.heap, 0);
            pages::drop_page(&table.heap, state, 0);
            table.flip(state);
        },
        |table| {
            let page = find_page(&table.heap, || table.state(), 1);
            assert_eq!(page.map(|page| page.number), Some(1));
        },
    );
}

fn merge(table: &Table, state: &mut State) {
    pages::merge(&table.heap, state, (0, 1), 3, 2000);
}

/// A walk that goes on at row 1 finds it in its old page or in the new one.
fn find_row_1(table: &Table) {
    if let Some(rows) = table.rows(1) {
        assert!(rows == [1] || rows == [0, 1], "{rows:?}");
    }
}

/// The first two pages are merged.
#[test]
fn first_pages_that_are_merged() {
    let writer = |table: &Table, state: &mut State| {
        merge(table, state);
        table.flip(state);
    };
    beside(2, 3, 4, writer, find_row_1);
}

/// The same, cut short before the state was stored, and done again: the page that holds both keys
/// is never seen with fewer.
#[test]
fn first_pages_that_are_merged_again() {
    let writer = |table: &Table, state: &mut State| {
        merge(table, &mut state.clone());
        merge(table, state);
    };
    beside(2, 3, 4, writer, |table| {
        let bitmap = snapshot(&table.heap, 3).map(|page| page.bitmap);
        assert!(bitmap.is_none_or(|bitmap| bitmap == 3), "{bitmap:?}");
    });
}

/// A page that was merged, with its entries still in it, is used again: who has not seen its life
/// end reads nothing of the next one, and in the end sees that it has begun.
#[test]
fn a_merged_page_that_is_used_again() {
    let writer = |table: &Table, state: &mut State| {
        merge(table, state);
        assert_eq!(table.open(state), 1);
        pages::set_first_row(&table.heap, PAGE_ENTRIES as u32, 4);
        pages::remove(&table.heap, PAGE_ENTRIES as u32);
    };
    beside(2, 3, 4, writer, |table| {
        let Some(page) = snapshot(&table.heap, 1).filter(|page| page.life == 1001) else { return };
        assert_eq!((page.bitmap, page.first_row), (1, 1));
        let view = view(&table.heap, PAGE_ENTRIES as u32).unwrap();
        if page.is_current(&table.heap) {
            assert_eq!((view.slot.location().bits(), view.hash), (2, 1));
        }
    });
}

/// The same: once the new state is seen, nobody takes an old page for current. From here on its
/// entries grow stale.
#[test]
fn merged_pages_are_over() {
    let writer = |table: &Table, state: &mut State| {
        merge(table, state);
        table.flip(state);
    };
    beside(2, 3, 4, writer, |table| {
        if table.state().1.first_page == 4 {
            assert!(snapshot(&table.heap, 0).is_none() && snapshot(&table.heap, 1).is_none());
        }
    });
}
