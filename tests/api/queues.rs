use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use firncache::{Cache, ErrorKind, Key, PushOptions, QueueOptions, Result, SetOptions, Side};

use crate::common::{cache, cache_with, keys, kind_of, seconds};

pub(crate) const START: i64 = 500_000_000_000_000;
pub(crate) const LAST: i64 = 999_999_999_999_998;

pub(crate) fn back() -> PushOptions {
    PushOptions::new()
}

pub(crate) fn front() -> PushOptions {
    PushOptions::new().side(Side::Front)
}

pub(crate) fn of(prefix: &str) -> QueueOptions {
    QueueOptions::new().prefix(prefix)
}

#[track_caller]
pub(crate) fn pull(cache: &Cache, options: QueueOptions) -> Option<(Key, i64)> {
    cache.pull_with(options).unwrap().map(|(key, entry)| (key, entry.value))
}

#[track_caller]
pub(crate) fn pull_all(cache: &Cache, side: Side) -> Vec<i64> {
    let options = QueueOptions::new().side(side);
    std::iter::from_fn(|| pull(cache, options.clone())).map(|(_, value)| value).collect()
}

#[track_caller]
pub(crate) fn assert_clean(cache: &Cache) {
    let report = cache.check().unwrap();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn items_come_out_in_the_order_they_went_in() {
    let cache = cache();
    for value in 0..100 {
        assert_eq!(cache.push(&value).unwrap(), Key::from(START + value));
    }
    assert_eq!(cache.len().unwrap(), 100);
    for value in 0..100 {
        assert_eq!(cache.pull().unwrap(), Some((Key::from(START + value), value)));
    }
    assert_eq!(cache.pull::<i64>().unwrap(), None);
    assert!(cache.is_empty().unwrap());
    assert_clean(&cache);
}

#[test]
fn both_sides_can_be_pushed_and_pulled() {
    let cache = cache();
    assert_eq!(cache.push_with(&0, front()).unwrap(), Key::from(START));
    assert_eq!(cache.push_with(&-1, front()).unwrap(), Key::from(START - 1));
    assert_eq!(cache.push_with(&1, back()).unwrap(), Key::from(START + 1));
    let last = QueueOptions::new().side(Side::Back);
    assert_eq!(pull(&cache, last.clone()), Some((Key::from(START + 1), 1)));
    assert_eq!(pull(&cache, QueueOptions::new()), Some((Key::from(START - 1), -1)));
    assert_eq!(pull(&cache, last), Some((Key::from(START), 0)));
}

#[test]
fn an_emptied_queue_starts_again_in_the_middle() {
    let cache = cache();
    for emptied in 0..4 {
        for value in 0..30 {
            let options = if emptied % 2 == 0 { back() } else { front() };
            cache.push_with(&value, options).unwrap();
        }
        match emptied {
            0 => assert_eq!(pull_all(&cache, Side::Front).len(), 30),
            1 => assert_eq!(pull_all(&cache, Side::Back).len(), 30),
            2 => assert_eq!(cache.delete_many(keys(&cache)).unwrap(), 30),
            _ => assert_eq!(cache.clear().unwrap(), 30),
        }
        assert_eq!(cache.push(&0).unwrap(), Key::from(START), "{emptied}");
        assert_eq!(cache.pull().unwrap(), Some((Key::from(START), 0)));
    }
}

#[test]
fn peeking_leaves_the_item() {
    let cache = cache();
    assert_eq!(cache.peek::<i64>().unwrap(), None);
    cache.push(&1).unwrap();
    cache.push(&2).unwrap();
    for _ in 0..3 {
        assert_eq!(cache.peek().unwrap(), Some((Key::from(START), 1)));
        let last = cache.peek_with::<i64>(QueueOptions::new().side(Side::Back)).unwrap().unwrap();
        assert_eq!((last.0, last.1.value), (Key::from(START + 1), 2));
    }
    assert_eq!(cache.len().unwrap(), 2);
}

#[test]
fn an_item_has_its_expiry_tag_and_time() {
    let cache = cache();
    let options = PushOptions::new().prefix("p").expire(seconds(60)).tag("label");
    cache.push_with("value", options).unwrap();
    let (_, seen) = cache.peek_with::<String>(of("p")).unwrap().unwrap();
    let (key, entry) = cache.pull_with::<String>(of("p")).unwrap().unwrap();
    assert_eq!(seen, entry);
    assert_eq!((key, entry.value), (Key::from("p-500000000000000"), "value".to_owned()));
    assert_eq!(entry.tag, Some(Key::from("label")));
    assert_eq!(entry.expires_at, Some(cache.time.now() + seconds(60)));
    assert_eq!(entry.stored_at, cache.time.now());
    let at = cache.time.now() + seconds(5);
    cache.push_with(&1, back().expire_at(at).tag("x")).unwrap();
    assert_eq!(cache.get_entry::<i64>(START).unwrap().unwrap().expires_at, Some(at));
    assert_eq!(cache.evict("x").unwrap(), 1);
    assert_eq!(cache.pull::<i64>().unwrap(), None);
}

#[test]
fn prefixes_do_not_see_each_other() {
    let cache = cache();
    for prefix in ["x", "x-2", "", "x-2-3"] {
        let key = cache.push_with(prefix, PushOptions::new().prefix(prefix)).unwrap();
        assert_eq!(key, Key::from(format!("{prefix}-500000000000000")));
    }
    cache.push("none").unwrap();
    for prefix in ["x-2-3", "x", "", "x-2"] {
        let (_, entry) = cache.pull_with::<String>(of(prefix)).unwrap().unwrap();
        assert_eq!(entry.value, prefix);
        assert!(cache.pull_with::<String>(of(prefix)).unwrap().is_none());
    }
    assert_eq!(cache.pull::<String>().unwrap().unwrap().1, "none");
    assert!(cache.is_empty().unwrap());
}

#[test]
fn keys_of_another_form_are_no_items() {
    let cache = cache();
    let others = ["p-5abc", "p-50000000000000", "p-5000000000000000", "p_500000000000001", "p-"];
    for key in others {
        cache.set(key, &1).unwrap();
    }
    cache.set("p-000000000000000", &1).unwrap();
    cache.set("p-999999999999999", &1).unwrap();
    assert!(cache.pull_with::<i64>(of("p")).unwrap().is_none());
    let key = cache.push_with(&2, PushOptions::new().prefix("p")).unwrap();
    assert_eq!(key, Key::from("p-500000000000000"));
    for key in [0, -5, LAST + 1, i64::MAX] {
        cache.set(key, &1).unwrap();
    }
    for key in [7.5, 0.5, 1e300] {
        cache.set(key, &1).unwrap();
    }
    cache.set(b"5", &1).unwrap();
    cache.set((5,), &1).unwrap();
    assert_eq!(cache.push(&2).unwrap(), Key::from(START));
    assert_eq!(cache.pull().unwrap(), Some((Key::from(START), 2)));
    assert_eq!(cache.pull::<i64>().unwrap(), None);
}

#[test]
fn keys_of_the_users_own_are_items() {
    for is_used_before in [false, true] {
        let cache = cache();
        if is_used_before {
            cache.push(&0).unwrap();
            cache.pull::<i64>().unwrap();
        }
        cache.set(5, &50).unwrap();
        assert_eq!(cache.push(&60).unwrap(), Key::from(6));
        cache.add(9.0, &90).unwrap();
        assert_eq!(cache.push(&100).unwrap(), Key::from(10));
        assert_eq!(cache.push_with(&40, front()).unwrap(), Key::from(4));
        assert_eq!(pull_all(&cache, Side::Front), [40, 50, 60, 90, 100]);
    }
}

#[test]
fn every_way_of_storing_a_key_is_seen_by_its_queue() {
    type Store = fn(&Cache, i64) -> Result<()>;
    let ways: [Store; 8] = [
        |cache, key| cache.set(key, &7),
        |cache, key| cache.add(key, &7).map(drop),
        |cache, key| cache.incr(key, 7).map(drop),
        |cache, key| cache.set_many([(key, 7)], SetOptions::new()).map(drop),
        |cache, key| cache.transact(|tx| tx.set(key, &7)),
        |cache, key| cache.set_bytes(key, b"7"),
        |cache, key| cache.set_from(key, &b"7"[..], SetOptions::new()).map(drop),
        |cache, key| {
            cache.set_from(key, std::io::repeat(7).take_some(), SetOptions::new()).map(drop)
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let cache = cache();
        cache.push(&0).unwrap();
        for key in [START + 1000, START - 1000, LAST, 1] {
            way(&cache, key).unwrap();
            let outermost =
                QueueOptions::new().side(if key > START { Side::Back } else { Side::Front });
            let found = match cache.pull_with::<i64>(outermost.clone()) {
                Ok(found) => found.unwrap().0,
                // Bytes: no integer, and left where they are.
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Codec);
                    assert!(cache.delete(key).unwrap(), "way {number}");
                    continue;
                }
            };
            assert_eq!(found, Key::from(key), "way {number}");
        }
        assert_eq!(cache.pull().unwrap(), Some((Key::from(START), 0)), "way {number}");
    }
}

trait TakeSome: std::io::Read + Sized {
    /// So much that it goes to a file.
    fn take_some(self) -> std::io::Take<Self> {
        self.take(300_000)
    }
}

impl TakeSome for std::io::Repeat {}

#[test]
fn at_the_ceiling_nothing_is_pushed_and_nothing_lost() {
    let cache = cache();
    cache.set(LAST, &1).unwrap();
    let error = cache.push(&2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overflow);
    assert!(error.to_string().contains("push to the other side"), "{error}");
    assert_eq!(cache.push_with(&0, front()).unwrap(), Key::from(LAST - 1));
    cache.set(1, &-1).unwrap();
    assert_eq!(kind_of(cache.push_with(&3, front())), ErrorKind::Overflow);
    assert_eq!(kind_of(cache.push(&3)), ErrorKind::Overflow);
    assert_eq!(kind_of(cache.transact(|tx| tx.push(&3).map(drop))), ErrorKind::Overflow);
    let options = PushOptions::new().prefix("p");
    cache.set("p-999999999999998", &1).unwrap();
    let error = cache.push_with(&2, options.clone()).unwrap_err();
    assert!(error.to_string().contains("\"p-999999999999998\""), "{error}");
    assert!(cache.delete("p-999999999999998").unwrap());
    assert_eq!(cache.push_with(&2, options).unwrap(), Key::from("p-500000000000000"));
    assert_eq!(pull_all(&cache, Side::Front), [-1, 0, 1]);
    assert_eq!(cache.push(&0).unwrap(), Key::from(START));
}

#[test]
fn expired_items_are_passed_and_removed() {
    let cache = cache_with(|options| options.cull_limit(0));
    let soon = || back().expire(seconds(5));
    for value in 0..10 {
        cache.push_with(&value, if value % 3 == 2 { back() } else { soon() }).unwrap();
    }
    cache.time.turn(seconds(5));
    assert_eq!(cache.peek::<i64>().unwrap(), Some((Key::from(START + 2), 2)));
    assert_eq!(cache.len().unwrap(), 10);
    assert_eq!(cache.pull().unwrap(), Some((Key::from(START + 2), 2)));
    assert_eq!(cache.len().unwrap(), 7);
    let last = QueueOptions::new().side(Side::Back);
    assert_eq!(pull(&cache, last.clone()), Some((Key::from(START + 8), 8)));
    assert_eq!(cache.len().unwrap(), 5);
    // An expired one still has its number.
    cache.push_with(&11, soon()).unwrap();
    cache.time.turn(seconds(5));
    assert_eq!(cache.push(&12).unwrap(), Key::from(START + 9));
    assert_eq!(pull(&cache, last), Some((Key::from(START + 9), 12)));
    assert_eq!(cache.pull().unwrap(), Some((Key::from(START + 5), 5)));
    assert_eq!(cache.pull::<i64>().unwrap(), None);
    assert_eq!((cache.len().unwrap(), cache.stats().unwrap().expirations), (0, 8));
    assert_eq!(cache.push(&0).unwrap(), Key::from(START));
    assert_clean(&cache);
}

#[test]
fn runs_swept_away_in_the_middle_are_passed() {
    let cache = cache_with(|options| options.cull_limit(0));
    for value in 0..6000 {
        let is_kept = value % 3000 < 10 || value == 5999;
        let options = if is_kept { back() } else { back().expire(seconds(5)) };
        cache.push_with(&value, options).unwrap();
    }
    cache.time.turn(seconds(6));
    assert_eq!(cache.expire().unwrap(), 6000 - 21);
    assert_eq!(cache.push(&6000).unwrap(), Key::from(START + 6000));
    let expected = (0..10).chain(3000..3010).chain([5999, 6000]);
    assert_eq!(pull_all(&cache, Side::Front), expected.collect::<Vec<_>>());
}

#[test]
fn a_far_key_that_was_deleted_does_not_hold_pulls_up() {
    let cache = cache();
    cache.push(&1).unwrap();
    for key in [1, LAST] {
        cache.set(key, &0).unwrap();
        assert!(cache.delete(key).unwrap());
    }
    assert_eq!(cache.peek().unwrap(), Some((Key::from(START), 1)));
    assert_eq!(cache.push(&2).unwrap(), Key::from(START + 1));
    assert_eq!(cache.push_with(&0, front()).unwrap(), Key::from(START - 1));
    assert_eq!(pull_all(&cache, Side::Back), [2, 1, 0]);
}

#[test]
fn a_queue_that_is_never_empty_is_never_seen_empty() {
    let dir = tempfile::tempdir().unwrap();
    let other = Cache::open(dir.path()).unwrap();
    for number in 0..3 {
        other.push_with(&number, back().expire(seconds(3600))).unwrap();
    }
    other.push(&3).unwrap();
    assert!(other.pull::<i32>().unwrap().is_some() && other.pull::<i32>().unwrap().is_some());
    // When a look asks for the time, to find the first of the two items expired, another one comes
    // behind it, where one had been, and the last one goes.
    let (meanwhile, is_due) = (other.clone(), Arc::new(AtomicBool::new(false)));
    let clock = {
        let is_due = Arc::clone(&is_due);
        move || {
            if is_due.swap(false, Ordering::Relaxed) {
                meanwhile.push_with(&4, front()).unwrap();
                let last = meanwhile.pull_with::<i32>(QueueOptions::new().side(Side::Back));
                assert_eq!(last.unwrap().unwrap().1.value, 3);
            }
            SystemTime::now() + seconds(7200)
        }
    };
    let cache = Cache::options().clock(clock).open(dir.path()).unwrap();
    is_due.store(true, Ordering::Relaxed);
    assert_eq!(cache.peek::<i32>().unwrap().unwrap().1, 4);
    assert!(!is_due.load(Ordering::Relaxed));
}

#[test]
fn the_first_thing_that_a_cache_is_used_for_can_be_a_push_inside_a_transaction() {
    let cache = cache();
    cache.transact(|tx| tx.push("first").map(|_| ())).unwrap();
    assert_eq!(cache.pull::<String>().unwrap().unwrap().1, "first");
}
