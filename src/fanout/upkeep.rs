//! Upkeep of all shards: settings, checking, compacting, the disk.
//!
//! The settings of the first shard hold; they are changed there first, and each other shard takes
//! them over, under its own lock, as they are there at that moment. So of two that change settings
//! at once, whoever comes last to a shard has seen both changes. Whoever is killed on the way leaves
//! shards behind that the next opening, or the next change, brings along.

use crate::cache::Cache;
use crate::cache::admin::Report;
use crate::error::Result;
use crate::fanout::FanoutCache;
use crate::format::settings::Settings;

impl FanoutCache {
    /// Gives the settings that are kept in the store, as they are now; the size limit is that of all
    /// shards together.
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// assert_eq!(cache.settings().size_limit, firncache::DEFAULT_SIZE_LIMIT);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.0.shards.first().map(Cache::settings).unwrap_or_default()
    }

    /// Changes the settings that are kept in the store, for all shards. Other processes follow with
    /// their next call.
    ///
    /// # Errors
    ///
    /// As [`Cache::update_settings`].
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.update_settings(|settings| settings.size_limit = 1 << 20)?;
    /// assert_eq!(cache.settings().size_limit, 1 << 20);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn update_settings(&self, change: impl FnOnce(&mut Settings)) -> Result<()> {
        if let Some(lead) = self.0.patient.first() {
            lead.update_settings(change)?;
        }
        self.follow_the_lead()
    }

    /// Has the other shards take over the settings of the first, where they differ and this handle
    /// can write.
    pub(crate) fn follow_the_lead(&self) -> Result<()> {
        let Some((lead, others)) = self.0.patient.split_first() else { return Ok(()) };
        others.iter().filter(|it| !it.is_read_only()).try_for_each(|it| it.follow_settings(lead))
    }

    /// Checks all shards: every record and every file. Holds the lock of the one it is at.
    ///
    /// # Errors
    ///
    /// As [`Cache::check`].
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// assert!(cache.check()?.is_clean());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn check(&self) -> Result<Report> {
        self.report(Cache::check)
    }

    /// Checks all shards and mends what it finds, keeping every value that can be read; gives what
    /// it has found.
    ///
    /// # Errors
    ///
    /// As [`Cache::repair`].
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// assert!(cache.repair()?.is_clean());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn repair(&self) -> Result<Report> {
        self.report(Cache::repair)
    }

    /// Gives back all the space that can be given back, in short steps.
    ///
    /// # Errors
    ///
    /// As [`Cache::compact`].
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.compact()?;
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn compact(&self) -> Result<()> {
        self.0.patient.iter().try_for_each(Cache::compact)
    }

    /// Waits until everything is on disk: what was written before survives power loss.
    ///
    /// # Errors
    ///
    /// As [`Cache::sync`], for the first shard that fails; the others are synced all the same.
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.set("key", &1)?;
    /// cache.sync()?;
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn sync(&self) -> Result<()> {
        self.0.patient.iter().map(Cache::sync).fold(Ok(()), Result::and)
    }

    /// Closes this handle, as dropping it does. Does not wait for the disk; other handles stay open.
    ///
    /// # Errors
    ///
    /// As [`Cache::close`].
    ///
    /// ```
    /// # let cache = firncache::FanoutCache::temporary()?;
    /// cache.close()?;
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn close(self) -> Result<()> {
        self.0.shards.iter().try_for_each(|shard| shard.clone().close())
    }

    fn report(&self, of: impl Fn(&Cache) -> Result<Report>) -> Result<Report> {
        self.0.patient.iter().try_fold(Report::default(), |mut all, shard| {
            all.add(of(shard)?);
            Ok(all)
        })
    }
}
