//! What a clear leaves of a log.

use super::stress_tests::{PATIENCE, check, get, open, put};
use crate::store::Store;

/// What a reader that comes anew demands of the state.
fn assert_plausible(store: &Store) {
    let state = store.state();
    assert_eq!(state.drained.segment(), state.first);
    check(store);
}

#[test]
fn a_log_of_several_segments_goes_on_after_clear() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    for round in 0..2 {
        let first = store.state().first;
        (0..3000).for_each(|key| put(&store, key, &[7; 300]));
        assert_eq!(store.write(PATIENCE, |writer| writer.clear()).unwrap(), 3000);
        assert!(store.state().first.since(first) > 1, "{round}");
        assert_plausible(&store);
        put(&store, 1, b"after");
        assert_eq!(store.write(PATIENCE, |writer| writer.clear()).unwrap(), 1);
    }
    put(&store, 2, b"last");
    drop(store);
    let store = open(dir.path(), 1 << 30);
    assert_eq!((get(&store, 1), get(&store, 2)), (None, Some(b"last".to_vec())));
    assert_plausible(&store);
}
