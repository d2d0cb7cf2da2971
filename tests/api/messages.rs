//! Every message says what was tried, on what, and the cure.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use firncache::recipes::{Averager, BoundedSemaphore, Lock};
use firncache::{Cache, Deque, Error, ErrorKind, FanoutCache, PushOptions, SetOptions};

use crate::common::{cache, cache_with};

/// Looks at kind, path and cure of a failure.
#[track_caller]
fn fails<T>(result: Result<T, Error>, kind: ErrorKind, path: &Path, cure: &str) {
    let error = result.err().unwrap();
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(error.path().is_some_and(|it| it.starts_with(path)), "{text}");
    assert!(text.contains(cure), "{text}");
}

#[test]
fn what_cannot_be_opened_has_a_cure() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("file"), "text").unwrap();
    symlink(path("nowhere"), path("link")).unwrap();
    for name in ["file", "link", "file/below"] {
        fails(Cache::open(path(name)), ErrorKind::Io, &path(name), "name another directory");
    }
    let missing = || Cache::options().create(false).open(path("missing"));
    fails(missing(), ErrorKind::Io, &path("missing"), "create(true)");
    let missing = Cache::options().read_only(true).open(path("missing"));
    fails(missing, ErrorKind::Io, &path("missing"), "create(true)");
    fails(Cache::open(""), ErrorKind::Io, Path::new(""), "name another directory");
    let long = FanoutCache::open(path("fanout")).unwrap().cache(&"x".repeat(256));
    fails(long, ErrorKind::Io, &path("fanout"), "use a shorter name");
}

#[test]
fn a_directory_that_is_no_cache_is_not_to_be_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let (directory, link) = (place("directory"), place("link"));
    let (text, short) = (place("text"), place("short"));
    fs::create_dir(directory.join("head")).unwrap();
    symlink(dir.path().join("text/head"), link.join("head")).unwrap();
    fs::write(text.join("head"), "a stranger's ".repeat(10_000)).unwrap();
    fs::write(short.join("head"), "short, but longer than what a cache looks at first, ".repeat(3))
        .unwrap();
    for path in [directory, link, text, short] {
        for options in [Cache::options(), Cache::options().read_only(true)] {
            let error = options.open(&path).err().unwrap();
            let message = error.to_string();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{message}");
            assert_eq!(error.path(), Some(&*path.join("head")));
            assert!(message.contains("name another directory, or restore"), "{message}");
            assert!(!message.contains("delete") && !message.contains("repair"), "{message}");
        }
    }
}

#[test]
fn a_missing_log_file_is_mended_by_repair() {
    let cache = cache();
    cache.set("key", &1).unwrap();
    let path = cache.directory().to_owned();
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("log.") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let crate::common::Fixture { dir, cache, .. } = cache;
    drop(cache);
    let cache = Cache::open(&path).unwrap();
    let error = cache.set("key", &2).unwrap_err();
    assert_eq!(error.to_string().matches("run repair()").count(), 1, "{error}");
    fails(Err::<(), _>(error), ErrorKind::Corrupt, &path, "run repair()");
    cache.repair().unwrap();
    cache.set("key", &2).unwrap();
    assert_eq!(cache.get("key").unwrap(), Some(2));
    drop(dir);
}

#[test]
fn a_deleted_directory_is_named_with_a_cure() {
    let cache = cache();
    fs::remove_dir_all(cache.directory()).unwrap();
    let large = cache.set_bytes("large", &[1; 500_000]);
    fails(large, ErrorKind::Io, cache.directory(), "open it anew");
}

#[test]
fn errors_about_keys_and_values_name_the_directory() {
    let cache = cache_with(|options| options.codec(firncache::Json));
    let at = cache.directory();
    let (codec, key) = (ErrorKind::Codec, ErrorKind::Key);
    cache.set("text", "x").unwrap();
    cache.set("count", &1).unwrap();
    fails(cache.get::<u8>("text"), codec, at, "read it as that");
    fails(cache.get_entry::<u8>("text"), codec, at, "read it as that");
    fails(cache.pop::<u8>("text"), codec, at, "read it as that");
    fails(cache.peek_item::<u8>(firncache::Side::Front), codec, at, "read it as that");
    fails(cache.items::<u8>().next().unwrap(), codec, at, "read it as that");
    fails(cache.get_bytes("count"), codec, at, "use get()");
    fails(cache.reader("count"), codec, at, "use get()");
    fails(cache.get::<u8>(f64::NAN), key, at, "use another number");
    fails(cache.set(f64::NAN, &1), key, at, "use another number");
    fails(cache.set_many([(f64::NAN, 1)], SetOptions::new()), key, at, "use another number");
    let tagged = || SetOptions::new().tag(f64::NAN);
    fails(cache.set_with("key", &1, tagged()), key, at, "use another number");
    fails(cache.evict("x".repeat(70_000)), key, at, "at most 65535 are allowed");
    fails(Lock::new(&cache, f64::NAN).acquire(), key, at, "use another number");
    fails(Averager::new(&cache, f64::NAN).get(), key, at, "use another number");
    let unfit = std::collections::HashMap::from([((1, 2), 3)]);
    fails(cache.set("map", &unfit), codec, at, "store another type, or use another codec");
    let push = cache.push_with(&unfit, PushOptions::new());
    fails(push, codec, at, "store another type, or use another codec");
    cache.set("count", &i64::MAX).unwrap();
    fails(cache.incr("count", 1), ErrorKind::Overflow, at, "store a smaller one first");
    fails(cache.incr("text", 1), codec, at, "store an integer first");
    let fanout = FanoutCache::temporary().unwrap();
    fails(fanout.get::<u8>(f64::NAN), key, fanout.directory(), "use another number");
    fails(fanout.get_many::<u8>([f64::NAN]), key, fanout.directory(), "use another number");
}

#[test]
fn a_semaphore_does_not_send_to_a_lock() {
    let cache = cache();
    let two = BoundedSemaphore::new(&cache, "two", 2);
    let _held = (two.acquire().unwrap(), two.acquire().unwrap());
    let error = two.acquire().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("all permits") && !error.to_string().contains("RLock"));
    let lock = Lock::new(&cache, "lock");
    let _held = lock.acquire().unwrap();
    assert!(lock.acquire().unwrap_err().to_string().contains("use an RLock"));
}

#[test]
fn the_directory_of_shards_is_no_cache_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    drop(FanoutCache::options().shards(2).open(&path).unwrap());
    let setting = ErrorKind::Setting;
    for read_only in [false, true] {
        let options = Cache::options().read_only(read_only);
        fails(options.open(&path), setting, &path, "open it as such");
    }
    fails(Deque::<u8>::open(&path), setting, &path, "open it as such");
    assert!(!path.join("head").exists());
    // What is called like a shard, and is none, is in nobody's way.
    Cache::open(dir.path().join("000")).unwrap().set("key", &1).unwrap();
    assert_eq!(Cache::open(dir.path()).unwrap().len().unwrap(), 0);
}
