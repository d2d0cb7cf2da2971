//! Is there an order in which a recorded history makes sense?
//!
//! Each operation takes effect at one instant between its beginning and its end, and gives what the
//! object then holds. The search (Wing and Gong 1993, with what was met before remembered, and each
//! operation placed as late as can be, as by Lowe 2017) goes through beginnings and ends in their
//! order and keeps all *situations* that are possible: what the object holds, and which of the
//! operations under way have taken effect. Objects are independent, so each is searched by itself.
//!
//! An operation of a killed process has no result: it may have taken effect or not, until the next
//! write after its death has recovered what it left.

use std::collections::{HashSet, VecDeque};

/// What is asked of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Set(i64),
    Get,
    Delete,
    Add(i64),
    Incr(i64),
    Pop,
    Push(i64),
    Pull,
    /// Both sides, by one transaction.
    SetBoth(i64),
    GetBoth,
}

/// What came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Done,
    Was(bool),
    Value(Option<i64>),
    Both(Option<i64>, Option<i64>),
}

/// What an object holds.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum State {
    One(Option<i64>),
    Queue(VecDeque<i64>),
    Two(Option<i64>, Option<i64>),
}

/// One operation of a history.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) op: Op,
    pub(crate) begin: u64,
    /// When it ended, or when it was certain that it would have no effect any more.
    pub(crate) end: u64,
    /// None for an operation of a killed process.
    pub(crate) outcome: Option<Outcome>,
}

/// Most operations under way at a time, those of killed processes included.
const SLOTS: usize = 64;

fn apply(state: &State, op: Op) -> (State, Outcome) {
    match (state, op) {
        (State::One(_), Op::Set(value)) => (State::One(Some(value)), Outcome::Done),
        (State::One(value), Op::Get) => (state.clone(), Outcome::Value(*value)),
        (State::One(value), Op::Delete) => (State::One(None), Outcome::Was(value.is_some())),
        (State::One(None), Op::Add(value)) => (State::One(Some(value)), Outcome::Was(true)),
        (State::One(_), Op::Add(_)) => (state.clone(), Outcome::Was(false)),
        (State::One(value), Op::Incr(by)) => {
            let next = value.unwrap_or(0) + by;
            (State::One(Some(next)), Outcome::Value(Some(next)))
        }
        (State::One(value), Op::Pop) => (State::One(None), Outcome::Value(*value)),
        (State::Queue(items), Op::Push(value)) => {
            let mut items = items.clone();
            items.push_back(value);
            (State::Queue(items), Outcome::Done)
        }
        (State::Queue(items), Op::Pull) => {
            let mut items = items.clone();
            let first = items.pop_front();
            (State::Queue(items), Outcome::Value(first))
        }
        (State::Two(..), Op::SetBoth(value)) => {
            (State::Two(Some(value), Some(value)), Outcome::Done)
        }
        (State::Two(one, other), Op::GetBoth) => (state.clone(), Outcome::Both(*one, *other)),
        (state, op) => panic!("{op:?} is none of {state:?}"),
    }
}

/// A situation: what the object holds, and the operations under way that have taken effect.
type Situation = (State, u64);

/// Whether the history makes sense; if not, the operation at whose end nothing is possible any more.
pub(crate) fn check(initial: &State, may_vanish: bool, calls: &[Call]) -> Result<(), Call> {
    let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * calls.len());
    for (index, call) in calls.iter().enumerate() {
        assert!(call.begin <= call.end);
        events.push((call.begin, false, index));
        events.push((call.end, true, index));
    }
    // At the same instant beginnings come first: the operations overlap.
    events.sort_unstable();
    let mut slots: [Option<usize>; SLOTS] = [None; SLOTS];
    let mut situations: HashSet<Situation> = HashSet::from([(initial.clone(), 0)]);
    for (_, is_end, index) in events {
        if !is_end {
            let free = slots.iter().position(Option::is_none).expect("too many at a time");
            slots[free] = Some(index);
            continue;
        }
        let slot = slots.iter().position(|it| *it == Some(index)).expect("it has begun");
        situations = after_end(situations, &slots, slot, may_vanish, calls);
        slots[slot] = None;
        if situations.is_empty() {
            return Err(calls[index].clone());
        }
    }
    Ok(())
}

/// The situations in which the operation in `slot` can have ended.
fn after_end(
    situations: HashSet<Situation>,
    slots: &[Option<usize>; SLOTS],
    slot: usize,
    may_vanish: bool,
    calls: &[Call],
) -> HashSet<Situation> {
    let bit = 1u64 << slot;
    let is_killed = slots[slot].is_some_and(|index| calls[index].outcome.is_none());
    let (mut met, mut found) = (HashSet::new(), HashSet::new());
    let mut waiting: Vec<Situation> = situations.into_iter().collect();
    while let Some((state, done)) = waiting.pop() {
        if !met.insert((state.clone(), done)) {
            continue;
        }
        if done & bit != 0 || is_killed {
            found.insert((state.clone(), done & !bit));
        }
        if done & bit != 0 {
            continue;
        }
        if may_vanish && state != State::One(None) {
            waiting.push((State::One(None), done));
        }
        for (other, index) in slots.iter().enumerate() {
            let Some(call) = index.map(|index| &calls[index]) else { continue };
            if done >> other & 1 != 0 {
                continue;
            }
            let (next, outcome) = apply(&state, call.op);
            if call.outcome.is_none_or(|it| it == outcome) {
                waiting.push((next, done | 1 << other));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(begin: u64, end: u64, op: Op, outcome: Outcome) -> Call {
        Call { op, begin, end, outcome: Some(outcome) }
    }

    fn is_possible(initial: State, calls: &[Call]) -> bool {
        check(&initial, false, calls).is_ok()
    }

    #[test]
    fn an_order_is_found_if_there_is_one_and_none_is_made_up() {
        let one = |value| Outcome::Value(Some(value));
        let set = call(0, 10, Op::Set(1), Outcome::Done);
        let empty = || State::One(None);
        // Read while it is set: either; then never the old one again.
        let early = call(2, 3, Op::Get, Outcome::Value(None));
        let late = call(4, 5, Op::Get, one(1));
        assert!(is_possible(empty(), &[set.clone(), early.clone(), late.clone()]));
        let back = call(6, 7, Op::Get, Outcome::Value(None));
        assert!(!is_possible(empty(), &[set.clone(), late, back.clone()]));
        // After the end it is there.
        let after = call(11, 12, Op::Get, Outcome::Value(None));
        assert!(!is_possible(empty(), &[set.clone(), after.clone()]));
        assert!(check(&empty(), true, &[set, after]).is_ok(), "it may have been evicted");
        // A lost update, and one that counts.
        let twice =
            |second| [call(0, 5, Op::Incr(1), one(1)), call(1, 6, Op::Incr(1), one(second))];
        assert!(is_possible(empty(), &twice(2)));
        assert!(!is_possible(empty(), &twice(1)));
        // Of two that add at once, one does.
        let adds = |second| {
            let add = |value, was| call(0, 5, Op::Add(value), Outcome::Was(was));
            [add(1, true), add(2, second), call(6, 7, Op::Pop, one(1))]
        };
        assert!(is_possible(empty(), &adds(false)));
        assert!(!is_possible(empty(), &adds(true)));
    }

    #[test]
    fn what_a_killed_process_did_happened_before_it_was_recovered_or_never() {
        let killed = Call { op: Op::Set(1), begin: 0, end: 10, outcome: None };
        let get = |at, value| call(at, at + 1, Op::Get, Outcome::Value(value));
        let empty = || State::One(None);
        for (calls, expected) in [
            (vec![get(3, None), get(5, Some(1)), get(12, Some(1))], true),
            (vec![get(3, None), get(12, None)], true),
            (vec![get(3, Some(1)), get(5, None)], false),
            (vec![get(12, None), get(14, Some(1))], false),
        ] {
            let all: Vec<Call> = calls.into_iter().chain([killed.clone()]).collect();
            assert_eq!(is_possible(empty(), &all), expected, "{all:?}");
        }
    }

    #[test]
    fn queues_are_first_in_first_out_and_transactions_whole() {
        let push = |at, value| call(at, at + 1, Op::Push(value), Outcome::Done);
        let pull = |at, value| call(at, at + 1, Op::Pull, Outcome::Value(value));
        let queue = || State::Queue(VecDeque::new());
        let fair = [push(0, 1), push(2, 2), pull(4, Some(1)), pull(6, Some(2)), pull(8, None)];
        assert!(is_possible(queue(), &fair));
        assert!(!is_possible(queue(), &[push(0, 1), push(2, 2), pull(4, Some(2))]));
        assert!(!is_possible(queue(), &[push(0, 1), pull(2, Some(1)), pull(4, Some(1))]));
        assert!(!is_possible(queue(), &[push(0, 1), pull(2, None)]));
        let two = || State::Two(None, None);
        let set = call(0, 9, Op::SetBoth(1), Outcome::Done);
        let both = |one, other| call(2, 3, Op::GetBoth, Outcome::Both(one, other));
        assert!(is_possible(two(), &[set.clone(), both(Some(1), Some(1))]));
        assert!(is_possible(two(), &[set.clone(), both(None, None)]));
        assert!(!is_possible(two(), &[set, both(Some(1), None)]));
    }
}
