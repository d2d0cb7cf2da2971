//! Compaction: the oldest segment is drained into the head of the log, a little with every write.
//!
//! The log is kept within twice its live bytes and two segments, within three halves near the size
//! limit. When it is about to pass that, each write also looks at some records of the oldest segment
//! and appends those that are still current again, as ordinary records that name the old place as
//! previous. A drained segment waits until the disk has what it held, and then becomes the next
//! segment.

use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::format::location::{Location, Segment};
use crate::format::record::{CONTROL, HEADER_WORDS, Header, KEEP_ACCESS, Kind, TRANSACTION};
use crate::format::segment::{HEADER_UNITS, SegmentHeader};
use crate::format::settings::PowerLoss;
use crate::log::copy::copy_out;
use crate::log::reader;
use crate::store::recover::key_in;
use crate::store::space::{most_dead, segment_units};
use crate::store::{Store, Writer};
use crate::sys::sync::{AtomicU64, Ordering};
use crate::table::{pages, publish};

/// Records that one write looks at, beside those that it pays for by its own size.
const LOOKS: u64 = 32;
/// Units that one write moves at most, beside those that it pays for by its own size: 64 KiB.
const MOVES: u64 = 64 * 1024 / 8;
/// Segments' worth of drained files that wait to be used again, beyond which no more are drained
/// ahead: a file is drained while one segment is active, that segment is sealed, and when the next
/// one is sealed, too, the disk has it. Where nobody waits for the disk, one is enough.
const SPARES: u64 = 3;
/// Drained files that must be there on a full disk: one for puts, two for removals.
pub(crate) const NEEDED: u32 = 3;
/// Surplus files that one write deletes at most.
const DISCARDS: u32 = 4;
/// What `compact` leaves dead: an eighth of what is live.
const COMPACT_SHARE: u64 = 8;

/// What maintenance cannot do now, for want of space or maps, is left for the next write.
fn unless_corrupt(result: Result<()>) -> Result<()> {
    result.or_else(|error| if error.kind() == ErrorKind::Corrupt { Err(error) } else { Ok(()) })
}

/// A record of the oldest segment that is about to be looked at.
pub(crate) struct Ahead {
    at: Location,
    end: Location,
    header: Header,
    /// Of the key, if the record can be current.
    hash: Option<u64>,
}

impl Writer<'_> {
    /// The share of maintenance that a write of `units` does. The write itself is committed; what
    /// cannot be done now is left for the next.
    pub(crate) fn maintain(&mut self, units: u64) -> Result<()> {
        if self.session.overlay.is_some() {
            return Ok(());
        }
        unless_corrupt(self.maintain_now(units))
    }

    /// As `maintain`, after the removal of a key.
    pub(crate) fn maintain_after_removal(&mut self, entry: u32, units: u64) -> Result<()> {
        unless_corrupt(self.drop_page_if_empty(entry))?;
        self.maintain(units)
    }

    fn maintain_now(&mut self, units: u64) -> Result<()> {
        self.grow()?;
        self.merge_pages()?;
        let (allowed, segment) = self.allowance();
        let (log, spare) = (8 * self.state.log_units, 8 * self.state.spare_units);
        if log <= allowed + segment {
            return Ok(());
        }
        let wanted = match self.shared.head.settings().power_loss {
            PowerLoss::Recover => SPARES,
            PowerLoss::Clear => 1,
        };
        let has_spares = spare >= wanted * segment && log - spare <= allowed + segment;
        if !has_spares && self.state.first != self.tail.segment() {
            self.drain(LOOKS + units / 2, MOVES + 3 * units)?;
        }
        // As draining has left them: it may have begun a segment, and given one up.
        let (log, spare) = (8 * self.state.log_units, 8 * self.state.spare_units);
        if spare != 0 && log > allowed + 2 * segment {
            self.discard_surplus(DISCARDS, |writer| writer.allowance().0)?;
        }
        Ok(())
    }

    /// How many drained files wait to be used again.
    pub(crate) fn waiting(&self) -> u32 {
        self.state.first.since(self.state.oldest)
    }

    /// Bytes that the log may have for its live bytes, and the size of a segment. On a full disk the
    /// log may have no more than it must until enough drained files wait: removals need the space that
    /// compaction finds, and it must be found before the last of it is used.
    pub(crate) fn allowance(&self) -> (u64, u64) {
        let live = self.state.live_bytes;
        let settings = self.shared.head.settings();
        let segment = 8 * segment_units(&self.state, &settings);
        let is_scarce = self.shared.process().is_disk_full() && self.waiting() < NEEDED;
        let dead = if is_scarce { 0 } else { most_dead(self.shared, &self.state, &settings) };
        (live + dead, segment)
    }

    /// Bytes of log that `compact()` leaves, beside two segments.
    fn compacted(&self) -> u64 {
        self.state.live_bytes + self.state.live_bytes / COMPACT_SHARE
    }

    /// Deletes up to `most` drained files while the log has more bytes than `allowed`, and two segments.
    fn discard_surplus(&mut self, most: u32, allowed: impl Fn(&Self) -> u64) -> Result<()> {
        for _ in 0..most {
            // Before anything is looked at: making room may use the very file again.
            let header = Header::job(Kind::Discard, 2);
            self.room_for_job(header.units())?;
            let (_, segment) = self.allowance();
            let is_surplus = 8 * self.state.log_units > allowed(self) + 2 * segment;
            // On a full disk the last ones are what removals go on in.
            let kept = if self.shared.process().is_disk_full() { NEEDED } else { 0 };
            if self.waiting() <= kept || !is_surplus {
                return Ok(());
            }
            let oldest = self.state.oldest;
            let settings = self.shared.head.settings();
            if !self.is_reusable(oldest, &settings)? {
                self.shared.process().ask_for_sync(true);
                return Ok(());
            }
            let units = self.spare_units(oldest)?.unwrap_or(0);
            self.job_without_room(header, &[oldest.number().into(), units])?;
        }
        Ok(())
    }

    /// Looks at the next records of the oldest segment and moves the current ones.
    fn drain(&mut self, looks: u64, moves: u64) -> Result<()> {
        let before = self.state.drained;
        let mut ahead = std::mem::take(&mut self.session.ahead);
        let mut body = std::mem::take(&mut self.session.scratch);
        let result = self.drain_batches(looks, moves, &mut ahead, &mut body);
        (self.session.ahead, self.session.scratch) = (ahead, body);
        if self.state.drained != before {
            self.flip(self.applied.location())?;
        }
        result
    }

    fn drain_batches(
        &mut self,
        looks: u64,
        moves: u64,
        ahead: &mut Vec<Ahead>,
        body: &mut Vec<u8>,
    ) -> Result<()> {
        let (mut looks, mut moved) = (looks, 0);
        while looks > 0 && moved < moves {
            let is_end = self.look_ahead(looks.min(LOOKS), ahead)?;
            self.tell_dead(ahead, body)?;
            looks = looks.saturating_sub(ahead.len().max(1) as u64);
            for next in &*ahead {
                moved += self.drain_one(next, body)?;
                self.state.drained = next.end;
                if moved >= moves {
                    return Ok(());
                }
            }
            if is_end {
                return self.retire();
            }
        }
        Ok(())
    }

    /// The words of the oldest segment. Where the header there is another's, the map may be of a file
    /// that has lost the segment's name since; taking that for the segment would give up all that is
    /// live in it.
    fn words_to_drain(&self, at: Location) -> Result<Option<&[AtomicU64]>> {
        let words = self.words(at)?;
        if at.unit() != HEADER_UNITS || words.is_some_and(|words| self.is_of(at.segment(), words)) {
            return Ok(words);
        }
        self.shared.reopen_segment(at.segment())
    }

    fn is_of(&self, segment: Segment, words: &[AtomicU64]) -> bool {
        let Some(words) = words.first_chunk() else { return false };
        let words = words.each_ref().map(|word| word.load(Ordering::Relaxed));
        SegmentHeader::decode(&words, self.shared.identity.store_id)
            .is_some_and(|header| header.segment == segment)
    }

    /// Reads the headers of the next records to drain and starts loading the entries that they name.
    /// True if the end of the segment was reached.
    fn look_ahead(&self, looks: u64, ahead: &mut Vec<Ahead>) -> Result<bool> {
        ahead.clear();
        let mut at = self.state.drained;
        let Some(words) = self.words_to_drain(at)? else { return Ok(true) };
        for _ in 0..looks {
            if at.unit() + HEADER_WORDS as u64 >= words.len() as u64 {
                return Ok(true);
            }
            let Some(header) = reader::header(words, self.shared.identity.store_id, at) else {
                // Damage: the next sound header is looked for, unit by unit.
                let end = at.plus(1);
                ahead.push(Ahead { at, end, header: Header::job(Kind::Seal, 0), hash: None });
                at = end;
                continue;
            };
            let end = match header.kind {
                Kind::Seal => return Ok(true),
                _ => at.plus(header.units()),
            };
            if header.kind == Kind::Put {
                pages::prefetch_entry(&self.shared.table, header.entry);
            }
            ahead.push(Ahead { at, end, header, hash: None });
            at = end;
        }
        Ok(false)
    }

    /// Whether the record at this place says the number that its key's entry has, if it is current.
    pub(crate) fn is_numbered(&self, at: Location) -> bool {
        !self.state.numbered.is_none() && at.is_at_or_after(self.state.numbered)
    }

    /// Tells from their entries which of these records are dead, and starts loading the buckets of the
    /// others. Where entries have got other numbers since, or cannot be read, the buckets have to tell.
    fn tell_dead(&self, ahead: &mut [Ahead], body: &mut Vec<u8>) -> Result<()> {
        let table = &self.shared.table;
        for next in ahead.iter_mut().filter(|next| next.header.kind == Kind::Put) {
            let Ahead { at, header, .. } = next;
            let entry = pages::entry(table, header.entry).filter(|_| self.is_numbered(*at));
            next.hash = match entry {
                Some(entry) => pages::hash_if_current(entry, *at),
                None => {
                    let Some(words) = self.words(*at)? else { continue };
                    body.resize(header.front_len(), 0);
                    copy_out(words, 8 * (at.unit() as usize + HEADER_WORDS), body);
                    Some(self.shared.hash(key_in(header, body)))
                }
            };
            if let Some(hash) = next.hash {
                self.shared.prefetch_bucket(hash);
            }
        }
        Ok(())
    }

    /// Moves a record if it is current; the units that were moved.
    fn drain_one(&mut self, next: &Ahead, body: &mut Vec<u8>) -> Result<u64> {
        let Ahead { at, header, hash, .. } = *next;
        if header.kind == Kind::Settings && at == self.state.settings {
            let settings = self.shared.head.settings();
            self.job(Kind::Settings, &settings.encode())?;
        }
        let Some(hash) = hash else { return Ok(0) };
        let (buckets, table) = (self.state.geometry.buckets(), &self.shared.table);
        let failures = table.failures();
        let Some(place) = publish::find(table, buckets, hash, at) else {
            // Dead, unless the bucket could not be read.
            return table.believe(failures).map(|()| 0);
        };
        let entry = place.entry();
        self.at_hand.set(Some(place));
        let store_id = self.shared.identity.store_id;
        let is_sound =
            self.words(at)?.is_some_and(|words| reader::body(words, store_id, at, body).is_some());
        if !is_sound {
            // The value is damaged: the key goes, and is a miss from now on.
            self.shared.head.count_damaged();
            let flags = header.flags & CONTROL;
            let header = Header { flags, entry, previous: at, ..Header::job(Kind::Delete, 0) };
            self.room_for_job(header.units())?;
            self.job_without_room(header, &[])?;
            return Ok(0);
        }
        let flags = header.flags & !TRANSACTION | KEEP_ACCESS;
        let moved = Header { flags, entry, previous: at, ..header };
        self.room_for_move(moved.units())?;
        self.put_again(&moved, body, hash)?;
        Ok(moved.units())
    }

    /// The oldest segment is drained: its file waits to be used again.
    fn retire(&mut self) -> Result<()> {
        if self.state.first == self.tail.segment() {
            return Ok(());
        }
        self.job(Kind::Retire, &[self.state.first.number().into()])
    }

    /// Ends the active segment; which it was.
    pub(crate) fn end_segment(&mut self) -> Result<Segment> {
        let last = self.tail.segment();
        self.roll(0)?;
        Ok(last)
    }

    /// One step of draining everything up to the segment `last`; false when that is done.
    pub(crate) fn drain_to(&mut self, last: Segment) -> Result<bool> {
        if self.state.first.is_after(last) {
            return Ok(false);
        }
        self.drain(1024, 4 * MOVES)?;
        Ok(true)
    }

    /// One step of `compact()`: false when there is no more to do.
    fn compact_step(&mut self, last: Location) -> Result<bool> {
        let (_, segment) = self.allowance();
        let units = self.state.log_units.saturating_sub(self.state.spare_units);
        let is_tight = 8 * units <= self.compacted() + 2 * segment;
        let is_done =
            self.state.first.is_after(last.segment()) || self.state.first == self.tail.segment();
        self.merge_pages()?;
        if is_tight || is_done {
            return Ok(false);
        }
        self.drain(1024, 4 * MOVES)?;
        Ok(true)
    }
}

impl Store {
    /// Drains all that is worth draining, in short steps that let other writers in between, and
    /// gives surplus files back.
    pub(crate) fn compact(&self, timeout: Duration) -> Result<()> {
        let last = self.0.head.tail();
        while self.write(timeout, |writer| writer.compact_step(last))? {}
        if self.write(timeout, |writer| Ok(writer.waiting()))? > 0 {
            self.0.sync_to_tail()?;
        }
        while self.write(timeout, |writer| {
            let before = writer.waiting();
            writer.discard_surplus(1, Writer::compacted)?;
            Ok(writer.waiting() < before)
        })? {}
        self.sweep(timeout)
    }
}
