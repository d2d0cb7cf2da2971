use firncache::{ErrorKind, Key, SetOptions};

use crate::common::{cache, cache_with, kind_of, seconds};

#[test]
fn missing_and_expired_count_from_zero() {
    let cache = cache();
    assert_eq!(cache.incr("n", 5).unwrap(), 5);
    assert_eq!(cache.decr("n", 7).unwrap(), -2);
    cache.set_with("old", &100, SetOptions::new().expire(seconds(1)).tag("t")).unwrap();
    cache.time.turn(seconds(2));
    assert_eq!(cache.incr("old", 1).unwrap(), 1);
    let entry = cache.get_entry::<i64>("old").unwrap().unwrap();
    assert_eq!((entry.expires_at, entry.tag), (None, None));
}

#[test]
fn expiry_and_tag_stay_and_the_time_of_storing_moves() {
    let cache = cache();
    let at = cache.time.now() + seconds(60);
    cache.set_with("n", &1, SetOptions::new().expire_at(at).tag("t")).unwrap();
    cache.time.turn(seconds(10));
    assert_eq!(cache.incr("n", 1).unwrap(), 2);
    let entry = cache.get_entry::<i64>("n").unwrap().unwrap();
    assert_eq!((entry.value, entry.expires_at), (2, Some(at)));
    assert_eq!((entry.tag, entry.stored_at), (Some(Key::from("t")), cache.time.now()));
}

#[test]
fn a_default_of_none_stores_nothing() {
    let cache = cache();
    assert_eq!(cache.incr_with("n", 1, None).unwrap(), None);
    assert!(cache.is_empty().unwrap());
    assert_eq!(cache.incr_with("n", 1, Some(10)).unwrap(), Some(11));
    assert_eq!(cache.incr_with("n", 1, None).unwrap(), Some(12));
    assert_eq!(cache.get("n").unwrap(), Some(12));
}

#[test]
fn overflow_leaves_the_value() {
    let cache = cache();
    cache.set("n", &i64::MAX).unwrap();
    assert_eq!(kind_of(cache.incr("n", 1)), ErrorKind::Overflow);
    assert_eq!(cache.get("n").unwrap(), Some(i64::MAX));
    assert_eq!(cache.decr("n", i64::MAX).unwrap(), 0);
    assert_eq!(kind_of(cache.decr("n", i64::MIN)), ErrorKind::Overflow);
    assert_eq!(kind_of(cache.incr_with("m", i64::MAX, Some(1))), ErrorKind::Overflow);
    assert!(!cache.contains("m").unwrap());
    cache.set("large", &u64::MAX).unwrap();
    assert_eq!(kind_of(cache.incr("large", 1)), ErrorKind::Overflow);
    assert_eq!(cache.get("large").unwrap(), Some(u64::MAX));
    cache.set("large", &(i64::MAX as u64 + 1)).unwrap();
    assert_eq!(cache.incr("large", -1).unwrap(), i64::MAX);
}

#[test]
fn only_integers_count() {
    let cache = cache();
    cache.set("text", "5").unwrap();
    cache.set("float", &5.0).unwrap();
    cache.set("null", &()).unwrap();
    for key in ["text", "float", "null"] {
        assert_eq!(kind_of(cache.incr(key, 1)), ErrorKind::Codec);
    }
    assert_eq!(cache.get::<String>("text").unwrap().as_deref(), Some("5"));
}

#[test]
fn integers_count_also_when_values_go_to_files() {
    let cache = cache_with(|options| options.value_file_threshold(0));
    cache.set("n", &1).unwrap();
    assert_eq!(cache.incr("n", 1).unwrap(), 2);
}

#[test]
fn no_count_is_lost_between_threads() {
    let cache = cache();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let cache = cache.again();
            scope.spawn(move || {
                for _ in 0..500 {
                    cache.incr("n", 1).unwrap();
                }
            });
        }
    });
    assert_eq!(cache.get("n").unwrap(), Some(2000));
}
