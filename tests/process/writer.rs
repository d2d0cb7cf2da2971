//! The workers of the kill test: writers and readers that go on until they are killed.

use std::path::Path;

use firncache::{Cache, Error};

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
    let (slot, generation) = (number % SLOTS, number / SLOTS);
    let mut random = Random::new(number);
    for version in (generation + 1) * GENERATION.. {
        let operation = match random.below(12) {
            0..5 => Operation::Set(random.below(KEYS), version),
            5..7 => Operation::Delete(random.below(KEYS)),
            7..9 => Operation::Count(random.below(COUNTERS), 1 + random.below(9)),
            _ => Operation::Pair(random.below(PAIRS), version),
        };
        say(&format!("do {operation}"));
        perform(&cache, slot, operation).unwrap();
        say(&format!("did {operation}"));
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
    let mut random = Random::new(number);
    loop {
        for _ in 0..READS {
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
        say("read");
    }
}
