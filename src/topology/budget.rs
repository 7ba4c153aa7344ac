//! How many retries may a group cost?

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::clock::Timestamp;
use crate::config::model;

/// How far back requests and retries are counted, in seconds.
const WINDOW: u64 = 10;

/// Counts requests and retries of the last 10 s, without a lock; shared by all workers and kept across reloads.
#[derive(Debug, Default)]
pub struct RetryBudget {
    requests: PerSecond,
    retries: PerSecond,
}

impl RetryBudget {
    /// A request began.
    pub fn request(&self, now: Timestamp) {
        self.requests.add(now);
    }

    /// Whether one more retry is within the budget, which it is charged to if so: `percent` of the requests of the last
    /// 10 s, and in any second `min_per_second`. Concurrent callers never get more than that together.
    pub fn try_retry(&self, rule: &model::RetryBudget, now: Timestamp) -> bool {
        // Charge first and look then: of two that look at once neither may overlook the other.
        self.retries.add(now);
        let share = self.requests.sum(now).saturating_mul(u64::from(rule.percent)) / 100;
        let granted =
            self.retries.within_second(now) <= u64::from(rule.min_per_second) || self.retries.sum(now) <= share;
        if !granted {
            self.retries.take_back(now);
        }
        granted
    }

    /// Gives back what [`try_retry`](RetryBudget::try_retry) charged at `charged`: the attempt was never sent.
    pub fn refund(&self, charged: Timestamp) {
        self.retries.take_back(charged);
    }
}

/// A ring of seconds, each `second << 32 | count`.
#[derive(Debug, Default)]
struct PerSecond([AtomicU64; WINDOW as usize]);

impl PerSecond {
    fn add(&self, now: Timestamp) {
        let (slot, second) = self.slot(now);
        let seen = slot.load(Relaxed);
        if second_of(seen) == second {
            // Were this thread to sleep for ten seconds just here, one count would go to a later second.
            slot.fetch_add(1, Relaxed);
            return;
        }
        let fresh = |seen| if second_of(seen) == second { seen + 1 } else { (second << 32) | 1 };
        // Cannot fail: the closure always has an answer.
        let _ = slot.fetch_update(Relaxed, Relaxed, |seen| Some(fresh(seen)));
    }

    fn take_back(&self, at: Timestamp) {
        let (slot, second) = self.slot(at);
        // Refused when the second has passed out of the window, or when there is nothing to take: both need no action.
        let _ = slot
            .fetch_update(Relaxed, Relaxed, |seen| (second_of(seen) == second && count_of(seen) > 0).then(|| seen - 1));
    }

    fn within_second(&self, now: Timestamp) -> u64 {
        let (slot, second) = self.slot(now);
        let seen = slot.load(Relaxed);
        if second_of(seen) == second { count_of(seen) } else { 0 }
    }

    /// This second and the nine before it.
    fn sum(&self, now: Timestamp) -> u64 {
        let (_, second) = self.slot(now);
        let recent = |seen: &u64| second_of(*seen) <= second && second - second_of(*seen) < WINDOW;
        self.0.iter().map(|slot| slot.load(Relaxed)).filter(recent).map(count_of).sum()
    }

    fn slot(&self, now: Timestamp) -> (&AtomicU64, u64) {
        let second = now.since(Timestamp::ZERO).as_secs();
        (&self.0[(second % WINDOW) as usize], second)
    }
}

fn second_of(slot: u64) -> u64 {
    slot >> 32
}

fn count_of(slot: u64) -> u64 {
    slot & u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(percent: u8, min_per_second: u32) -> model::RetryBudget {
        model::RetryBudget { percent, min_per_second }
    }

    /// How many of `wanted` retries are granted at `now`.
    fn granted(budget: &RetryBudget, rule: &model::RetryBudget, wanted: usize, now: Timestamp) -> usize {
        (0..wanted).filter(|_| budget.try_retry(rule, now)).count()
    }

    #[test]
    fn a_share_of_the_requests_may_be_retried_and_a_floor_always() {
        // requests at 5 s, percent, floor; granted of 1000 retries at 5 s
        let table = [
            (0, 20, 10, 10),
            (100, 20, 10, 20),
            (1000, 20, 10, 200),
            (1000, 0, 10, 10),
            (1000, 20, 0, 200),
            (4, 20, 0, 0),
            (5, 20, 0, 1),
            (0, 0, 0, 0),
        ];
        for (requests, percent, floor, expected) in table {
            let budget = RetryBudget::default();
            (0..requests).for_each(|_| budget.request(Timestamp::secs(5)));
            let got = granted(&budget, &rule(percent, floor), 1000, Timestamp::secs(5));
            assert_eq!(got, expected, "{requests} requests, {percent} %, floor {floor}");
        }
    }

    #[test]
    fn the_floor_is_per_second() {
        let budget = RetryBudget::default();
        for second in 1..30 {
            assert_eq!(granted(&budget, &rule(20, 10), 50, Timestamp::secs(second)), 10, "second {second}");
        }
    }

    #[test]
    fn requests_count_for_ten_seconds() {
        for (later, expected) in [(0, 20), (9, 20), (10, 0), (11, 0), (1000, 0)] {
            let budget = RetryBudget::default();
            (0..100).for_each(|_| budget.request(Timestamp::secs(5)));
            assert_eq!(granted(&budget, &rule(20, 0), 100, Timestamp::secs(5 + later)), expected, "{later} s later");
        }
    }

    #[test]
    fn a_refund_is_granted_again_once() {
        let (budget, now) = (RetryBudget::default(), Timestamp::secs(5));
        assert_eq!(granted(&budget, &rule(0, 3), 9, now), 3);
        budget.refund(now);
        assert_eq!(granted(&budget, &rule(0, 3), 9, now), 1);
    }

    #[test]
    fn a_refund_of_a_second_long_past_changes_nothing() {
        let budget = RetryBudget::default();
        assert_eq!(granted(&budget, &rule(0, 3), 9, Timestamp::secs(5)), 3);
        budget.refund(Timestamp::secs(4));
        budget.refund(Timestamp::secs(15));
        assert_eq!(granted(&budget, &rule(0, 3), 9, Timestamp::secs(5)), 0);
    }

    #[test]
    fn threads_never_get_more_than_the_budget_together() {
        let (budget, now) = (RetryBudget::default(), Timestamp::secs(5));
        (0..1000).for_each(|_| budget.request(now));
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| granted(&budget, &rule(20, 10), 500, now))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread that only counts")).sum()
        });
        assert!(taken <= 200, "{taken}");
        assert!(taken >= 190, "{taken}: refusals at the border only");
    }
}
