//! The crawl as it is kept on disk, and the steps by which it goes on.
//!
//! ```text
//! frontier/   a Deque of the paths that wait; in the same cache, for the sake of transactions:
//!                ("seen", path)    put there by whoever finds a path first
//!                ("hand", worker)  the path that a worker has in hand
//!                ("again", path)   how often it was taken out of a dead worker's hand
//!                "workers"         the number of the worker that came last
//!                "site"            how many pages there are
//! pages/      an Index: path -> Page
//! requests/   the web server's own count of requests: path -> number
//!
//!          add "seen"            take                keep                      finish
//! a link ------------> waiting ---------> in hand --------> in hand, stored ------------> stored
//!                         ^                   |                    |
//!                         '-------------------'--------------------'
//!                             take_back, where the worker is dead
//! ```
//!
//! Every arrow is one write, or one transaction: a kill leaves a path before or behind it, and
//! nowhere else. `keep` and `finish` are two, as two directories have no transaction in common: so
//! what is stored comes first, and whoever finds a page stored only has to finish it.

use std::path::Path;

use firncache::recipes::{Guard, Lock};
use firncache::{Cache, Deque, Index, Result};

use crate::site::{HOME, Page};

pub(crate) struct Crawl {
    frontier: Deque<String>,
    pub(crate) pages: Index<String, Page>,
    pub(crate) requests: Cache,
}

/// A worker that lives.
pub(crate) struct Life {
    pub(crate) worker: u64,
    _alive: Guard,
}

impl Crawl {
    pub(crate) fn open(directory: &Path) -> Result<Crawl> {
        Ok(Crawl {
            frontier: Deque::open(directory.join("frontier"))?,
            pages: Index::open(directory.join("pages"))?,
            requests: Cache::open(directory.join("requests"))?,
        })
    }

    /// The cache of which the deque is made. What is not a numbered item is none of the deque's.
    pub(crate) fn cache(&self) -> &Cache {
        self.frontier.cache()
    }

    /// Forgets all, and begins at the home page.
    pub(crate) fn begin(&self, pages: u64) -> Result<()> {
        self.pages.clear()?;
        self.requests.clear()?;
        self.cache().transact(|cache| {
            cache.clear()?;
            cache.set("site", &pages)?;
            self.find(HOME)
        })
    }

    pub(crate) fn pages_of_site(&self) -> Result<Option<u64>> {
        self.cache().get("site")
    }

    /// Gives a worker its number, and takes a lock that it holds as long as it lives: the kernel
    /// gives it back when the process ends, by whatever.
    pub(crate) fn enlist(&self) -> Result<Life> {
        let worker = self.cache().incr("workers", 1)?.unsigned_abs();
        Ok(Life { worker, _alive: self.life(worker).acquire()? })
    }

    fn life(&self, worker: u64) -> Lock {
        Lock::new(self.cache(), ("alive", worker))
    }

    /// Within a transaction: puts a path into the frontier, if nobody has ever done so.
    fn find(&self, path: &str) -> Result<()> {
        match self.cache().add(("seen", path), &())? {
            true => self.frontier.push_back(&path.to_owned()),
            false => Ok(()),
        }
    }

    /// Moves a path from the frontier into the hand of a worker.
    pub(crate) fn take(&self, life: &Life) -> Result<Option<String>> {
        // Reading needs no lock, so those who have nothing to do are in nobody's way.
        if self.frontier.front()?.is_none() {
            return Ok(None);
        }
        self.frontier.transact(|frontier| {
            let Some(path) = frontier.pop_front()? else { return Ok(None) };
            self.cache().set(("hand", life.worker), &path)?;
            Ok(Some(path))
        })
    }

    /// Stores a page; false if it was there already.
    pub(crate) fn keep(&self, path: &str, page: &Page) -> Result<bool> {
        self.pages.cache().add(path, page)
    }

    /// Puts the links of a page that is stored into the frontier, and empties the worker's hand.
    pub(crate) fn finish(&self, life: &Life, page: &Page) -> Result<()> {
        self.cache().transact(|cache| {
            page.links.iter().try_for_each(|link| self.find(link))?;
            cache.delete(("hand", life.worker)).map(|_| ())
        })
    }

    /// Puts what dead workers had in hand back into the frontier.
    pub(crate) fn take_back(&self) -> Result<()> {
        for (worker, _) in self.hands()? {
            // Whoever gets the lock knows that its holder is dead, and is alone with what it left.
            let Some(_lock) = self.life(worker).try_acquire()? else { continue };
            self.cache().transact(|cache| {
                let Some(path) = cache.pop::<String>(("hand", worker))? else { return Ok(()) };
                cache.incr(("again", path.as_str()), 1)?;
                self.frontier.push_front(&path)
            })?;
        }
        Ok(())
    }

    /// Who has which path in hand, the dead included.
    pub(crate) fn hands(&self) -> Result<Vec<(u64, String)>> {
        let workers = 1..=self.cache().get("workers")?.unwrap_or(0);
        let hands = self.cache().get_many(workers.clone().map(|worker| ("hand", worker)))?;
        Ok(workers.zip(hands).filter_map(|(worker, path)| Some((worker, path?))).collect())
    }

    /// Whether nothing waits and nobody has anything in hand, from which more could come.
    pub(crate) fn is_over(&self) -> Result<bool> {
        // Both at one instant: `finish` moves from here to there.
        self.frontier
            .transact(|frontier| Ok(frontier.front()?.is_none() && self.hands()?.is_empty()))
    }

    pub(crate) fn waiting(&self) -> Result<Vec<String>> {
        self.frontier.iter().collect()
    }

    /// How often a path was taken out of a dead worker's hand.
    pub(crate) fn times_taken_back(&self, path: &str) -> Result<u64> {
        Ok(self.cache().get(("again", path))?.unwrap_or(0))
    }

    /// Whether a path was ever found.
    pub(crate) fn has_seen(&self, path: &str) -> Result<bool> {
        self.cache().contains(("seen", path))
    }
}
