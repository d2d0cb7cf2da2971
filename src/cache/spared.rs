//! What culling leaves alone: a write never removes the key that it has just stored.

use std::collections::HashSet;

/// The keys that may not go, by their hashes: those just stored.
pub(crate) enum Spared {
    None,
    One(u64),
    Many(HashSet<u64>),
}

impl Spared {
    pub(crate) fn contains(&self, hash: u64) -> bool {
        match self {
            Spared::None => false,
            Spared::One(one) => *one == hash,
            Spared::Many(many) => many.contains(&hash),
        }
    }
}
