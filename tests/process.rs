//! Many processes on one cache, killed and stopped anywhere.
//!
//! This program starts itself again as a worker: what [`WORK`] names is what it does then. A worker
//! says on its standard output what has been acknowledged to it, a line each; the parent believes
//! no more and no less. Nothing here asserts a time but such after which a process counts as blocked
//! for ever.
//!
//! `PROCESS_SECONDS=60 cargo test --release --test process killed` kills for longer.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "process/book.rs"]
mod book;
#[path = "process/crowd.rs"]
mod crowd;
#[path = "process/history.rs"]
mod history;
#[path = "process/killed.rs"]
mod killed;
#[path = "process/ledger.rs"]
mod ledger;
#[path = "process/linear.rs"]
mod linear;
#[path = "process/nursery.rs"]
mod nursery;
#[path = "process/queue.rs"]
mod queue;
#[path = "process/shards.rs"]
mod shards;
#[path = "process/single.rs"]
mod single;
#[path = "process/storm.rs"]
mod storm;
#[path = "process/together.rs"]
mod together;
#[path = "process/worker.rs"]
mod worker;
#[path = "process/writer.rs"]
mod writer;

use std::path::Path;

use firncache::{Cache, Options};

/// The variable that makes this program a worker, and says which.
const WORK: &str = "FIRNCACHE_PROCESS_WORK";
/// The variable with the directory of the cache.
const DIRECTORY: &str = "FIRNCACHE_PROCESS_DIRECTORY";
/// The variable with a number for the worker.
const NUMBER: &str = "FIRNCACHE_PROCESS_NUMBER";

/// Small segments and small value files, so that much goes on.
fn options() -> Options {
    Cache::options().size_limit(1 << 18).value_file_threshold(2000).cull_limit(0)
}

fn open(directory: &Path) -> Cache {
    options().open(directory).unwrap()
}

#[track_caller]
fn assert_clean(cache: &Cache) {
    let report = cache.check().unwrap();
    assert!(report.is_clean(), "{report}");
}

/// What a worker does. Does nothing in the parent.
#[test]
fn worker() {
    let Ok(work) = std::env::var(WORK) else { return };
    let directory = std::env::var(DIRECTORY).unwrap();
    let number: u64 = std::env::var(NUMBER).unwrap().parse().unwrap();
    let directory = Path::new(&directory);
    match work.as_str() {
        "write" => writer::write(directory, number),
        "read" => writer::read(directory, number),
        "nursery" => storm::nursery(directory),
        "hold" => single::hold(directory),
        "count" => single::count(directory),
        together if together.starts_with("together ") => {
            together::work(together, directory, number);
        }
        crowd if crowd.starts_with("crowd ") => crowd::work(crowd, directory, number),
        "open" => single::open_and_set(directory, number),
        "queue" => queue::push_and_pull(directory, number),
        "queue for ever" => queue::push_and_pull_for_ever(directory, number),
        "deque" => queue::use_deque(directory, number),
        "fan" => shards::fan(directory, number),
        "fill" => shards::fill(directory, number),
        "history" => history::work(directory, number, false),
        "history evicting" => history::work(directory, number, true),
        "open as" => shards::open_as(directory, number),
        "alike" => shards::alike(directory),
        "index" => shards::index(directory, number),
        other => panic!("no work is called {other}"),
    }
}
