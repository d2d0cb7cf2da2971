//! The power goes, at any moment, again and again: in the middle of operations, and of what brings
//! the store in order afterwards.
//!
//! A store lives one life after the other, each in another boot. In the middle of each operation,
//! and of opening, images are taken of what a cut would leave ([`Disk::cut`]), and each of them must
//! be, once opened, the store after one of the operations since the last sync, or after that one;
//! of this life, as what the life began with was on disk. A life ends with such an image, and the
//! next begins with it. While what is promised is an empty store (`PowerLoss::Clear`), each must be
//! empty, or what a store was that is marked clean.
//!
//! `POWER_SEED` and `POWER_CUTS` have it go on for longer, and from elsewhere.

use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::disk::{Disk, Image};
use super::elsewhere::killed_elsewhere;
use super::killed::{Left, leave};
use crate::error::Result;
use crate::format::settings::{PowerLoss, Settings};
use crate::store::Store;
use crate::store::crash_tests::{
    Model, Operation, PATIENCE, Random, assert_no_leaks, contents, difference, go_on, open,
};
use crate::sys::testing::{Step, watch};
use crate::sys::trust::pretend::set_boot;

/// Lives of one store, and operations in each.
const LIVES: u64 = 12;
const OPERATIONS: u64 = 60;
/// Cuts in one operation.
const CUTS: usize = 6;

/// What is done to the store.
#[derive(Debug)]
enum Deed {
    Do(Operation),
    /// What every write does with `Durability::Sync`.
    SyncLog,
    Reopen,
    /// Another promise for power loss.
    Promise(PowerLoss),
    /// A writer is killed before it can commit this.
    Leave(Left, Vec<u32>, usize),
    /// It is done by another process, which is killed before this step of it.
    Elsewhere(Box<Deed>, u64),
}

impl Deed {
    fn random(random: &mut Random, step: u64) -> Deed {
        match random.below(100) {
            0..5 => Deed::SyncLog,
            5..6 => Deed::Reopen,
            6..9 => {
                let left = [Left::Plain, Left::Half, Left::Whole][random.below(3) as usize];
                let keys =
                    (0..1 << random.below(6)).map(|_| random.below(1 << 32) as u32).collect();
                Deed::Leave(left, keys, random.below(200) as usize)
            }
            9..12 if random.below(4) == 0 => Deed::Promise(PowerLoss::Clear),
            9..12 => Deed::Promise(PowerLoss::Recover),
            12..14 => Deed::Do(Operation::Sync),
            14..26 => {
                let deed = match random.below(12) {
                    0 => Deed::Do(Operation::Clear),
                    1 => Deed::Do(Operation::Compact),
                    2 => Deed::Do(Operation::Sync),
                    3 => Deed::Do(Operation::Repair),
                    _ => Deed::random(random, step),
                };
                Deed::elsewhere(random, deed)
            }
            _ => Deed::Do(Operation::random(random, step)),
        }
    }

    fn elsewhere(random: &mut Random, deed: Deed) -> Deed {
        let most = 1 << (1 + random.below(12));
        match deed {
            Deed::Elsewhere(..) => deed,
            // To its end, as then its process ends.
            Deed::Leave(..) => Deed::Elsewhere(Box::new(deed), u64::MAX),
            _ => Deed::Elsewhere(Box::new(deed), random.below(most)),
        }
    }

    /// What it makes of the contents.
    fn apply(&self, model: &mut Model) {
        match self {
            Deed::Do(operation) => operation.apply(model),
            Deed::Elsewhere(deed, _) => deed.apply(model),
            _ => {}
        }
    }

    /// Whether it is done by another process, and nothing is left of it for later.
    fn is_over(&self) -> bool {
        matches!(self, Deed::Elsewhere(deed, _) if !matches!(**deed, Deed::Leave(..)))
    }

    fn may_sync(&self) -> bool {
        matches!(self, Deed::Elsewhere(deed, _) if deed.is_sync())
    }

    /// Does it, or has it done, and then finished or taken back.
    fn done(
        &self,
        path: &Path,
        store: &mut Option<Store>,
        disk: &Rc<RefCell<Disk>>,
        notes: &Path,
    ) -> Result<()> {
        let Deed::Elsewhere(deed, at) = self else { return self.run(path, store) };
        killed_elsewhere(disk, notes, *at, || deed.run(path, store).unwrap());
        match self.is_over() {
            true => store.as_ref().unwrap().write(PATIENCE, |_| Ok(())),
            false => Ok(()),
        }
    }

    fn is_sync(&self) -> bool {
        matches!(self, Deed::SyncLog | Deed::Do(Operation::Sync))
    }

    /// What a cut may leave of it although it was never committed, in order.
    fn in_doubt(&self, model: &Model) -> Vec<Model> {
        let (left, keys, len) = match self {
            Deed::Leave(left, keys, len) => (left, keys, len),
            Deed::Elsewhere(deed, _) => return deed.in_doubt(model),
            _ => return Vec::new(),
        };
        let mut model = model.clone();
        let more = keys.iter().map(|key| {
            model.insert(key.to_be_bytes().to_vec(), vec![0xEE; *len]);
            model.clone()
        });
        let more: Vec<Model> = more.collect();
        match left {
            Left::Plain => more,
            Left::Half => Vec::new(),
            Left::Whole => more.into_iter().next_back().into_iter().collect(),
        }
    }

    /// One in so many stores is cut before.
    fn rate(&self) -> u64 {
        match self {
            Deed::Do(Operation::Transaction(parts)) => 20 + 20 * parts.len() as u64,
            Deed::Do(Operation::Put(..) | Operation::Remove(_)) => 40,
            Deed::Do(Operation::Compact | Operation::Repair) => 2000,
            _ => 200,
        }
    }

    fn run(&self, path: &Path, store: &mut Option<Store>) -> Result<()> {
        let open_store = store.as_ref().unwrap();
        match self {
            Deed::Do(operation) => operation.run(open_store),
            Deed::SyncLog => open_store.sync_log(),
            Deed::Reopen => {
                *store = None;
                *store = Some(open(path));
                Ok(())
            }
            Deed::Promise(power_loss) => {
                let settings = Settings { power_loss: *power_loss, ..open_store.settings() };
                open_store.write(PATIENCE, |writer| writer.set_settings(&settings))
            }
            Deed::Leave(left, keys, len) => {
                open_store.write(PATIENCE, |writer| writer.begin_changes())?;
                leave(open_store, keys, &vec![0xEE; *len], *left);
                Ok(())
            }
            Deed::Elsewhere(..) => unreachable!("done by another process"),
        }
    }
}

/// A number that stands for all that a store holds.
fn fingerprint(model: &Model) -> u64 {
    let mut hasher = DefaultHasher::new();
    model.hash(&mut hasher);
    hasher.finish()
}

/// The contents that a cut may leave, in order.
struct Allowed(Vec<(u64, Model)>);

impl Allowed {
    fn only(model: &Model) -> Allowed {
        Allowed(vec![(fingerprint(model), model.clone())])
    }

    fn push(&mut self, model: &Model) {
        self.0.push((fingerprint(model), model.clone()));
    }

    #[track_caller]
    fn assert_has(&self, found: &Model, what: &str) {
        let mark = fingerprint(found);
        if self.0.iter().any(|(allowed, _)| *allowed == mark) {
            return;
        }
        let lists = self.0.iter().enumerate().map(|(at, (_, model))| {
            let is_different = |key: &&Vec<u8>| found.get(*key) != model.get(*key);
            let keys: std::collections::BTreeSet<_> = found.keys().chain(model.keys()).collect();
            (keys.into_iter().filter(is_different).count(), at)
        });
        let (_, nearest) = lists.min().unwrap();
        let near = &self.0[nearest].1;
        panic!(
            "{what}: none of the {} allowed ones; nearest is {nearest}: {}",
            self.0.len(),
            difference(found, [near, near])
        );
    }

    /// No lookup finds what no walk does.
    #[track_caller]
    fn assert_no_ghosts(&self, store: &Store, found: &Model, what: &str) {
        let known = self.0.iter().flat_map(|(_, model)| model.keys());
        let is_there =
            |key: &&Vec<u8>| store.get(store.hashed(key), None, &mut Vec::new()).unwrap().is_some();
        let ghost = known.filter(|key| !found.contains_key(*key)).find(is_there);
        assert_eq!(ghost, None, "{what}");
    }
}

/// A store from one boot to the next.
struct Life {
    disk: Rc<RefCell<Disk>>,
    /// None only while it is opened again.
    store: Option<Store>,
    model: Model,
    /// What a cut may leave.
    allowed: Allowed,
    /// What was never committed, and a cut may leave all the same.
    doubts: Vec<Model>,
}

impl Life {
    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }
}

struct Storm {
    random: Random,
    place: tempfile::TempDir,
    boots: u64,
    /// The boot of the life that goes on.
    boot: u64,
    /// All subsets of so many dirty pages are tried.
    few: usize,
    cuts: u64,
}

impl Storm {
    fn new(seed: u64, few: usize) -> Storm {
        let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Storm { random: Random(seed), place, boots: 0, boot: 0, few, cuts: 0 }
    }

    fn boot(number: u64) {
        let mut boot = [1; 16];
        boot[..8].copy_from_slice(&number.to_le_bytes());
        // In force until the next one: the thread ends with the test.
        std::mem::forget(set_boot(Some(boot)));
    }

    /// Runs `work`, and takes images of what cuts in the middle of it would leave.
    fn cut_in<R>(
        &mut self,
        disk: &Rc<RefCell<Disk>>,
        rate: u64,
        work: impl FnOnce() -> R,
    ) -> (R, Vec<(Vec<Image>, String)>) {
        let taken = Rc::new(RefCell::new(Vec::new()));
        let (list, disk) = (Rc::clone(&taken), Rc::clone(disk));
        let (mut random, few, mut count) = (Random(self.random.below(1 << 30)), self.few, 0u64);
        let hook = move |step: Step| {
            count += 1;
            let (cut_rate, back_rate) = match step {
                Step::Store => (rate, 10 * rate),
                Step::Call("open") => (50, 50),
                _ => (4, 20),
            };
            let (mut disk, mut list) = (disk.borrow_mut(), list.borrow_mut());
            if random.below(back_rate) == 0 {
                disk.write_back(&mut random);
            }
            if random.below(cut_rate) == 0 && list.len() < CUTS {
                let few = if random.below(16) == 0 { few } else { 2 };
                list.push((disk.cut(&mut random, few, 2), format!("step {count}, {step:?}")));
            }
            disk.before(step);
            Ok(())
        };
        let result = watch(hook, work);
        (result, taken.take())
    }

    /// Each image is opened, and must be in order.
    fn verify(&mut self, images: Vec<(Vec<Image>, String)>, allowed: &Allowed, what: &str) {
        let path = self.place.path().join("image");
        self.boots += 1;
        for (images, step) in images {
            for (at, image) in images.iter().enumerate() {
                let what = format!("{what}, {step}, image {at}");
                image.write_to(&path);
                Storm::boot(self.boots);
                let store = open(&path);
                let found = contents(&store);
                allowed.assert_has(&found, &what);
                allowed.assert_no_ghosts(&store, &found, &what);
                store.write(PATIENCE, |_| Ok(())).unwrap();
                assert!(contents(&store) == found, "{what}: otherwise after a write");
                let findings = store.check(PATIENCE).unwrap();
                assert!(
                    findings.is_empty(),
                    "{what}: {findings:?} where the disk had {}, and now {:?}",
                    image.head(),
                    store.state()
                );
                assert_no_leaks(&store, false);
                drop(store);
                if self.random.below(50) == 0 {
                    go_on(&path, &found, &mut self.random, 40);
                }
                std::fs::remove_dir_all(&path).unwrap();
                self.cuts += 1;
            }
        }
        Storm::boot(self.boot);
    }

    /// One life: from what the last one has left, to an image that the next begins with.
    fn live(&mut self, path: &Path, allowed: &Allowed, name: &str) -> (Image, Allowed) {
        self.boots += 1;
        self.boot = self.boots;
        Storm::boot(self.boot);
        let disk = Rc::new(RefCell::new(Disk::of(path)));
        if self.random.below(3) == 0 {
            let (at, notes) = (self.random.below(3000), self.place.path().join("notes"));
            killed_elsewhere(&disk, &notes, at, || {
                open(path).write(PATIENCE, |_| Ok(())).unwrap();
            });
        }
        let (store, images) = self.cut_in(&disk, 300, || {
            let store = open(path);
            store.write(PATIENCE, |_| Ok(())).unwrap();
            store
        });
        let model = contents(&store);
        allowed.assert_has(&model, name);
        assert_eq!(store.check(PATIENCE).unwrap(), [], "{name}");
        let mut allowed = Allowed::only(&model);
        if clears(&store) {
            allowed.push(&Model::new());
        }
        self.verify(images, &allowed, &format!("{name}, opening"));
        let mut life = Life { disk, store: Some(store), model, allowed, doubts: Vec::new() };
        let first = self.random.below(1000);
        for step in 0..1 + self.random.below(OPERATIONS) {
            let mut deed = Deed::random(&mut self.random, first + step);
            // The first change since all was on disk takes the clean mark back.
            if life.store().shared().head.is_clean() && self.random.below(2) == 0 {
                deed = Deed::elsewhere(&mut self.random, deed);
            }
            self.step(&mut life, path, &deed, &format!("{name}, operation {step}"));
        }
        let image = life.disk.borrow_mut().cut(&mut self.random, 0, 1).remove(0);
        (image, life.allowed)
    }

    /// One deed, and what cuts in the middle of it leave.
    fn step(&mut self, life: &mut Life, path: &Path, deed: &Deed, name: &str) {
        let mut after = life.model.clone();
        deed.apply(&mut after);
        let was_clearing = clears(life.store());
        let (disk, notes) = (Rc::clone(&life.disk), self.place.path().join("notes"));
        let work = || deed.done(path, &mut life.store, &disk, &notes);
        let (result, images) = self.cut_in(&disk, deed.rate(), work);
        let what: String = format!("{name}, {deed:?}").chars().take(140).collect();
        result.unwrap_or_else(|error| panic!("{what}: {error}"));
        // What was killed has been finished or taken back.
        let is_over = deed.is_over();
        if is_over {
            let found = contents(life.store());
            assert!(found == life.model || found == after, "{what}: half of it is there");
            life.doubts = if found == after { Vec::new() } else { vec![after] };
            life.model = found;
        } else {
            life.model = after;
            // Nobody has written since: neither syncing the log nor opening does.
            if !matches!(deed, Deed::SyncLog | Deed::Reopen) {
                life.doubts = deed.in_doubt(&life.model);
            }
        }
        let is_clearing = clears(life.store());
        if was_clearing || is_clearing {
            life.allowed.push(&Model::new());
        }
        let certain = life.allowed.0.len();
        if !was_clearing {
            life.doubts.iter().for_each(|model| life.allowed.push(model));
        }
        let in_doubt = certain..life.allowed.0.len();
        let keeps = deed.is_sync() || was_clearing != is_clearing;
        if !was_clearing || keeps || deed.may_sync() {
            life.allowed.push(&life.model);
        }
        self.verify(images, &life.allowed, &what);
        if is_over {
            life.allowed.0.drain(in_doubt);
            life.doubts.clear();
        }
        if is_clearing && life.store().shared().head.is_changed() {
            life.allowed = Allowed::only(&Model::new());
        } else if keeps {
            life.allowed = Allowed::only(&life.model);
            life.doubts.iter().for_each(|model| life.allowed.push(model));
        }
    }

    fn run(&mut self, cuts: u64) {
        let mut stores = 0;
        while self.cuts < cuts {
            let path = self.place.path().join(format!("{stores}.0"));
            std::fs::create_dir(&path).unwrap();
            let (mut path, mut allowed) = (path, Allowed::only(&Model::new()));
            for life in 0..LIVES {
                let name = format!("store {stores}, life {life}");
                let (image, left) = self.live(&path, &allowed, &name);
                std::fs::remove_dir_all(&path).unwrap();
                let next: PathBuf = self.place.path().join(format!("{stores}.{}", life + 1));
                image.write_to(&next);
                (path, allowed) = (next, left);
            }
            std::fs::remove_dir_all(&path).unwrap();
            stores += 1;
        }
        println!("{} cuts, in {stores} stores of {LIVES} lives each", self.cuts);
    }
}

/// Whether nothing is promised but an empty store.
fn clears(store: &Store) -> bool {
    store.settings().power_loss == PowerLoss::Clear
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|it| it.parse().unwrap())
}

#[test]
fn what_a_power_cut_leaves_is_a_prefix_with_all_that_was_synced() {
    let (seed, cuts) = (number("POWER_SEED"), number("POWER_CUTS"));
    let few = if cuts.is_some() { 12 } else { 4 };
    Storm::new(seed.unwrap_or(1), few).run(cuts.unwrap_or(3000));
}
