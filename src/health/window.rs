//! How many failures within the last `fail_timeout`? A window that truly slides.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;

/// Up to this many failures each has its own entry. Beyond, those within a thousandth of the window share one, so that
/// a huge `max_fails` costs no memory; they leave the window together, with the first of them.
const EXACT: u32 = 1024;

/// Failures, oldest first. Keeps no more than what `max_fails` needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
    total: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    first: Timestamp,
    count: u32,
    hard: bool,
}

impl Window {
    /// Adds a failure, forgets what is too old, and says whether `max_fails` are in the window now.
    pub(super) fn record(&mut self, now: Timestamp, hard: bool, max_fails: u32, span: Duration) -> bool {
        self.slide(now, span);
        let shared = if max_fails > EXACT { span / EXACT } else { Duration::ZERO };
        match self.entries.back_mut() {
            Some(last) if now.since(last.first) <= shared => {
                last.count = last.count.saturating_add(1);
                last.hard |= hard;
            }
            _ => self.entries.push_back(Entry { first: now, count: 1, hard }),
        }
        self.total = self.total.saturating_add(1);
        // What the newest `max_fails` do without can never matter again.
        while let Some(oldest) = self.entries.front().filter(|oldest| self.total - oldest.count >= max_fails) {
            self.total -= oldest.count;
            self.entries.pop_front();
        }
        // One entry alone may hold any number; more than `max_fails` of them say no more.
        if let Some(only) = self.entries.front_mut().filter(|only| only.count > max_fails) {
            self.total -= only.count - max_fails;
            only.count = max_fails;
        }
        self.total >= max_fails
    }

    /// Forgets failures that are `span` old or older.
    pub(super) fn slide(&mut self, now: Timestamp, span: Duration) {
        while let Some(oldest) = self.entries.front().filter(|oldest| now.since(oldest.first) >= span) {
            self.total -= oldest.count;
            self.entries.pop_front();
        }
    }

    /// How many are in the window at `now`.
    pub(super) fn count(&self, now: Timestamp, span: Duration) -> u32 {
        self.entries.iter().filter(|entry| now.since(entry.first) < span).map(|entry| entry.count).sum()
    }

    /// When the oldest failure leaves it.
    pub(super) fn next_leaves(&self, span: Duration) -> Option<Timestamp> {
        self.entries.front().map(|oldest| oldest.first + span)
    }

    /// Whether no failure in it was hard.
    pub(super) fn is_soft(&self) -> bool {
        !self.entries.iter().any(|entry| entry.hard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    fn filled_by(max_fails: u32, at: &[u64]) -> Vec<bool> {
        let mut window = Window::default();
        at.iter().map(|s| window.record(Timestamp::secs(*s), false, max_fails, SPAN)).collect()
    }

    #[test]
    fn three_failures_spread_over_eighteen_seconds_do_not_fill_a_window_of_ten() {
        // nginx counts these three together (spec §3.2, first oracle of the table).
        assert_eq!(filled_by(3, &[100, 109, 118]), [false, false, false]);
    }

    #[test]
    fn failures_are_counted_where_the_window_stands_not_since_the_first() {
        assert_eq!(filled_by(3, &[100, 109, 112, 113]), [false, false, false, true]);
    }

    #[test]
    fn a_failure_leaves_the_window_when_it_is_as_old_as_the_window_is_long() {
        assert_eq!(filled_by(2, &[100, 110]), [false, false]);
        assert_eq!(filled_by(2, &[100, 109]), [false, true]);
    }

    #[test]
    fn a_huge_max_fails_is_counted_and_costs_no_memory() {
        let mut window = Window::default();
        let max_fails = 1_000_000;
        let full = (0..999_999).filter(|i| window.record(Timestamp::micros(1 + i * 5), false, max_fails, SPAN)).count();
        assert_eq!((full, window.total), (0, 999_999));
        assert!(window.record(Timestamp::secs(5), false, max_fails, SPAN));
        assert!(window.entries.len() <= EXACT as usize + 1, "{} entries", window.entries.len());
    }

    #[test]
    fn any_number_of_failures_in_one_microsecond_is_one_entry() {
        let mut window = Window::default();
        for _ in 0..1000 {
            assert!(window.record(Timestamp::secs(1), false, 1, SPAN));
        }
        assert_eq!((window.total, window.entries.len()), (1, 1));
    }

    #[test]
    fn a_hard_failure_is_forgotten_when_newer_ones_suffice() {
        let mut window = Window::default();
        window.record(Timestamp::secs(1), true, 2, SPAN);
        window.record(Timestamp::secs(2), false, 2, SPAN);
        assert!(!window.is_soft());
        window.record(Timestamp::secs(3), false, 2, SPAN);
        assert!(window.is_soft());
    }
}
