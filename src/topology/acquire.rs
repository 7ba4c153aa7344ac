//! How does a request wait for a peer?

use std::ops::Deref;
use std::pin::pin;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::select;
use tokio::time::sleep_until;

use super::group::{Group, GroupState};
use super::lease::Lease;
use super::offer::{Ask, Nobody, Patience, Refused, WaitFor, Why};
use super::queue::Ticket;
use crate::clock::{Clock, Timestamp};

/// A lease, waiting for it where the group's rules say so: in its queue while all peers are full, and for the first
/// verdict of a probe. `current` gives the group as it is now (`None`: a reload has removed it), and is asked anew after
/// each wait, so that no old snapshot is held and new peers are seen. Dropped, the request leaves the queue.
pub async fn acquire<G: Deref<Target = Group>>(
    mut current: impl FnMut() -> Option<G>,
    ask: &Ask<'_>,
    clock: &Clock,
) -> Result<Lease, Nobody> {
    let mut ticket: Option<Ticket> = None;
    // Each wait has one limit, however often it is interrupted.
    let mut room_until = None;
    let mut verdict = Verdict::NotAwaited;
    loop {
        let group = current().ok_or_else(Nobody::no_group)?;
        let state = group.state.clone();
        // Before the look, so that no change after it is missed.
        let mut changed = pin!(state.changed.notified());
        changed.as_mut().enable();

        let now = clock.now();
        let has_turn = ticket.as_ref().is_some_and(Ticket::has_turn);
        let waited_for_verdict = verdict.is_not_to_come(now);
        let refused = match group.offer(ask, Patience { has_turn, waited_for_verdict }, now) {
            Ok(lease) => {
                ticket.into_iter().for_each(Ticket::served);
                return Ok(lease);
            }
            Err(refused) => refused,
        };
        if has_turn {
            ticket.iter().for_each(Ticket::pass);
        }
        match (refused, group.config.queue, &group.config.health_check) {
            (Refused::Wait(WaitFor::Room), Some(queue), _) => match &ticket {
                None => {
                    let place = state.queue.enter(queue.size);
                    ticket = Some(place.ok_or(Nobody::for_room(Why::QueueFull))?);
                }
                Some(ticket) => {
                    drop(group);
                    // From the first wait on: the look just after entering takes no time.
                    let room_until = *room_until.get_or_insert(now + queue.timeout);
                    select! {
                        biased;
                        () = ticket.turn() => {}
                        () = sleep_until(clock.instant(room_until)) => return Err(Nobody::for_room(Why::QueueTimeout)),
                    }
                }
            },
            (Refused::Wait(WaitFor::Verdict), _, Some(check)) => {
                let verdict_until = match verdict {
                    Verdict::Awaited { until, .. } => until,
                    Verdict::NotAwaited | Verdict::Crowded => {
                        verdict = match Undecided::enter(&state) {
                            Some(place) => Verdict::Awaited { until: now + check.timeout, _place: place },
                            None => Verdict::Crowded,
                        };
                        continue;
                    }
                };
                drop(group);
                select! {
                    () = changed => {}
                    () = sleep_until(clock.instant(verdict_until)) => {}
                }
            }
            // A wait is offered only where the configuration has one.
            (Refused::Wait(_), ..) => return Err(group.nobody(ask, now)),
            // If a reload has replaced the group in this moment, those who are gone by it would be nobody's fault.
            (Refused::Nobody(nobody), ..) => match current() {
                Some(present) if !ptr::eq(&*present, &*group) => {}
                _ => return Err(nobody),
            },
        }
    }
}

/// Requests that wait for a first verdict, at most, in one group: what Envoy lets wait for a connection
/// (`max_pending_requests`). The next ones go on as if they had waited.
pub(super) const MOST_UNDECIDED: usize = 1024;

/// How a request waits for the first verdict on a peer.
enum Verdict {
    NotAwaited,
    Awaited {
        until: Timestamp,
        _place: Place,
    },
    /// Enough others do.
    Crowded,
}

impl Verdict {
    fn is_not_to_come(&self, now: Timestamp) -> bool {
        match self {
            Verdict::NotAwaited => false,
            Verdict::Awaited { until, .. } => now >= *until,
            Verdict::Crowded => true,
        }
    }
}

/// How many requests wait for a verdict in a group.
#[derive(Debug, Default)]
pub(super) struct Undecided(AtomicUsize);

/// One of them.
struct Place(Arc<GroupState>);

impl Undecided {
    fn enter(group: &Arc<GroupState>) -> Option<Place> {
        let one_more = |n| (n < MOST_UNDECIDED).then_some(n + 1);
        group.undecided.0.fetch_update(Relaxed, Relaxed, one_more).is_ok().then(|| Place(Arc::clone(group)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.undecided.0.fetch_sub(1, Relaxed);
    }
}
