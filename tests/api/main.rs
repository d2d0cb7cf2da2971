//! Every operation of `Cache`, and what is promised about it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod basics;
mod bulk;
mod codecs;
mod common;
mod counting;
mod expiry;
mod iteration;
mod large;
mod limits;
mod memoize;
mod once;
mod options;
mod recipes;
mod tags;
mod transactions;
mod upkeep;
