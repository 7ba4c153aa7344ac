//! How does a group know again to whom a request is bound? By tags: one stands for a peer, or for all that share a route.

use std::collections::HashMap;
use std::sync::Arc;

use super::group::Group;
use super::lease::{Lease, Terms};
use super::offer::Ask;
use super::tier::{Seat, Tier};
use crate::affinity::{Key, Sessions, Tag};
use crate::clock::Timestamp;
use crate::config::model::{Sticky, Upstream};
use crate::health::Admission;

/// What a group with `sticky` has for it.
#[derive(Clone, Debug)]
pub struct Binding {
    /// What its tags and cookies are made with.
    pub key: Key,
    /// What was learned, for `learn` alone.
    pub sessions: Option<Arc<Sessions>>,
}

impl Binding {
    /// The binding of a group; `None`: it has no `sticky`. `random` is this process's own key. What was learned stays as
    /// long as it is learned from the same variables.
    pub(super) fn of(upstream: &Upstream, random: &Key, old: Option<&Group>) -> Option<Binding> {
        let sticky = upstream.sticky.as_ref()?;
        let key = match sticky {
            Sticky::Cookie(cookie) => cookie.secret.as_ref().map(|secret| secret.key(&upstream.name)),
            Sticky::Route(_) | Sticky::Learn(_) => None,
        };
        let key = key.unwrap_or_else(|| random.of_group(&upstream.name));
        let sessions = match sticky {
            Sticky::Learn(learn) => Some(match old.and_then(Group::learned) {
                Some((before, sessions)) if (&before.create, &before.lookup) == (&learn.create, &learn.lookup) => {
                    Arc::clone(sessions)
                }
                _ => Arc::default(),
            }),
            Sticky::Cookie(_) | Sticky::Route(_) => None,
        };
        Some(Binding { key, sessions })
    }

    /// Gives every peer of both tiers its tag. With `sticky = { route = … }` it stands for the server's `route`, which
    /// several may share; else for one peer: for the n-th of its `route` if it has one, so that a new address changes
    /// nothing, or for its identity.
    pub(super) fn tag(&self, sticky: &Sticky, tiers: &mut [Vec<Seat>; 2]) {
        let mut ordinals: HashMap<Arc<str>, u32> = HashMap::new();
        for seat in tiers.iter_mut().flatten() {
            seat.tag = match (sticky, &seat.server.route) {
                (Sticky::Route(_), route) => route.as_ref().map(|route| self.key.tag(&[route.as_bytes()])),
                (_, Some(route)) => {
                    let ordinal = ordinals.entry(Arc::clone(route)).or_default();
                    *ordinal += 1;
                    Some(self.key.tag(&[b"route", route.as_bytes(), &ordinal.to_be_bytes()]))
                }
                (_, None) => {
                    let peer = &seat.peer;
                    let address = peer.name.as_bytes();
                    Some(self.key.tag(&[b"peer", peer.text.as_bytes(), address, &peer.ordinal.to_be_bytes()]))
                }
            };
        }
    }
}

/// Where the peers of a tag are, sorted by tag.
#[derive(Debug, Default)]
pub(super) struct Tags(Box<[(Tag, usize)]>);

impl Tags {
    pub(super) fn of(seats: &[Seat]) -> Tags {
        let tagged = seats.iter().enumerate().filter_map(|(index, seat)| Some((seat.tag?, index)));
        let mut tags: Box<[(Tag, usize)]> = tagged.collect();
        tags.sort_unstable();
        Tags(tags)
    }

    fn of_tag(&self, tag: Tag) -> impl Iterator<Item = usize> {
        let from = self.0.partition_point(|(known, _)| *known < tag);
        self.0[from..].iter().take_while(move |(known, _)| *known == tag).map(|(_, index)| *index)
    }
}

impl Group {
    /// Whether a peer has this tag, however it is.
    pub fn knows(&self, tag: Tag) -> bool {
        self.tiers.iter().any(|tier| tier.tags.of_tag(tag).next().is_some())
    }

    fn learned(&self) -> Option<(&crate::config::model::Learn, &Arc<Sessions>)> {
        match (self.config.sticky.as_ref()?, self.binding.as_ref()?.sessions.as_ref()) {
            (Sticky::Learn(learn), Some(sessions)) => Some((learn, sessions)),
            _ => None,
        }
    }
}

impl Tier {
    /// A lease of the peer that a request is bound to, draining or not; `None`: it is not here, or not to be had now. Of
    /// several that share a route, the least busy; of equals, the one that was idle for longest.
    pub(super) fn bound_lease(&self, ask: &Ask<'_>, now: Timestamp) -> Option<Lease> {
        let seats = self.tags.of_tag(ask.bound?).map(|index| &self.seats[index]);
        let able = seats.filter(|seat| !ask.tried.contains(seat.peer.id) && seat.has_room()).filter_map(|seat| {
            match seat.peer.cell.admission(now) {
                Admission::Ordinary | Admission::Bound => Some((seat, Terms::Ordinary)),
                Admission::Trial if ask.repeatable => Some((seat, Terms::Trial)),
                _ => None,
            }
        });
        let (seat, terms) = able.min_by(|(a, _), (b, _)| {
            let load = |seat: &Seat, of: &Seat| u64::from(seat.peer.in_flight()) * u64::from(of.server.weight);
            load(a, b).cmp(&load(b, a)).then(a.peer.last_attempt().cmp(&b.peer.last_attempt()))
        })?;
        Lease::take(seat, terms, ask, now)
    }
}
