//! The two state blocks of `head` and the word that selects one.
//!
//! ```text
//! applied   location | flips                        its lowest flip bit picks the block that holds
//! block 0   words of the state after an even flip
//! block 1   words of the state after an odd one
//! ```
//!
//! One writer at a time prepares the block that does not hold and then stores `applied`. A reader
//! loads `applied`, the words, and `applied` again: unchanged, they are one state. Both work over
//! any words laid out like `head`, so that the models run them too.

use crate::format::head::{APPLIED, BLOCKS};
use crate::format::location::Location;
use crate::format::state::Applied;
use crate::sys::sync::{AtomicU64, Ordering};

/// A reader of the state retries at most so often before it takes what it has: by then a writer
/// has finished a million operations in between, each of which would have been an answer.
const MAX_RETRIES: usize = 1 << 20;

/// The word that says how far the log is applied, and which block holds.
#[inline]
pub(crate) fn applied(head: &[AtomicU64]) -> Applied {
    // ORDERING: Acquire, pairs with `flip`: the state block that it selects is visible.
    Applied(head[APPLIED].load(Ordering::Acquire))
}

/// The words of one consistent state, and the word that selected it.
pub(crate) fn read<const WORDS: usize>(head: &[AtomicU64]) -> (Applied, [u64; WORDS]) {
    let mut seen = applied(head);
    for _ in 0..MAX_RETRIES {
        let words = block(head, seen);
        let again = applied(head);
        if again == seen {
            return (seen, words);
        }
        seen = again;
    }
    (seen, block(head, seen))
}

fn block<const WORDS: usize>(head: &[AtomicU64], applied: Applied) -> [u64; WORDS] {
    let block = BLOCKS[applied.block()];
    // ORDERING: Acquire, pairs with the Release stores in `flip`: a word of a later state cannot
    // be read without the later `applied` being seen by the next load of it.
    std::array::from_fn(|index| head[block + index].load(Ordering::Acquire))
}

/// Makes `words` hold and moves `applied`, which is what it was, to `location`, in one store. The
/// caller holds the lock.
#[inline]
pub(crate) fn flip<const WORDS: usize>(
    head: &[AtomicU64],
    applied: Applied,
    location: Location,
    words: [u64; WORDS],
) -> Applied {
    let next = applied.flip(location);
    let block = BLOCKS[next.block()];
    for (to, word) in head[block..block + WORDS].iter().zip(words) {
        // ORDERING: Release, pairs with the Acquire loads in `block`.
        to.store(word, Ordering::Release);
    }
    // ORDERING: Release, pairs with `applied`.
    head[APPLIED].store(next.0, Ordering::Release);
    next
}
