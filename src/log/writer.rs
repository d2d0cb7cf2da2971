//! Writing one record.

use crate::format::checksum::Checksum;
use crate::format::location::Location;
use crate::format::record::{HEADER_WORDS, Header, SUMMED_BYTES, tail_bytes, whole_sum, with_sums};
use crate::log::copy::copy_in;
use crate::sys::prefetch;
use crate::sys::sync::{AtomicU64, Ordering, fence};

/// Bodies up to this many bytes are put together first, so that one checksum call sees them whole.
const SMALL_BYTES: usize = 512;

/// How far ahead of its end the log is loaded: a segment that is used again is not in the caches.
const AHEAD_WORDS: usize = 64;

/// Goes before the first store into words that held records until they were drained: of each owner
/// of the lock, as a fence orders the stores of its own thread only.
pub(crate) fn begin_reuse() {
    // ORDERING: Release, pairs with the Acquire fence in `table::lookup::is_unchanged`: who reads
    // what is stored from here on sees every slot that was moved away before.
    fence(Ordering::Release);
}

/// Writes the record at `at` into the words of its segment, and a zero word behind it, so that a
/// scan ends there. Nothing of it counts before `tail` has passed it.
///
/// False if it does not fit; the caller has made sure that it does. A small record is put together in
/// `scratch`.
pub(crate) fn write_record(
    segment: &[AtomicU64],
    store_id: u64,
    at: Location,
    header: &Header,
    body: &[&[u8]],
    scratch: &mut Vec<u8>,
) -> bool {
    let (start, units) = (at.unit() as usize, header.units() as usize);
    let Some(words) = segment.get(start..start + units) else {
        return false;
    };
    let (head, tail) = words.split_at(HEADER_WORDS);
    let front = header.words();
    let sum = if header.body_len() <= SMALL_BYTES {
        scratch.clear();
        scratch.extend_from_slice(&tail_bytes(&front));
        body.iter().for_each(|part| scratch.extend_from_slice(part));
        copy_in(tail, &[&scratch[SUMMED_BYTES..]]);
        let mut sum = Checksum::at(store_id, at);
        sum.update(scratch);
        sum
    } else {
        copy_in(tail, body);
        let mut sum = whole_sum(&front, store_id, at);
        body.iter().for_each(|part| sum.update(part));
        sum
    };
    if let Some(after) = segment.get(start + units) {
        after.store(0, Ordering::Relaxed);
    }
    for word in segment.iter().skip(start + units + AHEAD_WORDS).step_by(8).take(units / 8 + 1) {
        prefetch(word);
    }
    for (word, value) in head.iter().zip(with_sums(front, store_id, at, sum)) {
        word.store(value, Ordering::Relaxed);
    }
    true
}
