//! A small store with changed files: opened, read, walked over, written to, checked, repaired. Sums
//! stay as they are, so that whatever is found must be right.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use firncache::Cache;
use firncache_fuzz::change::{BYTES, change};
use firncache_fuzz::disk;
use firncache_fuzz::sample::{Sample, options, value};

static SAMPLE: LazyLock<Sample> = LazyLock::new(Sample::new);

fn look(cache: &Cache, how: u8) {
    for number in 0..40 {
        if let Ok(Some(found)) = cache.get_bytes(number) {
            assert_eq!(found, value(number));
        }
    }
    let _ = cache.get_bytes("large").map(|found| assert!(found.is_none_or(|it| it == [7; 600])));
    let _ = cache.iter().take(1000).count();
    let _ = cache.check();
    if how & 1 == 0 {
        return;
    }
    let _ = cache.set_bytes("new", &[1; 100]);
    let _ = cache.delete(7);
    let _ = cache.pull::<i32>();
    let _ = cache.compact();
    if how & 2 == 0 {
        return;
    }
    let _ = cache.repair();
    if cache.set("after repair", &1).is_ok() {
        assert_eq!(cache.get("after repair").ok(), Some(Some(1)));
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((how, input)) = input.split_first() else { return };
    let mut files = SAMPLE.files.clone();
    for bytes in input.as_chunks::<BYTES>().0.iter().take(16) {
        change(&mut files, bytes, true);
    }
    disk::write(&SAMPLE.path(), &files);
    if let Ok(cache) = options().timeout(Duration::from_secs(2)).open(SAMPLE.path()) {
        look(&cache, *how);
    }
});
