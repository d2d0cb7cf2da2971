use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use firncache::{Cache, Error, ErrorKind, Result, SetOptions};

use crate::common::{cache, keys, kind_of, seconds};

fn get_or(cache: &Cache, key: &str, value: i32) -> Result<i32> {
    cache.get_or_set_with(key, SetOptions::new(), || Ok::<_, Error>(value))
}

#[test]
fn a_value_is_computed_once_and_kept_as_asked() {
    let cache = cache();
    let options = SetOptions::new().expire(seconds(10)).tag("t");
    let ask =
        |value| cache.get_or_set_with("key", options.clone(), || Ok::<i32, Error>(value)).unwrap();
    assert_eq!((ask(1), ask(2)), (1, 1));
    let entry = cache.get_entry::<i32>("key").unwrap().unwrap();
    assert_eq!(entry.tag, Some("t".into()));
    assert_eq!(entry.expires_at, Some(cache.time.now() + seconds(10)));
    cache.time.turn(seconds(10));
    assert_eq!((ask(3), ask(4)), (3, 3));
    assert_eq!(cache.evict("t").unwrap(), 1);
    assert_eq!(ask(5), 5);
}

#[test]
fn a_value_that_is_there_touches_nothing_else() {
    let cache = cache();
    cache.set("key", &1).unwrap();
    assert_eq!(get_or(&cache, "key", 2).unwrap(), 1);
    let reader = Cache::options().read_only(true).open(cache.directory()).unwrap();
    assert_eq!(get_or(&reader, "key", 2).unwrap(), 1);
    assert_eq!(kind_of(get_or(&reader, "new", 2)), ErrorKind::ReadOnly);
    assert!(!cache.directory().join("holds").exists());
    assert_eq!(get_or(&cache, "new", 2).unwrap(), 2);
    assert!(cache.directory().join("holds").exists());
    assert_eq!(keys(&cache).len() as u64, cache.len().unwrap());
    assert_eq!(cache.len().unwrap(), 2);
}

#[test]
fn waiting_is_seen_by_nobody_and_survives_clearing() {
    let cache = cache();
    let value = cache.get_or_set_with("key", SetOptions::new(), || {
        assert_eq!((cache.len()?, keys(&cache).len()), (0, 0));
        assert_eq!((cache.clear()?, cache.cull()?, cache.expire()?), (0, 0, 0));
        assert!(cache.repair()?.is_clean() && cache.check()?.is_clean());
        cache.compact()?;
        assert_eq!(kind_of(get_or(&cache, "key", 1)), ErrorKind::Unsupported, "it is held still");
        Ok::<_, Error>(7)
    });
    assert_eq!(value.unwrap(), 7);
    assert!(cache.check().unwrap().is_clean());
}

#[test]
fn an_error_is_not_stored() {
    let cache = cache();
    let failed =
        cache.get_or_set_with("key", SetOptions::new(), || Err::<i32, _>(Error::key("no")));
    assert_eq!(kind_of(failed), ErrorKind::Key);
    assert!(!cache.contains("key").unwrap());
    assert_eq!(get_or(&cache, "key", 3).unwrap(), 3);
    // An error type of the caller's own.
    let own: Result<i32, Box<dyn std::error::Error>> =
        cache.get_or_set_with("other", SetOptions::new(), || Err("no".into()));
    assert_eq!(own.unwrap_err().to_string(), "no");
}

#[test]
fn a_value_asked_for_from_inside_itself_is_an_error() {
    let cache = cache();
    let outer = cache.get_or_set_with("key", SetOptions::new(), || {
        let inner = get_or(&cache, "key", 1);
        let error = inner.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("from inside its own computation"), "{error}");
        get_or(&cache, "another key", 5)
    });
    assert_eq!(outer.unwrap(), 5);
    assert_eq!(cache.len().unwrap(), 2);
}

#[test]
fn of_many_threads_one_computes() {
    let cache = cache();
    let (computed, start) = (AtomicU32::new(0), Barrier::new(16));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                start.wait();
                for key in 0..20 {
                    let value = cache.get_or_set_with(key, SetOptions::new(), || {
                        std::thread::sleep(Duration::from_millis(2));
                        Ok::<_, Error>(computed.fetch_add(1, Ordering::Relaxed))
                    });
                    assert_eq!(cache.get::<u32>(key).unwrap(), Some(value.unwrap()));
                }
            });
        }
    });
    assert_eq!(computed.load(Ordering::Relaxed), 20);
    assert!(cache.check().unwrap().is_clean());
}

#[test]
fn who_panics_or_fails_leaves_it_to_the_next() {
    let cache = cache();
    let tries = AtomicU32::new(0);
    let values: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    cache.get_or_set_with("key", SetOptions::new(), || {
                        std::thread::sleep(Duration::from_millis(5));
                        match tries.fetch_add(1, Ordering::Relaxed) {
                            0 => panic!("the first one panics"),
                            1 => Err(Error::codec("the second one fails")),
                            other => Ok(other),
                        }
                    })
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    assert_eq!(values.iter().filter(|value| value.is_err()).count(), 1, "panicked");
    let given: Vec<_> = values.into_iter().flatten().collect();
    assert_eq!(given.iter().filter(|given| given.is_err()).count(), 1, "failed");
    assert!(given.into_iter().flatten().all(|value| value == 2));
    assert_eq!(tries.load(Ordering::Relaxed), 3);
}

#[test]
fn inside_a_transaction_nobody_is_waited_for() {
    let cache = cache();
    let inside = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let value = cache.get_or_set_with("key", SetOptions::new(), || {
                inside.wait();
                inside.wait();
                Ok::<_, Error>(1)
            });
            assert_eq!(value.unwrap(), 1);
        });
        inside.wait();
        let outcome = cache.transact(|tx| {
            assert_eq!(get_or(tx, "key", 2)?, 2);
            assert_eq!(get_or(tx, "key", 3)?, 2, "its own write");
            Err::<(), _>(Error::key("rolled back"))
        });
        assert_eq!(kind_of(outcome), ErrorKind::Key);
        assert_eq!(cache.get::<i32>("key").unwrap(), None);
        inside.wait();
    });
    assert_eq!(cache.get("key").unwrap(), Some(1));
}

#[test]
fn what_expires_at_once_is_computed_by_each() {
    let cache = cache();
    let (tries, start) = (AtomicU32::new(0), Barrier::new(4));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                let gone = SetOptions::new().expire(Duration::ZERO);
                let computed = || Ok::<_, Error>(tries.fetch_add(1, Ordering::Relaxed));
                cache.get_or_set_with("key", gone, computed).unwrap()
            });
        }
    });
    assert_eq!(tries.load(Ordering::Relaxed), 4);
}

#[test]
fn long_keys_can_be_waited_for() {
    let cache = cache();
    let longest = "x".repeat(firncache::MAX_KEY_BYTES - 1);
    assert_eq!(get_or(&cache, &longest, 1).unwrap(), 1);
    assert_eq!(cache.get(&longest).unwrap(), Some(1));
}
