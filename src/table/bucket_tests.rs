//! Buckets in plain memory: what is found in them, and what is put there.

use crate::format::location::Location;
use crate::format::slot::{SLOTS, Slot};
use crate::format::state::Geometry;
use crate::sys::sync::Ordering;
use crate::table::heap::Heap;
use crate::table::lookup::{MAX_CHAIN, Verdict, chain, entry_of, link_of, lookup};
use crate::table::publish::{count_move, find, has_vacancies, insert, spill, vacancy};
use crate::table::{Line, Space};

fn hash(key: u64) -> u64 {
    key << 56 | key
}

fn place(key: u64) -> Location {
    Location::from_bits(key + 8)
}

fn slot(key: u64) -> Slot {
    Slot::new(hash(key), place(key))
}

/// One bucket, which holds keys 1 to `keys` with ten times as large entry numbers.
fn table(keys: u64) -> Heap {
    let table = Heap::new(Geometry::new(1, 1), 1, 3, 0);
    for key in 1..=keys {
        if key % SLOTS as u64 == 1 && key > 1 {
            spill(&table, 0, (key / SLOTS as u64 - 1) as u32);
        }
        assert!(put(&table, key, 10 * key as u32));
    }
    table
}

fn put(table: &Heap, key: u64, entry: u32) -> bool {
    insert(table, first(table), slot(key), entry)
}

fn first(table: &Heap) -> &Line {
    table.bucket(0).unwrap()
}

/// What is in each slot of the chain: a key and its entry number.
fn contents(table: &Heap) -> Vec<Option<(u64, u32)>> {
    let slots = chain(table, 0).flat_map(|line| (0..SLOTS).map(move |index| (line, index)));
    let seen = slots.map(|(line, index)| {
        let slot = Slot(line[index].load(Ordering::Relaxed));
        (!slot.is_empty()).then(|| (slot.location().bits() - 8, entry_of(line, index)))
    });
    seen.collect()
}

/// In which passes `look` was asked for key 1, when `meddle` goes between after the first time.
fn passes(table: &Heap, verdict: fn() -> Verdict<()>, meddle: impl Fn()) -> Vec<usize> {
    let mut passes = Vec::new();
    let found = lookup(table, hash(1), |candidate| {
        passes.push(candidate.pass);
        if passes.len() > 1 {
            return Verdict::Other;
        }
        meddle();
        verdict()
    });
    assert!(found.is_none());
    passes
}

#[test]
fn a_lookup_asks_about_the_slots_of_the_hash_only() {
    let table = table(7);
    for key in 1..=7 {
        let mut asked = 0;
        let found = lookup(&table, hash(key), |candidate| {
            asked += 1;
            assert!(candidate.is_unchanged());
            let place = candidate.place();
            assert_eq!((place.slot(), place.entry()), (candidate.slot, candidate.entry()));
            Verdict::Found((candidate.slot, candidate.entry()))
        });
        assert_eq!((found, asked), (Some((slot(key), 10 * key as u32)), 1));
    }
    assert!(lookup(&table, hash(8), |_| Verdict::Found(())).is_none());
}

#[test]
fn a_lookup_looks_again_if_something_may_have_moved() {
    let table = table(3);
    let nothing = || ();
    assert_eq!(passes(&table, || Verdict::Other, nothing), [0]);
    assert_eq!(passes(&table, || Verdict::Again, nothing), [0, 1]);
    assert_eq!(passes(&table, || Verdict::Other, || count_move(&table)), [0, 1]);
    assert_eq!(table.moves().load(Ordering::Relaxed), 1);
    let next = || table.geometry().store(Geometry::new(2, 1).0, Ordering::Relaxed);
    assert_eq!(passes(&table, || Verdict::Other, next), [0, 1]);
}

#[test]
fn a_candidate_whose_slot_is_stored_again_has_changed() {
    let table = table(1);
    let changed = lookup(&table, hash(1), |candidate| {
        let before = candidate.is_unchanged();
        candidate.place().publish(slot(2));
        Verdict::Found((before, candidate.is_unchanged()))
    });
    assert_eq!(changed, Some((true, false)));
}

#[test]
fn a_slot_is_filled_once_and_then_replaced() {
    let table = table(2);
    assert!(put(&table, 1, 11));
    assert_eq!(contents(&table), [Some((1, 11)), Some((2, 20)), None, None, None]);
}

#[test]
fn a_full_chain_takes_nothing_more_and_gives_nothing_up() {
    let table = table(5);
    let full = contents(&table);
    assert!(!put(&table, 6, 60));
    assert_eq!(contents(&table), full);
    assert!(vacancy(&table, 0).is_none());
    spill(&table, 0, 2);
    assert!(put(&table, 6, 60));
    // Where there is room before it, it stays where it is.
    find(&table, 1, hash(2), place(2)).unwrap().publish(Slot::EMPTY);
    assert!(put(&table, 6, 61));
    let after = contents(&table);
    assert_eq!((after[0], after[1], after[5], after[6]), (full[0], None, Some((6, 61)), None));
}

#[test]
fn what_is_found_has_the_location_that_was_asked_for() {
    let table = table(6);
    for key in 1..=6 {
        let found = find(&table, 1, hash(key), place(key)).unwrap();
        assert_eq!((found.slot(), found.entry()), (slot(key), 10 * key as u32));
        assert!(found.holds(place(key)) && !found.holds(place(key + 1)));
    }
    assert!(find(&table, 1, hash(7), place(7)).is_none());
    assert!(find(&table, 1, hash(0), Location::NONE).is_none(), "an empty slot is no record");
}

#[test]
fn a_vacancy_is_the_first_empty_slot_of_the_chain() {
    let table = table(7);
    vacancy(&table, 0).unwrap().fill(slot(8), 80);
    assert_eq!(contents(&table)[7], Some((8, 80)));
    find(&table, 1, hash(3), place(3)).unwrap().publish(Slot::EMPTY);
    vacancy(&table, 0).unwrap().fill(slot(9), 90);
    assert_eq!(contents(&table)[2], Some((9, 90)));
}

#[test]
fn vacancies_are_counted_over_the_whole_chain() {
    let table = table(7);
    find(&table, 1, hash(3), place(3)).unwrap().publish(Slot::EMPTY);
    for count in 0..=4 {
        assert!(has_vacancies(&table, 0, count), "{count}");
    }
    assert!(!has_vacancies(&table, 0, 5));
    assert!(has_vacancies(&table, 77, 0) && !has_vacancies(&table, 77, 1), "no such bucket");
}

#[test]
fn an_overflow_bucket_is_linked_once_and_empty() {
    let table = table(5);
    table.overflow(2).unwrap().iter().for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
    spill(&table, 0, 2);
    assert_eq!(contents(&table)[5..], [None; SLOTS]);
    assert!(put(&table, 6, 60));
    let linked = table.words();
    spill(&table, 0, 2);
    assert!(table.words() == linked, "linked again");
    spill(&table, 0, 3);
    assert!(table.words() == linked, "there is no such bucket");
    spill(&table, 0, 0);
    let links: Vec<_> = chain(&table, 0).map(link_of).collect();
    assert_eq!(links, [Some(2), Some(0), None]);
}

#[test]
fn entry_numbers_and_the_link_share_words_and_nothing_else() {
    let table = table(5);
    spill(&table, 0, 1);
    for key in 1..=5 {
        find(&table, 1, hash(key), place(key)).unwrap().set_entry(u32::MAX - key as u32);
    }
    for key in (1..=5).rev() {
        let line = first(&table);
        assert_eq!(entry_of(line, key as usize - 1), u32::MAX - key as u32);
        find(&table, 1, hash(key), place(key)).unwrap().set_entry(key as u32);
    }
    let expected: Vec<_> = (1..=5).map(|key| Some((key, key as u32))).collect();
    assert_eq!(contents(&table)[..5], expected);
    assert_eq!(link_of(first(&table)), Some(1));
}

#[test]
fn a_chain_that_leads_in_a_circle_ends() {
    let table = table(11);
    let last = table.overflow(1).unwrap();
    let link = 1_u64 << 32;
    last[7].store(last[7].load(Ordering::Relaxed) & 0xffff_ffff | link, Ordering::Relaxed);
    assert_eq!(link_of(last), Some(0));
    assert_eq!(chain(&table, 0).count(), MAX_CHAIN);
    assert!(lookup(&table, hash(12), |_| Verdict::Found(())).is_none());
}
