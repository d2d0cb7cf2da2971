//! Holds that could not be given back.

use super::*;

/// For want of descriptors, say: another process has begun a segment that this one has to map.
#[test]
fn what_could_not_be_given_back_is_given_back_with_the_next_use() {
    let (_dir, holds) = holds();
    let (hold, again) = (acquired(&holds), Ask { is_reentrant: true, ..ask(1, PATIENCE) });
    let inner = held(holds.acquire(&again).unwrap());
    let use_up = || {
        let turn = |number: u32| {
            let name = &number.to_le_bytes()[..];
            let hold = held(holds.acquire(&Ask { name, ..ask(1, PATIENCE) }).unwrap());
            holds.release(&hold, Release::HandOver).unwrap()
        };
        (0..2000).all(turn)
    };
    let refused = |step: Step| match step {
        Step::Call("open") => Err(std::io::Error::from_raw_os_error(libc::EMFILE)),
        _ => Ok(()),
    };
    let fails = |hold| watch(refused, || holds.release(hold, Release::HandOver)).is_err();
    assert!(Child::fork(use_up).succeeded());
    assert!(fails(&inner) && fails(&hold));
    assert_eq!(record(&holds).unwrap().holders[0].times, 2);
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(!is_taken(&holds)));
    });
    assert!(is_empty(&holds));
    assert!(!holds.release(&hold, Release::HandOver).unwrap());
}
