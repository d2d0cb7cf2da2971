//! What a cache may take: disk, descriptors, heap memory, and the bound on all of it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use firncache::recipes::Lock;
use firncache::{Cache, Eviction};

/// Counts the bytes that are allocated and not yet freed.
struct Counting;

static LIVE: AtomicI64 = AtomicI64::new(0);

#[expect(unsafe_code, reason = "an allocator that counts can be written in no other way")]
// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes on disk below a directory, directories included.
fn on_disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let own = std::fs::symlink_metadata(path).unwrap();
    let below = if own.is_dir() {
        std::fs::read_dir(path).unwrap().map(|entry| on_disk(&entry.unwrap().path())).sum()
    } else {
        0
    };
    own.blocks() * 512 + below
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

// One test, so that nothing else of this process opens files or allocates meanwhile.
#[test]
fn a_cache_takes_no_more_than_it_says() {
    an_empty_cache_is_small();
    a_lock_is_small();
    heap_memory_does_not_grow_with_the_entries();
    disk_stays_within_the_limit();
}

fn an_empty_cache_is_small() {
    let dir = tempfile::tempdir().unwrap();
    let before = descriptors();
    let cache = Cache::open(dir.path()).unwrap();
    assert!(on_disk(dir.path()) <= 128 * 1024);
    cache.set("key", &1).unwrap();
    cache.delete("key").unwrap();
    assert!(on_disk(dir.path()) <= 128 * 1024, "{}", on_disk(dir.path()));
    assert!(descriptors() - before <= 3, "{}", descriptors() - before);
    drop(cache);
    assert_eq!(descriptors(), before);
}

fn a_lock_is_small() {
    let dir = tempfile::tempdir().unwrap();
    let before = descriptors();
    let cache = Cache::open(dir.path()).unwrap();
    let lock = Lock::new(&cache, "lock");
    for _ in 0..10_000 {
        drop(lock.acquire().unwrap());
    }
    assert!(descriptors() - before <= 6, "{}", descriptors() - before);
    let bytes = on_disk(dir.path());
    assert!(bytes <= 384 * 1024, "{bytes}");
    assert!(cache.disk_usage().unwrap() <= bytes);
    assert!(cache.disk_usage().unwrap() >= bytes / 2, "what locks take is counted");
    drop((lock, cache));
    assert_eq!(descriptors(), before);
}

fn heap_memory_does_not_grow_with_the_entries() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let mut heap_at = Vec::new();
    for index in 0..100_000u64 {
        cache.set_bytes(index, b"a value of some length").unwrap();
        if index == 9_999 || index == 99_999 {
            heap_at.push(LIVE.load(Ordering::Relaxed));
        }
    }
    // Maps of segment files are counted one by one; there are a few more of them.
    assert!(heap_at[1] - heap_at[0] < 64 * 1024, "{heap_at:?}");
}

fn disk_stays_within_the_limit() {
    let limit = 4 << 20;
    let segment = limit / 32;
    for eviction in [Eviction::LeastRecentlyStored, Eviction::LeastRecentlyUsed, Eviction::Sieve] {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::options().size_limit(limit).eviction(eviction).open(dir.path()).unwrap();
        let value = [7; 400];
        for index in 0..60_000u64 {
            // Half of the sets overwrite one of the last keys.
            let key = if index % 2 == 0 { index } else { index - (index / 2) % 1000 };
            cache.set_bytes(key, &value).unwrap();
            if index % 500 == 0 {
                let bytes = cache.disk_usage().unwrap();
                assert!(bytes <= limit + segment, "{eviction:?}: {bytes} after {index} sets");
            }
        }
        assert!(cache.volume().unwrap() > limit / 2, "{eviction:?}: {:?}", cache.volume());
        assert!(cache.check().unwrap().is_clean());
    }
}
