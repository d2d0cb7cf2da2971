//! Killed, stopped and refused at every system call, and killed at every instruction.
//!
//! This program starts itself again as a *victim*: a process that does one [`operations::Operation`]
//! on a prepared cache and says on its standard output what was acknowledged. The parent traces it
//! ([`tracer`]): it stops it at each system call, or after each instruction, and there kills it, lets
//! the call fail, or looks at the cache as a living peer. Nothing is simulated: the victim runs the
//! library as it is, and the parent has the cache open, in place, before, during and after.
//!
//! ```text
//! syscalls   killed at each call; before that, while it is stopped there, readers read on
//! errors     each call fails, once and from then on
//! steps      a picture of the files after each instruction that changed them; each is recovered
//! nested     the recovery is killed in the same way, and the recovery of that
//! stopped    a writer is stopped at random moments
//! limits     disks that are full, out of inodes, or whose files may not grow
//! ```
//!
//! How to run the long forms, and what they have reached: `docs/testing.md`.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod contents;
mod copied;
mod errors;
mod limits;
mod operations;
mod picture;
mod steps;
mod stopped;
mod syscalls;
mod tracer;
mod victim;

use std::path::{Path, PathBuf};

use firncache::{Cache, Options};

/// The smallest segments there are, small value files, and no automatic removal.
fn options() -> Options {
    Cache::options().size_limit(1 << 18).value_file_threshold(1500).cull_limit(0)
}

fn open(directory: &Path) -> Cache {
    options().open(directory).unwrap()
}

/// A place in memory if there is one: nothing here is about a disk, unless it says so.
fn place() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let directory = place.path().join("cache");
    (place, directory)
}

/// A number from the environment, for the long forms.
fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |it| it.parse().expect("a number"))
}

/// What a victim does. Does nothing in the parent.
#[test]
fn victim() {
    victim::work();
}
