//! A `head` of which the disk has some sectors as they were, and others as they are.

use std::fs;
use std::path::Path;

use super::{PATIENCE, boot, check, open, prefix, put, remove};
use crate::format::head::HEAD_BYTES;
use crate::format::settings::{Eviction, PowerLoss, Settings};
use crate::store::Store;
use crate::store::open::OpenOptions;

const SECTOR: usize = 512;
/// Those that are ever written: identity; boot and mark; tail; state; settings; and one of bells.
const SECTORS: usize = 6;
const KEYS: u32 = 30;

/// All mixtures of two heads, sector by sector.
fn mixtures(old: &[u8], new: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..1 << SECTORS).map(move |subset: usize| {
        let sector = |at: usize| if subset >> at & 1 == 0 { old } else { new };
        let place = |at: usize| SECTOR * at..SECTOR * (at + 1);
        let last = new[SECTOR * SECTORS..].to_vec();
        (0..SECTORS).flat_map(|at| sector(at)[place(at)].to_vec()).chain(last).collect()
    })
}

fn place() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The directory without what lies below it.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_store_survives_any_mixture_of_two_heads() {
    let (place_of_store, first) = (place(), boot(1));
    let path = place_of_store.path();
    let head = || fs::read(path.join("head")).unwrap();
    let store = open(path, 100_000);
    let made = head();
    let fill = |keys: std::ops::Range<u32>| keys.for_each(|key| put(&store, key, &[7; 300]));
    fill(0..10);
    let filled = head();
    store.sync_log().unwrap();
    let synced = head();
    fill(10..KEYS);
    (100..110).for_each(|key| put(&store, key, b"v"));
    (100..110).for_each(|key| assert!(remove(&store, key)));
    let later = head();
    // As many as were on disk when the first of the two was.
    for (old, new, least) in [(&made, &filled, 0), (&made, &later, 0), (&synced, &later, 10)] {
        for (number, head) in mixtures(old, new).enumerate() {
            let image = place();
            copy(path, image.path());
            fs::write(image.path().join("head"), head).unwrap();
            let _boot = boot(2);
            let store = open(image.path(), 100_000);
            let kept = prefix(&store, KEYS);
            assert!(kept >= least, "mixture {number}: {kept}");
            assert_eq!(u64::from(kept), store.state().len, "mixture {number}");
            put(&store, 200, b"v");
            assert_eq!(prefix(&store, KEYS), kept, "mixture {number}");
            check(&store);
        }
    }
    drop((store, first));
}

/// Nothing was ever written, and some sectors of the new file have not reached the disk.
#[test]
fn a_store_that_was_only_made_has_the_settings_that_it_is_opened_with() {
    let settings = Settings {
        size_limit: 1 << 20,
        eviction: Eviction::None,
        power_loss: PowerLoss::Clear,
        ..Settings::default()
    };
    let options = OpenOptions {
        create: true,
        read_only: false,
        allow_network: true,
        settings: Some(settings.clone()),
    };
    let (made, first) = (place(), boot(1));
    drop(Store::open(made.path(), &options).unwrap());
    let head = fs::read(made.path().join("head")).unwrap();
    drop(first);
    for (number, head) in mixtures(&[0; HEAD_BYTES], &head).enumerate() {
        let image = place();
        fs::write(image.path().join("head"), head).unwrap();
        let _boot = boot(2);
        let store = Store::open(image.path(), &options).unwrap();
        assert_eq!(store.settings(), settings, "mixture {number}");
        put(&store, 1, b"v");
        assert_eq!(store.settings(), settings, "mixture {number}");
        assert_eq!((prefix(&store, 1), store.state().len), (0, 1), "mixture {number}");
        store.sync(PATIENCE).unwrap();
        check(&store);
    }
}
