//! Finishing what a killed owner of the lock left: the only recovery after a kill.
//!
//! Records between `applied` and `tail` are committed; they are applied in order. A transaction is
//! one unit: its records are applied together, and one flip makes them visible. What lies behind
//! `tail` was not committed, and is blanked.

use crate::error::{Error, Result};
use crate::format::location::{Location, Segment};
use crate::format::record::{Header, Kind, TRANSACTION};
use crate::format::state::State;
use crate::log::{leftover::Leftover, reader};
use crate::store::Writer;
use crate::store::apply::Record;
use crate::sys::sync::Ordering;
use crate::table::publish;

impl Writer<'_> {
    /// Applies everything up to `tail`.
    pub(crate) fn recover(&mut self) -> Result<()> {
        while self.applied.location() != self.tail {
            let at = self.applied.location();
            let (record, body) = self.committed(at)?;
            if record.header.flags & TRANSACTION == 0 {
                self.apply(&with_body(&record, &body))?;
                continue;
            }
            let mut state = *self.state;
            let failures = self.shared.table.failures();
            let end = self.apply_transaction(&mut state, at)?;
            self.shared.table.believe(failures)?;
            *self.state = state;
            self.flip(end)?;
        }
        if self.shared.head.geometry().generation() != self.state.geometry.generation() {
            // A rebuilt table was made to hold by its state block, and then its maker was killed.
            self.shared.table.switch(self.state.geometry);
        }
        Ok(())
    }

    /// Blanks what a writer has left behind `tail` that was killed, or failed, before it could commit.
    #[inline]
    pub(crate) fn blank_uncommitted(&mut self) -> Result<()> {
        let words = self.active_words()?.unwrap_or_default();
        match words.get(self.tail.unit() as usize) {
            Some(word) if word.load(Ordering::Relaxed) != 0 => self.blank_behind(self.tail),
            _ => Ok(()),
        }
    }

    /// Blanks what lies behind `tail`, on disk, too, before anything is written over it. A power cut
    /// could keep such a record in place of the one that was written there later, and with it what came
    /// behind that. The word at `tail` becomes zero last: whoever is killed in here, or meets an error,
    /// leaves the rest to the next writer.
    #[cold]
    pub(crate) fn blank_behind(&self, tail: Location) -> Result<()> {
        let (shared, words) = (self.shared, self.words(tail)?.unwrap_or_default());
        let Some(left) = Leftover::find(words, shared.identity.store_id, tail) else {
            return Ok(());
        };
        if left.is_sealed {
            self.discard_begun(tail.segment())?;
        }
        left.blank();
        shared.sync_segment_file(tail.segment())?;
        shared.sync_directories()?;
        left.forget();
        Ok(())
    }

    /// Deletes the segments that were begun behind `last`, from the end: each is found by the one
    /// before it.
    fn discard_begun(&self, last: Segment) -> Result<()> {
        let (mut next, mut begun) = (last.next(), Vec::new());
        while self.spare_units(next)?.is_some() {
            begun.push(next);
            next = next.next();
        }
        for segment in begun.into_iter().rev() {
            self.shared.log.forget(segment);
            self.shared.discard_segment(segment);
        }
        Ok(())
    }

    /// Applies the records of the transaction that begins at `start`, up to its commit record.
    pub(crate) fn apply_transaction(&self, state: &mut State, start: Location) -> Result<Location> {
        let mut at = start;
        loop {
            let (record, body) = self.committed(at)?;
            self.apply_to(state, &with_body(&record, &body))?;
            at = record.end();
            if record.header.kind == Kind::Commit {
                publish::count_move(&self.shared.table);
                return Ok(at);
            }
        }
    }

    fn committed(&self, at: Location) -> Result<(Record<'static>, Vec<u8>)> {
        if let Some(found) = self.record_at(at)? {
            return Ok(found);
        }
        // The map may be of a file that was begun in vain, by the parent of this process.
        self.shared.reopen_segment(at.segment())?;
        self.active.take();
        self.record_at(at)?.ok_or_else(|| {
            Error::corrupt(
                &self.shared.dir.join(&at.segment().file_name()),
                "a committed record cannot be read",
            )
            .offset(8 * at.unit())
        })
    }

    /// The record at `at` with its body, if it is sound.
    pub(crate) fn record_at(&self, at: Location) -> Result<Option<(Record<'static>, Vec<u8>)>> {
        let Some(words) = self.words(at)? else { return Ok(None) };
        let mut body = Vec::new();
        let store_id = self.shared.identity.store_id;
        let Some(header) = reader::body(words, store_id, at, &mut body) else { return Ok(None) };
        let hash = match header.kind {
            Kind::Put => self.shared.hash(key_in(&header, &body)),
            _ => 0,
        };
        let arguments = if header.kind == Kind::Put { [0; 3] } else { arguments_in(&body) };
        Ok(Some((Record { at, header, hash, tag: &[], arguments, old: None, place: None }, body)))
    }
}

fn with_body<'a>(record: &Record<'_>, body: &'a [u8]) -> Record<'a> {
    let tag = body.get(..usize::from(record.header.tag_len)).unwrap_or_default();
    Record {
        at: record.at,
        header: record.header,
        hash: record.hash,
        tag,
        arguments: record.arguments,
        old: None,
        place: None,
    }
}

/// The key in the body of a record.
pub(crate) fn key_in<'a>(header: &Header, body: &'a [u8]) -> &'a [u8] {
    let from = usize::from(header.tag_len);
    body.get(from..from + header.key_len as usize).unwrap_or_default()
}

fn arguments_in(body: &[u8]) -> [u64; 3] {
    let mut arguments = [0; 3];
    for (argument, bytes) in arguments.iter_mut().zip(body.chunks_exact(8)) {
        *argument = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    }
    arguments
}
