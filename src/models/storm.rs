//! Larger than what can be run in every interleaving: one writer that updates, commits, compacts and
//! splits in random order, beside two readers and a walk over the entries.

use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use shuttle::rand::{Rng, thread_rng};

use super::log::{Store, after, at, hash};
use super::threads::thread;
use crate::format::entry::{Access, Deadline};
use crate::format::location::Location;
use crate::format::slot::Slot;
use crate::format::state::Geometry;
use crate::log::writer::begin_reuse;
use crate::sys::sync::Ordering;
use crate::table::heap::Heap;
use crate::table::publish::{self, count_move};
use crate::table::{pages, split};

/// Keys 1 and 2 are stored by transactions, together; the others one by one.
const KEYS: u8 = 7;
const PAIR: [u8; 2] = [1, 2];
const FILES: u64 = 16;
const BUCKETS: u64 = 6;
const STEPS: usize = 12;
const READS: usize = 12;

struct Storm {
    store: Store,
    /// The version of each key that is stored for certain: outside of what is interleaved.
    acked: Vec<AtomicU8>,
}

/// What the writer knows, as the holder of the lock.
struct Writer<'a> {
    storm: &'a Storm,
    /// Where the record of each key is, and its version.
    keys: Vec<(u64, u8)>,
    next: u64,
    buckets: u64,
    overflows: u64,
}

impl Storm {
    fn acked(&self, key: u8) -> u8 {
        self.acked[usize::from(key)].load(Ordering::Relaxed)
    }

    /// A key that is there throughout, not older than was acknowledged before.
    fn read(&self, key: u8) -> u8 {
        let before = self.acked(key);
        let version = self.store.get(key).unwrap_or_else(|| panic!("key {key} is missed"));
        assert!(version >= before, "{version} of key {key} after {before}");
        version
    }

    fn reader(&self) {
        for _ in 0..READS {
            let key = thread_rng().gen_range(1..=KEYS);
            if PAIR.contains(&key) {
                let (first, second) = (self.read(key), self.read(3 - key));
                assert!(second >= first, "half a transaction: {first} and {second}");
            } else {
                self.read(key);
            }
        }
    }

    fn walker(&self) {
        for _ in 0..READS {
            let entry = thread_rng().gen_range(1..=u32::from(KEYS));
            let view = pages::view(&self.store.table, entry).unwrap();
            assert!(
                self.store.is_sound(view.slot.location())
                    || !pages::is_unchanged(&self.store.table, &view),
                "entry {entry} leads to no record"
            );
        }
    }
}

impl Writer<'_> {
    /// Writes a record where no live one is, and notes it.
    fn append(&mut self, key: u8, version: u8) -> (u64, Location) {
        let (store, segment) = (&self.storm.store, self.next);
        if segment >= FILES {
            begin_reuse();
        }
        let old = self.keys[usize::from(key)].0;
        let previous = if old == 0 { Location::NONE } else { at(old) };
        store.put(segment, key, version, previous);
        self.keys[usize::from(key)] = (segment, version);
        self.next += 1;
        (segment, previous)
    }

    fn put(&mut self, key: u8, version: u8) {
        let (segment, previous) = self.append(key, version);
        self.storm.store.publish(segment, key, previous, false);
        self.storm.store.set_entry(key.into(), segment, key);
    }

    /// Moves records until the next `count` appends overwrite nothing that is needed.
    fn compact(&mut self, count: u64) {
        let is_due = |keys: &[(u64, u8)], next: u64| {
            let due = |it: &&(u64, u8)| it.0 != 0 && it.0 + FILES <= next + count;
            keys.iter().filter(due).min().map(|due| due.0)
        };
        while let Some(oldest) = is_due(&self.keys, self.next) {
            let key = self.keys.iter().position(|it| it.0 == oldest).unwrap() as u8;
            self.put(key, self.keys[usize::from(key)].1);
        }
    }

    fn update(&mut self, key: u8) {
        self.compact(2);
        let version = self.keys[usize::from(key)].1 + 1;
        self.put(key, version);
        self.ack(key);
    }

    fn transact(&mut self) {
        self.compact(3);
        let store = &self.storm.store;
        let version = self.keys[1].1 + 1;
        let segments = PAIR.map(|key| {
            let (segment, previous) = self.append(key, version);
            store.publish(segment, key, previous, true);
            segment
        });
        count_move(&store.table);
        store.flip(after(segments[1]));
        count_move(&store.table);
        for (key, segment) in PAIR.into_iter().zip(segments) {
            store.settle(segment, key, true);
            store.set_entry(key.into(), segment, key);
            self.ack(key);
        }
    }

    fn split(&mut self) {
        if self.buckets < BUCKETS {
            let before = Geometry::new(1, self.buckets);
            let table = &self.storm.store.table;
            self.overflows = split::split(table, before, self.overflows).unwrap();
            self.buckets += 1;
        }
    }

    fn ack(&self, key: u8) {
        let version = self.keys[usize::from(key)].1;
        self.storm.acked[usize::from(key)].store(version, Ordering::Relaxed);
    }
}

fn prepared(storm: &Storm) -> Writer<'_> {
    let keys = vec![(0, 0); usize::from(KEYS) + 1];
    let mut writer = Writer { storm, keys, next: 1, buckets: 1, overflows: 1 };
    publish::spill(&storm.store.table, 0, 0);
    for key in 1..=KEYS {
        let slot = Slot::new(hash(key), at(writer.next));
        let (access, deadline) = (Access::new(0, 0), Deadline::new(0, 0));
        let table = &storm.store.table;
        pages::store(table, key.into(), slot, hash(key), Some(access), deadline, true);
        writer.put(key, 0);
    }
    writer
}

#[test]
fn everything_at_once() {
    super::check_to(5, || {
        let table = Heap::new(Geometry::new(1, 1), BUCKETS as usize, 8, 1);
        let acked = (0..=KEYS).map(|_| AtomicU8::new(0)).collect();
        let storm = Arc::new(Storm { store: Store::with(FILES as usize, table), acked });
        let mut writer = prepared(&storm);
        let others = [Storm::reader, Storm::reader, Storm::walker].map(|work| {
            let storm = Arc::clone(&storm);
            thread::spawn(move || work(&storm))
        });
        for _ in 0..STEPS {
            match thread_rng().gen_range(0..8) {
                0 | 1 => writer.transact(),
                2 | 3 => writer.split(),
                _ => writer.update(thread_rng().gen_range(3..=KEYS)),
            }
        }
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}
