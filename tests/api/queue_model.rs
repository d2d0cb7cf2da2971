//! Random operations on two queues, compared with sorted maps.

use std::collections::BTreeMap;

use firncache::{Cache, Key, QueueOptions, SetOptions, Side};
use quickcheck::{Arbitrary, Gen, quickcheck};

use crate::common::{Fixture, cache_with, keys, seconds};
use crate::queues::{START, assert_clean, back, front};

/// What is done to two queues, one of integers and one of a prefix, and beside them.
#[derive(Clone, Debug)]
enum Step {
    Push {
        queue: u8,
        is_front: bool,
        expires: Option<u8>,
    },
    Pull {
        queue: u8,
        is_front: bool,
    },
    Peek {
        queue: u8,
        is_front: bool,
    },
    /// A key of the user's own, so far from the middle.
    Set {
        queue: u8,
        offset: i16,
        expires: Option<u8>,
    },
    Delete {
        queue: u8,
        offset: i16,
    },
    Turn(u8),
    Expire,
    Reopen,
    Repair,
    Clear,
    Transaction(Vec<Step>, bool),
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Step {
        let (queue, is_front) = (u8::arbitrary(g) % 2, bool::arbitrary(g));
        let expires = Some(u8::arbitrary(g) % 20).filter(|it| *it < 6);
        let offset = i16::arbitrary(g) % if bool::arbitrary(g) { 40 } else { 3000 };
        match u8::arbitrary(g) {
            0..90 => Step::Push { queue, is_front: is_front && bool::arbitrary(g), expires },
            90..170 => Step::Pull { queue, is_front: !is_front || bool::arbitrary(g) },
            170..190 => Step::Peek { queue, is_front },
            190..205 => Step::Set { queue, offset, expires },
            205..215 => Step::Delete { queue, offset },
            215..230 => Step::Turn(u8::arbitrary(g) % 4),
            230..233 => Step::Expire,
            233..238 => Step::Reopen,
            238..240 => Step::Repair,
            240..241 => Step::Clear,
            _ => {
                let parts = (0..u8::arbitrary(g) % 12).map(|_| Step::arbitrary(g));
                Step::Transaction(parts.filter(Step::can_be_inner).collect(), bool::arbitrary(g))
            }
        }
    }
}

impl Step {
    fn can_be_inner(&self) -> bool {
        !matches!(self, Step::Turn(_) | Step::Reopen | Step::Repair | Step::Transaction(..))
    }
}

/// Number to value and second of expiry, for each queue.
type Model = [BTreeMap<i64, (u64, u64)>; 2];

struct Trial {
    fixture: Fixture,
    cache: Cache,
    model: Model,
    second: u64,
    counter: u64,
}

fn item_key(queue: u8, number: i64) -> Key {
    if queue == 0 { Key::from(number) } else { Key::from(format!("q-{number:015}")) }
}

impl Trial {
    fn new() -> Trial {
        let fixture = cache_with(|options| options.cull_limit(0));
        let cache = fixture.cache.clone();
        Trial { fixture, cache, model: Model::default(), second: 0, counter: 0 }
    }

    fn expiry(&self, after: Option<u8>) -> u64 {
        after.map_or(u64::MAX, |after| self.second + u64::from(after))
    }

    fn run(&mut self, step: &Step) {
        self.counter += 1;
        let value = self.counter;
        match step {
            Step::Push { queue, is_front, expires } => self.push(*queue, *is_front, *expires),
            Step::Pull { queue, is_front } => {
                let expected = self.end(*queue, *is_front, true);
                let found = self.cache.pull_with::<u64>(self.options(*queue, *is_front)).unwrap();
                assert_eq!(found.map(|(key, entry)| (key, entry.value)), expected);
            }
            Step::Peek { queue, is_front } => {
                let expected = self.end(*queue, *is_front, false);
                let found = self.cache.peek_with::<u64>(self.options(*queue, *is_front)).unwrap();
                assert_eq!(found.map(|(key, entry)| (key, entry.value)), expected);
                if self.cache.len().unwrap() != self.len() {
                    // Over many numbers a peek may remove what has expired.
                    self.forget_expired(*queue, *is_front);
                }
            }
            Step::Set { queue, offset, expires } => {
                let number = START + i64::from(*offset);
                let mut options = SetOptions::new();
                if let Some(after) = expires {
                    options = options.expire(seconds((*after).into()));
                }
                self.cache.set_with(item_key(*queue, number), &value, options).unwrap();
                let expires = self.expiry(*expires);
                self.model[usize::from(*queue)].insert(number, (value, expires));
            }
            Step::Delete { queue, offset } => {
                let number = START + i64::from(*offset);
                let items = &mut self.model[usize::from(*queue)];
                let is_live = items.get(&number).is_some_and(|(_, at)| *at > self.second);
                assert_eq!(self.cache.delete(item_key(*queue, number)).unwrap(), is_live);
                if is_live {
                    items.remove(&number);
                }
            }
            Step::Turn(by) => {
                self.second += u64::from(*by);
                self.fixture.time.turn(seconds((*by).into()));
            }
            Step::Expire => {
                let before = self.len();
                let second = self.second;
                self.model.iter_mut().for_each(|items| items.retain(|_, (_, at)| *at > second));
                assert_eq!(self.cache.expire().unwrap(), before - self.len());
            }
            Step::Reopen => self.cache = self.fixture.again(),
            Step::Repair => assert!(self.cache.repair().unwrap().is_clean()),
            Step::Clear => {
                assert_eq!(self.cache.clear().unwrap(), self.len());
                self.model = Model::default();
            }
            Step::Transaction(parts, is_committed) => self.transact(parts, *is_committed),
        }
        assert_eq!(self.cache.len().unwrap(), self.len());
    }

    fn push(&mut self, queue: u8, is_front: bool, expires: Option<u8>) {
        let (value, items) = (self.counter, &self.model[usize::from(queue)]);
        let end = if is_front { items.first_key_value() } else { items.last_key_value() };
        let number = end.map_or(START, |(end, _)| if is_front { end - 1 } else { end + 1 });
        let mut options = if is_front { front() } else { back() };
        if queue == 1 {
            options = options.prefix("q");
        }
        if let Some(after) = expires {
            options = options.expire(seconds(after.into()));
        }
        let key = self.cache.push_with(&value, options).unwrap();
        assert_eq!(key, item_key(queue, number));
        let expires = self.expiry(expires);
        self.model[usize::from(queue)].insert(number, (value, expires));
    }

    fn transact(&mut self, parts: &[Step], is_committed: bool) {
        let (before, cache) = (self.model.clone(), self.cache.clone());
        let transaction = cache.begin().unwrap();
        parts.iter().for_each(|part| self.run(part));
        if is_committed {
            transaction.commit().unwrap();
        } else {
            drop(transaction);
            self.model = before;
        }
    }

    fn options(&self, queue: u8, is_front: bool) -> QueueOptions {
        let options = QueueOptions::new().side(if is_front { Side::Front } else { Side::Back });
        if queue == 1 { options.prefix("q") } else { options }
    }

    fn end(&mut self, queue: u8, is_front: bool, is_taken: bool) -> Option<(Key, u64)> {
        let (second, items) = (self.second, &mut self.model[usize::from(queue)]);
        let mut numbers: Vec<i64> = items.keys().copied().collect();
        if !is_front {
            numbers.reverse();
        }
        for number in numbers {
            let (value, expires) = items[&number];
            if is_taken {
                items.remove(&number);
            }
            if expires > second {
                return Some((item_key(queue, number), value));
            }
        }
        None
    }

    fn forget_expired(&mut self, queue: u8, is_front: bool) {
        let (second, items) = (self.second, &mut self.model[usize::from(queue)]);
        loop {
            let end = if is_front { items.first_entry() } else { items.last_entry() };
            let Some(expired) = end.filter(|it| it.get().1 <= second) else { return };
            expired.remove();
        }
    }

    fn len(&self) -> u64 {
        self.model.iter().map(|items| items.len() as u64).sum()
    }

    fn finish(mut self) {
        assert_clean(&self.cache);
        let mut found = keys(&self.cache);
        found.sort();
        let expected = (0..2).flat_map(|queue| {
            self.model[usize::from(queue)].keys().map(move |number| item_key(queue, *number))
        });
        let mut expected: Vec<Key> = expected.collect();
        expected.sort();
        assert_eq!(found, expected);
        for queue in 0..2 {
            while !self.model[usize::from(queue)].is_empty() {
                self.run(&Step::Pull { queue, is_front: true });
            }
            self.run(&Step::Pull { queue, is_front: true });
            self.run(&Step::Push { queue, is_front: true, expires: None });
        }
    }
}

quickcheck! {
    fn queues_are_what_a_sorted_map_says(steps: Vec<Step>) -> bool {
        let mut trial = Trial::new();
        for step in steps.iter().chain(&steps).chain(&steps) {
            trial.run(step);
        }
        trial.finish();
        true
    }
}
