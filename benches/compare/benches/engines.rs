//! firncache and LMDB, one after the other in one run: 1,000,000 entries, one thread.
//!
//! A sample is a whole pass of many operations on a full store, and criterion is told the time of
//! one. `ENTRIES=100000` makes the store smaller.

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use compare::{Engine, Firn, FirnClear, Lmdb, key, tempdir, value};
use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Zipf};

/// Operations of one sample of reads.
const READS: u64 = 500_000;
/// Operations of each process in the mixed benchmark.
const MIXED: u64 = 500_000;

fn entries() -> u64 {
    std::env::var("ENTRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000)
}

fn fill<E: Engine>(engine: &E, from: u64, to: u64) {
    for index in from..to {
        engine.set(&key(index), value(index));
    }
}

/// The time of one of `count` operations, as criterion wants it for `iterations`.
fn per_operation(elapsed: Duration, count: u64, iterations: u64) -> Duration {
    elapsed.mul_f64(iterations as f64 / count as f64)
}

fn reads<E: Engine>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    engine: &E,
    expected: bool,
    mut next: impl FnMut() -> u64,
) {
    let keys: Vec<u64> = (0..READS).map(|_| next()).collect();
    let mut out = Vec::new();
    group.bench_function(E::NAME, |bencher| {
        bencher.iter_custom(|iterations| {
            let start = Instant::now();
            for index in &keys {
                assert_eq!(black_box(engine.get(&key(*index), &mut out)), expected);
            }
            per_operation(start.elapsed(), READS, iterations)
        });
    });
}

fn read_groups(criterion: &mut Criterion) {
    let count = entries();
    let (firn_dir, lmdb_dir) = (tempdir(), tempdir());
    let (firn, lmdb) = (Firn::open(firn_dir.path()), Lmdb::open(lmdb_dir.path()));
    fill(&firn, 0, count);
    fill(&lmdb, 0, count);
    let rng = || SmallRng::seed_from_u64(7);

    let mut group = criterion.benchmark_group("get, uniform");
    let (mut one, mut two) = (rng(), rng());
    reads(&mut group, &firn, true, || one.random_range(0..count));
    reads(&mut group, &lmdb, true, || two.random_range(0..count));
    group.finish();

    let mut group = criterion.benchmark_group("get, Zipf 0.99");
    let zipf = Zipf::new(count as f64, 0.99).expect("a distribution");
    let (mut one, mut two) = (rng(), rng());
    reads(&mut group, &firn, true, || zipf.sample(&mut one) as u64 - 1);
    reads(&mut group, &lmdb, true, || zipf.sample(&mut two) as u64 - 1);
    group.finish();

    let mut group = criterion.benchmark_group("get, missing");
    let (mut one, mut two) = (rng(), rng());
    reads(&mut group, &firn, false, || count + one.random_range(0..count));
    reads(&mut group, &lmdb, false, || count + two.random_range(0..count));
    group.finish();

    let mut group = criterion.benchmark_group("overwrite");
    overwrites(&mut group, &firn, count);
    let clear_dir = tempdir();
    let clear = FirnClear::open(clear_dir.path());
    fill(&clear, 0, count);
    overwrites(&mut group, &clear, count);
    overwrites(&mut group, &lmdb, count);
    group.finish();
}

fn overwrites<E: Engine>(group: &mut BenchmarkGroup<'_, WallTime>, engine: &E, count: u64) {
    let mut rng = SmallRng::seed_from_u64(11);
    group.bench_function(E::NAME, |bencher| {
        bencher.iter_custom(|iterations| {
            let keys: Vec<u64> = (0..READS).map(|_| rng.random_range(0..count)).collect();
            let start = Instant::now();
            for index in keys {
                engine.set(&key(index), value(index ^ 1));
            }
            per_operation(start.elapsed(), READS, iterations)
        });
    });
}

fn fresh<E: Engine>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let count = entries();
    group.bench_function(E::NAME, |bencher| {
        bencher.iter_custom(|iterations| {
            let dir = tempdir();
            let engine = E::open(dir.path());
            let start = Instant::now();
            fill(&engine, 0, count);
            per_operation(start.elapsed(), count, iterations)
        });
    });
}

fn deletes<E: Engine>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let count = entries();
    group.bench_function(E::NAME, |bencher| {
        bencher.iter_custom(|iterations| {
            let dir = tempdir();
            let engine = E::open(dir.path());
            fill(&engine, 0, count);
            let start = Instant::now();
            for index in 0..count {
                assert!(engine.delete(&key(index)));
            }
            per_operation(start.elapsed(), count, iterations)
        });
    });
}

/// Two processes on one store, nine reads to a write; the time of one operation of the two.
fn two_processes<E: Engine>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let dir = tempdir();
    fill(&E::open(dir.path()), 0, entries());
    group.bench_function(E::NAME, |bencher| {
        bencher.iter_custom(|iterations| {
            let start = Instant::now();
            let children: Vec<_> = (0..2)
                .map(|number| {
                    Command::new(std::env::current_exe().expect("own path"))
                        .env("COMPARE_ENGINE", E::NAME)
                        .env("COMPARE_DIR", dir.path())
                        .env("COMPARE_SEED", number.to_string())
                        .spawn()
                        .expect("start a process")
                })
                .collect();
            for mut child in children {
                assert!(child.wait().expect("wait").success());
            }
            per_operation(start.elapsed(), 2 * MIXED, iterations)
        });
    });
}

fn mixed<E: Engine>(dir: &str, seed: u64) {
    let engine = E::open(dir.as_ref());
    let (mut rng, mut out, count) = (SmallRng::seed_from_u64(seed), Vec::new(), entries());
    for _ in 0..MIXED {
        let index = rng.random_range(0..count);
        if rng.random_range(0..10) == 0 {
            engine.set(&key(index), value(index ^ 1));
        } else {
            assert!(engine.get(&key(index), &mut out));
        }
    }
}

/// Opening a store that is there, and the first read from it.
fn opens<E: Engine>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let dir = tempdir();
    fill(&E::open(dir.path()), 0, entries());
    let mut out = Vec::new();
    group.bench_function(E::NAME, |bencher| {
        bencher.iter(|| {
            let engine = E::open(dir.path());
            assert!(engine.get(&key(1), &mut out));
        });
    });
}

fn main() {
    let child = |name: &str| std::env::var(name).ok();
    if let (Some(engine), Some(dir)) = (child("COMPARE_ENGINE"), child("COMPARE_DIR")) {
        let seed = child("COMPARE_SEED").and_then(|seed| seed.parse().ok()).unwrap_or(0);
        return match engine.as_str() {
            Firn::NAME => mixed::<Firn>(&dir, seed),
            FirnClear::NAME => mixed::<FirnClear>(&dir, seed),
            _ => mixed::<Lmdb>(&dir, seed),
        };
    }
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    read_groups(&mut criterion);
    let mut group = criterion.benchmark_group("set, fresh");
    fresh::<Firn>(&mut group);
    fresh::<FirnClear>(&mut group);
    fresh::<Lmdb>(&mut group);
    group.finish();
    let mut group = criterion.benchmark_group("delete");
    deletes::<Firn>(&mut group);
    deletes::<FirnClear>(&mut group);
    deletes::<Lmdb>(&mut group);
    group.finish();
    let mut group = criterion.benchmark_group("two processes, nine reads to a write");
    two_processes::<Firn>(&mut group);
    two_processes::<FirnClear>(&mut group);
    two_processes::<Lmdb>(&mut group);
    group.finish();
    let mut group = criterion.benchmark_group("open and read one");
    opens::<Firn>(&mut group);
    opens::<Lmdb>(&mut group);
    group.finish();
    criterion.final_summary();
}
