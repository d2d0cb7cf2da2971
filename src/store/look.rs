//! What a reader makes of a slot: the decisions of the read path, apart from files and maps.
//!
//! ```text
//! slot -> resolve: its own record, or the one before an uncommitted one -> read -> verdict
//!                                                       not sound, slot changed:   look again
//!                                                       not sound, slot the same:  map afresh, once
//!                                                       still not sound:           damage
//! ```
//!
//! Works over any [`Records`], so that the models run the same decisions as the store.

use crate::error::Result;
use crate::format::location::{Location, Segment};
use crate::format::record::{Header, Kind};
use crate::format::slot::Slot;
use crate::format::state::Applied;
use crate::log::reader::{self, Reading};
use crate::sys::sync::AtomicU64;
use crate::table::lookup::{Candidate, Verdict};

/// Where a reader finds the records that slots name.
pub(crate) trait Records {
    fn store_id(&self) -> u64;
    /// How far the log is applied.
    fn applied(&self) -> Applied;
    /// The words of a segment, if it has a file; `afresh`: whatever was mapped before.
    fn words(&self, segment: Segment, afresh: bool) -> Result<Option<&[AtomicU64]>>;
    /// Notes that a record was damaged.
    fn count_damaged(&self);
}

/// A record that was found for a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub(crate) header: Header,
    pub(crate) entry: u32,
}

/// The `applied` that one pass over a chain goes by: of a transaction it sees all slots as
/// committed, or none.
#[derive(Default)]
pub(crate) struct View(Option<(usize, Applied)>);

impl View {
    fn applied(&mut self, pass: usize, load: impl FnOnce() -> Applied) -> Applied {
        match self.0 {
            Some((of, applied)) if of == pass => applied,
            _ => self.0.insert((pass, load())).1,
        }
    }
}

/// What a slot stands for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meaning {
    /// This record.
    Record(Location),
    /// No record: a transaction that is not committed puts the key first.
    Nothing,
    /// A record of a transaction that is not committed, and it cannot be read: overwritten since
    /// the slot was loaded, or damaged.
    Unreadable,
}

/// Reads the record of `key` that a candidate names: its tag into `tag` if wanted, its value into
/// `value`.
#[inline]
pub(crate) fn look<R: Records>(
    records: &R,
    candidate: &Candidate<'_>,
    view: &mut View,
    key: &[u8],
    mut tag: Option<&mut Vec<u8>>,
    value: &mut Vec<u8>,
) -> Result<Verdict<Hit>> {
    // The second attempt maps the segment afresh: its file may have been replaced.
    for afresh in [false, true] {
        let applied = || view.applied(candidate.pass, || records.applied());
        match resolve(records, candidate.slot, applied, afresh)? {
            Meaning::Nothing => return Ok(Verdict::Other),
            Meaning::Unreadable => {}
            Meaning::Record(at) => {
                if let Some(words) = records.words(at.segment(), afresh)? {
                    let tag = tag.as_deref_mut();
                    match reader::read(words, records.store_id(), at, key, tag, value) {
                        Reading::Record(header) if header.kind == Kind::Put => {
                            return Ok(Verdict::Found(Hit { header, entry: candidate.entry() }));
                        }
                        Reading::Record(_) | Reading::OtherKey => return Ok(Verdict::Other),
                        Reading::Damaged => {}
                    }
                }
            }
        }
        if !candidate.is_unchanged() {
            return Ok(Verdict::Again);
        }
    }
    records.count_damaged();
    Ok(Verdict::Other)
}

/// The record that a slot stands for now: of a transaction that is not committed, the one before
/// it.
#[inline]
pub(crate) fn resolve<R: Records>(
    records: &R,
    slot: Slot,
    applied: impl FnOnce() -> Applied,
    afresh: bool,
) -> Result<Meaning> {
    if slot.is_pending() {
        resolve_pending(records, slot.location(), applied(), afresh)
    } else {
        Ok(Meaning::Record(slot.location()))
    }
}

#[cold]
fn resolve_pending<R: Records>(
    records: &R,
    at: Location,
    applied: Applied,
    afresh: bool,
) -> Result<Meaning> {
    if applied.has_passed(at) {
        return Ok(Meaning::Record(at));
    }
    let Some(words) = records.words(at.segment(), afresh)? else {
        return Ok(Meaning::Unreadable);
    };
    Ok(match reader::header(words, records.store_id(), at) {
        None => Meaning::Unreadable,
        Some(header) if header.previous.is_none() => Meaning::Nothing,
        Some(header) => Meaning::Record(header.previous),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_goes_by_one_state_and_the_next_by_its_own() {
        let [first, second] = [1, 2].map(Applied);
        let mut view = View::default();
        assert_eq!(view.applied(7, || first), first);
        assert_eq!(view.applied(7, || second), first);
        assert_eq!(view.applied(8, || second), second);
    }
}
