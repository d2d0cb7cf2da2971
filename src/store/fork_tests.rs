//! Several processes on one store: kills, forks, and what a dead or hostile one leaves behind.

use std::cell::Cell;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::stress_tests::{
    PATIENCE, check, get, open, put, put_in, random, remove, telling, told, transact,
};
use crate::store::Store;
use crate::store::open::OpenOptions;
use crate::store::scan::Item;
use crate::store::writer::PutValue;
use crate::sys::testing::Child;

const EXISTING: OpenOptions =
    OpenOptions { create: false, read_only: false, allow_network: true, settings: None };

fn work_for_ever(store: &Store, mut seed: u64) -> bool {
    loop {
        let base = random(&mut seed) % 300;
        let version = u64::from(random(&mut seed));
        let keys = move |count| (base..base + count).map(|key| key % 300);
        match random(&mut seed) % 4 {
            0 => transact(store, || {
                keys(30).for_each(|key| put(store, key, &telling(key, version, 4)));
                for key in 400..470 {
                    match version % 2 {
                        0 => drop(remove(store, key)),
                        _ => put(store, key, b"all of us"),
                    }
                }
            }),
            _ => keys(10).for_each(|key| put(store, key, &telling(key, version, base % 40))),
        }
    }
}

#[test]
fn killed_writers_lose_nothing_and_leave_no_halves() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    (0..300).for_each(|key| put(&store, key, &telling(key, 1, 3)));
    let (mut seed, rounds) = (3, std::env::var("KILLS").map_or(100, |it| it.parse().unwrap()));
    for round in 0..rounds {
        let of = 2 * round;
        let children = [of, of + 1].map(|seed| Child::fork(|| work_for_ever(&store, seed)));
        std::thread::sleep(Duration::from_micros((random(&mut seed) % 6000).into()));
        drop(children);
        let start = Instant::now();
        (0..300).for_each(|key| _ = told(key, &get(&store, key).expect("a key is missing")));
        let some = (400..470).filter(|key| get(&store, *key).is_some()).count();
        assert!(some == 0 || some == 70, "round {round}: {some} of a transaction");
        check(&store);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}

#[test]
fn a_killed_repair_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..1000).for_each(|key| put(&store, key, b"v"));
    for round in 0..40 {
        let child = Child::fork(|| {
            loop {
                store.repair(PATIENCE).unwrap();
            }
        });
        std::thread::sleep(Duration::from_micros(1000 + 200 * round));
        drop(child);
        put(&store, 5000, b"takes the lock");
        assert!((0..1000).all(|key| get(&store, key).is_some()), "round {round}");
        check(&store);
    }
}

#[test]
fn a_staged_file_is_the_parents_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let staged = Cell::new(Some(store.stage_bytes(&[1; 100_000], PATIENCE).unwrap()));
    assert!(Child::fork(|| staged.take().is_some()).succeeded());
    let value = PutValue::Staged(staged.take().unwrap());
    store.write(PATIENCE, |writer| put_in(&store, writer, b"key", value)).unwrap();
    check(&store);
}

#[test]
fn a_newcomer_that_only_stages_does_not_shield_the_dead() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let dead = Child::fork(|| {
        std::mem::forget(store.begin(PATIENCE).unwrap());
        true
    });
    assert!(dead.succeeded());
    let there = dir.path().join("there");
    let _newcomer = Child::fork(|| {
        let _staged = store.stage_bytes(b"large", PATIENCE).unwrap();
        std::fs::write(&there, b"").unwrap();
        loop {
            std::thread::park();
        }
    });
    while !there.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let value = PutValue::Bytes(b"v");
    store.write(Duration::from_secs(2), |writer| put_in(&store, writer, b"key", value)).unwrap();
}

#[test]
fn a_segment_begun_in_vain_is_not_written_to_when_it_was_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    put(&store, 1, b"v");
    let open = store.begin(PATIENCE).unwrap();
    put(&store, 2, &[1; 40_000]);
    put(&store, 3, &vec![1; 9 << 20]);
    assert!(open.commit().is_err(), "larger than any segment");
    let other = Child::fork(|| {
        (10..20).for_each(|key| put(&store, key, &[1; 1000]));
        true
    });
    assert!(other.succeeded());
    put(&store, 4, b"after");
    assert!(Child::fork(|| get(&store, 4).is_some()).succeeded());
    check(&store);
}

#[test]
fn a_child_that_drops_its_parents_transaction_leaves_it_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let begun = Cell::new(Some(store.begin(PATIENCE).unwrap()));
    put(&store, 1, b"v");
    let child = Child::fork(|| {
        drop(begun.take());
        store.write(Duration::from_millis(20), |_| Ok(())).is_err()
    });
    assert!(child.succeeded());
    begun.take().unwrap().commit().unwrap();
    assert!(get(&store, 1).is_some());
    check(&store);
}

#[test]
fn want_of_descriptors_is_an_error_and_no_miss() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..1000).for_each(|key| put(&store, key, b"v"));
    let child = Child::fork(|| {
        let fresh = Store::open(dir.path(), &EXISTING).unwrap();
        let limit = |current| Rlimit { current: Some(current), maximum: Some(1024) };
        setrlimit(Resource::Nofile, limit(0)).unwrap();
        let failed = fresh.get(fresh.hashed(&1u32.to_be_bytes()), None, &mut Vec::new()).is_err();
        setrlimit(Resource::Nofile, limit(1024)).unwrap();
        failed && get(&fresh, 1).is_some()
    });
    assert!(child.succeeded());
}

/// Everything that can be done with a store whose `head` cannot be trusted.
fn use_hostile(path: &std::path::Path) -> bool {
    let Ok(store) = Store::open(path, &EXISTING) else { return true };
    let mut value = Vec::new();
    for key in 0..300u32 {
        if let Ok(Some(_)) = store.get(store.hashed(&key.to_be_bytes()), None, &mut value) {
            told(key, &value);
        }
    }
    let mut item = Item::default();
    let (mut front, mut back) = (store.scan(), store.scan());
    let _ = (0..1000).all(|_| front.next(&store, &mut item).unwrap_or(false));
    let _ = (0..1000).all(|_| back.next_back(&store, &mut item).unwrap_or(false));
    store.volume();
    for key in 0..120u32 {
        let (bytes, value) = (key.to_be_bytes(), telling(key, 2, 9));
        let _ = store.write(PATIENCE, |writer| {
            writer.demand_now(None).is_due_here(writer);
            put_in(&store, writer, &bytes, PutValue::Bytes(&value))
        });
        let _ = store.write(PATIENCE, |writer| match writer.find(store.hashed(&bytes))? {
            Some(found) if key % 2 == 0 => writer.remove(store.hashed(&bytes), &found, 0),
            _ => Ok(()),
        });
    }
    let _ = (
        store.check(PATIENCE),
        store.sync(PATIENCE),
        store.compact(PATIENCE),
        store.repair(PATIENCE),
    );
    true
}

/// Flips bits of every word of `head` that changes: no panic, no hang, no wrong value.
#[test]
fn flipped_bits_in_the_state_do_no_harm() {
    const WORDS: std::ops::Range<usize> = 0..21;
    let every: usize = std::env::var("BITS").map_or(15, |it| it.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    (0..400).for_each(|n| put(&store, n % 300, &telling(n % 300, 1, 9)));
    (0..70).for_each(|key| assert!(remove(&store, key)));
    drop(store);
    let mut head = std::fs::read(dir.path().join("head")).unwrap();
    // Clean: so that it is believed wherever it lies.
    head[544] = 1;
    let block = 1536 + 256 * usize::from(head[1152 + 6] & 1);
    let bytes = [1088, 1152, 1216].into_iter().chain(WORDS.map(|word| block + 8 * word));
    let mut bad = Vec::new();
    for (byte, bit) in
        bytes.flat_map(|byte| (byte % 5..64).step_by(every).map(move |bit| (byte, bit)))
    {
        let copy = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
            }
        }
        let mut flipped = head.clone();
        flipped[byte + bit / 8] ^= 1 << (bit % 8);
        std::fs::write(copy.path().join("head"), flipped).unwrap();
        std::fs::set_permissions(copy.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let mut child = Child::fork(|| {
            let seconds = Rlimit { current: Some(2), maximum: Some(2) };
            setrlimit(Resource::Cpu, seconds).unwrap();
            use_hostile(copy.path())
        });
        let status = child.wait();
        if status.exit_status() != Some(0) {
            bad.push((byte, bit, status.terminating_signal()));
        }
    }
    assert!(bad.is_empty(), "byte, bit, signal (none: panic; 9: hang): {bad:?}");
}
