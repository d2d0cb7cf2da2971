//! Names that stay inside a directory, and what is asked of an open file.

use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::io::{FdFlags, fcntl_getfd};

use super::*;
use crate::sys::testing::{Mounted, watch};

fn fresh() -> (tempfile::TempDir, Dir) {
    let place = tempfile::tempdir().unwrap();
    let dir = Dir::open(place.path()).unwrap();
    (place, dir)
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn what_is_created_belongs_to_the_owner_alone() {
    let (place, _dir) = fresh();
    let dir = Dir::create(&place.path().join("a/b")).unwrap();
    assert_eq!(dir.mode().unwrap(), 0o700);
    assert_eq!(Dir::open(&place.path().join("a")).unwrap().mode().unwrap(), 0o700);
    Dir::create(dir.path()).unwrap();
    dir.make_dir("sub").unwrap();
    dir.make_dir("sub").unwrap();
    let file = dir.create_file("sub/x").unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(kind(dir.create_file("sub/x")), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(dir.make_dir("sub/x")), io::ErrorKind::NotADirectory);
    assert_eq!(dir.join("sub/x"), place.path().join("a/b/sub/x"));
    assert!(dir.is_writable().unwrap());
}

#[test]
fn a_directory_is_no_file_and_programs_that_are_started_get_nothing() {
    let (place, dir) = fresh();
    let file = dir.create_file("x").unwrap();
    assert_eq!(kind(Dir::open(&place.path().join("x"))), io::ErrorKind::NotADirectory);
    dir.make_dir("sub").unwrap();
    let sub = dir.open_beneath("sub", DIRECTORY, Mode::empty()).unwrap();
    let again = dir.file("x", false).unwrap();
    for descriptor in [dir.descriptor.as_fd(), sub.as_fd(), file.as_fd(), again.as_fd()] {
        assert!(fcntl_getfd(descriptor).unwrap().contains(FdFlags::CLOEXEC));
    }
}

#[test]
fn nothing_can_be_written_to_a_mount_that_is_for_reading() {
    let Some(mount) = Mounted::tmpfs(64) else { return };
    const TMPFS: u32 = 0x0102_1994;
    let dir = Dir::open(&mount.path()).unwrap();
    assert_eq!(dir.file_system().unwrap(), TMPFS);
    assert!(dir.is_writable().unwrap());
    mount.forbid_writing();
    assert!(!dir.is_writable().unwrap());
}

#[test]
fn identity_is_the_same_by_every_path_and_after_a_rename() {
    let (place, dir) = fresh();
    dir.make_dir("one").unwrap();
    let sub = Dir::open(&place.path().join("one")).unwrap();
    assert_ne!(dir.identity().unwrap(), sub.identity().unwrap());
    dir.rename("one", "two").unwrap();
    assert_eq!(
        Dir::open(&place.path().join("two")).unwrap().identity().unwrap(),
        sub.identity().unwrap()
    );
    sub.create_file("x").unwrap();
    assert!(dir.exists("two/x").unwrap());
    assert!(!dir.exists("one/x").unwrap());
}

#[test]
fn names_cannot_lead_out() {
    let (_place, dir) = fresh();
    for name in ["", "/", "/etc/passwd", "..", "../x", "a/../b", ".", "a//b", "a/", "a\0b"] {
        assert_eq!(kind(dir.file(name, false)), io::ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(kind(dir.unlink(name)), io::ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(kind(dir.create_file(name)), io::ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(kind(dir.exists(name)), io::ErrorKind::InvalidInput, "{name:?}");
    }
}

#[test]
fn symbolic_links_are_never_followed() {
    let (place, dir) = fresh();
    let (_outside, target) = fresh();
    target.create_file("secret").unwrap();
    symlink(target.path(), place.path().join("folder")).unwrap();
    symlink(target.join("secret"), place.path().join("leaf")).unwrap();
    assert!(dir.exists("leaf").unwrap());
    for name in ["leaf", "folder/secret"] {
        assert!(dir.file(name, true).is_err(), "{name}");
        assert!(dir.open_stepwise(name, OFlags::RDONLY | NEVER_FOLLOW, Mode::empty()).is_err());
    }
    assert!(dir.create_file("folder/new").is_err());
    assert!(dir.list("folder").is_err());
    assert!(dir.make_dir("folder").is_err());
    assert!(dir.sync_sub("folder").is_err());
    assert!(dir.unlink("folder/secret").is_err());
    assert!(dir.rename("leaf", "folder/leaf").is_err());
    dir.unlink("leaf").unwrap();
    assert_eq!(target.list("").unwrap(), ["secret"]);
}

#[test]
fn the_way_by_steps_opens_the_same_files() {
    let (_place, dir) = fresh();
    dir.make_dir("a").unwrap();
    dir.make_dir("a/b").unwrap();
    dir.create_file("a/b/c").unwrap().write_all_at(b"here", 0).unwrap();
    let flags = OFlags::RDONLY | NEVER_FOLLOW;
    let file: File = dir.open_stepwise("a/b/c", flags, Mode::empty()).unwrap().into();
    assert_eq!(length(&file).unwrap(), 4);
    assert!(dir.open_stepwise("a/x/c", flags, Mode::empty()).is_err());
}

#[test]
fn only_regular_files_are_opened_and_nothing_waits() {
    let (place, dir) = fresh();
    dir.make_dir("folder").unwrap();
    let made = std::process::Command::new("mkfifo").arg(place.path().join("pipe")).status();
    if made.is_ok_and(|status| status.success()) {
        assert_eq!(kind(dir.file("pipe", true)), io::ErrorKind::InvalidInput);
        assert!(dir.file("pipe", false).is_err());
        assert!(dir.open_stepwise("pipe/x", OFlags::RDONLY, Mode::empty()).is_err());
        assert!(dir.exists("pipe/x").is_err());
    }
    assert!(dir.file("folder", false).is_err());
    assert!(dir.file("folder", true).is_err());
    assert_eq!(kind(dir.file("absent", false)), io::ErrorKind::NotFound);
}

#[test]
fn names_are_linked_renamed_listed_and_removed() {
    let (_place, dir) = fresh();
    dir.make_dir("sub").unwrap();
    dir.create_file("b").unwrap();
    dir.create_file("a").unwrap();
    dir.link("a", "sub/c").unwrap();
    assert_eq!(kind(dir.link("b", "sub/c")), io::ErrorKind::AlreadyExists);
    dir.rename("b", "sub/d").unwrap();
    assert_eq!(dir.list("").unwrap(), ["a", "sub"]);
    assert_eq!(dir.list("sub").unwrap(), ["c", "d"]);
    dir.unlink("sub/c").unwrap();
    dir.unlink("sub/d").unwrap();
    assert_eq!(kind(dir.unlink("sub/d")), io::ErrorKind::NotFound);
    dir.sync_sub("sub").unwrap();
    let sub = Dir::open(&dir.join("sub")).unwrap();
    sub.sync().unwrap();
    dir.create_file("sub/e").unwrap();
    assert_eq!(kind(dir.remove_dir("sub")), io::ErrorKind::DirectoryNotEmpty);
    dir.unlink("sub/e").unwrap();
    dir.remove_dir("sub").unwrap();
    assert!(!dir.exists("sub").unwrap());
    assert_eq!(kind(sub.sync()), io::ErrorKind::NotFound);
    dir.sync().unwrap();
    assert_eq!(kind(dir.list("sub")), io::ErrorKind::NotFound);
}

#[test]
fn syncing_fails_as_the_disk_does_and_not_where_there_is_none() {
    let (_place, dir) = fresh();
    let file = dir.create_file("x").unwrap();
    dir.make_dir("sub").unwrap();
    let failing = |_| Err(io::ErrorKind::StorageFull.into());
    assert_eq!(kind(watch(failing, || data_sync(&file))), io::ErrorKind::StorageFull);
    assert_eq!(kind(watch(failing, || dir.sync())), io::ErrorKind::StorageFull);
    assert_eq!(kind(watch(failing, || dir.sync_sub("sub"))), io::ErrorKind::StorageFull);
    // Names in it are made by the kernel and lie on no disk.
    Dir::open("/proc".as_ref()).unwrap().sync().unwrap();
}

#[test]
fn space_is_reserved_given_back_and_counted() {
    let (_place, dir) = fresh();
    let file = dir.create_file("x").unwrap();
    allocate(&file, 0, 0).unwrap();
    assert_eq!(length(&file).unwrap(), 0);
    punch(&file).unwrap();
    allocate(&file, 0, 1 << 20).unwrap();
    assert_eq!(length(&file).unwrap(), 1 << 20);
    assert!(on_disk(&file).unwrap() >= 1 << 20);
    punch(&file).unwrap();
    assert_eq!(length(&file).unwrap(), 1 << 20);
    data_sync(&file).unwrap();
    assert!(on_disk(&file).unwrap() < 1 << 20);
    assert!(allocate(&file, u64::MAX, 2).is_err());
}

#[test]
fn zeros_stand_in_for_reserving() {
    let (_place, dir) = fresh();
    let file = dir.create_file("x").unwrap();
    file.write_all_at(b"kept", 0).unwrap();
    write_zeros(&file, 0, 10_001).unwrap();
    assert_eq!(length(&file).unwrap(), 10_001);
    let mut bytes = [0; 5];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"kept\0");
    write_zeros(&file, 0, 100).unwrap();
    assert_eq!(length(&file).unwrap(), 10_001);
    assert_eq!(kind(write_zeros(&file, u64::MAX, 2)), io::ErrorKind::InvalidInput);
    let empty = dir.create_file("y").unwrap();
    write_zeros(&empty, 0, 5000).unwrap();
    assert_eq!(length(&empty).unwrap(), 5000);
}

#[test]
fn a_full_disk_is_an_error_of_its_own_kind() {
    let Some(mount) = Mounted::tmpfs(256) else { return };
    let dir = Dir::open(&mount.path()).unwrap();
    let file = dir.create_file("x").unwrap();
    let free = dir.free_bytes().unwrap();
    assert!((64 << 10..=256 << 10).contains(&free));
    assert_eq!(kind(allocate(&file, 0, 1 << 20)), io::ErrorKind::StorageFull);
    assert_eq!(dir.free_bytes().unwrap(), free);
    allocate(&file, 0, 64 << 10).unwrap();
    assert_eq!(dir.free_bytes().unwrap(), free - (64 << 10));
    assert_eq!(kind(write_zeros(&file, 0, 1 << 20)), io::ErrorKind::StorageFull);
}
