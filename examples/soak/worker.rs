//! What a worker does until its input ends: one operation after the other, each timed.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use firncache::{Cache, SetOptions};
use hdrhistogram::Histogram;

use crate::Result;

const KEYS: u64 = 20_000;
const TIMEOUT: Duration = Duration::from_secs(30);

fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// A line of input asks for the times since the last one; the end of the input ends the worker. It
/// does `rate` operations a second, or as many as it can if that is 0.
pub(crate) fn work(path: &Path, mut seed: u64, rate: u64) -> Result<()> {
    let times = Arc::new(Mutex::new(Histogram::<u64>::new(3)?));
    let is_over = Arc::new(AtomicBool::new(false));
    let (asked, ends) = (Arc::clone(&times), Arc::clone(&is_over));
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines().map_while(std::io::Result::ok) {
            let Ok(mut times) = asked.lock() else { break };
            let (count, high) = (times.len(), times.value_at_quantile(0.999));
            let line = format!("{count} {high} {}\n", times.max());
            times.reset();
            if std::io::stdout().write_all(line.as_bytes()).is_err() {
                break;
            }
        }
        ends.store(true, Ordering::Relaxed);
    });
    let open = || Cache::options().timeout(TIMEOUT).open(path);
    let mut cache = open()?;
    let pause = Duration::from_secs(1).checked_div(rate as u32).unwrap_or_default();
    while !is_over.load(Ordering::Relaxed) {
        let start = Instant::now();
        if operate(&cache, &mut seed)? {
            drop(cache);
            cache = open()?;
        }
        let taken = start.elapsed().as_micros() as u64;
        times.lock().map_err(|error| error.to_string())?.record(taken)?;
        if !pause.is_zero() {
            std::thread::sleep(pause.saturating_sub(start.elapsed()));
        }
    }
    Ok(())
}

/// One operation; true if the cache is to be opened anew.
fn operate(cache: &Cache, seed: &mut u64) -> Result<bool> {
    let (what, key) = (random(seed) % 10_000, random(seed) % KEYS);
    let value = vec![key as u8; (random(seed) % 900) as usize];
    match what {
        0..4000 => {
            let found = cache.get_bytes(key)?;
            if found.is_some_and(|found| found.iter().any(|byte| *byte != key as u8)) {
                return Err(format!("{key} has another key's value").into());
            }
        }
        4000..7000 => cache.set_bytes(key, &value)?,
        7000..7800 => {
            let soon = SetOptions::new().expire(Duration::from_secs(2)).tag("soon");
            cache.set_with(("expires", key % 500), &value.len(), soon)?;
        }
        7800..8600 => drop(cache.delete(key)?),
        8600..9000 => drop(cache.push_with(
            &key,
            firncache::PushOptions::new().prefix("jobs").expire(Duration::from_secs(5)),
        )?),
        9000..9500 => {
            cache.pull_with::<u64>(firncache::QueueOptions::new().prefix("jobs"))?;
        }
        9500..9900 => cache
            .transact(|tx| {
                tx.set_bytes(key, &value)?;
                tx.delete((key + 1) % KEYS)?;
                tx.incr("count", 1)
            })
            .map(drop)?,
        9900..9980 => cache.set_bytes(key, &vec![key as u8; 20_000])?,
        9980..9990 => drop(cache.expire()?),
        9990..9996 => return Ok(true),
        9996 => cache.compact()?,
        9997 => drop(cache.iter().take(2000).count()),
        9998 => drop(cache.evict("soon")?),
        _ => {
            let report = cache.check()?;
            if !report.is_clean() {
                return Err(format!("the cache is damaged: {report}").into());
            }
        }
    }
    Ok(false)
}
