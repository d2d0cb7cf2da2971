//! Several processes call a service that allows only so many calls in a second, and so many at once.
//!
//! ```text
//! cargo run --release --example rate_limiter
//! cargo run --release --example rate_limiter -- --rate 500 --burst 50 --calls 2000
//! ```
//!
//! ```text
//! process, four           Throttle: when may I?        BoundedSemaphore: is there room?
//!   thread, six    ------------------------------> ---------------------------------------> call
//! ```
//!
//! Both are names in one cache, so all processes are limited together. At the end the parent looks
//! at when each call was let through: never earlier than the limit allows, whichever process made
//! it; and at how many were in the service at once.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use clap::Parser;
use firncache::Cache;
use firncache::recipes::{BoundedSemaphore, Throttle};
use rustix::time::{ClockId, clock_gettime};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long a call takes.
const SERVICE: Duration = Duration::from_millis(30);
/// After this long, on top of what the rate takes, something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long each bar of the report stands for.
const BAR: Duration = Duration::from_millis(250);

/// Several processes call a service that allows only so many calls in a second, and so many at once.
#[derive(Parser)]
struct Arguments {
    /// The number of calls, of all processes together
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    calls: u32,
    /// How many calls a second are allowed
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// How many calls may come at once after a pause
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    burst: u32,
    /// How many calls may be in the service at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    at_once: u32,
    /// The number of processes
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    processes: u16,
    /// The number of threads in each process
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Calls as the process with this number, with the limits in this directory
    #[arg(long, hide = true, num_args = 2)]
    caller: Option<Vec<String>>,
}

/// What is known of a call: its process, when it was let through, how many were in the service.
type Call = (u16, u64, i64);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some([directory, process]) = arguments.caller.as_deref() {
        return caller(&arguments, Path::new(directory), process.parse()?);
    }
    let directory = tempfile::tempdir()?;
    run(&arguments, directory.path().join("cache"))
}

/// The time since some instant that is the same for all processes.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A process that calls: says that it is ready, waits for the others, and then all threads call.
fn caller(arguments: &Arguments, directory: &Path, process: u16) -> Result<()> {
    let cache = Cache::open(directory)?;
    cache.incr("ready", 1)?;
    while !cache.contains("go")? {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::scope(|scope| {
        let call = || call_until_done(arguments, &cache, process);
        let threads: Vec<_> = (0..arguments.threads).map(|_| scope.spawn(call)).collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread has panicked")??;
        }
        Ok(())
    })
}

fn call_until_done(arguments: &Arguments, cache: &Cache, process: u16) -> firncache::Result<()> {
    // A bucket for so many calls, which at this rate is full again after this time.
    let per = Duration::from_secs(1) * arguments.burst / arguments.rate;
    let throttle = Throttle::new(cache, "calls", arguments.burst, per)?;
    let room = BoundedSemaphore::new(cache, "service", arguments.at_once);
    while cache.decr("calls left", 1)? >= 0 {
        throttle.acquire()?;
        let let_through = now();
        let permit = room.acquire()?;
        let inside = cache.incr("inside", 1)?;
        std::thread::sleep(SERVICE);
        cache.decr("inside", 1)?;
        drop(permit);
        let call: Call = (process, let_through.as_nanos() as u64, inside);
        cache.push(&call)?;
    }
    Ok(())
}

/// Processes that end with their parent.
struct Callers(Vec<Child>);

impl Drop for Callers {
    fn drop(&mut self) {
        for caller in &mut self.0 {
            // There is nobody to be told that one has ended already.
            let _ = caller.kill();
            let _ = caller.wait();
        }
    }
}

fn run(arguments: &Arguments, directory: PathBuf) -> Result<()> {
    let cache = Cache::open(&directory)?;
    cache.set("calls left", &arguments.calls)?;
    let patience = PATIENCE + Duration::from_secs(1) * arguments.calls / arguments.rate;
    let begun = Instant::now();
    let mut callers = Callers(Vec::new());
    for process in 0..arguments.processes {
        let mut command = Command::new(std::env::current_exe()?);
        // The limits are to be the same for all.
        command.args(std::env::args_os().skip(1));
        command.arg("--caller").arg(&directory).arg(process.to_string());
        callers.0.push(command.spawn()?);
    }
    while cache.get("ready")? != Some(arguments.processes) {
        wait(begun, patience)?;
    }
    let started = now();
    cache.set("go", &true)?;
    for caller in &mut callers.0 {
        loop {
            match caller.try_wait()? {
                Some(status) if status.success() => break,
                Some(status) => return Err(format!("a process has failed: {status}").into()),
                None => wait(begun, patience)?,
            }
        }
    }
    report(arguments, &cache, started)
}

fn wait(begun: Instant, patience: Duration) -> Result<()> {
    std::thread::sleep(Duration::from_millis(2));
    if begun.elapsed() > patience {
        return Err("the processes do not come to an end".into());
    }
    Ok(())
}

/// Says when calls were let through; fails if one was too early, or if there were too many at once.
fn report(arguments: &Arguments, cache: &Cache, started: Duration) -> Result<()> {
    let mut calls: Vec<(Duration, u16, i64)> = Vec::new();
    while let Some((_, (process, at_ns, inside))) = cache.pull::<Call>()? {
        let at = Duration::from_nanos(at_ns).saturating_sub(started);
        calls.push((at, process, inside));
    }
    calls.sort_unstable();
    if calls.len() != usize::try_from(arguments.calls)? {
        return Err(format!("{} calls were made of {}", calls.len(), arguments.calls).into());
    }
    let last = calls.last().map_or(Duration::ZERO, |call| call.0);

    println!("     from   calls");
    let mut from = Duration::ZERO;
    while from <= last {
        let count = calls.iter().filter(|call| (from..from + BAR).contains(&call.0)).count();
        println!("{:>7.2} s {count:>7}  {}", from.as_secs_f64(), "#".repeat(count.min(70)));
        from += BAR;
    }
    let (rate, burst) = (arguments.rate, arguments.burst);
    let share = |process| calls.iter().filter(|call| call.1 == process).count();
    let shares: Vec<usize> = (0..arguments.processes).map(share).collect();
    let most = calls.iter().map(|call| call.2).max().unwrap_or(0);
    let steady = f64::from(arguments.calls.saturating_sub(burst)) / last.as_secs_f64();
    println!();
    row("calls", calls.len(), format!("by {} processes: {shares:?}", arguments.processes));
    row("burst", burst, "calls could go at once");
    row("per second", format!("{steady:.1}"), format!("after the burst; {rate} are allowed"));
    row("at once", most, format!("calls in the service at most; {} allowed", arguments.at_once));

    // A call can be late, as when its process had to wait for a processor. It cannot be early.
    let step = Duration::from_secs(1) / rate;
    for (number, (at, ..)) in (1..).zip(&calls) {
        let earliest = step * u32::saturating_sub(number, burst);
        // The rate is rounded to nanoseconds.
        if *at + Duration::from_millis(1) < earliest {
            return Err(format!("call {number} went after {at:?}, not after {earliest:?}").into());
        }
    }
    if most > arguments.at_once.into() {
        return Err("there were too many calls in the service at once".into());
    }
    Ok(())
}

fn row(name: &str, figure: impl ToString, remark: impl AsRef<str>) {
    println!("{name:<14}{:>8}  {}", figure.to_string(), remark.as_ref());
}
