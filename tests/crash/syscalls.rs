//! Killed at every call of the operating system, with a living peer.

use std::time::Duration;

use firncache::{Cache, ErrorKind};

use crate::contents::{Contents, PEER, assert_before_or_after, assert_sound, contents};
use crate::operations::{Operation, Start, operations};
use crate::tracer::{At, Tracee};
use crate::victim::{Victim, names};
use crate::{asked, open, options, place};

/// What a peer meets while the victim stands still, perhaps with the lock.
fn look_on(peer: &Cache, states: &[Contents], done: usize, operation: &Operation, victim: u32) {
    assert_before_or_after(&contents(peer), states, done, operation);
    let hasty = options().timeout(Duration::ZERO).open(peer.directory()).unwrap();
    if let Err(error) = hasty.set(PEER, &done) {
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(names(&error, victim), "{error} does not name {victim}");
    }
}

/// Kills a victim at the call with this number; false if it makes fewer.
fn killed_at(operation: &Operation, states: &[Contents], nth: usize) -> Option<bool> {
    let (_place, directory) = place();
    let peer = operation.prepared(&directory);
    let mut victim = Victim::start(operation.name, &directory);
    let tracee = Tracee::begin(&mut victim)?;
    let (mut count, mut said) = (0, 0);
    loop {
        let At::Call(call) = tracee.to_call() else { panic!("the victim ended by itself") };
        if call.is_end() {
            tracee.kill();
            return Some(false);
        }
        if call.is_said() {
            said += 1;
        } else if count == nth {
            break;
        } else {
            count += 1;
        }
        assert!(tracee.over_call());
    }
    if let Some(peer) = &peer {
        look_on(peer, states, said, operation, victim.id());
    }
    tracee.kill();
    let (_, told) = victim.end();
    assert_eq!((told.done, told.failed), (said, None));
    let peer = peer.unwrap_or_else(|| open(&directory));
    assert_sound(&peer, states, said, operation);
    drop(peer);
    assert_sound(&open(&directory), states, said, operation);
    Some(true)
}

/// Kills at every call of an operation, or at every `stride`th.
fn killed_in(operation: &Operation, stride: usize) -> Option<usize> {
    let states = operation.states();
    let mut kills = 0;
    for nth in (0..).step_by(stride) {
        let look = || killed_at(operation, &states, nth);
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look));
        let Ok(done) = done else { panic!("killed at call {nth} of {}", operation.name) };
        if !done? {
            break;
        }
        kills += 1;
    }
    assert!(kills > 0, "{} makes no call", operation.name);
    Some(kills)
}

#[test]
fn killed_at_any_call_every_operation_has_happened_or_not() {
    let stride = asked("CRASH_STRIDE", 1) as usize;
    let mut all = 0;
    for operation in operations(|it| it.start != Start::Warm) {
        let Some(kills) = killed_in(operation, stride) else { return };
        println!("{}: {kills} kills", operation.name);
        all += kills;
    }
    println!("{all} kills in all");
}
