//! What damaged records are to the cache: missing ones, whoever asks.

use std::sync::atomic::Ordering;

use crate::cache::Cache;
use crate::error::Result;
use crate::format::key_buf::{KeyBuf, ToKey};
use crate::format::queue::Queue;
use crate::store::writer::FoundAt;

/// Changes a word of the record of an encoded key: its first, or its last.
pub(crate) fn damage(cache: &Cache, key: &[u8], is_header: bool) {
    let store = &cache.0.store;
    let key = store.hashed(key);
    let change = |writer: &mut crate::store::Writer<'_>| -> Result<()> {
        let found = writer.find(key)?.unwrap();
        let FoundAt::Log(at) = found.place else { panic!("no transaction is open") };
        let words = writer.words(at)?.unwrap();
        let last = at.unit() + found.header.units() - 1;
        let word = if is_header { at.unit() } else { last };
        words[word as usize].fetch_xor(1, Ordering::Relaxed);
        Ok(())
    };
    store.write(cache.0.timeout, change).unwrap();
}

fn damage_value(cache: &Cache, key: impl ToKey) {
    damage(cache, KeyBuf::of(&key).unwrap().as_bytes(), false);
}

#[test]
fn add_stores_over_a_damaged_record() {
    let cache = Cache::temporary().unwrap();
    cache.set("key", &1).unwrap();
    assert!(!cache.add("key", &2).unwrap());
    damage_value(&cache, "key");
    assert_eq!(cache.get::<i32>("key").unwrap(), None);
    assert!(cache.add("key", &2).unwrap());
    assert!(!cache.add("key", &3).unwrap());
    assert_eq!(cache.get::<i32>("key").unwrap(), Some(2));
    damage_value(&cache, "key");
    let added = cache
        .transact(|cache| Ok::<_, crate::Error>([cache.add("key", &4)?, cache.add("key", &5)?]));
    assert_eq!(added.unwrap(), [true, false]);
    assert_eq!((cache.get::<i32>("key").unwrap(), cache.len().unwrap()), (Some(4), 1));
}

#[test]
fn add_stores_where_the_value_file_has_gone() {
    let cache = Cache::temporary().unwrap();
    let large = vec![7; 1 << 20];
    cache.set_bytes("key", &large).unwrap();
    assert!(!cache.add("key", &1).unwrap());
    let file = cache.reader("key").unwrap().unwrap().path().unwrap().to_owned();
    std::fs::remove_file(file).unwrap();
    assert_eq!(cache.get_bytes("key").unwrap(), None);
    assert!(cache.add("key", &1).unwrap());
    assert_eq!(cache.get::<i32>("key").unwrap(), Some(1));
    assert!(cache.check().unwrap().is_clean(), "{}", cache.check().unwrap());
}

#[test]
fn a_record_of_the_caches_own_that_is_damaged_leaves_len_off_until_repair() {
    let cache = Cache::temporary().unwrap();
    (0..3).for_each(|number| drop(cache.push(&number).unwrap()));
    damage(&cache, Queue::new(None).unwrap().control(), true);
    // Expired, and swept: what it was cannot be seen any more, and it is taken for a key.
    cache
        .0
        .store
        .write(cache.0.timeout, |writer| {
            let mut cursor = crate::store::page_walk::PageCursor::default();
            while let Some(page) = writer.page(&mut cursor)? {
                for view in page.entries {
                    if writer.found(&view)?.is_none() {
                        writer.remove_entry(&view, 0)?;
                    }
                }
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(cache.len().unwrap(), 2);
    assert!(!cache.check().unwrap().is_clean());
    assert_eq!(cache.iter().count(), 3);
    cache.repair().unwrap();
    assert_eq!(cache.len().unwrap(), 3);
    assert!(cache.check().unwrap().is_clean());
    assert_eq!(cache.pull::<i32>().unwrap().unwrap().1, 0);
}
