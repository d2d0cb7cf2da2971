//! The table: buckets that say where the record of a key lies, and entries that say the rest.
//!
//! The table never sees a record: whoever looks a key up says, slot by slot, whether the record at
//! that location is the one wanted. It works over any [`Space`]: mapped files in life, plain memory
//! in tests, loom's atomics in models.
//!
//! One writer at a time (it holds the store's lock); any number of readers, which take no part in
//! any protocol but loading words. What makes that right:
//!
//! * A slot is one word: it names the old record or the new one, never half of each.
//! * A key changes its slot only by a split, or by a transaction that removes it and stores it
//!   again. In a split it is put into the new bucket first, the number of buckets is stored second,
//!   and the old slot is emptied last; a transaction counts its move before it becomes visible. A
//!   reader that finds nothing and sees both words unchanged has therefore missed nothing.
//! * Overflow buckets stay with the bucket they were linked to.

#[cfg(test)]
#[cfg(not(loom))]
mod bucket_tests;
#[cfg(not(loom))]
pub(crate) mod extents;
#[cfg(test)]
pub(crate) mod heap;
pub(crate) mod lookup;
#[cfg(test)]
#[cfg(not(loom))]
mod page_tests;
pub(crate) mod pages;
pub(crate) mod publish;
pub(crate) mod split;
#[cfg(test)]
#[cfg(not(loom))]
mod split_tests;
pub(crate) mod walk;
#[cfg(test)]
#[cfg(not(loom))]
mod walk_tests;

use crate::format::slot::BUCKET_WORDS;
use crate::sys::sync::AtomicU64;

/// The words of one bucket.
pub(crate) type Line = [AtomicU64; BUCKET_WORDS];

/// Where the words of a table live.
///
/// `None` means that there is no such unit here: a number from a damaged word, or a file that
/// cannot be mapped. Every caller treats that as "nothing there".
pub(crate) trait Space {
    /// The word with the number of buckets and the generation.
    fn geometry(&self) -> &AtomicU64;
    /// A word that changes when a key may have moved to another slot of its chain.
    fn moves(&self) -> &AtomicU64;
    fn bucket(&self, number: u64) -> Option<&Line>;
    fn overflow(&self, number: u32) -> Option<&Line>;
    /// The words of a page: descriptor, then entries.
    fn page(&self, number: u32) -> Option<&[AtomicU64]>;
    /// How many pages there can be, by the files that are mapped: what was counted may be damaged.
    fn pages_there(&self) -> u64;
}
