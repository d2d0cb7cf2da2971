//! Operations and changes of bytes in one list, eight bytes each: what is damaged is used on, and what
//! was begun is damaged in the middle, under an open handle, too.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use firncache::fuzzing::mend;
use firncache::{Cache, ErrorKind, Result, Side};
use firncache_fuzz::change::{BYTES, change};
use firncache_fuzz::disk;
use firncache_fuzz::sample::options;

/// Steps of a list that are done at most.
const STEPS: usize = 64;
/// The operation that pushes to the front of the queue.
const PUSH_FRONT: u8 = 20;

/// The values that each key ever had.
type Stored = BTreeMap<u8, BTreeSet<Vec<u8>>>;

struct Run<'a> {
    path: &'a Path,
    cache: Option<Cache>,
    stored: Stored,
    is_damaged: bool,
    /// Sums were made right after damage: then anything may be read.
    is_hostile: bool,
}

impl Run<'_> {
    /// The cache, opened if need be and if it can be.
    fn cache(&mut self) -> Option<&Cache> {
        if self.cache.is_none() {
            let opened = options().timeout(Duration::from_secs(2)).open(self.path);
            assert!(self.is_damaged || opened.is_ok(), "{:?}", opened.err());
            self.cache = opened.ok();
        }
        self.cache.as_ref()
    }

    fn damage(&mut self, input: &[u8; BYTES], how: u8) {
        if how & 1 == 0 {
            self.cache = None;
        }
        let mut files = disk::read(self.path);
        change(&mut files, input, how & 1 == 0);
        if how & 6 == 6 {
            mend(&mut files);
            self.is_hostile = true;
        }
        self.is_damaged = true;
        disk::write(self.path, &files);
    }

    fn operate(&mut self, what: u8, key: u8, value: Vec<u8>) {
        let is_damaged = self.is_damaged;
        // A number that was stored by hand is an item of the queue, and no number to `pull`. Before a
        // small one there is no room for as many items as the list can push.
        let is_full = what == PUSH_FRONT && self.stored.range(1..STEPS as u8).next().is_some();
        let is_well =
            |kind| is_damaged || kind == ErrorKind::Codec || is_full && kind == ErrorKind::Overflow;
        let well = |result: Result<()>| {
            assert!(result.as_ref().err().is_none_or(|it| is_well(it.kind())), "{result:?}");
        };
        if matches!(what, 0..8 | 16) {
            self.stored.entry(key).or_default().insert(value.clone());
        }
        let Some(cache) = self.cache() else { return };
        match what {
            0..8 => well(cache.set_bytes(key, &value)),
            8..11 => well(cache.delete(key).map(drop)),
            11 => well(cache.push(&key).map(drop)),
            12 => well(cache.pull::<u8>().map(drop)),
            13 => well(cache.compact()),
            14 => well(cache.repair().map(drop)),
            15 => well(cache.sync()),
            16 => well(cache.transact(|tx| {
                tx.set_bytes(key, &value)?;
                tx.delete(key.wrapping_add(1)).map(drop)
            })),
            17 => well(cache.check().map(|report| assert!(is_damaged || report.is_clean()))),
            18 => well(cache.clear().map(drop)),
            19 => drop(cache.iter().rev().take(500).count()),
            PUSH_FRONT => {
                well(cache.push_with(&1, firncache::PushOptions::new().side(Side::Front)).map(drop))
            }
            21 => self.cache = None,
            _ => self.read_all(),
        }
    }

    fn read_all(&mut self) {
        let stored = std::mem::take(&mut self.stored);
        let is_hostile = self.is_hostile;
        if let Some(cache) = self.cache() {
            for (key, values) in &stored {
                if let Ok(Some(found)) = cache.get_bytes(*key) {
                    assert!(is_hostile || values.contains(&found), "{key}: {found:?}");
                }
            }
        }
        self.stored = stored;
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let dir = disk::place();
    let path = dir.path().join("cache");
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let stored = Stored::new();
    let mut run = Run { path: &path, cache: None, stored, is_damaged: false, is_hostile: false };
    for step in input.as_chunks::<BYTES>().0.iter().take(STEPS) {
        if step[0] >= 0xc0 {
            run.damage(step, step[0] >> 3);
        } else {
            let value = vec![step[1] ^ step[2]; usize::from(step[2]) * usize::from(step[3] % 4)];
            run.operate(step[0] % 24, step[1], value);
        }
    }
    run.read_all();
});
