//! Cuts the power of a real file system under a cache, and looks at what is left.
//!
//! ```text
//! cargo run --manifest-path rigs/power/Cargo.toml -- ext4 300
//! ```
//!
//! A cache works on ext4 or xfs on a loop device over a disk that records every write and flush
//! ([`disk`]). Then cuts are played: a disk keeps all writes before a flush, and of those after the
//! last one any subset, torn at 512 bytes. Each such disk is mounted, which replays the journal, the
//! cache is opened, and must hold what it held after some operation, and no earlier one than was
//! promised to survive; `check()` must find nothing. The loop device is another one than before,
//! which is what tells the cache that this is not the same boot.
//!
//! Needs root, FUSE and loop devices. Where they are missing it says so, and succeeds, unless
//! `FIRNCACHE_NO_SKIP` is set.

mod disk;
mod work;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use disk::{Disk, Event};
use work::{Model, Random};

const MIB: usize = 1 << 20;
const SECTOR: usize = 512;

/// Runs a command; what it says, or why it failed.
fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let done = Command::new(program).args(arguments).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&done.stderr).trim())),
    }
}

/// A file as a disk, until it is dropped.
struct Loop(String);

impl Loop {
    fn new(file: &Path) -> Result<Loop, String> {
        run("losetup", &["--find", "--show", &file.display().to_string()]).map(Loop)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = run("losetup", &["--detach", &self.0]);
    }
}

/// A mounted disk, until it is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(disk: &Loop, at: &'a Path) -> Result<Mounted<'a>, String> {
        run("mount", &[&disk.0, &at.display().to_string()]).map(|_| Mounted(at))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if let Err(error) = run("umount", &[&self.0.display().to_string()]) {
            eprintln!("{error}");
        }
    }
}

/// What was recorded.
struct Recording {
    /// Stays attached, so that what is mounted later lies on another device. Goes before the disk.
    _device: Loop,
    _disk: Disk,
    /// The disk before the first event.
    first: Vec<u8>,
    events: Vec<Event>,
    models: Vec<Model>,
}

fn record(place: &Path, kind: &str, seed: u64, count: usize) -> Result<Recording, String> {
    let (files, at) = (place.join("files"), place.join("at"));
    for path in [&files, &at] {
        std::fs::create_dir(path).map_err(|error| error.to_string())?;
    }
    let len = if kind == "xfs" { 32 * MIB } else { 16 * MIB };
    let disk = Disk::mount(&files, len).map_err(|error| format!("FUSE: {error}"))?;
    let device = Loop::new(&disk.path())?;
    match kind {
        "xfs" => run("mkfs.xfs", &["-q", "--unsupported", &device.0])?,
        _ => run("mkfs.ext4", &["-q", "-E", "lazy_itable_init=0,nodiscard", &device.0])?,
    };
    let mounted = Mounted::new(&device, &at)?;
    run("sync", &["--file-system", &at.display().to_string()])?;
    let first = {
        let mut record = disk.record.lock().unwrap();
        record.events.clear();
        record.bytes.clone()
    };
    let models = work::work(&at.join("cache"), count, &mut Random(seed), &disk.record);
    let events = disk.record.lock().unwrap().events.clone();
    drop(mounted);
    Ok(Recording { _device: device, _disk: disk, first, events, models })
}

/// Applies a write, or the sectors of it that `is_kept` says.
fn write(bytes: &mut [u8], from: usize, data: &[u8], mut is_kept: impl FnMut() -> bool) {
    for (index, sector) in data.chunks(SECTOR).enumerate() {
        if is_kept() {
            let at = from + index * SECTOR;
            bytes[at..at + sector.len()].copy_from_slice(sector);
        }
    }
}

/// One of the disks that a cut before an event leaves: `base` is what was flushed, then come the
/// writes since.
fn cut(base: &[u8], since: &[Event], random: &mut Random) -> Vec<u8> {
    let mut bytes = base.to_vec();
    let mode = random.below(4);
    for event in since {
        let Event::Write(from, data) = event else { continue };
        match (mode, random.below(8)) {
            (0, _) => write(&mut bytes, *from, data, || true),
            (1, dice) if dice != 0 => write(&mut bytes, *from, data, || true),
            (2, dice) if dice < 4 => write(&mut bytes, *from, data, || true),
            (3, dice) if dice < 4 => write(&mut bytes, *from, data, || random.below(2) == 0),
            _ => {}
        }
    }
    bytes
}

/// Mounts a disk and looks at the cache on it.
fn look(image: &Path, at: &Path, allowed: &[Model]) -> Result<(), String> {
    let device = Loop::new(image)?;
    let mounted = Mounted::new(&device, at)?;
    let cache = work::open(&at.join("cache"));
    let found = work::contents(&cache);
    let report = cache.check().map_err(|error| error.to_string())?;
    drop(cache);
    drop(mounted);
    if !report.is_clean() {
        return Err(format!("check() finds: {report}"));
    }
    match allowed.contains(&found) {
        true => Ok(()),
        false => Err(format!("{} keys, and {} states are allowed", found.len(), allowed.len())),
    }
}

fn play(place: &Path, recording: &Recording, states: usize, seed: u64) -> Result<(), String> {
    let Recording { first, events, models, .. } = recording;
    let (image, at) = (place.join("image"), place.join("again"));
    std::fs::create_dir(&at).map_err(|error| error.to_string())?;
    let mut random = Random(seed);
    let mut cuts: Vec<usize> =
        (0..states).map(|_| random.below(events.len() as u64 + 1) as usize).collect();
    cuts.sort_unstable();
    let (mut base, mut flushed, mut promised, mut begun, mut next) = (first.clone(), 0, 0, 0, 0);
    for cut_at in cuts {
        while next < cut_at {
            match &events[next] {
                Event::Write(..) => {}
                Event::Flush => {
                    for event in &events[flushed..next] {
                        if let Event::Write(from, data) = event {
                            write(&mut base, *from, data, || true);
                        }
                    }
                    flushed = next;
                }
                Event::Begun(step) => begun = *step,
                Event::Done(step, is_promised) => {
                    promised = if *is_promised { *step } else { promised };
                }
            }
            next += 1;
        }
        let bytes = cut(&base, &events[flushed..cut_at], &mut random);
        std::fs::write(&image, bytes).map_err(|error| error.to_string())?;
        look(&image, &at, &models[promised..=begun]).map_err(|error| {
            format!("cut before event {cut_at}, in operation {begun}, {promised} promised: {error}")
        })?;
    }
    Ok(())
}

/// The reason why it cannot be done here, if there is one.
fn missing(kind: &str) -> Option<String> {
    let programs =
        ["losetup", "mount", "umount", if kind == "xfs" { "mkfs.xfs" } else { "mkfs.ext4" }];
    let found = |name: &&str| {
        ["/sbin", "/usr/sbin", "/bin", "/usr/bin"]
            .iter()
            .any(|it| Path::new(it).join(name).exists())
    };
    match programs.iter().find(|name| !found(name)) {
        Some(name) => Some(format!("{name} is not there")),
        None if !Path::new("/dev/fuse").exists() => Some("there is no FUSE".to_owned()),
        None => run("losetup", &["--find"]).err(),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let kind = arguments.first().map_or("ext4", String::as_str);
    let number =
        |at: usize, usual| arguments.get(at).map_or(usual, |it| it.parse().expect("a number"));
    let (states, seed) = (number(1, 100), number(2, 1));
    if let Some(reason) = missing(kind) {
        eprintln!("skipped: {reason}");
        let may_skip = std::env::var_os("FIRNCACHE_NO_SKIP").is_none();
        return if may_skip { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path: PathBuf = place.path().to_owned();
    let done = record(&path, kind, seed as u64, 400).and_then(|recording| {
        let count = |is: fn(&Event) -> bool| recording.events.iter().filter(|it| is(it)).count();
        let writes = count(|event| matches!(event, Event::Write(..)));
        let flushes = count(|event| matches!(event, Event::Flush));
        play(&path, &recording, states, seed as u64).map(|()| (writes, flushes))
    });
    match done {
        Ok((writes, flushes)) => {
            println!(
                "{kind}: {states} cuts among {writes} writes and {flushes} flushes: all in order"
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{kind}: {error}");
            ExitCode::FAILURE
        }
    }
}
