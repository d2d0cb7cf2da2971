//! Computing once and holding locks, across processes that may be killed. How long the next then
//! waits is printed, not asserted.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use firncache::recipes::{Averager, BoundedSemaphore, Lock, RLock, Throttle};
use firncache::{Cache, Error, SetOptions};

use crate::worker::{Worker, clock, said_time, say, say_time};
use crate::{assert_clean, open};

/// Processes at once.
const PROCESSES: u64 = 8;
/// How often each of them holds the lock.
const TURNS: u64 = 400;
/// How many are let in by the semaphore.
const PERMITS: u32 = 3;
/// How many the throttle lets through at once, and how far apart the others are.
const BURST: u32 = 4;
const STEP: Duration = Duration::from_millis(10);
/// How often one that computes is killed.
const KILLS: usize = 9;

/// A file beside the cache, which nothing protects.
fn beside(directory: &Path, name: &str) -> PathBuf {
    directory.with_extension(name)
}

/// Adds one to the number in a file, in the most careless way.
fn count_in(path: &Path) {
    let number: u64 = std::fs::read_to_string(path).map_or(0, |text| text.parse().unwrap());
    std::fs::write(path, (number + 1).to_string()).unwrap();
}

fn note(path: &Path) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(b"x").unwrap();
}

fn notes(path: &Path) -> usize {
    std::fs::read(path).map_or(0, |bytes| bytes.len())
}

fn wait_for(path: &Path) {
    while !path.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// A worker: what its name says, in this directory.
pub(crate) fn work(work: &str, directory: &Path, number: u64) {
    let cache = open(directory);
    match work {
        "together lock" => {
            let lock = Lock::new(&cache, "lock");
            for _ in 0..TURNS {
                let _guard = lock.acquire().unwrap();
                count_in(&beside(directory, "count"));
            }
        }
        "together hold" => {
            let _guard = Lock::new(&cache, "lock").acquire().unwrap();
            let _others = (
                RLock::new(&cache, "lock").acquire().unwrap(),
                BoundedSemaphore::new(&cache, "lock", 1).acquire().unwrap(),
            );
            say("held");
            for_ever();
        }
        "together wait" => {
            say("waits");
            let _guard = Lock::new(&cache, "lock").acquire().unwrap();
            say("held");
        }
        "together compute" => {
            wait_for(&beside(directory, "go"));
            for key in 0..10 {
                compute(&cache, directory, key, Duration::from_millis(20));
            }
        }
        "together compute for ever" => {
            let _ = cache.get_or_set_with(0, SetOptions::new(), || {
                say("computes");
                for_ever();
                #[expect(unreachable_code, reason = "tells the type")]
                Ok::<u64, Error>(0)
            });
        }
        "together compute one" => {
            say("asks");
            compute_next(&cache, directory);
        }
        "together semaphore" => {
            let semaphore = BoundedSemaphore::new(&cache, "s", PERMITS);
            for _ in 0..100 {
                let _permit = semaphore.acquire().unwrap();
                let inside = cache.incr("inside", 1).unwrap();
                assert!(inside <= PERMITS.into(), "{inside} are inside");
                std::thread::sleep(Duration::from_micros(100));
                cache.decr("inside", 1).unwrap();
            }
        }
        "together average" => {
            let mean = Averager::new(&cache, "mean");
            (0..500).for_each(|value| mean.add(f64::from(value)).unwrap());
        }
        "together throttle" => {
            let per = STEP * BURST;
            for _ in 0..10 {
                Throttle::new(&cache, "t", BURST, per).unwrap().acquire().unwrap();
            }
        }
        "together mix" => mix(&cache, number),
        other => panic!("no work is called {other}"),
    }
}

fn compute(cache: &Cache, directory: &Path, key: u64, takes: Duration) {
    let value = cache.get_or_set_with(key, SetOptions::new(), || {
        note(&beside(directory, "computed"));
        std::thread::sleep(takes);
        Ok::<_, Error>(key * 10)
    });
    assert_eq!(value.unwrap(), key * 10);
}

/// Says when it computes, if it does.
fn compute_next(cache: &Cache, directory: &Path) {
    let value = cache.get_or_set_with(0, SetOptions::new(), || {
        say_time();
        note(&beside(directory, "computed"));
        Ok::<_, Error>(7)
    });
    assert_eq!(value.unwrap(), 7);
}

/// Locks before transactions and within them.
fn mix(cache: &Cache, number: u64) {
    let lock = Lock::new(cache, "lock");
    for round in 0..200 {
        if (number + round).is_multiple_of(2) {
            let _guard = lock.acquire().unwrap();
            cache.transact(|tx| tx.incr("one", 1)).unwrap();
        } else {
            let tried = cache.transact(|tx| {
                // A lock that another one has, who wants to write, is not waited for.
                let guard = lock.acquire_timeout(Duration::from_millis(1))?;
                tx.incr("other", 1)?;
                Ok::<_, Error>(guard.is_some())
            });
            tried.unwrap();
        }
    }
}

/// Starts all, waits for the end of all, and gives how long that took.
fn together(work: &str, directory: &Path, count: u64) -> Duration {
    let start = Instant::now();
    let start_one = |number| Worker::start(work, directory, number);
    let workers: Vec<Worker> = (0..count).map(start_one).collect();
    for worker in workers {
        worker.finish();
    }
    start.elapsed()
}

#[test]
fn one_at_a_time_holds_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    together("together lock", &directory, PROCESSES);
    let counted = std::fs::read_to_string(beside(&directory, "count")).unwrap();
    assert_eq!(counted, (PROCESSES * TURNS).to_string());
    assert_clean(&open(&directory));
}

#[test]
fn a_killed_holder_lets_go_of_everything() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    let cache = open(&directory);
    for round in 0..4 {
        let holder = Worker::start("together hold", &directory, 0);
        holder.expect("held");
        let lock = Lock::new(&cache, "lock");
        assert!(lock.try_acquire().unwrap().is_none());
        let waiters: Vec<Worker> =
            (0..round).map(|number| Worker::start("together wait", &directory, number)).collect();
        waiters.iter().for_each(|waiter| waiter.expect("waits"));
        holder.kill();
        waiters.iter().for_each(|waiter| waiter.expect("held"));
        waiters.into_iter().for_each(|waiter| _ = waiter.finish());
        assert!(lock.try_acquire().unwrap().is_some());
        assert!(RLock::new(&cache, "lock").try_acquire().unwrap().is_some());
        assert!(BoundedSemaphore::new(&cache, "lock", 1).try_acquire().unwrap().is_some());
    }
    assert_clean(&cache);
}

#[test]
fn killed_waiters_hold_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    let cache = open(&directory);
    let guard = Lock::new(&cache, "lock").acquire().unwrap();
    let start_one = |number| Worker::start("together wait", &directory, number);
    let mut waiters: Vec<Worker> = (0..6).map(start_one).collect();
    waiters.iter().for_each(|waiter| waiter.expect("waits"));
    std::thread::sleep(Duration::from_millis(30));
    let left = waiters.split_off(3);
    waiters.into_iter().for_each(|waiter| _ = waiter.kill());
    drop(guard);
    left.iter().for_each(|waiter| waiter.expect("held"));
    left.into_iter().for_each(|waiter| _ = waiter.finish());
    assert!(Lock::new(&cache, "lock").try_acquire().unwrap().is_some());
}

#[test]
fn of_many_processes_one_computes() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    let start_one = |number| Worker::start("together compute", &directory, number);
    let workers: Vec<Worker> = (0..PROCESSES).map(start_one).collect();
    std::fs::write(beside(&directory, "go"), "").unwrap();
    workers.into_iter().for_each(|worker| _ = worker.finish());
    assert_eq!(notes(&beside(&directory, "computed")), 10);
    let cache = open(&directory);
    assert_eq!(cache.len().unwrap(), 10);
    assert_clean(&cache);
}

/// Kills a process that computes; gives how long it then took until another one computed.
fn kill_the_first(directory: &Path) -> Duration {
    let directory = directory.join("cache");
    let first = Worker::start("together compute for ever", &directory, 0);
    first.expect("computes");
    let start_one = |number| Worker::start("together compute one", &directory, number);
    let others: Vec<Worker> = (0..4).map(start_one).collect();
    others.iter().for_each(|other| other.expect("asks"));
    // Those who ask wait by now; where one does not, it is none the worse.
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(notes(&beside(&directory, "computed")), 0);
    let killed = clock();
    first.kill();
    let said: Vec<String> = others.into_iter().flat_map(Worker::finish).collect();
    assert_eq!((said.len(), notes(&beside(&directory, "computed"))), (1, 1), "{said:?}");
    assert_eq!(open(&directory).get::<u64>(0).unwrap(), Some(7));
    said_time(&said[0]) - killed
}

#[test]
fn a_killed_computation_is_left_to_the_next() {
    let mut waits = [(); KILLS].map(|()| {
        let dir = tempfile::tempdir().unwrap();
        kill_the_first(dir.path())
    });
    waits.sort_unstable();
    let (half, worst) = (waits[KILLS / 2], waits[KILLS - 1]);
    println!("the next computes {half:?} after the first was killed, at worst {worst:?}");
}

#[test]
fn no_more_than_the_permits_are_inside() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    together("together semaphore", &directory, PROCESSES);
    assert_eq!(open(&directory).get("inside").unwrap(), Some(0));
}

#[test]
fn every_number_counts_in_the_mean() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    together("together average", &directory, 4);
    let cache = open(&directory);
    assert_eq!(cache.get("mean").unwrap(), Some((4.0 * 499.0 * 250.0, 2000_u64)));
    assert_eq!(Averager::new(&cache, "mean").pop().unwrap(), Some(249.5));
}

#[test]
fn the_throttle_is_that_of_all_processes() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    let took = together("together throttle", &directory, 4);
    assert!(took >= STEP * (40 - BURST), "{took:?}");
}

#[test]
fn locks_and_transactions_in_any_order_come_to_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    together("together mix", &directory, 4);
    let cache = open(&directory);
    assert_eq!(cache.get_many::<i64>(["one", "other"]).unwrap(), [Some(400), Some(400)]);
    assert_clean(&cache);
}
