//! Visitors, and what is measured of them.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Result;
use crate::page::{Making, Page};
use crate::strategy::Visit;

/// The longest that a visitor thinks.
const THINK_MS: u64 = 100;

/// What was seen.
pub(crate) struct Visits {
    pub(crate) workers: u16,
    pub(crate) began: Instant,
    /// For how long they came.
    pub(crate) watched: Duration,
    pub(crate) made: Vec<Making>,
    /// In microseconds.
    pub(crate) latencies: Histogram<u64>,
}

impl Visits {
    /// Lets workers visit the page for so long.
    pub(crate) fn watch(
        workers: u16,
        time: Duration,
        page: &Page,
        visit: &Visit,
    ) -> Result<Visits> {
        // One came before all of them, as in the middle of a day.
        visit()?;
        page.take_made();
        let began = Instant::now();
        let mut latencies = Histogram::new(3)?;
        std::thread::scope(|scope| {
            let work = |number| scope.spawn(move || work(number, began + time, visit));
            let threads: Vec<_> = (1..=workers).map(work).collect();
            for thread in threads {
                let measured = thread.join().map_err(|_| "a worker has panicked")?;
                latencies.add(measured.map_err(|error| error.to_string())?)?;
            }
            Ok::<_, Box<dyn std::error::Error>>(())
        })?;
        Ok(Visits { workers, began, watched: time, made: page.take_made(), latencies })
    }

    /// How many workers were making the page, from which time on: one step for each change.
    pub(crate) fn steps(&self) -> Vec<(Duration, u32)> {
        let since = |instant: Instant| instant.saturating_duration_since(self.began);
        let begin = self.made.iter().map(|making| (since(making.began), true));
        let end = self.made.iter().map(|making| (since(making.ended), false));
        let mut changes: Vec<(Duration, bool)> = begin.chain(end).collect();
        // At the same instant, ends come first.
        changes.sort_unstable();
        let mut count = 0;
        let step = |(time, is_begin)| {
            count = if is_begin { count + 1 } else { count - 1 };
            (time, count)
        };
        changes.into_iter().map(step).collect()
    }

    pub(crate) fn most_at_once(&self) -> u32 {
        self.steps().into_iter().map(|(_, count)| count).max().unwrap_or(0)
    }
}

/// Visits, and thinks, until the time is over.
fn work(
    number: u16,
    until: Instant,
    visit: &Visit,
) -> std::result::Result<Histogram<u64>, Box<dyn std::error::Error + Send + Sync>> {
    let mut latencies = Histogram::new(3)?;
    let mut random = u64::from(number);
    loop {
        // Any order of visits would do, as long as not all come at the same time (xorshift).
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_millis(random % THINK_MS));
        let came = Instant::now();
        if came >= until {
            return Ok(latencies);
        }
        visit()?;
        latencies.record(u64::try_from(came.elapsed().as_micros())?.max(1))?;
    }
}
