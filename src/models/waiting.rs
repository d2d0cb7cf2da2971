//! Bells: nobody who waits sleeps on when its turn has come.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::bell::{self, Sleepers};
use super::threads::{Condvar, Mutex, thread};
use crate::sys::sync::{AtomicU32, Ordering};

/// An operating system with one futex. Sleeps last until somebody wakes: a lost wake-up is a
/// deadlock, which loom reports.
struct Fake {
    sleepers: Mutex<()>,
    woken: Condvar,
}

impl Sleepers for Fake {
    fn sleep(&self, word: &AtomicU32, expected: u32, _: Duration) {
        let guard = self.sleepers.lock().unwrap();
        if word.load(Ordering::Relaxed) == expected {
            drop(self.woken.wait(guard).unwrap());
        }
    }

    fn wake_all(&self, _: &AtomicU32) {
        drop(self.sleepers.lock().unwrap());
        self.woken.notify_all();
    }
}

/// A bell, and in place of the record whose turn it is. What guards the real record is looked at
/// in `reading`; here its loads and stores are Relaxed, so that the bell has to order them.
struct Shared {
    bell: AtomicU32,
    turn: AtomicU32,
    fake: Fake,
}

impl Shared {
    fn new() -> Arc<Shared> {
        let fake = Fake { sleepers: Mutex::new(()), woken: Condvar::new() };
        Arc::new(Shared { bell: AtomicU32::new(0), turn: AtomicU32::new(0), fake })
    }

    fn wait_for(&self, mine: u32) {
        let look = || {
            let turn = self.turn.load(Ordering::Relaxed);
            Ok::<_, Infallible>((turn >= mine).then_some(()))
        };
        let day = Duration::from_secs(86_400);
        while bell::look_or_sleep(&self.fake, &self.bell, day, look).unwrap().is_none() {}
    }

    fn next(&self, turn: u32) {
        self.turn.store(turn, Ordering::Relaxed);
        bell::ring(&self.fake, &self.bell);
    }
}

/// One waits, another lets it go on.
#[test]
fn who_waits_is_woken() {
    super::check(|| {
        let shared = Shared::new();
        let waiter = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.wait_for(1))
        };
        shared.next(1);
        waiter.join().unwrap();
    });
}

/// Two share a bell: it is rung for the first one, who rings it for the second.
#[test]
fn two_that_share_a_bell_are_woken() {
    super::check_to(2, || {
        let shared = Shared::new();
        let waiters = [1, 2].map(|mine| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.wait_for(mine);
                if mine == 1 {
                    shared.next(2);
                }
            })
        });
        shared.next(1);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
}
