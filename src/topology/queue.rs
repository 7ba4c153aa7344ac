//! In which order do requests wait for room? First come, first served, over all workers.
//!
//! An event that may have made room (a slot was freed, a peer came back) starts a *pass*: the turn goes to the first
//! ticket, whose owner tries to get a lease on its own worker. If it gets one and no other event is left, the pass is
//! over; if not, the turn goes to the next ticket. So one freed slot wakes one request as a rule, and a request that
//! cannot use the free peer (it has tried it) does not keep others from it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

/// The line of a group. Requests that get a lease at once never touch its lock.
#[derive(Debug, Default)]
pub(super) struct Queue {
    line: Mutex<Line>,
    waiting: AtomicUsize,
    passing: AtomicBool,
    overflows: AtomicU64,
}

#[derive(Debug, Default)]
struct Line {
    /// In the order of arrival.
    tickets: VecDeque<Place>,
    issued: u64,
    /// Whose turn it is.
    turn: Option<u64>,
    /// How many more tickets this pass may serve.
    room: usize,
    /// Something happened after the pass had begun: those it has passed by may be served now.
    again: bool,
}

#[derive(Debug)]
struct Place {
    number: u64,
    called: Arc<Notify>,
}

impl Queue {
    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        // SeqCst, as `enter` and the release of a slot: of the one who frees a slot and the one who queues up for it, at
        // least one sees the other.
        self.waiting.load(SeqCst)
    }

    /// How many were turned away because the line was full.
    pub(super) fn overflows(&self) -> u64 {
        self.overflows.load(Relaxed)
    }

    /// Whether a newcomer must queue up. Not when the last pass ended with nobody served: what is free now is of no
    /// use to those who wait.
    pub(super) fn must_wait(&self) -> bool {
        self.waiting() > 0 && self.passing.load(SeqCst)
    }

    /// A ticket at the end of the line, or `None` if `size` wait already. If no pass is under way the newcomer has the
    /// turn, so that it looks once more after it can be seen.
    pub(super) fn enter(self: &Arc<Queue>, size: usize) -> Option<Ticket> {
        let mut line = self.lock();
        if line.tickets.len() >= size {
            self.overflows.fetch_add(1, Relaxed);
            return None;
        }
        line.issued += 1;
        let (number, called) = (line.issued, Arc::new(Notify::new()));
        line.tickets.push_back(Place { number, called: called.clone() });
        self.waiting.store(line.tickets.len(), SeqCst);
        if line.turn.is_none() {
            line.room = 0;
            self.call(&mut line, Some((number, called.clone())));
        }
        drop(line);
        Some(Ticket { queue: self.clone(), number, called })
    }

    /// A slot became free.
    pub(super) fn room(&self) {
        self.start(1);
    }

    /// Anything may be possible now: a peer came back, or there are others.
    pub(super) fn sweep(&self) {
        self.start(usize::MAX);
    }

    fn start(&self, room: usize) {
        if self.waiting() == 0 {
            return;
        }
        let mut line = self.lock();
        line.room = line.room.saturating_add(room);
        match line.turn {
            Some(_) => line.again = true,
            None => {
                let first = line.tickets.front().map(|place| (place.number, place.called.clone()));
                self.call(&mut line, first);
            }
        }
    }

    /// The owner of ticket `number` is done with its turn, or leaves the line, or both.
    fn done(&self, number: u64, served: bool, leaves: bool) {
        let mut line = self.lock();
        let at = line.tickets.partition_point(|place| place.number < number);
        if leaves && line.tickets.get(at).is_some_and(|place| place.number == number) {
            line.tickets.remove(at);
            self.waiting.store(line.tickets.len(), SeqCst);
        }
        if line.turn != Some(number) {
            return;
        }
        if served {
            line.room = line.room.saturating_sub(1);
        }
        let next = if std::mem::take(&mut line.again) {
            line.tickets.front()
        } else if line.room == 0 && served {
            None
        } else {
            let next = line.tickets.partition_point(|place| place.number <= number);
            line.tickets.get(next)
        };
        let next = next.map(|place| (place.number, place.called.clone()));
        self.call(&mut line, next);
    }

    fn call(&self, line: &mut Line, next: Option<(u64, Arc<Notify>)>) {
        self.passing.store(next.is_some(), SeqCst);
        if next.is_none() {
            line.room = 0;
        }
        line.turn = next.as_ref().map(|(number, _)| *number);
        if let Some((_, called)) = next {
            called.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // Nothing in here panics half way; and a line that cannot be entered any more would be worse than any state of it.
        self.line.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A place in the line. Dropped, it is given up, and the turn with it: also when the client left.
#[derive(Debug)]
pub(super) struct Ticket {
    queue: Arc<Queue>,
    number: u64,
    called: Arc<Notify>,
}

impl Ticket {
    /// Waits for the turn. May be dropped and called again.
    pub(super) async fn turn(&self) {
        // A call leaves a permit, so none is missed between two waits. The turn is asked for all the same: a permit may
        // be an old one.
        while !self.has_turn() {
            self.called.notified().await;
        }
    }

    /// Whether it is this ticket's turn.
    pub(super) fn has_turn(&self) -> bool {
        self.queue.lock().turn == Some(self.number)
    }

    /// Could not be served; stays in line.
    pub(super) fn pass(&self) {
        self.queue.done(self.number, false, false);
    }

    /// Was served.
    pub(super) fn served(self) {
        self.queue.done(self.number, true, true);
        // `drop` finds no such ticket any more.
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queue.done(self.number, false, true);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn line(size: usize) -> (Arc<Queue>, Vec<Ticket>) {
        let queue = Arc::new(Queue::default());
        let tickets: Vec<Ticket> = (0..size).map(|_| queue.enter(size).expect("as many as it takes")).collect();
        // Each looked once when it came, in vain.
        tickets.iter().filter(|ticket| ticket.has_turn()).for_each(Ticket::pass);
        tickets.iter().filter(|ticket| ticket.has_turn()).for_each(Ticket::pass);
        (queue, tickets)
    }

    /// Whose turn it is, by position.
    fn turn(tickets: &[Ticket]) -> Option<usize> {
        tickets.iter().position(Ticket::has_turn)
    }

    #[test]
    fn a_newcomer_looks_once_then_waits() {
        let queue = Arc::new(Queue::default());
        let ticket = queue.enter(1).expect("room for one");
        assert!(ticket.has_turn());
        ticket.pass();
        assert!(!ticket.has_turn());
    }

    #[test]
    fn freed_slots_are_served_in_the_order_of_arrival() {
        let (queue, mut tickets) = line(4);
        for left in (1..=4).rev() {
            queue.room();
            assert_eq!(turn(&tickets), Some(0));
            tickets.remove(0).served();
            assert_eq!((turn(&tickets), queue.waiting()), (None, left - 1), "one slot, one turn");
        }
    }

    #[test]
    fn who_cannot_use_the_slot_hands_the_turn_on() {
        let (queue, tickets) = line(3);
        queue.room();
        for expected in [Some(0), Some(1), Some(2), None] {
            assert_eq!(turn(&tickets), expected);
            expected.inspect(|&at| tickets[at].pass());
        }
    }

    #[test]
    fn two_slots_serve_two_and_a_sweep_asks_all() {
        let (queue, mut tickets) = line(4);
        queue.room();
        queue.room();
        tickets.remove(0).served();
        assert_eq!(turn(&tickets), Some(0));
        tickets.remove(0).served();
        assert_eq!(turn(&tickets), None);
        queue.sweep();
        tickets.remove(0).served();
        assert_eq!(turn(&tickets), Some(0));
    }

    #[test]
    fn an_event_during_a_pass_starts_again_from_the_front() {
        let (queue, tickets) = line(3);
        queue.room();
        tickets[0].pass();
        queue.room();
        tickets[1].pass();
        assert_eq!(turn(&tickets), Some(0));
    }

    #[test]
    fn a_leaving_owner_hands_the_turn_on() {
        let (queue, mut tickets) = line(3);
        queue.room();
        drop(tickets.remove(0));
        assert_eq!((turn(&tickets), queue.waiting()), (Some(0), 2));
        drop(tickets.remove(1));
        assert_eq!((turn(&tickets), queue.waiting()), (Some(0), 1), "another's turn stays");
    }

    #[test]
    fn a_full_line_turns_away_and_counts() {
        let (queue, tickets) = line(2);
        assert!(queue.enter(2).is_none());
        assert!(queue.enter(2).is_none());
        assert_eq!(queue.overflows(), 2);
        drop(tickets);
        assert!(queue.enter(2).is_some());
    }

    #[test]
    fn newcomers_queue_up_only_while_a_pass_is_under_way() {
        let (queue, tickets) = line(2);
        assert!(!queue.must_wait(), "nobody here can use what is free");
        queue.room();
        assert!(queue.must_wait());
        let newcomer = queue.enter(3).expect("room for a third");
        assert!(!newcomer.has_turn());
        tickets[0].pass();
        tickets[1].pass();
        assert!(newcomer.has_turn());
    }

    #[test]
    fn an_empty_line_ignores_events() {
        let queue = Arc::new(Queue::default());
        queue.room();
        queue.sweep();
        assert!(!queue.must_wait());
    }

    #[tokio::test(start_paused = true)]
    async fn the_turn_wakes_its_owner_alone() {
        let (queue, tickets) = line(2);
        queue.room();
        let patience = Duration::from_secs(60);
        assert!(timeout(patience, tickets[0].turn()).await.is_ok());
        assert!(timeout(patience, tickets[1].turn()).await.is_err());
        tickets[0].pass();
        assert!(timeout(patience, tickets[1].turn()).await.is_ok());
    }
}
