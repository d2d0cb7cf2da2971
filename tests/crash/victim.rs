//! The process that is traced: what it does, and how its parent sees it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use firncache::Error;

use crate::contents::PEER;
use crate::open;
use crate::operations::{Operation, Start};

const OPERATION: &str = "FIRNCACHE_CRASH_OPERATION";
const DIRECTORY: &str = "FIRNCACHE_CRASH_DIRECTORY";
/// What every line of a victim begins with, as the test harness writes there, too.
const MARK: &str = "> ";
/// After so many seconds a victim is ended by a signal: it hangs.
const ALARM: u32 = 900;

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // One call of the system, so that a kill leaves all of it or none.
    out.write_all(format!("\n{MARK}{line}\n").as_bytes()).and_then(|()| out.flush()).unwrap();
}

fn await_go() {
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).unwrap() == 0 {
        // The parent is gone.
        std::process::exit(1);
    }
}

/// Says what became of a call; whether it was acknowledged.
fn tell(result: Result<(), Error>) -> bool {
    match &result {
        Ok(()) => say("did"),
        Err(error) => say(&format!("failed {:?}: {error}", error.kind())),
    }
    result.is_ok()
}

/// The victim's life: everything between the first two signs to go on is traced. A call that fails
/// is the last one.
pub(crate) fn work() {
    let Ok(name) = std::env::var(OPERATION) else { return };
    let directory = std::env::var(DIRECTORY).unwrap();
    let directory = Path::new(&directory);
    nix::unistd::alarm::set(ALARM);
    if name == LOOP {
        write_for_ever(directory);
    }
    if name == RECOVERY {
        recover(directory);
        return;
    }
    let operation = Operation::named(&name);
    let mut cache = (!operation.opens()).then(|| open(directory));
    if let (Start::Warm, Some(cache)) = (operation.start, &cache) {
        cache.set("warm", &0).unwrap();
    }
    say(&format!("ready {}", nix::unistd::gettid()));
    await_go();
    let mut goes_on = true;
    if operation.opens() {
        let opened = crate::options().open(directory);
        goes_on = tell(opened.map(|opened| cache = Some(opened)));
    }
    if let Some(cache) = &cache {
        for call in 0..operation.calls {
            goes_on = goes_on && tell((operation.call)(cache, call));
        }
    }
    await_go();
    // Whatever happened, the handle is usable again; or it can be had now.
    let cache = cache.unwrap_or_else(|| open(directory));
    cache.set_bytes(PEER, b"usable").unwrap();
    assert_eq!(cache.get_bytes(PEER).unwrap().as_deref(), Some(&b"usable"[..]));
    cache.set_bytes(PEER, &[5; 3000]).unwrap();
    assert!(cache.delete(PEER).unwrap());
    say("usable");
    await_go();
}

/// The operation of a victim that finishes what a killed one left.
pub(crate) const RECOVERY: &str = "recovery";

/// Opens the cache and takes the lock, which recovers it, and changes nothing.
fn recover(directory: &Path) {
    say(&format!("ready {}", nix::unistd::gettid()));
    await_go();
    let cache = open(directory);
    assert!(!cache.delete("a key that is not there").unwrap());
    await_go();
}

/// The operation of a victim that is stopped at random moments.
pub(crate) const LOOP: &str = "for ever";

/// Fills a key and a pair of keys again and again, mostly with the lock.
fn write_for_ever(directory: &Path) -> ! {
    let cache = open(directory);
    say("ready 0");
    for version in 0_u64.. {
        let value = version.to_le_bytes();
        cache
            .transact(|tx| {
                (0..20).try_for_each(|key| tx.set_bytes(("pair", key), &value))?;
                tx.set_bytes("large", &value.repeat(400))
            })
            .unwrap();
        cache.set_bytes("single", &value.repeat(30)).unwrap();
        if version.is_multiple_of(64) {
            cache.compact().unwrap();
        }
    }
    unreachable!("a u64 does not come to its end")
}

/// A victim, as its parent sees it. Killed when dropped.
pub(crate) struct Victim {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// The thread that does the calls.
    pub(crate) thread: i32,
}

/// How the calls of a victim ended.
#[derive(Debug)]
pub(crate) struct Told {
    /// Calls that were acknowledged.
    pub(crate) done: usize,
    /// The error of the call after them.
    pub(crate) failed: Option<String>,
}

impl Victim {
    pub(crate) fn start(operation: &str, directory: &Path) -> Victim {
        let mut command = Command::new(std::env::current_exe().unwrap());
        Victim::start_as(&mut command, operation, directory)
    }

    /// The same, by a command that runs this program.
    pub(crate) fn start_as(command: &mut Command, operation: &str, directory: &Path) -> Victim {
        let mut child = command
            .args(["--exact", "victim", "--nocapture", "--test-threads=1"])
            .env(OPERATION, operation)
            .env(DIRECTORY, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut victim = Victim { child, input, output, thread: 0 };
        let line = victim.line().expect("a first line");
        victim.thread = line.strip_prefix("ready ").unwrap().parse().unwrap();
        victim
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it go on to the next place where it waits.
    pub(crate) fn go(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }

    /// The next line; `None` when there will be none.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some(said) = line.strip_prefix(MARK) {
                return Some(said.trim_end().to_owned());
            }
            line.clear();
        }
        None
    }

    /// Waits for its end, and hears what it had said until then.
    pub(crate) fn end(&mut self) -> (ExitStatus, Told) {
        let mut told = Told { done: 0, failed: None };
        while let Some(line) = self.line() {
            told.hear(&line);
        }
        (self.child.wait().unwrap(), told)
    }

    /// Hears what it has said of its calls, of which there are so many. It goes on afterwards.
    pub(crate) fn told(&mut self, calls: usize) -> Told {
        let mut told = Told { done: 0, failed: None };
        while told.done < calls && told.failed.is_none() {
            told.hear(&self.line().expect("a word on each call"));
        }
        told
    }
}

impl Told {
    fn hear(&mut self, line: &str) {
        match line.strip_prefix("failed ") {
            Some(error) => self.failed = Some(error.to_owned()),
            None => self.done += usize::from(line == "did"),
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says who this is, for messages that name the holder of the lock.
pub(crate) fn names(error: &Error, process: u32) -> bool {
    error.to_string().contains(&format!("of process {process} "))
}
