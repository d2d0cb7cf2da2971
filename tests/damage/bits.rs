//! Every bit flipped, one at a time.

use std::fs;
use std::os::unix::fs::FileExt;

use crate::look::{Allowed, Depth, look};
use crate::sample::Sample;
use crate::trial::Trials;

/// Unused bytes behind the last used one that are tried as well.
const BEYOND: usize = 64;

fn stride() -> usize {
    match std::env::var("DAMAGE_STRIDE") {
        Ok(stride) => stride.parse().expect("DAMAGE_STRIDE is a number of bits"),
        Err(_) => 7,
    }
}

/// Flips bits of the files whose names begin so, every `stride`-th.
fn flip_bits(sample: &Sample, prefix: &str, stride: usize, allowed: Allowed) {
    let mut trials = Trials::new();
    for (name, bytes) in sample.files.iter().filter(|(name, _)| name.starts_with(prefix)) {
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let bits = 8 * (used + BEYOND).min(bytes.len());
        for bit in (0..bits).step_by(stride) {
            let depth = match trials.count % 16 {
                5 => Depth::Repair,
                count if count % 4 == 3 => Depth::Write,
                _ => Depth::Read,
            };
            let (at, mask) = (bit / 8, 1 << (bit % 8));
            trials.run(&format!("{name}: bit {bit} (byte {at}), {depth:?}"), || {
                let file = fs::OpenOptions::new().write(true).open(sample.path.join(name));
                file.unwrap().write_all_at(&[bytes[at] ^ mask], at as u64).unwrap();
                look(sample, depth, allowed)
            });
            sample.restore();
        }
    }
    trials.end();
}

#[test]
fn bits_of_the_head() {
    flip_bits(&Sample::small(), "head", stride(), Allowed::Loss);
}

#[test]
fn bits_of_the_log() {
    flip_bits(&Sample::small(), "log.", stride(), Allowed::Loss);
}

#[test]
fn bits_of_the_buckets() {
    flip_bits(&Sample::small(), "table.", stride(), Allowed::Loss);
}

#[test]
fn bits_of_the_entries() {
    flip_bits(&Sample::small(), "entries.", stride(), Allowed::Loss);
}

#[test]
fn bits_of_value_files_and_process_slots() {
    flip_bits(&Sample::small(), "values/", stride() * 8 - 3, Allowed::Loss);
    flip_bits(&Sample::small(), "procs/", stride(), Allowed::Loss);
}

#[test]
fn bits_of_a_store_with_several_segments_and_pages() {
    flip_bits(&Sample::grown(), "", stride() * 43, Allowed::Loss);
}

/// A copy made while the store was in use, as it were: opening it rebuilds the table from the log.
#[test]
fn bits_of_a_log_that_is_rebuilt() {
    for mut sample in [Sample::small(), Sample::grown()] {
        let head = sample.files.get_mut("head").unwrap();
        head[512..560].fill(0);
        sample.restore();
        flip_bits(&sample, "log.", stride() * 13, Allowed::Earlier);
    }
}
