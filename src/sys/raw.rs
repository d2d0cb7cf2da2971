//! What only the kernel and the C library can do, made safe to call.
//!
//! - [`futex_wait`], [`futex_wake`]: sleep on a shared 32-bit word, across processes.
//! - [`process_token`]: a number for this process that the child of a fork does not have.
//! - [`ForkWatch`]: tells whether another thread forked at the wrong moment.
//! - [`PrivateEntry`]: has a descriptor closed in children (`private` makes files of it).
//! - [`Chain`]: a list that only grows, without a lock (a lock may be held by a thread that the
//!   child of a fork does not have).
//! - [`byte_lock`], [`start_writeback`], [`random_bytes`].
//!
//! # Forks
//!
//! The child of a fork has the memory and the descriptors of its parent, but one thread only. Three
//! facts are kept here, set up at first use, and all of them without a lock:
//!
//! ```text
//! TOKEN page    wiped by the kernel in the child: reads as zero there, and a new token is made
//! STARTED       forks begun, RUNNING forks under way: did one happen between here and there?
//! PRIVATE list  descriptors that the child closes before it does anything else
//! ```
//!
//! The hooks are `pthread_atfork` handlers. A child made by a bare `clone` system call does not run
//! them; it still has another token, so that it never takes itself for its parent.
#![expect(unsafe_code, reason = "calls the kernel, and keeps the lists that fork handlers walk")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::ptr;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicI32};
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::thread::futex;

use crate::sys::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

/// Sleeps until `word` is woken, at most for `timeout`, and only if it holds `expected` now.
///
/// Returns false when the time has passed. True says nothing about the word: look again.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, timeout: Duration) -> io::Result<bool> {
    let limit = futex::Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    match futex::wait(word, futex::Flags::empty(), expected, Some(&limit)) {
        Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(true),
        Err(rustix::io::Errno::TIMEDOUT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Wakes at most `count` sleepers of `word`, in all processes.
pub(crate) fn futex_wake(word: &AtomicU32, count: u32) {
    // The one error possible is a word that is not mapped, which a reference rules out.
    let _ = futex::wake(word, futex::Flags::empty(), count);
}

/// The size of a page of memory.
fn page_size() -> usize {
    const USUAL: usize = 4096;
    // SAFETY: asks for a number by a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).ok().filter(|size| size.is_power_of_two()).unwrap_or(USUAL)
}

/// Fills `bytes` with random numbers of the kernel.
pub(crate) fn random_bytes(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += retry_on_intr(|| getrandom(&mut *rest, GetRandomFlags::empty()))?;
    }
    Ok(())
}

/// One random number of the kernel.
pub(crate) fn random_u64() -> io::Result<u64> {
    let mut bytes = [0; 8];
    random_bytes(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Starts to write the changed pages of `file` to the disk, without waiting for it. This is a hint:
/// a file system that cannot do it does nothing.
pub(crate) fn start_writeback(file: &File) {
    // SAFETY: takes a descriptor that the reference keeps open, and numbers.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Takes the kernel's lock on one byte of `file`, for this open file, and does not wait.
///
/// `Ok(false)`: another open file has it. An error means that the file system has no such locks.
pub(crate) fn byte_lock(file: &File, byte: u32) -> io::Result<bool> {
    match set_byte_lock(file, byte, libc::F_WRLCK) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Gives back what [`byte_lock`] took, also for copies of the descriptor in other processes.
pub(crate) fn byte_unlock(file: &File, byte: u32) {
    // Closing the file does the same; the result says nothing that could be acted upon.
    let _ = set_byte_lock(file, byte, libc::F_UNLCK);
}

fn set_byte_lock(file: &File, byte: u32, kind: libc::c_int) -> io::Result<()> {
    let narrow = |number: libc::c_int| libc::c_short::try_from(number).unwrap_or_default();
    let range = libc::flock {
        l_type: narrow(kind),
        l_whence: narrow(libc::SEEK_SET),
        l_start: byte.into(),
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the command reads one `flock` structure, which lives.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, ptr::from_ref(&range)) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

// ---- the token of this process ----------------------------------------------------------------

/// Where the token lies: a page that the kernel wipes in the child, or [`SPARE_TOKEN`].
static TOKEN: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// The token on kernels that do not wipe pages: a fork handler sets it to zero in the child.
static SPARE_TOKEN: AtomicU64 = AtomicU64::new(0);

/// A number for this process: never zero, the same for its whole life and in all of its threads,
/// another one in the child of a fork. One load and a branch.
#[inline]
pub(crate) fn process_token() -> u64 {
    // ORDERING: Acquire, pairs with the exchange in `token_cell`.
    let cell = TOKEN.load(Ordering::Acquire);
    // SAFETY: null, or a cell that is never freed, as `token_cell` put it there.
    let token = unsafe { cell.as_ref() }.map_or(0, |cell| cell.load(Ordering::Relaxed));
    if token == 0 { new_token() } else { token }
}

#[cold]
fn new_token() -> u64 {
    let process = u64::from(rustix::process::getpid().as_raw_nonzero().get().unsigned_abs());
    let Some(cell) = token_cell() else {
        // Neither pages that wipe themselves nor fork handlers: the process number has to do.
        return process;
    };
    let fresh = match random_u64() {
        Ok(number) if number != 0 => number,
        _ => process,
    };
    // ORDERING: Relaxed, the token guards no other data. The first thread to get here decides.
    match cell.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => fresh,
        Err(other) => other,
    }
}

fn token_cell() -> Option<&'static AtomicU64> {
    let mut cell = TOKEN.load(Ordering::Acquire);
    if cell.is_null() {
        // Early, so that no fork can be under way without them when the first file is locked.
        install_hooks();
        let fresh = wiped_page().or_else(spare_cell)?;
        // ORDERING: Release, pairs with the load in `process_token`.
        let done = TOKEN.compare_exchange(cell, fresh, Ordering::AcqRel, Ordering::Acquire);
        // A page that lost the race stays mapped: one page, once, in place of one more thing that
        // can go wrong.
        cell = done.err().unwrap_or(fresh);
    }
    // SAFETY: not null, and never freed.
    unsafe { cell.as_ref() }
}

fn wiped_page() -> Option<*mut AtomicU64> {
    let size = page_size();
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: asks for new memory at an address of the kernel's choice.
    let page =
        unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), size, access, MapFlags::PRIVATE) };
    let page = page.ok()?;
    // SAFETY: the page is the one just mapped, and nobody else knows of it.
    let wiped = unsafe { rustix::mm::madvise(page, size, Advice::LinuxWipeOnFork) };
    if wiped.is_err() {
        // SAFETY: as above; nothing refers to it.
        let _ = unsafe { rustix::mm::munmap(page, size) };
        return None;
    }
    Some(page.cast())
}

fn spare_cell() -> Option<*mut AtomicU64> {
    install_hooks().then(|| ptr::from_ref(&SPARE_TOKEN).cast_mut())
}

// ---- what happens around a fork ----------------------------------------------------------------

static HOOKED: AtomicBool = AtomicBool::new(false);
static STARTED: AtomicU64 = AtomicU64::new(0);
static RUNNING: AtomicU64 = AtomicU64::new(0);

fn install_hooks() -> bool {
    if !HOOKED.load(Ordering::Acquire) {
        // SAFETY: the handlers are functions that live as long as the code, and do nothing but
        // atomics and system calls, as is asked of handlers in the child.
        let done =
            unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(in_child)) };
        // Two threads may both get here: then every handler runs twice, which is the same as once.
        HOOKED.store(done == 0, Ordering::Release);
    }
    HOOKED.load(Ordering::Acquire)
}

extern "C" fn before_fork() {
    // In this order: who sees the fork as started sees it as running, or as over.
    RUNNING.fetch_add(1, Ordering::AcqRel);
    STARTED.fetch_add(1, Ordering::AcqRel);
    // Pairs with the fence in `has_forked`: either that sees this fork, or the child sees what was
    // stored before it.
    fence(Ordering::SeqCst);
}

extern "C" fn after_fork() {
    // Never below zero, should a C library run the handlers of a fork that began before them.
    let less = |running: u64| running.checked_sub(1);
    let _ = RUNNING.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    // Pairs with the fence in `PrivateEntry::forget`.
    fence(Ordering::SeqCst);
    for entry in PRIVATE.iter() {
        entry.free_if_closed();
    }
}

extern "C" fn in_child() {
    RUNNING.store(0, Ordering::Release);
    SPARE_TOKEN.store(0, Ordering::Relaxed);
    for entry in PRIVATE.iter() {
        entry.close_inherited();
    }
}

/// Waits a little for forks under way; whether there was a moment without any.
fn is_quiet() -> bool {
    const PATIENCE: usize = 1000;
    (0..PATIENCE).any(|_| {
        let quiet = RUNNING.load(Ordering::Acquire) == 0;
        if !quiet {
            std::thread::yield_now();
        }
        quiet
    })
}

/// Tells whether this process forked while something was being done.
#[derive(Debug)]
pub(crate) struct ForkWatch {
    started: Option<u64>,
}

impl ForkWatch {
    /// Starts to watch. Lets a fork that is under way end first, if it does so soon.
    pub(crate) fn start() -> ForkWatch {
        install_hooks();
        is_quiet();
        // In this order: a fork that is seen as started is seen as running, or is over.
        let started = STARTED.load(Ordering::Acquire);
        let quiet = RUNNING.load(Ordering::Acquire) == 0;
        ForkWatch { started: quiet.then_some(started) }
    }

    /// Whether a fork may have happened since `start`.
    pub(crate) fn has_forked(&self) -> bool {
        fence(Ordering::SeqCst);
        self.started != Some(STARTED.load(Ordering::Acquire))
    }
}

const FREE: i32 = -1;
const TAKEN: i32 = -2;
const _: () = assert!(FREE < 0 && TAKEN < 0 && FREE != TAKEN, "no descriptors");

/// The descriptors that a child closes at once. Entries are never freed, but used again.
static PRIVATE: Chain<PrivateEntry> = Chain::new();

/// One descriptor that children do not keep; [`crate::sys::private`] owns the file itself.
#[derive(Debug)]
pub(super) struct PrivateEntry {
    descriptor: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
    process: AtomicU64,
    /// The file is closed in this process; forks that are under way may still have it.
    closed: AtomicBool,
}

impl PrivateEntry {
    /// From here on, children close the descriptor of `file`.
    pub(super) fn register(file: &File) -> io::Result<&'static PrivateEntry> {
        let facts = file.metadata()?;
        let take = |entry: &&PrivateEntry| {
            let state = &entry.descriptor;
            state.compare_exchange(FREE, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let entry = PRIVATE.iter().find(take).unwrap_or_else(|| {
            PRIVATE.push(PrivateEntry {
                descriptor: AtomicI32::new(TAKEN),
                device: AtomicU64::new(0),
                inode: AtomicU64::new(0),
                process: AtomicU64::new(0),
                closed: AtomicBool::new(false),
            })
        });
        entry.device.store(facts.dev(), Ordering::Relaxed);
        entry.inode.store(facts.ino(), Ordering::Relaxed);
        entry.process.store(process_token(), Ordering::Relaxed);
        // ORDERING: Release, pairs with the loads in `close_inherited` and `is_of`: what the entry
        // says about the descriptor comes first.
        entry.descriptor.store(file.as_raw_fd(), Ordering::Release);
        Ok(entry)
    }

    /// Whether the entry still stands for this descriptor, as registered by that process.
    pub(super) fn is_of(&self, file: &File, process: u64) -> bool {
        self.descriptor.load(Ordering::Acquire) == file.as_raw_fd()
            && self.process.load(Ordering::Relaxed) == process
    }

    /// Makes the entry free for another file, once its own is closed.
    ///
    /// A fork under way may have copied the descriptor before it was closed, and copies this entry
    /// only later: it must still find it. Then the last such fork makes it free.
    pub(super) fn forget(&self) {
        self.closed.store(true, Ordering::Release);
        // Pairs with the fence in `after_fork`: either no fork is found under way here, or this is
        // found there.
        fence(Ordering::SeqCst);
        self.free_if_closed();
    }

    fn free_if_closed(&self) {
        // Taken first, so that one alone decides; and the forks are looked at after the closing.
        while self.closed.swap(false, Ordering::AcqRel) {
            if RUNNING.load(Ordering::Acquire) == 0 {
                return self.descriptor.store(FREE, Ordering::Release);
            }
            self.closed.store(true, Ordering::Release);
            // As in `forget`: the last fork may have ended meanwhile.
            fence(Ordering::SeqCst);
            if RUNNING.load(Ordering::Acquire) != 0 {
                return;
            }
        }
    }

    /// Runs in the child, before anything else does.
    fn close_inherited(&self) {
        let descriptor = self.descriptor.swap(FREE, Ordering::Acquire);
        self.closed.store(false, Ordering::Relaxed);
        // Below zero, for free or taken, it is none that the kernel knows. It may also be another
        // file's: the parent's descriptors are copied a moment before its memory, while its other
        // threads go on.
        // SAFETY: all bytes zero is a valid `stat`: it is made of numbers.
        let mut facts: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the structure may be written; a wrong descriptor is an error and nothing worse.
        let known = unsafe { libc::fstat(descriptor, &raw mut facts) } == 0;
        let device = self.device.load(Ordering::Relaxed);
        if known && facts.st_dev == device && facts.st_ino == self.inode.load(Ordering::Relaxed) {
            // SAFETY: it is the descriptor that was registered; the `PrivateFile` that owns it does
            // not use it in this process, as it compares tokens.
            unsafe { libc::close(descriptor) };
        }
    }
}

// ---- a list that only grows --------------------------------------------------------------------

/// A list whose items stay where they are until [`Chain::end`]. Adding and walking take no lock.
/// Newest first. A list that is dropped without an end leaks its items.
pub(crate) struct Chain<T> {
    head: AtomicPtr<Link<T>>,
    /// Gives `Chain<T>` the bounds that handing out `&T` to all threads asks for.
    bounds: std::marker::PhantomData<RwLock<T>>,
}

struct Link<T> {
    item: T,
    next: *mut Link<T>,
}

impl<T> Chain<T> {
    /// An empty list.
    pub(crate) const fn new() -> Chain<T> {
        Chain { head: AtomicPtr::new(ptr::null_mut()), bounds: std::marker::PhantomData }
    }

    /// Walks the items, newest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        // ORDERING: Acquire, pairs with the exchanges in `push_unless`.
        let mut at = self.head.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            // SAFETY: null, or a link that was complete before it was published, that nobody
            // changes afterwards, and that lives as long as the list.
            let link = unsafe { at.as_ref() }?;
            at = link.next;
            Some(&link.item)
        })
    }

    /// Adds an item.
    pub(crate) fn push(&self, item: T) -> &T {
        self.push_unless(item, |_| false)
    }

    /// Adds an item, unless `same` finds one that serves as well: then that one is returned, and
    /// the new one dropped. All of the list is looked at, also what other threads add meanwhile.
    pub(crate) fn push_unless(&self, item: T, same: impl Fn(&T) -> bool) -> &T {
        let fresh = Box::into_raw(Box::new(Link { item, next: ptr::null_mut() }));
        loop {
            let head = self.head.load(Ordering::Acquire);
            if let Some(found) = self.iter().find(|item| same(item)) {
                // SAFETY: made by `Box::into_raw` above and never published.
                drop(unsafe { Box::from_raw(fresh) });
                return found;
            }
            // SAFETY: not published yet, so that this thread alone knows of it.
            unsafe { (*fresh).next = head };
            // ORDERING: Release, pairs with the loads in `iter`: the link is complete.
            let done =
                self.head.compare_exchange(head, fresh, Ordering::Release, Ordering::Relaxed);
            if done.is_ok() {
                // SAFETY: published, and it lives as long as the list.
                return unsafe { &(*fresh).item };
            }
        }
    }

    /// Ends the list: drops the items that `ours` accepts and leaks all others.
    pub(crate) fn end(&mut self, ours: impl Fn(&T) -> bool) {
        let mut at = std::mem::replace(self.head.get_mut(), ptr::null_mut());
        while !at.is_null() {
            // SAFETY: a link of this list; the exclusive borrow rules out other users.
            let link = unsafe { &*at };
            let next = link.next;
            if ours(&link.item) {
                // SAFETY: made by `Box::into_raw`, unlinked above, and freed once.
                drop(unsafe { Box::from_raw(at) });
            }
            at = next;
        }
    }
}

/// What the tests of this crate ask of the kernel (`testing` makes it handy).
#[cfg(test)]
pub(super) mod for_tests {
    /// Forks. The child runs `body`, ends, and never comes back from here; its exit code says
    /// whether `body` returned true. Returns the child's process number.
    pub(in crate::sys) fn fork(body: impl FnOnce() -> bool) -> i32 {
        const PATIENCE_SECONDS: u32 = 60;
        // SAFETY: the child runs `body` and ends, and never returns into the test harness.
        let number = unsafe { libc::fork() };
        if number == 0 {
            // SAFETY: has the kernel end a child that hangs.
            unsafe { libc::alarm(PATIENCE_SECONDS) };
            let body = std::panic::AssertUnwindSafe(body);
            let good = std::panic::catch_unwind(body).unwrap_or(false);
            // SAFETY: ends the child without running what belongs to the parent.
            unsafe { libc::_exit(i32::from(!good)) };
        }
        number
    }

    /// Closes every descriptor but the first three, whoever owns it. Only for children that end
    /// without using any of them.
    pub(in crate::sys) fn close_all_descriptors() {
        // SAFETY: in a child that does not use its descriptors any more.
        let done = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        assert_eq!(done, 0);
    }
}

#[cfg(test)]
mod tests;
