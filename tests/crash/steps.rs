//! Killed after every single instruction, and the recovery killed in the same way.

use std::path::Path;

use crate::contents::{Contents, assert_sound};
use crate::operations::{Operation, Reach, Start, operations};
use crate::picture::{Camera, Picture, put_back};
use crate::tracer::{At, Tracee};
use crate::victim::{RECOVERY, Victim};
use crate::{asked, open, place};

/// What there was at one instant, and how many calls had been acknowledged by then.
struct State {
    picture: Picture,
    done: usize,
}

/// What a victim went through.
struct Course {
    instructions: u64,
    /// A state for each instruction that changed a file.
    states: Vec<State>,
}

/// Steps through all of a victim's calls. Nobody else may have the cache open.
fn course(victim: &mut Victim, directory: &Path) -> Option<Course> {
    let tracee = Tracee::begin(victim)?;
    let mut camera = Camera::new(directory);
    let picture = camera.last().clone();
    let mut course = Course { instructions: 0, states: vec![State { picture, done: 0 }] };
    let mut done = 0;
    loop {
        let call = tracee.next_instruction();
        if call.is_some_and(|call| call.is_end()) {
            return Some(course);
        }
        assert_eq!(tracee.step(), At::Instruction, "the victim ended by itself");
        course.instructions += 1;
        let has_said = call.is_some_and(|call| call.is_said());
        done += usize::from(has_said);
        let has_changed = if call.is_some() { camera.look_around() } else { camera.look() };
        if has_changed || has_said {
            course.states.push(State { picture: camera.last().clone(), done });
        }
    }
}

/// Opens a state as the next process would, which must find it sound; how many calls it holds.
fn recovered(state: &State, directory: &Path, of: Of<'_>) -> usize {
    put_back(&state.picture, directory);
    assert_sound(&open(directory), of.states, state.done, of.operation)
}

/// An operation, and what there is after each of its calls.
#[derive(Clone, Copy)]
struct Of<'a> {
    operation: &'a Operation,
    states: &'a [Contents],
}

/// Recovers every `stride`th state of the operation.
fn stepped_through(operation: &Operation, stride: usize) -> Option<(u64, usize)> {
    let states = operation.states();
    let (_place, directory) = place();
    drop(operation.prepared(&directory));
    let mut victim = Victim::start(operation.name, &directory);
    let course = course(&mut victim, &directory)?;
    drop(victim);
    let mut recoveries = 0;
    for (number, state) in course.states.iter().enumerate().step_by(stride) {
        let look = || recovered(state, &directory, Of { operation, states: &states });
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look));
        assert!(found.is_ok(), "killed at change {number} of {}", operation.name);
        recoveries += 1;
    }
    Some((course.instructions, recoveries))
}

#[test]
fn killed_after_any_instruction_an_operation_has_happened_or_not() {
    let is_long = asked("CRASH_INSTRUCTIONS", 0) != 0;
    let (mut instructions, mut recoveries) = (0, 0);
    let wanted: fn(&Operation) -> bool =
        if is_long { |it| it.start != Start::Opening } else { |it| it.start == Start::Warm };
    for operation in operations(wanted) {
        let stride = asked("CRASH_STATE_STRIDE", 1) as usize;
        let Some((steps, opened)) = stepped_through(operation, stride) else { return };
        println!("{}: {steps} instructions, {opened} states", operation.name);
        instructions += steps;
        recoveries += opened;
    }
    println!("{instructions} instructions and {recoveries} states in all");
}

/// So many of them, evenly.
fn chosen(states: &[State], samples: usize) -> impl Iterator<Item = &State> {
    let stride = (states.len() / samples).max(1);
    states.iter().skip(stride / 2).step_by(stride)
}

/// Kills the recovery of a state after each of its instructions, and then the recovery of what that
/// leaves, `depth` deep. Deeper down, some states are chosen of each course.
fn killed_again(state: &State, directory: &Path, of: Of<'_>, depth: usize) -> Option<usize> {
    put_back(&state.picture, directory);
    let mut victim = Victim::start(RECOVERY, directory);
    let mut course = course(&mut victim, directory)?;
    drop(victim);
    // Nothing that the recovery says is about the operation.
    course.states.iter_mut().for_each(|later| later.done = state.done);
    for later in &course.states {
        recovered(later, directory, of);
    }
    let mut recoveries = course.states.len();
    if depth > 1 {
        for later in chosen(&course.states, samples()) {
            recoveries += killed_again(later, directory, of, depth - 1)?;
        }
    }
    Some(recoveries)
}

fn samples() -> usize {
    asked("CRASH_SAMPLES", 1) as usize
}

#[test]
fn a_recovery_that_is_killed_is_recovered_from() {
    const DEPTH: usize = 3;
    let is_long = asked("CRASH_INSTRUCTIONS", 0) != 0;
    let mut all = 0;
    let wanted: fn(&Operation) -> bool = match is_long {
        true => |it| it.start == Start::Open && it.reach == Reach::Whole,
        false => |it| it.name == "warm pull",
    };
    for operation in operations(wanted) {
        let states = operation.states();
        let of = Of { operation, states: &states };
        let (_place, directory) = place();
        drop(operation.prepared(&directory));
        let mut victim = Victim::start(operation.name, &directory);
        let Some(course) = course(&mut victim, &directory) else { return };
        drop(victim);
        // Those after which there is something to do: it is committed, and not acknowledged. Of what
        // leaves the contents as they are, any.
        let is_committed = |state: &State| recovered(state, &directory, of) > state.done;
        let (mut begun, others): (Vec<State>, Vec<State>) =
            course.states.into_iter().partition(is_committed);
        if begun.is_empty() {
            begun = others;
        }
        let mut recoveries = 0;
        for state in chosen(&begun, samples()) {
            let Some(more) = killed_again(state, &directory, of, DEPTH) else { return };
            recoveries += more;
        }
        println!("{}: {recoveries} states of recoveries", operation.name);
        all += recoveries;
    }
    println!("{all} in all");
}
