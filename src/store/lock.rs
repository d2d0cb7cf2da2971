//! The writer lock: one word that names its owner, and the kernel's word on who is alive.
//!
//! ```text
//!  31                    11   10   9            0
//! +------------------------+----+----------------+
//! |  incarnation, low bits | wt |  slot + 1      |     0: free
//! +------------------------+----+----------------+
//! ```
//!
//! Free, it is taken by one compare-and-swap and given back by one swap. A taker that finds it held
//! spins for a moment and then sleeps on the word, never longer than [`LONGEST_SLEEP`] at a time.
//! Each time it wakes in vain it asks the kernel whether the owner's slot is locked. When the taker
//! gets that lock itself, the owner is dead and no one else can claim the slot meanwhile; it then
//! swaps the exact word it saw for its own. The incarnation in the word keeps a newcomer in the
//! same slot from passing for the dead one.
//!
//! A process that claims the slot of a dead owner has the same proof in its hands: finding its own
//! slot under another incarnation in the word, it takes over.

use std::time::{Duration, Instant};

use crate::log::writer::begin_reuse;
use crate::sys::sync::{AtomicU32, Ordering, pause};

const SLOT_BITS: u32 = 10;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
const WAITERS: u32 = 1 << SLOT_BITS;
const INCARNATION_SHIFT: u32 = SLOT_BITS + 1;

/// Looks at the word before sleeping on it: about two microseconds.
const SPINS: u32 = if cfg!(loom) { 1 } else { 60 };
const SHORTEST_SLEEP: Duration = Duration::from_millis(2);
/// A dead owner is noticed after this long at the latest.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// What the lock needs from the operating system.
pub(crate) trait Kernel {
    /// While it lives, no process can claim the slot.
    type Proof;
    /// Sleeps while the word is `expected`; false if the time ran out.
    fn sleep(&self, word: &AtomicU32, expected: u32, timeout: Duration) -> bool;
    /// Wakes one sleeper.
    fn wake(&self, word: &AtomicU32);
    /// Proof that the owner of the slot is dead, if it is.
    fn prove_dead(&self, slot: u16) -> Option<Self::Proof>;
}

/// Who takes the lock: a slot in one of its incarnations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner(u32);

impl Owner {
    pub(crate) fn new(slot: u16, incarnation: u64) -> Owner {
        let low = (incarnation as u32) << INCARNATION_SHIFT;
        Owner((u32::from(slot) + 1) & SLOT_MASK | low)
    }

    fn slot_bits(self) -> u32 {
        self.0 & SLOT_MASK
    }
}

/// The slot that holds the lock, if it is held.
pub(crate) fn holder(word: u32) -> Option<u16> {
    (word & SLOT_MASK).checked_sub(1).map(|slot| slot as u16)
}

/// The lock was not to be had in time; held by this slot when last seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TimedOut {
    pub(crate) slot: u16,
}

/// Takes the lock. The caller makes sure that no other thread of its process does so meanwhile.
pub(crate) fn acquire<K: Kernel>(
    kernel: &K,
    word: &AtomicU32,
    me: Owner,
    timeout: Duration,
) -> Result<(), TimedOut> {
    // ORDERING: Acquire, pairs with the Release swap in `release`: all that the last owner stored
    // is visible. A dead owner's stores are visible because the kernel's lock orders them.
    if word.compare_exchange(0, me.0, Ordering::Acquire, Ordering::Relaxed).is_err() {
        acquire_contended(kernel, word, me, timeout)?;
    }
    // Another owner may have begun the segment that this one goes on in.
    begin_reuse();
    Ok(())
}

#[cold]
fn acquire_contended<K: Kernel>(
    kernel: &K,
    word: &AtomicU32,
    me: Owner,
    timeout: Duration,
) -> Result<(), TimedOut> {
    let started = Instant::now();
    let (mut spins, mut nap, mut mine) = (0, SHORTEST_SLEEP, me.0);
    let mut asked = started;
    loop {
        let seen = word.load(Ordering::Relaxed);
        let is_predecessor = seen & SLOT_MASK == me.slot_bits();
        if seen & SLOT_MASK == 0 || is_predecessor {
            // Waiters of a dead owner must be woken by its successor.
            let taken = mine | seen & WAITERS;
            // ORDERING: Acquire, as in `acquire`.
            if word.compare_exchange(seen, taken, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
            continue;
        }
        if spins < SPINS {
            spins += 1;
            pause();
            continue;
        }
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(TimedOut { slot: holder(seen).unwrap_or(0) });
        }
        let waited = seen | WAITERS;
        if seen != waited
            && word.compare_exchange(seen, waited, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            continue;
        }
        // Whoever has slept may not be the only one: it leaves the mark on when it gets the lock.
        mine = me.0 | WAITERS;
        let woken = kernel.sleep(word, waited, nap.min(left));
        // However short the sleeps are, signals included, the kernel is asked now and then.
        if woken && asked.elapsed() < LONGEST_SLEEP {
            spins = 0;
            continue;
        }
        asked = Instant::now();
        nap = (nap * 2).min(LONGEST_SLEEP);
        let Some(slot) = holder(waited) else { continue };
        if let Some(_proof) = kernel.prove_dead(slot) {
            // ORDERING: Relaxed, the dead have released nothing: the kernel's lock, which is the
            // proof, orders all that they stored before this.
            if word.compare_exchange(waited, mine, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
        }
    }
}

/// Gives the lock back.
pub(crate) fn release<K: Kernel>(kernel: &K, word: &AtomicU32) {
    // ORDERING: Release, pairs with the Acquire in `acquire`.
    if word.swap(0, Ordering::Release) & WAITERS != 0 {
        kernel.wake(word);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Sleeps that take no time and find out what was slept on; owners that are dead or not.
    #[derive(Default)]
    struct Fake {
        dead: Option<u16>,
        /// The lock becomes free during the sleep of this number.
        freed_in: Option<u32>,
        /// Sleeps end before their time.
        is_woken: bool,
        asked: Cell<u32>,
        sleeps: Cell<u32>,
        wakes: Cell<u32>,
        longest: Cell<Duration>,
    }

    impl Kernel for Fake {
        type Proof = ();

        fn sleep(&self, word: &AtomicU32, expected: u32, timeout: Duration) -> bool {
            assert_eq!(word.load(Ordering::Relaxed), expected);
            assert_ne!(expected & WAITERS, 0, "nobody would wake it");
            self.sleeps.set(self.sleeps.get() + 1);
            self.longest.set(self.longest.get().max(timeout));
            if self.freed_in == Some(self.sleeps.get()) {
                word.store(0, Ordering::Relaxed);
                return true;
            }
            self.is_woken
        }

        fn wake(&self, _: &AtomicU32) {
            self.wakes.set(self.wakes.get() + 1);
        }

        fn prove_dead(&self, slot: u16) -> Option<()> {
            self.asked.set(self.asked.get() + 1);
            (self.dead == Some(slot)).then_some(())
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    fn held_by(slot: u16, incarnation: u64) -> AtomicU32 {
        AtomicU32::new(Owner::new(slot, incarnation).0)
    }

    #[test]
    fn a_word_names_its_slot_in_every_incarnation() {
        for slot in [0, 1, 512, 1022] {
            for incarnation in [0, 1, 2, (1 << 21) - 1] {
                let word = Owner::new(slot, incarnation).0;
                assert_eq!((holder(word), word & WAITERS), (Some(slot), 0));
                assert_eq!(holder(word | WAITERS), Some(slot));
                assert_ne!(word, Owner::new(slot, incarnation + 1).0);
                assert_eq!(word, Owner::new(slot, incarnation + (1 << 21)).0);
            }
        }
        assert_eq!(holder(0), None);
    }

    #[test]
    fn a_free_lock_costs_no_sleep_and_no_wake() {
        let (kernel, word, me) = (Fake::default(), AtomicU32::new(0), Owner::new(3, 7));
        acquire(&kernel, &word, me, Duration::ZERO).unwrap();
        assert_eq!(word.load(Ordering::Relaxed), me.0);
        release(&kernel, &word);
        let counts = (kernel.sleeps.get(), kernel.wakes.get());
        assert_eq!((word.load(Ordering::Relaxed), counts), (0, (0, 0)));
    }

    #[test]
    fn a_lock_that_is_held_times_out_and_says_by_whom() {
        let (kernel, word) = (Fake::default(), held_by(5, 1));
        let refused = acquire(&kernel, &word, Owner::new(3, 7), Duration::ZERO);
        assert_eq!(refused, Err(TimedOut { slot: 5 }));
        assert_eq!(kernel.sleeps.get(), 0);
        let refused = acquire(&kernel, &word, Owner::new(3, 7), Duration::from_millis(1));
        assert_eq!(refused, Err(TimedOut { slot: 5 }));
        assert!(kernel.sleeps.get() > 0 && kernel.longest.get() <= Duration::from_millis(1));
        // Its owner wakes one when it gives it back, even if there is none any more.
        assert_eq!(word.load(Ordering::Relaxed), Owner::new(5, 1).0 | WAITERS);
        release(&kernel, &word);
        assert_eq!(kernel.wakes.get(), 1);
    }

    #[test]
    fn who_has_slept_wakes_the_next() {
        let kernel = Fake { freed_in: Some(9), ..Fake::default() };
        let (word, me) = (held_by(5, 1), Owner::new(3, 7));
        acquire(&kernel, &word, me, LONG).unwrap();
        assert_eq!((kernel.sleeps.get(), kernel.longest.get()), (9, LONGEST_SLEEP));
        assert_eq!(word.load(Ordering::Relaxed), me.0 | WAITERS);
        release(&kernel, &word);
        assert_eq!(kernel.wakes.get(), 1);
    }

    #[test]
    fn the_lock_of_a_dead_owner_is_taken_over_and_of_no_other() {
        let kernel = Fake { dead: Some(5), ..Fake::default() };
        let me = Owner::new(3, 7);
        let word = held_by(5, 1);
        acquire(&kernel, &word, me, LONG).unwrap();
        assert_eq!((kernel.sleeps.get(), word.load(Ordering::Relaxed)), (1, me.0 | WAITERS));
        let word = held_by(6, 1);
        let refused = acquire(&kernel, &word, me, Duration::from_millis(1));
        assert_eq!(refused, Err(TimedOut { slot: 6 }));
    }

    #[test]
    fn who_is_woken_too_early_asks_the_kernel_only_now_and_then() {
        let kernel = Fake { freed_in: Some(2000), is_woken: true, ..Fake::default() };
        acquire(&kernel, &held_by(5, 1), Owner::new(3, 7), LONG).unwrap();
        assert!(kernel.asked.get() < 1000, "asked {} times in 2000 sleeps", kernel.asked.get());
        let kernel = Fake { freed_in: Some(20), ..Fake::default() };
        acquire(&kernel, &held_by(5, 1), Owner::new(3, 7), LONG).unwrap();
        assert_eq!(kernel.asked.get(), 19, "after each sleep in vain");
    }

    #[test]
    fn a_newcomer_takes_over_from_the_last_owner_of_its_slot() {
        let (kernel, me) = (Fake::default(), Owner::new(5, 2));
        for waiters in [0, WAITERS] {
            let word = AtomicU32::new(Owner::new(5, 1).0 | waiters);
            acquire(&kernel, &word, me, Duration::ZERO).unwrap();
            assert_eq!(word.load(Ordering::Relaxed), me.0 | waiters);
        }
    }
}
