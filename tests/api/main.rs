//! Every operation of `Cache` and `Deque`, and what is promised about it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod basics;
mod bulk;
mod common;
mod counting;
mod deque;
mod expiry;
mod iteration;
mod large;
mod limits;
mod options;
mod queues;
mod tags;
mod transactions;
mod upkeep;
