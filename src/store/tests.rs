//! The store against a plain map.

use std::collections::HashMap;
use std::time::Duration;

use crate::format::location::LOCATION_MASK;
use crate::format::settings::Settings;
use crate::store::Store;
use crate::store::open::OpenOptions;
use crate::store::scan::Item;
use crate::store::writer::{Put, PutValue};

const PATIENCE: Duration = Duration::from_secs(10);

fn open(path: &std::path::Path, size_limit: u64) -> Store {
    let settings = Settings { size_limit, ..Settings::default() };
    let options = OpenOptions {
        create: true,
        read_only: false,
        allow_network: true,
        settings: Some(settings),
    };
    Store::open(path, &options).unwrap()
}

fn put(store: &Store, key: &[u8], value: &[u8]) {
    let key = store.hashed(key);
    store
        .write(PATIENCE, |writer| {
            let found = writer.find(key)?;
            let put = Put {
                value_kind: 7,
                value: PutValue::Bytes(value),
                tag: b"",
                expires_ms: LOCATION_MASK,
                stored_ms: 1,
                keep_access: false,
            };
            writer.put(key, found.as_ref(), put)
        })
        .unwrap();
}

fn remove(store: &Store, key: &[u8]) -> bool {
    let hashed = store.hashed(key);
    store
        .write(PATIENCE, |writer| match writer.find(hashed)? {
            Some(found) => writer.remove(hashed, &found, 0).map(|()| true),
            None => Ok(false),
        })
        .unwrap()
}

fn get(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    store.get(store.hashed(key), None, &mut value).unwrap().map(|_| value)
}

fn assert_same(store: &Store, model: &HashMap<Vec<u8>, Vec<u8>>) {
    for (key, value) in model {
        assert_eq!(get(store, key).as_ref(), Some(value));
    }
    let mut scan = store.scan();
    let mut item = Item::default();
    let mut seen = 0;
    while scan.next(store, &mut item).unwrap() {
        assert_eq!(model.get(&item.key), Some(&item.value));
        seen += 1;
    }
    assert_eq!(seen, model.len());
    assert_eq!(store.state().len, model.len() as u64);
    let findings = store.check(PATIENCE).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn random_operations_agree_with_a_map() {
    for (limit, longest) in [(200_000, 300), (1 << 30, 3000)] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path(), limit);
        let mut model: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        let mut seed = 7u64;
        let mut next = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            seed >> 33
        };
        for step in 0..30_000u64 {
            let key = (next() % 700).to_be_bytes().to_vec();
            match next() % 10 {
                0..6 => {
                    let value = vec![step as u8; (next() % longest) as usize];
                    put(&store, &key, &value);
                    model.insert(key, value);
                }
                6..9 => assert_eq!(remove(&store, &key), model.remove(&key).is_some()),
                _ => assert_eq!(get(&store, &key), model.get(&key).cloned()),
            }
            if step % 5000 == 4999 {
                assert_same(&store, &model);
                match step / 5000 % 3 {
                    0 => {
                        drop(store);
                        store = open(dir.path(), limit);
                    }
                    1 => store.compact(PATIENCE).unwrap(),
                    _ => assert!(store.repair(PATIENCE).unwrap().is_empty()),
                }
                assert_same(&store, &model);
            }
        }
        let state = store.state();
        assert!(8 * state.log_units <= state.live_bytes * 3 / 2 + 3 * 65536, "{state:?}");
        let count = store.write(PATIENCE, |writer| writer.clear()).unwrap();
        assert_eq!(count, model.len() as u64);
        assert_same(&store, &HashMap::new());
        put(&store, b"after", b"clear");
        assert_eq!(get(&store, b"after").unwrap(), b"clear");
    }
}

#[test]
fn many_keys_grow_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    let mut model = HashMap::new();
    for number in 0..20_000u32 {
        let key = number.to_be_bytes().to_vec();
        put(&store, &key, &key);
        model.insert(key.clone(), key);
    }
    assert!(store.state().geometry.buckets() > 4000);
    assert_same(&store, &model);
    for number in (0..20_000u32).filter(|number| number % 16 != 0) {
        assert!(remove(&store, &number.to_be_bytes()));
        model.remove(number.to_be_bytes().as_slice());
    }
    assert_same(&store, &model);
    assert!(store.state().listed_pages < 100, "{}", store.state().listed_pages);
    assert_eq!(store.repair(PATIENCE).unwrap(), []);
    assert_same(&store, &model);
}

#[test]
fn transactions_commit_and_roll_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1 << 30);
    put(&store, b"a", b"1");
    put(&store, b"b", b"2");
    let open = store.begin(PATIENCE).unwrap();
    put(&store, b"a", b"10");
    put(&store, b"c", b"30");
    assert!(remove(&store, b"b"));
    assert_eq!(get(&store, b"a").unwrap(), b"1", "readers see the old state");
    drop(open);
    assert_eq!(store.state().len, 2);
    let open = store.begin(PATIENCE).unwrap();
    put(&store, b"a", b"10");
    for number in 0..3000u32 {
        put(&store, &number.to_be_bytes(), b"many");
    }
    assert!(remove(&store, b"b"));
    put(&store, b"b", b"last");
    open.commit().unwrap();
    let mut model: HashMap<_, _> =
        (0..3000u32).map(|number| (number.to_be_bytes().to_vec(), b"many".to_vec())).collect();
    model.insert(b"a".to_vec(), b"10".to_vec());
    model.insert(b"b".to_vec(), b"last".to_vec());
    assert_same(&store, &model);
    assert_eq!(store.repair(PATIENCE).unwrap(), []);
    assert_same(&store, &model);
}
