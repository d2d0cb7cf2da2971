//! Waiting for one another without a lost wake-up: bells.
//!
//! A bell is a 32-bit counter in `head` that processes sleep on. What is waited for lies elsewhere,
//! in a record of the store. There are two sides, and each goes by its order:
//!
//! ```text
//! who waits                                   who lets go on
//! 1  seen = bell            Acquire           a  change the record
//! 2  look at the record: over? done           b  bell + 1                Release
//! 3  sleep while the bell is `seen`           c  wake all that sleep on the bell
//! ```
//!
//! If 2 misses the change a, then 1 came before b: a load that sees b sees a. So at 3 the bell is
//! `seen` no more, and the kernel does not let it sleep; or b is still to come, and with it c. The
//! kernel compares and lies down under the lock that c takes.
//!
//! Who is killed between a and b wakes nobody. Therefore every sleep is timed.
//!
//! Several waiters may share a bell; one that is rung for another looks again, and sleeps on.

use std::time::Duration;

use crate::sys::sync::{AtomicU32, Ordering, pause};

/// Looks at the bell before sleeping: about two microseconds.
const SPINS: u32 = if cfg!(loom) { 1 } else { 60 };

/// What bells need from the operating system.
pub(crate) trait Sleepers {
    /// Sleeps while the word is `expected`, for as long as `timeout`.
    fn sleep(&self, word: &AtomicU32, expected: u32, timeout: Duration);
    /// Wakes all that sleep on the word.
    fn wake_all(&self, word: &AtomicU32);
}

/// Looks whether the wait is over. If not, sleeps until the bell is rung, for as long as `timeout`,
/// and gives `None`: look again.
pub(crate) fn look_or_sleep<S: Sleepers, T, E>(
    sleepers: &S,
    bell: &AtomicU32,
    timeout: Duration,
    look: impl FnOnce() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    // ORDERING: Acquire, pairs with `ring`: who sees it rung sees what was changed before.
    let seen = bell.load(Ordering::Acquire);
    let found = look()?;
    if found.is_some() {
        return Ok(found);
    }
    for _ in 0..SPINS {
        if bell.load(Ordering::Relaxed) != seen {
            return Ok(None);
        }
        pause();
    }
    sleepers.sleep(bell, seen, timeout);
    Ok(None)
}

/// Has all that wait on this bell look again. What they wait for has been changed before.
pub(crate) fn ring<S: Sleepers>(sleepers: &S, bell: &AtomicU32) {
    // ORDERING: Release, pairs with `look_or_sleep`.
    bell.fetch_add(1, Ordering::Release);
    sleepers.wake_all(bell);
}
