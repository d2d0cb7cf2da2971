use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use firncache::recipes::{Averager, Barrier, BoundedSemaphore, Lock, RLock, Throttle};
use firncache::{Cache, Error, ErrorKind, PowerLoss};

use crate::common::{cache, cache_with, kind_of, seconds};

fn is_free(lock: &Lock) -> bool {
    lock.try_acquire().unwrap().is_some()
}

/// Asks in a thread of its own, as each thread has what it has.
fn elsewhere<R: Send>(ask: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| scope.spawn(ask).join().unwrap())
}

#[test]
fn a_lock_is_held_until_its_guard_goes() {
    let cache = cache();
    let lock = Lock::new(&cache, "lock");
    let guard = lock.acquire().unwrap();
    assert!(!is_free(&lock) && !elsewhere(|| is_free(&Lock::new(&cache.again(), "lock"))));
    assert!(is_free(&Lock::new(&cache, "another")));
    assert_eq!(kind_of(lock.acquire()), ErrorKind::Unsupported);
    assert_eq!(kind_of(lock.acquire_timeout(seconds(9))), ErrorKind::Unsupported);
    assert!(elsewhere(|| lock.acquire_timeout(Duration::from_millis(20)).unwrap().is_none()));
    drop(guard);
    assert!(elsewhere(|| is_free(&lock)) && is_free(&lock));
    assert!(lock.acquire().unwrap().release().unwrap() && is_free(&lock));
}

#[test]
fn a_panic_gives_the_lock_back() {
    let cache = cache();
    let lock = Lock::new(&cache, "lock");
    let barrier = Barrier::new(lock.clone());
    let panicked = std::thread::scope(|scope| {
        scope.spawn(|| barrier.call(|| panic!("inside")).unwrap()).join()
    });
    assert!(panicked.is_err() && is_free(&lock));
}

#[test]
fn keys_are_one_lock_as_they_are_one_key() {
    let cache = cache();
    let guard = Lock::new(&cache, ("lock", 1)).acquire().unwrap();
    assert!(!is_free(&Lock::new(&cache, ("lock", 1.0))));
    assert!(is_free(&Lock::new(&cache, "lock")));
    assert!(RLock::new(&cache, ("lock", 1)).try_acquire().unwrap().is_some(), "another kind");
    let refused = Lock::new(&cache, f64::NAN);
    assert_eq!(kind_of(refused.acquire()), ErrorKind::Key);
    assert_eq!(kind_of(refused.try_acquire()), ErrorKind::Key);
    drop(guard);
    let reader = Cache::options().read_only(true).open(cache.directory()).unwrap();
    assert_eq!(kind_of(Lock::new(&reader, 1).acquire()), ErrorKind::ReadOnly);
}

#[test]
fn locks_are_no_items() {
    let cache = cache_with(|options| options.size_limit(1 << 16).power_loss(PowerLoss::Clear));
    let lock = Lock::new(&cache, "lock");
    let guard = lock.acquire().unwrap();
    assert_eq!((cache.len().unwrap(), cache.iter().count()), (0, 0));
    for key in 0..3000 {
        cache.set_bytes(key, &[0; 100]).unwrap();
    }
    assert!(cache.len().unwrap() < 3000, "some were evicted");
    cache.clear().unwrap();
    assert!(!is_free(&lock));
    assert!(cache.repair().unwrap().is_clean() && cache.check().unwrap().is_clean());
    assert!(!is_free(&lock));
    drop(guard);
    assert!(is_free(&lock));
}

#[test]
fn a_guard_keeps_what_it_needs() {
    let cache = Cache::temporary().unwrap();
    let guard = Lock::new(&cache, "lock").acquire().unwrap();
    let directory = cache.directory().to_path_buf();
    drop(cache);
    assert!(directory.exists() && guard.release().unwrap());
    assert!(!directory.exists());
}

#[test]
fn an_rlock_is_free_when_every_guard_is_gone() {
    let cache = cache();
    let lock = RLock::new(&cache, "lock");
    let is_free = || elsewhere(|| lock.try_acquire().unwrap().is_some());
    let mut guards: Vec<_> = (0..5).map(|_| lock.acquire().unwrap()).collect();
    guards.push(lock.try_acquire().unwrap().unwrap());
    guards.swap(0, 3);
    while let Some(guard) = guards.pop() {
        assert!(!is_free());
        drop(guard);
    }
    assert!(is_free());
}

#[test]
fn a_semaphore_lets_in_as_many_as_it_has_permits() {
    let cache = cache();
    let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let _permit = BoundedSemaphore::new(&cache, "s", 3).acquire().unwrap();
                    let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_micros(200));
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(most.load(Ordering::SeqCst), 3);
    let refused = BoundedSemaphore::new(&cache, "s", 0);
    assert_eq!(kind_of(refused.acquire()), ErrorKind::Setting);
    let all = BoundedSemaphore::new(&cache, "s", 1);
    let permit = all.acquire().unwrap();
    assert_eq!(kind_of(all.acquire()), ErrorKind::Unsupported);
    assert_eq!(kind_of(BoundedSemaphore::new(&cache, "s", 2).acquire()), ErrorKind::Setting);
    drop(permit);
}

#[test]
fn locks_and_transactions_do_not_wait_for_each_other_for_ever() {
    let cache = cache_with(|options| options.timeout(Duration::from_millis(200)));
    let lock = Lock::new(&cache, "lock");
    // Inside a transaction, a free lock is to be had, and stays when it is rolled back.
    let guard = cache.transact(|_| {
        let guard = lock.acquire()?;
        assert!(elsewhere(|| !is_free(&lock)), "another thread asks meanwhile");
        Ok::<_, Error>(guard)
    });
    let guard = guard.unwrap();
    let rolled_back = cache.transact(|tx| {
        tx.set("key", &1)?;
        Err::<(), _>(Error::key("rolled back"))
    });
    assert!(rolled_back.is_err() && !elsewhere(|| is_free(&lock)));
    drop(guard);
    // One has the lock and wants a transaction, the other has a transaction and wants the lock.
    let (has_lock, when_locked) = mpsc::channel();
    let (has_both, when_both) = mpsc::channel();
    std::thread::scope(|scope| {
        let lock = &lock;
        let cache = &cache;
        scope.spawn(move || {
            let _guard = lock.acquire().unwrap();
            has_lock.send(()).unwrap();
            when_both.recv().unwrap();
            let _ = cache.set("one", &1);
        });
        when_locked.recv().unwrap();
        let outcome = cache.transact(|tx| {
            tx.set("other", &2)?;
            has_both.send(()).unwrap();
            lock.acquire().map(drop)
        });
        let error = outcome.err();
        assert!(error.is_none_or(|it| it.kind() == ErrorKind::Timeout));
    });
    assert!(is_free(&lock));
    cache.set("after", &3).unwrap();
}

#[test]
fn a_mean_is_a_mean() {
    let cache = cache();
    let mean = Averager::new(&cache, "mean");
    assert_eq!((mean.get().unwrap(), mean.pop().unwrap()), (None, None));
    for value in [1.0, 2.0, 6.0] {
        mean.add(value).unwrap();
    }
    assert_eq!(mean.get().unwrap(), Some(3.0));
    assert_eq!(cache.get("mean").unwrap(), Some((9.0, 3_u64)));
    assert_eq!((mean.pop().unwrap(), mean.get().unwrap()), (Some(3.0), None));
    cache.set("mean", "text").unwrap();
    assert_eq!(kind_of(mean.add(1.0)), ErrorKind::Codec);
    assert_eq!(cache.get("mean").unwrap(), Some("text".to_owned()));
    assert_eq!(kind_of(Averager::new(&cache, f64::NAN).get()), ErrorKind::Key);
    let rolled_back = cache.transact(|_| {
        Averager::new(&cache, "inner").add(1.0)?;
        Err::<(), _>(Error::key("rolled back"))
    });
    assert!(rolled_back.is_err() && !cache.contains("inner").unwrap());
}

#[test]
fn a_mean_takes_finite_numbers_only_and_stays_finite() {
    let cache = cache();
    let mean = Averager::new(&cache, "mean");
    mean.add(2.0).unwrap();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = mean.add(value).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overflow);
        assert_eq!(error.path(), Some(cache.directory()));
    }
    assert_eq!(mean.get().unwrap(), Some(2.0));
    mean.add(f64::MAX).unwrap();
    mean.add(f64::MAX).unwrap();
    mean.add(-f64::MAX).unwrap();
    assert_eq!(mean.get().unwrap(), Some(0.0));
}

#[test]
fn a_throttle_is_shared_and_not_reset() {
    let cache = cache();
    let throttle = || Throttle::new(&cache, "name", 3, seconds(3600)).unwrap();
    let first = throttle();
    assert!((0..3).all(|_| first.try_acquire().unwrap()));
    assert!(!first.try_acquire().unwrap() && !throttle().try_acquire().unwrap());
    let other = Throttle::new(&cache, "another name", 3, seconds(3600)).unwrap();
    assert_eq!(other.call(|| 5).unwrap(), 5);
    for (count, per) in [(0, seconds(1)), (1, Duration::ZERO), (2, Duration::from_nanos(1))] {
        let refused = Throttle::new(&cache, "name", count, per);
        assert_eq!(kind_of(refused), ErrorKind::Setting);
    }
    assert_eq!(cache.len().unwrap(), 0);
}

#[test]
fn a_throttle_waits_its_turn() {
    let cache = cache();
    let throttle = Throttle::new(&cache, "name", 5, Duration::from_millis(250)).unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..5).for_each(|_| throttle.acquire().unwrap()));
        }
    });
    // Five at once, and ten more at fifty milliseconds each.
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
}

#[test]
fn times_without_end_are_waited_for() {
    let cache = cache();
    for (count, per) in [(1, Duration::MAX), (2, Duration::from_nanos(u64::MAX))] {
        let throttle = Throttle::new(&cache, ("ages", count), count, per).unwrap();
        for _ in 0..count {
            assert!(throttle.try_acquire().unwrap());
        }
        assert!(!throttle.try_acquire().unwrap());
    }
}

#[test]
fn the_longest_key_can_be_locked() {
    let cache = cache();
    let lock = Lock::new(&cache, "k".repeat(64 * 1024));
    let guard = lock.acquire().unwrap();
    assert!(!elsewhere(|| is_free(&lock)));
    drop(guard);
    assert!(is_free(&lock));
}
