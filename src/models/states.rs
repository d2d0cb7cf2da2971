//! The state blocks.

use std::sync::Arc;

use super::threads::thread;
use super::{check, state_block};
use crate::format::head::{APPLIED, BLOCKS};
use crate::format::location::Location;
use crate::format::state::Applied;
use crate::sys::sync::{AtomicU64, Ordering};

/// A reader gets the words of one flip, and the position that belongs to them.
#[test]
fn a_state_is_of_one_flip() {
    fn location(of: u64) -> Location {
        Location::from_bits(8 + of)
    }
    check(|| {
        let head: Arc<Vec<_>> = Arc::new((0..BLOCKS[1] + 2).map(|_| AtomicU64::new(0)).collect());
        head[APPLIED].store(Applied::new(location(0), 0).0, Ordering::Release);
        let reading = {
            let head = Arc::clone(&head);
            thread::spawn(move || {
                let mut last = 0;
                for _ in 0..2 {
                    let (applied, [of, more]) = state_block::read(&head);
                    assert_eq!((applied.location(), more), (location(of), 10 * of));
                    assert!(of >= last);
                    last = of;
                }
            })
        };
        let mut applied = state_block::applied(&head);
        for of in 1..4 {
            applied = state_block::flip(&head, applied, location(of), [of, 10 * of]);
        }
        reading.join().unwrap();
    });
}
