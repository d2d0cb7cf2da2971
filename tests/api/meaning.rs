//! What operations mean where it could be otherwise: places in the order, what counts as a read, what
//! removes and what waits.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use firncache::{Cache, Error, Eviction, Key, MemoizeOptions, Result, SetOptions, Side};

use crate::common::{cache, cache_with, keys, seconds};

#[test]
fn an_expired_key_that_is_stored_again_keeps_its_place() {
    let cache = cache_with(|options| options.cull_limit(0));
    let soon = || SetOptions::new().expire(seconds(1)).tag("old");
    for key in ["set", "add", "incr", "last"] {
        cache.set_with(key, &0, soon()).unwrap();
    }
    cache.time.turn(seconds(2));
    cache.set("set", &1).unwrap();
    assert!(cache.add("add", &1).unwrap());
    assert_eq!(cache.incr("incr", 1).unwrap(), 1);
    let order: Vec<Key> = ["set", "add", "incr", "last"].map(Key::from).into();
    assert_eq!(keys(&cache), order);
    for key in ["set", "add", "incr"] {
        let entry = cache.get_entry::<i64>(key).unwrap().unwrap();
        assert_eq!((entry.value, entry.expires_at, entry.tag), (1, None, None), "{key}");
        assert_eq!(entry.stored_at, cache.time.now());
    }
    cache.delete("set").unwrap();
    cache.set("set", &1).unwrap();
    assert_eq!(keys(&cache).last(), Some(&Key::from("set")), "one that was deleted is new");
}

#[test]
fn storing_again_forgets_how_often_a_key_was_used() {
    let cache =
        cache_with(|options| options.eviction(Eviction::LeastFrequentlyUsed).size_limit(1 << 20));
    for key in 0..20 {
        cache.set_bytes(key, &[7; 4000]).unwrap();
        (0..5).for_each(|_| assert!(cache.get_bytes(key).unwrap().is_some()));
    }
    cache.set_bytes(3, &[7; 4000]).unwrap();
    let mut limit = 200_000;
    while cache.cull().unwrap() == 0 {
        limit -= 1000;
        cache.update_settings(|settings| settings.size_limit = limit).unwrap();
    }
    assert!(!cache.contains(3).unwrap(), "{:?}", keys(&cache));
}

#[test]
fn only_reading_a_value_counts_as_a_read() {
    let cache = cache_with(|options| options.statistics(true));
    cache.set("key", &1).unwrap();
    cache.set_bytes("raw", b"bytes").unwrap();
    let counts = || {
        let stats = cache.stats().unwrap();
        (stats.hits, stats.misses)
    };
    assert!(cache.contains("key").unwrap() && !cache.contains("none").unwrap());
    assert!(!cache.add("key", &2).unwrap() && cache.add("new", &2).unwrap());
    assert!(cache.touch("key", None).unwrap() && !cache.touch("none", None).unwrap());
    assert_eq!((cache.incr("n", 1).unwrap(), cache.incr("n", 1).unwrap()), (1, 2));
    assert_eq!(cache.pop::<i32>("new").unwrap(), Some(2));
    assert!(cache.delete("n").unwrap() && !cache.delete("n").unwrap());
    cache.push(&1).unwrap();
    assert!(cache.peek::<i32>().unwrap().is_some() && cache.pull::<i32>().unwrap().is_some());
    assert!(cache.peek_item::<i32>(Side::Front).unwrap().is_some());
    assert_eq!((cache.iter().count(), cache.sorted_keys().unwrap().count()), (2, 2));
    assert_eq!(counts(), (0, 0));
    cache.get::<i32>("key").unwrap();
    cache.get_entry::<i32>("key").unwrap();
    cache.get_bytes("raw").unwrap();
    cache.reader("raw").unwrap();
    cache.get_many::<i32>(["key", "none"]).unwrap();
    assert_eq!(counts(), (5, 1));
    cache.get_or_set_with("key", SetOptions::new(), || Ok::<_, Error>(1)).unwrap();
    cache.get_or_set_with("computed", SetOptions::new(), || Ok::<_, Error>(1)).unwrap();
    assert_eq!(counts(), (6, 2));
    let double = cache.memoize("double", MemoizeOptions::new(), |n: &i32| n * 2);
    assert_eq!((double.call(&4).unwrap(), double.call(&4).unwrap()), (8, 8));
    assert_eq!(counts(), (7, 3));
    let before = cache.stats().unwrap();
    assert_eq!(cache.again().stats().unwrap(), before);
    drop(cache.cache.clone());
    assert_eq!(Cache::open(cache.directory()).unwrap().stats().unwrap(), before);
}

#[test]
fn reads_wait_for_nobody_whatever_is_noted_about_them() {
    let policies = [
        Eviction::LeastRecentlyStored,
        Eviction::LeastRecentlyUsed,
        Eviction::LeastFrequentlyUsed,
        Eviction::Sieve,
        Eviction::None,
    ];
    for eviction in policies {
        let cache = cache_with(|options| {
            options.statistics(true).eviction(eviction).timeout(Duration::ZERO)
        });
        cache.set("key", &1).unwrap();
        let (begun, done) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let transaction = cache.begin().unwrap();
                begun.wait();
                done.wait();
                drop(transaction);
            });
            begun.wait();
            let read = || -> Result<bool> {
                let is_there = cache.get::<i32>("key")? == Some(1) && cache.contains("key")?;
                let is_none = cache.get::<i32>("none")?.is_none() && cache.len()? == 1;
                Ok(is_there && is_none && cache.iter().count() == 1)
            };
            let read = read();
            let written = cache.set("other", &1);
            done.wait();
            assert!(read.unwrap() && written.is_err(), "{eviction:?}");
        });
    }
}

#[test]
fn changing_what_is_there_by_touch_or_incr_removes_nothing() {
    let cache = cache_with(|options| options.size_limit(1 << 20));
    cache.set("count", &0).unwrap();
    for key in 0..100 {
        cache.set_bytes(key, &[7; 4000]).unwrap();
    }
    cache.update_settings(|settings| settings.size_limit = 100_000).unwrap();
    assert!(cache.touch(5, Some(seconds(100))).unwrap());
    assert_eq!(cache.incr("count", 1).unwrap(), 1);
    assert_eq!(cache.len().unwrap(), 101);
    cache.set("new", &1).unwrap();
    assert!(cache.len().unwrap() < 101);
}

#[test]
fn numbers_that_are_equal_are_one_key_and_others_are_not() {
    let cache = cache();
    cache.set(1, "one").unwrap();
    cache.set(0.0, "zero").unwrap();
    cache.set(1_u64 << 53 | 1, "odd").unwrap();
    cache.set(f64::INFINITY, "far").unwrap();
    let get = |key: Key| cache.get::<String>(key).unwrap();
    let is = |key: Key, text: &str| get(key).as_deref() == Some(text);
    assert!(is(Key::from(1.0), "one") && is(Key::from(1_u8), "one"));
    assert!(is(Key::from(-0.0), "zero") && is(Key::from(0), "zero"));
    assert!(is(Key::from(f64::INFINITY), "far"));
    assert_eq!(get(Key::from((1_u64 << 53) as f64)), None);
    for other in [Key::from(true), Key::from("1"), Key::from(b"1".to_vec()), Key::from((1,))] {
        assert_eq!(get(other), None);
    }
    assert_eq!(cache.len().unwrap(), 4);
}

#[test]
fn text_and_floats_come_back_as_they_were() {
    let cache = cache();
    for len in [1, 1000, 500_000] {
        let text = "line\r\nline\rline\n\0".repeat(len);
        cache.set("text", &text).unwrap();
        assert!(cache.get::<String>("text").unwrap().unwrap() == text, "{len}");
    }
    for float in [f64::NAN, f64::INFINITY, -0.0, f64::MIN_POSITIVE, 0.1] {
        cache.set("float", &float).unwrap();
        assert_eq!(cache.get::<f64>("float").unwrap().unwrap().to_bits(), float.to_bits());
    }
}

#[test]
fn others_write_while_much_is_removed_step_by_step() {
    let cache = cache_with(|options| options.cull_limit(0));
    let fill = || {
        let soon = SetOptions::new().tag("many").expire(seconds(1));
        cache.set_many((0..20_000).map(|key| (key, key)), soon).unwrap();
    };
    let removals: [fn(&Cache) -> Result<u64>; 2] = [|cache| cache.evict("many"), Cache::expire];
    for remove in removals {
        fill();
        cache.time.turn(seconds(2));
        let (start, is_done) = (Barrier::new(2), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let mut between = 0;
                start.wait();
                while !is_done.load(Ordering::Relaxed) {
                    cache.set("other", &between).unwrap();
                    let left = cache.len().unwrap();
                    between += u64::from(left > 1 && left < 20_001);
                }
                between
            });
            start.wait();
            let removed = remove(&cache).unwrap();
            is_done.store(true, Ordering::Relaxed);
            assert_eq!(removed, 20_000);
            assert!(other.join().unwrap() > 0, "nobody got in between");
        });
    }
    assert!(cache.check().unwrap().is_clean());
}
