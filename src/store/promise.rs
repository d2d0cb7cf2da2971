//! What a sync that is under way has to do with value files: how far it will say that the log is on
//! disk, and whether the file of a replaced value may go before that.
//!
//! ```text
//! who syncs      the end of the log -> promised | fence | has the log grown?  then again
//!                look at the files that the log names up to there
//! who replaces   the end of the log | fence | load promised: does it divide the value from what replaced it?
//! ```
//!
//! One of the two sees what the other has stored, as in Dekker's algorithm. Works over plain words, so
//! that the models run what the store runs.

use crate::format::location::Location;
use crate::sys::sync::{AtomicU64, Ordering, fence};

/// The end of the log, up to which the disk is about to be waited for. From here on whoever commits
/// what replaces a record before it knows of that ([`promised`]), or has done so already and lies
/// before it, too. Nothing is promised where the page is mapped for reading only.
pub(crate) fn promise(tail: &AtomicU64, promised: Option<&AtomicU64>) -> Location {
    loop {
        let end = end_of_log(tail);
        let later = |bits| {
            let known = Location::from_bits(bits);
            (known.is_none() || !known.is_at_or_after(end)).then_some(end.bits())
        };
        if let Some(promised) = promised {
            // Nothing to do where somebody has promised more.
            let _ = promised.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        }
        // ORDERING: SeqCst, pairs with the fence in `promised`: either `tail` is loaded here as it
        // was stored there before, or the promise is loaded there as it was stored here before.
        fence(Ordering::SeqCst);
        if end_of_log(tail) == end {
            return end;
        }
    }
}

fn end_of_log(tail: &AtomicU64) -> Location {
    // ORDERING: Acquire, pairs with `Head::set_tail`: the records before it are visible.
    Location::from_bits(tail.load(Ordering::Acquire))
}

/// Up to where somebody waits for the disk, or has done so. For who has moved `tail`.
pub(crate) fn promised(promised: &AtomicU64) -> Location {
    // ORDERING: SeqCst, pairs with the fence in `promise`.
    fence(Ordering::SeqCst);
    Location::from_bits(promised.load(Ordering::Relaxed))
}

/// Whether a disk that has the log up to `end` can have a value without the record that has just
/// replaced it. `first` is the value's own record, if both are in one segment, as a segment is waited
/// for as a whole.
pub(crate) fn divides(end: Location, first: Option<Location>) -> bool {
    first.is_none_or(|first| !end.is_none() && end != first && end.is_at_or_after(first))
}
