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
    if word.compare_exchange(0, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok() {
        return Ok(());
    }
    acquire_contended(kernel, word, me, timeout)
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
