//! Computing a value anew before it expires, by one caller alone, now and then.
//!
//! XFetch (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention, VLDB
//! 2015): with each value the time is kept that computing it took. Who reads it draws a number, and
//! computes anew if
//!
//! ```text
//! time to live  <=  time it took * beta * -ln(number in (0, 1])
//! ```
//!
//! So the expiry is anticipated by about as long as computing takes, and more callers draw a yes the
//! nearer it comes. Only one of those gets the hold; it computes while all others, who do not wait,
//! go on with the value that there is.

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::cache::entry::SetOptions;
use crate::cache::rank::mixed;
use crate::cache::read::with_scratch;
use crate::cache::write::Over;
use crate::error::{Error, Result};
use crate::sys::raw::process_token;
use crate::sys::sync::Ordering;

/// A value, and the seconds that computing it took. This is what is stored.
type Timed<V> = (V, f64);

/// A value as it was read.
struct Read<V> {
    value: V,
    seconds: f64,
    expires_ms: u64,
}

impl Cache {
    /// Gives the value of a key, computing it if it is missing, and now and then if it is about to
    /// expire.
    pub(crate) fn get_or_compute_early<V>(
        &self,
        key: &[u8],
        options: &SetOptions,
        beta: f64,
        compute: impl Fn() -> V,
    ) -> Result<V>
    where
        V: Serialize + DeserializeOwned,
    {
        let timed = || {
            let started = Instant::now();
            let value = compute();
            (value, started.elapsed().as_secs_f64())
        };
        let Some(read) = self.read_timed(key, true)? else {
            let computed: Timed<V> =
                self.compute_once(key, options, |_| true, || Ok::<_, Error>(timed()))?;
            return Ok(computed.0);
        };
        let left_ms = read.expires_ms.saturating_sub(self.now_ms());
        if !is_due(read.seconds, beta, left_ms, drawn()) || self.is_in_transaction() {
            return Ok(read.value);
        }
        // What cannot be held, in a cache that is only read for example, is computed by others.
        let Ok(Some(flight)) = self.try_flight(key) else { return Ok(read.value) };
        match self.read_timed(key, false)? {
            Some(now) if now.expires_ms != read.expires_ms => {
                flight.land();
                Ok(now.value)
            }
            _ => {
                let computed: Timed<V> = timed();
                self.store_encoded(key, &computed, options, Over::Any)?;
                flight.land();
                Ok(computed.0)
            }
        }
    }

    fn read_timed<V: DeserializeOwned>(
        &self,
        key: &[u8],
        is_noted: bool,
    ) -> Result<Option<Read<V>>> {
        with_scratch(|buffer| {
            let record = match is_noted {
                true => self.read_noted(key, None, buffer)?,
                false => self.read_whole(key, None, buffer)?,
            };
            let Some(record) = record else { return Ok(None) };
            let (value, seconds): Timed<V> = self.decode(record.header.value_kind, buffer)?;
            Ok(Some(Read { value, seconds, expires_ms: record.header.expires_ms }))
        })
    }
}

/// Whether to compute anew what expires in `left_ms`, by a number drawn from (0, 1].
fn is_due(seconds: f64, beta: f64, left_ms: u64, drawn: f64) -> bool {
    -seconds * beta * drawn.ln() * 1000.0 >= left_ms as f64
}

/// A random number in (0, 1]. The child of a fork draws others than its parent.
fn drawn() -> f64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    const STEPS: f64 = (1_u64 << 53) as f64;
    static DRAWS: AtomicU64 = AtomicU64::new(0);
    let draw = DRAWS.fetch_add(ODD, Ordering::Relaxed);
    ((mixed(process_token().wrapping_add(draw)) >> 11) + 1) as f64 / STEPS
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_nearer_the_end_the_more_draw_a_yes() {
        let share = |left_ms| {
            let yes = (0..20_000).filter(|_| is_due(0.1, 1.0, left_ms, drawn())).count();
            yes as f64 / 20_000.0
        };
        // By the formula, the share is e to the power of -left / 100 ms.
        for (left_ms, expected) in [(0, 1.0), (50, 0.607), (100, 0.368), (300, 0.050)] {
            assert!((share(left_ms) - expected).abs() < 0.03, "{left_ms}: {}", share(left_ms));
        }
    }

    #[test]
    fn extremes_are_harmless() {
        assert!(!is_due(1.0, 0.0, 1, 0.5), "beta 0 never computes early");
        assert!(!is_due(f64::NAN, 1.0, 1, 0.5) && !is_due(1.0, f64::NAN, 1, 0.5));
        assert!(!is_due(1.0, 1.0, u64::MAX, 0.5) && !is_due(1.0, 1.0, 1, 1.0));
        assert!((0..10_000).map(|_| drawn()).all(|drawn| drawn > 0.0 && drawn <= 1.0));
    }

    /// As one that is stopped does, until it goes on.
    #[test]
    fn who_has_a_value_waits_for_nobody() {
        let (cache, patience) = (Cache::temporary().unwrap(), Duration::from_secs(20));
        let options = SetOptions::new().expire(Duration::from_secs(3600));
        let key = cache.encoded_key("key").unwrap();
        let get = || cache.get_or_compute_early(key.as_bytes(), &options, f64::INFINITY, || 7);
        assert_eq!(get().unwrap(), 7);
        let (enter, entered) = channel();
        let (leave, left) = channel::<()>();
        let holder = cache.clone();
        let stopped = std::thread::spawn(move || {
            let store = holder.holds().unwrap().store().unwrap();
            store.write(patience, |_| {
                enter.send(()).unwrap();
                Ok(left.recv_timeout(patience).is_ok())
            })
        });
        entered.recv().unwrap();
        assert_eq!(get().unwrap(), 7);
        leave.send(()).unwrap();
        assert!(stopped.join().unwrap().unwrap(), "the value came when the other had gone on");
    }
}
