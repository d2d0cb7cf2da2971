//! Several processes on one fanout cache, and on one index.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use firncache::{Cache, Error, ErrorKind, FanoutCache, FanoutOptions, Index, Key, SetOptions};

use crate::worker::{Worker, say};

/// Processes at once.
const PROCESSES: u64 = 4;
/// How often each does what it does.
const ROUNDS: u64 = 300;
/// Keys that a transaction sets alike.
const ALIKE: u64 = 24;
const LIMIT: u64 = 2 << 20;

fn options() -> FanoutOptions {
    FanoutCache::options().timeout(Duration::from_secs(60))
}

fn open(directory: &Path) -> FanoutCache {
    options().shards(4).open(directory).unwrap()
}

fn numbers(directory: &Path) -> Index<u64, u64> {
    Index::open(directory).unwrap()
}

/// A worker: counts, stores batches and commits transactions.
pub(crate) fn fan(directory: &Path, number: u64) {
    let cache = open(directory);
    for round in 0..ROUNDS {
        cache.incr(("count", round % 10), 1).unwrap();
        let pairs = (0..8).map(|key| ((number, round, key), round));
        cache.set_many(pairs, SetOptions::new()).unwrap();
        if round % 10 == 0 {
            cache
                .transact(|tx| (0..ALIKE).try_for_each(|key| tx.incr(("alike", key), 1).map(drop)))
                .unwrap();
        }
    }
}

/// A worker: fills a cache that has a limit.
pub(crate) fn fill(directory: &Path, number: u64) {
    let cache = options().shards(4).size_limit(LIMIT).open(directory).unwrap();
    for round in 0..4 * ROUNDS {
        cache.set_bytes((number, round), &[1; 3000]).unwrap();
    }
}

/// A worker: opens with a number of shards of its own, and says what came of it.
pub(crate) fn open_as(directory: &Path, number: u64) {
    match options().shards(2 + number as usize).open(directory) {
        Ok(cache) => say(&format!("{}", cache.shards())),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Setting, "{error}");
            say("refused");
        }
    }
}

/// A worker: sets keys of all shards alike, until it is killed.
pub(crate) fn alike(directory: &Path) {
    let cache = open(directory);
    for version in 1_u64.. {
        cache.transact(|tx| (0..ALIKE).try_for_each(|key| tx.set(key, &version))).unwrap();
        say(&version.to_string());
    }
}

/// A worker: makes what is missing in an index, and says what it got; then takes what it can get.
pub(crate) fn index(directory: &Path, number: u64) {
    let index = numbers(directory);
    let made: Vec<u64> =
        (0..ROUNDS).map(|key| index.get_or_insert_with(&key, || number).unwrap()).collect();
    say(&format!("{made:?}"));
    while !directory.with_extension("go").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    while let Some((key, _)) = index.pop_first().unwrap() {
        say(&key.to_string());
    }
}

fn start(work: &str, directory: &Path) -> Vec<Worker> {
    (0..PROCESSES).map(|number| Worker::start(work, directory, number)).collect()
}

#[test]
fn a_fanout_cache_is_shared_by_processes() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    start("fan", &directory).into_iter().for_each(|worker| drop(worker.finish()));
    let cache = open(&directory);
    for count in 0..10 {
        let expected = (PROCESSES * ROUNDS / 10) as i64;
        assert_eq!(cache.get(("count", count)).unwrap(), Some(expected));
    }
    for key in 0..ALIKE {
        let expected = (PROCESSES * ROUNDS / 10) as i64;
        assert_eq!(cache.get(("alike", key)).unwrap(), Some(expected));
    }
    assert_eq!(cache.len().unwrap(), 10 + ALIKE + PROCESSES * ROUNDS * 8);
    assert_eq!(cache.check().unwrap().findings(), []);
}

#[test]
fn processes_keep_to_one_limit_together() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    let cache = options().shards(4).size_limit(LIMIT).open(&directory).unwrap();
    let workers = start("fill", &directory);
    let mut most = 0;
    while cache.stats().unwrap().evictions < PROCESSES * ROUNDS {
        most = most.max(cache.disk_usage().unwrap());
        std::thread::sleep(Duration::from_millis(1));
    }
    workers.into_iter().for_each(|worker| drop(worker.finish()));
    most = most.max(cache.disk_usage().unwrap());
    assert!(most <= LIMIT + LIMIT / 4, "{most}");
    assert!(cache.volume().unwrap() > LIMIT / 4, "{}", cache.volume().unwrap());
    assert_eq!(cache.check().unwrap().findings(), []);
}

#[test]
fn those_who_make_a_fanout_cache_together_agree_on_its_shards() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let directory = dir.path().join(format!("cache {round}"));
        let said: Vec<String> =
            start("open as", &directory).into_iter().flat_map(Worker::finish).collect();
        let kept = FanoutCache::open(&directory).unwrap().shards().to_string();
        assert_eq!(said.len() as u64, PROCESSES);
        assert_eq!(said.iter().filter(|it| **it == kept).count(), 1, "{said:?}");
        assert_eq!(said.iter().filter(|it| *it == "refused").count(), 3, "{said:?}");
    }
}

/// What each shard has of the keys that were set alike: one version.
fn versions(cache: &FanoutCache) -> Vec<u64> {
    let mut found = BTreeMap::new();
    for shard in 0..cache.shards() {
        let shard_dir = cache.directory().join(format!("{shard:03}"));
        for item in Cache::open(shard_dir).unwrap().items::<u64>() {
            let (key, version) = item.unwrap();
            assert!(matches!(key, Key::Int(_)));
            let first = *found.entry(shard).or_insert(version);
            assert_eq!(first, version, "shard {shard} has {first} and {version}");
        }
    }
    found.into_values().collect()
}

#[test]
fn a_transaction_that_is_killed_is_whole_or_absent_in_each_shard() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    let cache = open(&directory);
    let mut halves = 0;
    for round in 0..12 {
        let worker = Worker::start("alike", &directory, 0);
        for _ in 0..20 + round {
            worker.line();
        }
        let last = worker.kill().last().and_then(|line| line.parse().ok()).unwrap_or(20 + round);
        assert_eq!(cache.check().unwrap().findings(), []);
        let versions = versions(&cache);
        assert_eq!(versions.len(), cache.shards());
        // The first shards may have one more than was said, and one less the others.
        assert!(versions.is_sorted_by(|one, next| one >= next), "{versions:?}");
        assert!(versions.iter().all(|it| (last..=last + 1).contains(it)), "{versions:?} {last}");
        halves += u32::from(versions.first() != versions.last());
        cache.clear().unwrap();
    }
    println!("cut between two shards: {halves} times");
    cache.transact(|tx| tx.set("free", &1)).map_err(|error: Error| error.to_string()).unwrap();
}

#[test]
fn an_index_is_shared_by_processes() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("index");
    let index = numbers(&directory);
    let workers = start("index", &directory);
    let made: Vec<Option<String>> = workers.iter().map(Worker::line).collect();
    let expected: Vec<u64> = index.values().map(Result::unwrap).collect();
    assert!(index.keys().map(Result::unwrap).eq(0..ROUNDS));
    assert!(made.iter().all(|it| it.as_deref() == Some(&format!("{expected:?}"))), "{made:?}");
    std::fs::write(directory.with_extension("go"), "").unwrap();
    let mut taken: Vec<u64> = Vec::new();
    for worker in workers {
        let own: Vec<u64> = worker.finish().iter().map(|line| line.parse().unwrap()).collect();
        assert!(own.is_sorted(), "each takes the first that is there");
        taken.extend(own);
    }
    taken.sort_unstable();
    assert!(taken.into_iter().eq(0..ROUNDS));
    assert!(index.is_empty().unwrap() && index.cache().check().unwrap().is_clean());
}
