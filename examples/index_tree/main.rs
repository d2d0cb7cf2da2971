//! Analyses every file below a directory, with several processes that share one cache.
//!
//! ```text
//! cargo run --release --example index_tree                 the repository itself
//! cargo run --release --example index_tree -- ~/src        another directory
//! cargo run --release --example index_tree -- --kill       one worker is killed half-way
//! ```
//!
//! An analysis (a digest, lines, words, the most frequent words) is kept under path, size and time
//! of change, so that a second run has to compute only what has changed.
//!
//! ```text
//!            path, path, ..                               get, set
//! parent  ------------------>  worker process, many  <--------------->  cache directory
//!    ^    <------------------                                                  |
//!    |        one answer a path                                                |
//!    '-------------- at the end: is what was acknowledged really there? -------'
//! ```
//!
//! The parent hands out paths and takes answers; it opens the same cache as its workers. A worker
//! that dies loses nothing but the paths in its hands, which are handed to others.

mod analysis;
mod files;
mod report;
mod team;
mod worker;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use firncache::Cache;

use crate::files::FileState;
use crate::report::{Findings, Report};
use crate::team::Team;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Where the parent leaves word for the next run of what a killed worker had acknowledged.
const KILLED: (&str, &str) = ("index_tree", "acknowledged by the killed worker");

/// Analyses every file below a directory, with several processes that share one cache.
#[derive(Parser)]
struct Arguments {
    /// The directory to analyse [default: this repository]
    directory: Option<PathBuf>,
    /// Forgets what earlier runs have left in the cache
    #[arg(long)]
    fresh: bool,
    /// Kills one of the workers (SIGKILL) when half of the files are done
    #[arg(long)]
    kill: bool,
    /// The number of worker processes [default: one per processor, at least two]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// The directory of the cache [default: target/index_tree_cache in this repository]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Answers for the files that are named on the standard input
    #[arg(long, hide = true, requires = "cache")]
    worker: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match (&arguments.cache, arguments.worker) {
        (Some(cache), true) => worker::run(cache).map(|()| true),
        _ => usable(&arguments).and_then(|root| run(&arguments, &root)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("index_tree: {error}");
            ExitCode::from(if error.is::<Unusable>() { 2 } else { 1 })
        }
    }
}

/// What the user has to say differently.
#[derive(Debug)]
struct Unusable(String);

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Unusable {}

/// The directory to analyse, without symbolic links, as the same file is to have the same key.
fn usable(arguments: &Arguments) -> Result<PathBuf> {
    if arguments.kill && arguments.workers == Some(1) {
        return Err(Box::new(Unusable("--kill needs another worker that goes on".into())));
    }
    let directory = arguments.directory.clone().unwrap_or_else(repository);
    let refused = |why: &str| Unusable(format!("cannot analyse {}: {why}", directory.display()));
    let root = directory.canonicalize().map_err(|error| refused(&error.to_string()))?;
    if !root.is_dir() {
        return Err(Box::new(refused("it is not a directory")));
    }
    Ok(root)
}

/// The directory that this example was built in, if it is still there.
fn repository() -> PathBuf {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
    if built_in.is_dir() { built_in.into() } else { ".".into() }
}

/// Opens the cache where it is asked for, else where there is room for it.
fn open(arguments: &Arguments) -> Result<Cache> {
    if let Some(directory) = &arguments.cache {
        return Ok(Cache::open(directory)?);
    }
    let usual = repository().join("target/index_tree_cache");
    Cache::open(&usual).or_else(|error| {
        let other = std::env::temp_dir().join("index_tree_cache");
        eprintln!("{error}\nthe cache is kept in {} instead", other.display());
        Ok(Cache::open(other)?)
    })
}

/// True if every file was dealt with, and everything that was acknowledged is in the cache.
fn run(arguments: &Arguments, root: &Path) -> Result<bool> {
    let cache = open(arguments)?;
    if arguments.fresh {
        cache.clear()?;
        cache.compact()?;
    }
    let earlier: Option<Vec<FileState>> = cache.pop(KILLED)?;
    let found = files::below(root, cache.directory());
    if found.paths.is_empty() && found.unreadable.is_empty() {
        println!("there are no files below {}", root.display());
        return Ok(true);
    }
    let workers = arguments.workers.map_or_else(processors, usize::from);

    let started = Instant::now();
    let team = Team::start(workers, cache.directory(), &found.paths)?;
    let done = team.work(arguments.kill)?;
    let elapsed = started.elapsed();

    if let Some(killed) = &done.killed {
        cache.set(KILLED, &killed.acknowledged)?;
    }
    let report = Report {
        root,
        workers,
        elapsed,
        cache: &cache,
        unreadable: found.unreadable,
        findings: Findings::gather(&cache, &done)?,
        killed: done
            .killed
            .as_ref()
            .map(|it| report::kept(&cache, &it.acknowledged))
            .transpose()?,
        earlier: earlier.as_ref().map(|it| report::kept(&cache, it)).transpose()?,
        done: &done,
    };
    report.print()?;
    Ok(report.is_good())
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, |count| count.get().max(2))
}
