//! A small store with everything in it, and its bytes, to be put back after each trial.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use firncache::{Cache, Key, Options, SetOptions};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};
use tempfile::TempDir;

/// When the sample was stored, in milliseconds.
const STORED_MS: u64 = 1_800_000_000_000;
/// When it is looked at.
const LOOKED_MS: u64 = STORED_MS + 60_000;

/// A value of any native kind.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

struct AnyNative;

impl Visitor<'_> for AnyNative {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a native value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(value.to_vec()))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(AnyNative)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(value) => serializer.serialize_str(value),
            Value::Bytes(value) => serializer.serialize_bytes(value),
        }
    }
}

/// What reading a key may give. `current` is right; `earlier` are values that the key once had.
#[derive(Clone, Default, Debug)]
pub(crate) struct Known {
    pub(crate) current: Option<Value>,
    pub(crate) earlier: Vec<Value>,
}

pub(crate) type Model = BTreeMap<Key, Known>;

/// What is known of a store, and the bytes of all its files.
pub(crate) struct Sample {
    _dir: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) model: Model,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

pub(crate) fn at(ms: u64) -> impl Fn() -> SystemTime + Send + Sync + 'static {
    move || SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

/// As trials open it. The lock may be held by a number that nobody has.
pub(crate) fn options() -> Options {
    Cache::options().clock(at(LOOKED_MS)).timeout(Duration::from_secs(5))
}

impl Sample {
    /// One segment, one page: what the head, the table and the entries say can be tried bit by bit.
    pub(crate) fn small() -> Sample {
        Sample::new(1 << 30, 24, 0)
    }

    /// Segments of 8 KiB, several of them, partly drained; two pages, tables that have grown.
    pub(crate) fn grown() -> Sample {
        Sample::new(256 << 10, 96, 400)
    }

    fn new(size_limit: u64, keys: i64, overwrites: i64) -> Sample {
        let options = |options: Options| options.size_limit(size_limit).value_file_threshold(1000);
        Sample::of(options, |cache, model| {
            fill(cache, model, keys);
            for round in 0..overwrites {
                let key = Key::from(("many", round % (keys / 3)));
                store(cache, model, key, Value::Text(format!("round {round:50}")));
            }
        })
    }

    /// A store with these options, filled, synced and closed.
    pub(crate) fn of(
        with: impl FnOnce(Options) -> Options,
        fill: impl FnOnce(&Cache, &mut Model),
    ) -> Sample {
        let dir = place();
        let path = dir.path().join("cache");
        let cache = with(Cache::options().clock(at(STORED_MS))).open(&path).unwrap();
        let mut model = Model::new();
        fill(&cache, &mut model);
        cache.sync().unwrap();
        assert!(cache.check().unwrap().is_clean());
        cache.sync().unwrap();
        drop(cache);
        let mut files = BTreeMap::new();
        for name in list(&path) {
            files.insert(name.clone(), fs::read(path.join(&name)).unwrap());
        }
        Sample { _dir: dir, path, model, files }
    }

    /// Makes all files what they were. Nothing may have the store open.
    pub(crate) fn restore(&self) {
        for name in list(&self.path) {
            if !self.files.contains_key(&name) {
                remove(&self.path.join(name));
            }
        }
        for (name, bytes) in &self.files {
            self.write(name, bytes);
        }
    }

    /// Gives one file these bytes.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path.join(name);
        let is_file = path.symlink_metadata().is_ok_and(|it| it.file_type().is_file());
        if !is_file {
            remove(&path);
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).mode(0o600).open(&path).unwrap();
        file.write_all(bytes).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
    }
}

/// A directory in memory, where there is one: a trial waits for no disk.
pub(crate) fn place() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Removes whatever is there, if anything is.
pub(crate) fn remove(path: &Path) {
    match path.symlink_metadata() {
        Ok(it) if it.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

/// The names of all files below a directory, and of all else that is no directory of a store.
pub(crate) fn list(path: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![String::new()];
    while let Some(below) = waiting.pop() {
        for entry in fs::read_dir(path.join(&below)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{below}{}", entry.file_name().into_string().unwrap());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                waiting.push(format!("{name}/"));
            }
            if kind.is_file() || kind.is_symlink() || kind.is_fifo() {
                found.insert(name);
            }
        }
    }
    found
}

pub(crate) fn store(cache: &Cache, model: &mut Model, key: Key, value: Value) {
    cache.set(&key, &value).unwrap();
    note(model, key, Some(value));
}

/// Notes that a key has a value now, or none.
pub(crate) fn note(model: &mut Model, key: Key, value: Option<Value>) {
    let known = model.entry(key).or_default();
    let before = std::mem::replace(&mut known.current, value);
    known.earlier.extend(before);
}

fn fill(cache: &Cache, model: &mut Model, keys: i64) {
    for number in 0..keys / 3 {
        let value = Value::Text(format!("value {number} of many").repeat(1 + number as usize % 3));
        store(cache, model, Key::from(("many", number)), value);
        store(cache, model, Key::from(number), Value::Int(number * 1_000_003));
        store(cache, model, Key::from(vec![number as u8; 3]), Value::Bytes(vec![number as u8; 9]));
    }
    store(cache, model, Key::Null, Value::Null);
    store(cache, model, Key::from(true), Value::Bool(false));
    store(cache, model, Key::from(0.1), Value::Float(0.5));
    for text in ["first", "second", "third"] {
        store(cache, model, Key::from("overwritten"), Value::Text(text.to_owned()));
    }
    store(cache, model, Key::from("deleted"), Value::Int(1));
    cache.delete("deleted").unwrap();
    note(model, Key::from("deleted"), None);
    store(cache, model, Key::from("large"), Value::Text("large ".repeat(200)));

    let tagged = SetOptions::new().tag("tag").expire(Duration::from_secs(3600));
    cache.set_with("tagged", "kept for an hour", tagged).unwrap();
    note(model, Key::from("tagged"), Some(Value::Text("kept for an hour".to_owned())));
    // Expired when it is looked at: a value that it must never show again.
    cache.set_with("expired", &7, SetOptions::new().expire(Duration::from_secs(1))).unwrap();
    note(model, Key::from("expired"), None);
    cache
        .transact(|tx| {
            tx.set("both", &1)?;
            tx.set("overwritten", "in a transaction")?;
            tx.set("many of them", &2)
        })
        .unwrap();
    note(model, Key::from("both"), Some(Value::Int(1)));
    note(model, Key::from("overwritten"), Some(Value::Text("in a transaction".to_owned())));
    note(model, Key::from("many of them"), Some(Value::Int(2)));
}
