//! Every operation of `Cache` and `Deque`, and what is promised about it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod basics;
mod bulk;
mod codecs;
mod common;
mod counting;
mod deque;
mod deque_model;
mod expiry;
mod fanout;
mod fanout_limits;
mod fanout_transactions;
mod index;
mod iteration;
mod large;
mod limits;
mod meaning;
mod memoize;
mod messages;
mod once;
mod options;
mod queue_model;
mod queue_rules;
mod queues;
mod recipes;
mod surface;
mod surface_fanout;
mod surface_names;
mod tags;
mod transactions;
mod upkeep;
