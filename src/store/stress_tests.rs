//! Threads that read, walk and write at once, and what transactions leave to readers and walks.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::format::location::LOCATION_MASK;
use crate::format::settings::Settings;
use crate::store::open::OpenOptions;
use crate::store::scan::{Item, Scan};
use crate::store::space::segment_units;
use crate::store::writer::{Put, PutValue};
use crate::store::{Store, Writer};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn open(path: &Path, size_limit: u64) -> Store {
    let settings = Some(Settings { size_limit, ..Settings::default() });
    let options = OpenOptions { create: true, read_only: false, allow_network: true, settings };
    Store::open(path, &options).unwrap()
}

pub(super) fn put_in(
    store: &Store,
    writer: &mut Writer<'_>,
    key: &[u8],
    value: PutValue<'_>,
) -> Result<()> {
    let key = store.hashed(key);
    let found = writer.find(key)?;
    let (tag, expires_ms) = (&b""[..], LOCATION_MASK);
    let put = Put { value_kind: 7, value, tag, expires_ms, stored_ms: 1, keep_access: false };
    writer.put(key, found.as_ref(), put)
}

pub(super) fn put(store: &Store, key: u32, value: &[u8]) {
    try_put(store, key, value).unwrap();
}

pub(super) fn try_put(store: &Store, key: u32, value: &[u8]) -> Result<()> {
    let key = key.to_be_bytes();
    store.write(PATIENCE, |writer| put_in(store, writer, &key, PutValue::Bytes(value)))
}

pub(super) fn remove(store: &Store, key: u32) -> bool {
    let key = key.to_be_bytes();
    let found = |writer: &mut Writer<'_>| match writer.find(store.hashed(&key))? {
        Some(found) => writer.remove(store.hashed(&key), &found, 0).map(|()| true),
        None => Ok(false),
    };
    store.write(PATIENCE, found).unwrap()
}

pub(super) fn get(store: &Store, key: u32) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    store.get(store.hashed(&key.to_be_bytes()), None, &mut value).unwrap().map(|_| value)
}

pub(super) fn transact(store: &Store, work: impl FnOnce()) {
    let open = store.begin(PATIENCE).unwrap();
    work();
    open.commit().unwrap();
}

pub(super) fn check(store: &Store) {
    let findings = store.check(PATIENCE).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
}

pub(super) fn random(seed: &mut u64) -> u32 {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*seed >> 33) as u32
}

/// A value that says its key and version over and over.
pub(super) fn telling(key: u32, version: u64, times: u32) -> Vec<u8> {
    [&key.to_le_bytes()[..], &version.to_le_bytes()].concat().repeat(1 + times as usize)
}

/// The version that a value tells; panics if it is of another key, or mixed.
pub(super) fn told(key: u32, value: &[u8]) -> u64 {
    assert!(value.len() >= 12 && value.len().is_multiple_of(12), "length {}", value.len());
    assert!(value.chunks(12).all(|unit| unit == &value[..12]), "mixed");
    assert_eq!(value[..4], key.to_le_bytes(), "another key's");
    u64::from_le_bytes(value[4..12].try_into().unwrap())
}

/// Walks to the end; the keys, each of them once and in order.
pub(super) fn walk(
    store: &Store,
    scan: &mut Scan,
    mut is_back: impl FnMut() -> bool,
) -> HashSet<u32> {
    let (mut item, mut seen, mut rows) = (Item::default(), HashSet::new(), (0, u64::MAX));
    loop {
        let back = is_back();
        if !if back { scan.next_back(store, &mut item) } else { scan.next(store, &mut item) }
            .unwrap()
        {
            return seen;
        }
        let key = u32::from_be_bytes(item.key[..].try_into().unwrap());
        told(key, &item.value);
        let row = item.header.unwrap().row;
        assert!(seen.insert(key) && rows.0 < row && row < rows.1, "{key} twice, or out of order");
        if back { rows.1 = row } else { rows.0 = row }
    }
}

const STABLE: u32 = 100;
const CHURN: u32 = 1000;
/// The first of the keys that are stored in pairs, two for each writer.
const PAIRS: u32 = 10_000;

struct Board {
    acked: Vec<AtomicU64>,
    is_done: AtomicBool,
}

impl Board {
    fn acked(&self, key: u32) -> u64 {
        self.acked[key as usize].load(Ordering::Acquire)
    }

    fn note(&self, key: u32, version: u64) {
        self.acked[key as usize].store(version, Ordering::Release);
    }

    fn is_on(&self) -> bool {
        !self.is_done.load(Ordering::Relaxed)
    }
}

fn writer(store: &Store, board: &Board, me: u32) {
    let (mut seed, start) = (u64::from(me) * 77 + 1, Instant::now());
    while start.elapsed() < Duration::from_secs(5) {
        let pick = random(&mut seed) % 20;
        let base = STABLE + random(&mut seed) % CHURN;
        let is_removal = random(&mut seed).is_multiple_of(2);
        let change = |key: u32| match is_removal {
            true => drop(remove(store, key)),
            false => put(store, key, &telling(key, 1, key % 30)),
        };
        match pick {
            0..8 => {
                let key = random(&mut seed) % (STABLE / 2) * 2 + me;
                let version = board.acked(key) + 1;
                put(store, key, &telling(key, version, random(&mut seed) % 60));
                board.note(key, version);
            }
            8..10 => {
                let (mut keys, version) =
                    ([0, 1].map(|n| PAIRS + 2 * me + n), board.acked(PAIRS + 2 * me) + 1);
                keys.rotate_left(random(&mut seed) as usize % 2);
                transact(store, || {
                    for key in keys {
                        let _ = is_removal && remove(store, key);
                        put(store, key, &telling(key, version, 5));
                    }
                });
                keys.iter().for_each(|key| board.note(*key, version));
            }
            10..12 => transact(store, || (base..base + 100).for_each(change)),
            _ => (base..base + 80).for_each(change),
        }
    }
}

fn reader(store: &Store, board: &Board, me: u32) {
    let (mut seed, mut last) = (u64::from(me), vec![0; board.acked.len()]);
    let mut look = |key: u32| {
        let least = board.acked(key).max(last[key as usize]);
        let version = get(store, key).map_or(0, |value| told(key, &value));
        assert!(version >= least, "{key}: {version} after {least}");
        last[key as usize] = version;
        version
    };
    while board.is_on() {
        look(random(&mut seed) % STABLE);
        let other = STABLE + random(&mut seed) % CHURN;
        assert!(get(store, other).is_none_or(|value| told(other, &value) == 1));
        let first = PAIRS + random(&mut seed) % 4;
        assert!(look(first) <= look(first ^ 1), "half of a transaction");
    }
}

fn walker(store: &Store, board: &Board, me: u32) {
    let mut seed = u64::from(me);
    while board.is_on() {
        let kind = random(&mut seed) % 3;
        let seen = walk(store, &mut store.scan(), || {
            kind == 1 || kind == 2 && random(&mut seed).is_multiple_of(2)
        });
        let missed: Vec<u32> = (0..STABLE).filter(|key| !seen.contains(key)).collect();
        assert!(missed.is_empty(), "kind {kind} missed {missed:?} ({} seen)", seen.len());
    }
}

#[test]
fn everything_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    let acked = (0..PAIRS + 4).map(|_| AtomicU64::new(0)).collect();
    let board = Board { acked, is_done: AtomicBool::new(false) };
    for key in 0..STABLE {
        put(&store, key, &telling(key, 1, 3));
        board.note(key, 1);
        (1..11).for_each(|n| {
            put(&store, STABLE + 10 * key + n, &telling(STABLE + 10 * key + n, 1, 1))
        });
    }
    std::thread::scope(|scope| {
        let (store, board) = (&store, &board);
        let writers = [0, 1].map(|me| scope.spawn(move || writer(store, board, me)));
        for me in [0, 1] {
            scope.spawn(move || reader(store, board, me));
            scope.spawn(move || walker(store, board, me));
        }
        let results = writers.map(|thread| thread.join());
        board.is_done.store(true, Ordering::Relaxed);
        assert!(results.iter().all(|it| it.is_ok()));
    });
    let (state, segment) = (store.state(), 64 * 1024);
    assert!(8 * state.log_units < 2 * state.live_bytes + 3 * segment, "{state:?}");
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let maps = maps.lines().filter(|line| line.contains(dir.path().to_str().unwrap())).count();
    assert!(maps < 150, "{maps} maps for {} units", segment_units(&state, &store.settings()));
    check(&store);
    assert_eq!(store.repair(PATIENCE).unwrap(), []);
    check(&store);
}
