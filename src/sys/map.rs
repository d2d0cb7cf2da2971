//! A file mapped into memory, seen as a slice of atomic words.
//!
//! ```text
//! file    | word 0 | word 1 | ...                                | word len/8 - 1 |
//! memory  ^ page boundary; the same pages in every process that maps the file
//! ```
//!
//! # Why `&[AtomicU64]` is sound here and `&[u8]` would not be
//!
//! Other processes store into these pages at any moment. A `&[u8]` promises the compiler that the
//! bytes stay as they are while the reference lives: it may read a length twice and take the two for
//! equal. That promise would be broken, so no `&[u8]` over a map exists anywhere. A `&AtomicU64`
//! promises nothing of the kind: it lies in an `UnsafeCell`, every access through it is one machine
//! access of one width, and what another process does to the word is what another thread would do
//! to it, as the kernel shows both the same page of memory. What remains to be promised are facts
//! about addresses, which this file keeps itself:
//!
//! - the range is mapped and readable from [`Map::new`] until the `Map` is dropped, also while
//!   [`Map::replace`] runs;
//! - it starts on a page boundary, so that every word is aligned;
//! - the file was at least as long as the map when it was mapped. No file of a store is ever made
//!   shorter while it may be mapped; if somebody else does so, touching the lost pages ends the
//!   process with SIGBUS, which is no undefined behaviour.
//!
//! # What the callers keep
//!
//! - One width per place: the eight bytes around a [`Map::half`] are never touched as a word.
//! - Stores go to [`Map::writable_words`] only. [`Map::words`] is for loads. A map that was opened
//!   for reading has pages without write permission, where a stray store ends the process with
//!   SIGSEGV; it can never reach the file.
//! - Every number that is loaded is untrusted.
//!
//! The floors above build tables and logs upon this; `liveness` uses [`Keep`].
#![expect(unsafe_code, reason = "maps files and makes shared words of them")]

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicBool;

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::mm::{MapFlags, ProtFlags};

use crate::sys::raw;
use crate::sys::sync::{AtomicU32, AtomicU64, Ordering};

const WORD_BYTES: usize = size_of::<AtomicU64>();
const HALF_BYTES: usize = size_of::<AtomicU32>();

/// A file, or the beginning of one, mapped and shared with every process that maps it too.
#[derive(Debug)]
pub(crate) struct Map {
    memory: MmapRaw,
    writable: bool,
    /// Set when `replace` failed so late that the range shows zeros of nobody.
    lost: AtomicBool,
}

impl Map {
    /// Maps the first `len` bytes of `file`.
    ///
    /// Fails with `InvalidInput` for a length of zero and with `InvalidData` where the file is
    /// shorter than `len`.
    pub(crate) fn new(file: &File, len: usize, writable: bool) -> io::Result<Map> {
        check_length(file, len)?;
        let mut options = MmapOptions::new();
        options.len(len);
        let memory = if writable { options.map_raw(file) } else { options.map_raw_read_only(file) };
        Ok(Map { memory: memory?, writable, lost: AtomicBool::new(false) })
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.memory.len()
    }

    /// Whether stores reach the file.
    pub(crate) fn is_writable(&self) -> bool {
        // ORDERING: Relaxed, the flag guards no other data.
        self.writable && !self.lost.load(Ordering::Relaxed)
    }

    /// The whole map as words, for loads. A tail of fewer than eight bytes is left out.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        let start = self.memory.as_mut_ptr().cast::<AtomicU64>();
        // SAFETY: the range [start, start + len) is mapped readable as long as `self` lives and is
        // aligned to a page; AtomicU64 has the size of a word and no invalid bit patterns; shared
        // mutation is what atomics allow. In a map without write permission only loads happen, as
        // the module demands; Relaxed and Acquire loads of a native word do not write.
        unsafe { std::slice::from_raw_parts(start, self.len() / WORD_BYTES) }
    }

    #[cfg(test)]
    /// The same words, for stores: `None` where the map was opened for reading.
    pub(crate) fn writable_words(&self) -> Option<&[AtomicU64]> {
        self.is_writable().then(|| self.words())
    }

    /// The 32-bit word at `byte_offset`, to sleep and wake on: `None` unless that is a multiple of
    /// four inside a writable map.
    pub(crate) fn half(&self, byte_offset: usize) -> Option<&AtomicU32> {
        let end = byte_offset.checked_add(HALF_BYTES)?;
        if !byte_offset.is_multiple_of(HALF_BYTES) || end > self.len() || !self.is_writable() {
            return None;
        }
        // SAFETY: byte_offset + 4 <= len, so the result points into the one mapped range.
        let at = unsafe { self.memory.as_mut_ptr().add(byte_offset) };
        // SAFETY: mapped and writable as long as `self` lives, aligned to four as page start and
        // offset are, every bit pattern is valid, and shared mutation is what atomics allow.
        Some(unsafe { AtomicU32::from_ptr(at.cast::<u32>()) })
    }

    /// Puts `file` in the place of the mapped file, at the same addresses.
    ///
    /// A concurrent reader sees for each of its loads either the old file's bytes or the new one's,
    /// never a hole. After an error the map shows the old file, or, when the kernel ran out of
    /// memory in the middle, zeros that are not writable until a later `replace` succeeds.
    pub(crate) fn replace(&self, file: &File) -> io::Result<()> {
        // A trial elsewhere first: every error that has to do with the file shows there, where it
        // takes nothing away.
        drop(Map::new(file, self.len(), self.writable)?);
        let fixed = MapFlags::SHARED | MapFlags::FIXED;
        let start = self.memory.as_mut_ptr().cast();
        // SAFETY: the range is the whole of a map that this object owns; whoever holds references
        // into it holds references to atomics, whose bytes may change at any time. The kernel
        // exchanges the pages under its own lock, in which a faulting reader waits.
        let done =
            unsafe { rustix::mm::mmap(start, self.len(), self.protection(), fixed, file, 0) };
        match done {
            Ok(_) => {
                self.lost.store(false, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                self.lost.store(true, Ordering::Relaxed);
                self.fill_hole();
                Err(error.into())
            }
        }
    }

    /// Maps zeros over the range, because a failed exchange may have left nothing mapped there.
    fn fill_hole(&self) {
        let fixed = MapFlags::PRIVATE | MapFlags::FIXED;
        let start = self.memory.as_mut_ptr().cast();
        // SAFETY: as in `replace`: the range is owned by this object, and only atomics refer to it.
        let done =
            unsafe { rustix::mm::mmap_anonymous(start, self.len(), self.protection(), fixed) };
        if done.is_err() {
            // References into the range live on, and another map may soon take its addresses:
            // nothing that this process does from here on could be trusted.
            std::process::abort();
        }
    }

    fn protection(&self) -> ProtFlags {
        if self.writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ }
    }

    /// Has the kernel make the pages of a range present and writable now, in place of one fault for
    /// each later. The range is widened to whole pages and cut to the map. Kernels that do not know
    /// how (before 5.14) are left in peace. `StorageFull`: there is no space behind one of the pages.
    pub(crate) fn populate(&self, start: usize, len: usize) -> io::Result<()> {
        let end = start.saturating_add(len).min(self.len());
        if start >= end || !self.is_writable() {
            return Ok(());
        }
        loop {
            // Widens the range by itself.
            let done = self.memory.advise_range(Advice::PopulateWrite, start, end - start);
            let Err(error) = done else { return Ok(()) };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                // A hint that was not taken: the pages come one by one.
                Some(libc::EINVAL | libc::EAGAIN) => return Ok(()),
                // What a store would have met as SIGBUS.
                Some(libc::EFAULT) => return Err(io::ErrorKind::StorageFull.into()),
                _ => return Err(error),
            }
        }
    }

    #[cfg(test)]
    /// Writes all changed pages to the disk and waits for it.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.memory.flush()
    }

    /// Writes the changed pages of a range to the disk and waits for it. The range is cut to the
    /// map.
    pub(crate) fn flush_range(&self, start: usize, len: usize) -> io::Result<()> {
        let end = start.saturating_add(len).min(self.len());
        if start >= end {
            return Ok(());
        }
        #[cfg(test)]
        crate::sys::testing::step(crate::sys::testing::Step::Flush)?;
        loop {
            match self.memory.flush_range(start, end - start) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

fn check_length(file: &File, len: usize) -> io::Result<()> {
    if len == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a map of zero bytes"));
    }
    let present = file.metadata()?.len();
    if present < len as u64 {
        let text = format!("the file has {present} bytes where {len} are to be mapped");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(())
}

/// Starts to load the cache line of `word`, ahead of the load that will need it.
#[inline]
pub(crate) fn prefetch(word: &AtomicU64) {
    let at = std::ptr::from_ref(word);
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint that neither faults nor changes memory, and the processor
        // feature that it needs is part of every x86_64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast::<i8>()) };
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    {
        // SAFETY: a prefetch is a hint that neither faults nor changes memory; the operand is an
        // address in a register.
        unsafe {
            std::arch::asm!(
                "prfm pldl1keep, [{at}]",
                at = in(reg) at,
                options(nostack, readonly, preserves_flags),
            );
        }
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    let _ = at;
}

/// Keeps an open file alive by a map of it that is never touched.
///
/// The kernel keeps a mapped file open for as long as the map exists, without a descriptor that
/// somebody could close by number. The map is not handed on to the child of a fork.
#[derive(Debug)]
pub(crate) struct Keep {
    /// Present until it is dropped.
    memory: Option<MmapRaw>,
    process: u64,
}

impl Keep {
    /// Keeps `file`, which must have at least one byte. A fork in another thread between the two
    /// system calls of this function hands the map on: callers watch for forks ([`raw::ForkWatch`]).
    pub(crate) fn new(file: &File) -> io::Result<Keep> {
        check_length(file, 1)?;
        let memory = MmapOptions::new().len(1).map_raw_read_only(file)?;
        memory.advise(Advice::DontFork)?;
        Ok(Keep { memory: Some(memory), process: raw::process_token() })
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        // In the child of a fork there is no such map, and something else may live at its address.
        if self.process != raw::process_token() {
            std::mem::forget(self.memory.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::sys::testing::{Child, Mounted, watch};

    const PAGE: usize = 4096;

    fn filled(word: u64, len: usize) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&word.to_ne_bytes().repeat(len / 8), 0).unwrap();
        file
    }

    #[test]
    fn words_are_the_bytes_of_the_file_in_both_directions() {
        let file = filled(7, 2 * PAGE);
        let map = Map::new(&file, 2 * PAGE - 4, true).unwrap();
        assert_eq!((map.len(), map.words().len()), (2 * PAGE - 4, 2 * PAGE / 8 - 1));
        assert!(map.words().iter().all(|word| word.load(Ordering::Relaxed) == 7));
        map.writable_words().unwrap()[3].store(9, Ordering::Relaxed);
        map.half(40).unwrap().store(0, Ordering::Relaxed);
        map.flush_range(0, usize::MAX).unwrap();
        map.flush().unwrap();
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, 24).unwrap();
        assert_eq!(u64::from_ne_bytes(bytes), 9);
        file.read_exact_at(&mut bytes[..4], 40).unwrap();
        assert_eq!(bytes[..4], [0; 4]);
    }

    #[test]
    fn halves_are_aligned_and_inside() {
        let map = Map::new(&filled(0, PAGE), PAGE, true).unwrap();
        assert!(map.half(PAGE - 4).is_some());
        for offset in [1, 2, 6, PAGE - 3, PAGE, PAGE + 4, usize::MAX - 3, usize::MAX] {
            assert!(map.half(offset).is_none(), "{offset}");
        }
    }

    #[test]
    fn a_map_beyond_the_end_of_the_file_is_an_error() {
        let file = filled(1, PAGE);
        let kind = |len| Map::new(&file, len, true).unwrap_err().kind();
        assert_eq!(kind(PAGE + 1), io::ErrorKind::InvalidData);
        assert_eq!(kind(0), io::ErrorKind::InvalidInput);
        let map = Map::new(&filled(1, 2 * PAGE), 2 * PAGE, true).unwrap();
        assert_eq!(map.replace(&file).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(map.words()[PAGE / 4 - 1].load(Ordering::Relaxed), 1);
        assert!(map.is_writable());
    }

    #[test]
    fn after_a_failed_exchange_there_are_zeros_of_nobody() {
        let file = filled(7, PAGE);
        let map = Map::new(&file, PAGE, true).unwrap();
        map.fill_hole();
        assert!(map.words().iter().all(|word| word.load(Ordering::Relaxed) == 0));
        map.words()[0].store(1, Ordering::Relaxed);
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(u64::from_ne_bytes(bytes), 7);
        map.replace(&file).unwrap();
        assert_eq!(map.words()[0].load(Ordering::Relaxed), 7);
    }

    #[test]
    fn flushing_ends_where_the_range_does() {
        // Long, so that behind it there is something that is not mapped.
        const LEN: usize = 1 << 30;
        let file = tempfile::tempfile().unwrap();
        file.set_len(LEN as u64).unwrap();
        let map = Map::new(&file, LEN, true).unwrap();
        map.flush_range(LEN - PAGE, PAGE).unwrap();
        map.flush_range(LEN, PAGE).unwrap();
        let failing = |_| Err(io::ErrorKind::StorageFull.into());
        assert!(watch(failing, || map.flush_range(0, 1)).is_err());
    }

    #[test]
    fn what_a_child_maps_at_the_address_of_a_keep_stays() {
        const MOST: usize = 1000;
        let file = filled(7, PAGE);
        let keep = Cell::new(Some(Keep::new(&file).unwrap()));
        let child = Child::fork(|| {
            let keep = keep.take().unwrap();
            let at = keep.memory.as_ref().unwrap().as_ptr().cast();
            let mut maps = Vec::new();
            while maps.last().is_none_or(|map: &Map| map.words().as_ptr() != at) {
                assert!(maps.len() < MOST, "the kernel takes the gap that the keep left");
                maps.push(Map::new(&file, PAGE, false).unwrap());
            }
            drop(keep);
            maps.pop().unwrap().words()[0].load(Ordering::Relaxed) == 7
        });
        assert!(child.succeeded());
    }

    #[test]
    fn a_map_for_reading_has_nothing_to_store_into() {
        let map = Map::new(&filled(5, PAGE), PAGE, false).unwrap();
        assert!(!map.is_writable());
        assert!(map.writable_words().is_none());
        assert!(map.half(0).is_none());
        map.populate(0, PAGE).unwrap();
        map.replace(&filled(6, PAGE)).unwrap();
        assert_eq!(map.words()[0].load(Ordering::Relaxed), 6);
        let mut stray = Child::fork(|| {
            map.words()[0].store(1, Ordering::Relaxed);
            true
        });
        assert_eq!(stray.wait().terminating_signal(), Some(libc::SIGSEGV));
    }

    #[test]
    fn a_reader_sees_one_file_or_the_other_while_they_are_exchanged() {
        const LEN: usize = 16 * PAGE;
        let files = [filled(1, LEN), filled(2, LEN)];
        let map = Map::new(&files[0], LEN, true).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = [false; 2];
                while !done.load(Ordering::Relaxed) {
                    for word in map.words().iter().step_by(PAGE / 8) {
                        let value = word.load(Ordering::Relaxed);
                        assert!(value == 1 || value == 2, "{value}");
                        seen[usize::from(value == 2)] = true;
                    }
                }
                seen
            });
            for round in 0..2000 {
                map.replace(&files[(round + 1) % 2]).unwrap();
                let word = map.words()[0].load(Ordering::Relaxed);
                assert_eq!(word, ((round + 1) % 2) as u64 + 1);
            }
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
    }

    #[test]
    fn populating_takes_any_range() {
        let map = Map::new(&filled(3, 4 * PAGE), 4 * PAGE - 1, true).unwrap();
        for (start, len) in
            [(0, 0), (0, 1), (5, PAGE), (PAGE, usize::MAX), (4 * PAGE, 1), (usize::MAX, 1)]
        {
            map.populate(start, len).unwrap();
        }
        assert_eq!(map.words()[0].load(Ordering::Relaxed), 3);
        prefetch(&map.words()[0]);
    }

    #[test]
    fn populating_where_there_is_no_space_is_an_error_and_no_signal() {
        let Some(mount) = Mounted::tmpfs(64) else { return };
        let path = mount.path().join("sparse");
        let file = File::create_new(path).unwrap();
        file.set_len(1 << 20).unwrap();
        let file =
            File::options().read(true).write(true).open(mount.path().join("sparse")).unwrap();
        let map = Map::new(&file, 1 << 20, true).unwrap();
        for start in [0, PAGE + 5] {
            assert_eq!(
                map.populate(start, 1 << 20).unwrap_err().kind(),
                io::ErrorKind::StorageFull
            );
        }
    }
}
