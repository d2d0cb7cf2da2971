use std::collections::BTreeSet;

use firncache::{
    Cache, Error, ErrorKind, Eviction, FanoutCache, FanoutOptions, Key, MemoizeOptions, Result,
    SetOptions, Stats,
};
use tempfile::TempDir;

use crate::common::{Turned, kind_of, seconds};

pub(crate) const LIMIT: u64 = 4 << 20;
pub(crate) const VALUE: [u8; 4000] = [7; 4000];

pub(crate) struct Fixture {
    dir: TempDir,
    pub(crate) cache: FanoutCache,
    pub(crate) time: Turned,
}

impl std::ops::Deref for Fixture {
    type Target = FanoutCache;

    fn deref(&self) -> &FanoutCache {
        &self.cache
    }
}

pub(crate) fn fanout_with(options: impl FnOnce(FanoutOptions) -> FanoutOptions) -> Fixture {
    let (dir, time) = (tempfile::tempdir().unwrap(), Turned::new());
    // Longer than the default, for machines that are busy.
    let plain = FanoutCache::options().clock(time.clock()).timeout(seconds(60));
    let cache = options(plain).open(dir.path().join("cache")).unwrap();
    Fixture { dir, cache, time }
}

pub(crate) fn fanout() -> Fixture {
    fanout_with(|options| options)
}

pub(crate) fn keys(cache: &FanoutCache) -> Vec<Key> {
    cache.iter().collect::<Result<_>>().unwrap()
}

/// A shard, as a cache of its own.
pub(crate) fn shard(cache: &FanoutCache, index: usize) -> Cache {
    Cache::options().create(false).open(cache.directory().join(format!("{index:03}"))).unwrap()
}

#[test]
fn every_operation_on_a_key_does_what_that_of_a_cache_does() {
    let cache = fanout();
    for key in 0..50 {
        cache.set(key, &(key * 2)).unwrap();
        assert!(!cache.add(key, &0).unwrap());
        assert_eq!(cache.get(key).unwrap(), Some(key * 2));
        assert!(cache.contains(key).unwrap());
        assert_eq!(cache.incr(key, 5).unwrap(), i64::from(key) * 2 + 5);
        assert_eq!(cache.decr(key, 5).unwrap(), i64::from(key) * 2);
        assert_eq!(cache.incr_with(key, 1, None).unwrap(), Some(i64::from(key) * 2 + 1));
        assert!(cache.touch(key, Some(seconds(9))).unwrap());
        let entry = cache.get_entry::<i64>(key).unwrap().unwrap();
        assert_eq!(entry.expires_at, Some(cache.time.now() + seconds(9)));
        match key % 3 {
            0 => assert!(cache.delete(key).unwrap()),
            1 => assert_eq!(cache.pop(key).unwrap(), Some(key * 2 + 1)),
            _ => {
                let entry = cache.pop_entry::<i32>(key).unwrap().unwrap();
                assert_eq!((entry.value, entry.tag), (key * 2 + 1, None));
            }
        }
        assert!(!cache.contains(key).unwrap() && !cache.delete(key).unwrap());
        assert_eq!(cache.incr_with(key, 1, None).unwrap(), None);
        assert!(!cache.touch(key, None).unwrap());
        assert!(cache.add_with(key, &1, SetOptions::new().tag(key % 2)).unwrap());
    }
    assert_eq!(cache.evict(1).unwrap(), 25);
    assert_eq!(cache.len().unwrap(), 25);
    cache.set_bytes("bytes", b"raw").unwrap();
    assert_eq!(cache.get_bytes("bytes").unwrap(), Some(b"raw".to_vec()));
    cache.set_bytes_with("bytes", b"more", SetOptions::new().expire(seconds(1))).unwrap();
    let mut buffer = Vec::new();
    assert!(cache.get_bytes_into("bytes", &mut buffer).unwrap() && buffer == b"more");
    cache.time.turn(seconds(2));
    assert!(!cache.get_bytes_into("bytes", &mut buffer).unwrap() && buffer.is_empty());
    assert!(cache.check().unwrap().is_clean());
}

#[test]
fn results_of_functions_are_kept_in_the_shard_of_their_key() {
    let cache = fanout();
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&calls);
    let shout = cache.memoize("shout", MemoizeOptions::new().tag("words"), move |text: &str| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        text.to_uppercase()
    });
    // Long arguments are replaced by a digest, which is the same in every shard.
    let words: Vec<String> = (0..40).map(|n| format!("word {n} ").repeat(n * 10 + 1)).collect();
    for _ in 0..2 {
        for word in &words {
            assert_eq!(shout.call(word).unwrap(), word.to_uppercase());
        }
    }
    assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 40);
    for word in &words {
        assert!(cache.contains(shout.key(word).unwrap()).unwrap());
    }
    // Of 40 keys, a shard may have none; one shard has not all.
    assert!((0..8).all(|index| shard(&cache, index).len().unwrap() < 40));
    assert!(shout.invalidate(&words[7]).unwrap() && !shout.invalidate(&words[7]).unwrap());
    assert_eq!(cache.evict("words").unwrap(), 39);
}

#[test]
fn values_of_any_size_go_through_readers() {
    use std::io::Read;
    let cache = fanout();
    let large = vec![3; 1 << 20];
    assert_eq!(cache.set_from("large", &large[..], SetOptions::new()).unwrap(), 1 << 20);
    let mut reader = cache.reader("large").unwrap().unwrap();
    assert!(reader.path().is_some_and(|path| path.starts_with(cache.directory())));
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == large);
    assert!(cache.reader("missing").unwrap().is_none());
}

#[test]
fn one_and_one_point_zero_are_one_key() {
    let cache = fanout();
    for key in 0..100 {
        cache.set(key, &"whole").unwrap();
        cache.set(f64::from(key), &"float").unwrap();
        assert_eq!(cache.get::<String>(key).unwrap().as_deref(), Some("float"));
    }
    assert_eq!(cache.len().unwrap(), 100);
}

#[test]
fn the_number_of_shards_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let open = |options: FanoutOptions| options.open(dir.path());
    let first = open(FanoutCache::options().shards(3)).unwrap();
    first.set_many((0..100).map(|key| (key, key)), SetOptions::new()).unwrap();
    drop(first);
    for asked in [1, 2, 4, 8, 16] {
        let error = open(FanoutCache::options().shards(asked)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Setting);
        assert!(error.to_string().contains("the cache has 3 shards"), "{error}");
    }
    for options in [FanoutCache::options(), FanoutCache::options().shards(3)] {
        let again = open(options).unwrap();
        assert_eq!(again.shards(), 3);
        let found = again.get_many::<i32>(0..100).unwrap();
        assert!(found.into_iter().eq((0..100).map(Some)));
    }
    let names: BTreeSet<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().eq(["000", "001", "002"]), "{names:?}");
}

#[test]
fn the_number_of_shards_outlives_changes_of_settings_and_clearing() {
    let cache = fanout_with(|options| options.shards(5));
    cache.set("key", &1).unwrap();
    cache.update_settings(|settings| *settings = Default::default()).unwrap();
    cache.clear().unwrap();
    cache.repair().unwrap();
    assert_eq!(FanoutCache::open(cache.directory()).unwrap().shards(), 5);
}

#[test]
fn numbers_of_shards_that_cannot_be_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for shards in [0, 1001, usize::MAX] {
        let refused = FanoutCache::options().shards(shards).open(dir.path().join("new"));
        assert_eq!(kind_of(refused), ErrorKind::Setting);
    }
    assert!(!dir.path().join("new").exists());
}

#[test]
fn the_directory_of_a_cache_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    Cache::open(dir.path()).unwrap();
    let error = FanoutCache::open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Setting);
    assert!(error.to_string().contains("open it as such"), "{error}");
    Cache::open(dir.path().join("plain/000")).unwrap();
    assert_eq!(kind_of(FanoutCache::open(dir.path().join("plain"))), ErrorKind::Setting);
}

#[test]
fn a_missing_cache_is_made_only_if_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    assert!(FanoutCache::options().create(false).open(&path).is_err());
    assert!(FanoutCache::options().read_only(true).open(&path).is_err());
    assert!(!path.exists());
    FanoutCache::open(&path).unwrap().set("key", &1).unwrap();
    let reading = FanoutCache::options().read_only(true).open(&path).unwrap();
    assert_eq!(reading.get("key").unwrap(), Some(1));
    assert_eq!(kind_of(reading.set("key", &2)), ErrorKind::ReadOnly);
    assert_eq!(kind_of(reading.transact(|_| Ok::<_, Error>(()))), ErrorKind::ReadOnly);
}

#[test]
fn sums_go_over_all_shards() {
    let cache = fanout_with(|options| options.statistics(true));
    assert!(cache.is_empty().unwrap());
    let empty = cache.disk_usage().unwrap();
    for key in 0..200 {
        cache.set_bytes(key, &VALUE).unwrap();
        cache.get_bytes(key).unwrap();
        cache.get_bytes(-key - 1).unwrap();
    }
    assert_eq!(cache.len().unwrap(), 200);
    assert!((800_000..1_000_000).contains(&cache.volume().unwrap()));
    assert!(cache.disk_usage().unwrap() > empty + 800_000);
    let counted = Stats { hits: 200, misses: 200, ..Stats::default() };
    assert_eq!(cache.stats().unwrap(), counted);
    assert_eq!(cache.reset_stats().unwrap(), counted);
    assert_eq!(cache.stats().unwrap(), Stats::default());
    let parts: Vec<u64> = (0..8).map(|index| shard(&cache, index).len().unwrap()).collect();
    assert_eq!(parts.iter().sum::<u64>(), 200);
    assert!(parts.iter().all(|part| (5..60).contains(part)), "{parts:?}");
    assert_eq!(cache.clear().unwrap(), 200);
    assert!(cache.is_empty().unwrap());
}

#[test]
fn iteration_meets_every_key_once_from_both_ends() {
    let cache = fanout();
    cache.set_many((0..300).map(|key| (key, key + 1)), SetOptions::new()).unwrap();
    let forth = keys(&cache);
    let mut back = cache.iter().rev().collect::<Result<Vec<_>>>().unwrap();
    back.reverse();
    assert_eq!(forth, back);
    let all: BTreeSet<_> = forth.iter().cloned().collect();
    assert!(forth.len() == 300 && all.into_iter().eq((0..300).map(Key::from)));
    let mut walk = cache.iter();
    let mut met = Vec::new();
    while let Some(key) = walk.next() {
        met.extend([Some(key), walk.next_back()].into_iter().flatten().map(Result::unwrap));
    }
    met.sort();
    assert!(met.into_iter().eq((0..300).map(Key::from)));
    for item in cache.items::<i128>() {
        let (key, value) = item.unwrap();
        assert_eq!(key, Key::Int(value - 1));
    }
    let sorted = cache.sorted_keys().unwrap().rev().collect::<Result<Vec<_>>>().unwrap();
    assert!(sorted.into_iter().eq((0..300).rev().map(Key::from)));
}

#[test]
fn expiry_and_tags_reach_all_shards() {
    let cache = fanout();
    let soon = SetOptions::new().expire(seconds(1)).tag("t");
    cache.set_many((0..250).map(|key| (key, ())), soon).unwrap();
    cache.set_many((250..300).map(|key| (key, ())), SetOptions::new().tag("t")).unwrap();
    cache.set("stays", &()).unwrap();
    cache.time.turn(seconds(2));
    assert_eq!(cache.get_many::<()>(0..251).unwrap().iter().flatten().count(), 1);
    assert_eq!(cache.expire().unwrap(), 250);
    assert_eq!(cache.evict("t").unwrap(), 50);
    assert_eq!(keys(&cache), [Key::from("stays")]);
}

#[test]
fn batches_are_spread_and_keep_their_order() {
    let cache = fanout();
    let stored = cache.set_many((0..500).map(|key| (key, key * 3)), SetOptions::new()).unwrap();
    assert_eq!(stored, 500);
    let found = cache.get_many::<i32>((0..600).rev()).unwrap();
    let expected = (0..600).rev().map(|key| (key < 500).then_some(key * 3));
    assert!(found.into_iter().eq(expected));
    assert_eq!(cache.delete_many((400..600).chain(400..410)).unwrap(), 100);
    assert_eq!(cache.len().unwrap(), 400);
    assert_eq!(cache.set_many([(); 0].map(|()| (0, 0)), SetOptions::new()).unwrap(), 0);
    assert_eq!(cache.delete_many([0; 0]).unwrap(), 0);
    assert_eq!(cache.get_many::<i32>([0; 0]).unwrap(), []);
}

#[test]
fn a_batch_with_a_value_that_cannot_be_stored_stores_nothing() {
    let cache = fanout_with(|options| options.size_limit(LIMIT));
    let values = (0..100).map(|key| (key, vec![0_u8; if key == 99 { 5 << 20 } else { 10 }]));
    let values = values.map(|(key, value)| (key, serde_bytes::ByteBuf::from(value)));
    assert_eq!(kind_of(cache.set_many(values, SetOptions::new())), ErrorKind::TooLarge);
    assert!(cache.is_empty().unwrap() && cache.check().unwrap().is_clean());
}

#[test]
fn settings_are_those_of_all_shards() {
    let cache = fanout_with(|options| options.size_limit(LIMIT).eviction(Eviction::Sieve));
    let again = FanoutCache::options().cull_limit(3).open(cache.directory()).unwrap();
    cache.update_settings(|settings| settings.statistics = true).unwrap();
    for handle in [&*cache, &again] {
        let settings = handle.settings();
        assert_eq!((settings.size_limit, settings.cull_limit), (LIMIT, 3));
        assert!(settings.statistics && settings.eviction == Eviction::Sieve);
    }
    for index in 0..8 {
        assert_eq!(shard(&cache, index).settings(), cache.settings());
    }
    let refused = cache.update_settings(|settings| settings.value_file_threshold = u64::MAX);
    assert_eq!(kind_of(refused), ErrorKind::Setting);
    assert_eq!(shard(&cache, 7).settings(), cache.settings());
}

#[test]
fn shards_that_a_change_of_settings_did_not_reach_follow_at_the_next_opening() {
    let cache = fanout();
    shard(&cache, 0).update_settings(|settings| settings.size_limit = LIMIT).unwrap();
    assert_ne!(shard(&cache, 5).settings(), cache.settings());
    let again = FanoutCache::open(cache.directory()).unwrap();
    assert_eq!(again.settings().size_limit, LIMIT);
    for index in 0..8 {
        assert_eq!(shard(&cache, index).settings(), cache.settings());
    }
}

#[test]
fn caches_and_indexes_lie_under_the_same_directory() {
    let cache = fanout();
    let pages = cache.cache("pages").unwrap();
    pages.set("key", &1).unwrap();
    cache.cache("pages/of/ann").unwrap().set("key", &2).unwrap();
    let index = cache.index::<String, i32>("pages").unwrap();
    index.insert(&"key".to_owned(), &3).unwrap();
    let root = cache.dir.path().join("cache");
    assert!(pages.directory() == root.join("cache/pages"));
    assert!(index.directory() == root.join("index/pages"));
    assert!(root.join("cache/pages/of/ann/head").exists());
    assert!(cache.is_empty().unwrap());
    let again = FanoutCache::open(cache.directory()).unwrap();
    assert_eq!(again.cache("pages").unwrap().get("key").unwrap(), Some(1));
    assert_eq!(again.cache("pages/of/ann").unwrap().get("key").unwrap(), Some(2));
    assert_eq!(again.index::<String, i32>("pages").unwrap().get("key").unwrap(), Some(3));
    assert!(pages.check().unwrap().is_clean() && cache.check().unwrap().is_clean());
    // Settings of its own, the clock of the handle.
    assert_eq!(pages.settings().size_limit, firncache::DEFAULT_SIZE_LIMIT);
    pages.set_with("soon", &1, SetOptions::new().expire(seconds(1))).unwrap();
    cache.time.turn(seconds(2));
    assert!(!pages.contains("soon").unwrap());
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let cache = fanout();
    for name in ["", "..", "../000", "a/../..", "a//b", "/etc", "a/", "pages/values"] {
        assert_eq!(kind_of(cache.cache(name)), ErrorKind::Setting, "{name:?}");
        assert_eq!(kind_of(cache.index::<u8, u8>(name)), ErrorKind::Setting, "{name:?}");
    }
}

#[test]
fn a_temporary_one_goes_with_its_last_handle() {
    let cache = FanoutCache::temporary().unwrap();
    let other = cache.clone();
    let path = cache.directory().to_path_buf();
    cache.set("key", &1).unwrap();
    drop(cache);
    assert_eq!(other.get("key").unwrap(), Some(1));
    drop(other);
    assert!(!path.exists());
}
