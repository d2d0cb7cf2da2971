//! Bytes on disk and the values they stand for. Pure: no input or output, no clock, no memory map.
//!
//! Every layout is written down once, as constants beside the code that packs and unpacks it, and
//! is pinned by golden bytes in `golden_tests`. All numbers are little-endian and of a fixed
//! width; every number that comes from a file is checked before it is used.

pub(crate) mod checksum;
pub(crate) mod entry;
pub(crate) mod from_key;
pub(crate) mod head;
pub(crate) mod key;
pub(crate) mod key_buf;
mod key_decode;
mod key_from;
pub(crate) mod key_number;
pub(crate) mod location;
pub(crate) mod queue;
pub(crate) mod record;
pub(crate) mod segment;
pub(crate) mod settings;
pub(crate) mod shard;
pub(crate) mod slot;
pub(crate) mod state;
mod to_key;

#[cfg(test)]
mod golden_tests;
