//! What trials have found once, each for itself.

use std::collections::BTreeSet;
use std::fs::{OpenOptions, read, write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use firncache::{Cache, ErrorKind, Key};

use crate::sample::place;

const TAIL: usize = 1088;
/// In a page of entries: where its links lie, and the slot of its first entry.
const LINKS: usize = 24;
const ENTRIES: usize = 64;
const ENTRY: usize = 32;

fn filled(path: &Path) -> Cache {
    let cache = Cache::options().size_limit(256 << 10).open(path).unwrap();
    for number in 0..40 {
        cache.set(number, &number).unwrap();
    }
    cache
}

fn word(path: &Path, at: usize) -> u64 {
    u64::from_le_bytes(read(path).unwrap()[at..at + 8].try_into().unwrap())
}

fn put(path: &Path, at: usize, word: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&word.to_le_bytes(), at as u64).unwrap();
}

#[test]
fn whichever_record_is_damaged_a_repair_gives_no_key_twice() {
    let dir = place();
    let path = dir.path().join("cache");
    let cache = filled(&path);
    for round in 0..2 {
        cache.delete(7).unwrap();
        cache.set(7, &(70 + round)).unwrap();
        let done: firncache::Result<()> = cache.transact(|tx| tx.set(8, &(80 + round)));
        done.unwrap();
    }
    drop(cache);
    let log = path.join("log.0000001");
    let names = ["head", "log.0000001", "table.1.0", "entries.1.0"];
    let sound = names.map(|name| read(path.join(name)).unwrap());
    let used = sound[1].iter().rposition(|byte| *byte != 0).unwrap();
    for at in (64..used).step_by(16) {
        write(&log, [&sound[1][..at], &[!sound[1][at]], &sound[1][at + 1..]].concat()).unwrap();
        let cache = Cache::open(&path).unwrap();
        cache.repair().unwrap();
        let keys: Vec<Key> = cache.iter().map(Result::unwrap).collect();
        let different: BTreeSet<&Key> = keys.iter().collect();
        assert_eq!(keys.len(), different.len(), "byte {at}: {keys:?}");
        assert_eq!(cache.len().unwrap(), keys.len() as u64, "byte {at}");
        drop(cache);
        for entry in path.read_dir().unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        names.iter().zip(&sound).for_each(|(name, bytes)| write(path.join(name), bytes).unwrap());
    }
}

#[test]
fn a_log_that_is_said_to_end_far_away_is_corrupt_and_not_looked_for() {
    let dir = place();
    let cache = filled(dir.path());
    let tail = word(&dir.path().join("head"), TAIL);
    put(&dir.path().join("head"), TAIL, tail + (40_000_000 << 21));
    assert_eq!(cache.sync().unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(cache.get(7).unwrap(), Some(7));
}

#[test]
fn a_page_that_leads_to_itself_is_one_finding_and_shown_once() {
    let dir = place();
    let cache = filled(dir.path());
    put(&dir.path().join("entries.1.0"), LINKS, 1);
    let report = cache.check().unwrap();
    assert_eq!(report.findings().len(), 1, "{report}");
    assert!(report.findings()[0].what().contains("goes on after"), "{report}");
    assert_eq!(cache.iter().take(1000).count(), 40);
}

#[test]
fn a_page_whose_link_leads_nowhere_is_walked_through_and_the_walk_ends() {
    let dir = place();
    let cache = filled(dir.path());
    for links in [0x40000, 0x40000 << 32, u64::MAX, 2, 3] {
        put(&dir.path().join("entries.1.0"), LINKS, links);
        assert_eq!(cache.iter().count(), 40, "{links:#x}");
        assert_eq!(cache.iter().rev().count(), 40, "{links:#x}");
    }
}

#[test]
fn a_walk_that_cannot_read_the_table_ends_behind_its_error() {
    let dir = place();
    let path = dir.path().join("cache");
    drop(filled(&path));
    let entries = path.join("entries.1.0");
    write(&entries, &read(&entries).unwrap()[..1000]).unwrap();
    let cache = Cache::open(&path).unwrap();
    for count in [cache.iter().take(100).count(), cache.iter().rev().take(100).count()] {
        assert!((1..3).contains(&count), "{count} items");
    }
    assert!(cache.iter().any(|key| key.is_err()));
}

#[test]
fn an_entry_that_names_the_record_of_a_deleted_key_does_not_show_it() {
    let dir = place();
    let cache = filled(dir.path());
    let entries = dir.path().join("entries.1.0");
    let slot = word(&entries, ENTRIES + 5 * ENTRY);
    cache.delete(5).unwrap();
    put(&entries, ENTRIES + 6 * ENTRY, slot);
    let keys: Vec<Key> = cache.iter().map(Result::unwrap).collect();
    assert!(!keys.contains(&Key::from(5)), "{keys:?}");
    let items: Vec<(Key, i32)> = cache.items().map(Result::unwrap).collect();
    assert!(items.iter().all(|(key, value)| *key == Key::from(*value)), "{items:?}");
}

#[test]
fn what_is_no_file_and_has_the_name_of_a_segment_is_repaired() {
    let kinds: [fn(&Path); 3] = [
        |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
        |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        |path| std::fs::create_dir(path).unwrap(),
    ];
    for (at, make) in kinds.into_iter().enumerate() {
        let dir = place();
        let cache = filled(dir.path());
        let grow = |numbers: std::ops::Range<i32>| {
            numbers.for_each(|number| cache.set_bytes(number, &[7; 300]).unwrap());
        };
        grow(0..200);
        let is_log = |name: &String| name.starts_with("log.");
        let list = || std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
        let names = || list().map(|it| it.file_name().into_string().unwrap());
        let last = names().filter(is_log).max().unwrap();
        let next = format!("log.{:07x}", i64::from_str_radix(&last[4..], 16).unwrap() + 3);
        let first = names().filter(is_log).min().unwrap();
        std::fs::remove_file(dir.path().join(&first)).unwrap();
        make(&dir.path().join(first));
        // A directory that is in the way of a segment to come is its owner's to move away.
        if at < 2 {
            make(&dir.path().join(next));
        }
        cache.repair().unwrap();
        assert!(cache.check().unwrap().is_clean(), "kind {at}");
        grow(1000..1500);
    }
}
