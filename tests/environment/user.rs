//! A cache of another user: its directory tells who may do what, and one clear error says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use firncache::{Cache, ErrorKind};

use crate::kind_of;
use crate::worker::{run_as_nobody, say};

/// A worker: opens and uses what another user owns.
pub(crate) fn open_as_other(directory: &Path) {
    for read_only in [false, true] {
        match Cache::options().read_only(read_only).open(directory) {
            Err(error) => {
                let tells = error.to_string().contains(directory.to_str().unwrap());
                say(&format!("open {:?} {tells}", error.kind()));
            }
            Ok(cache) => {
                let set = cache.set("key", &2).map_err(|error| error.kind());
                say(&format!("read {:?}, set {set:?}", cache.get::<i32>("key").ok()));
            }
        }
    }
}

fn permit(path: &Path, directories: u32, files: u32) {
    let mode = if path.is_dir() { directories } else { files };
    for entry in path.read_dir().into_iter().flatten() {
        permit(&entry.unwrap().path(), directories, files);
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn another_users_cache_is_refused_or_read_as_its_modes_say() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let directory = dir.path().join("cache");
    let cache = Cache::open(&directory).unwrap();
    cache.set("key", &1).unwrap();
    let Some(said) = run_as_nobody("other user", &directory) else { return };
    assert_eq!(said, ["open Io true"; 2], "the directory is its owner's alone");
    permit(&directory, 0o755, 0o600);
    let said = run_as_nobody("other user", &directory).unwrap();
    assert_eq!(said, ["open Io true"; 2], "the files are their owner's alone");
    permit(&directory, 0o755, 0o644);
    let said = run_as_nobody("other user", &directory).unwrap();
    assert_eq!(said, ["read Some(Some(1)), set Err(ReadOnly)"; 2]);
    assert_eq!(cache.get("key").unwrap(), Some(1));
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("cache");
    Cache::open(&directory).unwrap().set("key", &1).unwrap();
    for mode in [0o777, 0o770, 0o702] {
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(kind_of(Cache::open(&directory)), ErrorKind::Unsupported, "{mode:o}");
        let trusting = Cache::options().allow_untrusted(true).open(&directory).unwrap();
        assert_eq!(trusting.get("key").unwrap(), Some(1));
    }
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(Cache::open(&directory).unwrap().get("key").unwrap(), Some(1));
}
