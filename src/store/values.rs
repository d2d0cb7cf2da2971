//! Large values, each in a file of its own.
//!
//! ```text
//! values/t.<slot>.<incarnation>.<n>    being written by the process in that slot
//! values/<2 hex>/<14 hex>              named by a record, or left by a killed writer
//! ```
//!
//! A file is written under a name that says whose it is, without the lock; under the lock it gets
//! its own name, and then the record that names it is appended. It goes when its record has been
//! replaced. What a killed writer left is swept by `compact` and `repair`.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::format::location::{Location, Segment};
use crate::format::record::{FileRef, Header, KEEP_ACCESS};
use crate::format::settings::PowerLoss;
use crate::log::reader;
use crate::store::open::is_head_in_the_making;
use crate::store::page_walk::PageCursor;
use crate::store::promise::divides;
use crate::store::{Shared, Store, Writer};
use crate::sys::file::Dir;
use crate::sys::liveness;
use crate::sys::raw::{process_token, random_u64};
use crate::sys::sync::Ordering;

const VALUES: &str = "values";
const CHUNK_BYTES: usize = 256 * 1024;

/// Replaced files that wait for the disk; with so many, it is waited for.
const BURIED: usize = 8;
/// Or when they are more than such a part of the size limit.
const BURIED_SHARE: u64 = 8;

/// Numbers the files that this process writes.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A value that was written to a file and waits to be named by a record. Dropped before that, the
/// file is deleted.
pub(crate) struct Staged {
    dir: Arc<Dir>,
    /// The name that the file has now.
    name: String,
    file: FileRef,
    is_kept: bool,
    /// The process that wrote it: after a fork, the child's copy of this does nothing.
    token: u64,
}

impl Staged {
    pub(crate) fn reference(&self) -> FileRef {
        self.file
    }

    pub(crate) fn len(&self) -> u64 {
        self.file.len
    }

    /// The name that the file has now.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Gives the file its own name.
    pub(crate) fn publish(&mut self) -> Result<()> {
        let name = self.file.name();
        let failed = |source| Error::io("store the value file", &self.dir.join(&name), source);
        if let Some((parent, _)) = name.rsplit_once('/') {
            self.dir.make_dir(parent).map_err(failed)?;
        }
        self.dir.rename(&self.name, &name).map_err(failed)?;
        self.name = name;
        Ok(())
    }

    /// The record that names the file is committed.
    pub(crate) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_kept && self.token == process_token() {
            // What cannot be deleted now is swept later.
            let _ = self.dir.unlink(&self.name);
        }
    }
}

impl Store {
    /// Writes all that `reader` gives to a file beside the store, holding one chunk in memory.
    pub(crate) fn stage(&self, reader: &mut dyn Read, timeout: Duration) -> Result<Staged> {
        let (mut staged, mut file) = self.0.begin_value_file(timeout)?;
        let path = self.0.dir.join(&staged.name);
        let (mut chunk, mut sum) = (vec![0; CHUNK_BYTES], crc32fast::Hasher::new());
        loop {
            let len = match reader.read(&mut chunk) {
                Ok(0) => {
                    staged.file.sum = sum.finalize();
                    return Ok(staged);
                }
                Ok(len) => len,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Error::io("read the value that is to be stored in", &path, error));
                }
            };
            file.write_all(&chunk[..len])
                .map_err(|error| Error::io("write the value file", &path, error))?;
            sum.update(&chunk[..len]);
            staged.file.len += len as u64;
        }
    }

    /// Writes `bytes` to a file beside the store.
    pub(crate) fn stage_bytes(&self, bytes: &[u8], timeout: Duration) -> Result<Staged> {
        self.stage(&mut &bytes[..], timeout)
    }

    /// Opens a value file; `None` if it is gone or not whole.
    pub(crate) fn open_value_file(&self, file: FileRef) -> Result<Option<File>> {
        // In a transaction of this thread the file may still have its temporary name.
        match self.own_overlay(|overlay| overlay.staged_name(file)).flatten() {
            Some(name) => self.0.open_value_file_named(file, &name),
            None => self.0.open_value_file(file),
        }
    }
}

impl Shared {
    fn begin_value_file(&self, timeout: Duration) -> Result<(Staged, File)> {
        if self.read_only {
            return Err(Error::new(
                ErrorKind::ReadOnly,
                "cannot write a value: the store was opened read-only",
            )
            .at(self.dir.path()));
        }
        let (slot, incarnation) = {
            let guard = self.own_thread(timeout)?;
            let mut session = guard.try_borrow_mut().map_err(|_| {
                Error::new(ErrorKind::Unsupported, "a value is written from inside another write")
            })?;
            self.owner(&mut session)?;
            session.identity()
        };
        let failed = |source| self.failed("write a value below", VALUES, source);
        self.dir.make_dir(VALUES).map_err(failed)?;
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{VALUES}/t.{slot:x}.{incarnation:x}.{count:x}");
        let number = random_u64().map_err(failed)?;
        let file = match self.dir.create_file(&name) {
            // Of an earlier boot: how often the slot was claimed then has gone with the power.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                self.dir.unlink(&name).and_then(|()| self.dir.create_file(&name))
            }
            created => created,
        };
        let file = file.map_err(failed)?;
        let dir = Arc::clone(&self.dir);
        let reference = FileRef { number, len: 0, sum: 0 };
        let token = process_token();
        Ok((Staged { dir, name, file: reference, is_kept: false, token }, file))
    }

    pub(crate) fn open_value_file(&self, file: FileRef) -> Result<Option<File>> {
        self.open_value_file_named(file, &file.name())
    }

    fn open_value_file_named(&self, file: FileRef, name: &str) -> Result<Option<File>> {
        match self.dir.file(name, false) {
            Ok(opened) => {
                let metadata =
                    opened.metadata().map_err(|source| self.failed("read", name, source))?;
                Ok((metadata.len() == file.len).then_some(opened))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("open the value file", name, error)),
        }
    }

    /// Whether a value file has every byte that was written to it: its length can be on disk before
    /// its bytes are.
    pub(crate) fn is_value_file_whole(&self, file: FileRef) -> Result<bool> {
        let Some(mut opened) = self.open_value_file(file)? else { return Ok(false) };
        let (mut chunk, mut sum) = (vec![0; CHUNK_BYTES], crc32fast::Hasher::new());
        loop {
            match opened.read(&mut chunk) {
                Ok(0) => return Ok(sum.finalize() == file.sum),
                Ok(len) => sum.update(&chunk[..len]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(self.failed("read the value file", &file.name(), source));
                }
            }
        }
    }

    /// Deletes the file of the value at `previous`, which the record at `at` has replaced or removed.
    /// If that value can be on disk, or can be said to be before this record is, its file stays until
    /// this record is on disk, too. A segment is waited for as a whole, so it goes at once if both are
    /// in the same one, and nobody waits for what lies before this record.
    pub(crate) fn bury(&self, at: Location, previous: Location, old: &Header, file: FileRef) {
        let first = self.first_in_segment(at.segment(), previous, old);
        let can_be_durable = divides(self.head.promised(), first) || divides(self.synced(), first);
        if can_be_durable && self.head.settings().power_loss == PowerLoss::Recover {
            self.process().buried.lock().push(file);
            self.process().ask_for_sync(false);
        } else {
            // Gone already when this is done again after a kill.
            let _ = self.dir.unlink(&file.name());
        }
    }

    /// The first record of a value that was moved or touched since, if all of its records lie in this
    /// segment.
    fn first_in_segment(&self, segment: Segment, last: Location, old: &Header) -> Option<Location> {
        let (mut at, mut header) = (last, *old);
        while at.segment() == segment {
            if header.flags & KEEP_ACCESS == 0 {
                return Some(at);
            }
            if header.previous.is_none() || header.previous.is_at_or_after(at) {
                return None;
            }
            at = header.previous;
            let words = self.segment(at.segment()).ok().flatten()?;
            header = reader::header(words, self.identity.store_id, at)?;
        }
        None
    }

    /// Deletes the files that wait for the disk, when there are many of them, or large ones.
    pub(crate) fn delete_buried(&self) {
        let most = self.head.settings().share() / BURIED_SHARE;
        let is_due = {
            let buried = self.process().buried.lock();
            let bytes = || buried.iter().map(|file| file.disk_bytes()).fold(0, u64::saturating_add);
            buried.len() >= BURIED || !buried.is_empty() && bytes() > most
        };
        if !is_due {
            return;
        }
        let buried = std::mem::take(&mut *self.process().buried.lock());
        if self.settle_on_disk().is_err() {
            // They may be the durable ones for ever: `sync` says so.
            return;
        }
        for file in buried {
            let _ = self.dir.unlink(&file.name());
        }
    }

    /// Where power loss is provided for, waits until the log is on disk. A failure is remembered
    /// for the next `sync`.
    pub(crate) fn settle_on_disk(&self) -> Result<()> {
        match self.head.settings().power_loss {
            PowerLoss::Recover => self.sync_to_tail().map(|_| ()),
            PowerLoss::Clear => Ok(()),
        }
    }

    /// Deletes the files of all values. Files that are still being written stay.
    pub(crate) fn delete_all_value_files(&self) -> Result<()> {
        for name in self.value_files()? {
            let _ = self.dir.unlink(&name);
        }
        Ok(())
    }

    /// The names of all value files that have their own name.
    pub(crate) fn value_files(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for sub in self.list(VALUES)?.into_iter().filter(|name| is_hex(name, 2)) {
            let path = format!("{VALUES}/{sub}");
            let files = self.list(&path)?.into_iter().filter(|name| is_hex(name, 14));
            names.extend(files.map(|name| format!("{path}/{name}")));
        }
        Ok(names)
    }

    fn list(&self, sub: &str) -> Result<Vec<String>> {
        match self.dir.list(sub) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(|source| self.failed("list", sub, source)),
        }
    }

    /// Deletes the files that dead processes were writing.
    fn sweep_unfinished(&self) -> Result<()> {
        for name in self.list(VALUES)? {
            let Some((slot, incarnation)) = writer_of(&name) else { continue };
            // Not by the slot alone: somebody else may live in it by now, this process for one.
            if matches!(liveness::is_over(&self.dir, slot, incarnation), Ok(true)) {
                let _ = self.dir.unlink(&format!("{VALUES}/{name}"));
            }
        }
        Ok(())
    }
}

/// The slot and the incarnation of who writes the file of this name, if it is one that is being written.
fn writer_of(name: &str) -> Option<(u16, u64)> {
    let mut parts = name.strip_prefix("t.")?.split('.');
    let slot = u16::from_str_radix(parts.next()?, 16).ok()?;
    Some((slot, u64::from_str_radix(parts.next()?, 16).ok()?))
}

fn is_hex(name: &str, len: usize) -> bool {
    name.len() == len && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Store {
    /// Deletes the files that nothing names: what killed writers left.
    pub(crate) fn sweep(&self, timeout: Duration) -> Result<()> {
        self.0.sweep_unfinished()?;
        self.write(timeout, |writer| writer.sweep())
    }
}

impl Writer<'_> {
    /// Deletes what killed transactions, rebuilds, clears and makers left: segments beyond the tail,
    /// table files of other generations, heads that have not come to be one.
    fn sweep_log_and_table(&mut self) -> Result<()> {
        let (shared, tail) = (self.shared, self.tail.segment());
        for name in shared.list("")? {
            if let Some(segment) = Segment::from_file_name(&name)
                && !segment.is_within(self.state.oldest, tail)
            {
                shared.log.forget(segment);
                // As for a segment that is in the way: its records must not come back.
                if shared.log.is_used(segment).unwrap_or(true) {
                    shared.owe()?;
                }
                shared.discard_file(&name);
            } else if is_head_in_the_making(&name) {
                // It may be the head itself under another name: not given back.
                let _ = shared.dir.unlink(&name);
            }
        }
        for name in shared.table.stale_files(self.state.geometry.generation())? {
            shared.discard_file(&name);
        }
        Ok(())
    }

    /// The value files that current records name; none if not all records were met, as where the list
    /// of pages is damaged.
    fn named_files(&self) -> Result<Option<HashSet<String>>> {
        let (mut named, mut met) = (HashSet::new(), 0);
        let mut cursor = PageCursor::default();
        while let Some(page) = self.page(&mut cursor)? {
            met += page.entries.len() as u64;
            for view in page.entries {
                let at = view.slot.location();
                if let Some(header) = self.header(at)?
                    && let Some(file) = self.file_of(at, &header)?
                {
                    named.insert(file.name());
                }
            }
        }
        Ok((met == self.state.len).then_some(named))
    }

    /// Deletes the value files that no record names.
    pub(crate) fn sweep(&mut self) -> Result<()> {
        self.sweep_log_and_table()?;
        let mut unnamed = self.shared.value_files()?;
        if !unnamed.is_empty() {
            match self.named_files()? {
                Some(named) => unnamed.retain(|name| !named.contains(name)),
                None => unnamed.clear(),
            }
        }
        if !unnamed.is_empty() {
            // What replaced them may not be on disk yet.
            self.shared.settle_on_disk()?;
        }
        for name in unnamed {
            let _ = self.shared.dir.unlink(&name);
        }
        // Files get their own name with the lock held, so nobody is about to use an empty one.
        for sub in self.shared.list(VALUES)?.into_iter().filter(|name| is_hex(name, 2)) {
            let _ = self.shared.dir.remove_dir(&format!("{VALUES}/{sub}"));
        }
        Ok(())
    }
}
