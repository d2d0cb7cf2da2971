//! Tests of `liveness`.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use super::*;
use crate::sys::map::Map;
use crate::sys::sync::{AtomicU64, Ordering};
use crate::sys::testing::{self, Child, Step};

const HELPER_DIR: &str = "FIRNCACHE_TEST_DIR";

fn fresh() -> (tempfile::TempDir, Dir) {
    let place = tempfile::tempdir().unwrap();
    let dir = Dir::open(place.path()).unwrap();
    (place, dir)
}

fn shared_words(dir: &Dir) -> Map {
    let file = dir.create_file("signals").unwrap();
    file.set_len(4096).unwrap();
    Map::new(&file, 4096, true).unwrap()
}

fn wait_for(word: &AtomicU64, wanted: impl Fn(u64) -> bool) -> u64 {
    loop {
        let value = word.load(Ordering::Acquire);
        if wanted(value) {
            return value;
        }
        std::thread::yield_now();
    }
}

/// The proof that must come, if not at once: tests fork in other threads all the time.
fn dead(dir: &Dir, slot: u16) -> DeathProof {
    const PATIENCE: usize = 10_000;
    let again = |_| {
        let proof = prove_dead(dir, slot).unwrap();
        if proof.is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        proof
    };
    (0..PATIENCE).find_map(again).expect("the owner is dead")
}

#[test]
fn an_incarnation_that_is_over_stays_over() {
    let (_place, dir) = fresh();
    let first = claim(&dir).unwrap();
    assert!(!is_over(&dir, 0, 1).unwrap());
    drop(first);
    drop(dead(&dir, 0));
    assert!(is_over(&dir, 0, 1).unwrap());
    let _second = claim(&dir).unwrap();
    assert!(is_over(&dir, 0, 1).unwrap() && !is_over(&dir, 0, 2).unwrap());
    assert!(is_over(&dir, 7, 1).unwrap(), "never claimed");
}

#[test]
fn claims_take_the_lowest_free_slot_and_count_its_incarnations() {
    let (_place, dir) = fresh();
    let first = claim(&dir).unwrap();
    let second = claim(&dir).unwrap();
    assert_eq!((first.slot(), first.incarnation()), (0, 1));
    assert_eq!((second.slot(), second.incarnation()), (1, 1));
    assert!(first.is_own());
    assert_eq!(owner_pid(&dir, 0), Some(std::process::id()));
    drop(first);
    drop(dead(&dir, 0));
    let third = claim(&dir).unwrap();
    assert_eq!((third.slot(), third.incarnation()), (0, 2));
    assert_eq!(slots(&dir).unwrap(), [0, 1]);
}

#[test]
fn a_proof_of_death_keeps_newcomers_out_and_the_living_are_never_dead() {
    let (_place, dir) = fresh();
    let owner = claim(&dir).unwrap();
    assert!(owner.is_mapped());
    assert!(prove_dead(&dir, 0).unwrap().is_none());
    drop(owner);
    let proof = dead(&dir, 0);
    assert_eq!((proof.slot(), proof.incarnation()), (0, 1));
    assert!(prove_dead(&dir, 0).unwrap().is_none());
    assert_eq!(claim(&dir).unwrap().slot(), 1);
    drop(proof);
    assert_eq!(claim(&dir).unwrap().slot(), 0);
}

#[test]
fn a_slot_that_was_never_used_is_dead() {
    let (_place, dir) = fresh();
    assert_eq!(dead(&dir, 17).incarnation(), 0);
    assert_eq!(owner_pid(&dir, 17), None);
    assert_eq!(owner_pid(&dir, 18), None);
    assert_eq!(slots(&dir).unwrap(), [17]);
}

#[test]
fn slots_are_listed_where_there_are_none_but_not_from_a_file() {
    let (_place, dir) = fresh();
    assert!(slots(&dir).unwrap().is_empty());
    dir.create_file(FOLDER).unwrap();
    assert_eq!(slots(&dir).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    assert_eq!(is_over(&dir, 0, 1).unwrap_err().kind(), io::ErrorKind::NotADirectory);
}

#[test]
fn only_plain_numbers_below_the_limit_name_slots() {
    assert_eq!(parse_slot("0"), Some(0));
    assert_eq!(parse_slot("1022"), Some(1022));
    for name in ["1023", "01", "+1", "-1", "", "gate", "65536", "1 "] {
        assert_eq!(parse_slot(name), None, "{name:?}");
    }
}

#[test]
fn damaged_slot_files_are_claimed_all_the_same() {
    let (_place, dir) = fresh();
    dir.make_dir(FOLDER).unwrap();
    dir.create_file("procs/0").unwrap().write_all_at(&[0xFF; 16], 0).unwrap();
    dir.create_file("procs/1").unwrap().write_all_at(&[1, 2, 3], 0).unwrap();
    assert_eq!(owner_pid(&dir, 0), None);
    let first = claim(&dir).unwrap();
    assert_eq!((first.slot(), first.incarnation()), (0, 1));
    let second = claim(&dir).unwrap();
    assert_eq!((second.slot(), second.incarnation()), (1, 1));
}

#[test]
fn a_slot_file_that_somebody_else_makes_meanwhile_will_do() {
    let (place, dir) = fresh();
    let other = place.path().join("x");
    let make = move |step| match step {
        Step::Call("create") => std::fs::write(&other, "theirs"),
        _ => Ok(()),
    };
    let file = testing::watch(make, || open_or_create(&dir, "x")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 6);
    for failing in ["open", "create"] {
        let fail = move |step| match step {
            Step::Call(call) if call == failing => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        };
        let error = testing::watch(fail, || open_or_create(&dir, "y")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}

#[test]
fn what_is_dropped_is_unlocked_though_a_copy_of_its_descriptor_lives() {
    let (_place, dir) = fresh();
    dir.make_dir(FOLDER).unwrap();
    let gate = Gate::shut(&dir, 3).unwrap().unwrap();
    let _copy = gate.file.file().unwrap().try_clone().unwrap();
    assert!(Gate::shut(&dir, 3).unwrap().is_none());
    drop(gate);
    assert!(Gate::shut(&dir, 3).unwrap().is_some());
    let lock = Locked::take(&dir, 3).unwrap().unwrap();
    let _copy = lock.file().unwrap().try_clone().unwrap();
    assert!(Locked::take(&dir, 3).unwrap().is_none());
    drop(lock);
    let lock = Locked::take(&dir, 3).unwrap().unwrap();
    let _copy = lock.file().unwrap().try_clone().unwrap();
    lock.close_only();
    assert!(Locked::take(&dir, 3).unwrap().is_none());
}

#[test]
fn a_file_that_cannot_be_locked_or_read_is_an_error() {
    let (place, _dir) = fresh();
    let flags = rustix::fs::OFlags::PATH;
    let open = || Ok(rustix::fs::open(place.path(), flags, rustix::fs::Mode::empty())?.into());
    let file = PrivateFile::open(open).unwrap();
    assert!(Contents::read(file.file().unwrap()).is_err());
    assert!(Locked::lock(file).is_err());
}

#[test]
fn the_lock_survives_the_closing_of_all_descriptors_and_ends_with_the_process() {
    let (_place, dir) = fresh();
    let signals = shared_words(&dir);
    let mut child = Child::fork(|| {
        let _claim = claim(&dir).unwrap();
        testing::close_all_descriptors();
        signals.words()[0].store(1, Ordering::Release);
        wait_for(&signals.words()[1], |value| value == 1);
        true
    });
    wait_for(&signals.words()[0], |value| value == 1);
    assert!(prove_dead(&dir, 0).unwrap().is_none());
    assert_eq!(owner_pid(&dir, 0), Some(child.number()));
    child.kill();
    child.wait();
    dead(&dir, 0);
}

#[test]
fn the_child_of_a_dead_owner_does_not_keep_its_lock() {
    let (_place, dir) = fresh();
    let signals = shared_words(&dir);
    let [pid, end] = [&signals.words()[0], &signals.words()[1]];
    let mut owner = Child::fork(|| {
        let claim = claim(&dir).unwrap();
        let heir = Child::fork(|| {
            assert!(!claim.is_own());
            pid.store(1, Ordering::Release);
            wait_for(end, |value| value == 1);
            true
        });
        std::mem::forget(heir);
        wait_for(end, |value| value == 1);
        true
    });
    wait_for(pid, |value| value == 1);
    assert!(prove_dead(&dir, 0).unwrap().is_none());
    owner.kill();
    owner.wait();
    // The heir still lives.
    dead(&dir, 0);
    end.store(1, Ordering::Release);
}

#[test]
fn a_claim_that_is_dropped_in_a_child_stays_with_the_parent() {
    let (_place, dir) = fresh();
    let owner = Cell::new(Some(claim(&dir).unwrap()));
    // A child has a copy of everything: what it takes out of the cell stays there here.
    let child = Child::fork(|| {
        drop(owner.take());
        prove_dead(&dir, 0).unwrap().is_none()
    });
    assert!(child.succeeded());
    assert!(prove_dead(&dir, 0).unwrap().is_none());
}

#[test]
fn forks_in_other_threads_keep_no_slot_alive() {
    const FORKS: usize = 40;
    let (_place, dir) = fresh();
    let signals = shared_words(&dir);
    let [done, end] = [&signals.words()[0], &signals.words()[1]];
    std::thread::scope(|scope| {
        let forker = scope.spawn(|| {
            let wait = || wait_for_quietly(end);
            let children: Vec<Child> = (0..FORKS).map(|_| Child::fork(wait)).collect();
            done.store(1, Ordering::Release);
            children
        });
        while done.load(Ordering::Acquire) == 0 {
            let owner = claim(&dir).unwrap();
            let slot = owner.slot();
            assert!(prove_dead(&dir, slot).unwrap().is_none());
            drop(owner);
            // All children live on.
            dead(&dir, slot);
        }
        end.store(1, Ordering::Release);
        assert!(forker.join().unwrap().into_iter().all(Child::succeeded));
    });
}

fn wait_for_quietly(end: &AtomicU64) -> bool {
    while end.load(Ordering::Acquire) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    true
}

#[test]
#[ignore = "runs as the other process of another test"]
fn helper_claims_and_waits() {
    let Some(path) = std::env::var_os(HELPER_DIR) else { return };
    let dir = Dir::open(path.as_ref()).unwrap();
    let claim = claim(&dir).unwrap();
    println!("claimed {}", claim.slot());
    // Ends when the test that started this process does.
    std::io::stdin().read_exact(&mut [0]).unwrap_or_default();
}

#[test]
fn a_killed_process_gives_its_slot_back() {
    let (place, dir) = fresh();
    let mut helper = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sys::liveness::tests::helper_claims_and_waits"])
        .args(["--ignored", "--nocapture"])
        .env(HELPER_DIR, place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(helper.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line.contains("claimed 0")));
    assert!(prove_dead(&dir, 0).unwrap().is_none());
    assert_eq!(claim(&dir).unwrap().slot(), 1);
    helper.kill().unwrap();
    helper.wait().unwrap();
    drop(dead(&dir, 0));
    let heir = claim(&dir).unwrap();
    assert_eq!((heir.slot(), heir.incarnation()), (0, 2));
}

#[test]
fn overlayfs_keeps_a_descriptor_and_locks_as_well() {
    let Some(mount) = testing::Mounted::overlay() else { return };
    let dir = Dir::open(&mount.path()).unwrap();
    let owner = claim(&dir).unwrap();
    assert!(!owner.is_mapped());
    assert!(prove_dead(&dir, 0).unwrap().is_none());
    // Also where overlayfs is not known by its name, the second try finds out.
    let found = claim_slot(&dir, 5, true).unwrap().unwrap();
    assert!(!found.is_mapped());
    assert!(prove_dead(&dir, 5).unwrap().is_none());
    let signals = shared_words(&dir);
    let end = &signals.words()[0];
    let child = Child::fork(|| wait_for_quietly(end));
    drop((owner, found));
    drop([0, 5].map(|slot| dead(&dir, slot)));
    end.store(1, Ordering::Release);
    assert!(child.succeeded());
}
