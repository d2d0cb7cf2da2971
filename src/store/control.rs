//! What the cache asks of a store beside reading and writing keys: counters, settings, limits.

use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::{ACCESS, Access, PAGE_ENTRIES};
use crate::format::record::Kind;
use crate::format::settings::Settings;
use crate::format::state::State;
use crate::store::space::volume;
use crate::store::{Store, Writer};
use crate::sys::file::on_disk;
use crate::sys::sync::Ordering;
use crate::table::pages::{self, EntryView};

impl Store {
    /// Bytes by which the keys are accounted.
    pub(crate) fn volume(&self) -> u64 {
        volume(&self.state())
    }

    /// Bytes that the store takes on disk, directories and the slots of processes not counted.
    pub(crate) fn disk_usage(&self) -> Result<u64> {
        let shared = &self.0;
        let mut names = shared
            .dir
            .list("")
            .map_err(|source| shared.failed("list the files of", ".", source))?;
        names.extend(shared.value_files()?);
        let mut bytes = 0;
        for name in names {
            // What is no regular file, or has gone meanwhile, takes nothing.
            if let Ok(file) = shared.dir.file(&name, false) {
                bytes += on_disk(&file).map_err(|error| shared.failed("look at", &name, error))?;
            }
        }
        Ok(bytes)
    }

    /// A number for what is in the store, if no write is under way. As long as it is the same again,
    /// what was read in between was of one instant: a write moves the end of the log before it
    /// touches the table.
    pub(crate) fn at_rest(&self) -> Option<u64> {
        let tail = self.0.head.tail();
        (self.0.head.applied().location() == tail).then_some(tail.bits())
    }
}

impl Writer<'_> {
    /// The counters, with what the transaction of this thread has changed.
    pub(crate) fn state(&self) -> State {
        let Some(overlay) = &self.session.overlay else { return *self.state };
        let plus = |count: u64, change: i64| count.saturating_add_signed(change);
        State {
            len: plus(self.state.len, overlay.len),
            controls: plus(self.state.controls, overlay.controls),
            live_bytes: plus(self.state.live_bytes, overlay.live_bytes),
            file_bytes: plus(self.state.file_bytes, overlay.file_bytes),
            ..*self.state
        }
    }

    /// No key expires before this time, in milliseconds.
    #[inline]
    pub(crate) fn min_expiry_ms(&self) -> u64 {
        self.state.min_expiry_ms
    }

    /// Replaces the settings, for all processes.
    ///
    /// Where what is promised after power loss changes, the disk is waited for before and after: the
    /// new promise is about all that is there, and what nobody waits for any more may be done only
    /// when the disk says so, too.
    pub(crate) fn set_settings(&mut self, settings: &Settings) -> Result<()> {
        if let Some(problem) = settings.problem() {
            return Err(Error::new(ErrorKind::Setting, problem).at(self.shared.dir.path()));
        }
        let shared = self.shared;
        if settings.power_loss == shared.head.settings().power_loss {
            return self.job(Kind::Settings, &settings.encode());
        }
        self.state.synced = shared.sync_to_tail()?;
        self.job(Kind::Settings, &settings.encode())?;
        // Waited for when that was applied: by now it is known how it went.
        shared.sync_to_tail().map(|_| ())
    }

    /// Removes every key; how many there were, without the cache's own. Takes the same time however many.
    pub(crate) fn clear(&mut self) -> Result<u64> {
        if self.session.overlay.is_some() {
            return self.clear_key_by_key();
        }
        match self.clear_at_once() {
            // A full disk has no room for a new table, but for removals.
            Err(error) if error.kind() == ErrorKind::Full => {
                self.discard_other_tables()?;
                self.clear_key_by_key()
            }
            done => done,
        }
    }

    fn clear_at_once(&mut self) -> Result<u64> {
        let removed = self.state.user_len();
        let generation = self.state.geometry.next_generation();
        // What a rebuild that was cut short left under this number is no empty table.
        self.discard_other_tables()?;
        self.shared.table.begin_generation(generation)?;
        if self.shared.has_sync_failed() {
            // Parts of this segment may never reach the disk, whatever a later sync says. What comes
            // after them must not need them.
            self.end_segment()?;
        }
        // In one segment, so that the settings are not dropped with the segments before it.
        self.room_for_job(32)?;
        let settings = self.shared.head.settings();
        self.job(Kind::Settings, &settings.encode())?;
        self.job(Kind::Clear, &[generation])?;
        self.maintain(0)?;
        Ok(removed)
    }

    fn discard_other_tables(&self) -> Result<()> {
        for name in self.shared.table.stale_files(self.state.geometry.generation())? {
            self.shared.discard_file(&name);
        }
        Ok(())
    }

    fn clear_key_by_key(&mut self) -> Result<u64> {
        let mut removed = 0;
        let mut cursor = crate::store::page_walk::PageCursor::default();
        while let Some(page) = self.page(&mut cursor)? {
            for view in page.entries {
                // Upkeep between two removals may have moved it.
                let Some(view) = self.current(&view) else { continue };
                if let Some(found) = self.found(&view)? {
                    self.remove_entry(&view, 0)?;
                    removed += u64::from(!found.header.is_control());
                }
            }
        }
        for (key, found) in self.own() {
            self.remove(self.hashed(&key), &found, 0)?;
            removed += u64::from(!found.header.is_control());
        }
        Ok(removed)
    }

    /// Raises the expiry bound of a page to what its entries say.
    pub(crate) fn tighten(&mut self, page: u32) {
        pages::tighten(&self.shared.table, page);
    }

    /// Sets the lowest expiry time of all keys; it may be too low, never too high.
    pub(crate) fn set_min_expiry(&mut self, min_expiry_ms: u64) -> Result<()> {
        self.state.min_expiry_ms = min_expiry_ms;
        self.flip(self.applied.location())
    }

    /// The entry as it is now, if its key still has it: a record may have moved, a page may have
    /// been merged into another, since it was read.
    pub(crate) fn current(&self, view: &EntryView) -> Option<EntryView> {
        let table = &self.shared.table;
        let (page, index) = (view.number / PAGE_ENTRIES as u32, view.number % PAGE_ENTRIES as u32);
        // A page that is used again has words of its former life until its entries are given out.
        pages::snapshot(table, page).filter(|page| page.bitmap >> index & 1 != 0)?;
        pages::view(table, view.number).filter(|now| now.hash == view.hash && !now.slot.is_empty())
    }

    /// Sets the counts of evictions and expirations to zero; the state before.
    pub(crate) fn reset_counters(&mut self) -> Result<State> {
        let before = *self.state;
        *self.state = State { evictions: 0, expirations: 0, ..before };
        self.flip(self.applied.location())?;
        Ok(before)
    }

    /// Sets time of access and uses of an entry.
    pub(crate) fn set_access(&self, entry: u32, access: Access) {
        if let Some(words) = pages::entry(&self.shared.table, entry) {
            words[ACCESS].store(access.0, Ordering::Relaxed);
        }
    }
}
