//! The workers as the parent sees them, and what it finds.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use firncache::Cache;

use crate::Result;

/// What all workers and the cache were like at one moment. Of what differs between workers, the most.
pub(crate) struct Sample {
    pub(crate) time: Duration,
    pub(crate) operations: u64,
    /// In microseconds, since the last sample.
    pub(crate) high_us: u64,
    slowest_us: u64,
    /// Memory of a worker's own, in KiB.
    pub(crate) memory_kib: u64,
    pub(crate) descriptors: u64,
    pub(crate) disk_bytes: u64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (high, slowest) = (self.high_us as f64 / 1000.0, self.slowest_us as f64 / 1000.0);
        write!(
            f,
            "{:6.0} {:11} {high:6.1} ms {slowest:5.0} ms {:3.1} MiB {:12} {:4.1} MiB",
            self.time.as_secs_f64(),
            self.operations,
            self.memory_kib as f64 / 1024.0,
            self.descriptors,
            self.disk_bytes as f64 / f64::from(1 << 20),
        )
    }
}

/// What is compared of samples.
type Number = fn(&Sample) -> u64;

struct Member {
    process: Child,
    output: BufReader<ChildStdout>,
}

pub(crate) struct Team {
    path: PathBuf,
    members: Vec<Member>,
    rate: u64,
    started: u64,
}

impl Team {
    pub(crate) fn start(path: &Path, processes: u64, rate: u64) -> Result<Team> {
        let mut team = Team { path: path.to_owned(), members: Vec::new(), rate, started: 0 };
        for _ in 0..processes {
            team.add()?;
        }
        Ok(team)
    }

    fn add(&mut self) -> Result<()> {
        self.started += 1;
        let mut process = Command::new(std::env::current_exe()?)
            .arg("--worker")
            .arg(&self.path)
            .args(["--seed", &self.started.to_string(), "--rate", &self.rate.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(process.stdout.take().ok_or("no output")?);
        self.members.push(Member { process, output });
        Ok(())
    }

    /// A worker that has ended by itself has failed, and has said why.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        for member in &mut self.members {
            if let Some(status) = member.process.try_wait()? {
                return Err(format!("a worker has ended: {status}").into());
            }
        }
        Ok(())
    }

    pub(crate) fn sample(&mut self, cache: &Cache, time: Duration) -> Result<Sample> {
        let disk_bytes = cache.disk_usage()?;
        let mut sample = Sample {
            time,
            operations: 0,
            high_us: 0,
            slowest_us: 0,
            memory_kib: 0,
            descriptors: 0,
            disk_bytes,
        };
        for member in &mut self.members {
            let process = member.process.id();
            member.process.stdin.as_mut().ok_or("no input")?.write_all(b"times\n")?;
            let mut line = String::new();
            member.output.read_line(&mut line)?;
            let mut numbers = line.split_whitespace().map(str::parse::<u64>);
            let mut number = || Ok::<_, Box<dyn std::error::Error>>(numbers.next().ok_or("cut")??);
            sample.operations += number()?;
            sample.high_us = sample.high_us.max(number()?);
            sample.slowest_us = sample.slowest_us.max(number()?);
            sample.memory_kib = sample.memory_kib.max(own_memory(process)?);
            let files = std::fs::read_dir(format!("/proc/{process}/fd"))?.count() as u64;
            sample.descriptors = sample.descriptors.max(files);
        }
        Ok(sample)
    }

    /// Kills the worker that has lived longest but for the first, and starts another.
    pub(crate) fn kill_one(&mut self) -> Result<()> {
        let oldest = usize::from(self.members.len() > 1);
        let mut member = self.members.remove(oldest);
        member.process.kill()?;
        member.process.wait()?;
        self.add()
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        for mut member in self.members.drain(..) {
            drop(member.process.stdin.take());
            let status = member.process.wait()?;
            if !status.success() {
                return Err(format!("a worker has failed: {status}").into());
            }
        }
        Ok(())
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.process.kill();
            let _ = member.process.wait();
        }
    }
}

fn own_memory(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Fails if something has grown from the second quarter to the last.
pub(crate) fn judge(samples: &[Sample], limit: u64) -> Result<()> {
    let quarter = samples.len() / 4;
    let (early, late) = (&samples[quarter..2 * quarter], &samples[samples.len() - quarter..]);
    let most = |part: &[Sample], of: Number| part.iter().map(of).max().unwrap_or(0);
    // A call that was under way is open for a moment: two files, at most.
    let rows: [(&str, Number, u64, u64); 3] = [
        ("descriptors", |it| it.descriptors, 0, 2),
        ("KiB of memory", |it| it.memory_kib, 4, 2048),
        ("bytes on disk", |it| it.disk_bytes, 10, limit / 16),
    ];
    for (what, of, share, slack) in rows {
        let (before, after) = (most(early, of), most(late, of));
        println!("{what}: {before} in the second quarter, {after} in the last");
        let grown = before.checked_div(share).unwrap_or(0);
        if after > before + grown + slack {
            return Err(format!("{what} have grown from {before} to {after}").into());
        }
    }
    Ok(())
}
