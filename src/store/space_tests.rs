//! How large segments and records are, and how much of a disk a store stands for.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use super::stress_tests::{PATIENCE, check, open, put, put_in, remove};
use crate::error::{ErrorKind, Result};
use crate::format::record::{CULLED, EXPIRED, Header, Kind};
use crate::format::settings::{PowerLoss, Settings};
use crate::format::state::{Geometry, State};
use crate::store::space::{
    footprint, inline_limit, most_dead, most_footprint, segment_units, volume,
};
use crate::store::writer::PutValue;
use crate::store::{Store, Writer};
use crate::sys::testing::{Step, watch};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

fn limited(size_limit: u64) -> Settings {
    Settings { size_limit, ..Settings::default() }
}

/// Bytes that the files in a directory take.
fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let bytes = |entry: std::fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => disk_bytes(&entry.path()),
        false => 512 * entry.metadata().unwrap().blocks(),
    };
    entries.map(bytes).sum()
}

#[test]
fn segments_are_a_sixty_fourth_of_what_is_live_within_bounds() {
    let bytes = |live_bytes, settings: &Settings| {
        let state = State { live_bytes, ..State::empty(Geometry::new(0, 64)) };
        8 * segment_units(&state, settings)
    };
    let large = limited(1 << 40);
    let cases = [(0, 64 * KIB), (4 * MIB, 64 * KIB), (5 * MIB, 128 * KIB), (64 * MIB, MIB)];
    for (live, expected) in cases.into_iter().chain([(1 << 40, 16 * MIB)]) {
        assert_eq!(bytes(live, &large), expected, "{live} bytes are live");
    }
    // At most a thirty-second of the limit, or of the share of it.
    let cases = [(64 * MIB, 2 * MIB), (8 * MIB, 256 * KIB), (MIB, 32 * KIB), (100, 8 * KIB)];
    for (limit, expected) in cases {
        assert_eq!(bytes(1 << 40, &limited(limit)), expected, "the limit is {limit}");
    }
    let shared = Settings { shards: 8, ..limited(64 * MIB) };
    assert_eq!(bytes(1 << 40, &shared), 256 * KIB);
}

#[test]
fn segments_grow_where_they_come_and_go_unless_nobody_waits_for_the_disk() {
    let bytes = |gone: u64, power_loss| {
        let mut state = State::empty(Geometry::new(0, 64));
        state.first = crate::format::location::Segment::new(gone);
        8 * segment_units(&state, &Settings { power_loss, ..limited(1 << 30) })
    };
    let cases = [(1, 64), (16, 64), (31, 64), (32, 128), (64, 256), (1000, 256)];
    for (gone, expected) in cases {
        assert_eq!(bytes(gone, PowerLoss::Recover), expected * KIB, "{gone} are gone");
        assert_eq!(bytes(gone, PowerLoss::Clear), 64 * KIB, "{gone} are gone");
    }
}

#[test]
fn values_up_to_a_quarter_of_the_largest_segment_lie_in_the_log() {
    let cases = [(1 << 40, 256 * KIB), (10 * MIB, 64 * KIB), (MIB, 8 * KIB), (100, 2 * KIB)];
    for (limit, expected) in cases {
        assert_eq!(inline_limit(&limited(limit)), expected, "the limit is {limit}");
    }
    let small = Settings { value_file_threshold: 100, ..limited(1 << 40) };
    assert_eq!(inline_limit(&small), 100);
}

#[test]
fn a_compacted_store_takes_no_more_than_its_footprint() {
    for keys in [0, 1, 40, 300, 5000] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 1 << 30);
        (0..2).for_each(|_| (0..keys).for_each(|key| put(&store, key, &[7; 300])));
        if keys > 100 {
            let staged = store.stage_bytes(&vec![8; 300_000], PATIENCE).unwrap();
            let work = |writer: &mut Writer<'_>| {
                put_in(&store, writer, b"large", PutValue::Staged(staged))
            };
            store.write(PATIENCE, work).unwrap();
        }
        store.compact(PATIENCE).unwrap();
        let (state, settings) = (store.state(), store.settings());
        let expected = footprint(store.shared(), &state, &settings);
        let taken = disk_bytes(dir.path());
        // `head` and the file of a slot are not counted.
        assert!(taken <= expected + 16 * KIB, "{keys} keys take {taken}, not {expected}");
        let segments = 4 * 8 * segment_units(&state, &settings);
        assert!(expected <= 2 * taken + segments, "{keys} keys take {taken}, not {expected}");
        assert!(expected <= most_footprint(&state), "{keys} keys");
        assert!(volume(&state) >= state.live_bytes + state.file_bytes, "{keys} keys");
    }
}

#[test]
fn dead_bytes_are_half_of_the_live_ones_or_as_many_where_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let state = State { live_bytes: 100 * MIB, log_units: 150 * MIB / 8, ..store.state() };
    let dead = |settings: &Settings| most_dead(store.shared(), &state, settings);
    assert_eq!(dead(&limited(1 << 30)), 100 * MIB);
    assert_eq!(dead(&limited(120 * MIB)), 50 * MIB);
    let between = dead(&limited(180 * MIB));
    assert!((51 * MIB..99 * MIB).contains(&between), "{between}");
    assert_eq!(dead(&Settings { shards: 2, ..limited(1 << 30) }), 50 * MIB);
    assert_eq!(dead(&Settings { cull_limit: 0, ..limited(120 * MIB) }), 100 * MIB);
}

/// Why a key went is counted, and only that.
#[test]
fn evictions_and_expirations_are_counted_apart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..10).for_each(|key| put(&store, key, b"v"));
    let go = |store: &Store, key: u32, flags| {
        let key = key.to_be_bytes();
        let work = |writer: &mut Writer<'_>| {
            let key = store.hashed(&key);
            let found = writer.find(key)?.unwrap();
            writer.remove(key, &found, flags)
        };
        store.write(PATIENCE, work).unwrap();
        (store.state().evictions, store.state().expirations)
    };
    assert_eq!(go(&store, 0, CULLED), (1, 0));
    assert_eq!(go(&store, 1, EXPIRED), (1, 1));
    assert_eq!(go(&store, 2, 0), (1, 1));
    assert_eq!(go(&store, 3, EXPIRED), (1, 2));
    assert!(remove(&store, 4));
    assert_eq!((store.state().evictions, store.state().len), (1, 5));
    check(&store);
    store.write(PATIENCE, |writer| writer.clear()).unwrap();
    assert_eq!((store.state().evictions, store.state().expirations), (1, 2));
    let before = store.write(PATIENCE, |writer| writer.reset_counters()).unwrap();
    assert_eq!((before.evictions, before.expirations), (1, 2));
    assert_eq!((store.state().evictions, store.state().expirations), (0, 0));
    check(&store);
}

#[test]
fn what_a_store_takes_on_disk_is_what_its_files_take() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    (0..1000).for_each(|key| put(&store, key, &[7; 300]));
    let staged = store.stage_bytes(&[8; 10_000], PATIENCE).unwrap();
    let work = |writer: &mut Writer<'_>| put_in(&store, writer, b"file", PutValue::Staged(staged));
    store.write(PATIENCE, work).unwrap();
    let bytes = store.disk_usage().unwrap();
    assert!(bytes > 300_000);
    assert_eq!(bytes, disk_bytes(dir.path()) - disk_bytes(&dir.path().join("procs")));
}

#[test]
fn a_record_of_more_than_half_of_the_largest_segment_is_too_large() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let attempt = |len: u64| {
        let value = vec![7; len as usize];
        let work =
            |writer: &mut Writer<'_>| put_in(&store, writer, b"key", PutValue::Bytes(&value));
        store.write(PATIENCE, work)
    };
    assert_eq!(attempt(8 * MIB + KIB).unwrap_err().kind(), ErrorKind::TooLarge);
    attempt(8 * MIB - KIB).unwrap();
    assert_eq!(attempt(1 << 30).unwrap_err().kind(), ErrorKind::TooLarge);
    put(&store, 1, b"v");
    check(&store);
}

/// Puts leave a sixteenth of a segment to moved records, removals and jobs, and moved records half
/// of that to the others.
#[test]
fn the_end_of_a_segment_is_left_to_removals() {
    type Room = fn(&mut Writer<'_>, u64) -> Result<()>;
    const UNITS: u64 = 10;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 100_000);
    let rooms: [(Room, u64); 3] = [
        (|writer, units| writer.room_for_put(units), 64),
        (|writer, units| writer.room_for_move(units), 32),
        (|writer, units| writer.room_for_job(units), 0),
    ];
    for (room, reserve) in rooms {
        let work = |writer: &mut Writer<'_>| {
            writer.roll(0)?;
            let segment = writer.tail.segment();
            let units = writer.active_words()?.unwrap().len() as u64;
            assert_eq!(8 * units, 8 * KIB);
            let words = writer.shared.head.settings().encode();
            let header = Header::job(Kind::Settings, words.len());
            let mut free = units;
            loop {
                room(writer, UNITS)?;
                if writer.tail.segment() != segment {
                    return Ok((free, header.units()));
                }
                free = units - writer.tail.unit();
                writer.job_without_room(header, &words)?;
            }
        };
        let (free, step) = store.write(PATIENCE, work).unwrap();
        // The record that ends the segment has 8 units, and one word is left.
        let least = UNITS + reserve + 9;
        assert!((least..least + step).contains(&free), "{free} units were free, not {least}");
    }
    check(&store);
}

#[test]
fn nobody_waits_for_the_disk_where_power_loss_clears() {
    for power_loss in [PowerLoss::Clear, PowerLoss::Recover] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 100_000);
        let settings = Settings { power_loss, ..store.settings() };
        store.write(PATIENCE, |writer| writer.set_settings(&settings)).unwrap();
        let syncs = Rc::new(Cell::new(0));
        let seen = Rc::clone(&syncs);
        let hook = move |step: Step| {
            seen.set(seen.get() + u32::from(matches!(step, Step::Sync(_))));
            Ok(())
        };
        watch(hook, || (0..3000).for_each(|n| put(&store, n % 20, &[7; 300])));
        let rolled = store.state().first.number();
        let waits = syncs.get() > rolled / 2;
        assert_eq!(
            (waits, syncs.get() == 0),
            match power_loss {
                PowerLoss::Clear => (false, true),
                PowerLoss::Recover => (true, false),
            },
            "{} syncs in {rolled} segments",
            syncs.get()
        );
        check(&store);
    }
}

#[test]
fn a_segment_has_room_for_two_of_the_record_that_it_begins_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, 1, b"v");
    for len in [70_000, 100_000] {
        put(&store, 2, &vec![7; len]);
        let segment = store.shared().head.tail().segment();
        let bytes = dir.path().join(segment.file_name()).metadata().unwrap().len();
        assert_eq!(bytes, 256 * KIB, "{len} bytes");
    }
    assert_eq!(store.shared().head.tail().segment().number(), 2);
    check(&store);
}
