//! The worker processes as the parent sees them: hands out paths, takes answers, survives deaths.
//!
//! Every worker has a few paths in its hands, so that it never waits for the next. One thread per
//! worker listens to it; everything else happens in the one loop of [`Team::work`].

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use indicatif::{ProgressBar, ProgressStyle};

use crate::Result;
use crate::files::FileState;
use crate::worker::Answer;

/// How many paths a worker has in its hands.
const IN_HAND: usize = 4;

/// What was done with the files.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) hits: Vec<FileState>,
    pub(crate) computed: Vec<FileState>,
    /// Files that could not be read, with the reason.
    pub(crate) skipped: Vec<(PathBuf, String)>,
    /// Files for which the cache did not do its part, with the reason.
    pub(crate) failed: Vec<(PathBuf, String)>,
    pub(crate) killed: Option<Killed>,
}

/// The worker that was killed on purpose.
pub(crate) struct Killed {
    pub(crate) pid: u32,
    pub(crate) acknowledged: Vec<FileState>,
    /// Paths that others had to take over.
    pub(crate) left: usize,
}

pub(crate) struct Team<'a> {
    paths: &'a [PathBuf],
    /// Indexes of paths that nobody has in hand.
    waiting: VecDeque<usize>,
    members: Vec<Member>,
    news: Receiver<News>,
    done: Done,
}

struct Member {
    process: Child,
    listener: JoinHandle<()>,
    /// None once nothing more can be said to it.
    input: Option<ChildStdin>,
    in_hand: VecDeque<usize>,
    acknowledged: Vec<FileState>,
}

/// What the listener of a member heard.
enum News {
    Line(usize, String),
    Gone(usize),
}

impl<'a> Team<'a> {
    /// Starts the workers; this very program is what they run.
    pub(crate) fn start(count: usize, cache: &Path, paths: &'a [PathBuf]) -> Result<Team<'a>> {
        let (told, news) = channel();
        let mut team = Team {
            paths,
            waiting: (0..paths.len()).collect(),
            members: Vec::new(),
            news,
            done: Done::default(),
        };
        // More workers than files would only stand about.
        for number in 0..count.min(paths.len()) {
            team.members.push(Member::start(number, cache, told.clone())?);
        }
        Ok(team)
    }

    /// Works until every path has its answer; kills one worker half-way if that is asked for.
    pub(crate) fn work(mut self, kill: bool) -> Result<Done> {
        let bar = ProgressBar::new(self.paths.len() as u64);
        bar.set_style(ProgressStyle::with_template(
            "{bar:40} {pos}/{len} files  {elapsed}  {msg}",
        )?);
        let mut victim = None;
        let mut answered = 0;
        self.hand_out();
        while answered < self.paths.len() {
            match self.news.recv()? {
                News::Line(number, line) => {
                    answered += usize::from(self.take(number, &line));
                    bar.set_position(answered as u64);
                    self.hand_out();
                    if kill && victim.is_none() && answered * 2 >= self.paths.len() {
                        self.members[number].process.kill()?;
                        victim = Some((number, self.members[number].in_hand.len()));
                        bar.set_message("one worker killed");
                    }
                }
                News::Gone(number) => self.mourn(number)?,
            }
        }
        bar.finish();
        self.end(victim)
    }

    /// Fills everybody's hands.
    fn hand_out(&mut self) {
        let is_short = |member: &Member| member.input.is_some() && member.in_hand.len() < IN_HAND;
        while !self.waiting.is_empty() {
            let short = self.members.iter_mut().filter(|member| is_short(member));
            let Some(member) = short.min_by_key(|member| member.in_hand.len()) else { return };
            if let Some(index) = self.waiting.pop_front()
                && !member.hand(index, &self.paths[index])
            {
                self.waiting.push_front(index);
            }
        }
    }

    /// Takes the answer for the path that a member has longest in hand.
    fn take(&mut self, number: usize, line: &str) -> bool {
        let member = &mut self.members[number];
        let Some(index) = member.in_hand.pop_front() else { return false };
        let path = &self.paths[index];
        match Answer::parse(line, path) {
            Answer::Hit(state) => {
                member.acknowledged.push(state.clone());
                self.done.hits.push(state);
            }
            Answer::Computed(state) => {
                member.acknowledged.push(state.clone());
                self.done.computed.push(state);
            }
            Answer::Skipped(why) => self.done.skipped.push((path.clone(), why)),
            Answer::Failed(why) => self.done.failed.push((path.clone(), why)),
        }
        true
    }

    /// Gives what a dead member had in hand to the others.
    fn mourn(&mut self, number: usize) -> Result<()> {
        let member = &mut self.members[number];
        member.input = None;
        self.waiting.extend(member.in_hand.drain(..));
        if self.members.iter().all(|member| member.input.is_none()) {
            return Err(
                format!("every worker has ended, {} files are left", self.waiting.len()).into()
            );
        }
        self.hand_out();
        Ok(())
    }

    /// Lets everybody go home.
    fn end(mut self, victim: Option<(usize, usize)>) -> Result<Done> {
        for (number, mut member) in self.members.drain(..).enumerate() {
            drop(member.input.take());
            member.process.wait()?;
            // A listener only reads until the end of what a process said, which has ended.
            let _ = member.listener.join();
            if let Some((_, left)) = victim.filter(|(it, _)| *it == number) {
                let (pid, acknowledged) = (member.process.id(), member.acknowledged);
                self.done.killed = Some(Killed { pid, acknowledged, left });
            }
        }
        Ok(self.done)
    }
}

impl Member {
    fn start(number: usize, cache: &Path, told: Sender<News>) -> Result<Member> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("--worker")
            .arg("--cache")
            .arg(cache)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let output = output.ok_or("a worker has no standard output")?;
        let listener = std::thread::spawn(move || listen(number, output, &told));
        let (in_hand, acknowledged) = (VecDeque::new(), Vec::new());
        Ok(Member { process, listener, input, in_hand, acknowledged })
    }

    /// False if nothing can be handed to it any more.
    fn hand(&mut self, index: usize, path: &Path) -> bool {
        let bytes = [path.as_os_str().as_bytes(), &[0]].concat();
        let is_told = self.input.as_mut().is_some_and(|input| input.write_all(&bytes).is_ok());
        if is_told {
            self.in_hand.push_back(index);
        } else {
            self.input = None;
        }
        is_told
    }
}

/// Passes on what a worker says, line by line; a last line without an end was cut off by its death
/// and says nothing.
fn listen(number: usize, output: ChildStdout, told: &Sender<News>) {
    let mut output = BufReader::new(output);
    let mut line = String::new();
    while output.read_line(&mut line).is_ok_and(|len| len > 0) && line.ends_with('\n') {
        if told.send(News::Line(number, line.trim_end().into())).is_err() {
            return;
        }
        line.clear();
    }
    // Nobody listens any more when all is done.
    let _ = told.send(News::Gone(number));
}
