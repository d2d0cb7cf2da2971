//! The work that is cut short: random operations on a cache, and what it holds after each of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use firncache::{Cache, Durability, Options};
use rustix::fs::{Advice, fadvise};

use crate::disk::{Event, Shared};

pub const KEYS: u64 = 300;

pub type Model = BTreeMap<u64, Vec<u8>>;

/// Small random numbers (a linear congruence), the same for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

fn options() -> Options {
    Cache::options().size_limit(1 << 20).value_file_threshold(3000).cull_limit(0)
}

pub fn open(directory: &Path) -> Cache {
    options().open(directory).unwrap()
}

fn value(random: &mut Random, step: usize) -> Vec<u8> {
    let len = if random.below(25) == 0 { 3000 + random.below(9000) } else { random.below(300) };
    vec![step as u8; len as usize]
}

/// Does `count` operations; what the cache holds after each, and before the first.
pub fn work(directory: &Path, count: usize, random: &mut Random, record: &Shared) -> Vec<Model> {
    let note = |event| record.lock().unwrap().events.push(event);
    let cache = open(directory);
    let durable = options().durability(Durability::Sync).open(directory).unwrap();
    let mut models = vec![Model::new()];
    for step in 1..=count {
        let mut model = models[step - 1].clone();
        note(Event::Begun(step));
        let mut is_promised = false;
        match random.below(100) {
            0..3 => {
                cache.sync().unwrap();
                is_promised = true;
            }
            3..8 => {
                let (key, value) = (random.below(KEYS), value(random, step));
                durable.set_bytes(key, &value).unwrap();
                model.insert(key, value);
                is_promised = true;
            }
            8..9 => cache.compact().unwrap(),
            9 if random.below(4) == 0 => {
                cache.clear().unwrap();
                model.clear();
            }
            10..16 => cache
                .transact(|tx| {
                    for _ in 0..1 + random.below(20) {
                        let (key, value) = (random.below(KEYS), value(random, step));
                        tx.set_bytes(key, &value)?;
                        model.insert(key, value);
                    }
                    Ok::<_, firncache::Error>(())
                })
                .unwrap(),
            16..35 => {
                let key = random.below(KEYS);
                cache.delete(key).unwrap();
                model.remove(&key);
            }
            _ => {
                let (key, value) = (random.below(KEYS), value(random, step));
                cache.set_bytes(key, &value).unwrap();
                model.insert(key, value);
            }
        }
        note(Event::Done(step, is_promised));
        models.push(model);
        if random.below(10) == 0 {
            write_back(directory, random);
        }
    }
    models
}

/// Has the kernel write some files to disk that nobody waits for, as it does when it likes.
fn write_back(directory: &Path, random: &mut Random) {
    for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
        if random.below(3) == 0
            && let Ok(file) = File::open(entry.path())
        {
            // Of what is dirty, writing is begun; that is all.
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
        }
    }
}

/// What a cache holds, as far as it can be asked for.
pub fn contents(cache: &Cache) -> Model {
    let found = (0..KEYS).filter_map(|key| Some((key, cache.get_bytes(key).unwrap()?)));
    let model: Model = found.collect();
    assert_eq!(model.len(), cache.len().unwrap() as usize, "keys that nobody has stored");
    model
}
