//! Forked children and mounts, for the tests of this floor and of those above.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{self, Ordering};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use crate::sys::raw;

/// A forked child of the test process; killed and waited for when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: Pid,
    waited: bool,
}

impl Child {
    /// Runs `body` in a child, which ends when `body` does. The C library makes memory
    /// allocation work there; everything else that takes a lock of a library must be avoided.
    pub(crate) fn fork(body: impl FnOnce() -> bool) -> Child {
        let process = Pid::from_raw(raw::for_tests::fork(body)).unwrap();
        Child { process, waited: false }
    }

    pub(crate) fn number(&self) -> u32 {
        self.process.as_raw_nonzero().get().unsigned_abs()
    }

    pub(crate) fn kill(&self) {
        rustix::process::kill_process(self.process, Signal::KILL).unwrap();
    }

    pub(crate) fn wait(&mut self) -> WaitStatus {
        self.waited = true;
        let done = rustix::process::waitpid(Some(self.process), WaitOptions::empty());
        done.unwrap().unwrap().1
    }

    /// Waits; whether the body returned true.
    pub(crate) fn succeeded(mut self) -> bool {
        self.wait().exit_status() == Some(0)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.waited {
            self.kill();
            self.wait();
        }
    }
}

/// Closes every descriptor but the first three. Only for children that end without using any.
pub(crate) fn close_all_descriptors() {
    raw::for_tests::close_all_descriptors();
}

/// A file system that is mounted for one test, where the rights are there.
#[derive(Debug)]
pub(crate) struct Mounted {
    place: tempfile::TempDir,
}

impl Mounted {
    /// A file system in memory, of so many KiB.
    pub(crate) fn tmpfs(size_kib: usize) -> Option<Mounted> {
        Mounted::mount("tmpfs", &format!("size={size_kib}k"), tempfile::tempdir().unwrap())
    }

    /// An overlay over two directories of the same temporary directory.
    pub(crate) fn overlay() -> Option<Mounted> {
        let place = tempfile::tempdir().unwrap();
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| {
            let path = place.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path.display().to_string()
        });
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        Mounted::mount("overlay", &options, place)
    }

    fn mount(kind: &str, options: &str, place: tempfile::TempDir) -> Option<Mounted> {
        let at = place.path().join("at");
        std::fs::create_dir(&at).unwrap();
        let done = Command::new("mount").args(["-t", kind, "-o", options, kind]).arg(&at).output();
        if done.is_ok_and(|done| done.status.success()) {
            return Some(Mounted { place });
        }
        assert!(
            std::env::var_os("FIRNCACHE_NO_SKIP").is_none(),
            "{kind} cannot be mounted here, and nothing may be skipped"
        );
        eprintln!("skipped: {kind} cannot be mounted here");
        None
    }

    /// From here on, nothing can be written there.
    pub(crate) fn forbid_writing(&self) {
        let mut mount = Command::new("mount");
        let done = mount.args(["-o", "remount,bind,ro"]).arg(self.path()).status();
        assert!(done.unwrap().success());
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        Path::new(self.place.path()).join("at")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.path()).status().unwrap();
    }
}

/// What a process is about to do to what it shares with others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Store a word.
    Store,
    /// Make this call of the operating system.
    Call(&'static str),
    /// Give back the space of a file: its inode.
    Punch(u64),
    /// Wait until a file, or the names in a directory, are on disk: its inode.
    Sync(u64),
    /// Wait until what was stored through a map is on disk. That map is always the one of `head`.
    Flush,
}

type Hook = Box<dyn FnMut(Step) -> io::Result<()>>;

thread_local! {
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Calls `hook` before each step that this thread takes in `body`; an error that it gives becomes
/// the result of the call. Steps of the hook itself are not counted.
pub(crate) fn watch<R>(
    hook: impl FnMut(Step) -> io::Result<()> + 'static,
    body: impl FnOnce() -> R,
) -> R {
    struct Off;
    impl Drop for Off {
        fn drop(&mut self) {
            IS_WATCHED.set(false);
            HOOK.set(None);
        }
    }
    HOOK.set(Some(Box::new(hook)));
    IS_WATCHED.set(true);
    let _off = Off;
    body()
}

/// Reports a step to the test that watches, if any.
pub(crate) fn step(what: Step) -> io::Result<()> {
    if !IS_WATCHED.try_with(Cell::get).unwrap_or(false) {
        return Ok(());
    }
    IS_WATCHED.set(false);
    let hook = HOOK.take();
    let result = hook.map_or(Ok(()), |mut hook| {
        let result = hook(what);
        HOOK.set(Some(hook));
        result
    });
    IS_WATCHED.set(true);
    result
}

/// A word whose stores can be watched.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct AtomicU64(atomic::AtomicU64);

impl AtomicU64 {
    pub(crate) const fn new(value: u64) -> AtomicU64 {
        AtomicU64(atomic::AtomicU64::new(value))
    }

    pub(crate) fn store(&self, value: u64, ordering: Ordering) {
        let _ = step(Step::Store);
        self.0.store(value, ordering);
    }

    pub(crate) fn fetch_update(
        &self,
        stored: Ordering,
        loaded: Ordering,
        next: impl FnMut(u64) -> Option<u64>,
    ) -> Result<u64, u64> {
        let _ = step(Step::Store);
        self.0.fetch_update(stored, loaded, next)
    }
}

impl Deref for AtomicU64 {
    type Target = atomic::AtomicU64;

    fn deref(&self) -> &atomic::AtomicU64 {
        &self.0
    }
}
