//! The files below a directory, and what tells whether one has changed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Directories that hold nothing but what was made from the rest.
const SKIPPED: [&str; 2] = [".git", "target"];

/// A file as it was when it was looked at, with the digest of its content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FileState {
    pub(crate) version: Version,
    pub(crate) digest: String,
}

/// A file and the state that it is in. Another size or another time of change is another version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    /// Not necessarily valid text.
    pub(crate) path: OsString,
    pub(crate) size: u64,
    pub(crate) modified_ns: i64,
}

impl Version {
    /// Looks at a file, but not through a symbolic link.
    pub(crate) fn of(path: &Path) -> io::Result<Version> {
        let facts = fs::symlink_metadata(path)?;
        if !facts.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let seconds_ns = facts.mtime().saturating_mul(1_000_000_000);
        Ok(Version {
            path: path.into(),
            size: facts.len(),
            modified_ns: seconds_ns.saturating_add(facts.mtime_nsec()),
        })
    }

    /// The key of the analysis of this version, in which the path is bytes.
    pub(crate) fn key(&self) -> (&[u8], u64, i64) {
        (self.path.as_bytes(), self.size, self.modified_ns)
    }
}

/// What lies below a directory.
pub(crate) struct Found {
    pub(crate) paths: Vec<PathBuf>,
    /// Directories that could not be listed, with the reason.
    pub(crate) unreadable: Vec<(PathBuf, String)>,
}

/// Lists the regular files below `root` in the order of their paths. Symbolic links are not
/// followed, and the cache, should it lie there, is not looked into.
pub(crate) fn below(root: &Path, cache: &Path) -> Found {
    let cache = cache.canonicalize().unwrap_or_else(|_| cache.into());
    let mut found = Found { paths: Vec::new(), unreadable: Vec::new() };
    let mut waiting = vec![root.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        let listed = fs::read_dir(&directory).and_then(|list| {
            for entry in list {
                let entry = entry?;
                let (path, kind) = (entry.path(), entry.file_type()?);
                let is_skipped = SKIPPED.iter().any(|name| entry.file_name() == *name);
                if kind.is_file() {
                    found.paths.push(path);
                } else if kind.is_dir() && !is_skipped && path != cache {
                    waiting.push(path);
                }
            }
            Ok(())
        });
        if let Err(error) = listed {
            found.unreadable.push((directory, error.to_string()));
        }
    }
    found.paths.sort();
    found
}
