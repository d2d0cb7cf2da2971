//! As `open`, with all sums made right after the changes: a hostile store, whose records say what
//! they like. Anything may be read, but nothing may end, hang or fill the process.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use firncache::fuzzing::mend;
use firncache::{Cache, Side};
use firncache_fuzz::change::{BYTES, change};
use firncache_fuzz::disk;
use firncache_fuzz::sample::{Sample, options};

static SAMPLE: LazyLock<Sample> = LazyLock::new(Sample::new);

fn look(cache: &Cache) {
    for number in (0..52).step_by(3) {
        let _ = cache.get_entry::<String>(number);
        let _ = cache.get_bytes(number + 1);
    }
    let _ = cache.get_bytes("large");
    let _ = cache.iter().take(1000).count();
    let _ = cache.iter().rev().take(1000).count();
    let _ = cache.check();
}

fn write(cache: &Cache) {
    let _ = cache.set_bytes("new", &[1; 100]);
    let _ = cache.set_bytes(3, &[1; 700]);
    let _ = cache.delete(7);
    let _ = cache.push_with(&1, firncache::PushOptions::new().side(Side::Front));
    let _ = cache.pull::<i32>();
    let _ = cache.transact(|tx| tx.set(1, &2).and_then(|_| tx.delete(2)));
    let _ = cache.expire();
    let _ = cache.cull();
    let _ = cache.compact();
    let _ = cache.sync();
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((how, input)) = input.split_first() else { return };
    let mut files = SAMPLE.files.clone();
    for bytes in input.as_chunks::<BYTES>().0.iter().take(16) {
        change(&mut files, bytes, true);
    }
    mend(&mut files);
    if how & 1 != 0 {
        // Another boot: the table is made anew from the log.
        let head = files.get_mut("head").filter(|head| head.len() >= 560);
        head.into_iter().for_each(|head| head[512..560].fill(0));
    }
    disk::write(&SAMPLE.path(), &files);
    let Ok(cache) = options().timeout(Duration::from_secs(2)).open(SAMPLE.path()) else { return };
    if how & 2 != 0 {
        let _ = cache.repair();
    }
    // Not all in each run: so that there are many runs.
    if how & 4 != 0 {
        write(&cache);
    }
    look(&cache);
    if how & 8 != 0 {
        let _ = cache.clear();
        if cache.set("after", &1).is_ok() {
            assert_eq!(cache.get("after").ok(), Some(Some(1)));
        }
    }
});
