//! The read path: hash, bucket, record. No lock, no system call, no store but the access word.

use crate::error::Result;
use crate::format::entry::{ACCESS, Access};
use crate::format::location::Segment;
use crate::format::settings::Eviction;
use crate::format::slot::{SLOTS, Slot, bucket_of};
use crate::format::state::{Applied, Geometry};
use crate::store::look::{Records, View, look};
use crate::store::{HashedKey, Shared, Store};
use crate::sys::prefetch;
use crate::sys::sync::{AtomicU64, Ordering};
use crate::table::lookup::{Verdict, lookup};
use crate::table::{Space, pages};

pub(crate) use crate::store::look::Hit;

/// Lookups that are in flight together in `get_many`.
pub(crate) const BATCH: usize = 32;

impl Store {
    /// Reads the record of a key: its tag into `tag` if wanted, its value into `value`.
    ///
    /// Linearizes at the load of the slot. Never waits and takes no lock. A damaged record is
    /// counted and is a miss.
    #[inline]
    pub(crate) fn get(
        &self,
        key: HashedKey<'_>,
        mut tag: Option<&mut Vec<u8>>,
        value: &mut Vec<u8>,
    ) -> Result<Option<Hit>> {
        let shared = &*self.0;
        let failures = shared.table.failures();
        let mut failure = None;
        let mut view = View::default();
        let hit = lookup(&shared.table, key.hash, |candidate| {
            match look(shared, &candidate, &mut view, key.bytes, tag.as_deref_mut(), value) {
                Ok(verdict) => verdict,
                Err(error) => {
                    failure = Some(error);
                    Verdict::Other
                }
            }
        });
        match (hit, failure) {
            (Some(hit), _) => Ok(Some(hit)),
            (None, Some(error)) => Err(error),
            (None, None) if shared.table.failures() != failures => Err(shared.table.unmapped()),
            (None, None) => Ok(None),
        }
    }

    /// Notes that a hit was used at `now_ms`, as the policy needs it. Lossy: a mark may be lost
    /// when two readers make theirs at once.
    #[inline]
    pub(crate) fn mark_used(&self, hit: &Hit, eviction: Eviction, now_ms: u64) {
        if self.0.read_only {
            return;
        }
        let Some(words) = pages::entry(&self.0.table, hit.entry) else { return };
        let old = Access(words[ACCESS].load(Ordering::Relaxed));
        let new = match eviction {
            Eviction::LeastRecentlyUsed => Access::new(now_ms, old.uses()),
            Eviction::LeastFrequentlyUsed => {
                Access::new(old.time_ms(), old.uses().saturating_add(1))
            }
            Eviction::Sieve => Access::new(old.time_ms(), 1),
            Eviction::LeastRecentlyStored | Eviction::None => return,
        };
        if new != old {
            words[ACCESS].store(new.0, Ordering::Relaxed);
        }
    }

    /// Starts loading the buckets of these keys, then the records that they name.
    pub(crate) fn prefetch(&self, hashes: &[u64]) {
        for hash in hashes {
            self.0.prefetch_bucket(*hash);
        }
        for hash in hashes {
            self.0.prefetch_record(*hash);
        }
    }
}

impl Records for Shared {
    #[inline]
    fn store_id(&self) -> u64 {
        self.identity.store_id
    }

    fn applied(&self) -> Applied {
        self.head.applied()
    }

    #[inline]
    fn words(&self, segment: Segment, afresh: bool) -> Result<Option<&[AtomicU64]>> {
        if afresh { self.reopen_segment(segment) } else { self.segment(segment) }
    }

    #[cold]
    fn count_damaged(&self) {
        self.head.count_damaged();
    }
}

impl Shared {
    pub(crate) fn prefetch_bucket(&self, hash: u64) {
        let geometry = Geometry(self.table.geometry().load(Ordering::Relaxed));
        if let Some(line) = self.table.bucket(bucket_of(hash, geometry.buckets())) {
            prefetch(&line[0]);
        }
    }

    pub(crate) fn prefetch_record(&self, hash: u64) {
        let geometry = Geometry(self.table.geometry().load(Ordering::Relaxed));
        let Some(line) = self.table.bucket(bucket_of(hash, geometry.buckets())) else { return };
        for word in &line[..SLOTS] {
            let slot = Slot(word.load(Ordering::Relaxed));
            if !slot.matches(hash) {
                continue;
            }
            let at = slot.location();
            let Some(words) = self.log.words(at.segment()) else { continue };
            for line in 0..3 {
                if let Some(word) = words.get(at.unit() as usize + 8 * line) {
                    prefetch(word);
                }
            }
        }
    }
}
