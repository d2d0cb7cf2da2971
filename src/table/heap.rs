//! A table in plain memory, for tests and models.

use crate::format::entry::PAGE_WORDS;
use crate::format::slot::BUCKET_WORDS;
use crate::format::state::Geometry;
use crate::sys::sync::AtomicU64;
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
}
