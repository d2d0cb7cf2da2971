//! The format from outside: names and sizes of files, and a store of version 1 that was written
//! once and is kept, which every later library has to read.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use firncache::{Cache, Eviction, Key, SetOptions};

/// When the kept store was written.
const WRITTEN_MS: u64 = 1_795_305_600_000;

fn at(ms: u64) -> impl Fn() -> SystemTime + Send + Sync + 'static {
    move || SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// Sizes by name, the segments' and value files' bytes among them.
fn sizes(dir: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            for (below, size) in sizes(&entry.path()) {
                found.insert(format!("{name}/{below}"), size);
            }
        } else {
            found.insert(name, entry.metadata().unwrap().len());
        }
    }
    found
}

fn write_everything(path: &Path) {
    let options = Cache::options().size_limit(256 << 10).eviction(Eviction::LeastRecentlyUsed);
    let cache = options.value_file_threshold(1000).clock(at(WRITTEN_MS)).open(path).unwrap();
    cache.set((), &()).unwrap();
    cache.set(true, &false).unwrap();
    cache.set(-5, &i64::MIN).unwrap();
    cache.set(u64::MAX, &u64::MAX).unwrap();
    cache.set(0.5, &-0.25).unwrap();
    cache.set("text", "sn\u{f6}w").unwrap();
    cache.set_bytes(b"bytes\0", b"\0\xff").unwrap();
    cache.set(("tuple", 1, (false,)), &vec![(1_u8, "bincode".to_owned())]).unwrap();
    let hour = SetOptions::new().expire(Duration::from_secs(3600)).tag("cold");
    cache.set_with("snow", "white", hour).unwrap();
    cache.set("large", &"large ".repeat(300)).unwrap();
    cache.set("gone", &1).unwrap();
    assert!(cache.delete("gone").unwrap());
    for number in 0..100 {
        cache.set(("many", number), &(number * number)).unwrap();
    }
    cache.transact(|tx| tx.set("one", &1).and_then(|()| tx.set("two", &2))).unwrap();
    cache.sync().unwrap();
    cache.close().unwrap();
}

fn has_everything(cache: &Cache) {
    assert_eq!(cache.get::<()>(()).unwrap(), Some(()));
    assert_eq!(cache.get(true).unwrap(), Some(false));
    assert_eq!(cache.get(-5).unwrap(), Some(i64::MIN));
    assert_eq!(cache.get(u64::MAX).unwrap(), Some(u64::MAX));
    assert_eq!(cache.get(0.5).unwrap(), Some(-0.25));
    assert_eq!(cache.get("text").unwrap(), Some("sn\u{f6}w".to_owned()));
    assert_eq!(cache.get_bytes(b"bytes\0").unwrap(), Some(b"\0\xff".to_vec()));
    let value = cache.get::<Vec<(u8, String)>>(("tuple", 1, (false,))).unwrap();
    assert_eq!(value, Some(vec![(1, "bincode".to_owned())]));
    let snow = cache.get_entry::<String>("snow").unwrap().unwrap();
    assert_eq!((snow.value.as_str(), snow.tag), ("white", Some(Key::from("cold"))));
    assert_eq!(snow.expires_at, Some(at(WRITTEN_MS + 3_600_000)()));
    assert_eq!(snow.stored_at, at(WRITTEN_MS)());
    assert_eq!(cache.get("large").unwrap(), Some("large ".repeat(300)));
    assert!(!cache.contains("gone").unwrap());
    for number in 0..100 {
        assert_eq!(cache.get(("many", number)).unwrap(), Some(number * number));
    }
    assert_eq!(cache.get_many(["one", "two"]).unwrap(), [Some(1), Some(2)]);
    assert_eq!(cache.len().unwrap(), 112);
    assert_eq!(cache.iter().next().unwrap().unwrap(), Key::Null);
    let settings = cache.settings();
    assert_eq!((settings.size_limit, settings.value_file_threshold), (256 << 10, 1000));
    assert_eq!(settings.eviction, Eviction::LeastRecentlyUsed);
    assert!(cache.check().unwrap().is_clean(), "{}", cache.check().unwrap());
}

#[test]
fn a_new_store_is_its_head_and_the_first_write_adds_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    let cache = Cache::open(&path).unwrap();
    assert_eq!(sizes(&path), BTreeMap::from([("head".to_owned(), 4096)]));
    cache.set("key", "value").unwrap();
    let found = sizes(&path);
    let expected = [
        ("entries.1.0", 2 * 2112),
        ("head", 4096),
        ("log.0000001", 64 * 1024),
        ("procs/0", 16),
        ("procs/gate", 0),
        ("table.1.0", 64 * 64),
    ];
    for (name, size) in expected {
        assert_eq!(found.get(name), Some(&size), "{name} in {found:?}");
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
    for name in found.keys() {
        let mode = fs::metadata(path.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
}

/// The value kinds of records, as they lie in the log.
#[test]
fn kinds_of_values() {
    fn kind(write: impl FnOnce(&Cache)) -> (u8, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache")).unwrap();
        write(&cache);
        let log = fs::read(cache.directory().join("log.0000001")).unwrap();
        // The first Put, as the example in docs/format.md has it, with the key "k".
        let (header, body) = log[192..].split_at(48);
        assert_eq!((header[8], header[9], &body[..2]), (1, 0, &b"\x40k"[..]));
        let len = u32::from_le_bytes(header[16..20].try_into().unwrap()) as usize;
        (header[10], body[2..2 + len].to_vec())
    }
    assert_eq!(kind(|cache| cache.set("k", &()).unwrap()), (0, vec![]));
    assert_eq!(kind(|cache| cache.set("k", &false).unwrap()), (1, vec![]));
    assert_eq!(kind(|cache| cache.set("k", &true).unwrap()), (2, vec![]));
    assert_eq!(kind(|cache| cache.set("k", &-2).unwrap()), (3, (-2_i64).to_le_bytes().into()));
    let large = u64::MAX - 1;
    assert_eq!(kind(|cache| cache.set("k", &large).unwrap()), (4, large.to_le_bytes().into()));
    assert_eq!(kind(|cache| cache.set("k", &0.1).unwrap()), (5, 0.1_f64.to_le_bytes().into()));
    assert_eq!(kind(|cache| cache.set("k", "text").unwrap()), (6, b"text".to_vec()));
    assert_eq!(kind(|cache| cache.set_bytes("k", b"\0").unwrap()), (7, vec![0]));
    assert_eq!(kind(|cache| cache.set("k", &(1_u8, 'x')).unwrap()), (16, vec![1, b'x']));
}

#[test]
fn what_is_written_today_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    write_everything(&path);
    has_everything(&Cache::options().clock(at(WRITTEN_MS + 1)).open(&path).unwrap());
}

/// Copied to another place: the store was synced and closed, so that it is trusted there.
#[test]
fn the_kept_store_of_version_1_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    for name in sizes(&kept()).keys() {
        let to = path.join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(kept().join(name), &to).unwrap();
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let options = || Cache::options().clock(at(WRITTEN_MS + 1));
    // Read-only first: what had to be rebuilt would be refused.
    has_everything_to_read(&options().read_only(true).open(&path).unwrap());
    let cache = options().open(&path).unwrap();
    has_everything(&cache);
    cache.set("new", &1).unwrap();
    cache.delete("new").unwrap();
    has_everything(&cache);
    assert!(cache.repair().unwrap().is_clean());
    has_everything(&cache);
    // A clock beyond the expiry.
    drop(cache);
    let cache = Cache::options().clock(at(WRITTEN_MS + 3_600_000)).open(&path).unwrap();
    assert!(!cache.contains("snow").unwrap());
}

fn has_everything_to_read(cache: &Cache) {
    assert_eq!(cache.get("text").unwrap(), Some("sn\u{f6}w".to_owned()));
    assert_eq!(cache.get("large").unwrap(), Some("large ".repeat(300)));
    assert_eq!(cache.iter().count(), 112);
}

/// Writes the kept store anew: once for each version of the format, never again after.
#[test]
#[ignore = "replaces the kept store; run it only when the version of the format changes"]
fn keep_a_store() {
    let _ = fs::remove_dir_all(kept());
    fs::create_dir_all(kept().parent().unwrap()).unwrap();
    write_everything(&kept());
}
