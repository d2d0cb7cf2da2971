//! Stops one thread of another process at each system call, or after each instruction.
//!
//! A thread that is traced is *at* a call when it has not made it yet: killed there, it never does.
//! Registers are those of x86-64.

use nix::libc::{SYS_read, SYS_write, user_regs_struct};
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
}

impl Call {
    fn of(regs: &user_regs_struct) -> Call {
        Call {
            number: regs.orig_rax as i64,
            arguments: [regs.rdi, regs.rsi, regs.rdx, regs.r10],
        }
    }

    /// The victim says something.
    pub(crate) fn is_said(&self) -> bool {
        self.number == SYS_write && self.arguments[0] == 1
    }

    /// The victim waits to be told to go on.
    pub(crate) fn is_end(&self) -> bool {
        self.number == SYS_read && self.arguments[0] == 0
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

/// A thread that this one traces. Ends with the thread that made it.
pub(crate) struct Tracee {
    thread: Pid,
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
        let tracee = Tracee { thread };
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

    /// Runs to the next call.
    pub(crate) fn to_call(&self) -> At {
        if self.resume() { At::Call(Call::of(&self.regs())) } else { At::Gone }
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
        (bytes & 0xffff == SYSCALL).then(|| Call::of(&regs))
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
    pub(crate) fn let_go(self) {
        // Gone meanwhile is as good.
        let _ = ptrace::detach(self.thread, None);
    }

    /// `kill -9` where it stands.
    pub(crate) fn kill(self, victim: &Victim) {
        let process = Pid::from_raw(victim.id().cast_signed());
        nix::sys::signal::kill(process, Signal::SIGKILL).unwrap();
        while !matches!(self.wait(), WaitStatus::Exited(..) | WaitStatus::Signaled(..)) {}
    }
}
