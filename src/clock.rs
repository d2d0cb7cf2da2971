//! The time of day, and how it is stored.
//!
//! A moment is stored as whole milliseconds since 1970 in 48 bits, which reaches to the year
//! 10889. The largest number is no moment but [`NEVER`]. The conversions saturate: no clock and no
//! duration, however wrong, makes them panic.
//!
//! ```text
//! 0 ............................................. 2^48 - 2     2^48 - 1
//! 1970 and before                                 year 10889   never
//! ```
//!
//! Reads ask for the time only when a record can expire, writes always; both through a [`Clock`],
//! so that tests can stop and turn it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The stored form of "at no time": the deadline of what does not expire.
pub(crate) const NEVER: u64 = (1 << 48) - 1;

/// Tells the time by which items expire.
///
/// The default is the clock of the system. All processes that share a cache should agree about
/// the time; a clock of one's own is for tests. Any closure is a clock:
///
/// ```
/// use std::time::{Duration, SystemTime};
/// let later = || SystemTime::now() + Duration::from_secs(3600);
/// let _: &dyn firncache::Clock = &later;
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The time now. It may be as coarse as a few milliseconds; it is asked often, and should be
    /// cheap.
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use firncache::{Cache, Clock};
    ///
    /// struct Stopped(SystemTime);
    ///
    /// impl Clock for Stopped {
    ///     fn now(&self) -> SystemTime {
    ///         self.0
    ///     }
    /// }
    ///
    /// let dir = tempfile::tempdir()?;
    /// let cache = Cache::options().clock(Stopped(SystemTime::UNIX_EPOCH)).open(dir.path())?;
    /// cache.set("key", &1)?;
    /// assert_eq!(cache.get_entry::<i32>("key")?.unwrap().stored_at, SystemTime::UNIX_EPOCH);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn now(&self) -> SystemTime;
}

/// The clock of the operating system, at the resolution of its tick (1 to 10 ms): it is read
/// without a system call and without asking the hardware.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use firncache::{Clock, SystemClock};
///
/// let apart = SystemTime::now().duration_since(SystemClock.now());
/// assert!(apart.unwrap_or_else(|before| before.duration()) < Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn now(&self) -> SystemTime {
        use rustix::time::{ClockId, clock_gettime};
        let time = clock_gettime(ClockId::RealtimeCoarse);
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec))
        else {
            return SystemTime::UNIX_EPOCH;
        };
        let since = Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into()));
        SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

impl<F: Fn() -> SystemTime + Send + Sync + 'static> Clock for F {
    fn now(&self) -> SystemTime {
        self()
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> SystemTime {
        (**self).now()
    }
}

/// Nanoseconds on the clock that all processes of this machine share, that only goes forward and
/// that nobody can turn. It begins anew with each boot.
pub(crate) fn uptime_ns() -> u64 {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanos.unwrap_or(0))
}

/// The stored form of a moment, rounded down to the millisecond. What lies before 1970 is 0, what
/// lies beyond the range is [`NEVER`].
pub(crate) fn to_ms(time: SystemTime) -> u64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => u64::try_from(since.as_millis()).unwrap_or(NEVER).min(NEVER),
        Err(_) => 0,
    }
}

/// The moment of a stored form; `None` for [`NEVER`] and for every number above it.
pub(crate) fn from_ms(ms: u64) -> Option<SystemTime> {
    if ms >= NEVER {
        return None;
    }
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms))
}

/// When something ends that begins at `now_ms` and lasts `after`. The part of a millisecond is
/// rounded up, as nothing may end early; what lies beyond the range is [`NEVER`].
pub(crate) fn deadline(now_ms: u64, after: Duration) -> u64 {
    let after_ms = u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(NEVER);
    now_ms.saturating_add(after_ms).min(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    #[test]
    fn system_clock_tells_the_time_of_day() {
        let (coarse, fine) = (SystemClock.now(), SystemTime::now());
        let apart = fine.duration_since(coarse).unwrap_or_else(|before| before.duration());
        assert!(apart < Duration::from_secs(60), "{apart:?}");
    }

    #[test]
    fn closures_and_shared_clocks_are_clocks() {
        let stopped = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        let clock: Arc<dyn Clock> = Arc::new(move || stopped);
        assert_eq!(Clock::now(&clock), stopped);
        let nested: Arc<dyn Clock> = Arc::new(Arc::new(SystemClock));
        assert!(Clock::now(&nested) > stopped);
    }

    #[test]
    fn what_lies_outside_the_range_saturates() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(to_ms(before), 0);
        let end = SystemTime::UNIX_EPOCH + Duration::from_millis(NEVER);
        assert_eq!(to_ms(end), NEVER);
        assert_eq!(to_ms(end - Duration::from_nanos(1)), NEVER - 1);
        assert_eq!(to_ms(end + Duration::from_secs(1 << 50)), NEVER);
        assert_eq!(from_ms(NEVER), None);
        assert_eq!(from_ms(u64::MAX), None);
        assert_eq!(deadline(1, Duration::MAX), NEVER);
        assert_eq!(deadline(u64::MAX, Duration::ZERO), NEVER);
    }

    #[test]
    fn a_deadline_is_never_early() {
        assert_eq!(deadline(10, Duration::ZERO), 10);
        assert_eq!(deadline(10, Duration::from_nanos(1)), 11);
        assert_eq!(deadline(10, Duration::from_millis(1)), 11);
        assert_eq!(deadline(10, Duration::from_micros(1001)), 12);
    }

    quickcheck! {
        fn stored_moments_come_back(ms: u64) -> bool {
            let ms = ms % NEVER;
            from_ms(ms).map(to_ms) == Some(ms)
        }

        fn deadlines_stay_in_range(now: u64, seconds: u64, nanos: u32) -> bool {
            deadline(now, Duration::new(seconds / 2, nanos)) <= NEVER
        }
    }
}
