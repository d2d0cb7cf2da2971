//! Every operation of `Cache`, in any order, against a plain list.
//!
//! A case is a list of operations, as data: `operation`. `run` does each on a cache and on the
//! `reference`, and `compare` reads the cache in every way there is. A list that fails is made
//! smaller before it is shown. `policies` does the same for what is removed under a size limit.
//!
//! The cases are the same with every run; `MODEL_CASES=100000` takes more of them, and
//! `MODEL_SEED` others.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod compare;
mod operation;
mod policies;
mod reference;
mod run;

use std::env;

use quickcheck::{Gen, QuickCheck, Testable};

use operation::Operation;

/// The most operations of a case.
const OPERATIONS: usize = 60;
/// The most writes of a case under a size limit.
const WRITES: usize = 400;

fn number_from(name: &str) -> Option<u64> {
    Some(env::var(name).ok()?.parse().expect("a number"))
}

fn check(cases: u64, size: usize, property: impl Testable) {
    let cases = number_from("MODEL_CASES").unwrap_or(cases);
    let seed = number_from("MODEL_SEED").unwrap_or(1);
    QuickCheck::new()
        .rng(Gen::from_size_and_seed(size, seed))
        .tests(cases)
        .max_tests(cases)
        .quickcheck(property);
}

#[test]
fn a_cache_agrees_with_a_plain_list() {
    fn property(shape: run::Shape, operations: Vec<Operation>) {
        run::run(shape, &operations);
    }
    check(120, OPERATIONS, property as fn(_, _));
}

#[test]
fn what_a_policy_leaves_is_right_and_within_the_limit() {
    fn property(policy: policies::Policy, writes: Vec<policies::Write>) {
        policies::run(policy, &writes);
    }
    check(20, WRITES, property as fn(_, _));
}
