//! Which connections does the worker have, and how are they reached? Each has a seat, and in it a slot that the worker writes to.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::Worker;
use crate::clock::Timestamp;
use crate::id::PeerId;

/// How many places are looked at in one go.
const LOOKS: usize = 4_096;
/// How many of them are told to park: what that takes keeps others waiting.
const TOLD: usize = 256;

/// The connections of a worker.
#[derive(Debug, Default)]
pub(super) struct Seats {
    slots: RefCell<slab::Slab<Rc<Slot>>>,
}

impl Seats {
    /// Whether there is no connection.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.borrow().is_empty()
    }

    /// Lets all look around.
    pub(super) fn wake_all(&self) {
        for (_, slot) in self.slots.borrow().iter() {
            slot.wake();
        }
    }

    /// Tells those to park that have been idle since `before`, of some places from `from` on. Returns where to go on; `None`: those were
    /// the last.
    pub(super) fn park_idle(&self, before: Timestamp, from: usize) -> Option<usize> {
        let slots = self.slots.borrow();
        let (all, mut told) = (slots.capacity(), 0);
        for place in from..all.min(from + LOOKS) {
            if let Some(slot) = slots.get(place)
                && slot.idle_since.get() <= before
            {
                slot.told_to_park.set(true);
                slot.wake();
                told += 1;
            }
            if told == TOLD {
                return Some(place + 1);
            }
        }
        (from + LOOKS < all).then_some(from + LOOKS)
    }

    /// Whoever waits for this peer waits in vain.
    pub(super) fn abandon(&self, peer: PeerId) {
        for (_, slot) in self.slots.borrow().iter() {
            if slot.waits_for.get() == Some(peer) {
                slot.abandoned.set(true);
                slot.wake();
            }
        }
    }

    /// Whoever is about to connect to one of these does so in vain.
    pub(super) fn forget(&self, gone: &[PeerId]) {
        let gone: HashSet<PeerId> = gone.iter().copied().collect();
        for (_, slot) in self.slots.borrow().iter() {
            if slot.waits_for.get().is_some_and(|peer| gone.contains(&peer)) {
                slot.gone.set(true);
                slot.wake();
            }
        }
    }
}

/// What the worker keeps of one client connection, to reach it.
#[derive(Debug)]
pub struct Slot {
    waker: RefCell<Option<Waker>>,
    waits_for: Cell<Option<PeerId>>,
    abandoned: Cell<bool>,
    gone: Cell<bool>,
    /// `NEVER`: it is not.
    idle_since: Cell<Timestamp>,
    told_to_park: Cell<bool>,
}

impl Default for Slot {
    fn default() -> Slot {
        Slot {
            waker: RefCell::default(),
            waits_for: Cell::default(),
            abandoned: Cell::default(),
            gone: Cell::default(),
            idle_since: Cell::new(Timestamp::NEVER),
            told_to_park: Cell::default(),
        }
    }
}

impl Slot {
    /// Remembers who to wake. A task's waker does not change, so this is done once.
    pub fn register(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// The task that waits for this is the one to wake.
    pub async fn occupy(&self) {
        poll_fn(|cx| {
            self.register(cx.waker());
            Poll::Ready(())
        })
        .await;
    }

    /// From now on the connection waits for an answer of `peer`, or with `None` for nobody.
    pub fn wait_for(&self, peer: Option<PeerId>) {
        self.waits_for.set(peer);
        self.abandoned.set(false);
        self.gone.set(false);
    }

    /// From now on the connection is idle, unless it is already. Since when.
    pub fn begin_idle(&self, now: Timestamp) -> Timestamp {
        let since = self.idle_since.get().min(now);
        self.idle_since.set(since);
        since
    }

    /// It is not idle any more.
    pub fn end_idle(&self) {
        self.idle_since.set(Timestamp::NEVER);
        self.told_to_park.set(false);
    }

    /// Since when it is idle; [`Timestamp::NEVER`]: it is not.
    pub fn idle_since(&self) -> Timestamp {
        self.idle_since.get()
    }

    /// Whether it has been idle for so long that it is to be parked. Said once.
    pub fn is_told_to_park(&self) -> bool {
        self.told_to_park.take()
    }

    /// Whether the peer was found unreachable since [`Slot::wait_for`].
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.get()
    }

    /// Whether a connect to the peer is in vain: it was found unreachable, or is gone from DNS or the configuration. What
    /// was sent to one that is gone is still answered.
    pub fn is_connect_vain(&self) -> bool {
        self.abandoned.get() || self.gone.get()
    }

    /// Lets the connection's task look around.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// A connection's place among the worker's, given back on drop.
pub struct Seat {
    /// Whose place it is.
    pub worker: Rc<Worker>,
    key: usize,
    /// The place.
    pub slot: Rc<Slot>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.worker.seats.slots.borrow_mut().remove(self.key);
    }
}

impl Seat {
    /// A place of this worker's.
    pub(super) fn take(worker: Rc<Worker>) -> Seat {
        let slot = Rc::new(Slot::default());
        let key = worker.seats.slots.borrow_mut().insert(Rc::clone(&slot));
        Seat { worker, key, slot }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_been_idle_is_told_to_park_some_at_a_time_and_nobody_else_is() {
        let seats = Seats::default();
        let idle = |place| match place {
            0..300 => Some(Timestamp::secs(1)),
            310 => Some(Timestamp::secs(3)),
            320 => Some(Timestamp::secs(4)),
            place if place == LOOKS + 500 => Some(Timestamp::secs(2)),
            _ => None,
        };
        for place in 0..2 * LOOKS {
            let slot = Rc::new(Slot::default());
            if let Some(since) = idle(place) {
                slot.begin_idle(since);
            }
            assert_eq!(seats.slots.borrow_mut().insert(slot), place);
        }
        let told = || {
            let slots = seats.slots.borrow();
            slots.iter().filter(|(_, slot)| slot.is_told_to_park()).map(|(place, _)| place).collect::<Vec<_>>()
        };
        let before = Timestamp::secs(3);
        assert_eq!(seats.park_idle(before, 0), Some(TOLD));
        assert_eq!(told(), (0..TOLD).collect::<Vec<_>>());
        let next = seats.park_idle(before, TOLD);
        assert_eq!(next, Some(TOLD + LOOKS));
        assert_eq!(told(), (TOLD..300).chain([310]).collect::<Vec<_>>());
        assert_eq!(seats.park_idle(before, TOLD + LOOKS), None);
        assert_eq!(told(), [LOOKS + 500]);
    }

    #[test]
    fn a_pause_lasts_until_something_is_said() {
        let slot = Slot::default();
        assert_eq!(slot.idle_since(), Timestamp::NEVER);
        assert_eq!(slot.begin_idle(Timestamp::secs(1)), Timestamp::secs(1));
        assert_eq!(slot.begin_idle(Timestamp::secs(9)), Timestamp::secs(1));
        slot.end_idle();
        assert_eq!(slot.begin_idle(Timestamp::secs(9)), Timestamp::secs(9));
    }
}
