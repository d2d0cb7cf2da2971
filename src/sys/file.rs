//! Directories and files, opened by name beneath a directory that is held open.
//!
//! A [`Dir`] is one descriptor. All names are relative to it, of one to three parts
//! (`values/ab/0123`), and no part may be a symbolic link, `.` or `..`: whoever can write into the
//! directory cannot lead the cache out of it. Renaming the directory while it is open does no harm.
//!
//! Nothing here is unsafe and nothing knows what a file is for. The functions at the end work on an
//! open file: space, length, durability.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{Access, AtFlags, FallocateFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};

#[cfg(test)]
use crate::sys::testing::{Step, step};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
const NEVER_FOLLOW: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW);

/// A directory, held open.
#[derive(Debug)]
pub(crate) struct Dir {
    descriptor: OwnedFd,
    path: PathBuf,
    anchor: OnceLock<Anchor>,
}

/// A file that all others in a directory belong to.
#[derive(Debug)]
struct Anchor {
    name: &'static str,
    device: u64,
    inode: u64,
}

impl Dir {
    /// Opens a directory that exists.
    pub(crate) fn open(path: &Path) -> io::Result<Dir> {
        let path = std::path::absolute(path)?;
        let flags = DIRECTORY | OFlags::CLOEXEC;
        let descriptor = retry_on_intr(|| rustix::fs::open(&path, flags, Mode::empty()))?;
        Ok(Dir { descriptor, path, anchor: OnceLock::new() })
    }

    /// Opens a directory, and makes it and what is missing above it first, for its owner alone.
    pub(crate) fn create(path: &Path) -> io::Result<Dir> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Dir::open(path)
    }

    /// Opens the directory `name` in this one, wherever that is by now; made first, if it is to be.
    pub(crate) fn below(&self, name: &str, create: bool) -> io::Result<Dir> {
        if create {
            self.make_dir(name)?;
        }
        let descriptor = self.open_beneath(name, DIRECTORY, Mode::empty())?;
        Ok(Dir { descriptor, path: self.path.join(name), anchor: OnceLock::new() })
    }

    /// The absolute path that it was opened by, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a name in it, for messages.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// From now on files are opened for writing, and names changed, only as long as `file` has this
    /// name. Where the files of a directory have been exchanged, those that are there now are another
    /// owner's.
    pub(crate) fn hold_on_to(&self, name: &'static str, file: &File) -> io::Result<()> {
        let facts = rustix::fs::fstat(file)?;
        let _ = self.anchor.set(Anchor { name, device: facts.st_dev, inode: facts.st_ino });
        Ok(())
    }

    fn refuse_if_exchanged(&self) -> io::Result<()> {
        let Some(anchor) = self.anchor.get() else { return Ok(()) };
        match rustix::fs::statat(&self.descriptor, anchor.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(facts) if (facts.st_dev, facts.st_ino) == (anchor.device, anchor.inode) => Ok(()),
            Ok(_) | Err(Errno::NOENT) => Err(io::Error::other(
                "the files of the directory have been deleted or exchanged since it was opened: \
                 open it anew",
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// Device and inode.
    pub(crate) fn identity(&self) -> io::Result<(u64, u64)> {
        let facts = rustix::fs::fstat(&self.descriptor)?;
        Ok((facts.st_dev, facts.st_ino))
    }

    /// Bytes that the file system has left for this process.
    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        let facts = rustix::fs::fstatvfs(&self.descriptor)?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }

    /// The permission bits.
    pub(crate) fn mode(&self) -> io::Result<u32> {
        Ok(rustix::fs::fstat(&self.descriptor)?.st_mode & 0o7777)
    }

    /// The number by which the kernel names the kind of file system.
    pub(crate) fn file_system(&self) -> io::Result<u32> {
        let number = rustix::fs::fstatfs(&self.descriptor)?.f_type;
        // Kept in a signed word, whose upper half may be copies of the sign.
        Ok(number as u32)
    }

    /// Whether files can be made in it: by its permissions, and because the file system is not
    /// mounted read-only.
    pub(crate) fn is_writable(&self) -> io::Result<bool> {
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        let ask = |flags| rustix::fs::accessat(&self.descriptor, ".", wanted, flags);
        let allowed = match ask(AtFlags::EACCESS) {
            // A kernel before 5.8 cannot answer for the effective user.
            Err(Errno::NOSYS | Errno::INVAL) => ask(AtFlags::empty()),
            answer => answer,
        };
        match allowed {
            Ok(()) => Ok(true),
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a regular file that exists. Whether something else has the name, [`is_no_file`] tells.
    pub(crate) fn file(&self, name: &str, write: bool) -> io::Result<File> {
        #[cfg(test)]
        step(Step::Call("open"))?;
        if write {
            self.refuse_if_exchanged()?;
        }
        let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
        // Opening a pipe would wait for its other end, and a terminal would become ours.
        let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.open_beneath(name, flags, Mode::empty())?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file.into())
    }

    /// Makes a file that must not exist, for its owner alone, and opens it.
    pub(crate) fn create_file(&self, name: &str) -> io::Result<File> {
        #[cfg(test)]
        step(Step::Call("create"))?;
        self.refuse_if_exchanged()?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(self.open_beneath(name, flags, mode)?.into())
    }

    /// Makes a directory for its owner alone; one that is there already will do.
    pub(crate) fn make_dir(&self, name: &str) -> io::Result<()> {
        #[cfg(test)]
        step(Step::Call("mkdir"))?;
        self.refuse_if_exchanged()?;
        let (parent, last) = self.parent(name)?;
        match rustix::fs::mkdirat(parent.as_fd(), last, Mode::RWXU) {
            Err(Errno::EXIST) => drop(self.open_beneath(name, DIRECTORY, Mode::empty())?),
            done => done?,
        }
        Ok(())
    }

    /// Renames a file, in place of what had the new name.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        #[cfg(test)]
        step(Step::Call("rename"))?;
        self.refuse_if_exchanged()?;
        let (old_parent, old) = self.parent(from)?;
        let (new_parent, new) = self.parent(to)?;
        Ok(rustix::fs::renameat(old_parent.as_fd(), old, new_parent.as_fd(), new)?)
    }

    /// Gives a file a second name; `AlreadyExists` where that name is taken.
    pub(crate) fn link(&self, from: &str, to: &str) -> io::Result<()> {
        #[cfg(test)]
        step(Step::Call("link"))?;
        let (old_parent, old) = self.parent(from)?;
        let (new_parent, new) = self.parent(to)?;
        let flags = AtFlags::empty();
        Ok(rustix::fs::linkat(old_parent.as_fd(), old, new_parent.as_fd(), new, flags)?)
    }

    /// Removes a file.
    pub(crate) fn unlink(&self, name: &str) -> io::Result<()> {
        #[cfg(test)]
        step(Step::Call("unlink"))?;
        self.refuse_if_exchanged()?;
        let (parent, last) = self.parent(name)?;
        Ok(rustix::fs::unlinkat(parent.as_fd(), last, AtFlags::empty())?)
    }

    /// Removes a directory, if it is empty.
    pub(crate) fn remove_dir(&self, name: &str) -> io::Result<()> {
        #[cfg(test)]
        step(Step::Call("rmdir"))?;
        self.refuse_if_exchanged()?;
        let (parent, last) = self.parent(name)?;
        Ok(rustix::fs::unlinkat(parent.as_fd(), last, AtFlags::REMOVEDIR)?)
    }

    /// Whether the name is taken, by whatever it is.
    pub(crate) fn exists(&self, name: &str) -> io::Result<bool> {
        let found = self.parent(name).and_then(|(parent, last)| {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            Ok(rustix::fs::statat(parent.as_fd(), last, flags)?)
        });
        match found {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the names in it durable; an error where it has been deleted, and they with it.
    pub(crate) fn sync(&self) -> io::Result<()> {
        sync_names(self.descriptor.as_fd())?;
        match rustix::fs::fstat(&self.descriptor)?.st_nlink {
            0 => Err(io::Error::new(io::ErrorKind::NotFound, "the directory has been deleted")),
            _ => Ok(()),
        }
    }

    /// Makes the names in the directory `name` durable.
    pub(crate) fn sync_sub(&self, name: &str) -> io::Result<()> {
        sync_names(self.open_beneath(name, DIRECTORY, Mode::empty())?.as_fd())
    }

    /// The names in the directory `sub`, or in this one if that is empty; sorted. Names that are
    /// not UTF-8 are none of ours, and left out.
    pub(crate) fn list(&self, sub: &str) -> io::Result<Vec<String>> {
        let entries = if sub.is_empty() {
            retry_on_intr(|| rustix::fs::Dir::read_from(&self.descriptor))?
        } else {
            rustix::fs::Dir::new(self.open_beneath(sub, DIRECTORY, Mode::empty())?)?
        };
        let mut names = Vec::new();
        for entry in entries {
            if let Ok(name) = entry?.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The directory that holds the last part of `name`, and that part.
    fn parent<'a>(&self, name: &'a str) -> io::Result<(Parent<'_>, &'a str)> {
        check_name(name)?;
        let Some((above, last)) = name.rsplit_once('/') else {
            return Ok((Parent::Held(self.descriptor.as_fd()), name));
        };
        let flags = DIRECTORY | OFlags::PATH;
        Ok((Parent::Opened(self.open_beneath(above, flags, Mode::empty())?), last))
    }

    fn open_beneath(&self, name: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        check_name(name)?;
        let flags = flags | NEVER_FOLLOW;
        let limits = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let opened =
            retry_on_intr(|| rustix::fs::openat2(&self.descriptor, name, flags, mode, limits));
        match opened {
            // Not there before 5.6, forbidden in some containers, or confused by a mount elsewhere.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => self.open_stepwise(name, flags, mode),
            done => Ok(done?),
        }
    }

    /// The same, one part of the name after the other.
    fn open_stepwise(&self, name: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let step = DIRECTORY | OFlags::PATH | NEVER_FOLLOW;
        let mut above: Option<OwnedFd> = None;
        let mut rest = name;
        while let Some((part, below)) = rest.split_once('/') {
            let at = above.as_ref().map_or(self.descriptor.as_fd(), AsFd::as_fd);
            let next = retry_on_intr(|| rustix::fs::openat(at, part, step, Mode::empty()))?;
            above = Some(next);
            rest = below;
        }
        let at = above.as_ref().map_or(self.descriptor.as_fd(), AsFd::as_fd);
        Ok(retry_on_intr(|| rustix::fs::openat(at, rest, flags, mode))?)
    }
}

enum Parent<'a> {
    Held(BorrowedFd<'a>),
    Opened(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Parent::Held(descriptor) => *descriptor,
            Parent::Opened(descriptor) => descriptor.as_fd(),
        }
    }
}

/// Whether a file could not be opened because a link, a directory, a socket or a pipe has its name.
pub(crate) fn is_no_file(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::LOOP | Errno::ISDIR | Errno::NXIO))
        || error.kind() == io::ErrorKind::InvalidInput
}

fn check_name(name: &str) -> io::Result<()> {
    if name.split('/').any(|part| matches!(part, "" | "." | "..") || part.contains('\0')) {
        let text = format!("{name:?} is no plain name inside a directory");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}

fn sync_names(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    #[cfg(test)]
    step(Step::Sync(rustix::fs::fstat(descriptor)?.st_ino))?;
    match retry_on_intr(|| rustix::fs::fsync(descriptor)) {
        // File systems that keep names durable by themselves, or not at all, say so in this way.
        Err(Errno::INVAL) => Ok(()),
        done => Ok(done?),
    }
}

/// Reserves space for a range, and makes the file longer where the range ends beyond it.
///
/// A full disk is an error here, and not later at a store into a map. Where the file system cannot
/// reserve, zeros are written beyond the present end; holes before it stay holes.
pub(crate) fn allocate(file: &File, offset: u64, len: u64) -> io::Result<()> {
    #[cfg(test)]
    step(Step::Call("allocate"))?;
    if len == 0 {
        return Ok(());
    }
    match retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), offset, len)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, offset, len),
        done => Ok(done?),
    }
}

fn write_zeros(file: &File, offset: u64, len: u64) -> io::Result<()> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let end = offset.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
    let mut at = length(file)?;
    while at < end {
        let count = usize::try_from(end - at).unwrap_or(ZEROS.len()).min(ZEROS.len());
        file.write_all_at(&ZEROS[..count], at)?;
        at += count as u64;
    }
    Ok(())
}

/// Gives back the space of a file, which keeps its length and reads as zeros then. Where the file
/// system cannot do that, nothing happens.
pub(crate) fn punch(file: &File) -> io::Result<()> {
    #[cfg(test)]
    step(Step::Punch(file.metadata()?.ino()))?;
    let len = length(file)?;
    if len == 0 {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match retry_on_intr(|| rustix::fs::fallocate(file, flags, 0, len)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        done => Ok(done?),
    }
}

/// The bytes that the file takes on the disk.
pub(crate) fn on_disk(file: &File) -> io::Result<u64> {
    const BLOCK_BYTES: u64 = 512;
    Ok(file.metadata()?.blocks().saturating_mul(BLOCK_BYTES))
}

/// The length in bytes.
pub(crate) fn length(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}

/// Makes the bytes of the file durable, and what is needed to find them.
pub(crate) fn data_sync(file: &File) -> io::Result<()> {
    #[cfg(test)]
    step(Step::Call("fdatasync"))?;
    #[cfg(test)]
    step(Step::Sync(file.metadata()?.ino()))?;
    file.sync_data()
}

#[cfg(test)]
mod tests;
