//! Does operations on a cache and on the reference, and compares them.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use firncache::{Cache, Clock, Error, ErrorKind, Eviction, Result, SetOptions, Side};
use quickcheck::{Arbitrary, Gen};
use serde::de::DeserializeOwned;
use serde_bytes::{ByteBuf, Bytes};
use tempfile::TempDir;

use crate::compare::{assert_entry, assert_key, assert_many, assert_peek, assert_same};
use crate::operation::{Blob, Labels, Operation, Value, key, tag};
use crate::reference::{Item, Reference, Refused};

/// The time at which every run begins.
const START_MS: u64 = 1_800_000_000_000;
/// Operations between two calls of `check()`.
const CHECK_STEPS: usize = 8;

/// What a cache is opened with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// A small one makes segments of 8 KiB. It removes nothing, as there is no eviction.
    size_limit: u64,
    value_file_threshold: u64,
    /// 0: expired items stay until they are asked to go.
    cull_limit: u32,
}

impl Arbitrary for Shape {
    fn arbitrary(g: &mut Gen) -> Shape {
        Shape {
            size_limit: *g.choose(&[1 << 16, 1 << 16, 1 << 30]).unwrap(),
            value_file_threshold: *g.choose(&[0, 200, 2000, 1 << 18]).unwrap(),
            cull_limit: *g.choose(&[0, 0, 1, 10]).unwrap(),
        }
    }
}

/// A clock that stands still until it is turned.
#[derive(Clone)]
struct Turned(Arc<AtomicU64>);

impl Clock for Turned {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Why a transaction is rolled back.
enum RollBack {
    Asked,
    Failed(Error),
}

impl From<Error> for RollBack {
    fn from(error: Error) -> RollBack {
        RollBack::Failed(error)
    }
}

/// Two handles on one cache, and the reference.
struct Run {
    /// After the handles, so that the directory goes last.
    handles: [Cache; 2],
    dir: TempDir,
    current: usize,
    clock: Turned,
    reference: Reference,
    depth: u32,
}

/// Does all operations on a new cache, and panics where it is not what the reference is.
pub(crate) fn run(shape: Shape, operations: &[Operation]) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Turned(Arc::new(AtomicU64::new(START_MS)));
    let open = || {
        Cache::options()
            .clock(clock.clone())
            .size_limit(shape.size_limit)
            .value_file_threshold(shape.value_file_threshold)
            .cull_limit(shape.cull_limit)
            .eviction(Eviction::None)
            .open(dir.path().join("cache"))
            .unwrap()
    };
    let handles = [open(), open()];
    let reference = Reference::new(START_MS, shape.cull_limit > 0);
    let mut run = Run { handles, dir, current: 0, clock, reference, depth: 0 };
    for (step, operation) in operations.iter().enumerate() {
        run.apply(operation);
        assert_same(run.other(), &run.reference);
        if step % CHECK_STEPS == CHECK_STEPS - 1 {
            run.check();
        }
    }
    run.check();
    run.reopen();
    assert_same(run.cache(), &run.reference);
}

fn options(labels: Labels) -> SetOptions {
    let mut options = SetOptions::new();
    if let Some(after) = labels.expire() {
        options = options.expire(after);
    }
    if let Some(number) = labels.tag {
        options = options.tag(tag(number));
    }
    options
}

fn set(cache: &Cache, number: u8, value: Value, labels: Labels) -> Result<()> {
    let (key, options) = (key(number), options(labels));
    match value {
        Value::Null => cache.set_with(key, &(), options),
        Value::Int(value) => cache.set_with(key, &value, options),
        Value::Text(value) => cache.set_with(key, &value.text(), options),
        Value::Bytes(value) => cache.set_with(key, Bytes::new(&value.bytes()), options),
        Value::List(value) => cache.set_with(key, &value.list(), options),
    }
}

fn add(cache: &Cache, number: u8, value: Value, labels: Labels) -> Result<bool> {
    let (key, options) = (key(number), options(labels));
    match value {
        Value::Null => cache.add_with(key, &(), options),
        Value::Int(value) => cache.add_with(key, &value, options),
        Value::Text(value) => cache.add_with(key, &value.text(), options),
        Value::Bytes(value) => cache.add_with(key, Bytes::new(&value.bytes()), options),
        Value::List(value) => cache.add_with(key, &value.list(), options),
    }
}

fn assert_within(found: u64, expected: RangeInclusive<u64>, what: &str) {
    assert!(expected.contains(&found), "{what} removed {found}, expected {expected:?}");
}

fn assert_pop<V: DeserializeOwned + PartialEq>(cache: &Cache, item: &Item, value: V) {
    let entry = cache.pop_entry::<V>(key(item.key)).unwrap();
    assert_entry(entry.expect("pop() of what is there"), item, &value);
}

impl Run {
    fn cache(&self) -> &Cache {
        &self.handles[self.current]
    }

    fn other(&self) -> &Cache {
        &self.handles[1 - self.current]
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn check(&self) {
        let report = self.cache().check().unwrap();
        assert!(report.is_clean(), "{report}");
    }

    fn reopen(&mut self) {
        let again = Cache::options().clock(self.clock.clone()).open(self.path()).unwrap();
        self.handles[self.current] = again;
    }

    fn apply(&mut self, operation: &Operation) {
        use Operation::*;
        match *operation {
            Set(number, value, labels) => {
                set(self.cache(), number, value, labels).unwrap();
                self.reference.set(number, value, labels);
            }
            Add(number, value, labels) => {
                let is_new = add(self.cache(), number, value, labels).unwrap();
                assert_eq!(is_new, self.reference.get(number).is_none(), "add");
                if is_new {
                    self.reference.set(number, value, labels);
                }
            }
            SetBytes(number, blob, labels) => {
                let done = self.cache().set_bytes_with(key(number), &blob.bytes(), options(labels));
                done.unwrap();
                self.reference.set(number, Value::Bytes(blob), labels);
            }
            SetFrom(number, blob, labels) => {
                let source = std::io::Cursor::new(blob.bytes());
                let len = self.cache().set_from(key(number), source, options(labels)).unwrap();
                assert_eq!(len, blob.len as u64);
                self.reference.set(number, Value::Bytes(blob), labels);
            }
            SetMany(ref numbers, blob, labels) => self.set_many(numbers, blob, labels),
            Touch(number, expire_ms) => {
                let expire = Labels { expire_ms, tag: None }.expire();
                let is_there = self.cache().touch(key(number), expire).unwrap();
                assert_eq!(is_there, self.reference.touch(number, expire_ms), "touch");
            }
            Incr(number, delta) => {
                let sum = self.cache().incr(key(number), delta).map(Some);
                self.counted(number, delta.into(), Some(0), sum);
            }
            Decr(number, delta) => {
                let sum = self.cache().decr(key(number), delta).map(Some);
                self.counted(number, -i128::from(delta), Some(0), sum);
            }
            IncrWith(number, delta, default) => {
                let sum = self.cache().incr_with(key(number), delta, default);
                self.counted(number, delta.into(), default, sum);
            }
            ref other => self.apply_removal(other),
        }
    }

    fn apply_removal(&mut self, operation: &Operation) {
        use Operation::*;
        match *operation {
            Delete(number) => {
                let was_there = self.cache().delete(key(number)).unwrap();
                assert_eq!(was_there, self.reference.remove(number).is_some(), "delete");
            }
            DeleteMany(ref numbers) => {
                let removed = self.cache().delete_many(numbers.iter().copied().map(key)).unwrap();
                let expected = numbers.iter().filter_map(|it| self.reference.remove(*it)).count();
                assert_eq!(removed, expected as u64, "delete_many");
            }
            Pop(number) => self.pop(number),
            Expire => {
                let removed = self.cache().expire().unwrap();
                assert_within(removed, self.reference.expire(), "expire()");
            }
            Evict(number) => {
                let removed = self.cache().evict(tag(number)).unwrap();
                assert_within(removed, self.reference.evict(number), "evict()");
            }
            Cull => {
                let removed = self.cache().cull().unwrap();
                assert_within(removed, self.reference.expire(), "cull()");
            }
            Clear => {
                let removed = self.cache().clear().unwrap();
                assert_within(removed, self.reference.clear(), "clear()");
            }
            ref other => self.apply_other(other),
        }
    }

    fn apply_other(&mut self, operation: &Operation) {
        use Operation::*;
        match *operation {
            Get(number) => assert_key(self.cache(), number, self.reference.get(number)),
            GetMany(ref numbers) => assert_many(self.cache(), &self.reference, numbers.clone()),
            PeekItem(is_front) => {
                let side = if is_front { Side::Front } else { Side::Back };
                assert_peek(self.cache(), &self.reference, side);
            }
            Turn(by_ms) => {
                let by_ms = if self.reference.culls { by_ms.abs() } else { by_ms };
                let now_ms = self.reference.now_ms.saturating_add_signed(by_ms.into());
                self.reference.now_ms = now_ms;
                self.clock.0.store(now_ms, Ordering::Relaxed);
            }
            Reopen if self.depth == 0 => self.reopen(),
            Reopen => {}
            Switch => self.current = 1 - self.current,
            Compact => self.upkeep(Cache::compact),
            Check => self.upkeep(|cache| {
                let report = cache.check()?;
                assert!(report.is_clean(), "{report}");
                Ok(())
            }),
            Repair => self.upkeep(|cache| {
                let report = cache.repair()?;
                assert!(report.is_clean(), "{report}");
                Ok(())
            }),
            Sync => self.upkeep(Cache::sync),
            Transact(commits, ref inner) => self.transact(commits, inner),
            ref other => unreachable!("{other:?}"),
        }
    }

    fn set_many(&mut self, numbers: &[u8], blob: Blob, labels: Labels) {
        let bytes = blob.bytes();
        let pairs = numbers.iter().map(|number| (key(*number), Bytes::new(&bytes)));
        let stored = self.cache().set_many(pairs, options(labels)).unwrap();
        assert_eq!(stored, numbers.len() as u64, "set_many");
        for number in numbers {
            self.reference.set(*number, Value::Bytes(blob), labels);
        }
    }

    fn counted(
        &mut self,
        number: u8,
        delta: i128,
        default: Option<i64>,
        found: Result<Option<i64>>,
    ) {
        let found = found.map_err(|error| match error.kind() {
            ErrorKind::Codec => Refused::Codec,
            ErrorKind::Overflow => Refused::Overflow,
            _ => panic!("{error}"),
        });
        assert_eq!(found, self.reference.count(number, delta, default), "counting {number}");
    }

    fn pop(&mut self, number: u8) {
        let Some(item) = self.reference.remove(number) else {
            assert_eq!(self.cache().pop::<i64>(key(number)).unwrap(), None);
            return;
        };
        let cache = self.cache();
        match item.value {
            Value::Null => assert_pop(cache, &item, ()),
            Value::Int(value) => {
                let wrong = cache.pop::<String>(key(number)).unwrap_err();
                assert_eq!(wrong.kind(), ErrorKind::Codec);
                assert_pop(cache, &item, value);
            }
            Value::Text(value) => assert_pop(cache, &item, value.text()),
            Value::Bytes(value) => assert_pop(cache, &item, ByteBuf::from(value.bytes())),
            Value::List(value) => assert_pop(cache, &item, value.list()),
        }
    }

    /// What cannot be part of a transaction says so.
    fn upkeep(&self, work: impl Fn(&Cache) -> Result<()>) {
        match work(self.cache()) {
            Ok(()) => assert_eq!(self.depth, 0, "done inside a transaction"),
            Err(error) => {
                assert!(self.depth > 0 && error.kind() == ErrorKind::Unsupported, "{error}");
            }
        }
    }

    /// An inner transaction joins the outer one, which alone decides.
    fn transact(&mut self, commits: bool, inner: &[Operation]) {
        let before = (self.depth == 0).then(|| self.reference.clone());
        let cache = self.cache().clone();
        self.depth += 1;
        let done = cache.transact(|_| {
            for operation in inner {
                self.apply(operation);
            }
            assert_same(self.cache(), &self.reference);
            assert_same(self.other(), &self.reference);
            if let Some(before) = &before {
                self.assert_unseen(before);
            }
            if commits { Ok(()) } else { Err(RollBack::Asked) }
        });
        self.depth -= 1;
        match done {
            Ok(()) => assert!(commits),
            Err(RollBack::Asked) => assert!(!commits),
            Err(RollBack::Failed(error)) => panic!("{error}"),
        }
        if let Some(before) = before.filter(|_| !commits) {
            let now_ms = self.reference.now_ms;
            self.reference = Reference { now_ms, ..before };
        }
    }

    /// Another thread sees the cache as it was before the transaction.
    fn assert_unseen(&self, before: &Reference) {
        let before = Reference { now_ms: self.reference.now_ms, ..before.clone() };
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| assert_same(self.other(), &before));
            reader.join().expect("another thread sees what is not committed");
        });
    }
}
