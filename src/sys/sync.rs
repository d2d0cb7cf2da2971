//! The atomics that every protocol of the crate is written with.
//!
//! They come from `std`, and from `loom` when the tests are built with `--cfg loom`: then every
//! interleaving of a small model is run. Code that is to be modelled takes its atomics from here and
//! from nowhere else, and uses Acquire, Release and Relaxed only, and SeqCst for fences, which are what loom
//! can vouch for.
//! With `--cfg shuttle` besides they come from `shuttle`: the same models, and larger ones, in random
//! interleavings.

#[cfg(all(test, not(loom)))]
pub(crate) use crate::sys::testing::AtomicU64;
#[cfg(all(loom, not(shuttle)))]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(any(loom, test)))]
pub(crate) use std::sync::atomic::AtomicU64;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering, fence};

/// A moment in a loop that waits for others.
#[inline]
pub(crate) fn pause() {
    #[cfg(all(loom, not(shuttle)))]
    loom::thread::yield_now();
    #[cfg(shuttle)]
    shuttle::thread::yield_now();
    #[cfg(not(loom))]
    std::hint::spin_loop();
}
