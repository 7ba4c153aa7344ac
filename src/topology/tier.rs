//! Who is asked together? The primaries, or the backups, of a group, with their balancer.

use std::fmt;
use std::sync::Arc;

use super::adjust::Override;
use super::binding::Tags;
use super::lease::{Lease, Terms};
use super::offer::Ask;
use super::peer::Peer;
use super::tried::Tried;
use crate::affinity::Tag;
use crate::balancer::{Balancer, Candidates, Latency};
use crate::clock::Timestamp;
use crate::config::model::UpstreamServer;
use crate::health::{self, Admission};

/// A peer with the parameters that this snapshot gives it.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Who.
    pub peer: Arc<Peer>,
    /// Its `server` as configured, with the values that operators gave it instead.
    pub server: Arc<UpstreamServer>,
    /// What operators want of it; the last of a kind holds.
    pub overrides: Vec<Override>,
    /// What stands for it in a cookie; `None`: its group binds nobody, or nobody to it.
    pub tag: Option<Tag>,
}

/// The primaries, or the backups, of a group.
pub struct Tier {
    /// Which.
    pub which: health::Tier,
    /// In the order of the file; those found by one name, by address.
    pub seats: Vec<Seat>,
    pub(super) balancer: Arc<dyn Balancer>,
    /// Whether the key decides who is asked.
    pub(super) keyed: bool,
    pub(super) tags: Tags,
}

impl Tier {
    /// A lease of a peer that is up, or of one whose trial is due. `trials`: whether to look for one first.
    pub(super) fn lease(&self, ask: &Ask<'_>, trials: bool, now: Timestamp) -> Option<Lease> {
        if trials
            && ask.repeatable
            && !self.keyed
            && let Some(lease) = self.due_trial(ask, now)
        {
            return Some(lease);
        }
        // A pick and the lease are two steps: another worker may take the last slot, or the trial, in between. Whoever
        // was lost so is not picked again, so each turn of the loop has one peer less.
        let mut lost = Tried::new();
        for _ in 0..=self.seats.len() {
            let offer = Offer { tier: self, ask, lost: &lost, now };
            let seat = self.seats.get(self.balancer.pick(&offer, ask.key)?)?;
            let terms = match seat.peer.cell.admission(now) {
                Admission::Ordinary => Some(Terms::Ordinary),
                Admission::Trial => Some(Terms::Trial),
                _ => None,
            };
            match terms.and_then(|terms| Lease::take(seat, terms, ask, now)) {
                Some(lease) => return Some(lease),
                None => lost.insert(seat.peer.id),
            }
        }
        None
    }

    /// The trial of a peer whose time has passed, if it can be had.
    fn due_trial(&self, ask: &Ask<'_>, now: Timestamp) -> Option<Lease> {
        let due = self.seats.iter().filter(|seat| seat.peer.cell.admission(now) == Admission::Trial);
        due.filter(|seat| !ask.tried.contains(seat.peer.id)).find_map(|seat| Lease::take(seat, Terms::Trial, ask, now))
    }

    /// When the next trial of this tier is due.
    pub(super) fn next_trial(&self, now: Timestamp) -> Timestamp {
        let out = self.seats.iter().filter(|seat| seat.peer.cell.admission(now) != Admission::Ordinary);
        out.filter_map(|seat| seat.peer.cell.verdict(now).trial_due).min().unwrap_or(Timestamp::NEVER)
    }

    /// Lets the balancer hear how busy the peers are, if it asks to.
    pub(super) fn watch_seats(&self) {
        let seats = self.seats.iter().enumerate();
        seats.for_each(|(index, seat)| seat.peer.watch.set(&self.balancer, index));
    }

    /// Tells the balancer who takes part now.
    pub(super) fn tell_balancer(&self, now: Timestamp) {
        self.balancer.availability_changed(&Present { tier: self, now });
    }
}

impl Seat {
    pub(super) fn has_room(&self) -> bool {
        self.peer.has_room(self.server.max_conns)
    }
}

impl fmt::Debug for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tier").field("which", &self.which).field("seats", &self.seats).finish_non_exhaustive()
    }
}

/// The tier as one request may choose from it. The one place that says who may be picked.
struct Offer<'a> {
    tier: &'a Tier,
    ask: &'a Ask<'a>,
    lost: &'a Tried,
    now: Timestamp,
}

impl Candidates for Offer<'_> {
    fn count(&self) -> usize {
        self.tier.seats.len()
    }

    fn eligible(&self, i: usize) -> bool {
        let seat = &self.tier.seats[i];
        let admitted = match seat.peer.cell.admission(self.now) {
            Admission::Ordinary => true,
            Admission::Trial => self.tier.keyed && self.ask.repeatable,
            _ => false,
        };
        let id = seat.peer.id;
        admitted && seat.has_room() && !self.ask.tried.contains(id) && !self.lost.contains(id)
    }

    fn in_flight(&self, i: usize) -> u32 {
        self.tier.seats[i].peer.in_flight()
    }

    fn latency(&self, i: usize) -> &Latency {
        &self.tier.seats[i].peer.latency
    }

    fn ramp(&self, i: usize) -> u32 {
        self.tier.seats[i].peer.cell.ramp(self.now)
    }

    fn now(&self) -> Timestamp {
        self.now
    }
}

/// The tier as it is for everybody: who takes part.
struct Present<'a> {
    tier: &'a Tier,
    now: Timestamp,
}

impl Candidates for Present<'_> {
    fn count(&self) -> usize {
        self.tier.seats.len()
    }

    fn eligible(&self, i: usize) -> bool {
        self.tier.seats[i].peer.cell.admission(self.now) == Admission::Ordinary
    }

    fn in_flight(&self, i: usize) -> u32 {
        self.tier.seats[i].peer.in_flight()
    }

    fn latency(&self, i: usize) -> &Latency {
        &self.tier.seats[i].peer.latency
    }

    fn ramp(&self, i: usize) -> u32 {
        self.tier.seats[i].peer.cell.ramp(self.now)
    }

    fn now(&self) -> Timestamp {
        self.now
    }
}
