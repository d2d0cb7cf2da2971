//! The directory goes, or another one comes, while a handle is open.

use std::fs;

use firncache::{Cache, Error, ErrorKind};

fn filled(path: &std::path::Path) -> Cache {
    let cache = Cache::options().size_limit(1 << 20).open(path).unwrap();
    for number in 0..500 {
        cache.set(number, &number).unwrap();
    }
    cache
}

/// An error of a directory that is not there any more says so and no worse.
fn is_loss(error: &Error) -> bool {
    error.kind() == ErrorKind::Io
}

#[test]
fn a_deleted_directory_leaves_an_open_handle_what_it_has_mapped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    let cache = filled(&path);
    fs::remove_dir_all(&path).unwrap();
    for number in 0..500 {
        assert_eq!(cache.get(number).unwrap(), Some(number));
    }
    assert_eq!(cache.iter().count(), 500);
    // Until a file is needed writes go on; then they fail, and reads go on.
    let mut stored = 0;
    for number in 500..50_000 {
        match cache.set_bytes(number, &[7; 100]) {
            Ok(()) => stored += 1,
            Err(error) => assert!(is_loss(&error), "{error}"),
        }
    }
    assert!(stored < 49_500, "a log grew where no file can be made");
    assert_eq!(cache.get(499).unwrap(), Some(499));
    let lost = cache.sync().unwrap_err();
    assert!(is_loss(&lost) && lost.to_string().contains("deleted"), "{lost}");
    for done in [cache.compact(), cache.clear().map(drop), cache.repair().map(drop)] {
        assert!(done.as_ref().err().is_none_or(is_loss), "{done:?}");
    }
    // A new handle has a new directory, and the two have nothing to do with each other.
    let fresh = Cache::open(&path).unwrap();
    assert_eq!(fresh.len().unwrap(), 0);
    fresh.set("fresh", &1).unwrap();
    assert!(!cache.contains("fresh").unwrap());
    assert!(fresh.check().unwrap().is_clean());
}

#[test]
fn a_replaced_directory_is_another_cache_and_the_old_one_goes_on_where_it_went() {
    let dir = tempfile::tempdir().unwrap();
    let (path, away) = (dir.path().join("cache"), dir.path().join("away"));
    let cache = filled(&path);
    fs::rename(&path, &away).unwrap();
    let other = Cache::open(&path).unwrap();
    assert_eq!(other.len().unwrap(), 0);
    for number in 500..3000 {
        cache.set(number, &number).unwrap();
        other.set(number, &-number).unwrap();
    }
    cache.set_bytes("large", &[7; 400_000]).unwrap();
    assert!(cache.check().unwrap().is_clean() && other.check().unwrap().is_clean());
    drop(cache);
    let cache = Cache::open(&away).unwrap();
    assert_eq!(cache.get(2999).unwrap(), Some(2999));
    assert_eq!(cache.get_bytes("large").unwrap().map(|it| it.len()), Some(400_000));
    assert_eq!(other.get(2999).unwrap(), Some(-2999));
}

#[test]
fn one_cache_put_in_the_place_of_another_is_not_mistaken_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
    let cache = filled(&one);
    Cache::open(&other).unwrap().set("other", &1).unwrap();
    // The same directory, the same inode, all other files.
    for entry in fs::read_dir(&one).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
    }
    for entry in fs::read_dir(&other).unwrap() {
        let entry = entry.unwrap();
        fs::rename(entry.path(), one.join(entry.file_name())).unwrap();
    }
    let new = Cache::open(&one).unwrap();
    assert_eq!(new.get("other").unwrap(), Some(1));
    assert_eq!(new.get::<i32>(3).unwrap(), None);
    for number in 0..500 {
        assert!(cache.get(number).is_ok_and(|found| found.is_none_or(|it: i32| it == number)));
    }
    assert!(new.check().unwrap().is_clean());
}
