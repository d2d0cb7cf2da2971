//! The one error type of the crate.
//!
//! An [`Error`] says what was tried, on what, and what can be done about it. It is opaque, so that
//! facts can be added to it without breaking anyone; programs decide by [`Error::kind`], people
//! read the message. Everything lies behind one `Box`, so that a `Result` is no larger than what
//! it carries.
//!
//! ```text
//! cannot append to the log: /var/cache/app/log.0003, at byte 8192: No space left on device (os error 28); free some space ..
//! '-------- message ------' '-------- path ---------' '-- offset --' '------- source ------------------' '------ cure ------
//! ```
//!
//! Every floor makes errors through the constructors here. [`Error::io`] is the only place that
//! reads the numbers of the operating system.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A result whose error is [`Error`] unless another is named.
///
/// ```
/// fn length(cache: &firncache::Cache, key: &str) -> firncache::Result<usize> {
///     Ok(cache.get::<String>(key)?.map_or(0, |text| text.len()))
/// }
/// assert_eq!(length(&firncache::Cache::temporary()?, "missing")?, 0);
/// # Ok::<(), firncache::Error>(())
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure an [`Error`] is, and thereby what can be done about it.
///
/// ```
/// # let cache = firncache::Cache::temporary()?;
/// use firncache::ErrorKind;
///
/// cache.set("name", "Ada")?;
/// match cache.get::<u64>("name") {
///     Err(error) if error.kind() == ErrorKind::Codec => cache.delete("name")?, // another type
///     other => other?.is_some(),
/// };
/// assert!(!cache.contains("name")?);
/// # Ok::<(), firncache::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The operating system refused an operation. The cure is outside: permissions, the mount, the
    /// limit on open files, the disk. [`std::error::Error::source`] has the system's own error.
    Io,
    /// The writer lock was not had in time. Try again, give the handle a longer timeout, or look
    /// at the process that the message names.
    Timeout,
    /// Stored bytes are not what was written. Run `repair()`, which keeps what can be read, or
    /// delete the directory: it is a cache. Where opening gives it, the directory may never have been
    /// one: name another.
    Corrupt,
    /// The store was made by another version of the format. Use a version of the crate that knows
    /// it, or delete the directory.
    Version,
    /// The value can never fit under `size_limit`. Raise the limit or store less. Nothing was
    /// removed to make room.
    TooLarge,
    /// The disk, or the user's quota, is full. Free some space or lower `size_limit`; the store
    /// stays readable and consistent.
    Full,
    /// A value cannot be encoded, or cannot be read as the type that was asked for. Read it as the
    /// type that was stored, with the codec that stored it.
    Codec,
    /// A key cannot be used: NaN, too long, nested too deep, or not of the type that was asked
    /// for. Use another key, for example a hash of the long one.
    Key,
    /// A setting is out of its range, or contradicts what the store was made with. Correct the
    /// setting that the message names.
    Setting,
    /// A number would leave its range, or is not finite where it has to be. The stored number is
    /// unchanged; add finite numbers, or store a smaller one first.
    Overflow,
    /// The handle, or the file system, is read-only. Open it for writing.
    ReadOnly,
    /// The operation cannot be done here: not inside a transaction, not on this file system or not
    /// on this platform. The message says which.
    Unsupported,
}

/// What went wrong: what was tried, on what, and the cure.
///
/// Programs decide by [`kind`](Error::kind); the message is for people and may change.
///
/// ```
/// # let cache = firncache::Cache::temporary()?;
/// use firncache::ErrorKind;
///
/// let error = cache.set(f64::NAN, &1).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Key);
/// eprintln!("{error}"); // what was tried, on what, and the cure
/// # Ok::<(), firncache::Error>(())
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    path: Option<PathBuf>,
    offset: Option<u64>,
    done: Option<u64>,
    source: Option<io::Error>,
    cure: &'static str,
}

impl Error {
    /// What kind of failure this is.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let error = cache.incr("count", 1).and_then(|_| cache.incr("count", i64::MAX)).unwrap_err();
    /// assert_eq!(error.kind(), firncache::ErrorKind::Overflow);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file or directory concerned, if there is one.
    ///
    /// ```
    /// let dir = tempfile::tempdir()?;
    /// let missing = dir.path().join("none");
    /// let error = firncache::Cache::options().create(false).open(&missing).unwrap_err();
    /// assert!(error.path().is_some_and(|path| path.starts_with(&missing)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// Makes an error of kind [`ErrorKind::Codec`]: what an implementation of
    /// [`Codec`](crate::Codec) returns when it cannot encode or decode a value.
    ///
    /// ```
    /// let error = firncache::Error::codec("cannot read the picture: it has no header");
    /// assert_eq!(error.kind(), firncache::ErrorKind::Codec);
    /// ```
    pub fn codec(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Codec, message)
    }

    /// Makes an error of kind [`ErrorKind::Key`]: what an implementation of
    /// [`ToKey`](crate::ToKey) or [`FromKey`](crate::FromKey) returns when it refuses a key.
    ///
    /// ```
    /// let error = firncache::Error::key("the name is empty: give it one");
    /// assert_eq!(error.kind(), firncache::ErrorKind::Key);
    /// ```
    pub fn key(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Key, message)
    }

    /// An error whose message says everything, the cure included.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            path: None,
            offset: None,
            done: None,
            source: None,
            cure: "",
        }))
    }

    /// A failed system call: `action` reads on after "cannot", as in "open the log".
    pub(crate) fn io(action: &str, path: &Path, source: io::Error) -> Error {
        let kind = kind_of(&source);
        let mut error = Error::new(kind, format!("cannot {action}")).at(path);
        error.0.cure = cure_of(kind, &source);
        error.0.source = Some(source);
        error
    }

    /// Bytes of the file at `path` that are not what was written.
    pub(crate) fn corrupt(path: &Path, what: impl Into<String>) -> Error {
        let mut error = Error::new(ErrorKind::Corrupt, what).at(path);
        error.0.cure = "run repair() to keep all that can be, or delete the directory";
        error
    }

    /// Names the file or directory concerned, unless one is named already: the innermost caller
    /// knows best.
    pub(crate) fn at(mut self, path: impl Into<PathBuf>) -> Error {
        if self.0.path.is_none() {
            self.0.path = Some(path.into());
        }
        self
    }

    /// Names the byte in the file, unless one is named already.
    pub(crate) fn offset(mut self, offset: u64) -> Error {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// Says how many items had been done elsewhere before those that the error tells of.
    pub(crate) fn progress_after(self, before: u64) -> Error {
        let done = self.0.done.map_or(before, |done| done.saturating_add(before));
        if done == 0 { self } else { self.progress(done) }
    }

    /// Says how many items a stepwise operation had done, in all, when it stopped.
    pub(crate) fn progress(mut self, done: u64) -> Error {
        self.0.done = Some(done);
        self
    }
}

/// A full disk and a read-only file system are conditions with cures of their own.
fn kind_of(source: &io::Error) -> ErrorKind {
    match source.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => return ErrorKind::Full,
        Some(libc::EROFS) => return ErrorKind::ReadOnly,
        _ => {}
    }
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::Full
        }
        io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
        _ => ErrorKind::Io,
    }
}

/// What can be done about a failed system call; nothing, where that depends on what it was.
fn cure_of(kind: ErrorKind, source: &io::Error) -> &'static str {
    match kind {
        ErrorKind::Full => return "free some space or lower size_limit",
        ErrorKind::ReadOnly => {
            return "open it with read_only(true), or on a file system for writing";
        }
        _ => {}
    }
    match source.raw_os_error() {
        Some(libc::ENOENT) => "name a directory that is there, or open the cache with create(true)",
        Some(libc::EEXIST | libc::ENOTDIR | libc::EISDIR | libc::ELOOP) => {
            "a file, a directory or a link has the place of another: move it away, or name \
             another directory"
        }
        Some(libc::EACCES | libc::EPERM) => {
            "give this user access to it, or name another directory"
        }
        Some(libc::EMFILE | libc::ENFILE) => "raise the limit on open files, or close some",
        Some(libc::ENAMETOOLONG) => "use a shorter name, or a directory with a shorter path",
        Some(libc::ENOMEM) => "free some memory, or raise the limits on memory and on maps",
        Some(libc::EIO) => "the disk may be failing: see the log of the system",
        None if source.kind() == io::ErrorKind::InvalidInput => "name another directory",
        _ => "",
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        f.write_str(&inner.message)?;
        if let Some(path) = &inner.path {
            write!(f, ": {}", path.display())?;
        }
        if let Some(offset) = inner.offset {
            write!(f, ", at byte {offset}")?;
        }
        if let Some(source) = &inner.source {
            write!(f, ": {source}")?;
        }
        match inner.done {
            None => {}
            Some(1) => f.write_str("; 1 item was done before")?,
            Some(done) => write!(f, "; {done} items were done before")?,
        }
        if !inner.cure.is_empty() {
            write!(f, "; {}", inner.cure)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error {{ {:?}: {self} }}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source as _)
    }
}

/// For implementations of [`std::io::Read`] and the like; the error stays inside, whole.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match error.kind() {
            ErrorKind::Io => error.0.source.as_ref().map_or(io::ErrorKind::Other, io::Error::kind),
            ErrorKind::Timeout => io::ErrorKind::TimedOut,
            ErrorKind::Corrupt | ErrorKind::Version | ErrorKind::Codec => {
                io::ErrorKind::InvalidData
            }
            ErrorKind::Full => io::ErrorKind::StorageFull,
            ErrorKind::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            ErrorKind::Key | ErrorKind::Setting => io::ErrorKind::InvalidInput,
            ErrorKind::TooLarge | ErrorKind::Overflow => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    fn assert_shareable<T: Send + Sync + 'static>() {}

    #[test]
    fn is_small_and_shareable() {
        assert_shareable::<Error>();
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn full_and_read_only_disks_have_their_own_kinds() {
        let kind = |code| {
            let source = io::Error::from_raw_os_error(code);
            Error::io("write", Path::new("/x"), source).kind()
        };
        for code in [libc::ENOSPC, libc::EDQUOT, libc::EFBIG] {
            assert_eq!(kind(code), ErrorKind::Full);
        }
        assert_eq!(kind(libc::EROFS), ErrorKind::ReadOnly);
        assert_eq!(kind(libc::EACCES), ErrorKind::Io);
        let made = io::Error::from(io::ErrorKind::QuotaExceeded);
        assert_eq!(Error::io("write", Path::new("/x"), made).kind(), ErrorKind::Full);
    }

    #[test]
    fn a_system_call_that_failed_has_a_cure() {
        let text = |code| {
            let source = io::Error::from_raw_os_error(code);
            Error::io("open", Path::new("/x"), source).to_string()
        };
        let cures = [
            (libc::ENOENT, "create(true)"),
            (libc::EEXIST, "move it away, or name another directory"),
            (libc::ENOTDIR, "move it away, or name another directory"),
            (libc::EISDIR, "move it away, or name another directory"),
            (libc::ELOOP, "move it away, or name another directory"),
            (libc::EACCES, "give this user access"),
            (libc::EPERM, "give this user access"),
            (libc::EMFILE, "limit on open files"),
            (libc::ENFILE, "limit on open files"),
            (libc::ENAMETOOLONG, "a shorter name"),
            (libc::ENOMEM, "limits on memory and on maps"),
            (libc::EIO, "see the log of the system"),
        ];
        for (code, cure) in cures {
            assert!(text(code).contains(cure), "{}", text(code));
        }
        assert!(text(libc::EDOM).ends_with(')'), "{}", text(libc::EDOM));
    }

    #[test]
    fn message_says_what_where_why_and_the_cure() {
        let source = io::Error::from_raw_os_error(libc::ENOSPC);
        let error = Error::io("append to the log", Path::new("/c/log.0003"), source).offset(8192);
        let text = error.to_string();
        assert!(
            text.starts_with("cannot append to the log: /c/log.0003, at byte 8192: "),
            "{text}"
        );
        assert!(text.ends_with("; free some space or lower size_limit"), "{text}");
        assert!(error.source().is_some());
        assert!(format!("{error:?}").contains("Full"));
    }

    #[test]
    fn the_innermost_path_and_offset_stay() {
        let error = Error::corrupt(Path::new("/inner"), "the record is damaged").offset(8);
        let error = error.at("/outer").offset(16);
        assert_eq!(error.path(), Some(Path::new("/inner")));
        assert!(error.to_string().contains("at byte 8;"), "{error}");
    }

    #[test]
    fn progress_is_told() {
        let error = Error::new(ErrorKind::Timeout, "the lock is held by process 7").progress(300);
        assert!(error.to_string().ends_with("; 300 items were done before"));
        assert!(error.progress(1).to_string().ends_with("; 1 item was done before"));
        let error = Error::new(ErrorKind::Timeout, "late").progress_after(0);
        assert_eq!(error.to_string(), "late");
        let error = error.progress_after(2).progress_after(3);
        assert!(error.to_string().ends_with("; 5 items were done before"));
    }

    #[test]
    fn an_io_error_keeps_the_error_inside() {
        let error = Error::new(ErrorKind::Timeout, "late");
        let outer = io::Error::from(error);
        assert_eq!(outer.kind(), io::ErrorKind::TimedOut);
        let inner = outer.into_inner().and_then(|inner| inner.downcast::<Error>().ok());
        assert_eq!(inner.map(|inner| inner.kind()), Some(ErrorKind::Timeout));
    }
}
