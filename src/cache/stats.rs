//! Counters: hits, misses, sizes.

use std::sync::atomic::Ordering;

use crate::cache::Cache;
use crate::cache::read::Record;
use crate::error::Result;
use crate::format::settings::Eviction;
use crate::store::read::Hit;
use crate::store::space::volume;

/// What has happened in a cache since it was made, or since [`Cache::reset_stats`]. Shared by all
/// processes.
///
/// ```
/// # let cache = firncache::Cache::temporary()?;
/// cache.update_settings(|settings| settings.statistics = true)?;
/// cache.set("key", &1)?;
/// cache.get_many::<i32>(["key", "missing"])?;
/// let stats = cache.stats()?;
/// assert_eq!((stats.hits, stats.misses, stats.evictions), (1, 1, 0));
/// assert_eq!((stats.expirations, stats.damaged), (0, 0));
/// # Ok::<(), firncache::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Stats {
    /// Reads that found a value, while [`Settings::statistics`](crate::Settings::statistics) was
    /// on.
    pub hits: u64,
    /// Reads that found none, while [`Settings::statistics`](crate::Settings::statistics) was on.
    pub misses: u64,
    /// Keys that were removed by the eviction policy.
    pub evictions: u64,
    /// Keys that were removed because they had expired.
    pub expirations: u64,
    /// Damaged records that were met, each of which counted as missing.
    pub damaged: u64,
}

impl Stats {
    /// The counts of two caches together.
    pub(crate) fn plus(self, other: Stats) -> Stats {
        Stats {
            hits: self.hits.saturating_add(other.hits),
            misses: self.misses.saturating_add(other.misses),
            evictions: self.evictions.saturating_add(other.evictions),
            expirations: self.expirations.saturating_add(other.expirations),
            damaged: self.damaged.saturating_add(other.damaged),
        }
    }
}

impl Cache {
    /// Gives the number of keys, including expired ones that have not been removed yet. Where records
    /// are damaged, it may be off by as many until [`Cache::repair`].
    ///
    /// # Errors
    ///
    /// Inside a transaction, as any write.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set("key", &1)?;
    /// assert_eq!(cache.len()?, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn len(&self) -> Result<u64> {
        let store = &self.0.store;
        if !store.is_in_transaction() {
            return Ok(store.state().user_len());
        }
        store.write(self.0.timeout, |writer| Ok(writer.state().user_len()))
    }

    /// Tells whether there is no key, not even an expired one.
    ///
    /// # Errors
    ///
    /// As [`Cache::len`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// assert!(cache.is_empty()?);
    /// cache.set("key", &1)?;
    /// assert!(!cache.is_empty()?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Gives the bytes by which the keys are accounted: records, their share of the table, value
    /// files. Falls with every removal.
    ///
    /// # Errors
    ///
    /// As [`Cache::len`].
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let empty = cache.volume()?;
    /// cache.set_bytes("key", &[7; 5000])?;
    /// assert!(cache.volume()? >= empty + 5000);
    /// cache.delete("key")?;
    /// assert!(cache.volume()? < empty + 5000);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn volume(&self) -> Result<u64> {
        let store = &self.0.store;
        if !store.is_in_transaction() {
            return Ok(store.volume());
        }
        store.write(self.0.timeout, |writer| Ok(volume(&writer.state())))
    }

    /// Gives the bytes that the directory takes on disk, with what locks and waiting take there.
    /// Asks the system about every file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`](crate::ErrorKind::Io).
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set_bytes("key", &[7; 5000])?;
    /// assert!(cache.disk_usage()? >= 5000);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn disk_usage(&self) -> Result<u64> {
        Ok(self.0.store.disk_usage()?.saturating_add(self.0.holds.disk_usage()?))
    }

    /// Gives the counters.
    ///
    /// # Errors
    ///
    /// None now; reserved.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use std::time::Duration;
    /// use firncache::SetOptions;
    /// cache.set_with("over", &1, SetOptions::new().expire(Duration::ZERO))?;
    /// cache.expire()?;
    /// assert_eq!(cache.stats()?.expirations, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn stats(&self) -> Result<Stats> {
        let (head, state) = (&self.0.store.shared().head, self.0.store.state());
        Ok(Stats {
            hits: head.hits().load(Ordering::Relaxed),
            misses: head.misses().load(Ordering::Relaxed),
            evictions: state.evictions,
            expirations: state.expirations,
            damaged: head.damaged().load(Ordering::Relaxed),
        })
    }

    /// Sets the counters to zero, and gives what they were.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout),
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly).
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// use std::time::Duration;
    /// use firncache::SetOptions;
    /// cache.set_with("over", &1, SetOptions::new().expire(Duration::ZERO))?;
    /// cache.expire()?;
    /// assert_eq!(cache.reset_stats()?.expirations, 1);
    /// assert_eq!(cache.stats()?.expirations, 0);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn reset_stats(&self) -> Result<Stats> {
        self.outside_transaction("reset_stats()")?;
        let head = &self.0.store.shared().head;
        let before = self.0.store.write(self.0.timeout, |writer| writer.reset_counters())?;
        Ok(Stats {
            hits: head.hits().swap(0, Ordering::Relaxed),
            misses: head.misses().swap(0, Ordering::Relaxed),
            evictions: before.evictions,
            expirations: before.expirations,
            damaged: head.damaged().swap(0, Ordering::Relaxed),
        })
    }

    /// Notes that a key was read, or was not there, as far as the settings ask for it.
    #[inline]
    pub(crate) fn note_read(&self, record: Option<&Record>) {
        let store = &self.0.store;
        let settings = store.settings();
        let is_marked =
            !matches!(settings.eviction, Eviction::LeastRecentlyStored | Eviction::None);
        if !(settings.statistics || is_marked) || store.is_read_only() {
            return;
        }
        if settings.statistics {
            let head = &store.shared().head;
            let counter = if record.is_some() { head.hits() } else { head.misses() };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if is_marked && let Some(Record { header, entry: Some(entry) }) = record.copied() {
            let is_timed = settings.eviction == Eviction::LeastRecentlyUsed;
            let now_ms = if is_timed { self.now_ms() } else { 0 };
            store.mark_used(&Hit { header, entry }, settings.eviction, now_ms);
        }
    }
}
