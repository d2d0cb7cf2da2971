//! A small process that forks workers, kills them, and sees how they ended. A fork of it takes a part of
//! the time in which a program is started.

use std::collections::HashMap;
use std::path::Path;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::worker::{Worker, say};

/// The lowest priority.
const LAST: i32 = 19;

/// The nursery, as its parent sees it.
pub(crate) struct Nursery(Worker);

impl Nursery {
    pub(crate) fn start(directory: &Path) -> Nursery {
        Nursery(Worker::start("nursery", directory, 0))
    }

    /// Starts the worker of this number.
    pub(crate) fn bear(&mut self, number: u64) {
        self.0.tell(&format!("bear {number}"));
    }

    /// `kill -9` to all of these; they have lived until then, and have ended when this comes back.
    #[track_caller]
    pub(crate) fn kill(&mut self, numbers: &[u64]) {
        let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
        self.0.tell(&format!("kill {}", words.join(" ")));
        numbers.iter().for_each(|_| self.0.expect("killed"));
    }
}

/// The nursery itself: does what it is told until nobody is there to tell it.
pub(crate) fn work(live: impl Fn(u64)) {
    let mut children = HashMap::new();
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let mut words = line.split(' ');
        let is_birth = words.next() == Some("bear");
        let numbers: Vec<u64> = words.map(|word| word.parse().expect("a number")).collect();
        if is_birth {
            let child = |number| (number, bear(number, || live(number)));
            children.extend(numbers.into_iter().map(child));
            continue;
        }
        let dying: Vec<Pid> =
            numbers.iter().map(|number| children.remove(number).expect("a child")).collect();
        dying.iter().for_each(|child| kill(*child, Signal::SIGKILL).unwrap());
        for child in dying {
            match waitpid(child, None).unwrap() {
                WaitStatus::Signaled(_, Signal::SIGKILL, _) => say("killed"),
                ended => say(&format!("a worker has ended by itself: {ended:?}")),
            }
        }
    }
}

/// A child that works until it is killed, with what processor time others leave, and not longer than
/// this process lives.
#[expect(unsafe_code, reason = "there is no other way to fork")]
fn bear(number: u64, work: impl FnOnce()) -> Pid {
    // SAFETY: no other thread of this process does anything: the harness waits for this one. So no
    // lock is held that the child could want.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            // At once: whoever takes its time to fail may be killed meanwhile, and pass for well.
            std::panic::set_hook(Box::new(move |failure| {
                say(&format!("worker {number} has failed: {failure}").replace('\n', " "));
                std::process::exit(1);
            }));
            set_pdeathsig(Signal::SIGKILL).unwrap();
            rustix::process::nice(LAST).unwrap();
            work();
            panic!("there was nothing more to do");
        }
    }
}
