//! The workers of the kill test: writers and readers that go on until they are killed.

use std::path::Path;

use firncache::{Cache, Error};

use crate::book::Book;
use crate::ledger::{
    COUNTERS, GENERATION, KEYS, Operation, PAIRS, counter_key, own_key, pair_key, value, version,
};
use crate::open;
use crate::worker::say;

/// Writers at once; the numbers of workers are these, and above them those of readers.
pub(crate) const WRITERS: u64 = 8;
pub(crate) const READERS: u64 = 2;
pub(crate) const SLOTS: u64 = WRITERS + READERS;
/// Reads from one sign of life to the next.
const READS: u64 = 200;

/// Small random numbers (xorshift), the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }
}

/// A worker: announces, does and confirms operations.
pub(crate) fn write(directory: &Path, number: u64) {
    let cache = open(directory);
    for operation in operations(number) {
        say(&format!("do {operation}"));
        perform(&cache, number % SLOTS, operation).unwrap();
        say(&format!("did {operation}"));
    }
}

/// What the worker of this number does, without end.
fn operations(number: u64) -> impl Iterator<Item = Operation> {
    let mut random = Random::new(number);
    ((number / SLOTS + 1) * GENERATION..).map(move |version| match random.below(12) {
        0..5 => Operation::Set(random.below(KEYS), version),
        5..7 => Operation::Delete(random.below(KEYS)),
        7..9 => Operation::Count(random.below(COUNTERS), 1 + random.below(9)),
        _ => Operation::Pair(random.below(PAIRS), version),
    })
}

/// As [`write`], with the words in a file of one's own.
pub(crate) fn write_by_book(cache: &Cache, book: &Book, number: u64) {
    let mut ledger = book.read();
    for operation in operations(number) {
        ledger.announce(operation);
        book.write(&ledger);
        perform(cache, number % SLOTS, operation).unwrap();
        ledger.acknowledge(operation);
        book.write(&ledger);
    }
}

fn perform(cache: &Cache, slot: u64, operation: Operation) -> Result<(), Error> {
    match operation {
        Operation::Set(key, version) => cache.set_bytes(own_key(slot, key), &value(version)),
        Operation::Delete(key) => cache.delete(own_key(slot, key)).map(drop),
        Operation::Count(counter, by) => cache.incr(counter_key(counter), by as i64).map(drop),
        Operation::Pair(pair, version) => cache.transact(|tx| {
            let value = value(version);
            tx.set_bytes(pair_key(slot, pair, 0), &value)?;
            tx.set_bytes(pair_key(slot, pair, 1), &value)
        }),
    }
}

/// A worker: reads whatever the writers write. Every value is whole, and a pair is never seen half:
/// as versions grow, the second side is as new as the first side was before, and no newer than it
/// is after.
pub(crate) fn read(directory: &Path, number: u64) {
    let cache = open(directory);
    read_all(&cache, number, READS, || say("read"));
}

/// As [`read`], with the sign of life in a file of one's own, and more often.
pub(crate) fn read_by_book(cache: &Cache, book: &Book, number: u64) {
    let mut ledger = book.read();
    read_all(cache, number, READS / 10, || {
        ledger.operations += 1;
        book.write(&ledger);
    });
}

fn read_all(cache: &Cache, number: u64, reads: u64, mut say: impl FnMut()) {
    let mut random = Random::new(number);
    loop {
        for _ in 0..reads {
            let (slot, key, pair) =
                (random.below(WRITERS), random.below(KEYS), random.below(PAIRS));
            if let Some(found) = cache.get_bytes(own_key(slot, key)).unwrap() {
                version(&found);
            }
            let side = |side| {
                let found = cache.get_bytes(pair_key(slot, pair, side)).unwrap();
                found.map_or(0, |found| version(&found))
            };
            let (before, second, after) = (side(0), side(1), side(0));
            let is_whole = before <= second && second <= after;
            assert!(is_whole, "pair {pair} of {slot}: {before}, {second}, {after}");
        }
        let keys = cache.iter().collect::<Result<Vec<_>, Error>>().unwrap();
        let most = WRITERS * (KEYS + 2 * PAIRS) + COUNTERS;
        assert!(keys.len() as u64 <= most, "{} keys", keys.len());
        say();
    }
}
