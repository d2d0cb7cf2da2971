//! Pages of entries in plain memory.

use std::cell::Cell;

use crate::format::entry::{
    Access, BITMAP, Deadline, FIRST_ROW, FREE_NEXT, LIFE, MIN_EXPIRY, PAGE_ENTRIES, TAG_FILTER,
    filter_bit,
};
use crate::format::location::{Location, Segment};
use crate::format::slot::Slot;
use crate::format::state::{Geometry, State};
use crate::sys::sync::{AtomicU64, Ordering};
use crate::table::heap::Heap;
use crate::table::pages::{
    add, bits, drop_page, entry, hash_if_current, is_unchanged, life, links, live, merge,
    next_number, remove, set_first_row, set_slot, snapshot, store, tighten, view,
};
use crate::table::publish::{find, insert};
use crate::table::{Line, Space};

const PAGE: u32 = PAGE_ENTRIES as u32;

fn hash(key: u64) -> u64 {
    key << 56 | key
}

fn place(key: u64) -> Location {
    Location::from_bits(key + 8)
}

fn slot(key: u64) -> Slot {
    Slot::new(hash(key), place(key))
}

fn access(key: u64) -> Access {
    Access::new(1000 + key, key as u16)
}

/// Key 7 expires at 700, with tag 7.
fn deadline(key: u64) -> Deadline {
    Deadline::new(100 * key, key as u16)
}

fn put(table: &Heap, entry: u32, key: u64) {
    store(table, entry, slot(key), hash(key), Some(access(key)), deadline(key), true);
}

/// A table with room for six pages, of which so many have been added, in rows 10, 20, ...
fn table(added: u32) -> (Heap, State) {
    let geometry = Geometry::new(1, 1);
    let (table, mut state) = (Heap::new(geometry, 1, 0, 6), State::empty(geometry));
    for number in 0..added {
        open(&table, &mut state, number);
    }
    (table, state)
}

fn open(table: &Heap, state: &mut State, number: u32) {
    state.next_row += 10;
    state.last_fill = 9;
    add(table, state, number, 1000 + state.next_row);
}

fn word(table: &Heap, page: u32, word: usize) -> u64 {
    table.page(page).unwrap()[word].load(Ordering::Relaxed)
}

/// Pages of the list, which must be the same in both directions.
fn list(table: &Heap, state: &State) -> Vec<u32> {
    let walk = |first: u32, next: fn((u32, u32)) -> u32| {
        let step = |page: &u32| next(links(table.page(*page).unwrap())).checked_sub(1);
        std::iter::successors(first.checked_sub(1), step).take(99).collect::<Vec<_>>()
    };
    let (forth, mut back) = (walk(state.first_page, |it| it.0), walk(state.last_page, |it| it.1));
    back.reverse();
    assert_eq!(forth, back);
    assert_eq!(state.listed_pages, forth.len() as u64);
    forth
}

fn free(table: &Heap, state: &State) -> Vec<u32> {
    let step = |page: &u32| (word(table, *page, FREE_NEXT) as u32).checked_sub(1);
    std::iter::successors(state.free_page.checked_sub(1), step).take(99).collect()
}

#[test]
fn an_entry_comes_back_and_is_nobody_elses() {
    let (table, _) = table(2);
    for number in 0..2 * PAGE {
        put(&table, number, u64::from(number));
    }
    for number in 0..2 * PAGE {
        let (key, found) = (u64::from(number), view(&table, number).unwrap());
        assert_eq!((found.number, found.slot, found.hash), (number, slot(key), hash(key)));
        assert_eq!((found.access, found.deadline), (access(key), deadline(key)));
    }
    let words = entry(&table, 70).unwrap();
    assert_eq!(hash_if_current(words, place(70)), Some(hash(70)));
    assert_eq!(hash_if_current(words, place(71)), None);
    assert!(entry(&table, 6 * PAGE - 1).is_some());
    assert!(entry(&table, 6 * PAGE).is_none() && view(&table, 6 * PAGE).is_none());
}

#[test]
fn a_new_entry_is_in_the_bitmap_until_it_is_removed() {
    let (table, _) = table(2);
    for number in [0, 1, 63, 64, 66] {
        put(&table, number, 1);
    }
    assert_eq!((word(&table, 0, BITMAP), word(&table, 1, BITMAP)), (1 << 63 | 3, 5));
    let numbers: Vec<_> = live(&table, 1).map(|it| it.number).collect();
    assert_eq!(numbers, [64, 66]);
    let before = view(&table, 1).unwrap();
    assert!(is_unchanged(&table, &before));
    remove(&table, 1);
    assert_eq!((word(&table, 0, BITMAP), word(&table, 1, BITMAP)), (1 << 63 | 1, 5));
    let after = view(&table, 1).unwrap();
    assert_eq!((after.slot, after.hash), (Slot::EMPTY, hash(1)), "the hash stays");
    assert!(!is_unchanged(&table, &before));
    store(&table, 1, slot(1), hash(1), None, deadline(1), false);
    assert_eq!(word(&table, 0, BITMAP), 1 << 63 | 1, "only new entries are marked");
}

#[test]
fn what_is_stored_again_keeps_its_access_if_none_is_given() {
    let (table, _) = table(1);
    put(&table, 3, 5);
    store(&table, 3, slot(6), hash(6), None, deadline(6), false);
    let found = view(&table, 3).unwrap();
    assert_eq!((found.slot, found.hash), (slot(6), hash(6)));
    assert_eq!((found.access, found.deadline), (access(5), deadline(6)));
    set_slot(&table, 3, slot(9).pending());
    let found = view(&table, 3).unwrap();
    assert_eq!((found.slot, found.hash), (slot(9).pending(), hash(6)));
}

#[test]
fn the_bounds_of_a_page_widen_with_what_is_stored() {
    let (table, _) = table(1);
    let bounds = || (word(&table, 0, MIN_EXPIRY), word(&table, 0, TAG_FILTER));
    assert_eq!(bounds(), (u64::MAX, 0));
    for (key, least) in [(5, 500), (3, 300), (4, 300)] {
        put(&table, key as u32, key);
        assert_eq!(bounds().0, least);
    }
    assert_eq!(bounds().1, filter_bit(5) | filter_bit(3) | filter_bit(4));
    // Another deadline counts in an old entry; the old one counts in a new entry only.
    let page = table.page(0).unwrap();
    let reset =
        || [MIN_EXPIRY, TAG_FILTER].map(|at| page[at].store(u64::MAX << 32, Ordering::Relaxed));
    let again = |key, is_new| store(&table, 5, slot(5), hash(5), None, deadline(key), is_new);
    reset();
    again(5, false);
    assert_eq!(bounds(), (u64::MAX << 32, u64::MAX << 32));
    again(5, true);
    assert_eq!(bounds(), (500, u64::MAX << 32 | filter_bit(5)));
    reset();
    again(6, false);
    assert_eq!(bounds(), (600, u64::MAX << 32 | filter_bit(6)));
}

#[test]
fn tightening_finds_the_least_expiry() {
    let (table, _) = table(2);
    for key in [5, 3, 4] {
        put(&table, PAGE + key as u32, key);
    }
    remove(&table, PAGE + 3);
    tighten(&table, 1);
    assert_eq!(word(&table, 1, MIN_EXPIRY), 400);
    for key in [5, 4] {
        remove(&table, PAGE + key);
    }
    tighten(&table, 1);
    assert_eq!(word(&table, 1, MIN_EXPIRY), u64::MAX);
}

#[test]
fn bits_come_lowest_first() {
    assert_eq!(bits(1 << 63 | 0b1001).collect::<Vec<_>>(), [0, 3, 63]);
    assert_eq!(bits(u64::MAX).count(), 64);
}

#[test]
fn pages_are_added_at_the_end() {
    let (table, state) = table(3);
    assert_eq!(list(&table, &state), [0, 1, 2]);
    assert_eq!((state.pages, state.last_fill, next_number(&state)), (3, 0, 3));
    let pages = [0, 1, 2].map(|page| snapshot(&table, page).unwrap());
    assert_eq!(pages.each_ref().map(|page| page.first_row), [10, 20, 30]);
    assert_eq!(pages.each_ref().map(|page| page.life), [1010, 1020, 1030]);
    assert_eq!(pages.each_ref().map(|page| (page.next, page.previous)), [(2, 0), (3, 1), (0, 2)]);
    assert!(pages.iter().all(|page| page.bitmap == 0 && page.min_expiry_ms == u64::MAX));
}

#[test]
fn pages_that_were_dropped_are_used_again_last_first() {
    let (table, mut state) = table(4);
    put(&table, 2 * PAGE, 7);
    for (page, listed, unused) in [
        (1, &[0, 2, 3][..], &[1][..]),
        (0, &[2, 3], &[0, 1]),
        (3, &[2], &[3, 0, 1]),
        (2, &[], &[2, 3, 0, 1]),
    ] {
        drop_page(&table, &mut state, page);
        assert_eq!((list(&table, &state), free(&table, &state)), (listed.into(), unused.into()));
        assert!(snapshot(&table, page).is_none());
        assert_eq!(next_number(&state), page);
    }
    assert_eq!((state.first_page, state.last_page, state.pages), (0, 0, 4));
    open(&table, &mut state, 2);
    assert_eq!((list(&table, &state), free(&table, &state)), (vec![2], vec![3, 0, 1]));
    let page = snapshot(&table, 2).unwrap();
    assert_eq!((page.bitmap, page.min_expiry_ms, page.tag_filter), (0, u64::MAX, 0));
    assert_eq!((page.first_row, state.pages), (50, 4));
}

/// Two entries each in pages 0 to 3; those of pages 1 and 2 are in a bucket too.
fn filled() -> (Heap, State) {
    let (table, state) = table(4);
    for (key, number) in
        [1, 9, PAGE, 2 * PAGE - 1, 2 * PAGE + 4, 2 * PAGE + 5, 3 * PAGE, 3 * PAGE + 1]
            .into_iter()
            .enumerate()
    {
        put(&table, number, 8 - key as u64);
        if (2..6).contains(&key) {
            assert!(insert(&table, table.bucket(0).unwrap(), slot(8 - key as u64), number));
        }
    }
    (table, state)
}

#[test]
fn a_merged_page_has_the_entries_of_both_in_order() {
    let (table, mut state) = filled();
    merge(&table, &mut state, (1, 2), 4, 77);
    assert_eq!((list(&table, &state), free(&table, &state)), (vec![0, 4, 3], vec![2, 1]));
    assert_eq!((state.pages, next_number(&state)), (5, 2));
    let page = snapshot(&table, 4).unwrap();
    assert_eq!((page.life, page.bitmap, page.first_row), (77, 0b1111, 20));
    assert_eq!(page.min_expiry_ms, 300);
    let found: Vec<_> =
        live(&table, 4).map(|it| (it.number, it.slot, it.hash, it.access, it.deadline)).collect();
    let expected = [6, 5, 4, 3].into_iter().zip(4 * PAGE..);
    let expected: Vec<_> = expected
        .map(|(key, number)| (number, slot(key), hash(key), access(key), deadline(key)))
        .collect();
    assert_eq!(found, expected);
    for (number, slot, hash, ..) in found {
        assert_eq!(find(&table, 1, hash, slot.location()).unwrap().entry(), number);
    }
    // Who is still in the left page finds what took its place.
    assert_eq!(links(table.page(1).unwrap()).0, 5);
    assert!(snapshot(&table, 1).is_none() && snapshot(&table, 2).is_none());
    merge(&table, &mut state, (0, 4), 2, 78);
    assert_eq!((list(&table, &state), free(&table, &state)), (vec![2, 3], vec![4, 0, 1]));
    assert_eq!(snapshot(&table, 2).unwrap().bitmap, 0b11_1111);
}

#[test]
fn a_job_that_is_cut_short_and_done_again_is_whole() {
    let jobs: [fn(&Heap, &mut State); 3] = [
        |table, state| add(table, state, next_number(state), 77),
        |table, state| drop_page(table, state, 1),
        |table, state| merge(table, state, (1, 2), next_number(state), 77),
    ];
    for job in jobs {
        let (table, state) = filled();
        let run = |table: &Heap| {
            let mut state = state;
            job(table, &mut state);
            (state, list(table, &state), free(table, &state))
        };
        let (table, (state, ..)) = table.cut_anywhere(run, |_| ());
        let number = next_number(&state);
        let run = |table: &Heap| {
            let mut state = state;
            add(table, &mut state, number, 99);
            put(table, number * PAGE, 60);
            (state, list(table, &state), free(table, &state))
        };
        table.cut_anywhere(run, |_| ());
    }
}

#[test]
fn a_life_that_has_begun_is_not_prepared_again() {
    let (table, state) = table(1);
    let mut after = state;
    add(&table, &mut after, 1, 77);
    put(&table, PAGE, 1);
    add(&table, &mut { state }, 1, 77);
    assert_eq!(word(&table, 1, BITMAP), 1);
    add(&table, &mut { state }, 1, 78);
    assert_eq!((word(&table, 1, BITMAP), word(&table, 1, LIFE)), (0, 78));
}

#[test]
fn lives_differ_by_place_and_by_generation() {
    let at = Location::new(Segment::new(3), 40);
    let of = |generation| State::empty(Geometry::new(generation, 64));
    assert_eq!(life(&of(0), at), at.bits());
    assert_eq!(life(&of(0x2_0005), at), at.bits() | 5 << 48);
}

#[test]
fn the_first_entry_of_a_page_gives_it_its_row() {
    let (table, _) = table(2);
    set_first_row(&table, PAGE + 1, 500);
    assert_eq!((word(&table, 0, FIRST_ROW), word(&table, 1, FIRST_ROW)), (10, 20));
    set_first_row(&table, PAGE, 600);
    assert_eq!((word(&table, 0, FIRST_ROW), word(&table, 1, FIRST_ROW)), (10, 600));
}

/// A table in which page 0 begins another life when it is asked for the second time.
struct Restless(Heap, Cell<u32>);

impl Space for Restless {
    fn geometry(&self) -> &AtomicU64 {
        self.0.geometry()
    }

    fn moves(&self) -> &AtomicU64 {
        self.0.moves()
    }

    fn bucket(&self, number: u64) -> Option<&Line> {
        self.0.bucket(number)
    }

    fn overflow(&self, number: u32) -> Option<&Line> {
        self.0.overflow(number)
    }

    fn page(&self, number: u32) -> Option<&[AtomicU64]> {
        let page = self.0.page(number)?;
        self.1.set(self.1.get() + 1);
        if self.1.get() == 2 {
            page[LIFE].store(55, Ordering::Relaxed);
        }
        Some(page)
    }

    fn pages_there(&self) -> u64 {
        self.0.pages_there()
    }
}

#[test]
fn a_page_whose_life_ends_meanwhile_is_not_seen() {
    let (table, _) = table(1);
    let restless = Restless(table, Cell::new(0));
    assert!(snapshot(&restless, 0).is_none());
    let page = snapshot(&restless, 0).unwrap();
    assert!(page.life == 55 && page.is_current(&restless));
    restless.0.page(0).unwrap()[LIFE].store(56, Ordering::Relaxed);
    assert!(!page.is_current(&restless));
}
