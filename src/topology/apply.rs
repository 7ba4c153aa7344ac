//! What is the snapshot after this change?

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::adjust::{Adjustment, Adjustments, adjusted, wish};
use super::binding::{Binding, Tags};
use super::diff::{Applied, Regrouped};
use super::found::{Found, Source, Target};
use super::group::{Group, GroupState};
use super::peer::{Identity, Peer};
use super::routes::{self, ListenerSpec};
use super::streams::{self, StreamSpec};
use super::tier::{Seat, Tier};
use super::zones::Zones;
use super::{PeerTransition, Topology};
use crate::affinity::Key;
use crate::balancer::{self, Balancer, Member};
use crate::clock::Timestamp;
use crate::config::model::{Address, Config, Upstream, UpstreamServer};
use crate::endpoint::Endpoint;
use crate::health::{self, Cell, Command, Operator, Origin, Policy, Signal, Thresholds};
use crate::id::GroupId;

/// A cause for another snapshot.
#[derive(Clone, Debug)]
pub enum Change {
    /// The file was read anew.
    Config(Arc<Config>),
    /// DNS answered.
    Resolved {
        /// The name that was asked for.
        host: String,
        /// All its addresses, in any order; empty: it has none any more.
        addrs: Vec<IpAddr>,
    },
    /// An operator pulled levers; empty: only time has passed, and may have ended overrides.
    Adjust(Vec<Adjustment>),
    /// DNS answered for a service.
    Located {
        /// The whole name that was asked for.
        service: String,
        /// All that its SRV records lead to, in any order; empty: nothing any more.
        targets: Vec<Target>,
    },
    /// A source has looked for peers of a group. A group that does not ask that source stays as it is.
    Discovered {
        /// Whose.
        group: Arc<str>,
        /// Who says so.
        source: Source,
        /// All of them; empty: it has none any more.
        peers: Vec<UpstreamServer>,
    },
}

/// A peer that joins within this time after its group began, by the first answer for its name, was only waiting for
/// DNS: it is there from the start, and does not ramp up.
const START: Duration = Duration::from_secs(30);

impl Topology {
    /// The first snapshot of a configuration, ready for requests. Names have no addresses yet. `random` draws anew in
    /// each process. `secret`: what `sticky` goes by where the configuration says none.
    pub fn build(config: Arc<Config>, secret: &[u8], now: Timestamp) -> Topology {
        Topology::begin(config, rand::random(), Key::new(secret), now)
    }

    /// As [`build`](Topology::build), with what `random` draws from, and `sticky` makes its key of.
    pub fn build_seeded(config: Arc<Config>, seed: u64, now: Timestamp) -> Topology {
        Topology::begin(config, seed, Key::new(&seed.to_be_bytes()), now)
    }

    fn begin(config: Arc<Config>, seed: u64, key: Key, now: Timestamp) -> Topology {
        let nothing = Topology {
            file: config.clone(),
            adjustments: Arc::default(),
            config: config.clone(),
            groups: Vec::new(),
            places: Vec::new(),
            listeners: Arc::new([]),
            streams: Arc::new([]),
            found: Arc::default(),
            zones: Arc::default(),
            seed,
            key,
        };
        let (topology, applied) = nothing.apply(Change::Config(config), now);
        topology.prepare(&applied, now);
        topology.complete(&applied, now);
        topology
    }

    /// The snapshot after a change, and what is different in it. Nothing happens to the peers until it is
    /// [published](super::Live::publish).
    pub fn apply(&self, change: Change, now: Timestamp) -> (Topology, Applied) {
        let (file, found, adjustments) = self.after(change);
        let (adjustments, ended) = adjustments.against(&file, &found, now);
        let config = adjustments.extend(&file);
        let mut applied = Applied { ended, ..Applied::default() };
        let mut old: HashMap<&str, &Arc<Group>> = self.groups.iter().map(|group| (group.name(), group)).collect();
        let step = Step {
            before: &self.found,
            after: &found,
            adjustments: &adjustments,
            seed: self.seed,
            key: &self.key,
            now,
        };
        let groups: Vec<Arc<Group>> = config
            .upstreams
            .iter()
            .map(|upstream| step.group(old.remove(&*upstream.name), &found.complete(upstream), &mut applied))
            .collect();
        // In the order of the file, not of the map.
        let removed = self.groups.iter().filter(|group| old.contains_key(group.name()));
        removed.for_each(|group| applied.remove_group(group));

        let zones = Arc::new(self.zones.after(&config));
        let listeners = self.listeners_of(&config, &groups, &zones);
        applied.compare_listeners(&self.listeners, &listeners);
        let streams = self.streams_of(&config, &groups);
        applied.compare_streams(&self.streams, &streams);
        let mut places: Vec<(GroupId, usize)> = groups.iter().enumerate().map(|(at, group)| (group.id(), at)).collect();
        places.sort_unstable();
        let (adjustments, key, seed) = (Arc::new(adjustments), self.key.clone(), self.seed);
        (Topology { file, adjustments, config, groups, places, listeners, streams, found, zones, seed, key }, applied)
    }

    fn after(&self, change: Change) -> (Arc<Config>, Arc<Found>, Adjustments) {
        let mut found = (*self.found).clone();
        let mut file = self.file.clone();
        let mut adjustments = (*self.adjustments).clone();
        match change {
            Change::Config(new) => file = new,
            Change::Adjust(steps) => adjustments = adjustments.after(steps),
            Change::Resolved { host, addrs } => found.set_addresses(&host, addrs),
            Change::Located { service, targets } => found.set_targets(&service, targets),
            Change::Discovered { group, source, peers } => found.set_peers(group, source, peers),
        }
        found.keep_to(&file);
        (file, Arc::new(found), adjustments)
    }

    /// The same listeners if nothing they are made of has changed.
    fn listeners_of(&self, config: &Config, groups: &[Arc<Group>], zones: &Zones) -> Arc<[ListenerSpec]> {
        let same_groups = groups.iter().map(|group| group.id()).eq(self.groups.iter().map(|group| group.id()));
        if same_groups && !self.listeners.is_empty() && config.servers == self.config.servers {
            return self.listeners.clone();
        }
        let named: Vec<(GroupId, Arc<str>)> =
            groups.iter().map(|group| (group.id(), group.state.name.clone())).collect();
        routes::listeners(config, &named, zones).into()
    }

    /// The same streams if nothing they are made of has changed.
    fn streams_of(&self, config: &Config, groups: &[Arc<Group>]) -> Arc<[StreamSpec]> {
        let named: Vec<(GroupId, Arc<str>)> =
            groups.iter().map(|group| (group.id(), group.state.name.clone())).collect();
        let streams = streams::streams(config, &named);
        if streams == *self.streams { self.streams.clone() } else { streams.into() }
    }

    /// Makes the peers and balancers of this snapshot ready, before requests see it.
    pub(super) fn prepare(&self, applied: &Applied, now: Timestamp) -> Vec<PeerTransition> {
        let mut transitions = Vec::new();
        for Regrouped { before, after } in &applied.regrouped {
            if let Some(before) = before {
                after.state.pool.set_max_ejected(after.config.max_ejected);
                transitions.extend(update_kept(before, after, now));
                after.resume(before);
            }
            transitions.extend(override_peers(before.as_deref(), after, now));
            after.take_over(now);
        }
        transitions
    }

    /// Lets go of what this snapshot no longer has, after requests see it.
    pub(super) fn complete(&self, applied: &Applied, now: Timestamp) -> Vec<PeerTransition> {
        // Who waits for one that goes hears of it by this.
        let gone = applied.peers_removed.iter().filter_map(|peer| peer.tell(Signal::Gone, now)).collect();
        applied.regrouped.iter().for_each(|change| change.after.state.wake());
        gone
    }
}

/// Tells the peers that stay what the new configuration says of them.
fn update_kept(before: &Group, after: &Group, now: Timestamp) -> Vec<PeerTransition> {
    let old: HashMap<_, _> = before.placed().map(|(tier, seat)| (seat.peer.id, (tier, seat))).collect();
    let check_changed = before.config.health_check != after.config.health_check;
    let mut transitions = Vec::new();
    for (tier, seat) in after.placed() {
        let Some((old_tier, old_seat)) = old.get(&seat.peer.id) else { continue };
        if *old_tier != tier {
            seat.peer.cell.assign(&after.state.pool, tier);
        }
        let policy = policy(&seat.server, &after.config);
        if check_changed || policy != self::policy(&old_seat.server, &before.config) {
            transitions.extend(seat.peer.tell(Signal::PolicyChanged { policy, check_changed }, now));
        }
        if operator(&seat.server) != operator(&old_seat.server) {
            transitions.extend(seat.peer.tell(Signal::Operator(Command::File(operator(&seat.server))), now));
        }
    }
    transitions
}

/// Tells peers what operators want of them, where that differs from before.
fn override_peers(before: Option<&Group>, after: &Group, now: Timestamp) -> Vec<PeerTransition> {
    let wished = |seat: &&Seat| !seat.overrides.is_empty();
    let old: HashMap<_, _> = before
        .into_iter()
        .flat_map(Group::seats)
        .filter(wished)
        .map(|seat| (seat.peer.id, wish(&seat.overrides)))
        .collect();
    let mut transitions = Vec::new();
    for seat in after.seats() {
        let was = old.get(&seat.peer.id).copied().flatten();
        let command = match wish(&seat.overrides) {
            is if is == was => continue,
            Some((to, until)) => Command::Override { to, until },
            None => Command::Lift,
        };
        transitions.extend(seat.peer.set_operator(command, now));
    }
    transitions
}

/// What the groups of one step are made from.
struct Step<'a> {
    before: &'a Found,
    after: &'a Found,
    adjustments: &'a Adjustments,
    seed: u64,
    key: &'a Key,
    now: Timestamp,
}

impl Step<'_> {
    fn group(&self, old: Option<&Arc<Group>>, upstream: &Upstream, applied: &mut Applied) -> Arc<Group> {
        let state = match old {
            Some(old) => old.state.clone(),
            None => Arc::new(GroupState::new(upstream.name.clone(), upstream.max_ejected, self.now)),
        };
        let mut known: HashMap<Identity, &Seat> = HashMap::with_capacity(old.map_or(0, |old| old.seats().count()));
        known.extend(old.iter().flat_map(|group| group.seats()).map(|seat| (seat.peer.identity(), seat)));
        let alone = known.is_empty() || !self.places(upstream).any(|(identity, _, _)| known.contains_key(&identity));

        let mut tiers = [Vec::new(), Vec::new()];
        let mut added = Vec::new();
        let mut changed = Vec::new();
        for (identity, server, host) in self.places(upstream) {
            let overrides = self.adjustments.of(upstream, &server, &identity.addr);
            let server = adjusted(&server, &overrides);
            let seat = match known.remove(&identity) {
                Some(seat) if *seat.server == *server && seat.overrides == overrides => {
                    Seat { tag: None, ..seat.clone() }
                }
                Some(seat) => {
                    changed.push(seat.peer.clone());
                    Seat { peer: seat.peer.clone(), server, overrides, tag: None }
                }
                None => {
                    let origin = if alone { Origin::ProcessStart } else { self.origin(&state, host.as_deref()) };
                    let (policy, operator) = (policy(&server, upstream), operator(&server));
                    let cell = Cell::new(policy, operator, origin, &state.pool, tier_of(&server), self.now);
                    let peer = Arc::new(Peer::new(identity, host, state.clone(), cell));
                    added.push(peer.clone());
                    Seat { peer, server, overrides, tag: None }
                }
            };
            tiers[tier_of(&seat.server) as usize].push(seat);
        }
        // In the order they had.
        let gone = old.iter().flat_map(|group| group.seats()).filter(|seat| known.contains_key(&seat.peer.identity()));
        let removed: Vec<Arc<Peer>> = gone.map(|seat| seat.peer.clone()).collect();

        if let Some(old) = old
            && *old.config == *upstream
            && added.is_empty()
            && changed.is_empty()
            && removed.is_empty()
        {
            return old.clone();
        }
        let binding = Binding::of(upstream, self.key, old.map(|old| &**old));
        if let (Some(binding), Some(sticky)) = (&binding, &upstream.sticky) {
            binding.tag(sticky, &mut tiers);
        }
        let [primaries, backups] = tiers;
        let tier = |which, seats| self.tier(which, seats, upstream, old);
        let tiers = [tier(health::Tier::Primary, primaries), tier(health::Tier::Backup, backups)];
        let group = Arc::new(Group { state, config: Arc::new(upstream.clone()), tiers, binding });
        applied.regroup(old, &group, added, changed, removed);
        group
    }

    /// The peers that a group should have: each server's addresses.
    fn places<'u>(
        &self,
        upstream: &'u Upstream,
    ) -> impl Iterator<Item = (Identity, Arc<UpstreamServer>, Option<Arc<str>>)> + use<'_, 'u> {
        let mut seen: HashMap<(Arc<str>, Endpoint), u32> = HashMap::with_capacity(upstream.servers.len());
        let addresses = upstream.servers.iter().flat_map(|server| self.after.places(server));
        addresses.map(move |(addr, server, host)| {
            let ordinal = seen.entry((server.text.clone(), addr.clone())).or_default();
            let identity = Identity { text: server.text.clone(), addr, ordinal: *ordinal };
            *ordinal += 1;
            (identity, server, host)
        })
    }

    fn origin(&self, state: &GroupState, host: Option<&str>) -> Origin {
        let first_answer = host.is_some_and(|host| !self.before.knows(host));
        if first_answer && self.now.since(state.began) < START { Origin::ProcessStart } else { Origin::JoinsLive }
    }

    fn tier(&self, which: health::Tier, seats: Vec<Seat>, upstream: &Upstream, old: Option<&Arc<Group>>) -> Tier {
        let old = old.filter(|old| old.config.method == upstream.method).map(|old| &old.tiers[which as usize]);
        let members: Vec<Member<'_>> = seats.iter().map(member).collect();
        let same = |old: &&Tier| {
            let pairs = || old.seats.iter().zip(&seats);
            old.seats.len() == seats.len()
                && pairs().all(|(a, b)| a.peer.id == b.peer.id)
                && pairs().all(|(a, b)| parameters(a) == parameters(b))
        };
        if let Some(measure) = upstream.method.goes_by_unfinished() {
            seats.iter().for_each(|seat| seat.peer.latency.count_unfinished(measure));
        }
        let balancer: Arc<dyn Balancer> = match old.filter(same) {
            Some(old) => old.balancer.clone(),
            None => balancer::build(&upstream.method, &members, self.seed).into(),
        };
        let keyed = balancer.keyed();
        let tags = Tags::of(&seats);
        Tier { which, seats, balancer, keyed, tags }
    }
}

impl Group {
    /// Goes on with the rotation where the snapshot before had it.
    fn resume(&self, before: &Group) {
        for (old, new) in before.tiers.iter().zip(&self.tiers) {
            // In a map: of 10,000 that are all others than before, each would be looked for among all.
            let Some(last) = old.balancer.last_turn().filter(|_| !Arc::ptr_eq(&old.balancer, &new.balancer)) else {
                continue;
            };
            // If it is gone, after the one before it.
            let earlier = old.seats.iter().take(last + 1).rev().chain(old.seats.iter().skip(last + 1).rev());
            let places: HashMap<_, _> = new.seats.iter().enumerate().map(|(at, seat)| (seat.peer.id, at)).collect();
            let place = |old: &Seat| places.get(&old.peer.id).copied();
            if let Some(place) = earlier.filter_map(place).next() {
                new.balancer.resume_after(place);
            }
        }
    }

    /// Its seats, each with its tier.
    fn placed(&self) -> impl Iterator<Item = (health::Tier, &Seat)> {
        self.tiers.iter().flat_map(|tier| tier.seats.iter().map(|seat| (tier.which, seat)))
    }
}

fn member(seat: &Seat) -> Member<'_> {
    let ring_text = if seat.peer.host.is_some() { &seat.peer.name } else { &seat.peer.text };
    let (weight, max_conns, fail_timeout) = parameters(seat);
    Member { weight, ring_text, max_conns, fail_timeout }
}

/// What an algorithm is built from, beside whom it is for.
fn parameters(seat: &Seat) -> (u32, u32, Duration) {
    (seat.server.weight, seat.server.max_conns, seat.server.fail_timeout)
}

fn tier_of(server: &UpstreamServer) -> health::Tier {
    if server.backup { health::Tier::Backup } else { health::Tier::Primary }
}

fn policy(server: &UpstreamServer, upstream: &Upstream) -> Policy {
    let check = upstream.health_check.as_ref();
    Policy {
        max_fails: server.max_fails,
        fail_timeout: server.fail_timeout,
        check: check.map(|check| Thresholds { fails: check.fails, passes: check.passes }),
        slow_start: server.slow_start,
        movable: matches!(server.address, Address::Name { .. } | Address::Service { .. }),
    }
}

fn operator(server: &UpstreamServer) -> Operator {
    match server {
        UpstreamServer { down: true, .. } => Operator::Down,
        UpstreamServer { drain: true, .. } => Operator::Drain,
        _ => Operator::Enabled,
    }
}
