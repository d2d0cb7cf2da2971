//! The operations that victims are killed in.

use std::path::Path;
use std::time::{Duration, SystemTime};

use firncache::recipes::Lock;
use firncache::{Cache, Error, PushOptions, QueueOptions, SetOptions, Side};

use crate::contents::{Contents, contents};
use crate::{open, place};

type Result<T> = std::result::Result<T, Error>;

/// Whether a call that is cut short has happened or not, or may have happened in part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    Whole,
    Parts,
    /// Keys may have gone, nobody knows which.
    Removals,
}

/// What there is when the victim comes to its calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// The cache is prepared, and the victim has it open.
    Open,
    /// The same, and the victim has written to it.
    Warm,
    /// The cache is prepared, and opening it is the victim's first call.
    Opening,
    /// There is no directory yet. Opening is the first call.
    New,
}

pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) start: Start,
    pub(crate) reach: Reach,
    pub(crate) prepare: fn(&Cache),
    pub(crate) calls: usize,
    pub(crate) call: fn(&Cache, usize) -> Result<()>,
    /// It makes other calls of the system from run to run, as hashes or random names decide.
    pub(crate) varies: bool,
    /// What must be possible afterwards, beyond what every cache must be.
    pub(crate) then: fn(&Cache),
}

impl Operation {
    const fn new(name: &'static str, call: fn(&Cache, usize) -> Result<()>) -> Operation {
        let (start, reach) = (Start::Open, Reach::Whole);
        let (prepare, then) = (some, |_: &Cache| {});
        Operation { name, start, reach, prepare, calls: 1, call, varies: false, then }
    }

    const fn in_parts(mut self) -> Operation {
        self.reach = Reach::Parts;
        self
    }

    const fn by_chance(mut self) -> Operation {
        self.reach = Reach::Removals;
        self
    }

    const fn that_varies(mut self) -> Operation {
        self.varies = true;
        self
    }

    const fn times(mut self, calls: usize) -> Operation {
        self.calls = calls;
        self
    }

    const fn after(mut self, prepare: fn(&Cache)) -> Operation {
        self.prepare = prepare;
        self
    }

    const fn from(mut self, start: Start) -> Operation {
        self.start = start;
        self
    }

    const fn and_then(mut self, then: fn(&Cache)) -> Operation {
        self.then = then;
        self
    }

    /// Whether opening the cache is the first of the victim's calls.
    pub(crate) fn opens(&self) -> bool {
        matches!(self.start, Start::Opening | Start::New)
    }

    /// What the cache holds after each number of calls that were acknowledged to the victim, found
    /// out by doing them undisturbed.
    pub(crate) fn states(&self) -> Vec<Contents> {
        let (_place, directory) = place();
        let cache = open(&directory);
        if self.start != Start::New {
            (self.prepare)(&cache);
        }
        let mut states = vec![contents(&cache)];
        if self.opens() {
            states.push(contents(&cache));
        }
        for call in 0..self.calls {
            (self.call)(&cache, call).unwrap();
            states.push(contents(&cache));
        }
        states
    }

    /// Prepares a cache for it in place, and leaves it open unless there is to be none yet.
    pub(crate) fn prepared(&self, directory: &Path) -> Option<Cache> {
        (self.start != Start::New).then(|| {
            let cache = open(directory);
            (self.prepare)(&cache);
            cache
        })
    }

    /// The one with this name.
    pub(crate) fn named(name: &str) -> &'static Operation {
        ALL.iter().find(|it| it.name == name).expect("an operation of this name")
    }
}

/// A few keys of each kind.
fn some(cache: &Cache) {
    for key in 0..12 {
        cache.set_bytes(key, &[key as u8; 60]).unwrap();
    }
    cache.set("warm", &0).unwrap();
    cache.set("count", &41).unwrap();
    cache.set_bytes("large", &[1; 4000]).unwrap();
    for item in 0..3 {
        cache.push_with(&item, PushOptions::new().prefix("q")).unwrap();
    }
}

/// One key less than makes the table grow; the first bucket count holds 256.
fn full_table(cache: &Cache) {
    for key in 0..250 {
        cache.set_bytes(key, &[]).unwrap();
    }
}

/// Many dead records, and some live ones between them.
fn worn(cache: &Cache) {
    some(cache);
    for round in 0..25_u8 {
        for key in 0..12 {
            cache.set_bytes(key, &[round; 60]).unwrap();
        }
    }
}

fn expired(cache: &Cache) {
    some(cache);
    let past = SetOptions::new().expire_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    for key in 100..130 {
        cache.set_bytes_with(key, b"old", past.clone()).unwrap();
    }
}

fn tagged(cache: &Cache) {
    some(cache);
    for key in 100..130 {
        cache.set_bytes_with(key, b"tagged", SetOptions::new().tag("t")).unwrap();
    }
}

fn crowded(cache: &Cache) {
    for key in 0..200 {
        cache.set_bytes(key, &[key as u8; 1000]).unwrap();
    }
    cache.update_settings(|settings| settings.size_limit = 1 << 16).unwrap();
}

fn transaction(cache: &Cache, _: usize) -> Result<()> {
    cache.transact(|tx| {
        (0..4).try_for_each(|key| tx.set_bytes(key, b"changed"))?;
        (20..24).try_for_each(|key| tx.set_bytes(key, b"new"))?;
        tx.delete(5)?;
        tx.delete(6)?;
        tx.set_bytes(6, b"again")?;
        tx.set_bytes("large", &[2; 3000])?;
        tx.incr("count", 1).map(drop)
    })
}

fn q() -> QueueOptions {
    QueueOptions::new().prefix("q")
}

pub(crate) const ALL: &[Operation] = &[
    Operation::new("put", |cache, _| cache.set_bytes("new", &[9; 100])),
    Operation::new("overwrite", |cache, _| cache.set_bytes(3, &[9; 100])),
    Operation::new("delete", |cache, _| cache.delete(3).map(drop)),
    Operation::new("incr", |cache, _| cache.incr("count", 1).map(drop)),
    Operation::new("touch", |cache, _| cache.touch(3, None).map(drop)),
    Operation::new("pop", |cache, _| cache.pop::<i64>("count").map(drop)),
    Operation::new("push", |cache, _| {
        cache.push_with(&7, PushOptions::new().prefix("q")).map(drop)
    }),
    Operation::new("push to the front", |cache, _| {
        cache.push_with(&7, PushOptions::new().prefix("q").side(Side::Front)).map(drop)
    }),
    Operation::new("first push", |cache, _| cache.push(&7).map(drop)),
    Operation::new("pull", |cache, _| cache.pull_with::<i64>(q()).map(drop)).times(3),
    Operation::new("transaction", transaction).that_varies(),
    Operation::new("set_many", |cache, _| {
        cache.set_many((0..30).map(|key| (key, key)), SetOptions::new()).map(drop)
    }),
    Operation::new("delete_many", |cache, _| cache.delete_many(0..10).map(drop)),
    Operation::new("large", |cache, _| cache.set_bytes("another", &[3; 5000])).that_varies(),
    Operation::new("large over large", |cache, _| cache.set_bytes("large", &[3; 5000]))
        .that_varies(),
    Operation::new("stream", |cache, _| {
        cache.set_from("large", &[4; 9000][..], SetOptions::new()).map(drop)
    })
    .that_varies(),
    Operation::new("delete large", |cache, _| cache.delete("large").map(drop)),
    Operation::new("growth", |cache, call| cache.set_bytes(1000 + call, &[]))
        .after(full_table)
        .times(20)
        .that_varies(),
    Operation::new("segments", |cache, call| cache.set_bytes(call % 7, &[call as u8; 700]))
        .times(40),
    Operation::new("compact", |cache, _| cache.compact()).after(worn),
    Operation::new("expire", |cache, _| cache.expire().map(drop)).after(expired).in_parts(),
    Operation::new("evict", |cache, _| cache.evict("t").map(drop)).after(tagged).in_parts(),
    Operation::new("cull", |cache, _| cache.cull().map(drop))
        .after(crowded)
        .by_chance()
        .that_varies(),
    Operation::new("clear", |cache, _| cache.clear().map(drop)).in_parts(),
    Operation::new("settings", |cache, _| {
        cache.update_settings(|settings| settings.size_limit = 1 << 19)
    }),
    Operation::new("sync", |cache, _| {
        cache.set_bytes("another", &[3; 5000])?;
        cache.sync()
    })
    .in_parts()
    .that_varies(),
    Operation::new("repair", |cache, _| cache.repair().map(drop)),
    Operation::new("close", |cache, call| match call {
        0 => cache.set_bytes("new", b"last"),
        _ => cache.clone().close(),
    })
    .times(2),
    Operation::new("lock", |cache, _| {
        let lock = Lock::new(cache, "lock");
        let guard = lock.acquire()?;
        cache.set_bytes("new", b"locked")?;
        drop(guard);
        Ok(())
    })
    .in_parts()
    .and_then(|cache| {
        let lock = Lock::new(cache, "lock");
        drop(lock.acquire_timeout(Duration::from_secs(10)).unwrap().expect("a lock of nobody"));
    }),
    Operation::new("compute once", |cache, _| {
        cache.get_or_set_with("sum", SetOptions::new(), || Ok::<i64, Error>(7)).map(drop)
    }),
    Operation::new("open", |cache, _| cache.set_bytes("new", b"v")).from(Start::Opening),
    Operation::new("open a new one", |cache, _| cache.set_bytes("new", b"v")).from(Start::New),
    Operation::new("warm delete", |cache, _| cache.delete(3).map(drop)).from(Start::Warm),
    Operation::new("warm pull", |cache, _| cache.pull_with::<i64>(q()).map(drop)).from(Start::Warm),
    Operation::new("warm put", |cache, _| cache.set_bytes("new", &[9; 100])).from(Start::Warm),
    Operation::new("warm transaction", |cache, _| {
        cache.transact(|tx| {
            tx.set_bytes(3, b"changed")?;
            tx.set_bytes("new", b"new")?;
            tx.delete(5).map(drop)
        })
    })
    .from(Start::Warm),
];

/// Those of this kind; only one of them, if the environment names it.
pub(crate) fn operations(is_wanted: fn(&Operation) -> bool) -> Vec<&'static Operation> {
    let only = std::env::var("CRASH_ONLY").ok();
    let is_asked = |it: &&Operation| only.as_ref().is_none_or(|only| only == it.name);
    ALL.iter().filter(|it| is_wanted(it)).filter(is_asked).collect()
}
