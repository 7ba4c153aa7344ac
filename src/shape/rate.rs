//! How many requests in how much time?

/// Requests over time, in thousandths of a request per second, as nginx counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(u64);

impl Rate {
    /// The most requests that a rate may have in its unit.
    pub const MAX: u64 = 1_000_000_000;

    /// `n` requests per second, 1 to [`MAX`](Rate::MAX).
    pub const fn per_second(n: u64) -> Rate {
        Rate(in_range(n) * 1_000)
    }

    /// `n` requests per minute, 1 to [`MAX`](Rate::MAX). Thousandths per second are whole: `1r/m` is 0.016 per second.
    pub const fn per_minute(n: u64) -> Rate {
        Rate(in_range(n) * 1_000 / 60)
    }

    /// Thousandths of a request that flow off in this many milliseconds.
    pub(super) const fn drained(self, millis: u64) -> u64 {
        self.0.saturating_mul(millis) / 1_000
    }

    /// Milliseconds in which this many thousandths of a request flow off, rounded down.
    pub(super) const fn millis(self, excess: u64) -> u64 {
        excess.saturating_mul(1_000) / self.0
    }
}

const fn in_range(n: u64) -> u64 {
    match n {
        0 => 1,
        1..=Rate::MAX => n,
        _ => Rate::MAX,
    }
}
