//! The other processes of a store: who they are, whether they live, and waiting for them.
//!
//! A process is known by its slot and the incarnation of it, which it claims at its first write.
//! That pair is never given again, so it can be kept in records. `holds` is built upon this.

use std::hash::Hasher;
use std::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::error::Result;
use crate::store::bell::{self, Sleepers};
use crate::store::{Store, Writer};
use crate::sys::liveness;
use crate::sys::raw::{futex_wait, futex_wake};
use crate::sys::sync::AtomicU32;

/// A process that has written to a store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Peer {
    pub(crate) slot: u16,
    pub(crate) incarnation: u64,
}

/// The sleepers of the kernel.
struct Futex;

impl Sleepers for Futex {
    fn sleep(&self, word: &AtomicU32, expected: u32, timeout: Duration) {
        // An error is treated like a sleep that ended: the caller looks again.
        let _ = futex_wait(word, expected, timeout);
    }

    fn wake_all(&self, word: &AtomicU32) {
        futex_wake(word, i32::MAX as u32);
    }
}

impl Writer<'_> {
    /// This process, as the others know it.
    pub(crate) fn peer(&self) -> Peer {
        let (slot, incarnation) = self.session.identity();
        Peer { slot, incarnation }
    }
}

impl Store {
    /// Whether a process is dead for certain, and will never come again. A death may be missed for
    /// a moment: ask again. Costs a few system calls.
    pub(crate) fn is_over(&self, peer: Peer) -> bool {
        liveness::is_over(&self.0.dir, peer.slot, peer.incarnation).unwrap_or(false)
    }

    /// The process number that the last owner of a slot left, for messages.
    pub(crate) fn process_number(&self, peer: Peer) -> Option<u32> {
        liveness::owner_pid(&self.0.dir, peer.slot)
    }

    /// Looks whether a wait is over. If not, sleeps until the bell of this number is rung, for as
    /// long as `timeout`, and gives `None`: look again.
    pub(crate) fn look_or_sleep<T>(
        &self,
        number: u64,
        timeout: Duration,
        look: impl FnOnce() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        match self.0.head.bell(number) {
            Some(bell) => bell::look_or_sleep(&Futex, bell, timeout, look),
            // Read-only: there is nobody to wait for, as nothing can be written.
            None => look(),
        }
    }

    /// Has those look again that wait on the bell of this number.
    pub(crate) fn ring(&self, number: u64) {
        if let Some(bell) = self.0.head.bell(number) {
            bell::ring(&Futex, bell);
        }
    }

    /// A digest of 256 bits, by the random key of this store: SipHash-2-4 (Aumasson and Bernstein
    /// 2012) in its 128-bit form, twice, under different keys.
    pub(crate) fn digest(&self, bytes: &[u8]) -> [u8; 32] {
        const OTHER: u64 = 0x9e37_79b9_7f4a_7c15;
        let [first, second] = self.0.identity.hash_key;
        let mut digest = [0; 32];
        for (half, change) in digest.chunks_exact_mut(16).zip([0, OTHER]) {
            let mut hasher = SipHasher24::new_with_keys(first ^ change, second ^ change);
            hasher.write(bytes);
            half.copy_from_slice(&hasher.finish128().as_u128().to_le_bytes());
        }
        digest
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::store::stress_tests::{PATIENCE, open};
    use crate::sys::sync::Ordering;

    #[test]
    fn digests_tell_bytes_and_stores_apart() {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [store, other] = dirs.each_ref().map(|dir| open(dir.path(), 1 << 30));
        let digest = store.digest(b"one");
        assert_eq!(store.digest(b"one"), digest);
        assert_ne!(digest[..16], digest[16..]);
        let [first, second] = store.0.identity.hash_key;
        let whole_key = SipHasher24::new_with_keys(first, second).hash(b"one");
        assert_eq!(digest[..16], whole_key.as_u128().to_le_bytes());
        for another in [store.digest(b"two"), other.digest(b"one")] {
            let is_other = |(left, right): (&[u8], &[u8])| left != right;
            assert!(digest.chunks(16).zip(another.chunks(16)).all(is_other));
        }
    }

    #[test]
    fn who_waits_sleeps_until_the_bell_is_rung() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 1 << 30);
        let (looked, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let look = || {
                    looked.store(true, Ordering::Release);
                    Ok(None::<()>)
                };
                let found = store.look_or_sleep(7, PATIENCE, look).unwrap();
                is_over.store(true, Ordering::Release);
                found
            });
            while !looked.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(20));
            assert!(!is_over.load(Ordering::Acquire), "nobody has rung");
            store.ring(7);
            assert_eq!(waiter.join().unwrap(), None);
        });
    }
}
