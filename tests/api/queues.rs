use std::collections::BTreeMap;
use std::time::Duration;

use firncache::{
    Cache, Error, ErrorKind, Eviction, Key, PushOptions, QueueOptions, Result, SetOptions, Side,
};
use quickcheck::{Arbitrary, Gen, quickcheck};

use crate::common::{Fixture, cache, cache_with, keys, kind_of, seconds};

const START: i64 = 500_000_000_000_000;
const LAST: i64 = 999_999_999_999_998;

fn back() -> PushOptions {
    PushOptions::new()
}

fn front() -> PushOptions {
    PushOptions::new().side(Side::Front)
}

fn of(prefix: &str) -> QueueOptions {
    QueueOptions::new().prefix(prefix)
}

#[track_caller]
fn pull(cache: &Cache, options: QueueOptions) -> Option<(Key, i64)> {
    cache.pull_with(options).unwrap().map(|(key, entry)| (key, entry.value))
}

#[track_caller]
fn pull_all(cache: &Cache, side: Side) -> Vec<i64> {
    let options = QueueOptions::new().side(side);
    std::iter::from_fn(|| pull(cache, options.clone())).map(|(_, value)| value).collect()
}

#[track_caller]
fn assert_clean(cache: &Cache) {
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
    assert_eq!(cache.delete("p-999999999999998").unwrap(), true);
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

/// What is done to two queues, one of integers and one of a prefix, and beside them.
#[derive(Clone, Debug)]
enum Step {
    Push {
        queue: u8,
        is_front: bool,
        expires: Option<u8>,
    },
    Pull {
        queue: u8,
        is_front: bool,
    },
    Peek {
        queue: u8,
        is_front: bool,
    },
    /// A key of the user's own, so far from the middle.
    Set {
        queue: u8,
        offset: i16,
        expires: Option<u8>,
    },
    Delete {
        queue: u8,
        offset: i16,
    },
    Turn(u8),
    Expire,
    Reopen,
    Repair,
    Clear,
    Transaction(Vec<Step>, bool),
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Step {
        let (queue, is_front) = (u8::arbitrary(g) % 2, bool::arbitrary(g));
        let expires = Some(u8::arbitrary(g) % 20).filter(|it| *it < 6);
        let offset = i16::arbitrary(g) % if bool::arbitrary(g) { 40 } else { 3000 };
        match u8::arbitrary(g) {
            0..90 => Step::Push { queue, is_front: is_front && bool::arbitrary(g), expires },
            90..170 => Step::Pull { queue, is_front: !is_front || bool::arbitrary(g) },
            170..190 => Step::Peek { queue, is_front },
            190..205 => Step::Set { queue, offset, expires },
            205..215 => Step::Delete { queue, offset },
            215..230 => Step::Turn(u8::arbitrary(g) % 4),
            230..233 => Step::Expire,
            233..238 => Step::Reopen,
            238..240 => Step::Repair,
            240..241 => Step::Clear,
            _ => {
                let parts = (0..u8::arbitrary(g) % 12).map(|_| Step::arbitrary(g));
                Step::Transaction(parts.filter(Step::can_be_inner).collect(), bool::arbitrary(g))
            }
        }
    }
}

impl Step {
    fn can_be_inner(&self) -> bool {
        !matches!(self, Step::Turn(_) | Step::Reopen | Step::Repair | Step::Transaction(..))
    }
}

/// Number to value and second of expiry, for each queue.
type Model = [BTreeMap<i64, (u64, u64)>; 2];

struct Trial {
    fixture: Fixture,
    cache: Cache,
    model: Model,
    second: u64,
    counter: u64,
}

fn item_key(queue: u8, number: i64) -> Key {
    if queue == 0 { Key::from(number) } else { Key::from(format!("q-{number:015}")) }
}

impl Trial {
    fn new() -> Trial {
        let fixture = cache_with(|options| options.cull_limit(0));
        let cache = fixture.cache.clone();
        Trial { fixture, cache, model: Model::default(), second: 0, counter: 0 }
    }

    fn expiry(&self, after: Option<u8>) -> u64 {
        after.map_or(u64::MAX, |after| self.second + u64::from(after))
    }

    fn run(&mut self, step: &Step) {
        self.counter += 1;
        let value = self.counter;
        match step {
            Step::Push { queue, is_front, expires } => {
                let items = &self.model[usize::from(*queue)];
                let end = if *is_front { items.first_key_value() } else { items.last_key_value() };
                let number =
                    end.map_or(START, |(end, _)| if *is_front { end - 1 } else { end + 1 });
                let mut options = if *is_front { front() } else { back() };
                if *queue == 1 {
                    options = options.prefix("q");
                }
                if let Some(after) = expires {
                    options = options.expire(seconds((*after).into()));
                }
                let key = self.cache.push_with(&value, options).unwrap();
                assert_eq!(key, item_key(*queue, number));
                let expires = self.expiry(*expires);
                self.model[usize::from(*queue)].insert(number, (value, expires));
            }
            Step::Pull { queue, is_front } => {
                let expected = self.end(*queue, *is_front, true);
                let found = self.cache.pull_with::<u64>(self.options(*queue, *is_front)).unwrap();
                assert_eq!(found.map(|(key, entry)| (key, entry.value)), expected);
            }
            Step::Peek { queue, is_front } => {
                let expected = self.end(*queue, *is_front, false);
                let found = self.cache.peek_with::<u64>(self.options(*queue, *is_front)).unwrap();
                assert_eq!(found.map(|(key, entry)| (key, entry.value)), expected);
                if self.cache.len().unwrap() != self.len() {
                    // Over many numbers a peek may remove what has expired.
                    self.forget_expired(*queue, *is_front);
                }
            }
            Step::Set { queue, offset, expires } => {
                let number = START + i64::from(*offset);
                let mut options = SetOptions::new();
                if let Some(after) = expires {
                    options = options.expire(seconds((*after).into()));
                }
                self.cache.set_with(item_key(*queue, number), &value, options).unwrap();
                let expires = self.expiry(*expires);
                self.model[usize::from(*queue)].insert(number, (value, expires));
            }
            Step::Delete { queue, offset } => {
                let number = START + i64::from(*offset);
                let items = &mut self.model[usize::from(*queue)];
                let is_live = items.get(&number).is_some_and(|(_, at)| *at > self.second);
                assert_eq!(self.cache.delete(item_key(*queue, number)).unwrap(), is_live);
                if is_live {
                    items.remove(&number);
                }
            }
            Step::Turn(by) => {
                self.second += u64::from(*by);
                self.fixture.time.turn(seconds((*by).into()));
            }
            Step::Expire => {
                let before = self.len();
                let second = self.second;
                self.model.iter_mut().for_each(|items| items.retain(|_, (_, at)| *at > second));
                assert_eq!(self.cache.expire().unwrap(), before - self.len());
            }
            Step::Reopen => self.cache = self.fixture.again(),
            Step::Repair => assert!(self.cache.repair().unwrap().is_clean()),
            Step::Clear => {
                assert_eq!(self.cache.clear().unwrap(), self.len());
                self.model = Model::default();
            }
            Step::Transaction(parts, is_committed) => {
                let before = self.model.clone();
                let cache = self.cache.clone();
                let transaction = cache.begin().unwrap();
                parts.iter().for_each(|part| self.run(part));
                if *is_committed {
                    transaction.commit().unwrap();
                } else {
                    drop(transaction);
                    self.model = before;
                }
            }
        }
        assert_eq!(self.cache.len().unwrap(), self.len());
    }

    fn options(&self, queue: u8, is_front: bool) -> QueueOptions {
        let options = QueueOptions::new().side(if is_front { Side::Front } else { Side::Back });
        if queue == 1 { options.prefix("q") } else { options }
    }

    fn end(&mut self, queue: u8, is_front: bool, is_taken: bool) -> Option<(Key, u64)> {
        let (second, items) = (self.second, &mut self.model[usize::from(queue)]);
        let mut numbers: Vec<i64> = items.keys().copied().collect();
        if !is_front {
            numbers.reverse();
        }
        for number in numbers {
            let (value, expires) = items[&number];
            if is_taken {
                items.remove(&number);
            }
            if expires > second {
                return Some((item_key(queue, number), value));
            }
        }
        None
    }

    fn forget_expired(&mut self, queue: u8, is_front: bool) {
        let (second, items) = (self.second, &mut self.model[usize::from(queue)]);
        loop {
            let end = if is_front { items.first_entry() } else { items.last_entry() };
            let Some(expired) = end.filter(|it| it.get().1 <= second) else { return };
            expired.remove();
        }
    }

    fn len(&self) -> u64 {
        self.model.iter().map(|items| items.len() as u64).sum()
    }

    fn finish(mut self) {
        assert_clean(&self.cache);
        let mut found = keys(&self.cache);
        found.sort();
        let expected = (0..2).flat_map(|queue| {
            self.model[usize::from(queue)].keys().map(move |number| item_key(queue, *number))
        });
        let mut expected: Vec<Key> = expected.collect();
        expected.sort();
        assert_eq!(found, expected);
        for queue in 0..2 {
            while !self.model[usize::from(queue)].is_empty() {
                self.run(&Step::Pull { queue, is_front: true });
            }
            self.run(&Step::Pull { queue, is_front: true });
            self.run(&Step::Push { queue, is_front: true, expires: None });
        }
    }
}

quickcheck! {
    fn queues_are_what_a_sorted_map_says(steps: Vec<Step>) -> bool {
        let mut trial = Trial::new();
        for step in steps.iter().chain(&steps).chain(&steps) {
            trial.run(step);
        }
        trial.finish();
        true
    }
}
