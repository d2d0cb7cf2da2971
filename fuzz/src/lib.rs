//! What the targets share: a store in memory, and what an input may do to its files.

pub mod change;
pub mod disk;
pub mod sample;
