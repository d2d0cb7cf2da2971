//! The shared page `head`, as words with meaning.

use std::sync::Arc;

use crate::format::head::{
    BELLS, BELLS_BYTE, BOOT, CHANGED, CLEAN, DAMAGED, DEVICE, GEOMETRY, HITS, INODE, IS_CLEAN,
    LOCK_BYTE, MISSES, OWED, PROMISED, SETTINGS, SYNC_FAILED, TAIL,
};
use crate::format::location::Location;
use crate::format::settings::{SETTINGS_WORDS, Settings};
use crate::format::state::{Applied, Geometry, State};
use crate::store::{promise, state_block};
use crate::sys::map::Map;
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering};

/// Which boot of which machine a store was last written in, and where it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Whereabouts {
    pub(crate) boot: [u64; 2],
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl Whereabouts {
    /// Whether the boot is known. Where it is not, it is another one than any before.
    pub(crate) fn has_boot(&self) -> bool {
        self.boot != [0, 0]
    }

    /// A number that stands for it, and is not 0.
    fn mark(&self) -> u64 {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let words = [self.boot[0], self.boot[1], self.device, self.inode];
        words.iter().fold(ODD, |mark, word| (mark ^ word).wrapping_mul(ODD).rotate_left(29)) | 1
    }
}

/// The mapped page.
pub(crate) struct Head {
    map: Arc<Map>,
}

impl Head {
    pub(crate) fn new(map: Arc<Map>) -> Head {
        Head { map }
    }

    pub(crate) fn map(&self) -> &Map {
        &self.map
    }

    #[inline]
    fn word(&self, index: usize) -> &AtomicU64 {
        &self.map.words()[index]
    }

    /// The lock word, if the page is mapped for writing.
    pub(crate) fn lock_word(&self) -> Option<&AtomicU32> {
        self.map.half(LOCK_BYTE)
    }

    /// The bell of this number; several numbers share one. If the page is mapped for writing.
    pub(crate) fn bell(&self, number: u64) -> Option<&AtomicU32> {
        let index = (number % BELLS as u64) as usize;
        self.map.half(BELLS_BYTE + size_of::<u32>() * index)
    }

    #[inline]
    pub(crate) fn tail(&self) -> Location {
        // ORDERING: Acquire, pairs with `set_tail`: the records before it are visible.
        Location::from_bits(self.word(TAIL).load(Ordering::Acquire))
    }

    /// The instant of commit for everything before `tail`.
    #[inline]
    pub(crate) fn set_tail(&self, tail: Location) {
        // ORDERING: Release, pairs with `tail`.
        self.word(TAIL).store(tail.bits(), Ordering::Release);
    }

    /// Promises to wait for the disk up to the end of the log; where that is.
    pub(crate) fn promise(&self) -> Location {
        let promised = self.map.is_writable().then(|| self.word(PROMISED));
        promise::promise(self.word(TAIL), promised)
    }

    /// Up to where somebody waits for the disk, or has done so. For who has moved `tail`.
    pub(crate) fn promised(&self) -> Location {
        promise::promised(self.word(PROMISED))
    }

    #[inline]
    pub(crate) fn applied(&self) -> Applied {
        state_block::applied(self.map.words())
    }

    /// One consistent state, and the word that selected it.
    pub(crate) fn state(&self) -> (Applied, State) {
        let (applied, words) = state_block::read(self.map.words());
        (applied, State::decode(&words))
    }

    /// Makes `state` hold and moves `applied` to `location`, in one store. The caller holds the
    /// lock, and `applied` is what it was.
    #[inline]
    pub(crate) fn flip(&self, applied: Applied, location: Location, state: &State) -> Applied {
        state_block::flip(self.map.words(), applied, location, state.encode())
    }

    pub(crate) fn geometry(&self) -> Geometry {
        Geometry(self.word(GEOMETRY).load(Ordering::Relaxed))
    }

    pub(crate) fn settings(&self) -> Settings {
        let words: [u64; SETTINGS_WORDS] =
            std::array::from_fn(|index| self.word(SETTINGS + index).load(Ordering::Relaxed));
        Settings::decode(&words)
    }

    /// Whether there are settings. All of them zero they are if they never reached the disk, and if a
    /// user has chosen so, which the log tells.
    pub(crate) fn has_settings(&self) -> bool {
        (0..SETTINGS_WORDS).any(|index| self.word(SETTINGS + index).load(Ordering::Relaxed) != 0)
    }

    pub(crate) fn set_settings(&self, words: &[u64]) {
        for (index, word) in words.iter().take(SETTINGS_WORDS).enumerate() {
            self.word(SETTINGS + index).store(*word, Ordering::Relaxed);
        }
    }

    pub(crate) fn whereabouts(&self) -> Whereabouts {
        // ORDERING: Acquire, pairs with `set_whereabouts`: a rebuilt store is seen as a whole.
        let load = |index| self.word(index).load(Ordering::Acquire);
        Whereabouts { boot: [load(BOOT), load(BOOT + 1)], device: load(DEVICE), inode: load(INODE) }
    }

    pub(crate) fn set_whereabouts(&self, here: &Whereabouts) {
        let words = [here.boot[0], here.boot[1], here.device, here.inode];
        for (index, word) in [BOOT, BOOT + 1, DEVICE, INODE].into_iter().zip(words) {
            // ORDERING: Release, pairs with `whereabouts`.
            self.word(index).store(word, Ordering::Release);
        }
    }

    /// Whether everything was on disk when the store was last written.
    pub(crate) fn is_clean(&self) -> bool {
        self.clean() == IS_CLEAN
    }

    /// Whether the disk says, too, that the store is not clean, and is waited for with nothing else.
    #[inline]
    pub(crate) fn is_changed(&self) -> bool {
        self.clean() == CHANGED
    }

    #[inline]
    fn clean(&self) -> u64 {
        // ORDERING: Acquire, pairs with `mark`.
        self.word(CLEAN).load(Ordering::Acquire)
    }

    fn mark(&self, clean: u64) {
        // ORDERING: Release, pairs with `clean`.
        self.word(CLEAN).store(clean, Ordering::Release);
    }

    pub(crate) fn set_clean(&self) {
        self.mark(IS_CLEAN);
    }

    /// The store is not clean, and the disk is to be waited for before it is changed: for `head`, and
    /// for names that are about to go. Whoever is killed before that leaves it to the next writer.
    pub(crate) fn owe(&self) {
        self.mark(OWED);
    }

    /// What was owed has been waited for.
    pub(crate) fn set_changed(&self) {
        self.mark(CHANGED);
    }

    /// Whether writing to disk has failed in the life of this boot.
    pub(crate) fn has_sync_failed(&self) -> bool {
        self.word(SYNC_FAILED).load(Ordering::Relaxed) != 0
    }

    /// Whether that was at this place, in this boot.
    pub(crate) fn has_sync_failed_at(&self, here: &Whereabouts) -> bool {
        self.word(SYNC_FAILED).load(Ordering::Relaxed) == here.mark()
    }

    /// Notes that a write to disk has failed here.
    pub(crate) fn set_sync_failed(&self, here: &Whereabouts) {
        if self.map.is_writable() {
            self.word(SYNC_FAILED).store(here.mark(), Ordering::Relaxed);
        }
    }

    pub(crate) fn forget_sync_failed(&self) {
        self.word(SYNC_FAILED).store(0, Ordering::Relaxed);
    }

    fn counter(&self, index: usize) -> &AtomicU64 {
        self.word(index)
    }

    pub(crate) fn hits(&self) -> &AtomicU64 {
        self.counter(HITS)
    }

    pub(crate) fn misses(&self) -> &AtomicU64 {
        self.counter(MISSES)
    }

    pub(crate) fn damaged(&self) -> &AtomicU64 {
        self.counter(DAMAGED)
    }

    /// Counts one damaged record, where this process may write.
    pub(crate) fn count_damaged(&self) {
        if self.map.is_writable() {
            self.damaged().fetch_add(1, Ordering::Relaxed);
        }
    }
}
