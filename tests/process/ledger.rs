//! What a writer has been told, and what may therefore be in the cache.
//!
//! Each writer has keys of its own. It announces an operation, does it, and confirms it; so of all
//! it ever did, only the last can be in doubt, and either outcome of that one is right.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use firncache::Cache;

/// Own keys of a writer, and own pairs of keys that are equal at all times.
pub(crate) const KEYS: u64 = 24;
pub(crate) const PAIRS: u64 = 4;
/// Counters that all share.
pub(crate) const COUNTERS: u64 = 2;
/// A version divided by this is the generation of the writer, so that versions only ever grow.
pub(crate) const GENERATION: u64 = 1 << 32;

/// One operation of a writer; `Set` and `Pair` with the version that they store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operation {
    Set(u64, u64),
    Delete(u64),
    Pair(u64, u64),
    Count(u64, u64),
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Set(key, version) => write!(f, "set {key} {version}"),
            Operation::Delete(key) => write!(f, "delete {key} 0"),
            Operation::Pair(pair, version) => write!(f, "pair {pair} {version}"),
            Operation::Count(counter, by) => write!(f, "count {counter} {by}"),
        }
    }
}

impl FromStr for Operation {
    type Err = String;

    fn from_str(line: &str) -> Result<Operation, String> {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, first, second] = words[..] else { return Err(line.to_owned()) };
        let number = |word: &str| word.parse::<u64>().map_err(|_| line.to_owned());
        let (first, second) = (number(first)?, number(second)?);
        match name {
            "set" => Ok(Operation::Set(first, second)),
            "delete" => Ok(Operation::Delete(first)),
            "pair" => Ok(Operation::Pair(first, second)),
            "count" => Ok(Operation::Count(first, second)),
            _ => Err(line.to_owned()),
        }
    }
}

/// The value of a version: of many sizes, some of which go to files.
pub(crate) fn value(version: u64) -> Vec<u8> {
    let words = if version.is_multiple_of(11) { 300 + version % 1000 } else { 1 + version % 40 };
    version.to_le_bytes().repeat(words as usize)
}

/// The version of a value, which is to be whole.
#[track_caller]
pub(crate) fn version(found: &[u8]) -> u64 {
    let first = found.first_chunk().expect("a version");
    let version = u64::from_le_bytes(*first);
    assert!(found == value(version), "version {version} is not whole: {} bytes", found.len());
    version
}

pub(crate) fn own_key(slot: u64, key: u64) -> (&'static str, u64, u64) {
    ("own", slot, key)
}

pub(crate) fn pair_key(slot: u64, pair: u64, side: u64) -> (&'static str, u64, u64, u64) {
    ("pair", slot, pair, side)
}

pub(crate) fn counter_key(counter: u64) -> (&'static str, u64) {
    ("counter", counter)
}

/// What one writer, and those who had its keys before it, have been told.
#[derive(Default)]
pub(crate) struct Ledger {
    keys: HashMap<u64, u64>,
    pairs: HashMap<u64, u64>,
    /// What is announced and not confirmed.
    pending: Option<Operation>,
    /// Sums by which the counters were changed: for certain, and perhaps.
    counted: [u64; COUNTERS as usize],
    announced: [u64; COUNTERS as usize],
    /// How much was done.
    pub(crate) operations: u64,
}

/// A ledger in a file: as many words.
pub(crate) const WORDS: usize = 4 + (KEYS + PAIRS + 2 * COUNTERS) as usize;

impl Ledger {
    /// Takes in a line of the writer.
    pub(crate) fn hear(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').expect("two words");
        let operation: Operation = rest.parse().expect("an operation");
        match word {
            "do" => self.announce(operation),
            "did" => self.acknowledge(operation),
            _ => panic!("{line}"),
        }
    }

    pub(crate) fn announce(&mut self, operation: Operation) {
        assert_eq!(self.pending.replace(operation), None);
        if let Operation::Count(counter, by) = operation {
            self.announced[counter as usize] += by;
        }
    }

    pub(crate) fn acknowledge(&mut self, operation: Operation) {
        assert_eq!(self.pending.take(), Some(operation));
        self.confirm(operation);
    }

    /// As it is written to a file. There is no version 0.
    pub(crate) fn words(&self) -> [u64; WORDS] {
        let pending = match self.pending {
            None => [0; 3],
            Some(Operation::Set(key, version)) => [1, key, version],
            Some(Operation::Delete(key)) => [2, key, 0],
            Some(Operation::Pair(pair, version)) => [3, pair, version],
            Some(Operation::Count(counter, by)) => [4, counter, by],
        };
        let of = |map: &HashMap<u64, u64>, key| map.get(&key).copied().unwrap_or(0);
        let mut words = [self.operations].into_iter().chain(pending);
        let mut keys = (0..KEYS).map(|key| of(&self.keys, key));
        let mut pairs = (0..PAIRS).map(|pair| of(&self.pairs, pair));
        let mut sums = self.counted.into_iter().chain(self.announced);
        std::array::from_fn(|_| {
            let next = words.next().or_else(|| keys.next()).or_else(|| pairs.next());
            next.or_else(|| sums.next()).unwrap()
        })
    }

    pub(crate) fn from_words(words: &[u64; WORDS]) -> Ledger {
        let (mut words, mut ledger) = (words.iter().copied(), Ledger::default());
        let mut next = || words.next().unwrap();
        ledger.operations = next();
        ledger.pending = match [next(), next(), next()] {
            [0, ..] => None,
            [1, key, version] => Some(Operation::Set(key, version)),
            [2, key, _] => Some(Operation::Delete(key)),
            [3, pair, version] => Some(Operation::Pair(pair, version)),
            [_, counter, by] => Some(Operation::Count(counter, by)),
        };
        let is_there = |(_, version): &(u64, u64)| *version != 0;
        ledger.keys = (0..KEYS).map(|key| (key, next())).filter(is_there).collect();
        ledger.pairs = (0..PAIRS).map(|pair| (pair, next())).filter(is_there).collect();
        ledger.counted = std::array::from_fn(|_| next());
        ledger.announced = std::array::from_fn(|_| next());
        ledger
    }

    fn confirm(&mut self, operation: Operation) {
        self.operations += 1;
        match operation {
            Operation::Set(key, version) => drop(self.keys.insert(key, version)),
            Operation::Delete(key) => drop(self.keys.remove(&key)),
            Operation::Pair(pair, version) => drop(self.pairs.insert(pair, version)),
            Operation::Count(counter, by) => self.counted[counter as usize] += by,
        }
    }

    /// Compares with the cache after the end of the writer, and settles what was in doubt.
    pub(crate) fn settle(&mut self, cache: &Cache, slot: u64) {
        let pending = self.pending.take();
        if let Some(operation) = pending.filter(|it| is_done(cache, slot, *it)) {
            self.confirm(operation);
        }
        for key in 0..KEYS {
            let found = cache.get_bytes(own_key(slot, key)).unwrap().map(|it| version(&it));
            let expected = self.keys.get(&key).copied();
            assert_eq!(found, expected, "key {key} of writer {slot}; in doubt was {pending:?}");
        }
        for pair in 0..PAIRS {
            for side in 0..2 {
                let found = cache.get_bytes(pair_key(slot, pair, side)).unwrap();
                let (found, expected) = (found.map(|it| version(&it)), self.pairs.get(&pair));
                let what = format!("side {side} of pair {pair} of writer {slot}");
                assert_eq!(found.as_ref(), expected, "{what}; in doubt was {pending:?}");
            }
        }
    }
}

/// Whether an operation in doubt has had its effect. Of a counter, which others change too, nobody
/// can tell.
fn is_done(cache: &Cache, slot: u64, operation: Operation) -> bool {
    let holds = |found: Option<Vec<u8>>, expected| found.is_some_and(|it| version(&it) == expected);
    match operation {
        Operation::Set(key, new) => holds(cache.get_bytes(own_key(slot, key)).unwrap(), new),
        Operation::Delete(key) => !cache.contains(own_key(slot, key)).unwrap(),
        Operation::Pair(pair, new) => holds(cache.get_bytes(pair_key(slot, pair, 0)).unwrap(), new),
        Operation::Count(..) => false,
    }
}

/// The counters hold all that was confirmed. When all writers are gone and heard, they hold no more
/// than what was announced, either.
pub(crate) fn assert_counters(cache: &Cache, ledgers: &[Ledger], all_are_heard: bool) {
    for counter in 0..COUNTERS {
        let found = cache.get::<u64>(counter_key(counter)).unwrap().unwrap_or(0);
        let sum = |part: fn(&Ledger) -> &[u64; COUNTERS as usize]| -> u64 {
            ledgers.iter().map(|ledger| part(ledger)[counter as usize]).sum()
        };
        let (least, most) = (sum(|it| &it.counted), sum(|it| &it.announced));
        assert!(found >= least, "counter {counter}: {found}, and {least} were confirmed");
        let is_possible = !all_are_heard || found <= most;
        assert!(is_possible, "counter {counter}: {found}, and {most} were announced");
    }
}
