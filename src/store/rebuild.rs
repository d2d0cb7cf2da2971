//! Making the table anew from the log: after power loss, and to repair damage.
//!
//! The log is read from the oldest live segment on. A record is current when no later one names it
//! as previous; no key needs to be compared for that. After power loss the first gap beyond
//! `synced` ends the history, so that what survives is a prefix of it; a gap before that is damage,
//! and is passed over. A transaction counts only with its commit record. The new table is built in
//! files of the next generation, and the head is changed when they are complete; cut short before
//! that, it is all done again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::format::entry::{Access, Deadline, PAGE_ENTRIES, tag_hash};
use crate::format::location::{Location, Segment};
use crate::format::queue::is_bounds;
use crate::format::record::FileRef;
use crate::format::segment::HEADER_UNITS;
use crate::format::settings::{PowerLoss, Settings};
use crate::format::slot::{FIRST_BUCKETS, Slot, bucket_of};
use crate::format::state::{Applied, Geometry, State};
use crate::store::check::Finding;
use crate::store::history::History;
use crate::store::on_disk::Segments;
use crate::store::open::NO_GENERATION;
use crate::store::recover::key_in;
use crate::store::space::segment_units;
use crate::store::{Store, Writer};
use crate::sys::liveness;
use crate::sys::sync::Ordering;
use crate::table::extents::{TableFiles, file_generation};
use crate::table::{pages, publish};

const PATIENCE: Duration = Duration::from_secs(60);
/// Keys per bucket in a table that is made anew, at most.
const LOAD: u64 = 3;
/// The same on a full disk: a table that grows begins to do so with as many.
const FULL_LOAD: u64 = 4;

impl Store {
    /// Makes the table anew if, under the lock, that is still needed.
    pub(crate) fn rebuild_after_power_loss(
        &self,
        settings: &Settings,
        is_trusted: impl Fn() -> bool,
    ) -> Result<()> {
        let here = self.shared().whereabouts()?;
        self.write_unrecovered(PATIENCE, |writer| {
            if is_trusted() {
                return Ok(());
            }
            // In this boot it has been trusted, or made anew, by somebody; and whoever is alive in it
            // sees the same memory, wherever that is for it. Who only tried to proves nothing.
            let is_of_this_boot = self.shared().head.whereabouts().boot == here.boot;
            if is_of_this_boot && writer.is_shared_with_others()? {
                return writer.recover();
            }
            if !self.shared().head.has_settings() {
                self.shared().head.set_settings(&settings.encode());
            }
            writer.rebuild(None)?;
            // Files of values that are lost: those that stay are swept by `compact`.
            let _ = writer.sweep();
            Ok(())
        })
    }

    /// Makes the table anew from what can be read of the log; what was found wrong before and then.
    pub(crate) fn repair(&self, timeout: Duration) -> Result<Vec<Finding>> {
        if is_new(&self.state()) {
            // Looking at it would begin its log.
            return Ok(Vec::new());
        }
        let mut before = match self.check(timeout) {
            Err(error) if error.kind() == ErrorKind::Corrupt => vec![Finding {
                path: self.directory().to_path_buf(),
                what: format!("looking at everything ended early: {error}"),
            }],
            Err(error) if matches!(error.kind(), ErrorKind::Timeout | ErrorKind::ReadOnly) => {
                return Err(error);
            }
            // What could not be looked at does not keep it from being made anew.
            Err(_) => Vec::new(),
            Ok(findings) => findings,
        };
        let findings = self.write_unrecovered(timeout, |writer| {
            let tail = writer.tail;
            // Where even the counters are damaged, the log itself has to say where it ends.
            writer.rebuild(writer.is_plausible().then_some(tail))
        })?;
        if !findings.is_empty() {
            // What is sound moves away from what is damaged.
            let last = self.write(timeout, |writer| writer.end_segment())?;
            while self.write(timeout, |writer| writer.drain_to(last))? {}
        }
        self.sweep(timeout)?;
        let news: Vec<_> = findings.into_iter().filter(|it| !before.contains(it)).collect();
        before.extend(news);
        Ok(before)
    }
}

/// Whether nothing was ever written under this state.
fn is_new(state: &State) -> bool {
    state.log_units == 0 && state.len == 0 && state.next_row == 1
}

impl Writer<'_> {
    fn is_shared_with_others(&self) -> Result<bool> {
        let dir = &self.shared.dir;
        let failed = |source| self.shared.failed("look at the slots in", "procs", source);
        let (own, _) = self.session.identity();
        for slot in liveness::slots(dir).map_err(failed)? {
            if slot != own && liveness::prove_dead(dir, slot).map_err(failed)?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `trusted` is the end of the log if it is known: then no gap before it ends the history.
    fn rebuild(&mut self, trusted: Option<Location>) -> Result<Vec<Finding>> {
        if !self.shared.head.is_changed() {
            // The table that is on disk is about to go.
            self.shared.owe()?;
            self.shared.flush_head()?;
        }
        let mut history = History::default();
        let mut segments = self.segments_on_disk(trusted.is_some(), &mut history)?;
        if trusted.is_some() {
            self.fill_gaps(&mut segments, &mut history)?;
        }
        let clears = self.clears_after_power_loss();
        if trusted.is_some() || !clears {
            self.read_history(&segments, trusted, &mut history)?;
        }
        let generation = self.next_generation()?;
        if self.shared.head.whereabouts().boot != self.shared.whereabouts()?.boot {
            self.make_room(generation, history.end.is_some())?;
        }
        let mut state = self.begin_state(&segments, &mut history, generation)?;
        self.build_in_room(&mut state, &mut history)?;
        let settings = history.settings.map(|(_, words)| Settings::decode(&words));
        let settings = settings.unwrap_or_else(|| self.shared.head.settings());
        // Also where the head on disk promises something else than the log.
        let waits = settings.power_loss == PowerLoss::Recover || !clears;
        self.blank_rest()?;
        if waits {
            self.sync_history(state.first)?;
            let is_sound = !self.shared.has_sync_failed();
            state.synced = if is_sound { self.tail } else { state.synced };
        }
        self.switch(state, &history)?;
        self.delete_leftovers(generation)?;
        if waits {
            self.shared.sync_names(self.tail.segment())?;
            // Another thread may have synced the names just before the leftovers were deleted.
            self.shared.sync_directories()?;
        }
        self.shared.head.set_changed();
        Ok(history.findings)
    }

    /// Deletes what nobody uses any more of another boot, as a full disk needs its space: the old table;
    /// and where nothing is kept of the log all of that, with the files of its values.
    fn make_room(&self, generation: u64, keeps: bool) -> Result<()> {
        let shared = self.shared;
        for name in shared.table.stale_files(generation)? {
            shared.discard_file(&name);
        }
        if keeps {
            return Ok(());
        }
        let names = shared.dir.list("");
        let names = names.map_err(|source| shared.failed("list the files of", ".", source))?;
        for segment in names.iter().filter_map(|name| Segment::from_file_name(name)) {
            shared.log.forget(segment);
            shared.discard_segment(segment);
        }
        // What cannot be deleted now is swept later.
        let _ = shared.delete_all_value_files();
        Ok(())
    }

    /// The next one of which there is no file: what was left of a rebuild that was cut short is no empty
    /// table, and other processes may have mapped what came before.
    fn next_generation(&self) -> Result<u64> {
        let names = self
            .shared
            .dir
            .list("")
            .map_err(|source| self.shared.failed("list the files of", ".", source))?;
        let taken: HashSet<u64> = names.iter().filter_map(|name| file_generation(name)).collect();
        let mut geometry = self.state.geometry;
        loop {
            let generation = geometry.next_generation();
            if generation != NO_GENERATION && !taken.contains(&generation) {
                return Ok(generation);
            }
            geometry = Geometry::new(generation, 0);
        }
    }

    /// A state without keys, whose log ends where the history does.
    fn begin_state(
        &mut self,
        segments: &Segments,
        history: &mut History,
        generation: u64,
    ) -> Result<State> {
        let buckets = (history.live.len() as u64 / LOAD).next_power_of_two().max(FIRST_BUCKETS);
        let mut state = State::empty(Geometry::new(generation, buckets));
        state.next_row = 1;
        match history.end {
            Some(end) => {
                let begin = history.begin.map_or(end.segment(), Location::segment);
                let first = history.first.unwrap_or(begin);
                (state.first, state.oldest) = (first, first);
                self.tail = end;
            }
            None => {
                // Nothing is kept: the log begins again, beyond all segments that there were. Looked
                // at in any order: the last one is wanted.
                let next = segments.last().map_or(self.tail.segment(), Segment::next);
                let units = segment_units(&state, &self.shared.head.settings());
                (state.first, state.oldest) = (next, next);
                *self.state = state;
                self.write_segment_header(next, units)?;
                self.tail = Location::new(next, HEADER_UNITS);
            }
        }
        state.drained = Location::new(state.first, HEADER_UNITS);
        (state.synced, state.numbered) = (state.drained, self.tail);
        let mut segment = state.first;
        while segment.is_within(state.first, self.tail.segment()) {
            state.log_units += self.shared.segment(segment)?.map_or(0, <[_]>::len) as u64;
            segment = segment.next();
        }
        Ok(state)
    }

    /// Builds the new table; on a full disk with as many buckets as one has that has grown, which finds
    /// room where the old one was.
    fn build_in_room(&self, state: &mut State, history: &mut History) -> Result<()> {
        let (begun, findings) = (*state, history.findings.len());
        match self.build(state, history) {
            Err(error) if error.kind() == ErrorKind::Full => {}
            done => return done,
        }
        for name in self.shared.table.files(begun.geometry.generation()) {
            self.shared.discard_file(&name);
        }
        history.findings.truncate(findings);
        let buckets = (history.live.len() as u64).div_ceil(FULL_LOAD).max(FIRST_BUCKETS);
        let geometry = Geometry::new(begun.geometry.generation(), buckets);
        *state = State { geometry, ..begun };
        self.build(state, history)
    }

    /// Puts the current records into the new table, in the order of their rows.
    fn build(&self, state: &mut State, history: &mut History) -> Result<()> {
        let table = &TableFiles::in_the_making(Arc::clone(&self.shared.dir), state.geometry);
        let (generation, buckets) = (state.geometry.generation(), state.geometry.buckets());
        for bucket in 0..buckets {
            table.ensure_bucket(generation, bucket)?;
        }
        // By row and, in one row, by place in the log.
        let rows: BTreeMap<(u64, u32, u64), Location> = history
            .live
            .iter()
            .map(|(at, row)| (*row, Location::from_bits(*at)))
            // Of a segment that was retired: the newer copy is damaged, and this one goes.
            .filter(|(_, at)| at.segment().is_within(state.first, self.tail.segment()))
            .map(|(row, at)| ((row, at.segment().since(state.first), at.unit()), at))
            .collect();
        let outdated = self.outdated(rows.values(), history)?;
        let mut rows = rows.into_iter().peekable();
        while let Some(((row, ..), at)) = rows.next() {
            // Two records of one row are two of one key: what made the older one old is damaged.
            let is_outdated = rows.peek().is_some_and(|((next, ..), _)| *next == row);
            if is_outdated || outdated.contains(&at.bits()) {
                continue;
            }
            let Some((record, body)) = self.record_at(at)? else { continue };
            if is_bounds(key_in(&record.header, &body)) {
                // Where a later one is damaged this one may be too narrow: it is counted again.
                continue;
            }
            let hash = record.hash;
            if let Some(file) = self.file_of(at, &record.header)?
                && self.shared.open_value_file(file)?.is_none()
            {
                history.findings.push(Finding {
                    path: self.shared.dir.join(&file.name()),
                    what: "the file of a value is missing or not whole; its key is gone".to_owned(),
                });
                continue;
            }
            if state.last_page == 0 || u64::from(state.last_fill) == PAGE_ENTRIES {
                let page = pages::next_number(state);
                table.ensure_page(generation, u64::from(page))?;
                state.next_row = row;
                let life = pages::life(state, at);
                pages::add(table, state, page, life);
            }
            let bucket = bucket_of(hash, buckets);
            if publish::vacancy(table, bucket).is_none() {
                table.ensure_overflow(generation, state.overflows)?;
                publish::spill(table, bucket, state.overflows as u32);
                state.overflows += 1;
            }
            let entry = (state.last_page - 1) * PAGE_ENTRIES as u32 + state.last_fill;
            let (header, slot) = (record.header, Slot::new(hash, at));
            if let Some(place) = publish::vacancy(table, bucket) {
                place.fill(slot, entry);
            }
            let tag = body.get(..usize::from(header.tag_len)).unwrap_or_default();
            let deadline = Deadline::new(header.expires_ms, tag_hash(tag));
            let access = Access::new(header.stored_ms, 0);
            pages::store(table, entry, slot, hash, Some(access), deadline, true);
            state.last_fill += 1;
            state.len += 1;
            state.controls += u64::from(header.is_control());
            state.live_bytes += 8 * header.units();
            state.file_bytes += self.file_of(at, &header)?.map_or(0, FileRef::disk_bytes);
            state.min_expiry_ms = state.min_expiry_ms.min(header.expires_ms);
            state.next_row = row + 1;
        }
        Ok(())
    }

    /// Records that pass for current although a later one has the same key: what replaced or removed
    /// them is damaged. Without damage there are none, and nobody looks.
    fn outdated<'b>(
        &self,
        all: impl Iterator<Item = &'b Location>,
        history: &History,
    ) -> Result<HashSet<u64>> {
        let mut outdated = HashSet::new();
        if history.findings.is_empty() {
            return Ok(outdated);
        }
        // Of two keys with one hash of 64 bits, which do not happen, one would be lost.
        let mut newest: HashMap<u64, Location> = HashMap::new();
        for at in all {
            let Some((record, _)) = self.record_at(*at)? else { continue };
            if let Some(other) = newest.insert(record.hash, *at) {
                let is_newer = at.is_at_or_after(other);
                outdated.insert(if is_newer { other } else { *at }.bits());
                newest.insert(record.hash, if is_newer { *at } else { other });
            }
        }
        Ok(outdated)
    }

    /// Makes the new state hold. The place and boot are noted last: until then the next opener
    /// begins again. From then on the next writer waits for the disk, if this one does not come to it.
    fn switch(&mut self, mut state: State, history: &History) -> Result<()> {
        let head = &self.shared.head;
        if let Some((location, words)) = &history.settings {
            head.set_settings(words);
            state.settings = *location;
        }
        if let Some(words) = self.words(self.tail)?
            && let Some(word) = words.get(self.tail.unit() as usize)
        {
            word.store(0, Ordering::Relaxed);
        }
        let here = self.shared.whereabouts()?;
        head.set_tail(self.tail);
        self.applied = head.flip(Applied::new(self.tail, self.applied.0 >> 48), self.tail, &state);
        *self.state = state;
        self.shared.table.switch(state.geometry);
        self.session.active = None;
        if !head.has_sync_failed_at(&here) {
            // What is read after a power cut, or in a copy, is what the disk has.
            head.forget_sync_failed();
        }
        head.owe();
        head.set_whereabouts(&here);
        Ok(())
    }

    /// Blanks what lies behind the end of the history: another power cut could take new records and
    /// leave older ones behind them. The first word becomes zero when the disk has all this; whoever
    /// finds it otherwise waits for the disk again.
    fn blank_rest(&self) -> Result<()> {
        let words = self.words(self.tail)?.unwrap_or_default();
        let rest = words.get(self.tail.unit() as usize..).unwrap_or_default();
        let Some((first, others)) = rest.split_first() else { return Ok(()) };
        others.iter().rev().for_each(|word| word.store(0, Ordering::Relaxed));
        let word = first.load(Ordering::Relaxed);
        if word != 0 {
            first.store(!word, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits until all that was read is on disk: it can be a copy, or not be synced yet, and what it
    /// was moved out of is deleted.
    fn sync_history(&self, first: Segment) -> Result<()> {
        let (mut segment, tail) = (first, self.tail);
        while segment != tail.segment() {
            self.shared.sync_segment(segment, None)?;
            segment = segment.next();
        }
        self.shared.sync_segment(segment, Some(tail))
    }

    fn delete_leftovers(&mut self, generation: u64) -> Result<()> {
        // Whatever their headers say: a file may have its name on disk and nothing else.
        let names = self.shared.dir.list("");
        let names = names.map_err(|source| self.shared.failed("list the files of", ".", source))?;
        for segment in names.iter().filter_map(|name| Segment::from_file_name(name)) {
            if !segment.is_within(self.state.oldest, self.tail.segment()) {
                self.shared.log.forget(segment);
                self.shared.discard_segment(segment);
            }
        }
        for name in self.shared.table.stale_files(generation)? {
            self.shared.discard_file(&name);
        }
        Ok(())
    }
}
