//! What memoized functions do: when they compute, what their keys are, what happens to errors.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::error::Error;
use std::pin::pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use firncache::{Cache, Key, memoize};

static SHARED: LazyLock<Cache> = LazyLock::new(|| Cache::temporary().unwrap());

/// The only key of a cache.
fn only_key(cache: &Cache) -> Key {
    let keys: Vec<Key> = cache.iter().map(Result::unwrap).collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
    keys[0].clone()
}

/// Runs a future that never waits.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn a_function_computes_once_for_each_of_its_arguments() {
    static CALLS: AtomicU32 = AtomicU32::new(0);

    #[memoize(cache = SHARED)]
    fn repeated(text: &str, mut times: u8) -> firncache::Result<String> {
        CALLS.fetch_add(1, Ordering::Relaxed);
        let mut whole = String::new();
        while times > 0 {
            whole.push_str(text);
            times -= 1;
        }
        Ok(whole)
    }

    for _ in 0..3 {
        assert_eq!(repeated("ab", 2).unwrap(), "abab");
        assert_eq!(repeated("ab", 3).unwrap(), "ababab");
    }
    assert_eq!(CALLS.load(Ordering::Relaxed), 2);
}

#[test]
fn the_key_is_the_path_and_the_arguments() {
    #[memoize(cache = cache, key = count)]
    fn named(cache: &Cache, count: u8) -> firncache::Result<u8> {
        Ok(count)
    }

    #[memoize(cache = *CACHE, name = "doubled")]
    fn doubled(count: u8, _more: (bool, Option<String>)) -> firncache::Result<u8> {
        Ok(count * 2)
    }

    static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::temporary().unwrap());
    let cache = Cache::temporary().unwrap();
    assert_eq!(named(&cache, 3).unwrap(), 3);
    let Key::Tuple(parts) = only_key(&cache) else { panic!("a tuple") };
    let path = "memoize::the_key_is_the_path_and_the_arguments::named";
    assert_eq!(parts, [Key::from(path), Key::from(3)]);

    assert_eq!(doubled(3, (true, None)).unwrap(), 6);
    assert_eq!(only_key(&CACHE), Key::from(("doubled", (3, (true, ())))));
}

#[test]
fn errors_are_not_kept() {
    #[memoize(cache = cache, key = (), cache_if = |count| *count > 2)]
    fn counted(cache: &Cache, count: &Cell<u32>) -> Result<u32, Box<dyn Error>> {
        count.set(count.get() + 1);
        if count.get() == 1 {
            "no number".parse::<u32>()?;
        }
        Ok(count.get())
    }

    let (cache, count) = (Cache::temporary().unwrap(), Cell::new(0));
    assert!(counted(&cache, &count).is_err());
    assert!(cache.is_empty().unwrap());
    assert_eq!(counted(&cache, &count).unwrap(), 2);
    assert!(cache.is_empty().unwrap(), "2 is not to be kept");
    for _ in 0..3 {
        assert_eq!(counted(&cache, &count).unwrap(), 3);
    }
}

#[test]
fn a_cache_that_fails_is_an_error_or_no_cache() {
    #[memoize(cache = cache, key = key)]
    fn strict(cache: &Cache, key: f64) -> firncache::Result<u8> {
        Ok(1)
    }

    #[memoize(cache = cache, key = key)]
    fn lenient(cache: &Cache, key: f64, calls: &Cell<u32>) -> u8 {
        calls.set(calls.get() + 1);
        2
    }

    let cache = Cache::temporary().unwrap();
    let read_only = Cache::options().read_only(true).open(cache.directory()).unwrap();
    let calls = Cell::new(0);
    assert_eq!(strict(&read_only, 1.0).unwrap_err().kind(), firncache::ErrorKind::ReadOnly);
    assert_eq!(strict(&cache, f64::NAN).unwrap_err().kind(), firncache::ErrorKind::Key);
    assert_eq!(lenient(&cache, f64::NAN, &calls), 2);
    assert_eq!(lenient(&read_only, 1.0, &calls), 2);
    assert_eq!(calls.get(), 2);
    assert!(cache.is_empty().unwrap());

    assert_eq!(lenient(&cache, 1.0, &calls), 2);
    assert_eq!(lenient(&read_only, 1.0, &calls), 2);
    assert_eq!(calls.get(), 3);
}

#[test]
fn plain_results_are_kept() {
    #[memoize(cache = cache, key = number, cache_if = Option::is_some)]
    fn half(cache: &Cache, number: u32, calls: &Cell<u32>) -> Option<u32> {
        calls.set(calls.get() + 1);
        if number % 2 == 1 {
            return None;
        }
        Some(number / 2)
    }

    #[memoize(cache = cache, key = ())]
    fn done(cache: &Cache, calls: &Cell<u32>) {
        calls.set(calls.get() + 1);
    }

    let (cache, calls) = (Cache::temporary().unwrap(), Cell::new(0));
    for _ in 0..3 {
        assert_eq!(half(&cache, 8, &calls), Some(4));
    }
    assert_eq!(calls.get(), 1);
    for _ in 0..3 {
        assert_eq!(half(&cache, 7, &calls), None);
    }
    assert_eq!(calls.get(), 4);
    for _ in 0..3 {
        done(&cache, &calls);
    }
    assert_eq!(calls.get(), 5);
}

#[test]
fn arguments_may_be_moved_and_functions_generic() {
    #[memoize(cache = SHARED)]
    fn consumed<T: firncache::ToKey + ToString>(text: String, it: T) -> firncache::Result<Vec<u8>> {
        let mut bytes = text.into_bytes();
        bytes.extend(it.to_string().into_bytes());
        Ok(bytes)
    }

    for _ in 0..2 {
        assert_eq!(consumed("a".into(), 1_u8).unwrap(), b"a1");
        // 1 and 1.0 are one key, but these are two functions.
        assert_eq!(consumed("a".into(), 1.0_f64).unwrap(), b"a1");
        assert_eq!(consumed("a".into(), true).unwrap(), b"atrue");
    }
    let ours = |key: &Key| key.to_string().contains("functions_generic::consumed");
    assert_eq!(SHARED.iter().map(Result::unwrap).filter(ours).count(), 3);
}

struct One(Cache);
struct Other(Cache);

impl One {
    #[memoize(cache = self.0, key = (number,))]
    fn name(&self, number: u8) -> firncache::Result<String> {
        Ok(format!("one {number}"))
    }
}

impl Other {
    #[memoize(cache = self.0, key = (number,))]
    fn name(&self, number: u8) -> firncache::Result<String> {
        Ok(format!("other {number}"))
    }

    #[memoize(cache = self.0.clone(), key = ())]
    fn renamed(&mut self) -> firncache::Result<u8> {
        self.0 = Cache::temporary()?;
        Ok(1)
    }
}

#[test]
fn methods_of_one_name_do_not_meet() {
    let cache = Cache::temporary().unwrap();
    let (one, mut other) = (One(cache.clone()), Other(cache.clone()));
    for _ in 0..2 {
        assert_eq!(one.name(1).unwrap(), "one 1");
        assert_eq!(other.name(1).unwrap(), "other 1");
    }
    assert_eq!(cache.len().unwrap(), 2);
    assert_eq!(other.renamed().unwrap(), 1);
}

#[test]
fn expiry_and_tags_are_those_of_the_call() {
    const HOUR: Duration = Duration::from_secs(3600);

    #[memoize(cache = cache, key = number, expire = "90m", tag = ("numbers", number))]
    fn literal(cache: &Cache, number: u8) -> firncache::Result<u8> {
        Ok(number)
    }

    #[memoize(cache = cache, key = number, expire = HOUR * u32::from(number), name = "it")]
    fn expression(cache: &Cache, number: u8) -> firncache::Result<u8> {
        Ok(number)
    }

    let cache = Cache::temporary().unwrap();
    let left = || {
        let entry = cache.get_entry::<u8>(only_key(&cache)).unwrap().unwrap();
        entry.expires_at.unwrap().duration_since(entry.stored_at).unwrap()
    };
    literal(&cache, 1).unwrap();
    assert_eq!(left(), HOUR * 3 / 2);
    assert_eq!(cache.evict(("numbers", 2)).unwrap(), 0);
    assert_eq!(cache.evict(("numbers", 1)).unwrap(), 1);
    expression(&cache, 5).unwrap();
    assert_eq!(left(), HOUR * 5);
}

#[test]
fn async_functions_look_compute_and_store() {
    static CALLS: AtomicU32 = AtomicU32::new(0);

    #[memoize(cache = SHARED, expire = "1h")]
    async fn fallible(text: String) -> Result<usize, Box<dyn Error + Send + Sync>> {
        CALLS.fetch_add(1, Ordering::Relaxed);
        let number = std::future::ready(text.parse::<usize>()).await?;
        drop(text);
        Ok(number)
    }

    #[memoize(cache = cache, key = key, cache_if = |it: &u8| *it < 3)]
    async fn plain(cache: &Cache, key: f64, calls: &AtomicU32) -> u8 {
        if calls.fetch_add(1, Ordering::Relaxed) > 100 {
            return 0;
        }
        std::future::ready(key as u8).await
    }

    fn is_send<T: Send>(it: T) -> T {
        it
    }

    for _ in 0..3 {
        assert_eq!(now(is_send(fallible("7".into()))).unwrap(), 7);
    }
    assert_eq!(CALLS.load(Ordering::Relaxed), 1);
    for _ in 0..2 {
        assert!(now(fallible("seven".into())).is_err());
    }
    assert_eq!(CALLS.load(Ordering::Relaxed), 3);

    let (cache, calls) = (Cache::temporary().unwrap(), AtomicU32::new(0));
    for (key, expected) in [(2.0, 1), (2.0, 1), (4.0, 2), (4.0, 3), (f64::NAN, 4), (f64::NAN, 5)] {
        now(is_send(plain(&cache, key, &calls)));
        assert_eq!(calls.load(Ordering::Relaxed), expected, "{key}");
    }
}

#[test]
fn names_inside_and_outside_do_not_meet() {
    #[memoize(cache = key, key = (options, name))]
    fn confusing(key: &Cache, options: u8, name: &str) -> firncache::Result<String> {
        let (cache, found, computing) = (1, 2, 3);
        Ok(format!("{options} {name} {cache} {found} {computing}"))
    }

    #[memoize(cache = found, key = computing)]
    fn more(found: &Cache, computing: u8) -> u8 {
        computing
    }

    let cache = Cache::temporary().unwrap();
    assert_eq!(confusing(&cache, 0, "x").unwrap(), "0 x 1 2 3");
    assert_eq!(more(&cache, 5), 5);
    assert_eq!(cache.len().unwrap(), 2);
}
