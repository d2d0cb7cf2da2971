//! A reader beside the split of a bucket.

use std::sync::Arc;

use super::check;
use super::log::{buckets, hash};
use super::threads::thread;
use crate::format::entry::{Access, Deadline};
use crate::format::location::Location;
use crate::format::slot::{Slot, bucket_of};
use crate::format::state::Geometry;
use crate::sys::sync::Ordering;
use crate::table::heap::Heap;
use crate::table::lookup::{Verdict, lookup};
use crate::table::{Space, pages, publish, split};

/// In one bucket, odd keys move to the second when it is split.
fn table(keys: &[u8]) -> Heap {
    let table = Heap::new(Geometry::new(1, 1), 2, 3, 1);
    for (entry, key) in keys.iter().enumerate() {
        if entry == 5 {
            publish::spill(&table, 0, 0);
        }
        add(&table, *key, entry as u32);
    }
    table
}

fn place(key: u8) -> Location {
    Location::from_bits(u64::from(key) + 1)
}

fn add(table: &Heap, key: u8, entry: u32) {
    let slot = Slot::new(hash(key), place(key));
    let (access, deadline) = (Access::new(0, 0), Deadline::new(0, 0));
    pages::store(table, entry, slot, hash(key), Some(access), deadline, true);
    let first = table.bucket(bucket_of(hash(key), buckets(table))).unwrap();
    assert!(publish::insert(table, first, slot, entry));
}

fn finds(table: &Heap, key: u8) -> bool {
    let found = lookup(table, hash(key), |candidate| {
        if candidate.slot.location() == place(key) { Verdict::Found(()) } else { Verdict::Other }
    });
    found.is_some()
}

fn beside(keys: &'static [u8], writer: fn(&Heap), reader: fn(&Heap)) {
    check(move || {
        let table = Arc::new(table(keys));
        let reading = {
            let table = Arc::clone(&table);
            thread::spawn(move || reader(&table))
        };
        writer(&table);
        reading.join().unwrap();
        reader(&table);
    });
}

fn split_once(table: &Heap) {
    split::split(table, Geometry::new(1, 1), 1);
}

/// A key that moves and a key that stays are both found.
#[test]
fn split_of_a_bucket() {
    beside(&[1, 2], split_once, |table| {
        assert!(finds(table, 1));
        assert!(finds(table, 2));
    });
}

/// The same where the chains have overflow buckets, before and after.
#[test]
fn split_of_a_chain() {
    beside(&[1, 3, 5, 7, 9, 11], split_once, |table| assert!(finds(table, 11)));
    beside(&[2, 4, 6, 8, 10, 1], split_once, |table| assert!(finds(table, 1)));
}

/// A bucket that is linked is empty, whatever it held before.
#[test]
fn linking_a_bucket() {
    check(|| {
        let table = Arc::new(table(&[2, 4]));
        table.overflow(0).unwrap()[0].store(Slot::new(hash(6), place(6)).0, Ordering::Relaxed);
        let reading = {
            let table = Arc::clone(&table);
            thread::spawn(move || assert!(!finds(&table, 6)))
        };
        publish::spill(&*table, 0, 0);
        reading.join().unwrap();
    });
}

/// The slot that a moved key left is given to another key at once.
#[test]
fn split_and_then_other_keys() {
    beside(
        &[1, 2],
        |table| {
            split_once(table);
            if let Some(place) = publish::find(table, 2, hash(2), place(2)) {
                place.publish(Slot::EMPTY);
            }
            add(table, 4, 2);
            add(table, 6, 3);
        },
        |table| assert!(finds(table, 1)),
    );
}

/// A split that is cut short after any of its stores and done again: simulated by doing it twice.
#[test]
fn split_done_again() {
    beside(
        &[1, 2],
        |table| {
            split_once(table);
            split_once(table);
        },
        |table| assert!(finds(table, 1)),
    );
}
