//! Many caches open at once, and one opened very often.

use std::path::Path;

use firncache::Cache;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::number;
use crate::worker::skip;

/// Caches open at once in one process.
const CACHES: usize = 5000;
/// Descriptors and maps that each of them may take.
const DESCRIPTORS: usize = 3;
const MAPS: usize = 8;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn maps() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Memory of this process's own, in KiB.
fn own_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn place() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

// One test, so that no other one of this process opens anything meanwhile.
#[test]
fn many_are_open_at_once_and_one_is_opened_often() {
    let directory = std::env::var_os("FIRNCACHE_ENVIRONMENT_MANY");
    if directory.is_none() {
        // In a process of its own.
        let exe = std::env::current_exe().unwrap();
        let name = "many::many_are_open_at_once_and_one_is_opened_often";
        let mut command = std::process::Command::new(exe);
        let command = command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
        assert!(command.env("FIRNCACHE_ENVIRONMENT_MANY", "1").status().unwrap().success());
        return;
    }
    let place = place();
    // First, while no memory that was given back hides what is lost.
    opened_often(&place.path().join("often"));
    many_at_once(place.path());
}

fn many_at_once(place: &Path) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = (CACHES * DESCRIPTORS + 200) as u64;
    if limit.current.is_some_and(|now| now < wanted) {
        let maximum = limit.maximum.map(|most| most.max(wanted));
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
        if raised.is_err() {
            skip("the limit of open files cannot be raised");
            return;
        }
    }
    let (before, mapped) = (descriptors(), maps());
    let caches: Vec<Cache> = (0..CACHES)
        .map(|number| {
            let small = Cache::options().size_limit(256 << 10);
            let cache = small.open(place.join(number.to_string())).unwrap();
            cache.set("number", &number).unwrap();
            cache
        })
        .collect();
    let (taken, shown) = (descriptors() - before, maps() - mapped);
    println!("{CACHES} caches: {taken} descriptors, {shown} maps");
    assert!(taken <= DESCRIPTORS * CACHES, "{taken} descriptors");
    assert!(shown <= MAPS * CACHES, "{shown} maps");
    for (number, cache) in caches.iter().enumerate() {
        assert_eq!(cache.get("number").unwrap(), Some(number));
    }
    drop(caches);
    assert_eq!(descriptors(), before);
    assert!(maps() <= mapped + 64, "{} maps are left of {shown}", maps() - mapped);
}

fn opened_often(path: &Path) {
    let opens = number("ENVIRONMENT_OPENS", 20_000);
    let open = |number: u64| {
        let cache = Cache::open(path).unwrap();
        if number.is_multiple_of(4) {
            cache.set("number", &number).unwrap();
        }
        assert_eq!(cache.get("number").unwrap(), Some(number / 4 * 4));
    };
    // What is taken once for all times is taken by then.
    (0..1000).for_each(open);
    let (files, mapped, memory) = (descriptors(), maps(), own_memory());
    (1000..opens).for_each(open);
    println!("{opens} opens: {} KiB of memory before, {} after", memory, own_memory());
    assert_eq!(descriptors(), files);
    assert!(maps() <= mapped + 4, "{} maps, {mapped} before", maps());
    assert!(own_memory() <= memory + 512, "{} KiB, {memory} before", own_memory());
}
