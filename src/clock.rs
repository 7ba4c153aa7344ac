//! What time is it? The only module that reads a clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Microseconds since the process's epoch. Fits an atomic; a test writes `Timestamp::secs(5)` without a runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The epoch itself.
    pub const ZERO: Timestamp = Timestamp(0);
    /// Later than every other timestamp.
    pub const NEVER: Timestamp = Timestamp(u64::MAX);

    /// `n` microseconds after the epoch.
    pub const fn micros(n: u64) -> Self {
        Timestamp(n)
    }

    /// `n` milliseconds after the epoch.
    pub const fn millis(n: u64) -> Self {
        Timestamp(n * 1_000)
    }

    /// `n` seconds after the epoch.
    pub const fn secs(n: u64) -> Self {
        Timestamp(n * 1_000_000)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Milliseconds since the epoch, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Time since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, d: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(u64::try_from(d.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, d: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(u64::try_from(d.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Reads tokio's clock, which a test can pause.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// The process's clock: every call shares one epoch, one second before the first call, so that no real
    /// moment is `Timestamp::ZERO`.
    pub fn process() -> Clock {
        static EPOCH: OnceLock<Instant> = OnceLock::new();
        Clock { epoch: *EPOCH.get_or_init(|| Instant::now() - Duration::from_secs(1)) }
    }

    /// Microseconds since the epoch.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The timestamp of an instant of tokio's clock.
    pub fn at(&self, instant: Instant) -> Timestamp {
        let elapsed = instant.saturating_duration_since(self.epoch);
        Timestamp(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX))
    }

    /// The instant of tokio's clock for a timestamp, for timers.
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.epoch + Duration::from_micros(at.0.min(1 << 52))
    }
}

/// One moment on both clocks: to tell the calendar's time of a timestamp, and the other way round.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The process's clock.
    pub now: Timestamp,
    /// The calendar.
    pub wall: SystemTime,
}

impl Moment {
    /// This one.
    pub fn present() -> Moment {
        Moment { now: Clock::process().now(), wall: wall() }
    }

    /// The calendar's time of a timestamp.
    pub fn calendar(&self, at: Timestamp) -> SystemTime {
        if at >= self.now {
            self.wall.checked_add(at.since(self.now)).unwrap_or(self.wall)
        } else {
            self.wall.checked_sub(self.now.since(at)).unwrap_or(self.wall)
        }
    }

    /// The timestamp of a time of the calendar; never before the epoch.
    pub fn timestamp(&self, at: SystemTime) -> Timestamp {
        match at.duration_since(self.wall) {
            Ok(ahead) => self.now + ahead,
            Err(behind) => self.now - behind.duration(),
        }
    }
}

/// The calendar's time, for logs, `Date` and cookies. Never for measuring.
pub fn wall() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "this is the module that reads clocks")]
    SystemTime::now()
}
