//! Who is asked for a session, and if that one fails, who then?

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::balancer::{Method, ip_hash_key};
use crate::clock::Timestamp;
use crate::config::template::{Part, Variable};
use crate::endpoint::ClientAddr;
use crate::proxy::http::{Trouble, no_peer, report};
use crate::proxy::retry::{self, Attempted, Next};
use crate::proxy::worker::Worker;
use crate::telemetry::{Answer, Attempt, Failure, Why};
use crate::topology::{Ask, Group, Lease, Local, Nobody, Refused, StreamRoute, Tried, acquire};

/// How many attempts are remembered for the log. Only a session of datagrams that outlives many peers has more.
const REMEMBERED: usize = 16;

/// What a session remembers between its attempts.
pub struct Course {
    /// Where it leads.
    pub route: Arc<StreamRoute>,
    /// Who was asked, for the log.
    pub attempts: Vec<Attempt>,
    /// Time in the group's queue.
    pub queue_time: Option<Duration>,
    /// Whose it is: what `hash` and `ip_hash` go by.
    pub client: ClientAddr,
    key: Vec<u8>,
    tried: Tried,
    made: u32,
    /// How many of them may have reached an application.
    asked: u32,
    since: Option<Timestamp>,
}

/// A peer to try, and what it was chosen from.
pub struct Turn {
    /// The group as it was then.
    pub group: Local<Group>,
    /// The use of the peer.
    pub lease: Lease,
    /// Given up if the peer is found unreachable meanwhile, for the sake of another try.
    pub may_abandon: bool,
}

impl Course {
    /// Nobody was asked yet.
    pub fn new(route: Arc<StreamRoute>, client: ClientAddr) -> Course {
        let (key, tried) = (Vec::new(), Tried::new());
        Course { route, attempts: Vec::new(), queue_time: None, client, key, tried, made: 0, asked: 0, since: None }
    }

    /// A peer for the next attempt, from the present snapshot; once more, if a reload has removed the group. Waits where the
    /// group's rules say so.
    ///
    /// # Errors
    /// There is nobody. The log has an entry in the group's name then.
    pub async fn lease(&mut self, worker: &Rc<Worker>) -> Result<Turn, Nobody> {
        let leased = match self.find(worker).await {
            Err(_) if self.reroute(worker) => self.find(worker).await,
            leased => leased,
        };
        match &leased {
            Ok(turn) => {
                self.made += 1;
                self.since.get_or_insert(turn.lease.began());
            }
            Err(_) => self.remember(no_peer(&self.route.group_name)),
        }
        leased
    }

    /// Goes where the file says now. False: the group is there still, or the file has no stream at this address.
    fn reroute(&mut self, worker: &Worker) -> bool {
        if worker.group(self.route.group).is_some() {
            return false;
        }
        let route = worker.with(|topology| topology.stream_again(&self.route).cloned());
        route.map(|route| self.route = route).is_some()
    }

    async fn find(&mut self, worker: &Rc<Worker>) -> Result<Turn, Nobody> {
        let group = worker.group(self.route.group).ok_or_else(Nobody::no_group)?;
        self.choose(worker, group).await
    }

    /// A peer of this group; if a reload replaces it in this moment, of that.
    async fn choose(&mut self, worker: &Rc<Worker>, group: Local<Group>) -> Result<Turn, Nobody> {
        let present = || worker.group(self.route.group);
        let is_present = |group: &Local<Group>| present().is_some_and(|present| present.is(group));
        self.key.clear();
        key_of(&group, self.client, &mut self.key);
        // A connect may always be tried again, so it may be a trial.
        let ask = Ask { key: &self.key, repeatable: true, bound: None, tried: &self.tried };
        let now = worker.now();
        let (group, lease) = match group.try_lease(&ask, now) {
            Ok(lease) => (group, lease),
            Err(Refused::Nobody(nobody)) if is_present(&group) => return Err(nobody),
            Err(_) => {
                drop(group);
                let leased = acquire(present, &ask, &worker.clock).await;
                *self.queue_time.get_or_insert_default() += worker.now().since(now);
                let lease = leased?;
                (present().ok_or_else(Nobody::no_group)?, lease)
            }
        };
        let proxy = &self.route.proxy;
        // This attempt is not counted yet.
        let tries = group.tries(proxy.next_upstream_tries);
        let may_abandon = proxy.next_upstream.error && self.made + 1 < tries.in_all && self.asked + 1 < tries.asked;
        Ok(Turn { group, lease, may_abandon })
    }

    /// The connection stands, which is all that a peer is judged by.
    pub fn connected(&mut self, lease: &mut Lease, now: Timestamp) {
        self.remember(entry(lease, Some(now.since(lease.began())), Answer::Status(200), now));
        report(lease.head_received(now));
    }

    /// The session is over, and nobody can tell whether the peer was there.
    pub fn silent(&mut self, lease: &Lease, now: Timestamp) {
        self.remember(entry(lease, None, Answer::None, now));
    }

    /// The session, or its part with this peer, is over.
    pub fn ended(&mut self, lease: &Lease, now: Timestamp) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.response_time = now.since(lease.began());
        }
    }

    /// The client left while this peer was tried.
    pub fn left(&mut self, lease: Lease, now: Timestamp) {
        self.remember(entry(&lease, None, Answer::None, now));
        report(lease.client_left(now));
    }

    /// The peer failed. `Ok`: another may be asked.
    ///
    /// # Errors
    /// Why not.
    pub fn failed(&mut self, worker: &Worker, turn: Turn, trouble: &Trouble, sent: bool) -> Result<(), Why> {
        let now = worker.now();
        let Turn { group, lease, .. } = turn;
        self.remember(entry(&lease, None, Answer::Failed(trouble.failure), now));
        if matches!(trouble.failure, Failure::Connect | Failure::ConnectTimeout) && !trouble.local {
            worker.connect_failed(lease.peer());
        }
        report(lease.give_up(trouble.outcome(), &mut self.tried, now));
        let proxy = &self.route.proxy;
        self.asked += u32::from(retry::is_asked(trouble.cause(), sent));
        let seen = Attempted {
            cause: trouble.cause(),
            sent,
            answered: false,
            idempotent: true,
            replayable: true,
            attempts: self.made,
            asked: self.asked,
            elapsed: self.since.map_or(Duration::ZERO, |since| now.since(since)),
        };
        let tries = group.tries(proxy.next_upstream_tries);
        match retry::after(&seen, &proxy.next_upstream, tries, proxy.next_upstream_timeout) {
            Next::TryAnother { charged: true } if !group.try_retry(now) => Err(Why::OutOfBudget),
            Next::TryAnother { .. } => Ok(()),
            Next::GiveUp(why) => Err(why),
        }
    }

    /// A peer has answered: what comes later is a new story, in which all others may be tried again.
    pub fn answered(&mut self) {
        (self.tried, self.made, self.asked, self.since) = (Tried::new(), 0, 0, None);
    }

    fn remember(&mut self, attempt: Attempt) {
        if self.attempts.len() == REMEMBERED {
            self.attempts.remove(0);
        }
        self.attempts.push(attempt);
    }
}

fn entry(lease: &Lease, connected: Option<Duration>, answer: Answer, now: Timestamp) -> Attempt {
    Attempt {
        peer: Arc::clone(&lease.peer().text),
        addr: Some(lease.peer().addr.clone()),
        answer,
        connect_time: connected,
        header_time: None,
        response_time: now.since(lease.began()),
    }
}

/// What `hash` and `ip_hash` go by: a checked configuration asks for the client's address and port alone.
fn key_of(group: &Group, client: ClientAddr, key: &mut Vec<u8>) {
    use std::io::Write;
    match (&group.config.method, &group.config.key) {
        (Method::IpHash, _) => match client.ip() {
            Some(ip) => key.extend_from_slice(&ip_hash_key(ip)),
            // All of them are one client, as in nginx.
            None => key.extend_from_slice(&[0; 3]),
        },
        (_, Some(template)) => {
            for part in &template.parts {
                // A Vec accepts whatever is written to it.
                let _ = match part {
                    Part::Literal(text) => write!(key, "{text}"),
                    Part::Variable(Variable::RemoteAddr) => match client.ip() {
                        Some(ip) => write!(key, "{ip}"),
                        None => write!(key, "unix:"),
                    },
                    Part::Variable(Variable::RemotePort) => match client.port() {
                        Some(port) => write!(key, "{port}"),
                        None => Ok(()),
                    },
                    Part::Variable(_) => Ok(()),
                };
            }
        }
        (_, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Env};
    use crate::telemetry::AccessLog;
    use crate::topology::{Change, Live, Topology};
    use tokio::sync::mpsc;

    /// What `groups` are, each with a server, and where the stream leads.
    fn parsed(groups: &[(&str, &str)], stream: &str) -> Arc<config::Config> {
        let groups = groups.iter().map(|(name, server)| format!("[upstream.{name}]\nservers = [\"{server}\"]\n"));
        let text = groups.collect::<String>() + stream;
        Arc::new(config::parse("upstream.toml", &text, &Env::default()).expect("a good file").config)
    }

    fn to(group: &str) -> String {
        format!("[[stream]]\nlisten = 53\nproxy_pass = \"{group}\"\n")
    }

    /// A session that began before a reload, and a worker that sees what is after it. The group as the session saw it.
    fn across(before: Arc<config::Config>, after: Arc<config::Config>) -> (Course, Rc<Worker>, Local<Group>) {
        let before = Topology::build_seeded(before, 1, Timestamp::ZERO);
        let (route, group) = (Arc::clone(&before.streams()[0].route), Arc::clone(&before.groups()[0]));
        let (next, applied) = before.apply(Change::Config(after), Timestamp::ZERO);
        let live = Live::new(before);
        live.publish(next, &applied, Timestamp::ZERO);
        let log = AccessLog::open(&config::model::LogTarget::Off, config::model::LogFormat::Json).unwrap();
        let worker = Worker::new(&live, log.worker(), Arc::default(), mpsc::unbounded_channel().0);
        (Course::new(route, ClientAddr::Unix), worker, group.into())
    }

    fn leased(turn: &Result<Turn, Nobody>) -> Option<(String, String)> {
        let turn = turn.as_ref().ok()?;
        Some((turn.group.name().to_owned(), turn.lease.peer().addr.to_string()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_whose_group_a_reload_removes_goes_where_the_file_says_now() {
        let before = || parsed(&[("a", "10.0.0.1:1")], &to("a"));
        // where the stream leads after it; who is asked
        for (after, expected) in [
            (parsed(&[("b", "10.0.0.2:1")], &to("b")), Some(("b".into(), "10.0.0.2:1".into()))),
            (parsed(&[("b", "10.0.0.2:1")], &to("b").replace("53", "54")), None),
        ] {
            let (mut course, worker, _) = across(before(), after);
            assert_eq!(leased(&course.lease(&worker).await), expected);
            let told = course.attempts.iter().map(|attempt| &*attempt.peer).collect::<Vec<_>>();
            assert_eq!(told, if expected.is_some() { vec![] } else { vec!["a"] });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_whose_group_is_replaced_in_the_moment_of_choice_chooses_from_the_new_one() {
        let (mut course, worker, seen) =
            across(parsed(&[("a", "10.0.0.1:1")], &to("a")), parsed(&[("a", "10.0.0.2:1")], &to("a")));
        let turn = course.choose(&worker, seen).await;
        assert_eq!(leased(&turn), Some(("a".into(), "10.0.0.2:1".into())));
    }
}
