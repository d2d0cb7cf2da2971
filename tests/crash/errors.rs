//! Every call of the operating system refused, once and from then on, with every error that it is
//! known for.

use nix::errno::Errno;
use nix::libc::{self, MAP_ANONYMOUS};

use crate::contents::{Contents, assert_before_or_after, assert_sound, contents};
use crate::operations::{Operation, Start, operations};
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
        libc::SYS_openat | libc::SYS_openat2 if call.creates() => {
            &[EMFILE, ENFILE, ENOMEM, EIO, ENOSPC, EROFS, EINTR]
        }
        libc::SYS_openat | libc::SYS_openat2 if call.opens_to_write() => {
            &[EMFILE, ENFILE, ENOMEM, EIO, EROFS, EINTR]
        }
        libc::SYS_openat | libc::SYS_openat2 => &[EMFILE, ENFILE, ENOMEM, EIO, EINTR],
        libc::SYS_fallocate | libc::SYS_ftruncate => &[ENOSPC, EDQUOT, EFBIG, EIO, EINTR],
        libc::SYS_write | libc::SYS_pwrite64 => &[ENOSPC, EDQUOT, EFBIG, EIO, EINTR],
        libc::SYS_read | libc::SYS_pread64 | libc::SYS_getdents64 => &[EIO, EINTR],
        libc::SYS_fsync | libc::SYS_fdatasync | libc::SYS_msync => &[EIO, ENOSPC, EINTR],
        libc::SYS_sync_file_range | libc::SYS_lseek => &[EIO],
        libc::SYS_mmap | libc::SYS_mremap | libc::SYS_mprotect | libc::SYS_brk => &[ENOMEM],
        libc::SYS_madvise => &[ENOMEM, EIO],
        libc::SYS_rename
        | libc::SYS_renameat
        | libc::SYS_renameat2
        | libc::SYS_linkat
        | libc::SYS_mkdirat
        | libc::SYS_mkdir => &[ENOSPC, EIO, EROFS, ENOMEM],
        libc::SYS_unlinkat => &[EIO, EROFS, ENOMEM],
        libc::SYS_fstat | libc::SYS_statx | libc::SYS_newfstatat | libc::SYS_fstatfs => {
            &[EIO, ENOMEM]
        }
        libc::SYS_flock => &[ENOLCK, EINTR],
        libc::SYS_fcntl if call.arguments[1] == libc::F_OFD_SETLK as u64 => &[ENOLCK, EINTR],
        libc::SYS_fcntl if call.arguments[1] == libc::F_DUPFD_CLOEXEC as u64 => &[EMFILE],
        libc::SYS_futex => &[EINTR],
        libc::SYS_getrandom => &[EINTR],
        _ => &[],
    }
}

/// Whether the call is one of those by which data are made durable.
fn is_sync(call: &Call) -> bool {
    matches!(call.number, libc::SYS_fsync | libc::SYS_fdatasync | libc::SYS_msync)
}

/// Whether the call gets memory for the allocator, without which any program of this language ends.
fn is_for_allocator(call: &Call) -> bool {
    const FLAGS: usize = 3;
    matches!(call.number, libc::SYS_brk | libc::SYS_mremap | libc::SYS_mprotect)
        || call.number == libc::SYS_mmap && call.arguments[FLAGS] & MAP_ANONYMOUS as u64 != 0
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

/// The calls of an undisturbed run, but those by which the victim and its parent talk; and what they
/// are about.
fn calls_of(operation: &Operation) -> Option<Vec<(Call, String)>> {
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
            calls.push((call, tracee.name_in(&call)));
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

    /// Whether a call was refused.
    fn run(&self) -> bool {
        let (_place, directory) = place();
        let peer = self.operation.prepared(&directory);
        let mut victim = Victim::start(self.operation.name, &directory);
        let tracee = Tracee::begin(&mut victim).unwrap();
        let (refused, is_gone) = self.refuse(&tracee);
        if refused.is_empty() {
            assert!(self.operation.varies, "the call was not made this time");
            return false;
        }
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
        let is_of_holds = told.failed.as_ref().is_some_and(|error| error.contains("/holds/"));
        if refused.iter().any(is_sync) && self.error != Errno::EINTR && !is_of_holds {
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
        true
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

/// Refuses calls of an operation; how many, and what went wrong.
fn refused_in(operation: &Operation, turn: &mut u64, stride: u64) -> Option<(usize, Vec<String>)> {
    let states = operation.states();
    let (mut trials, mut wrong) = (0, Vec::new());
    for (nth, (call, about)) in calls_of(operation)?.into_iter().enumerate() {
        for error in errors(&call).iter().copied() {
            for often in [Often::Once, Often::FromThenOn] {
                // No kernel interrupts for ever.
                if error == Errno::EINTR && often == Often::FromThenOn {
                    continue;
                }
                *turn += 1;
                let is_chosen = is_sync(&call) && error == Errno::EIO && operation.calls < 20;
                if !turn.is_multiple_of(stride) && !is_chosen {
                    continue;
                }
                let refusal = Refusal { operation, states: &states, nth, error, often };
                let run = std::panic::AssertUnwindSafe(|| refusal.run());
                let name = operation.name;
                let run = std::panic::catch_unwind(run);
                if run.is_err() {
                    let number = call.number;
                    let what = format!("{name}: call {nth} ({number} {about}): {error}, {often:?}");
                    eprintln!("{what}");
                    wrong.push(what);
                }
                trials += usize::from(run.unwrap_or(true));
            }
        }
    }
    Some((trials, wrong))
}

#[test]
fn refused_calls_are_errors_and_nothing_else() {
    let (stride, mut turn) = (asked("CRASH_ERROR_STRIDE", 11), 0);
    let (mut all, mut wrong) = (0, Vec::new());
    for operation in operations(|it| it.start != Start::Warm) {
        let Some((trials, more)) = refused_in(operation, &mut turn, stride) else { return };
        println!("{}: {trials} refused", operation.name);
        all += trials;
        wrong.extend(more);
    }
    println!("{all} refused in all");
    assert!(wrong.is_empty(), "{} went wrong: {wrong:#?}", wrong.len());
}
