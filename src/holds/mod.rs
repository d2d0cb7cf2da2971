//! Holds: names that one thread at a time has, or a few, across processes; and the queue for them.
//!
//! A hold is what locks, semaphores and "computed once" are made of. It is a record in a small store
//! of its own, in the directory `holds` inside that of the cache, opened at the first use:
//!
//! ```text
//! <cache>/holds/   name -> who holds it, who waits for it                    (record)
//!
//! acquire   one write: free and nobody waits? mine. Else to the end of the queue        (queue)
//!           then look, and sleep on a bell, until the record says "yours"
//! release   one write: to the first in the queue; ring its bell. Nobody left? no record
//! death     who sleeps in vain asks whether those before it live, and takes out the dead
//! ```
//!
//! A store of its own, because a hold is not of the cache: it is in no iteration and no count,
//! nothing evicts it, no transaction rolls it back, and it can be taken while a transaction is open,
//! in this thread or in another process. Its writer lock is the last in the order: whoever has it
//! waits for nothing else.
//!
//! What cannot be given back, for want of descriptors say, is owed, and given back later       (owed)
//!
//! Invariants: a name goes from hand to hand in the order of the queue. A hold ends by its release,
//! or with its process; the end of a thread does not end it. In the child of a fork the parent's
//! holds are the parent's still, and giving them back there does nothing.
//!
//! `cache` computes values once with it, `recipes` makes locks of it.

pub(crate) mod owed;
pub(crate) mod queue;
pub(crate) mod record;
pub(crate) mod turns;

use std::io;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::format::settings::{Eviction, PowerLoss, Settings};
use crate::holds::owed::Debt;
use crate::store::Store;
use crate::store::open::OpenOptions;
use crate::sys::file::{Dir, on_disk};
use crate::sys::fork::ForkLocal;

/// The directory in that of the cache.
const FOLDER: &str = "holds";
/// The file without which there is no store there.
const HEAD: &str = "holds/head";

/// The holds of one cache.
pub(crate) struct Holds {
    /// That of the cache. It can be renamed, and another one have its path, before anything is held.
    dir: Arc<Dir>,
    allow_network: bool,
    /// Opened at the first use. A child opens its own: the parent may have been in the middle.
    store: ForkLocal<OnceLock<Store>>,
    /// What could not be given back yet. A child owes nothing.
    owed: ForkLocal<Mutex<Vec<Debt>>>,
}

impl Holds {
    /// The holds of the cache in `dir`. Touches nothing yet.
    pub(crate) fn new(dir: Arc<Dir>, allow_network: bool) -> Holds {
        Holds {
            dir,
            allow_network,
            store: ForkLocal::new(OnceLock::new),
            owed: ForkLocal::new(Mutex::default),
        }
    }

    pub(crate) fn store(&self) -> Result<&Store> {
        let store = self.store.get();
        match store.get() {
            Some(open) => Ok(open),
            None => {
                let opened = self.open(true)?;
                Ok(store.get_or_init(|| opened))
            }
        }
    }

    /// The store, if anybody has ever used it: for looking after it.
    pub(crate) fn existing(&self) -> Result<Option<Store>> {
        match self.dir.exists(HEAD) {
            Ok(true) => self.open(false).map(Some),
            _ => Ok(None),
        }
    }

    fn open(&self, create: bool) -> Result<Store> {
        let failed = |source| Error::io("open", &self.dir.join(FOLDER), source);
        let dir = self.dir.below(FOLDER, create).map_err(failed)?;
        Store::open_in(dir, &self.options(create))
    }

    /// Bytes that the store takes on disk. Does not open it.
    pub(crate) fn disk_usage(&self) -> Result<u64> {
        let failed = |source| Error::io("look at", &self.dir.join(FOLDER), source);
        let dir = match self.dir.below(FOLDER, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            dir => dir.map_err(failed)?,
        };
        let names = dir.list("").map_err(failed)?;
        // What is no regular file, or has gone meanwhile, takes nothing.
        let files = names.iter().filter_map(|name| dir.file(name, false).ok());
        files.map(|file| on_disk(&file).map_err(failed)).sum()
    }

    fn options(&self, create: bool) -> OpenOptions {
        let settings = Settings {
            eviction: Eviction::None,
            // Everybody who held or waited is dead then.
            power_loss: PowerLoss::Clear,
            ..Settings::default()
        };
        let allow_network = self.allow_network;
        OpenOptions { create, read_only: false, allow_network, settings: Some(settings) }
    }
}

#[cfg(test)]
mod tests;
