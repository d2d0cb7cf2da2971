//! A disk that remembers: one file in a FUSE file system, which a loop device makes a disk of. Every
//! write and every flush is recorded, in order, between the marks of what was done meanwhile.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fuser::consts::FOPEN_DIRECT_IO;
use fuser::{
    BackgroundSession, FileAttr, FileType, Filesystem, MountOption, ReplyAttr, ReplyData,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
};

const DISK: u64 = 2;
const NAME: &str = "disk";
const TTL: Duration = Duration::from_secs(1);
const NO_SUCH_FILE: i32 = 2;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    Write(usize, Vec<u8>),
    /// All writes before it are on disk.
    Flush,
    /// An operation begins.
    Begun(usize),
    /// It has ended, and whether all up to it was promised to survive.
    Done(usize, bool),
}

/// What the disk holds, and what has happened to it.
pub struct Record {
    pub bytes: Vec<u8>,
    pub events: Vec<Event>,
}

pub type Shared = Arc<Mutex<Record>>;

/// The file system with the disk, until it is dropped.
pub struct Disk {
    pub record: Shared,
    place: PathBuf,
    _session: BackgroundSession,
}

impl Disk {
    pub fn mount(place: &Path, len: usize) -> std::io::Result<Disk> {
        let record = Arc::new(Mutex::new(Record { bytes: vec![0; len], events: Vec::new() }));
        let options = [MountOption::FSName("firncache-power".into()), MountOption::RW];
        let session = fuser::spawn_mount2(Files(Arc::clone(&record)), place, &options)?;
        Ok(Disk { record, place: place.to_owned(), _session: session })
    }

    pub fn path(&self) -> PathBuf {
        self.place.join(NAME)
    }
}

struct Files(Shared);

impl Files {
    fn facts(&self, inode: u64) -> FileAttr {
        let is_disk = inode == DISK;
        let size = if is_disk { self.0.lock().unwrap().bytes.len() as u64 } else { 0 };
        let time = SystemTime::UNIX_EPOCH;
        FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: if is_disk { FileType::RegularFile } else { FileType::Directory },
            perm: if is_disk { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Files {
    fn lookup(&mut self, _: &Request<'_>, _: u64, name: &OsStr, reply: ReplyEntry) {
        match name == NAME {
            true => reply.entry(&TTL, &self.facts(DISK), 0),
            false => reply.error(NO_SUCH_FILE),
        }
    }

    fn getattr(&mut self, _: &Request<'_>, inode: u64, _: Option<u64>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.facts(inode));
    }

    fn open(&mut self, _: &Request<'_>, _: u64, _: i32, reply: ReplyOpen) {
        // No cache of the kernel between the loop device and this.
        reply.opened(0, FOPEN_DIRECT_IO);
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        _: u64,
        _: u64,
        offset: i64,
        size: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        let record = self.0.lock().unwrap();
        let from = (offset as usize).min(record.bytes.len());
        let to = (from + size as usize).min(record.bytes.len());
        reply.data(&record.bytes[from..to]);
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        _: u64,
        _: u64,
        offset: i64,
        data: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        let mut record = self.0.lock().unwrap();
        let from = offset as usize;
        record.bytes[from..from + data.len()].copy_from_slice(data);
        record.events.push(Event::Write(from, data.to_vec()));
        reply.written(data.len() as u32);
    }

    fn fsync(&mut self, _: &Request<'_>, _: u64, _: u64, _: bool, reply: ReplyEmpty) {
        self.0.lock().unwrap().events.push(Event::Flush);
        reply.ok();
    }
}
