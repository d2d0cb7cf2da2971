//! Runs trials one after the other, each watched: what panics is collected, what hangs is killed.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::memory;

/// No trial takes as long.
const PATIENCE: Duration = Duration::from_secs(10);
/// No trial takes more heap memory at once; its store has a tenth of that.
const MOST_MEMORY: i64 = 640 << 10;
/// So many failures are told; more would hardly help.
const MOST_FAILURES: usize = 10;

/// The trials of one test.
pub(crate) struct Trials {
    now: Arc<Mutex<Option<(Instant, String)>>>,
    is_over: Arc<AtomicBool>,
    watch: Option<JoinHandle<()>>,
    failures: Vec<String>,
    pub(crate) count: usize,
    /// The most heap memory that a trial has taken at once.
    pub(crate) most_memory: i64,
    /// The trial that took the longest.
    pub(crate) slowest: (Duration, String),
    shows: bool,
}

impl Trials {
    pub(crate) fn new() -> Trials {
        let now: Arc<Mutex<Option<(Instant, String)>>> = Arc::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let (watched, ends) = (Arc::clone(&now), Arc::clone(&is_over));
        let watch = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(50));
                if let Some((began, what)) = &*watched.lock().unwrap()
                    && began.elapsed() > PATIENCE
                {
                    // Not by eprintln!, which tests capture.
                    let _ = writeln!(std::io::stderr(), "hangs: {what}");
                    std::process::abort();
                }
            }
        });
        let slowest = Default::default();
        let shows = std::env::var_os("DAMAGE_SHOW").is_some();
        Trials {
            now,
            is_over,
            watch: Some(watch),
            failures: Vec::new(),
            count: 0,
            most_memory: 0,
            slowest,
            shows,
        }
    }

    /// Runs one trial; it fails with a text or by a panic.
    pub(crate) fn run(&mut self, what: &str, trial: impl FnOnce() -> Result<(), String>) {
        if self.shows {
            let _ = writeln!(std::io::stderr(), "{what}");
        }
        self.count += 1;
        let began = Instant::now();
        *self.now.lock().unwrap() = Some((began, what.to_owned()));
        let before = memory::begin();
        let result = catch_unwind(AssertUnwindSafe(trial));
        let taken = memory::most() - before;
        if began.elapsed() > self.slowest.0 {
            self.slowest = (began.elapsed(), what.to_owned());
        }
        self.most_memory = self.most_memory.max(taken);
        *self.now.lock().unwrap() = None;
        let why = match result {
            Ok(Ok(())) if taken <= MOST_MEMORY => return,
            Ok(Ok(())) => format!("{taken} bytes of heap memory at once"),
            Ok(Err(why)) => why,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).into()));
                format!("panicked: {}", text.unwrap_or_default())
            }
        };
        self.failures.push(format!("{what}: {why}"));
        assert!(self.failures.len() < MOST_FAILURES, "{}", self.failures.join("\n"));
    }

    /// Fails if a trial has.
    pub(crate) fn end(self) {
        assert!(self.count > 0, "nothing was tried");
        assert!(self.failures.is_empty(), "{}", self.failures.join("\n"));
    }
}

impl Drop for Trials {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(watch) = self.watch.take() {
            let _ = watch.join();
        }
    }
}
