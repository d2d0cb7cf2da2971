//! Syncs that the kernel does while this process goes on.
//!
//! ```text
//! begin -> the kernel's queue ... a thread of the kernel syncs ... -> look: the outcome is stored
//! ```
//!
//! One queue for each process, made at the first sync and never given up: to destroy it would mean
//! to wait for what is under way. It goes with the process, which the kernel ends only when its syncs
//! have ended (as it does with one that is killed inside `fdatasync`). The child of a fork has no
//! part in its parent's queue and makes its own.
//!
//! Where the kernel refuses (kernels before 4.18, sandboxes, too many queues on the machine),
//! [`begin`] is an error and the caller syncs as ever, waiting.
//!
//! A [`Request`] may be dropped at any time: the sync goes on, and its outcome is of no interest.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use crate::sys::fork::ForkLocal;
use crate::sys::raw::{Completion, RequestQueue};
use crate::sys::sync::{AtomicU64, Ordering};

/// Requests that the queue is asked to have room for. All queues of the machine share 65,536.
const MOST: u32 = 64;
/// A wait for the kernel looks around as often as this.
const TURN: Duration = Duration::from_millis(100);

static KERNEL: ForkLocal<Kernel> = ForkLocal::new(Kernel::new);

/// The queue of this process, and who waits for what in it.
struct Kernel {
    queue: Option<RequestQueue>,
    next: AtomicU64,
    asked: Mutex<HashMap<u64, Request>>,
    /// One thread fetches at a time, so that none sleeps for what another one has fetched.
    fetching: Mutex<()>,
}

/// A sync that was begun: 0 or the error number, when it has ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request(Arc<OnceLock<i32>>);

impl Request {
    /// One that has ended already.
    pub(crate) fn finished(result: &io::Result<()>) -> Request {
        let request = Request::default();
        let error = |error: &io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        request.end(result.as_ref().err().map_or(0, error));
        request
    }

    fn end(&self, error: i32) {
        // One that has ended stays as it is.
        let _ = self.0.set(error);
    }

    /// How it ended, if that is known. Does not ask the kernel: see [`look`].
    pub(crate) fn outcome(&self) -> Option<io::Result<()>> {
        self.0.get().map(|&error| match error {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        })
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&self) -> io::Result<()> {
        let kernel = KERNEL.get();
        loop {
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            let _fetching = kernel.fetching.lock();
            if self.outcome().is_none() {
                kernel.fetch(1, TURN);
            }
        }
    }
}

impl Kernel {
    fn new() -> Kernel {
        Kernel {
            queue: RequestQueue::new(MOST).ok(),
            next: AtomicU64::new(0),
            asked: Mutex::new(HashMap::new()),
            fetching: Mutex::new(()),
        }
    }

    fn fetch(&self, least: usize, timeout: Duration) {
        let mut ended = [Completion::default(); 16];
        let Some(queue) = &self.queue else { return };
        match queue.fetch(least, &mut ended, timeout) {
            Ok(count) => {
                let mut asked = self.asked.lock();
                for one in ended.iter().take(count) {
                    if let Some(request) = asked.remove(&one.number) {
                        let error = i32::try_from(-one.result).unwrap_or(libc::EIO);
                        request.end(error);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                // Nobody will ever hear of them.
                let error = error.raw_os_error().unwrap_or(libc::EIO);
                self.asked.lock().drain().for_each(|(_, request)| request.end(error));
            }
        }
    }
}

/// Begins to make an open file durable, its bytes alone or all that there is to it. An error means
/// that nothing was begun.
pub(crate) fn begin(file: BorrowedFd<'_>, bytes_alone: bool) -> io::Result<Request> {
    #[cfg(test)]
    crate::sys::testing::step(crate::sys::testing::Step::Call("submit"))?;
    let kernel = KERNEL.get();
    let queue = kernel.queue.as_ref().ok_or(io::ErrorKind::Unsupported)?;
    let number = kernel.next.fetch_add(1, Ordering::Relaxed);
    let request = Request::default();
    // First, so that whoever fetches its end finds it.
    kernel.asked.lock().insert(number, request.clone());
    queue.submit(file, bytes_alone, number).inspect_err(|_| {
        kernel.asked.lock().remove(&number);
    })?;
    Ok(request)
}

/// Asks the kernel, without waiting, which requests of this process have ended.
pub(crate) fn look() {
    #[cfg(test)]
    if crate::sys::testing::step(crate::sys::testing::Step::Call("look")).is_err() {
        return;
    }
    let kernel = KERNEL.get();
    // Another thread that fetches does this one's work.
    if let Some(_fetching) = kernel.fetching.try_lock() {
        kernel.fetch(0, Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::testing::Child;

    fn file() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        file
    }

    #[test]
    fn a_request_ends_though_its_file_is_closed() {
        let requests: Vec<Request> = (0..40)
            .map(|count| {
                let file = file();
                let request = begin(file.as_fd(), count % 2 == 0).unwrap();
                drop(file);
                request
            })
            .collect();
        requests.iter().for_each(|request| request.wait().unwrap());
    }

    #[test]
    fn threads_that_wait_at_once_all_hear_of_it() {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    (0..20).for_each(|_| {
                        begin(file().as_fd(), true).unwrap().wait().unwrap();
                    })
                });
            }
        });
    }

    #[test]
    fn what_cannot_be_synced_is_refused_at_once() {
        let (reader, _writer) = std::io::pipe().unwrap();
        assert!(begin(reader.as_fd(), true).is_err());
        assert!(!KERNEL.get().asked.lock().contains_key(&u64::MAX));
    }

    #[test]
    fn a_child_makes_its_own_queue() {
        let _parents = begin(file().as_fd(), true).unwrap();
        let of_parent = KERNEL.get().queue.as_ref().unwrap();
        let child = Child::fork(|| {
            of_parent.submit(file().as_fd(), true, 0).is_err()
                && begin(file().as_fd(), true).is_ok_and(|request| request.wait().is_ok())
        });
        assert!(child.succeeded());
        begin(file().as_fd(), true).unwrap().wait().unwrap();
    }

    #[test]
    fn an_error_is_kept() {
        let failed = Request::finished(&Err(io::Error::from_raw_os_error(libc::ENOSPC)));
        assert_eq!(failed.outcome().unwrap().unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        let told = Request::finished(&Err(io::ErrorKind::Other.into()));
        assert_eq!(told.wait().unwrap_err().raw_os_error(), Some(libc::EIO));
        assert!(Request::finished(&Ok(())).outcome().unwrap().is_ok());
    }
}
