//! One timer per connection for all its time-outs, touched as little as possible.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock::{Clock, Timestamp};

/// A moving deadline. Moving it later costs nothing: the timer fires early, sees the later deadline, and goes back to
/// sleep. Only moving it before the armed time touches the timer.
#[derive(Debug)]
pub struct Deadline {
    at: Timestamp,
    latest: Timestamp,
    armed: Timestamp,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom the timer wakes: who polls again need not say so again.
    wakes: Option<Waker>,
}

impl Default for Deadline {
    fn default() -> Deadline {
        Deadline::new()
    }
}

impl Deadline {
    /// No deadline yet.
    pub fn new() -> Deadline {
        Deadline { at: Timestamp::NEVER, latest: Timestamp::NEVER, armed: Timestamp::NEVER, sleep: None, wakes: None }
    }

    /// Ends the wait `limit` after `now`. A zero limit ends it at once.
    pub fn set(&mut self, now: Timestamp, limit: Duration) {
        self.at = (now + limit).min(self.latest);
    }

    /// No wait goes on after `latest`, whatever its own limit.
    pub fn bound(&mut self, latest: Timestamp) {
        self.latest = latest;
        self.at = self.at.min(latest);
    }

    /// Whether the bound of all waits has passed.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.latest
    }

    /// The earlier of the present deadline and `limit` after `now`.
    pub fn tighten(&mut self, now: Timestamp, limit: Duration) {
        self.at = self.at.min(now + limit);
    }

    /// Waits for ever, or until the bound of all waits.
    pub fn clear(&mut self) {
        self.at = self.latest;
    }

    /// When the wait ends.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Ready when the deadline has passed.
    #[inline]
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.at >= self.armed && self.is_asleep(cx) { Poll::Pending } else { self.poll_timer(cx) }
    }

    /// Whether the timer has not fired, and whoever polls is woken when it does.
    fn is_asleep(&self, cx: &Context<'_>) -> bool {
        let sleeps = self.sleep.as_ref().is_some_and(|sleep| !sleep.is_elapsed());
        sleeps && self.wakes.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.at == Timestamp::NEVER {
            return Poll::Pending;
        }
        if self.at < self.armed || self.sleep.is_none() {
            self.arm();
        }
        loop {
            if self.is_asleep(cx) {
                return Poll::Pending;
            }
            let Some(sleep) = self.sleep.as_mut() else { return Poll::Pending };
            // A task that has used up its turn is put off without a word to the timer.
            let heard = coop::has_budget_remaining();
            if sleep.as_mut().poll(cx).is_pending() {
                self.wakes = heard.then(|| cx.waker().clone());
                return Poll::Pending;
            }
            if Clock::process().now() >= self.at {
                return Poll::Ready(());
            }
            self.arm();
        }
    }

    fn arm(&mut self) {
        self.armed = self.at;
        self.wakes = None;
        // The timer counts whole milliseconds and rounds up: never early.
        let instant: Instant = Clock::process().instant(self.at);
        match self.sleep.as_mut() {
            Some(sleep) => sleep.as_mut().reset(instant),
            None => self.sleep = Some(Box::pin(sleep_until(instant))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moved_later_passes_later() {
        let clock = Clock::process();
        let began = clock.now();
        let mut deadline = Deadline::new();
        deadline.set(began, Duration::from_secs(1));
        assert!(poll_fn(|cx| Poll::Ready(deadline.poll(cx).is_pending())).await);
        deadline.set(began, Duration::from_secs(3));
        poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(clock.now().since(began).as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_goes_beyond_the_bound_of_all() {
        let clock = Clock::process();
        let began = clock.now();
        let mut deadline = Deadline::new();
        deadline.bound(began + Duration::from_secs(2));
        deadline.set(began, Duration::from_secs(60));
        assert!(!deadline.is_over(clock.now()));
        poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(clock.now().since(began).as_secs(), 2);
        assert!(deadline.is_over(clock.now()));
    }

    /// A task that nobody wakes has polled it, and was told to wait for a minute.
    fn polled_by_another(clock: Clock) -> Deadline {
        let mut deadline = Deadline::new();
        deadline.set(clock.now(), Duration::from_secs(60));
        assert!(deadline.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        deadline
    }

    /// How many seconds it takes until a task hears of it; one that is never woken looks again after an hour.
    async fn heard_after(waits: impl Future<Output = ()>) -> u64 {
        let began = Clock::process().now();
        tokio::time::timeout(Duration::from_secs(3_600), waits).await.expect("it has passed by then");
        Clock::process().now().since(began).as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_polled_last_is_woken() {
        let mut deadline = polled_by_another(Clock::process());
        assert_eq!(heard_after(poll_fn(|cx| deadline.poll(cx))).await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moved_at_the_end_of_a_turn_passes_as_well() {
        let clock = Clock::process();
        let mut deadline = polled_by_another(clock);
        deadline.set(clock.now(), Duration::from_secs(1));
        let mut first = true;
        let waits = poll_fn(|cx| {
            while first && let Poll::Ready(turn) = coop::poll_proceed(cx) {
                turn.made_progress();
            }
            first = false;
            deadline.poll(cx)
        });
        assert_eq!(heard_after(waits).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moved_earlier_passes_earlier() {
        let clock = Clock::process();
        let began = clock.now();
        let mut deadline = Deadline::new();
        deadline.set(began, Duration::from_secs(60));
        assert!(poll_fn(|cx| Poll::Ready(deadline.poll(cx).is_pending())).await);
        deadline.set(began, Duration::from_secs(2));
        poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(clock.now().since(began).as_secs(), 2);
    }
}
