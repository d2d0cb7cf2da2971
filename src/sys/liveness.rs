//! Tells whether another process still lives, by locks that the kernel gives back when it dies.
//!
//! Each process that writes to a store owns a slot there, numbered from 0, and for the whole of its
//! life the kernel's lock (`flock`) on the slot's file. There is no other evidence: no process
//! number to be mistaken for a newcomer's, no time stamp, nothing to be cleaned up.
//!
//! ```text
//! procs/7      bytes 0..8   incarnation: how often the slot was claimed, little-endian
//!              bytes 8..16  process number of the owner, for messages only
//! procs/gate   byte N locked: somebody is about to claim slot N, or to prove its owner dead
//! ```
//!
//! # How the lock is held
//!
//! `flock` belongs to the open file, not to the descriptor. The file is mapped, the map is kept out
//! of forked children, and the descriptor is closed: the lock then lives exactly as long as the
//! memory of this process. It cannot be lost by somebody who closes all descriptors, and no child
//! can keep it alive. On overlayfs a map keeps another file open, which a claim finds out by asking
//! for the lock a second time; there the descriptor stays open, and is closed in children.
//!
//! # The gate
//!
//! Between closing the descriptor and asking again, the lock might be nobody's for a moment. The
//! gate keeps all others from asking meanwhile. It is held for microseconds and never waited for: a
//! slot whose gate is shut is passed over by claims, and counts as alive for proofs.
//!
//! The files are never removed. `(slot, incarnation)` names a process for ever, as far as the
//! disk's memory goes: the number is not synced, as after a new boot everybody is dead.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::io::retry_on_intr;

use crate::sys::file::Dir;
use crate::sys::map::Keep;
use crate::sys::private::PrivateFile;
use crate::sys::raw::{ForkWatch, byte_lock, byte_unlock, process_token};
use crate::sys::trust;

const FOLDER: &str = "procs";
const GATE: &str = "procs/gate";

/// How many processes can write to a store at the same time.
pub(crate) const SLOTS: u16 = 1023;

/// A slot of this process, held until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Claim {
    slot: u16,
    incarnation: u64,
    #[cfg_attr(not(test), expect(dead_code, reason = "looked at by tests, held for its drop"))]
    process: u64,
    #[cfg_attr(not(test), expect(dead_code, reason = "looked at by tests, held for its drop"))]
    hold: Hold,
}

#[derive(Debug)]
enum Hold {
    Map { _keep: Keep },
    Descriptor { _lock: Locked },
}

impl Claim {
    /// The number of the slot.
    pub(crate) fn slot(&self) -> u16 {
        self.slot
    }

    /// How often this slot has been claimed, this time included; never zero.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    #[cfg(test)]
    /// Whether this is the process that made the claim. In the child of a fork it is not, and there
    /// dropping the claim gives nothing back.
    pub(crate) fn is_own(&self) -> bool {
        self.process == process_token()
    }

    #[cfg(test)]
    /// Whether the lock is held without a descriptor, as it should be.
    pub(crate) fn is_mapped(&self) -> bool {
        matches!(self.hold, Hold::Map { .. })
    }
}

/// The kernel's lock of a slot whose owner is dead. As long as this lives, nobody claims the slot.
#[derive(Debug)]
pub(crate) struct DeathProof {
    #[cfg_attr(not(test), expect(dead_code, reason = "looked at by tests, held for its drop"))]
    slot: u16,
    #[cfg_attr(not(test), expect(dead_code, reason = "looked at by tests, held for its drop"))]
    incarnation: u64,
    _lock: Locked,
}

#[cfg(test)]
impl DeathProof {
    /// The number of the slot.
    pub(crate) fn slot(&self) -> u16 {
        self.slot
    }

    /// The incarnation that is dead, and all before it; zero if the slot was never claimed.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }
}

/// Takes the lowest slot that is free.
pub(crate) fn claim(dir: &Dir) -> io::Result<Claim> {
    dir.make_dir(FOLDER)?;
    let by_map = !trust::maps_another_file(dir)?;
    for slot in 0..SLOTS {
        let Some(gate) = Gate::shut(dir, slot)? else { continue };
        if let Some(claim) = claim_slot(dir, slot, by_map && gate.is_certain)? {
            return Ok(claim);
        }
    }
    let text = format!("all {SLOTS} slots are owned by living processes");
    Err(io::Error::new(io::ErrorKind::ResourceBusy, text))
}

fn claim_slot(dir: &Dir, slot: u16, by_map: bool) -> io::Result<Option<Claim>> {
    let Some(lock) = Locked::take(dir, slot)? else { return Ok(None) };
    let incarnation = next_incarnation(lock.file()?)?;
    let hold =
        if by_map { hold_by_map(dir, slot, lock)? } else { Some(Hold::Descriptor { _lock: lock }) };
    Ok(hold.map(|hold| Claim { slot, incarnation, process: process_token(), hold }))
}

/// Moves the lock from the descriptor to a map, where that works. Runs behind the gate.
fn hold_by_map(dir: &Dir, slot: u16, mut lock: Locked) -> io::Result<Option<Hold>> {
    const ATTEMPTS: usize = 10;
    for _ in 0..ATTEMPTS {
        let watch = ForkWatch::start();
        let keep = Keep::new(lock.file()?)?;
        if !watch.has_forked() {
            lock.close_only();
            return Ok(Some(match Locked::take(dir, slot)? {
                None => Hold::Map { _keep: keep },
                // The map holds nothing here, but this second lock does.
                Some(second) => Hold::Descriptor { _lock: second },
            }));
        }
        // A child may have the map too, and would hold the lock beyond our life: unlock, which
        // counts for all copies, and begin again with another open file.
        drop(keep);
        drop(lock);
        lock = match Locked::take(dir, slot)? {
            Some(again) => again,
            None => return Ok(None),
        };
    }
    Ok(Some(Hold::Descriptor { _lock: lock }))
}

/// Proves that the owner of `slot` is dead, or that there is none: `None` while it lives.
///
/// `None` may also come for a moment after its death: while another process asks the same, or a
/// child that was forked in the middle of a claim has not run its handlers yet. Ask again.
pub(crate) fn prove_dead(dir: &Dir, slot: u16) -> io::Result<Option<DeathProof>> {
    dir.make_dir(FOLDER)?;
    let Some(_gate) = Gate::shut(dir, slot)? else { return Ok(None) };
    let Some(lock) = Locked::take(dir, slot)? else { return Ok(None) };
    let incarnation = Contents::read(lock.file()?)?.incarnation;
    Ok(Some(DeathProof { slot, incarnation, _lock: lock }))
}

/// Whether the owner of `slot` under `incarnation` is dead for certain. No slot is kept from being
/// claimed afterwards: that incarnation does not come again.
///
/// Like [`prove_dead`], it may miss a death for a moment. Ask again.
pub(crate) fn is_over(dir: &Dir, slot: u16, incarnation: u64) -> io::Result<bool> {
    let file = match PrivateFile::open(|| dir.file(&name(slot), true)) {
        // Files of slots are never removed, but a directory can be copied without them.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        file => file?,
    };
    if Contents::read(file.file()?)?.incarnation != incarnation {
        // Somebody else has claimed the slot since: a process claims one when it is free only.
        return Ok(true);
    }
    let Some(_gate) = Gate::shut(dir, slot)? else { return Ok(false) };
    Ok(Locked::lock(file)?.is_some())
}

/// The process number that the last owner of `slot` left, for messages.
pub(crate) fn owner_pid(dir: &Dir, slot: u16) -> Option<u32> {
    let file = dir.file(&name(slot), false).ok()?;
    let process = Contents::read(&file).ok()?.process;
    u32::try_from(process).ok().filter(|&process| process != 0)
}

/// The slots that have a file: all that were ever claimed or looked at.
pub(crate) fn slots(dir: &Dir) -> io::Result<Vec<u16>> {
    let names = match dir.list(FOLDER) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut slots: Vec<u16> = names.iter().filter_map(|name| parse_slot(name)).collect();
    slots.sort_unstable();
    Ok(slots)
}

fn name(slot: u16) -> String {
    format!("{FOLDER}/{slot}")
}

fn parse_slot(name: &str) -> Option<u16> {
    let slot: u16 = name.parse().ok()?;
    (slot < SLOTS && slot.to_string() == name).then_some(slot)
}

fn open_or_create(dir: &Dir, name: &str) -> io::Result<File> {
    match dir.file(name, true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        done => return done,
    }
    match dir.create_file(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => dir.file(name, true),
        done => done,
    }
}

/// What a slot's file says.
struct Contents {
    incarnation: u64,
    process: u64,
}

impl Contents {
    /// What a file is too short for counts as zeros: it was never claimed.
    fn read(file: &File) -> io::Result<Contents> {
        let mut bytes = [0; 16];
        let len = retry_on_intr(|| rustix::io::pread(file, &mut bytes, 0))?;
        bytes[len / 8 * 8..].fill(0);
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        Ok(Contents { incarnation: word(0), process: word(8) })
    }
}

fn next_incarnation(file: &File) -> io::Result<u64> {
    let last = Contents::read(file)?.incarnation;
    let next = last.checked_add(1).unwrap_or(1);
    let mut bytes = [0; 16];
    let (number, process) = bytes.split_at_mut(8);
    number.copy_from_slice(&next.to_le_bytes());
    process.copy_from_slice(&u64::from(std::process::id()).to_le_bytes());
    file.write_all_at(&bytes, 0)?;
    Ok(next)
}

/// The right to lock and unlock one slot, for a moment.
struct Gate {
    file: PrivateFile,
    slot: u16,
    /// False where the file system has no locks on single bytes: then nobody is kept out.
    is_certain: bool,
}

impl Gate {
    fn shut(dir: &Dir, slot: u16) -> io::Result<Option<Gate>> {
        let file = PrivateFile::open(|| open_or_create(dir, GATE))?;
        let is_certain = match byte_lock(file.file()?, slot.into()) {
            Ok(true) => true,
            Ok(false) => return Ok(None),
            Err(_) => false,
        };
        Ok(Some(Gate { file, slot, is_certain }))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Ok(file) = self.file.file() {
            byte_unlock(file, self.slot.into());
        }
    }
}

/// A slot's file, open and locked. Dropping it unlocks, which holds for copies of the descriptor
/// too, should some process have one.
#[derive(Debug)]
struct Locked {
    file: PrivateFile,
    unlock: bool,
}

impl Locked {
    fn take(dir: &Dir, slot: u16) -> io::Result<Option<Locked>> {
        let name = name(slot);
        Locked::lock(PrivateFile::open(|| open_or_create(dir, &name))?)
    }

    /// Locks the file of a slot; `None` if it is locked.
    fn lock(file: PrivateFile) -> io::Result<Option<Locked>> {
        loop {
            match fs2::FileExt::try_lock_exclusive(file.file()?) {
                Ok(()) => return Ok(Some(Locked { file, unlock: true })),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn file(&self) -> io::Result<&File> {
        self.file.file()
    }

    /// Closes the descriptor and leaves the lock to whatever else keeps the file open.
    fn close_only(mut self) {
        self.unlock = false;
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if self.unlock
            && let Ok(file) = self.file.file()
        {
            // Closing does the same; the result says nothing that could be acted upon.
            let _ = fs2::FileExt::unlock(file);
        }
    }
}

#[cfg(test)]
mod tests;
