//! Whole files cut, blanked, exchanged, replaced and removed.

use std::fs;

use crate::look::{Allowed, Depth, look};
use crate::sample::{Sample, remove};
use crate::trial::Trials;

const DEPTHS: [Depth; 3] = [Depth::Read, Depth::Write, Depth::Repair];

/// Tries a kind of damage on every file of both samples; each trial begins with a sound store.
fn on_every_file(what: &str, damage: impl Fn(&Sample, &str)) {
    let mut trials = Trials::new();
    for sample in [Sample::small(), Sample::grown()] {
        for name in sample.files.keys() {
            for depth in DEPTHS {
                trials.run(&format!("{name} {what}, {depth:?}"), || {
                    damage(&sample, name);
                    look(&sample, depth, Allowed::Loss)
                });
                sample.restore();
            }
        }
    }
    trials.end();
}

#[test]
fn files_cut() {
    for part in [0, 1, 50, 99] {
        on_every_file(&format!("cut to {part} %"), |sample, name| {
            let bytes = &sample.files[name];
            sample.write(name, &bytes[..bytes.len() * part / 100]);
        });
    }
    for cut in [1, 8, 4096] {
        on_every_file(&format!("without its last {cut} bytes"), |sample, name| {
            let bytes = &sample.files[name];
            sample.write(name, &bytes[..bytes.len().saturating_sub(cut)]);
        });
    }
}

#[test]
fn files_longer() {
    on_every_file("twice as long", |sample, name| {
        let bytes = &sample.files[name];
        sample.write(name, &[&bytes[..], &bytes[..]].concat());
    });
}

#[test]
fn blocks_blank() {
    for block in 0..4 {
        on_every_file(&format!("without quarter {block}"), |sample, name| {
            let mut bytes = sample.files[name].clone();
            let quarter = bytes.len() / 4;
            bytes[block * quarter..(block + 1) * quarter].fill(0);
            sample.write(name, &bytes);
        });
    }
    for sector in 0..8 {
        on_every_file(&format!("without sector {sector}"), |sample, name| {
            let mut bytes = sample.files[name].clone();
            bytes.chunks_mut(512).skip(sector).step_by(8).for_each(|it| it.fill(0));
            sample.write(name, &bytes);
        });
    }
}

#[test]
fn files_of_noise() {
    for seed in 1..4_u64 {
        on_every_file(&format!("of noise {seed}"), |sample, name| {
            let mut word = seed;
            let mut bytes = sample.files[name].clone();
            for byte in &mut bytes {
                word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (word >> 56) as u8;
            }
            sample.write(name, &bytes);
        });
        on_every_file(&format!("of noise {seed} from byte 64 on"), |sample, name| {
            let mut word = seed;
            let mut bytes = sample.files[name].clone();
            for byte in bytes.iter_mut().skip(64) {
                word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (word >> 56) as u8;
            }
            sample.write(name, &bytes);
        });
    }
    on_every_file("of ones", |sample, name| {
        sample.write(name, &vec![0xff; sample.files[name].len()]);
    });
}

#[test]
fn files_removed() {
    on_every_file("removed", |sample, name| remove(&sample.path.join(name)));
}

#[test]
fn files_exchanged() {
    let mut trials = Trials::new();
    for sample in [Sample::small(), Sample::grown()] {
        for (one, one_bytes) in &sample.files {
            for (other, other_bytes) in sample.files.range(one.clone()..).skip(1) {
                let depth = DEPTHS[trials.count % DEPTHS.len()];
                trials.run(&format!("{one} and {other} exchanged, {depth:?}"), || {
                    sample.write(one, other_bytes);
                    sample.write(other, one_bytes);
                    look(&sample, depth, Allowed::Loss)
                });
                sample.restore();
            }
        }
    }
    trials.end();
}

#[test]
fn files_that_are_no_files() {
    on_every_file("a directory", |sample, name| {
        let path = sample.path.join(name);
        remove(&path);
        fs::create_dir(path).unwrap();
    });
    on_every_file("a link to itself", |sample, name| {
        let path = sample.path.join(name);
        remove(&path);
        std::os::unix::fs::symlink(&path, &path).unwrap();
    });
    on_every_file("a link to nothing", |sample, name| {
        let path = sample.path.join(name);
        remove(&path);
        std::os::unix::fs::symlink("nothing", &path).unwrap();
    });
    on_every_file("a link to a device", |sample, name| {
        let path = sample.path.join(name);
        remove(&path);
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    });
    on_every_file("a pipe", |sample, name| {
        let path = sample.path.join(name);
        remove(&path);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    });
}

#[test]
fn strangers_in_the_directory() {
    let mut trials = Trials::new();
    let sample = Sample::small();
    let strangers =
        ["log.9999999", "log.0000002", "table.1.1", "table.7.0", "entries.1.1", "notes"];
    for depth in DEPTHS {
        for name in strangers.into_iter().chain(["values/ab/00000000000001", "procs/5"]) {
            for bytes in [&b""[..], &[0xff; 8192]] {
                trials.run(&format!("{name} of {} bytes, {depth:?}", bytes.len()), || {
                    sample.write(name, bytes);
                    look(&sample, depth, Allowed::Loss)
                });
                sample.restore();
            }
        }
        trials.run(&format!("strangers only, {depth:?}"), || {
            sample.files.keys().for_each(|name| remove(&sample.path.join(name)));
            strangers.iter().for_each(|name| sample.write(name, &[0xff; 8192]));
            look(&sample, depth, Allowed::Loss)
        });
        sample.restore();
    }
    trials.end();
}
