//! What holds for queues whatever else goes on: rollbacks, damage, eviction, threads.

use std::time::Duration;

use firncache::{Cache, Error, ErrorKind, Eviction, Key, PushOptions, QueueOptions, Side};

use crate::common::{cache, cache_with, keys, kind_of};
use crate::queues::{START, assert_clean, front, of, pull, pull_all};

#[test]
fn a_value_of_another_type_stays_at_its_place() {
    let cache = cache();
    cache.push("text").unwrap();
    cache.push(&2).unwrap();
    assert_eq!(kind_of(cache.pull::<i64>()), ErrorKind::Codec);
    assert_eq!(kind_of(cache.peek::<i64>()), ErrorKind::Codec);
    assert_eq!(kind_of(cache.transact(|tx| tx.pull::<i64>())), ErrorKind::Codec);
    assert_eq!(cache.pull::<String>().unwrap().unwrap().1, "text");
    assert_eq!(cache.pull::<i64>().unwrap().unwrap().1, 2);
}

#[test]
fn large_values_go_through_a_queue() {
    let cache = cache_with(|options| options.value_file_threshold(1000));
    for len in [10, 5000, 20, 300_000] {
        cache.push(&vec![len as u64; len]).unwrap();
    }
    for len in [10, 5000, 20, 300_000] {
        assert_eq!(cache.pull::<Vec<u64>>().unwrap().unwrap().1, vec![len as u64; len]);
    }
    assert_clean(&cache);
}

#[test]
fn what_the_cache_keeps_for_queues_is_no_key() {
    let cache = cache();
    for prefix in ["a", "b"] {
        cache.push_with(&1, PushOptions::new().prefix(prefix).tag("t")).unwrap();
        cache.pull_with::<i64>(of(prefix)).unwrap();
    }
    assert!(cache.is_empty().unwrap());
    assert!(cache.pull::<i64>().unwrap().is_none());
    let seen = |cache: &Cache| {
        assert_eq!(cache.len().unwrap(), 0);
        assert!(keys(cache).is_empty() && cache.items::<i64>().next().is_none());
        assert_eq!(cache.sorted_keys().unwrap().count(), 0);
        assert!(cache.peek_item::<i64>(Side::Front).unwrap().is_none());
        assert!(cache.peek_item::<i64>(Side::Back).unwrap().is_none());
    };
    seen(&cache);
    seen(&cache.again());
    assert_eq!(cache.evict("t").unwrap(), 0);
    cache
        .transact(|tx| {
            tx.push_with(&1, PushOptions::new().prefix("c"))?;
            assert_eq!(tx.len()?, 1);
            assert_eq!((keys(tx).len(), tx.items::<i64>().count()), (1, 1));
            tx.pull_with::<i64>(of("c"))?;
            seen(tx);
            assert_eq!(tx.clear()?, 0);
            Ok::<_, Error>(())
        })
        .unwrap();
    cache.push(&1).unwrap();
    cache.time.turn(Duration::from_secs(400 * 24 * 3600));
    assert_eq!((cache.expire().unwrap(), cache.cull().unwrap()), (0, 0));
    assert_eq!(cache.stats().unwrap().expirations, 0);
    assert_eq!(cache.push(&2).unwrap(), Key::from(START + 1));
    assert_clean(&cache);
    assert_eq!(cache.clear().unwrap(), 2);
    assert_eq!(cache.clear().unwrap(), 0);
    assert_clean(&cache);
}

#[test]
fn a_rolled_back_queue_is_as_before() {
    let cache = cache();
    for value in 0..20 {
        cache.push(&value).unwrap();
    }
    for is_new in [false, true] {
        let failed = cache.transact(|tx| {
            for value in 0..40 {
                assert_eq!(tx.pull::<i64>()?.map(|it| it.1), (value < 20).then_some(value));
            }
            assert_eq!(tx.push(&100)?, Key::from(START));
            tx.push_with(&99, front())?;
            if is_new {
                tx.push_with(&1, PushOptions::new().prefix("new"))?;
                tx.set("new-500000000000009", &2)?;
                assert_eq!(
                    tx.push_with(&3, PushOptions::new().prefix("new"))?,
                    Key::from("new-500000000000010")
                );
            }
            Err::<(), _>(Error::key("no"))
        });
        assert_eq!(kind_of(failed), ErrorKind::Key);
        assert_eq!(cache.len().unwrap(), 20);
        assert!(cache.peek_with::<i64>(of("new")).unwrap().is_none());
        assert_clean(&cache);
    }
    assert_eq!(cache.push(&20).unwrap(), Key::from(START + 20));
    assert_eq!(pull_all(&cache, Side::Front), (0..21).collect::<Vec<_>>());
}

#[test]
fn a_committed_transaction_of_queues_is_whole() {
    let cache = cache();
    cache.set("p-000000000000077", &0).unwrap();
    cache
        .transact(|tx| {
            for value in 1..20 {
                tx.push_with(&value, PushOptions::new().prefix("p"))?;
            }
            assert_eq!(pull(tx, of("p")), Some((Key::from("p-000000000000077"), 0)));
            tx.push(&5).map(drop)
        })
        .unwrap();
    assert_clean(&cache);
    for value in 1..20 {
        assert_eq!(pull(&cache, of("p")).unwrap().1, value);
    }
    assert_eq!(cache.pull::<i64>().unwrap().unwrap().1, 5);
    assert!(cache.is_empty().unwrap());
}

#[test]
fn a_read_only_handle_peeks() {
    let cache = cache();
    cache.set(5, &50).unwrap();
    let read = || Cache::options().read_only(true).open(cache.directory()).unwrap();
    assert_eq!(read().peek().unwrap(), Some((Key::from(5), 50)));
    cache.push(&60).unwrap();
    let last = QueueOptions::new().side(Side::Back);
    assert_eq!(read().peek_with::<i64>(last).unwrap().unwrap().0, Key::from(6));
    assert_eq!(kind_of(read().pull::<i64>()), ErrorKind::ReadOnly);
    assert_eq!(kind_of(read().push(&1)), ErrorKind::ReadOnly);
    assert_eq!(cache.len().unwrap(), 2);
}

#[test]
fn a_prefix_that_is_too_long_is_refused() {
    let cache = cache();
    let longest = "x".repeat(firncache::MAX_KEY_BYTES - 17);
    let options = || PushOptions::new().prefix(&longest);
    cache.push_with(&1, options()).unwrap();
    assert_eq!(pull(&cache, of(&longest)).unwrap().1, 1);
    let longer = longest + "x";
    assert_eq!(kind_of(cache.push_with(&1, PushOptions::new().prefix(&longer))), ErrorKind::Key);
    assert_eq!(kind_of(cache.peek_with::<i64>(of(&longer))), ErrorKind::Key);
    let failed = cache.push_with(&1, PushOptions::new().tag(f64::NAN));
    assert_eq!(kind_of(failed), ErrorKind::Key);
    assert_eq!(kind_of(cache.push(&Fails)), ErrorKind::Codec);
    assert!(cache.is_empty().unwrap());
}

struct Fails;

impl serde::Serialize for Fails {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no"))
    }
}

#[test]
fn a_repaired_cache_keeps_its_queues() {
    let cache = cache();
    for value in 0..50 {
        cache.push(&value).unwrap();
    }
    cache.pull::<i64>().unwrap();
    assert!(cache.repair().unwrap().is_clean());
    assert_eq!(cache.len().unwrap(), 49);
    assert_clean(&cache);
    assert_eq!(cache.push(&50).unwrap(), Key::from(START + 50));
    assert_eq!(pull_all(&cache, Side::Front), (1..51).collect::<Vec<_>>());
}

#[test]
fn eviction_takes_items_and_never_the_order() {
    for policy in [
        Eviction::LeastRecentlyStored,
        Eviction::LeastRecentlyUsed,
        Eviction::LeastFrequentlyUsed,
        Eviction::Sieve,
    ] {
        let cache = cache_with(|options| options.size_limit(1 << 18).eviction(policy));
        let value = |number: u64| (number, "x".repeat(1000));
        let mut last = None;
        for number in 0..2000 {
            cache.push(&value(number)).unwrap();
            cache.time.turn(Duration::from_millis(3));
            if number % 7 == 0 {
                let pulled = cache.pull::<(u64, String)>().unwrap().unwrap().1.0;
                assert!(last < Some(pulled), "{policy:?}: {pulled} after {last:?}");
                last = Some(pulled);
            }
        }
        assert!(cache.len().unwrap() < 500, "{policy:?}");
        let mut rest = 0;
        while let Some((_, (number, _))) = cache.pull::<(u64, String)>().unwrap() {
            assert!(last < Some(number), "{policy:?}: {number} after {last:?}");
            last = Some(number);
            rest += 1;
        }
        assert!(rest > 20 && last == Some(1999), "{policy:?}: {rest} {last:?}");
        assert_eq!(cache.push(&value(0)).unwrap(), Key::from(START));
        assert_clean(&cache);
    }
}

#[test]
fn threads_pull_each_item_once_and_in_order() {
    let cache = cache();
    const EACH: u64 = 1500;
    let pulled: Vec<Vec<(u64, u64)>> = std::thread::scope(|scope| {
        for producer in 0..3_u64 {
            let cache = cache.cache.clone();
            scope.spawn(move || {
                for number in 0..EACH {
                    cache.push(&(producer, number)).unwrap();
                }
            });
        }
        let pullers: Vec<_> = (0..3)
            .map(|_| {
                let cache = cache.cache.clone();
                scope.spawn(move || {
                    let (mut own, mut misses) = (Vec::new(), 0);
                    while misses < 2000 {
                        match cache.pull::<(u64, u64)>().unwrap() {
                            Some((_, item)) => {
                                own.push(item);
                                misses = 0;
                            }
                            None => {
                                misses += 1;
                                std::thread::sleep(Duration::from_millis(1));
                            }
                        }
                    }
                    own
                })
            })
            .collect();
        pullers.into_iter().map(|it| it.join().unwrap()).collect()
    });
    for own in &pulled {
        for producer in 0..3 {
            let numbers: Vec<u64> =
                own.iter().filter(|it| it.0 == producer).map(|it| it.1).collect();
            assert!(numbers.is_sorted(), "{numbers:?}");
        }
    }
    let mut all: Vec<_> = pulled.into_iter().flatten().collect();
    all.sort_unstable();
    let expected = (0..3).flat_map(|producer| (0..EACH).map(move |number| (producer, number)));
    assert_eq!(all, expected.collect::<Vec<_>>());
}
