//! What the processes do: producers push jobs, workers do them.

use std::path::Path;
use std::time::{Duration, Instant};

use firncache::Index;

use crate::Result;
use crate::queue::{Job, Queue};

/// How long a worker rests that finds nothing to do.
const REST: Duration = Duration::from_millis(5);
/// How often it looks for dead colleagues.
const LOOK: Duration = Duration::from_millis(100);

/// The world outside of the queue, which jobs change: by which workers each was done.
pub(crate) fn open_effects(directory: &Path) -> firncache::Result<Index<u64, Vec<u64>>> {
    Index::open(directory.join("effects"))
}

/// Pushes every `step`-th job.
pub(crate) fn produce(directory: &Path, first: u64, step: u64, jobs: u64) -> Result<()> {
    let queue = Queue::open(directory)?;
    for number in (first..jobs).step_by(usize::try_from(step)?) {
        queue.push(number)?;
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// Does jobs until there are none left, and none that could come back.
pub(crate) fn work(directory: &Path) -> Result<()> {
    let queue = Queue::open(directory)?;
    let effects = open_effects(directory)?;
    let life = queue.enlist()?;
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() > LOOK {
            queue.take_back()?;
            looked = Instant::now();
        }
        match queue.take(&life)? {
            Some(job) => match run(&job, &effects, life.worker) {
                Ok(()) => queue.done(&life)?,
                Err(_) => queue.failed(&life)?,
            },
            None if queue.is_over()? => return Ok(()),
            // More may be pushed, or come back from others.
            None => std::thread::sleep(REST),
        }
    }
}

/// Jobs that never succeed.
pub(crate) fn is_hopeless(number: u64) -> bool {
    number % 50 == 7
}

fn run(job: &Job, effects: &Index<u64, Vec<u64>>, worker: u64) -> Result<()> {
    std::thread::sleep(Duration::from_millis(3 + job.number % 4));
    if is_hopeless(job.number) {
        return Err("there is no such address".into());
    }
    if job.number % 10 == 3 && job.tries == 0 {
        return Err("the network was away for a moment".into());
    }
    // The job is not acknowledged yet. Who is killed from here on has it done twice: jobs of such
    // a queue must be ones that may be.
    effects.transact(|_| {
        let mut workers = effects.get(job.number)?.unwrap_or_default();
        workers.push(worker);
        Ok(effects.insert(&job.number, &workers)?)
    })
}
