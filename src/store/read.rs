//! The read path: hash, bucket, record. No lock, no system call, no store but the access word.

use crate::error::Result;
use crate::format::entry::{ACCESS, Access};
use crate::format::location::Location;
use crate::format::record::{Header, Kind};
use crate::format::settings::Eviction;
use crate::format::slot::{SLOTS, Slot, bucket_of};
use crate::format::state::Geometry;
use crate::log::reader::{self, Reading};
use crate::store::{HashedKey, Shared, Store};
use crate::sys::prefetch;
use crate::sys::sync::Ordering;
use crate::table::lookup::{Candidate, Verdict, lookup};
use crate::table::{Space, pages};

/// Lookups that are in flight together in `get_many`.
pub(crate) const BATCH: usize = 32;

/// Whether the record of a pending slot counts: whether `applied` has passed it.
pub(crate) fn counts(at: Location, applied: Location) -> bool {
    applied != at && applied.is_at_or_after(at)
}

/// The `applied` that one pass over a chain goes by: of a transaction it sees all slots as
/// committed, or none.
#[derive(Default)]
struct View(Option<(usize, Location)>);

impl View {
    fn applied(&mut self, pass: usize, load: impl FnOnce() -> Location) -> Location {
        match self.0 {
            Some((of, applied)) if of == pass => applied,
            _ => self.0.insert((pass, load())).1,
        }
    }
}

/// A record that was found for a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub(crate) header: Header,
    pub(crate) entry: u32,
}

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
            match shared.look(&candidate, &mut view, key.bytes, tag.as_deref_mut(), value) {
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

impl Shared {
    fn look(
        &self,
        candidate: &Candidate<'_>,
        view: &mut View,
        key: &[u8],
        mut tag: Option<&mut Vec<u8>>,
        value: &mut Vec<u8>,
    ) -> Result<Verdict<Hit>> {
        // The second attempt maps the segment afresh: its file may have been replaced.
        for fresh in [false, true] {
            let Some(at) = self.resolve_in(candidate, view)? else { return Ok(Verdict::Other) };
            let words = if fresh {
                self.reopen_segment(at.segment())?
            } else {
                self.segment(at.segment())?
            };
            if let Some(words) = words {
                let tag = tag.as_deref_mut();
                match reader::read(words, self.identity.store_id, at, key, tag, value) {
                    Reading::Record(header) if header.kind == Kind::Put => {
                        return Ok(Verdict::Found(Hit { header, entry: candidate.entry() }));
                    }
                    Reading::Record(_) | Reading::OtherKey => return Ok(Verdict::Other),
                    Reading::Damaged => {}
                }
            }
            if !candidate.is_unchanged() {
                return Ok(Verdict::Again);
            }
        }
        self.head.count_damaged();
        Ok(Verdict::Other)
    }

    #[inline]
    fn resolve_in(&self, candidate: &Candidate<'_>, view: &mut View) -> Result<Option<Location>> {
        if !candidate.slot.is_pending() {
            return Ok(Some(candidate.slot.location()));
        }
        let applied = view.applied(candidate.pass, || self.head.applied().location());
        self.resolve_pending(candidate.slot, applied)
    }

    /// The record that a slot stands for now: of a transaction that is not committed, the one
    /// before it. `None`: there is none.
    pub(crate) fn resolve(&self, slot: Slot) -> Result<Option<Location>> {
        if !slot.is_pending() {
            return Ok(Some(slot.location()));
        }
        self.resolve_pending(slot, self.head.applied().location())
    }

    #[cold]
    fn resolve_pending(&self, slot: Slot, applied: Location) -> Result<Option<Location>> {
        let at = slot.location();
        if counts(at, applied) {
            return Ok(Some(at));
        }
        let Some(words) = self.segment(at.segment())? else { return Ok(None) };
        Ok(reader::header(words, self.identity.store_id, at)
            .map(|header| header.previous)
            .filter(|previous| !previous.is_none()))
    }

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
