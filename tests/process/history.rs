//! Histories of several processes: every operation is recorded when it begins and when it has ended,
//! by the clock that all processes share, while the cache is compacted and grows and processes are
//! killed; afterwards [`linear`] looks for an order in which all of it makes sense.
//!
//! `HISTORY_OPERATIONS=10000000 cargo test --release --test process recorded` goes on until so many
//! operations were recorded.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use firncache::{Cache, Eviction, PushOptions, QueueOptions};
use rustix::time::{ClockId, clock_gettime};

use crate::linear::{Call, Op, Outcome, State, check};
use crate::worker::{Worker, say};
use crate::writer::Random;
use crate::{assert_clean, options};

/// Keys, queues and pairs that all processes share.
const KEYS: u64 = 4;
const QUEUES: u64 = 1;
const PAIRS: u64 = 2;
const OBJECTS: u64 = KEYS + QUEUES + PAIRS;
/// Keys that only fill the cache, so that it grows and is compacted.
const FILL: u64 = 3000;
/// Operations that are recorded at least, unless the environment says otherwise.
const OPERATIONS: usize = 20_000;
const ROUND: Duration = Duration::from_millis(2000);
const NEVER: u64 = u64::MAX;

/// Nanoseconds of the clock that runs for all processes alike.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// With a policy, so small that keys are evicted all the time.
fn open(directory: &Path, evicts: bool) -> Cache {
    let evicting = || Cache::options().size_limit(1 << 17).eviction(Eviction::LeastRecentlyStored);
    let options = if evicts { evicting() } else { options().size_limit(1 << 20) };
    options.open(directory).unwrap()
}

/// A worker: operations on what all share, recorded in a file of its own until it is killed or a
/// file says that it is enough.
pub(crate) fn work(directory: &Path, number: u64, evicts: bool) {
    let cache = open(directory, evicts);
    let mut random = Random::new(number);
    let above = directory.parent().unwrap();
    let mut file = File::create(above.join(format!("history.{number}"))).unwrap();
    say("ready");
    let mut next = (number as i64 + 1) << 32;
    for count in 0u64.. {
        if count.is_multiple_of(256) && above.join("enough").exists() {
            return;
        }
        next += 1;
        if random.below(3) == 0 {
            let (key, len) = (("fill", random.below(FILL)), random.below(200) as usize);
            cache.set_bytes(key, &vec![7; len]).unwrap();
        }
        if random.below(20_000) == 0 {
            cache.compact().unwrap();
        }
        let object = random.below(if evicts { KEYS } else { OBJECTS });
        let op = choose(&mut random, object, next);
        // One call of the system each: a kill leaves all of it or, where a page ends, the beginning.
        let line = format!("{object} {} {}\n", encode(op), now());
        file.write_all(line.as_bytes()).unwrap();
        let outcome = perform(&cache, object, op);
        let line = format!("{} {}\n", encode_outcome(outcome), now());
        file.write_all(line.as_bytes()).unwrap();
    }
}

fn choose(random: &mut Random, object: u64, next: i64) -> Op {
    let dice = random.below(12);
    if object < KEYS {
        return match dice {
            0..3 => Op::Set(next),
            3..7 => Op::Get,
            7 => Op::Delete,
            8 => Op::Add(next),
            9 | 10 => Op::Incr(1),
            _ => Op::Pop,
        };
    }
    match (object < KEYS + QUEUES, dice) {
        (true, 0..5) => Op::Push(next),
        (true, _) => Op::Pull,
        (false, 0..4) => Op::SetBoth(next),
        (false, _) => Op::GetBoth,
    }
}

fn perform(cache: &Cache, object: u64, op: Op) -> Outcome {
    let key = ("shared", object);
    let side = |side: u64| ("pair", object, side);
    match op {
        Op::Set(value) => cache.set(key, &value).map(|()| Outcome::Done),
        Op::Get => cache.get(key).map(Outcome::Value),
        Op::Delete => cache.delete(key).map(Outcome::Was),
        Op::Add(value) => cache.add(key, &value).map(Outcome::Was),
        Op::Incr(by) => cache.incr(key, by).map(|value| Outcome::Value(Some(value))),
        Op::Pop => cache.pop(key).map(Outcome::Value),
        Op::Push(value) => {
            cache.push_with(&value, PushOptions::new().prefix("queue")).map(|_| Outcome::Done)
        }
        Op::Pull => {
            let pulled = cache.pull_with(QueueOptions::new().prefix("queue"));
            pulled.map(|it| Outcome::Value(it.map(|(_, entry)| entry.value)))
        }
        Op::SetBoth(value) => cache.transact(|tx| {
            tx.set(side(0), &value)?;
            tx.set(side(1), &value)?;
            Ok(Outcome::Done)
        }),
        Op::GetBoth => cache.transact(|tx| Ok(Outcome::Both(tx.get(side(0))?, tx.get(side(1))?))),
    }
    .unwrap_or_else(|error: firncache::Error| panic!("{op:?} of {object}: {error}"))
}

fn encode(op: Op) -> String {
    let (name, argument) = match op {
        Op::Set(value) => ("set", value),
        Op::Get => ("get", 0),
        Op::Delete => ("delete", 0),
        Op::Add(value) => ("add", value),
        Op::Incr(by) => ("incr", by),
        Op::Pop => ("pop", 0),
        Op::Push(value) => ("push", value),
        Op::Pull => ("pull", 0),
        Op::SetBoth(value) => ("setboth", value),
        Op::GetBoth => ("getboth", 0),
    };
    format!("{name} {argument}")
}

fn decode(name: &str, argument: i64) -> Op {
    match name {
        "set" => Op::Set(argument),
        "get" => Op::Get,
        "delete" => Op::Delete,
        "add" => Op::Add(argument),
        "incr" => Op::Incr(argument),
        "pop" => Op::Pop,
        "push" => Op::Push(argument),
        "pull" => Op::Pull,
        "setboth" => Op::SetBoth(argument),
        "getboth" => Op::GetBoth,
        other => panic!("no operation is called {other}"),
    }
}

fn encode_outcome(outcome: Outcome) -> String {
    let value = |it: Option<i64>| it.map_or("-".to_owned(), |value| value.to_string());
    match outcome {
        Outcome::Done => "done - -".to_owned(),
        Outcome::Was(was) => format!("was {} -", i64::from(was)),
        Outcome::Value(it) => format!("value {} -", value(it)),
        Outcome::Both(one, other) => format!("both {} {}", value(one), value(other)),
    }
}

fn decode_outcome(words: &[&str]) -> Outcome {
    let value = |word: &str| word.parse().ok();
    match words[0] {
        "done" => Outcome::Done,
        "was" => Outcome::Was(words[1] == "1"),
        "value" => Outcome::Value(value(words[1])),
        "both" => Outcome::Both(value(words[1]), value(words[2])),
        other => panic!("no outcome is called {other}"),
    }
}

/// Adds what a worker has recorded to the histories of the objects. An operation without an end was
/// over at `settled`.
fn take_in(path: &Path, settled: u64, histories: &mut [Vec<Call>]) {
    let text = std::fs::read_to_string(path).unwrap();
    // A line that ends with a page may be cut there by a kill: what has no end was not written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    while let Some(begun) = lines.next() {
        let [object, name, argument, begin] = begun[..] else { panic!("{begun:?}") };
        let op = decode(name, argument.parse().unwrap());
        let (outcome, end) = match lines.next() {
            Some(ended) => (Some(decode_outcome(&ended[..3])), ended[3].parse().unwrap()),
            None => (None, settled),
        };
        let call = Call { op, begin: begin.parse().unwrap(), end, outcome };
        histories[object.parse::<usize>().unwrap()].push(call);
    }
}

fn initial(object: u64) -> State {
    match object {
        _ if object < KEYS => State::One(None),
        _ if object < KEYS + QUEUES => State::Queue(Default::default()),
        _ => State::Two(None, None),
    }
}

/// One cache, and `processes` on it for a while; how many operations there were.
fn round(processes: u64, evicts: bool, random: &mut Random) -> usize {
    let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let directory: PathBuf = place.path().join("cache");
    let cache = open(&directory, evicts);
    let work = if evicts { "history evicting" } else { "history" };
    let start = |number| {
        let worker = Worker::start(work, &directory, number);
        worker.expect("ready");
        worker
    };
    let mut workers: Vec<(u64, Worker)> = (0..processes).map(|it| (it, start(it))).collect();
    let (began, mut started, mut ended) = (std::time::Instant::now(), processes, Vec::new());
    while began.elapsed() < ROUND {
        std::thread::sleep(Duration::from_millis(50 + random.below(150)));
        let victim = random.below(workers.len() as u64) as usize;
        let (number, worker) = workers.swap_remove(victim);
        worker.kill();
        // Whoever writes next recovers what it left: then it is decided.
        cache.set("after", &number).unwrap();
        ended.push((number, now()));
        workers.push((started, start(started)));
        started += 1;
    }
    std::fs::write(place.path().join("enough"), "").unwrap();
    for (number, worker) in workers {
        worker.finish();
        ended.push((number, NEVER));
    }
    assert_clean(&cache);
    let mut histories = vec![Vec::new(); OBJECTS as usize];
    for (number, settled) in ended {
        take_in(&place.path().join(format!("history.{number}")), settled, &mut histories);
    }
    for (object, calls) in histories.iter().enumerate() {
        if let Err(call) = check(&initial(object as u64), evicts, calls) {
            let near = calls.iter().filter(|it| it.begin <= call.end && it.end >= call.begin);
            panic!(
                "object {object}: no order explains {call:?}, beside {:?}",
                near.collect::<Vec<_>>()
            );
        }
    }
    histories.iter().map(Vec::len).sum()
}

#[test]
fn recorded_histories_have_an_order() {
    let asked = std::env::var("HISTORY_OPERATIONS").ok();
    let wanted = asked.map_or(OPERATIONS, |it| it.parse().expect("a number of operations"));
    let (mut random, mut count, mut rounds) = (Random::new(5), 0, 0);
    while count < wanted || rounds < 3 {
        let processes = [2, 4, 10, 6, 3, 8][rounds % 6];
        count += round(processes, rounds % 3 == 1, &mut random);
        rounds += 1;
    }
    println!("{count} operations in {rounds} histories, each with an order");
}
