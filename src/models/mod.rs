//! Models: the lock-free protocols, run in every interleaving and with every value that a load may
//! come back with, by loom.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --lib models
//! ```
//!
//! With `--cfg shuttle` besides, shuttle runs the same models, and `storm`, in random interleavings:
//! any number of switches, but every load comes back with what was stored last.
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
//! weakened in the way that stands beside it; `docs/concurrency.md` has the same by the words whose
//! orderings they are, and says of the others why no model can show them:
//!
//! ```text
//! weakened                                               fails
//! publish: slot stored Relaxed                           reading (all)
//! lookup: slot loaded Relaxed                            reading::publish, reading::transaction_*, splitting
//! lookup: geometry loaded Relaxed                        splitting (most)
//! lookup: geometry not looked at again                   splitting (all)
//! lookup: moves loaded Relaxed                           reading::transaction_that_moves_a_key
//! publish: moves stored Relaxed                          reading::transaction_that_moves_a_key
//! publish: link stored Relaxed, or loaded so             splitting::linking_a_bucket
//! split: geometry stored Relaxed                         splitting (most)
//! split: slot emptied Relaxed, or before the geometry    splitting (most)
//! look: `applied` not asked                              reading::transaction_*
//! look: an unreadable pending record is no record        reading::compaction_after_a_transaction
//! is_unchanged, begin_reuse: either fence left out       reading::compaction*, *_that_is_used_again
//! lock: no such fence for each owner                     reading::*_that_is_used_again
//! flip: a word of the block stored or loaded Relaxed     states
//! flip: `applied` stored or loaded Relaxed               states, reading::transaction_*, paging
//! lock: release or acquire Relaxed                       locking (most)
//! lock: a taker that slept leaves no mark of waiters     locking::no_wake_up_is_lost
//! lock: the mark of a dead owner's waiters is dropped    locking::a_sleeper_is_woken_after_a_death
//! lock: the word is taken without proof of death         locking::a_waiter_takes_over
//! promise, promised: either fence left out               promising (all)
//! promise: `tail` not looked at again                    promising (all)
//! promise: `tail` looked at again, then promised         promising (all)
//! promise: less than another one has promised            promising::two_that_sync
//! promised: looked at before `tail` is moved             promising (most)
//! divides: never                                         promising (all)
//! bell: looked at before the bell is, or rung first      waiting (all)
//! bell: rung or loaded Relaxed                           waiting (all)
//! pages: slot of an entry stored Relaxed                 paging::*_used_again, reading::an_entry_*
//! pages: slot of an entry loaded Relaxed                 paging::pages_that_are_used_again
//! pages: hash stored or loaded Relaxed                   paging::a_merged_page_that_is_used_again
//! pages: bitmap stored (three places) or loaded Relaxed  paging::*_used_again
//! pages: first row stored (two) or loaded Relaxed        paging::*_used_again
//! pages: links stored or loaded Relaxed                  paging::first_pages_that_are_merged
//! pages: LIFE begun, ended or loaded Relaxed             paging::*_used_again, paging::first_pages_*
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
#[path = "../store/promise.rs"]
mod promise;
#[path = "../store/state_block.rs"]
mod state_block;

mod locking;
mod log;
mod paging;
mod promising;
mod reading;
mod splitting;
mod states;
#[cfg(shuttle)]
mod storm;
mod waiting;

/// Threads and what they wait for each other with, of whoever runs the models.
mod threads {
    #[cfg(not(shuttle))]
    pub(super) use loom::{
        sync::{Condvar, Mutex, MutexGuard},
        thread,
    };
    #[cfg(shuttle)]
    pub(super) use shuttle::{
        sync::{Condvar, Mutex, MutexGuard},
        thread,
    };
}

/// Runs a model in all interleavings with at most three forced switches.
fn check(model: impl Fn() + Sync + Send + 'static) {
    check_to(3, model);
}

#[cfg(not(shuttle))]
fn check_to(switches: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.max_branches = 100_000;
    builder.check(model);
}

/// Runs a model in so many random interleavings (`SHUTTLE_SCHEDULES`), half of them with few switches.
#[cfg(shuttle)]
fn check_to(switches: usize, model: impl Fn() + Sync + Send + 'static) {
    use shuttle::Runner;
    use shuttle::scheduler::{PctScheduler, RandomScheduler};

    // The same ones each time, unless `SHUTTLE_RANDOM_SEED` says another number.
    const SEED: u64 = 1;
    let schedules = std::env::var("SHUTTLE_SCHEDULES").map_or(1000, |text| text.parse().unwrap());
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 18;
    config.silence_warnings = true;
    let model = std::sync::Arc::new(model);
    let again = std::sync::Arc::clone(&model);
    let few = PctScheduler::new_from_seed(SEED, switches, schedules / 2);
    Runner::new(few, config.clone()).run(move || again());
    Runner::new(RandomScheduler::new_from_seed(SEED, schedules / 2), config).run(move || model());
}
