//! The segment files that this process has mapped.
//!
//! Readers find a segment's map with three loads and no lock. Maps are never taken away while the
//! store is open: the map of a file that is used again serves the new segment, and the map of a
//! file that is gone is replaced, at the same address, by the next new file of the same size. A
//! reader that is still in it then sees bytes that fail their checksum, and looks again.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::format::location::{MAX_SEGMENT_UNITS, Segment};
use crate::format::segment::HEADER_UNITS;
use crate::sys::file::{Dir, allocate};
use crate::sys::fork::ForkLocal;
use crate::sys::map::Map;
use crate::sys::sync::{AtomicU64, Ordering};

const CHUNK: usize = 256;
/// Segment files there can be at a time: 1 TiB of log in the largest segments.
pub(crate) const MAX_SEGMENTS: u32 = (CHUNK * CHUNK) as u32;

/// New files are made ready in steps of this many bytes.
const POPULATE_BYTES: usize = 256 * 1024;

type Chunk<T> = OnceLock<Box<[T; CHUNK]>>;

/// The mapped segments of one store.
pub(crate) struct Segments {
    dir: Arc<Dir>,
    writable: bool,
    /// By the low bits of the segment number: the number plus one, and which map it has.
    places: [Chunk<AtomicU64>; CHUNK],
    /// All maps ever made, by the order in which they were.
    maps: [Chunk<OnceLock<Map>>; CHUNK],
    made: AtomicUsize,
    mapped: ForkLocal<Mutex<Mapped>>,
}

/// Which file each map shows.
#[derive(Default)]
struct Mapped {
    by_inode: HashMap<u64, Shown>,
}

#[derive(Clone, Copy)]
struct Shown {
    map: usize,
    segment: Segment,
}

impl Segments {
    pub(crate) fn new(dir: Arc<Dir>, writable: bool) -> Segments {
        Segments {
            dir,
            writable,
            places: std::array::from_fn(|_| OnceLock::new()),
            maps: std::array::from_fn(|_| OnceLock::new()),
            made: AtomicUsize::new(0),
            mapped: ForkLocal::new(|| Mutex::new(Mapped::default())),
        }
    }

    /// The words of a segment that is mapped.
    #[inline]
    pub(crate) fn words(&self, segment: Segment) -> Option<&[AtomicU64]> {
        self.map(segment).map(Map::words)
    }

    /// The map of a segment that is mapped.
    #[inline]
    pub(crate) fn map(&self, segment: Segment) -> Option<&Map> {
        let place = self.place(segment)?;
        // ORDERING: Acquire, pairs with the Release store in `show`: the map is there.
        let word = place.load(Ordering::Acquire);
        if word >> 32 != u64::from(segment.number()) + 1 {
            return None;
        }
        let index = word as u32 as usize;
        self.maps[index / CHUNK].get()?[index % CHUNK].get()
    }

    fn place(&self, segment: Segment) -> Option<&AtomicU64> {
        let index = segment.number() as usize;
        Some(&self.places[index / CHUNK % CHUNK].get()?[index % CHUNK])
    }

    /// The words of a segment, mapping its file if need be; `Ok(None)` if it has no file.
    pub(crate) fn open(
        &self,
        segment: Segment,
        is_gone: impl Fn(Segment) -> bool,
    ) -> io::Result<Option<&[AtomicU64]>> {
        if let Some(words) = self.words(segment) {
            return Ok(Some(words));
        }
        self.reopen(segment, is_gone)
    }

    /// Maps the file that now has the name of the segment, whatever was known before.
    #[cold]
    pub(crate) fn reopen(
        &self,
        segment: Segment,
        is_gone: impl Fn(Segment) -> bool,
    ) -> io::Result<Option<&[AtomicU64]>> {
        match self.dir.file(&segment.file_name(), self.writable) {
            Ok(file) => self.adopt(&file, segment, is_gone).map(|()| self.words(segment)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes `map(segment)` show `file`.
    fn adopt(
        &self,
        file: &File,
        segment: Segment,
        is_gone: impl Fn(Segment) -> bool,
    ) -> io::Result<()> {
        let metadata = file.metadata()?;
        let len = usize::try_from(metadata.len()).unwrap_or(usize::MAX) / 8 * 8;
        if len == 0 || len as u64 > 8 * MAX_SEGMENT_UNITS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a segment of impossible size"));
        }
        let mut mapped = self.mapped.get().lock();
        let known = mapped.by_inode.get(&metadata.ino()).map(|shown| shown.map);
        let map = match known {
            Some(map) if self.at(map).is_some_and(|map| map.len() == len) => map,
            _ => match mapped.take_gone(|shown| {
                is_gone(shown.segment) && self.at(shown.map).is_some_and(|map| map.len() == len)
            }) {
                Some(map) => {
                    self.at(map).ok_or(io::ErrorKind::NotFound)?.replace(file)?;
                    map
                }
                None => self.add(Map::new(file, len, self.writable)?)?,
            },
        };
        mapped.by_inode.insert(metadata.ino(), Shown { map, segment });
        self.show(segment, map);
        Ok(())
    }

    fn at(&self, map: usize) -> Option<&Map> {
        self.maps.get(map / CHUNK)?.get()?[map % CHUNK].get()
    }

    fn add(&self, map: Map) -> io::Result<usize> {
        let index = self.made.fetch_add(1, Ordering::Relaxed);
        let chunk = self.maps.get(index / CHUNK).ok_or(io::ErrorKind::OutOfMemory)?;
        let chunk = chunk.get_or_init(|| Box::new(std::array::from_fn(|_| OnceLock::new())));
        let _ = chunk[index % CHUNK].set(map);
        Ok(index)
    }

    fn show(&self, segment: Segment, map: usize) {
        let index = segment.number() as usize;
        let chunk = self.places[index / CHUNK % CHUNK]
            .get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU64::new(0))));
        // ORDERING: Release, pairs with the Acquire load in `map`.
        chunk[index % CHUNK]
            .store((u64::from(segment.number()) + 1) << 32 | map as u64, Ordering::Release);
    }

    /// Forgets the map of a segment that was begun in vain.
    pub(crate) fn forget(&self, segment: Segment) {
        // ORDERING: Acquire and Release, as in `map` and `show`.
        if let Some(place) = self.place(segment)
            && place.load(Ordering::Acquire) >> 32 == u64::from(segment.number()) + 1
        {
            place.store(0, Ordering::Release);
        }
    }

    /// Makes a new file of `units` for a segment, with blocks for all of it, and maps it. A file of
    /// that name left by a process that died while doing so is used or replaced; one that holds records
    /// is in the way (`AlreadyExists`).
    pub(crate) fn create(
        &self,
        segment: Segment,
        units: u64,
        is_gone: impl Fn(Segment) -> bool,
    ) -> io::Result<()> {
        let name = segment.file_name();
        let file = match self.dir.create_file(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = self.dir.file(&name, true)?;
                if !is_blank(&file)? {
                    return Err(error);
                }
                if file.metadata()?.len() == 8 * units {
                    file
                } else {
                    self.dir.unlink(&name)?;
                    self.dir.create_file(&name)?
                }
            }
            other => other?,
        };
        if let Err(error) = allocate(&file, 0, 8 * units) {
            let _ = self.dir.unlink(&name);
            return Err(error);
        }
        self.adopt(&file, segment, is_gone)
    }

    /// Gives the file of `old`, which is drained, to `new`. False if there is no such file.
    pub(crate) fn recycle(
        &self,
        old: Segment,
        new: Segment,
        is_gone: impl Fn(Segment) -> bool,
    ) -> io::Result<bool> {
        match self.dir.rename(&old.file_name(), &new.file_name()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(self.reopen(new, is_gone)?.is_some())
    }

    /// Whether the file of a segment which is still to begin holds records, of a log that was given up.
    /// Then it has to be gone from disk, too, before the new one begins, as a power cut must not put it
    /// in its place.
    pub(crate) fn is_used(&self, segment: Segment) -> io::Result<bool> {
        match self.dir.file(&segment.file_name(), true) {
            Ok(file) => is_blank(&file).map(|is_blank| !is_blank),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Prepares the pages after byte `from` of a segment for being written, a step at a time.
    /// Comes back with the byte up to which they are.
    pub(crate) fn populate(&self, segment: Segment, from: usize, to: usize) -> usize {
        let Some(map) = self.map(segment) else { return to };
        let end = (to.max(from) + POPULATE_BYTES).min(map.len());
        // A page that cannot be prepared is faulted in when it is written.
        let _ = map.populate(from, end.saturating_sub(from));
        end
    }
}

/// Whether a segment has never held a record. One that was begun for what was not committed has.
fn is_blank(file: &File) -> io::Result<bool> {
    let mut word = [0; 8];
    match file.read_exact_at(&mut word, 8 * HEADER_UNITS) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
        done => done.map(|()| word == [0; 8]),
    }
}

impl Mapped {
    fn take_gone(&mut self, usable: impl Fn(&Shown) -> bool) -> Option<usize> {
        // In any order: one such map is as good as another.
        let inode = *self.by_inode.iter().find(|(_, shown)| usable(shown))?.0;
        self.by_inode.remove(&inode).map(|shown| shown.map)
    }
}

#[cfg(test)]
mod tests;
