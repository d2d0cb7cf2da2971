//! A log and a table in plain memory, read by the real read path.

use std::sync::Arc;

use crate::error::Result;
use crate::format::head::APPLIED;
use crate::format::location::{Location, Segment};
use crate::format::record::{Header, Kind};
use crate::format::slot::{Slot, bucket_of};
use crate::format::state::{Applied, Geometry};
use crate::log::leftover::Leftover;
use crate::log::reader;
use crate::log::writer::write_record;
use crate::models::look::{Records, View, look};
use crate::models::state_block;
use crate::models::threads::thread;
use crate::sys::sync::{AtomicU64, Ordering};
use crate::table::heap::Heap;
use crate::table::lookup::lookup;
use crate::table::{Space, pages, publish};

const STORE_ID: u64 = 77;
/// Words of a segment: an unused one, a record of one body word, and the zero behind it.
const SEGMENT_WORDS: usize = 1 + 7 + 1;

/// Keys of one byte each, values of one byte.
pub(super) struct Store {
    pub(super) table: Heap,
    pub(super) head: Vec<AtomicU64>,
    /// Segment n lies in file n modulo their number: writing it overwrites an older one.
    files: Vec<Vec<AtomicU64>>,
}

/// The one record of a segment.
pub(super) fn at(segment: u64) -> Location {
    Location::new(Segment::new(segment), 1)
}

/// The place right behind the one record of a segment.
pub(super) fn after(segment: u64) -> Location {
    at(segment).plus(7)
}

/// Keys are even or odd by their last bit: that is the bucket when there are two of them.
pub(super) fn hash(key: u8) -> u64 {
    u64::from(key) << 49 | u64::from(key)
}

impl Store {
    /// A store with one bucket, no pages, and everything before segment 1 applied.
    pub(super) fn new(files: usize) -> Store {
        Store::with(files, Heap::new(Geometry::new(1, 1), 1, 0, 0))
    }

    pub(super) fn with(files: usize, table: Heap) -> Store {
        let words = |count| (0..count).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        let store = Store {
            table,
            head: words(crate::format::head::BLOCKS[1] + 1),
            files: (0..files).map(|_| words(SEGMENT_WORDS)).collect(),
        };
        store.head[APPLIED].store(Applied::new(at(1), 0).0, Ordering::Release);
        store
    }

    fn file(&self, segment: Segment) -> &[AtomicU64] {
        &self.files[segment.number() as usize % self.files.len()]
    }

    /// Writes the one record of a segment.
    pub(super) fn append(&self, segment: u64, kind: Kind, key: u8, value: u8, previous: Location) {
        let key_len = u32::from(kind == Kind::Put);
        let header = Header { key_len, value_len: 1, previous, ..Header::job(kind, 0) };
        let body: &[&[u8]] = if key_len == 1 { &[&[key], &[value]] } else { &[&[value]] };
        let place = at(segment);
        assert!(write_record(
            self.file(place.segment()),
            STORE_ID,
            place,
            &header,
            body,
            &mut Vec::new()
        ));
    }

    pub(super) fn put(&self, segment: u64, key: u8, value: u8, previous: Location) {
        self.append(segment, Kind::Put, key, value, previous);
    }

    /// Makes readers see the record of a segment, as applying it does.
    pub(super) fn publish(&self, segment: u64, key: u8, previous: Location, pending: bool) {
        let hash = hash(key);
        let plain = Slot::new(hash, at(segment));
        let slot = if pending { plain.pending() } else { plain };
        let buckets = buckets(&self.table);
        match publish::find(&self.table, buckets, hash, previous) {
            Some(place) if !previous.is_none() => place.publish(slot),
            _ => {
                let first = self.table.bucket(bucket_of(hash, buckets)).unwrap();
                assert!(publish::insert(&self.table, first, slot, key.into()));
            }
        }
    }

    /// Replaces the slot that names the record of a segment, as settling does.
    pub(super) fn settle(&self, segment: u64, key: u8, keep: bool) {
        let hash = hash(key);
        let slot = if keep { Slot::new(hash, at(segment)) } else { Slot::EMPTY };
        if let Some(place) = publish::find(&self.table, buckets(&self.table), hash, at(segment)) {
            place.publish(slot);
        }
    }

    /// Moves `applied`.
    pub(super) fn flip(&self, location: Location) {
        let applied = state_block::applied(&self.head);
        state_block::flip(&self.head, applied, location, [0; 1]);
    }

    /// Makes an entry name the record of a segment, as relocating does.
    pub(super) fn set_entry(&self, number: u32, segment: u64, key: u8) {
        pages::set_slot(&self.table, number, Slot::new(hash(key), at(segment)));
    }

    /// Whether there is a whole record.
    pub(super) fn is_sound(&self, at: Location) -> bool {
        let mut bytes = Vec::new();
        reader::body(self.file(at.segment()), STORE_ID, at, &mut bytes).is_some()
    }

    /// What a writer has left at the place of a record.
    pub(super) fn leftover(&self, segment: u64) -> Option<Leftover<'_>> {
        Leftover::find(self.file(at(segment).segment()), STORE_ID, at(segment))
    }

    /// The value of a key.
    pub(super) fn get(&self, key: u8) -> Option<u8> {
        let (mut value, mut view) = (Vec::new(), View::default());
        lookup(&self.table, hash(key), |candidate| {
            look(self, &candidate, &mut view, &[key], None, &mut value).unwrap()
        })?;
        assert_eq!(value.len(), 1);
        value.pop()
    }
}

impl Records for Store {
    fn store_id(&self) -> u64 {
        STORE_ID
    }

    fn applied(&self) -> Applied {
        state_block::applied(&self.head)
    }

    fn words(&self, segment: Segment, _afresh: bool) -> Result<Option<&[AtomicU64]>> {
        Ok(Some(self.file(segment)))
    }

    fn count_damaged(&self) {
        panic!("a sound record passed for a damaged one");
    }
}

/// Runs `writer` beside `reader` on a store that `prepare` has filled.
pub(super) fn beside(files: usize, prepare: fn(&Store), writer: fn(&Store), reader: fn(&Store)) {
    super::check(move || {
        let store = Arc::new(Store::new(files));
        prepare(&store);
        let reading = {
            let store = Arc::clone(&store);
            thread::spawn(move || reader(&store))
        };
        writer(&store);
        reading.join().unwrap();
    });
}

/// The number of buckets as a reader of the table sees it.
pub(super) fn buckets<S: Space>(space: &S) -> u64 {
    Geometry(space.geometry().load(Ordering::Acquire)).buckets()
}
