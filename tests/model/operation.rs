//! Operations as data: made at random, shown when they fail, and made smaller.

use std::time::Duration;

use firncache::Key;
use quickcheck::{Arbitrary, Gen};

/// The number of keys, few enough to be met again.
pub(crate) const KEYS: u8 = 56;
/// The number of tags.
pub(crate) const TAGS: u8 = 3;
/// Sizes of values: none, small, beside the thresholds, in files, larger than a segment.
const SIZES: [usize; 9] = [0, 1, 30, 100, 199, 201, 700, 2100, 20_000];

/// A key by its number; the numbers are in key order.
pub(crate) fn key(number: u8) -> Key {
    match number {
        0 => Key::from(()),
        1 => Key::from(false),
        2 => Key::from(true),
        3 => Key::from(i64::MIN),
        4 => Key::from(-0.5),
        5..40 => Key::from(i64::from(number)),
        40 => Key::from(40.25),
        41 => Key::from(""),
        42 => Key::from("text"),
        43 => Key::from("x".repeat(1500)),
        44..48 => Key::from(format!("y{number}")),
        48..52 => Key::from(vec![number, 0, 0xFF]),
        _ => Key::from(("tuple", i64::from(number))),
    }
}

pub(crate) fn tag(number: u8) -> Key {
    match number {
        0 => Key::from("tag"),
        1 => Key::from(7),
        _ => Key::from(("tag", 7)),
    }
}

/// A value in each of the ways to store one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(Blob),
    Bytes(Blob),
    /// Goes to the codec.
    List(Blob),
}

/// Any number of times the same, said in few words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Blob {
    pub(crate) len: usize,
    pub(crate) fill: u8,
}

/// Expiry and tag.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Labels {
    pub(crate) expire_ms: Option<u16>,
    pub(crate) tag: Option<u8>,
}

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Set(u8, Value, Labels),
    Add(u8, Value, Labels),
    SetBytes(u8, Blob, Labels),
    SetFrom(u8, Blob, Labels),
    SetMany(Vec<u8>, Blob, Labels),
    Touch(u8, Option<u16>),
    Incr(u8, i64),
    Decr(u8, i64),
    IncrWith(u8, i64, Option<i64>),
    Delete(u8),
    DeleteMany(Vec<u8>),
    Pop(u8),
    Get(u8),
    GetMany(Vec<u8>),
    PeekItem(bool),
    Expire,
    Evict(u8),
    Cull,
    Clear,
    /// Turns the clock, by this many milliseconds; back where that has a meaning.
    Turn(i32),
    /// Closes this handle and opens another.
    Reopen,
    /// Goes on with the other handle.
    Switch,
    Compact,
    Check,
    Repair,
    Sync,
    /// Does these together, and commits or rolls back.
    Transact(bool, Vec<Operation>),
}

impl Blob {
    pub(crate) fn bytes(self) -> Vec<u8> {
        vec![self.fill; self.len]
    }

    pub(crate) fn text(self) -> String {
        char::from(b'a' + self.fill % 26).to_string().repeat(self.len)
    }

    pub(crate) fn list(self) -> Vec<i16> {
        vec![-i16::from(self.fill); self.len / 2]
    }
}

impl Labels {
    pub(crate) fn expire(self) -> Option<Duration> {
        self.expire_ms.map(|ms| Duration::from_millis(ms.into()))
    }
}

fn below(g: &mut Gen, end: u8) -> u8 {
    u8::arbitrary(g) % end
}

/// Mostly one of a few keys, so that they are met again soon.
fn any_key(g: &mut Gen) -> u8 {
    if below(g, 3) > 0 { 38 + below(g, 6) } else { below(g, KEYS) }
}

fn any_keys(g: &mut Gen) -> Vec<u8> {
    (0..below(g, 12)).map(|_| any_key(g)).collect()
}

fn any_delta(g: &mut Gen) -> i64 {
    *g.choose(&[1, -1, 5, 0, 1000, i64::MAX, i64::MIN, i64::MAX - 1]).unwrap()
}

fn any_inner(g: &mut Gen) -> Vec<Operation> {
    (0..below(g, 10)).map(|_| plain(g)).collect()
}

/// Any operation but a transaction.
fn plain(g: &mut Gen) -> Operation {
    use Operation::*;
    match below(g, 50) {
        0..6 => Set(any_key(g), Value::arbitrary(g), Labels::arbitrary(g)),
        6..8 => Add(any_key(g), Value::arbitrary(g), Labels::arbitrary(g)),
        8..13 => SetBytes(any_key(g), Blob::arbitrary(g), Labels::arbitrary(g)),
        13..15 => SetFrom(any_key(g), Blob::arbitrary(g), Labels::arbitrary(g)),
        15..17 => SetMany(any_keys(g), Blob::arbitrary(g), Labels::arbitrary(g)),
        17..20 => Touch(any_key(g), Labels::arbitrary(g).expire_ms),
        20..22 => Incr(any_key(g), any_delta(g)),
        22 => Decr(any_key(g), any_delta(g)),
        23 => IncrWith(any_key(g), any_delta(g), Option::arbitrary(g)),
        24..27 => Delete(any_key(g)),
        27..29 => DeleteMany(any_keys(g)),
        29..32 => Pop(any_key(g)),
        32..34 => Get(any_key(g)),
        34 => GetMany(any_keys(g)),
        35 => PeekItem(bool::arbitrary(g)),
        36 => Expire,
        37..39 => Evict(below(g, TAGS)),
        39 => Cull,
        40 => Clear,
        41..44 => Turn(i32::from(i16::arbitrary(g)) / 16),
        44 => Reopen,
        45 => Switch,
        46 => Compact,
        47 => Check,
        48 => Repair,
        _ => Sync,
    }
}

impl Arbitrary for Operation {
    fn arbitrary(g: &mut Gen) -> Operation {
        match below(g, 12) {
            0 => Operation::Transact(bool::arbitrary(g), any_inner(g)),
            1 => {
                let mut outer = any_inner(g);
                outer.push(Operation::Transact(bool::arbitrary(g), any_inner(g)));
                outer.extend(any_inner(g));
                Operation::Transact(bool::arbitrary(g), outer)
            }
            _ => plain(g),
        }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Operation>> {
        use Operation::*;
        match self.clone() {
            Transact(commits, inner) => {
                let alone = inner.clone().into_iter();
                let fewer = inner.shrink().map(move |inner| Transact(commits, inner));
                Box::new(alone.chain(fewer))
            }
            Set(key, value, labels) => {
                let plainer = labels.shrink().map(move |labels| Set(key, value, labels));
                Box::new(value.shrink().map(move |value| Set(key, value, labels)).chain(plainer))
            }
            SetBytes(key, blob, labels) => {
                let plainer = labels.shrink().map(move |labels| SetBytes(key, blob, labels));
                Box::new(blob.shrink().map(move |blob| SetBytes(key, blob, labels)).chain(plainer))
            }
            SetMany(keys, blob, labels) => {
                let plainer = {
                    let keys = keys.clone();
                    labels.shrink().map(move |labels| SetMany(keys.clone(), blob, labels))
                };
                Box::new(keys.shrink().map(move |keys| SetMany(keys, blob, labels)).chain(plainer))
            }
            DeleteMany(keys) => Box::new(keys.shrink().map(DeleteMany)),
            GetMany(keys) => Box::new(keys.shrink().map(GetMany)),
            _ => quickcheck::empty_shrinker(),
        }
    }
}

impl Arbitrary for Value {
    fn arbitrary(g: &mut Gen) -> Value {
        match below(g, 8) {
            0 => Value::Null,
            1..4 => Value::Int(any_delta(g)),
            4 => Value::Text(Blob::arbitrary(g)),
            5 => Value::List(Blob::arbitrary(g)),
            _ => Value::Bytes(Blob::arbitrary(g)),
        }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Value>> {
        if *self == Value::Null {
            return quickcheck::empty_shrinker();
        }
        quickcheck::single_shrinker(Value::Null)
    }
}

impl Arbitrary for Blob {
    fn arbitrary(g: &mut Gen) -> Blob {
        Blob { len: *g.choose(&SIZES).unwrap(), fill: u8::arbitrary(g) }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Blob>> {
        let fill = self.fill;
        let smaller: Vec<usize> = SIZES.into_iter().filter(|len| *len < self.len).collect();
        Box::new(smaller.into_iter().map(move |len| Blob { len, fill }))
    }
}

impl Arbitrary for Labels {
    fn arbitrary(g: &mut Gen) -> Labels {
        let expire_ms = (below(g, 3) == 0).then(|| u16::arbitrary(g) / 16);
        let tag = (below(g, 3) == 0).then(|| below(g, TAGS));
        Labels { expire_ms, tag }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Labels>> {
        let Labels { expire_ms, tag } = *self;
        let mut plainer = Vec::new();
        if expire_ms.is_some() {
            plainer.push(Labels { expire_ms: None, tag });
        }
        if tag.is_some() {
            plainer.push(Labels { expire_ms, tag: None });
        }
        Box::new(plainer.into_iter())
    }
}
