use std::sync::LazyLock;
use std::time::Duration;

use firncache::{ErrorKind, Eviction, FanoutCache, Key, SetOptions};

use crate::common::{kind_of, seconds};
use crate::fanout::{LIMIT, VALUE, fanout_with, shard};

/// Integers that belong to a shard, of eight.
fn keys_of_shard(index: usize, count: usize) -> Vec<i64> {
    static BY_SHARD: LazyLock<Vec<Vec<i64>>> = LazyLock::new(|| {
        let probe = FanoutCache::temporary().unwrap();
        probe.set_many((0..27_000).map(|key| (key, ())), SetOptions::new()).unwrap();
        let number = |key| match key {
            Ok(Key::Int(key)) => key as i64,
            other => panic!("{other:?}"),
        };
        (0..8).map(|index| shard(&probe, index).iter().map(number).collect()).collect()
    });
    let found = &BY_SHARD[index];
    assert!(found.len() >= count, "{}", found.len());
    found[..count].to_vec()
}

#[test]
fn a_value_may_be_as_large_as_the_whole_limit_allows() {
    let cache = fanout_with(|options| options.size_limit(LIMIT));
    for key in 0..600 {
        cache.set_bytes(key, &VALUE).unwrap();
    }
    // Five times what a shard's part is.
    let large = vec![1; 5 * LIMIT as usize / 8];
    cache.set_bytes("large", &large).unwrap();
    assert!(cache.get_bytes("large").unwrap().as_ref() == Some(&large));
    // The others make room, a few keys at a time, and lose no more than their part of the limit.
    for key in 1000..1200 {
        cache.set_bytes(key, &[1; 10]).unwrap();
    }
    assert!(cache.len().unwrap() > 500, "{}", cache.len().unwrap());
    assert!(cache.disk_usage().unwrap() <= LIMIT + LIMIT / 8, "{}", cache.disk_usage().unwrap());
    let refused = cache.set_bytes("huge", &vec![0; LIMIT as usize + 1]);
    assert_eq!(kind_of(refused), ErrorKind::TooLarge);
}

#[test]
fn a_value_larger_than_a_part_stays_while_the_others_leave_room() {
    let cache = fanout_with(|options| options.size_limit(LIMIT));
    let large = vec![1; 5 * LIMIT as usize / 8];
    cache.set_bytes("large", &large).unwrap();
    for key in 0..150 {
        cache.set_bytes(key, &VALUE).unwrap();
    }
    assert!(cache.get_bytes("large").unwrap() == Some(large));
    assert_eq!((cache.len().unwrap(), cache.stats().unwrap().evictions), (151, 0));
}

#[test]
fn nothing_is_evicted_before_the_sum_exceeds_the_limit() {
    let cache = fanout_with(|options| options.size_limit(LIMIT));
    // All into one shard: three times what a part of the limit would be.
    let hot = keys_of_shard(2, 250);
    for key in &hot {
        cache.set_bytes(key, &VALUE).unwrap();
    }
    assert_eq!((cache.len().unwrap(), cache.stats().unwrap().evictions), (250, 0));
    assert_eq!(shard(&cache, 2).len().unwrap(), 250);
}

#[test]
fn disk_usage_stays_within_the_limit_and_a_segment_of_each_shard() {
    for eviction in [Eviction::LeastRecentlyStored, Eviction::LeastFrequentlyUsed, Eviction::Sieve]
    {
        let cache = fanout_with(|options| options.size_limit(LIMIT).eviction(eviction));
        let (mut most, mut peak) = (0, 0);
        for key in 0..6000 {
            cache.set_bytes(key, &VALUE[..(key as usize * 97) % 4000]).unwrap();
            assert!(cache.contains(key).unwrap());
            peak = peak.max(cache.len().unwrap());
            if key % 100 == 0 {
                most = most.max(cache.disk_usage().unwrap());
            }
        }
        // A segment is a thirty-second of a shard's part; more waits for the disk meanwhile.
        assert!(most <= LIMIT + LIMIT / 8, "{eviction:?}: {most}");
        assert!(most >= LIMIT / 2, "{eviction:?}: {most}");
        assert!(cache.len().unwrap() > 700, "{eviction:?}: {} {peak}", cache.len().unwrap());
        assert!(cache.check().unwrap().is_clean(), "{}", cache.check().unwrap());
    }
}

#[test]
fn a_hot_shard_leaves_the_others_what_they_have() {
    let cache = fanout_with(|options| options.size_limit(LIMIT));
    let hot = keys_of_shard(2, 3000);
    let cold: Vec<i64> =
        (0..8).filter(|index| *index != 2).flat_map(|index| keys_of_shard(index, 30)).collect();
    for key in &cold {
        cache.time.turn(seconds(1));
        cache.set_bytes(key, &VALUE).unwrap();
    }
    for key in &hot {
        cache.time.turn(seconds(1));
        cache.set_bytes(key, &VALUE).unwrap();
        assert!(cache.contains(key).unwrap());
    }
    assert!(cache.stats().unwrap().evictions > 2000);
    let kept = cold.iter().filter(|key| cache.contains(**key).unwrap()).count();
    assert_eq!(kept, cold.len());
    // And the hot one has the rest.
    let hot = shard(&cache, 2).len().unwrap();
    assert!(hot > 300, "{hot}");
    assert!(cache.disk_usage().unwrap() <= LIMIT + LIMIT / 8);
}

#[test]
fn a_shard_below_its_share_takes_from_the_fullest() {
    let cache = fanout_with(|options| options.size_limit(LIMIT));
    for key in keys_of_shard(2, 1000) {
        cache.set_bytes(key, &VALUE).unwrap();
    }
    let before = shard(&cache, 2).len().unwrap();
    let late = keys_of_shard(6, 60);
    for key in &late {
        cache.set_bytes(key, &VALUE).unwrap();
    }
    assert!(late.iter().all(|key| cache.contains(*key).unwrap()));
    let after = shard(&cache, 2).len().unwrap();
    assert!((before - 90..before - 30).contains(&after), "{before} {after}");
    assert!(cache.disk_usage().unwrap() <= LIMIT + LIMIT / 8);
}

#[test]
fn a_full_shard_whose_lock_is_held_is_not_waited_for() {
    let cache = fanout_with(|options| options.size_limit(LIMIT));
    for key in keys_of_shard(2, 1000) {
        cache.set_bytes(key, &VALUE).unwrap();
    }
    let late = keys_of_shard(6, 60);
    let (held, holder) = (std::sync::Barrier::new(2), shard(&cache, 2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let transaction = holder.begin().unwrap();
            held.wait();
            held.wait();
            drop(transaction);
        });
        held.wait();
        let before = holder.len().unwrap();
        for key in &late {
            cache.set_bytes(key, &VALUE).unwrap();
        }
        assert_eq!(holder.len().unwrap(), before);
        held.wait();
    });
    for key in &late[..20] {
        cache.set_bytes(key, &VALUE).unwrap();
    }
    assert!(late.iter().all(|key| cache.contains(*key).unwrap()));
    assert!(cache.disk_usage().unwrap() <= LIMIT + LIMIT / 8);
}

#[test]
fn a_tiny_limit_keeps_the_last_item() {
    let cache = fanout_with(|options| options.size_limit(2000));
    for key in 0..100 {
        cache.set_bytes(key, &[1; 1000]).unwrap();
        assert!(cache.contains(key).unwrap());
    }
    assert!(cache.len().unwrap() <= 8);
    assert!(cache.check().unwrap().is_clean());
}

#[test]
fn without_eviction_the_limit_does_not_hold() {
    for options in
        [FanoutCache::options().eviction(Eviction::None), { FanoutCache::options().cull_limit(0) }]
    {
        let cache = fanout_with(|_| options.size_limit(1 << 20).timeout(seconds(60)));
        for key in 0..600 {
            cache.set_bytes(key, &VALUE).unwrap();
        }
        assert_eq!(cache.len().unwrap(), 600);
    }
}

#[test]
fn cull_brings_the_whole_below_a_lowered_limit() {
    let cache = fanout_with(|options| options.size_limit(8 * LIMIT));
    for key in keys_of_shard(1, 1000).into_iter().chain(50_000..50_800) {
        cache.set_bytes(key, &VALUE).unwrap();
    }
    cache.set_with("old", &1, SetOptions::new().expire(Duration::ZERO)).unwrap();
    assert_eq!(cache.len().unwrap(), 1801);
    let few = shard(&cache, 7).len().unwrap();
    cache.update_settings(|settings| settings.size_limit = LIMIT).unwrap();
    let removed = cache.cull().unwrap();
    assert!(removed > 1000, "{removed}");
    assert_eq!(cache.len().unwrap(), 1801 - removed);
    assert_eq!(cache.cull().unwrap(), 0);
    // The fullest has given most: what is left is about level.
    let parts: Vec<u64> = (0..8).map(|index| shard(&cache, index).len().unwrap()).collect();
    assert!(parts[1] <= few && parts.iter().all(|part| *part > few / 2), "{few} {parts:?}");
    cache.compact().unwrap();
    assert!(cache.disk_usage().unwrap() <= LIMIT + LIMIT / 8);
}

#[test]
fn a_large_batch_is_culled_after_its_commit() {
    let cache = fanout_with(|options| options.size_limit(LIMIT));
    for round in 0..5 {
        let pairs = (0..1000).map(|key| (round * 1000 + key, serde_bytes::Bytes::new(&VALUE)));
        cache.set_many(pairs, SetOptions::new()).unwrap();
        assert!(cache.contains(round * 1000 + 999).unwrap());
    }
    assert!(cache.len().unwrap() < 1000, "{}", cache.len().unwrap());
    assert!(cache.disk_usage().unwrap() <= 2 * LIMIT, "{}", cache.disk_usage().unwrap());
    assert!(cache.check().unwrap().is_clean());
}
