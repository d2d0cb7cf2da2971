//! Files and maps of segments: made, given away, looked at again, refused.

use super::*;
use crate::sys::testing::{Step, watch};
use tempfile::TempDir;

const UNITS: u64 = 1024;

fn segments() -> (TempDir, Segments) {
    let place = tempfile::tempdir().unwrap();
    let dir = Arc::new(Dir::open(place.path()).unwrap());
    (place, Segments::new(dir, true))
}

fn segment(number: u64) -> Segment {
    Segment::new(number)
}

fn create(log: &Segments, number: u64) {
    log.create(segment(number), UNITS, |_| false).unwrap();
    log.words(segment(number)).unwrap()[0].store(number, Ordering::Relaxed);
}

/// The first word of a segment that is mapped.
fn first(log: &Segments, number: u64) -> Option<u64> {
    log.words(segment(number)).map(|words| words[0].load(Ordering::Relaxed))
}

/// Where the map of a segment is.
fn address(log: &Segments, number: u64) -> *const AtomicU64 {
    log.words(segment(number)).unwrap().as_ptr()
}

/// Gives a segment a file of so many bytes that nobody has made ready.
fn file(place: &TempDir, number: u64, len: u64) -> File {
    let path = place.path().join(segment(number).file_name());
    let options = std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(path);
    let file = options.unwrap();
    file.set_len(len).unwrap();
    file
}

fn exists(place: &TempDir, number: u64) -> bool {
    place.path().join(segment(number).file_name()).exists()
}

#[test]
fn a_segment_is_mapped_under_its_number_only() {
    let (place, log) = segments();
    // Those that have the same low bits take the place from each other.
    let numbers = [0, 1, 255, 256, 257, 65_535, 70_000, 70_256];
    for number in numbers {
        assert_eq!(first(&log, number), None);
        create(&log, number);
        assert!(exists(&place, number));
    }
    for number in numbers {
        assert_eq!(first(&log, number), Some(number));
        assert_eq!(log.words(segment(number)).unwrap().len() as u64, UNITS);
    }
    create(&log, 65_536);
    assert_eq!((first(&log, 65_536), first(&log, 0)), (Some(65_536), None));
    let words = log.open(segment(0), |_| false).unwrap().unwrap();
    assert_eq!(words[0].load(Ordering::Relaxed), 0);
    assert_eq!((first(&log, 65_536), first(&log, 0)), (None, Some(0)));
}

#[test]
fn many_segments_have_maps_of_their_own() {
    let (_place, log) = segments();
    log.create(segment(1000), UNITS / 2, |_| false).unwrap();
    (0..600).for_each(|number| create(&log, number));
    assert!((0..600).all(|number| first(&log, number) == Some(number)));
    for number in [0, 1, 254, 255, 256, 511, 599] {
        let mapped = address(&log, number);
        assert!(log.reopen(segment(number), |_| false).unwrap().is_some());
        assert_eq!(address(&log, number), mapped, "{number}: the same file has the same map");
    }
}

#[test]
fn the_largest_segments_hold_a_tebibyte() {
    assert_eq!(u64::from(MAX_SEGMENTS) * 8 * MAX_SEGMENT_UNITS, 1 << 40);
}

#[test]
fn all_of_a_new_segment_is_on_disk() {
    let (place, log) = segments();
    log.create(segment(1), 1 << 17, |_| false).unwrap();
    let facts = std::fs::metadata(place.path().join(segment(1).file_name())).unwrap();
    assert_eq!(facts.len(), 1 << 20);
    assert!(facts.blocks() * 512 >= 1 << 20);
}

#[test]
fn a_file_left_by_a_dead_process_is_used_or_replaced() {
    let (place, log) = segments();
    let whole = file(&place, 1, 8 * UNITS).metadata().unwrap().ino();
    let longer = file(&place, 2, 8 * UNITS + 8).metadata().unwrap().ino();
    // So that its number is not given to another file.
    let kept = File::open(place.path().join(segment(2).file_name())).unwrap();
    create(&log, 1);
    create(&log, 2);
    let inode =
        |number| std::fs::metadata(place.path().join(segment(number).file_name())).unwrap().ino();
    assert!(inode(1) == whole && inode(2) != longer);
    assert_eq!(log.words(segment(2)).unwrap().len() as u64, UNITS);
    drop(kept);
}

#[test]
fn a_segment_for_which_there_is_no_space_leaves_no_file() {
    let (place, log) = segments();
    let full = |step| match step {
        Step::Call("allocate") => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    };
    let error = watch(full, || log.create(segment(1), UNITS, |_| false)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(!exists(&place, 1) && first(&log, 1).is_none());
    let refused = |step| match step {
        Step::Call("create") => Err(io::ErrorKind::PermissionDenied.into()),
        _ => Ok(()),
    };
    let error = watch(refused, || log.create(segment(1), UNITS, |_| false)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn files_of_impossible_size_are_refused() {
    let (place, log) = segments();
    let open = |number, len| {
        file(&place, number, len);
        let words = log.open(segment(number), |_| false);
        words.map(|words| words.unwrap().len()).map_err(|error| error.kind())
    };
    for len in [0, 7, 8 * MAX_SEGMENT_UNITS + 8] {
        assert_eq!(open(1, len), Err(io::ErrorKind::InvalidData), "{len}");
    }
    assert_eq!(open(2, 8 * MAX_SEGMENT_UNITS), Ok(MAX_SEGMENT_UNITS as usize));
    assert_eq!(open(3, 8), Ok(1));
    assert_eq!(open(4, 8 * UNITS + 7), Ok(UNITS as usize), "a torn word is left out");
}

#[test]
fn only_a_missing_file_is_no_segment() {
    let (place, log) = segments();
    assert!(log.open(segment(1), |_| false).unwrap().is_none());
    std::fs::create_dir(place.path().join(segment(1).file_name())).unwrap();
    assert!(log.open(segment(1), |_| false).is_err());
    assert!(log.recycle(segment(1), segment(2), |_| false).is_err());
}

#[test]
fn what_is_mapped_is_looked_at_again_only_by_reopening() {
    let (place, log) = segments();
    create(&log, 1);
    let mapped = address(&log, 1);
    std::fs::rename(place.path().join(segment(1).file_name()), place.path().join("aside")).unwrap();
    assert!(log.open(segment(1), |_| false).unwrap().is_some());
    assert!(log.reopen(segment(1), |_| false).unwrap().is_none());
    std::fs::rename(place.path().join("aside"), place.path().join(segment(1).file_name())).unwrap();
    assert!(log.reopen(segment(1), |_| false).unwrap().is_some());
    assert_eq!(address(&log, 1), mapped);
    // A file that has grown needs another one.
    let path = place.path().join(segment(1).file_name());
    File::options().write(true).open(path).unwrap().set_len(16 * UNITS).unwrap();
    let words = log.reopen(segment(1), |_| false).unwrap().unwrap();
    assert_eq!((words.len() as u64, words[0].load(Ordering::Relaxed)), (2 * UNITS, 1));
}

#[test]
fn the_map_of_a_file_that_is_gone_shows_the_next_one_of_its_size() {
    let (place, log) = segments();
    for number in 1..=2 {
        create(&log, number);
    }
    let (gone, stays) = (address(&log, 1), address(&log, 2));
    std::fs::remove_file(place.path().join(segment(1).file_name())).unwrap();
    let is_gone = |it| it == segment(1);
    log.create(segment(3), UNITS / 2, is_gone).unwrap();
    assert_ne!(address(&log, 3), gone, "it is of another size");
    log.create(segment(4), UNITS, is_gone).unwrap();
    assert_eq!((address(&log, 4), first(&log, 4)), (gone, Some(0)));
    assert_eq!((address(&log, 2), first(&log, 2)), (stays, Some(2)));
    // It is given away once.
    log.create(segment(5), UNITS, is_gone).unwrap();
    assert!(address(&log, 5) != gone && address(&log, 5) != stays);
}

#[test]
fn a_drained_file_goes_to_the_new_segment() {
    let (place, log) = segments();
    create(&log, 1);
    let mapped = address(&log, 1);
    for _ in 0..2 {
        // Done again after it was cut short, it has the file already.
        assert!(log.recycle(segment(1), segment(2), |_| false).unwrap());
        assert!(!exists(&place, 1) && exists(&place, 2));
        assert_eq!((address(&log, 2), first(&log, 2)), (mapped, Some(1)));
    }
    assert!(!log.recycle(segment(8), segment(9), |_| false).unwrap());
    let refuse = |step| match step {
        Step::Call("rename") => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    };
    let refused = watch(refuse, || log.recycle(segment(2), segment(3), |_| false));
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_segment_that_is_forgotten_is_not_mapped() {
    let (_place, log) = segments();
    create(&log, 1);
    log.forget(segment(65_537));
    log.forget(segment(2));
    assert_eq!(first(&log, 1), Some(1), "the place is another's");
    log.forget(segment(1));
    assert_eq!(first(&log, 1), None);
}

#[test]
fn pages_are_prepared_a_step_ahead() {
    let (_place, log) = segments();
    let (map_len, step) = (1 << 20, POPULATE_BYTES);
    log.create(segment(1), map_len as u64 / 8, |_| false).unwrap();
    let populate = |from, to| log.populate(segment(1), from, to);
    assert_eq!(populate(0, 0), step);
    assert_eq!(populate(step, 100), 2 * step);
    assert_eq!(populate(step, step + 100), 2 * step + 100);
    assert_eq!(populate(3 * step + 1, 0), map_len);
    assert_eq!(populate(map_len, map_len), map_len);
    assert_eq!(log.populate(segment(2), 5, 77), 77, "no map, nothing to do");
}

#[test]
fn a_handle_for_reading_maps_what_is_there() {
    let (place, log) = segments();
    create(&log, 1);
    let reader = Segments::new(Arc::new(Dir::open(place.path()).unwrap()), false);
    assert!(reader.map(segment(1)).is_none());
    let words = reader.open(segment(1), |_| false).unwrap().unwrap();
    assert_eq!(words[0].load(Ordering::Relaxed), 1);
    assert!(!reader.map(segment(1)).unwrap().is_writable());
    assert!(log.map(segment(1)).unwrap().is_writable());
}
