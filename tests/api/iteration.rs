use firncache::{Key, Result, SetOptions, Side};

use crate::common::{cache, keys, seconds};

#[test]
fn keys_come_in_insertion_order_from_both_ends() {
    let cache = cache();
    for key in (0..300).rev() {
        cache.set(key, &key).unwrap();
    }
    let expected: Vec<Key> = (0..300).rev().map(Key::from).collect();
    assert_eq!(keys(&cache), expected);
    let back: Vec<Key> = cache.iter().rev().collect::<Result<_>>().unwrap();
    assert!(back.iter().eq(expected.iter().rev()));
    let mut iter = cache.iter();
    let mut met = Vec::new();
    while let Some(key) = iter.next() {
        met.push(key.unwrap());
        if let Some(key) = iter.next_back() {
            met.push(key.unwrap());
        }
    }
    assert_eq!(met.len(), 300);
    met.sort();
    met.dedup();
    assert_eq!(met.len(), 300);
}

#[test]
fn items_have_their_values_wherever_they_lie() {
    let cache = cache();
    let large = "x".repeat(500_000);
    cache.set("small", "x").unwrap();
    cache.set("large", &large).unwrap();
    let items: Vec<(Key, String)> = cache.items().collect::<Result<_>>().unwrap();
    assert_eq!(items, [(Key::from("small"), "x".to_string()), (Key::from("large"), large)]);
    assert!(cache.items::<i32>().next().unwrap().is_err());
    let last = cache.items::<String>().next_back().unwrap().unwrap();
    assert_eq!(last.0, Key::from("large"));
}

#[test]
fn sorted_keys_are_in_order_across_types() {
    let cache = cache();
    let sorted = [
        Key::Null,
        Key::from(false),
        Key::from(true),
        Key::from(f64::NEG_INFINITY),
        Key::from(-1),
        Key::from(0.5),
        Key::from(1),
        Key::from(u64::MAX),
        Key::from(""),
        Key::from("a"),
        Key::from("ab"),
        Key::from(b"a"),
        Key::from((1, "x")),
        Key::from(("x", 1)),
    ];
    for key in sorted.iter().rev() {
        cache.set(key, &()).unwrap();
    }
    let forward: Vec<Key> = cache.sorted_keys().unwrap().collect::<Result<_>>().unwrap();
    assert_eq!(forward, sorted);
    let back: Vec<Key> = cache.sorted_keys().unwrap().rev().collect::<Result<_>>().unwrap();
    assert!(back.iter().eq(sorted.iter().rev()));
}

#[test]
fn expired_items_are_iterated_until_they_are_removed() {
    let cache = cache();
    cache.set_with("soon", &1, SetOptions::new().expire(seconds(1))).unwrap();
    cache.set("late", &2).unwrap();
    cache.time.turn(seconds(2));
    assert_eq!(keys(&cache).len(), 2);
    assert_eq!(cache.sorted_keys().unwrap().count(), 2);
    cache.expire().unwrap();
    assert_eq!(keys(&cache), [Key::from("late")]);
}

#[test]
fn peek_item_skips_expired_ones_and_removes_nothing() {
    let cache = cache();
    assert!(cache.peek_item::<i32>(Side::Back).unwrap().is_none());
    let soon = SetOptions::new().expire(seconds(1));
    cache.set_with("first", &1, soon.clone()).unwrap();
    cache.set_with("second", &2, SetOptions::new().tag("t")).unwrap();
    cache.set("third", &3).unwrap();
    cache.set_with("fourth", &4, soon).unwrap();
    cache.time.turn(seconds(1));
    let (key, entry) = cache.peek_item::<i32>(Side::Front).unwrap().unwrap();
    assert_eq!((key, entry.value, entry.tag), (Key::from("second"), 2, Some(Key::from("t"))));
    let (key, entry) = cache.peek_item::<i32>(Side::Back).unwrap().unwrap();
    assert_eq!((key, entry.value), (Key::from("third"), 3));
    assert_eq!(cache.len().unwrap(), 4);
}

#[test]
fn iteration_goes_on_while_keys_change() {
    let cache = cache();
    cache.set_many((0..2000).map(|key| (key, key)), SetOptions::new()).unwrap();
    let mut met = Vec::new();
    for (count, key) in cache.iter().enumerate() {
        met.push(key.unwrap());
        // Odd keys go, even ones are stored again.
        let number = (count as i32 * 37) % 2000;
        if number % 2 == 1 {
            cache.delete(number).unwrap();
        } else {
            cache.set(number, "changed").unwrap();
        }
    }
    let evens: Vec<Key> = met
        .iter()
        .filter(|key| matches!(key, Key::Int(number) if number % 2 == 0))
        .cloned()
        .collect();
    assert_eq!(evens.len(), 1000);
    let total = met.len();
    met.sort();
    met.dedup();
    assert_eq!(met.len(), total);
}

#[test]
fn iterators_can_outlive_the_handle() {
    let cache = cache();
    cache.set("key", &1).unwrap();
    let iter = cache.again().iter();
    assert_eq!(iter.count(), 1);
}
