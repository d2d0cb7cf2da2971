//! The writer lock: one owner at a time, also after an owner has died.

use std::sync::Arc;
use std::time::Duration;

use super::lock::{self, Kernel, Owner};
use super::threads::{Condvar, Mutex, MutexGuard, thread};
use crate::sys::sync::{AtomicU32, Ordering};

const TIMEOUT: Duration = Duration::from_secs(3600);

/// An operating system with one futex, and one slot, number 0, whose owner can die.
struct Fake {
    sleepers: Mutex<()>,
    woken: Condvar,
    /// Whether the slot has no owner; locked by whoever claims it, or proves that it is free.
    slot: Mutex<bool>,
}

/// The lock, what it guards, and the operating system.
struct Store {
    word: AtomicU32,
    fake: Fake,
    /// Writes so far. Relaxed loads and stores: a write is lost unless the lock keeps others out
    /// and makes theirs visible.
    writes: AtomicU32,
    /// Whether a writer died in the middle of a write, which the next one has to finish.
    is_torn: AtomicU32,
    recoveries: AtomicU32,
}

/// How long one process sleeps at a time.
#[derive(Clone, Copy)]
enum Sleep {
    /// Until it is woken.
    UntilWoken,
    /// Not at all: every sleep times out at once.
    Never,
}

/// What one process sees of the operating system.
struct Process<'a>(&'a Fake, Sleep);

impl<'a> Kernel for Process<'a> {
    type Proof = MutexGuard<'a, bool>;

    fn sleep(&self, word: &AtomicU32, expected: u32, _: Duration) -> bool {
        if matches!(self.1, Sleep::Never) {
            thread::yield_now();
            return false;
        }
        let guard = self.0.sleepers.lock().unwrap();
        if word.load(Ordering::Relaxed) == expected {
            drop(self.0.woken.wait(guard).unwrap());
        }
        true
    }

    fn wake(&self, _: &AtomicU32) {
        drop(self.0.sleepers.lock().unwrap());
        self.0.woken.notify_one();
    }

    fn prove_dead(&self, slot: u16) -> Option<Self::Proof> {
        if slot != 0 {
            return None;
        }
        self.0.slot.try_lock().ok().filter(|is_free| **is_free)
    }
}

impl Store {
    fn new() -> Arc<Store> {
        let fake =
            Fake { sleepers: Mutex::new(()), woken: Condvar::new(), slot: Mutex::new(false) };
        Arc::new(Store {
            word: AtomicU32::new(0),
            fake,
            writes: AtomicU32::new(0),
            is_torn: AtomicU32::new(0),
            recoveries: AtomicU32::new(0),
        })
    }

    /// Takes the lock, and finishes what a dead owner has left.
    fn enter(&self, me: Owner, sleep: Sleep) {
        lock::acquire(&Process(&self.fake, sleep), &self.word, me, TIMEOUT).unwrap();
        if self.is_torn.load(Ordering::Relaxed) != 0 {
            add_one(&self.recoveries);
            self.is_torn.store(0, Ordering::Relaxed);
        }
    }

    fn write(&self, me: Owner, sleep: Sleep) {
        self.enter(me, sleep);
        add_one(&self.writes);
        lock::release(&Process(&self.fake, sleep), &self.word);
    }

    /// The owner of slot 0 dies in the middle of a write.
    fn die(&self) {
        let mut is_free = self.fake.slot.lock().unwrap();
        self.enter(Owner::new(0, 1), Sleep::UntilWoken);
        add_one(&self.writes);
        self.is_torn.store(1, Ordering::Relaxed);
        *is_free = true;
    }

    fn counts(&self) -> (u32, u32) {
        (self.writes.load(Ordering::Relaxed), self.recoveries.load(Ordering::Relaxed))
    }
}

fn add_one(count: &AtomicU32) {
    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// Runs `work` in a thread of its own.
fn spawn(store: &Arc<Store>, work: fn(&Store)) -> thread::JoinHandle<()> {
    let store = Arc::clone(store);
    thread::spawn(move || work(&store))
}

/// Three processes that sleep until they are woken: each gets the lock, none sleeps for ever.
#[test]
fn no_wake_up_is_lost() {
    super::check(|| {
        let store = Store::new();
        let others = [
            spawn(&store, |store| store.write(Owner::new(1, 1), Sleep::UntilWoken)),
            spawn(&store, |store| store.write(Owner::new(2, 1), Sleep::UntilWoken)),
        ];
        store.write(Owner::new(3, 1), Sleep::UntilWoken);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(store.counts(), (3, 0));
        assert_eq!(lock::holder(store.word.load(Ordering::Relaxed)), None);
    });
}

/// The owner dies while another waits: the other takes over, or was there first.
#[test]
fn a_waiter_takes_over() {
    super::check(|| {
        let store = Store::new();
        let waiter = spawn(&store, |store| store.write(Owner::new(1, 1), Sleep::Never));
        store.die();
        waiter.join().unwrap();
        let is_torn = store.is_torn.load(Ordering::Relaxed);
        assert_eq!(store.counts(), (2, 1 - is_torn));
    });
}

/// The owner is dead and two wait: one of them takes over, and both get their turn.
#[test]
fn one_of_two_waiters_takes_over() {
    super::check(|| {
        let store = Store::new();
        store.die();
        let waiter = spawn(&store, |store| store.write(Owner::new(1, 1), Sleep::Never));
        store.write(Owner::new(2, 1), Sleep::Never);
        waiter.join().unwrap();
        assert_eq!(store.counts(), (3, 1));
    });
}

/// The owner is dead, and its slot is claimed by a newcomer, while another waits for it to die.
#[test]
fn a_newcomer_in_the_slot_of_the_dead() {
    super::check(|| {
        let store = Store::new();
        store.die();
        let other = spawn(&store, |store| store.write(Owner::new(1, 1), Sleep::Never));
        {
            let mut is_free = store.fake.slot.lock().unwrap();
            *is_free = false;
            store.write(Owner::new(0, 2), Sleep::Never);
            *is_free = true;
        }
        other.join().unwrap();
        assert_eq!(store.counts(), (3, 1));
        assert_eq!(lock::holder(store.word.load(Ordering::Relaxed)), None);
    });
}

/// Five processes that write many times; one of them dies in the middle of a write.
#[cfg(shuttle)]
#[test]
fn a_crowd_with_a_death() {
    super::check_to(5, || {
        let store = Store::new();
        let work: fn(&Store, u16) = |store, slot| {
            // Who only sleeps until it is woken relies on one who asks for the dead.
            let sleep = if slot == 1 { Sleep::Never } else { Sleep::UntilWoken };
            (0..4).for_each(|_| store.write(Owner::new(slot, 1), sleep));
        };
        let others = [1, 2, 3, 4].map(|slot| {
            let store = Arc::clone(&store);
            thread::spawn(move || work(&store, slot))
        });
        store.die();
        store.write(Owner::new(5, 1), Sleep::Never);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(store.counts(), (18, 1));
    });
}

/// A waiter that sleeps until it is woken is woken by who takes over from the dead owner.
#[test]
fn a_sleeper_is_woken_after_a_death() {
    super::check(|| {
        let store = Store::new();
        store.die();
        let sleeper = spawn(&store, |store| store.write(Owner::new(1, 1), Sleep::UntilWoken));
        store.write(Owner::new(2, 1), Sleep::Never);
        sleeper.join().unwrap();
        assert_eq!(store.counts(), (3, 1));
    });
}
