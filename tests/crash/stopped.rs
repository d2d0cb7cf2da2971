//! A writer that is stopped at random moments: readers go on, and other writers are told who it is.

use std::time::Duration;

use firncache::{Cache, ErrorKind};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::contents::PEER;
use crate::victim::{LOOP, Victim, names};
use crate::{asked, open, options, place};

/// How a writer fared beside the stopped one.
#[derive(Default, Debug)]
struct Tally {
    with_the_lock: u64,
    without: u64,
}

/// All that the writer writes is whole: of its pairs none is half there, and no value mixed.
fn read_all(cache: &Cache) {
    let version = |bytes: Vec<u8>| {
        let first = u64::from_le_bytes(*bytes.first_chunk().unwrap());
        assert!(bytes == first.to_le_bytes().repeat(bytes.len() / 8), "a mixed value");
        first
    };
    let read = |key: u64| cache.get_bytes(("pair", key)).unwrap().map(version);
    let first = read(0);
    for key in 1..20 {
        assert_eq!(read(key), first, "half a transaction is to be seen");
    }
    assert_eq!(cache.get_bytes("large").unwrap().map(version), first);
    if let Some(single) = cache.get_bytes("single").unwrap().map(version) {
        assert!(first.is_some_and(|first| first == single || first == single + 1));
    }
    assert!(cache.iter().all(|key| key.is_ok()));
}

/// Stops the victim, looks on, and lets it go on.
fn stop(victim: &Victim, reader: &Cache, hasty: &Cache, tally: &mut Tally) {
    let process = Pid::from_raw(victim.id().cast_signed());
    kill(process, Signal::SIGSTOP).unwrap();
    waitpid(process, Some(WaitPidFlag::WUNTRACED)).unwrap();
    read_all(reader);
    match hasty.set(PEER, &tally.without) {
        Ok(()) => tally.without += 1,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            assert!(names(&error, victim.id()), "{error} does not name {}", victim.id());
            tally.with_the_lock += 1;
        }
    }
    read_all(reader);
    kill(process, Signal::SIGCONT).unwrap();
}

#[test]
fn a_stopped_writer_stops_no_reader_and_is_named() {
    let (_place, directory) = place();
    let reader = open(&directory);
    let hasty = options().timeout(Duration::from_millis(1)).open(&directory).unwrap();
    let victim = Victim::start(LOOP, &directory);
    let mut tally = Tally::default();
    let mut seed = asked("CRASH_SEED", 1);
    for _ in 0..asked("CRASH_STOPS", 300) {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        std::thread::sleep(Duration::from_micros((seed >> 33) % 500));
        stop(&victim, &reader, &hasty, &mut tally);
    }
    drop(victim);
    read_all(&reader);
    let report = reader.check().unwrap();
    assert!(report.is_clean(), "{report}");
    println!("{tally:?}");
    assert!(tally.with_the_lock > 0 && tally.without > 0, "only one case was met: {tally:?}");
}
