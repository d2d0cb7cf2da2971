//! Turns: when somebody may go, so that no more than so many go in a time.
//!
//! The leaky bucket, in the form that keeps one number (the generic cell rate algorithm): the
//! *edge*, the instant at which the bucket will be empty. Each turn moves it by one *step*,
//! `per / count`. A turn may be taken when that leaves the edge within `per` of now.
//!
//! ```text
//!            now          now + per
//!   ----------|---------------|----->       empty for long: the edge counts as now, and `count`
//!             |===|===|===|   edge          steps fit at once; from then on one for each step
//! ```
//!
//! Instants are of the clock that all processes of a machine share and nobody can turn. It begins
//! anew with each boot, as this store does.

use std::time::Duration;

use crate::clock::uptime_ns;
use crate::error::Result;
use crate::holds::Holds;
use crate::holds::queue::put;

/// How many may go in which time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate {
    pub(crate) per_ns: u64,
    pub(crate) step_ns: u64,
}

impl Rate {
    /// The edge after one more turn, and how long after `now` it is.
    fn next(self, edge: u64, now: u64) -> (u64, u64) {
        let edge = edge.max(now).saturating_add(self.step_ns);
        (edge, edge.saturating_sub(now.saturating_add(self.per_ns)))
    }
}

impl Holds {
    /// Takes the next turn and says how long it is until then; `None` if that is longer than
    /// `patience`, and no turn is taken.
    pub(crate) fn take_turn(
        &self,
        name: &[u8],
        rate: Rate,
        patience: Duration,
        timeout: Duration,
    ) -> Result<Option<Duration>> {
        let store = self.store()?;
        let key = store.hashed(name);
        store.write_to(key.hash, timeout, |writer| {
            let (mut tag, mut bytes) = (Vec::new(), Vec::new());
            let found = writer.find(key)?;
            let is_sound = match &found {
                Some(found) => writer.read(found, &mut tag, &mut bytes)?,
                None => false,
            };
            let edge = <[u8; 8]>::try_from(&bytes[..]).ok().filter(|_| is_sound);
            let now = uptime_ns();
            let (edge, wait) = rate.next(edge.map_or(0, u64::from_le_bytes), now);
            let wait = Duration::from_nanos(wait);
            if wait > patience {
                return Ok(None);
            }
            put(writer, key, found.as_ref(), &edge.to_le_bytes())?;
            Ok(Some(wait))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn waits(rate: Rate, edge: u64, now: u64, turns: usize) -> Vec<u64> {
        let mut edge = edge;
        let mut turn = || {
            let (next, wait) = rate.next(edge, now);
            edge = next;
            wait
        };
        (0..turns).map(|_| turn()).collect()
    }

    #[test]
    fn the_first_burst_is_the_count_and_then_one_goes_for_each_step() {
        let rate = Rate { per_ns: 30, step_ns: 10 };
        assert_eq!(waits(rate, 0, 1000, 6), [0, 0, 0, 10, 20, 30]);
        assert_eq!(waits(rate, 1030, 1015, 3), [0, 5, 15]);
        assert_eq!(waits(rate, 1030, 5000, 4), [0, 0, 0, 10]);
    }

    #[test]
    fn one_at_a_time_has_no_burst() {
        let rate = Rate { per_ns: 10, step_ns: 10 };
        assert_eq!(waits(rate, 0, 7, 3), [0, 10, 20]);
    }

    quickcheck! {
        fn no_span_has_more_than_the_burst_and_its_steps(calls: Vec<u8>) -> bool {
            let rate = Rate { per_ns: 50, step_ns: 10 };
            let (mut edge, mut now, mut went) = (0, 1000, Vec::new());
            for gap in calls {
                now += u64::from(gap % 16);
                let (next, wait) = rate.next(edge, now);
                if wait == 0 {
                    edge = next;
                    went.push(now);
                }
            }
            went.iter().enumerate().all(|(first, from)| {
                went[first..].iter().enumerate().all(|(more, to)| more as u64 <= 4 + (to - from) / 10)
            })
        }
    }
}
