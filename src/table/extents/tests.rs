//! Files of the table: where a unit is, when there is space for it, and which file is shown.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::sys::testing::{Step, watch};
use tempfile::TempDir;

/// A table of generation 1 in a directory of its own.
fn table() -> (TempDir, TableFiles) {
    let place = tempfile::tempdir().unwrap();
    let dir = Arc::new(Dir::open(place.path()).unwrap());
    let table = TableFiles::in_the_making(dir, Geometry::new(1, FIRST_BUCKETS));
    (place, table)
}

/// Length of a file, and its bytes on disk.
fn size(place: &TempDir, name: &str) -> (u64, u64) {
    let facts = std::fs::metadata(place.path().join(name)).unwrap();
    (facts.len(), facts.blocks() * 512)
}

fn names(place: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(place.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn units_tile_the_extents() {
    let extents = Extents::new("x", 8, 4);
    let mut expected = (0, 0);
    for unit in 0..1000 {
        assert_eq!(extents.place(unit), expected, "unit {unit}");
        expected.1 += 1;
        if expected.1 * 64 == extents.extent_bytes(expected.0) {
            expected = (expected.0 + 1, 0);
        }
    }
}

#[test]
fn a_file_that_is_being_made_is_no_failure_and_a_short_one_is() {
    let (_place, table) = table();
    let file = table.dir.create_file("table.1.0").unwrap();
    assert!(table.bucket(0).is_none() && table.believe(0).is_ok());
    file.set_len(64).unwrap();
    assert!(table.bucket(0).is_none() && table.believe(0).is_err());
    assert_eq!((table.failures(), table.believe(1).is_ok()), (1, true));
    assert!(table.bucket(1).is_none());
    assert_eq!(table.failures(), 2);
}

#[test]
fn the_error_of_a_failed_map_says_why() {
    let (place, table) = table();
    // A link is not followed, and the error of that has a number.
    std::os::unix::fs::symlink("elsewhere", place.path().join("table.1.0")).unwrap();
    assert!(table.bucket(0).is_none());
    let expected = table.dir.file("table.1.0", true).unwrap_err();
    let error = table.believe(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains(&format!("({expected})")), "{error} {expected}");
    let read_only = rustix::io::Errno::ROFS.raw_os_error();
    table.last_failure.store(read_only.unsigned_abs().into(), Ordering::Relaxed);
    assert_eq!(table.unmapped().kind(), ErrorKind::ReadOnly);
}

#[test]
fn file_names_are_parsed_strictly() {
    assert_eq!(file_generation("table.1f.12"), Some(0x1f));
    assert_eq!(file_generation("overflow.0.0"), Some(0));
    assert_eq!(file_generation("entries.2.3"), Some(2));
    for name in ["table.1F.0", "table.1", "table.1.0.0", "tables.1.0", "table.01.0", "log.1.0"] {
        assert_eq!(file_generation(name), None, "{name}");
    }
}

#[test]
fn units_have_words_of_their_own_once_they_are_ensured() {
    let (place, table) = table();
    assert_eq!(table.pages_there(), 0);
    assert!(table.bucket(0).is_none() && table.overflow(0).is_none() && table.page(0).is_none());
    for number in 0..300 {
        table.ensure_bucket(1, number).unwrap();
        table.ensure_overflow(1, number).unwrap();
        table.ensure_page(1, number).unwrap();
        table.bucket(number).unwrap()[7].store(1_000 + number, Ordering::Relaxed);
        table.overflow(number as u32).unwrap()[0].store(2_000 + number, Ordering::Relaxed);
        table.page(number as u32).unwrap()[PAGE_WORDS - 1].store(3_000 + number, Ordering::Relaxed);
    }
    assert_eq!(table.pages_there(), 512, "the files have room for so many");
    // Another process sees the same.
    let dir = Arc::new(Dir::open(place.path()).unwrap());
    let other = TableFiles::in_the_making(dir, Geometry::new(1, FIRST_BUCKETS));
    for number in 0..300 {
        let words = [
            &other.bucket(number).unwrap()[7],
            &other.overflow(number as u32).unwrap()[0],
            &other.page(number as u32).unwrap()[PAGE_WORDS - 1],
        ];
        let read = words.map(|word| word.load(Ordering::Relaxed));
        assert_eq!(read, [1_000 + number, 2_000 + number, 3_000 + number]);
    }
    assert!(table.bucket(512).is_none() && table.believe(0).is_ok(), "no file is no failure");
    assert!(table.bucket(u64::MAX).is_none() && table.believe(0).is_ok());
}

#[test]
fn disk_space_is_allocated_a_step_before_it_is_needed() {
    let (place, table) = table();
    // Extent 9 has buckets 16384 to 32767: a MiB.
    let (first, name) = (16_384, "table.1.9");
    let in_step = STEP_BYTES / 64;
    for step in 0..4 {
        for bucket in [0, 1, in_step - 1] {
            table.ensure_bucket(1, first + step * in_step + bucket).unwrap();
            let (len, on_disk) = size(&place, name);
            assert_eq!(len, 1 << 20);
            assert_eq!(on_disk / STEP_BYTES, step + 1, "step {step} bucket {bucket}");
        }
    }
    // In a step that is allocated, nothing is asked of the system.
    for bucket in [1, in_step - 1, in_step + 1, 3 * in_step + 7, 4 * in_step - 1] {
        let refuse = |_| Err(std::io::ErrorKind::Unsupported.into());
        watch(refuse, || table.ensure_bucket(1, first + bucket)).unwrap();
    }
    // Nor is what lies before a step allocated with it: extent 10 begins at 32768.
    table.ensure_bucket(1, 2 * first + 2 * in_step).unwrap();
    assert_eq!(size(&place, "table.1.10").1 / STEP_BYTES, 1);
    // Extent 10 has pages 1024 to 2047; page 124 of them begins in the first step and ends in the
    // second.
    const { assert!(124 * 2112 < STEP_BYTES && STEP_BYTES < 125 * 2112) };
    for (page, steps) in [(0, 1), (123, 1), (124, 2), (125, 2)] {
        table.ensure_page(1, 1024 + page).unwrap();
        let on_disk = size(&place, "entries.1.10").1;
        assert_eq!(on_disk / STEP_BYTES, steps, "page {page}");
    }
    // The first extent is not longer than it is.
    table.ensure_page(1, 1).unwrap();
    assert_eq!(size(&place, "entries.1.0").0, 2 * 2112);
}

#[test]
fn what_is_there_stays_when_it_is_ensured_again() {
    let (place, table) = table();
    table.ensure_bucket(1, 5).unwrap();
    table.bucket(5).unwrap()[0].store(77, Ordering::Relaxed);
    table.ensure_bucket(1, 0).unwrap();
    table.ensure_bucket(1, 5).unwrap();
    // A file that is longer is not cut.
    let file = std::fs::File::options().write(true).open(place.path().join("table.1.0")).unwrap();
    file.set_len(8192).unwrap();
    table.ensure_bucket(1, 0).unwrap();
    assert_eq!(size(&place, "table.1.0").0, 8192);
    // Nor does ensuring replace the map: what was stored is still there when the file has gone.
    std::fs::remove_file(place.path().join("table.1.0")).unwrap();
    table.ensure_bucket(1, 5).unwrap();
    table.ensure_bucket(1, 0).unwrap();
    assert_eq!(table.bucket(5).unwrap()[0].load(Ordering::Relaxed), 77);
}

#[test]
fn a_file_that_cannot_be_opened_is_not_made() {
    let (place, table) = table();
    let refuse = |step| match step {
        Step::Call("open") => Err(std::io::ErrorKind::ResourceBusy.into()),
        _ => Ok(()),
    };
    let error = watch(refuse, || table.ensure_bucket(1, 0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(names(&place).is_empty());
}

#[test]
fn a_table_of_the_largest_size_is_full() {
    let (place, table) = table();
    let error = table.ensure_bucket(1, 1 << 45).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(names(&place).is_empty());
}

#[test]
fn files_of_the_generation_to_come_are_seen_when_it_has_come() {
    let (place, table) = table();
    table.begin_generation(1).unwrap();
    assert_eq!(names(&place), ["entries.1.0", "table.1.0"]);
    let bucket = table.bucket(3).unwrap();
    bucket[0].store(77, Ordering::Relaxed);
    assert!(table.pages.get(1, 0).is_some(), "mapped before it is asked for");
    table.begin_generation(2).unwrap();
    assert_eq!(size(&place, "table.2.0").0, size(&place, "table.1.0").0);
    assert!(table.buckets.get(1, 3).is_some() && table.buckets.get(2, 3).is_none());
    assert_eq!(table.bucket(3).unwrap()[0].load(Ordering::Relaxed), 77);
    table.switch(Geometry::new(2, FIRST_BUCKETS));
    assert_eq!(table.geometry().load(Ordering::Relaxed), Geometry::new(2, FIRST_BUCKETS).0);
    assert_eq!(table.bucket(3).unwrap()[0].load(Ordering::Relaxed), 0);
    assert_eq!(bucket[0].load(Ordering::Relaxed), 0, "at the same address");
    assert_eq!(table.page(0).unwrap().len(), PAGE_WORDS);
    assert!(table.buckets.get(1, 3).is_none() && table.buckets.get(2, 3).is_some());
}

#[test]
fn geometry_and_moves_are_those_of_the_head() {
    let (place, own) = table();
    let file = own.dir.create_file("head").unwrap();
    file.set_len(4096).unwrap();
    let head = Arc::new(Map::new(&file, 4096, true).unwrap());
    let dir = Arc::new(Dir::open(place.path()).unwrap());
    let shared = TableFiles::new(dir, Arc::clone(&head), true);
    assert!(std::ptr::eq(shared.geometry(), &head.words()[GEOMETRY]));
    assert!(std::ptr::eq(shared.moves(), &head.words()[MOVES]));
    // A table in the making has words of its own.
    own.moves().store(5, Ordering::Relaxed);
    assert_eq!(own.moves().load(Ordering::Relaxed), 5);
    assert_eq!(own.geometry().load(Ordering::Relaxed), Geometry::new(1, FIRST_BUCKETS).0);
}

#[test]
fn files_are_told_by_their_generation() {
    let (_place, table) = table();
    table.begin_generation(1).unwrap();
    table.begin_generation(0x2a).unwrap();
    table.ensure_bucket(1, 64).unwrap();
    table.ensure_overflow(1, 0).unwrap();
    table.dir.create_file("log.0000001").unwrap();
    let mut stale = table.stale_files(1).unwrap();
    stale.sort();
    assert_eq!(stale, ["entries.2a.0", "table.2a.0"]);
    assert_eq!(table.files(1), ["table.1.0", "table.1.1", "overflow.1.0", "entries.1.0"]);
    assert!(table.files(3).is_empty());
}

#[test]
fn the_space_of_a_table_is_counted_as_it_is_allocated() {
    let (_place, table) = table();
    let (buckets, overflows, pages) = (64 * 64, 64 * 64, 2 * 4096);
    assert_eq!(table.allocated_bytes(1, 0, 1), buckets + pages);
    assert_eq!(table.allocated_bytes(64, 0, 2), buckets + pages);
    assert_eq!(table.allocated_bytes(64, 1, 2), buckets + overflows + pages);
    // All of an extent, and in whole steps where these are smaller.
    assert_eq!(table.allocated_bytes(65, 0, 2), 2 * 64 * 64 + pages);
    let many = 3 * STEP_BYTES / 64;
    assert_eq!(table.allocated_bytes(many, 0, 2), 3 * STEP_BYTES + pages);
    assert_eq!(table.allocated_bytes(many + 1, 65, 2), 4 * STEP_BYTES + 2 * 64 * 64 + pages);
    assert_eq!(table.allocated_bytes(64, 0, 3), buckets + 2 * pages);
    table.begin_generation(1).unwrap();
    table.ensure_bucket(1, 64).unwrap();
    table.ensure_overflow(1, 0).unwrap();
    table.ensure_page(1, 2).unwrap();
    let on_disk =
        |name: &String| 512 * table.dir.file(name, false).unwrap().metadata().unwrap().blocks();
    let on_disk: u64 = table.files(1).iter().map(on_disk).sum();
    assert!(on_disk <= table.allocated_bytes(65, 1, 3), "{on_disk} bytes on disk");
}
