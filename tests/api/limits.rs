use firncache::{Cache, ErrorKind, Eviction, SetOptions};

use crate::common::{Fixture, cache_with, kind_of, seconds};

const LIMIT: u64 = 1 << 20;
const VALUE: [u8; 4000] = [7; 4000];

fn limited(eviction: Eviction) -> Fixture {
    cache_with(|options| options.size_limit(LIMIT).eviction(eviction))
}

/// Stores numbered keys, a second apart, until the first is evicted or there are `most`.
fn fill(cache: &Fixture, from: i32, most: i32) -> i32 {
    let before = cache.stats().unwrap().evictions;
    for key in from..from + most {
        cache.time.turn(seconds(1));
        cache.set_bytes(key, &VALUE).unwrap();
        if cache.stats().unwrap().evictions > before {
            return key;
        }
    }
    panic!("nothing was evicted");
}

#[test]
fn disk_usage_stays_within_the_limit_and_a_segment() {
    for eviction in [
        Eviction::LeastRecentlyStored,
        Eviction::LeastRecentlyUsed,
        Eviction::LeastFrequentlyUsed,
        Eviction::Sieve,
    ] {
        let cache = limited(eviction);
        let mut most = 0;
        for key in 0..3000 {
            cache.set_bytes(key, &VALUE[..(key as usize * 97) % 4000]).unwrap();
            assert!(cache.contains(key).unwrap());
            if key % 50 == 0 {
                most = most.max(cache.disk_usage().unwrap());
            }
        }
        assert!(most <= LIMIT + LIMIT / 8, "{eviction:?}: {most}");
        assert!(cache.len().unwrap() > 50, "{eviction:?}: {}", cache.len().unwrap());
        assert!(cache.check().unwrap().is_clean(), "{}", cache.check().unwrap());
    }
}

#[test]
fn just_enough_goes() {
    let cache = limited(Eviction::LeastRecentlyStored);
    let last = fill(&cache, 0, 1000);
    assert_eq!(cache.stats().unwrap().evictions, 1);
    assert_eq!(cache.len().unwrap(), last as u64);
    for key in last + 1..last + 100 {
        cache.time.turn(seconds(1));
        cache.set_bytes(key, &VALUE).unwrap();
    }
    let evicted = cache.stats().unwrap().evictions;
    assert!((95..=110).contains(&evicted), "{evicted}");
}

#[test]
fn the_least_recently_stored_goes_first() {
    let cache = limited(Eviction::LeastRecentlyStored);
    for key in 0..40 {
        cache.time.turn(seconds(1));
        cache.set_bytes(key, &VALUE).unwrap();
    }
    // Stored again: young. Read or touched: as old as before.
    for key in [0, 1, 2] {
        cache.set_bytes(key, &VALUE).unwrap();
    }
    for _ in 0..5 {
        cache.get_bytes(3).unwrap();
    }
    assert!(cache.touch(4, None).unwrap());
    let last = fill(&cache, 40, 1000);
    assert!(!cache.contains(3).unwrap());
    let last = fill(&cache, last + 1, 1000);
    assert!(!cache.contains(4).unwrap());
    fill(&cache, last + 1, 1000);
    assert!(!cache.contains(5).unwrap());
    assert!([0, 1, 2, 6].iter().all(|key| cache.contains(key).unwrap()));
}

#[test]
fn the_least_recently_used_goes_first() {
    let cache = limited(Eviction::LeastRecentlyUsed);
    for key in 0..40 {
        cache.time.turn(seconds(1));
        cache.set_bytes(key, &VALUE).unwrap();
    }
    cache.time.turn(seconds(1));
    for key in [0, 2, 3] {
        assert!(cache.get_bytes(key).unwrap().is_some());
    }
    let last = fill(&cache, 40, 1000);
    assert!(!cache.contains(1).unwrap());
    fill(&cache, last + 1, 1000);
    assert!(!cache.contains(4).unwrap());
    assert!([0, 2, 3].iter().all(|key| cache.contains(key).unwrap()));
}

#[test]
fn the_least_frequently_used_goes_first() {
    let cache = limited(Eviction::LeastFrequentlyUsed);
    for key in 0..40 {
        cache.time.turn(seconds(1));
        cache.set_bytes(key, &VALUE).unwrap();
    }
    for key in (0..40).filter(|key| *key != 7) {
        cache.get_bytes(key).unwrap();
    }
    let last = fill(&cache, 40, 1000);
    assert!(!cache.contains(7).unwrap());
    assert!(cache.contains(last).unwrap(), "never the item just stored");
    fill(&cache, last + 1, 1000);
    assert!((0..40).filter(|key| *key != 7).all(|key| cache.contains(key).unwrap()));
}

#[test]
fn sieve_spares_what_was_read() {
    let cache = limited(Eviction::Sieve);
    for key in 0..40 {
        cache.set_bytes(key, &VALUE).unwrap();
    }
    for key in [0, 1, 3] {
        cache.get_bytes(key).unwrap();
    }
    let last = fill(&cache, 40, 1000);
    assert!(!cache.contains(2).unwrap());
    let last = fill(&cache, last + 1, 1000);
    assert!(!cache.contains(4).unwrap());
    fill(&cache, last + 1, 1000);
    assert!([0, 1, 3].iter().all(|key| cache.contains(key).unwrap()));
}

/// Does to key 7 what is no use of it.
type NoUse = fn(&Cache);

#[test]
fn to_look_for_touch_add_or_pass_by_a_key_is_no_use_of_it() {
    let all: [(&str, NoUse); 5] = [
        ("contains", |cache| assert!(cache.contains(7).unwrap())),
        ("touch", |cache| assert!(cache.touch(7, None).unwrap())),
        ("an add that fails", |cache| assert!(!cache.add(7, &1).unwrap())),
        ("iter", |cache| assert_eq!(cache.iter().take(8).flatten().count(), 8)),
        ("items", |cache| {
            let items = cache.items::<serde_bytes::ByteBuf>();
            assert_eq!(items.take(8).flatten().count(), 8);
        }),
    ];
    for eviction in [Eviction::LeastRecentlyUsed, Eviction::LeastFrequentlyUsed, Eviction::Sieve] {
        for (name, look) in all {
            let cache = limited(eviction);
            for key in 0..40 {
                cache.time.turn(seconds(1));
                cache.set_bytes(key, &VALUE).unwrap();
            }
            cache.time.turn(seconds(1));
            for key in (0..40).filter(|key| *key != 7) {
                assert!(cache.get_bytes(key).unwrap().is_some());
            }
            for _ in 0..3 {
                cache.time.turn(seconds(1));
                look(&cache);
            }
            fill(&cache, 40, 1000);
            assert!(!cache.contains(7).unwrap(), "{eviction:?}, {name}");
        }
    }
}

/// Stores a new key.
type Insert = fn(&Cache, &str);

#[test]
fn add_and_an_incr_that_inserts_make_room_as_set_does() {
    let all: [(&str, Insert); 2] = [
        ("add", |cache, key| assert!(cache.add(key, &"t".repeat(4000)).unwrap())),
        ("incr", |cache, key| assert_eq!(cache.incr(key, 1).unwrap(), 1)),
    ];
    for (name, insert) in all {
        let cache = limited(Eviction::LeastRecentlyStored);
        for number in 0..1500 {
            // The key is long, so that a counter takes as much room as a text.
            let key = format!("{number:04000}");
            insert(&cache, &key);
            assert!(cache.contains(&key).unwrap(), "{name}: never the key just stored");
        }
        let used = cache.disk_usage().unwrap();
        assert!(used <= LIMIT + LIMIT / 8, "{name}: {used}");
        assert!(cache.stats().unwrap().evictions > 1000, "{name}");
    }
}

#[test]
fn large_values_never_push_out_the_one_just_stored() {
    let cache = limited(Eviction::LeastRecentlyStored);
    let large = vec![1; 700_000];
    for key in 0..10 {
        cache.set_bytes(key, &large).unwrap();
        assert!(cache.get_bytes(key).unwrap().as_ref() == Some(&large));
    }
    assert!(cache.len().unwrap() <= 2);
    for key in 10..30 {
        cache.set(key, &key).unwrap();
        assert!(cache.contains(key).unwrap());
    }
}

#[test]
fn a_tiny_limit_keeps_the_last_item() {
    let cache = cache_with(|options| options.size_limit(2000));
    for key in 0..100 {
        cache.set_bytes(key, &[1; 1000]).unwrap();
        assert!(cache.contains(key).unwrap());
    }
    cache.set_with("tagged", &1, SetOptions::new().tag("t")).unwrap();
    assert!(cache.contains("tagged").unwrap());
    assert!(cache.check().unwrap().is_clean());
}

#[test]
fn what_can_never_fit_is_refused_and_nothing_is_lost() {
    let cache = limited(Eviction::LeastRecentlyStored);
    cache.set("key", &1).unwrap();
    cache.set("other", &2).unwrap();
    let huge = vec![0; LIMIT as usize];
    assert_eq!(kind_of(cache.set_bytes("key", &huge)), ErrorKind::TooLarge);
    assert_eq!(
        kind_of(cache.add("new", &String::from_utf8(huge.clone()).unwrap())),
        ErrorKind::TooLarge
    );
    assert_eq!((cache.get("key").unwrap(), cache.get("other").unwrap()), (Some(1), Some(2)));
    assert_eq!(cache.stats().unwrap().evictions, 0);
    cache.update_settings(|settings| settings.eviction = Eviction::None).unwrap();
    cache.set_bytes("key", &huge).unwrap();
}

#[test]
fn without_eviction_the_limit_does_not_hold() {
    for cache in
        [limited(Eviction::None), cache_with(|options| options.size_limit(LIMIT).cull_limit(0))]
    {
        for key in 0..600 {
            cache.set_bytes(key, &VALUE).unwrap();
        }
        assert_eq!(cache.len().unwrap(), 600);
    }
}

#[test]
fn without_eviction_expired_items_still_go() {
    let cache = limited(Eviction::None);
    cache.set_with("a", &1, SetOptions::new().expire(seconds(1))).unwrap();
    cache.set_with("b", &1, SetOptions::new().expire(seconds(1))).unwrap();
    cache.time.turn(seconds(2));
    cache.set("c", &1).unwrap();
    assert_eq!(cache.len().unwrap(), 1);
    cache.set_with("d", &1, SetOptions::new().expire(seconds(0))).unwrap();
    assert_eq!(cache.cull().unwrap(), 1);
}

#[test]
fn cull_brings_the_cache_below_a_lowered_limit() {
    let cache = cache_with(|options| options.size_limit(8 << 20));
    for key in 0..1000 {
        cache.set_bytes(key, &VALUE).unwrap();
    }
    cache.set_with("old", &1, SetOptions::new().expire(seconds(0))).unwrap();
    assert_eq!(cache.len().unwrap(), 1001);
    cache.update_settings(|settings| settings.size_limit = LIMIT).unwrap();
    let removed = cache.cull().unwrap();
    assert!(removed > 500, "{removed}");
    assert_eq!(cache.len().unwrap(), 1001 - removed);
    assert_eq!(cache.cull().unwrap(), 0);
    assert!(cache.contains(999).unwrap());
    cache.compact().unwrap();
    assert!(cache.disk_usage().unwrap() <= LIMIT + LIMIT / 8);
}

#[test]
fn one_write_removes_at_most_the_cull_limit() {
    let cache = cache_with(|options| options.size_limit(8 << 20).cull_limit(3));
    for key in 0..1000 {
        cache.set_bytes(key, &VALUE).unwrap();
    }
    let other = Cache::options().size_limit(LIMIT).open(cache.directory()).unwrap();
    other.set("new", &1).unwrap();
    assert_eq!(cache.len().unwrap(), 998);
    other.set("new", &1).unwrap();
    assert_eq!(cache.len().unwrap(), 995);
}

#[test]
fn the_exact_cull_count_is_for_compatibility() {
    let cache =
        cache_with(|options| options.size_limit(LIMIT).cull_limit(7).exact_cull_count(true));
    let last = fill(&cache, 0, 1000);
    assert_eq!(cache.len().unwrap(), last as u64 + 1 - 7);
    assert!((0..7).all(|key| !cache.contains(key).unwrap()));
}

#[test]
fn a_batch_is_culled_after_its_commit() {
    for eviction in [Eviction::LeastRecentlyStored, Eviction::LeastFrequentlyUsed] {
        let cache = limited(eviction);
        for round in 0..10 {
            let pairs = (0..100).map(|key| (round * 100 + key, serde_bytes::Bytes::new(&VALUE)));
            cache.set_many(pairs, SetOptions::new()).unwrap();
            assert!((0..100).all(|key| cache.contains(round * 100 + key).unwrap()));
        }
        let used = cache.disk_usage().unwrap();
        assert!(used <= 2 * LIMIT, "{used} {:?} {:?}", cache.volume(), cache.len());
        let pairs = (0..500).map(|key| (key, serde_bytes::Bytes::new(&VALUE)));
        cache.set_many(pairs, SetOptions::new()).unwrap();
        assert!(cache.contains(499).unwrap());
        assert!(cache.len().unwrap() < 300);
    }
}

#[test]
fn volume_falls_with_every_removal() {
    let cache = limited(Eviction::LeastRecentlyStored);
    assert!(cache.volume().unwrap() <= 65_536);
    cache.set_bytes("a", &VALUE).unwrap();
    let one = cache.volume().unwrap();
    assert!((4000..5000).contains(&one), "{one}");
    cache.set_bytes("b", &vec![1; 300_000]).unwrap();
    let two = cache.volume().unwrap();
    assert!(two >= one + 300_000);
    cache.delete("b").unwrap();
    assert_eq!(cache.volume().unwrap(), one);
    cache.clear().unwrap();
    assert_eq!(cache.volume().unwrap(), 0);
}
