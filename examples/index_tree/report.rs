//! What a run has found and what it was worth, read back from the cache.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use firncache::Cache;

use crate::Result;
use crate::analysis::{Analysis, most_frequent};
use crate::files::FileState;
use crate::team::Done;

/// How many results are read together.
const BATCH: usize = 256;
/// How many words, and how many excuses, are printed.
const SHOWN: usize = 8;

/// How many of the results that a worker acknowledged are in the cache.
pub(crate) struct Kept {
    acknowledged: usize,
    there: usize,
}

/// Looks up what was acknowledged: it counts only with the digest that was acknowledged.
pub(crate) fn kept(cache: &Cache, acknowledged: &[FileState]) -> Result<Kept> {
    let mut there = 0;
    for batch in acknowledged.chunks(BATCH) {
        let keys = batch.iter().map(|state| state.version.key());
        let found: Vec<Option<Analysis>> = cache.get_many(keys)?;
        let same = batch.iter().zip(&found).filter(|(state, found)| {
            found.as_ref().is_some_and(|found| found.digest == state.digest)
        });
        there += same.count();
    }
    Ok(Kept { acknowledged: acknowledged.len(), there })
}

/// The results of all files together.
#[derive(Default)]
pub(crate) struct Findings {
    bytes: u64,
    texts: u64,
    lines: u64,
    words: u64,
    frequent: Vec<(String, u64)>,
    phrases: Vec<(String, u64)>,
    copies: usize,
    cost: Duration,
    missing: usize,
}

impl Findings {
    /// Reads the results of all files that were answered for.
    pub(crate) fn gather(cache: &Cache, done: &Done) -> Result<Findings> {
        let mut all = Findings::default();
        let (mut frequent, mut phrases) = (HashMap::new(), HashMap::new());
        let mut digests: HashMap<String, usize> = HashMap::new();
        let states: Vec<&FileState> = done.hits.iter().chain(&done.computed).collect();
        for batch in states.chunks(BATCH) {
            let keys = batch.iter().map(|state| state.version.key());
            for (state, found) in batch.iter().zip(cache.get_many::<Analysis>(keys)?) {
                let Some(found) = found.filter(|found| found.digest == state.digest) else {
                    all.missing += 1;
                    continue;
                };
                all.bytes += state.version.size;
                all.cost += found.cost;
                if state.version.size > 0 {
                    *digests.entry(found.digest).or_default() += 1;
                }
                if found.is_text {
                    all.texts += 1;
                    all.lines += found.lines;
                    all.words += found.words;
                    add(&mut frequent, found.frequent);
                    add(&mut phrases, found.phrases);
                }
            }
        }
        all.copies = digests.values().map(|count| count - 1).sum();
        all.frequent = most_frequent(frequent.into_iter().collect(), SHOWN);
        all.phrases = most_frequent(phrases.into_iter().collect(), SHOWN);
        Ok(all)
    }
}

fn add(sums: &mut HashMap<String, u64>, counts: Vec<(String, u64)>) {
    for (text, count) in counts {
        *sums.entry(text).or_default() += count;
    }
}

/// Everything that is printed at the end.
pub(crate) struct Report<'a> {
    pub(crate) root: &'a Path,
    pub(crate) workers: usize,
    pub(crate) elapsed: Duration,
    pub(crate) cache: &'a Cache,
    pub(crate) unreadable: Vec<(PathBuf, String)>,
    pub(crate) findings: Findings,
    pub(crate) killed: Option<Kept>,
    pub(crate) earlier: Option<Kept>,
    pub(crate) done: &'a Done,
}

impl Report<'_> {
    /// Whether every file was dealt with, and everything that was acknowledged is in the cache.
    pub(crate) fn is_good(&self) -> bool {
        let is_kept =
            |kept: &Option<Kept>| kept.as_ref().is_none_or(|it| it.there == it.acknowledged);
        let is_whole = self.done.failed.is_empty() && self.findings.missing == 0;
        is_whole && is_kept(&self.killed) && is_kept(&self.earlier)
    }

    /// Prints the table; a reader who has seen enough of it is no error.
    pub(crate) fn print(&self) -> Result<()> {
        match io::stdout().write_all(self.table()?.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
    }

    fn table(&self) -> Result<String> {
        let (found, done) = (&self.findings, self.done);
        let answered = done.hits.len() + done.computed.len();
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        let cached = &self.cache;
        let mut rows = vec![
            row("files", answered, format!("{} below {}", bytes(found.bytes), self.root.display())),
            row("hits", done.hits.len(), "answered from the cache"),
            row("misses", done.computed.len(), "computed, and stored"),
        ];
        for (name, list) in
            [("unreadable", &self.unreadable), ("skipped", &done.skipped), ("failed", &done.failed)]
        {
            let shown =
                list.iter().take(SHOWN).map(|(path, why)| format!("{}: {why}", path.display()));
            if !list.is_empty() {
                rows.push(row(name, list.len(), shown.collect::<Vec<_>>().join("; ")));
            }
        }
        let rate = found.bytes as f64 / 1e6 / seconds;
        let gain = found.cost.as_secs_f64() / seconds;
        rows.push(row(
            "time",
            time(self.elapsed),
            format!("with {} worker processes", self.workers),
        ));
        rows.push(row("throughput", format!("{rate:.1} MB/s"), "of the files' content"));
        let computing = "what computing these results took, one after the other";
        rows.push(row("computing", time(found.cost), computing));
        rows.push(row("speed-up", format!("{gain:.1}x"), "of this run over computing"));
        let held = format!("keys, {}", bytes(cached.volume()?));
        rows.push(row("cache holds", cached.len()?, held));
        let place = format!("in {}", cached.directory().display());
        rows.push(row("takes on disk", bytes(cached.disk_usage()?), place));
        rows.push(row(
            "lines",
            found.lines,
            format!("{} words in {} texts", found.words, found.texts),
        ));
        rows.push(row("words", "", list(&found.frequent)));
        rows.push(row("phrases", "", list(&found.phrases)));
        rows.push(row("copies", found.copies, "files with the content of another"));
        if found.missing > 0 {
            rows.push(row("MISSING", found.missing, "acknowledged, but not in the cache"));
        }
        rows.extend(self.deaths());
        Ok(rows.concat())
    }

    /// What became of the work of killed workers.
    fn deaths(&self) -> Vec<String> {
        let mut rows = Vec::new();
        if let (Some(killed), Some(kept)) = (&self.done.killed, &self.killed) {
            let there = format!("{} of {}", kept.there, kept.acknowledged);
            let what = "acknowledged results of the killed worker are in the cache";
            rows.push(row("killed", format!("pid {}", killed.pid), "by SIGKILL, half-way"));
            rows.push(row("taken over", killed.left, "files that it had in hand"));
            rows.push(row("kept", there, what));
        }
        if let Some(kept) = &self.earlier {
            let there = format!("{} of {}", kept.there, kept.acknowledged);
            rows.push(row("kept", there, "of the worker that was killed in an earlier run"));
        }
        rows
    }
}

fn list(counts: &[(String, u64)]) -> String {
    let named = counts.iter().map(|(text, count)| format!("{text} {count}"));
    named.collect::<Vec<_>>().join(", ")
}

fn row(name: &str, figure: impl ToString, remark: impl AsRef<str>) -> String {
    let line = format!("{name:<14}{:>12}  {}", figure.to_string(), remark.as_ref());
    format!("{}\n", line.trim_end())
}

fn time(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}

fn bytes(count: u64) -> String {
    match count as f64 {
        few if few < 1e3 => format!("{count} B"),
        some if some < 1e6 => format!("{:.1} kB", some / 1e3),
        many if many < 1e9 => format!("{:.2} MB", many / 1e6),
        most => format!("{:.2} GB", most / 1e9),
    }
}
