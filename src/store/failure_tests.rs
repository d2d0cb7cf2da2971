//! What the operating system refuses, at any call, is an error and nothing else.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::rc::Rc;

use crate::error::{Error, ErrorKind};
use crate::format::slot::{FIRST_BUCKETS, SLOTS, bucket_of};
use crate::store::Store;
use crate::store::crash_tests::{
    Model, Operation, PATIENCE, Random, contents, copy, go_on, killed_in, open, put, verify,
};
use crate::store::scan::Item;
use crate::sys::testing::{Child, Mounted, Step, watch};

/// Fails one call, or all from one on, in the middle of an operation.
fn failing(seed: u64, steps: u64, kind: io::ErrorKind, calls: &'static [&'static str]) {
    let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let (path, trial) = (place.path().join("store"), place.path().join("trial"));
    let store = open(&path);
    let (mut random, mut model) = (Random(seed), Model::new());
    for step in 0..steps {
        let operation = Operation::random(&mut random, step);
        let mut after = model.clone();
        operation.apply(&mut after);
        for (forever, nth) in (0..24u64).map(|it| (it % 2 == 0, it / 2)) {
            if random.below(8) != 0 {
                continue;
            }
            copy(&path, &trial);
            let hit = Rc::new(RefCell::new(false));
            let (seen, mut count) = (Rc::clone(&hit), 0);
            let copied = open(&trial);
            let hook = move |step: Step| {
                let Step::Call(name) = step else { return Ok(()) };
                if !calls.contains(&name) {
                    return Ok(());
                }
                count += 1;
                if count - 1 == nth || forever && count > nth {
                    *seen.borrow_mut() = true;
                    return Err(kind.into());
                }
                Ok(())
            };
            let result = watch(hook, || operation.run(&copied));
            drop(copied);
            let what_for: String = format!("{operation:?}").chars().take(100).collect();
            let name = format!("{what_for} in operation {step}, call {nth}, {forever}: {result:?}");
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                // Where there is no space for a new table, keys are removed one by one.
                let is_stepwise = matches!(operation, Operation::Clear) && result.is_err();
                let left = is_stepwise.then(|| contents(&open(&trial)));
                if let Some(left) = &left {
                    let is_part = |(key, value)| model.get(key) == Some(value);
                    assert!(left.iter().all(is_part), "more than a part is left");
                }
                let after = left.as_ref().unwrap_or(&after);
                let which = verify(&trial, [&model, after]);
                let is_told = result.is_err() && which == 1 && model != *after && !is_stepwise;
                assert!(result.is_err() || which == 1, "acknowledged, and lost");
                // Without descriptors a committed record may have to wait for the next writer.
                assert!(!is_told || calls.contains(&"open"), "an error for what was done");
                go_on(&trial, [&model, after][which], &mut random, 100);
            }));
            assert!(checked.is_ok(), "failed in {name}");
            std::fs::remove_dir_all(&trial).unwrap();
            if !*hit.borrow() {
                break;
            }
        }
        operation.run(&store).unwrap();
        model = after;
    }
}

#[test]
fn a_full_disk_at_any_call_is_an_error_and_nothing_else() {
    failing(
        11,
        600,
        io::ErrorKind::StorageFull,
        &["create", "allocate", "mkdir", "rename", "link"],
    );
}

#[test]
fn no_descriptors_at_any_call_is_an_error_and_nothing_else() {
    failing(13, 600, io::ErrorKind::Other, &["open", "create"]);
}

/// Refuses one file, or all from one on; notes when it does.
fn refusing(
    nth: usize,
    forever: bool,
    is_hit: &Rc<Cell<bool>>,
) -> impl FnMut(Step) -> io::Result<()> + use<> {
    let (mut count, is_hit) = (0, Rc::clone(is_hit));
    move |step| {
        count += usize::from(step == Step::Call("open"));
        if step != Step::Call("open") || count <= nth || !forever && count > nth + 1 {
            return Ok(());
        }
        is_hit.set(true);
        Err(io::ErrorKind::Other.into())
    }
}

/// Runs `work` with each of the files that it opens refused, once and from then on, until there is
/// none left to be refused.
fn with_each_refused(mut work: impl FnMut(usize, bool, &Rc<Cell<bool>>)) {
    for forever in [false, true] {
        let is_hit = Rc::new(Cell::new(true));
        for nth in 0..100 {
            if !is_hit.replace(false) {
                break;
            }
            work(nth, forever, &is_hit);
        }
    }
}

/// Keys of one chain, that of the bucket to which a hash of 0 leads: as many as fill two buckets.
/// Changed without descriptors; or killed anywhere, and without descriptors where that is finished.
#[test]
fn without_descriptors_a_chain_stays_whole() {
    let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let [path, trial, copies] = ["store", "trial", "copies"].map(|name| place.path().join(name));
    let store = open(&path);
    let is_first = |key: &Vec<u8>| bucket_of(store.hashed(key).hash, FIRST_BUCKETS) == 0;
    let keys = (0u64..).map(|key| key.to_be_bytes().to_vec()).filter(is_first);
    let keys: Vec<_> = keys.take(2 * SLOTS + 1).collect();
    let (new, there) = keys.split_last().unwrap();
    let other = b"other".to_vec();
    there.iter().chain([&other]).for_each(|key| put(&store, key, b"value", false).unwrap());
    let before = contents(&store);
    drop(store);
    let last = there.last().unwrap();
    let set = |key: &Vec<u8>| Operation::Put(key.clone(), b"changed".to_vec(), false);
    let removals = [&there[0], &other, &there[1], last].map(|key| Operation::Remove(key.clone()));
    let operations = [
        set(last),
        set(new),
        Operation::Remove(last.clone()),
        Operation::Transaction(vec![removals[0].clone(), removals[2].clone()]),
        Operation::Transaction(removals.to_vec()),
        Operation::Transaction(vec![set(&other), set(&there[0]), set(last), set(new)]),
    ];
    for operation in operations {
        let mut after = before.clone();
        operation.apply(&mut after);
        let check = |store: Store, name: &str| {
            let found = contents(&store);
            assert!(found == before || found == after, "{name}: {found:?}");
            drop(store);
            let which = verify(&trial, [&before, &after]);
            std::fs::remove_dir_all(&trial).unwrap();
            which
        };
        with_each_refused(|nth, forever, is_hit| {
            copy(&path, &trial);
            let store = open(&trial);
            let result = watch(refusing(nth, forever, is_hit), || operation.run(&store));
            let name = format!("{operation:?}, file {nth}, {forever}: {result:?}");
            assert_eq!(check(store, &name) == 1, result.is_ok(), "{name}");
        });
        copy(&path, &copies.join("0"));
        let store = open(&copies.join("0"));
        let (result, taken) =
            killed_in(&copies.join("0"), &copies, (1, 1), || operation.run(&store));
        result.unwrap();
        for (killed, what) in taken {
            with_each_refused(|nth, forever, is_hit| {
                copy(&killed, &trial);
                let store = open(&trial);
                let recovery = || store.write(PATIENCE, |_| Ok(()));
                let result = watch(refusing(nth, forever, is_hit), recovery);
                check(store, &format!("{operation:?}, {what}, file {nth}, {forever}: {result:?}"));
            });
        }
        std::fs::remove_dir_all(&copies).unwrap();
    }
}

/// The files of a beginning that failed are mapped: by this process, and by one that looked on.
#[test]
fn a_beginning_that_failed_is_begun_anew() {
    let calls = ["create", "allocate", "open"];
    for (name, nth) in calls.into_iter().flat_map(|name| (0..6).map(move |nth| (name, nth))) {
        let place = tempfile::tempdir().unwrap();
        let store = open(place.path());
        let mut count = 0;
        let hook = move |step: Step| {
            count += u64::from(step == Step::Call(name));
            let fails = step == Step::Call(name) && count == nth + 1;
            if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        };
        let first = watch(hook, || put(&store, b"first", b"1", false));
        let other = Child::fork(|| {
            let seen = contents(&store).len();
            put(&store, b"other", b"2", false).unwrap();
            seen == usize::from(first.is_ok()) && contents(&store).len() == seen + 1
        });
        assert!(other.succeeded(), "{name} {nth}");
        put(&store, b"last", b"3", false).unwrap();
        let here = contents(&store);
        assert_eq!(here.len(), 2 + usize::from(first.is_ok()), "{name} {nth}: {first:?}");
        assert_eq!(store.check(PATIENCE).unwrap(), [], "{name} {nth}");
        drop(store);
        assert!(contents(&open(place.path())) == here, "{name} {nth}: lost with the process");
    }
}

#[test]
fn a_walk_without_descriptors_fails_or_meets_every_key() {
    let place = tempfile::tempdir().unwrap();
    let (path, trial) = (place.path().join("store"), place.path().join("trial"));
    let store = open(&path);
    const KEYS: u64 = 3000;
    (0..KEYS).for_each(|key| put(&store, &key.to_be_bytes(), b"value", false).unwrap());
    let mut failures = 0;
    for (is_back, nth) in (0..40).map(|it| (it % 2 == 0, it / 2)) {
        copy(&path, &trial);
        let (copied, mut count) = (open(&trial), 0);
        let hook = move |step: Step| {
            count += u64::from(step == Step::Call("open"));
            let fails = step == Step::Call("open") && count == nth + 1;
            if fails { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
        };
        let walk = || {
            let (mut scan, mut item, mut met) = (copied.scan(), Item::default(), 0);
            while match is_back {
                true => scan.next_back(&copied, &mut item)?,
                false => scan.next(&copied, &mut item)?,
            } {
                met += 1;
            }
            Ok::<_, Error>(met)
        };
        match watch(hook, walk) {
            Ok(met) => assert_eq!(met, KEYS, "call {nth}"),
            Err(_) => failures += 1,
        }
        drop(copied);
        std::fs::remove_dir_all(&trial).unwrap();
    }
    assert!(failures > 0);
}

/// Whoever takes what is free on a disk: a file that grows until the disk is full.
struct Greedy(std::fs::File);

impl Greedy {
    fn take_all(&mut self) {
        while self.0.write_all(&[1; 4096]).is_ok() {}
    }
}

/// While its keys are removed, another program takes all that is free.
#[test]
fn a_disk_that_another_fills_is_emptied_by_removing() {
    for len in [20, 300] {
        let Some(mount) = Mounted::tmpfs(1024) else { return };
        let store = open(&mount.path().join("store"));
        let mut greedy = Greedy(std::fs::File::create(mount.path().join("greedy")).unwrap());
        let mut keys = Vec::new();
        loop {
            let key = (keys.len() as u64).to_be_bytes().to_vec();
            match put(&store, &key, &vec![7; len], false) {
                Ok(()) => keys.push(key),
                Err(error) => break assert_eq!(error.kind(), ErrorKind::Full, "{error:?}"),
            }
        }
        for (count, key) in keys.into_iter().enumerate() {
            greedy.take_all();
            let removed = Operation::Remove(key).run(&store);
            assert!(removed.is_ok(), "{len} bytes, removal {count}: {removed:?}");
        }
        assert_eq!(store.check(PATIENCE).unwrap(), []);
    }
}

#[test]
fn a_full_disk_is_emptied_by_removing() {
    let Some(mount) = Mounted::tmpfs(1024) else { return };
    let store = open(&mount.path().join("store"));
    for round in 0..4u64 {
        let mut keys = Vec::new();
        let error = loop {
            let key = (round << 32 | keys.len() as u64).to_be_bytes().to_vec();
            match put(&store, &key, &[7; 300], false) {
                Ok(()) => keys.push(key),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
        assert_eq!(contents(&store).len(), keys.len());
        for (count, key) in keys.into_iter().enumerate() {
            let removed = Operation::Remove(key).run(&store);
            assert!(removed.is_ok(), "round {round}, removal {count}: {removed:?}");
        }
        assert_eq!(store.check(PATIENCE).unwrap(), []);
    }
}
