//! A queue of jobs that are kept until they are done.
//!
//! ```text
//! jobs-..             jobs that wait, in order        pushed under the prefix "jobs"
//! ("hand", worker)    the job that a worker does now
//! dead-..             jobs that were given up         pushed under the prefix "dead"
//! "workers"           the number of the worker that came last
//! "taken back"        how many jobs dead workers had in hand
//! "closed"            there once no more jobs will come
//!
//!   push          take             done
//! --------> jobs ------> in hand --------> gone
//!            ^              |
//!            '--------------+-----------------> dead
//!             failed, or the worker is dead      for the third time
//! ```
//!
//! Every arrow is one transaction, so a job is always in exactly one place. What a worker has in
//! hand is not done before it says so: if it is killed, another worker does the job again.

use std::path::Path;

use firncache::recipes::{Guard, Lock};
use firncache::{Cache, Eviction, Key, PushOptions, QueueOptions, Result};
use serde::{Deserialize, Serialize};

/// How often a job is tried.
pub(crate) const TRIES: u32 = 3;
const JOBS: &str = "jobs";
const DEAD: &str = "dead";

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Job {
    pub(crate) number: u64,
    /// How often it was tried in vain.
    pub(crate) tries: u32,
}

/// What a worker has in hand.
#[derive(Deserialize, Serialize)]
pub(crate) struct Hand {
    pub(crate) worker: u64,
    pub(crate) process: u32,
    pub(crate) job: Job,
}

pub(crate) struct Queue {
    cache: Cache,
}

/// A worker that lives.
pub(crate) struct Life {
    pub(crate) worker: u64,
    _alive: Guard,
}

impl Queue {
    pub(crate) fn open(directory: &Path) -> Result<Queue> {
        // A queue is no cache: nothing may go because there is much of it.
        let cache = Cache::options().eviction(Eviction::None).open(directory.join("queue"))?;
        Ok(Queue { cache })
    }

    /// Adds a new job. When this returns, the job survives the end of every process.
    pub(crate) fn push(&self, number: u64) -> Result<()> {
        self.put(JOBS, &Job { number, tries: 0 }).map(|_| ())
    }

    fn put(&self, prefix: &str, job: &Job) -> Result<Key> {
        self.cache.push_with(job, PushOptions::new().prefix(prefix))
    }

    fn has(&self, prefix: &str) -> Result<bool> {
        let first = self.cache.peek_with::<Job>(QueueOptions::new().prefix(prefix))?;
        Ok(first.is_some())
    }

    /// Gives a worker its number, and takes a lock that it holds as long as it lives: the kernel
    /// gives it back when the process ends, by whatever.
    pub(crate) fn enlist(&self) -> Result<Life> {
        let worker = self.cache.incr("workers", 1)?.unsigned_abs();
        Ok(Life { worker, _alive: self.life(worker).acquire()? })
    }

    fn life(&self, worker: u64) -> Lock {
        Lock::new(&self.cache, ("alive", worker))
    }

    /// Moves the first job into the hand of a worker.
    pub(crate) fn take(&self, life: &Life) -> Result<Option<Job>> {
        // Reading needs no lock, so those who have nothing to do are in nobody's way.
        if !self.has(JOBS)? {
            return Ok(None);
        }
        self.cache.transact(|cache| {
            let first = cache.pull_with::<Job>(QueueOptions::new().prefix(JOBS))?;
            let Some((_, entry)) = first else { return Ok(None) };
            let (worker, process) = (life.worker, std::process::id());
            let hand = Hand { worker, process, job: entry.value };
            cache.set(("hand", worker), &hand)?;
            Ok(Some(hand.job))
        })
    }

    /// Acknowledges the job that a worker has in hand.
    pub(crate) fn done(&self, life: &Life) -> Result<()> {
        self.cache.delete(("hand", life.worker)).map(|_| ())
    }

    /// Puts the job that a worker has in hand back, or away for good.
    pub(crate) fn failed(&self, life: &Life) -> Result<()> {
        self.cache.transact(|_| self.put_back(life.worker).map(|_| ()))
    }

    /// Within a transaction: empties the hand of a worker; false if it was empty.
    fn put_back(&self, worker: u64) -> Result<bool> {
        let Some(Hand { mut job, .. }) = self.cache.pop(("hand", worker))? else {
            return Ok(false);
        };
        job.tries += 1;
        self.put(if job.tries < TRIES { JOBS } else { DEAD }, &job)?;
        Ok(true)
    }

    /// Puts back what dead workers had in hand. It counts as tried: a job may well be what kills.
    pub(crate) fn take_back(&self) -> Result<()> {
        for Hand { worker, .. } in self.hands()? {
            // Whoever gets the lock knows that its holder is dead, and is alone with what it left.
            let Some(_lock) = self.life(worker).try_acquire()? else { continue };
            self.cache.transact(|cache| {
                if self.put_back(worker)? {
                    cache.incr("taken back", 1)?;
                }
                Ok::<_, firncache::Error>(())
            })?;
        }
        Ok(())
    }

    pub(crate) fn taken_back(&self) -> Result<u64> {
        Ok(self.cache.get("taken back")?.unwrap_or(0))
    }

    /// What workers have in hand, the dead included.
    pub(crate) fn hands(&self) -> Result<Vec<Hand>> {
        let workers = 1..=self.cache.get::<u64>("workers")?.unwrap_or(0);
        let hands = self.cache.get_many(workers.map(|worker| ("hand", worker)))?;
        Ok(hands.into_iter().flatten().collect())
    }

    /// Says that no more jobs will come.
    pub(crate) fn close(&self) -> Result<()> {
        self.cache.set("closed", &true)
    }

    /// Whether all is done or dead, and no more jobs will come.
    pub(crate) fn is_over(&self) -> Result<bool> {
        // All at one instant: a job that fails moves from the hand to the queue.
        self.cache.transact(|cache| {
            Ok(cache.contains("closed")? && !self.has(JOBS)? && self.hands()?.is_empty())
        })
    }

    /// Takes the next job out of those that were given up.
    pub(crate) fn pull_dead(&self) -> Result<Option<Job>> {
        let first = self.cache.pull_with(QueueOptions::new().prefix(DEAD))?;
        Ok(first.map(|(_, entry)| entry.value))
    }

    pub(crate) fn is_sound(&self) -> Result<bool> {
        Ok(self.cache.check()?.is_clean())
    }
}
