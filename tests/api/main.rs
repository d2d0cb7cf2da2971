//! Every operation of `Cache`, and what is promised about it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod basics;
mod bulk;
mod common;
mod counting;
mod expiry;
mod fanout;
mod fanout_limits;
mod fanout_transactions;
mod index;
mod iteration;
mod large;
mod limits;
mod options;
mod tags;
mod transactions;
mod upkeep;
