use std::time::Duration;

use firncache::{Error, ErrorKind, FanoutCache, Result, SetOptions};

use crate::common::{kind_of, seconds};
use crate::fanout::{VALUE, fanout, fanout_with, keys, shard};

#[test]
fn a_transaction_rolled_back_leaves_all_shards_as_they_were() {
    let cache = fanout();
    let large = vec![9; 300_000];
    cache.set_many((0..100).map(|key| (key, key)), SetOptions::new()).unwrap();
    cache.set_bytes("large", &large).unwrap();
    let before = keys(&cache);
    let change = |tx: &FanoutCache| -> Result<()> {
        tx.set_many((50..150).map(|key| (key, -key)), SetOptions::new())?;
        tx.set_bytes("large", &large[1..])?;
        tx.set_bytes("another", &large)?;
        assert_eq!(tx.delete_many(0..20)?, 20);
        assert_eq!((tx.get::<i32>(0)?, tx.get::<i32>(60)?), (None, Some(-60)));
        assert_eq!(tx.len()?, 132);
        Ok(())
    };
    let as_before = || {
        assert_eq!(keys(&cache), before);
        assert!(cache.get_many::<i32>(0..100).unwrap().into_iter().eq((0..100).map(Some)));
        assert!(cache.get_bytes("large").unwrap().as_ref() == Some(&large));
        assert_eq!(cache.len().unwrap(), 101);
        assert!(cache.check().unwrap().is_clean(), "{}", cache.check().unwrap());
    };
    let failed = cache.transact(|tx| change(tx).and(Err::<(), _>(Error::codec("no"))));
    assert_eq!(kind_of(failed), ErrorKind::Codec);
    as_before();
    let panicked = std::panic::catch_unwind(|| {
        let _ = cache.transact::<(), Error>(|tx| {
            change(tx).unwrap();
            panic!("on purpose");
        });
    });
    assert!(panicked.is_err());
    as_before();
    change(&cache.begin().unwrap()).unwrap();
    as_before();
    cache.transact(|tx| change(tx)).unwrap();
    assert_eq!((cache.get::<i32>(0).unwrap(), cache.get(60).unwrap()), (None, Some(-60)));
    assert_eq!(cache.len().unwrap(), 132);
}

#[test]
fn readers_go_on_during_a_transaction_and_see_the_state_before() {
    let cache = fanout();
    cache.set_many((0..50).map(|key| (key, 1)), SetOptions::new()).unwrap();
    cache
        .transact(|tx| {
            tx.set_many((0..50).map(|key| (key, 2)), SetOptions::new())?;
            std::thread::scope(|scope| {
                let seen = scope.spawn(|| cache.get_many::<i32>(0..50)).join().unwrap()?;
                assert_eq!(seen, [Some(1); 50]);
                let other = FanoutCache::options().timeout(Duration::from_millis(5));
                let other = other.open(cache.directory())?;
                let late = scope.spawn(move || other.set(7, &3)).join().unwrap();
                assert_eq!(kind_of(late), ErrorKind::Timeout);
                Ok::<_, Error>(())
            })
        })
        .unwrap();
    assert_eq!(cache.get_many::<i32>(0..50).unwrap(), [Some(2); 50]);
}

#[test]
fn transactions_nest_and_handles_of_one_thread_join() {
    let cache = fanout();
    let other = FanoutCache::open(cache.directory()).unwrap();
    let result = cache.transact(|tx| {
        tx.set("outer", &1)?;
        other.transact(|inner| inner.set("inner", &2))?;
        other.set("joined", &3)?;
        shard(tx, 0).set("shard", &4)?;
        assert_eq!(tx.len()?, 4);
        Err::<(), _>(Error::codec("no"))
    });
    assert!(result.is_err());
    assert!(cache.is_empty().unwrap());
    cache
        .transact(|tx| {
            let ignored = other.transact(|inner| {
                inner.set("inner", &2)?;
                Err::<(), _>(Error::codec("no"))
            });
            assert!(ignored.is_err());
            tx.set("outer", &1)
        })
        .unwrap();
    assert_eq!(cache.len().unwrap(), 2);
}

#[test]
fn transactions_of_many_threads_do_not_lock_each_other_out() {
    let cache = fanout_with(|options| options.size_limit(1 << 20).timeout(seconds(60)));
    std::thread::scope(|scope| {
        for thread in 0..4_i64 {
            let cache = &*cache;
            scope.spawn(move || {
                for round in 0..50 {
                    cache
                        .transact(|tx| {
                            tx.incr("count", 1)?;
                            for key in 0..8 {
                                tx.set_bytes((thread, round, key), &VALUE)?;
                            }
                            Ok::<_, Error>(())
                        })
                        .unwrap();
                    cache.set("count too", &round).unwrap();
                }
            });
        }
    });
    assert_eq!(cache.check().unwrap().findings(), []);
    assert!(cache.stats().unwrap().evictions > 100);
}

#[test]
fn what_is_no_part_of_a_transaction_is_refused_in_one() {
    let cache = fanout();
    cache
        .transact(|tx| {
            assert_eq!(kind_of(tx.check()), ErrorKind::Unsupported);
            assert_eq!(kind_of(tx.repair()), ErrorKind::Unsupported);
            assert_eq!(kind_of(tx.compact()), ErrorKind::Unsupported);
            assert_eq!(kind_of(tx.sync()), ErrorKind::Unsupported);
            assert_eq!(kind_of(tx.reset_stats()), ErrorKind::Unsupported);
            assert_eq!(kind_of(cache.cache.clone().close()), ErrorKind::Unsupported);
            let refused = tx.update_settings(|settings| settings.cull_limit = 1);
            assert_eq!(kind_of(refused), ErrorKind::Unsupported);
            Ok::<_, Error>(())
        })
        .unwrap();
    cache.sync().unwrap();
    cache.cache.clone().close().unwrap();
}

#[test]
fn a_timeout_of_removing_step_by_step_says_how_far_it_got() {
    let cache = fanout_with(|options| options.timeout(Duration::from_millis(1)));
    cache.set_many((0..100).map(|key| (key, ())), SetOptions::new().tag("t")).unwrap();
    let (held, holder) = (std::sync::Barrier::new(2), shard(&cache, 3));
    let before: u64 = (0..3).map(|index| shard(&cache, index).len().unwrap()).sum();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let transaction = holder.begin().unwrap();
            held.wait();
            held.wait();
            drop(transaction);
        });
        held.wait();
        // Operations on all shards wait longer than the handle's timeout: until the holder is done.
        let evicting = scope.spawn(|| cache.evict("t").unwrap());
        while cache.len().unwrap() > 100 - before {
            std::thread::yield_now();
        }
        held.wait();
        assert_eq!(evicting.join().unwrap(), 100);
    });
}
