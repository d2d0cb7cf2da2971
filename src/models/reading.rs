//! A reader beside a writer: publishing, transactions, and places that are used again.

use std::sync::Arc;
use std::time::Duration;

use super::lock::{self, Kernel, Owner};
use super::log::{Store, after, at, beside};
use super::threads::thread;
use crate::format::location::Location;
use crate::format::record::Kind;
use crate::format::state::Geometry;
use crate::log::writer::begin_reuse;
use crate::sys::sync::AtomicU32;
use crate::table::heap::Heap;
use crate::table::pages;
use crate::table::publish::count_move;

const NONE: Location = Location::NONE;
const A: u8 = 2;
const B: u8 = 4;

fn put_a(store: &Store) {
    store.put(0, A, 10, NONE);
    store.publish(0, A, NONE, false);
}

fn put_both(store: &Store) {
    put_a(store);
    store.put(1, B, 10, NONE);
    store.publish(1, B, NONE, false);
}

/// An update and a new key: the old value or the new one, nothing or the new key; never damage,
/// and never back.
#[test]
fn publish() {
    beside(
        4,
        put_a,
        |store| {
            store.put(1, A, 11, at(0));
            store.publish(1, A, at(0), false);
            store.put(2, B, 20, NONE);
            store.publish(2, B, NONE, false);
        },
        |store| {
            let b = store.get(B);
            assert!(b.is_none() || b == Some(20), "{b:?}");
            let a = store.get(A);
            assert!(a == Some(11) || (a == Some(10) && b.is_none()), "{a:?} after {b:?}");
        },
    );
}

/// A key that goes, and another that gets its slot: a third that stays is always found.
#[test]
fn a_slot_that_changes_hands() {
    beside(
        4,
        put_both,
        |store| {
            store.settle(0, A, false);
            store.put(2, 6, 60, NONE);
            store.publish(2, 6, NONE, false);
        },
        |store| {
            let (gone, came) = (store.get(A), store.get(6));
            assert!(gone.is_none() || gone == Some(10), "{gone:?}");
            assert!(came.is_none() || came == Some(60), "{came:?}");
            assert_eq!(store.get(B), Some(10));
            assert!(came.is_none() || store.get(A).is_none());
        },
    );
}

fn transaction(store: &Store) {
    store.put(2, A, 11, at(0));
    store.put(3, B, 11, at(1));
    store.publish(2, A, at(0), true);
    store.publish(3, B, at(1), true);
    count_move(&store.table);
    store.flip(after(3));
    count_move(&store.table);
    store.settle(2, A, true);
    store.settle(3, B, true);
}

/// Two updates in one transaction: who has seen one of them sees the other.
#[test]
fn transaction_of_two_updates() {
    beside(5, put_both, transaction, |store| {
        let (first, second) = (store.get(B), store.get(A));
        assert!(matches!((first, second), (Some(10), Some(10 | 11)) | (Some(11), Some(11))));
    });
    beside(5, put_both, transaction, |store| {
        let (first, second) = (store.get(A), store.get(B));
        assert!(matches!((first, second), (Some(10), Some(10 | 11)) | (Some(11), Some(11))));
    });
}

/// A removal and a new key in one transaction: never both keys missing in the order in which that
/// would show half of it, never both there.
#[test]
fn transaction_that_replaces_a_key() {
    fn replace(store: &Store) {
        store.append(1, Kind::Delete, 0, 0, at(0));
        store.put(2, B, 20, NONE);
        store.publish(1, A, at(0), true);
        store.publish(2, B, NONE, true);
        count_move(&store.table);
        store.flip(after(2));
        count_move(&store.table);
        store.settle(1, A, false);
        store.settle(2, B, true);
    }
    beside(4, put_a, replace, |store| {
        let (a, b) = (store.get(A), store.get(B));
        assert!(matches!((a, b), (Some(10), None | Some(20)) | (None, Some(20))), "{a:?} {b:?}");
    });
    beside(4, put_a, replace, |store| {
        let (b, a) = (store.get(B), store.get(A));
        assert!(matches!((a, b), (Some(10), None) | (None, None | Some(20))), "{a:?} {b:?}");
    });
}

/// A key that one transaction removes and stores again, in another slot: there throughout.
#[test]
fn transaction_that_moves_a_key() {
    fn replace(store: &Store) {
        store.append(2, Kind::Delete, 0, 0, at(1));
        store.put(3, B, 20, NONE);
        store.publish(2, B, at(1), true);
        store.publish(3, B, NONE, true);
        count_move(&store.table);
        store.flip(after(3));
        count_move(&store.table);
        store.settle(2, B, false);
        store.settle(3, B, true);
    }
    fn prepare(store: &Store) {
        put_both(store);
        store.settle(0, A, false);
    }
    beside(5, prepare, replace, |store| {
        let b = store.get(B);
        assert!(matches!(b, Some(10 | 20)), "{b:?}");
    });
}

/// A record is moved and its place is used again: its value is found throughout.
#[test]
fn compaction() {
    beside(
        2,
        put_a,
        |store| {
            store.put(1, A, 10, at(0));
            store.publish(1, A, at(0), false);
            begin_reuse();
            store.put(2, B, 20, NONE);
            store.publish(2, B, NONE, false);
        },
        |store| assert_eq!(store.get(A), Some(10)),
    );
}

/// A record is moved: whoever comes to it by its entry finds the old one or the new one.
#[test]
fn an_entry_of_a_record_that_moves() {
    super::check(|| {
        let store = Arc::new(Store::with(2, Heap::new(Geometry::new(1, 1), 1, 0, 1)));
        store.put(0, A, 10, NONE);
        store.set_entry(0, 0, A);
        let walking = {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                let view = pages::view(&store.table, 0).unwrap();
                assert!(store.is_sound(view.slot.location()));
            })
        };
        store.put(1, A, 10, at(0));
        store.set_entry(0, 1, A);
        walking.join().unwrap();
    });
}

/// The record of a transaction is settled and moved, and its place is used again, while a reader is
/// still about to follow it to the one before.
#[test]
fn compaction_after_a_transaction() {
    beside(
        3,
        |store| {
            put_a(store);
            store.put(1, A, 11, at(0));
            store.publish(1, A, at(0), true);
        },
        |store| {
            store.flip(after(1));
            store.settle(1, A, true);
            store.put(2, A, 11, at(1));
            store.publish(2, A, at(1), false);
            begin_reuse();
            store.put(4, B, 20, NONE);
        },
        |store| {
            let first = store.get(A);
            assert!(matches!(first, Some(10 | 11)), "{first:?}");
        },
    );
}

/// An operating system in which nobody waits for the lock.
struct Fake;

impl Kernel for Fake {
    type Proof = ();

    fn sleep(&self, _: &AtomicU32, _: u32, _: Duration) -> bool {
        panic!("the lock is not free");
    }

    fn wake(&self, _: &AtomicU32) {}

    fn prove_dead(&self, _: u16) -> Option<()> {
        None
    }
}

/// One writer moves the record of a key and begins to use its place again, the next one goes on
/// there: the value of the key is found throughout.
fn beside_two_writers(is_killed: bool, first: fn(&Store), second: fn(&Store)) {
    super::check(move || {
        let (store, word) = (Arc::new(Store::new(2)), Arc::new(AtomicU32::new(0)));
        put_a(&store);
        let writing = {
            let (store, word) = (Arc::clone(&store), Arc::clone(&word));
            thread::spawn(move || {
                lock::acquire(&Fake, &word, Owner::new(0, 1), Duration::MAX).unwrap();
                store.put(1, A, 10, at(0));
                store.publish(1, A, at(0), false);
                begin_reuse();
                first(&store);
                if !is_killed {
                    lock::release(&Fake, &word);
                }
            })
        };
        let reading = {
            let store = Arc::clone(&store);
            thread::spawn(move || assert_eq!(store.get(A), Some(10)))
        };
        writing.join().unwrap();
        // A newcomer in the slot of the first, which it gets when that one is dead.
        lock::acquire(&Fake, &word, Owner::new(0, 2), Duration::MAX).unwrap();
        second(&store);
        reading.join().unwrap();
    });
}

/// The next one appends there.
#[test]
fn a_later_writer_in_a_place_that_is_used_again() {
    beside_two_writers(false, |_| (), |store| store.put(2, B, 20, NONE));
}

/// The first one is killed before it commits, the next one blanks what it left.
#[test]
fn blanking_a_place_that_is_used_again() {
    beside_two_writers(
        true,
        |store| store.put(2, B, 20, NONE),
        |store| {
            let left = store.leftover(2).unwrap();
            left.blank();
            left.forget();
            assert!(!store.is_sound(at(2)) && store.leftover(2).is_none());
        },
    );
}
