//! Four stores of at most 64 KiB, each with other things in it, for the trials that try all there is.

use std::time::Duration;

use firncache::{Cache, Eviction, Key, Options, PushOptions, QueueOptions, SetOptions, Side};

use crate::sample::{Model, Sample, Value, note, store};

/// The most bytes of all files of a shape together.
const MOST_BYTES: usize = 64 << 10;

pub(crate) struct Shape {
    pub(crate) name: &'static str,
    make: fn() -> Sample,
}

pub(crate) const PLAIN: Shape = Shape { name: "plain", make: plain };
pub(crate) const QUEUES: Shape = Shape { name: "queues", make: queues };
pub(crate) const LARGE: Shape = Shape { name: "large", make: large };
pub(crate) const WORN: Shape = Shape { name: "worn", make: worn };

impl Shape {
    pub(crate) fn sample(&self) -> Sample {
        let sample = (self.make)();
        let bytes: usize = sample.files.values().map(Vec::len).sum();
        assert!(bytes <= MOST_BYTES, "{} has {bytes} bytes", self.name);
        sample
    }
}

/// Segments of 8 KiB, the smallest there are.
fn tiny(options: Options) -> Options {
    options.size_limit(256 << 10).eviction(Eviction::None)
}

fn text(what: &str, number: usize) -> Value {
    Value::Text(format!("{what} {number} ").repeat(1 + number % 4))
}

fn large_value(what: &str, number: usize) -> Value {
    Value::Text(format!("{what} {number} ").repeat(60 + number * 7))
}

/// Keys and values of every native kind, an update, a removal, a tag, an expiry.
fn plain() -> Sample {
    Sample::of(tiny, |cache, model| {
        for number in 0..30 {
            store(cache, model, Key::from(("many", number as i64)), text("plain", number));
            store(cache, model, Key::from(number as i64), Value::Int(7 << number));
        }
        for (key, value) in [
            (Key::Null, Value::Null),
            (Key::from(true), Value::Bool(false)),
            (Key::from(0.1), Value::Float(0.5)),
            (Key::from(vec![1, 0, 2]), Value::Bytes(vec![0; 40])),
            (Key::from("overwritten"), text("old", 1)),
            (Key::from("overwritten"), text("new", 2)),
            (Key::from("deleted"), Value::Int(1)),
        ] {
            store(cache, model, key, value);
        }
        cache.delete("deleted").unwrap();
        note(model, Key::from("deleted"), None);
        let hour = SetOptions::new().tag("tag").expire(Duration::from_secs(3600));
        cache.set_with("tagged", "for an hour", hour).unwrap();
        note(model, Key::from("tagged"), Some(Value::Text("for an hour".to_owned())));
        cache.set_with("expired", &7, SetOptions::new().expire(Duration::from_secs(1))).unwrap();
        note(model, Key::from("expired"), None);
    })
}

/// Transactions, committed and rolled back, and queues with both ends in use.
fn queues() -> Sample {
    Sample::of(tiny, |cache, model| {
        for round in 0..3_i64 {
            let done: firncache::Result<()> = cache.transact(|tx| {
                for number in 0..8 {
                    tx.set(("both", number), &(10 * round + number))?;
                }
                if round == 1 {
                    tx.delete(("both", 3))?;
                }
                Ok(())
            });
            done.unwrap();
            for number in 0..8 {
                let value = (round != 1 || number != 3).then_some(Value::Int(10 * round + number));
                note(model, Key::from(("both", number)), value);
            }
        }
        let begun = cache.begin().unwrap();
        begun.set(("both", 0), &99).unwrap();
        drop(begun);
        for prefix in [None, Some("jobs")] {
            push_and_pull(cache, model, prefix);
        }
    })
}

fn push_and_pull(cache: &Cache, model: &mut Model, prefix: Option<&str>) {
    let prefixed = |options: QueueOptions| match prefix {
        Some(prefix) => options.prefix(prefix),
        None => options,
    };
    for number in 0..14 {
        let side = if number % 3 == 0 { Side::Front } else { Side::Back };
        let options = prefix.map_or(PushOptions::new(), |it| PushOptions::new().prefix(it));
        let key = cache.push_with(&Value::Int(number), options.side(side)).unwrap();
        note(model, key, Some(Value::Int(number)));
        if number % 4 == 3 {
            let options = prefixed(QueueOptions::new()).side(side);
            let (key, _) = cache.pull_with::<Value>(options).unwrap().unwrap();
            note(model, key, None);
        }
    }
}

/// Values in files of their own, some replaced, some deleted, some that became small.
fn large() -> Sample {
    let options = |options: Options| tiny(options).value_file_threshold(500);
    Sample::of(options, |cache, model| {
        for number in 0..10 {
            let key = Key::from(("large", number as i64));
            store(cache, model, key.clone(), large_value("first", number));
            match number % 5 {
                0 => store(cache, model, key, large_value("second", number)),
                1 => store(cache, model, key, text("small", number)),
                2 => {
                    cache.delete(&key).unwrap();
                    note(model, key, None);
                }
                _ => {}
            }
        }
    })
}

/// Cleared, filled again, half emptied, compacted: a table of a later generation, segments that were
/// drained and used again.
fn worn() -> Sample {
    Sample::of(tiny, |cache, model| {
        let put = |model: &mut Model, number: usize, what: &str| {
            store(cache, model, Key::from(("worn", number as i64)), text(what, number));
        };
        for number in 0..40 {
            put(model, number, "cleared");
        }
        cache.clear().unwrap();
        for number in 0..40 {
            note(model, Key::from(("worn", number as i64)), None);
        }
        for round in 0..12 {
            for number in 0..30 {
                put(model, number, ["again", "and again"][round % 2]);
            }
        }
        for number in (0..30).step_by(2) {
            let key = Key::from(("worn", number as i64));
            cache.delete(&key).unwrap();
            note(model, key, None);
        }
        cache.compact().unwrap();
        put(model, 41, "after all");
    })
}
