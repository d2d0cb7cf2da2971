//! Holds a cache against the reference.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io::{Read, Seek, SeekFrom};
use std::time::{Duration, SystemTime};

use firncache::{Cache, Entry, ErrorKind, Key, Result, Side};
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

use crate::operation::{KEYS, Value, key, tag};
use crate::reference::{Item, Reference};

fn moment(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

/// Every way to read a cache agrees with the reference.
pub(crate) fn assert_same(cache: &Cache, reference: &Reference) {
    let len = cache.len().unwrap();
    assert!(reference.len().contains(&len), "len {len}, expected {:?}", reference.len());
    assert_eq!(cache.is_empty().unwrap(), len == 0);
    for number in 0..KEYS {
        assert_key(cache, number, reference.get(number));
    }
    assert_orders(cache, reference);
    assert_items(cache, reference);
    for side in [Side::Front, Side::Back] {
        assert_peek(cache, reference, side);
    }
    assert_many(cache, reference, (0..KEYS).collect());
}

/// `get_many` of those keys that are missing or bytes: it reads all as one type.
pub(crate) fn assert_many(cache: &Cache, reference: &Reference, mut numbers: Vec<u8>) {
    let value = |number| reference.get(number).map(|item| item.value);
    numbers.retain(|number| matches!(value(*number), None | Some(Value::Bytes(_))));
    let expected = numbers.iter().map(|number| match value(*number) {
        Some(Value::Bytes(value)) => Some(ByteBuf::from(value.bytes())),
        _ => None,
    });
    let expected: Vec<_> = expected.collect();
    let found = cache.get_many::<ByteBuf>(numbers.iter().copied().map(key)).unwrap();
    assert!(found == expected, "get_many of {numbers:?}");
}

pub(crate) fn assert_key(cache: &Cache, number: u8, expected: Option<&Item>) {
    let name = key(number);
    let is_there = cache.contains(&name).unwrap();
    assert_eq!(is_there, expected.is_some(), "contains key {number}, expected {expected:?}");
    let Some(item) = expected else {
        assert_eq!(cache.get_bytes(&name).unwrap(), None, "key {number}");
        assert!(cache.reader(&name).unwrap().is_none(), "key {number}");
        assert!(cache.get_entry::<i64>(&name).unwrap().is_none(), "key {number}");
        return;
    };
    match item.value {
        Value::Null => assert_value(cache, item, ()),
        Value::Int(value) => assert_value(cache, item, value),
        Value::Text(value) => assert_value(cache, item, value.text()),
        Value::List(value) => assert_value(cache, item, value.list()),
        Value::Bytes(value) => {
            assert_value(cache, item, ByteBuf::from(value.bytes()));
            assert_bytes(cache, &name, &value.bytes());
        }
    }
}

fn assert_value<V: DeserializeOwned + PartialEq + Debug>(cache: &Cache, item: &Item, value: V) {
    let name = key(item.key);
    assert!(cache.get::<V>(&name).unwrap().as_ref() == Some(&value), "value of {item:?}");
    let entry = cache.get_entry::<V>(&name).unwrap().unwrap();
    assert_entry(entry, item, &value);
}

/// An entry is what the reference holds.
pub(crate) fn assert_entry<V: PartialEq>(entry: Entry<V>, item: &Item, value: &V) {
    assert!(entry.value == *value, "value of {item:?}");
    assert_eq!(entry.expires_at, item.expires_ms.map(moment), "expiry of {item:?}");
    assert_eq!(entry.tag, item.tag.map(tag), "tag of {item:?}");
    assert_eq!(entry.stored_at, moment(item.stored_ms), "time of {item:?}");
}

fn assert_bytes(cache: &Cache, name: &Key, expected: &[u8]) {
    assert!(cache.get_bytes(name).unwrap().as_deref() == Some(expected), "bytes of {name}");
    let mut buffer = b"before".to_vec();
    assert!(cache.get_bytes_into(name, &mut buffer).unwrap() && buffer == expected, "{name}");
    let mut reader = cache.reader(name).unwrap().unwrap();
    assert_eq!(reader.len(), expected.len() as u64, "reader of {name}");
    assert_eq!(reader.is_empty(), expected.is_empty(), "reader of {name}");
    let middle = expected.len() / 2;
    reader.seek(SeekFrom::Start(middle as u64)).unwrap();
    buffer.clear();
    reader.read_to_end(&mut buffer).unwrap();
    assert!(buffer == expected[middle..], "reader of {name}");
}

/// The keys, in each order and from both ends.
fn assert_orders(cache: &Cache, reference: &Reference) {
    let forwards = cache.iter().collect::<Result<Vec<Key>>>().unwrap();
    let mut backwards = cache.iter().rev().collect::<Result<Vec<Key>>>().unwrap();
    backwards.reverse();
    assert_eq!(forwards, backwards, "iter() from both ends");
    let sorted = cache.sorted_keys().unwrap().collect::<Result<Vec<Key>>>().unwrap();
    let mut reversed = cache.sorted_keys().unwrap().rev().collect::<Result<Vec<Key>>>().unwrap();
    reversed.reverse();
    assert_eq!(sorted, reversed, "sorted_keys() from both ends");
    let mut all: Vec<u8> = reference.items.iter().map(|item| item.key).collect();
    if reference.culls {
        let (found, all): (BTreeSet<Key>, BTreeSet<Key>) =
            (forwards.iter().cloned().collect(), all.into_iter().map(key).collect());
        let live: BTreeSet<Key> = reference.live().map(|item| key(item.key)).collect();
        assert!(found.len() == forwards.len(), "a key twice: {forwards:?}");
        assert!(live.is_subset(&found) && found.is_subset(&all), "iter(): {forwards:?}");
        assert_eq!(sorted, Vec::from_iter(found), "sorted_keys()");
        return;
    }
    assert_eq!(forwards, all.iter().copied().map(key).collect::<Vec<_>>(), "iter()");
    all.sort_unstable();
    assert_eq!(sorted, all.into_iter().map(key).collect::<Vec<_>>(), "sorted_keys()");
}

/// The items that are bytes come as such; what the codec wrote may be read as bytes or not.
fn assert_items(cache: &Cache, reference: &Reference) {
    let mut found = Vec::new();
    for item in cache.items::<ByteBuf>() {
        match item {
            Ok((key, value)) => found.push((key, value.into_vec())),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Codec, "{error}"),
        }
    }
    let bytes = |item: &Item| match item.value {
        Value::Bytes(value) => Some((key(item.key), value.bytes())),
        _ => None,
    };
    let lists: Vec<Key> = reference
        .items
        .iter()
        .filter(|item| matches!(item.value, Value::List(_)))
        .map(|item| key(item.key))
        .collect();
    found.retain(|(key, _)| !lists.contains(key));
    if reference.culls {
        let live: BTreeSet<_> = reference.live().filter_map(bytes).collect();
        let all: BTreeSet<_> = reference.items.iter().filter_map(bytes).collect();
        let found: BTreeSet<_> = found.into_iter().collect();
        assert!(live.is_subset(&found) && found.is_subset(&all), "items()");
        return;
    }
    assert!(found == reference.items.iter().filter_map(bytes).collect::<Vec<_>>(), "items()");
}

pub(crate) fn assert_peek(cache: &Cache, reference: &Reference, side: Side) {
    let mut live = reference.live();
    let expected = match side {
        Side::Front => live.next(),
        Side::Back => live.next_back(),
    };
    let found = match cache.peek_item::<serde::de::IgnoredAny>(side) {
        Ok(found) => found.map(|(key, entry)| (key, entry.stored_at)),
        Err(error) => {
            // What the codec wrote cannot be read without knowing its type.
            let mut candidates =
                reference.live().filter(|it| reference.culls || Some(*it) == expected);
            let is_list = candidates.any(|item| matches!(item.value, Value::List(_)));
            assert!(is_list && error.kind() == ErrorKind::Codec, "peek_item({side:?}): {error}");
            return;
        }
    };
    if reference.culls {
        let mut all = reference.live().map(|item| Some((key(item.key), moment(item.stored_ms))));
        assert!(all.any(|it| it == found) || expected.is_none() && found.is_none(), "{found:?}");
        return;
    }
    let expected = expected.map(|item| (key(item.key), moment(item.stored_ms)));
    assert_eq!(found, expected, "peek_item({side:?})");
}
