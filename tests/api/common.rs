//! What the tests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use firncache::{Cache, Error, ErrorKind, Options, Result};
use tempfile::TempDir;

/// A clock that stands still until it is turned.
#[derive(Clone)]
pub(crate) struct Turned(Arc<AtomicU64>);

impl Turned {
    pub(crate) fn new() -> Turned {
        Turned(Arc::new(AtomicU64::new(1_800_000_000_000)))
    }

    pub(crate) fn turn(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn clock(&self) -> impl Fn() -> SystemTime + Send + Sync + 'static {
        let own = self.clone();
        move || own.now()
    }
}

/// A cache in a directory that goes with it.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) cache: Cache,
    pub(crate) time: Turned,
}

impl std::ops::Deref for Fixture {
    type Target = Cache;

    fn deref(&self) -> &Cache {
        &self.cache
    }
}

pub(crate) fn cache_with(options: impl FnOnce(Options) -> Options) -> Fixture {
    let (dir, time) = (tempfile::tempdir().unwrap(), Turned::new());
    let cache =
        options(Cache::options().clock(time.clock())).open(dir.path().join("cache")).unwrap();
    Fixture { dir, cache, time }
}

pub(crate) fn cache() -> Fixture {
    cache_with(|options| options)
}

impl Fixture {
    /// Another handle on the same directory.
    pub(crate) fn again(&self) -> Cache {
        Cache::options().clock(self.time.clock()).open(self.cache.directory()).unwrap()
    }
}

#[track_caller]
pub(crate) fn kind_of<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.map_err(|error: Error| error.kind()).unwrap_err()
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn keys(cache: &Cache) -> Vec<firncache::Key> {
    cache.iter().collect::<Result<_>>().unwrap()
}
