//! How much may a connection move before it is another's turn?
//!
//! One that always has something to read, or room to write, would keep its thread for ever. Whoever polls several connections
//! gives each a budget; elsewhere tokio's own holds, which is one for each of its tasks.

use std::cell::Cell;
use std::task::{Context, Poll, ready};

use tokio::task::coop;

/// No budget was given: the connection is polled by tokio.
const NONE: u32 = u32::MAX;
/// Reads and writes of one turn: tokio's number for a task.
const TURN: u32 = 128;

thread_local! {
    static LEFT: Cell<u32> = const { Cell::new(NONE) };
}

/// Polls a connection with a budget of its own.
pub fn within<T>(poll: impl FnOnce() -> T) -> T {
    /// Ends the turn, whether the poll returns or panics.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            LEFT.set(NONE);
        }
    }
    let _end = End;
    LEFT.set(TURN);
    poll()
}

/// Makes a step while something is left. It costs nothing unless it is ready then. Otherwise the task is woken, and goes on after the
/// others.
#[inline]
pub fn step<T>(cx: &mut Context<'_>, go: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    let left = LEFT.get();
    let of_task = match left {
        NONE => Some(ready!(coop::poll_proceed(cx))),
        0 => {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        _ => None,
    };
    let made = go(cx);
    if made.is_ready() {
        match of_task {
            Some(restore) => restore.made_progress(),
            None => LEFT.set(left - 1),
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn steps() -> u32 {
        let mut cx = Context::from_waker(Waker::noop());
        let mut made = 0;
        while step(&mut cx, |_| Poll::Ready(())).is_ready() {
            made += 1;
            if made > 10 * TURN {
                break;
            }
        }
        made
    }

    #[test]
    fn a_turn_has_so_many_steps_and_the_next_has_them_again() {
        assert_eq!(within(steps), TURN);
        assert_eq!(within(steps), TURN);
    }

    #[test]
    fn a_step_that_was_not_made_costs_nothing() {
        within(|| {
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..2 * TURN {
                assert!(step(&mut cx, |_| Poll::<()>::Pending).is_pending());
            }
            assert_eq!(steps(), TURN);
        });
    }

    #[test]
    fn after_a_panic_there_is_no_budget_left_behind() {
        let panicked = std::panic::catch_unwind(|| within(|| panic!("on purpose")));
        assert!(panicked.is_err());
        assert_eq!(LEFT.get(), NONE);
    }
}
