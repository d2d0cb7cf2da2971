//! What a cache is to be, as simply as it can be said: a list in insertion order.

use std::ops::RangeInclusive;

use crate::operation::{Labels, Value};

/// One item, expired or not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) key: u8,
    pub(crate) value: Value,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) tag: Option<u8>,
    pub(crate) stored_ms: u64,
}

/// How counting can fail.
#[derive(Debug, PartialEq)]
pub(crate) enum Refused {
    Codec,
    Overflow,
}

/// The items of a cache in insertion order, and the time.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) items: Vec<Item>,
    pub(crate) now_ms: u64,
    /// Whether any write of the cache may remove expired items. They stay here, and count as ones
    /// that may be gone.
    pub(crate) culls: bool,
}

impl Reference {
    pub(crate) fn new(now_ms: u64, culls: bool) -> Reference {
        Reference { items: Vec::new(), now_ms, culls }
    }

    pub(crate) fn is_live(&self, item: &Item) -> bool {
        item.expires_ms.is_none_or(|expires_ms| expires_ms > self.now_ms)
    }

    pub(crate) fn get(&self, key: u8) -> Option<&Item> {
        self.items.iter().find(|item| item.key == key && self.is_live(item))
    }

    pub(crate) fn live(&self) -> impl DoubleEndedIterator<Item = &Item> {
        self.items.iter().filter(|item| self.is_live(item))
    }

    pub(crate) fn set(&mut self, key: u8, value: Value, labels: Labels) {
        let expires_ms = labels.expire_ms.map(|ms| self.now_ms + u64::from(ms));
        self.put(Item { key, value, expires_ms, tag: labels.tag, stored_ms: self.now_ms });
    }

    /// A key that is there keeps its place.
    fn put(&mut self, item: Item) {
        match self.items.iter_mut().find(|old| old.key == item.key) {
            Some(old) => *old = item,
            None => self.items.push(item),
        }
    }

    pub(crate) fn touch(&mut self, key: u8, expire_ms: Option<u16>) -> bool {
        let Some(mut item) = self.get(key).cloned() else { return false };
        item.expires_ms = expire_ms.map(|ms| self.now_ms + u64::from(ms));
        self.put(item);
        true
    }

    pub(crate) fn count(
        &mut self,
        key: u8,
        delta: i128,
        default: Option<i64>,
    ) -> Result<Option<i64>, Refused> {
        let old = self.get(key).cloned();
        let start = match (&old, default) {
            (Some(Item { value: Value::Int(start), .. }), _) => *start,
            (Some(_), _) => return Err(Refused::Codec),
            (None, Some(default)) => default,
            (None, None) => return Ok(None),
        };
        let sum = i64::try_from(i128::from(start) + delta).map_err(|_| Refused::Overflow)?;
        let (expires_ms, tag) = old.map_or((None, None), |old| (old.expires_ms, old.tag));
        let value = Value::Int(sum);
        self.put(Item { key, value, expires_ms, tag, stored_ms: self.now_ms });
        Ok(Some(sum))
    }

    /// Removes a key that is live.
    pub(crate) fn remove(&mut self, key: u8) -> Option<Item> {
        let found = self.get(key)?.clone();
        self.items.retain(|item| item.key != key);
        Some(found)
    }

    pub(crate) fn expire(&mut self) -> RangeInclusive<u64> {
        let now_ms = self.now_ms;
        self.remove_where(|item| item.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms))
    }

    pub(crate) fn evict(&mut self, tag: u8) -> RangeInclusive<u64> {
        self.remove_where(|item| item.tag == Some(tag))
    }

    pub(crate) fn clear(&mut self) -> RangeInclusive<u64> {
        self.remove_where(|_| true)
    }

    /// The number of items, as far as it is certain.
    pub(crate) fn len(&self) -> RangeInclusive<u64> {
        self.certain(self.items.iter())
    }

    fn certain<'a>(&self, items: impl Iterator<Item = &'a Item>) -> RangeInclusive<u64> {
        let (mut live, mut all) = (0, 0);
        for item in items {
            live += u64::from(self.is_live(item));
            all += 1;
        }
        if self.culls { live..=all } else { all..=all }
    }

    fn remove_where(&mut self, goes: impl Fn(&Item) -> bool) -> RangeInclusive<u64> {
        let number = self.certain(self.items.iter().filter(|item| goes(item)));
        self.items.retain(|item| !goes(item));
        number
    }
}
