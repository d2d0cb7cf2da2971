//! How long single sets take in steady overwriting under a size limit, and how long opening takes
//! after every process was killed.
//!
//! The time on the wall is what a caller sees. Beside it stands the time on the processor, which is
//! what firncache itself took: the rest, the operating system gave to others or spent waiting.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use compare::{key, tempdir, value};
use firncache::{Cache, PowerLoss};
use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const SETS: u64 = 3_000_000;
const SIZE_LIMIT: u64 = 256 << 20;
const SLOW: Duration = Duration::from_millis(2);

fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is this function's own.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn print(what: &str, times: &Histogram<u64>) {
    let at = |quantile| Duration::from_nanos(times.value_at_quantile(quantile));
    let (half, most, more) = (at(0.5), at(0.99), at(0.999));
    let (rare, max) = (at(0.9999), Duration::from_nanos(times.max()));
    println!("{what:<28} p50 {half:?}  p99 {most:?}  p99.9 {more:?}  p99.99 {rare:?}  max {max:?}");
}

/// Sets of keys of which a part is evicted all the while.
fn sets(name: &str, power_loss: PowerLoss) {
    let dir = tempdir();
    let options = Cache::options().size_limit(SIZE_LIMIT).power_loss(power_loss);
    let cache = options.open(dir.path()).expect("open");
    let mut rng = SmallRng::seed_from_u64(5);
    let mut set = || {
        let index = rng.random_range(0..2_000_000);
        cache.set_bytes(&key(index), value(index)).expect("set");
    };
    (0..SETS).for_each(|_| set());
    let histogram = || Histogram::<u64>::new_with_max(60_000_000_000, 3).expect("a histogram");
    let (mut wall, mut processor) = (histogram(), histogram());
    let (mut slow, mut slow_itself) = (0, 0);
    for _ in 0..SETS {
        let (start, before) = (Instant::now(), processor_time());
        set();
        let (took, worked) = (start.elapsed(), processor_time() - before);
        slow += u64::from(took > SLOW);
        slow_itself += u64::from(worked > SLOW);
        wall.saturating_record(took.as_nanos() as u64);
        processor.saturating_record(worked.as_nanos() as u64);
    }
    print(&format!("{name}, on the wall"), &wall);
    print(&format!("{name}, on the processor"), &processor);
    println!("  of {SETS}: {slow} above {SLOW:?} on the wall, {slow_itself} on the processor");
    let disk = cache.disk_usage().expect("look");
    println!("  {} MiB on disk under a limit of {} MiB", disk >> 20, SIZE_LIMIT >> 20);
}

/// Opens of a store whose only process was killed in the middle of its sets.
fn opens() {
    let dir = tempdir();
    let mut times = Histogram::<u64>::new_with_max(60_000_000_000, 3).expect("a histogram");
    for round in 0..20 {
        let mut child = Command::new(std::env::current_exe().expect("own path"))
            .env("TAILS_DIR", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start a process");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        output.read_line(&mut line).expect("hear from the process");
        std::thread::sleep(Duration::from_millis(20 + round));
        child.kill().expect("kill");
        assert_eq!(child.wait().expect("wait").signal(), Some(libc::SIGKILL));
        let start = Instant::now();
        let cache = Cache::open(dir.path()).expect("open");
        assert!(cache.get_bytes(&key(1)).expect("get").is_some());
        times.saturating_record(start.elapsed().as_nanos() as u64);
        let start = Instant::now();
        cache.set_bytes(&key(1), b"after").expect("set");
        println!("  the first set after it: {:?}", start.elapsed());
    }
    print("open and get, after kill -9", &times);
}

fn be_killed(dir: &str) -> ! {
    let cache = Cache::options().size_limit(8 << 30).open(dir).expect("open");
    if cache.is_empty().expect("look") {
        (0..1_000_000).for_each(|at| cache.set_bytes(&key(at), value(at)).expect("set"));
    }
    println!("ready");
    std::io::stdout().flush().expect("say so");
    let mut rng = SmallRng::seed_from_u64(u64::from(std::process::id()));
    loop {
        let index = rng.random_range(0..1_000_000);
        cache.set_bytes(&key(index), value(index)).expect("set");
    }
}

fn main() {
    if let Ok(dir) = std::env::var("TAILS_DIR") {
        be_killed(&dir);
    }
    sets("Recover", PowerLoss::Recover);
    sets("Clear", PowerLoss::Clear);
    opens();
}
