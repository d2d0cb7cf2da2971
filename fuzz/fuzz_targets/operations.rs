//! Lists of operations on a cache with small segments, compared with a map after each.

#![no_main]

use std::collections::BTreeMap;

use firncache::{Cache, Error, Eviction};

type Model = BTreeMap<u8, Vec<u8>>;

fn open(path: &std::path::Path) -> Cache {
    let options = Cache::options().size_limit(256 << 10).eviction(Eviction::None);
    options.value_file_threshold(300).open(path).unwrap()
}

fn bytes(key: u8, argument: u8) -> Vec<u8> {
    vec![key ^ argument; usize::from(argument) * usize::from(key % 8 + 1)]
}

/// The first operations of the list in a transaction, which may be rolled back.
fn transact(cache: &Cache, model: &mut Model, list: &[u8], commits: bool) {
    let mut inner = model.clone();
    let result = cache.transact(|tx| {
        for pair in list.chunks_exact(2) {
            let (key, value) = (pair[0], bytes(pair[0], pair[1]));
            if pair[1] == 0 {
                assert_eq!(tx.delete(key)?, inner.remove(&key).is_some());
            } else {
                tx.set_bytes(key, &value)?;
                inner.insert(key, value);
            }
            assert_eq!(tx.get_bytes(key)?.as_ref(), inner.get(&key));
        }
        if commits { Ok(()) } else { Err(Error::key("rolled back")) }
    });
    assert_eq!(result.is_ok(), commits, "{result:?}");
    if commits {
        *model = inner;
    }
}

fn compare(cache: &Cache, model: &Model) {
    assert_eq!(cache.len().unwrap(), model.len() as u64);
    let keys: Vec<u8> = cache.sorted_keys().unwrap().map(|key| number(key.unwrap())).collect();
    assert!(keys.iter().eq(model.keys()));
    for (key, value) in model {
        assert_eq!(cache.get_bytes(*key).unwrap().as_ref(), Some(value));
    }
    let report = cache.check().unwrap();
    assert!(report.is_clean(), "{report}");
}

fn number(key: firncache::Key) -> u8 {
    firncache::FromKey::from_key(key).unwrap()
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let dir = firncache_fuzz::disk::place();
    let mut cache = open(dir.path());
    let mut model = Model::new();
    for step in input.chunks_exact(3).take(300) {
        let (key, value) = (step[1], bytes(step[1], step[2]));
        match step[0] % 16 {
            0..6 => {
                cache.set_bytes(key, &value).unwrap();
                model.insert(key, value);
            }
            6..8 => assert_eq!(cache.delete(key).unwrap(), model.remove(&key).is_some()),
            8 => assert_eq!(cache.touch(key, None).unwrap(), model.contains_key(&key)),
            9 => transact(&cache, &mut model, &input[..input.len().min(40)], step[1] & 1 == 0),
            10 => cache.compact().unwrap(),
            11 => assert!(cache.repair().unwrap().is_clean()),
            12 if step[1] % 8 == 0 => {
                assert_eq!(cache.clear().unwrap(), model.len() as u64);
                model.clear();
            }
            13 => {
                drop(cache);
                cache = open(dir.path());
            }
            14 => cache.sync().unwrap(),
            _ => assert_eq!(cache.get_bytes(key).unwrap().as_ref(), model.get(&key)),
        }
    }
    compare(&cache, &model);
});
