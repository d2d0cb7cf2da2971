//! All that there is to damage in four small stores: every bit, every byte, every block, every length.
//!
//! Bits, blocks and lengths: the store is opened, read, walked over and checked; every 16th is written
//! to besides, and every 64th repaired. Bytes change under a handle that is open throughout, as those
//! of a bad disk or a stray process would: it reads and walks. The samples in the short form are spread over all places by prime strides.
//! `DAMAGE_ONLY=text` runs the trials whose names have this text in them, to look at one again.

use crate::exact::Exact;
use firncache::Cache;

use crate::look::{Allowed, Depth, look, look_alive};
use crate::sample::{Sample, options};
use crate::shapes::{LARGE, PLAIN, QUEUES, Shape, WORN};
use crate::trial::Trials;

/// Of what is exchanged or blanked: a sector of old disks, the unit in which writes are torn.
const BLOCK: usize = 512;
/// Where `head` says in which boot and where it was written.
const BOOT: usize = 512;
/// Strides of the short form.
const BIT_STRIDE: usize = 211;
const BYTE_STRIDE: usize = 1009;
const BLOCK_STRIDE: usize = 7;
const CUT_STRIDE: usize = 61;

/// One of so many is tried: all, where `DAMAGE_STRIDE` is 1.
fn stride(short: usize) -> usize {
    match std::env::var("DAMAGE_STRIDE") {
        Ok(stride) => stride.parse::<usize>().expect("DAMAGE_STRIDE is a number").min(short),
        Err(_) => short,
    }
}

/// The trials of one kind on one store.
struct Run<'a> {
    sample: &'a Sample,
    exact: Exact<'a>,
    trials: Trials,
    began: std::time::Instant,
    only: Option<String>,
}

impl<'a> Run<'a> {
    fn new(sample: &'a Sample) -> Run<'a> {
        let (exact, trials) = (Exact::new(sample), Trials::new());
        let only = std::env::var("DAMAGE_ONLY").ok();
        Run { sample, exact, trials, began: std::time::Instant::now(), only }
    }

    fn is_wanted(&mut self, what: &str) -> bool {
        let is_wanted = self.only.as_ref().is_none_or(|only| what.contains(only));
        self.trials.count += usize::from(!is_wanted);
        is_wanted
    }

    /// One byte under a handle that is open.
    fn one_alive(&mut self, cache: &Cache, (file, at, old, new): (usize, usize, u8, u8)) {
        let name = self.sample.files.keys().nth(file).unwrap();
        let what = format!("{name}: byte {at} is {new} under an open handle");
        if self.is_wanted(&what) {
            let (sample, exact) = (self.sample, &self.exact);
            self.trials.run(&what, || {
                exact.write(file, at, &[new]);
                look_alive(cache, sample)
            });
            self.exact.write(file, at, &[old]);
        }
    }

    fn one(&mut self, what: std::fmt::Arguments<'_>, damage: impl FnOnce(&Exact<'_>)) {
        self.one_of(what, Allowed::Loss, damage);
    }

    fn one_of(
        &mut self,
        what: std::fmt::Arguments<'_>,
        allowed: Allowed,
        damage: impl FnOnce(&Exact<'_>),
    ) {
        let depth = match self.trials.count % 64 {
            37 => Depth::Repair,
            count if count % 16 == 11 => Depth::Write,
            _ => Depth::Read,
        };
        let what = format!("{what}, {depth:?}");
        if !self.is_wanted(&what) {
            return;
        }
        let (sample, exact) = (self.sample, &self.exact);
        self.trials.run(&what, || {
            damage(exact);
            look(sample, depth, allowed)
        });
        self.exact.restore();
    }

    fn end(self, what: &str, shape: &Shape) {
        let (count, seconds) = (self.trials.count, self.began.elapsed().as_secs_f64());
        let rate = count as f64 / seconds;
        let (most, (time, slowest)) = (self.trials.most_memory, &self.trials.slowest);
        println!(
            "{}: {count} {what} in {seconds:.1} s, {rate:.0} each second, {most} bytes at most; \
             slowest, {time:.3?}: {slowest}",
            shape.name
        );
        self.trials.end();
    }
}

/// Where the byte with this number lies, counted through all files.
fn place(sample: &Sample, mut number: usize) -> (usize, &str, &[u8], usize) {
    for (file, (name, bytes)) in sample.files.iter().enumerate() {
        if number < bytes.len() {
            return (file, name, bytes, number);
        }
        number -= bytes.len();
    }
    panic!("there is no byte {number} beyond the last")
}

fn total(sample: &Sample) -> usize {
    sample.files.values().map(Vec::len).sum()
}

fn every_bit(shape: &Shape) {
    let sample = shape.sample();
    let mut run = Run::new(&sample);
    for bit in (0..8 * total(&sample)).step_by(stride(BIT_STRIDE)) {
        let (file, name, bytes, at) = place(&sample, bit / 8);
        let flipped = bytes[at] ^ 1 << (bit % 8);
        run.one(format_args!("{name}: bit {} of byte {at}", bit % 8), |exact| {
            exact.write(file, at, &[flipped]);
        });
    }
    run.end("bits", shape);
}

/// Every byte replaced by every other value.
fn every_byte(shape: &Shape) {
    let sample = shape.sample();
    let cache = options().read_only(true).open(&sample.path).unwrap();
    let mut run = Run::new(&sample);
    for trial in (0..255 * total(&sample)).step_by(stride(BYTE_STRIDE)) {
        let (file, _, bytes, at) = place(&sample, trial / 255);
        let value = bytes[at].wrapping_add(1 + (trial % 255) as u8);
        run.one_alive(&cache, (file, at, bytes[at], value));
    }
    look_alive(&cache, &sample).unwrap();
    run.end("bytes", shape);
}

/// Every block blanked, and every two blocks exchanged.
fn every_block(shape: &Shape) {
    let sample = shape.sample();
    let mut blocks = Vec::new();
    for (file, (name, bytes)) in sample.files.iter().enumerate() {
        let of = bytes.chunks(BLOCK).enumerate();
        blocks.extend(of.map(|(index, block)| (file, name, index * BLOCK, block)));
    }
    let mut run = Run::new(&sample);
    for (file, name, at, block) in &blocks {
        for fill in [0, 0xff] {
            run.one(format_args!("{name}: block at {at} of {fill}"), |exact| {
                exact.write(*file, *at, &vec![fill; block.len()]);
            });
        }
    }
    let pairs = blocks.len() * blocks.len();
    for pair in (0..pairs).step_by(stride(BLOCK_STRIDE)) {
        let (one, other) = (&blocks[pair / blocks.len()], &blocks[pair % blocks.len()]);
        if one.3 == other.3 {
            continue;
        }
        let what = format_args!("{} at {} and {} at {}", one.1, one.2, other.1, other.2);
        // The place and the boot are lost, so that the table is made anew, from a log with a gap.
        let is_rebuilt = |it: &(usize, &String, usize, &[u8])| *it.1 == "head" && it.2 == BOOT;
        let may_rise = is_rebuilt(one) || is_rebuilt(other);
        let allowed = if may_rise { Allowed::Earlier } else { Allowed::Loss };
        run.one_of(format_args!("{what} exchanged"), allowed, |exact| {
            let len = one.3.len().min(other.3.len());
            exact.write(one.0, one.2, &other.3[..len]);
            exact.write(other.0, other.2, &one.3[..len]);
        });
    }
    run.end("blocks", shape);
}

/// Every file cut to every length.
fn every_length(shape: &Shape) {
    let sample = shape.sample();
    let mut run = Run::new(&sample);
    for number in (0..total(&sample)).step_by(stride(CUT_STRIDE)) {
        let (file, name, _, at) = place(&sample, number);
        run.one(format_args!("{name}: cut to {at}"), |exact| exact.cut(file, at));
    }
    run.end("lengths", shape);
}

fn everything(shape: &Shape) {
    every_bit(shape);
    every_block(shape);
    every_length(shape);
    every_byte(shape);
}

#[test]
fn everything_of_a_plain_store() {
    everything(&PLAIN);
}

#[test]
fn everything_of_a_store_with_transactions_and_queues() {
    everything(&QUEUES);
}

#[test]
fn everything_of_a_store_with_large_values() {
    everything(&LARGE);
}

#[test]
fn everything_of_a_store_that_was_cleared_and_compacted() {
    everything(&WORN);
}
