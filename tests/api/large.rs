use std::io::{Read, Seek, SeekFrom};

use firncache::{Durability, ErrorKind, SetOptions};

use crate::common::{cache, cache_with, kind_of, seconds};

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 31 % 251) as u8).collect()
}

#[test]
fn values_of_every_size_come_back() {
    let cache = cache();
    for len in [0, 1, 100, 4096, 65_536, 262_144, 262_145, 1_000_000, 5_000_000] {
        let value = pattern(len);
        cache.set_bytes(len, &value).unwrap();
        assert!(cache.get_bytes(len).unwrap().as_ref() == Some(&value), "{len}");
        let text = "t".repeat(len);
        cache.set("text", &text).unwrap();
        assert!(cache.get::<String>("text").unwrap() == Some(text), "{len}");
    }
    assert!(cache.check().unwrap().is_clean(), "{}", cache.check().unwrap());
}

#[test]
fn large_values_are_replaced_touched_popped_and_deleted() {
    let cache = cache();
    let (one, two) = (pattern(600_000), pattern(700_000));
    cache.set_bytes("key", &one).unwrap();
    let first = cache.reader("key").unwrap().unwrap().path().unwrap().to_path_buf();
    assert!(first.is_file());
    assert!(cache.touch("key", Some(seconds(9))).unwrap());
    assert!(cache.get_bytes("key").unwrap().unwrap() == one);
    cache.set_bytes("key", &two).unwrap();
    assert!(!first.exists());
    assert!(cache.get_bytes("key").unwrap().unwrap() == two);
    let second = cache.reader("key").unwrap().unwrap().path().unwrap().to_path_buf();
    assert!(cache.pop::<serde_bytes::ByteBuf>("key").unwrap().unwrap() == two);
    assert!(!second.exists());
    cache.set_bytes("key", &one).unwrap();
    assert!(cache.delete("key").unwrap());
    cache.set_bytes("key", &one).unwrap();
    cache.set("key", "small").unwrap();
    assert_eq!(cache.get::<String>("key").unwrap().as_deref(), Some("small"));
    assert!(cache.check().unwrap().is_clean());
}

#[test]
fn streams_of_any_length_are_stored_and_read() {
    let cache = cache();
    for len in [0, 5, 300_000, 3_000_000] {
        let value = pattern(len);
        let stored = cache.set_from("key", &value[..], SetOptions::new().tag("t")).unwrap();
        assert_eq!(stored, len as u64);
        let mut reader = cache.reader("key").unwrap().unwrap();
        assert_eq!((reader.len(), reader.is_empty()), (len as u64, len == 0));
        assert_eq!(reader.path().is_some(), len > 262_144);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(read == value);
        reader.seek(SeekFrom::Start(len as u64 / 2)).unwrap();
        read.clear();
        reader.read_to_end(&mut read).unwrap();
        assert!(read == value[len / 2..]);
        assert!(cache.get_bytes("key").unwrap().unwrap() == value);
    }
    assert_eq!(cache.evict("t").unwrap(), 1);
    assert!(cache.reader("key").unwrap().is_none());
}

#[test]
fn a_reader_goes_on_when_the_key_changes() {
    let cache = cache();
    let value = pattern(1_000_000);
    cache.set_bytes("key", &value).unwrap();
    let mut reader = cache.reader("key").unwrap().unwrap();
    cache.set("key", &1).unwrap();
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == value);
}

#[test]
fn only_bytes_and_text_have_readers() {
    let cache = cache();
    cache.set("number", &1).unwrap();
    assert_eq!(kind_of(cache.reader("number")), ErrorKind::Codec);
    cache.set("text", "héllo").unwrap();
    let mut text = String::new();
    cache.reader("text").unwrap().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "héllo");
}

#[test]
fn a_stream_that_fails_stores_nothing() {
    struct Fails(usize);

    impl Read for Fails {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or_else(|| std::io::Error::other("torn"))?;
            Ok(buffer.len())
        }
    }

    let cache = cache();
    cache.set("key", &1).unwrap();
    for reads in [0, 1, 100] {
        let error = cache.set_from("key", Fails(reads), SetOptions::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("torn"), "{error}");
    }
    assert_eq!(cache.get("key").unwrap(), Some(1));
    assert!(cache.check().unwrap().is_clean());
}

#[test]
fn an_endless_stream_ends_at_the_limit() {
    let cache = cache_with(|options| options.size_limit(2 << 20));
    cache.set("other", &1).unwrap();
    let error = cache.set_from("key", std::io::repeat(1), SetOptions::new());
    assert_eq!(kind_of(error), ErrorKind::TooLarge);
    assert_eq!(cache.get("other").unwrap(), Some(1));
    assert!(cache.check().unwrap().is_clean());
}

#[test]
fn readers_never_miss_a_large_value_that_is_being_replaced() {
    let cache = cache();
    let values = [pattern(300_000), pattern(400_000)];
    cache.set_bytes("key", &values[0]).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..200 {
                cache.set_bytes("key", &values[round % 2]).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let value = cache.get_bytes("key").unwrap().unwrap();
            assert!(values.contains(&value));
        }
    });
    assert_eq!(cache.stats().unwrap().damaged, 0);
}

#[test]
fn durable_handles_write_the_same() {
    let cache = cache_with(|options| options.durability(Durability::Sync));
    cache.set("small", &1).unwrap();
    cache.set_bytes("large", &pattern(400_000)).unwrap();
    cache.incr("n", 1).unwrap();
    assert!(cache.touch("n", None).unwrap());
    cache.transact(|tx| tx.set("in", &1)).unwrap();
    assert!(cache.delete("small").unwrap());
    assert_eq!(cache.pop::<i64>("n").unwrap(), Some(1));
    assert_eq!(cache.len().unwrap(), 2);
}

#[test]
fn what_replaced_values_took_is_given_back_soon() {
    let limit = 4 << 20;
    let cache = cache_with(|options| options.size_limit(limit));
    let large = vec![1; limit as usize * 5 / 8];
    cache.set_bytes("large", &large).unwrap();
    // On disk, so that its file is kept until what comes after is there, too.
    cache.sync().unwrap();
    cache.set("large", &1).unwrap();
    let used = cache.disk_usage().unwrap();
    assert!(used < limit / 4, "{used}");
}
