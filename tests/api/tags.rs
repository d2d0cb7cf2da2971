use firncache::SetOptions;

use crate::common::{cache, cache_with, seconds};

fn tag(tag: impl firncache::ToKey) -> SetOptions {
    SetOptions::new().tag(tag)
}

#[test]
fn evict_removes_what_has_the_tag_and_nothing_else() {
    let cache = cache();
    for key in 0..1000 {
        cache.set_with(key, &key, tag(key % 7)).unwrap();
    }
    assert_eq!(cache.evict(3).unwrap(), (0..1000).filter(|key| key % 7 == 3).count() as u64);
    assert!((0..1000).all(|key| cache.contains(key).unwrap() == (key % 7 != 3)));
    assert_eq!(cache.evict(3).unwrap(), 0);
    assert_eq!(cache.evict("3").unwrap(), 0);
    assert!(cache.check().unwrap().is_clean());
}

#[test]
fn tags_are_compared_as_keys() {
    let cache = cache();
    cache.set_with("a", &1, tag(1)).unwrap();
    cache.set_with("b", &1, tag(1.0)).unwrap();
    cache.set_with("c", &1, tag(true)).unwrap();
    cache.set_with("d", &1, tag("1")).unwrap();
    assert_eq!(cache.evict(1_u8).unwrap(), 2);
    assert_eq!(cache.evict(true).unwrap(), 1);
    assert_eq!(cache.evict("1").unwrap(), 1);
}

#[test]
fn null_is_no_tag() {
    let cache = cache();
    cache.set_with("a", &1, tag(())).unwrap();
    cache.set("b", &1).unwrap();
    assert_eq!(cache.get_entry::<i32>("a").unwrap().unwrap().tag, None);
    assert_eq!(cache.evict(()).unwrap(), 0);
    assert_eq!(cache.evict(None::<&str>).unwrap(), 0);
    assert_eq!(cache.len().unwrap(), 2);
}

#[test]
fn expired_items_are_evicted_too() {
    let cache = cache_with(|options| options.cull_limit(0));
    cache.set_with("a", &1, tag("t").expire(seconds(1))).unwrap();
    cache.time.turn(seconds(2));
    assert_eq!(cache.evict("t").unwrap(), 1);
}

#[test]
fn storing_again_takes_the_new_tag() {
    let cache = cache();
    cache.set_with("a", &1, tag("old")).unwrap();
    cache.set_with("a", &1, tag("new")).unwrap();
    assert_eq!(cache.evict("old").unwrap(), 0);
    assert_eq!(cache.evict("new").unwrap(), 1);
}

#[test]
fn large_tagged_values_go_too() {
    let cache = cache();
    let value = vec![7_u8; 400_000];
    cache.set_bytes_with("a", &value, tag("t")).unwrap();
    cache.set_bytes_with("b", &value, tag("u")).unwrap();
    assert_eq!(cache.evict("t").unwrap(), 1);
    assert!(cache.get_bytes("b").unwrap().unwrap() == value);
    assert!(cache.check().unwrap().is_clean());
}
