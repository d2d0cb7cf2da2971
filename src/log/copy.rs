//! Bytes into and out of shared words.
//!
//! Other processes may write the same words at any time; so they are loaded and stored one by one,
//! as relaxed atomics, and what was copied out is checked before it is believed.

use crate::sys::sync::{AtomicU64, Ordering};

/// Copies bytes out, beginning at byte `from` of `words`. False if there are not that many.
pub(crate) fn copy_out(words: &[AtomicU64], from: usize, into: &mut [u8]) -> bool {
    let (first, skip) = (from / 8, from % 8);
    let Some(words) = words.get(first..).filter(|words| words.len() * 8 >= skip + into.len())
    else {
        return false;
    };
    if skip == 0 {
        copy_aligned(words, into)
    } else {
        copy_shifted(words, skip, into)
    }
    true
}

/// Whether these bytes lie at byte `from` of `words`.
pub(crate) fn is_at(words: &[AtomicU64], from: usize, bytes: &[u8]) -> bool {
    if from.is_multiple_of(8) {
        let (chunks, rest) = bytes.as_chunks::<8>();
        let Some(words) = words.get(from / 8..) else { return false };
        let (Some(whole), last) = (words.get(..chunks.len()), words.get(chunks.len())) else {
            return false;
        };
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed).to_le_bytes();
        return whole.iter().zip(chunks).all(|(word, chunk)| load(word) == *chunk)
            && (rest.is_empty() || last.is_some_and(|word| load(word)[..rest.len()] == *rest));
    }
    let mut chunk = [0; 64];
    bytes.chunks(chunk.len()).enumerate().all(|(index, wanted)| {
        let chunk = &mut chunk[..wanted.len()];
        copy_out(words, from + 64 * index, chunk) && chunk == wanted
    })
}

fn copy_aligned(words: &[AtomicU64], into: &mut [u8]) {
    let (chunks, rest) = into.as_chunks_mut::<8>();
    for (chunk, word) in chunks.iter_mut().zip(words) {
        *chunk = word.load(Ordering::Relaxed).to_le_bytes();
    }
    if let (false, Some(word)) = (rest.is_empty(), words.get(chunks.len())) {
        rest.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes()[..rest.len()]);
    }
}

fn copy_shifted(words: &[AtomicU64], skip: usize, into: &mut [u8]) {
    let shift = 8 * skip as u32;
    let mut words = words.iter().map(|word| word.load(Ordering::Relaxed));
    let mut current = words.next().unwrap_or(0);
    for chunk in into.chunks_mut(8) {
        let next = if chunk.len() > 8 - skip { words.next().unwrap_or(0) } else { 0 };
        let joined = current >> shift | next << (64 - shift);
        chunk.copy_from_slice(&joined.to_le_bytes()[..chunk.len()]);
        current = next;
    }
}

/// Stores `parts` one after the other, beginning with word 0; the last word is filled with zeros.
/// The caller has made sure that they fit.
pub(crate) fn copy_in(words: &[AtomicU64], parts: &[&[u8]]) {
    if let [whole] = parts {
        return copy_in_aligned(words, whole);
    }
    let mut words = words.iter();
    let mut put = |value: u64| {
        if let Some(word) = words.next() {
            word.store(value, Ordering::Relaxed);
        }
    };
    let (mut carry, mut filled) = (0u64, 0u32);
    for part in parts {
        let mut chunks = part.chunks_exact(8);
        for chunk in chunks.by_ref() {
            let value = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
            put(carry | value << filled);
            carry = if filled == 0 { 0 } else { value >> (64 - filled) };
        }
        for byte in chunks.remainder() {
            carry |= u64::from(*byte) << filled;
            filled += 8;
            if filled == 64 {
                put(carry);
                (carry, filled) = (0, 0);
            }
        }
    }
    if filled > 0 {
        put(carry);
    }
}

fn copy_in_aligned(words: &[AtomicU64], bytes: &[u8]) {
    let (chunks, rest) = bytes.as_chunks::<8>();
    for (word, chunk) in words.iter().zip(chunks) {
        word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
    }
    if let (false, Some(word)) = (rest.is_empty(), words.get(chunks.len())) {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        word.store(u64::from_le_bytes(last), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn zeroed(words: usize) -> Vec<AtomicU64> {
        (0..words).map(|_| AtomicU64::new(u64::MAX)).collect()
    }

    quickcheck! {
        fn what_goes_in_comes_out(parts: Vec<Vec<u8>>, from: usize) -> bool {
            let whole = parts.concat();
            let words = zeroed(whole.len() / 8 + 2);
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            copy_in(&words, &slices);
            let from = from % (whole.len() + 1);
            let mut out = vec![0; whole.len() - from];
            copy_out(&words, from, &mut out) && out == whole[from..]
        }

        fn what_lies_there_is_told_from_what_does_not(bytes: Vec<u8>, from: usize, at: usize) -> bool {
            let words = zeroed(bytes.len() / 8 + 1);
            copy_in(&words, &[&bytes]);
            let from = from % (bytes.len() + 1);
            let mut other = bytes[from..].to_vec();
            let is_there = is_at(&words, from, &other);
            let Some(byte) = at.checked_rem(other.len()).map(|at| &mut other[at]) else {
                return is_there;
            };
            *byte ^= 1;
            let too_many = [&bytes[from..], &[0; 16]].concat();
            is_there && !is_at(&words, from, &other) && !is_at(&words, from, &too_many)
        }
    }

    #[test]
    fn padding_is_zero_and_the_bounds_hold() {
        let words = zeroed(2);
        copy_in(&words, &[b"abc"]);
        assert_eq!(words[0].load(Ordering::Relaxed), u64::from_le_bytes(*b"abc\0\0\0\0\0"));
        assert_eq!(words[1].load(Ordering::Relaxed), u64::MAX);
        copy_in(&words[..1], &[b"abcdefgh", b"ijklmnop"]);
        assert_eq!(words[0].load(Ordering::Relaxed), u64::from_le_bytes(*b"abcdefgh"));
        assert_eq!(words[1].load(Ordering::Relaxed), u64::MAX);
        assert!(!copy_out(&words, 9, &mut [0; 8]));
        assert!(!copy_out(&words, 17, &mut []));
        assert!(copy_out(&words, 16, &mut []));
    }
}
