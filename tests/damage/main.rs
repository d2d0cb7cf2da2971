//! Damaged stores: every bit flipped, files cut, exchanged, replaced and removed.
//!
//! A store holds known values. It is damaged while it is closed, then opened, read, walked over,
//! checked and, in some trials, written to, compacted and repaired. Whatever the damage: never a
//! panic, never a hang, and never a wrong value, but the right one, a miss, or an error that says
//! that something is wrong.
//!
//! `DAMAGE_STRIDE=1 cargo test --release --test damage` flips every single bit; without it, every
//! seventh, which is one or two in each byte. `DAMAGE_SHOW=1` prints each trial before it begins,
//! so that one that ends in a signal can be found.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod bits;
mod every;
mod exact;
mod files;
mod found;
mod look;
mod memory;
mod sample;
mod shapes;
mod trial;
