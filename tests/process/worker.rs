//! A worker process, as its parent sees it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::{DIRECTORY, NUMBER, WORK};

/// After this long without a word, a worker counts as blocked for ever.
pub(crate) const HUNG: Duration = Duration::from_secs(60);
/// What every line of a worker begins with, as the test harness writes there, too.
const MARK: &str = "> ";

/// A process that is killed when this is dropped.
pub(crate) struct Worker {
    child: Child,
    lines: Receiver<String>,
}

/// Says a line to the parent: one call of the system, so that a kill leaves all of it or none.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let said = out.write_all(format!("\n{MARK}{line}\n").as_bytes()).and_then(|()| out.flush());
    if said.is_err() {
        // The parent is gone.
        std::process::exit(1);
    }
}

/// The time by a clock that all processes share, and nobody sets.
pub(crate) fn clock() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Says what it is by that clock.
pub(crate) fn say_time() {
    say(&clock().as_nanos().to_string());
}

/// The time that somebody said.
pub(crate) fn said_time(line: &str) -> Duration {
    Duration::from_nanos(line.parse().unwrap())
}

impl Worker {
    pub(crate) fn start(work: &str, directory: &Path, number: u64) -> Worker {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "worker", "--nocapture", "--test-threads=1"])
            .env(WORK, work)
            .env(DIRECTORY, directory)
            .env(NUMBER, number.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let Some(said) = line.strip_prefix(MARK) else { continue };
                if send.send(said.to_owned()).is_err() {
                    break;
                }
            }
        });
        Worker { child, lines }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line; `None` when the worker is gone and all of its lines are read.
    #[track_caller]
    pub(crate) fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(HUNG) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("process {} is blocked", self.id()),
        }
    }

    /// Says a line to the worker.
    pub(crate) fn tell(&mut self, line: &str) {
        let pipe = self.child.stdin.as_mut().unwrap();
        pipe.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    #[track_caller]
    pub(crate) fn expect(&self, expected: &str) {
        assert_eq!(self.line().as_deref(), Some(expected));
    }

    /// The lines that have come meanwhile.
    pub(crate) fn so_far(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// `kill -9`; gives the lines up to the end.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Waits for the end, which is to be a good one.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Vec<String> {
        let lines = std::iter::from_fn(|| self.line()).collect();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        lines
    }

    /// Sends a signal by its name, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
