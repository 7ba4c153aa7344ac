//! How often is the same trouble told? Once in a while, with how often it came meanwhile: clients cause it at will.

use std::cell::Cell;
use std::time::Duration;

use crate::clock::Timestamp;

/// How long nothing more is said of it.
const SILENCE: Duration = Duration::from_secs(10);

/// One kind of trouble on one worker.
#[derive(Debug, Default)]
pub struct Complaints {
    last: Cell<Option<Timestamp>>,
    untold: Cell<u64>,
}

impl Complaints {
    /// It came once more. If it is time for a line: how many were not told since the last one.
    pub fn due(&self, now: Timestamp) -> Option<u64> {
        if self.last.get().is_some_and(|last| now.since(last) < SILENCE) {
            self.untold.set(self.untold.get() + 1);
            return None;
        }
        self.last.set(Some(now));
        Some(self.untold.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_others_are_counted() {
        let complaints = Complaints::default();
        let told = [0, 1, 9_999, 10_000, 10_001, 20_000].map(|ms| complaints.due(Timestamp::millis(ms)));
        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
