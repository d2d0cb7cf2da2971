//! A page that takes long to make, and the longer the more do so.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the database is busy for one page.
const WORK: Duration = Duration::from_millis(150);
/// How many connections to the database there are. Who gets none waits.
const CONNECTIONS: u32 = 4;

/// The page, and when it was made.
#[derive(Default)]
pub(crate) struct Page {
    /// How many connections are in use.
    busy: Mutex<u32>,
    free: Condvar,
    made: Mutex<Vec<Making>>,
}

/// When somebody began to make the page, and when it was done.
#[derive(Clone, Copy)]
pub(crate) struct Making {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

impl Page {
    pub(crate) fn make(&self) -> String {
        let began = Instant::now();
        self.connect();
        std::thread::sleep(WORK);
        self.disconnect();
        let html = format!("<html>{}</html>", "news ".repeat(2000));
        let making = Making { began, ended: Instant::now() };
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(making);
        html
    }

    fn connect(&self) {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |busy: &mut u32| *busy == CONNECTIONS;
        let waited = self.free.wait_while(busy, is_full);
        *waited.unwrap_or_else(PoisonError::into_inner) += 1;
    }

    fn disconnect(&self) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.free.notify_one();
    }

    /// All that was made since this was asked last.
    pub(crate) fn take_made(&self) -> Vec<Making> {
        std::mem::take(&mut self.made.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
