//! The operating system, and the only unsafe code of the crate.
//!
//! Wall A stands on this floor: above it there is no `unsafe`, no pointer and no arithmetic on file
//! descriptors. What the floors above get to see are files, shared words, locks and answers.
//!
//! ```text
//! map       a file mapped into memory, seen as atomic words                (unsafe)
//! raw       futex, fork, random numbers: what only the kernel can do       (unsafe)
//! sync      the atomics, from std or from loom
//! private   an open file that children of a fork do not get
//! fork      a value that every process makes anew, also after fork
//! file      directories and files, opened without ever following a symlink
//! trust     what kind of file system is it, and is it still the same boot
//! liveness  kernel locks that tell whether another process still lives
//! ```
//!
//! Functions here return [`std::io::Result`]; whoever calls them knows the path and the purpose, and
//! adds both. Nothing here knows what the bytes of a file mean, but for the sixteen bytes that
//! `liveness` keeps for itself.
//!
//! Under `--cfg loom` only `sync` is built: models need atomics, not an operating system.

#[cfg(not(loom))]
pub(crate) mod file;
#[cfg(not(loom))]
pub(crate) mod fork;
#[cfg(not(loom))]
pub(crate) mod liveness;
#[cfg(not(loom))]
pub(crate) mod map;
#[cfg(not(loom))]
pub(crate) mod private;
#[cfg(not(loom))]
pub(crate) mod raw;
pub(crate) mod sync;
#[cfg(test)]
#[cfg(not(loom))]
pub(crate) mod testing;
#[cfg(not(loom))]
pub(crate) mod trust;

#[cfg(not(loom))]
pub(crate) use crate::sys::map::prefetch;

/// Models have no cache to load into.
#[cfg(loom)]
pub(crate) fn prefetch(_word: &crate::sys::sync::AtomicU64) {}
