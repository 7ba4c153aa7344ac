//! What does an operator's wish mean for the peers there are? `drain web/app2` as steps of the snapshot. Pure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::suggest::closest;
use crate::endpoint::Endpoint;
use crate::health::Operator;
use crate::topology::{Adjustment, Group, Kind, Override, Peer, Setting, Subject, Topology};

/// A lever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lever {
    /// Only requests bound to it; what is in flight finishes.
    Drain,
    /// Ends a drain.
    Undrain,
    /// No requests and no probes; what is in flight finishes.
    Down,
    /// Whatever probes and traffic say.
    Up,
    /// Its share of the requests; `None`: the file's.
    Weight(Option<u32>),
}

/// Who pulls a lever, why, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hand {
    /// `user@host`, or who a token is for.
    pub by: Arc<str>,
    /// In their own words.
    pub reason: Option<Arc<str>>,
    /// How long it holds; `None`: until it is lifted.
    pub lasts: Option<Duration>,
}

/// Why a lever does not move. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// There is no such group.
    #[error("{0}")]
    NoGroup(String),
    /// There is no such peer, or more than one.
    #[error("{0}")]
    NoPeer(String),
    /// Something else holds.
    #[error("{0}")]
    Held(String),
}

/// Whom `GROUP/PEER` means. A peer is told by its `server` as written, the host of it, its `ip:port`, its `ip` or its own name (of
/// a replica), or by as much of one of these as no other has. What the file has under a name is all addresses of it.
///
/// # Errors
/// Nobody, or more than one.
pub fn target(topology: &Topology, text: &str) -> Result<Subject, Stuck> {
    let Some((group, peer)) = text.split_once('/').filter(|(group, peer)| !group.is_empty() && !peer.is_empty()) else {
        let example = topology.groups().first().map_or_else(|| "web/app:5000".to_owned(), label_of_group);
        return Err(Stuck::NoPeer(format!("`{text}` is not a peer: write GROUP/PEER, such as `{example}`")));
    };
    let group = group_named(topology, group)?;
    let known = known(group);
    for told in [Label::is, Label::begins] {
        let mut found: Vec<&Subject> = Vec::new();
        for (target, _) in known.iter().filter(|(_, label)| told(label, peer)) {
            if !found.contains(&target) {
                found.push(target);
            }
        }
        // The server stands for its addresses.
        if let Some(server) = found.iter().find(|target| found.iter().all(|other| target.covers(other))) {
            return Ok((*server).clone());
        }
        if !found.is_empty() {
            let names: Vec<String> = found.iter().map(|target| format!("`{}`", short(target))).collect();
            return Err(Stuck::NoPeer(format!("`{text}` may be {}: write more of it", names.join(" or "))));
        }
    }
    Err(Stuck::NoPeer(match closest(peer, known.iter().flat_map(|(_, label)| label.all())) {
        Some(near) => {
            format!("there is no peer `{peer}` in {}; did you mean `{}/{near}`?", group.name(), group.name())
        }
        None => {
            let mut all: Vec<String> = Vec::new();
            for name in known.iter().map(|(target, _)| short(target)) {
                if !all.contains(&name) && all.len() <= MOST_SHOWN {
                    all.push(name);
                }
            }
            let more = if all.len() > MOST_SHOWN { ", …" } else { "" };
            all.truncate(MOST_SHOWN);
            format!("there is no peer `{peer}` in {}; there is {}{more}", group.name(), all.join(", "))
        }
    }))
}

/// The group of that name.
///
/// # Errors
/// There is none.
pub fn group_named<'a>(topology: &'a Topology, name: &str) -> Result<&'a Arc<Group>, Stuck> {
    topology.group_named(name).ok_or_else(|| {
        let names = || topology.groups().iter().map(|group| group.name());
        Stuck::NoGroup(match closest(name, names()) {
            Some(near) => format!("there is no upstream `{name}`; did you mean `{near}`?"),
            None => {
                let known: Vec<&str> = names().take(MOST_SHOWN).collect();
                format!("there is no upstream `{name}`; there is {}", known.join(", "))
            }
        })
    })
}

/// The steps of a lever.
///
/// # Errors
/// It would not do what its name says, and what to type instead.
pub fn pull(
    topology: &Topology,
    target: &Subject,
    lever: Lever,
    hand: &Hand,
    now: Timestamp,
) -> Result<Vec<Adjustment>, Stuck> {
    match lever {
        Lever::Drain => set(topology, target, Setting::Use(Operator::Drain), hand, now).map(|set| vec![set]),
        Lever::Down => set(topology, target, Setting::Use(Operator::Down), hand, now).map(|set| vec![set]),
        Lever::Weight(Some(weight)) => set(topology, target, Setting::Weight(weight), hand, now).map(|set| vec![set]),
        Lever::Weight(None) => lift(topology, target, Kind::Weight).map(|lift| vec![lift]),
        Lever::Undrain if holds(topology, target) == Setting::Use(Operator::Down) => {
            let name = short(target);
            Err(Stuck::Held(format!("{name} is down, not draining; write `weir up {name}`")))
        }
        Lever::Undrain | Lever::Up => {
            let lifted = lift(topology, target, Kind::Use)?;
            if file_says(topology, target, Kind::Use) == Some(Setting::Use(Operator::Enabled)) {
                return Ok(vec![lifted]);
            }
            // The file itself has it down or draining.
            Ok(vec![lifted, set(topology, target, Setting::Use(Operator::Enabled), hand, now)?])
        }
    }
}

/// An override of one value.
///
/// # Errors
/// There is no such server.
pub fn set(
    topology: &Topology,
    target: &Subject,
    setting: Setting,
    hand: &Hand,
    now: Timestamp,
) -> Result<Adjustment, Stuck> {
    let Some(file) = file_says(topology, target, setting.kind()) else {
        return Err(Stuck::NoPeer(format!("{} is gone", short(target))));
    };
    let Hand { by, reason, lasts } = hand.clone();
    let until = lasts.map(|lasts| now + lasts);
    Ok(Adjustment::Set(Override { target: target.clone(), setting, file, until, since: now, by, reason }))
}

fn lift(topology: &Topology, target: &Subject, kind: Kind) -> Result<Adjustment, Stuck> {
    let mut overrides = topology.adjustments().overrides.iter().filter(|over| over.setting.kind() == kind);
    match overrides.find(|over| over.target.covers(target) && over.target != *target) {
        Some(wider) => {
            let (all, one) = (short(&wider.target), short(target));
            Err(Stuck::Held(format!("{one} shares this override with all of `{all}`: lift it there")))
        }
        None => Ok(Adjustment::Lift { target: target.clone(), kind }),
    }
}

/// What the configuration says, whatever operators want.
fn file_says(topology: &Topology, target: &Subject, kind: Kind) -> Option<Setting> {
    let group = topology.group_named(&target.group)?;
    group.config.servers.iter().find(|server| server.text == target.server).map(|server| kind.of(server))
}

/// What is wanted of it now.
fn holds(topology: &Topology, target: &Subject) -> Setting {
    let overrides = topology.adjustments().overrides.iter().rev();
    let mut of_it = overrides.filter(|over| over.setting.kind() == Kind::Use && over.target.covers(target));
    let file = || file_says(topology, target, Kind::Use);
    of_it.next().map(|over| over.setting).or_else(file).unwrap_or(Setting::Use(Operator::Enabled))
}

/// Which address of a name a peer is; `None`: it is no name's, and so its server alone.
pub fn address_of(peer: &Peer) -> Option<SocketAddr> {
    match peer.addr {
        Endpoint::Ip(addr) if peer.host.is_some() => Some(addr),
        _ => None,
    }
}

/// How a target is written on the command line.
pub fn short(target: &Subject) -> String {
    match target.addr {
        Some(addr) => format!("{}/{addr}", target.group),
        None => format!("{}/{}", target.group, target.server),
    }
}

/// How many names an error lists.
const MOST_SHOWN: usize = 12;

/// What a peer is known by.
struct Label {
    text: String,
    /// Of the text.
    host: String,
    /// Of one peer, not of a server as a whole.
    is_address: bool,
    ip: Option<String>,
    ip_port: Option<String>,
    /// Its own name, where reverse DNS tells it.
    replica: Option<String>,
}

impl Label {
    fn of(text: &str, addr: Option<&Endpoint>) -> Label {
        let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
        Label {
            text: text.to_owned(),
            host: host.to_owned(),
            is_address: addr.is_some(),
            ip: addr.and_then(Endpoint::ip).map(|ip| ip.to_string()),
            ip_port: addr.map(Endpoint::to_string),
            replica: None,
        }
    }

    /// An address of a name is meant only by itself: by the name, all are.
    fn all(&self) -> impl Iterator<Item = &str> {
        let of_server = (!self.is_address).then_some([&self.text, &self.host]);
        let of_address = self.ip_port.iter().chain(&self.ip).chain(&self.replica);
        of_server.into_iter().flatten().chain(of_address).map(String::as_str)
    }

    fn is(&self, text: &str) -> bool {
        self.all().any(|label| label.eq_ignore_ascii_case(text))
    }

    fn begins(&self, text: &str) -> bool {
        self.all().any(|label| label.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text)))
    }
}

/// All that can be meant in a group: its servers, and each address of a name.
fn known(group: &Arc<Group>) -> Vec<(Subject, Label)> {
    let of = |server: &Arc<str>, addr| Subject { group: group.state.name.clone(), server: server.clone(), addr };
    let mut known: Vec<(Subject, Label)> = Vec::new();
    for server in &group.config.servers {
        let target = of(&server.text, None);
        if !known.iter().any(|(other, _)| *other == target) {
            known.push((target, Label::of(&server.text, None)));
        }
    }
    for seat in group.seats() {
        let peer = &seat.peer;
        let replica = peer.replica().map(|name| name.to_string());
        known.push((of(&peer.text, address_of(peer)), Label { replica, ..Label::of(&peer.text, Some(&peer.addr)) }));
    }
    known
}

fn label_of_group(group: &Arc<Group>) -> String {
    let first = group.config.servers.first().map_or("PEER", |server| &*server.text);
    format!("{}/{first}", group.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Env};
    use crate::topology::Change;

    const T0: Timestamp = Timestamp::secs(1_000);

    fn config(text: &str) -> Arc<config::Config> {
        let mistakes = |mistakes: config::Diagnostics| panic!("{mistakes}");
        Arc::new(config::parse("upstream.toml", text, &Env::of([])).unwrap_or_else(mistakes).config)
    }

    /// Two servers, a name with two addresses and a name without any.
    fn topology() -> Topology {
        let servers = "\"app1:5000\", \"app2:5000\", \"10.0.0.9:80\", \"lost:1\", \"lost:2\"";
        let text = format!("[upstream.web]\nservers = [{servers}]\n[upstream.api]\nservers = [\"10.0.1.1:80\"]\n");
        let rest = "[[server]]\nlisten = 80\nlocation = [{ path = \"/\", proxy_pass = \"http://web\" }]\n";
        let topology = Topology::build(config(&(text + rest)), b"secret", T0);
        let found = |host: &str, last: &[u8]| Change::Resolved {
            host: host.to_owned(),
            addrs: last.iter().map(|last| std::net::Ipv4Addr::new(172, 18, 0, *last).into()).collect(),
        };
        let (topology, _) = topology.apply(found("app1", &[3]), T0);
        topology.apply(found("app2", &[4, 5]), T0).0
    }

    fn meant(text: &str) -> String {
        match target(&topology(), text) {
            Ok(target) => target.to_string(),
            Err(stuck) => format!("! {stuck}"),
        }
    }

    #[test]
    fn a_peer_is_told_by_its_server_its_host_its_address_or_a_beginning_of_one() {
        for (text, expected) in [
            ("web/app2:5000", "web/app2:5000"),
            ("web/app2", "web/app2:5000"),
            ("web/APP2", "web/app2:5000"),
            ("web/172.18.0.4:5000", "web/app2:5000 (172.18.0.4:5000)"),
            ("web/172.18.0.4", "web/app2:5000 (172.18.0.4:5000)"),
            ("web/10.0.0.9:80", "web/10.0.0.9:80"),
            ("web/10.0.0.9", "web/10.0.0.9:80"),
            ("web/10.", "web/10.0.0.9:80"),
            ("web/lost:1", "web/lost:1"),
            ("web/ap", "! `web/ap` may be `web/app1:5000` or `web/app2:5000`: write more of it"),
            ("web/lost", "! `web/lost` may be `web/lost:1` or `web/lost:2`: write more of it"),
            ("web/app3", "! there is no peer `app3` in web; did you mean `web/app1`?"),
            ("api/x", "! there is no peer `x` in api; there is api/10.0.1.1:80"),
            ("wep/app1", "! there is no upstream `wep`; did you mean `web`?"),
            ("nothing/app1", "! there is no upstream `nothing`; there is web, api"),
            ("web", "! `web` is not a peer: write GROUP/PEER, such as `web/app1:5000`"),
            ("web/", "! `web/` is not a peer: write GROUP/PEER, such as `web/app1:5000`"),
        ] {
            assert_eq!(meant(text), expected, "{text}");
        }
    }

    fn hand() -> Hand {
        Hand { by: "ann@host".into(), reason: None, lasts: None }
    }

    /// The snapshot after levers, each a peer and what is done with it.
    fn after(levers: &[(&str, Lever)]) -> Result<Topology, String> {
        let mut topology = topology();
        for (peer, lever) in levers {
            let target = target(&topology, peer).map_err(|stuck| stuck.to_string())?;
            let steps = pull(&topology, &target, *lever, &hand(), T0).map_err(|stuck| stuck.to_string())?;
            topology = topology.apply(Change::Adjust(steps), T0).0;
        }
        Ok(topology)
    }

    fn overrides(levers: &[(&str, Lever)]) -> Vec<String> {
        match after(levers) {
            Ok(topology) => {
                let overrides = &topology.adjustments().overrides;
                overrides.iter().map(|over| format!("{} {}", over.target, over.setting)).collect()
            }
            Err(stuck) => vec![format!("! {stuck}")],
        }
    }

    #[test]
    fn levers_that_belong_together_end_each_other() {
        use Lever::*;
        for (levers, left) in [
            (vec![("web/app1", Drain)], vec!["web/app1:5000 drain"]),
            (vec![("web/app1", Drain), ("web/app1", Undrain)], vec![]),
            (vec![("web/app1", Undrain)], vec![]),
            (vec![("web/app1", Drain), ("web/app1", Down)], vec!["web/app1:5000 down"]),
            (vec![("web/app1", Down), ("web/app1", Up)], vec![]),
            (
                vec![("web/app1", Down), ("web/app1", Undrain)],
                vec!["! web/app1:5000 is down, not draining; write `weir up web/app1:5000`"],
            ),
            (vec![("web/app1", Weight(Some(5))), ("web/app1", Weight(None))], vec![]),
            (
                vec![("web/app1", Weight(Some(5))), ("web/app1", Drain)],
                vec!["web/app1:5000 weight 5", "web/app1:5000 drain"],
            ),
            (vec![("web/172.18.0.4", Drain), ("web/app2", Drain)], vec!["web/app2:5000 drain"]),
            (
                vec![("web/app2", Drain), ("web/172.18.0.4", Undrain)],
                vec!["! web/172.18.0.4:5000 shares this override with all of `web/app2:5000`: lift it there"],
            ),
        ] {
            assert_eq!(overrides(&levers), left, "{levers:?}");
        }
    }

    #[test]
    fn an_override_of_a_name_is_for_all_addresses_it_will_have() {
        let topology = after(&[("web/app2", Lever::Weight(Some(7)))]).expect("moves");
        let addrs = vec!["172.18.0.9".parse().expect("an address")];
        let (topology, _) = topology.apply(Change::Resolved { host: "app2".into(), addrs }, T0);
        let web = topology.group_named("web").expect("there");
        let weights: Vec<_> = web.seats().map(|seat| (seat.peer.name.to_string(), seat.server.weight)).collect();
        assert!(weights.contains(&("172.18.0.9:5000".to_owned(), 7)), "{weights:?}");
        assert!(weights.contains(&("172.18.0.3:5000".to_owned(), 1)), "{weights:?}");
    }
}
