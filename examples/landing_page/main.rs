//! What happens when a page that all want, and that takes long to make, expires: four ways to keep
//! it, compared.
//!
//! ```text
//! cargo run --release --example landing_page
//! cargo run --release --example landing_page -- --out plots --workers 30
//! ```
//!
//! | strategy | when the page has expired |
//! |---|---|
//! | none | there is no cache: every visitor has the page made |
//! | plain | all who come until it is there again have it made, too: a *stampede* |
//! | lock | the first who comes has it made, and the others wait for that |
//! | early | it does not come to that: somebody has it made shortly before, and nobody else waits |
//!
//! Workers visit the page, think for a moment, and visit it again. They are threads here; between
//! processes that share the directory of the cache, it is the same.
//!
//! ```text
//! visits.rs      visit, think, visit ..   by many workers; how long did it take?
//! strategy.rs    from the cache, or made?
//! page.rs        making it: slow, and slower when many do; how many did at once?
//! plot.rs        that number over the time, as a picture
//! ```

mod page;
mod plot;
mod strategy;
mod visits;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use firncache::Cache;

use crate::page::Page;
use crate::strategy::Strategy;
use crate::visits::Visits;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Compares four ways to keep a page that all want, and that takes long to make.
#[derive(Parser)]
struct Arguments {
    /// How long each strategy is watched
    #[arg(long, value_name = "SECONDS", default_value_t = 4.0, value_parser = positive)]
    seconds: f64,
    /// How many visit the page at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..=1000))]
    workers: u16,
    /// After how many seconds the page expires
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = positive)]
    expire: f64,
    /// The folder for the pictures [default: a new one among the temporary ones]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A number of seconds.
fn positive(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds from 0.1 to 3600".into()),
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None => tempfile::Builder::new().prefix("landing_page").tempdir()?.keep(),
    };
    std::fs::create_dir_all(&out)?;

    println!(
        "{:<10}{:>9}{:>8}{:>9}{:>12}{:>12}{:>12}",
        "strategy", "requests", "made", "at once", "p50", "p99", "longest"
    );
    for strategy in Strategy::ALL {
        let visits = watch(&arguments, strategy)?;
        let milliseconds = |microseconds| format!("{:.2} ms", microseconds as f64 / 1e3);
        println!(
            "{:<10}{:>9}{:>8}{:>9}{:>12}{:>12}{:>12}",
            strategy.name(),
            visits.latencies.len(),
            visits.made.len(),
            visits.most_at_once(),
            milliseconds(visits.latencies.value_at_quantile(0.5)),
            milliseconds(visits.latencies.value_at_quantile(0.99)),
            milliseconds(visits.latencies.max()),
        );
        plot::draw(&out.join(format!("{}.svg", strategy.name())), strategy, &visits)?;
        judge(strategy, &visits)?;
    }
    println!(
        "\nmade: how often the page was; at once: how many workers did that at the same time,"
    );
    println!("most of all. The pictures of it are in {}", out.display());
    Ok(())
}

fn watch(arguments: &Arguments, strategy: Strategy) -> Result<Visits> {
    let cache = Cache::temporary()?;
    let page = Arc::new(Page::default());
    let expire = Duration::from_secs_f64(arguments.expire);
    let visit = strategy.visit(&cache, &page, expire);
    Visits::watch(arguments.workers, Duration::from_secs_f64(arguments.seconds), &page, &visit)
}

/// Fails if a strategy did not do what is said of it.
fn judge(strategy: Strategy, visits: &Visits) -> Result<()> {
    let most = visits.most_at_once();
    match strategy {
        // There is nothing to be seen then, so nothing is shown either.
        _ if visits.made.is_empty() => {
            Err(format!("{}: the page never expired; watch for longer", strategy.name()).into())
        }
        Strategy::None | Strategy::Plain if most < 2 => {
            Err(format!("{}: a stampede of {most}", strategy.name()).into())
        }
        Strategy::Lock | Strategy::Early if most > 1 => {
            Err(format!("{}: {most} made the page at once", strategy.name()).into())
        }
        _ => Ok(()),
    }
}
