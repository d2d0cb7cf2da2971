use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use firncache::recipes::Lock;
use firncache::{Cache, ErrorKind, SetOptions};

use crate::common::{cache, keys};

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

fn copy(from: &std::path::Path, to: &std::path::Path) {
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
