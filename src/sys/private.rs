//! Open files that the child of a fork does not get.
//!
//! A kernel lock lives until every copy of its descriptor is closed. A child that is forked while
//! such a descriptor is open, and that never runs another program, would keep a dead process's lock
//! alive. So the descriptor is registered with `raw`, and the child closes it before it does
//! anything else, without unlocking. The object itself is copied to the child too; there it answers
//! with an error and does nothing when it is dropped.
//!
//! Used by `liveness`, and by `store` where one process at a time brings a store in order.

use std::fs::File;
use std::io;

use crate::sys::raw::{ForkWatch, PrivateEntry, process_token};

/// An open file whose descriptor no child of this process keeps.
#[derive(Debug)]
pub(crate) struct PrivateFile {
    /// Present until it is dropped.
    file: Option<File>,
    entry: &'static PrivateEntry,
    process: u64,
}

impl PrivateFile {
    /// Opens a file with `open`, and does so again when a fork came between the opening and its
    /// registration.
    pub(crate) fn open(mut open: impl FnMut() -> io::Result<File>) -> io::Result<PrivateFile> {
        const ATTEMPTS: usize = 100;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let watch = ForkWatch::start();
            let file = open()?;
            let entry = PrivateEntry::register(&file)?;
            let private = PrivateFile { file: Some(file), entry, process: process_token() };
            if !watch.has_forked() || attempt == ATTEMPTS {
                return Ok(private);
            }
        }
    }

    /// Waits for the kernel's lock on the file, which nobody else has until this is dropped.
    pub(crate) fn lock(&self) -> io::Result<()> {
        loop {
            match fs2::FileExt::lock_exclusive(self.file()?) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// The file; an error in the child of a fork, where it is closed.
    pub(crate) fn file(&self) -> io::Result<&File> {
        let own = self.file.as_ref().filter(|_| self.process == process_token());
        own.ok_or_else(|| {
            io::Error::other("this open file belongs to the process that was forked from")
        })
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        // A child that was made without the fork handlers still has the descriptor, and the entry
        // still says so. In any other child the number may by now be another file's.
        if self.entry.is_of(&file, self.process) {
            drop(file);
            self.entry.forget();
        } else {
            std::mem::forget(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::sys::testing::Child;

    #[test]
    fn a_child_has_neither_the_file_nor_a_way_to_harm_it() {
        let place = tempfile::NamedTempFile::new().unwrap();
        let open = || PrivateFile::open(|| place.reopen()).unwrap();
        let own = Cell::new(Some(open()));
        let child = Child::fork(|| {
            let copy = own.take().unwrap();
            let closed = copy.file().is_err();
            // Takes the number of the closed descriptor, and the entry too.
            let fresh = open();
            drop(copy);
            closed && fresh.file().is_ok_and(|file| file.metadata().is_ok())
        });
        assert!(child.succeeded());
        let own = own.take().unwrap();
        assert!(own.file().unwrap().metadata().is_ok());
        fs2::FileExt::try_lock_exclusive(own.file().unwrap()).unwrap();
    }

    #[test]
    fn a_lock_ends_with_the_descriptor_although_children_live_on() {
        const PATIENCE: usize = 10_000;
        let place = tempfile::NamedTempFile::new().unwrap();
        let own = PrivateFile::open(|| place.reopen()).unwrap();
        fs2::FileExt::try_lock_exclusive(own.file().unwrap()).unwrap();
        // Killed at the end of the test.
        let _child = Child::fork(|| {
            loop {
                std::thread::park();
            }
        });
        drop(own);
        let other = place.reopen().unwrap();
        let is_free = |_| {
            let free = fs2::FileExt::try_lock_exclusive(&other).is_ok();
            if !free {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            free
        };
        assert!((0..PATIENCE).any(is_free));
    }

    #[test]
    fn a_fork_during_the_opening_has_it_done_again_but_not_for_ever() {
        let place = tempfile::NamedTempFile::new().unwrap();
        let opened = Cell::new(0);
        let open_and_fork = |most: usize| {
            opened.set(0);
            PrivateFile::open(|| {
                opened.set(opened.get() + 1);
                if opened.get() <= most {
                    drop(Child::fork(|| true));
                }
                place.reopen()
            })
        };
        assert!(open_and_fork(1).unwrap().file().is_ok());
        assert!(opened.get() > 1);
        assert!(open_and_fork(usize::MAX).unwrap().file().is_ok());
        assert_eq!(opened.get(), 100);
    }

    #[test]
    fn entries_are_used_again() {
        let place = tempfile::NamedTempFile::new().unwrap();
        for _ in 0..100 {
            let files = [(); 3].map(|()| PrivateFile::open(|| place.reopen()).unwrap());
            assert!(files.iter().all(|private| private.file().is_ok()));
        }
    }
}
