//! What surrounds a cache and goes wrong: clocks, directories, mounts, users, limits, other settings.
//!
//! Where another process or user is needed, this program starts itself again; what [`WORK`] names is
//! what it does then, and it says on its standard output what came of it.
//!
//! `ENVIRONMENT_OPENS=1000000 cargo test --release --test environment opened` is the long form of
//! that; `ENVIRONMENT_CASES=20000 .. clock` of the clock that jumps.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod clock;
mod directory;
mod many;
mod mounts;
mod settings;
mod user;
mod worker;

use firncache::{ErrorKind, Result};

/// The number that a variable of the environment has, or else this one.
fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |it| it.parse().expect("a number"))
}

#[track_caller]
fn kind_of<T>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("succeeds"),
        Err(error) => error.kind(),
    }
}
