//! Bringing the table up to one record of the log.
//!
//! Applying is a function of the state block, the record, and what the record names; it stores
//! into the table and then flips the state block. Cut short anywhere before the flip, it is done
//! again from the same state and stores the same words; after the flip it is over. Nothing here
//! needs space: whoever appended the record made sure of that first.

use crate::error::{ErrorKind, Result};
use crate::format::entry::{Access, Deadline, HASH, PAGE_ENTRIES, tag_hash};
use crate::format::location::{LOCATION_MASK, Location, Segment};
use crate::format::record::{
    CONTROL_USES, CULLED, EXPIRED, FileRef, Header, KEEP_ACCESS, Kind, TRANSACTION,
};
use crate::format::segment::{DRAINED_WORD, HEADER_UNITS};
use crate::format::settings::Settings;
use crate::format::slot::{FIRST_BUCKETS, Slot, bucket_of};
use crate::format::state::{Geometry, State};
use crate::log::reader;
use crate::store::Writer;
use crate::sys::sync::Ordering;
use crate::table::lookup::Place;
use crate::table::{Space, pages, publish, split};

/// Splits that one record of growing can ask for at most.
pub(crate) const MAX_SPLITS: u64 = 64;

/// A record that is to be applied.
pub(crate) struct Record<'a> {
    pub(crate) at: Location,
    pub(crate) header: Header,
    /// Of the key, for a `Put`.
    pub(crate) hash: u64,
    pub(crate) tag: &'a [u8],
    pub(crate) arguments: [u64; 3],
    /// The header of the previous record, where the writer has it at hand.
    pub(crate) old: Option<Header>,
    /// The slot of the key or, for a new one, an empty slot of its chain, where the writer has it.
    pub(crate) place: Option<Place<'a>>,
}

impl Record<'_> {
    pub(crate) fn job(at: Location, header: Header, arguments: [u64; 3]) -> Record<'static> {
        Record { at, header, hash: 0, tag: &[], arguments, old: None, place: None }
    }

    /// Where the next record begins.
    pub(crate) fn end(&self) -> Location {
        match self.header.kind {
            Kind::Seal => Location::new(self.at.segment().next(), HEADER_UNITS),
            _ => self.at.plus(self.header.units()),
        }
    }
}

impl Writer<'_> {
    /// Applies one committed record and moves `applied` past it.
    pub(crate) fn apply(&mut self, record: &Record<'_>) -> Result<()> {
        let failures = self.shared.table.failures();
        let mut state = match self.session.spare.take() {
            Some(mut state) => {
                *state = *self.state;
                state
            }
            None => self.state.clone(),
        };
        self.apply_to(&mut state, record)?;
        self.shared.table.believe(failures)?;
        self.session.spare = Some(std::mem::replace(&mut self.state, state));
        self.flip(record.end())
    }

    /// Makes the writer's state hold for all, with everything before `location` applied.
    pub(crate) fn flip(&mut self, location: Location) -> Result<()> {
        self.begin_changes()?;
        self.applied = self.shared.head.flip(self.applied, location, &self.state);
        Ok(())
    }

    /// Stores what the record says into the table, and its effect on the counters into `state`.
    pub(crate) fn apply_to(&self, state: &mut State, record: &Record<'_>) -> Result<()> {
        let table = &self.shared.table;
        let [first, second, third] = record.arguments;
        match record.header.kind {
            Kind::Put => return self.apply_put(state, record),
            Kind::Delete => return self.apply_delete(state, record),
            Kind::Commit => {}
            Kind::Settle => return self.settle(record.at, Location::from_bits(first)),
            Kind::Seal => {
                state.log_units = (state.log_units + first).saturating_sub(second);
                if second != 0 {
                    self.use_again(state, record.at.segment().next(), first)?;
                    state.oldest = state.oldest.next();
                    state.spare_units = state.spare_units.saturating_sub(second);
                }
            }
            Kind::Retire => self.apply_retire(state, record.at)?,
            Kind::AddPage => {
                let life = pages::life(state, record.at);
                pages::add(table, state, first as u32, life);
            }
            Kind::DropPage => pages::drop_page(table, state, first as u32),
            Kind::MergePages => {
                let pair = (first as u32, second as u32);
                let life = pages::life(state, record.at);
                pages::merge(table, state, pair, third as u32, life);
                state.numbered = record.at;
            }
            Kind::Spill => {
                // The chain is followed to its end first: what is not mapped is not cut off.
                let failures = table.failures();
                publish::has_vacancies(table, first, usize::MAX);
                table.believe(failures)?;
                publish::spill(table, first, second as u32);
                state.overflows = state.overflows.max(second + 1);
            }
            Kind::Grow => {
                for _ in 0..first.min(MAX_SPLITS) {
                    let Some(overflows) = split::split(table, state.geometry, state.overflows)
                    else {
                        return Err(table.unmapped());
                    };
                    state.overflows = overflows;
                    let (generation, buckets) =
                        (state.geometry.generation(), state.geometry.buckets());
                    state.geometry = Geometry::new(generation, buckets + 1);
                }
            }
            Kind::Clear => self.apply_clear(state, record.at, first)?,
            Kind::Settings => self.apply_settings(state, record)?,
            Kind::Discard => {
                let segment = Segment::new(first);
                self.shared.discard_segment(segment);
                state.oldest = segment.next();
                state.log_units = state.log_units.saturating_sub(second);
                state.spare_units = state.spare_units.saturating_sub(second);
            }
        }
        Ok(())
    }

    fn apply_put(&self, state: &mut State, record: &Record<'_>) -> Result<()> {
        let Record { at, header, hash, tag, .. } = record;
        let table = &self.shared.table;
        let plain = Slot::new(*hash, *at);
        let slot = if header.flags & TRANSACTION != 0 { plain.pending() } else { plain };
        let buckets = state.geometry.buckets();
        let failures = table.failures();
        match self.place_of(buckets, *hash, record) {
            Some(place) if !header.previous.is_none() => place.publish(slot),
            Some(place) => place.fill(slot, header.entry),
            None => {
                // What could not be mapped of the chain may have the slot: not a second one.
                table.believe(failures)?;
                if let Some(first) = table.bucket(bucket_of(*hash, buckets)) {
                    publish::insert(table, first, slot, header.entry);
                }
            }
        }
        let keep = header.flags & KEEP_ACCESS != 0;
        let uses = if header.is_control() { CONTROL_USES } else { 0 };
        let access = (!keep).then(|| Access::new(header.stored_ms, uses));
        let deadline = Deadline::new(header.expires_ms, tag_hash(tag));
        let is_new = header.previous.is_none();
        pages::store(table, header.entry, slot, *hash, access, deadline, is_new);
        state.min_expiry_ms = state.min_expiry_ms.min(header.expires_ms);
        state.live_bytes += 8 * header.units();
        let file = self.file_of(*at, header)?;
        state.file_bytes += file.map_or(0, FileRef::disk_bytes);
        if header.previous.is_none() {
            pages::set_first_row(table, header.entry, header.row);
            state.len += 1;
            state.controls += u64::from(header.is_control());
            state.next_row = state.next_row.max(header.row + 1) & LOCATION_MASK;
            if header.entry / PAGE_ENTRIES as u32 + 1 == state.last_page {
                state.last_fill = state.last_fill.max(header.entry % PAGE_ENTRIES as u32 + 1);
            }
        } else {
            self.release_previous(state, record, file)?;
        }
        Ok(())
    }

    /// The slot of the previous record; of a key that has none, the empty one that is at hand.
    #[inline]
    fn place_of<'a>(&'a self, buckets: u64, hash: u64, record: &Record<'a>) -> Option<Place<'a>> {
        let previous = record.header.previous;
        let at_hand = record.place.filter(|place| place.holds(previous));
        at_hand.or_else(|| match previous.is_none() {
            true => None,
            false => publish::find(&self.shared.table, buckets, hash, previous),
        })
    }

    fn apply_delete(&self, state: &mut State, record: &Record<'_>) -> Result<()> {
        let Record { at, header, .. } = record;
        let table = &self.shared.table;
        // The writer knows the hash of the key that it removes; at redo the entry tells it.
        let hash = match record.hash {
            0 => self.hash_of(header.entry),
            hash => Some(hash),
        };
        if let Some(hash) = hash {
            let place = self.place_of(state.geometry.buckets(), hash, record);
            if header.flags & TRANSACTION != 0 {
                let slot = Slot::new(hash, *at).pending();
                if let Some(place) = place {
                    place.publish(slot);
                }
                pages::set_slot(table, header.entry, slot);
            } else {
                if let Some(place) = place {
                    place.publish(Slot::EMPTY);
                }
                pages::remove(table, header.entry);
            }
        }
        state.len = state.len.saturating_sub(1);
        if header.is_control() {
            state.controls = state.controls.saturating_sub(1);
        } else {
            state.evictions += u64::from(header.flags & CULLED != 0);
            state.expirations += u64::from(header.flags & EXPIRED != 0);
        }
        self.release_previous(state, record, None)
    }

    /// The hash of the key that has an entry. Where it cannot be told no chain is looked into: that of
    /// another hash may name the record, too. If it is for want of a map, all is done again.
    fn hash_of(&self, entry: u32) -> Option<u64> {
        Some(pages::entry(&self.shared.table, entry)?[HASH].load(Ordering::Relaxed))
    }

    /// Takes the previous record of a key out of the counters, and deletes its file unless the new
    /// record names it too. Within a transaction the file goes when it is settled.
    fn release_previous(
        &self,
        state: &mut State,
        record: &Record<'_>,
        kept: Option<FileRef>,
    ) -> Result<()> {
        let header = &record.header;
        let old = match record.old {
            Some(old) => Some(old),
            None => self.header(header.previous)?,
        };
        let Some(old) = old else { return Ok(()) };
        state.live_bytes = state.live_bytes.saturating_sub(8 * old.units());
        if let Some(file) = self.file_of(header.previous, &old)? {
            state.file_bytes = state.file_bytes.saturating_sub(file.disk_bytes());
            if kept != Some(file) && header.flags & TRANSACTION == 0 {
                self.shared.bury(record.at, header.previous, &old, file);
            }
        }
        Ok(())
    }

    /// The value file that a record names.
    pub(crate) fn file_of(&self, at: Location, header: &Header) -> Result<Option<FileRef>> {
        if !header.is_file() {
            return Ok(None);
        }
        let Some(words) = self.words(at)? else { return Ok(None) };
        let mut body = Vec::new();
        let store_id = self.shared.identity.store_id;
        let Some(header) = reader::body(words, store_id, at, &mut body) else { return Ok(None) };
        let value_at = header.front_len();
        Ok(body.get(value_at..).and_then(FileRef::decode))
    }

    /// Clears what the transaction that begins at `start` left pending: its slots lose the mark,
    /// its tombstones go, and so do the files of the records that it replaced.
    fn settle(&self, settled: Location, start: Location) -> Result<()> {
        let table = &self.shared.table;
        let buckets = self.state.geometry.buckets();
        publish::count_move(table);
        let mut at = start;
        while let Some((record, body)) = self.record_at(at)? {
            let header = record.header;
            let hash = self.hash_of(header.entry);
            match (header.kind, hash) {
                (Kind::Commit, _) => return Ok(()),
                (Kind::Put, Some(hash)) if header.flags & TRANSACTION != 0 => {
                    let slot = Slot::new(hash, at);
                    if let Some(place) = publish::find(table, buckets, hash, at) {
                        place.publish(slot);
                    }
                    pages::set_slot(table, header.entry, slot);
                    let tail = header.front_len();
                    let kept =
                        body.get(tail..).filter(|_| header.is_file()).and_then(FileRef::decode);
                    self.delete_previous_file(settled, &header, kept)?;
                }
                (Kind::Delete, Some(hash)) if header.flags & TRANSACTION != 0 => {
                    if let Some(place) = publish::find(table, buckets, hash, at) {
                        place.publish(Slot::EMPTY);
                    }
                    pages::remove(table, header.entry);
                    self.delete_previous_file(settled, &header, None)?;
                }
                _ => {}
            }
            at = record.end();
        }
        Ok(())
    }

    fn delete_previous_file(
        &self,
        at: Location,
        header: &Header,
        kept: Option<FileRef>,
    ) -> Result<()> {
        let old = if header.previous.is_none() { None } else { self.header(header.previous)? };
        if let Some(old) = old
            && let Some(file) = self.file_of(header.previous, &old)?
            && kept != Some(file)
        {
            self.shared.bury(at, header.previous, &old, file);
        }
        Ok(())
    }

    /// The oldest live segment holds nothing live any more: its file waits to be used again.
    fn apply_retire(&self, state: &mut State, at: Location) -> Result<()> {
        let segment = state.first;
        if let Some(words) = self.shared.segment(segment)? {
            if let Some(word) = words.get(DRAINED_WORD) {
                // ORDERING: Release, pairs with the Acquire load in `is_reusable`.
                word.store(at.bits(), Ordering::Release);
            }
            state.spare_units += words.len() as u64;
        }
        state.first = segment.next();
        state.drained = Location::new(state.first, HEADER_UNITS);
        Ok(())
    }

    /// Where the promise changes, the disk is waited for before this is over: whoever finishes it for
    /// one that was killed waits as well. What the disk refuses is remembered.
    fn apply_settings(&self, state: &mut State, record: &Record<'_>) -> Result<()> {
        let head = &self.shared.head;
        let promised = |words: &[u64; 3]| Settings::decode(words).power_loss;
        let changes = !state.settings.is_none()
            && self
                .record_at(state.settings)?
                .is_none_or(|(old, _)| promised(&old.arguments) != promised(&record.arguments));
        head.set_settings(&record.arguments);
        state.settings = record.at;
        if !changes {
            return Ok(());
        }
        match self.shared.sync_to_tail().and_then(|_| self.shared.flush_head()) {
            // Not the disk's: it is done again.
            Err(error) if error.kind() == ErrorKind::Io && !self.shared.has_sync_failed() => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Everything goes: the table begins again in new, empty files, and the segments before this
    /// record hold nothing live any more.
    fn apply_clear(&self, state: &mut State, at: Location, generation: u64) -> Result<()> {
        let geometry = Geometry::new(generation, FIRST_BUCKETS);
        let is_begun = self.shared.head.geometry().generation() == generation;
        self.shared.table.switch(geometry);
        if !is_begun {
            // What could not be written to disk is gone now; what is written from here on counts anew,
            // what was refused since this was begun, too.
            self.shared.head.forget_sync_failed();
        }
        for name in self.shared.table.stale_files(generation)? {
            self.shared.discard_file(&name);
        }
        if state.file_bytes != 0 {
            // A value that was on disk goes only when its removal is. Else they are left to a sweep.
            if self.shared.settle_on_disk().is_ok() {
                self.shared.delete_all_value_files()?;
            }
        }
        while state.first != at.segment() {
            self.apply_retire(state, at)?;
        }
        *state = State {
            oldest: state.oldest,
            first: state.first,
            drained: state.drained,
            log_units: state.log_units,
            spare_units: state.spare_units,
            synced: state.synced,
            evictions: state.evictions,
            expirations: state.expirations,
            settings: state.settings,
            next_row: state.next_row,
            numbered: at,
            ..State::empty(geometry)
        };
        Ok(())
    }
}
