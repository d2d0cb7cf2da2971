//! Queues in keys: which keys belong to a queue, and what is noted about each queue.
//!
//! ```text
//! item       a number of FIRST..=LAST as an integer key, or text: prefix, '-', 15 digits
//! control    0xF0 0x01                    the bounds of the queue of integers
//!            0xF0 0x01 0x40 prefix        the bounds of the queue of a prefix
//!            0xF0 0x02                    the most items of a deque
//! bounds     front, back, since: three words. Every item of the queue lies within front..=back;
//!            front > back: there is none. `since` other than 0: the items whose row is below it
//!            have not been counted in yet
//! ```
//!
//! No key type begins with 0xF0, so that no user's key is ever a control key; records of control
//! keys carry the flag `CONTROL`, and are no keys of the cache.
//!
//! Invariant: bounds are widened before an item is stored beyond them, and narrowed after one is
//! gone. So they can be too wide, and are never too narrow.

use crate::error::{Error, Result};
use crate::format::key::{CONTROL_KEY, MAX_KEY_BYTES, TEXT};
use crate::format::key_number::{Decoded, MAX_NUMBER_BYTES, Number};

/// The least and the greatest number of an item.
pub(crate) const FIRST: u64 = 1;
pub(crate) const LAST: u64 = 999_999_999_999_998;
/// The number of the first item of an empty queue.
pub(crate) const START: u64 = 500_000_000_000_000;
/// Bounds are stored rounded outwards to multiples of this, so that most pushes and pulls need not
/// store them; the end itself is then at most so many lookups away.
pub(crate) const SLACK: u64 = 8;

/// The key of a deque's most items.
pub(crate) const MOST_ITEMS: [u8; 2] = [CONTROL_KEY, 0x02];
const BOUNDS: u8 = 0x01;

const DIGITS: usize = 15;
/// Bytes after the prefix: a hyphen and the digits.
const TAIL_BYTES: usize = 1 + DIGITS;
/// The first byte of the integers that can be numbers of items, and of few others.
const SMALL_CLASS: u8 = 0x24;

/// An end of an order: the first or the last.
///
/// ```
/// # let cache = firncache::Cache::temporary()?;
/// use firncache::Side;
///
/// cache.set_many([("first", 1), ("last", 2)], Default::default())?;
/// assert_eq!(cache.peek_item::<i32>(Side::Front)?.unwrap().1.value, 1);
/// assert_eq!(cache.peek_item::<i32>(Side::Back)?.unwrap().1.value, 2);
/// # Ok::<(), firncache::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Side {
    /// The first, the oldest.
    Front,
    /// The last, the newest.
    Back,
}

/// A queue, by the key of its bounds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Queue(Vec<u8>);

impl Queue {
    /// The queue of integers, or of a prefix.
    pub(crate) fn new(prefix: Option<&str>) -> Result<Queue> {
        if let Some(prefix) = prefix
            && 1 + prefix.len() + TAIL_BYTES > MAX_KEY_BYTES
        {
            return Err(Error::key(format!(
                "the prefix has {} bytes, and keys at most {MAX_KEY_BYTES}: use a shorter one",
                prefix.len()
            )));
        }
        Ok(Queue::of(prefix.map(str::as_bytes)))
    }

    fn of(prefix: Option<&[u8]>) -> Queue {
        let mut control = vec![CONTROL_KEY, BOUNDS];
        if let Some(prefix) = prefix {
            control.push(TEXT);
            control.extend_from_slice(prefix);
        }
        Queue(control)
    }

    /// The queue that a key belongs to, and its number there.
    pub(crate) fn of_item(key: &[u8]) -> Option<(Queue, u64)> {
        let (prefix, number) = item(key)?;
        Some((Queue::of(prefix), number))
    }

    /// The key of the bounds.
    pub(crate) fn control(&self) -> &[u8] {
        &self.0
    }

    /// The number of a key in this queue.
    pub(crate) fn number(&self, key: &[u8]) -> Option<u64> {
        let (prefix, number) = item(key)?;
        (prefix == self.0.get(3..)).then_some(number)
    }

    /// Writes the key of an item; `key` is used again from one to the next.
    pub(crate) fn key<'a>(&self, number: u64, key: &'a mut Vec<u8>) -> &'a [u8] {
        key.clear();
        if self.0.len() == 2 {
            let mut bytes = [0; MAX_NUMBER_BYTES];
            let len = Number::from_int(number.into()).encode(&mut bytes).unwrap_or(0);
            key.extend_from_slice(&bytes[..len]);
            return key;
        }
        key.extend_from_slice(&self.0[2..]);
        key.push(b'-');
        let mut digits = [b'0'; DIGITS];
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        key.extend_from_slice(&digits);
        key
    }
}

/// Prefix and number of a key that has the shape of an item.
#[inline]
fn item(key: &[u8]) -> Option<(Option<&[u8]>, u64)> {
    let (prefix, number) = match key {
        [SMALL_CLASS, ..] => {
            let (Decoded::Int(value), []) = Number::decode(key)? else { return None };
            (None, u64::try_from(value).ok()?)
        }
        [TEXT, text @ ..] if text.len() >= TAIL_BYTES => {
            let (prefix, tail) = text.split_at(text.len() - TAIL_BYTES);
            let (b'-', digits) = tail.split_first()? else { return None };
            if !digits.iter().all(u8::is_ascii_digit) {
                return None;
            }
            let number = digits.iter().fold(0, |sum, it| 10 * sum + u64::from(it - b'0'));
            (Some(prefix), number)
        }
        _ => return None,
    };
    (FIRST..=LAST).contains(&number).then_some((prefix, number))
}

/// Whether a control key is one of bounds.
pub(crate) fn is_bounds(key: &[u8]) -> bool {
    key.starts_with(&[CONTROL_KEY, BOUNDS])
}

/// Between which numbers the items of a queue lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    pub(crate) front: u64,
    pub(crate) back: u64,
    /// 0, or the row below which items are not counted in yet.
    pub(crate) since: u64,
}

/// Bytes of stored bounds.
pub(crate) const BOUNDS_BYTES: usize = 24;

impl Bounds {
    pub(crate) const EMPTY: Bounds = Bounds { front: LAST + 1, back: 0, since: 0 };

    pub(crate) fn is_whole(&self) -> bool {
        self.since == 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.front > self.back
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        (self.front..=self.back).contains(&number)
    }

    /// The outermost number on a side.
    pub(crate) fn end(&self, side: Side) -> Option<u64> {
        match side {
            _ if self.is_empty() => None,
            Side::Front => Some(self.front),
            Side::Back => Some(self.back),
        }
    }

    /// Leaves out the outermost number on a side.
    pub(crate) fn pass(&mut self, side: Side) {
        match side {
            Side::Front => self.front += 1,
            Side::Back => self.back = self.back.saturating_sub(1),
        }
        if self.is_empty() {
            (self.front, self.back) = (Bounds::EMPTY.front, Bounds::EMPTY.back);
        }
    }

    pub(crate) fn include(&mut self, number: u64) {
        self.front = self.front.min(number);
        self.back = self.back.max(number);
    }

    /// These bounds, which are not empty, rounded outwards.
    pub(crate) fn rounded(self) -> Bounds {
        if self.is_empty() {
            return self;
        }
        let front = (self.front - self.front % SLACK).max(FIRST);
        let back = (self.back - self.back % SLACK + SLACK - 1).min(LAST);
        Bounds { front, back, ..self }
    }

    /// Whether these bounds are to be stored in place of others: because they reach beyond them, or
    /// because the others are much wider.
    pub(crate) fn are_worth_storing(&self, stored: &Bounds) -> bool {
        if self.is_empty() || stored.is_empty() {
            return self.is_empty() != stored.is_empty();
        }
        let is_within = stored.contains(self.front) && stored.contains(self.back);
        !is_within || self.front - stored.front >= SLACK || stored.back - self.back >= SLACK
    }

    pub(crate) fn encode(&self) -> [u8; BOUNDS_BYTES] {
        let mut bytes = [0; BOUNDS_BYTES];
        let words = [self.front, self.back, self.since];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The bounds in stored bytes; `None` for what was never written.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Bounds> {
        let bytes: &[u8; BOUNDS_BYTES] = bytes.try_into().ok()?;
        let word = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let bounds = Bounds { front: word(0)?, back: word(8)?, since: word(16)? };
        let is_empty = (bounds.front, bounds.back) == (Bounds::EMPTY.front, Bounds::EMPTY.back);
        let is_sound = bounds.front >= FIRST && bounds.back <= LAST && !bounds.is_empty();
        (is_empty || is_sound).then_some(bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::key_buf::{KeyBuf, ToKey};
    use quickcheck::quickcheck;

    fn item_of(key: impl ToKey) -> Option<(Option<String>, u64)> {
        let key = KeyBuf::of(&key).unwrap();
        let (prefix, number) = item(key.as_bytes())?;
        Some((prefix.map(|it| String::from_utf8(it.to_vec()).unwrap()), number))
    }

    #[test]
    fn integers_of_the_open_range_are_items_and_no_other_numbers() {
        for number in [1, 2, 5, 1 << 49, START, LAST] {
            assert_eq!(item_of(number), Some((None, number)));
            assert_eq!(item_of(number as f64), Some((None, number)));
        }
        for number in [0, -1, 999_999_999_999_999, 1 << 50, i64::MAX, i64::MIN] {
            assert_eq!(item_of(number), None, "{number}");
        }
        for number in [7.5, 0.5, 1e15, -5e14, f64::INFINITY] {
            assert_eq!(item_of(number), None, "{number}");
        }
        assert_eq!(item_of((5,)), None);
        assert_eq!(item_of(b"5"), None);
    }

    #[test]
    fn text_items_are_exactly_prefix_hyphen_and_fifteen_digits() {
        let some = |prefix: &str, number| Some((Some(prefix.to_owned()), number));
        assert_eq!(item_of("x-500000000000000"), some("x", START));
        assert_eq!(item_of("x-2-000000000000001"), some("x-2", 1));
        assert_eq!(item_of("-000000000000001"), some("", 1));
        assert_eq!(item_of("x-1000000000000001"), None);
        for other in [
            "x-000000000000000",
            "x-999999999999999",
            "x-50000000000000",
            "x_500000000000000",
            "x-50000000000000a",
            "x-5abc",
            "500000000000000",
            "",
        ] {
            assert_eq!(item_of(other), None, "{other}");
        }
    }

    #[test]
    fn prefixes_do_not_see_each_other() {
        let own = |prefix| Queue::new(prefix).unwrap();
        let key = KeyBuf::of("x-2-500000000000000").unwrap();
        assert_eq!(own(Some("x-2")).number(key.as_bytes()), Some(START));
        assert_eq!(own(Some("x")).number(key.as_bytes()), None);
        assert_eq!(own(None).number(key.as_bytes()), None);
        let nameless = KeyBuf::of("-500000000000000").unwrap();
        assert_eq!(own(Some("")).number(nameless.as_bytes()), Some(START));
        assert_eq!(own(None).number(nameless.as_bytes()), None);
        assert_ne!(own(Some("")).control(), own(None).control());
        assert!(Queue::new(Some(&"x".repeat(MAX_KEY_BYTES - TAIL_BYTES - 1))).is_ok());
        assert!(Queue::new(Some(&"x".repeat(MAX_KEY_BYTES - TAIL_BYTES))).is_err());
    }

    #[test]
    fn bounds_end_where_nothing_is_left() {
        let mut bounds = Bounds::EMPTY;
        assert_eq!(bounds.end(Side::Front), None);
        bounds.include(FIRST);
        assert_eq!(bounds.end(Side::Back), Some(FIRST));
        bounds.pass(Side::Back);
        assert_eq!(bounds, Bounds::EMPTY);
        bounds.include(LAST);
        bounds.pass(Side::Front);
        assert_eq!(bounds, Bounds::EMPTY);
        assert_eq!(Bounds::decode(&bounds.encode()), Some(bounds));
        for (front, back) in [(0, 5), (5, LAST + 1), (7, 6), (u64::MAX, u64::MAX)] {
            assert_eq!(Bounds::decode(&Bounds { front, back, since: 0 }.encode()), None);
        }
        assert_eq!(Bounds::decode(b"short"), None);
    }

    #[test]
    fn bounds_are_stored_again_when_they_are_crossed_or_loose() {
        let at = |front, back| Bounds { front, back, since: 0 };
        let stored = at(1000, 1007);
        assert!(!at(1003, 1005).are_worth_storing(&stored));
        assert!(at(1003, 1008).are_worth_storing(&stored));
        assert!(at(999, 1000).are_worth_storing(&stored));
        assert!(at(1003, 1005).are_worth_storing(&at(992, 1007)));
        assert!(at(1003, 1005).are_worth_storing(&at(1000, 1015)));
        assert!(Bounds::EMPTY.are_worth_storing(&stored));
        assert!(!Bounds::EMPTY.are_worth_storing(&Bounds::EMPTY));
        assert!(!at(LAST, LAST).are_worth_storing(&at(LAST, LAST).rounded()));
    }

    #[test]
    fn bounds_say_what_they_hold() {
        let bounds = Bounds { front: 10, back: 12, since: 0 };
        assert_eq!([9, 10, 12, 13].map(|it| bounds.contains(it)), [false, true, true, false]);
        assert_eq!((bounds.end(Side::Front), bounds.end(Side::Back)), (Some(10), Some(12)));
        let (mut front, mut back) = (bounds, bounds);
        front.pass(Side::Front);
        back.pass(Side::Back);
        assert_eq!((front.front, front.back, back.front, back.back), (11, 12, 10, 11));
        let counted = Bounds { since: 1, ..bounds };
        assert!(bounds.is_whole() && !counted.is_whole());
        assert_eq!(Bounds::decode(&counted.encode()), Some(counted));
        assert_eq!(counted.rounded(), Bounds { front: 8, back: 15, since: 1 });
        assert_eq!(Bounds::EMPTY.rounded(), Bounds::EMPTY);
        assert_eq!((Bounds::EMPTY.front, Bounds::EMPTY.back), (LAST + 1, 0));
        let single = Bounds { front: 10, back: 10, since: 0 };
        assert!(!single.is_empty() && !bounds.is_empty() && Bounds::EMPTY.is_empty());
        assert_eq!(Bounds::decode(&single.encode()), Some(single));
    }

    #[test]
    fn only_keys_of_bounds_are_keys_of_bounds() {
        assert!(is_bounds(Queue::new(None).unwrap().control()));
        assert!(is_bounds(Queue::new(Some("x")).unwrap().control()));
        assert!(!is_bounds(&MOST_ITEMS) && !is_bounds(&[CONTROL_KEY]));
    }

    quickcheck! {
        fn keys_of_items_are_read_back(number: u64, prefix: Option<String>) -> bool {
            let number = FIRST + number % LAST;
            let queue = Queue::new(prefix.as_deref()).unwrap();
            let mut key = Vec::new();
            let key = queue.key(number, &mut key);
            let expected = match &prefix {
                None => KeyBuf::of(&number),
                Some(prefix) => KeyBuf::of(&format!("{prefix}-{number:015}")),
            };
            key == expected.unwrap().as_bytes()
                && queue.number(key) == Some(number)
                && Queue::of_item(key) == Some((queue, number))
        }

        fn rounding_keeps_what_is_inside(front: u64, len: u64) -> bool {
            let front = FIRST + front % LAST;
            let back = front + len % (LAST - front + 1);
            let bounds = Bounds { front, back, since: 0 };
            let wide = bounds.rounded();
            Bounds::decode(&wide.encode()) == Some(wide)
                && wide.contains(bounds.front)
                && wide.contains(bounds.back)
                && !bounds.are_worth_storing(&wide)
                && bounds.front - wide.front < SLACK
                && wide.back - bounds.back < SLACK
        }
    }
}
