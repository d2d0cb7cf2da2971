//! A storm of kills: writers and readers are killed as fast as they can be replaced, at any moment of
//! their life, from the opening on; several at once, and one after the other.
//!
//! They keep their ledgers themselves ([`Book`]) and are forked, not started, so that what is done for
//! a kill is little beside what is asked after it: whether all that was acknowledged to the killed is
//! there, and whether the cache is in order. Three caches have a storm each at the same time, as most
//! of it is waiting: for the disk, and for the killed to end. One of them lies in memory, where the disk
//! is not waited for: ten times as much is done there, and so more kills come in the middle of something.
//!
//! `CRASH_SECONDS=300 cargo test --test process storm -- --nocapture` goes on for longer.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use firncache::Cache;
use tempfile::TempDir;

use crate::book::Book;
use crate::ledger::{Ledger, assert_counters};
use crate::nursery::{self, Nursery};
use crate::worker::HUNG;
use crate::writer::{self, Random, SLOTS, WRITERS};
use crate::{assert_clean, open};

/// How long the test goes on, unless the environment says otherwise.
const SECONDS: u64 = 10;
/// At most so many are killed at once.
const AT_ONCE: u64 = 5;
/// After so many rounds, everybody must have got on.
const PROGRESS: u64 = 100;
/// At the same time.
const STORMS: u64 = 3;
/// Files are in memory there, if there is such a directory.
const MEMORY: &str = "/dev/shm";

struct Storm {
    nursery: Nursery,
    /// Of each slot; those of writers come first.
    books: Vec<Book>,
    /// The number of the worker in each slot.
    numbers: Vec<u64>,
    started: u64,
    cache: Cache,
    directory: PathBuf,
    /// Last, so that the directory goes after the workers.
    dir: TempDir,
}

fn book(directory: &Path, slot: u64) -> Book {
    Book::open(&directory.with_file_name(format!("book.{slot}")))
}

/// The process that has the workers as children.
pub(crate) fn nursery(directory: &Path) {
    nursery::work(|number| {
        let slot = number % SLOTS;
        let (cache, book) = (open(directory), book(directory, slot));
        if slot < WRITERS {
            writer::write_by_book(&cache, &book, number);
        }
        writer::read_by_book(&cache, &book, number);
    });
}

impl Storm {
    fn new(dir: TempDir) -> Storm {
        let directory = dir.path().join("cache");
        let mut storm = Storm {
            nursery: Nursery::start(&directory),
            books: (0..SLOTS).map(|slot| book(&directory, slot)).collect(),
            numbers: vec![0; SLOTS as usize],
            started: 0,
            cache: open(&directory),
            directory,
            dir,
        };
        (0..SLOTS).for_each(|slot| storm.start(slot));
        storm
    }

    /// Each worker has a number of its own, which tells its slot, too.
    fn start(&mut self, slot: u64) {
        let number = self.started * SLOTS + slot;
        self.started += 1;
        self.numbers[slot as usize] = number;
        self.nursery.bear(number);
    }

    /// Kills the workers of these slots, and compares what is there with what they were told.
    fn kill(&mut self, slots: &[u64]) {
        let numbers: Vec<u64> = slots.iter().map(|slot| self.numbers[*slot as usize]).collect();
        self.nursery.kill(&numbers);
        // This takes the lock: what was committed and not yet seen is seen from then on.
        assert_clean(&self.cache);
        for slot in slots.iter().filter(|slot| **slot < WRITERS) {
            let book = &self.books[*slot as usize];
            let mut ledger = book.read();
            ledger.settle(&self.cache, *slot);
            book.write(&ledger);
        }
    }

    fn ledgers(&self) -> Vec<Ledger> {
        self.books[..WRITERS as usize].iter().map(Book::read).collect()
    }

    /// Waits until every worker has done something more.
    fn await_progress(&self) {
        let done = |book: &Book| book.read().operations;
        let before: Vec<u64> = self.books.iter().map(done).collect();
        let start = Instant::now();
        for (slot, (book, before)) in self.books.iter().zip(before).enumerate() {
            while done(book) == before {
                assert!(start.elapsed() < HUNG, "worker {slot} is blocked");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Kills all that are left; everything that was acknowledged is there, now and after reopening.
    fn end(mut self) {
        self.kill(&(0..SLOTS).collect::<Vec<_>>());
        assert_counters(&self.cache, &self.ledgers(), true);
        self.cache.compact().unwrap();
        let (ledgers, Storm { cache, directory, dir, .. }) = (self.ledgers(), self);
        drop(cache);
        let cache = open(&directory);
        for (slot, mut ledger) in (0..).zip(ledgers) {
            ledger.settle(&cache, slot);
        }
        assert_clean(&cache);
        drop(dir);
    }
}

fn seconds() -> Duration {
    let asked = std::env::var("CRASH_SECONDS").ok();
    Duration::from_secs(asked.map_or(SECONDS, |it| it.parse().expect("a number of seconds")))
}

/// How many were killed, and how much all of them had done.
fn rage(seed: u64, dir: TempDir) -> (u64, u64) {
    let (mut storm, mut random) = (Storm::new(dir), Random::new(seed));
    let (start, mut kills) = (Instant::now(), 0);
    for round in 1.. {
        let (first, count) = (random.below(SLOTS), 1 + random.below(AT_ONCE));
        let victims: Vec<u64> = (0..count).map(|next| (first + 3 * next) % SLOTS).collect();
        storm.kill(&victims);
        victims.iter().for_each(|slot| storm.start(*slot));
        kills += count;
        if round % PROGRESS == 0 {
            storm.await_progress();
            assert_counters(&storm.cache, &storm.ledgers(), false);
        }
        if start.elapsed() > seconds() {
            break;
        }
    }
    let done = storm.books.iter().map(|book| book.read().operations).sum();
    storm.end();
    (kills, done)
}

#[test]
fn a_storm_of_kills_loses_nothing() {
    let start = Instant::now();
    let memory = Path::new(MEMORY);
    let in_memory = memory.is_dir().then(|| tempfile::tempdir_in(memory).unwrap());
    let dirs = in_memory.into_iter().chain(std::iter::repeat_with(|| tempfile::tempdir().unwrap()));
    let start_one = |(seed, dir)| std::thread::spawn(move || rage(seed, dir));
    let storms: Vec<_> = (1..=STORMS).zip(dirs).map(start_one).collect();
    let ended: Vec<_> = storms.into_iter().map(|storm| storm.join().unwrap()).collect();
    let took = start.elapsed().as_secs_f64();
    let sum = |part: fn(&(u64, u64)) -> u64| ended.iter().map(part).sum::<u64>();
    let (kills, done) = (sum(|one| one.0), sum(|one| one.1));
    println!("{kills} kills, {:.0} in a second, of {done} operations", kills as f64 / took);
}
