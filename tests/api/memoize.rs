use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use firncache::recipes::memoize_stampede;
use firncache::{Cache, ErrorKind, Key, MemoizeOptions, Memoized};

use crate::common::{cache, kind_of, seconds};

/// A function that counts its calls, memoized.
fn counted(cache: &Cache, name: &str) -> (Memoized<i64, i64>, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let own = Arc::clone(&calls);
    let square = move |number: &i64| {
        own.fetch_add(1, Ordering::Relaxed);
        number * number
    };
    (cache.memoize(name, MemoizeOptions::new(), square), calls)
}

#[test]
fn results_are_kept_by_name_and_arguments() {
    let cache = cache();
    let (square, calls) = counted(&cache, "square");
    assert_eq!((square.call(&3).unwrap(), square.call(&3).unwrap()), (9, 9));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!((square.call(&-3).unwrap(), square.clone().call(&-3).unwrap()), (9, 9));
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    let (other, other_calls) = counted(&cache, "another name");
    assert_eq!(other.call(&3).unwrap(), 9);
    assert_eq!(other_calls.load(Ordering::Relaxed), 1);
    let (again, again_calls) = counted(&cache.again(), "square");
    assert_eq!(again.call(&3).unwrap(), 9);
    assert_eq!(again_calls.load(Ordering::Relaxed), 0, "as if in another process");
}

#[test]
fn keys_are_those_of_the_items() {
    let cache = cache();
    let (square, calls) = counted(&cache, "square");
    square.call(&3).unwrap();
    let key = square.key(&3).unwrap();
    assert_eq!(cache.iter().next().unwrap().unwrap(), key);
    assert!(matches!(&key, Key::Tuple(parts) if parts[0] == Key::from("square")));
    assert_eq!(cache.get(&key).unwrap(), Some(9));
    assert!(square.invalidate(&3).unwrap() && !square.invalidate(&3).unwrap());
    square.call(&3).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[test]
fn equal_arguments_have_equal_keys_and_others_have_others() {
    let cache = cache();
    let by_map = |name: &str| {
        cache.memoize(name, MemoizeOptions::new(), |map: &HashMap<u32, u32>| map.len())
    };
    let (one, other): (HashMap<_, _>, HashMap<_, _>) =
        ((0..99).map(|at| (at, at)).collect(), (0..99).rev().map(|at| (at, at)).collect());
    assert_eq!(by_map("a").key(&one).unwrap(), by_map("a").key(&other).unwrap());
    assert_ne!(by_map("a").key(&one).unwrap(), by_map("b").key(&one).unwrap());
    let by_text =
        cache.memoize("text", MemoizeOptions::new(), |(a, b): &(String, String)| a.len() + b.len());
    let key = |a: &str, b: &str| by_text.key(&(a.to_owned(), b.to_owned())).unwrap();
    assert_ne!(key("ab", "c"), key("a", "bc"));
    let sorted: BTreeMap<Key, ()> = (0..2000).map(|len| (key(&"x".repeat(len), "y"), ())).collect();
    assert_eq!(sorted.len(), 2000, "also where a digest stands for long ones");
    assert_eq!(key(&"x".repeat(9000), ""), key(&"x".repeat(9000), ""));
    assert_ne!(key(&"x".repeat(9000), "y"), key(&"x".repeat(9001), ""));
}

#[test]
fn long_arguments_are_no_trouble() {
    let cache = cache();
    let length = cache.memoize("length", MemoizeOptions::new(), |text: &str| text.len());
    let long = "x".repeat(3 << 20);
    assert_eq!(length.call(&long).unwrap(), 3 << 20);
    assert_eq!(cache.get(length.key(&long).unwrap()).unwrap(), Some(3_u64 << 20));
    let named = cache.memoize(&long, MemoizeOptions::new(), |text: &str| text.len());
    assert_eq!(kind_of(named.call("a")), ErrorKind::Key);
}

#[test]
fn options_decide_what_is_kept_and_for_how_long() {
    let cache = cache();
    let options = MemoizeOptions::new()
        .expire(seconds(10))
        .tag("maths")
        .cache_if(|result: &Option<i32>| result.is_some());
    let calls = Arc::new(AtomicU32::new(0));
    let own = Arc::clone(&calls);
    let half = cache.memoize("half", options, move |number: &i32| {
        own.fetch_add(1, Ordering::Relaxed);
        (number % 2 == 0).then_some(number / 2)
    });
    let mut expected = 0;
    let mut call = |number, result, computes: bool| {
        assert_eq!(half.call(&number).unwrap(), result);
        expected += u32::from(computes);
        assert_eq!(calls.load(Ordering::Relaxed), expected, "{number}");
    };
    call(3, None, true);
    call(3, None, true);
    call(4, Some(2), true);
    call(4, Some(2), false);
    cache.time.turn(seconds(10));
    call(4, Some(2), true);
    assert_eq!(cache.evict("maths").unwrap(), 1);
    call(4, Some(2), true);
    assert_eq!(cache.len().unwrap(), 1);
}

#[test]
fn what_was_kept_as_another_type_is_an_error() {
    let cache = cache();
    cache.memoize("name", MemoizeOptions::new(), |n: &i32| n.to_string()).call(&1).unwrap();
    let other = cache.memoize("name", MemoizeOptions::new(), |n: &i32| *n);
    assert_eq!(kind_of(other.call(&1)), ErrorKind::Codec);
}

#[test]
fn one_call_computes_anew_before_the_end_while_others_go_on() {
    let cache = cache();
    let calls = Arc::new(AtomicU32::new(0));
    let own = Arc::clone(&calls);
    let slow = memoize_stampede(&cache, "slow", seconds(60), 1.0, move |(): &()| {
        std::thread::sleep(Duration::from_millis(100));
        own.fetch_add(1, Ordering::SeqCst) + 1
    });
    assert_eq!(slow.call(&()).unwrap(), 1);
    for _ in 0..100 {
        assert_eq!(slow.call(&()).unwrap(), 1, "a minute before the end");
    }
    // A millisecond is left, and computing takes a hundred: nearly every call draws a yes.
    cache.time.turn(seconds(60) - Duration::from_millis(1));
    let results: Vec<u32> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| slow.call(&()).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(calls.load(Ordering::SeqCst), 2, "{results:?}");
    assert!(results.contains(&2) && results.iter().all(|result| [1, 2].contains(result)));
    assert_eq!(slow.call(&()).unwrap(), 2);
    cache.time.turn(seconds(60));
    assert_eq!(slow.call(&()).unwrap(), 3, "it has expired");
}

#[test]
fn without_eagerness_nothing_is_computed_early() {
    let cache = cache();
    let calls = Arc::new(AtomicU32::new(0));
    for beta in [0.0, f64::NAN, -1.0] {
        calls.store(0, Ordering::Relaxed);
        let own = Arc::clone(&calls);
        let never = memoize_stampede(&cache, "never", seconds(60), beta, move |(): &()| {
            own.fetch_add(1, Ordering::Relaxed)
        });
        never.invalidate(&()).unwrap();
        never.call(&()).unwrap();
        cache.time.turn(seconds(60) - Duration::from_millis(1));
        (0..50).for_each(|_| _ = never.call(&()).unwrap());
        assert_eq!(calls.load(Ordering::Relaxed), 1, "{beta}");
        let plain = cache.memoize("never", MemoizeOptions::new(), |(): &()| 5);
        assert_eq!(plain.call(&()).unwrap(), 5, "another kind of result");
        cache.clear().unwrap();
    }
}

#[test]
fn an_early_computation_that_fails_to_begin_gives_the_old_result() {
    let cache = cache();
    let make = |cache: &Cache| memoize_stampede(cache, "f", seconds(60), 1e12, |(): &()| 1);
    assert_eq!(make(&cache).call(&()).unwrap(), 1);
    let reader = Cache::options().read_only(true).clock(cache.time.clock());
    let reader = make(&reader.open(cache.directory()).unwrap());
    assert_eq!(reader.call(&()).unwrap(), 1);
    cache.transact(|tx| make(tx).call(&())).unwrap();
}
