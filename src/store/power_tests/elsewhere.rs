//! Another process works on the store, and is killed: what it has waited for is told to the disk
//! beside, when it is dead. So more can count as kept than was certain at the time, and never less.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::rc::Rc;

use super::disk::Disk;
use crate::sys::testing::{Child, Step, watch};

/// Of a step that the disk needs to be told of: its kind, its inode, and how many bytes follow.
const BYTES: usize = 24;
const SYNC: u64 = 1;
const FLUSH: u64 = 2;
const PUNCH: u64 = 3;

/// What a process did, in order; of a file whose space it gave back what was in it before.
pub(super) type Notes = Vec<(Step, Option<Vec<u8>>)>;

fn encode(disk: &Disk, step: Step) -> Option<Vec<u8>> {
    let (kind, inode, bytes) = match step {
        Step::Sync(inode) => (SYNC, inode, Vec::new()),
        Step::Flush => (FLUSH, 0, Vec::new()),
        // Made by this process, and gone with it, if it is not known.
        Step::Punch(inode) => (PUNCH, inode, disk.bytes_of(inode)?),
        _ => return None,
    };
    let header = [kind, inode, bytes.len() as u64].map(u64::to_le_bytes);
    Some([header.concat(), bytes].concat())
}

fn decode(mut notes: &[u8]) -> Notes {
    let mut steps = Vec::new();
    let mut header = [0; BYTES];
    while notes.read_exact(&mut header).is_ok() {
        let word = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap());
        let (bytes, rest) = notes.split_at(word(16) as usize);
        notes = rest;
        steps.push(match word(0) {
            SYNC => (Step::Sync(word(8)), None),
            FLUSH => (Step::Flush, None),
            _ => (Step::Punch(word(8)), Some(bytes.to_vec())),
        });
    }
    steps
}

/// Does `work` in a process that is killed before step `at`, if it comes to that.
pub(super) fn killed_elsewhere(
    disk: &Rc<RefCell<Disk>>,
    notes: &Path,
    at: u64,
    work: impl FnOnce(),
) {
    use rustix::process::{Signal, getpid, kill_process};
    let mut file = File::create(notes).unwrap();
    let mut child = Child::fork(|| {
        let (disk, mut count) = (Rc::clone(disk), 0);
        let hook = move |step: Step| {
            if count == at {
                kill_process(getpid(), Signal::KILL)?;
            }
            count += 1;
            encode(&disk.borrow(), step).map_or(Ok(()), |note| file.write_all(&note))
        };
        watch(hook, work);
        true
    });
    let status = child.wait();
    let is_killed = status.terminating_signal() == Some(Signal::KILL.as_raw());
    assert!(is_killed || status.exit_status() == Some(0), "{status:?}");
    let notes = decode(&std::fs::read(notes).unwrap());
    disk.borrow_mut().was_elsewhere(notes);
}
