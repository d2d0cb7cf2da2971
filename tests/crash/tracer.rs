//! Stops one thread of another process at each system call, or after each instruction.
//!
//! A thread that is traced is *at* a call when it has not made it yet: killed there, it never does.
//! Registers are those of x86-64.

use nix::libc::{self, user_regs_struct};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::victim::Victim;

/// A call of the operating system, before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) number: i64,
    pub(crate) arguments: [u64; 4],
    /// How a file is opened; 0 for all other calls.
    pub(crate) flags: i32,
}

impl Call {
    fn of(regs: &user_regs_struct, thread: Pid) -> Call {
        let (number, arguments) = (regs.orig_rax as i64, [regs.rdi, regs.rsi, regs.rdx, regs.r10]);
        let flags = match number {
            libc::SYS_openat => arguments[2] as i32,
            // The first word of what is pointed to.
            libc::SYS_openat2 => {
                ptrace::read(thread, arguments[2] as ptrace::AddressType).unwrap_or(0) as i32
            }
            _ => 0,
        };
        Call { number, arguments, flags }
    }

    /// A file is opened, and made if there is none.
    pub(crate) fn creates(&self) -> bool {
        self.flags & libc::O_CREAT != 0
    }

    /// A file is opened to be written to.
    pub(crate) fn opens_to_write(&self) -> bool {
        self.flags & libc::O_ACCMODE != libc::O_RDONLY
    }

    /// The victim says something.
    pub(crate) fn is_said(&self) -> bool {
        self.number == libc::SYS_write && self.arguments[0] == 1
    }

    /// The victim waits to be told to go on.
    pub(crate) fn is_end(&self) -> bool {
        self.number == libc::SYS_read && self.arguments[0] == 0
    }
}

/// Where a thread has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Before a call.
    Call(Call),
    /// After one instruction.
    Instruction,
    /// The process has ended, or its end has begun.
    Gone,
}

/// A thread that this one traces. Its process is killed when this is dropped, as nobody can wait for
/// the end of a process before its tracer has seen the end of the thread.
pub(crate) struct Tracee {
    process: Pid,
    thread: Pid,
    is_let_go: bool,
}

impl Tracee {
    /// Begins to trace the thread of a victim that waits to be told to go on, and lets it: it comes
    /// back from that wait. `None` where tracing is not allowed.
    pub(crate) fn begin(victim: &mut Victim) -> Option<Tracee> {
        let thread = Pid::from_raw(victim.thread);
        let options = ptrace::Options::PTRACE_O_TRACESYSGOOD;
        if let Err(error) = ptrace::seize(thread, options) {
            let is_strict = std::env::var_os("FIRNCACHE_NO_SKIP").is_some();
            assert!(!is_strict, "processes cannot be traced here: {error}");
            eprintln!("skipped: processes cannot be traced here: {error}");
            return None;
        }
        ptrace::interrupt(thread).unwrap();
        let process = Pid::from_raw(victim.id().cast_signed());
        let tracee = Tracee { process, thread, is_let_go: false };
        tracee.wait();
        victim.go();
        // The wait is begun again, and then is over.
        let At::Call(call) = tracee.to_call() else { panic!("it does not wait") };
        assert!(call.is_end(), "{call:?}");
        tracee.over_call();
        Some(tracee)
    }

    fn wait(&self) -> WaitStatus {
        loop {
            match waitpid(self.thread, Some(WaitPidFlag::__WALL)) {
                Ok(status) => return status,
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::ECHILD) => {
                    return WaitStatus::Signaled(self.thread, Signal::SIGKILL, false);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Resumes until the thread stops at a call, or behind one.
    fn resume(&self) -> bool {
        let mut signal = None;
        loop {
            if ptrace::syscall(self.thread, signal).is_err() {
                self.wait();
                return false;
            }
            match self.wait() {
                WaitStatus::PtraceSyscall(_) => return true,
                WaitStatus::Stopped(_, other) => signal = Some(other),
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return false,
                _ => signal = None,
            }
        }
    }

    fn regs(&self) -> user_regs_struct {
        ptrace::getregs(self.thread).unwrap()
    }

    /// The file that a call names, for messages.
    pub(crate) fn name_in(&self, call: &Call) -> String {
        let is_name = matches!(
            call.number,
            libc::SYS_openat
                | libc::SYS_openat2
                | libc::SYS_renameat
                | libc::SYS_unlinkat
                | libc::SYS_mkdirat
                | libc::SYS_linkat
        );
        let words = (0..8).map_while(|word| {
            let at = call.arguments[1] + 8 * word;
            ptrace::read(self.thread, at as ptrace::AddressType).ok()
        });
        let bytes = words.flat_map(i64::to_le_bytes).take_while(|byte| is_name && *byte != 0);
        String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
    }

    /// Runs to the next call.
    pub(crate) fn to_call(&self) -> At {
        if self.resume() { At::Call(Call::of(&self.regs(), self.thread)) } else { At::Gone }
    }

    /// Makes the call that it is at.
    pub(crate) fn over_call(&self) -> bool {
        self.resume()
    }

    /// Has the call that it is at fail with this number, and not made.
    pub(crate) fn refuse(&self, error: i32) -> bool {
        let mut regs = self.regs();
        regs.orig_rax = u64::MAX;
        ptrace::setregs(self.thread, regs).unwrap();
        if !self.resume() {
            return false;
        }
        let mut regs = self.regs();
        regs.rax = i64::from(-error) as u64;
        ptrace::setregs(self.thread, regs).unwrap();
        true
    }

    /// The call that the next instruction makes, if it is one that does.
    pub(crate) fn next_instruction(&self) -> Option<Call> {
        const SYSCALL: i64 = 0x050f;
        let mut regs = self.regs();
        let bytes = ptrace::read(self.thread, regs.rip as ptrace::AddressType).ok()?;
        regs.orig_rax = regs.rax;
        (bytes & 0xffff == SYSCALL).then(|| Call::of(&regs, self.thread))
    }

    /// Executes one instruction; a call of the system is one, too.
    pub(crate) fn step(&self) -> At {
        let mut signal = None;
        loop {
            if ptrace::step(self.thread, signal).is_err() {
                self.wait();
                return At::Gone;
            }
            match self.wait() {
                WaitStatus::Stopped(_, Signal::SIGTRAP) => return At::Instruction,
                WaitStatus::Stopped(_, other) => signal = Some(other),
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return At::Gone,
                _ => signal = None,
            }
        }
    }

    /// Stops tracing; the victim runs on by itself.
    pub(crate) fn let_go(mut self) {
        // Gone meanwhile is as good.
        let _ = ptrace::detach(self.thread, None);
        self.is_let_go = true;
    }

    /// `kill -9` where it stands.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        if !self.is_let_go {
            let _ = nix::sys::signal::kill(self.process, Signal::SIGKILL);
            while !matches!(self.wait(), WaitStatus::Exited(..) | WaitStatus::Signaled(..)) {}
        }
    }
}
