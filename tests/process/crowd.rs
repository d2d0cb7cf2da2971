//! Eight processes at full speed: one counter, one deque, one index, one lock.
//!
//! `PROCESS_OPERATIONS=10000 cargo test --release --test process crowd` has each of them do as many
//! operations; without it there are fewer, so that a slow machine is done in seconds. How long a
//! lock is waited for is printed, not asserted, but for what would be a hang.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use firncache::recipes::Lock;
use firncache::{Deque, Index};

use crate::worker::{Worker, clock, said_time, say, say_time};
use crate::writer::Random;
use crate::{assert_clean, open};

const PROCESSES: u64 = 8;
/// Operations of each process, unless the environment says otherwise.
const OPERATIONS: u64 = 1500;
/// Keys of the index.
const KEYS: u64 = 500;
/// How often the holder of a lock is killed.
const KILLS: usize = 9;
/// How often a lock is given back to one who waits for it.
const RELEASES: u64 = 200;
/// A lock that is not had in this time is not had for ever.
const SLOW: Duration = Duration::from_secs(10);

pub(crate) fn operations() -> u64 {
    let asked = std::env::var("PROCESS_OPERATIONS").ok();
    asked.map_or(OPERATIONS, |it| it.parse().expect("a number of operations"))
}

/// A producer, and the number of an item of it.
type Pushed = (u64, u64);

/// A worker: what its name says, in this directory.
pub(crate) fn work(work: &str, directory: &Path, number: u64) {
    match work {
        "crowd count" => {
            let cache = open(directory);
            (0..operations()).for_each(|_| _ = cache.incr("count", 1).unwrap());
        }
        "crowd deque" => use_deque(directory, number),
        "crowd index" => {
            let (index, mut random) = (numbers(directory), Random::new(number));
            for next in 0..operations() {
                index.insert(&random.below(KEYS), &(number, next)).unwrap();
            }
        }
        "crowd lock" => {
            let cache = open(directory);
            let lock = Lock::new(&cache, "lock");
            say("ready");
            let waits = (0..operations() / 5).map(|_| {
                let start = Instant::now();
                let guard = lock.acquire().unwrap();
                let waited = start.elapsed();
                drop(guard);
                waited.as_micros()
            });
            say(&waits.max().unwrap_or(0).to_string());
        }
        "crowd wait" => {
            let cache = open(directory);
            say("waits");
            let _guard = Lock::new(&cache, "lock").acquire().unwrap();
            say("held");
        }
        "crowd wake" => {
            let cache = open(directory);
            for number in 0..RELEASES {
                say("waits");
                let _guard = Lock::new(&cache, number).acquire().unwrap();
                say_time();
            }
        }
        other => panic!("no work is called {other}"),
    }
}

/// Pushes at the back, pops at the front, and says what it got, many items to a line.
fn use_deque(directory: &Path, number: u64) {
    let (deque, mut random) = (Deque::<Pushed>::open(directory).unwrap(), Random::new(number));
    let (mut pushed, mut got) = (0, Vec::new());
    for _ in 0..operations() {
        if random.below(5) < 3 {
            deque.push_back(&(number, pushed)).unwrap();
            pushed += 1;
        } else if let Some((producer, item)) = deque.pop_front().unwrap() {
            got.push(format!("{producer} {item}"));
        }
    }
    say(&format!("pushed {pushed}"));
    got.chunks(100).for_each(|items| say(&items.join(",")));
}

fn numbers(directory: &Path) -> Index<u64, Pushed> {
    Index::open(directory).unwrap()
}

fn start(work: &str, directory: &Path) -> Vec<Worker> {
    (0..PROCESSES).map(|number| Worker::start(work, directory, number)).collect()
}

#[test]
fn a_crowd_counts_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    start("crowd count", &directory).into_iter().for_each(|worker| _ = worker.finish());
    let cache = open(&directory);
    assert_eq!(cache.get("count").unwrap(), Some(PROCESSES * operations()));
    assert_clean(&cache);
}

/// Each item once, and those of one producer in their order, as one consumer sees them.
fn hear(items: impl Iterator<Item = Pushed>, seen: &mut BTreeSet<Pushed>) {
    let mut last = [None; PROCESSES as usize];
    for (producer, item) in items {
        assert!(seen.insert((producer, item)), "{item} of {producer} came twice");
        let before = last[producer as usize].replace(item);
        assert!(before < Some(item), "{item} of {producer} came after {before:?}");
    }
}

#[test]
fn a_crowd_at_a_deque_loses_nothing_and_keeps_the_order() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("deque");
    let (mut pushed, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for (number, worker) in (0..).zip(start("crowd deque", &directory)) {
        let lines = worker.finish();
        let (first, lines) = lines.split_first().unwrap();
        let count: u64 = first.strip_prefix("pushed ").unwrap().parse().unwrap();
        pushed.extend((0..count).map(|item| (number, item)));
        let items = lines.iter().flat_map(|line| line.split(',')).map(|item| {
            let (producer, item) = item.split_once(' ').unwrap();
            (producer.parse().unwrap(), item.parse().unwrap())
        });
        hear(items, &mut seen);
    }
    let deque = Deque::<Pushed>::open(&directory).unwrap();
    let (popped, left) = (seen.len() as u64, deque.len().unwrap());
    hear(std::iter::from_fn(|| deque.pop_front().unwrap()), &mut seen);
    assert_eq!(seen.len() as u64, popped + left);
    assert!(seen == pushed, "{} pushed, {popped} popped, {left} left", pushed.len());
    println!("{} pushed, {popped} popped, {left} left", pushed.len());
    assert!(deque.cache().check().unwrap().is_clean());
}

#[test]
fn a_crowd_at_an_index_leaves_last_writes_and_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("index");
    let workers = start("crowd index", &directory);
    let index = numbers(&directory);
    // A key keeps the place of its first insertion: later walks have more keys, in the same order.
    let mut before: Vec<u64> = Vec::new();
    while before.len() as u64 != KEYS {
        let walked: Vec<u64> = index.keys().map(Result::unwrap).collect();
        let mut rest = walked.iter();
        let is_same_order = before.iter().all(|key| rest.any(|other| other == key));
        assert!(is_same_order, "{walked:?} after {before:?}");
        before = walked;
    }
    workers.into_iter().for_each(|worker| _ = worker.finish());
    // The last that each process wrote to each key.
    let mut written = vec![BTreeSet::new(); KEYS as usize];
    for number in 0..PROCESSES {
        let (mut random, mut last) = (Random::new(number), vec![None; KEYS as usize]);
        (0..operations()).for_each(|next| last[random.below(KEYS) as usize] = Some((number, next)));
        written.iter_mut().zip(last).for_each(|(written, last)| written.extend(last));
    }
    let items: Vec<(u64, Pushed)> = index.iter().map(Result::unwrap).collect();
    assert!(items.iter().map(|(key, _)| *key).eq(before));
    assert!(index.iter().rev().map(Result::unwrap).eq(items.iter().rev().copied()));
    for (key, value) in items {
        assert!(written[key as usize].contains(&value), "{key} is {value:?}");
        assert_eq!(index.get(key).unwrap(), Some(value));
    }
    assert!(index.cache().check().unwrap().is_clean());
}

#[test]
fn a_crowd_at_a_lock_waits_no_longer_than_its_turn() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    let cache = open(&directory);
    let guard = Lock::new(&cache, "lock").acquire().unwrap();
    let workers = start("crowd lock", &directory);
    workers.iter().for_each(|worker| worker.expect("ready"));
    let begin = Instant::now();
    drop(guard);
    let waits = workers.into_iter().map(|worker| worker.finish()[0].parse().unwrap());
    let worst = Duration::from_micros(waits.max().unwrap());
    let (turns, all) = (PROCESSES * (operations() / 5), begin.elapsed());
    println!("{turns} turns of a lock in {all:?}, the longest wait {worst:?}");
    assert!(worst < SLOW, "{worst:?}");
    assert!(Lock::new(&cache, "lock").try_acquire().unwrap().is_some());
}

#[test]
fn a_crowd_gets_the_lock_of_a_killed_holder_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    let mut waits = Vec::new();
    for _ in 0..KILLS {
        let holder = Worker::start("together hold", &directory, 0);
        holder.expect("held");
        let waiter = Worker::start("crowd wait", &directory, 0);
        waiter.expect("waits");
        std::thread::sleep(Duration::from_millis(50));
        assert!(waiter.so_far().is_empty());
        let start = Instant::now();
        holder.kill();
        waiter.expect("held");
        waits.push(start.elapsed());
        waiter.finish();
    }
    waits.sort_unstable();
    let (half, worst) = (waits[KILLS / 2], waits[KILLS - 1]);
    println!("the next has the lock {half:?} after its holder was killed, at worst {worst:?}");
    assert!(worst < SLOW, "{worst:?}");
}

#[test]
fn one_who_waits_for_a_lock_has_it_when_it_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    let cache = open(&directory);
    let hold = |number| Lock::new(&cache, number).acquire().unwrap();
    // A lock for each time, so that there is no doubt about whose turn it is.
    let guards: Vec<_> = (0..RELEASES).map(hold).collect();
    let waiter = Worker::start("crowd wake", &directory, 0);
    let mut waits = Vec::new();
    for guard in guards {
        waiter.expect("waits");
        std::thread::sleep(Duration::from_millis(3));
        let released = clock();
        drop(guard);
        let held = said_time(&waiter.line().unwrap());
        assert!(held > released, "it was held by two");
        waits.push(held - released);
    }
    waiter.finish();
    waits.sort_unstable();
    let at = |part: usize| waits[(waits.len() - 1) * part / 100];
    let (half, most, worst) = (at(50), at(90), at(100));
    println!("{RELEASES} releases: held by the next after {half:?}, 90% {most:?}, worst {worst:?}");
    assert!(worst < SLOW, "{worst:?}");
}
