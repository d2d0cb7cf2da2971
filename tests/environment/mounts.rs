//! Read-only directories and mounts, and an overlay.

use std::path::{Path, PathBuf};
use std::process::Command;

use firncache::{Cache, ErrorKind};
use tempfile::TempDir;

use crate::kind_of;
use crate::worker::skip;

/// A file system mounted at `at` beneath a directory of its own.
struct Mounted {
    place: TempDir,
}

impl Mounted {
    fn path(&self) -> PathBuf {
        self.place.path().join("at")
    }

    /// Runs `mount` with each list of arguments, and the place behind them.
    fn new(place: TempDir, calls: &[&[&str]]) -> Option<Mounted> {
        let mounted = Mounted { place };
        std::fs::create_dir(mounted.path()).unwrap();
        for call in calls {
            let done = Command::new("mount").args(*call).arg(mounted.path()).output();
            if !done.is_ok_and(|done| done.status.success()) {
                skip(&format!("mount {call:?} is refused here"));
                return None;
            }
        }
        Some(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

fn filled(path: &Path) -> Cache {
    let cache = Cache::options().value_file_threshold(1000).open(path).unwrap();
    for number in 0..300 {
        cache.set(number, &number).unwrap();
    }
    cache.set_bytes("large", &[7; 5000]).unwrap();
    cache
}

fn assert_as_filled(cache: &Cache) {
    assert!((0..300).all(|number| cache.get(number).unwrap() == Some(number)));
    assert_eq!(cache.get_bytes("large").unwrap().unwrap(), [7; 5000]);
    assert_eq!(cache.iter().count(), 301);
}

#[test]
fn a_read_only_mount_is_read_and_never_written_to() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    let cache = filled(&source.join("cache"));
    let from = source.to_str().unwrap().to_owned();
    let calls: [&[&str]; 2] = [&["--bind", &from], &["-o", "remount,bind,ro"]];
    let Some(mounted) = Mounted::new(place, &calls) else { return };
    let path = mounted.path().join("cache");
    // The same directory, by another road: this process has it open for writing already.
    drop(cache);
    let reader = Cache::open(&path).unwrap();
    assert_as_filled(&reader);
    let kinds = [
        kind_of(reader.set("key", &1)),
        kind_of(reader.set_bytes("key", &[1; 5000])),
        kind_of(reader.delete(1)),
        kind_of(reader.clear()),
        kind_of(reader.repair()),
    ];
    assert_eq!(kinds, [ErrorKind::ReadOnly; 5]);
    assert_eq!(kind_of(Cache::open(mounted.path().join("new"))), ErrorKind::ReadOnly);
    // Who writes elsewhere is seen here.
    let writer = Cache::open(source.join("cache")).unwrap();
    writer.set("key", &1).unwrap();
    assert_eq!(reader.get("key").unwrap(), Some(1));
    drop(reader);
}

#[test]
fn a_cache_below_an_overlay_is_read_changed_and_left_as_it_was_below() {
    let place = tempfile::tempdir().unwrap();
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| {
        let path = place.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    });
    let below = filled(&lower.join("cache"));
    below.sync().unwrap();
    drop(below);
    let [low, up, at_work] = [&lower, &upper, &work].map(|path| path.display());
    let options = format!("lowerdir={low},upperdir={up},workdir={at_work}");
    let Some(mounted) = Mounted::new(place, &[&["-t", "overlay", "-o", &options, "overlay"]])
    else {
        return;
    };
    let path = mounted.path().join("cache");
    let reader = Cache::options().read_only(true).open(&path).unwrap();
    assert_as_filled(&reader);
    let cache = Cache::open(&path).unwrap();
    assert_as_filled(&cache);
    for number in 0..2000 {
        cache.set(number, &(number + 1)).unwrap();
    }
    cache.set_bytes("large", &[8; 6000]).unwrap();
    assert!(cache.check().unwrap().is_clean());
    drop((cache, reader));
    let cache = Cache::open(&path).unwrap();
    assert!((0..2000).all(|number| cache.get(number).unwrap() == Some(number + 1)));
    drop(cache);
    assert_as_filled(&Cache::open(lower.join("cache")).unwrap());
}
