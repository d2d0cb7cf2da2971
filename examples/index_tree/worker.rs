//! A worker process: paths come in, the cache is asked, answers go out.
//!
//! Paths are read from the standard input, each ended by a zero byte, the only byte that no path
//! holds. Each is answered by one line, in the same order:
//!
//! ```text
//! hit 5120 1795341600000000000 9f86d0818..           size, time of change, digest
//! computed 5120 1795341600000000000 9f86d0818..      the same, now in the cache
//! skipped permission denied
//! failed the cache says what
//! ```

use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use firncache::Cache;

use crate::Result;
use crate::analysis::Analysis;
use crate::files::{FileState, Version};

/// What became of a path.
pub(crate) enum Answer {
    Hit(FileState),
    /// Computed and stored: when this is said, the cache has it.
    Computed(FileState),
    Skipped(String),
    Failed(String),
}

/// Answers until there are no more paths.
pub(crate) fn run(cache: &Path) -> Result<()> {
    let cache = Cache::open(cache)?;
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    let mut path = Vec::new();
    while input.read_until(0, &mut path)? > 0 && path.pop() == Some(0) {
        let answer = answer(&cache, &PathBuf::from(OsString::from_vec(path.clone())));
        output.write_all(answer.line().as_bytes())?;
        output.flush()?;
        path.clear();
    }
    Ok(())
}

fn answer(cache: &Cache, path: &Path) -> Answer {
    let version = match Version::of(path) {
        Ok(version) => version,
        Err(error) => return Answer::Skipped(error.to_string()),
    };
    match cache.get::<Analysis>(version.key()) {
        Ok(Some(found)) => return Answer::Hit(FileState { version, digest: found.digest }),
        Ok(None) => {}
        Err(error) => return Answer::Failed(error.to_string()),
    }
    let computed = match Analysis::of(path) {
        Ok(computed) => computed,
        Err(error) => return Answer::Skipped(error.to_string()),
    };
    // What was read belongs to this key only if the file is still what it was.
    if !Version::of(path).is_ok_and(|now| now == version) {
        return Answer::Skipped("it changed while it was read".into());
    }
    match cache.set(version.key(), &computed) {
        Ok(()) => Answer::Computed(FileState { version, digest: computed.digest }),
        Err(error) => Answer::Failed(error.to_string()),
    }
}

impl Answer {
    fn line(&self) -> String {
        let state = |word, FileState { version, digest }: &FileState| {
            format!("{word} {} {} {digest}\n", version.size, version.modified_ns)
        };
        let reason = |word, why: &str| format!("{word} {}\n", why.replace('\n', " "));
        match self {
            Answer::Hit(it) => state("hit", it),
            Answer::Computed(it) => state("computed", it),
            Answer::Skipped(why) => reason("skipped", why),
            Answer::Failed(why) => reason("failed", why),
        }
    }

    /// Reads the line that a worker wrote about `path`.
    pub(crate) fn parse(line: &str, path: &Path) -> Answer {
        let state = |rest: &str| {
            let mut parts = rest.split(' ');
            let version = Version {
                path: path.into(),
                size: parts.next()?.parse().ok()?,
                modified_ns: parts.next()?.parse().ok()?,
            };
            Some(FileState { version, digest: parts.next()?.into() })
        };
        let answer = match line.split_once(' ') {
            Some(("hit", rest)) => state(rest).map(Answer::Hit),
            Some(("computed", rest)) => state(rest).map(Answer::Computed),
            Some(("skipped", why)) => Some(Answer::Skipped(why.into())),
            Some(("failed", why)) => Some(Answer::Failed(why.into())),
            _ => None,
        };
        answer.unwrap_or_else(|| Answer::Failed(format!("the worker said: {line}")))
    }
}
