//! Crawls a web site with several processes that share a frontier, and may be killed at any time.
//!
//! ```text
//! cargo run --release --example crawler                all of a site of 600 pages
//! cargo run --release --example crawler -- --kill      all workers are killed half-way
//! cargo run --release --example crawler                the next run goes on from there
//! ```
//!
//! The site is made up and served by this program itself, on the loopback interface.
//!
//! ```text
//!             GET /page/7                                take, finish
//! web server <-----------  worker process, many  <------------------------>  frontier/  a Deque
//!     |       ---------->                         ------------------------>  pages/     an Index
//!     '--> requests/  how often each page was asked for    keep
//! ```
//!
//! Nobody hands out work: each worker takes the next page from the frontier, and the directory is
//! all that they share. `crawl.rs` shows how a page is never lost, whoever is killed whenever.

mod client;
mod crawl;
mod crew;
mod report;
mod server;
mod site;
mod worker;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::crawl::Crawl;
use crate::crew::Crew;
use crate::report::Report;
use crate::site::Site;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How often the parent looks at how far the workers are.
const LOOK: Duration = Duration::from_millis(5);
/// After this long without a new page, something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// Crawls a web site with several processes that share a frontier, and may be killed at any time.
#[derive(Parser)]
struct Arguments {
    /// The number of pages of the site; a crawl that goes on keeps its own
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u64).range(2..=100_000))]
    pages: u64,
    /// The number of worker processes
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Kills all workers (SIGKILL) when half of the pages are stored; the next run goes on
    #[arg(long)]
    kill: bool,
    /// Begins a new crawl, though one could go on
    #[arg(long)]
    fresh: bool,
    /// Where the crawl is kept [default: target/crawler in this repository]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Crawls what a server at this address has
    #[arg(long, hide = true, requires = "directory")]
    worker: Option<SocketAddr>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let usual = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/crawler"));
    let directory = arguments.directory.clone().unwrap_or_else(usual);
    match arguments.worker {
        Some(server) => worker::run(&directory, server),
        None => {
            std::fs::create_dir_all(&directory)?;
            run(&arguments, directory.canonicalize()?)
        }
    }
}

fn run(arguments: &Arguments, directory: PathBuf) -> Result<()> {
    let crawl = Crawl::open(&directory)?;
    // A crawl that has come to its end has nothing left to show.
    if arguments.fresh || crawl.is_over()? {
        crawl.begin(arguments.pages)?;
    }
    let site = Site { pages: crawl.pages_of_site()?.ok_or("the crawl does not say of what")? };
    let earlier = crawl.pages.len()?;

    let started = Instant::now();
    let server = server::start(site, &crawl)?;
    let mut crew = Crew::start(arguments.workers, &directory, server)?;
    let (mut is_killed, mut stored, mut last) = (false, earlier, Instant::now());
    while !is_killed && !crew.has_ended()? {
        std::thread::sleep(LOOK);
        let before = std::mem::replace(&mut stored, crawl.pages.len()?);
        if stored > before {
            last = Instant::now();
        } else if last.elapsed() > PATIENCE {
            return Err(format!("the workers are stuck at {stored} pages").into());
        }
        if arguments.kill && stored * 2 >= site.pages {
            crew.kill()?;
            is_killed = true;
        }
    }
    let elapsed = started.elapsed();
    let report = Report { crawl: &crawl, site, earlier, workers: arguments.workers, elapsed };
    if is_killed { report.of_killed() } else { report.of_finished() }
}
