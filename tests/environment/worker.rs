//! This program, started again to be another process, or another user's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{settings, user};

const WORK: &str = "FIRNCACHE_ENVIRONMENT_WORK";
const DIRECTORY: &str = "FIRNCACHE_ENVIRONMENT_DIRECTORY";
const MARK: &str = "> ";
/// The user that owns nothing.
const NOBODY: &str = "65534";

pub(crate) fn say(line: &str) {
    println!("\n{MARK}{line}");
}

/// What a worker does. Does nothing in the parent.
#[test]
fn worker() {
    let (Ok(work), Some(directory)) = (std::env::var(WORK), std::env::var_os(DIRECTORY)) else {
        return;
    };
    let directory = Path::new(&directory);
    match work.as_str() {
        "other user" => user::open_as_other(directory),
        "other settings" => settings::write_with_others(directory),
        _ => panic!("no such work: {work}"),
    }
}

fn lines(command: &mut Command, work: &str, directory: &Path) -> Option<Vec<String>> {
    let command = command.args(["--exact", "worker::worker", "--nocapture"]);
    let command = command.env(WORK, work).env(DIRECTORY, directory).stdin(Stdio::null());
    let done = command.output().ok()?;
    let text = String::from_utf8_lossy(&done.stdout);
    let said = text.lines().filter_map(|line| line.strip_prefix(MARK));
    let said: Vec<String> = said.map(str::to_owned).collect();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() || said.is_empty(), "{text}{errors}");
    done.status.success().then_some(said)
}

/// What another process says.
pub(crate) fn run(work: &str, directory: &Path) -> Vec<String> {
    let exe = std::env::current_exe().unwrap();
    lines(&mut Command::new(exe), work, directory).expect("a worker ends well")
}

/// What a process of the user "nobody" says, where it can be started.
pub(crate) fn run_as_nobody(work: &str, directory: &Path) -> Option<Vec<String>> {
    // Where this program lies, nobody need be allowed to look.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = place.path().join("worker");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(&copy);
    let said = lines(&mut command, work, directory);
    if said.is_none() {
        skip("no process of another user can be started here");
    }
    said
}

/// Says that something cannot be tried here; fails where nothing may be skipped.
pub(crate) fn skip(why: &str) {
    let may_skip = std::env::var_os("FIRNCACHE_NO_SKIP").is_none();
    assert!(may_skip, "{why}, and nothing may be skipped");
    eprintln!("skipped: {why}");
}
