//! What programs rely on of [`FanoutCache`], as `surface` does for the rest.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use firncache::{
    Bincode, Cache, Compression, DEFAULT_FANOUT_TIMEOUT, DEFAULT_SHARDS, DEFAULT_TIMEOUT, Deque,
    Durability, Entry, Eviction, FanoutCache, FanoutOptions, FanoutTransaction, Index, Key,
    MemoizeOptions, Memoized, PowerLoss, Report, Result, SetOptions, Settings, SortedKeys, Stats,
    SystemClock, ValueReader,
};

#[test]
fn all_its_keys_are_used_with_these_calls() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let options: FanoutOptions = FanoutCache::options()
        .shards(2)
        .timeout(Duration::from_secs(60))
        .size_limit(1 << 24)
        .eviction(Eviction::Sieve)
        .cull_limit(5)
        .statistics(false)
        .value_file_threshold(1 << 16)
        .exact_cull_count(false)
        .power_loss(PowerLoss::Clear)
        .codec(Bincode)
        .compression(Compression::NONE)
        .clock(SystemClock)
        .allow_untrusted(true)
        .create(true)
        .read_only(false)
        .durability(Durability::Process);
    let cache: FanoutCache = options.clone().open(dir.path())?;
    let _: FanoutCache = FanoutCache::open(dir.path())?;
    let _: () = cache.transact(|tx: &FanoutTransaction| tx.set("key", &1))?;
    let keys: Vec<Result<Key>> = cache.iter().rev().collect();
    let computed: Result<i32> = cache.get_or_set_with("once", SetOptions::new(), || Ok(2));
    let stored: u64 = cache.set_many([("a", 1), ("b", 2)], SetOptions::new())?;
    let read: Vec<Option<i32>> = cache.get_many(["a", "c"])?;
    let deleted: u64 = cache.delete_many(["a", "c"])?;
    assert_eq!((keys.len(), computed?, stored, read, deleted), (1, 2, 2, vec![Some(1), None], 1));
    let sums: [u64; 7] = [
        cache.len()?,
        cache.volume()?,
        cache.disk_usage()?,
        cache.expire()?,
        cache.evict("t")?,
        cache.cull()?,
        cache.clear()?,
    ];
    assert_eq!((sums[0], sums[6]), (3, 3));
    let square: Memoized<i64, i64> =
        cache.memoize("square", MemoizeOptions::new(), |n: &i64| n * n);
    assert_eq!(square.call(&3)?, 9);
    let named: (Cache, Deque<i32>, Index<String, i32>) =
        (cache.cache("a/b")?, cache.deque::<i32>("d")?, cache.index::<String, i32>("i")?);
    drop(named);
    assert!(cache.check()?.is_clean());
    let _: (Settings, Stats, &Path) = (cache.settings(), cache.stats()?, cache.directory());
    let _: [(); 2] = [cache.compact()?, cache.sync()?];
    cache.close()
}

#[test]
fn one_key_is_used_with_the_calls_of_a_cache() -> Result<()> {
    let cache: FanoutCache = FanoutCache::temporary()?;
    let set: [(); 4] = [
        cache.set("key", "unsized")?,
        cache.set_with("key", &[1, 2][..], SetOptions::new().tag("t"))?,
        cache.set_bytes("raw", &[1])?,
        cache.set_bytes_with("raw", b"bytes", SetOptions::new())?,
    ];
    assert_eq!(set.len(), 4);
    let added: [bool; 2] = [cache.add("key", &1)?, cache.add_with("new", &1, SetOptions::new())?];
    assert_eq!(added, [false, true]);
    let value: Option<Vec<i32>> = cache.get::<Vec<i32>>("key")?;
    let entry: Option<Entry<Vec<i32>>> = cache.get_entry::<Vec<i32>>("key")?;
    assert_eq!((value, entry.unwrap().tag), (Some(vec![1, 2]), Some(Key::from("t"))));
    let touched: bool = cache.touch("key", Some(Duration::from_secs(60)))?;
    let there: bool = cache.contains("key")?;
    assert!(touched && there);
    let counted: [i64; 2] = [cache.incr("count", 3_i64)?, cache.decr("count", 1_i64)?];
    let missing: Option<i64> = cache.incr_with("none", 1, None::<i64>)?;
    assert_eq!((counted, missing), ([3, 2], None));
    let raw: Option<Vec<u8>> = cache.get_bytes("raw")?;
    let mut buffer: Vec<u8> = Vec::new();
    let is_there: bool = cache.get_bytes_into("raw", &mut buffer)?;
    assert!(is_there && raw.as_deref() == Some(&buffer[..]));
    let len: u64 = cache.set_from("stream", &b"a stream"[..], SetOptions::new())?;
    let mut reader: ValueReader = cache.reader("stream")?.unwrap();
    assert_eq!(reader.read_to_end(&mut buffer).unwrap() as u64, len);
    let popped: Option<Vec<i32>> = cache.pop::<Vec<i32>>("key")?;
    let entry: Option<Entry<i32>> = cache.pop_entry::<i32>("new")?;
    assert!(popped.is_some() && entry.is_some());
    assert!(cache.delete("count")? && !cache.delete("count")?);
    Ok(())
}

#[test]
fn it_is_looked_after_with_these_calls() -> Result<()> {
    fn is_shared<T: Send + Sync + Clone + 'static>() {}
    is_shared::<FanoutCache>();
    let cache = FanoutCache::temporary()?;
    let shards: usize = cache.shards();
    assert!(shards == DEFAULT_SHARDS && cache.is_empty()?);
    const { assert!(DEFAULT_FANOUT_TIMEOUT.as_millis() < DEFAULT_TIMEOUT.as_millis()) };
    let transaction: FanoutTransaction<'_> = cache.begin()?;
    let _: [(); 2] = [transaction.set("b", &2)?, transaction.set("a", &1)?];
    transaction.commit()?;
    drop(cache.begin()?);
    let items: Result<BTreeMap<Key, i32>> = cache.items::<i32>().collect();
    let back: Option<Result<(Key, i32)>> = cache.items::<i32>().next_back();
    let mut sorted: SortedKeys = cache.sorted_keys()?;
    let ends: [Option<Result<Key>>; 2] = [sorted.next(), sorted.next_back()];
    assert!(items?.len() == 2 && back.is_some());
    assert_eq!(ends.map(|end| end.unwrap().unwrap()), [Key::from("a"), Key::from("b")]);
    let changed: () = cache.update_settings(|settings: &mut Settings| {
        settings.statistics = true;
    })?;
    let _: ((), Option<i32>) = (changed, cache.get("a")?);
    let before: Stats = cache.reset_stats()?;
    assert_eq!((before.hits, cache.stats()?.hits), (1, 0));
    let report: Report = cache.repair()?;
    assert!(report.is_clean());
    Ok(())
}
