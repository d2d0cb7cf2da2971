//! One queue, and one deque, for many processes: nothing is lost, nothing comes twice, and what one
//! process pushed comes out in its order, killed or not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use firncache::{Cache, Deque, PushOptions, QueueOptions};

use crate::crowd::operations;
use crate::worker::{Worker, say};
use crate::writer::Random;
use crate::{assert_clean, open};

const PROCESSES: u64 = 8;
/// Pushes of each process that changes a deque in every way.
const PUSHES: u64 = 375;
/// How long workers are killed.
const SECONDS: u64 = 6;
const MOST: u64 = 20;

/// A producer, and the number of an item of it.
type Pushed = (u64, u64);

fn push(cache: &Cache, item: Pushed) {
    cache.push_with(&item, PushOptions::new().prefix("jobs")).unwrap();
}

fn pull(cache: &Cache) -> Option<Pushed> {
    let pulled = cache.pull_with(QueueOptions::new().prefix("jobs")).unwrap();
    pulled.map(|(_, entry)| entry.value)
}

/// A worker: pushes and pulls, and says what it got.
pub(crate) fn push_and_pull(directory: &Path, number: u64) {
    let (cache, mut random) = (open(directory), Random::new(number));
    for next in 0..operations() {
        push(&cache, (number, next));
        for _ in 0..random.below(3) {
            if let Some((producer, item)) = pull(&cache) {
                say(&format!("got {producer} {item}"));
            }
        }
    }
}

/// A worker: announces, does and confirms pushes and pulls, until it is killed.
pub(crate) fn push_and_pull_for_ever(directory: &Path, number: u64) {
    let (cache, mut random) = (open(directory), Random::new(number));
    for next in 0.. {
        say(&format!("push {number} {next}"));
        push(&cache, (number, next));
        say(&format!("pushed {number} {next}"));
        for _ in 0..random.below(3) {
            say("pull 0 0");
            match pull(&cache) {
                Some((producer, item)) => say(&format!("got {producer} {item}")),
                None => say("none 0 0"),
            }
        }
    }
}

/// What all workers have said together.
#[derive(Default)]
struct Accounts {
    pushed: BTreeSet<Pushed>,
    /// Pushes and pulls that were announced and never confirmed.
    doubtful_pushes: BTreeSet<Pushed>,
    doubtful_pulls: usize,
    got: BTreeSet<Pushed>,
}

impl Accounts {
    /// Takes in all lines of one worker, the last of which may be an announcement.
    fn hear(&mut self, lines: &[String]) {
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        let mut pending = None;
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let item = (words[1].parse().unwrap(), words[2].parse().unwrap());
            pending = None;
            match words[0] {
                "push" | "pull" => pending = Some((words[0] == "push", item)),
                "pushed" => assert!(self.pushed.insert(item)),
                "none" => {}
                _ => {
                    assert!(self.got.insert(item), "{item:?} came twice");
                    let before = last.insert(item.0, item.1);
                    assert!(before < Some(item.1), "{item:?} came after {before:?}");
                }
            }
        }
        match pending {
            Some((true, item)) => drop(self.doubtful_pushes.insert(item)),
            Some((false, _)) => self.doubtful_pulls += 1,
            None => {}
        }
    }

    /// Takes out what is left, and compares.
    fn settle(mut self, cache: &Cache) {
        let mut left = Vec::new();
        while let Some(item) = pull(cache) {
            left.push(format!("got {} {}", item.0, item.1));
        }
        self.hear(&left);
        let lost: Vec<_> = self.pushed.difference(&self.got).collect();
        assert!(lost.len() <= self.doubtful_pulls, "{} in doubt: {lost:?}", self.doubtful_pulls);
        let invented = self
            .got
            .iter()
            .find(|item| !self.pushed.contains(item) && !self.doubtful_pushes.contains(item));
        assert_eq!(invented, None);
        assert_clean(cache);
        assert!(cache.is_empty().unwrap());
        println!("{} pushed, {} got, {} in doubt", self.pushed.len(), self.got.len(), lost.len());
    }
}

#[test]
fn a_queue_of_many_processes_loses_nothing_and_gives_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    let workers: Vec<Worker> =
        (0..PROCESSES).map(|number| Worker::start("queue", &directory, number)).collect();
    let mut accounts = Accounts::default();
    for (number, worker) in (0..).zip(workers) {
        accounts.hear(&worker.finish());
        accounts.pushed.extend((0..operations()).map(|item| (number, item)));
    }
    accounts.settle(&open(&directory));
}

#[test]
fn a_queue_whose_users_are_killed_loses_nothing_and_gives_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    let cache = open(&directory);
    let (mut random, mut accounts) = (Random::new(7), Accounts::default());
    let start = |number| (Worker::start("queue for ever", &directory, number), Vec::new());
    let mut workers: Vec<(Worker, Vec<String>)> = (0..PROCESSES).map(start).collect();
    let (begin, mut started) = (Instant::now(), PROCESSES);
    while begin.elapsed() < Duration::from_secs(SECONDS) {
        std::thread::sleep(Duration::from_millis(random.below(60)));
        let (worker, mut lines) = workers.swap_remove(random.below(PROCESSES) as usize);
        // One that has said nothing yet is not worth killing.
        lines.extend(worker.line());
        lines.extend(worker.kill());
        accounts.hear(&lines);
        workers.push(start(started));
        started += 1;
        for (worker, lines) in &mut workers {
            lines.extend(worker.so_far());
        }
    }
    for (worker, mut lines) in workers {
        lines.extend(worker.kill());
        accounts.hear(&lines);
    }
    assert_clean(&cache);
    println!("{} workers killed", started);
    accounts.settle(&cache);
}

/// A worker: changes a deque in every way, and says what it took out.
pub(crate) fn use_deque(directory: &Path, number: u64) {
    let (deque, mut random) = (Deque::<Pushed>::open(directory).unwrap(), Random::new(number));
    let got = |item: Option<Pushed>| {
        if let Some((producer, item)) = item {
            say(&format!("got {producer} {item}"));
        }
    };
    for next in 0..PUSHES {
        match random.below(2) {
            0 => deque.push_back(&(number, next)).unwrap(),
            _ => deque.push_front(&(number, next)).unwrap(),
        }
        match random.below(12) {
            0..4 => got(deque.pop_front().unwrap()),
            4..8 => got(deque.pop_back().unwrap()),
            8 => got(deque.remove_at(random.below(9) as i64 - 4).unwrap()),
            9 => deque.rotate(random.below(5) as i64 - 2).unwrap(),
            10 => deque.reverse().unwrap(),
            _ => {
                let len = deque.len().unwrap();
                assert!(deque.max_len().unwrap().is_none_or(|most| len <= most));
            }
        }
    }
}

#[test]
fn a_deque_of_many_processes_loses_nothing_and_gives_nothing_twice() {
    for most in [None, Some(MOST)] {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("deque");
        let deque = Deque::<Pushed>::open(&directory).unwrap();
        deque.set_max_len(most).unwrap();
        let workers: Vec<Worker> =
            (0..PROCESSES).map(|number| Worker::start("deque", &directory, number)).collect();
        let mut seen = BTreeSet::new();
        let mut see = |item: Pushed| assert!(seen.insert(item), "{item:?} came twice");
        for worker in workers {
            for line in worker.finish() {
                let words: Vec<u64> =
                    line.split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
                see((words[0], words[1]));
            }
        }
        assert_clean(deque.cache());
        let left = deque.len().unwrap();
        assert_eq!(deque.iter().count() as u64, left);
        while let Some(item) = deque.pop_front().unwrap() {
            see(item);
        }
        let pushed = PROCESSES * PUSHES;
        match most {
            None => assert_eq!(seen.len() as u64, pushed),
            Some(most) => assert!(left <= most && seen.len() as u64 <= pushed),
        }
        assert_eq!(deque.back().unwrap(), None);
    }
}
