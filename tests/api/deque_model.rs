//! Random operations on a deque, compared with one in memory.

use std::collections::VecDeque;

use firncache::{Deque, Result};
use quickcheck::{Arbitrary, Gen, quickcheck};

use crate::deque::assert_clean;

/// What is done to a deque, and to the one in memory.
#[derive(Clone, Debug)]
enum Step {
    PushBack(i64),
    PushFront(i64),
    PopBack,
    PopFront,
    Get(i8),
    Set(i8, i64),
    RemoveAt(i8),
    Remove(i64),
    Rotate(i8),
    Reverse,
    MaxLen(Option<u8>),
    Clear,
    Reopen,
    Repair,
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Step {
        let (index, value) = (i8::arbitrary(g) % 24, i64::from(u8::arbitrary(g) % 16));
        match u8::arbitrary(g) % 128 {
            0..32 => Step::PushBack(value),
            32..56 => Step::PushFront(value),
            56..68 => Step::PopBack,
            68..80 => Step::PopFront,
            80..90 => Step::Get(index),
            90..96 => Step::Set(index, value),
            96..104 => Step::RemoveAt(index),
            104..110 => Step::Remove(value),
            110..115 => Step::Rotate(index),
            115..118 => Step::Reverse,
            118..121 => Step::MaxLen(Some(index.unsigned_abs()).filter(|_| value < 10)),
            121 => Step::Clear,
            122..126 => Step::Reopen,
            _ => Step::Repair,
        }
    }
}

struct Trial {
    path: std::path::PathBuf,
    deque: Deque<i64>,
    model: VecDeque<i64>,
    most: usize,
}

impl Trial {
    fn place(&self, index: i8) -> Option<usize> {
        let len = self.model.len() as i64;
        let place = if index < 0 { len + i64::from(index) } else { index.into() };
        usize::try_from(place).ok().filter(|place| *place < self.model.len())
    }

    fn run(&mut self, step: &Step) -> Result<()> {
        let deque = &self.deque;
        match *step {
            Step::PushBack(value) => {
                deque.push_back(&value)?;
                self.model.push_back(value);
                while self.model.len() > self.most {
                    self.model.pop_front();
                }
            }
            Step::PushFront(value) => {
                deque.push_front(&value)?;
                self.model.push_front(value);
                self.model.truncate(self.most);
            }
            Step::PopBack => assert_eq!(deque.pop_back()?, self.model.pop_back()),
            Step::PopFront => assert_eq!(deque.pop_front()?, self.model.pop_front()),
            Step::Get(index) => {
                let expected = self.place(index).map(|place| self.model[place]);
                assert_eq!(deque.get(index.into())?, expected);
            }
            Step::Set(index, value) => {
                let place = self.place(index);
                assert_eq!(deque.set(index.into(), &value)?, place.is_some());
                if let Some(place) = place {
                    self.model[place] = value;
                }
            }
            Step::RemoveAt(index) => {
                let removed = deque.remove_at(index.into())?;
                let place = self.place(index);
                assert_eq!(removed, place.and_then(|place| self.model.remove(place)));
            }
            Step::Remove(value) => {
                let place = self.model.iter().position(|item| *item == value);
                assert_eq!(deque.position(&value)?, place.map(|place| place as u64));
                assert_eq!(deque.remove(&value)?, place.is_some());
                place.map(|place| self.model.remove(place));
            }
            Step::Rotate(steps) => {
                deque.rotate(steps.into())?;
                let len = self.model.len().max(1) as i64;
                self.model.rotate_right(i64::from(steps).rem_euclid(len) as usize);
            }
            Step::Reverse => {
                deque.reverse()?;
                self.model.make_contiguous().reverse();
            }
            Step::MaxLen(most) => {
                deque.set_max_len(most.map(u64::from))?;
                self.most = most.map_or(usize::MAX, usize::from);
                while self.model.len() > self.most {
                    self.model.pop_front();
                }
            }
            Step::Clear => {
                deque.clear()?;
                self.model.clear();
            }
            Step::Reopen => self.deque = Deque::open(&self.path)?,
            Step::Repair => assert!(deque.cache().repair()?.is_clean()),
        }
        assert_eq!(self.deque.len()?, self.model.len() as u64, "{step:?}");
        assert_eq!(self.deque.front()?, self.model.front().copied(), "{step:?}");
        assert_eq!(self.deque.back()?, self.model.back().copied(), "{step:?}");
        Ok(())
    }
}

quickcheck! {
    fn a_deque_is_what_one_in_memory_is(steps: Vec<Step>) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deque");
        let deque = Deque::open(&path).unwrap();
        let mut trial = Trial { path, deque, model: VecDeque::new(), most: usize::MAX };
        for step in steps.iter().chain(&steps) {
            trial.run(step).unwrap();
        }
        assert_clean(&trial.deque);
        trial.deque == Vec::from(trial.model)
    }
}
