//! A fork at any step of any operation: the parent goes on as if nothing had been, and the child uses
//! the store, lets it go, ends, or becomes another program.
//!
//! `FORKS=1000 cargo test --release --lib forked_anywhere` forks that often in each operation.

use std::cell::{Cell, RefCell};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::rc::Rc;

use super::stress_tests::{
    PATIENCE, check, get, open, put, put_in, random, remove, telling, told, transact,
};
use crate::store::Store;
use crate::store::writer::PutValue;
use crate::sys::testing::{Child, watch};

const KEYS: u32 = 60;
/// Children store under keys from here on.
const OF_CHILDREN: u32 = 1_000_000;

type Operation = (&'static str, fn(&Store, u64));

fn fill(store: &Store, version: u64) {
    (0..KEYS).for_each(|key| put(store, key, &telling(key, version, key % 5)));
}

const OPERATIONS: [Operation; 9] = [
    ("put", |store, version| put(store, 7, &telling(7, version, 20))),
    ("remove", |store, version| {
        remove(store, 8);
        put(store, 8, &telling(8, version, 1));
    }),
    ("large", |store, version| {
        // Not among the keys that are read: here the record has the name of a file.
        let bytes = telling(KEYS, version, 500);
        let staged = PutValue::Staged(store.stage_bytes(&bytes, PATIENCE).unwrap());
        let key = KEYS.to_be_bytes();
        store.write(PATIENCE, |writer| put_in(store, writer, &key, staged)).unwrap();
    }),
    ("transaction", |store, version| transact(store, || fill(store, version))),
    ("clear", |store, version| {
        store.write(PATIENCE, |writer| writer.clear()).unwrap();
        fill(store, version);
    }),
    ("compact", |store, version| {
        fill(store, version);
        store.compact(PATIENCE).unwrap();
    }),
    ("sync", |store, version| {
        put(store, 3, &telling(3, version, 3));
        store.sync(PATIENCE).unwrap();
    }),
    ("repair", |store, _| assert!(store.repair(PATIENCE).unwrap().is_empty())),
    ("open", |store, version| {
        let other = open(store.directory(), 100_000);
        put(&other, 5, &telling(5, version, 2));
    }),
];

/// What a child does; true if all was well.
fn live(store: &Store, round: u64) -> bool {
    match round % 4 {
        0 => {
            let key = OF_CHILDREN + round as u32;
            for key in 0..KEYS {
                get(store, key).map(|value| told(key, &value));
            }
            put(store, key, &telling(key, round, 4));
            get(store, key).is_some_and(|value| told(key, &value) == round)
        }
        1 => {
            drop(store.clone());
            get(store, 0).is_none_or(|value| told(0, &value) < 1 << 40)
        }
        2 => std::process::exit(0),
        _ => {
            let error = Command::new("true").exec();
            panic!("cannot become another program: {error}");
        }
    }
}

#[test]
fn forked_anywhere() {
    let forks = std::env::var("FORKS").map_or(40, |it| it.parse().unwrap());
    for (name, operation) in OPERATIONS {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let store = open(dir.path(), 100_000);
        fill(&store, 1);
        let (mut seed, mut steps, mut children) = (5, 20, 0);
        for round in 0..forks {
            let at = u64::from(random(&mut seed)) % steps;
            let count = Rc::new(Cell::new(0));
            let child = Rc::new(RefCell::new(None));
            let (counted, born, copy) = (Rc::clone(&count), Rc::clone(&child), store.clone());
            let hook = move |_| {
                if counted.get() == at {
                    *born.borrow_mut() = Some(Child::fork(|| live(&copy, round)));
                }
                counted.set(counted.get() + 1);
                Ok(())
            };
            watch(hook, || operation(&store, round + 2));
            steps = count.get().max(1);
            if let Some(child) = child.take() {
                assert!(child.succeeded(), "{name}, round {round}, step {at} of {steps}");
                children += 1;
                let key = OF_CHILDREN + round as u32;
                let stored = get(&store, key).map(|value| told(key, &value));
                let is_expected = round % 4 == 0 && name != "clear";
                assert!(!is_expected || stored == Some(round), "{name}, round {round}: {stored:?}");
            }
            for key in 0..KEYS {
                told(key, &get(&store, key).expect("a key is missing"));
            }
            check(&store);
        }
        assert!(2 * children > forks, "{name}: only {children} of {forks} forks");
    }
}
