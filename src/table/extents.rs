//! Arrays on disk that grow without moving: extent k holds as many units as all before it.
//!
//! ```text
//! extent 0   units [0, base)
//! extent k   units [base * 2^(k-1), base * 2^k)      file <name>.<generation>.<k>
//! ```
//!
//! A file is as long as its extent from the start, but sparse; disk space is allocated in steps
//! as units come into use, so that a store into a map always finds its block. When the table
//! begins again as another generation, the new files are mapped over the old ones at the same
//! addresses: a reader that is still in the old generation finds nothing wrong there but bytes of
//! the new one, and looks again when it sees the geometry changed.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::PAGE_WORDS;
use crate::format::head::{GEOMETRY, MOVES};
use crate::format::slot::{BUCKET_WORDS, FIRST_BUCKETS};
use crate::format::state::Geometry;
use crate::sys::file::{Dir, allocate};
use crate::sys::fork::ForkLocal;
use crate::sys::map::Map;
use crate::sys::sync::{AtomicU64, Ordering};
use crate::table::{Line, Space};

/// Disk space is allocated in steps of this many bytes.
const STEP_BYTES: u64 = 256 * 1024;
/// File systems give space in blocks of this many bytes.
const BLOCK_BYTES: u64 = 4096;
const MAX_EXTENTS: usize = 36;

const BUCKETS_NAME: &str = "table";
const OVERFLOWS_NAME: &str = "overflow";
const PAGES_NAME: &str = "entries";

#[derive(Default)]
struct Extent {
    map: OnceLock<Map>,
    /// Generation of the mapped file plus one.
    generation: AtomicU64,
}

/// One growing array of units.
struct Extents {
    name: &'static str,
    unit_words: usize,
    /// Units in extent 0: a power of two, so that a unit is found by shifts.
    base: u64,
    first_level: u32,
    extents: [Extent; MAX_EXTENTS],
}

impl Extents {
    fn new(name: &'static str, unit_words: usize, base: u64) -> Extents {
        let extents = std::array::from_fn(|_| Extent::default());
        Extents { name, unit_words, base, first_level: base.ilog2(), extents }
    }

    /// The extent of a unit, and its index there.
    #[inline]
    fn place(&self, unit: u64) -> (usize, u64) {
        // What is in extent 0 counts as being one level below what is in extent 1.
        let level = (unit | self.base >> 1).ilog2();
        let extent = (level + 1 - self.first_level) as usize;
        (extent, if extent == 0 { unit } else { unit - (1 << level) })
    }

    fn extent_bytes(&self, extent: usize) -> u64 {
        let units = if extent == 0 { self.base } else { self.base << (extent - 1) };
        units * self.unit_words as u64 * 8
    }

    /// Bytes on disk of the files that so many units take.
    fn allocated_bytes(&self, units: u64) -> u64 {
        let Some(last) = units.checked_sub(1) else { return 0 };
        let (last, index) = self.place(last);
        let whole = (0..last).map(|extent| self.extent_bytes(extent));
        let steps = ((index + 1) * self.unit_words as u64 * 8).next_multiple_of(STEP_BYTES);
        let bytes = whole.chain([steps.min(self.extent_bytes(last))]);
        bytes.map(|bytes| bytes.next_multiple_of(BLOCK_BYTES)).sum()
    }

    fn file_name(&self, generation: u64, extent: usize) -> String {
        format!("{}.{generation:x}.{extent}", self.name)
    }

    /// Units in the files that this process has mapped.
    fn mapped(&self) -> u64 {
        let mapped = self.extents.iter().enumerate().filter(|(_, it)| it.map.get().is_some());
        let bytes: u64 = mapped.map(|(number, _)| self.extent_bytes(number)).sum();
        bytes / (self.unit_words as u64 * 8)
    }

    #[inline]
    fn get(&self, generation: u64, unit: u64) -> Option<&[AtomicU64]> {
        let (number, index) = self.place(unit);
        let extent = self.extents.get(number)?;
        // ORDERING: Acquire, pairs with `adopt`: the map shows the file of that generation.
        if extent.generation.load(Ordering::Acquire) != generation + 1 {
            return None;
        }
        let start = index as usize * self.unit_words;
        extent.map.get()?.words().get(start..start + self.unit_words)
    }
}

/// Where the geometry word of a table is.
enum GeometryWord {
    /// In the shared head.
    Shared(Arc<Map>),
    /// A table that is being built, and that nobody else uses yet.
    Own([AtomicU64; 2]),
}

/// The files of the table, mapped.
pub(crate) struct TableFiles {
    dir: Arc<Dir>,
    geometry: GeometryWord,
    writable: bool,
    /// How often a file that is there could not be mapped. What looked like "nothing there" in the
    /// meantime is not to be believed.
    failures: AtomicU64,
    /// The operating system's number of the last such error.
    last_failure: AtomicU64,
    buckets: Extents,
    overflows: Extents,
    pages: Extents,
    mapping: ForkLocal<Mutex<()>>,
}

impl TableFiles {
    /// The table of the store in `dir`, whose geometry is in `head`.
    pub(crate) fn new(dir: Arc<Dir>, head: Arc<Map>, writable: bool) -> TableFiles {
        TableFiles::with(dir, GeometryWord::Shared(head), writable)
    }

    /// A table that is built in files of a generation of its own, unseen by others.
    pub(crate) fn in_the_making(dir: Arc<Dir>, geometry: Geometry) -> TableFiles {
        TableFiles::with(
            dir,
            GeometryWord::Own([AtomicU64::new(geometry.0), AtomicU64::new(0)]),
            true,
        )
    }

    fn with(dir: Arc<Dir>, geometry: GeometryWord, writable: bool) -> TableFiles {
        TableFiles {
            dir,
            geometry,
            writable,
            failures: AtomicU64::new(0),
            last_failure: AtomicU64::new(0),
            buckets: Extents::new(BUCKETS_NAME, BUCKET_WORDS, FIRST_BUCKETS),
            overflows: Extents::new(OVERFLOWS_NAME, BUCKET_WORDS, FIRST_OVERFLOWS),
            pages: Extents::new(PAGES_NAME, PAGE_WORDS, FIRST_PAGES),
            mapping: ForkLocal::new(|| Mutex::new(())),
        }
    }

    /// How often mapping has failed: equal before and after means that nothing was overlooked.
    #[inline]
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Refuses what was read since `failures` was noted, if mapping has failed since.
    pub(crate) fn believe(&self, failures: u64) -> Result<()> {
        if self.failures() == failures { Ok(()) } else { Err(self.unmapped()) }
    }

    /// The error for a look at the table during which mapping failed.
    pub(crate) fn unmapped(&self) -> Error {
        let number = i32::try_from(self.last_failure.load(Ordering::Relaxed)).unwrap_or_default();
        let source = std::io::Error::from_raw_os_error(number);
        if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem {
            return Error::io("map a file of the table", self.dir.path(), source);
        }
        let what = format!(
            "a file of the table cannot be mapped ({source}): allow more open files, maps \
             (vm.max_map_count) or memory, and try again"
        );
        Error::new(ErrorKind::Io, what).at(self.dir.path())
    }

    /// Makes the table of another generation the one that counts.
    pub(crate) fn switch(&self, geometry: Geometry) {
        let _guard = self.mapping.get().lock();
        // ORDERING: Release, pairs with the Acquire load in `lookup`.
        self.geometry().store(geometry.0, Ordering::Release);
    }

    fn generation(&self) -> u64 {
        // ORDERING: Acquire, pairs with the Release store in `split` and in applying `Clear`.
        Geometry(self.geometry().load(Ordering::Acquire)).generation()
    }

    /// The words of a unit, mapping its extent if need be.
    #[inline]
    fn unit<'a>(&'a self, extents: &'a Extents, unit: u64) -> Option<&'a [AtomicU64]> {
        let generation = self.generation();
        extents.get(generation, unit).or_else(|| {
            self.map_extent(extents, generation, unit).and_then(|()| extents.get(generation, unit))
        })
    }

    #[cold]
    fn map_extent(&self, extents: &Extents, generation: u64, unit: u64) -> Option<()> {
        let (number, _) = extents.place(unit);
        let extent = extents.extents.get(number)?;
        let _guard = self.mapping.get().lock();
        if self.generation() != generation {
            return None;
        }
        let mapped =
            self.dir.file(&extents.file_name(generation, number), self.writable).and_then(|file| {
                if file.metadata()?.len() == 0 {
                    // Another process is making it, and has committed nothing there yet.
                    return Err(std::io::ErrorKind::NotFound.into());
                }
                adopt(extent, &file, extents.extent_bytes(number), generation, self.writable)
            });
        match mapped {
            Ok(()) => Some(()),
            Err(error) => {
                // No file: a number from a damaged word, or a table that has not begun.
                if error.kind() != std::io::ErrorKind::NotFound {
                    let number = error.raw_os_error().unwrap_or_default();
                    self.last_failure.store(number.unsigned_abs().into(), Ordering::Relaxed);
                    self.failures.fetch_add(1, Ordering::Relaxed);
                }
                None
            }
        }
    }

    /// Makes sure that unit `unit` has a file, a map and blocks on disk.
    #[inline]
    fn ensure(&self, extents: &Extents, generation: u64, unit: u64) -> Result<()> {
        let (_, index) = extents.place(unit);
        let unit_bytes = extents.unit_words as u64 * 8;
        let (start, end) = (index * unit_bytes, (index + 1) * unit_bytes);
        // The first unit that touches a step allocates it.
        let opens_step = start.div_ceil(STEP_BYTES) * STEP_BYTES < end;
        if !opens_step && extents.get(generation, unit).is_some() {
            return Ok(());
        }
        self.allocate(extents, generation, unit, start..end)
    }

    #[cold]
    fn allocate(
        &self,
        extents: &Extents,
        generation: u64,
        unit: u64,
        bytes: std::ops::Range<u64>,
    ) -> Result<()> {
        let (number, _) = extents.place(unit);
        let name = extents.file_name(generation, number);
        let failed =
            |source| Error::io("allocate space for the table in", &self.dir.join(&name), source);
        let Some(extent) = extents.extents.get(number) else {
            let what = "the table has reached its largest size: remove keys, or spread them over \
                        several stores";
            return Err(Error::new(ErrorKind::Full, what).at(self.dir.join(&name)));
        };
        let _guard = self.mapping.get().lock();
        let len = extents.extent_bytes(number);
        let file = match self.dir.file(&name, true) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.dir.create_file(&name).map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        if file.metadata().map_err(failed)?.len() < len {
            file.set_len(len).map_err(failed)?;
        }
        let from = bytes.start / STEP_BYTES * STEP_BYTES;
        let to = (bytes.end.div_ceil(STEP_BYTES) * STEP_BYTES).min(len);
        allocate(&file, from, to - from).map_err(failed)?;
        if self.generation() != generation {
            // Files of the generation to come: mapped when it has come.
            return Ok(());
        }
        if extents.get(generation, unit).is_none() {
            adopt(extent, &file, len, generation, self.writable).map_err(failed)?;
        }
        if let Some(map) = extent.map.get() {
            map.populate(from as usize, (to - from) as usize).map_err(failed)?;
        }
        Ok(())
    }

    pub(crate) fn ensure_bucket(&self, generation: u64, bucket: u64) -> Result<()> {
        self.ensure(&self.buckets, generation, bucket)
    }

    pub(crate) fn ensure_overflow(&self, generation: u64, overflow: u64) -> Result<()> {
        self.ensure(&self.overflows, generation, overflow)
    }

    pub(crate) fn ensure_page(&self, generation: u64, page: u64) -> Result<()> {
        self.ensure(&self.pages, generation, page)
    }

    /// Makes the files that a table of this generation begins with.
    pub(crate) fn begin_generation(&self, generation: u64) -> Result<()> {
        for bucket in [0, FIRST_BUCKETS - 1] {
            self.ensure_bucket(generation, bucket)?;
        }
        self.ensure_page(generation, 0)
    }

    /// Bytes of disk space that a table of this size takes.
    pub(crate) fn allocated_bytes(&self, buckets: u64, overflows: u64, pages: u64) -> u64 {
        [(buckets, &self.buckets), (overflows, &self.overflows), (pages, &self.pages)]
            .into_iter()
            .map(|(units, extents)| extents.allocated_bytes(units))
            .sum()
    }

    /// The names of all table files in the directory that are not of this generation.
    pub(crate) fn stale_files(&self, generation: u64) -> Result<Vec<String>> {
        let names = self
            .dir
            .list("")
            .map_err(|source| Error::io("list the files of", self.dir.path(), source))?;
        let is_stale = |name: &String| file_generation(name).is_some_and(|of| of != generation);
        Ok(names.into_iter().filter(is_stale).collect())
    }

    /// The names of the files of this generation that are there.
    pub(crate) fn files(&self, generation: u64) -> Vec<String> {
        [&self.buckets, &self.overflows, &self.pages]
            .into_iter()
            .flat_map(|extents| {
                (0..MAX_EXTENTS).map(move |number| extents.file_name(generation, number))
            })
            .filter(|name| self.dir.exists(name).unwrap_or(false))
            .collect()
    }
}

/// Overflow buckets and pages in extent 0; buckets: see `format::slot`.
const FIRST_OVERFLOWS: u64 = 64;
const FIRST_PAGES: u64 = 2;

/// The generation in the name of a table file, if it is the name of one.
pub(crate) fn file_generation(name: &str) -> Option<u64> {
    let mut parts = name.split('.');
    let (kind, generation, extent) = (parts.next()?, parts.next()?, parts.next()?);
    let generation = u64::from_str_radix(generation, 16).ok()?;
    let extent: usize = extent.parse().ok()?;
    let kinds = [BUCKETS_NAME, OVERFLOWS_NAME, PAGES_NAME];
    let canonical = format!("{kind}.{generation:x}.{extent}");
    (kinds.contains(&kind) && canonical == name).then_some(generation)
}

fn adopt(
    extent: &Extent,
    file: &std::fs::File,
    len: u64,
    generation: u64,
    writable: bool,
) -> std::io::Result<()> {
    let len = usize::try_from(len).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
    match extent.map.get() {
        Some(map) => map.replace(file)?,
        None => {
            let map = Map::new(file, len, writable)?;
            let _ = extent.map.set(map);
        }
    }
    // ORDERING: Release, pairs with the Acquire load in `Extents::get`.
    extent.generation.store(generation + 1, Ordering::Release);
    Ok(())
}

impl Space for TableFiles {
    fn pages_there(&self) -> u64 {
        self.pages.mapped()
    }

    #[inline]
    fn geometry(&self) -> &AtomicU64 {
        match &self.geometry {
            GeometryWord::Shared(head) => &head.words()[GEOMETRY],
            GeometryWord::Own(words) => &words[0],
        }
    }

    #[inline]
    fn moves(&self) -> &AtomicU64 {
        match &self.geometry {
            GeometryWord::Shared(head) => &head.words()[MOVES],
            GeometryWord::Own(words) => &words[1],
        }
    }

    #[inline]
    fn bucket(&self, number: u64) -> Option<&Line> {
        self.unit(&self.buckets, number)?.first_chunk()
    }

    #[inline]
    fn overflow(&self, number: u32) -> Option<&Line> {
        self.unit(&self.overflows, u64::from(number))?.first_chunk()
    }

    #[inline]
    fn page(&self, number: u32) -> Option<&[AtomicU64]> {
        self.unit(&self.pages, u64::from(number))
    }
}

#[cfg(test)]
mod tests;
