//! Queues of several threads and processes.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::error::ErrorKind;
use crate::holds::Holds;
use crate::holds::queue::{Answer, Ask, Hold, Release, put};
use crate::holds::record::Record;
use crate::holds::turns::Rate;
use crate::store::Writer;
use crate::sys::file::Dir;
use crate::sys::testing::{Child, Step, watch};
use crate::sys::trust;

mod hostile;
mod owed;

/// Longer than anything here takes, unless it waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

fn holds() -> (TempDir, Holds) {
    let dir = tempfile::tempdir().unwrap();
    let holds = holds_in(dir.path());
    (dir, holds)
}

fn holds_in(path: &Path) -> Holds {
    Holds::new(Arc::new(Dir::open(path).unwrap()), true)
}

fn ask(limit: u32, patience: Duration) -> Ask<'static> {
    let patience = Some(patience);
    Ask { name: b"name", limit, is_reentrant: false, patience, timeout: PATIENCE }
}

fn held(answer: Answer) -> Hold {
    match answer {
        Answer::Held(hold) => hold,
        Answer::Taken(process) => panic!("taken by {process:?}"),
        Answer::Own => panic!("taken by this thread"),
        Answer::Dismissed => panic!("dismissed"),
    }
}

fn acquired(holds: &Holds) -> Hold {
    held(holds.acquire(&ask(1, PATIENCE)).unwrap())
}

fn is_taken(holds: &Holds) -> bool {
    match holds.acquire(&ask(1, Duration::ZERO)).unwrap() {
        Answer::Taken(_) => true,
        other => !holds.release(&held(other), Release::HandOver).unwrap(),
    }
}

/// Whether nothing is stored.
fn is_empty(holds: &Holds) -> bool {
    holds.store().unwrap().state().len == 0
}

fn record(holds: &Holds) -> Option<Record> {
    let (store, mut bytes) = (holds.store().unwrap(), Vec::new());
    store.get(store.hashed(b"name"), None, &mut bytes).unwrap()?;
    Record::decode(&bytes)
}

fn await_waiters(holds: &Holds, count: usize) {
    let start = Instant::now();
    while record(holds).is_none_or(|record| record.waiters.len() != count) {
        assert!(start.elapsed() < PATIENCE, "no {count} in the queue: {:?}", record(holds));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A child that takes the name, or waits for it, and then does nothing more.
fn child(holds: &Holds) -> Child {
    let parties = || record(holds).map_or(0, |it| it.holders.len() + it.waiters.len());
    let (start, before) = (Instant::now(), parties());
    let child = Child::fork(|| {
        let _hold = acquired(holds);
        loop {
            std::thread::park();
        }
    });
    while parties() == before {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

#[test]
fn the_queue_is_served_in_order_and_nothing_is_left() {
    let (_dir, holds) = holds();
    let (went, order): (Sender<usize>, Receiver<usize>) = channel();
    std::thread::scope(|scope| {
        let first = acquired(&holds);
        for number in 0..8 {
            let (went, holds) = (went.clone(), &holds);
            scope.spawn(move || {
                let hold = acquired(holds);
                went.send(number).unwrap();
                assert!(holds.release(&hold, Release::HandOver).unwrap());
            });
            await_waiters(holds, number + 1);
        }
        assert!(is_taken(&holds) && order.try_recv().is_err());
        assert!(holds.release(&first, Release::HandOver).unwrap());
        assert!(!holds.release(&first, Release::HandOver).unwrap(), "it was given back");
    });
    assert_eq!(order.try_iter().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert!(is_empty(&holds));
}

#[test]
fn who_runs_out_of_patience_leaves_the_queue() {
    let (_dir, holds) = holds();
    let first = acquired(&holds);
    let soon = ask(1, Duration::from_millis(30));
    std::thread::scope(|scope| {
        let waited = scope.spawn(|| holds.acquire(&soon).unwrap());
        match waited.join().unwrap() {
            Answer::Taken(process) => assert_eq!(process, Some(std::process::id())),
            other => panic!("{:?}", held(other)),
        }
    });
    assert!(record(&holds).unwrap().waiters.is_empty());
    holds.release(&first, Release::HandOver).unwrap();
    assert!(is_empty(&holds) && !is_taken(&holds));
}

#[test]
fn those_who_are_dismissed_have_nothing() {
    let (_dir, holds) = holds();
    let first = acquired(&holds);
    std::thread::scope(|scope| {
        let waiters: Vec<_> =
            (0..4).map(|_| scope.spawn(|| holds.acquire(&ask(1, PATIENCE)).unwrap())).collect();
        await_waiters(&holds, 4);
        holds.release(&first, Release::Dismiss).unwrap();
        for waiter in waiters {
            assert!(matches!(waiter.join().unwrap(), Answer::Dismissed));
        }
    });
    assert!(is_empty(&holds));
}

#[test]
fn a_thread_does_not_wait_for_itself() {
    let (_dir, holds) = holds();
    let first = acquired(&holds);
    assert!(matches!(holds.acquire(&ask(1, PATIENCE)).unwrap(), Answer::Own));
    assert!(is_taken(&holds));
    let again = Ask { is_reentrant: true, ..ask(1, PATIENCE) };
    let second = held(holds.acquire(&again).unwrap());
    assert!(holds.release(&first, Release::HandOver).unwrap() && !is_empty(&holds));
    assert!(holds.release(&second, Release::HandOver).unwrap() && is_empty(&holds));
}

#[test]
fn as_many_as_there_are_places() {
    let (_dir, holds) = holds();
    let take = || holds.acquire(&ask(2, Duration::ZERO)).unwrap();
    let (one, two) = (held(take()), held(take()));
    assert!(matches!(take(), Answer::Taken(_)));
    let other = holds.acquire(&ask(3, PATIENCE)).err().unwrap();
    assert_eq!(other.kind(), ErrorKind::Setting, "{other}");
    holds.release(&one, Release::HandOver).unwrap();
    let three = held(take());
    holds.release(&two, Release::HandOver).unwrap();
    holds.release(&three, Release::HandOver).unwrap();
    assert!(is_empty(&holds));
}

#[test]
fn a_lost_ring_is_only_late() {
    let (_dir, holds) = holds();
    let first = acquired(&holds);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| held(holds.acquire(&ask(1, PATIENCE)).unwrap()));
        await_waiters(&holds, 1);
        // As if the one that gives it back were killed before it could ring.
        let store = holds.store().unwrap();
        let key = store.hashed(b"name");
        store
            .write(PATIENCE, |writer| {
                let (mut after, mut bytes) = (record(&holds).unwrap(), Vec::new());
                after.holders.clear();
                after.hand_over();
                after.encode(&mut bytes);
                let found = writer.find(key)?;
                put(writer, key, found.as_ref(), &bytes)
            })
            .unwrap();
        assert!(!holds.release(&first, Release::HandOver).unwrap());
        assert!(holds.release(&waiter.join().unwrap(), Release::HandOver).unwrap());
    });
}

#[test]
fn the_hold_of_a_killed_process_goes_on_to_the_next() {
    let (_dir, holds) = holds();
    let holder = child(&holds);
    assert!(is_taken(&holds));
    drop(holder);
    assert!(!is_taken(&holds), "without waiting");
    let holder = child(&holds);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| held(holds.acquire(&ask(1, PATIENCE)).unwrap()));
        await_waiters(&holds, 1);
        drop(holder);
        assert!(holds.release(&waiter.join().unwrap(), Release::HandOver).unwrap());
    });
    assert!(is_empty(&holds));
}

#[test]
fn those_behind_a_killed_waiter_go_on() {
    let (_dir, holds) = holds();
    let first = acquired(&holds);
    let killed = child(&holds);
    await_waiters(&holds, 1);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| held(holds.acquire(&ask(1, PATIENCE)).unwrap()));
        await_waiters(&holds, 2);
        drop(killed);
        holds.release(&first, Release::HandOver).unwrap();
        assert!(holds.release(&waiter.join().unwrap(), Release::HandOver).unwrap());
    });
    assert!(is_empty(&holds));
}

#[test]
fn holder_and_first_waiter_are_killed_together() {
    let (_dir, holds) = holds();
    let holder = child(&holds);
    let killed = Child::fork(|| holds.acquire(&ask(1, PATIENCE)).is_ok());
    await_waiters(&holds, 1);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| held(holds.acquire(&ask(1, PATIENCE)).unwrap()));
        await_waiters(&holds, 2);
        drop((killed, holder));
        assert!(holds.release(&waiter.join().unwrap(), Release::HandOver).unwrap());
    });
    assert!(is_empty(&holds));
}

#[test]
fn a_stopped_holder_is_not_robbed() {
    let (_dir, holds) = holds();
    let holder = child(&holds);
    let process = rustix::process::Pid::from_raw(holder.number() as i32).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
    let waited = holds.acquire(&ask(1, Duration::from_millis(100))).unwrap();
    assert!(matches!(waited, Answer::Taken(Some(number)) if number == holder.number()));
}

#[test]
fn what_the_parent_holds_is_not_the_childs_to_give_back() {
    let (_dir, holds) = holds();
    let hold = acquired(&holds);
    let child = Child::fork(|| {
        !holds.release(&hold, Release::HandOver).unwrap()
            && is_taken(&holds)
            && matches!(
                holds.acquire(&ask(1, Duration::from_millis(30))).unwrap(),
                Answer::Taken(_)
            )
    });
    assert!(child.succeeded());
    assert!(is_taken(&holds) && holds.release(&hold, Release::HandOver).unwrap());
    assert!(is_empty(&holds));
}

#[test]
fn the_end_of_a_child_that_waited_leaves_no_trace() {
    let (_dir, holds) = holds();
    let hold = acquired(&holds);
    // Its own attempt is dead with it, also when the next child has the same slot.
    for _ in 0..3 {
        let child = Child::fork(|| holds.acquire(&ask(1, PATIENCE)).is_ok());
        await_waiters(&holds, 1);
        drop(child);
        assert!(std::thread::scope(|scope| scope.spawn(|| is_taken(&holds)).join().unwrap()));
        assert!(record(&holds).unwrap().waiters.is_empty(), "whoever asks takes out the dead");
    }
    holds.release(&hold, Release::HandOver).unwrap();
    assert!(is_empty(&holds));
}

#[test]
fn bytes_that_are_no_record_are_nobodys() {
    let (_dir, holds) = holds();
    let store = holds.store().unwrap();
    let key = store.hashed(b"name");
    store.write(PATIENCE, |writer| put(writer, key, None, b"something else")).unwrap();
    let hold = acquired(&holds);
    assert!(is_taken(&holds) && holds.release(&hold, Release::HandOver).unwrap());
    assert!(is_empty(&holds) && store.check(PATIENCE).unwrap().is_empty());
}

#[test]
fn a_record_of_nobody_binds_nobody() {
    let (_dir, holds) = holds();
    let (store, mut bytes) = (holds.store().unwrap(), Vec::new());
    let key = store.hashed(b"name");
    Record::new(7).encode(&mut bytes);
    store.write(PATIENCE, |writer| put(writer, key, None, &bytes)).unwrap();
    assert!(!is_taken(&holds) && is_empty(&holds));
}

#[test]
fn another_boot_begins_with_nothing_held_and_no_turns_taken() {
    let (dir, holds) = holds();
    let rate = Rate { per_ns: 3_600_000_000_000, step_ns: 1_800_000_000_000 };
    let turn = |holds: &Holds| holds.take_turn(b"turns", rate, Duration::ZERO, PATIENCE).unwrap();
    let hold = acquired(&holds);
    assert!(turn(&holds).is_some() && turn(&holds).is_some() && turn(&holds).is_none());
    drop((hold, holds));
    let holds = holds_in(dir.path());
    assert!(turn(&holds).is_none(), "the same boot");
    drop(holds);
    let _pretence = trust::pretend::set_boot(Some([7; 16]));
    let holds = holds_in(dir.path());
    assert!(turn(&holds).is_some() && !is_taken(&holds));
}

#[test]
fn what_a_killed_process_used_a_semaphore_for_binds_nobody() {
    let (_dir, holds) = holds();
    let holder = child(&holds);
    let refused = holds.acquire(&ask(3, PATIENCE)).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Setting);
    drop(holder);
    let hold = held(holds.acquire(&ask(3, PATIENCE)).unwrap());
    assert_eq!(record(&holds).unwrap().limit, 3);
    assert!(holds.release(&hold, Release::HandOver).unwrap() && is_empty(&holds));
}

#[test]
fn whoever_gives_up_while_the_store_is_busy_leaves_the_queue_all_the_same() {
    let (_dir, holds) = holds();
    let hold = acquired(&holds);
    std::thread::scope(|scope| {
        let impatient = scope.spawn(|| {
            let timeout = Duration::from_millis(20);
            holds.acquire(&Ask { timeout, ..ask(1, Duration::from_millis(150)) })
        });
        await_waiters(&holds, 1);
        let pause = |_: &mut Writer<'_>| {
            std::thread::sleep(Duration::from_millis(600));
            Ok(())
        };
        holds.store().unwrap().write(PATIENCE, pause).unwrap();
        assert!(matches!(impatient.join().unwrap().unwrap(), Answer::Taken(_)));
    });
    assert!(record(&holds).unwrap().waiters.is_empty());
    assert!(holds.release(&hold, Release::HandOver).unwrap() && is_empty(&holds));
}

#[test]
fn a_store_that_is_busy_for_long_fails_nobody_that_waits() {
    let (_dir, holds) = holds();
    let holder = child(&holds);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let timeout = Duration::from_millis(20);
            holds.acquire(&Ask { timeout, ..ask(1, PATIENCE) })
        });
        await_waiters(&holds, 1);
        // It notices the death, and cannot take out the dead for a while.
        let kill = |_: &mut Writer<'_>| {
            drop(holder);
            std::thread::sleep(Duration::from_millis(400));
            Ok(())
        };
        holds.store().unwrap().write(PATIENCE, kill).unwrap();
        assert!(holds.release(&held(waiter.join().unwrap().unwrap()), Release::HandOver).unwrap());
    });
    assert!(is_empty(&holds));
}

#[test]
fn on_a_full_disk_nothing_can_be_had_and_all_can_be_given_back() {
    for offset in 0..8 {
        let (_dir, holds) = holds();
        let first = held(holds.acquire(&ask(2, PATIENCE)).unwrap());
        let rate = Rate { per_ns: 8, step_ns: 1 };
        for _ in 0..offset {
            holds.take_turn(b"turns", rate, PATIENCE, PATIENCE).unwrap();
        }
        let full = |step: Step| match step {
            Step::Call("create" | "allocate") => Err(std::io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        };
        watch(full, || {
            for _ in 0..5000 {
                match holds.acquire(&ask(2, PATIENCE)) {
                    Ok(answer) => {
                        assert!(holds.release(&held(answer), Release::HandOver).unwrap());
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Full);
                        break;
                    }
                }
            }
            assert_eq!(record(&holds).unwrap().holders.len(), 1);
            assert!(holds.release(&first, Release::HandOver).unwrap());
            assert!(record(&holds).is_none());
        });
    }
}

/// Whoever opens the cache by its new name must be kept out.
#[test]
fn holds_go_with_the_directory_of_their_cache() {
    let place = tempfile::tempdir().unwrap();
    let [before, after] = ["before", "after"].map(|name| place.path().join(name));
    std::fs::create_dir(&before).unwrap();
    let holds = holds_in(&before);
    std::fs::rename(&before, &after).unwrap();
    let beside = holds_in(&after);
    let hold = acquired(&holds);
    assert!(is_taken(&beside) && !before.exists());
    assert!(holds.existing().unwrap().is_some() && holds.disk_usage().unwrap() > 0);
    assert!(holds.release(&hold, Release::HandOver).unwrap());
    assert!(!is_taken(&beside));
}
