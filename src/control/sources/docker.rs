//! Which containers want to be peers now? The engine's API on its socket: a list of those with the label
//! `weir.upstream`, and its events. One that is told to end gets no new request from that moment on, while its process
//! still lives.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until};

use super::client::{self, Answer, escaped};
use super::labels::{Listed, Wish};
use super::{Outage, Told};
use crate::clock::{Clock, Timestamp};
use crate::config::model::UpstreamServer;
use crate::topology::Source;

/// The version of the API that is spoken with every engine that has it (engines from 29 on have none before it).
const SPOKEN: Version = Version(1, 44);
/// Until the head of an answer, and until its end.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest line of events.
const MAX_EVENT: usize = 1 << 20;
/// Several events in a row cost one list.
const SETTLE: Duration = Duration::from_millis(100);
/// A list is asked for at least so often, should an event have been lost.
const AGAIN: Duration = Duration::from_secs(60);
/// A container that lives on for so long after it was told to end is a peer again.
const SURVIVES: Duration = Duration::from_secs(300);

/// The containers of one engine.
pub(super) struct Follow {
    socket: PathBuf,
    told: Told,
    again: Rc<Notify>,
    /// The last good list, by the containers' ids.
    listed: BTreeMap<String, Wish>,
    /// Whether there was a list at all.
    known: bool,
    /// Who was told to end, and when.
    leaving: HashMap<String, Timestamp>,
    /// Containers whose labels make no sense, and that this was said of.
    complained: HashSet<(String, String)>,
    clock: Clock,
}

impl Follow {
    /// Asks at `socket`; `again` is woken when the configuration changes.
    pub(super) fn new(socket: PathBuf, told: Told, again: Rc<Notify>) -> Follow {
        Follow {
            socket,
            told,
            again,
            listed: BTreeMap::new(),
            known: false,
            leaving: HashMap::new(),
            complained: HashSet::new(),
            clock: Clock::process(),
        }
    }

    /// Follows the engine, again after each end of its connection.
    pub(super) async fn run(mut self) {
        let mut outage = Outage::of(format!("docker ({})", self.socket.display()));
        loop {
            let why = match self.session(&mut outage).await {
                Ok(()) => "the engine ended its events".to_owned(),
                Err(why) => why,
            };
            sleep(outage.failed(&why)).await;
        }
    }

    /// One connection for events, from its beginning to its end.
    async fn session(&mut self, outage: &mut Outage) -> Result<(), String> {
        let version = self.version().await?;
        // The events first, so that nothing is lost between the list and them.
        let mut events =
            Events { answer: self.get(&format!("/v{version}/events?filters={}", events())).await?, ahead: Vec::new() };
        self.list(version).await?;
        outage.over();
        let mut due = self.clock.now() + AGAIN;
        loop {
            tokio::select! {
                event = events.next() => match event? {
                    Some(event) => if self.hear(&event) { due = due.min(self.clock.now() + SETTLE) },
                    None => return Ok(()),
                },
                () = sleep_until(self.clock.instant(due)) => {
                    self.list(version).await?;
                    due = self.clock.now() + AGAIN;
                }
                () = self.again.notified() => self.publish(),
            }
        }
    }

    async fn get(&self, target: &str) -> Result<Answer, String> {
        let wire = UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "no permission to use the socket; add weir's user to the group that owns it".to_owned()
            }
            _ => format!("cannot connect: {error}"),
        })?;
        client::get(wire, "docker", target, None, LIMIT).await
    }

    /// The version to speak.
    async fn version(&self) -> Result<Version, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Spoken {
            api_version: String,
            #[serde(rename = "MinAPIVersion", default)]
            min_api_version: String,
        }
        let answer = self.get("/version").await?.whole(LIMIT).await?;
        let spoken: Spoken =
            serde_json::from_slice(&answer).map_err(|error| format!("/version is not understood: {error}"))?;
        let newest = Version::parse(&spoken.api_version).ok_or("/version tells no version")?;
        Ok(SPOKEN.min(newest).max(Version::parse(&spoken.min_api_version).unwrap_or(Version(0, 0))))
    }

    /// Asks for all containers with the label, and tells who they are.
    async fn list(&mut self, version: Version) -> Result<(), String> {
        let filters = escaped(r#"{"label":["weir.upstream"],"status":["running"]}"#);
        let answer = self.get(&format!("/v{version}/containers/json?filters={filters}")).await?;
        let listed: Vec<Listed> = serde_json::from_slice(&answer.whole(LIMIT).await?)
            .map_err(|error| format!("the list of containers is not understood: {error}"))?;
        let ids: HashSet<&str> = listed.iter().map(|container| &*container.id).collect();
        self.complained.retain(|(id, _)| ids.contains(&**id));
        let now = self.clock.now();
        self.leaving.retain(|id, since| ids.contains(&**id) && now.since(*since) < SURVIVES);
        self.listed.clear();
        for container in &listed {
            match container.wish() {
                Ok(wish) => _ = self.listed.insert(container.id.clone(), wish),
                Err(why) => {
                    if self.complained.insert((container.id.clone(), why.clone())) {
                        tracing::warn!("docker: the container {} is no peer: {why}", container.name());
                    }
                }
            }
        }
        self.known = true;
        self.publish();
        Ok(())
    }

    /// Takes note of an event; `true`: the list may be another now.
    fn hear(&mut self, event: &Event) -> bool {
        let id = &event.actor.id;
        match &*event.action {
            "kill" if ends(event.actor.attributes.get("signal").map_or("", String::as_str)) => {
                self.leaving.insert(id.clone(), self.clock.now());
            }
            "die" | "pause" | "destroy" => {
                self.leaving.remove(id);
                if self.listed.remove(id).is_none() {
                    return false;
                }
            }
            "start" => {
                self.leaving.remove(id);
                return true;
            }
            "unpause" | "rename" | "connect" | "disconnect" => return true,
            _ => return false,
        }
        self.publish();
        false
    }

    /// Tells each group that wants containers which ones it has.
    fn publish(&self) {
        if !self.known {
            return;
        }
        let topology = self.told.live.load();
        for upstream in topology.config().upstreams.iter().filter(|upstream| upstream.docker) {
            let here = self
                .listed
                .iter()
                .filter(|(id, wish)| *wish.group == *upstream.name && !self.leaving.contains_key(*id));
            let mut servers: Vec<UpstreamServer> = here.map(|(_, wish)| wish.server.clone()).collect();
            servers.sort_by(|a, b| a.text.cmp(&b.text));
            self.told.publish(&Arc::clone(&upstream.name), Source::Docker, "docker", servers);
        }
    }
}

/// What is worth to be told of.
fn events() -> String {
    escaped(
        r#"{"type":["container","network"],"event":["start","kill","die","pause","unpause","rename","destroy","connect","disconnect"]}"#,
    )
}

/// Whether a signal asks a process to end. Those that it does not are used to reload, to open logs anew, and to go on.
fn ends(signal: &str) -> bool {
    let name = signal.trim_start_matches("SIG");
    // HUP, USR1, USR2, CHLD, CONT, STOP, TSTP, by number and by name. (signal(7))
    const OTHERS: [&str; 14] =
        ["1", "HUP", "10", "USR1", "12", "USR2", "17", "CHLD", "18", "CONT", "19", "STOP", "20", "TSTP"];
    !OTHERS.contains(&name)
}

/// A version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl Version {
    fn parse(text: &str) -> Option<Version> {
        let (major, minor) = text.split_once('.')?;
        Some(Version(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Something happened to a container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    actor: Actor,
}

#[derive(Debug, Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes", default)]
    attributes: HashMap<String, String>,
}

/// Events, one JSON object a line.
struct Events {
    answer: Answer,
    ahead: Vec<u8>,
}

impl Events {
    /// The next event; `None`: there will be no more. Lines that are none are passed over. May be dropped at any time.
    async fn next(&mut self) -> Result<Option<Event>, String> {
        loop {
            if let Some(end) = self.ahead.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.ahead.drain(..=end).collect();
                if let Ok(event) = serde_json::from_slice(&line) {
                    return Ok(Some(event));
                }
                continue;
            }
            if self.ahead.len() > MAX_EVENT {
                return Err("an event is longer than 1 MiB".to_owned());
            }
            match self.answer.next().await {
                Some(data) => self.ahead.extend_from_slice(&data),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_reloads_is_no_end() {
        for (signal, end) in [("15", true), ("9", true), ("SIGTERM", true), ("28", true), ("3", true), ("", true)] {
            assert_eq!(ends(signal), end, "{signal}");
        }
        for signal in ["1", "SIGHUP", "HUP", "10", "SIGUSR2", "18"] {
            assert!(!ends(signal), "{signal}");
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |text| Version::parse(text).expect("a version");
        assert!(version("1.9") < version("1.44"));
        assert_eq!((version("1.52").to_string().as_str(), Version::parse("x")), ("1.52", None));
    }
}
