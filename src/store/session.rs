//! Holding the lock: what one process knows as a writer, and the guard that every write goes
//! through.

use std::cell::{Cell, RefCell};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::{Mutex, ReentrantMutex, ReentrantMutexGuard};

use crate::error::{Error, ErrorKind, Result};
use crate::format::location::{Location, Segment};
use crate::format::record::{FileRef, Kind};
use crate::format::state::{Applied, State};
use crate::log::segments::MAX_SEGMENTS;
use crate::store::apply::MAX_SPLITS;
use crate::store::budget::Looked;
use crate::store::compact::Ahead;
use crate::store::lock::{self, Kernel, Owner};
use crate::store::transaction::Overlay;
use crate::store::{Shared, Store};
use crate::sys::file::Dir;
use crate::sys::liveness::{self, Claim, DeathProof};
use crate::sys::raw::{futex_wait, futex_wake, process_token};
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering};
use crate::table::lookup::Place;

/// What a process holds of a store for writing. After a fork the child begins with a new one.
pub(crate) struct Process {
    /// One thread of the process writes at a time; the same thread may come again.
    pub(crate) session: ReentrantMutex<RefCell<Session>>,
    /// Up to where the log is known to be on disk from syncs of this process; 0 for nowhere.
    pub(crate) synced: AtomicU64,
    /// A segment could not be made for want of space, and no two have been made since.
    disk_full: AtomicBool,
    /// Bytes that the disk had left when this process last made a segment.
    free_bytes: AtomicU64,
    /// Up to which segment the names of the files, and `head`, are known to be on disk from syncs of
    /// this process; 0 for none.
    pub(crate) named: AtomicU64,
    /// A sealed segment waits to be synced, or a buried file to be deleted, when the lock is free.
    sync_due: AtomicBool,
    /// The log is longer than it should be, and what would shorten it waits for all of it.
    sync_all: AtomicBool,
    /// Files of replaced values that go when what replaced them is on disk.
    pub(crate) buried: Mutex<Vec<FileRef>>,
}

impl Process {
    pub(crate) fn new() -> Process {
        Process {
            session: ReentrantMutex::new(RefCell::new(Session::default())),
            synced: AtomicU64::new(0),
            disk_full: AtomicBool::new(false),
            free_bytes: AtomicU64::new(u64::MAX),
            named: AtomicU64::new(0),
            sync_due: AtomicBool::new(false),
            sync_all: AtomicBool::new(false),
            buried: Mutex::new(Vec::new()),
        }
    }

    /// Whether the disk counts as full.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
    }

    pub(crate) fn note_disk_full(&self, is_full: bool) {
        self.disk_full.store(is_full, Ordering::Relaxed);
    }

    /// Bytes that the disk is known to have left.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn note_free_bytes(&self, bytes: u64) {
        self.free_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Has the disk waited for when the lock has been given back: for the sealed segments, or for
    /// all of the log.
    pub(crate) fn ask_for_sync(&self, all: bool) {
        if all {
            self.sync_all.store(true, Ordering::Relaxed);
        }
        self.sync_due.store(true, Ordering::Relaxed);
    }
}

/// A writer's memory from one write to the next.
#[derive(Default)]
pub(crate) struct Session {
    claim: Option<Claim>,
    owner: Option<Owner>,
    known: Option<Known>,
    /// Where the next state is made.
    pub(crate) spare: Option<Box<State>>,
    /// The segment that this process knows as active, by its own rolling or mapped by name.
    pub(crate) active: Option<Segment>,
    /// The table in whose time that was.
    generation: u64,
    pub(crate) overlay: Option<Overlay>,
    /// The records of a transaction are being appended: nothing is committed until its end.
    pub(crate) is_gathering: bool,
    /// Up to which byte the pages of which segment are ready to be written.
    pub(crate) populated: Option<(Segment, usize)>,
    /// This process has marked the store as changed since it was opened.
    pub(crate) has_begun: bool,
    pub(crate) scratch: Vec<u8>,
    /// Where a record is put together before it is copied to its place.
    pub(crate) record: Vec<u8>,
    /// The records that compaction looks at next.
    pub(crate) ahead: Vec<Ahead>,
    /// When the stores that share a limit with this one were last looked at.
    pub(crate) looked: Option<Looked>,
}

/// The state as this process last saw or made it.
pub(crate) struct Known {
    applied: Applied,
    state: Box<State>,
}

/// The operating system, for the lock of one store.
struct System<'a>(&'a Dir);

impl Kernel for System<'_> {
    type Proof = DeathProof;

    fn sleep(&self, word: &AtomicU32, expected: u32, timeout: Duration) -> bool {
        // An error is treated like a sleep that ended: the caller looks at the word again.
        futex_wait(word, expected, timeout).unwrap_or(true)
    }

    fn wake(&self, word: &AtomicU32) {
        futex_wake(word, 1);
    }

    fn prove_dead(&self, slot: u16) -> Option<DeathProof> {
        liveness::prove_dead(self.0, slot).ok().flatten()
    }
}

/// The lock of a store, held by this thread. All writing goes through it.
pub(crate) struct Writer<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) session: &'a mut Session,
    pub(crate) applied: Applied,
    /// Where the next record goes. Records between the shared `tail` and this are not committed.
    pub(crate) tail: Location,
    pub(crate) state: Box<State>,
    /// Puts may use what is reserved for removals: they give something back.
    pub(crate) is_giving_back: bool,
    /// The slot that the last lookup ended at: that of the key, or an empty one for it. It saves
    /// finding it again; who uses it looks first whether it still holds what is expected.
    pub(crate) at_hand: Cell<Option<Place<'a>>>,
    /// The words of the segment that `tail` is in, once they have been asked for.
    pub(crate) active: Cell<Option<(Segment, &'a [AtomicU64])>>,
    /// The state is this process's own work, and needs no second look.
    is_known: bool,
}

impl Store {
    /// Takes the lock, finishes what a killed owner left, and runs `work`.
    ///
    /// Within a transaction of this thread the lock is held already, and `work` joins it.
    ///
    /// # Errors
    ///
    /// `Timeout`, naming the process that holds the lock; `ReadOnly`; what recovery meets; what
    /// `work` gives.
    pub(crate) fn write<R>(
        &self,
        timeout: Duration,
        work: impl FnOnce(&mut Writer<'_>) -> Result<R>,
    ) -> Result<R> {
        self.0.locked(timeout, None, |writer| writer.enter(), work)
    }

    /// As `write`, for work that begins with finding the key with this hash: starts loading its record
    /// once the lock is held. Its bucket must be read for that, which `hashed_ahead` has had loaded
    /// since before the value was encoded.
    pub(crate) fn write_to<R>(
        &self,
        hash: u64,
        timeout: Duration,
        work: impl FnOnce(&mut Writer<'_>) -> Result<R>,
    ) -> Result<R> {
        self.0.locked(timeout, Some(hash), |writer| writer.enter(), work)
    }

    /// As `write`, where the log and the table are to be made anew and not believed.
    pub(crate) fn write_unrecovered<R>(
        &self,
        timeout: Duration,
        work: impl FnOnce(&mut Writer<'_>) -> Result<R>,
    ) -> Result<R> {
        self.0.locked(timeout, None, |_| Ok(()), work)
    }

    /// Whether this thread is inside a transaction on this store.
    #[inline]
    pub(crate) fn is_in_transaction(&self) -> bool {
        let mutex = &self.0.process().session;
        mutex.is_owned_by_current_thread()
            && mutex
                .try_lock()
                .is_some_and(|cell| cell.try_borrow().is_ok_and(|it| it.overlay.is_some()))
    }
}

impl Shared {
    fn locked<R>(
        &self,
        timeout: Duration,
        ahead: Option<u64>,
        enter: impl FnOnce(&mut Writer<'_>) -> Result<()>,
        work: impl FnOnce(&mut Writer<'_>) -> Result<R>,
    ) -> Result<R> {
        self.refuse_read_only()?;
        let guard = self.own_thread(timeout)?;
        let mut session = guard.try_borrow_mut().map_err(|_| {
            Error::new(
                ErrorKind::Unsupported,
                "a write was begun from inside another write of the same thread; use transact() \
                 to join several operations",
            )
        })?;
        let is_inner = session.overlay.is_some();
        if !is_inner {
            self.acquire(&mut session, timeout)?;
        }
        if let Some(hash) = ahead {
            self.prefetch_record(hash);
        }
        let token = process_token();
        let mut held =
            Held { shared: self, session: &mut session, is_inner, is_finished: false, token };
        let result = held.run(enter, work);
        drop(held);
        drop(session);
        drop(guard);
        self.sync_if_due();
        result
    }

    pub(crate) fn refuse_read_only(&self) -> Result<()> {
        if !self.read_only {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::ReadOnly,
            "cannot write: the store was opened read-only; open it without read_only(true), with \
             write access to its directory",
        )
        .at(self.dir.path()))
    }

    /// Waits for the disk as far as a write of this process has asked for it, when this thread
    /// holds nothing that others wait for.
    pub(crate) fn sync_if_due(&self) {
        let process = self.process();
        // ORDERING: Relaxed, a hint: what is to be synced is told by the state.
        if !process.sync_due.load(Ordering::Relaxed) || process.session.is_owned_by_current_thread()
        {
            return;
        }
        process.sync_due.store(false, Ordering::Relaxed);
        if process.sync_all.swap(false, Ordering::Relaxed) {
            let _ = self.settle_on_disk();
        } else {
            self.sync_sealed();
        }
        self.delete_buried();
    }

    /// Keeps the other threads of this process out.
    pub(crate) fn own_thread(
        &self,
        timeout: Duration,
    ) -> Result<ReentrantMutexGuard<'_, RefCell<Session>>> {
        let mutex = &self.process().session;
        let guard = mutex.try_lock().or_else(|| mutex.try_lock_for(timeout));
        guard.ok_or_else(|| self.timed_out(timeout, std::process::id(), "another thread"))
    }

    /// Takes the lock between processes.
    fn acquire(&self, session: &mut Session, timeout: Duration) -> Result<()> {
        let word = self.head.lock_word().ok_or_else(|| {
            Error::new(ErrorKind::Io, "the head of the store is not mapped").at(self.dir.path())
        })?;
        let owner = self.owner(session)?;
        lock::acquire(&System(&self.dir), word, owner, timeout).map_err(
            |lock::TimedOut { slot }| {
                let process = liveness::owner_pid(&self.dir, slot).unwrap_or(0);
                self.timed_out(timeout, process, "a write or transaction")
            },
        )
    }

    fn release(&self) {
        if let Some(word) = self.head.lock_word() {
            lock::release(&System(&self.dir), word);
        }
    }

    /// The identity of this process in this store, claimed at the first write.
    pub(crate) fn owner(&self, session: &mut Session) -> Result<Owner> {
        if let Some(owner) = session.owner {
            return Ok(owner);
        }
        let claim = liveness::claim(&self.dir)
            .map_err(|source| self.failed("claim a slot in", "procs", source))?;
        let owner = Owner::new(claim.slot(), claim.incarnation());
        if let Some(word) = self.head.lock_word()
            && lock::holder(word.load(Ordering::Relaxed)) == Some(claim.slot())
        {
            // The last owner of this slot died with the lock. Nobody can prove that any more, now
            // that the slot is alive again: the lock is taken over and given back at once.
            let system = System(&self.dir);
            if lock::acquire(&system, word, owner, Duration::ZERO).is_ok() {
                lock::release(&system, word);
            }
        }
        session.claim = Some(claim);
        session.owner = Some(owner);
        Ok(owner)
    }

    pub(crate) fn counters_are_damaged(&self) -> Error {
        Error::corrupt(self.dir.path(), "the counters of the cache are damaged")
    }

    fn timed_out(&self, timeout: Duration, process: u32, who: &str) -> Error {
        Error::new(
            ErrorKind::Timeout,
            format!(
                "the writer lock was not free within {} ms: {who} of process {process} holds it; \
                 try again, or allow a longer timeout",
                timeout.as_millis()
            ),
        )
        .at(self.dir.path())
    }
}

/// Gives the lock back whatever happens, unless a transaction goes on.
struct Held<'a> {
    shared: &'a Shared,
    session: &'a mut Session,
    is_inner: bool,
    /// The work has come to an end, well or with an error, and has not panicked.
    is_finished: bool,
    /// The process that took the lock.
    token: u64,
}

impl Held<'_> {
    fn run<R>(
        &mut self,
        enter: impl FnOnce(&mut Writer<'_>) -> Result<()>,
        work: impl FnOnce(&mut Writer<'_>) -> Result<R>,
    ) -> Result<R> {
        let shared = self.shared;
        let applied = shared.head.applied();
        let tail = shared.head.tail();
        // Taken out: after a panic or an error on the way nothing is taken for known.
        let known = self.session.known.take().filter(|known| known.applied == applied);
        let is_known = known.is_some();
        let state = match known {
            Some(known) => known.state,
            None => Box::new(shared.head.state().1),
        };
        let (session, is_giving_back) = (&mut *self.session, false);
        let mut writer = Writer {
            shared,
            session,
            applied,
            tail,
            state,
            is_giving_back,
            at_hand: Cell::new(None),
            active: Cell::new(None),
            is_known,
        };
        let entered = enter(&mut writer);
        let is_sound = entered.is_ok();
        let result = entered.and_then(|()| work(&mut writer));
        let Writer { applied, tail, state, .. } = writer;
        if is_sound && tail == shared.head.tail() && applied.location() == tail {
            self.session.known = Some(Known { applied, state });
        }
        self.is_finished = true;
        result
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.token != process_token() {
            // A child that was forked in here: the lock is its parent's.
            return;
        }
        self.session.is_gathering = false;
        if !self.is_finished {
            // Of a segment that was begun in here there may be a map; another may begin it anew.
            self.session.active = None;
        }
        let goes_on = self.session.overlay.is_some();
        if !goes_on || (!self.is_inner && !self.is_finished) {
            self.session.overlay = None;
            self.shared.release();
        }
    }
}

impl Session {
    /// Who writes: the slot and its incarnation, once claimed.
    pub(crate) fn identity(&self) -> (u16, u64) {
        self.claim.as_ref().map_or((0, 0), |claim| (claim.slot(), claim.incarnation()))
    }
}

impl Writer<'_> {
    /// Whether the counters can be right, and agree with the geometry that readers go by.
    pub(crate) fn is_plausible(&self) -> bool {
        let (shared, here) = (self.shared.head.geometry(), self.state.geometry);
        // A step of growing stores the geometry before it counts.
        let ahead = shared.buckets().wrapping_sub(here.buckets());
        self.state.is_plausible(self.tail, MAX_SEGMENTS)
            && self.state.has_files_for(self.applied.location().segment())
            && (shared.generation() != here.generation() || ahead <= MAX_SPLITS)
    }

    fn enter(&mut self) -> Result<()> {
        if self.session.overlay.is_some() {
            return Ok(());
        }
        if !self.is_known && !self.is_plausible() {
            return Err(self.shared.counters_are_damaged());
        }
        self.recover()?;
        let generation = self.state.geometry.generation();
        if self.session.generation != generation {
            // A repair may have given up the file that this process knows under that number.
            (self.session.generation, self.session.active) = (generation, None);
        }
        let active = Some(self.tail.segment());
        if self.state.log_units != 0 && self.session.active != active {
            // Another process has begun it: a map that this one may have of a file of that name
            // need not be the right one.
            self.shared.reopen_segment(self.tail.segment())?;
            self.session.active = active;
            self.active.take();
        }
        if self.state.log_units == 0 {
            self.begin_log()?;
        }
        self.blank_uncommitted()?;
        let synced = self.shared.own_synced();
        if !synced.is_none() && !self.state.synced.is_at_or_after(synced) {
            self.state.synced = synced;
        }
        if self.state.settings.is_none() {
            // The log has just begun, or its beginning is lost. A later record shows by this one what it
            // changes.
            let settings = self.shared.head.settings();
            self.job(Kind::Settings, &settings.encode())?;
        }
        Ok(())
    }
}
