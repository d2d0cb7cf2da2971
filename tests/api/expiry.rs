use std::time::{Duration, SystemTime};

use firncache::{ErrorKind, SetOptions, Side};

use crate::common::{cache, cache_with, keys, kind_of, seconds};

fn after(time: u64) -> SetOptions {
    SetOptions::new().expire(seconds(time))
}

#[test]
fn an_expired_key_is_missing_everywhere_but_in_len_and_iteration() {
    let cache = cache();
    cache.set_with("key", &1, after(10)).unwrap();
    cache.time.turn(Duration::from_millis(9_999));
    assert_eq!(cache.get("key").unwrap(), Some(1));
    cache.time.turn(Duration::from_millis(1));
    assert_eq!(cache.get::<i32>("key").unwrap(), None);
    assert_eq!(cache.get_entry::<i32>("key").unwrap(), None);
    assert_eq!(cache.get_many::<i32>(["key"]).unwrap(), [None]);
    assert!(cache.reader("key").unwrap().is_none());
    assert!(!cache.contains("key").unwrap());
    assert!(!cache.touch("key", None).unwrap());
    assert!(!cache.delete("key").unwrap());
    assert_eq!(cache.delete_many(["key"]).unwrap(), 0);
    assert_eq!(cache.pop::<i32>("key").unwrap(), None);
    assert_eq!(cache.incr_with("key", 1, None).unwrap(), None);
    assert!(cache.peek_item::<i32>(Side::Front).unwrap().is_none());
    assert_eq!((cache.len().unwrap(), keys(&cache).len()), (1, 1));
    assert_eq!(cache.expire().unwrap(), 1);
    assert!(cache.is_empty().unwrap());
    assert_eq!(cache.stats().unwrap().expirations, 1);
}

#[test]
fn expire_removes_all_that_is_expired_and_nothing_else() {
    let cache = cache_with(|options| options.cull_limit(0));
    for key in 0..1000 {
        let options = if key % 3 == 0 { SetOptions::new() } else { after(10 + key % 3) };
        cache.set_with(key, &key, options).unwrap();
    }
    assert_eq!(cache.expire().unwrap(), 0);
    cache.time.turn(seconds(11));
    assert_eq!(cache.expire().unwrap(), 333);
    cache.time.turn(seconds(1));
    assert_eq!(cache.expire().unwrap(), 333);
    assert_eq!(cache.len().unwrap(), 334);
    assert!((0..1000).all(|key| cache.contains(key).unwrap() == (key % 3 == 0)));
    assert!(cache.check().unwrap().is_clean());
}

#[test]
fn equal_stamps_all_go_at_once() {
    let cache = cache_with(|options| options.cull_limit(0));
    cache.set_many((0..2500).map(|key| (key, ())), after(1)).unwrap();
    cache.time.turn(seconds(1));
    assert_eq!(cache.expire().unwrap(), 2500);
}

#[test]
fn writes_remove_what_has_expired() {
    let cache = cache();
    for key in 0..15 {
        cache.set_with(key, &key, after(1)).unwrap();
    }
    cache.time.turn(seconds(2));
    cache.set("new", &1).unwrap();
    assert_eq!(cache.len().unwrap(), 6);
    cache.set("newer", &1).unwrap();
    assert_eq!(cache.len().unwrap(), 2);
}

#[test]
fn writes_find_expired_keys_far_from_the_front() {
    let cache = cache();
    for key in 0..10_000 {
        let options = if key % 100 == 99 { after(5) } else { SetOptions::new() };
        cache.set_with(key, &key, options).unwrap();
    }
    cache.time.turn(seconds(6));
    for key in 0..500 {
        cache.set(key % 2, &key).unwrap();
    }
    assert_eq!(cache.len().unwrap(), 9_900);
    cache.set_with("late", &1, after(5)).unwrap();
    cache.time.turn(seconds(6));
    for key in 0..500 {
        cache.set(key % 2, &key).unwrap();
    }
    assert_eq!(cache.len().unwrap(), 9_900);
}

#[test]
fn a_cull_limit_of_zero_removes_nothing() {
    let cache = cache_with(|options| options.cull_limit(0));
    cache.set_with("old", &1, after(1)).unwrap();
    cache.time.turn(seconds(2));
    cache.set("new", &1).unwrap();
    assert_eq!(cache.len().unwrap(), 2);
}

#[test]
fn touch_changes_only_the_expiry() {
    let cache = cache();
    let before = cache.time.now();
    cache.set_with("key", "value", after(10).tag("t")).unwrap();
    cache.set("other", &1).unwrap();
    cache.time.turn(seconds(5));
    assert!(cache.touch("key", Some(seconds(20))).unwrap());
    let entry = cache.get_entry::<String>("key").unwrap().unwrap();
    assert_eq!((entry.value.as_str(), entry.stored_at), ("value", before));
    assert_eq!(entry.expires_at, Some(cache.time.now() + seconds(20)));
    assert!(cache.touch("key", None).unwrap());
    let entry = cache.get_entry::<String>("key").unwrap().unwrap();
    assert_eq!(entry.expires_at, None);
    assert_eq!(cache.evict("t").unwrap(), 1);
    assert!(!cache.touch("key", None).unwrap());
    assert_eq!(keys(&cache).len(), 1);
}

#[test]
fn setting_again_forgets_the_expiry() {
    let cache = cache();
    cache.set_with("key", &1, after(1)).unwrap();
    cache.set("key", &2).unwrap();
    cache.time.turn(seconds(100));
    assert_eq!(cache.get("key").unwrap(), Some(2));
}

#[test]
fn far_futures_are_never_and_the_past_is_at_once() {
    let cache = cache();
    cache.set_with("far", &1, SetOptions::new().expire(Duration::MAX)).unwrap();
    assert_eq!(cache.get_entry::<i32>("far").unwrap().unwrap().expires_at, None);
    let time = SystemTime::UNIX_EPOCH.checked_add(seconds(1 << 60)).unwrap();
    cache.set_with("year", &1, SetOptions::new().expire_at(time)).unwrap();
    assert_eq!(cache.get_entry::<i32>("year").unwrap().unwrap().expires_at, None);
    let past = SystemTime::UNIX_EPOCH - seconds(1);
    cache.set_with("past", &1, SetOptions::new().expire_at(past)).unwrap();
    assert!(!cache.contains("past").unwrap());
    cache.set_with("now", &1, SetOptions::new().expire(Duration::ZERO)).unwrap();
    assert!(!cache.contains("now").unwrap());
    assert!(cache.touch("far", Some(Duration::MAX)).unwrap());
    assert_eq!(cache.get("far").unwrap(), Some(1));
}

#[test]
fn a_clock_beyond_all_time_expires_nothing_that_never_expires() {
    let far = || SystemTime::UNIX_EPOCH + seconds(1 << 50);
    let cache = cache_with(|options| options.clock(far));
    cache.set("key", &1).unwrap();
    cache.set("key", &2).unwrap();
    assert_eq!(cache.expire().unwrap(), 0);
    assert!(!cache.add("key", &3).unwrap());
    assert_eq!(cache.get("key").unwrap(), Some(2));
}

#[test]
fn expire_waits_for_the_lock_and_no_longer() {
    let cache = cache_with(|options| options.timeout(Duration::from_millis(50)));
    cache.set_with("key", &1, after(1)).unwrap();
    cache.time.turn(seconds(2));
    let (begun, wait) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let transaction = cache.begin().unwrap();
            begun.wait();
            wait.wait();
            drop(transaction);
        });
        begun.wait();
        let error = cache.expire().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        let text = error.to_string();
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        assert!(text.contains("0 items were done"), "{text}");
        assert_eq!(kind_of(cache.set("other", &1)), ErrorKind::Timeout);
        assert_eq!(cache.get::<i32>("missing").unwrap(), None);
        wait.wait();
    });
    assert_eq!(cache.expire().unwrap(), 1);
}

#[test]
fn a_key_stored_again_while_expired_ones_are_swept_stays() {
    let cache = cache_with(|options| options.cull_limit(1));
    cache.set_many([("a", 1), ("b", 1)], after(1)).unwrap();
    cache.time.turn(seconds(1000));
    cache.set("x", &1).unwrap();
    cache.set("b", &2).unwrap();
    cache.set("y", &1).unwrap();
    assert_eq!(cache.get("b").unwrap(), Some(2));
}
