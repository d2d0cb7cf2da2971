//! A small store with some of everything in it, and the bytes of its files.

use std::path::PathBuf;

use firncache::{Cache, Options};
use tempfile::TempDir;

use crate::disk::{self, Files};

/// A store that is damaged and put back again and again.
pub struct Sample {
    dir: TempDir,
    pub files: Files,
}

/// The value of a key below 40.
pub fn value(number: i32) -> &'static [u8] {
    &[b'v'; 64][..number as usize]
}

/// Segments of 8 KiB, and values in files of their own from 500 bytes on.
pub fn options() -> Options {
    Cache::options().size_limit(256 << 10).value_file_threshold(500)
}

impl Sample {
    /// Several segments, two pages, a transaction, a queue, a large value.
    pub fn new() -> Sample {
        let dir = disk::place();
        let cache = options().open(dir.path().join("cache")).unwrap();
        for number in 0..80 {
            cache.set_bytes(number % 40, value(number % 40)).unwrap();
        }
        cache.set_bytes("large", &[7; 600]).unwrap();
        let done: firncache::Result<()> = cache.transact(|tx| {
            tx.set_bytes(50, b"both")?;
            tx.set_bytes(51, b"both")
        });
        done.unwrap();
        for number in 0..5 {
            cache.push(&number).unwrap();
        }
        cache.sync().unwrap();
        drop(cache);
        let files = disk::read(&dir.path().join("cache"));
        Sample { dir, files }
    }

    /// Where the store lies.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("cache")
    }
}

impl Default for Sample {
    fn default() -> Sample {
        Sample::new()
    }
}
