//! A store whose files are held open, so that a change and its undoing cost a few calls.

use std::fs::{File, OpenOptions, metadata};
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::sample::{Sample, list};

struct Held {
    name: String,
    file: File,
    inode: u64,
}

/// The files of a sample, as they are on disk.
pub(crate) struct Exact<'a> {
    sample: &'a Sample,
    files: Vec<Held>,
    buffer: Vec<u8>,
}

impl<'a> Exact<'a> {
    pub(crate) fn new(sample: &'a Sample) -> Exact<'a> {
        let files = sample.files.keys().map(|name| {
            let path = sample.path.join(name);
            let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
            Held { name: name.clone(), inode: file.metadata().unwrap().ino(), file }
        });
        Exact { sample, files: files.collect(), buffer: Vec::new() }
    }

    /// Changes bytes of a file.
    pub(crate) fn write(&self, file: usize, at: usize, bytes: &[u8]) {
        self.files[file].file.write_all_at(bytes, at as u64).unwrap();
    }

    /// Cuts a file.
    pub(crate) fn cut(&self, file: usize, len: usize) {
        self.files[file].file.set_len(len as u64).unwrap();
    }

    /// Makes all files what they were. Nothing may have the store open.
    pub(crate) fn restore(&mut self) {
        if !self.is_in_place() {
            self.sample.restore();
            *self = Exact::new(self.sample);
            return;
        }
        for (held, bytes) in self.files.iter().zip(self.sample.files.values()) {
            // One more than there should be, so that a longer file is seen.
            self.buffer.resize(bytes.len() + 1, 0);
            let len = read(&held.file, &mut self.buffer);
            if self.buffer[..len] != bytes[..] {
                held.file.write_all_at(bytes, 0).unwrap();
                held.file.set_len(bytes.len() as u64).unwrap();
            }
        }
    }

    /// Whether the directory has the same files as before, and no others.
    fn is_in_place(&self) -> bool {
        let path = &self.sample.path;
        let is_same = |held: &Held| {
            metadata(path.join(&held.name)).is_ok_and(|found| found.ino() == held.inode)
        };
        self.files.iter().all(is_same)
            && list(path).iter().eq(self.files.iter().map(|held| &held.name))
    }
}

/// Reads from the start on, as much as there is.
fn read(file: &File, buffer: &mut [u8]) -> usize {
    let mut len = 0;
    while len < buffer.len() {
        match file.read_at(&mut buffer[len..], len as u64).unwrap() {
            0 => break,
            more => len += more,
        }
    }
    len
}
