//! Writers and readers on one cache, killed at random and replaced.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use firncache::Cache;
use tempfile::TempDir;

use crate::ledger::{Ledger, assert_counters};
use crate::worker::Worker;
use crate::writer::{Random, SLOTS, WRITERS};
use crate::{assert_clean, open};

/// How long the test goes on, unless the environment says otherwise.
const SECONDS: u64 = 8;
/// The longest time between two rounds of killing.
const ROUND_MS: u64 = 150;

/// The parent of all workers.
struct Parent {
    /// The worker of each slot; writers come first.
    workers: Vec<Option<Worker>>,
    /// What the writers were told.
    ledgers: Vec<Ledger>,
    cache: Cache,
    directory: PathBuf,
    started: u64,
    /// Last, so that the directory goes after the workers.
    dir: TempDir,
}

impl Parent {
    fn new() -> Parent {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("cache");
        let mut parent = Parent {
            workers: Vec::new(),
            ledgers: (0..WRITERS).map(|_| Ledger::default()).collect(),
            cache: open(&directory),
            directory,
            started: 0,
            dir,
        };
        for slot in 0..SLOTS {
            let worker = parent.start(slot);
            parent.workers.push(Some(worker));
        }
        parent
    }

    /// Each worker has a number of its own, which tells its slot, too.
    fn start(&mut self, slot: u64) -> Worker {
        let number = self.started * SLOTS + slot;
        self.started += 1;
        Worker::start(if slot < WRITERS { "write" } else { "read" }, &self.directory, number)
    }

    fn hear(&mut self, slot: u64, lines: impl IntoIterator<Item = String>) {
        let Some(ledger) = self.ledgers.get_mut(slot as usize) else { return };
        for line in lines {
            ledger.hear(&line);
        }
    }

    fn hear_all(&mut self) {
        for slot in 0..SLOTS {
            let lines = self.workers[slot as usize].as_ref().map(Worker::so_far);
            self.hear(slot, lines.into_iter().flatten());
        }
    }

    /// Kills the workers of these slots, and compares what is there with what they were told.
    fn kill(&mut self, slots: &[u64]) {
        for slot in slots {
            let Some(worker) = self.workers[*slot as usize].take() else { continue };
            let lines = worker.kill();
            self.hear(*slot, lines);
        }
        // What was committed and not yet seen is seen when somebody has taken the lock.
        assert!(!self.cache.delete("nobody's key").unwrap());
        for slot in slots {
            if let Some(ledger) = self.ledgers.get_mut(*slot as usize) {
                ledger.settle(&self.cache, *slot);
            }
        }
    }

    fn start_missing(&mut self) {
        for slot in 0..SLOTS {
            if self.workers[slot as usize].is_none() {
                let worker = self.start(slot);
                self.workers[slot as usize] = Some(worker);
            }
        }
    }

    /// Waits until every worker has said something new.
    fn await_progress(&mut self) {
        self.hear_all();
        for slot in 0..SLOTS {
            // Two lines: the first may have been on its way.
            for _ in 0..2 {
                let Some(worker) = &self.workers[slot as usize] else { break };
                let line = worker.line();
                assert!(line.is_some(), "worker {slot} has ended by itself");
                self.hear(slot, line);
            }
        }
    }
}

fn seconds() -> Duration {
    let asked = std::env::var("PROCESS_SECONDS").ok();
    Duration::from_secs(asked.map_or(SECONDS, |it| it.parse().expect("a number of seconds")))
}

fn assert_reopened(directory: &Path, ledgers: &mut [Ledger]) {
    let cache = open(directory);
    for (slot, ledger) in ledgers.iter_mut().enumerate() {
        ledger.settle(&cache, slot as u64);
    }
    assert_counters(&cache, ledgers, true);
    assert_clean(&cache);
}

#[test]
fn killed_writers_lose_nothing_and_block_nobody() {
    let mut parent = Parent::new();
    let mut random = Random::new(parent.started);
    let (start, all) = (Instant::now(), seconds());
    let mut rounds = 0;
    while start.elapsed() < all {
        parent.await_progress();
        std::thread::sleep(Duration::from_millis(random.below(ROUND_MS)));
        parent.hear_all();
        let first = random.below(SLOTS);
        let victims: Vec<u64> =
            (0..1 + random.below(3)).map(|next| (first + next * 3) % SLOTS).collect();
        parent.kill(&victims);
        // Those left go on, with nobody's help.
        parent.await_progress();
        assert_counters(&parent.cache, &parent.ledgers, false);
        assert_clean(&parent.cache);
        parent.start_missing();
        rounds += 1;
    }
    end(parent);
    println!("{rounds} rounds of killing");
}

/// Kills all that are left; everything that was acknowledged is there, now and after reopening.
fn end(mut parent: Parent) {
    parent.kill(&(0..SLOTS).collect::<Vec<_>>());
    assert_clean(&parent.cache);
    let Parent { cache, directory, mut ledgers, dir, .. } = parent;
    assert_counters(&cache, &ledgers, true);
    assert_reopened(&directory, &mut ledgers);
    cache.compact().unwrap();
    assert_reopened(&directory, &mut ledgers);
    drop(dir);
}

/// Ten processes make a cache together, and are killed as soon as they are at work. In one of ten
/// such beginnings, segments that had been made ahead of their time were once given up with what
/// others had written to them.
#[test]
fn a_cache_that_many_begin_at_once_loses_nothing() {
    for _ in 0..20 {
        end(Parent::new());
    }
}
