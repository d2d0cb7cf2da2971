use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use firncache::recipes::Lock;
use firncache::{Cache, Deque, ErrorKind, Result, SetOptions};
use serde_bytes::ByteBuf;

use crate::common::{cache, cache_with, keys};

#[test]
fn a_new_cache_is_small_and_clean() {
    let cache = cache();
    assert!(cache.check().unwrap().is_clean());
    cache.set("key", &1).unwrap();
    assert!(cache.disk_usage().unwrap() <= 128 * 1024, "{}", cache.disk_usage().unwrap());
    assert!(cache.check().unwrap().findings().is_empty());
}

#[test]
fn clear_removes_everything_and_the_cache_goes_on() {
    let cache = cache();
    for round in 0..3 {
        cache.set_many((0..500).map(|key| (key, key)), SetOptions::new()).unwrap();
        cache.set_bytes("large", &[1; 400_000]).unwrap();
        assert_eq!(cache.clear().unwrap(), 501, "{round}");
        assert_eq!((cache.len().unwrap(), keys(&cache).len()), (0, 0));
        assert_eq!(cache.get::<i32>(1).unwrap(), None);
    }
    assert!(cache.check().unwrap().is_clean(), "{}", cache.check().unwrap());
}

#[test]
fn compaction_gives_space_back() {
    let cache = cache();
    for round in 0..20 {
        for key in 0..200 {
            cache.set_bytes(key, &[round; 5000]).unwrap();
        }
    }
    for key in 0..190 {
        cache.delete(key).unwrap();
    }
    cache.compact().unwrap();
    let used = cache.disk_usage().unwrap();
    assert!(used < 600_000, "{used}");
    assert!((190..200).all(|key| cache.get_bytes(key).unwrap().unwrap() == [19; 5000]));
    assert!(cache.check().unwrap().is_clean());
}

/// `compact()` leaves an eighth of what is live, two segments, and the table.
#[test]
fn compaction_leaves_little_that_is_dead() {
    let cache = cache();
    for round in 0..3 {
        for key in 0..4000 {
            cache.set_bytes(key, &[round; 500]).unwrap();
        }
    }
    let before = cache.disk_usage().unwrap();
    cache.compact().unwrap();
    let (after, live) = (cache.disk_usage().unwrap(), cache.volume().unwrap());
    assert!(before > live + live / 2, "{before} for {live}: nothing to give back");
    assert!(after < live + live / 4 + 512 * 1024, "{after} for {live}");
    cache.compact().unwrap();
    assert_eq!(cache.disk_usage().unwrap(), after, "there is nothing more to do");
    assert!((0..4000).all(|key| cache.get_bytes(key).unwrap().unwrap() == [2; 500]));
}

/// What was found is said, though the rebuild that mends it does not meet it.
#[test]
fn repair_says_what_was_lost() {
    let without_log = |path: &Path| fs::remove_file(path.join("log.0000001")).unwrap();
    let without_counters = |path: &Path| {
        let head = fs::OpenOptions::new().write(true).open(path.join("head")).unwrap();
        // The number of keys, in both blocks of the state.
        head.write_all_at(&[0xff; 8], 1536).unwrap();
        head.write_all_at(&[0xff; 8], 1792).unwrap();
    };
    for (is_log_gone, kept) in [(true, 0), (false, 100)] {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        (0..100).for_each(|key| cache.set(key, &key).unwrap());
        drop(cache);
        if is_log_gone {
            without_log(dir.path());
        } else {
            without_counters(dir.path());
        }
        let cache = Cache::open(dir.path()).unwrap();
        assert!(!cache.repair().unwrap().is_clean(), "{kept} are kept");
        assert_eq!(cache.check().unwrap().findings(), []);
        assert_eq!(cache.len().unwrap(), kept);
    }
}

/// A file of the table that cannot be opened does not keep the table from being made anew.
#[test]
fn repair_needs_no_table() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    (0..100).for_each(|key| cache.set(key, &key).unwrap());
    drop(cache);
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|it| name(it.unwrap())).collect();
    for name in names.iter().filter(|it| it.starts_with("table.") || it.starts_with("entries.")) {
        fs::remove_file(dir.path().join(name)).unwrap();
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    let cache = Cache::open(dir.path()).unwrap();
    cache.repair().unwrap();
    assert_eq!(cache.check().unwrap().findings(), []);
    assert!((0..100).all(|key| cache.get(key).unwrap() == Some(key)));
}

/// `sync()` waits for the lock as long as the handle says, and no longer.
#[test]
fn sync_has_the_timeout_of_its_handle() {
    let cache = cache();
    cache.set("key", &1).unwrap();
    let hasty = Cache::options().timeout(std::time::Duration::from_millis(1));
    let hasty = hasty.open(cache.directory()).unwrap();
    let held = cache.begin().unwrap();
    let refused = std::thread::scope(|scope| scope.spawn(|| hasty.sync()).join().unwrap());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Timeout);
    drop(held);
    hasty.sync().unwrap();
}

#[test]
fn sync_and_repair_keep_everything() {
    let cache = cache();
    for key in 0..300 {
        cache.set(key, &key).unwrap();
    }
    cache.set_bytes("large", &[1; 400_000]).unwrap();
    cache.sync().unwrap();
    cache.sync().unwrap();
    assert!(cache.repair().unwrap().is_clean());
    assert!((0..300).all(|key| cache.get(key).unwrap() == Some(key)));
    assert_eq!(cache.len().unwrap(), 301);
    assert!(cache.check().unwrap().is_clean());
}

#[test]
fn a_closed_directory_can_be_copied() {
    let cache = cache();
    for key in 0..100 {
        cache.set(key, &key).unwrap();
    }
    cache.set_bytes("large", &[1; 400_000]).unwrap();
    cache.sync().unwrap();
    let from = cache.directory().to_path_buf();
    let to = cache.dir.path().join("copy");
    cache.cache.close().unwrap();
    copy(&from, &to);
    let copy = Cache::open(&to).unwrap();
    assert!((0..100).all(|key| copy.get(key).unwrap() == Some(key)));
    assert_eq!(copy.get_bytes("large").unwrap().unwrap().len(), 400_000);
    copy.set("new", &1).unwrap();
    assert!(copy.check().unwrap().is_clean());
}

#[test]
fn a_copied_directory_holds_nothing() {
    let cache = cache();
    cache.set("key", &1).unwrap();
    let guard = Lock::new(&cache, "lock").acquire().unwrap();
    let to = cache.dir.path().join("copy");
    copy(cache.directory(), &to);
    let other = Cache::open(&to).unwrap();
    assert!(other.disk_usage().unwrap() > 0);
    assert!(Lock::new(&other, "lock").try_acquire().unwrap().is_some());
    assert!(other.check().unwrap().is_clean());
    assert!(Lock::new(&cache, "lock").try_acquire().unwrap().is_none());
    drop(guard);
}

fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_vanished_value_file_is_a_counted_miss_and_a_finding() {
    let cache = cache();
    cache.set_bytes("large", &[1; 400_000]).unwrap();
    let path = cache.reader("large").unwrap().unwrap().path().unwrap().to_path_buf();
    fs::remove_file(path).unwrap();
    assert_eq!(cache.get_bytes("large").unwrap(), None);
    assert!(cache.stats().unwrap().damaged >= 1);
    let report = cache.check().unwrap();
    assert_eq!(report.findings().len(), 1, "{report}");
    assert!(!cache.repair().unwrap().is_clean());
    assert!(cache.check().unwrap().is_clean(), "{}", cache.check().unwrap());
    cache.set_bytes("large", &[2; 400_000]).unwrap();
    assert_eq!(cache.get_bytes("large").unwrap().unwrap().len(), 400_000);
}

/// What is below a directory: the bytes of each file, and when it was last written.
fn contents(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        if path.is_dir() {
            found.extend(contents(&path));
            found.insert(path, (Vec::new(), written));
        } else {
            found.insert(path.clone(), (fs::read(&path).unwrap(), written));
        }
    }
    found
}

#[test]
fn opening_a_cache_again_and_reading_from_it_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::options().size_limit(1 << 24).open(dir.path()).unwrap();
    cache.set_many((0..300).map(|key| (key, key)), SetOptions::new()).unwrap();
    cache.set_bytes("large", &[1; 400_000]).unwrap();
    cache.sync().unwrap();
    cache.close().unwrap();
    let before = contents(dir.path());
    assert!(before.len() > 2, "{:?}", before.keys());
    for _ in 0..3 {
        // Settings that are as they were are no change.
        let cache = Cache::options().size_limit(1 << 24).open(dir.path()).unwrap();
        assert_eq!((cache.get(7).unwrap(), cache.len().unwrap()), (Some(7), 301));
        assert_eq!(cache.get_bytes("large").unwrap().unwrap().len(), 400_000);
        assert_eq!(keys(&cache).len(), 301);
        assert!(contents(dir.path()) == before, "while it is open");
        cache.close().unwrap();
        assert!(contents(dir.path()) == before, "after it was closed");
    }
}

/// Deletes the value file of the oldest key.
fn lose_the_first(cache: &Cache) {
    let key = cache.iter().next().unwrap().unwrap();
    fs::remove_file(cache.reader(&key).unwrap().unwrap().path().unwrap()).unwrap();
}

#[test]
fn a_queue_goes_on_past_an_item_whose_value_file_is_gone() {
    let cache = cache();
    for item in [vec![1; 400_000], vec![2; 400_000], vec![3]] {
        cache.push(&ByteBuf::from(item)).unwrap();
    }
    lose_the_first(&cache);
    let first = |got: Option<(_, ByteBuf)>| got.map(|(_, item)| item[0]);
    assert_eq!(first(cache.peek().unwrap()), Some(2));
    assert_eq!(first(cache.pull().unwrap()), Some(2));
    assert_eq!(first(cache.pull().unwrap()), Some(3));
    assert_eq!(first(cache.pull().unwrap()), None);
    assert!(cache.stats().unwrap().damaged > 0);
    assert!(cache.is_empty().unwrap());
    assert!(cache.check().unwrap().is_clean(), "{}", cache.check().unwrap());
}

#[test]
fn a_deque_goes_on_past_an_item_whose_value_file_is_gone() {
    let deque = Deque::<ByteBuf>::temporary().unwrap();
    deque.extend([vec![1; 400_000], vec![2; 400_000], vec![3]].map(ByteBuf::from)).unwrap();
    lose_the_first(deque.cache());
    let first = |got: Option<ByteBuf>| got.map(|item| item[0]);
    assert_eq!(first(deque.front().unwrap()), Some(2));
    assert_eq!(first(deque.pop_front().unwrap()), Some(2));
    assert_eq!(first(deque.pop_front().unwrap()), Some(3));
    assert_eq!(first(deque.pop_front().unwrap()), None);
    assert!(deque.is_empty().unwrap());
}

/// Removes step by step; gives the number of keys.
type Remove = fn(&Cache) -> Result<u64>;

/// Removes step by step while another thread takes the lock between two steps and keeps it; gives
/// what comes of it, and how many keys were gone then. `None` if it was done before.
fn interrupted(cache: &Cache, remove: Remove) -> Option<(String, u64)> {
    let all = cache.len().unwrap();
    let (gone, done) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let other = Cache::options().open(cache.directory()).unwrap();
            gone.wait();
            while other.len().unwrap() == all {
                std::thread::yield_now();
            }
            let transaction = other.begin().unwrap();
            let left = other.len().unwrap();
            done.wait();
            drop(transaction);
            left
        });
        gone.wait();
        let removed = remove(cache);
        done.wait();
        let left = holder.join().unwrap();
        let error = removed.err()?;
        assert_eq!(error.kind(), ErrorKind::Timeout);
        Some((error.to_string(), all - left))
    })
}

#[test]
fn a_timeout_of_evict_and_of_cull_says_how_far_it_got() {
    let all: [(&str, Remove); 2] = [("evict", |cache| cache.evict("t")), ("cull", Cache::cull)];
    for (name, remove) in all {
        let (text, removed) = (0..20)
            .find_map(|_| {
                let cache = cache_with(|options| options.timeout(Duration::from_millis(100)));
                let items = (0..10_000).map(|key| (key, [7_u64; 20]));
                cache.set_many(items, SetOptions::new().tag("t")).unwrap();
                cache.update_settings(|settings| settings.size_limit = 1 << 18).unwrap();
                interrupted(&cache, remove)
            })
            .expect("the lock is had between two steps, now and then");
        assert!(text.contains(&format!("; {removed} items were done before")), "{name}: {text}");
    }
}
