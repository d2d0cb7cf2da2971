//! Records of holds that nobody writes, behind right sums.

use super::*;
use crate::holds::record::Party;
use crate::store::peers::Peer;

/// Nobody writes such a record; but it would pass for one.
#[test]
fn a_long_queue_of_the_dead_holds_nobody_up() {
    let (_dir, holds) = holds();
    let (store, start) = (holds.store().unwrap(), Instant::now());
    let party = |number: u64| {
        let peer = Peer { slot: 2000, incarnation: number };
        Party { peer, thread: 1, ticket: number }
    };
    let (mut queue, mut bytes) = (Record::new(1), Vec::new());
    queue.hold(party(0));
    queue.waiters.extend((1..200_000).map(party));
    queue.encode(&mut bytes);
    let key = store.hashed(b"name");
    store.write(PATIENCE, |writer| put(writer, key, None, &bytes)).unwrap();
    assert!(!is_taken(&holds) && is_empty(&holds));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
