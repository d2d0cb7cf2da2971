//! Another process works on the store, and is killed: what it has waited for is told to the disk
//! beside, when it is dead. So more can count as kept than was certain at the time, and never less.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::disk::Disk;
use crate::sys::testing::{Child, Step, watch};

const BYTES: usize = 9;

/// The steps that a disk needs to be told of, as bytes.
fn encode(step: Step) -> Option<[u8; BYTES]> {
    let (kind, inode) = match step {
        Step::Sync(inode) => (1, inode),
        Step::Flush => (2, 0),
        Step::Punch(inode) => (3, inode),
        _ => return None,
    };
    let mut bytes = [kind; BYTES];
    bytes[1..].copy_from_slice(&inode.to_le_bytes());
    Some(bytes)
}

fn decode(bytes: &[u8; BYTES]) -> Step {
    let inode = u64::from_le_bytes(bytes[1..].try_into().unwrap());
    match bytes[0] {
        1 => Step::Sync(inode),
        2 => Step::Flush,
        _ => Step::Punch(inode),
    }
}

/// Does `work` in a process that is killed before step `at`, if it comes to that.
pub(super) fn killed_elsewhere(disk: &RefCell<Disk>, notes: &Path, at: u64, work: impl FnOnce()) {
    use rustix::process::{Signal, getpid, kill_process};
    let before = disk.borrow().now();
    let mut file = File::create(notes).unwrap();
    let mut child = Child::fork(|| {
        let mut count = 0;
        let hook = move |step: Step| {
            if count == at {
                kill_process(getpid(), Signal::KILL)?;
            }
            count += 1;
            encode(step).map_or(Ok(()), |bytes| file.write_all(&bytes))
        };
        watch(hook, work);
        true
    });
    let status = child.wait();
    let is_killed = status.terminating_signal() == Some(Signal::KILL.as_raw());
    assert!(is_killed || status.exit_status() == Some(0), "{status:?}");
    let notes = std::fs::read(notes).unwrap();
    let steps: Vec<Step> = notes.as_chunks().0.iter().map(decode).collect();
    disk.borrow_mut().was_elsewhere(&before, &steps);
}
