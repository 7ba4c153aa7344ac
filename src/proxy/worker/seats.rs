//! Which connections does the worker have, and how are they reached? Each has a seat, and in it a slot that the worker writes to.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::Worker;
use crate::id::PeerId;

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
#[derive(Debug, Default)]
pub struct Slot {
    waker: RefCell<Option<Waker>>,
    waits_for: Cell<Option<PeerId>>,
    abandoned: Cell<bool>,
    gone: Cell<bool>,
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
