//! What is the snapshot after this change?

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::diff::{Applied, Regrouped};
use super::group::{Group, GroupState};
use super::peer::{Identity, Peer};
use super::routes::{self, ListenerSpec};
use super::tier::{Seat, Tier};
use super::{PeerTransition, Topology};
use crate::balancer::{self, Balancer, Member};
use crate::clock::Timestamp;
use crate::config::model::{Address, Config, Upstream, UpstreamServer};
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
}

/// A peer that joins within this time after its group began, by the first answer for its name, was only waiting for
/// DNS: it is there from the start, and does not ramp up.
const START: Duration = Duration::from_secs(30);

type Addresses = BTreeMap<String, Vec<IpAddr>>;

impl Topology {
    /// The first snapshot of a configuration, ready for requests. Names have no addresses yet. `random` draws anew in
    /// each process.
    pub fn build(config: Arc<Config>, now: Timestamp) -> Topology {
        Topology::build_seeded(config, rand::random(), now)
    }

    /// As [`build`](Topology::build), with what `random` draws from.
    pub fn build_seeded(config: Arc<Config>, seed: u64, now: Timestamp) -> Topology {
        let nothing = Topology {
            config: config.clone(),
            groups: Vec::new(),
            places: Vec::new(),
            listeners: Arc::new([]),
            addresses: Arc::default(),
            seed,
        };
        let (topology, applied) = nothing.apply(Change::Config(config), now);
        topology.prepare(&applied, now);
        topology.complete(&applied, now);
        topology
    }

    /// The snapshot after a change, and what is different in it. Nothing happens to the peers until it is
    /// [published](super::Live::publish).
    pub fn apply(&self, change: Change, now: Timestamp) -> (Topology, Applied) {
        let (config, addresses) = self.after(change);
        let mut applied = Applied::default();
        let mut old: HashMap<&str, &Arc<Group>> = self.groups.iter().map(|group| (group.name(), group)).collect();
        let step = Step { before: &self.addresses, after: &addresses, seed: self.seed, now };
        let groups: Vec<Arc<Group>> = config
            .upstreams
            .iter()
            .map(|upstream| step.group(old.remove(&*upstream.name), upstream, &mut applied))
            .collect();
        // In the order of the file, not of the map.
        let removed = self.groups.iter().filter(|group| old.contains_key(group.name()));
        removed.for_each(|group| applied.remove_group(group));

        let listeners = self.listeners_of(&config, &groups);
        applied.compare_listeners(&self.listeners, &listeners);
        let mut places: Vec<(GroupId, usize)> = groups.iter().enumerate().map(|(at, group)| (group.id(), at)).collect();
        places.sort_unstable();
        (Topology { config, groups, places, listeners, addresses, seed: self.seed }, applied)
    }

    fn after(&self, change: Change) -> (Arc<Config>, Arc<Addresses>) {
        match change {
            Change::Config(config) => (config, self.addresses.clone()),
            Change::Resolved { host, mut addrs } => {
                // In order, so that several weirs agree on the ring and the rotation.
                addrs.sort_unstable();
                addrs.dedup();
                let mut addresses = (*self.addresses).clone();
                addresses.insert(host.to_ascii_lowercase(), addrs);
                (self.config.clone(), Arc::new(addresses))
            }
        }
    }

    /// The same listeners if nothing they are made of has changed.
    fn listeners_of(&self, config: &Config, groups: &[Arc<Group>]) -> Arc<[ListenerSpec]> {
        let same_groups = groups.iter().map(|group| group.id()).eq(self.groups.iter().map(|group| group.id()));
        if same_groups && !self.listeners.is_empty() && config.servers == self.config.servers {
            return self.listeners.clone();
        }
        let named: Vec<(GroupId, Arc<str>)> =
            groups.iter().map(|group| (group.id(), group.state.name.clone())).collect();
        routes::listeners(config, &named).into()
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

/// What the groups of one step are made from.
struct Step<'a> {
    before: &'a Addresses,
    after: &'a Addresses,
    seed: u64,
    now: Timestamp,
}

impl Step<'_> {
    fn group(&self, old: Option<&Arc<Group>>, upstream: &Upstream, applied: &mut Applied) -> Arc<Group> {
        let state = match old {
            Some(old) => old.state.clone(),
            None => Arc::new(GroupState::new(upstream.name.clone(), upstream.max_ejected, self.now)),
        };
        let mut known: HashMap<Identity, &Seat> =
            old.iter().flat_map(|group| group.seats()).map(|seat| (seat.peer.identity(), seat)).collect();
        let alone = !self.places(upstream).any(|(identity, _, _)| known.contains_key(&identity));

        let mut tiers = [Vec::new(), Vec::new()];
        let mut added = Vec::new();
        let mut changed = Vec::new();
        for (identity, server, host) in self.places(upstream) {
            let seat = match known.remove(&identity) {
                Some(seat) if *seat.server == *server => seat.clone(),
                Some(seat) => {
                    changed.push(seat.peer.clone());
                    Seat { peer: seat.peer.clone(), server }
                }
                None => {
                    let origin = if alone { Origin::ProcessStart } else { self.origin(&state, host.as_deref()) };
                    let (policy, operator) = (policy(&server, upstream), operator(&server));
                    let cell = Cell::new(policy, operator, origin, &state.pool, tier_of(&server), self.now);
                    let peer = Arc::new(Peer::new(identity, host, state.clone(), cell));
                    added.push(peer.clone());
                    Seat { peer, server }
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
            && removed.is_empty()
        {
            return old.clone();
        }
        let [primaries, backups] = tiers;
        let tier = |which, seats| self.tier(which, seats, upstream, old);
        let tiers = [tier(health::Tier::Primary, primaries), tier(health::Tier::Backup, backups)];
        let group = Arc::new(Group { state, config: Arc::new(upstream.clone()), tiers });
        applied.regroup(old, &group, added, changed, removed);
        group
    }

    /// The peers that a group should have: each server's addresses.
    fn places<'u>(
        &self,
        upstream: &'u Upstream,
    ) -> impl Iterator<Item = (Identity, Arc<UpstreamServer>, Option<Arc<str>>)> + use<'_, 'u> {
        let mut seen: HashMap<(Arc<str>, SocketAddr), u32> = HashMap::new();
        let addresses = upstream.servers.iter().flat_map(|server| {
            let (addrs, host): (Vec<SocketAddr>, Option<Arc<str>>) = match &server.address {
                Address::Ip(addr) => (vec![*addr], None),
                Address::Name { host, port } => {
                    let addrs = self.after.get(host).map(Vec::as_slice).unwrap_or_default();
                    (addrs.iter().map(|addr| SocketAddr::new(*addr, *port)).collect(), Some(host.as_str().into()))
                }
            };
            let server = Arc::new(server.clone());
            addrs.into_iter().map(move |addr| (addr, server.clone(), host.clone()))
        });
        addresses.map(move |(addr, server, host)| {
            let ordinal = seen.entry((server.text.clone(), addr)).or_default();
            let identity = Identity { text: server.text.clone(), addr, ordinal: *ordinal };
            *ordinal += 1;
            (identity, server, host)
        })
    }

    fn origin(&self, state: &GroupState, host: Option<&str>) -> Origin {
        let first_answer = host.is_some_and(|host| !self.before.contains_key(host));
        if first_answer && self.now.since(state.began) < START { Origin::ProcessStart } else { Origin::JoinsLive }
    }

    fn tier(&self, which: health::Tier, seats: Vec<Seat>, upstream: &Upstream, old: Option<&Arc<Group>>) -> Tier {
        let old = old.filter(|old| old.config.method == upstream.method).map(|old| &old.tiers[which as usize]);
        let members: Vec<Member<'_>> = seats.iter().map(member).collect();
        let same = |old: &&Tier| {
            let pairs = || old.seats.iter().zip(&seats);
            old.seats.len() == seats.len()
                && pairs().all(|(a, b)| a.peer.id == b.peer.id)
                && pairs()
                    .all(|(a, b)| (a.server.weight, a.server.fail_timeout) == (b.server.weight, b.server.fail_timeout))
        };
        let balancer: Arc<dyn Balancer> = match old.filter(same) {
            Some(old) => old.balancer.clone(),
            None => balancer::build(&upstream.method, &members, self.seed).into(),
        };
        let keyed = balancer.keyed();
        Tier { which, seats, balancer, keyed }
    }
}

impl Group {
    /// Goes on with the rotation where the snapshot before had it.
    fn resume(&self, before: &Group) {
        for (old, new) in before.tiers.iter().zip(&self.tiers) {
            let Some(last) = old.balancer.last_turn().filter(|_| !Arc::ptr_eq(&old.balancer, &new.balancer)) else {
                continue;
            };
            // If it is gone, after the one before it.
            let earlier = old.seats.iter().take(last + 1).rev().chain(old.seats.iter().skip(last + 1).rev());
            let place = |old: &Seat| new.seats.iter().position(|seat| seat.peer.id == old.peer.id);
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
    Member { weight: seat.server.weight, ring_text, fail_timeout: seat.server.fail_timeout }
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
    }
}

fn operator(server: &UpstreamServer) -> Operator {
    match server {
        UpstreamServer { down: true, .. } => Operator::Down,
        UpstreamServer { drain: true, .. } => Operator::Drain,
        _ => Operator::Enabled,
    }
}
