//! A persistent queue of jobs between processes: no job is lost, though workers are killed.
//!
//! ```text
//! cargo run --release --example job_queue                   one of four workers is killed
//! cargo run --release --example job_queue -- --kill 3       three are
//! ```
//!
//! ```text
//! producer process, two  --push-->  queue/  --take-->  worker process, four  -->  effects/
//!                                      ^                        |
//!                                      '------ done, failed ----'
//! ```
//!
//! Of the jobs, one in ten fails at first and is tried again, and one in fifty fails always and is
//! put away. `queue.rs` is what a program of one's own could use; `work.rs` is how it is used. At
//! the end the parent counts: every job was done at least once, or was given up.

mod queue;
mod work;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use clap::Parser;

use crate::queue::{Queue, TRIES};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How often the parent looks at how far the others are.
const LOOK: Duration = Duration::from_millis(2);
/// After this long, something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// A persistent queue of jobs between processes: no job is lost, though workers are killed.
#[derive(Parser)]
struct Arguments {
    /// The number of jobs
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=10_000))]
    jobs: u64,
    /// The number of worker processes
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// The number of producer processes
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    producers: u16,
    /// How many workers are killed (SIGKILL) on the way; at least one is left
    #[arg(long, value_name = "N", default_value_t = 1)]
    kill: u16,
    /// Works on the queue in this directory
    #[arg(long, hide = true)]
    worker: Option<PathBuf>,
    /// Pushes jobs to the queue in this directory, beginning with this one
    #[arg(long, hide = true, num_args = 2)]
    producer: Option<Vec<String>>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(directory) = &arguments.worker {
        return work::work(directory);
    }
    if let Some([directory, first]) = arguments.producer.as_deref() {
        let step = arguments.producers.into();
        return work::produce(Path::new(directory), first.parse()?, step, arguments.jobs);
    }
    if arguments.kill >= arguments.workers {
        return Err("--kill needs to leave one worker that goes on".into());
    }
    let directory = tempfile::tempdir()?;
    run(&arguments, directory.path())
}

/// A process that ends with its parent.
struct Process(Child);

impl Process {
    /// Starts this very program with other arguments.
    fn start(arguments: &Arguments, which: &[&str]) -> Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--jobs", &arguments.jobs.to_string()]);
        command.args(["--producers", &arguments.producers.to_string()]);
        Ok(Process(command.args(which).spawn()?))
    }

    fn has_ended(&mut self) -> Result<bool> {
        match self.0.try_wait()? {
            Some(status) if !status.success() => {
                Err(format!("process {} has failed: {status}", self.0.id()).into())
            }
            status => Ok(status.is_some()),
        }
    }

    fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // There is nobody to be told that it has ended already.
        let _ = self.kill();
    }
}

fn run(arguments: &Arguments, directory: &Path) -> Result<()> {
    let queue = Queue::open(directory)?;
    let effects = work::open_effects(directory)?;
    let place = directory.to_str().ok_or("the temporary directory has an unusual name")?;
    let started = Instant::now();
    let start = |first: u16| Process::start(arguments, &["--producer", place, &first.to_string()]);
    let mut producers = (0..arguments.producers).map(start).collect::<Result<Vec<_>>>()?;
    let start = |_| Process::start(arguments, &["--worker", place]);
    let mut workers = (0..arguments.workers).map(start).collect::<Result<Vec<_>>>()?;

    let mut killed = Vec::new();
    while !workers.is_empty() {
        if started.elapsed() > PATIENCE {
            return Err(format!("{} jobs are done, and no end", effects.len()?).into());
        }
        // Workers only end once they know that no more jobs will come.
        let was_pushing = !producers.is_empty();
        retain_running(&mut producers)?;
        if was_pushing && producers.is_empty() {
            queue.close()?;
        }
        // Evenly, but not as late as when only hopeless jobs are left.
        let share =
            arguments.jobs * 9 * (killed.len() as u64 + 1) / (10 * u64::from(arguments.kill + 1));
        if killed.len() < arguments.kill.into() && effects.len()? >= share {
            killed.extend(kill_one(&queue, &mut workers)?);
        }
        retain_running(&mut workers)?;
        std::thread::sleep(LOOK);
    }
    if killed.len() < arguments.kill.into() {
        return Err(format!("only {} workers could be killed in time", killed.len()).into());
    }
    report(arguments, directory, &killed, started.elapsed())
}

fn retain_running(processes: &mut Vec<Process>) -> Result<()> {
    let mut running = Vec::new();
    for mut process in processes.drain(..) {
        if !process.has_ended()? {
            running.push(process);
        }
    }
    *processes = running;
    Ok(())
}

/// A worker that was killed, and the job that it had in hand, if any.
struct Killed {
    worker: u64,
    job: Option<u64>,
}

/// Kills a worker that has a job in hand.
fn kill_one(queue: &Queue, workers: &mut Vec<Process>) -> Result<Option<Killed>> {
    for hand in queue.hands()? {
        let is_victim = |worker: &Process| worker.0.id() == hand.process;
        let Some(at) = workers.iter().position(is_victim) else { continue };
        workers.swap_remove(at).kill()?;
        // It may have gone on to another job, or have been between two.
        let left = queue.hands()?.into_iter().find(|it| it.worker == hand.worker);
        return Ok(Some(Killed { worker: hand.worker, job: left.map(|it| it.job.number) }));
    }
    Ok(None)
}

/// Counts; fails if a job is neither done nor given up.
fn report(
    arguments: &Arguments,
    directory: &Path,
    killed: &[Killed],
    time: Duration,
) -> Result<()> {
    let (queue, effects) = (Queue::open(directory)?, work::open_effects(directory)?);
    if !queue.is_sound()? || !effects.cache().check()?.is_clean() {
        return Err("the files are damaged".into());
    }
    let mut dead = Vec::new();
    while let Some(job) = queue.pull_dead()? {
        if job.tries != TRIES {
            return Err(format!("given up too early: {job:?}").into());
        }
        dead.push(job.number);
    }
    let (mut done, mut again) = (0, 0);
    for number in 0..arguments.jobs {
        let workers = effects.get(number)?.unwrap_or_default();
        let times_dead = dead.iter().filter(|it| **it == number).count();
        match (workers.len(), times_dead) {
            (0, 1) if work::is_hopeless(number) || !killed.is_empty() => {}
            (0, _) => return Err(format!("job {number} is lost").into()),
            (times, _) => (done, again) = (done + 1, again + times as u64 - 1),
        }
    }
    let taken_back = queue.taken_back()?;
    if again > taken_back {
        return Err(format!("{again} jobs were done twice, {taken_back} were taken back").into());
    }
    let seconds = time.as_secs_f64();
    row("pushed", arguments.jobs, format!("jobs, by {} processes", arguments.producers));
    row("done", done, format!("jobs, by {} processes in {seconds:.2} s", arguments.workers));
    row("given up", dead.len(), format!("jobs, after {TRIES} tries each"));
    row("lost", 0, "jobs");
    row("killed", killed.len(), "workers, by SIGKILL");
    row("taken back", taken_back, "jobs, out of the hands of killed workers");
    row("done twice", again, "of these: they were done, and not acknowledged");
    for Killed { worker, job } in killed {
        let Some(job) = job else {
            println!("worker {worker} was killed with nothing in hand");
            continue;
        };
        let by = match effects.get(*job)? {
            Some(workers) => format!("it was done by {workers:?}"),
            None => "it was given up".into(),
        };
        println!("worker {worker} was killed with job {job} in hand: {by}");
    }
    Ok(())
}

fn row(name: &str, figure: impl ToString, remark: impl AsRef<str>) {
    println!("{name:<14}{:>8}  {}", figure.to_string(), remark.as_ref());
}
