//! Models: the lock-free protocols, run in every interleaving and with every value that a load may
//! come back with, by loom.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --lib models
//! ```
//!
//! What runs is the real code of `table`, `log` and of those parts of `store` that touch no file,
//! over words in plain memory; a model adds only the threads, and the order of steps that
//! `store::apply` and `store::compact` take under the lock. Each is small, has two or three threads
//! and at most three forced switches between them: few switches are enough for most such faults.
//!
//! The writer is the thread that begins, and so is first run to its end: loom remembers only the
//! last access to a word, and would not try a store before a load of another thread if the storing
//! thread has loaded the word in between.
//!
//! A model that cannot fail proves nothing. Each of these was seen to fail when the code was
//! weakened in the way that stands beside it:
//!
//! ```text
//! weakened                                               fails
//! publish: slot stored Relaxed                           reading (all)
//! lookup: slot loaded Relaxed                            reading::publish, reading::transaction_*
//! lookup: geometry not looked at again                   splitting (all)
//! split: slot emptied Relaxed, or before the geometry    splitting (all)
//! look: `applied` not asked                              reading::transaction_*
//! look: an unreadable pending record is no record        reading::compaction_after_a_transaction
//! is_unchanged, begin_reuse: either fence left out       reading::compaction*
//! flip: a word of the block stored Relaxed               states
//! flip: `applied` stored Relaxed                         states, reading::transaction_*
//! lock: release or acquire Relaxed                       locking (most)
//! lock: a taker that slept leaves no mark of waiters     locking::no_wake_up_is_lost
//! lock: the mark of a dead owner's waiters is dropped    locking::a_sleeper_is_woken_after_a_death
//! lock: the word is taken without proof of death         locking::a_waiter_takes_over
//! bell: looked at before the bell is, or rung first      waiting (all)
//! bell: rung or loaded Relaxed                           waiting::who_waits_is_woken
//! pages: LIFE stored before the rest of the page         paging::pages_that_are_used_again
//! pages: a life is not looked at again                   paging::pages_that_are_used_again
//! pages: a life is not ended                             paging::merged_pages_are_over
//! pages: a life that has begun is prepared again         paging::first_pages_that_are_merged_again
//! walk: a dead first page is given up                    paging::a_first_page_that_is_dropped
//! ```

#[path = "../store/bell.rs"]
mod bell;
#[path = "../store/lock.rs"]
mod lock;
#[path = "../store/look.rs"]
mod look;
#[path = "../store/state_block.rs"]
mod state_block;

mod locking;
mod log;
mod paging;
mod reading;
mod splitting;
mod states;
mod waiting;

/// Runs a model in all interleavings with at most three forced switches.
fn check(model: impl Fn() + Sync + Send + 'static) {
    check_to(3, model);
}

fn check_to(switches: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.max_branches = 100_000;
    builder.check(model);
}
