//! A clock that jumps: backwards, beyond the year 9999, before 1970.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use firncache::{Cache, FromKey, SetOptions};

use crate::number;

/// Seconds since 1970 that a clock may come to show.
const MOMENTS: [i64; 8] =
    [0, 1, 1_800_000_000, 253_402_300_799, 253_402_300_800, 281_474_976_710, -1, i64::MAX / 2];

#[derive(Clone, Default)]
struct Jumping(Arc<AtomicI64>);

impl Jumping {
    fn now(&self) -> SystemTime {
        let seconds = self.0.load(Ordering::Relaxed);
        let distance = Duration::from_secs(seconds.unsigned_abs());
        let time = match seconds < 0 {
            true => SystemTime::UNIX_EPOCH.checked_sub(distance),
            false => SystemTime::UNIX_EPOCH.checked_add(distance),
        };
        time.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Keys without an expiry stay, in the order in which they came; others may go.
fn run(seed: u64) {
    let (mut seed, time) = (seed, Jumping::default());
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let clock = time.clone();
    let options = Cache::options().clock(move || clock.now()).size_limit(1 << 22);
    let mut cache = options.clone().open(dir.path()).unwrap();
    let mut kept: BTreeMap<i64, u64> = BTreeMap::new();
    let mut order: Vec<i64> = Vec::new();
    for step in 0..60 {
        let key = (random(&mut seed) % 12) as i64;
        match random(&mut seed) % 10 {
            0..3 => {
                let jump = (random(&mut seed) % 4) as i64 - 2;
                let moment = MOMENTS[random(&mut seed) as usize % MOMENTS.len()];
                time.0.store(moment.saturating_add(jump), Ordering::Relaxed);
            }
            3..6 => {
                cache.set(key, &step).unwrap();
                if kept.insert(key, step).is_none() {
                    order.push(key);
                }
            }
            6 => {
                let far = [1, 60, u64::MAX / 4, u64::MAX][random(&mut seed) as usize % 4];
                let options = SetOptions::new().expire(Duration::from_secs(far));
                cache.set_with(("expires", key), &step, options).unwrap();
                let _ = cache.get::<u64>(("expires", key)).unwrap();
            }
            7 => {
                let moment = MOMENTS[random(&mut seed) as usize % MOMENTS.len()];
                let at = Jumping(Arc::new(AtomicI64::new(moment))).now();
                cache.set_with(("at", key), &step, SetOptions::new().expire_at(at)).unwrap();
            }
            8 => drop(cache.expire().unwrap()),
            _ => {
                drop(cache);
                cache = options.clone().open(dir.path()).unwrap();
            }
        }
        assert_eq!(cache.get::<u64>(key).unwrap(), kept.get(&key).copied());
    }
    let plain: Vec<i64> =
        cache.iter().filter_map(|key| FromKey::from_key(key.unwrap()).ok()).collect();
    assert_eq!(plain, order, "the order of insertion");
    assert!(kept.iter().all(|(key, value)| cache.get(*key).unwrap() == Some(*value)));
    let report = cache.check().unwrap();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_clock_that_jumps_ends_nothing_and_disturbs_no_order() {
    for seed in 0..number("ENVIRONMENT_CASES", 300) {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("with seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
