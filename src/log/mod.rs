//! The log: one endless row of records, in segment files that form a ring.
//!
//! Records are appended at the end of the active segment and never change. The oldest segment is
//! drained into the end of the log, and its file is used again. This floor knows files, maps and
//! bytes; what the records mean is the store's business.

pub(crate) mod copy;
pub(crate) mod leftover;
pub(crate) mod reader;
#[cfg(test)]
#[cfg(not(loom))]
mod record_tests;
#[cfg(not(loom))]
pub(crate) mod segments;
pub(crate) mod writer;
