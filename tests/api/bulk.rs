use firncache::{ErrorKind, SetOptions};

use crate::common::{cache, cache_with, kind_of, seconds};

#[test]
fn get_many_keeps_the_order() {
    let cache = cache();
    for key in (0..200).step_by(2) {
        cache.set(key, &(key * 10)).unwrap();
    }
    let values = cache.get_many::<i32>(0..200).unwrap();
    for (key, value) in values.into_iter().enumerate() {
        assert_eq!(value, (key % 2 == 0).then_some(key as i32 * 10));
    }
    assert!(cache.get_many::<i32>(Vec::<i32>::new()).unwrap().is_empty());
}

#[test]
fn set_many_stores_all_with_the_same_options() {
    let cache = cache();
    let words = vec!["a".to_string(), "b".to_string()];
    let pairs = words.iter().map(|word| (word, word));
    let options = SetOptions::new().tag("t").expire(seconds(9));
    assert_eq!(cache.set_many(pairs, options).unwrap(), 2);
    for word in &words {
        let entry = cache.get_entry::<String>(word).unwrap().unwrap();
        assert_eq!((&entry.value, entry.expires_at), (word, Some(cache.time.now() + seconds(9))));
    }
    assert_eq!(cache.evict("t").unwrap(), 2);
    assert_eq!(cache.set_many(Vec::<(i32, i32)>::new(), SetOptions::new()).unwrap(), 0);
}

#[test]
fn set_many_holds_values_of_all_sizes() {
    let cache = cache();
    let pairs: Vec<_> =
        (0..6_usize).map(|key| (key, "x".repeat(10_usize.pow(key as u32)))).collect();
    let more = [(10, "y".repeat(600_000)), (11, "z".repeat(300_000))];
    let pairs: Vec<_> = pairs.into_iter().chain(more).collect();
    let refs = pairs.iter().map(|(key, value)| (key, value));
    assert_eq!(cache.set_many(refs, SetOptions::new()).unwrap(), 8);
    for (key, value) in &pairs {
        assert!(cache.get::<String>(key).unwrap().as_ref() == Some(value), "{key}");
    }
    assert_eq!(cache.len().unwrap(), 8);
    assert!(cache.check().unwrap().is_clean());
}

#[test]
fn the_last_of_equal_keys_wins() {
    let cache = cache();
    cache.set_many([("k", 1), ("k", 2)], SetOptions::new()).unwrap();
    assert_eq!(cache.get("k").unwrap(), Some(2));
    assert_eq!(cache.len().unwrap(), 1);
}

#[test]
fn one_bad_pair_and_nothing_is_stored() {
    let cache = cache_with(|options| options.size_limit(1 << 20));
    let pairs = [(1.0, 1), (f64::NAN, 2)];
    assert_eq!(kind_of(cache.set_many(pairs, SetOptions::new())), ErrorKind::Key);
    let large = "x".repeat(2 << 20);
    let pairs = [(1, "x"), (2, large.as_str())];
    assert_eq!(kind_of(cache.set_many(pairs, SetOptions::new())), ErrorKind::TooLarge);
    assert!(cache.is_empty().unwrap());
}

#[test]
fn delete_many_counts_what_was_there() {
    let cache = cache();
    cache.set_many((0..100).map(|key| (key, key)), SetOptions::new()).unwrap();
    assert_eq!(cache.delete_many(50..150).unwrap(), 50);
    assert_eq!(cache.delete_many([1, 1]).unwrap(), 1);
    assert_eq!(cache.len().unwrap(), 49);
    assert!(cache.check().unwrap().is_clean());
}

#[test]
fn a_batch_becomes_visible_all_at_once() {
    let cache = cache();
    cache.set_many((0..50).map(|key| (key, 0)), SetOptions::new()).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..100 {
                cache.set_many((0..50).map(|key| (key, round)), SetOptions::new()).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut last = 0;
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            // A later read never sees an earlier batch.
            for key in 0..50 {
                let round = cache.get::<i32>(key).unwrap().unwrap();
                assert!(round >= last, "{round} after {last}");
                last = round;
            }
        }
    });
}
