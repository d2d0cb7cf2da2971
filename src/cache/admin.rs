//! Upkeep: settings, checking, compacting, the disk.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cache::Cache;
use crate::cache::options::check_settings;
use crate::error::Result;
use crate::format::settings::Settings;

/// What [`Cache::check`] or [`Cache::repair`] has found.
///
/// ```
/// # let cache = firncache::Cache::temporary()?;
/// let report = cache.check()?;
/// assert!(report.is_clean());
/// println!("{report}"); // "nothing found", or one line for each finding
/// # Ok::<(), firncache::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    findings: Vec<Finding>,
}

/// One thing that is not as it should be.
///
/// ```
/// # let cache = firncache::Cache::temporary()?;
/// for finding in cache.check()?.findings() {
///     eprintln!("{}: {}", finding.path().display(), finding.what());
/// }
/// # Ok::<(), firncache::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    path: PathBuf,
    what: String,
}

impl Report {
    /// Tells whether nothing was found.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// assert!(cache.check()?.is_clean());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Takes in what was found elsewhere.
    pub(crate) fn add(&mut self, other: Report) {
        self.findings.extend(other.findings);
    }

    /// Gives what was found.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// assert_eq!(cache.check()?.findings(), []);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

impl Finding {
    /// Gives the file concerned.
    ///
    /// ```
    /// let dir = tempfile::tempdir()?;
    /// let cache = firncache::Cache::open(dir.path())?;
    /// cache.set_bytes("large", &vec![7; 1 << 20])?;
    /// let file = cache.reader("large")?.and_then(|reader| reader.path().map(|it| it.to_owned()));
    /// std::fs::write(file.unwrap(), "damaged")?;
    /// let report = cache.check()?;
    /// assert!(report.findings()[0].path().starts_with(dir.path()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says what is wrong, in words.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// for finding in cache.check()?.findings() {
    ///     eprintln!("{}", finding.what());
    /// }
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

/// One finding per line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return f.write_str("nothing found");
        }
        for (position, finding) in self.findings.iter().enumerate() {
            let before = if position > 0 { "\n" } else { "" };
            write!(f, "{before}{finding}")?;
        }
        Ok(())
    }
}

impl Cache {
    /// Gives the settings that are kept in the store, as they are now.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// assert_eq!(cache.settings().size_limit, firncache::DEFAULT_SIZE_LIMIT);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.0.store.settings()
    }

    /// Changes the settings that are kept in the store. Other processes follow with their next
    /// call. What `change` leaves alone stays, also when others change it at the same time.
    ///
    /// Another `power_loss` waits until all of the cache is on disk, and keeps other writers waiting
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Setting`](crate::ErrorKind::Setting) for a value out of range, and nothing is
    /// changed then; [`ErrorKind::Timeout`](crate::ErrorKind::Timeout);
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly);
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) inside a transaction.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.update_settings(|settings| settings.statistics = true)?;
    /// cache.get::<i32>("missing")?;
    /// assert_eq!(cache.stats()?.misses, 1);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn update_settings(&self, change: impl FnOnce(&mut Settings)) -> Result<()> {
        self.outside_transaction("update_settings()")?;
        let before = self.settings();
        let mut after = before.clone();
        change(&mut after);
        check_settings(&after)?;
        if after == before {
            return Ok(());
        }
        self.settle_before(&after)?;
        self.0.store.write(self.0.timeout, |writer| {
            let mut now = self.settings();
            merge(&mut now, &before, &after);
            writer.set_settings(&now)
        })?;
        self.made_durable()
    }

    /// Where other settings change the promise: most of the waiting is done before the lock is taken.
    fn settle_before(&self, after: &Settings) -> Result<()> {
        if after.power_loss == self.settings().power_loss {
            Ok(())
        } else {
            self.0.store.sync_log()
        }
    }

    /// Takes over the settings of another cache as they are at that moment. Of several that do so
    /// at once, the last has seen them at their latest.
    pub(crate) fn follow_settings(&self, lead: &Cache) -> Result<()> {
        if self.settings() == lead.settings() {
            return Ok(());
        }
        self.outside_transaction("update_settings()")?;
        self.settle_before(&lead.settings())?;
        // Whoever changes the leader's again meanwhile may have found here what it wanted.
        while self.settings() != lead.settings() {
            self.0.store.write(self.0.timeout, |writer| writer.set_settings(&lead.settings()))?;
        }
        self.made_durable()
    }

    /// Checks the whole store: every record and every file. Finishes first what a killed process
    /// left, as any writer does. Holds the lock.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout), [`ErrorKind::Io`](crate::ErrorKind::Io);
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly), as it may have to finish something;
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) inside a transaction.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set("key", "value")?;
    /// assert!(cache.check()?.is_clean());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn check(&self) -> Result<Report> {
        self.outside_transaction("check()")?;
        let mut findings = self.0.store.check(self.0.timeout)?;
        if let Some(holds) = self.0.holds.existing()? {
            findings.extend(holds.check(self.0.timeout)?);
        }
        let findings = findings.into_iter().map(|it| Finding { path: it.path, what: it.what });
        Ok(Report { findings: findings.collect() })
    }

    /// Checks the whole store and makes its table anew from its log, keeping every value that can be
    /// read; gives what was found, as [`Cache::check`] does, and what was lost. Holds the lock.
    ///
    /// # Errors
    ///
    /// As [`Cache::check`]; [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly).
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set("key", "value")?;
    /// assert!(cache.repair()?.is_clean());
    /// assert!(cache.contains("key")?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn repair(&self) -> Result<Report> {
        self.outside_transaction("repair()")?;
        let mut findings = self.0.store.repair(self.0.timeout)?;
        if let Some(holds) = self.0.holds.existing()? {
            findings.extend(holds.repair(self.0.timeout)?);
        }
        let findings = findings.into_iter().map(|it| Finding { path: it.path, what: it.what });
        Ok(Report { findings: findings.collect() })
    }

    /// Gives back the disk space of what is dead, but for an eighth of the live bytes and two segments
    /// of the log; the table does not shrink. In short steps: other writers get in between. Writes do
    /// this on their own, a little at a time, and leave more.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout), [`ErrorKind::Io`](crate::ErrorKind::Io),
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly);
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) inside a transaction.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set_many((0..1000).map(|key| (key, [7_u8; 32])), Default::default())?;
    /// cache.clear()?;
    /// cache.compact()?;
    /// assert!(cache.check()?.is_clean());
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn compact(&self) -> Result<()> {
        self.outside_transaction("compact()")?;
        self.0.store.compact(self.0.timeout)
    }

    /// Waits until everything is on disk: what was written before survives power loss. If nothing
    /// is written after it, the next boot opens the cache without going through the log.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`](crate::ErrorKind::Io), also for a write to disk that failed earlier, in
    /// any process, and where the directory has been deleted;
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout);
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly);
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) inside a transaction.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set("key", "value")?;
    /// cache.sync()?; // from here on the value survives power loss
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn sync(&self) -> Result<()> {
        self.outside_transaction("sync()")?;
        self.0.store.sync(self.0.timeout)
    }

    /// Closes this handle, as dropping it does. Does not wait for the disk; other handles stay
    /// open.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) inside a transaction.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// let other = cache.clone();
    /// cache.close()?;
    /// other.set("key", "value")?; // handles close one by one
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn close(self) -> Result<()> {
        self.outside_transaction("close()")
    }

    /// Removes every key; gives their number. Takes about as long whatever the number, except
    /// inside a transaction, and where the disk has no space for a new, empty table: then keys are
    /// removed one by one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout),
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly);
    /// [`ErrorKind::Full`](crate::ErrorKind::Full) on a disk that is so full that a part of the keys
    /// is left.
    ///
    /// ```
    /// # let cache = firncache::Cache::temporary()?;
    /// cache.set("key", "value")?;
    /// assert_eq!(cache.clear()?, 1);
    /// assert!(cache.is_empty()?);
    /// # Ok::<(), firncache::Error>(())
    /// ```
    pub fn clear(&self) -> Result<u64> {
        let removed = self.0.store.write(self.0.timeout, |writer| writer.clear())?;
        self.made_durable()?;
        Ok(removed)
    }
}

/// Takes over into `now` what differs between `before` and `after`; but for the number of shards,
/// which nobody changes, not even by assigning the whole.
fn merge(now: &mut Settings, before: &Settings, after: &Settings) {
    fn take<T: Copy + PartialEq>(now: &mut T, before: T, after: T) {
        if before != after {
            *now = after;
        }
    }
    take(&mut now.size_limit, before.size_limit, after.size_limit);
    take(&mut now.eviction, before.eviction, after.eviction);
    take(&mut now.cull_limit, before.cull_limit, after.cull_limit);
    take(&mut now.statistics, before.statistics, after.statistics);
    take(&mut now.value_file_threshold, before.value_file_threshold, after.value_file_threshold);
    take(&mut now.exact_cull_count, before.exact_cull_count, after.exact_cull_count);
    take(&mut now.power_loss, before.power_loss, after.power_loss);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::settings::{Eviction, PowerLoss};

    #[test]
    fn merging_takes_every_field_that_was_changed_and_no_other() {
        let (before, mut now) = (Settings::default(), Settings::default());
        now.cull_limit = 77;
        let mut after = before.clone();
        after.size_limit = 1;
        merge(&mut now, &before, &after);
        assert_eq!((now.size_limit, now.cull_limit), (1, 77));
        let all = Settings {
            size_limit: 2,
            eviction: Eviction::Sieve,
            cull_limit: 3,
            statistics: true,
            value_file_threshold: 4,
            exact_cull_count: true,
            power_loss: PowerLoss::Clear,
            shards: 0,
        };
        merge(&mut now, &before, &all);
        assert_eq!(now, all);
    }
}
