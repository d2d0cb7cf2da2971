//! Records at the end of a segment, of every length, and with keys that nearly agree.

use crate::format::location::{Location, Segment};
use crate::format::record::{HEADER_WORDS, Header, Kind};
use crate::log::copy::{copy_in, copy_out, is_at};
use crate::log::reader::{Reading, body, has_key, header, read};
use crate::log::writer::write_record;
use crate::sys::sync::{AtomicU64, Ordering};

const STORE: u64 = 5;
/// What the words hold before.
const JUNK: u64 = u64::MAX / 3;

fn at(unit: u64) -> Location {
    Location::new(Segment::new(1), unit)
}

fn words(units: u64) -> Vec<AtomicU64> {
    (0..units).map(|_| AtomicU64::new(JUNK)).collect()
}

fn load(words: &[AtomicU64]) -> Vec<u64> {
    words.iter().map(|word| word.load(Ordering::Relaxed)).collect()
}

fn put(tag: &[u8], key: &[u8], value: &[u8]) -> Header {
    Header {
        tag_len: tag.len() as u16,
        key_len: key.len() as u32,
        value_len: value.len() as u32,
        ..Header::job(Kind::Put, 0)
    }
}

fn write(segment: &[AtomicU64], at: Location, header: &Header, parts: &[&[u8]]) -> bool {
    write_record(segment, STORE, at, header, parts, &mut b"of another record".to_vec())
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 7 + index / 256) as u8).collect()
}

#[test]
fn a_record_ends_with_a_zero_word_where_there_is_room_for_one() {
    for len in [0, 1, 8, 100, 511, 512, 513, 5000] {
        let value = bytes(len);
        let header = put(b"", b"", &value);
        let units = header.units();
        for room in 0..3 {
            let segment = words(8 + units + room);
            assert!(write(&segment, at(8), &header, &[b"", &value]), "{len} {room}");
            let seen = load(&segment);
            assert_eq!(seen[..8], [JUNK; 8]);
            let behind = &seen[8 + units as usize..];
            assert_eq!(behind, &[0, JUNK][..room as usize]);
            assert_eq!(body(&segment, STORE, at(8), &mut Vec::new()), Some(header));
        }
        let segment = words(8 + units - 1);
        assert!(!write(&segment, at(8), &header, &[&value]), "{len}");
        assert_eq!(load(&segment), vec![JUNK; segment.len()], "nothing of it was written");
    }
}

#[test]
fn a_record_beyond_the_end_of_its_segment_is_damage() {
    for value in [bytes(20), bytes(2000)] {
        let header_of = put(b"t", b"key", &value);
        let whole = words(8 + header_of.units());
        assert!(write(&whole, at(8), &header_of, &[b"t", b"key", &value]));
        let is_there = |units: usize| {
            let segment = &whole[..units];
            let found = header(segment, STORE, at(8)).is_some();
            let reading = read(segment, STORE, at(8), b"key", None, &mut Vec::new());
            assert_eq!(matches!(reading, Reading::Record(_)), found);
            assert_eq!(matches!(reading, Reading::Damaged), !found);
            assert_eq!(body(segment, STORE, at(8), &mut Vec::new()).is_some(), found);
            found
        };
        assert!(is_there(whole.len()));
        for units in [0, 8, 8 + HEADER_WORDS - 1, 8 + HEADER_WORDS, whole.len() - 1] {
            assert!(!is_there(units), "{units}");
        }
    }
}

#[test]
fn records_of_every_length_come_back_with_their_tags() {
    for len in (0..40).chain(480..530) {
        for tag in [&b""[..], b"tag"] {
            let (key, value) = (b"the key", bytes(len));
            let header = put(tag, key, &value);
            let segment = words(8 + header.units());
            assert!(write(&segment, at(8), &header, &[tag, key, &value]));
            let (mut found_tag, mut found) = (b"junk".to_vec(), b"junk".to_vec());
            let reading = read(&segment, STORE, at(8), key, Some(&mut found_tag), &mut found);
            assert!(matches!(reading, Reading::Record(it) if it == header), "{len}");
            assert_eq!((found_tag.as_slice(), &found), (tag, &value));
            assert_eq!(body(&segment, STORE, at(8), &mut found), Some(header));
            assert_eq!(found, [tag, key, &value].concat());
        }
    }
}

#[test]
fn a_record_is_of_one_store_and_one_place() {
    for len in [3, 3000] {
        let (value, key) = (bytes(len), b"k");
        let header_of = put(b"", key, &value);
        let segment = words(2 * (8 + header_of.units()));
        assert!(write(&segment, at(8), &header_of, &[key, &value]));
        assert!(header(&segment, STORE + 1, at(8)).is_none());
        let elsewhere = Location::new(Segment::new(2), 8);
        assert!(header(&segment, STORE, elsewhere).is_none());
        let reading = read(&segment, STORE + 1, at(8), key, None, &mut Vec::new());
        assert!(matches!(reading, Reading::Damaged));
        assert_eq!(body(&segment, STORE + 1, at(8), &mut Vec::new()), None);
        // A body that has changed: the header alone does not show it.
        let last = &segment[7 + header_of.units() as usize];
        last.store(last.load(Ordering::Relaxed) ^ 1, Ordering::Relaxed);
        assert_eq!(header(&segment, STORE, at(8)), Some(header_of));
        assert_eq!(body(&segment, STORE, at(8), &mut Vec::new()), None);
    }
}

#[test]
fn keys_are_compared_to_their_last_byte() {
    for len in [1, 255, 256, 257, 512, 700] {
        let (key, tag) = (bytes(len), b"tagged");
        for value in [bytes(3), bytes(3000)] {
            let header = put(tag, &key, &value);
            let segment = words(8 + header.units());
            assert!(write(&segment, at(8), &header, &[tag, &key, &value]));
            let is_of = |wanted: &[u8]| {
                let reading = read(&segment, STORE, at(8), wanted, None, &mut Vec::new());
                let is_of = has_key(&segment, at(8), &header, wanted);
                assert_eq!(matches!(reading, Reading::Record(_)), is_of);
                assert_eq!(matches!(reading, Reading::OtherKey), !is_of);
                is_of
            };
            assert!(is_of(&key));
            for changed in [0, len / 2, len.saturating_sub(2), len - 1] {
                let mut other = key.clone();
                other[changed] ^= 1;
                assert!(!is_of(&other), "byte {changed} of {len}");
            }
            assert!(!is_of(&key[..len - 1]) && !is_of(&[&key[..], b"x"].concat()));
        }
    }
}

#[test]
fn bytes_in_parts_lie_as_one_piece_does() {
    for len in 0..40 {
        let whole = bytes(len);
        let expected = words(8);
        copy_in(&expected, &[&whole]);
        for (first, second) in (0..=len).flat_map(|it| (it..=len).map(move |then| (it, then))) {
            let parts = words(8);
            copy_in(&parts, &[&whole[..first], &whole[first..second], &whole[second..]]);
            assert_eq!(load(&parts), load(&expected), "{first} {second} of {len}");
        }
        let units = len.div_ceil(8);
        assert_eq!(load(&expected)[units..], vec![JUNK; 8 - units]);
    }
}

#[test]
fn bytes_are_copied_out_of_any_place_up_to_the_end() {
    let (source, whole) = (words(4), bytes(32));
    copy_in(&source, &[&whole]);
    for from in 0..=32 {
        for len in 0..=32 {
            let mut out = vec![0; len];
            assert_eq!(copy_out(&source, from, &mut out), from + len <= 32, "{len} from {from}");
            if from + len <= 32 {
                assert_eq!(out, whole[from..from + len], "{len} from {from}");
            }
        }
    }
    assert!(!copy_out(&source, 40, &mut []));
}

#[test]
fn bytes_are_compared_where_they_lie_up_to_the_last_one() {
    let (source, whole) = (words(25), bytes(200));
    copy_in(&source, &[&whole]);
    for from in [0, 1, 7, 8, 9, 64, 67] {
        for len in (0..20).chain([63, 64, 65, 128, 131, 132, 133]) {
            let mut wanted = whole[from..from + len].to_vec();
            assert!(is_at(&source, from, &wanted), "{len} from {from}");
            for changed in 0..len {
                wanted[changed] ^= 1;
                assert!(!is_at(&source, from, &wanted), "byte {changed} of {len} from {from}");
                wanted[changed] ^= 1;
            }
        }
        assert!(is_at(&source, from, &whole[from..]));
        assert!(!is_at(&source, from, &[&whole[from..], &[0]].concat()), "beyond the end");
        assert!(!is_at(&source, from, &[&whole[from..], &[0; 8]].concat()), "beyond the end");
    }
    assert!(is_at(&source, 200, &[]) && !is_at(&source, 208, &[0]));
}
