//! Caches and the like that lie under the directory of a fanout cache.
//!
//! `cache/a/b` is the cache `a/b`. As `cache/a` can be one, too, and has its files there, the later
//! parts of a name are not to be called like one of those.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::deque::{Deque, DequeOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::fanout::FanoutCache;
use crate::format::from_key::FromKey;
use crate::format::key_buf::ToKey;
use crate::index::Index;
use crate::index::options::IndexOptions;

/// # Under the same directory
///
/// These have their own settings and their own size limit. They use codec, clock and durability of
/// this handle, and wait for a lock as long as its operations on all shards do. A name is one part
/// or several with `/` between them; no part may be empty, `.` or `..`, and no part but the first
/// may be called like a file of a cache (`head`, `values`, `procs`, `holds`, `log.1`).
impl FanoutCache {
    /// Opens the [`Cache`] of that name, in `cache/<name>`, making it if need be.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Setting`] for what cannot be a name. Also as [`Options::open`](crate::Options::open).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// let pages = cache.cache("pages")?;
    /// pages.set("home", "<html>")?;
    /// assert_eq!((cache.len()?, cache.cache("pages")?.len()?), (0, 1));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn cache(&self, name: &str) -> Result<Cache> {
        self.0.options.clone().open(self.place("cache", name)?)
    }

    /// Opens the [`Index`] of that name, in `index/<name>`, making it if need be.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Setting`] for what cannot be a name. Also as [`Options::open`](crate::Options::open).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// let scores = cache.index::<String, u32>("scores")?;
    /// scores.insert(&"ann".to_owned(), &3)?;
    /// assert_eq!(cache.index::<String, u32>("scores")?.get("ann")?, Some(3));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn index<K, V>(&self, name: &str) -> Result<Index<K, V>>
    where
        K: ToKey + FromKey,
        V: Serialize + DeserializeOwned,
    {
        IndexOptions::new(self.0.options.clone()).open(self.place("index", name)?)
    }

    /// Opens the [`Deque`] of that name, in `deque/<name>`, making it if need be.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Setting`] for what cannot be a name. Also as [`Options::open`](crate::Options::open).
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.deque::<String>("tasks")?.push_back(&"sweep".to_owned())?;
    /// assert_eq!(cache.deque("tasks")?.pop_front()?, Some("sweep".to_owned()));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn deque<T>(&self, name: &str) -> Result<Deque<T>> {
        DequeOptions::of(self.0.options.clone()).open(self.place("deque", name)?)
    }

    /// The directory of what is called `name` among its kind.
    fn place(&self, kind: &str, name: &str) -> Result<PathBuf> {
        if let Some(why) = problem(name) {
            let why = format!("{name:?} cannot be a name: {why}; use letters, digits and `/`");
            return Err(Error::new(ErrorKind::Setting, why).at(self.directory()));
        }
        Ok(self.directory().join(kind).join(name))
    }
}

/// Why this cannot be a name.
fn problem(name: &str) -> Option<&'static str> {
    for (position, part) in name.split('/').enumerate() {
        match part {
            "" => return Some("it has an empty part"),
            "." | ".." => return Some("it leads elsewhere"),
            _ if part.contains('\0') => return Some("it has a zero in it"),
            _ if position > 0 && is_taken(part) => return Some("a cache has a file of that name"),
            _ => {}
        }
    }
    None
}

/// Whether a cache can have a file called so.
fn is_taken(part: &str) -> bool {
    let start = part.split('.').next().unwrap_or_default();
    ["head", "log", "table", "overflow", "entries", "values", "procs", "holds"].contains(&start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_their_directory() {
        for good in ["a", "a/b", "über/alles", "values", "a.b", "..a", "a/..b", "head/logs"] {
            assert_eq!(problem(good), None, "{good}");
        }
        let bad = ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0"];
        for bad in bad.into_iter().chain(["a/head", "a/values", "a/values/b", "a/holds", "a/log.1"])
        {
            assert!(problem(bad).is_some(), "{bad:?}");
        }
    }
}
