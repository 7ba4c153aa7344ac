//! Was it the peer that was late, or weir itself? Work within a limit, beside a tick that notices when it is served
//! late.

use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep_until;

use crate::clock::{Clock, Timestamp};

/// How the work went.
pub(super) struct Watched<T> {
    /// What the work gave; `None` if its time was over first.
    pub outcome: Option<T>,
    /// How long it took.
    pub took: Duration,
    /// The latest that any tick was served after it was due.
    pub lag: Duration,
}

/// Drives `work` for at most `limit`.
pub(super) async fn within<F: Future>(limit: Duration, work: F) -> Watched<F::Output> {
    let clock = Clock::process();
    let began = clock.now();
    let step = (limit / 10).max(Duration::from_millis(5));
    let until = |at: Timestamp| clock.instant(at);

    let mut due = began + step;
    let mut lag = Duration::ZERO;
    let mut tick = pin!(sleep_until(until(due)));
    let mut end = pin!(sleep_until(until(began + limit)));
    let mut work = pin!(work);
    let outcome = loop {
        // After a stall all three may be ready: the lateness is noted first, and an answer that came while weir was
        // not looking still counts as one.
        tokio::select! {
            biased;
            () = tick.as_mut() => {
                let now = clock.now();
                lag = lag.max(now.since(due));
                due = now + step;
                tick.as_mut().reset(until(due));
            }
            outcome = work.as_mut() => break Some(outcome),
            () = end.as_mut() => break None,
        }
    };
    Watched { outcome, took: clock.now().since(began), lag }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, poll_fn, ready};
    use std::task::Poll;

    const LIMIT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn work_that_never_ends_takes_the_limit() {
        let watched = within(LIMIT, pending::<()>()).await;
        assert_eq!((watched.outcome, watched.took.as_secs()), (None, 1));
        assert!(watched.lag < Duration::from_millis(5), "{:?}", watched.lag);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_done_takes_no_time() {
        let watched = within(LIMIT, ready(7)).await;
        assert_eq!((watched.outcome, watched.took), (Some(7), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_runtime_that_stood_still_is_reported_as_lag() {
        let mut stalled = false;
        let stalls_for_a_while = poll_fn(|_| {
            if !stalled {
                stalled = true;
                // As if another task had held the thread: time goes by, and nobody is polled.
                let mut advance = pin!(tokio::time::advance(Duration::from_millis(800)));
                let _ = advance.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
            }
            Poll::<()>::Pending
        });
        let watched = within(LIMIT, stalls_for_a_while).await;
        assert_eq!(watched.outcome, None);
        assert_eq!(watched.lag.as_millis() / 10, 70, "due after 100 ms, served after 800");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_came_during_a_stall_counts_although_the_time_is_over() {
        let mut polls = 0;
        let answers_meanwhile = poll_fn(|_| {
            polls += 1;
            if polls == 1 {
                let mut advance = pin!(tokio::time::advance(Duration::from_secs(3)));
                let _ = advance.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
                return Poll::Pending;
            }
            Poll::Ready("here")
        });
        let watched = within(LIMIT, answers_meanwhile).await;
        assert_eq!(watched.outcome, Some("here"));
        assert!(watched.lag >= LIMIT, "{:?}", watched.lag);
    }
}
