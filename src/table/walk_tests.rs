//! Finding a page in lists that are sound, that change meanwhile, and that are damaged.

use std::cell::{Cell, RefCell};

use crate::format::entry::{FIRST_ROW, LIFE, LINKS};
use crate::format::location::Location;
use crate::format::state::{Applied, Geometry, State};
use crate::sys::sync::{AtomicU64, Ordering};
use crate::table::heap::Heap;
use crate::table::pages::{add, drop_page};
use crate::table::walk::find_page;
use crate::table::{Line, Space};

/// What is done before a look of this number.
type Meddle<'a> = Box<dyn Fn(usize, &Shared<'_>) + 'a>;

/// A table that somebody else works on: before each look at a page, and at the state.
struct Shared<'a> {
    heap: Heap,
    state: Cell<State>,
    applied: Cell<u64>,
    /// Whether the state names the last page.
    knows_last: Cell<bool>,
    looks: Cell<usize>,
    pages_there: Cell<u64>,
    meddle: RefCell<Meddle<'a>>,
}

impl Space for Shared<'_> {
    fn geometry(&self) -> &AtomicU64 {
        self.heap.geometry()
    }

    fn moves(&self) -> &AtomicU64 {
        self.heap.moves()
    }

    fn bucket(&self, number: u64) -> Option<&Line> {
        self.heap.bucket(number)
    }

    fn overflow(&self, number: u32) -> Option<&Line> {
        self.heap.overflow(number)
    }

    fn page(&self, number: u32) -> Option<&[AtomicU64]> {
        self.looked();
        self.heap.page(number)
    }

    fn pages_there(&self) -> u64 {
        self.pages_there.get()
    }
}

impl<'a> Shared<'a> {
    /// So many pages, which begin at rows 0, 10, 20, ...
    fn new(pages: u32) -> Shared<'a> {
        let geometry = Geometry::new(1, 1);
        let (heap, mut state) = (Heap::new(geometry, 1, 0, 130), State::empty(geometry));
        for number in 0..pages {
            add(&heap, &mut state, number, 1000 + u64::from(number));
            state.next_row += 10;
        }
        Shared {
            heap,
            state: Cell::new(state),
            applied: Cell::new(1),
            knows_last: Cell::new(false),
            looks: Cell::new(0),
            pages_there: Cell::new(128),
            meddle: RefCell::new(Box::new(|_, _| ())),
        }
    }

    fn meddle(self, meddle: impl Fn(usize, &Shared<'_>) + 'a) -> Shared<'a> {
        *self.meddle.borrow_mut() = Box::new(meddle);
        self
    }

    fn looked(&self) {
        self.looks.set(self.looks.get() + 1);
        (self.meddle.borrow())(self.looks.get(), self);
    }

    fn find(&self, row: u64) -> Option<u32> {
        self.looks.set(0);
        let state = || {
            self.looked();
            let at = Location::from_bits(self.applied.get());
            let mut state = self.state.get();
            state.last_page = if self.knows_last.get() { state.last_page } else { 0 };
            (Applied::new(at, 0), state)
        };
        find_page(self, state, row).map(|page| page.number)
    }

    fn word(&self, page: u32, word: usize) -> &AtomicU64 {
        &self.heap.page(page).unwrap()[word]
    }

    /// Makes a page follow another; both plus one.
    fn link(&self, page: u32, next: u32) {
        let word = self.word(page, LINKS);
        let previous = word.load(Ordering::Relaxed) & !0xffff_ffff;
        word.store(previous | u64::from(next), Ordering::Relaxed);
    }

    fn end(&self, page: u32) {
        self.word(page, LIFE).store(0, Ordering::Relaxed);
    }

    fn state(&self, change: impl Fn(&mut State)) {
        let mut state = self.state.get();
        change(&mut state);
        self.state.set(state);
    }
}

#[test]
fn a_row_is_in_the_last_page_that_begins_at_or_before_it() {
    let table = Shared::new(4);
    for (row, page) in [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (30, 3), (u64::MAX, 3)] {
        assert_eq!(table.find(row), Some(page), "row {row}");
    }
    assert_eq!(Shared::new(0).find(0), None);
    let mut state = table.state.get();
    drop_page(&table.heap, &mut state, 0);
    table.state.set(state);
    assert_eq!(table.find(0), Some(1), "the first page, if all begin after the row");
}

#[test]
fn a_long_list_is_walked_to_its_end() {
    let table = Shared::new(128);
    assert_eq!((table.find(1270), table.find(1265)), (Some(127), Some(126)));
    // With a first page that is dead there is one more.
    let mut state = table.state.get();
    drop_page(&table.heap, &mut state, 0);
    assert_eq!((table.find(0), table.find(1270)), (Some(1), Some(127)));
}

#[test]
fn a_list_that_leads_in_a_circle_ends() {
    let table = Shared::new(3);
    table.state(|state| state.pages = 1 << 18);
    table.link(2, 1);
    for pages_there in [3, 63, 64, 100] {
        table.pages_there.set(pages_there);
        assert!(table.find(1000).is_some());
        assert!(table.looks.get() < 1000, "{} looks", table.looks.get());
    }
    // As many as were counted are enough where these are few.
    let table = Shared::new(3);
    table.link(2, 1);
    assert!(table.find(1000).is_some());
    assert!(table.looks.get() < 30, "{} looks", table.looks.get());
}

#[test]
fn a_page_that_is_linked_and_not_yet_counted_is_passed_through_and_no_later_one() {
    let table = Shared::new(4);
    table.state(|state| state.pages = 3);
    assert_eq!(table.find(30), Some(3));
    table.state(|state| state.pages = 2);
    assert_eq!(table.find(30), Some(2));
}

/// Page 2 is dead, and linked.
fn without_page_two<'a>(meddle: impl Fn(usize, &Shared<'_>) + 'a) -> Shared<'a> {
    let table = Shared::new(4).meddle(meddle);
    table.end(2);
    table
}

#[test]
fn a_page_that_is_linked_and_not_there_is_looked_for_again_and_not_for_ever() {
    let table = without_page_two(|_, _| ());
    assert_eq!(table.find(30), Some(1));
    assert!((100..300).contains(&table.looks.get()), "{} looks", table.looks.get());
    // It is taken out after it was linked again, several times.
    let table = without_page_two(|look, table| {
        if look == 90 {
            table.word(2, LIFE).store(1002, Ordering::Relaxed);
        }
    });
    assert_eq!(table.find(30), Some(3));
    assert_eq!(without_page_two(|_, _| ()).find(5), Some(0), "rows before it do not need it");
}

#[test]
fn a_first_page_that_is_nowhere_is_an_end() {
    let table = Shared::new(4);
    table.state(|state| (state.first_page, state.pages) = (200, 1 << 20));
    assert_eq!(table.find(30), None);
    let table = Shared::new(4);
    table.end(0);
    table.link(0, 0);
    assert_eq!(table.find(30), None);
}

/// The page that was the first when the state was read is dropped before it is looked at, and the
/// state moves on while its link is followed.
#[test]
fn a_dead_first_page_leads_on_only_while_the_state_stays() {
    for moves_on in [false, true] {
        let table = Shared::new(4).meddle(|look, table| {
            if look == 2 {
                let mut state = table.state.get();
                drop_page(&table.heap, &mut state, 0);
                // Its link leads to a page that is no longer the next.
                if moves_on {
                    drop_page(&table.heap, &mut state, 1);
                    table.word(1, LIFE).store(5000, Ordering::Relaxed);
                    table.state.set(state);
                    table.applied.set(9);
                }
            }
        });
        assert_eq!(table.find(0), Some(if moves_on { 2 } else { 1 }));
    }
}

/// Page 1 leaves the list, or the page before it ends, after its link was read and before it is.
#[test]
fn a_page_that_is_no_longer_linked_when_it_is_read_is_not_believed() {
    for ends in [false, true] {
        let table = Shared::new(3).meddle(|look, table| {
            // The state, page 0 twice, the state, and now page 1.
            if look == 5 {
                if ends {
                    table.word(0, LIFE).store(7000, Ordering::Relaxed);
                } else {
                    table.link(0, 3);
                }
                table.word(1, 6).store(0, Ordering::Relaxed);
            }
            if look == 9 && ends {
                table.word(1, 6).store(10, Ordering::Relaxed);
            }
        });
        assert_eq!(table.find(5), Some(0), "{ends}");
    }
}

/// The first page is dropped, and becomes the last one, after the state was read and before it is.
#[test]
fn a_first_page_that_is_used_again_elsewhere_is_not_believed() {
    let table = Shared::new(4).meddle(|look, table| {
        if look == 2 {
            let mut state = table.state.get();
            drop_page(&table.heap, &mut state, 0);
            add(&table.heap, &mut state, 0, 2000);
            table.state.set(state);
            table.applied.set(9);
        }
    });
    assert_eq!(table.find(5), Some(1));
}

#[test]
fn the_last_page_is_found_at_once_unless_it_begins_too_late_or_is_another_by_now() {
    let table = Shared::new(100);
    table.knows_last.set(true);
    for (row, page) in [(990, 99), (u64::MAX, 99), (985, 98)] {
        assert_eq!(table.find(row), Some(page));
        assert_eq!(table.looks.get() < 10, page == 99, "{} looks", table.looks.get());
    }
    table.end(99);
    assert_eq!(table.find(995), Some(98), "what is before a last page that is damaged");
    let table = Shared::new(3).meddle(|look, table| {
        if look == 2 {
            let mut state = table.state.get();
            drop_page(&table.heap, &mut state, 2);
            add(&table.heap, &mut state, 3, 2000);
            add(&table.heap, &mut state, 2, 2001);
            state.next_row = 50;
            table.word(2, FIRST_ROW).store(40, Ordering::Relaxed);
            table.state.set(state);
            table.applied.set(9);
        }
    });
    table.knows_last.set(true);
    assert_eq!(table.find(35), Some(3));
}
