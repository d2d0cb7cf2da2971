use std::sync::mpsc;
use std::time::Duration;

use firncache::{Cache, Error, ErrorKind, Key, Result, SetOptions, Side};

use crate::common::{Fixture, cache, cache_with, keys, kind_of, seconds};

fn filled() -> Fixture {
    let cache = cache();
    cache.set("a", &1).unwrap();
    cache.set_bytes("large", &[5; 500_000]).unwrap();
    cache.set_with("tagged", &3, SetOptions::new().tag("t")).unwrap();
    cache
}

#[test]
fn a_commit_shows_everything_at_once() {
    let cache = filled();
    let other = cache.again();
    let (ask, asked) = mpsc::channel();
    let (answer, answered) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for () in asked {
                answer.send((other.get::<i32>("a").unwrap(), other.len().unwrap())).unwrap();
            }
        });
        cache
            .transact(|tx| {
                tx.set("a", &10)?;
                tx.set("b", &20)?;
                assert_eq!(tx.get("a")?, Some(10));
                assert_eq!(tx.len()?, 4);
                ask.send(()).unwrap();
                assert_eq!(answered.recv().unwrap(), (Some(1), 3));
                Ok::<_, Error>(())
            })
            .unwrap();
        ask.send(()).unwrap();
        assert_eq!(answered.recv().unwrap(), (Some(10), 4));
        drop(ask);
    });
}

#[test]
fn an_error_or_a_panic_or_a_drop_rolls_back() {
    let cache = filled();
    let change = |cache: &Cache| {
        cache.set("a", &2).unwrap();
        cache.delete("large").unwrap();
        cache.set_bytes("new", &[6; 600_000]).unwrap();
        cache.evict("t").unwrap();
        assert_eq!(cache.len().unwrap(), 2);
    };
    #[derive(Debug)]
    struct Own(#[expect(dead_code, reason = "shown when a test fails")] String);
    impl From<Error> for Own {
        fn from(error: Error) -> Own {
            Own(error.to_string())
        }
    }
    let result = cache.transact(|tx| {
        change(tx);
        Err::<(), _>(Own("no".into()))
    });
    assert!(result.is_err());
    let panicked = std::panic::catch_unwind(|| {
        cache.transact(|tx| -> Result<()> {
            change(tx);
            panic!("on purpose");
        })
    });
    assert!(panicked.is_err());
    let transaction = cache.begin().unwrap();
    change(&transaction);
    drop(transaction);
    assert_eq!(cache.get("a").unwrap(), Some(1));
    assert!(cache.get_bytes("large").unwrap().unwrap() == vec![5; 500_000]);
    assert_eq!(cache.get("tagged").unwrap(), Some(3));
    assert!(!cache.contains("new").unwrap());
    assert_eq!(cache.len().unwrap(), 3);
    assert!(cache.check().unwrap().is_clean(), "{}", cache.check().unwrap());
}

#[test]
fn large_values_are_read_back_inside() {
    let cache = filled();
    cache
        .transact(|tx| {
            tx.set_bytes("new", &[6; 600_000])?;
            assert!(tx.get_bytes("new")? == Some(vec![6; 600_000]));
            tx.set_bytes("large", &[7; 400_000])?;
            assert!(tx.get_bytes("large")? == Some(vec![7; 400_000]));
            assert!(tx.touch("large", Some(seconds(9)))?);
            assert!(tx.touch("new", Some(seconds(9)))?);
            assert!(tx.get_bytes("new")? == Some(vec![6; 600_000]));
            let found = tx.items::<serde_bytes::ByteBuf>().filter(|item| item.is_ok()).count();
            assert_eq!(found, 2);
            Ok::<_, Error>(())
        })
        .unwrap();
    assert!(cache.get_bytes("new").unwrap().unwrap() == vec![6; 600_000]);
    assert!(cache.get_bytes("large").unwrap().unwrap() == vec![7; 400_000]);
    assert!(cache.check().unwrap().is_clean(), "{}", cache.check().unwrap());
}

#[test]
fn every_operation_sees_the_transactions_own_writes() {
    let cache = filled();
    cache
        .transact(|tx| {
            tx.set_with("n", &5, SetOptions::new().tag("t").expire(seconds(5)))?;
            assert!(tx.contains("n")?);
            assert!(!tx.add("n", &6)?);
            assert_eq!(tx.incr("n", 1)?, 6);
            assert_eq!(tx.get_entry::<i32>("n")?.unwrap().tag, Some(Key::from("t")));
            assert_eq!(tx.get_many::<i32>(["n", "a"])?, [Some(6), Some(1)]);
            assert_eq!(keys(tx), ["a", "large", "tagged", "n"].map(Key::from));
            assert_eq!(tx.iter().rev().count(), 4);
            assert_eq!(tx.sorted_keys()?.count(), 4);
            assert_eq!(tx.peek_item::<i32>(Side::Back)?.unwrap().0, Key::from("n"));
            assert_eq!(tx.evict("t")?, 2);
            assert_eq!(tx.len()?, 2);
            assert_eq!(tx.pop::<i32>("a")?, Some(1));
            assert_eq!(tx.pop::<i32>("a")?, None);
            assert_eq!(tx.set_many([("x", 1), ("y", 2)], SetOptions::new())?, 2);
            assert_eq!(tx.delete_many(["x", "z"])?, 1);
            tx.set_with("gone", &1, SetOptions::new().expire(seconds(0)))?;
            assert_eq!(tx.get::<i32>("gone")?, None);
            assert_eq!(tx.expire()?, 1);
            assert_eq!(keys(tx), ["large", "y"].map(Key::from));
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(keys(&cache), ["large", "y"].map(Key::from));
    assert!(cache.check().unwrap().is_clean(), "{}", cache.check().unwrap());
}

#[test]
fn clear_can_be_rolled_back() {
    let cache = filled();
    let transaction = cache.begin().unwrap();
    transaction.set("new", &1).unwrap();
    assert_eq!(transaction.clear().unwrap(), 4);
    assert!(transaction.is_empty().unwrap());
    drop(transaction);
    assert_eq!(cache.len().unwrap(), 3);
    cache.transact(|tx| tx.clear()).unwrap();
    assert!(cache.is_empty().unwrap());
    assert!(cache.check().unwrap().is_clean());
}

#[test]
fn other_handles_of_the_same_thread_join() {
    let cache = filled();
    let other = cache.again();
    let transaction = cache.begin().unwrap();
    other.set("b", &2).unwrap();
    assert_eq!(other.get("b").unwrap(), Some(2));
    other.transact(|tx| tx.set("c", &3)).unwrap();
    drop(transaction);
    assert_eq!(cache.len().unwrap(), 3);
    let transaction = cache.begin().unwrap();
    other.set("b", &2).unwrap();
    transaction.commit().unwrap();
    assert_eq!(cache.get("b").unwrap(), Some(2));
}

#[test]
fn an_inner_failure_undoes_nothing_by_itself() {
    let cache = cache();
    cache
        .transact(|tx| {
            let inner: Result<()> = tx.transact(|tx| {
                tx.set("inner", &1)?;
                Err(Error::codec("on purpose"))
            });
            assert!(inner.is_err());
            tx.set("outer", &2)
        })
        .unwrap();
    assert_eq!((cache.get("inner").unwrap(), cache.get("outer").unwrap()), (Some(1), Some(2)));
}

#[test]
fn one_key_set_many_times_counts_once() {
    let cache = cache();
    cache
        .transact(|tx| {
            for number in 0..20_000 {
                tx.set("key", &number)?;
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!((cache.get("key").unwrap(), cache.len().unwrap()), (Some(19_999), 1));
    assert!(cache.check().unwrap().is_clean());
}

#[test]
fn large_transactions_work() {
    let cache = cache();
    cache.set_many((0..5_000).map(|key| (key, 0)), SetOptions::new()).unwrap();
    cache
        .transact(|tx| {
            for key in 0..20_000 {
                tx.set(key, &key)?;
            }
            for key in (0..20_000).step_by(3) {
                tx.delete(key)?;
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    assert!((0..20_000).all(|key| cache.get(key).unwrap() == (key % 3 != 0).then_some(key)));
    assert!(cache.check().unwrap().is_clean(), "{}", cache.check().unwrap());
}

#[test]
fn other_writers_wait_and_then_go_on() {
    let cache = cache_with(|options| options.timeout(seconds(10)));
    let other = cache.again();
    let transaction = cache.begin().unwrap();
    transaction.set("key", &1).unwrap();
    let thread = std::thread::spawn(move || other.incr("key", 1).unwrap());
    std::thread::sleep(Duration::from_millis(20));
    transaction.commit().unwrap();
    assert_eq!(thread.join().unwrap(), 2);
}

#[test]
fn what_cannot_be_part_of_a_transaction_says_so() {
    let cache = filled();
    let transaction = cache.begin().unwrap();
    let kinds = [
        kind_of(cache.check()),
        kind_of(cache.repair()),
        kind_of(cache.compact()),
        kind_of(cache.sync()),
        kind_of(cache.reset_stats()),
        kind_of(cache.again().close()),
        kind_of(cache.update_settings(|settings| settings.cull_limit = 3)),
    ];
    assert!(kinds.iter().all(|kind| *kind == ErrorKind::Unsupported), "{kinds:?}");
    transaction.set("still", &1).unwrap();
    transaction.commit().unwrap();
    assert_eq!(cache.get("still").unwrap(), Some(1));
    cache.check().unwrap();
}
