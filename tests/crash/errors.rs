//! Every call of the operating system refused, once and from then on, with every error that it is
//! known for.

use nix::errno::Errno;
use nix::libc::{
    MAP_ANONYMOUS, SYS_brk, SYS_fallocate, SYS_fcntl, SYS_fdatasync, SYS_flock, SYS_fstat,
    SYS_fstatfs, SYS_fsync, SYS_ftruncate, SYS_futex, SYS_getdents64, SYS_getrandom, SYS_linkat,
    SYS_lseek, SYS_madvise, SYS_mkdir, SYS_mkdirat, SYS_mmap, SYS_mprotect, SYS_mremap, SYS_msync,
    SYS_newfstatat, SYS_openat, SYS_openat2, SYS_pread64, SYS_pwrite64, SYS_read, SYS_rename,
    SYS_renameat, SYS_renameat2, SYS_statx, SYS_sync_file_range, SYS_unlinkat, SYS_write,
};

use crate::contents::{Contents, assert_before_or_after, assert_sound, contents};
use crate::operations::{ALL, Operation, Start};
use crate::tracer::{At, Call, Tracee};
use crate::victim::{Told, Victim};
use crate::{asked, open, place};

/// How often a call is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Often {
    Once,
    FromThenOn,
}

/// The errors that a call can come back with, where something is wrong with the machine.
fn errors(call: &Call) -> &'static [Errno] {
    use Errno::{EDQUOT, EFBIG, EINTR, EIO, EMFILE, ENFILE, ENOLCK, ENOMEM, ENOSPC, EROFS};
    match call.number {
        SYS_openat | SYS_openat2 => &[EMFILE, ENFILE, ENOMEM, EIO, ENOSPC, EROFS, EINTR],
        SYS_fallocate | SYS_ftruncate => &[ENOSPC, EDQUOT, EFBIG, EIO, EINTR],
        SYS_write | SYS_pwrite64 => &[ENOSPC, EDQUOT, EFBIG, EIO, EINTR],
        SYS_read | SYS_pread64 | SYS_getdents64 => &[EIO, EINTR],
        SYS_fsync | SYS_fdatasync | SYS_msync => &[EIO, ENOSPC, EINTR],
        SYS_sync_file_range | SYS_lseek => &[EIO],
        SYS_mmap | SYS_mremap | SYS_mprotect | SYS_brk => &[ENOMEM],
        SYS_madvise => &[ENOMEM, EIO],
        SYS_rename | SYS_renameat | SYS_renameat2 | SYS_linkat | SYS_mkdirat | SYS_mkdir => {
            &[ENOSPC, EIO, EROFS, ENOMEM]
        }
        SYS_unlinkat => &[EIO, EROFS, ENOMEM],
        SYS_fstat | SYS_statx | SYS_newfstatat | SYS_fstatfs => &[EIO, ENOMEM],
        SYS_flock | SYS_fcntl => &[ENOLCK, EINTR, ENOMEM],
        SYS_futex => &[EINTR],
        SYS_getrandom => &[EINTR],
        _ => &[],
    }
}

/// Whether the call is one of those by which data are made durable.
fn is_sync(call: &Call) -> bool {
    matches!(call.number, SYS_fsync | SYS_fdatasync | SYS_msync)
}

/// Whether the call gets memory for the allocator, without which any program of this language ends.
fn is_for_allocator(call: &Call) -> bool {
    const FLAGS: usize = 3;
    matches!(call.number, SYS_brk | SYS_mremap | SYS_mprotect)
        || call.number == SYS_mmap && call.arguments[FLAGS] & MAP_ANONYMOUS as u64 != 0
}

/// The kind of error that must come of it, if one does.
fn kind(error: Errno) -> &'static str {
    match error {
        Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG => "Full",
        Errno::EROFS => "ReadOnly",
        _ => "Io",
    }
}

/// One trial: the call with this number fails.
struct Refusal<'a> {
    operation: &'a Operation,
    states: &'a [Contents],
    nth: usize,
    error: Errno,
    often: Often,
}

/// The calls of an undisturbed run, but those by which the victim and its parent talk.
fn calls_of(operation: &Operation) -> Option<Vec<Call>> {
    let (_place, directory) = place();
    let _peer = operation.prepared(&directory);
    let mut victim = Victim::start(operation.name, &directory);
    let tracee = Tracee::begin(&mut victim)?;
    let mut calls = Vec::new();
    loop {
        let At::Call(call) = tracee.to_call() else { panic!("the victim ended by itself") };
        if call.is_end() {
            return Some(calls);
        }
        if !call.is_said() {
            calls.push(call);
        }
        assert!(tracee.over_call());
    }
}

impl Refusal<'_> {
    /// Runs the victim; the calls that were refused, or its end where it has ended.
    fn refuse(&self, tracee: &Tracee) -> (Vec<Call>, bool) {
        let (mut count, mut refused) = (0, Vec::new());
        loop {
            let At::Call(call) = tracee.to_call() else { return (refused, true) };
            if call.is_end() {
                return (refused, false);
            }
            let is_due = !call.is_said()
                && errors(&call).contains(&self.error)
                && match self.often {
                    Often::Once => count == self.nth,
                    Often::FromThenOn => count >= self.nth,
                };
            count += usize::from(!call.is_said());
            if is_due {
                refused.push(call);
            }
            let goes_on =
                if is_due { tracee.refuse(self.error as i32) } else { tracee.over_call() };
            if !goes_on {
                return (refused, true);
            }
        }
    }

    fn run(&self) {
        let (_place, directory) = place();
        let peer = self.operation.prepared(&directory);
        let mut victim = Victim::start(self.operation.name, &directory);
        let tracee = Tracee::begin(&mut victim).unwrap();
        let (refused, is_gone) = self.refuse(&tracee);
        assert!(!refused.is_empty(), "the call was not made this time");
        let told = if is_gone {
            let (status, told) = victim.end();
            let is_allocator = refused.iter().any(is_for_allocator);
            assert!(is_allocator && self.error == Errno::ENOMEM, "{status}, {refused:?}");
            told
        } else {
            victim.told(self.operation.calls + usize::from(self.operation.opens()))
        };
        let peer = peer.unwrap_or_else(|| open(&directory));
        self.assert_told(&told, &refused);
        assert_before_or_after(&contents(&peer), self.states, told.done, self.operation);
        if refused.iter().any(is_sync) && self.error != Errno::EINTR {
            // What the kernel has lost it does not have a second time, whoever asks.
            let is_remembered = peer.sync().is_err() && peer.sync().is_err();
            assert!(is_remembered, "a failed sync is forgotten: {told:?}");
        }
        if !is_gone {
            tracee.let_go();
            victim.go();
            assert_eq!(victim.line().as_deref(), Some("usable"), "after {told:?}");
            victim.go();
            assert!(victim.end().0.success());
        }
        assert_sound(&peer, self.states, told.done, self.operation);
        drop(peer);
        assert_sound(&open(&directory), self.states, told.done, self.operation);
    }

    fn assert_told(&self, told: &Told, refused: &[Call]) {
        let is_all = told.done + 1 == self.states.len();
        let Some(failed) = &told.failed else {
            assert!(is_all || refused.iter().any(is_for_allocator), "{told:?}");
            return;
        };
        assert!(self.error != Errno::EINTR, "what is interrupted is begun again: {failed}");
        assert!(failed.starts_with(kind(self.error)), "{failed}");
    }
}

/// Refuses calls of an operation; how many.
fn refused_in(operation: &Operation, turn: &mut u64, stride: u64) -> Option<usize> {
    let states = operation.states();
    let mut trials = 0;
    for (nth, call) in calls_of(operation)?.iter().enumerate() {
        for error in errors(call).iter().copied() {
            for often in [Often::Once, Often::FromThenOn] {
                // No kernel interrupts for ever.
                if error == Errno::EINTR && often == Often::FromThenOn {
                    continue;
                }
                *turn += 1;
                if !turn.is_multiple_of(stride) {
                    continue;
                }
                let refusal = Refusal { operation, states: &states, nth, error, often };
                let run = std::panic::AssertUnwindSafe(|| refusal.run());
                let name = operation.name;
                let done = std::panic::catch_unwind(run);
                assert!(done.is_ok(), "{name}, call {nth}: {call:?}: {error}, {often:?}");
                trials += 1;
            }
        }
    }
    Some(trials)
}

#[test]
fn refused_calls_are_errors_and_nothing_else() {
    let (stride, mut turn) = (asked("CRASH_ERROR_STRIDE", 11), 0);
    let mut all = 0;
    for operation in ALL.iter().filter(|it| it.start != Start::Warm) {
        let Some(trials) = refused_in(operation, &mut turn, stride) else { return };
        println!("{}: {trials} refused", operation.name);
        all += trials;
    }
    println!("{all} refused in all");
}
