use std::collections::BTreeMap;

use firncache::{Cache, ErrorKind, Key, SetOptions};
use serde::{Deserialize, Serialize};

use crate::common::{cache, cache_with, keys, kind_of, seconds};

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct User {
    name: String,
    age: Option<u8>,
    scores: BTreeMap<String, f64>,
}

fn user() -> User {
    User { name: "Ada".into(), age: Some(36), scores: [("x".into(), 0.5)].into() }
}

#[test]
fn what_is_set_is_read() {
    let cache = cache();
    cache.set("user", &user()).unwrap();
    assert_eq!(cache.get("user").unwrap(), Some(user()));
    assert_eq!(cache.get::<User>("other").unwrap(), None);
    cache.set(1, "text").unwrap();
    assert_eq!(cache.get::<String>(1.0).unwrap().as_deref(), Some("text"));
    cache.set(true, &()).unwrap();
    assert_eq!(cache.get::<()>(true).unwrap(), Some(()));
    cache.set((), &None::<u8>).unwrap();
    assert_eq!(cache.get::<Option<u8>>(None::<u8>).unwrap(), Some(None));
    cache.set(b"bytes", &[1, 2, 3]).unwrap();
    assert_eq!(cache.get::<[i32; 3]>(vec![b'b', b'y', b't', b'e', b's']).unwrap(), Some([1, 2, 3]));
    cache.set(("a", 1, 0.5), &i128::MAX).unwrap();
    assert_eq!(cache.get::<i128>(("a", 1, 0.5)).unwrap(), Some(i128::MAX));
    assert_eq!(cache.len().unwrap(), 6);
}

#[test]
fn setting_again_replaces_and_keeps_the_place() {
    let cache = cache();
    for key in 0..5 {
        cache.set(key, &key).unwrap();
    }
    cache.set(0, "a longer value than before, of another type").unwrap();
    cache.delete(1).unwrap();
    cache.set(1, &1).unwrap();
    assert_eq!(keys(&cache), [0, 2, 3, 4, 1].map(Key::from));
    assert_eq!(cache.len().unwrap(), 5);
}

#[test]
fn values_survive_reopening() {
    let cache = cache();
    cache.set("key", &user()).unwrap();
    let path = cache.directory().to_path_buf();
    let dir = cache.dir;
    cache.cache.close().unwrap();
    let cache = Cache::open(&path).unwrap();
    assert_eq!(cache.get("key").unwrap(), Some(user()));
    drop(dir);
}

#[test]
fn a_second_handle_sees_every_write_at_once() {
    let cache = cache();
    let other = cache.again();
    for number in 0..100 {
        cache.set("key", &number).unwrap();
        assert_eq!(other.get("key").unwrap(), Some(number));
    }
    other.delete("key").unwrap();
    assert!(!cache.contains("key").unwrap());
}

#[test]
fn many_keys_survive_growth() {
    let cache = cache();
    for key in 0..20_000_u32 {
        cache.set(key, &(u64::from(key) * 7)).unwrap();
    }
    for key in 0..20_000_u32 {
        assert_eq!(cache.get(key).unwrap(), Some(u64::from(key) * 7), "{key}");
    }
    assert_eq!(cache.len().unwrap(), 20_000);
    for key in (0..20_000_u32).step_by(2) {
        assert!(cache.delete(key).unwrap());
    }
    assert_eq!(cache.len().unwrap(), 10_000);
    assert_eq!(cache.iter().count(), 10_000);
    assert!(cache.check().unwrap().is_clean(), "{}", cache.check().unwrap());
}

#[test]
fn the_wrong_type_is_an_error_and_the_value_stays() {
    let cache = cache();
    cache.set("text", "abc").unwrap();
    cache.set("number", &300).unwrap();
    cache.set("user", &user()).unwrap();
    assert_eq!(kind_of(cache.get::<i32>("text")), ErrorKind::Codec);
    assert_eq!(kind_of(cache.get::<u8>("number")), ErrorKind::Codec);
    assert_eq!(kind_of(cache.get::<String>("user")), ErrorKind::Codec);
    assert_eq!(kind_of(cache.get_entry::<i32>("text")), ErrorKind::Codec);
    assert_eq!(kind_of(cache.pop::<i32>("text")), ErrorKind::Codec);
    assert_eq!(cache.get::<String>("text").unwrap().as_deref(), Some("abc"));
}

#[test]
fn keys_that_cannot_be_are_refused() {
    let cache = cache();
    assert_eq!(kind_of(cache.set(f64::NAN, &1)), ErrorKind::Key);
    assert_eq!(kind_of(cache.get::<i32>(f64::NAN)), ErrorKind::Key);
    let long = "x".repeat(70_000);
    assert_eq!(kind_of(cache.set(long.as_str(), &1)), ErrorKind::Key);
    assert_eq!(kind_of(cache.contains(&long)), ErrorKind::Key);
    assert_eq!(kind_of(cache.set_with(1, &1, SetOptions::new().tag(f64::NAN))), ErrorKind::Key);
    assert!(cache.is_empty().unwrap());
    let longest = "x".repeat(65_000);
    cache.set(&longest, &1).unwrap();
    assert_eq!(cache.get(&longest).unwrap(), Some(1));
}

#[test]
fn add_stores_only_where_nothing_is() {
    let cache = cache();
    assert!(cache.add("key", &1).unwrap());
    assert!(!cache.add("key", &2).unwrap());
    assert_eq!(cache.get("key").unwrap(), Some(1));
    let soon = SetOptions::new().expire(seconds(1));
    assert!(cache.add_with("soon", &1, soon.clone()).unwrap());
    assert!(!cache.add_with("soon", &2, soon.clone()).unwrap());
    cache.time.turn(seconds(1));
    assert!(cache.add_with("soon", &3, soon).unwrap());
    assert_eq!(cache.get("soon").unwrap(), Some(3));
}

#[test]
fn of_many_that_add_one_does() {
    let cache = cache();
    let winners: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let cache = cache.again();
                scope.spawn(move || {
                    (0..200).filter(|key| cache.add(key, &thread).unwrap()).count() as u32
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(winners, 200);
}

#[test]
fn delete_tells_whether_something_was_there() {
    let cache = cache();
    cache.set("key", &1).unwrap();
    assert!(cache.delete("key").unwrap());
    assert!(!cache.delete("key").unwrap());
    assert_eq!(cache.get::<i32>("key").unwrap(), None);
    assert!(cache.is_empty().unwrap());
}

#[test]
fn pop_gives_and_removes() {
    let cache = cache();
    cache.set_with("key", &user(), SetOptions::new().tag("t").expire(seconds(5))).unwrap();
    let entry = cache.pop_entry::<User>("key").unwrap().unwrap();
    assert_eq!(entry.value, user());
    assert_eq!(entry.tag, Some(Key::from("t")));
    assert_eq!(entry.expires_at, Some(cache.time.now() + seconds(5)));
    assert_eq!(entry.stored_at, cache.time.now());
    assert_eq!(cache.pop::<User>("key").unwrap(), None);
    assert!(cache.is_empty().unwrap());
}

#[test]
fn of_many_that_pop_one_gets_it() {
    let cache = cache();
    cache.set_many((0..500).map(|key| (key, key)), SetOptions::new()).unwrap();
    let sum: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let cache = cache.again();
                scope.spawn(move || {
                    (0..500).filter_map(|key| cache.pop::<u64>(key).unwrap()).sum::<u64>()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(sum, (0..500).sum::<u64>());
    assert!(cache.is_empty().unwrap());
}

#[test]
fn raw_bytes_skip_serde() {
    let cache = cache();
    cache.set_bytes("raw", b"\0\xFFbytes").unwrap();
    assert_eq!(cache.get_bytes("raw").unwrap().as_deref(), Some(&b"\0\xFFbytes"[..]));
    assert_eq!(cache.get::<serde_bytes::ByteBuf>("raw").unwrap().unwrap(), b"\0\xFFbytes");
    let mut buffer = b"old content that is longer".to_vec();
    assert!(cache.get_bytes_into("raw", &mut buffer).unwrap());
    assert_eq!(buffer, b"\0\xFFbytes");
    assert!(!cache.get_bytes_into("missing", &mut buffer).unwrap());
    assert!(buffer.is_empty());
    cache.set_bytes("empty", b"").unwrap();
    assert_eq!(cache.get_bytes("empty").unwrap(), Some(vec![]));
    cache.set("text", "text").unwrap();
    assert_eq!(kind_of(cache.get_bytes("text")), ErrorKind::Codec);
    cache.set_bytes_with("gone", b"x", SetOptions::new().expire(seconds(0))).unwrap();
    assert_eq!(cache.get_bytes("gone").unwrap(), None);
}

#[test]
fn entries_tell_what_is_known() {
    let cache = cache();
    cache.set("plain", &1).unwrap();
    let entry = cache.get_entry::<i32>("plain").unwrap().unwrap();
    assert_eq!((entry.value, entry.expires_at, entry.tag), (1, None, None));
    assert_eq!(entry.stored_at, cache.time.now());
    let at = cache.time.now() + seconds(60);
    cache.set_with("full", &2, SetOptions::new().expire_at(at).tag(("a", 1))).unwrap();
    let entry = cache.get_entry::<i32>("full").unwrap().unwrap();
    assert_eq!((entry.value, entry.expires_at), (2, Some(at)));
    assert_eq!(entry.tag, Some(Key::from(("a", 1))));
    assert_eq!(cache.get_entry::<i32>("missing").unwrap(), None);
}

#[test]
fn a_codec_is_of_the_handle_and_every_codec_is_read() {
    let cache = cache();
    cache.set("bincode", &user()).unwrap();
    let json = Cache::options().codec(firncache::Json).open(cache.directory()).unwrap();
    json.set("json", &user()).unwrap();
    for handle in [&cache.cache, &json] {
        for key in ["json", "bincode"] {
            assert_eq!(handle.get(key).unwrap(), Some(user()));
        }
    }
}

#[test]
fn hits_and_misses_are_counted_when_asked_for() {
    let cache = cache();
    cache.set("key", &1).unwrap();
    cache.get::<i32>("key").unwrap();
    assert_eq!(cache.stats().unwrap(), firncache::Stats::default());
    cache.update_settings(|settings| settings.statistics = true).unwrap();
    cache.get::<i32>("key").unwrap();
    cache.get_entry::<i32>("missing").unwrap();
    cache.get_many::<i32>(["key", "missing"]).unwrap();
    cache.get_bytes("missing").unwrap();
    cache.contains("key").unwrap();
    cache.contains("missing").unwrap();
    cache.pop::<i32>("missing").unwrap();
    let stats = cache.again().stats().unwrap();
    assert_eq!((stats.hits, stats.misses), (2, 3));
    assert_eq!(cache.reset_stats().unwrap(), stats);
    assert_eq!(cache.stats().unwrap(), firncache::Stats::default());
}

#[test]
fn handles_are_clones_of_one() {
    let cache = cache_with(|options| options.timeout(seconds(1)));
    let clone = cache.clone();
    clone.set(1, &1).unwrap();
    assert_eq!(cache.get(1).unwrap(), Some(1));
    assert_eq!(clone.directory(), cache.directory());
}
