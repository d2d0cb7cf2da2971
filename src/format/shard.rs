//! Which shard of a `FanoutCache` a key belongs to.
//!
//! `SipHash-1-3(key 0, 0; encoded key) mod shards`. All processes must agree for ever, so nothing in
//! here may change: another choice would hide the keys that are stored. As equal numbers have one
//! encoding, they have one shard.
//!
//! The hash has no secret, other than that of a store: whoever chooses keys can fill one shard.
//! That costs balance only, and the shards share one limit.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// The most shards there can be; their directories are `000` to `999`.
pub(crate) const MAX_SHARDS: u16 = 1000;

/// The shard of an encoded key; below `shards`, which is not 0.
#[inline]
pub(crate) fn shard_of(key: &[u8], shards: usize) -> usize {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(key);
    (hasher.finish() % shards.max(1) as u64) as usize
}

/// The directory of a shard, within that of the whole.
pub(crate) fn shard_name(index: usize) -> String {
    format!("{index:03}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::key_buf::{KeyBuf, ToKey};

    fn shard(key: impl ToKey, shards: usize) -> usize {
        shard_of(KeyBuf::of(&key).unwrap().as_bytes(), shards)
    }

    #[test]
    fn a_key_has_its_shard_for_ever() {
        let all = |shards| {
            [
                shard((), shards),
                shard(true, shards),
                shard(1, shards),
                shard(-7.5, shards),
                shard("", shards),
                shard("key", shards),
                shard(b"key", shards),
                shard(("user", 7), shards),
            ]
        };
        assert_eq!(all(8), [5, 1, 0, 1, 6, 3, 6, 2]);
        assert_eq!(all(1000), [461, 521, 552, 881, 430, 619, 710, 578]);
        assert_eq!(all(1), [0; 8]);
    }

    #[test]
    fn equal_numbers_have_one_shard_and_keys_are_spread() {
        let mut counts = [0; 8];
        for key in 0..8000 {
            assert_eq!(shard(key, 8), shard(f64::from(key), 8));
            counts[shard(key, 8)] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        assert_eq!(shard_name(7), "007");
    }
}
