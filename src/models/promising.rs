//! Syncs and value files: after a sync has returned, the disk has the value or what replaced it.

use std::sync::Arc;

use super::check_to;
use super::promise::{divides, promise, promised};
use super::threads::{Mutex, thread};
use crate::format::location::{Location, Segment};
use crate::sys::sync::{AtomicU64, Ordering};

/// Units of a record.
const UNITS: u64 = 7;

/// A log of one segment and one key: each record replaces the one before, and each has a value file.
struct Store {
    tail: AtomicU64,
    promised: AtomicU64,
    disk: Mutex<Disk>,
}

/// What the kernel has, and what of it outlives a power cut.
#[derive(Default)]
struct Disk {
    /// Of each record.
    files: Vec<File>,
    /// So many records are on disk, of whoever got furthest.
    records: usize,
}

#[derive(Clone, Copy)]
struct File {
    is_there: bool,
    is_on_disk: bool,
}

impl Disk {
    /// The last record that the disk has has its value there, too.
    fn assert_whole(&self) {
        let Some(last) = self.records.checked_sub(1) else { return };
        let File { is_there, is_on_disk } = self.files[last];
        assert!(is_there && is_on_disk, "record {last}: there {is_there}, on disk {is_on_disk}");
    }
}

fn at(record: usize) -> Location {
    Location::new(Segment::new(1), 8 + UNITS * record as u64)
}

impl Store {
    /// A store with one record.
    fn new() -> Arc<Store> {
        let store = Store {
            tail: AtomicU64::new(at(0).bits()),
            promised: AtomicU64::new(0),
            disk: Mutex::new(Disk::default()),
        };
        store.commit(0);
        Arc::new(store)
    }

    /// The file has its own name, then the record that names it is committed.
    fn commit(&self, record: usize) {
        self.disk.lock().unwrap().files.push(File { is_there: true, is_on_disk: false });
        self.tail.store(at(record + 1).bits(), Ordering::Release);
    }

    /// What applying the record does with the file of the one before; whether it stays.
    fn bury(&self, record: usize) -> bool {
        let replaced = record - 1;
        let stays = divides(promised(&self.promised), Some(at(replaced)));
        if !stays {
            self.delete(replaced);
        }
        stays
    }

    fn replace(&self, record: usize) -> bool {
        self.commit(record);
        self.bury(record)
    }

    fn delete(&self, record: usize) {
        let mut disk = self.disk.lock().unwrap();
        disk.files[record].is_there = false;
        disk.assert_whole();
    }

    /// Waits for the files that are there, one after the other, then for the log.
    fn sync(&self) {
        let end = promise(&self.tail, Some(&self.promised));
        let records = (0..).take_while(|record| at(*record) != end).count();
        for record in 0..records {
            let file = &mut self.disk.lock().unwrap().files[record];
            file.is_on_disk |= file.is_there;
        }
        let mut disk = self.disk.lock().unwrap();
        disk.records = disk.records.max(records);
        disk.assert_whole();
    }

    /// Deletes what was kept, as the disk has what came after it.
    fn delete_buried(&self, buried: impl Iterator<Item = usize>) {
        self.sync();
        buried.for_each(|record| self.delete(record));
    }
}

fn spawn(store: &Arc<Store>, work: fn(&Store)) -> thread::JoinHandle<()> {
    let store = Arc::clone(store);
    thread::spawn(move || work(&store))
}

/// One replaces the value twice while another syncs.
#[test]
fn a_value_that_is_replaced_while_it_is_synced() {
    check_to(3, || {
        let store = Store::new();
        let syncing = spawn(&store, Store::sync);
        store.replace(1);
        store.replace(2);
        syncing.join().unwrap();
    });
}

/// What was kept is deleted after a sync of one's own, while another still syncs.
#[test]
fn a_value_that_waits_for_the_disk() {
    check_to(3, || {
        let store = Store::new();
        let syncing = spawn(&store, Store::sync);
        let buried = (1..3).filter(|record| store.replace(*record)).map(|record| record - 1);
        store.delete_buried(buried.collect::<Vec<_>>().into_iter());
        syncing.join().unwrap();
        store.disk.lock().unwrap().assert_whole();
    });
}

/// Two sync: who promises less does not take back what the other one promised.
#[test]
fn two_that_sync() {
    check_to(3, || {
        let store = Store::new();
        let others = [spawn(&store, Store::sync), spawn(&store, Store::sync)];
        store.replace(1);
        store.replace(2);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

/// Who has committed is killed, and the next holder of the lock decides.
#[test]
fn a_value_whose_replacement_is_applied_by_another() {
    check_to(3, || {
        let store = Store::new();
        let syncing = spawn(&store, Store::sync);
        store.commit(1);
        let next = spawn(&store, |store| _ = store.bury(1));
        next.join().unwrap();
        syncing.join().unwrap();
    });
}
