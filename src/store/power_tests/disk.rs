//! A disk beside a directory: what a power cut would leave of its files and names.
//!
//! What is *kept* is on disk for certain: bytes of files that were synced, or that were written back
//! unasked, and names in directories that were synced. All else may be there or not:
//!
//! ```text
//! pages of 4 KiB    each as it is kept, or as it is now; in a cut, torn at 512 bytes
//! length of a file  as it is kept, or longer, up to what it is now
//! names             made, moved and removed in order: as many of the changes as you like, from the first
//! holes             in the order of the changes of names; the last one from anywhere in the file to its end
//! ```
//!
//! Journaling file systems (ext4, xfs) keep the order of changes of names; more than that is not
//! believed of them: syncing a file does not make its name durable here. Syncing a directory makes
//! durable the changes up to the last one that concerns it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::elsewhere::Notes;
use crate::format::head::{APPLIED, BOOT, CLEAN, GEOMETRY, TAIL};
use crate::store::crash_tests::Random;
use crate::sys::testing::Step;

const PAGE: usize = 4096;
const SECTOR: usize = 512;
/// The calls that change names.
const NAMING: [&str; 5] = ["create", "mkdir", "rename", "link", "unlink"];

type Names = BTreeMap<String, u64>;

/// What a journal keeps in order.
enum Change {
    /// Names that changed at once, and the inode of each from then on.
    Names(Vec<(String, Option<u64>)>),
    /// The space of this inode was given back.
    Punch(u64),
}

/// What the changes come to.
#[derive(Clone, Default)]
struct Tree {
    names: Names,
    punched: BTreeSet<u64>,
}

impl Tree {
    fn apply(&mut self, change: &Change) {
        let changed = match change {
            Change::Names(changed) => changed,
            Change::Punch(inode) => {
                self.punched.insert(*inode);
                return;
            }
        };
        for (name, inode) in changed {
            match inode {
                Some(inode) => drop(self.names.insert(name.clone(), *inode)),
                None => drop(self.names.remove(name)),
            }
        }
    }
}

/// The disk under one directory.
pub(super) struct Disk {
    root: PathBuf,
    kept: Tree,
    /// What has changed since, in order.
    changes: Vec<Change>,
    now: Names,
    inodes: BTreeMap<u64, Inode>,
    /// A call was made that may have changed names.
    has_changed: bool,
}

struct Inode {
    /// None for a directory.
    file: Option<File>,
    kept: Vec<u8>,
    /// What was in it when its space was given back.
    last: Option<Vec<u8>>,
}

/// A directory as a power cut leaves it: names, and the bytes of those that are files.
pub(super) struct Image(Vec<(String, Option<Vec<u8>>)>);

impl Image {
    /// Words of the head that decide what is believed.
    pub(super) fn head(&self) -> String {
        let head = self.0.iter().find(|(name, _)| name == "head");
        let Some((_, Some(bytes))) = head else { return "no head".to_owned() };
        let word = |at: usize| {
            bytes.get(8 * at..8 * at + 8).map(|it| u64::from_le_bytes(it.try_into().unwrap()))
        };
        let words = [BOOT, CLEAN, TAIL, APPLIED, GEOMETRY].map(word);
        format!("boot, clean, tail, applied, geometry {words:x?}")
    }

    pub(super) fn write_to(&self, path: &Path) {
        std::fs::create_dir_all(path).unwrap();
        for (name, bytes) in &self.0 {
            match bytes {
                Some(bytes) => std::fs::write(path.join(name), bytes).unwrap(),
                None => std::fs::create_dir(path.join(name)).unwrap(),
            }
        }
    }
}

impl Inode {
    fn open(path: &Path) -> Inode {
        let file = (!path.is_dir()).then(|| File::open(path).unwrap());
        Inode { file, kept: Vec::new(), last: None }
    }

    fn bytes(&self) -> Vec<u8> {
        let Some(file) = &self.file else { return Vec::new() };
        if let Some(last) = &self.last {
            return last.clone();
        }
        let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// The pages that are not on disk as they are in `bytes`.
    fn dirty(&self, bytes: &[u8]) -> Vec<usize> {
        let is_dirty = |page: &usize| {
            let range = PAGE * page..(PAGE * (page + 1)).min(bytes.len());
            match self.kept.get(range.clone()) {
                Some(kept) => *kept != bytes[range],
                None => bytes[range.clone()] != whole(&self.kept, range.end)[range],
            }
        };
        (0..bytes.len().div_ceil(PAGE)).filter(is_dirty).collect()
    }
}

/// These bytes, and zeros behind them.
fn whole(bytes: &[u8], len: usize) -> Vec<u8> {
    let mut whole = bytes.to_vec();
    whole.resize(len.max(bytes.len()), 0);
    whole
}

fn list(path: &Path, above: &str, names: &mut Names) {
    for entry in std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap()) {
        let name = format!("{above}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            list(&entry.path(), &format!("{name}/"), names);
        }
        names.insert(name, entry.ino());
    }
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Disk {
    /// All that is there is on disk.
    pub(super) fn of(root: &Path) -> Disk {
        let mut disk = Disk {
            root: root.to_owned(),
            kept: Tree::default(),
            changes: Vec::new(),
            now: Names::new(),
            inodes: BTreeMap::new(),
            has_changed: true,
        };
        disk.look();
        disk.kept.names = disk.now.clone();
        disk.changes.clear();
        disk.inodes.values_mut().for_each(|inode| inode.kept = inode.bytes());
        disk
    }

    /// Names may have changed by steps that were not seen.
    pub(super) fn look_again(&mut self) {
        self.has_changed = true;
        self.look();
    }

    /// The bytes of all files.
    pub(super) fn now(&self) -> BTreeMap<u64, Vec<u8>> {
        self.inodes.iter().map(|(number, inode)| (*number, inode.bytes())).collect()
    }

    pub(super) fn bytes_of(&self, number: u64) -> Option<Vec<u8>> {
        self.inodes.get(&number).map(Inode::bytes)
    }

    /// Another process took these steps; when in all that has changed since is not known.
    pub(super) fn was_elsewhere(&mut self, notes: Notes) {
        self.look_again();
        let root = std::fs::metadata(&self.root).unwrap().ino();
        // First: what was synced before its space was given back is not blank on disk.
        for (step, bytes) in &notes {
            if let (Step::Punch(number), Some(bytes)) = (step, bytes)
                && let Some(inode) = self.inodes.get_mut(number)
            {
                inode.last = Some(bytes.clone());
            }
        }
        for (step, _) in notes {
            match step {
                // Made and deleted there, or a directory that is gone.
                Step::Sync(number) if number != root && !self.can_be_synced(number) => {}
                Step::Punch(number) => self.changes.push(Change::Punch(number)),
                step => self.before(step),
            }
        }
    }

    fn can_be_synced(&self, number: u64) -> bool {
        let has_name = || self.now.values().any(|inode| *inode == number);
        self.inodes.get(&number).is_some_and(|inode| inode.file.is_some() || has_name())
    }

    /// Takes in how names have changed since the last look.
    fn look(&mut self) {
        if !std::mem::take(&mut self.has_changed) {
            return;
        }
        let mut now = Names::new();
        list(&self.root, "", &mut now);
        let is_new = |(name, inode): &(&String, &u64)| self.now.get(*name) != Some(*inode);
        let mut change: Vec<_> =
            now.iter().filter(is_new).map(|(name, inode)| (name.clone(), Some(*inode))).collect();
        for (name, inode) in &change {
            let open = || Inode::open(&self.root.join(name));
            self.inodes.entry(inode.unwrap()).or_insert_with(open);
        }
        let gone = self.now.keys().filter(|name| !now.contains_key(*name));
        change.extend(gone.map(|name| (name.clone(), None)));
        if !change.is_empty() {
            self.changes.push(Change::Names(change));
        }
        self.now = now;
    }

    /// What comes before the step is looked at, and what the step waits for is on disk after it.
    pub(super) fn before(&mut self, step: Step) {
        match step {
            Step::Store => {}
            Step::Call(name) => {
                self.look();
                self.has_changed = NAMING.contains(&name);
            }
            Step::Punch(inode) => {
                self.look();
                if let Some(inode) = self.inodes.get_mut(&inode) {
                    inode.last = Some(inode.bytes());
                }
                self.changes.push(Change::Punch(inode));
            }
            Step::Sync(inode) => self.sync(inode),
            Step::Flush => {
                self.look();
                self.sync(self.now["head"]);
            }
        }
    }

    fn sync(&mut self, number: u64) {
        self.look();
        let is_root = std::fs::metadata(&self.root).unwrap().ino() == number;
        let name = self.now.iter().find(|(_, inode)| **inode == number).map(|(name, _)| &name[..]);
        match self.inodes.get_mut(&number) {
            Some(inode) if inode.file.is_some() => inode.kept = inode.bytes(),
            found => {
                assert!(is_root || found.is_some(), "a sync of what is not here");
                let name = if is_root { "" } else { name.unwrap() };
                let concerns = |change: &Change| match change {
                    Change::Names(changed) => changed.iter().any(|(it, _)| parent(it) == name),
                    Change::Punch(_) => false,
                };
                let count = self.changes.iter().rposition(concerns).map_or(0, |at| at + 1);
                self.changes.drain(..count).for_each(|change| self.kept.apply(&change));
            }
        }
    }

    /// Inodes that have a name, or had one that may still be on disk.
    fn forget_unnamed(&mut self) {
        let mut named: BTreeSet<u64> =
            self.kept.names.values().chain(self.now.values()).copied().collect();
        for change in &self.changes {
            if let Change::Names(changed) = change {
                named.extend(changed.iter().filter_map(|(_, inode)| *inode));
            }
        }
        self.inodes.retain(|number, _| named.contains(number));
    }

    /// Writes some pages to disk that nobody asked for.
    pub(super) fn write_back(&mut self, random: &mut Random) {
        let share = [1, 8, 15, 16][random.below(4) as usize];
        for inode in self.inodes.values_mut() {
            if random.below(2) == 0 {
                continue;
            }
            let bytes = inode.bytes();
            for page in inode.dirty(&bytes) {
                if random.below(16) < share {
                    let range = PAGE * page..(PAGE * (page + 1)).min(bytes.len());
                    inode.kept = whole(&inode.kept, range.end);
                    inode.kept[range.clone()].copy_from_slice(&bytes[range]);
                }
            }
        }
    }

    /// What a cut can leave now: all subsets of the dirty pages if they are no more than `few`, else
    /// `samples` of them; other choices are made anew in each.
    pub(super) fn cut(&mut self, random: &mut Random, few: usize, samples: u64) -> Vec<Image> {
        self.look();
        self.forget_unnamed();
        let now = self.now();
        let dirty: Vec<(u64, usize)> = self
            .inodes
            .iter()
            .flat_map(|(number, inode)| {
                inode.dirty(&now[number]).into_iter().map(|page| (*number, page))
            })
            .collect();
        if dirty.len() <= few {
            let has = |subset: u64, at: usize| subset >> at & 1 != 0;
            return (0..1u64 << dirty.len())
                .map(|subset| self.image(random, &now, &dirty, |_, at| has(subset, at)))
                .collect();
        }
        let sample = |_| {
            let single = random.below(dirty.len() as u64) as usize;
            let (mode, seed) = (random.below(6), random.below(1 << 30));
            let mut dice = Random(seed);
            self.image(random, &now, &dirty, |inode, at| match mode {
                0 => at == single,
                1 => at != single,
                2 => true,
                3 => Random(seed ^ inode).below(2) == 0,
                _ => dice.below(8) < 1 + seed % 7,
            })
        };
        (0..samples).map(sample).collect()
    }

    /// One of the things that a cut can leave, with the dirty pages that `is_written` says.
    fn image(
        &self,
        random: &mut Random,
        now: &BTreeMap<u64, Vec<u8>>,
        dirty: &[(u64, usize)],
        mut is_written: impl FnMut(u64, usize) -> bool,
    ) -> Image {
        let mut files: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (number, inode) in &self.inodes {
            let (least, most) = (inode.kept.len(), now[number].len().max(inode.kept.len()));
            let len = match random.below(4) {
                0 => least,
                1 => least + random.below((most - least) as u64 + 1) as usize / PAGE * PAGE,
                _ => most,
            };
            files.insert(*number, whole(&inode.kept, len));
        }
        let tears = random.below(3) == 0;
        for (at, (number, page)) in dirty.iter().enumerate() {
            if !is_written(*number, at) {
                continue;
            }
            let (file, bytes) = (files.get_mut(number).unwrap(), &now[number]);
            let is_torn = tears && random.below(3) == 0;
            let end = (PAGE * (page + 1)).min(bytes.len()).min(file.len());
            for from in (PAGE * page..end).step_by(SECTOR) {
                if !is_torn || random.below(2) == 0 {
                    let range = from..(from + SECTOR).min(end);
                    file[range.clone()].copy_from_slice(&bytes[range]);
                }
            }
        }
        let count = match random.below(3) {
            0 => 0,
            1 => self.changes.len() as u64,
            _ => random.below(self.changes.len() as u64 + 1),
        };
        let mut tree = self.kept.clone();
        let changes = &self.changes[..count as usize];
        changes.iter().for_each(|change| tree.apply(change));
        for inode in &tree.punched {
            let Some(file) = files.get_mut(inode) else { continue };
            let is_last = matches!(changes.last(), Some(Change::Punch(last)) if last == inode);
            let pages = (file.len() / PAGE) as u64 + 1;
            let from = if is_last { random.below(pages) as usize * PAGE } else { 0 };
            file[from..].fill(0);
        }
        let bytes = |number: &u64| self.inodes[number].file.as_ref().map(|_| files[number].clone());
        Image(tree.names.iter().map(|(name, number)| (name.clone(), bytes(number))).collect())
    }
}
