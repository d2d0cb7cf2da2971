//! Removing what is expired, and the short steps in which many keys are removed.

use crate::cache::Cache;
use crate::cache::cull::remove;
use crate::error::Result;
use crate::format::entry::PAGE_ENTRIES;
use crate::format::record::EXPIRED;
use crate::store::Writer;
use crate::store::page_walk::PageCursor;
use crate::store::writer::Found;
use crate::table::pages::{EntryView, Snapshot};

/// The most keys that are removed while the lock is held.
const STEP_KEYS: u64 = 100;
/// The most pages that are read while the lock is held.
const STEP_PAGES: u64 = 64;

impl Cache {
    /// Removes every expired item; gives their number. In short steps: other writers get in
    /// between.
    ///
    /// Reads never return expired items, and writes remove them a few at a time, so that this is
    /// only for getting the space back at once. Whole pages of keys that expire later are skipped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout), whose message says how far it got;
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly).
    ///
    /// ```
    /// use std::time::Duration;
    /// use firncache::SetOptions;
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set_with("soon", &1, SetOptions::new().expire(Duration::ZERO))?;
    /// assert_eq!(cache.get::<i32>("soon")?, None);
    /// assert_eq!((cache.len()?, cache.expire()?, cache.len()?), (1, 1, 0));
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn expire(&self) -> Result<u64> {
        let now_ms = self.now_ms();
        let store = &self.0.store;
        if !store.is_in_transaction() && store.state().min_expiry_ms > now_ms {
            return Ok(0);
        }
        self.remove_all(
            EXPIRED,
            |page| page.min_expiry_ms <= now_ms,
            |_, view| Ok(view.deadline.expires_ms() <= now_ms),
            |_, found| Ok(found.header.expires_ms <= now_ms),
        )
    }

    /// Removes all entries that are wanted, in the pages that are: `entry_wanted` decides about
    /// what is in the store, `own_wanted` about what this thread's transaction has put.
    pub(crate) fn remove_all(
        &self,
        flags: u8,
        page_wanted: impl Fn(&Snapshot) -> bool,
        mut entry_wanted: impl FnMut(&Writer<'_>, &EntryView) -> Result<bool>,
        mut own_wanted: impl FnMut(&Writer<'_>, &Found) -> Result<bool>,
    ) -> Result<u64> {
        let mut cursor = PageCursor::default();
        let mut removed = 0;
        loop {
            let start = removed;
            let step = self.0.store.write(self.0.timeout, |writer| {
                for _ in 0..STEP_PAGES {
                    let Some(page) = writer.page_where(&mut cursor, &page_wanted)? else {
                        return Ok(true);
                    };
                    for view in &page.entries {
                        if entry_wanted(writer, view)? {
                            removed += remove(writer, view, flags)?.count();
                        }
                    }
                    writer.tighten(page.number);
                    if removed - start > STEP_KEYS - PAGE_ENTRIES {
                        break;
                    }
                }
                Ok(false)
            });
            if step.map_err(|error| error.progress(removed))? {
                break;
            }
        }
        if self.0.store.is_in_transaction() {
            removed += self.0.store.write(self.0.timeout, |writer| {
                let mut own = 0;
                for (key, found) in writer.own() {
                    if own_wanted(writer, &found)? {
                        writer.remove(writer.hashed(&key), &found, flags)?;
                        own += u64::from(!found.header.is_control());
                    }
                }
                Ok(own)
            })?;
        } else if removed > 0 {
            self.made_durable()?;
        }
        Ok(removed)
    }
}
