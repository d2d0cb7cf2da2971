use std::collections::{BTreeMap, HashMap};

use firncache::{Cache, Error, ErrorKind, Eviction, Index, Key, Result, SetOptions, Side};

use crate::common::kind_of;

fn items<K, V>(index: &Index<K, V>) -> Vec<(K, V)>
where
    K: firncache::ToKey + firncache::FromKey,
    V: serde::Serialize + serde::de::DeserializeOwned,
{
    index.iter().collect::<Result<_>>().unwrap()
}

fn of(pairs: &[(i32, i32)]) -> Index<i32, i32> {
    Index::try_from_iter(pairs.iter().copied()).unwrap()
}

#[test]
fn order_is_that_of_the_first_insertion() {
    let index = of(&[(3, 1), (1, 2), (2, 3)]);
    index.insert(&3, &9).unwrap();
    assert_eq!(items(&index), [(3, 9), (1, 2), (2, 3)]);
    assert_eq!(index.remove(3).unwrap(), Some(9));
    index.insert(&3, &4).unwrap();
    assert_eq!(items(&index), [(1, 2), (2, 3), (3, 4)]);
    assert_eq!(index.keys().collect::<Result<Vec<_>>>().unwrap(), [1, 2, 3]);
    assert_eq!(index.values().rev().collect::<Result<Vec<_>>>().unwrap(), [4, 3, 2]);
    let mut walk = (&index).into_iter();
    assert_eq!(walk.next_back().unwrap().unwrap(), (3, 4));
    assert_eq!(walk.next().unwrap().unwrap(), (1, 2));
    assert_eq!(walk.next_back().unwrap().unwrap(), (2, 3));
    assert!(walk.next().is_none() && walk.next_back().is_none());
}

#[test]
fn missing_keys_are_none() {
    let index = Index::<String, i32>::temporary().unwrap();
    assert!(index.is_empty().unwrap());
    assert_eq!(index.get("a").unwrap(), None);
    assert_eq!(index.remove("a").unwrap(), None);
    assert!(!index.contains_key("a").unwrap());
    assert_eq!((index.first().unwrap(), index.last().unwrap()), (None, None));
    assert_eq!((index.pop_first().unwrap(), index.pop_last().unwrap()), (None, None));
    assert_eq!(index.clear().unwrap(), 0);
    index.insert(&"a".to_owned(), &1).unwrap();
    assert!(index.contains_key(String::from("a")).unwrap());
    assert_eq!((index.len().unwrap(), index.clear().unwrap()), (1, 1));
    assert!(index.is_empty().unwrap());
}

#[test]
fn both_ends_can_be_read_and_taken() {
    let index = of(&[(3, 1), (1, 2), (2, 3), (4, 4)]);
    assert_eq!((index.first().unwrap(), index.last().unwrap()), (Some((3, 1)), Some((4, 4))));
    assert_eq!(index.pop_first().unwrap(), Some((3, 1)));
    assert_eq!(index.pop_last().unwrap(), Some((4, 4)));
    assert_eq!(items(&index), [(1, 2), (2, 3)]);
}

#[test]
fn a_missing_key_is_made_once() {
    let index = Index::<String, u64>::temporary().unwrap();
    let key = "key".to_owned();
    assert_eq!(index.get_or_insert_with(&key, || 1).unwrap(), 1);
    assert_eq!(index.get_or_insert_with(&key, || panic!("it is there")).unwrap(), 1);
    // Whoever comes at once gets what one of them has made.
    for round in 0..50 {
        let key = format!("key {round}");
        let made: Vec<u64> = std::thread::scope(|scope| {
            let make = |number| {
                let (index, key) = (&index, &key);
                scope.spawn(move || index.get_or_insert_with(key, || number).unwrap())
            };
            let workers: Vec<_> = (0..4).map(make).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert_eq!(made, [index.get(&key).unwrap().unwrap(); 4]);
    }
}

#[test]
fn each_end_is_taken_by_one() {
    let index = Index::try_from_iter((0..400).map(|key| (key, key))).unwrap();
    let mut taken: Vec<i32> = std::thread::scope(|scope| {
        let take = |is_first| {
            let index = &index;
            scope.spawn(move || {
                let next = || if is_first { index.pop_first() } else { index.pop_last() };
                std::iter::from_fn(|| next().unwrap()).map(|(key, _)| key).collect::<Vec<_>>()
            })
        };
        let workers: Vec<_> = [true, false, true, false].map(take).into();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    taken.sort_unstable();
    assert!(taken.into_iter().eq(0..400));
}

#[test]
fn it_is_there_again_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Index::<(String, i32), Vec<f64>>::open(dir.path().join("index")).unwrap();
    open().insert(&("a".to_owned(), 1), &vec![0.5]).unwrap();
    open().insert(&("b".to_owned(), 0), &vec![]).unwrap();
    let expected = [(("a".to_owned(), 1), vec![0.5]), (("b".to_owned(), 0), vec![])];
    assert_eq!(items(&open()), expected);
}

#[test]
fn nothing_is_evicted_and_nothing_expires() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::<i32, serde_bytes::ByteBuf>::open(dir.path()).unwrap();
    let settings = index.cache().settings();
    assert_eq!((settings.eviction, settings.cull_limit), (Eviction::None, 0));
    index.cache().update_settings(|settings| settings.size_limit = 1 << 20).unwrap();
    for key in 0..1000 {
        index.insert(&key, &serde_bytes::ByteBuf::from(vec![1; 4000])).unwrap();
    }
    assert_eq!(index.len().unwrap(), 1000);
    let entry = index.cache().get_entry::<serde_bytes::ByteBuf>(0).unwrap().unwrap();
    assert_eq!(entry.expires_at, None);
}

#[test]
fn an_index_is_small_on_disk() {
    let index = Index::<i32, i32>::temporary().unwrap();
    let empty = index.cache().disk_usage().unwrap();
    index.insert(&1, &1).unwrap();
    let one = index.cache().disk_usage().unwrap();
    assert!(empty <= 8192 && one <= 128 * 1024, "{empty} {one}");
}

#[test]
fn a_cache_can_be_used_as_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::options().eviction(Eviction::None).open(dir.path()).unwrap();
    cache.set("b", &1).unwrap();
    cache.set_with("a", &2, SetOptions::new().tag("t")).unwrap();
    let index = Index::<String, i32>::from_cache(cache.clone());
    assert_eq!(items(&index), [("b".to_owned(), 1), ("a".to_owned(), 2)]);
    index.insert(&"c".to_owned(), &3).unwrap();
    assert_eq!(cache.get("c").unwrap(), Some(3));
    assert_eq!(index.directory(), cache.directory());
}

#[test]
fn keys_and_values_of_another_type_are_errors_and_stay() {
    let index = Index::<i32, i32>::temporary().unwrap();
    index.cache().set("text", &"value").unwrap();
    assert_eq!(kind_of(index.first()), ErrorKind::Codec);
    assert_eq!(kind_of(index.pop_last()), ErrorKind::Codec);
    assert_eq!(kind_of(index.get("text")), ErrorKind::Codec);
    index.cache().set("text", &1).unwrap();
    assert_eq!(kind_of(index.pop_first()), ErrorKind::Key);
    assert_eq!(index.keys().map(kind_of).collect::<Vec<_>>(), [ErrorKind::Key]);
    assert_eq!(index.iter().map(kind_of).collect::<Vec<_>>(), [ErrorKind::Key]);
    assert_eq!(index.len().unwrap(), 1);
}

#[test]
fn a_transaction_holds_or_leaves_all_as_it_was() {
    let index = of(&[(1, 1), (2, 2), (3, 3)]);
    let change = || -> Result<()> {
        assert_eq!(index.pop_first()?, Some((1, 1)));
        index.insert(&4, &4)?;
        index.insert(&1, &5)?;
        index.extend([(2, 6), (7, 7)])?;
        assert_eq!(index.get_or_insert_with(&3, || 0)?, 3);
        assert_eq!(items(&index), [(2, 6), (3, 3), (4, 4), (1, 5), (7, 7)]);
        Ok(())
    };
    let failed = index.transact(|_| change().and(Err::<(), _>(Error::codec("no"))));
    assert!(failed.is_err());
    assert_eq!(items(&index), [(1, 1), (2, 2), (3, 3)]);
    index.transact(|_| change()).unwrap();
    assert_eq!(items(&index), [(2, 6), (3, 3), (4, 4), (1, 5), (7, 7)]);
}

#[test]
fn indexes_are_compared_in_order_and_other_maps_are_not() {
    let index = of(&[(2, 20), (1, 10)]);
    assert!(index == of(&[(2, 20), (1, 10)]));
    assert!(index != of(&[(1, 10), (2, 20)]));
    assert!(index != of(&[(2, 20)]) && index != of(&[(2, 20), (1, 11)]));
    assert!(index != of(&[(2, 20), (1, 10), (3, 30)]));
    for (pairs, is_equal) in [
        (vec![(1, 10), (2, 20)], true),
        (vec![(1, 10)], false),
        (vec![(1, 10), (2, 21)], false),
        (vec![(1, 10), (3, 20)], false),
        (vec![(1, 10), (2, 20), (3, 30)], false),
    ] {
        assert_eq!(index == pairs.iter().copied().collect::<BTreeMap<_, _>>(), is_equal);
        assert_eq!(index == pairs.iter().copied().collect::<HashMap<_, _>>(), is_equal);
        assert_eq!(index.eq_map(pairs.iter().map(|(key, value)| (key, value))).unwrap(), is_equal);
    }
}

#[test]
fn extending_keeps_the_first_place_and_the_last_value() {
    let index = of(&[(1, 1), (2, 2)]);
    index.extend([(3, 3), (1, 9), (3, 4)]).unwrap();
    assert_eq!(items(&index), [(1, 9), (2, 2), (3, 4)]);
    index.extend([]).unwrap();
    let refused = Index::<f64, i32>::try_from_iter([(1.0, 1), (f64::NAN, 2)]);
    assert_eq!(kind_of(refused), ErrorKind::Key);
}

/// The slow and obvious way.
#[derive(Default)]
struct Reference(Vec<(i64, Vec<u8>)>);

impl Reference {
    fn place(&self, key: i64) -> Option<usize> {
        self.0.iter().position(|(other, _)| *other == key)
    }

    fn get(&self, key: i64) -> Option<Vec<u8>> {
        self.place(key).map(|place| self.0[place].1.clone())
    }

    fn insert(&mut self, key: i64, value: Vec<u8>) {
        match self.place(key) {
            Some(place) => self.0[place].1 = value,
            None => self.0.push((key, value)),
        }
    }

    fn remove(&mut self, key: i64) -> Option<Vec<u8>> {
        self.place(key).map(|place| self.0.remove(place).1)
    }
}

type Bytes = Index<i64, Vec<u8>>;

/// Does one of all things to both.
fn step(choice: u64, index: &Bytes, reference: &mut Reference, key: i64, value: Vec<u8>) {
    match choice {
        0..9 => {
            index.insert(&key, &value).unwrap();
            reference.insert(key, value);
        }
        9..12 => assert_eq!(index.remove(key).unwrap(), reference.remove(key)),
        12 => {
            let first = (!reference.0.is_empty()).then(|| reference.0.remove(0));
            assert_eq!(index.pop_first().unwrap(), first);
        }
        13 => assert_eq!(index.pop_last().unwrap(), reference.0.pop()),
        14 => {
            let expected = reference.get(key).unwrap_or_else(|| value.clone());
            assert_eq!(index.get_or_insert_with(&key, || value).unwrap(), expected);
            reference.insert(key, expected);
        }
        15 => {
            let pairs = (0..value.len() as i64 % 9).map(|by| (key + 3 * by, value.clone()));
            index.extend(pairs.clone()).unwrap();
            pairs.for_each(|(key, value)| reference.insert(key, value));
        }
        16 => {
            let undone = index.transact(|_| {
                index.insert(&key, &value)?;
                index.pop_first()?;
                index.remove(key + 1)?;
                Err::<(), Error>(Error::codec("no"))
            });
            assert!(undone.is_err());
        }
        17 if key % 20 == 0 => {
            assert_eq!(index.clear().unwrap(), reference.0.len() as u64);
            reference.0.clear();
        }
        _ => {
            let expected = reference.get(key);
            assert_eq!(index.contains_key(key).unwrap(), expected.is_some());
            assert_eq!(index.get(key).unwrap(), expected);
        }
    }
}

fn assert_same(index: &Bytes, reference: &Reference) {
    assert_eq!(items(index), reference.0);
    assert!(index.iter().rev().map(Result::unwrap).eq(reference.0.iter().rev().cloned()));
    assert_eq!(index.first().unwrap(), reference.0.first().cloned());
    assert_eq!(index.last().unwrap(), reference.0.last().cloned());
    let map: HashMap<i64, Vec<u8>> = reference.0.iter().cloned().collect();
    assert!(*index == map);
}

/// Does the same things at random to an index and to the reference.
fn play(seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let options = || Bytes::options().value_file_threshold(100);
    let mut index = options().open(dir.path()).unwrap();
    let mut reference = Reference::default();
    let mut state = seed;
    let mut random = move |end: u64| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) % end
    };
    for round in 0..3000_u64 {
        let key = random(40 + round / 20) as i64;
        let len = random(if round % 7 == 0 { 300 } else { 20 }) as usize;
        step(random(20), &index, &mut reference, key, vec![round as u8; len]);
        assert_eq!(index.len().unwrap(), reference.0.len() as u64, "seed {seed}, round {round}");
        if round % 40 == 39 {
            assert_same(&index, &reference);
            drop(index);
            index = options().open(dir.path()).unwrap();
        }
    }
    assert!(index.cache().check().unwrap().is_clean());
}

#[test]
fn it_is_what_an_ordered_map_in_memory_is() {
    (1..=6).for_each(play);
}

#[test]
fn a_value_that_cannot_be_read_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::<u8, String>::open(dir.path().join("index")).unwrap();
    index.insert(&1, &"x".repeat(1 << 20)).unwrap();
    std::fs::remove_dir_all(index.directory().join("values")).unwrap();
    assert_eq!(index.get(1).unwrap(), None);
    assert_eq!(index.get_or_insert_with(&1, || "again".to_owned()).unwrap(), "again");
    assert_eq!(index.get(1).unwrap().as_deref(), Some("again"));
}

#[test]
fn an_index_is_a_queue_as_well() {
    let index = Index::<i64, String>::temporary().unwrap();
    let text = |text: &str| text.to_owned();
    index.insert(&7, &text("own")).unwrap();
    let first = index.push(&text("a")).unwrap();
    let front = firncache::PushOptions::new().side(Side::Front);
    index.push_with(&text("b"), front).unwrap();
    assert_eq!(index.peek().unwrap().unwrap(), (Key::from(6), text("b")));
    assert_eq!(index.pull().unwrap().unwrap().1, "b");
    assert_eq!(index.pull().unwrap().unwrap(), (Key::from(7), text("own")), "7 is in the queue");
    let back = || firncache::QueueOptions::new().side(Side::Back);
    assert_eq!(index.peek_with(back()).unwrap().unwrap(), (first.clone(), text("a")));
    assert_eq!(index.pull_with(back()).unwrap().unwrap(), (first, text("a")));
    assert_eq!((index.pull().unwrap(), index.len().unwrap()), (None, 0));
}

#[test]
fn an_index_keeps_results_of_functions_for_ever() {
    let index = Index::<String, i32>::temporary().unwrap();
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let own = std::sync::Arc::clone(&calls);
    let double = index.memoize("double", move |n: &i32| {
        own.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        n * 2
    });
    assert_eq!((double.call(&4).unwrap(), double.call(&4).unwrap()), (8, 8));
    assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert!(
        index
            .cache()
            .get_entry::<i32>(double.key(&4).unwrap())
            .unwrap()
            .unwrap()
            .expires_at
            .is_none()
    );
}
