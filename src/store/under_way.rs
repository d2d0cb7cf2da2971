//! Syncs under way: the disk is written to while writes go on.
//!
//! ```text
//! sealed          sealed, its turn       the kernel is done       the queue's front
//! start_writeback --> begin_data_sync --> ... the outcome ... --> note_synced, in the order of the log
//! ```
//!
//! When a segment is sealed, writeback begins; a segment later the kernel is asked to make it
//! durable, and goes on by itself. That happens after the lock has been given back, and only while
//! drained files wait to be used again. The queue is in the order of the log, names of files before
//! the segments in them, and only what is finished at its front counts: so `synced` says that
//! everything before it is on disk, as if each had been waited for. Nothing but a success that was
//! fetched moves it; who is killed before that has told nobody anything.
//!
//! The queue is looked at when a segment is to begin, under the lock (one system call, which does
//! not wait), and after the lock was given back. A write waits in one case ([`Reach::Wait`]): the
//! segment before was begun in a new file because the spare ones are not durable, and the log is
//! longer than it may be. Where the kernel refuses such requests, each is waited for when its turn
//! comes.

use std::collections::VecDeque;

use crate::error::Result;
use crate::format::location::{Location, Segment};
use crate::format::segment::{DRAINED_WORD, HEADER_UNITS};
use crate::store::{Shared, Writer};
use crate::sys::aio::{self, Request};
use crate::sys::file::begin_data_sync;
use crate::sys::sync::Ordering;

/// Requests that may be under way when one more segment is asked for.
const MOST_UNDER_WAY: usize = 16;
/// Segments that one call waits for at most, where the kernel does not do so by itself.
const SYNCS: usize = 4;
/// What one call waits for at most before it waits for all of the log.
const WAITS: usize = 256;

/// What is to be done about the disk when the lock is free; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reach {
    /// To begin the sync of sealed segments whose turn it is.
    Sealed = 1,
    /// To begin the sync of all of the log.
    Tail = 2,
    /// To wait until the oldest drained file may be used again.
    Wait = 3,
}

/// One request, and up to where the log is durable when it and those before it have succeeded.
pub(crate) struct UnderWay {
    request: Request,
    upto: Option<Location>,
}

type Queue = VecDeque<UnderWay>;

impl Shared {
    /// Begins to write the last sealed segment to disk, and asks for the sync of those before it if
    /// drained files wait for that; with `to_tail`, of all of the log. An error is remembered in the
    /// store; the next `sync()` reports it.
    pub(crate) fn begin_syncs(&self, to_tail: bool) {
        // Another thread that is here does the same.
        let Some(mut queue) = self.process().under_way.try_lock() else { return };
        self.take_finished(&mut queue);
        let tail = self.head.tail();
        if !to_tail {
            if !tail.segment().is_after(self.synced_in_order().segment()) {
                return;
            }
            self.start_writeback(Segment::new(u64::from(tail.segment().number()) + (1 << 27) - 1));
            if self.head.state().1.spare_units == 0 {
                return;
            }
        }
        // What cannot be opened now is tried again at the next turn.
        let _ = self.ask_in_order(&mut queue, tail, to_tail);
    }

    fn ask_in_order(&self, queue: &mut Queue, tail: Location, to_tail: bool) -> Result<()> {
        let last = queue.iter().rev().find_map(|one| one.upto);
        let mut segment = last.unwrap_or_else(|| self.synced_in_order()).segment();
        let is_sealed = |segment: Segment| tail.segment().is_after(segment);
        let is_due = |segment: Segment| is_sealed(if to_tail { segment } else { segment.next() });
        let is_tail_due = to_tail && queue.is_empty();
        if queue.len() >= MOST_UNDER_WAY || !is_due(segment) && !is_tail_due {
            return Ok(());
        }
        self.ask_for_names(queue);
        let mut waited = 0;
        while is_due(segment) {
            if queue.len() >= MOST_UNDER_WAY {
                return Ok(());
            }
            if waited >= SYNCS {
                // There is more to wait for: the next write goes on.
                self.process().ask_for_sync(Reach::Sealed);
                return Ok(());
            }
            let next = segment.next();
            self.ask_for_segment(queue, segment, Location::new(next, HEADER_UNITS))?;
            if !self.take_finished(queue) {
                return Ok(());
            }
            waited += usize::from(queue.is_empty());
            segment = next;
        }
        if is_tail_due && segment == tail.segment() {
            self.ask_for_segment(queue, segment, tail)?;
            self.take_finished(queue);
        }
        Ok(())
    }

    fn ask_for_names(&self, queue: &mut Queue) {
        if !self.process().new_names.swap(false, Ordering::Relaxed) {
            return;
        }
        let values = self.dir.begin_sync_sub("values").ok();
        for request in values.into_iter().chain([self.dir.begin_sync()]) {
            queue.push_back(UnderWay { request, upto: None });
        }
    }

    /// Asks for one segment up to `upto` and the value files that its records name.
    fn ask_for_segment(&self, queue: &mut Queue, segment: Segment, upto: Location) -> Result<()> {
        let end = (upto.segment() == segment).then_some(upto);
        self.each_value_file(segment, end, |file, opened| {
            let name = file.name();
            let parent = name.rsplit_once('/').map(|(parent, _)| parent);
            let names = parent.and_then(|parent| self.dir.begin_sync_sub(parent).ok());
            for request in [begin_data_sync(&opened)].into_iter().chain(names) {
                queue.push_back(UnderWay { request, upto: None });
            }
            Ok(())
        })?;
        let name = segment.file_name();
        let request = match self.dir.file(&name, true) {
            Ok(file) => begin_data_sync(&file),
            // Drained and used again meanwhile: that waited for the disk.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Request::finished(&Ok(()))
            }
            Err(error) => return Err(self.failed("open the segment", &name, error)),
        };
        queue.push_back(UnderWay { request, upto: Some(upto) });
        Ok(())
    }

    /// Takes what has ended off the front of the queue, and believes it. False if it failed.
    fn take_finished(&self, queue: &mut Queue) -> bool {
        if queue.front().is_some_and(|one| one.request.outcome().is_none()) {
            aio::look();
        }
        while let Some(outcome) = queue.front().and_then(|one| one.request.outcome()) {
            let upto = queue.pop_front().and_then(|one| one.upto);
            if outcome.is_err() {
                self.head.set_sync_failed(true);
                // What comes after it counts for nothing; it is asked for again in its turn.
                queue.clear();
                return false;
            }
            if let Some(upto) = upto {
                self.note_synced(upto);
            }
        }
        true
    }

    /// Learns what the kernel has done by now. Never waits.
    pub(crate) fn look_at_syncs(&self) {
        if let Some(mut queue) = self.process().under_way.try_lock() {
            self.take_finished(&mut queue);
        }
    }

    /// Waits for all that is under way now.
    pub(crate) fn wait_for_syncs(&self) {
        let under_way: Vec<Request> =
            self.process().under_way.lock().iter().map(|one| one.request.clone()).collect();
        for request in &under_way {
            // Its outcome is taken from the queue.
            let _ = request.wait();
        }
        self.take_finished(&mut self.process().under_way.lock());
    }

    /// Waits until the oldest drained file may be used again, and no longer.
    pub(crate) fn catch_up(&self) {
        let state = self.head.state().1;
        let Ok(Some(words)) = self.segment(state.oldest) else { return };
        // ORDERING: Acquire, pairs with the Release store in `apply_retire`.
        let mark = words.get(DRAINED_WORD).map_or(0, |word| word.load(Ordering::Acquire));
        let mark = Location::from_bits(mark);
        if state.oldest == state.first || mark.is_none() {
            return;
        }
        for _ in 0..WAITS {
            self.begin_syncs(true);
            if self.synced_in_order().is_at_or_after(mark) {
                return;
            }
            let front = self.process().under_way.lock().front().map(|one| one.request.clone());
            let Some(front) = front else { break };
            let _ = front.wait();
        }
        self.settle_on_disk();
    }

    /// The log is another one from here on: what was under way tells nothing about it.
    pub(crate) fn forget_syncs(&self) {
        self.process().under_way.lock().clear();
        // ORDERING: Release, as in `note_synced`.
        self.process().synced.store(0, Ordering::Release);
    }
}

impl Writer<'_> {
    /// Takes into the state how far the log is on disk by what this process knows.
    pub(crate) fn learn_synced(&mut self) {
        // ORDERING: Acquire, pairs with `note_synced`: the syncs before it are over.
        let bits = self.shared.process().synced.load(Ordering::Acquire);
        let synced = Location::from_bits(bits);
        if !synced.is_none() && !self.state.synced.is_at_or_after(synced) {
            self.state.synced = synced;
        }
    }
}

#[cfg(test)]
pub(super) mod for_tests {
    use super::*;
    use crate::store::Store;

    /// Adds a request at the end of the queue.
    pub(in crate::store) fn add(store: &Store, request: Request) {
        let one = UnderWay { request, upto: None };
        store.shared().process().under_way.lock().push_back(one);
    }
}
