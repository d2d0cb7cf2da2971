//! The atomics that every protocol of the crate is written with.
//!
//! They come from `std`, and from `loom` when the tests are built with `--cfg loom`: then every
//! interleaving of a small model is run. Code that is to be modelled takes its atomics from here and
//! from nowhere else, and uses Acquire, Release and Relaxed only, which are what loom can vouch for.

#[cfg(all(test, not(loom)))]
pub(crate) use crate::sys::testing::AtomicU64;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(any(loom, test)))]
pub(crate) use std::sync::atomic::AtomicU64;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering, fence};
