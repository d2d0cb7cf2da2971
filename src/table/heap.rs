//! A table in plain memory, for tests and models.

#[cfg(not(loom))]
use std::cell::RefCell;
#[cfg(not(loom))]
use std::rc::Rc;

use crate::format::entry::PAGE_WORDS;
use crate::format::slot::BUCKET_WORDS;
use crate::format::state::Geometry;
use crate::sys::sync::AtomicU64;
#[cfg(not(loom))]
use crate::sys::sync::Ordering;
#[cfg(not(loom))]
use crate::sys::testing::watch;
use crate::table::{Line, Space};

/// A fixed number of buckets, overflow buckets and pages, all zero at first.
pub(crate) struct Heap {
    geometry: AtomicU64,
    moves: AtomicU64,
    buckets: Vec<Line>,
    overflows: Vec<Line>,
    pages: Vec<Vec<AtomicU64>>,
}

impl Heap {
    pub(crate) fn new(geometry: Geometry, buckets: usize, overflows: usize, pages: usize) -> Heap {
        let line = || -> Line { std::array::from_fn::<_, BUCKET_WORDS, _>(|_| AtomicU64::new(0)) };
        Heap {
            geometry: AtomicU64::new(geometry.0),
            moves: AtomicU64::new(0),
            buckets: (0..buckets).map(|_| line()).collect(),
            overflows: (0..overflows).map(|_| line()).collect(),
            pages: (0..pages)
                .map(|_| (0..PAGE_WORDS).map(|_| AtomicU64::new(0)).collect())
                .collect(),
        }
    }
}

#[cfg(not(loom))]
impl Heap {
    /// All words as they are now.
    pub(crate) fn words(&self) -> Vec<u64> {
        let lines = self.buckets.iter().chain(&self.overflows).flatten();
        let heads = [&self.geometry, &self.moves];
        let all = heads.into_iter().chain(lines).chain(self.pages.iter().flatten());
        all.map(|word| word.load(Ordering::Relaxed)).collect()
    }

    /// Another table with the same words.
    pub(crate) fn copy(&self) -> Heap {
        let word = |word: &AtomicU64| AtomicU64::new(word.load(Ordering::Relaxed));
        let line = |line: &Line| -> Line { std::array::from_fn(|index| word(&line[index])) };
        Heap {
            geometry: word(&self.geometry),
            moves: word(&self.moves),
            buckets: self.buckets.iter().map(line).collect(),
            overflows: self.overflows.iter().map(line).collect(),
            pages: self.pages.iter().map(|page| page.iter().map(word).collect()).collect(),
        }
    }

    /// Does `job`, and does it again on every table that it leaves when it is cut short before one
    /// of its stores; what comes of that must be what comes of doing it once. `look` sees each of
    /// these tables before.
    pub(crate) fn cut_anywhere<R: PartialEq + std::fmt::Debug>(
        self,
        job: impl Fn(&Heap) -> R,
        look: impl Fn(&Heap),
    ) -> (Heap, R) {
        let (table, left) = (Rc::new(self), Rc::new(RefCell::new(Vec::new())));
        let hook = {
            let (table, left) = (Rc::clone(&table), Rc::clone(&left));
            move |_| {
                left.borrow_mut().push(table.copy());
                Ok(())
            }
        };
        let result = watch(hook, || job(&table));
        let table = table.copy();
        assert!(!left.borrow().is_empty(), "it stores nothing");
        for (store, cut) in left.borrow().iter().enumerate() {
            look(cut);
            assert_eq!(job(cut), result, "cut short before store {store}");
            assert!(cut.words() == table.words(), "cut short before store {store}");
        }
        (table, result)
    }
}

impl Space for Heap {
    fn geometry(&self) -> &AtomicU64 {
        &self.geometry
    }

    fn moves(&self) -> &AtomicU64 {
        &self.moves
    }

    fn bucket(&self, number: u64) -> Option<&Line> {
        self.buckets.get(number as usize)
    }

    fn overflow(&self, number: u32) -> Option<&Line> {
        self.overflows.get(number as usize)
    }

    fn page(&self, number: u32) -> Option<&[AtomicU64]> {
        self.pages.get(number as usize).map(Vec::as_slice)
    }

    fn pages_there(&self) -> u64 {
        self.pages.len() as u64
    }
}
