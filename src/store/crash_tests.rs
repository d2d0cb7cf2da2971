//! Killed at any store and any call: copies of the directory are taken in the middle of each
//! operation, and each must be, once opened, the store before the operation or after it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::error::Result;
use crate::format::head::{DEVICE, INODE};
use crate::format::location::{LOCATION_MASK, Segment};
use crate::format::queue::{Queue, START, Side};
use crate::format::record::FileRef;
use crate::format::settings::Settings;
use crate::store::open::OpenOptions;
use crate::store::queues::{Search, Step as Sought};
use crate::store::scan::Item;
use crate::store::writer::{Put, PutValue};
use crate::store::{Store, Writer};
use crate::sys::testing::{Step, watch};
use crate::table::extents::file_generation;

pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const LIMIT: u64 = 128 * 1024;

pub(super) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

/// One operation on a store, decided beforehand so that it can be done to several copies.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Put(Vec<u8>, Vec<u8>, bool),
    Remove(Vec<u8>),
    Transaction(Vec<Operation>),
    Clear,
    Compact,
    Sync,
    Repair,
    Limit(u64),
    /// To a side, with a value.
    Push(Side, Vec<u8>),
    Pull(Side),
}

impl Operation {
    pub(super) fn random(random: &mut Random, step: u64) -> Operation {
        match random.below(1000) {
            0..4 => Operation::Clear,
            4..10 => Operation::Compact,
            10..30 => Operation::Sync,
            30..34 => Operation::Repair,
            34..50 => Operation::Limit(LIMIT << (2 * random.below(3))),
            50..90 => {
                let count = 1 << random.below(9);
                Operation::Transaction((0..count).map(|_| Self::simple(random, step)).collect())
            }
            _ => Operation::simple(random, step),
        }
    }

    fn simple(random: &mut Random, step: u64) -> Operation {
        // Phases that fill and phases that empty, so that pages come and go.
        let puts = if (step / 300).is_multiple_of(2) { 80 } else { 25 };
        let side = if random.below(4) == 0 { Side::Front } else { Side::Back };
        let queue = random.below(100);
        if queue < 30 {
            return match random.below(100) < puts {
                true => Operation::Push(side, vec![step as u8; random.below(60) as usize]),
                false if side == Side::Front => Operation::Pull(Side::Back),
                false => Operation::Pull(Side::Front),
            };
        }
        let key = random.below(400).to_be_bytes()[5..].to_vec();
        if random.below(100) >= puts {
            return Operation::Remove(key);
        }
        let is_file = random.below(30) == 0;
        let len = if is_file { 3000 } else { 300 };
        Operation::Put(key, vec![step as u8; random.below(len) as usize], is_file)
    }

    pub(super) fn run(&self, store: &Store) -> Result<()> {
        match self {
            Operation::Put(key, value, is_file) => put(store, key, value, *is_file),
            Operation::Remove(key) => {
                store.write(PATIENCE, |writer| match writer.find(store.hashed(key))? {
                    Some(found) => writer.remove(store.hashed(key), &found, 0),
                    None => Ok(()),
                })
            }
            Operation::Transaction(parts) => {
                let open = store.begin(PATIENCE)?;
                parts.iter().try_for_each(|part| part.run(store))?;
                open.commit()
            }
            Operation::Clear => store.write(PATIENCE, |writer| writer.clear()).map(|_| ()),
            Operation::Compact => store.compact(PATIENCE),
            Operation::Sync => store.sync(PATIENCE),
            Operation::Repair => {
                let findings = store.repair(PATIENCE)?;
                assert!(findings.is_empty(), "{findings:?}");
                Ok(())
            }
            Operation::Limit(size_limit) => {
                let settings = Settings { size_limit: *size_limit, ..store.settings() };
                store.write(PATIENCE, |writer| writer.set_settings(&settings))
            }
            Operation::Push(side, value) => push(store, *side, value),
            Operation::Pull(side) => pull(store, *side),
        }
    }

    pub(super) fn apply(&self, model: &mut Model) {
        match self {
            Operation::Put(key, value, _) => drop(model.insert(key.clone(), value.clone())),
            Operation::Remove(key) => drop(model.remove(key)),
            Operation::Transaction(parts) => parts.iter().for_each(|part| part.apply(model)),
            Operation::Clear => model.clear(),
            Operation::Push(side, value) => {
                let number = match (outermost(model, *side), side) {
                    (None, _) => START,
                    (Some(last), Side::Front) => last - 1,
                    (Some(last), Side::Back) => last + 1,
                };
                model.insert(item_key(number), value.clone());
            }
            Operation::Pull(side) => {
                if let Some(number) = outermost(model, *side) {
                    model.remove(&item_key(number));
                }
            }
            _ => {}
        }
    }
}

pub(super) fn put(store: &Store, key: &[u8], value: &[u8], is_file: bool) -> Result<()> {
    let staged = if is_file { Some(store.stage_bytes(value, PATIENCE)?) } else { None };
    let key = store.hashed(key);
    store.write(PATIENCE, |writer| {
        let found = writer.find(key)?;
        let value = staged.map_or(PutValue::Bytes(value), PutValue::Staged);
        let (expires_ms, stored_ms) = (LOCATION_MASK, 1);
        let put = Put { value_kind: 7, value, tag: b"", expires_ms, stored_ms, keep_access: false };
        writer.put(key, found.as_ref(), put)
    })
}

/// The queue beside the keys: their bytes have not the shape of its items.
fn queue() -> Queue {
    Queue::new(Some("q")).unwrap()
}

fn item_key(number: u64) -> Vec<u8> {
    let mut key = Vec::new();
    queue().key(number, &mut key);
    key
}

fn outermost(model: &Model, side: Side) -> Option<u64> {
    let mut numbers = model.keys().filter_map(|key| queue().number(key));
    if side == Side::Front { numbers.next() } else { numbers.next_back() }
}

fn push(store: &Store, side: Side, value: &[u8]) -> Result<()> {
    let (value, expires_ms, stored_ms) = (PutValue::Bytes(value), LOCATION_MASK, 1);
    let put = Put { value_kind: 7, value, tag: b"", expires_ms, stored_ms, keep_access: false };
    let (mut put, mut search) = (Some(put), Search::default());
    loop {
        match store.write(PATIENCE, |it| it.queue_push(&queue(), side, &mut put, &mut search))? {
            Sought::Done(_) => return Ok(()),
            Sought::More => {}
            Sought::Unknown => store.count_queue(&queue(), &mut search, PATIENCE, 1)?,
        }
    }
}

fn pull(store: &Store, side: Side) -> Result<()> {
    let mut search = Search::default();
    loop {
        let take = |writer: &mut Writer<'_>| {
            writer.queue_take(&queue(), side, |_, _| true, 1, &mut search)
        };
        match store.write(PATIENCE, take)? {
            Sought::Done(_) => return Ok(()),
            Sought::More => {}
            Sought::Unknown => store.count_queue(&queue(), &mut search, PATIENCE, 1)?,
        }
    }
}

pub(super) fn open(path: &Path) -> Store {
    let settings = Settings { size_limit: LIMIT, ..Settings::default() };
    let options = OpenOptions {
        create: true,
        read_only: false,
        allow_network: true,
        settings: Some(settings),
    };
    Store::open(path, &options).unwrap()
}

pub(super) fn contents(store: &Store) -> Model {
    let (mut scan, mut item) = (store.scan(), Item::default());
    let mut model = Model::new();
    while scan.next(store, &mut item).unwrap() {
        let value = value_of(store, &item.key);
        let value = value.unwrap_or_else(|| panic!("no get of {:?}", item.key));
        assert!(model.insert(item.key.clone(), value).is_none(), "{:?} comes twice", item.key);
    }
    model
}

fn value_of(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    let hit = store.get(store.hashed(key), None, &mut value).unwrap()?;
    if hit.header.is_file() {
        let file = FileRef::decode(&value).unwrap();
        let opened = store.open_value_file(file).unwrap().expect("the value file is there");
        value.resize(file.len as usize, 0);
        opened.read_exact_at(&mut value, 0).unwrap();
    }
    Some(value)
}

/// Copies a store, as it is at this instant, to a new place that it takes for its own.
pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::write(target, std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
    let facts = std::fs::metadata(to).unwrap();
    if let Ok(head) = std::fs::File::options().write(true).open(to.join("head")) {
        head.write_all_at(&facts.dev().to_le_bytes(), 8 * DEVICE as u64).unwrap();
        head.write_all_at(&facts.ino().to_le_bytes(), 8 * INODE as u64).unwrap();
    }
}

/// No file lies in the directory that the store does not know of. What a killed process had begun
/// may be there until the next sweep.
pub(super) fn assert_no_leaks(store: &Store, is_swept: bool) {
    let shared = store.shared();
    let (state, tail) = (store.state(), shared.head.tail().segment());
    for name in shared.dir.list("").unwrap() {
        if let Some(segment) = Segment::from_file_name(&name) {
            assert!(!is_swept || segment.is_within(state.oldest, tail), "{name} {state:?}");
        }
        let generation = state.geometry.generation();
        if let Some(found) = file_generation(&name) {
            assert!(!is_swept || found == generation, "{name} {state:?}");
        }
    }
    if is_swept {
        let len = |name: &String| {
            let file = shared.dir.file(name, false).unwrap();
            file.metadata().unwrap().len().next_multiple_of(4096)
        };
        let bytes: u64 = shared.value_files().unwrap().iter().map(len).sum();
        assert_eq!(bytes, state.file_bytes);
    }
}

/// Opens a copy: it must hold one of these, and be in order; which.
pub(super) fn verify(path: &Path, models: [&Model; 2]) -> usize {
    let store = open(path);
    read_as_it_is(&store, models);
    store.write(PATIENCE, |_| Ok(())).unwrap();
    let found = contents(&store);
    let which = models.iter().rposition(|model| **model == found);
    let which = which.unwrap_or_else(|| panic!("{}", difference(&found, models)));
    let findings = store.check(PATIENCE).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    assert_no_leaks(&store, false);
    which
}

/// What readers find before any writer has come: of the operation that was cut short all or nothing,
/// and all else.
fn read_as_it_is(store: &Store, [before, after]: [&Model; 2]) {
    let mut seen = [true; 2];
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for key in &keys {
        let found = value_of(store, key);
        let is_of = [before, after].map(|model| model.get(*key) == found.as_ref());
        assert!(is_of[0] || is_of[1], "{key:?} is neither what it was nor what it was to be");
        seen = [seen[0] && is_of[0], seen[1] && is_of[1]];
    }
    assert!(seen[0] || seen[1], "a part of it is there, and a part is not");
    let walked = contents(store);
    assert!(walked.keys().all(|key| keys.contains(key)), "a walk finds what was never there");
    let stays = |(key, value): &(&Vec<u8>, &Vec<u8>)| after.get(*key) == Some(*value);
    let missed = before.iter().filter(stays).find(|(key, value)| walked.get(*key) != Some(*value));
    assert_eq!(missed, None, "a walk misses it");
}

pub(super) fn difference(found: &Model, models: [&Model; 2]) -> String {
    let list = models.map(|model| {
        let lost = model.iter().filter(|(key, value)| found.get(*key) != Some(value)).count();
        let more = found.keys().filter(|key| !model.contains_key(*key)).count();
        format!("of {}: {lost} lost or changed, {more} too many", model.len())
    });
    format!("neither before nor after: {list:?}")
}

/// Goes on with a copy, and looks again.
pub(super) fn go_on(path: &Path, model: &Model, random: &mut Random, steps: u64) {
    let store = open(path);
    let mut model = model.clone();
    let from = random.below(1000);
    for step in from..from + steps {
        let operation = Operation::random(random, step);
        operation.run(&store).unwrap();
        operation.apply(&mut model);
    }
    store.compact(PATIENCE).unwrap();
    assert_no_leaks(&store, true);
    drop(store);
    verify(path, [&model, &model]);
}

/// Copies taken in the middle of `work`: before each call, and before one in `rate` stores.
pub(super) fn killed_in<R>(
    path: &Path,
    copies: &Path,
    (seed, rate): (u64, u64),
    work: impl FnOnce() -> R,
) -> (R, Vec<(PathBuf, String)>) {
    let taken = Rc::new(RefCell::new(Vec::new()));
    let (list, from, to) = (Rc::clone(&taken), path.to_owned(), copies.to_owned());
    let (mut random, mut count) = (Random(seed), 0u64);
    let hook = move |step: Step| {
        count += 1;
        let is_taken = match step {
            Step::Store => random.below(rate) == 0,
            // What is on disk makes no difference to a process.
            Step::Call("open") | Step::Sync(_) | Step::Flush => false,
            Step::Call(_) | Step::Punch(_) => true,
        };
        if !is_taken {
            return Ok(());
        }
        let target = to.join(count.to_string());
        copy(&from, &target);
        list.borrow_mut().push((target, format!("step {count}, {step:?}")));
        Ok(())
    };
    let result = watch(hook, work);
    (result, taken.take())
}

/// Runs `steps` random operations and looks at copies of each.
fn storm(seed: u64, steps: u64) {
    let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let (path, copies) = (place.path().join("store"), place.path().join("copies"));
    let mut store = open(&path);
    let (mut random, mut model) = (Random(seed), Model::new());
    for step in 0..steps {
        let operation = Operation::random(&mut random, step);
        let mut after = model.clone();
        operation.apply(&mut after);
        let rate = match &operation {
            Operation::Put(..) | Operation::Remove(_) | Operation::Limit(_) => 12,
            Operation::Push(..) | Operation::Pull(_) => 12,
            _ => 100,
        };
        let seed = random.below(1 << 30);
        let (result, taken) = killed_in(&path, &copies, (seed, rate), || operation.run(&store));
        result.unwrap();
        let mut before_commit = true;
        for (path, what) in taken {
            let what_for: String = format!("{operation:?}").chars().take(100).collect();
            let name = format!("{what_for} in operation {step}, {what}");
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let again = path.with_extension("again");
                if random.below(20) == 0 {
                    // The recovery is killed, too.
                    let seed = random.below(1 << 30);
                    let ((), taken) = killed_in(&path, &again, (seed, 10), || {
                        verify(&path, [&model, &after]);
                    });
                    for (path, _) in taken {
                        verify(&path, [&model, &after]);
                    }
                    let _ = std::fs::remove_dir_all(&again);
                }
                let which = verify(&path, [&model, &after]);
                if model != after {
                    assert!(which == 1 || before_commit, "it was there and is gone");
                    before_commit = which == 0;
                }
                if random.below(30) == 0 {
                    go_on(&path, [&model, &after][which], &mut random, 150);
                }
            }));
            assert!(checked.is_ok(), "killed in {name}");
            std::fs::remove_dir_all(&path).unwrap();
        }
        model = after;
        if step % 100 == 99 {
            drop(store);
            verify(&path, [&model, &model]);
            store = open(&path);
        }
    }
}

#[test]
fn killed_anywhere_a_store_is_what_it_was_or_what_it_was_to_be() {
    let steps = std::env::var("FIRN_CRASH_STEPS").ok().and_then(|it| it.parse().ok());
    let seed = std::env::var("FIRN_CRASH_SEED").ok().and_then(|it| it.parse().ok());
    storm(seed.unwrap_or(7), steps.unwrap_or(400));
}

#[test]
fn a_sound_store_is_repaired_to_what_it_was() {
    for seed in 0..4 {
        let place = tempfile::tempdir().unwrap();
        let store = open(&place.path().join("store"));
        let (mut random, mut model) = (Random(seed), Model::new());
        for step in 0..600 {
            let operation = Operation::random(&mut random, step);
            operation.run(&store).unwrap();
            operation.apply(&mut model);
            if step % 20 == 0 {
                Operation::Repair.run(&store).unwrap();
            }
            assert_eq!(store.check(PATIENCE).unwrap(), [], "{seed} {step} {operation:?}");
            assert!(contents(&store) == model, "{seed} {step} {operation:?}");
        }
    }
}
