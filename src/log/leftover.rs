//! What a writer that was killed, or failed, has left behind the end of the log.
//!
//! ```text
//! records of the log | first .... | first .... | first .... | 0
//!                    tail           `- others: each leads to those behind it
//! ```
//!
//! It is blanked in two steps, so that whoever is killed in between leaves the rest to the next one,
//! and between the steps the disk is waited for.

use crate::format::location::Location;
use crate::format::record::Kind;
use crate::log::reader;
use crate::sys::sync::{AtomicU64, Ordering};

/// The words that make records of what was not committed.
pub(crate) struct Leftover<'a> {
    first: &'a AtomicU64,
    /// The words behind the records, of which the next one begins with each but the last.
    others: Vec<&'a AtomicU64>,
    /// Whether a whole record begins with the first word.
    is_whole: bool,
    /// Whether they end the segment: then more of them can have been begun.
    pub(crate) is_sealed: bool,
}

impl<'a> Leftover<'a> {
    /// What lies at `tail`, if anything does: behind a record that was committed is a zero word.
    pub(crate) fn find(
        segment: &'a [AtomicU64],
        store_id: u64,
        tail: Location,
    ) -> Option<Leftover<'a>> {
        let is_left = |word: &&AtomicU64| word.load(Ordering::Relaxed) != 0;
        let first = segment.get(tail.unit() as usize).filter(is_left)?;
        let (mut at, mut others, mut is_sealed) = (tail, Vec::new(), false);
        while let Some(header) = reader::header(segment, store_id, at) {
            is_sealed = header.kind == Kind::Seal;
            at = at.plus(header.units());
            others.extend(segment.get(at.unit() as usize));
        }
        Some(Leftover { first, others, is_whole: at != tail, is_sealed })
    }

    /// Makes it no records. That it was there can still be seen.
    pub(crate) fn blank(&self) {
        // From the end, as each leads to those behind it.
        self.others.iter().rev().for_each(|word| word.store(0, Ordering::Relaxed));
        if self.is_whole {
            // No record any more, as its own sum is in it, and not zero before the disk has all this.
            self.first.store(!self.first.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// The disk has all this: nothing was left.
    pub(crate) fn forget(self) {
        self.first.store(0, Ordering::Relaxed);
    }
}
