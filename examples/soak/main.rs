//! Many processes work on one cache for a long time, some of them are killed, and it is watched what
//! that costs: memory, descriptors, disk, and the slowest one in a thousand operations.
//!
//! ```text
//! cargo run --release --example soak -- --seconds 20
//! cargo run --release --example soak -- --seconds 3600 --processes 10 --out soak.svg
//! cargo run --release --example soak -- --seconds 3600 --rate 500 --out soak.svg   # beside other work
//! ```
//!
//! Every process does sets, gets, deletes, pushes, pulls, transactions and large values, and now and
//! then `expire`, `compact`, `check`, or opens the cache anew. After each look at them the parent kills
//! one and starts another. At the end the last quarter of the time is compared with the second: it
//! fails if descriptors, memory or disk have grown by more than what differs from moment to moment.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use firncache::Cache;

mod plot;
mod watch;
mod worker;

use watch::{Sample, Team};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Many processes work on one cache for a long time, and it is watched what that costs.
#[derive(Parser)]
struct Arguments {
    /// How long
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..))]
    seconds: u64,
    /// How many processes
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100))]
    processes: u64,
    /// How many times it is looked at
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(4..=1000))]
    samples: u64,
    /// The limit of the cache in MiB
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Operations a second of each process; 0 for as many as it can
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=100_000))]
    rate: u64,
    /// The picture
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Makes this a worker on that cache
    #[arg(long, hide = true)]
    worker: Option<PathBuf>,
    #[arg(long, hide = true, default_value_t = 0)]
    seed: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(path) = &arguments.worker {
        return worker::work(path, arguments.seed, arguments.rate);
    }
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("cache");
    let limit = arguments.limit << 20;
    let cache = Cache::options().size_limit(limit).value_file_threshold(8000).open(&path)?;
    let mut team = Team::start(&path, arguments.processes, arguments.rate)?;
    let interval = Duration::from_secs(arguments.seconds) / arguments.samples as u32;
    let start = Instant::now();
    let mut samples: Vec<Sample> = Vec::new();
    println!("second  operations    p99.9  slowest  memory  descriptors     disk");
    for number in 1..=arguments.samples as u32 {
        std::thread::sleep((interval * number).saturating_sub(start.elapsed()));
        team.check_alive()?;
        let sample = team.sample(&cache, start.elapsed())?;
        println!("{sample}");
        samples.push(sample);
        team.kill_one()?;
    }
    team.end()?;
    let report = cache.check()?;
    if let Some(out) = &arguments.out {
        plot::draw(out, &samples)?;
    }
    println!("{} processes killed and replaced", arguments.samples);
    if !report.is_clean() {
        return Err(format!("the cache is damaged: {report}").into());
    }
    watch::judge(&samples, limit)
}
