use std::cmp::Ordering;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use firncache::{Cache, Deque, Error, ErrorKind, Eviction, Result, SetOptions};

use crate::common::{kind_of, seconds};

fn deque(items: impl IntoIterator<Item = i64>) -> Deque<i64> {
    let deque = Deque::temporary().unwrap();
    deque.extend(items).unwrap();
    deque
}

#[track_caller]
fn items(deque: &Deque<i64>) -> Vec<i64> {
    deque.iter().collect::<Result<_>>().unwrap()
}

#[track_caller]
pub(crate) fn assert_clean(deque: &Deque<i64>) {
    let report = deque.cache().check().unwrap();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn both_ends_are_pushed_and_popped() {
    let deque = deque([1, 2]);
    deque.push_front(&0).unwrap();
    deque.push_back(&3).unwrap();
    assert_eq!((deque.front().unwrap(), deque.back().unwrap()), (Some(0), Some(3)));
    assert_eq!(items(&deque), [0, 1, 2, 3]);
    assert_eq!((deque.pop_front().unwrap(), deque.pop_back().unwrap()), (Some(0), Some(3)));
    assert_eq!((deque.pop_back().unwrap(), deque.pop_front().unwrap()), (Some(2), Some(1)));
    assert_eq!((deque.pop_back().unwrap(), deque.pop_front().unwrap()), (None, None));
    assert_eq!((deque.front().unwrap(), deque.back().unwrap()), (None, None));
    assert!(deque.is_empty().unwrap());
}

#[test]
fn it_is_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deque");
    let first = Deque::try_from_iter(&path, [1_i64, 2, 3]).unwrap();
    let second = Deque::<i64>::open(&path).unwrap();
    assert_eq!(first, second);
    drop(first);
    assert_eq!(Deque::try_from_iter(&path, [4_i64]).unwrap(), [1, 2, 3, 4]);
    assert_eq!(second.clone().directory(), path);
    assert!(format!("{second:?}").contains("deque"));
    let read = Deque::<i64>::options().read_only(true).open(&path).unwrap();
    assert_eq!((read.get(1).unwrap(), read.back().unwrap()), (Some(2), Some(4)));
    assert_eq!(items(&read), [1, 2, 3, 4]);
    assert_eq!(kind_of(read.pop_back()), ErrorKind::ReadOnly);
    let missing = Deque::<i64>::options().create(false).open(dir.path().join("none"));
    assert_eq!(kind_of(missing), ErrorKind::Io);
}

#[test]
fn an_index_counts_from_either_end() {
    let deque = deque(0..10);
    for index in 0..10 {
        assert_eq!(deque.get(index).unwrap(), Some(index));
        assert_eq!(deque.get(index - 10).unwrap(), Some(index));
    }
    for index in [10, -11, i64::MAX, i64::MIN] {
        assert_eq!(deque.get(index).unwrap(), None);
        assert!(!deque.set(index, &0).unwrap());
        assert_eq!(deque.remove_at(index).unwrap(), None);
    }
    assert!(deque.set(0, &100).unwrap() && deque.set(-1, &900).unwrap());
    assert_eq!((deque.get(0).unwrap(), deque.get(9).unwrap()), (Some(100), Some(900)));
    assert_eq!(deque.len().unwrap(), 10);
}

#[test]
fn an_index_is_right_when_the_middle_has_holes() {
    let deque = deque(0..30);
    let mut expected: Vec<i64> = (0..30).collect();
    for index in [3, -4, 10, 10, 0, -1, 12] {
        let at = if index < 0 { expected.len() as i64 + index } else { index } as usize;
        assert_eq!(deque.remove_at(index).unwrap(), Some(expected.remove(at)));
        for (position, item) in expected.iter().enumerate() {
            assert_eq!(deque.get(position as i64).unwrap(), Some(*item));
            let from_back = position as i64 - expected.len() as i64;
            assert_eq!(deque.get(from_back).unwrap(), Some(*item));
        }
        assert_eq!(deque.get(expected.len() as i64).unwrap(), None);
        assert_eq!(items(&deque), expected);
    }
    assert!(deque.set(5, &500).unwrap());
    expected[5] = 500;
    assert_eq!(items(&deque), expected);
}

#[test]
fn hardly_any_left_of_many_is_read_without_going_over_all_numbers() {
    let deque = deque([]);
    deque.cache().set_many((0..20_000_i64).map(|it| (1000 + it, it)), SetOptions::new()).unwrap();
    deque.cache().delete_many((2..19_999_i64).map(|it| 1000 + it)).unwrap();
    assert_eq!(items(&deque), [0, 1, 19_999]);
    assert_eq!(deque.iter().rev().collect::<Result<Vec<_>>>().unwrap(), [19_999, 1, 0]);
    assert_eq!((deque.get(2).unwrap(), deque.get(-2).unwrap()), (Some(19_999), Some(1)));
    assert_eq!(deque.remove_at(-1).unwrap(), Some(19_999));
    deque.push_back(&2).unwrap();
    assert_eq!(items(&deque), [0, 1, 2]);
}

#[test]
fn values_are_counted_found_and_removed() {
    let deque = deque([1, 2, 3, 2, 1]);
    assert_eq!((deque.count(&2).unwrap(), deque.count(&7).unwrap()), (2, 0));
    assert_eq!((deque.position(&2).unwrap(), deque.position(&7).unwrap()), (Some(1), None));
    assert!(deque.contains(&3).unwrap() && !deque.contains(&7).unwrap());
    assert!(deque.remove(&2).unwrap() && !deque.remove(&7).unwrap());
    assert_eq!(items(&deque), [1, 3, 2, 1]);
    assert_eq!(deque.position(&1).unwrap(), Some(0));
}

#[test]
fn it_is_rotated_either_way() {
    for steps in [0, 1, 2, 3, 7, -1, -2, -3, -100, 100, i64::MAX, i64::MIN] {
        let deque = deque(0..7);
        deque.rotate(steps).unwrap();
        let mut expected: Vec<i64> = (0..7).collect();
        expected.rotate_right(steps.rem_euclid(7) as usize);
        assert_eq!(items(&deque), expected, "{steps}");
    }
    let empty = deque([]);
    empty.rotate(3).unwrap();
    assert!(empty.is_empty().unwrap());
    let full = deque(0..3);
    full.set_max_len(Some(3)).unwrap();
    full.rotate(1).unwrap();
    assert_eq!(items(&full), [2, 0, 1]);
}

#[test]
fn it_is_reversed_also_with_holes() {
    let deque = deque(0..6);
    deque.remove_at(2).unwrap();
    deque.reverse().unwrap();
    assert_eq!(items(&deque), [5, 4, 3, 1, 0]);
}

#[test]
fn extending_at_the_front_turns_the_order_round() {
    let deque = deque([1]);
    deque.extend_front([2, 3]).unwrap();
    deque.extend([4, 5]).unwrap();
    assert_eq!(items(&deque), [3, 2, 1, 4, 5]);
}

#[test]
fn a_full_deque_drops_from_the_other_end() {
    let deque = deque([]);
    assert_eq!(deque.max_len().unwrap(), None);
    deque.set_max_len(Some(3)).unwrap();
    deque.extend(0..5).unwrap();
    assert_eq!(items(&deque), [2, 3, 4]);
    deque.push_front(&1).unwrap();
    assert_eq!(items(&deque), [1, 2, 3]);
    deque.set_max_len(Some(2)).unwrap();
    assert_eq!(items(&deque), [2, 3]);
    deque.set_max_len(None).unwrap();
    deque.extend([4, 5]).unwrap();
    assert_eq!((deque.max_len().unwrap(), items(&deque)), (None, vec![2, 3, 4, 5]));
    deque.set_max_len(Some(0)).unwrap();
    deque.push_back(&1).unwrap();
    assert!(items(&deque).is_empty());
    assert_clean(&deque);
}

#[test]
fn the_most_items_are_kept_in_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deque");
    let other = Deque::<i64>::open(&path).unwrap();
    other.extend(0..5).unwrap();
    let deque = Deque::<i64>::options().max_len(2).open(&path).unwrap();
    assert_eq!((other.max_len().unwrap(), items(&other)), (Some(2), vec![3, 4]));
    other.push_back(&5).unwrap();
    assert_eq!(items(&deque), [4, 5]);
    drop((deque, other));
    let again = Deque::<i64>::open(&path).unwrap();
    again.clear().unwrap();
    assert!(again.cache().repair().unwrap().is_clean());
    assert_eq!(again.max_len().unwrap(), Some(2));
    again.extend(0..9).unwrap();
    assert_eq!((again.len().unwrap(), items(&again)), (2, vec![7, 8]));
}

#[test]
fn the_most_items_outlive_eviction_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let limited = Cache::options().size_limit(1 << 18).eviction(Eviction::LeastRecentlyStored);
    let cache = limited.open(dir.path().join("cache")).unwrap();
    let deque = Deque::<Vec<u8>>::from_cache(cache);
    deque.set_max_len(Some(1_000_000)).unwrap();
    for _ in 0..2000 {
        deque.push_back(&vec![1; 1000]).unwrap();
    }
    assert!(deque.len().unwrap() < 1000);
    assert_eq!(deque.max_len().unwrap(), Some(1_000_000));
}

#[test]
fn clearing_removes_everything() {
    let deque = deque(0..50);
    deque.clear().unwrap();
    assert_eq!((deque.len().unwrap(), items(&deque)), (0, vec![]));
    deque.push_back(&1).unwrap();
    assert_eq!(items(&deque), [1]);
}

#[test]
fn clearing_keeps_a_limit_that_another_sets_meanwhile() {
    let deque = deque([1, 2, 3]);
    let set = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let limiting = deque.transact(|deque| {
                deque.set_max_len(Some(2))?;
                set.wait();
                // The other one is about to clear, and waits for the end of this.
                std::thread::sleep(Duration::from_millis(100));
                Ok::<_, Error>(())
            });
            limiting.unwrap();
        });
        set.wait();
        deque.clear().unwrap();
    });
    assert_eq!(deque.max_len().unwrap(), Some(2));
}

#[test]
fn iteration_comes_from_both_ends_and_passes_what_has_gone() {
    let deque = deque(0..6);
    let mut iter = deque.iter();
    assert_eq!(iter.next().unwrap().unwrap(), 0);
    assert_eq!(iter.next_back().unwrap().unwrap(), 5);
    deque.remove(&1).unwrap();
    deque.pop_back().unwrap();
    deque.push_back(&9).unwrap();
    assert_eq!(iter.next().unwrap().unwrap(), 2);
    assert_eq!(iter.next_back().unwrap().unwrap(), 4);
    assert_eq!(iter.by_ref().map(Result::unwrap).collect::<Vec<_>>(), [3]);
    assert!(iter.next().is_none() && iter.next_back().is_none());
    let mut sum = 0;
    for item in &deque {
        sum += item.unwrap();
    }
    assert_eq!(sum, 2 + 3 + 4 + 9);
}

#[test]
fn a_transaction_is_whole_or_not_at_all() {
    let deque = deque(0..5);
    deque.set_max_len(Some(5)).unwrap();
    let failed = deque.transact(|deque| {
        deque.push_back(&5)?;
        deque.pop_front()?;
        deque.remove_at(1)?;
        deque.set(0, &7)?;
        deque.reverse()?;
        deque.rotate(1)?;
        deque.set_max_len(Some(1))?;
        deque.clear()?;
        Err::<(), _>(Error::key("no"))
    });
    assert_eq!(kind_of(failed), ErrorKind::Key);
    assert_eq!((deque.max_len().unwrap(), items(&deque)), (Some(5), vec![0, 1, 2, 3, 4]));
    deque
        .transact(|deque| {
            deque.push_back(&5)?;
            assert_eq!((deque.len()?, deque.get(0)?, deque.get(-1)?), (5, Some(1), Some(5)));
            deque.rotate(1)?;
            assert_eq!(items(deque), [5, 1, 2, 3, 4]);
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(items(&deque), [5, 1, 2, 3, 4]);
    assert_clean(&deque);
}

#[test]
fn a_copy_is_a_deque_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let deque = deque(0..5);
    deque.set_max_len(Some(6)).unwrap();
    let copy = deque.copy_to(dir.path().join("copy")).unwrap();
    assert_eq!((copy.max_len().unwrap(), items(&copy)), (Some(6), vec![0, 1, 2, 3, 4]));
    copy.push_back(&5).unwrap();
    assert_eq!((deque.len().unwrap(), copy.len().unwrap()), (5, 6));
    let error = deque.copy_to(dir.path().join("copy")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(copy.len().unwrap(), 6);
}

#[test]
fn deques_compare_as_slices_do() {
    let deque = deque([1, 2, 3]);
    assert_eq!(deque, [1, 2, 3]);
    assert_eq!(deque, vec![1, 2, 3]);
    assert_eq!(deque, &[1, 2, 3][..]);
    assert!(deque == *[1, 2, 3].as_slice() && deque != [1, 2] && deque != [1, 2, 4]);
    assert!(deque < [1, 2, 4] && deque > [1, 2] && deque < vec![1, 2, 3, 0] && deque >= [1, 2, 3]);
    assert!(deque.eq_slice(&[1, 2, 3]).unwrap() && !deque.eq_slice(&[]).unwrap());
    assert_eq!(deque.cmp_slice(&[0, 9]).unwrap(), Some(Ordering::Greater));
    assert_eq!(deque.cmp_slice(&[1, 2, 3]).unwrap(), Some(Ordering::Equal));
    let other = self::deque([1, 2, 3]);
    assert!(deque == other && deque <= other);
    other.push_back(&0).unwrap();
    assert!(deque != other && deque < other);
    let floats = Deque::temporary().unwrap();
    floats.push_back(&f64::NAN).unwrap();
    assert_eq!(floats.cmp_slice(&[f64::NAN]).unwrap(), None);
    assert!(!floats.eq_slice(&[f64::NAN]).unwrap());
}

#[test]
#[should_panic(expected = "eq_slice()")]
fn comparing_what_cannot_be_read_panics() {
    let texts = Deque::temporary().unwrap();
    texts.push_back(&"text".to_owned()).unwrap();
    let numbers = Deque::<i64>::from_cache(texts.cache().clone());
    assert_eq!(kind_of(numbers.eq_slice(&[1])), ErrorKind::Codec);
    assert_eq!(kind_of(numbers.pop_back()), ErrorKind::Codec);
    assert_eq!(texts.len().unwrap(), 1);
    let _ = numbers == [1];
}

#[test]
fn a_deque_is_all_of_a_cache() {
    let cache = Cache::temporary().unwrap();
    cache.push(&1).unwrap();
    let deque = Deque::<i64>::from_cache(cache.clone());
    deque.push_back(&2).unwrap();
    assert_eq!(cache.pull::<i64>().unwrap().unwrap().1, 1);
    assert_eq!(items(&deque), [2]);
    cache.push_with(&3, firncache::PushOptions::new().expire(Duration::ZERO)).unwrap();
    assert_eq!(items(&deque), [2]);
    assert_eq!(deque.back().unwrap(), Some(2));
}

#[test]
fn nothing_is_lost_to_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deque");
    let cache = Cache::options().size_limit(1 << 17).open(&path).unwrap();
    drop(cache);
    let deque = Deque::<Vec<u8>>::options().timeout(seconds(9)).open(&path).unwrap();
    for number in 0..=255 {
        deque.push_back(&vec![number; 3000]).unwrap();
    }
    assert_eq!(deque.len().unwrap(), 256);
    assert_eq!(deque.pop_front().unwrap(), Some(vec![0; 3000]));
}

fn on_disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let own = std::fs::symlink_metadata(path).unwrap();
    let below = if own.is_dir() {
        std::fs::read_dir(path).unwrap().map(|entry| on_disk(&entry.unwrap().path())).sum()
    } else {
        0
    };
    own.blocks() * 512 + below
}

#[test]
fn an_empty_deque_is_small() {
    let deque = Deque::<i64>::options().max_len(9);
    let dir = tempfile::tempdir().unwrap();
    let deque = deque.open(dir.path().join("deque")).unwrap();
    deque.push_back(&1).unwrap();
    deque.pop_front().unwrap();
    assert!(on_disk(deque.directory()) <= 128 * 1024, "{}", on_disk(deque.directory()));
}

#[test]
fn an_index_that_is_always_there_is_never_missing() {
    let deque = Deque::<u64>::temporary().unwrap();
    deque.extend([0, 1]).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                assert!(deque.get(0).unwrap().is_some());
                assert!(deque.get(-2).unwrap().is_some());
            }
        });
        for number in 2..10_000 {
            deque.push_back(&number).unwrap();
            assert_eq!(deque.pop_front().unwrap(), Some(number - 2));
        }
        is_over.store(true, Relaxed);
    });
}
