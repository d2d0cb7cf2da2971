//! The settings that are kept in the store and hold for every process that uses it.

/// Which keys go when the cache is full.
///
/// ```
/// use firncache::{Cache, Eviction};
///
/// let dir = tempfile::tempdir()?;
/// let cache = Cache::options().eviction(Eviction::Sieve).open(dir.path())?;
/// assert_eq!(cache.settings().eviction, Eviction::Sieve);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[repr(u8)]
pub enum Eviction {
    /// The key that was stored longest ago. Reading leaves no trace. The default.
    #[default]
    LeastRecentlyStored = 0,
    /// The key that was read or stored longest ago.
    LeastRecentlyUsed = 1,
    /// The key that was read least often since it was stored; the older one among equals.
    LeastFrequentlyUsed = 2,
    /// SIEVE (Zhang, Yang, Yue, Vigfusson, Rashmi; NSDI 2024): a hand moves over the keys in the
    /// order in which they were first stored, spares those that were read since it last passed,
    /// and takes the first that was not.
    Sieve = 3,
    /// No key: nothing is ever removed on its own, and the size limit does not hold.
    None = 4,
}

/// What a store does for the case that the machine loses power. Changing it waits for the disk.
///
/// ```
/// use firncache::{Cache, PowerLoss};
///
/// let dir = tempfile::tempdir()?;
/// let cache = Cache::options().power_loss(PowerLoss::Clear).open(dir.path())?;
/// assert_eq!(cache.settings().power_loss, PowerLoss::Clear);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[repr(u8)]
pub enum PowerLoss {
    /// After power loss the store opens with a prefix of its history, at least all that the last
    /// `sync()` covered. Segments are written to disk before their files are used again. The
    /// default.
    #[default]
    Recover = 0,
    /// The cache starts empty after power loss, and does not wait for the disk, but once where a
    /// writer was killed, or failed, in the middle of a write.
    Clear = 1,
}

/// The settings that are kept in the store.
///
/// Read with `Cache::settings`, changed with `Cache::update_settings`; other processes follow with
/// their next call.
///
/// ```
/// # let cache = firncache::Cache::temporary()?;
/// use firncache::Eviction;
///
/// cache.update_settings(|settings| {
///     settings.size_limit = 64 << 20;
///     settings.eviction = Eviction::LeastRecentlyUsed;
/// })?;
/// assert_eq!(cache.settings().size_limit, 64 << 20);
/// # Ok::<(), firncache::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Bytes on disk that the cache keeps to, give or take one segment. Larger keeps more keys.
    pub size_limit: u64,
    /// Which keys go when the limit is reached.
    pub eviction: Eviction,
    /// The most keys one call removes on its own; 0 switches removal off, and with it the limit.
    pub cull_limit: u32,
    /// Whether reads are counted as hits and misses.
    pub statistics: bool,
    /// Values of more bytes than this lie in a file of their own instead of in the log.
    pub value_file_threshold: u64,
    /// Whether a call that finds the cache full removes exactly `cull_limit` keys instead of just
    /// enough.
    pub exact_cull_count: bool,
    /// What is promised for the case of power loss.
    pub power_loss: PowerLoss,
    /// How many stores keep to `size_limit` together, this one among them: the shards of a
    /// `FanoutCache`. 0 for a store of its own.
    pub(crate) shards: u16,
}

/// The default of [`Settings::size_limit`]: 1 GiB.
///
/// ```
/// let cache = firncache::Cache::temporary()?;
/// assert_eq!(cache.settings().size_limit, firncache::DEFAULT_SIZE_LIMIT);
/// # Ok::<(), firncache::Error>(())
/// ```
pub const DEFAULT_SIZE_LIMIT: u64 = 1 << 30;
/// The default of [`Settings::cull_limit`].
///
/// ```
/// let cache = firncache::Cache::temporary()?;
/// assert_eq!(cache.settings().cull_limit, firncache::DEFAULT_CULL_LIMIT);
/// # Ok::<(), firncache::Error>(())
/// ```
pub const DEFAULT_CULL_LIMIT: u32 = 10;
/// The default of [`Settings::value_file_threshold`]: 256 KiB.
///
/// ```
/// let cache = firncache::Cache::temporary()?;
/// assert_eq!(cache.settings().value_file_threshold, firncache::DEFAULT_VALUE_FILE_THRESHOLD);
/// # Ok::<(), firncache::Error>(())
/// ```
pub const DEFAULT_VALUE_FILE_THRESHOLD: u64 = 256 * 1024;
/// The largest [`Settings::value_file_threshold`] that can be set: 4 MiB.
///
/// ```
/// use firncache::{Cache, ErrorKind, MAX_VALUE_FILE_THRESHOLD};
/// let cache = Cache::temporary()?;
/// let too_much = MAX_VALUE_FILE_THRESHOLD + 1;
/// let refused = cache.update_settings(|settings| settings.value_file_threshold = too_much);
/// assert_eq!(refused.unwrap_err().kind(), ErrorKind::Setting);
/// # Ok::<(), firncache::Error>(())
/// ```
pub const MAX_VALUE_FILE_THRESHOLD: u64 = 4 * 1024 * 1024;

/// Words of encoded settings.
pub(crate) const SETTINGS_WORDS: usize = 3;
/// Where the number of shards begins in the word of the threshold.
const SHARDS_SHIFT: u32 = 48;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            size_limit: DEFAULT_SIZE_LIMIT,
            eviction: Eviction::default(),
            cull_limit: DEFAULT_CULL_LIMIT,
            statistics: false,
            value_file_threshold: DEFAULT_VALUE_FILE_THRESHOLD,
            exact_cull_count: false,
            power_loss: PowerLoss::default(),
            shards: 0,
        }
    }
}

impl Settings {
    pub(crate) fn encode(&self) -> [u64; SETTINGS_WORDS] {
        let switches = u64::from(self.eviction as u8)
            | u64::from(self.statistics) << 8
            | u64::from(self.exact_cull_count) << 16
            | u64::from(self.power_loss as u8) << 24
            | u64::from(self.cull_limit) << 32;
        let second = self.value_file_threshold | u64::from(self.shards) << SHARDS_SHIFT;
        [self.size_limit, second, switches]
    }

    /// The settings in `words`; a value out of range (a damaged word) becomes the default.
    pub(crate) fn decode(words: &[u64; SETTINGS_WORDS]) -> Settings {
        let default = Settings::default();
        let switches = words[2];
        Settings {
            size_limit: words[0],
            eviction: match switches as u8 {
                1 => Eviction::LeastRecentlyUsed,
                2 => Eviction::LeastFrequentlyUsed,
                3 => Eviction::Sieve,
                4 => Eviction::None,
                _ => default.eviction,
            },
            cull_limit: (switches >> 32) as u32,
            statistics: switches >> 8 & 1 != 0,
            value_file_threshold: (words[1] & ((1 << SHARDS_SHIFT) - 1))
                .min(MAX_VALUE_FILE_THRESHOLD),
            exact_cull_count: switches >> 16 & 1 != 0,
            power_loss: match (switches >> 24) as u8 {
                1 => PowerLoss::Clear,
                _ => PowerLoss::Recover,
            },
            shards: (words[1] >> SHARDS_SHIFT) as u16,
        }
    }

    /// What is one store's part of the size limit, where several keep to it together.
    pub(crate) fn share(&self) -> u64 {
        // As a rule there is one, and a division costs more than a look.
        if self.shards <= 1 { self.size_limit } else { self.size_limit / u64::from(self.shards) }
    }

    /// Whether the size limit holds: something must be allowed to go for it.
    pub(crate) fn has_limit(&self) -> bool {
        self.eviction != Eviction::None && self.cull_limit > 0
    }

    /// What is wrong with these settings, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.value_file_threshold > MAX_VALUE_FILE_THRESHOLD {
            return Some(format!(
                "value_file_threshold of {} bytes is too large: give at most \
                 {MAX_VALUE_FILE_THRESHOLD}",
                self.value_file_threshold
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let policies = [
            Eviction::LeastRecentlyStored,
            Eviction::LeastRecentlyUsed,
            Eviction::LeastFrequentlyUsed,
            Eviction::Sieve,
            Eviction::None,
        ];
        for eviction in policies {
            let settings = Settings {
                size_limit: 1 << 40,
                eviction,
                cull_limit: u32::MAX,
                statistics: true,
                value_file_threshold: 7,
                exact_cull_count: true,
                power_loss: PowerLoss::Clear,
                shards: 1000,
            };
            assert_eq!(Settings::decode(&settings.encode()), settings);
        }
        let default = Settings::default();
        assert_eq!(Settings::decode(&default.encode()), default);
        assert_eq!(default.problem(), None);
    }

    #[test]
    fn a_threshold_above_all_limits_is_a_problem() {
        let most =
            Settings { value_file_threshold: MAX_VALUE_FILE_THRESHOLD, ..Default::default() };
        assert_eq!(most.problem(), None);
        let value_file_threshold = MAX_VALUE_FILE_THRESHOLD + 1;
        let problem = Settings { value_file_threshold, ..most }.problem().unwrap();
        assert!(problem.contains("value_file_threshold"), "{problem}");
    }

    #[test]
    fn without_a_policy_or_without_culling_no_limit_holds() {
        let settings = Settings::default();
        assert!(settings.has_limit());
        assert!(!Settings { eviction: Eviction::None, ..settings }.has_limit());
        assert!(!Settings { cull_limit: 0, ..settings }.has_limit());
    }

    #[test]
    fn a_share_is_the_whole_limit_but_for_shards() {
        let settings = Settings { size_limit: 1003, ..Settings::default() };
        assert_eq!(settings.share(), 1003);
        assert_eq!(Settings { shards: 4, ..settings }.share(), 250);
    }

    #[test]
    fn each_setting_is_kept_apart_from_the_others() {
        let default = Settings::default;
        let changed = [
            Settings { statistics: true, ..default() },
            Settings { exact_cull_count: true, ..default() },
            Settings { power_loss: PowerLoss::Clear, ..default() },
            Settings { cull_limit: 0, ..default() },
            Settings { value_file_threshold: MAX_VALUE_FILE_THRESHOLD, ..default() },
            Settings { shards: u16::MAX, ..default() },
            Settings { size_limit: u64::MAX, ..default() },
        ];
        for settings in changed {
            assert_eq!(Settings::decode(&settings.encode()), settings);
        }
        // What no version wrote.
        let damaged = Settings::decode(&[5, MAX_VALUE_FILE_THRESHOLD + 1, 0xff00_ff05]);
        assert_eq!(damaged.value_file_threshold, MAX_VALUE_FILE_THRESHOLD);
        let kept = (damaged.eviction, damaged.power_loss, damaged.statistics, damaged.shards);
        assert_eq!(kept, (Eviction::LeastRecentlyStored, PowerLoss::Recover, true, 0));
        assert!(!damaged.exact_cull_count);
    }

    #[test]
    fn the_limit_holds_if_something_may_go_for_it() {
        let settings =
            |eviction, cull_limit| Settings { eviction, cull_limit, ..Default::default() };
        assert!(settings(Eviction::Sieve, 1).has_limit());
        assert!(!settings(Eviction::Sieve, 0).has_limit());
        assert!(!settings(Eviction::None, 1).has_limit());
        let threshold =
            |value_file_threshold| Settings { value_file_threshold, ..Default::default() };
        assert_eq!(threshold(MAX_VALUE_FILE_THRESHOLD).problem(), None);
        let problem = threshold(MAX_VALUE_FILE_THRESHOLD + 1).problem().unwrap();
        assert!(problem.contains("value_file_threshold"), "{problem}");
    }
}
