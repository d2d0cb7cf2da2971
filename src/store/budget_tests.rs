//! One limit over several stores: who looks when, and who is to give.

use std::sync::Arc;

use tempfile::TempDir;

use super::stress_tests::{PATIENCE, open, put, put_in, remove};
use crate::format::settings::Settings;
use crate::store::budget::{Budget, Demand, Place};
use crate::store::space::{footprint, segment_units};
use crate::store::writer::PutValue;
use crate::store::{Store, Writer};

/// Stores that share a limit.
fn sharing(count: usize, size_limit: u64) -> (Vec<TempDir>, Vec<Store>) {
    let dirs: Vec<_> = (0..count).map(|_| tempfile::tempdir().unwrap()).collect();
    let stores: Vec<_> = dirs.iter().map(|dir| open(dir.path(), size_limit)).collect();
    for store in &stores {
        let settings = Settings { shards: count as u16, ..store.settings() };
        store.write(PATIENCE, |writer| writer.set_settings(&settings)).unwrap();
    }
    (dirs, stores)
}

fn places(stores: &[Store]) -> Vec<Place> {
    let budget = Arc::new(Budget::new(stores.to_vec()));
    (0..stores.len()).map(|index| Place { budget: Arc::clone(&budget), index }).collect()
}

fn taken(store: &Store) -> u64 {
    footprint(store.shared(), &store.state(), &store.settings())
}

/// Looks at how the limit stands, and notes that it has.
fn look(store: &Store, place: &Place, no_more: bool) {
    let work = |writer: &mut Writer<'_>| {
        let demand = writer.demand_now(Some(place));
        writer.settle_demand(place, &demand, no_more);
        Ok(())
    };
    store.write(PATIENCE, work).unwrap();
}

fn is_look_due(store: &Store, place: &Place) -> bool {
    store.write(PATIENCE, |writer| Ok(writer.demand(Some(place)).is_some())).unwrap()
}

/// What a store says of the limit: over it, and the one to give.
fn stands(store: &Store, place: &Place) -> (bool, bool) {
    let work = |writer: &mut Writer<'_>| {
        let demand: Demand = writer.demand_now(Some(place));
        Ok((demand.is_over(writer), demand.is_due_here(writer)))
    };
    store.write(PATIENCE, work).unwrap()
}

#[test]
fn a_store_looks_at_the_others_when_it_has_grown_by_a_quarter_of_a_segment() {
    for (limit, least) in [(1 << 30, 16 * 1024), (1 << 20, 4 * 1024)] {
        let (_dirs, stores) = sharing(2, limit);
        let (store, place) = (&stores[0], &places(&stores)[0]);
        assert!(is_look_due(store, place), "it never has");
        (0..5).for_each(|key| put(store, key, b"v"));
        for _ in 0..3 {
            look(store, place, false);
            assert!(!is_look_due(store, place), "it just has");
            let (before, mut last) = (store.shared().head.tail(), 0);
            while !is_look_due(store, place) {
                put(store, 1, &[7; 300]);
                let now = store.shared().head.tail();
                if now.segment() != before.segment() {
                    assert!(is_look_due(store, place), "another segment");
                    break;
                }
                let grown = 8 * (now.unit() - before.unit());
                assert_eq!(is_look_due(store, place), grown >= least, "grown by {grown}");
                last = grown;
            }
            assert!(last < least + 500, "grown by {last}");
        }
        look(store, place, false);
        let staged = store.stage_bytes(&[8; 100], PATIENCE).unwrap();
        let work =
            |writer: &mut Writer<'_>| put_in(store, writer, b"file", PutValue::Staged(staged));
        store.write(PATIENCE, work).unwrap();
        assert!(is_look_due(store, place), "a value file more");
    }
}

#[test]
fn the_fullest_is_the_first_and_gives_when_all_take_too_much() {
    let limit = 1 << 20;
    let (_dirs, stores) = sharing(3, limit);
    let places = places(&stores);
    let fill = |index: usize, keys| (0..keys).for_each(|key| put(&stores[index], key, &[7; 1000]));
    [(0, 50), (1, 450), (2, 100)].into_iter().for_each(|(index, keys)| fill(index, keys));
    let all: Vec<_> = [1, 2, 0].map(|index| (index, taken(&stores[index]))).to_vec();
    assert_eq!(places[0].budget.fullest_first(), all);
    let segment = |index: usize| {
        let (state, settings) = (stores[index].state(), stores[index].settings());
        8 * segment_units(&state, &settings)
    };
    // More and more in the smallest, until together they are over.
    for key in 1000.. {
        let sum: u64 = stores.iter().map(taken).sum();
        for (index, (store, place)) in stores.iter().zip(&places).enumerate() {
            let is_over = sum > limit + segment(index);
            let is_due = is_over && taken(store) >= limit / 3;
            assert_eq!(stands(store, place), (is_over, is_due), "store {index}, {sum} bytes");
        }
        if sum > limit + 200_000 {
            break;
        }
        put(&stores[0], key, &[7; 1000]);
    }
    assert_eq!(places[0].budget.fullest_first()[0].0, 1);
}

#[test]
fn the_others_are_asked_by_who_is_over_and_has_no_more() {
    let (_dirs, stores) = sharing(2, 1 << 20);
    let places = places(&stores);
    let asked = |index: usize, no_more| {
        look(&stores[index], &places[index], no_more);
        (places[0].budget.asked(), places[0].budget.asked())
    };
    assert_eq!(asked(0, true), (None, None), "not over");
    (0..1500).for_each(|key| put(&stores[1], key, &[7; 1000]));
    assert_eq!(asked(0, false), (None, None), "it has more");
    assert_eq!(asked(0, true), (Some(0), None));
    assert_eq!(asked(1, true), (Some(1), None));
    (0..1500).for_each(|key| _ = remove(&stores[1], key));
    stores[1].compact(PATIENCE).unwrap();
    assert_eq!(asked(0, true), (None, None));
}
