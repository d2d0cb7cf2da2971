//! One thing at a time: holders that stop or die, counting together, opening together.

use std::path::Path;
use std::time::Duration;

use firncache::{Cache, Error, ErrorKind};

use crate::worker::{Worker, say};
use crate::{assert_clean, open, options};

/// Processes at once.
const PROCESSES: u64 = 8;
/// How often each of them counts.
const COUNTS: i64 = 2000;

/// A worker: takes the lock, says so, and commits when there is a file beside the directory.
pub(crate) fn hold(directory: &Path) {
    let cache = open(directory);
    let ask = directory.with_extension("go");
    cache
        .transact(|tx| {
            tx.set("inside", &1)?;
            tx.set_bytes("large inside", &[1; 5000])?;
            tx.delete("before")?;
            say("held");
            while !ask.exists() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(cache.get("inside").unwrap(), Some(1));
    say("done");
}

/// A worker: counts.
pub(crate) fn count(directory: &Path) {
    let cache = open(directory);
    for _ in 0..COUNTS {
        cache.incr("count", 1).unwrap();
    }
}

/// A worker: opens, which may make the cache, and stores its number.
pub(crate) fn open_and_set(directory: &Path, number: u64) {
    open(directory).set(number, &number).unwrap();
}

#[test]
fn a_stopped_holder_stops_writers_only_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    let cache = options().timeout(Duration::from_millis(200)).open(&directory).unwrap();
    cache.set("before", &1).unwrap();
    cache.set_bytes("large", &[7; 5000]).unwrap();
    let holder = Worker::start("hold", &directory, 0);
    holder.expect("held");
    holder.signal("STOP");
    assert_as_before(&cache);
    for _ in 0..2 {
        let refusals = [
            cache.set("new", &1).unwrap_err(),
            cache.incr("new", 1).unwrap_err(),
            cache.transact(|tx| tx.set("new", &1)).unwrap_err(),
        ];
        for error in refusals {
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            let names_it = error.to_string().contains(&holder.id().to_string());
            assert!(names_it, "{error}, and the holder is {}", holder.id());
        }
        assert_as_before(&cache);
    }
    assert_eq!(Cache::open(&directory).unwrap().get("before").unwrap(), Some(1));
    std::fs::write(directory.with_extension("go"), "").unwrap();
    holder.signal("CONT");
    holder.expect("done");
    holder.finish();
    cache.set("new", &1).unwrap();
    assert_eq!(cache.get("inside").unwrap(), Some(1));
    assert!(!cache.contains("before").unwrap());
    assert_clean(&cache);
}

/// Every kind of reading, while another holds the lock.
fn assert_as_before(cache: &Cache) {
    assert_eq!(cache.get("before").unwrap(), Some(1));
    assert!(cache.get_bytes("large").unwrap() == Some(vec![7; 5000]));
    assert_eq!(cache.get::<i32>("inside").unwrap(), None);
    assert_eq!(cache.get_bytes("large inside").unwrap(), None);
    assert_eq!(cache.len().unwrap(), 2);
    assert_eq!((cache.iter().count(), cache.sorted_keys().unwrap().count()), (2, 2));
}

#[test]
fn a_killed_holder_leaves_nothing_and_blocks_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    let cache = open(&directory);
    for round in 0..5 {
        cache.set("before", &1).unwrap();
        cache.set_bytes("large", &[7; 5000]).unwrap();
        let holder = Worker::start("hold", &directory, 0);
        holder.expect("held");
        assert_as_before(&cache);
        holder.kill();
        if round % 2 == 0 {
            // The first writer after the kill; it would time out if the lock were still held.
            cache.set("large", &round).unwrap();
            assert_eq!(cache.get("large").unwrap(), Some(round));
            cache.set_bytes("large", &[7; 5000]).unwrap();
        }
        assert_as_before(&cache);
        assert_clean(&cache);
        assert_as_before(&open(&directory));
    }
}

#[test]
fn a_waiting_writer_goes_on_when_the_holder_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    let cache = open(&directory);
    let holder = Worker::start("hold", &directory, 0);
    holder.expect("held");
    let writers: Vec<Worker> =
        (0..3).map(|number| Worker::start("open", &directory, number)).collect();
    holder.kill();
    for writer in writers {
        writer.finish();
    }
    assert_eq!(cache.get_many::<u64>(0..3).unwrap(), [Some(0), Some(1), Some(2)]);
    assert_eq!(cache.len().unwrap(), 3);
    assert_clean(&cache);
}

#[test]
fn counting_together_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    let workers: Vec<Worker> =
        (0..PROCESSES).map(|number| Worker::start("count", &directory, number)).collect();
    for worker in workers {
        worker.finish();
    }
    let cache = open(&directory);
    assert_eq!(cache.get("count").unwrap(), Some(COUNTS * PROCESSES as i64));
    assert_clean(&cache);
}

#[test]
fn opening_together_makes_one_cache() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let directory = dir.path().join(format!("cache {round}"));
        let workers: Vec<Worker> =
            (0..PROCESSES).map(|number| Worker::start("open", &directory, number)).collect();
        for worker in workers {
            worker.finish();
        }
        let cache = open(&directory);
        let found = cache.get_many::<u64>(0..PROCESSES).unwrap();
        assert_eq!(found, (0..PROCESSES).map(Some).collect::<Vec<_>>());
        assert_clean(&cache);
    }
}
