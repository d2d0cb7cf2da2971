//! Queues, locks and the like, one thread: what `python/recipes.py` measures with python-diskcache,
//! under the same names.
//!
//! `run-recipes` runs both and prints them side by side. A sample is a pass of many operations, and
//! criterion is told the time of one.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use compare::tempdir;
use criterion::Criterion;
use firncache::recipes::{Averager, Lock, Throttle};
use firncache::{Cache, Deque, Error, Index, MemoizeOptions, SetOptions};

/// Operations of one sample.
const OPERATIONS: u32 = 50_000;
/// So many calls in a second that none of them waits.
const COUNT: u32 = 1_000_000_000;
/// How often two operations are compared, and how many of them are one turn.
const TURNS: usize = 301;
const TURN: u32 = 1_000;
const SECOND: Duration = Duration::from_secs(1);
/// What is stored: a text as long as the values of the other benchmarks.
const TEXT: &str = "A text of one hundred bytes, which both sides store as a text and neither has \
                    to write to a file of...";

/// Measures one operation, which is told its number.
fn measure(criterion: &mut Criterion, name: &str, mut operation: impl FnMut(u64)) {
    let mut next = 0;
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let start = Instant::now();
            for _ in 0..OPERATIONS {
                operation(next);
                next += 1;
            }
            start.elapsed().mul_f64(iterations as f64 / f64::from(OPERATIONS))
        });
    });
}

fn ends(criterion: &mut Criterion, cache: &Cache, directory: &Path) {
    measure(criterion, "push and pull", |_| {
        cache.push(TEXT).expect("push");
        assert!(black_box(cache.pull::<String>().expect("pull")).is_some());
    });
    let deque = Deque::<String>::open(directory.join("deque")).expect("open a deque");
    let text = TEXT.to_owned();
    measure(criterion, "deque push_back and pop_front", |_| {
        deque.push_back(&text).expect("push");
        assert!(black_box(deque.pop_front().expect("pop")).is_some());
    });
    let index = Index::<u64, String>::open(directory.join("index")).expect("open an index");
    measure(criterion, "index insert", |number| index.insert(&number, &text).expect("insert"));
}

fn recipes(criterion: &mut Criterion, cache: &Cache) {
    let lock = Lock::new(cache, "lock");
    measure(criterion, "lock acquire and release", |_| {
        assert!(lock.acquire().expect("acquire").release().expect("release"));
    });
    let throttle = Throttle::new(cache, "throttle", COUNT, SECOND).expect("a throttle");
    measure(criterion, "throttle call", |number| {
        assert_eq!(throttle.call(|| black_box(number)).expect("call"), number);
    });
    let averager = Averager::new(cache, "mean");
    measure(criterion, "averager add", |number| averager.add(number as f64).expect("add"));
}

fn reads(criterion: &mut Criterion, cache: &Cache) {
    cache.set("key", TEXT).expect("set");
    measure(criterion, "get", |_| {
        assert!(black_box(cache.get::<String>("key").expect("get")).is_some());
    });
    measure(criterion, "get_or_set_with, a hit", |_| {
        let text =
            cache.get_or_set_with("key", SetOptions::new(), || Ok::<_, Error>(String::new()));
        assert!(!black_box(text.expect("get")).is_empty());
    });
    let options = MemoizeOptions::new();
    let text = cache.memoize("text", options, |length: &u64| TEXT[..*length as usize].to_owned());
    measure(criterion, "memoized call, a hit", |_| {
        assert!(!black_box(text.call(&100).expect("call")).is_empty());
    });
}

/// What `get_or_set_with` costs in comparison with `get`, of the same key and in turns: a machine
/// that has other things to do, too, slows down both.
fn hit_beside_get(cache: &Cache) {
    let time = |operation: &dyn Fn() -> String| {
        let start = Instant::now();
        (0..TURN).for_each(|_| assert!(!black_box(operation()).is_empty()));
        start.elapsed().as_secs_f64()
    };
    let get = || cache.get::<String>("key").expect("get").unwrap_or_default();
    let compute = || Ok::<_, Error>(String::new());
    let hit = || cache.get_or_set_with("key", SetOptions::new(), compute).expect("get");
    let mut ratios: Vec<f64> = (0..TURNS).map(|_| time(&hit) / time(&get)).collect();
    ratios.sort_by(f64::total_cmp);
    println!("get_or_set_with, a hit, takes {:.2} times as long as get", ratios[TURNS / 2]);
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let dir = tempdir();
    let cache = Cache::open(dir.path().join("cache")).expect("open a cache");
    ends(&mut criterion, &cache, dir.path());
    recipes(&mut criterion, &cache);
    reads(&mut criterion, &cache);
    hit_beside_get(&cache);
    criterion.final_summary();
}
