//! Room in the log: segments that begin, end, and are used again.

use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::PAGE_WORDS;
use crate::format::head::HEAD_BYTES;
use crate::format::location::{Location, MAX_SEGMENT_UNITS, Segment};
use crate::format::record::{HEADER_WORDS, Header, INDEX_SHARE_BYTES, Kind};
use crate::format::segment::{
    DRAINED_WORD, HEADER_UNITS, MIN_SEGMENT_UNITS, SegmentHeader, TINY_SEGMENT_UNITS,
};
use crate::format::settings::{PowerLoss, Settings};
use crate::format::slot::BUCKET_WORDS;
use crate::format::state::State;
use crate::log::segments::MAX_SEGMENTS;
use crate::log::writer::begin_reuse;
use crate::store::apply::Record;
use crate::store::compact::NEEDED;
use crate::store::{Shared, Writer};
use crate::sys::file::punch;
use crate::sys::sync::{AtomicU64, Ordering};

/// Units that every segment keeps for the record that ends it, and one more.
const SEAL_UNITS: u64 = HEADER_WORDS as u64 + 2 + 1;
/// The share of a segment that puts leave to removals, relocations and jobs, and the most that they
/// leave: 4 KiB. A larger segment is never the only one, and has the next one made before it is full.
const RESERVE_SHARE: u64 = 16;
const MOST_RESERVE: u64 = 4096 / 8;
/// Segments beyond what the log may have, after which puts end where the disk has refused a write.
const STUCK: u64 = 8;
/// What a segment grows to where segments come and go: 256 KiB; and how many of the smallest size
/// must have come and gone for each that it has.
const BUSY_SEGMENT_UNITS: u64 = 256 * 1024 / 8;
const BUSY_SHARE: u64 = 16;

/// The size of the next segment: a sixty-fourth of what is live, between 64 KiB and 16 MiB, and not
/// more than a thirty-second of the limit, or of this store's share of it. More where few keys
/// change all the time: [`busy_units`].
pub(crate) fn segment_units(state: &State, settings: &Settings) -> u64 {
    let wanted = (state.live_bytes / 64 / 8).max(1).next_power_of_two();
    let wanted = wanted.max(busy_units(state, settings));
    let limit = (settings.share() / 32 / 8).max(1);
    let most = (1 << limit.ilog2()).clamp(TINY_SEGMENT_UNITS, MAX_SEGMENT_UNITS);
    wanted.clamp(MIN_SEGMENT_UNITS.min(most), most)
}

/// What a segment has at least where segments come and go, however little is live: with the end of
/// each the disk is waited for. A sixteenth of what came and went, so that a cache that is hardly
/// used stays small.
fn busy_units(state: &State, settings: &Settings) -> u64 {
    let gone = u64::from(state.first.number());
    let share = MIN_SEGMENT_UNITS.saturating_mul(gone) / BUSY_SHARE;
    match settings.power_loss {
        PowerLoss::Recover if share > 0 => (1 << share.ilog2()).min(BUSY_SEGMENT_UNITS),
        PowerLoss::Recover | PowerLoss::Clear => 0,
    }
}

/// The most value bytes that may lie in the log under these settings; more go to a file.
pub(crate) fn inline_limit(settings: &Settings) -> u64 {
    let limit = (settings.share() / 32 / 8).max(1);
    let most = (1 << limit.ilog2()).clamp(TINY_SEGMENT_UNITS, MAX_SEGMENT_UNITS);
    settings.value_file_threshold.min(most * 8 / 4)
}

/// Bytes on disk that this state stands for once compaction has caught up: live records and half
/// as much dead, two segments and a reserved one, the head, the table, and value files.
pub(crate) fn footprint(shared: &Shared, state: &State, settings: &Settings) -> u64 {
    let segment = 8 * segment_units(state, settings);
    let table =
        shared.table.allocated_bytes(state.geometry.buckets(), state.overflows, state.pages.max(1));
    let log = match 8 * state.log_units <= segment {
        // Still in its first segment, which is all there is.
        true => segment,
        false => state.live_bytes.saturating_add(state.live_bytes / 2).saturating_add(3 * segment),
    };
    (HEAD_BYTES as u64).saturating_add(log).saturating_add(table).saturating_add(state.file_bytes)
}

/// No footprint is larger: every part of it counted twice, and the largest of segments.
pub(crate) fn most_footprint(state: &State) -> u64 {
    const SEGMENTS_AND_FIRST_EXTENTS: u64 = 4 * 8 * MAX_SEGMENT_UNITS;
    let lines = (state.geometry.buckets() + state.overflows).saturating_mul(BUCKET_WORDS as u64);
    let words = lines.saturating_add(state.pages.saturating_mul(PAGE_WORDS as u64));
    words
        .saturating_mul(2 * 8)
        .saturating_add(state.live_bytes.saturating_mul(2))
        .saturating_add(state.file_bytes)
        .saturating_add(SEGMENTS_AND_FIRST_EXTENTS)
}

/// Dead bytes that the log may have: half as many as live ones, which the footprint counts; up to as
/// many where limit and disk leave room for them. What one of several stores with a common limit
/// leaves, the others may have taken.
pub(crate) fn most_dead(shared: &Shared, state: &State, settings: &Settings) -> u64 {
    let half = state.live_bytes / 2;
    let room = match settings.has_limit() {
        false => half,
        true if settings.shards > 1 => 0,
        true if most_footprint(state) <= settings.size_limit => half,
        true => settings.size_limit.saturating_sub(footprint(shared, state, settings)).min(half),
    };
    half + room.min(shared.process().free_bytes())
}

/// Bytes by which the keys of a state are accounted: records, table share and value files.
pub(crate) fn volume(state: &State) -> u64 {
    state.volume().saturating_add(state.len.saturating_mul(INDEX_SHARE_BYTES))
}

impl<'a> Writer<'a> {
    /// Makes room for a put and whatever jobs it needs first.
    pub(crate) fn room_for_put(&mut self, units: u64) -> Result<()> {
        if self.is_giving_back {
            return self.room_for_job(units);
        }
        self.first_things_first()?;
        let active = self.active_units()?;
        let reserve = (active / RESERVE_SHARE).min(MOST_RESERVE);
        if self.fits_in(active, units + reserve) {
            return Ok(());
        }
        self.refuse_if_stuck()?;
        self.reserve_second_next()?;
        self.room(units, reserve)
    }

    /// Applies what is committed and could not be applied, for want of a map, by maintenance that was
    /// given up in this hold of the lock. Before anything is appended: an end of a segment that is
    /// not applied leaves the next one without the file that it is to have.
    fn first_things_first(&mut self) -> Result<()> {
        if self.session.is_gathering || self.applied.location() == self.tail {
            return Ok(());
        }
        self.recover()
    }

    /// Makes room for a relocation, which leaves some to removals.
    pub(crate) fn room_for_move(&mut self, units: u64) -> Result<()> {
        self.first_things_first()?;
        let active = self.active_units()?;
        let reserve = (active / RESERVE_SHARE).min(MOST_RESERVE) / 2;
        if self.fits_in(active, units + reserve) {
            return Ok(());
        }
        self.room(units, reserve)
    }

    /// What the disk refused keeps drained files from being used again: puts end before the log takes
    /// all of the disk.
    fn refuse_if_stuck(&self) -> Result<()> {
        let (allowed, segment) = self.allowance();
        let is_stuck = 8 * self.state.log_units > allowed + STUCK * segment;
        if is_stuck && !self.clears_after_power_loss() {
            self.shared.refuse_if_failed()?;
        }
        Ok(())
    }

    /// Before a put begins a segment: where too few drained files wait, allocates that one and the
    /// one after it. A disk that is full is then full for puts, while removals and compaction still
    /// have a segment to go on in.
    fn reserve_second_next(&mut self) -> Result<()> {
        let is_full = self.shared.process().is_disk_full();
        let enough = match self.shared.head.settings().power_loss {
            _ if is_full => NEEDED,
            PowerLoss::Recover => 2,
            // There, one is all that waits as a rule.
            PowerLoss::Clear => 1,
        };
        if self.waiting() >= enough {
            return Ok(());
        }
        let shared = self.shared;
        let next = self.tail.segment().next();
        let units = segment_units(&self.state, &shared.head.settings());
        for segment in [next, next.next()] {
            self.reserve_segment(segment, units)?;
        }
        shared.process().note_disk_full(false);
        Ok(())
    }

    /// Makes the file of a segment ahead of its time. Until the segment begins, another file may get
    /// its name, so this one is not taken for it: a map of it would show no records, and draining
    /// would give up those that another process has written.
    fn reserve_segment(&self, segment: Segment, units: u64) -> Result<()> {
        let created = self.create_segment(segment, units);
        self.shared.log.forget(segment);
        created
    }

    fn create_segment(&self, segment: Segment, units: u64) -> Result<()> {
        let shared = self.shared;
        let is_gone = |other| shared.is_gone(other) && other != segment;
        let mut created = shared.log.create(segment, units, is_gone);
        if created.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists) {
            self.remove_used(segment)?;
            created = shared.log.create(segment, units, is_gone);
        }
        let created = created
            .map_err(|source| shared.failed("make the segment", &segment.file_name(), source));
        if created.as_ref().is_err_and(|error| error.kind() == ErrorKind::Full) {
            // Room for one more, a smaller one perhaps, would not mean the contrary.
            shared.process().note_disk_full(true);
        }
        shared.process().note_free_bytes(shared.dir.free_bytes().unwrap_or(u64::MAX));
        created
    }

    /// Deletes a file that holds records from where a segment is to begin. It will be gone from disk,
    /// too, before the next record is written: the one before it ends with one.
    fn remove_used(&self, segment: Segment) -> Result<()> {
        let (shared, name) = (self.shared, segment.file_name());
        let failed = |source| shared.failed("make the segment", &name, source);
        if !shared.log.is_used(segment).map_err(failed)? {
            return Ok(());
        }
        shared.owe()?;
        let file = shared.dir.file(&name, true).map_err(failed)?;
        shared.dir.unlink(&name).map_err(failed)?;
        // Another process may have it mapped, and must not find records there.
        let _ = punch(&file);
        Ok(())
    }

    /// Makes room for a removal or a job: these may use all of the reserve.
    pub(crate) fn room_for_job(&mut self, units: u64) -> Result<()> {
        self.first_things_first()?;
        self.room(units, 0)
    }

    /// The words of the segment that is written to.
    pub(crate) fn active_words(&self) -> Result<Option<&'a [AtomicU64]>> {
        let segment = self.tail.segment();
        if let Some((known, words)) = self.active.get()
            && known == segment
        {
            return Ok(Some(words));
        }
        let words = self.shared.segment(segment)?;
        self.active.set(words.map(|words| (segment, words)));
        Ok(words)
    }

    fn active_units(&self) -> Result<u64> {
        Ok(self.active_words()?.map_or(0, <[_]>::len) as u64)
    }

    /// Whether a record of `units` fits into the active segment.
    pub(crate) fn fits(&self, units: u64, reserve: u64) -> Result<bool> {
        Ok(self.fits_in(self.active_units()?, units + reserve))
    }

    fn fits_in(&self, active: u64, units: u64) -> bool {
        self.tail.unit() + units + SEAL_UNITS <= active
    }

    fn room(&mut self, units: u64, reserve: u64) -> Result<()> {
        if self.fits(units, reserve)? {
            return Ok(());
        }
        if 2 * (units + reserve.min(RESERVE_SHARE) + SEAL_UNITS + HEADER_UNITS) > MAX_SEGMENT_UNITS
        {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("a record of {} bytes is larger than the log can hold", 8 * units),
            ));
        }
        self.roll(units)
    }

    /// Ends the active segment and begins the next, large enough for a record of `units`.
    pub(crate) fn roll(&mut self, units: u64) -> Result<()> {
        let active = self.tail.segment();
        let settings = self.shared.head.settings();
        let least = (2 * (units + SEAL_UNITS + HEADER_UNITS)).next_power_of_two();
        let size = segment_units(&self.state, &settings).max(least);
        let next = active.next();
        let (size, recycled) = self.begin_segment(next, size, least, &settings)?;
        let header = Header::job(Kind::Seal, 2);
        let bytes: Vec<u8> = [size, recycled].iter().flat_map(|word| word.to_le_bytes()).collect();
        let at = self.append(&header, &[&bytes])?;
        self.tail = Location::new(next, HEADER_UNITS);
        self.session.active = Some(next);
        let record = Record::job(at, header, [size, recycled, 0]);
        if !self.session.is_gathering {
            self.shared.head.set_tail(self.tail);
            self.apply(&record)?;
        } else {
            // Part of the transaction that is being written: it counts with its commit.
            let mut state = *self.state;
            self.apply_to(&mut state, &record)?;
            *self.state = state;
        }
        if settings.power_loss == PowerLoss::Recover {
            self.shared.process().ask_for_sync(false);
        }
        Ok(())
    }

    /// Makes the file of segment `next`, unless a drained one can become it: comes back with its
    /// units, and with the units of the drained one that it is made from, or 0.
    fn begin_segment(
        &mut self,
        next: Segment,
        size: u64,
        least: u64,
        settings: &Settings,
    ) -> Result<(u64, u64)> {
        let (shared, state) = (self.shared, *self.state);
        if next.since(state.oldest) >= MAX_SEGMENTS {
            return Err(Error::new(
                ErrorKind::Full,
                "the log has reached its largest size: remove keys, or call compact()",
            )
            .at(shared.dir.path()));
        }
        // The file changes its name when the record that says so is applied; so not within a
        // transaction, whose records need the new segment before they count.
        let has_spare = state.oldest != state.first && !self.session.is_gathering;
        if has_spare
            && self.spare_units(state.oldest)? == Some(size)
            && self.is_reusable(state.oldest, settings)?
        {
            self.make_way(next)?;
            return Ok((size, size));
        }
        match self.write_segment_header(next, size) {
            Err(error) if error.kind() == ErrorKind::Full && has_spare => {
                // A full disk: a spare file of any size will do, and is worth waiting for.
                let units = self.spare_units(state.oldest)?.unwrap_or(0);
                let _ = shared.settle_on_disk();
                self.state.synced = shared.synced();
                if units < least || !self.is_reusable(state.oldest, settings)? {
                    return Err(error);
                }
                self.make_way(next)?;
                Ok((units, units))
            }
            other => {
                other?;
                if state.oldest == state.first {
                    // Where there is no room for the one after it, this is known now, and draining
                    // finds some while removals still have a segment to go on in.
                    let units = segment_units(&state, settings);
                    let _ = self.reserve_segment(next.next(), units);
                }
                Ok((size, 0))
            }
        }
    }

    /// Prepares the name that a drained file is to get: no file with records may have it. On a full disk
    /// it is taken now: a name more can need a block more for the directory, and one that is there
    /// already does not. Before the record that says so is committed, as applying must not need space.
    fn make_way(&self, next: Segment) -> Result<()> {
        self.remove_used(next)?;
        if !self.shared.process().is_disk_full() {
            return Ok(());
        }
        let name = next.file_name();
        match self.shared.dir.create_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(self.shared.failed("make the segment", &name, error))
            }
            _ => Ok(()),
        }
    }

    /// Gives the oldest file, which is drained, to segment `next`.
    pub(crate) fn use_again(&self, state: &State, next: Segment, size: u64) -> Result<()> {
        let (shared, old) = (self.shared, state.oldest);
        let is_there = shared
            .log
            .recycle(old, next, |segment| shared.is_gone(segment))
            .map_err(|source| shared.failed("use again the segment", &old.file_name(), source))?;
        if !is_there {
            let what = "a drained segment is missing";
            return Err(Error::corrupt(&shared.dir.join(&old.file_name()), what));
        }
        self.store_segment_header(next, size);
        Ok(())
    }

    /// Makes a new file for a segment, with its header.
    pub(crate) fn write_segment_header(&mut self, segment: Segment, units: u64) -> Result<()> {
        self.create_segment(segment, units)?;
        self.store_segment_header(segment, units);
        Ok(())
    }

    fn store_segment_header(&self, segment: Segment, units: u64) {
        let header = SegmentHeader {
            segment,
            units,
            first: self.state.first,
            oldest: self.state.oldest,
            synced: self.state.synced,
        };
        let words = self.shared.log.words(segment).unwrap_or_default();
        let encoded = header.encode(self.shared.identity.store_id);
        begin_reuse();
        for (word, value) in words.iter().zip(encoded.into_iter().chain([0])) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Units of a drained segment's file, if it is there.
    pub(crate) fn spare_units(&self, segment: Segment) -> Result<Option<u64>> {
        let name = segment.file_name();
        match self.shared.dir.file(&name, true) {
            Ok(file) => {
                let len = file.metadata().map(|metadata| metadata.len());
                let len = len.map_err(|source| self.shared.failed("look at", &name, source))?;
                Ok(Some(len / 8))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.shared.failed("look at", &name, error)),
        }
    }

    /// Whether the log up to where the segment was drained is on disk: only then may its records
    /// be overwritten.
    pub(crate) fn is_reusable(&self, segment: Segment, settings: &Settings) -> Result<bool> {
        if settings.power_loss == PowerLoss::Clear {
            return Ok(true);
        }
        let Some(words) = self.shared.segment(segment)? else { return Ok(true) };
        // ORDERING: Acquire, pairs with the Release store in `apply_retire`.
        let mark = words.get(DRAINED_WORD).map_or(0, |word| word.load(Ordering::Acquire));
        Ok(self.state.synced.is_at_or_after(Location::from_bits(mark)))
    }

    /// Prepares the pages that a record will be written to.
    #[inline]
    pub(crate) fn make_ready(&mut self, at: Location, units: u64) {
        let segment = at.segment();
        let end = 8 * (at.unit() + units + 1) as usize;
        match self.session.populated {
            Some((ready, to)) if ready == segment && end <= to => {}
            Some((ready, to)) if ready == segment => {
                let to = self.shared.log.populate(segment, to, end);
                self.session.populated = Some((segment, to));
            }
            _ => {
                let from = 8 * at.unit() as usize;
                let to = self.shared.log.populate(segment, from, end);
                self.session.populated = Some((segment, to));
            }
        }
    }
}

impl Shared {
    /// Gives the blocks of a segment back and deletes it.
    pub(crate) fn discard_segment(&self, segment: Segment) {
        self.discard_file(&segment.file_name());
    }

    /// Deletes a file and gives its blocks back, also where it is still mapped. In this order, which
    /// journals keep: a power cut must not leave the name of a segment that is blank from the middle.
    pub(crate) fn discard_file(&self, name: &str) {
        // The file first: its name is the only way to it.
        let file = self.dir.file(name, true);
        if self.dir.unlink(name).is_ok()
            && let Ok(file) = file
        {
            // A file that cannot be punched gives its space back when the last map of it goes.
            let _ = punch(&file);
        }
    }

    /// Gives the blocks of a file back, also where it is still mapped.
    pub(crate) fn empty_file(&self, name: &str) {
        if let Ok(file) = self.dir.file(name, true) {
            // A file that cannot be punched gives its space back when the last map of it goes.
            let _ = punch(&file);
        }
    }
}
