//! What do operators want that the file does not say? Overrides of what the file says of a server, and servers that it
//! does not know. Both are part of the snapshot, and live through reloads.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::found::Found;
use crate::clock::Timestamp;
use crate::config::model::{Config, Upstream, UpstreamServer};
use crate::endpoint::Endpoint;
use crate::health::Operator;

/// Whom an override is about: all peers of a server, or one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The group's name.
    pub group: Arc<str>,
    /// The `server` as written.
    pub server: Arc<str>,
    /// One address of a name; `None`: all that it has and will have.
    pub addr: Option<SocketAddr>,
}

/// A value that beats the file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// In place of `down` and `drain`.
    Use(Operator),
    /// `weight`.
    Weight(u32),
    /// `max_conns`; 0 is unlimited.
    MaxConns(u32),
    /// `max_fails`; 0: failures are not counted.
    MaxFails(u32),
    /// `fail_timeout`.
    FailTimeout(Duration),
    /// `slow_start`; zero is off.
    SlowStart(Duration),
}

/// Which value is beaten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `down` and `drain`.
    Use,
    /// `weight`.
    Weight,
    /// `max_conns`.
    MaxConns,
    /// `max_fails`.
    MaxFails,
    /// `fail_timeout`.
    FailTimeout,
    /// `slow_start`.
    SlowStart,
}

/// An operator's value for a server. It holds until it is lifted, until its end, or until the file's own value changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Whose.
    pub target: Subject,
    /// What holds instead.
    pub setting: Setting,
    /// What the file said when it was made.
    pub file: Setting,
    /// Its end; `None`: it is lifted by hand.
    pub until: Option<Timestamp>,
    /// Since when.
    pub since: Timestamp,
    /// Who made it: `user@host`, or who a token is for.
    pub by: Arc<str>,
    /// Why, in the words of whoever made it.
    pub reason: Option<Arc<str>>,
}

/// A server that the file does not know.
#[derive(Clone, Debug, PartialEq)]
pub struct Added {
    /// The group's name.
    pub group: Arc<str>,
    /// It, as an entry of `servers` would say it.
    pub server: UpstreamServer,
    /// That entry, as it was given: what a state file keeps.
    pub written: toml::Table,
    /// Since when.
    pub since: Timestamp,
    /// Who added it.
    pub by: Arc<str>,
}

/// One step of an operator.
#[derive(Clone, Debug, PartialEq)]
pub enum Adjustment {
    /// An override; it replaces those of the same kind for the same peers.
    Set(Override),
    /// The file decides again.
    Lift {
        /// For whom.
        target: Subject,
        /// Of what.
        kind: Kind,
    },
    /// One more server.
    Add(Added),
    /// A server that was added goes.
    Remove {
        /// The group's name.
        group: Arc<str>,
        /// The `server` as written.
        server: Arc<str>,
    },
}

/// An adjustment ended by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// Its time had come.
    Expired(Override),
    /// The file's value has changed, or the server is gone from it.
    FileChanged(Override),
    /// The file has this server now, or no longer has its group.
    AddedInVain(Added),
}

/// All that operators have changed. Immutable, as the snapshot it belongs to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adjustments {
    /// In the order in which they were made.
    pub overrides: Vec<Override>,
    /// In the order in which they were added.
    pub added: Vec<Added>,
}

impl Adjustments {
    /// Whether the file alone decides.
    pub fn is_empty(&self) -> bool {
        self.overrides.is_empty() && self.added.is_empty()
    }

    /// When the next override ends by itself; `None`: none does.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.overrides.iter().filter_map(|over| over.until).min()
    }

    /// After these steps.
    pub(super) fn after(&self, steps: Vec<Adjustment>) -> Adjustments {
        let mut next = self.clone();
        for step in steps {
            match step {
                Adjustment::Set(over) => {
                    next.lift(&over.target, over.setting.kind());
                    next.overrides.push(over);
                }
                Adjustment::Lift { target, kind } => next.lift(&target, kind),
                Adjustment::Add(added) => {
                    next.remove(&added.group, &added.server.text);
                    next.added.push(added);
                }
                Adjustment::Remove { group, server } => next.remove(&group, &server),
            }
        }
        next
    }

    /// What is left of them beside this file, and what its sources have found, at this moment; and what ended.
    pub(super) fn against(mut self, file: &Config, found: &Found, now: Timestamp) -> (Adjustments, Vec<Ended>) {
        let mut ended = Vec::new();
        self.added.retain(|added| {
            let group = file.upstreams.iter().find(|group| group.name == added.group);
            let holds = group.is_some_and(|group| group.servers.iter().all(|server| server.text != added.server.text));
            if !holds {
                ended.push(Ended::AddedInVain(added.clone()));
            }
            holds
        });
        let added = &self.added;
        self.overrides.retain(|over| {
            if over.until.is_some_and(|until| until <= now) {
                ended.push(Ended::Expired(over.clone()));
                return false;
            }
            let group = file.upstreams.iter().find(|group| group.name == over.target.group);
            let of_api = added.iter().filter(|added| added.group == over.target.group).map(|added| &added.server);
            let whole = group.map(|group| found.complete(group));
            let servers = whole.iter().flat_map(|group| &group.servers).chain(of_api);
            let holds = match servers.into_iter().find(|server| server.text == over.target.server) {
                Some(server) => over.setting.kind().of(server) == over.file,
                // A source may find it again, or has not looked yet.
                None => group.is_some_and(|group| group.asks_sources()),
            };
            if !holds {
                ended.push(Ended::FileChanged(over.clone()));
            }
            holds
        });
        (self, ended)
    }

    /// The file with the servers that were added.
    pub(super) fn extend(&self, file: &Arc<Config>) -> Arc<Config> {
        if self.added.is_empty() {
            return file.clone();
        }
        let mut config = (**file).clone();
        for added in &self.added {
            let group = config.upstreams.iter_mut().find(|group| group.name == added.group);
            group.into_iter().for_each(|group| group.servers.push(added.server.clone()));
        }
        Arc::new(config)
    }

    /// What holds for one address of a server: the overrides of the server, then those of the address alone.
    pub(super) fn of(&self, upstream: &Upstream, server: &UpstreamServer, addr: &Endpoint) -> Vec<Override> {
        let same = |over: &&Override| over.target.group == upstream.name && over.target.server == server.text;
        let for_all = self.overrides.iter().filter(same).filter(|over| over.target.addr.is_none());
        let for_one = self.overrides.iter().filter(same).filter(|over| over.target.is_at(addr));
        for_all.chain(for_one).cloned().collect()
    }

    fn lift(&mut self, target: &Subject, kind: Kind) {
        self.overrides.retain(|over| over.setting.kind() != kind || !target.covers(&over.target));
    }

    fn remove(&mut self, group: &str, server: &str) {
        self.added.retain(|added| *added.group != *group || *added.server.text != *server);
        self.overrides.retain(|over| *over.target.group != *group || *over.target.server != *server);
    }
}

/// The server as these overrides make it.
pub(super) fn adjusted(server: &Arc<UpstreamServer>, overrides: &[Override]) -> Arc<UpstreamServer> {
    if overrides.is_empty() {
        return server.clone();
    }
    let mut adjusted = (**server).clone();
    overrides.iter().for_each(|over| over.setting.put(&mut adjusted));
    Arc::new(adjusted)
}

/// What the overrides want of a peer, and until when; `None`: nothing, the file decides.
pub(super) fn wish(overrides: &[Override]) -> Option<(Operator, Option<Timestamp>)> {
    overrides.iter().rev().find_map(|over| match over.setting {
        Setting::Use(operator) => Some((operator, over.until)),
        _ => None,
    })
}

impl Subject {
    /// Whether it is this address of a name. (What a name has is always an address.)
    pub fn is_at(&self, endpoint: &Endpoint) -> bool {
        matches!((self.addr, endpoint), (Some(addr), Endpoint::Ip(at)) if addr == *at)
    }

    /// Whether everybody whom `other` is about is meant.
    pub fn covers(&self, other: &Subject) -> bool {
        let same = self.group == other.group && self.server == other.server;
        same && (self.addr.is_none() || self.addr == other.addr)
    }
}

impl Setting {
    /// Which value it is.
    pub fn kind(self) -> Kind {
        match self {
            Setting::Use(_) => Kind::Use,
            Setting::Weight(_) => Kind::Weight,
            Setting::MaxConns(_) => Kind::MaxConns,
            Setting::MaxFails(_) => Kind::MaxFails,
            Setting::FailTimeout(_) => Kind::FailTimeout,
            Setting::SlowStart(_) => Kind::SlowStart,
        }
    }

    /// `down` and `drain` are not put: that is a voice of its own in a peer's health.
    fn put(self, server: &mut UpstreamServer) {
        match self {
            Setting::Use(_) => {}
            Setting::Weight(weight) => server.weight = weight,
            Setting::MaxConns(max_conns) => server.max_conns = max_conns,
            Setting::MaxFails(max_fails) => server.max_fails = max_fails,
            Setting::FailTimeout(fail_timeout) => server.fail_timeout = fail_timeout,
            Setting::SlowStart(slow_start) => server.slow_start = slow_start,
        }
    }
}

impl Kind {
    /// The value that a server has.
    pub fn of(self, server: &UpstreamServer) -> Setting {
        match self {
            Kind::Use => Setting::Use(match server {
                UpstreamServer { down: true, .. } => Operator::Down,
                UpstreamServer { drain: true, .. } => Operator::Drain,
                _ => Operator::Enabled,
            }),
            Kind::Weight => Setting::Weight(server.weight),
            Kind::MaxConns => Setting::MaxConns(server.max_conns),
            Kind::MaxFails => Setting::MaxFails(server.max_fails),
            Kind::FailTimeout => Setting::FailTimeout(server.fail_timeout),
            Kind::SlowStart => Setting::SlowStart(server.slow_start),
        }
    }
}

impl fmt::Display for Kind {
    /// As the file calls it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Use => "up, drain and down",
            Kind::Weight => "weight",
            Kind::MaxConns => "max_conns",
            Kind::MaxFails => "max_fails",
            Kind::FailTimeout => "fail_timeout",
            Kind::SlowStart => "slow_start",
        })
    }
}

impl fmt::Display for Subject {
    /// `web/app:5000`; one address of a name: `web/app:5000 (10.0.0.3:5000)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.server)?;
        match self.addr {
            Some(addr) => write!(f, " ({addr})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Setting {
    /// `drain`, `down`, `up`, `weight 5`, `fail_timeout 10s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Use(Operator::Enabled) => f.write_str("up"),
            Setting::Use(Operator::Drain) => f.write_str("drain"),
            Setting::Use(Operator::Down) => f.write_str("down"),
            Setting::Weight(weight) => write!(f, "weight {weight}"),
            Setting::MaxConns(max_conns) => write!(f, "max_conns {max_conns}"),
            Setting::MaxFails(max_fails) => write!(f, "max_fails {max_fails}"),
            Setting::FailTimeout(fail_timeout) => write!(f, "fail_timeout {}s", fail_timeout.as_secs()),
            Setting::SlowStart(slow_start) => write!(f, "slow_start {}s", slow_start.as_secs()),
        }
    }
}

impl fmt::Display for Override {
    /// `drain by ann@host: deploy`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.setting, self.by)?;
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Ended {
    /// A sentence for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Expired(over) => write!(f, "{}: the override has expired: {over}", over.target),
            Ended::FileChanged(over) => {
                write!(f, "{}: the file has changed, which ends the override: {over}", over.target)
            }
            Ended::AddedInVain(added) => {
                let Added { group, server, by, .. } = added;
                write!(f, "{group}/{}: the file has changed, which ends what {by} added", server.text)
            }
        }
    }
}
