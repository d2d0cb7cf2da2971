//! A directory that is removed with its last user.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sys::raw::{process_token, random_u64};

const ATTEMPTS: usize = 16;

/// A directory of its own under the system's directory for temporary files.
pub(crate) struct TemporaryDir {
    path: PathBuf,
    process: u64,
}

impl TemporaryDir {
    pub(crate) fn new() -> Result<TemporaryDir> {
        let parent = std::env::temp_dir();
        let failed = |source| Error::io("make a temporary directory", &parent, source);
        for _ in 0..ATTEMPTS {
            let path = parent.join(format!("firncache-{:016x}", random_u64().map_err(failed)?));
            match make_private(&path) {
                Ok(()) => return Ok(TemporaryDir { path, process: process_token() }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(failed(io::ErrorKind::AlreadyExists.into()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        // The child of a fork leaves its parent's directory alone.
        if self.process == process_token() {
            // What cannot be removed stays for whoever cleans the temporary directory.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_with_everything_in_it() {
        let temporary = TemporaryDir::new().unwrap();
        let path = temporary.path().to_path_buf();
        fs::write(path.join("file"), "x").unwrap();
        fs::create_dir(path.join("sub")).unwrap();
        drop(temporary);
        assert!(!path.exists());
    }

    #[test]
    fn is_nobody_elses() {
        use std::os::unix::fs::PermissionsExt;
        let temporary = TemporaryDir::new().unwrap();
        let mode = fs::metadata(temporary.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
