//! Opening a store: one page is mapped and looked at, nothing is written, nothing is replayed.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, Result};
use crate::format::head::{
    APPLIED, BLOCKS, GEOMETRY, HEAD_BYTES, Identity, SETTINGS, TAIL, Unreadable,
};
use crate::format::location::{Location, Segment};
use crate::format::segment::HEADER_UNITS;
use crate::format::settings::{PowerLoss, Settings};
use crate::format::slot::FIRST_BUCKETS;
use crate::format::state::{Applied, Geometry, State};
use crate::log::segments::Segments;
use crate::store::head::Head;
use crate::store::session::Process;
use crate::store::space::segment_units;
use crate::store::{Shared, Store, Writer};
use crate::sys::file::Dir;
use crate::sys::fork::ForkLocal;
use crate::sys::map::Map;
use crate::sys::private::PrivateFile;
use crate::sys::raw::random_u64;
use crate::sys::sync::Ordering;
use crate::sys::trust::{self, Place};
use crate::table::extents::{TableFiles, file_generation};

const HEAD: &str = "head";
/// The generation of a store without a log. No file has it: where the table reached the disk and
/// `head` did not, before the power went, nobody looks into that table.
pub(crate) const NO_GENERATION: u64 = 0;
/// More than the beginnings of any store that come to nothing; far below the last generation.
const MOST_BEGINNINGS: u64 = 1 << 23;

/// How a store is to be opened.
#[derive(Clone, Debug)]
pub(crate) struct OpenOptions {
    /// Make the store if it is not there.
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    /// Open it also where it cannot be vouched for: on network file systems, and in directories
    /// that others may write to.
    pub(crate) allow_network: bool,
    /// The settings of a store that is made.
    pub(crate) settings: Option<Settings>,
}

type Registry = Mutex<HashMap<(u64, u64, bool), Weak<Shared>>>;

/// The stores that this process has open, by device, inode and whether they are read-only.
static OPEN: ForkLocal<Registry> = ForkLocal::new(|| Mutex::new(HashMap::new()));

impl Store {
    /// Opens the store in a directory.
    ///
    /// # Errors
    ///
    /// `Io` if it is not there or cannot be read, `Corrupt` or `Version` if it is not a store of
    /// this version, `Unsupported` where its safety cannot be vouched for.
    pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Store> {
        let failed = |source| Error::io("open the cache directory", path, source);
        let may_create = options.create && !options.read_only;
        let dir = if may_create { Dir::create(path) } else { Dir::open(path) }.map_err(failed)?;
        Store::open_in(dir, options)
    }

    /// Opens the store in a directory that is held open.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub(crate) fn open_in(dir: Dir, options: &OpenOptions) -> Result<Store> {
        let path = dir.path().to_owned();
        let failed = |source| Error::io("open the cache directory", &path, source);
        let may_create = options.create && !options.read_only;
        if !options.allow_network {
            vouch_for(&dir)?;
        }
        let (device, inode) = dir.identity().map_err(failed)?;
        let is_writable = dir.is_writable().map_err(failed)?;
        let read_only = options.read_only || !is_writable;
        let mut open = OPEN.get().lock();
        if let Some(shared) = open.get(&(device, inode, read_only)).and_then(Weak::upgrade)
            && shared.is_in_place()
        {
            drop(open);
            let store = Store(shared);
            store.check_whereabouts(options)?;
            return Ok(store);
        }
        let map = open_head(&dir, options, may_create && is_writable, !read_only)?;
        let store = Store(Arc::new(shared(dir, map, read_only)?));
        open.retain(|_, shared| shared.strong_count() > 0);
        open.insert((device, inode, read_only), Arc::downgrade(&store.0));
        drop(open);
        store.check_whereabouts(options)?;
        Ok(store)
    }

    /// Refuses a directory that holds several stores, if it is there already and others could lead
    /// them elsewhere.
    pub(crate) fn vouch_for_directory(path: &Path) -> Result<()> {
        match Dir::open(path) {
            Ok(dir) => vouch_for(&dir),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(Error::io("open the cache directory", path, source)),
        }
    }

    /// Decides whether table and tail can be trusted: in the same boot, at the same place, or when
    /// they were marked clean. Else the table is made anew from the log; with the settings that a store
    /// is made with, where neither that nor `head` has any.
    fn check_whereabouts(&self, options: &OpenOptions) -> Result<()> {
        let shared = &self.0;
        let is_trusted = || {
            let here = shared.whereabouts()?;
            let is_here = || here.has_boot() && shared.head.whereabouts() == here;
            Ok::<_, Error>(shared.head.is_clean() || is_here())
        };
        // In this order: another process may be beginning the log, and notes first where it does so.
        if shared.has_no_log() && (shared.read_only || shared.head.has_settings()) || is_trusted()?
        {
            return Ok(());
        }
        if shared.read_only {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the cache was not closed cleanly before the machine stopped (or it was copied \
                 while in use): open it once for writing, so that it can be brought in order",
            )
            .at(self.directory()));
        }
        // One at a time, and without a slot while waiting: whoever holds a slot counts as one that
        // uses the store as it is.
        let gate = PrivateFile::open(|| shared.dir.file(HEAD, true))
            .map_err(|source| shared.failed("open", HEAD, source))?;
        gate.lock().map_err(|source| shared.failed("lock for a rebuild", HEAD, source))?;
        let settings = options.settings.clone().unwrap_or_default();
        self.rebuild_after_power_loss(&settings, || is_trusted().unwrap_or(false))
    }
}

impl Shared {
    /// Whether nothing was ever written: `head` is as it was made. If any of it says otherwise, power
    /// was lost before all of it had reached the disk.
    fn has_no_log(&self) -> bool {
        let (applied, state) = self.head.state();
        let start = Location::new(state.first, HEADER_UNITS);
        state.log_units == 0 && self.head.tail() == start && applied.location() == start
    }

    /// Whether `head` is still the file that is mapped: the directory may have been replaced.
    fn is_in_place(&self) -> bool {
        let words = |map: &Map| -> Option<[u64; 6]> {
            let words = map.words().get(..6)?;
            Some(std::array::from_fn(|index| {
                words[index].load(crate::sys::sync::Ordering::Relaxed)
            }))
        };
        let on_disk =
            self.dir.file(HEAD, false).and_then(|file| Map::new(&file, HEAD_BYTES, false));
        on_disk.is_ok_and(|map| words(&map) == words(self.head.map()))
    }
}

/// Refuses directories in which the promises do not hold.
fn vouch_for(dir: &Dir) -> Result<()> {
    let failed = |source| Error::io("look at the cache directory", dir.path(), source);
    let refuse = |what: String| Err(Error::new(ErrorKind::Unsupported, what).at(dir.path()));
    let mode = dir.mode().map_err(failed)?;
    if mode & 0o022 != 0 {
        return refuse(format!(
            "other users may write to the cache directory (mode {:o}): run chmod 700 on it, or \
             open it with allow_untrusted(true)",
            mode & 0o7777
        ));
    }
    match trust::place(dir).map_err(failed)? {
        Place::Network(name) => refuse(format!(
            "the cache directory is on {name}, where processes of several machines do not see one \
             memory: use a local directory, or open it with allow_untrusted(true) from one machine \
             only"
        )),
        _ => Ok(()),
    }
}

fn open_head(dir: &Dir, options: &OpenOptions, may_create: bool, writable: bool) -> Result<Map> {
    let path = dir.join(HEAD);
    let failed = |source| Error::io("open", &path, source);
    for _ in 0..3 {
        match dir.file(HEAD, writable) {
            Ok(file) => {
                if may_create && is_blank(&file).map_err(failed)? {
                    fill_head(dir, options)?;
                }
                dir.hold_on_to(HEAD, &file).map_err(failed)?;
                let unmapped = |source: std::io::Error| match source.kind() {
                    std::io::ErrorKind::InvalidData => no_head(&path),
                    _ => Error::io("map", &path, source),
                };
                return Map::new(&file, HEAD_BYTES, writable).map_err(unmapped);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && may_create => {
                create_head(dir, options)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::io("find a cache in", dir.path(), error));
            }
            Err(_) if is_no_file(dir) => return Err(no_head(&path)),
            Err(error) => return Err(failed(error)),
        }
    }
    Err(failed(std::io::ErrorKind::NotFound.into()))
}

/// Whether something that is no file has the name of `head`: a directory, a link.
fn is_no_file(dir: &Dir) -> bool {
    std::fs::symlink_metadata(dir.join(HEAD)).is_ok_and(|facts| !facts.is_file())
}

/// What is to be opened was never a cache, or is one no more. As it may be a stranger's, nothing in
/// here is to be deleted.
fn no_head(path: &Path) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "this is not the head of a cache, or it is damaged: name another directory, or restore \
         this one from a copy",
    )
    .at(path)
}

/// Makes `head` under a name of its own and links it into place: of several processes that do so
/// at once, one wins, and all use its file.
fn create_head(dir: &Dir, options: &OpenOptions) -> Result<()> {
    let path = dir.join(HEAD);
    let failed = |source| Error::io("create the cache", &path, source);
    let temporary = format!("head.{:016x}", random_u64().map_err(failed)?);
    let mut file = dir.create_file(&temporary).map_err(failed)?;
    let result = image(dir, options).and_then(|image| {
        file.write_all(&image).map_err(failed)?;
        match dir.link(&temporary, HEAD) {
            // Another one was made meanwhile; if that was long ago, this one may have been swept.
            Err(error)
                if !matches!(
                    error.kind(),
                    std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotFound
                ) =>
            {
                Err(failed(error))
            }
            _ => Ok(()),
        }
    });
    let _ = dir.unlink(&temporary);
    result
}

/// Whether this is the name of a `head` in the making, which nobody needs where there is one.
pub(crate) fn is_head_in_the_making(name: &str) -> bool {
    name.strip_prefix("head.").is_some_and(|random| {
        random.len() == 16 && random.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Whether a `head` is short or begins with zeros: it never reached the disk.
pub(crate) fn is_blank(file: &std::fs::File) -> std::io::Result<bool> {
    let mut start = [0; 64];
    match file.read_exact_at(&mut start, 0) {
        // What is there is in `start` all the same.
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(start == [0; 64]),
    }
}

/// Fills a `head` that never reached the disk before the power went.
fn fill_head(dir: &Dir, options: &OpenOptions) -> Result<()> {
    let path = dir.join(HEAD);
    let failed = |source| Error::io("create the cache", &path, source);
    let gate = PrivateFile::open(|| dir.file(HEAD, true)).map_err(failed)?;
    gate.lock().map_err(failed)?;
    let file = gate.file().map_err(failed)?;
    if is_blank(file).map_err(failed)? {
        file.write_all_at(&image(dir, options)?, 0).map_err(failed)?;
    }
    Ok(())
}

/// The first bytes of `head`: a store without a log. The log and the table begin with the first
/// write.
fn image(dir: &Dir, options: &OpenOptions) -> Result<Vec<u8>> {
    let random = || random_u64().map_err(|source| Error::io("create", dir.path(), source));
    let identity = Identity { store_id: random()?, hash_key: [random()?, random()?] };
    let geometry = Geometry::new(NO_GENERATION, FIRST_BUCKETS);
    let start = Location::new(Segment::new(1), HEADER_UNITS);
    let state = State {
        oldest: start.segment(),
        first: start.segment(),
        drained: start,
        synced: start,
        numbered: start,
        next_row: 1,
        ..State::empty(geometry)
    };
    let settings = options.settings.clone().unwrap_or_default();
    let mut words = vec![0u64; HEAD_BYTES / 8];
    let mut put = |at: usize, values: &[u64]| words[at..at + values.len()].copy_from_slice(values);
    put(0, &identity.encode());
    put(TAIL, &[start.bits()]);
    put(APPLIED, &[Applied::new(start, 0).0]);
    put(GEOMETRY, &[geometry.0]);
    put(BLOCKS[0], &state.encode());
    put(SETTINGS, &settings.encode());
    Ok(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

fn shared(dir: Dir, map: Map, read_only: bool) -> Result<Shared> {
    let path = dir.join(HEAD);
    // Written before the file got its name, and never again.
    let words = std::array::from_fn(|index| map.words()[index].load(Ordering::Relaxed));
    let identity = Identity::decode(&words).map_err(|problem| match problem {
        Unreadable::Version(version) => Error::new(
            ErrorKind::Version,
            format!(
                "the cache has format version {version}, and this library reads version {}: use \
                 the library that wrote it, or another directory",
                crate::format::head::VERSION
            ),
        )
        .at(&path),
        Unreadable::Blank | Unreadable::Damaged => no_head(&path),
    })?;
    let (dir, map) = (Arc::new(dir), Arc::new(map));
    Ok(Shared {
        table: TableFiles::new(Arc::clone(&dir), Arc::clone(&map), !read_only),
        log: Segments::new(Arc::clone(&dir), !read_only),
        head: Head::new(map),
        dir,
        identity,
        read_only,
        process: ForkLocal::new(Process::new),
    })
}

impl Writer<'_> {
    /// Makes the files of a store that has only its head yet. Done again if cut short.
    pub(crate) fn begin_log(&mut self) -> Result<()> {
        let shared = self.shared;
        if self.state.len != 0 || self.state.next_row != 1 {
            return Err(Error::corrupt(
                &shared.dir.join(HEAD),
                "the state of the cache is damaged",
            ));
        }
        let generation = self.clear_the_ground()?;
        let settings = shared.head.settings();
        let units = segment_units(&self.state, &settings);
        shared.table.begin_generation(generation)?;
        self.write_segment_header(self.tail.segment(), units)?;
        self.state.log_units = units;
        self.state.geometry = Geometry::new(generation, FIRST_BUCKETS);
        self.flip(self.tail)?;
        // From here on recovering does the same.
        shared.table.switch(self.state.geometry);
        // What cannot be deleted now is swept later.
        for name in shared.table.stale_files(generation).unwrap_or_default() {
            shared.discard_file(&name);
        }
        Ok(())
    }

    /// Takes away what lies in the directory of a store without a log: of a store whose head never
    /// reached the disk, or of a beginning that failed or was cut short. Comes back with the
    /// generation that the table is to begin with.
    ///
    /// Files of a beginning may have been mapped by any process, this one too, under the generation
    /// that they have in their names. So that number is never used again; as long as there is no
    /// later one, an empty file keeps it in mind.
    fn clear_the_ground(&self) -> Result<u64> {
        let shared = self.shared;
        let failed = |source| shared.failed("list the files of", ".", source);
        let names = shared.dir.list("").map_err(failed)?;
        // Numbers that no store comes to are a stranger's.
        let is_ours = |generation: &u64| *generation < MOST_BEGINNINGS;
        let last = names.iter().filter_map(|name| file_generation(name)).filter(is_ours).max();
        if names.iter().any(|name| Segment::from_file_name(name).is_some())
            && !self.clears_after_power_loss()
        {
            // Their records are of this store, and must not rise again.
            shared.owe()?;
        }
        for name in names {
            let generation = file_generation(&name);
            if generation.is_some() && generation == last {
                shared.empty_file(&name);
            } else if generation.is_some() || Segment::from_file_name(&name).is_some() {
                shared.discard_file(&name);
            }
        }
        // What cannot be deleted now is swept later.
        let _ = shared.delete_all_value_files();
        Ok(last.unwrap_or(NO_GENERATION) + 1)
    }

    /// Whether the settings ask for an empty cache after power loss.
    pub(crate) fn clears_after_power_loss(&self) -> bool {
        self.shared.head.settings().power_loss == PowerLoss::Clear
    }
}
