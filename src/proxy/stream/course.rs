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
use crate::topology::{Ask, Group, Lease, Nobody, Refused, StreamRoute, Tried, acquire};

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
    pub group: Arc<Group>,
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

    /// A peer for the next attempt, from the present snapshot. Waits where the group's rules say so.
    ///
    /// # Errors
    /// There is nobody. The log has an entry in the group's name then.
    pub async fn lease(&mut self, worker: &Rc<Worker>) -> Result<Turn, Nobody> {
        let leased = self.find(worker).await;
        match &leased {
            Ok(turn) => {
                self.made += 1;
                self.since.get_or_insert(turn.lease.began());
            }
            Err(_) => self.remember(no_peer(&self.route.group_name)),
        }
        leased
    }

    async fn find(&mut self, worker: &Rc<Worker>) -> Result<Turn, Nobody> {
        let present = || worker.group(self.route.group);
        let group = present().ok_or_else(Nobody::no_group)?;
        self.key.clear();
        key_of(&group, self.client, &mut self.key);
        // A connect may always be tried again, so it may be a trial.
        let ask = Ask { key: &self.key, repeatable: true, bound: None, tried: &self.tried };
        let now = worker.now();
        let (group, lease) = match group.try_lease(&ask, now) {
            Ok(lease) => (group, lease),
            Err(Refused::Nobody(nobody)) => return Err(nobody),
            Err(Refused::Wait(_)) => {
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
