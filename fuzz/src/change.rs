//! Changes to files, eight bytes of input each.
//!
//! ```text
//! byte 0   what is done        byte 1   to which file
//! byte 2,3 where               byte 4.. with what
//! ```

use firncache::fuzzing::{records, set_field};

use crate::disk::Files;

/// Bytes of input for one change.
pub const BYTES: usize = 8;
/// In `head`, the words that engines go by: tail, applied, geometry, moves, state blocks, settings.
const FIRST_WORD: usize = 1024 / 8;
const LAST_WORD: usize = 2072 / 8;
const BLOCK: usize = 512;

/// Makes one change. Where `may_cut` is false no file becomes shorter.
pub fn change(files: &mut Files, input: &[u8; BYTES], may_cut: bool) {
    let last = files.len().saturating_sub(1);
    let source = files.values().nth(usize::from(input[4]).min(last)).cloned();
    let (Some(source), Some((name, bytes))) =
        (source, files.iter_mut().nth(usize::from(input[1]).min(last)))
    else {
        return;
    };
    let at = usize::from(input[2]) << 8 | usize::from(input[3]);
    let number = u64::from_le_bytes([input[4], input[5], input[6], input[7], 0, 0, 0, 0]);
    match input[0] % 8 {
        0 => fill(bytes, at, 1 << (input[4] % 8), |index, _| input[5 + index % 3]),
        1 => fill(bytes, at, 1 << (input[4] % 8), |index, old| old ^ input[5 + index % 3]),
        2 | 3 if name.starts_with("log.") => {
            let found = records(bytes);
            if let Some(record) = found.get(usize::from(input[2]) % found.len().max(1)) {
                set_field(bytes, *record, usize::from(input[3]), number);
            }
        }
        4 if name == "head" => {
            let word = FIRST_WORD + at % (LAST_WORD - FIRST_WORD);
            fill(bytes, 8 * word + usize::from(input[7] % 8), 4, |index, old| {
                if input[7] & 0x80 == 0 { input[4 + index % 3] } else { old.wrapping_add(input[4]) }
            });
        }
        5 => {
            // A block of another file, or of another place.
            let from = BLOCK * usize::from(input[5]);
            if let Some(block) = source.get(from..(from + BLOCK).min(source.len())) {
                fill(bytes, at, block.len(), |index, _| block[index]);
            }
        }
        6 if may_cut => bytes.truncate(at),
        7 => fill(bytes, at / BLOCK * BLOCK, BLOCK, |_, _| input[4]),
        _ => fill(bytes, at, 8, |index, _| input[4 + index % 4]),
    }
}

fn fill(bytes: &mut [u8], at: usize, len: usize, with: impl Fn(usize, u8) -> u8) {
    for (index, byte) in bytes.iter_mut().skip(at).take(len).enumerate() {
        *byte = with(index, *byte);
    }
}
