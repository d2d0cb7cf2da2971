//! A small store with changed files: opened, read, walked over, written to, checked.
//!
//! The input is a list of changes of seven bytes each: file, place, how many bytes, with what.

#![no_main]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;
use std::{fs, iter};

use firncache::Cache;
use tempfile::TempDir;

struct Sample {
    dir: TempDir,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::options().size_limit(256 << 10).value_file_threshold(500);
    let cache = cache.open(dir.path().join("cache")).unwrap();
    for number in 0..80 {
        cache.set_bytes(number % 40, value(number % 40)).unwrap();
    }
    cache.set_bytes("large", &[7; 600]).unwrap();
    cache.sync().unwrap();
    drop(cache);
    let mut files = BTreeMap::new();
    read_files(&dir.path().join("cache"), &mut files);
    Sample { dir, files }
});

fn value(number: i32) -> &'static [u8] {
    &[b'v'; 64][..number as usize]
}

fn read_files(dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_files(&path, files);
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

/// Puts all files back, with the changes that the input asks for.
fn damage(sample: &Sample, input: &[u8]) {
    let mut now = BTreeMap::new();
    read_files(&sample.dir.path().join("cache"), &mut now);
    for path in now.keys().filter(|path| !sample.files.contains_key(*path)) {
        fs::remove_file(path).unwrap();
    }
    let mut files = sample.files.clone();
    let last = files.len() - 1;
    for change in input.chunks_exact(7) {
        let bytes = files.values_mut().nth(usize::from(change[0]).min(last)).unwrap();
        let at = usize::from(change[1]) << 8 | usize::from(change[2]);
        let end = at.saturating_add(1 << (change[3] % 8)).min(bytes.len());
        let with = change[4..].iter().copied().cycle();
        let Some(part) = bytes.get_mut(at..end) else {
            bytes.truncate(at);
            continue;
        };
        for (byte, with) in iter::zip(part, with) {
            *byte = if change[3] & 0x80 == 0 { with } else { *byte ^ with };
        }
    }
    for (path, bytes) in files {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn look(cache: &Cache) {
    for number in 0..40 {
        if let Ok(Some(found)) = cache.get_bytes(number) {
            assert_eq!(found, value(number));
        }
    }
    let _ = cache.get_bytes("large");
    let _ = cache.iter().take(1000).count();
    let _ = cache.check();
    let _ = cache.set_bytes("new", &[1; 100]);
    let _ = cache.delete(7);
    let _ = cache.compact();
    let _ = cache.repair();
    if cache.set("after repair", &1).is_ok() {
        assert_eq!(cache.get("after repair").ok(), Some(Some(1)));
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let sample = &*SAMPLE;
    damage(sample, input);
    let options = Cache::options().timeout(Duration::from_secs(2));
    if let Ok(cache) = options.open(sample.dir.path().join("cache")) {
        look(&cache);
    }
});
