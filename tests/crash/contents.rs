//! What a cache holds, and what it may hold after a kill.

use std::collections::BTreeMap;

use firncache::{Cache, ErrorKind, Key};

use crate::operations::{Operation, Reach};

/// Keys of the peers that look on, which are no part of what is compared.
pub(crate) const PEER: &str = "peer";

pub(crate) type Contents = BTreeMap<String, Vec<u8>>;

/// All keys that have a value, and the values.
pub(crate) fn contents(cache: &Cache) -> Contents {
    let mut all = Contents::new();
    for key in cache.iter() {
        let key = key.unwrap();
        if matches!(&key, Key::Text(text) if text.starts_with(PEER)) {
            continue;
        }
        if let Some(value) = value(cache, &key) {
            assert!(all.insert(format!("{key:?}"), value).is_none(), "{key:?} comes twice");
        }
    }
    all
}

fn value(cache: &Cache, key: &Key) -> Option<Vec<u8>> {
    match cache.get_bytes(key) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::Codec => {
            cache.get::<i64>(key).unwrap().map(|number| number.to_string().into_bytes())
        }
        Err(error) => panic!("{error}"),
    }
}

/// Panics unless the cache holds what it held after `done` calls of the operation, or after one
/// more. Which of them it is, or `done` where it is some of each.
#[track_caller]
pub(crate) fn assert_before_or_after(
    found: &Contents,
    states: &[Contents],
    done: usize,
    operation: &Operation,
) -> usize {
    let is_first = operation.reach == Reach::Removals;
    let before = &states[if is_first { 0 } else { done }];
    let after = states.get(done + 1).unwrap_or(before);
    if found == before {
        return done;
    }
    if found == after {
        return done + 1;
    }
    let is_either = |key: &String| {
        let is_gone = operation.reach == Reach::Removals && !found.contains_key(key);
        is_gone || found.get(key) == before.get(key) || found.get(key) == after.get(key)
    };
    let wrong: Vec<_> = before
        .keys()
        .chain(after.keys())
        .chain(found.keys())
        .filter(|key| !is_either(key))
        .collect();
    assert!(wrong.is_empty(), "neither before nor after call {done}: {wrong:?}");
    assert!(operation.reach != Reach::Whole, "a part of call {done} is there, and a part is not");
    done
}

/// What a cache must be for whoever comes after a kill: one state or the other, in order, and ready
/// for more. Comes back with which state it was.
#[track_caller]
pub(crate) fn assert_sound(
    cache: &Cache,
    states: &[Contents],
    done: usize,
    operation: &Operation,
) -> usize {
    let found = contents(cache);
    let which = assert_before_or_after(&found, states, done, operation);
    cache.set(PEER, &done).unwrap();
    assert_eq!(cache.get::<usize>(PEER).unwrap(), Some(done));
    let report = cache.check().unwrap();
    assert!(report.is_clean(), "{report}");
    // What was committed and not seen yet is seen once somebody has taken the lock; nothing else is.
    let last = assert_before_or_after(&contents(cache), states, done, operation);
    assert!(last >= which, "what was there has gone with the recovery");
    assert!(cache.delete(PEER).unwrap());
    (operation.then)(cache);
    last
}
