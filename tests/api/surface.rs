//! Every name of the public interface, with the arguments and results that programs rely on: where
//! one changes, this does not compile. `surface_fanout` has what belongs to `FanoutCache`,
//! `surface_names` constants, options, codecs and whatever else is named only now and then, and the
//! test that none is missing.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, SystemTime};

use firncache::recipes::{
    Averager, Barrier, BoundedSemaphore, Guard, Lock, RLock, Throttle, memoize_stampede,
};
use firncache::{
    Bincode, Cache, Codec, Deque, Durability, Entry, Error, ErrorKind, Eviction, FromKey, Index,
    Items, Iter, Key, MemoizeOptions, Memoized, Options, PowerLoss, PushOptions, QueueOptions,
    Report, Result, SetOptions, Settings, Side, SortedKeys, Stats, SystemClock, ToKey, Transaction,
    ValueReader,
};

fn is_key(key: impl ToKey) -> Key {
    fn is_shared<T: Ord + std::hash::Hash + std::fmt::Display + Clone + Send + Sync>(_: &T) {}
    let cache = Cache::temporary().unwrap();
    cache.set(key, &()).unwrap();
    let key = cache.iter().next().unwrap().unwrap();
    is_shared(&key);
    key
}

#[test]
fn keys_are_all_these_types() {
    assert_eq!(is_key(1_u8), is_key(1.0));
    let least = String::from("least");
    assert_eq!(is_key(&least), is_key(least));
    assert_eq!(is_key(()), is_key(None::<i32>));
    assert_eq!(is_key("text"), is_key(Some(String::from("text"))));
    assert_eq!(is_key(b"bytes"), is_key(vec![98, 121, 116, 101, 115_u8]));
    assert_eq!(is_key(&b"bytes"[..]), is_key(*b"bytes"));
    assert_ne!(is_key(true), is_key(1));
    let tuple = is_key(("user", 7, 2.5, (true, None::<u8>)));
    assert_eq!(is_key(&tuple), tuple);
    let order = [
        is_key(()),
        is_key(false),
        is_key(true),
        is_key(-1),
        is_key("a"),
        is_key(b"a"),
        is_key((1,)),
    ];
    assert!(order.is_sorted());
    let cache = Cache::temporary().unwrap();
    assert_eq!(cache.set(f64::NAN, &1).map_err(|error| error.kind()), Err(ErrorKind::Key));
}

#[test]
fn a_cache_is_opened_with_these_options() -> Result<()> {
    fn is_shared<T: Send + Sync + Clone + 'static>() {}
    is_shared::<Cache>();
    fn is_error<T: std::error::Error + Send + Sync + 'static>() {}
    is_error::<Error>();
    let dir = tempfile::tempdir().unwrap();
    let options: Options = Cache::options()
        .size_limit(1 << 20)
        .eviction(Eviction::LeastRecentlyStored)
        .cull_limit(10)
        .statistics(true)
        .value_file_threshold(1 << 16)
        .exact_cull_count(false)
        .power_loss(PowerLoss::Recover)
        .timeout(Duration::from_secs(60))
        .codec(Bincode)
        .clock(SystemClock)
        .clock(SystemTime::now)
        .read_only(false)
        .create(true)
        .durability(Durability::Process);
    let cache: Cache = options.open(dir.path())?;
    let again: Result<Cache> = Cache::open(dir.path());
    let directory: &Path = cache.directory();
    assert_eq!(directory, again?.directory());
    let settings: Settings = cache.settings();
    let Settings { size_limit, cull_limit, value_file_threshold, .. } = settings;
    assert_eq!((size_limit, cull_limit, value_file_threshold), (1 << 20, 10, 1 << 16));
    assert_eq!((settings.eviction, settings.power_loss), (Eviction::default(), PowerLoss::Recover));
    assert!(settings.statistics && !settings.exact_cull_count);
    let done: Result<()> = cache.update_settings(|settings: &mut Settings| {
        settings.eviction = Eviction::Sieve;
    });
    done?;
    for other in [Eviction::LeastRecentlyUsed, Eviction::LeastFrequentlyUsed, Eviction::None] {
        assert_ne!(cache.settings().eviction, other);
    }
    let also = (PowerLoss::Clear, Durability::Sync);
    assert_ne!(also, (PowerLoss::Recover, Durability::Process));
    cache.close()
}

#[test]
fn one_key_is_used_with_these_calls() -> Result<()> {
    let cache: Cache = Cache::temporary()?;
    let set: () = cache.set("key", "unsized")?;
    let later = SystemTime::now() + Duration::from_secs(60);
    let options = SetOptions::new().expire(Duration::from_secs(60)).expire_at(later).tag(("t", 1));
    let set_with: () = cache.set_with("key", &[1, 2][..], options.clone())?;
    let _: [(); 2] = [set, set_with];
    let _: [bool; 2] = [cache.add("key", &1)?, cache.add_with("new", &1, options)?];
    let value: Option<Vec<i32>> = cache.get::<Vec<i32>>("key")?;
    assert_eq!(value, Some(vec![1, 2]));
    let entry: Option<Entry<Vec<i32>>> = cache.get_entry::<Vec<i32>>("key")?;
    let Entry { value, expires_at, tag, stored_at, .. } = entry.unwrap();
    let _: (Vec<i32>, Option<SystemTime>, Option<Key>, SystemTime) =
        (value, expires_at, tag, stored_at);
    let _: bool = cache.touch("key", Some(Duration::from_secs(5)))? && cache.touch("key", None)?;
    let _: [i64; 2] = [cache.incr("count", 1_i64)?, cache.decr("count", 1_i64)?];
    let _: Option<i64> = cache.incr_with("count", 1, None::<i64>)?;
    let _: [bool; 2] = [cache.contains("key")?, cache.delete("count")?];
    let _: Option<Vec<i32>> = cache.pop::<Vec<i32>>("key")?;
    let _: Option<Entry<i32>> = cache.pop_entry::<i32>("new")?;
    let _: () = cache.set_bytes("raw", &[1])?;
    let _: () = cache.set_bytes_with("raw", b"bytes", SetOptions::new())?;
    let _: Option<Vec<u8>> = cache.get_bytes("raw")?;
    let mut buffer: Vec<u8> = Vec::new();
    assert!(cache.get_bytes_into("raw", &mut buffer)?);
    let len: u64 = cache.set_from("stream", &b"a stream"[..], SetOptions::new())?;
    let mut reader: ValueReader = cache.reader("stream")?.unwrap();
    let _: (u64, bool, Option<&Path>) = (reader.len(), reader.is_empty(), reader.path());
    reader.seek(SeekFrom::Start(2)).unwrap();
    reader.read_to_end(&mut buffer).unwrap();
    assert_eq!(len, 8);
    let got: Result<u32, Box<dyn std::error::Error>> =
        cache.get_or_set_with("computed", SetOptions::new(), || Ok("7".parse()?));
    assert_eq!(got.unwrap(), 7);
    Ok(())
}

#[test]
fn many_keys_are_used_with_these_calls() -> Result<()> {
    let cache = Cache::temporary()?;
    let (text, map) = (String::from("a"), BTreeMap::from([("k", 1), ("l", 2)]));
    let stored: u64 = cache.set_many([(1, &text), (2, &text)], SetOptions::new())?;
    let more: u64 = cache.set_many(&map, SetOptions::new().tag("t"))?;
    let values: Vec<Option<String>> = cache.get_many::<String>([1, 2, 3])?;
    assert_eq!((stored, more, values.len()), (2, 2, 3));
    let mut iter: Iter = cache.iter();
    let _: Option<Result<Key>> = iter.next_back();
    let items: Items<String> = cache.items::<String>();
    let _: Vec<Result<(Key, String)>> = items.rev().collect();
    let mut sorted: SortedKeys = cache.sorted_keys()?;
    let _: Option<Result<Key>> = sorted.next_back();
    let end: Option<(Key, Entry<String>)> = cache.peek_item::<String>(Side::Front)?;
    assert!(end.is_some());
    let _: [u64; 3] = [cache.len()?, cache.volume()?, cache.disk_usage()?];
    let _: bool = cache.is_empty()?;
    let removed: [u64; 5] = [
        cache.delete_many([1, 2])?,
        cache.expire()?,
        cache.evict("t")?,
        cache.cull()?,
        cache.clear()?,
    ];
    assert_eq!(removed, [2, 0, 2, 0, 0]);
    let Stats { hits, misses, evictions, expirations, damaged, .. }: Stats = cache.stats()?;
    assert_eq!([hits, misses, evictions, expirations, damaged], [0_u64; 5]);
    let _: Stats = cache.reset_stats()?;
    for report in [cache.check()?, cache.repair()?] {
        let report: Report = report;
        assert!(report.is_clean() && report.findings().is_empty());
    }
    let _: [(); 2] = [cache.compact()?, cache.sync()?];
    Ok(())
}

#[test]
fn queues_and_transactions_are_used_with_these_calls() -> Result<()> {
    let cache = Cache::temporary()?;
    let _: Key = cache.push("item")?;
    let options = PushOptions::new().prefix("q").side(Side::Back).expire(Duration::MAX).tag(1);
    let _: Key = cache.push_with("item", options.expire_at(SystemTime::now()))?;
    let _: Option<(Key, String)> = cache.peek::<String>()?;
    let _: Option<(Key, String)> = cache.pull::<String>()?;
    let queue = QueueOptions::new().prefix("q").side(Side::Front);
    let _: Option<(Key, Entry<String>)> = cache.peek_with::<String>(queue.clone())?;
    let _: Option<(Key, Entry<String>)> = cache.pull_with::<String>(queue)?;
    let inside: Result<u64, Box<dyn std::error::Error>> = cache.transact(|tx: &Transaction| {
        tx.set("key", &1)?;
        let same: &Cache = tx;
        Ok(same.len()?)
    });
    let transaction: Transaction = cache.begin()?;
    transaction.commit()?;
    drop(cache.begin()?);
    assert!(inside.unwrap() >= 1);
    Ok(())
}

#[test]
fn errors_tell_these_things() {
    let error: Error = Cache::options().create(false).open("/nowhere/at/all").unwrap_err();
    let kind: ErrorKind = error.kind();
    let _: Option<&Path> = error.path();
    let _: &dyn std::error::Error = &error;
    match kind {
        ErrorKind::Io | ErrorKind::Timeout | ErrorKind::Corrupt | ErrorKind::Version => {}
        ErrorKind::TooLarge | ErrorKind::Full | ErrorKind::Codec | ErrorKind::Key => {}
        ErrorKind::Setting | ErrorKind::Overflow | ErrorKind::ReadOnly => {}
        ErrorKind::Unsupported => {}
        _ => panic!("{error}"),
    }
}

#[test]
fn a_deque_is_used_with_these_calls() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let deque: Deque<i32> = Deque::<i32>::options().max_len(9).open(dir.path().join("a"))?;
    let other: Deque<i32> = Deque::<i32>::open(dir.path().join("b"))?;
    let _: Deque<i32> = Deque::from_cache(Cache::temporary()?);
    let _: [(); 4] = [
        deque.push_back(&2)?,
        deque.push_front(&1)?,
        deque.extend([3, 4])?,
        deque.extend_front(vec![0])?,
    ];
    let ends: [Option<i32>; 4] = [deque.front()?, deque.back()?, deque.get(-1)?, deque.get(99)?];
    assert_eq!(ends, [Some(0), Some(4), Some(4), None]);
    let _: [(); 3] = [deque.rotate(-1_i64)?, deque.rotate(1)?, deque.reverse()?];
    let _: [bool; 3] = [deque.set(0_i64, &9)?, deque.remove(&9)?, deque.contains(&1)?];
    let _: (Option<u64>, u64, u64) = (deque.position(&1)?, deque.count(&1)?, deque.len()?);
    let all: Vec<i32> = deque.iter().rev().collect::<Result<_>>()?;
    let same: Vec<i32> = (&deque).into_iter().collect::<Result<_>>()?;
    assert!(deque.eq_slice(&same)? && deque == same && deque == same[..] && deque > other);
    let order: Option<Ordering> = deque.cmp_slice(&all)?;
    assert!(order.is_some() && deque.partial_cmp(&same) == Some(Ordering::Equal));
    let limit: Option<u64> = deque.max_len()?;
    let _: () = deque.set_max_len(None::<u64>)?;
    assert_eq!(limit, Some(9));
    let inside: Result<Option<i32>> = deque.transact(|deque| deque.remove_at(0_i64));
    let _: Deque<i32> = deque.copy_to(dir.path().join("c"))?;
    let _: [Option<i32>; 3] = [inside?, deque.pop_front()?, deque.pop_back()?];
    deque.clear()
}

#[test]
fn an_index_is_used_with_these_calls() -> Result<()> {
    fn is_key<K: ToKey + FromKey>() {}
    is_key::<String>();
    let dir = tempfile::tempdir().unwrap();
    let index: Index<String, i32> = Index::<String, i32>::open(dir.path())?;
    let _: Index<String, i32> = Index::from_cache(Cache::temporary()?);
    let (a, b) = (String::from("a"), String::from("b"));
    let _: [(); 2] = [index.insert(&a, &1)?, index.insert(&b, &2)?];
    let _: i32 = index.get_or_insert_with(&a, || 7)?;
    let map = BTreeMap::from([(a.clone(), 1), (b.clone(), 2)]);
    assert!(index == map);
    let _: (Option<i32>, bool, u64) = (index.get(&a)?, index.contains_key(&a)?, index.len()?);
    let _: Option<Result<String>> = index.keys().next_back();
    let _: Option<Result<i32>> = index.values().next_back();
    let _: Option<Result<(String, i32)>> = index.iter().next_back();
    let _: [Option<(String, i32)>; 4] =
        [index.first()?, index.last()?, index.pop_first()?, index.pop_last()?];
    let _: Option<i32> = index.remove(&a)?;
    let _: Key = index.push(&5)?;
    let _: [Option<(Key, i32)>; 2] = [index.peek()?, index.pull()?];
    let _: Result<()> = index.transact(|_| index.insert(&a, &1));
    let double: Memoized<i32, i32> = index.memoize("double", |n: &i32| n * 2);
    let _: u64 = index.clear()?;
    assert_eq!(double.call(&4)?, 8);
    Ok(())
}

#[test]
fn recipes_are_used_with_these_calls() -> Result<()> {
    let cache = Cache::temporary()?;
    let (lock, rlock) = (Lock::new(&cache, "a"), RLock::new(&cache, "b"));
    let semaphore: BoundedSemaphore = BoundedSemaphore::new(&cache, "c", 2);
    let guards: [Guard; 3] = [lock.acquire()?, rlock.acquire()?, semaphore.acquire()?];
    let more: [Option<Guard>; 2] =
        [rlock.try_acquire()?, semaphore.acquire_timeout(Duration::ZERO)?];
    assert!(more.iter().all(Option::is_some));
    drop((guards, more));
    let averager: Averager = Averager::new(&cache, "mean");
    let _: () = averager.add(1.5_f64)?;
    let _: [Option<f64>; 2] = [averager.get()?, averager.pop()?];
    let throttle: Throttle = Throttle::new(&cache, "name", 10, Duration::from_secs(1))?;
    let _: ((), bool, i32) = (throttle.acquire()?, throttle.try_acquire()?, throttle.call(|| 1)?);
    let results: [i32; 3] = [
        Barrier::new(lock).call(|| 1)?,
        Barrier::new(rlock).call(|| 2)?,
        Barrier::new(semaphore).call(|| 3)?,
    ];
    assert_eq!(results, [1, 2, 3]);
    let options = MemoizeOptions::new().expire(Duration::from_secs(9)).tag("t").cache_if(|_| true);
    let length: Memoized<str, usize> = cache.memoize("length", options, |text: &str| text.len());
    let value: usize = length.call("abc")?;
    let _: (Key, bool) = (length.key("abc")?, length.invalidate("abc")?);
    let early: Memoized<str, usize> =
        memoize_stampede(&cache, "early", Duration::from_secs(9), 1.0, |text: &str| text.len());
    assert_eq!((value, early.call("abcd")?), (3, 4));
    Ok(())
}

#[test]
fn codecs_are_these() {
    fn is_codec<C: Codec>() {}
    is_codec::<Bincode>();
    #[cfg(feature = "json")]
    is_codec::<firncache::Json>();
    #[cfg(feature = "messagepack")]
    is_codec::<firncache::MessagePack>();
}
