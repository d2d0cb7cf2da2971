//! What reaches the disk, and when.
//!
//! The log is written to disk behind the writer's back: when a segment is sealed, writeback
//! begins; a segment later it is waited for, after the lock has been given back, and only while
//! drained files wait to be used again. `synced` says how
//! far that has come. A drained file is overwritten only when `synced` has passed the place where
//! the log stood at its draining: until then the disk may hold the only durable copy in it.
//!
//! A store is marked clean when all of it is on disk, and the mark is taken back, durably, before
//! the first change after that. Until the disk has let it go, and where names have been deleted that
//! must not come back, the mark says that the disk is owed a wait: whoever is killed then, or refused
//! it, leaves it to the next writer.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::format::head::HEAD_BYTES;
use crate::format::location::{LOCATION_BITS, LOCATION_MASK, Location, Segment};
use crate::format::record::{FileRef, Kind};
use crate::format::segment::HEADER_UNITS;
use crate::log::reader;
use crate::log::segments::MAX_SEGMENTS;
use crate::store::apply::Record;
use crate::store::head::Whereabouts;
use crate::store::{Shared, Store, Writer};
use crate::sys::file::data_sync;
use crate::sys::raw::start_writeback;
use crate::sys::sync::Ordering;
use crate::sys::trust;

/// Sealed segments that one call waits for at most.
const SYNCS: usize = 4;

impl Writer<'_> {
    /// Before the first change since the store was clean, or since another boot: says so on disk. Waits
    /// for what another one owes it.
    #[inline]
    pub(crate) fn begin_changes(&mut self) -> Result<()> {
        if self.session.has_begun && self.shared.head.is_changed() {
            return Ok(());
        }
        self.begin_changes_on_disk()
    }

    #[cold]
    fn begin_changes_on_disk(&mut self) -> Result<()> {
        let (head, here) = (&self.shared.head, self.shared.whereabouts()?);
        let is_owed = !head.is_clean() && !head.is_changed();
        if !head.is_changed() || head.whereabouts() != here {
            self.shared.owe()?;
            head.set_whereabouts(&here);
            if is_owed {
                self.shared.sync_directories()?;
            }
            self.shared.flush_head()?;
            head.set_changed();
        }
        self.session.has_begun = true;
        Ok(())
    }
}

impl Shared {
    /// Notes that the disk is to be waited for before anything is changed. A store that was clean is
    /// believed because of the place from then on.
    pub(crate) fn owe(&self) -> Result<()> {
        if self.head.is_clean() {
            self.head.set_whereabouts(&self.whereabouts()?);
        }
        self.head.owe();
        Ok(())
    }

    /// Where this store is now: boot, device, inode.
    pub(crate) fn whereabouts(&self) -> Result<Whereabouts> {
        let (device, inode) =
            self.dir.identity().map_err(|source| self.failed("look at", ".", source))?;
        let id = trust::boot_id().unwrap_or_default();
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        Ok(Whereabouts { boot: [word(&id[..8]), word(&id[8..])], device, inode })
    }

    /// Begins to write a sealed segment to disk, without waiting.
    pub(crate) fn start_writeback(&self, segment: Segment) {
        if let Ok(file) = self.dir.file(&segment.file_name(), true) {
            start_writeback(&file);
        }
    }

    /// Begins to write the last sealed segment to disk, and waits for the sealed ones before it if
    /// drained files wait for that. An error is remembered in the store; the next `sync()` reports
    /// it.
    pub(crate) fn sync_sealed(&self) {
        let generation = self.head.geometry().generation();
        let tail = self.head.tail().segment();
        let mut segment = self.synced().segment();
        if !tail.is_after(segment) {
            return;
        }
        self.start_writeback(Segment::new(u64::from(tail.number()) + (1 << 27) - 1));
        if self.head.state().1.spare_units == 0 || self.has_sync_failed() {
            return;
        }
        if self.sync_names(tail).is_err() {
            return;
        }
        for _ in 0..SYNCS {
            if !tail.is_after(segment.next()) {
                return;
            }
            // The kernel tells one of several who wait that it has failed.
            if self.sync_segment(segment, None).is_err() || self.has_sync_failed() {
                return;
            }
            segment = segment.next();
            self.note_synced(Location::new(segment, HEADER_UNITS), generation);
        }
        // There is more to wait for: the next write goes on.
        self.process().ask_for_sync(false);
    }

    /// Waits until the log is on disk up to where it is now; comes back with that place.
    pub(crate) fn sync_to_tail(&self) -> Result<Location> {
        self.refuse_if_failed()?;
        let generation = self.head.geometry().generation();
        let tail = self.head.promise();
        let mut segment = self.synced().segment();
        if segment.is_after(tail.segment()) {
            segment = tail.segment();
        }
        if tail.segment().since(segment) > MAX_SEGMENTS {
            // Of a damaged head: there are no such files, and looking for each would take for ever.
            return Err(self.counters_are_damaged());
        }
        loop {
            self.sync_segment(segment, Some(tail))?;
            if segment == tail.segment() {
                break;
            }
            segment = segment.next();
        }
        self.sync_names(tail.segment())?;
        // Another may have been told of a failure meanwhile.
        self.refuse_if_failed()?;
        self.note_synced(tail, generation);
        Ok(tail)
    }

    /// Whether a write to disk has failed, here and in this boot: what is read in another, or in a copy,
    /// is what the disk has.
    pub(crate) fn has_sync_failed(&self) -> bool {
        self.head.has_sync_failed()
            && self.whereabouts().map_or(true, |here| self.head.has_sync_failed_at(&here))
    }

    /// Remembers that a write to disk has failed, for all processes.
    #[cold]
    fn note_sync_failed(&self) {
        let here = self.whereabouts().unwrap_or_else(|_| self.head.whereabouts());
        self.head.set_sync_failed(&here);
    }

    /// An error where a write to disk has failed.
    pub(crate) fn refuse_if_failed(&self) -> Result<()> {
        if !self.has_sync_failed() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Io,
            "an earlier write to disk failed, and what it was to write may be lost with the next \
             power cut; clear() the cache, or copy it to a sound disk",
        )
        .at(self.dir.path()))
    }

    /// Waits until the files up to this segment have their names on disk, and `head` has its
    /// identity there, without which no record can be read. Who made them need not have done so.
    pub(crate) fn sync_names(&self, segment: Segment) -> Result<()> {
        let (place, process) = (Location::new(segment, HEADER_UNITS), self.process());
        // ORDERING: Acquire, pairs with the Release store below: the syncs before it are over.
        let named = self.of_this_table(process.named.load(Ordering::Acquire));
        let generation = self.head.geometry().generation();
        if !named.is_none() && named.is_at_or_after(place) {
            return Ok(());
        }
        if named.is_none() {
            self.flush_head()?;
        }
        self.sync_directories()?;
        // ORDERING: Release, pairs with the Acquire load above.
        process.named.store(place.bits() | generation << LOCATION_BITS, Ordering::Release);
        Ok(())
    }

    /// Waits until the disk knows of this store and of its settings, once in each process.
    pub(crate) fn sync_identity(&self) -> Result<()> {
        // ORDERING: Acquire, as in `sync_names`.
        if !self.of_this_table(self.process().named.load(Ordering::Acquire)).is_none() {
            return Ok(());
        }
        self.refuse_if_failed()?;
        self.sync_names(self.head.state().1.oldest)?;
        self.refuse_if_failed()
    }

    pub(crate) fn flush_head(&self) -> Result<()> {
        self.head.map().flush_range(0, HEAD_BYTES).map_err(|source| {
            self.note_sync_failed();
            self.failed("write to disk", "head", source)
        })
    }

    /// Up to where the log is known to be on disk, all of it: drained segments that have a file are
    /// read by a rebuild, too, as far as the header of the newest one on disk knows them as live.
    pub(crate) fn synced(&self) -> Location {
        let state = self.head.state().1;
        let own = self.own_synced();
        let oldest = Location::new(state.oldest, HEADER_UNITS);
        [state.synced, own].into_iter().fold(oldest, |latest, other| {
            if !other.is_none() && other.is_at_or_after(latest) { other } else { latest }
        })
    }

    /// Up to where the log is known to be on disk from syncs of this process. Not of the log of
    /// another table: a repair may have cut that short.
    pub(crate) fn own_synced(&self) -> Location {
        // ORDERING: Acquire, pairs with `note_synced`: the syncs before it are over.
        self.of_this_table(self.process().synced.load(Ordering::Acquire))
    }

    fn note_synced(&self, location: Location, generation: u64) {
        // ORDERING: Release, pairs with the Acquire load in `own_synced`.
        self.process()
            .synced
            .store(location.bits() | generation << LOCATION_BITS, Ordering::Release);
    }

    fn of_this_table(&self, noted: u64) -> Location {
        let generation = self.head.geometry().generation() << LOCATION_BITS;
        match noted & !LOCATION_MASK == generation {
            true => Location::from_bits(noted & LOCATION_MASK),
            false => Location::NONE,
        }
    }

    /// Waits for one segment and the value files that its records name.
    pub(crate) fn sync_segment(&self, segment: Segment, end: Option<Location>) -> Result<()> {
        self.sync_value_files(segment, end)?;
        self.sync_segment_file(segment)
    }

    pub(crate) fn sync_segment_file(&self, segment: Segment) -> Result<()> {
        let name = segment.file_name();
        match self.dir.file(&name, true) {
            Ok(file) => data_sync(&file).map_err(|source| {
                self.note_sync_failed();
                self.failed("write to disk the segment", &name, source)
            }),
            // Drained and used again meanwhile: that waited for the disk.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.failed("open the segment", &name, error)),
        }
    }

    fn sync_value_files(&self, segment: Segment, end: Option<Location>) -> Result<()> {
        // Not by the bytes that are counted now: what was replaced meanwhile has to be on disk, too.
        if matches!(self.dir.exists("values"), Ok(false)) {
            return Ok(());
        }
        let Some(words) = self.segment(segment)? else { return Ok(()) };
        let mut at = Location::new(segment, HEADER_UNITS);
        let (mut body, mut has_files) = (Vec::new(), false);
        while Some(at) != end {
            let Some(header) = reader::header(words, self.identity.store_id, at) else { break };
            if header.kind == Kind::Put && header.is_file() {
                let whole = reader::body(words, self.identity.store_id, at, &mut body);
                let file =
                    whole.and_then(|header| FileRef::decode(body.get(header.front_len()..)?));
                if let Some(file) = file
                    && let Some(opened) = self.open_value_file(file)?
                {
                    data_sync(&opened).map_err(|source| {
                        self.note_sync_failed();
                        self.failed("write to disk the value file", &file.name(), source)
                    })?;
                    if let Some((parent, _)) = file.name().rsplit_once('/') {
                        self.sync_names_in(parent)?;
                    }
                    has_files = true;
                }
            }
            let record = Record::job(at, header, [0; 3]);
            if header.kind == Kind::Seal {
                break;
            }
            at = record.end();
        }
        // The directories of files have names, too, and may be new.
        if has_files { self.sync_directories() } else { Ok(()) }
    }

    fn sync_table(&self, generation: u64) -> Result<()> {
        for name in self.table.files(generation) {
            let file = self
                .dir
                .file(&name, true)
                .map_err(|source| self.failed("open the table file", &name, source))?;
            data_sync(&file).map_err(|source| {
                self.note_sync_failed();
                self.failed("write to disk the table file", &name, source)
            })?;
        }
        Ok(())
    }

    pub(crate) fn sync_directories(&self) -> Result<()> {
        self.sync_names_in("values")?;
        self.dir.sync().map_err(|source| {
            self.note_sync_failed();
            self.failed("write to disk the directory", ".", source)
        })
    }

    /// Waits until the names in a directory are on disk, if there is one.
    fn sync_names_in(&self, name: &str) -> Result<()> {
        match self.dir.sync_sub(name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(|source| {
                self.note_sync_failed();
                self.failed("write to disk the directory", name, source)
            }),
        }
    }
}

impl Store {
    /// Waits until every committed write is on disk: what power loss cannot take away.
    pub(crate) fn sync_log(&self) -> Result<()> {
        self.0.refuse_read_only()?;
        self.0.sync_to_tail().map(|_| ())
    }

    /// Waits until everything, the table too, is on disk, and marks the store clean: the next boot
    /// trusts it as it is.
    pub(crate) fn sync(&self, timeout: Duration) -> Result<()> {
        // Most of the waiting is done before the lock is taken.
        self.sync_log()?;
        self.0.sync_table(self.state().geometry.generation())?;
        self.write(timeout, |writer| {
            let shared = writer.shared;
            writer.state.synced = shared.sync_to_tail()?;
            writer.flip(writer.applied.location())?;
            shared.sync_table(writer.state.geometry.generation())?;
            shared.sync_directories()?;
            shared.flush_head()?;
            shared.refuse_if_failed()?;
            shared.head.set_clean();
            shared.flush_head()
        })
    }
}
