//! Disks that are full, out of inodes, or whose files may not grow: real ones.

use std::path::{Path, PathBuf};
use std::process::Command;

use firncache::{Cache, ErrorKind};

use crate::contents::{assert_before_or_after, assert_sound, contents};
use crate::operations::{Start, operations};
use crate::victim::Victim;
use crate::{open, place};

/// A file system that is mounted for one test.
struct Mounted {
    place: tempfile::TempDir,
}

impl Mounted {
    /// A file system in memory.
    fn tmpfs(limits: &str) -> Option<Mounted> {
        let place = tempfile::tempdir().unwrap();
        Mounted::mount(&["-t", "tmpfs", "-o", limits, "tmpfs"], place)
    }

    /// An ext4 of so many MiB, in a file in memory: waiting for a real disk is not what is tested.
    fn ext4(size_mib: u64) -> Option<Mounted> {
        let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let image = place.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(size_mib << 20).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-F", "-b", "4096"]).arg(&image).output();
        if !made.is_ok_and(|made| made.status.success()) {
            return Mounted::skip("an ext4 cannot be made");
        }
        let image = image.to_str().unwrap().to_owned();
        Mounted::mount(&["-t", "ext4", "-o", "loop", &image], place)
    }

    fn mount(arguments: &[&str], place: tempfile::TempDir) -> Option<Mounted> {
        let at = place.path().join("at");
        std::fs::create_dir(&at).unwrap();
        let done = Command::new("mount").args(arguments).arg(&at).output();
        match done.is_ok_and(|done| done.status.success()) {
            true => Some(Mounted { place }),
            false => Mounted::skip("nothing can be mounted"),
        }
    }

    fn skip(why: &str) -> Option<Mounted> {
        let is_strict = std::env::var_os("FIRNCACHE_NO_SKIP").is_some();
        assert!(!is_strict, "{why} here, and nothing may be skipped");
        eprintln!("skipped: {why} here");
        None
    }

    fn directory(&self) -> PathBuf {
        self.place.path().join("at/cache")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.place.path().join("at")).status().unwrap();
    }
}

type Put = fn(&Cache, (usize, usize)) -> firncache::Result<()>;

/// Puts until it is refused, with `Full`, and then as often again; the keys that were acknowledged.
fn fill(cache: &Cache, directory: &Path, round: usize, put: Put) -> Vec<(usize, usize)> {
    let mut keys = Vec::new();
    let mut attempt = |key| {
        let done = put(cache, (round, key));
        match &done {
            Ok(()) => keys.push((round, key)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Full, "{error}"),
        }
        done.is_ok()
    };
    let first = (0..).find(|key| !attempt(*key)).expect("every disk is full at last");
    let (files, mut more) = (count_files(directory), 0);
    (0..200).for_each(|key| more += usize::from(attempt(first + 1 + key)));
    // What is refused leaves nothing behind. A segment or two may still have been made.
    assert!(count_files(directory) <= files + more + 2, "refused values leave files");
    keys
}

fn count_files(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let count = |entry: std::fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => count_files(&entry.path()),
        false => 1,
    };
    entries.map(count).sum()
}

/// Fills, empties by removing and by `clear`, and fills again. What was acknowledged is there, all
/// the time.
fn fill_and_empty(directory: &Path, put: Put, least: usize) {
    let options = Cache::options().size_limit(1 << 32).value_file_threshold(3000).cull_limit(0);
    let cache = options.open(directory).unwrap();
    let mut most = 0;
    for round in 0..4 {
        let keys = fill(&cache, directory, round, put);
        assert!(keys.len() >= least, "round {round}: only {}", keys.len());
        most = most.max(keys.len());
        // Busy segments are larger, and two of them are kept for removals.
        assert!(4 * keys.len() >= most, "space is lost: {} after {most}", keys.len());
        assert_eq!(contents(&cache).len(), keys.len());
        assert!(keys.iter().all(|key| cache.contains(key).unwrap()));
        let report = cache.check().unwrap();
        assert!(report.is_clean(), "{report}");
        match round % 2 {
            0 => keys.iter().for_each(|key| assert!(cache.delete(key).unwrap())),
            _ => assert_eq!(cache.clear().unwrap(), keys.len() as u64),
        }
        cache.compact().unwrap();
        assert_eq!(cache.len().unwrap(), 0);
    }
    drop(cache);
    let report = open(directory).check().unwrap();
    assert!(report.is_clean(), "{report}");
}

fn put_small(cache: &Cache, key: (usize, usize)) -> firncache::Result<()> {
    cache.set_bytes(key, &[key.1 as u8; 300])
}

fn put_large(cache: &Cache, key: (usize, usize)) -> firncache::Result<()> {
    cache.set_bytes(key, &[key.1 as u8; 5000])
}

#[test]
fn a_full_tmpfs_is_full_and_nothing_else() {
    let Some(mounted) = Mounted::tmpfs("size=1m") else { return };
    fill_and_empty(&mounted.directory(), put_small, 500);
    let Some(mounted) = Mounted::tmpfs("size=1m") else { return };
    fill_and_empty(&mounted.directory(), put_large, 50);
}

#[test]
fn a_disk_without_inodes_is_full_and_nothing_else() {
    let Some(mounted) = Mounted::tmpfs("size=16m,nr_inodes=60") else { return };
    fill_and_empty(&mounted.directory(), put_large, 20);
}

#[test]
fn a_full_ext4_is_full_and_nothing_else() {
    let Some(mounted) = Mounted::ext4(16) else { return };
    fill_and_empty(&mounted.directory(), put_small, 3000);
    let Some(mounted) = Mounted::ext4(16) else { return };
    fill_and_empty(&mounted.directory(), put_large, 300);
}

/// Each operation with so little space that it fails at some place.
#[test]
fn every_operation_on_a_disk_that_is_too_small() {
    let mut failures = 0;
    for operation in operations(|it| it.start != Start::New) {
        let states = operation.states();
        for inodes in [None, Some(0), Some(1), Some(2), Some(4)] {
            let Some(mounted) = Mounted::tmpfs("size=4m,nr_inodes=400") else { return };
            let directory = mounted.directory();
            let peer = operation.prepared(&directory).unwrap();
            let mut victim = Victim::start(operation.name, &directory);
            mounted.leave(inodes.is_none().then_some(16), inodes);
            victim.go();
            let told = victim.told(states.len() - 1);
            assert_before_or_after(&contents(&peer), &states, told.done, operation);
            if let Some(failed) = &told.failed {
                assert!(failed.starts_with("Full"), "{}: {failed}", operation.name);
                failures += 1;
            }
            mounted.leave(None, None);
            victim.go();
            assert_eq!(victim.line().as_deref(), Some("usable"), "{}", operation.name);
            victim.go();
            victim.end();
            assert_sound(&peer, &states, told.done, operation);
        }
    }
    assert!(failures > 0, "there was always space");
}

impl Mounted {
    /// Leaves so many KiB, or inodes, and no more; or enough.
    fn leave(&self, kib: Option<u64>, inodes: Option<u64>) {
        let at = self.place.path().join("at");
        let facts = rustix::fs::statvfs(&at).unwrap();
        let used_kib = (facts.f_blocks - facts.f_bfree) * facts.f_frsize / 1024;
        let size = kib.map_or(1 << 16, |kib| used_kib + kib);
        let most = inodes.map_or(1 << 16, |inodes| facts.f_files - facts.f_ffree + inodes);
        let options = format!("remount,size={size}k,nr_inodes={most}");
        let done = Command::new("mount").args(["-o", &options]).arg(&at).status().unwrap();
        assert!(done.success());
    }
}

/// Files may not become longer; the signal that would tell so is ignored.
#[test]
fn files_that_may_not_grow_are_full_and_nothing_else() {
    const BYTES: [u64; 5] = [0, 4096, 8000, 16384, 65536];
    let mut failures = 0;
    for operation in operations(|_| true) {
        let states = operation.states();
        for bytes in BYTES {
            let (_place, directory) = place();
            let peer = operation.prepared(&directory);
            let mut shell = Command::new("sh");
            shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
            shell.arg(std::env::current_exe().unwrap());
            let mut victim = Victim::start_as(&mut shell, operation.name, &directory);
            limit_files(&victim, Some(bytes));
            victim.go();
            let told = victim.told(states.len() - 1);
            if let Some(peer) = &peer {
                assert_before_or_after(&contents(peer), &states, told.done, operation);
            }
            if let Some(failed) = &told.failed {
                assert!(failed.starts_with("Full"), "{}: {failed}", operation.name);
                failures += 1;
            }
            limit_files(&victim, None);
            victim.go();
            assert_eq!(victim.line().as_deref(), Some("usable"), "{}", operation.name);
            victim.go();
            victim.end();
            let peer = peer.unwrap_or_else(|| open(&directory));
            assert_sound(&peer, &states, told.done, operation);
        }
    }
    assert!(failures > 0, "files could always grow");
}

/// Sets how long the victim's files may be.
fn limit_files(victim: &Victim, bytes: Option<u64>) {
    let process = rustix::process::Pid::from_raw(victim.id().cast_signed());
    let limit = rustix::process::Rlimit { current: bytes, maximum: None };
    rustix::process::prlimit(process, rustix::process::Resource::Fsize, limit).unwrap();
}
