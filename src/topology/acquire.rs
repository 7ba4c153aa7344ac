//! How does a request wait for a peer?

use std::pin::pin;
use std::sync::Arc;

use tokio::select;
use tokio::time::sleep_until;

use super::group::Group;
use super::lease::Lease;
use super::offer::{Ask, Nobody, Patience, Refused, WaitFor, Why};
use super::queue::Ticket;
use crate::clock::{Clock, Timestamp};

/// A lease, waiting for it where the group's rules say so: in its queue while all peers are full, and for the first
/// verdict of a probe. `current` gives the group as it is now (`None`: a reload has removed it), and is asked anew after
/// each wait, so that no old snapshot is held and new peers are seen. Dropped, the request leaves the queue.
pub async fn acquire(
    mut current: impl FnMut() -> Option<Arc<Group>>,
    ask: &Ask<'_>,
    clock: &Clock,
) -> Result<Lease, Nobody> {
    let mut ticket: Option<Ticket> = None;
    let mut until = Deadlines::default();
    loop {
        let group = current().ok_or_else(Nobody::no_group)?;
        let state = group.state.clone();
        // Before the look, so that no change after it is missed.
        let mut changed = pin!(state.changed.notified());
        changed.as_mut().enable();

        let now = clock.now();
        let has_turn = ticket.as_ref().is_some_and(Ticket::has_turn);
        let waited_for_verdict = until.verdict.is_some_and(|until| now >= until);
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
                    let room_until = *until.room.get_or_insert(now + queue.timeout);
                    select! {
                        biased;
                        () = ticket.turn() => {}
                        () = sleep_until(clock.instant(room_until)) => return Err(Nobody::for_room(Why::QueueTimeout)),
                    }
                }
            },
            (Refused::Wait(WaitFor::Verdict), _, Some(check)) => {
                let verdict_until = *until.verdict.get_or_insert(now + check.timeout);
                drop(group);
                select! {
                    () = changed => {}
                    () = sleep_until(clock.instant(verdict_until)) => {}
                }
            }
            // A wait is offered only where the configuration has one.
            (Refused::Wait(_), ..) => return Err(group.nobody(ask, now)),
            (Refused::Nobody(nobody), ..) => return Err(nobody),
        }
    }
}

/// Each wait has one limit, however often it is interrupted.
#[derive(Default)]
struct Deadlines {
    room: Option<Timestamp>,
    verdict: Option<Timestamp>,
}
