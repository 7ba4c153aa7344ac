//! Is it time for another line in the log? What a client can cause a thousand times a second is told once a second.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::clock::Timestamp;

/// What was told of a zone, and what was not.
#[derive(Debug, Default)]
pub struct Notices {
    /// When the last line was written, in microseconds; 0: never.
    last: AtomicU64,
    untold: AtomicU64,
}

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(1);

impl Notices {
    /// Something happened. `Some`: it shall be told, with how often it happened untold since the last line.
    pub fn note(&self, now: Timestamp) -> Option<u64> {
        let last = self.last.load(Relaxed);
        let due = last == 0 || now.since(Timestamp::micros(last)) >= PAUSE;
        let mine = due && self.last.compare_exchange(last, now.as_micros().max(1), Relaxed, Relaxed).is_ok();
        if mine {
            return Some(self.untold.swap(0, Relaxed));
        }
        self.untold.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_line_a_second_that_counts_the_others() {
        let notices = Notices::default();
        let told: Vec<Option<u64>> =
            [0, 10, 20, 999, 1_000, 1_500, 5_000, 5_001].map(|at| notices.note(Timestamp::millis(60_000 + at))).into();
        assert_eq!(told, [Some(0), None, None, None, Some(3), None, Some(1), None]);
    }
}
