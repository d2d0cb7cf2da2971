//! Log, table and lock together: one durable map that many processes share.
//!
//! The log is the truth; the table is a view of it, and `applied` says how far it has been brought.
//! Every change, of a key or of the table's own shape, is a record: it is appended, `tail` is moved
//! past it (the instant of commit), it is applied to the table by stores that can be done again,
//! and `applied` is moved past it together with all counters. Whoever takes the lock first brings
//! `applied` up to `tail`: that is the only recovery there is after a kill.
//!
//! ```text
//! read    Store::get -> table::lookup -> log::reader::read              (read.rs)
//! write   Store::lock -> Writer::put -> append -> apply -> flip         (lock, writer, apply)
//! ```

pub(crate) mod apply;
pub(crate) mod bell;
pub(crate) mod budget;
#[cfg(test)]
mod budget_tests;
pub(crate) mod check;
#[cfg(test)]
mod check_tests;
#[cfg(test)]
mod clear_tests;
pub(crate) mod compact;
pub(crate) mod control;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod drain_tests;
pub(crate) mod durability;
#[cfg(test)]
mod durability_tests;
#[cfg(test)]
mod failure_tests;
#[cfg(test)]
mod fork_tests;
#[cfg(test)]
mod forked_anywhere_tests;
pub(crate) mod grow;
pub(crate) mod head;
#[cfg(test)]
mod head_tests;
pub(crate) mod history;
pub(crate) mod lock;
pub(crate) mod look;
pub(crate) mod on_disk;
pub(crate) mod open;
#[cfg(test)]
mod open_tests;
pub(crate) mod page_walk;
pub(crate) mod peers;
#[cfg(test)]
mod power_tests;
pub(crate) mod promise;
pub(crate) mod queues;
pub(crate) mod read;
pub(crate) mod rebuild;
pub(crate) mod recover;
#[cfg(test)]
mod refused_tests;
pub(crate) mod replay;
pub(crate) mod scan;
#[cfg(test)]
mod scan_tests;
pub(crate) mod session;
pub(crate) mod space;
#[cfg(test)]
mod space_tests;
pub(crate) mod state_block;
#[cfg(test)]
mod stress_tests;
#[cfg(test)]
mod tests;
pub(crate) mod transaction;
#[cfg(test)]
mod transaction_tests;
#[cfg(test)]
mod upkeep_tests;
pub(crate) mod values;
#[cfg(test)]
mod values_tests;
#[cfg(test)]
mod whole_tests;
pub(crate) mod writer;

use std::hash::Hasher;
use std::path::Path;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use crate::error::{Error, Result};
use crate::format::head::Identity;
use crate::format::location::Segment;
use crate::format::settings::Settings;
use crate::format::state::State;
use crate::log::segments::Segments;
use crate::store::head::Head;
use crate::sys::file::Dir;
use crate::sys::fork::ForkLocal;
use crate::table::extents::TableFiles;

pub(crate) use crate::store::session::Writer;

/// An open store. All handles of a process on one directory share it.
#[derive(Clone)]
pub(crate) struct Store(Arc<Shared>);

/// What the handles of one process on one store share.
pub(crate) struct Shared {
    pub(crate) dir: Arc<Dir>,
    pub(crate) identity: Identity,
    pub(crate) head: Head,
    pub(crate) table: TableFiles,
    pub(crate) log: Segments,
    pub(crate) read_only: bool,
    process: ForkLocal<session::Process>,
}

/// A key as the store knows it: its encoding and the hash of it.
#[derive(Clone, Copy)]
pub(crate) struct HashedKey<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) hash: u64,
}

impl Store {
    pub(crate) fn directory(&self) -> &Path {
        self.0.dir.path()
    }

    /// The directory, held open: it can be renamed meanwhile.
    pub(crate) fn dir(&self) -> &Arc<Dir> {
        &self.0.dir
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.0.read_only
    }

    /// The settings as they are now.
    pub(crate) fn settings(&self) -> Settings {
        self.0.head.settings()
    }

    /// The counters at one instant.
    pub(crate) fn state(&self) -> State {
        self.0.head.state().1
    }

    /// Hashes an encoded key with the key of this store (SipHash-1-3, Aumasson and Bernstein 2012).
    #[inline]
    pub(crate) fn hashed<'a>(&self, bytes: &'a [u8]) -> HashedKey<'a> {
        HashedKey { bytes, hash: self.0.hash(bytes) }
    }

    /// As `hashed`, for a key that is about to be written: starts loading its bucket.
    #[inline]
    pub(crate) fn hashed_ahead<'a>(&self, bytes: &'a [u8]) -> HashedKey<'a> {
        let key = self.hashed(bytes);
        self.0.prefetch_bucket(key.hash);
        key
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }
}

impl Shared {
    #[inline]
    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        let [first, second] = self.identity.hash_key;
        let mut hasher = SipHasher13::new_with_keys(first, second);
        hasher.write(bytes);
        hasher.finish()
    }

    pub(crate) fn process(&self) -> &session::Process {
        self.process.get()
    }

    /// An error of the operating system on a file of this store.
    pub(crate) fn failed(&self, action: &str, name: &str, source: std::io::Error) -> Error {
        Error::io(action, &self.dir.join(name), source)
    }

    /// The words of a segment, mapped at need; `None` if it has no file any more.
    pub(crate) fn segment(
        &self,
        segment: Segment,
    ) -> Result<Option<&[crate::sys::sync::AtomicU64]>> {
        if let Some(words) = self.log.words(segment) {
            return Ok(Some(words));
        }
        self.log
            .open(segment, |other| self.is_gone(other))
            .map_err(|source| self.failed("map the segment", &segment.file_name(), source))
    }

    /// Maps the file that has the name of a segment now, whatever was mapped for it before.
    pub(crate) fn reopen_segment(
        &self,
        segment: Segment,
    ) -> Result<Option<&[crate::sys::sync::AtomicU64]>> {
        self.log
            .reopen(segment, |other| self.is_gone(other))
            .map_err(|source| self.failed("map the segment", &segment.file_name(), source))
    }

    /// Whether a segment lies before the oldest that has a file.
    pub(crate) fn is_gone(&self, segment: Segment) -> bool {
        self.head.state().1.oldest.is_after(segment)
    }
}
