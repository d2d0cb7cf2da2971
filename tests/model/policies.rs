//! Under a size limit: whatever goes, what stays is right, and the disk is not overrun.

use std::collections::HashMap;

use firncache::{Cache, Eviction, PowerLoss, SetOptions};
use quickcheck::{Arbitrary, Gen};

/// A small limit: segments of at most 64 KiB, a thirty-second of it.
const LIMIT: u64 = 2 << 20;
/// The most that all files together may take: the limit and one segment.
const MOST: u64 = LIMIT + LIMIT / 32;
/// Writes from one look at the disk to the next.
const MEASURED: usize = 20;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy(Eviction);

/// A write of a value of `len` bytes, after `reads` reads of other keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    key: u8,
    len: u32,
    reads: u8,
    is_batch: bool,
}

impl Arbitrary for Policy {
    fn arbitrary(g: &mut Gen) -> Policy {
        let all = [
            Eviction::LeastRecentlyStored,
            Eviction::LeastRecentlyUsed,
            Eviction::LeastFrequentlyUsed,
            Eviction::Sieve,
            Eviction::None,
        ];
        Policy(*g.choose(&all).unwrap())
    }
}

impl Arbitrary for Write {
    fn arbitrary(g: &mut Gen) -> Write {
        let most = *g.choose(&[100, 3000, 30_000, 200_000]).unwrap();
        Write {
            key: u8::arbitrary(g),
            len: u32::arbitrary(g) % most,
            reads: u8::arbitrary(g) % 4,
            is_batch: u8::arbitrary(g).is_multiple_of(16),
        }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Write>> {
        let Write { key, len, reads, is_batch } = *self;
        let mut simpler = Vec::new();
        if is_batch {
            simpler.push(Write { is_batch: false, ..*self });
        }
        if reads > 0 {
            simpler.push(Write { reads: 0, ..*self });
        }
        if len > 0 {
            simpler.push(Write { len: len / 2, ..*self });
        }
        if key > 0 {
            simpler.push(Write { key: key / 2, ..*self });
        }
        Box::new(simpler.into_iter())
    }
}

fn value(number: usize, len: u32) -> Vec<u8> {
    let mut value = vec![number as u8; len as usize];
    value.extend(number.to_le_bytes());
    value
}

/// Stores all of it, and panics where the cache is not what it is to be.
pub(crate) fn run(policy: Policy, writes: &[Write]) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::options()
        .size_limit(LIMIT)
        .eviction(policy.0)
        .power_loss(PowerLoss::Clear)
        // One write may make as much room as it takes.
        .cull_limit(10_000)
        .value_file_threshold(20_000)
        .open(dir.path().join("cache"))
        .unwrap();
    let mut last = HashMap::new();
    for (number, write) in writes.iter().enumerate() {
        for other in 0..write.reads {
            let other = write.key.wrapping_mul(31).wrapping_add(other);
            if let Some(found) = cache.get_bytes(other).unwrap() {
                assert!(last.get(&other) == Some(&found), "key {other} at step {number}");
            }
        }
        let new = value(number, write.len);
        if write.is_batch {
            let pairs = [(write.key, serde_bytes::Bytes::new(&new))];
            cache.set_many(pairs, SetOptions::new()).unwrap();
        } else {
            cache.set_bytes(write.key, &new).unwrap();
        }
        let found = cache.get_bytes(write.key).unwrap();
        assert!(found.as_ref() == Some(&new), "what was just stored, at step {number}");
        last.insert(write.key, new);
        if number % MEASURED == 0 || number + 1 == writes.len() {
            let used = cache.disk_usage().unwrap();
            let is_within = policy.0 == Eviction::None || used <= MOST;
            assert!(is_within, "{used} bytes, {MOST} at most, at step {number}");
        }
    }
    cache.compact().unwrap();
    let used = cache.disk_usage().unwrap();
    let is_within = policy.0 == Eviction::None || used <= MOST;
    assert!(is_within, "{used} bytes after compact(), {MOST} at most");
    for (key, expected) in &last {
        match cache.get_bytes(key).unwrap() {
            Some(found) => assert!(found == *expected, "key {key}"),
            None => assert!(policy.0 != Eviction::None, "key {key} is gone"),
        }
    }
    assert!(cache.check().unwrap().is_clean(), "{}", cache.check().unwrap());
}
