//! How is each of them? All are asked at once, each within the time for a try, and again if it may be.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, LocalSet};

use super::target::Target;
use crate::clock::{Clock, Timestamp};
use crate::config::model::{AdminListen, CheckKind, Expect, HealthCheck};
use crate::net::resolver::{Answer, Resolver};
use crate::probe::{Probe, Seen, Tls};
use crate::tls::Connector;

/// How everybody is asked.
#[derive(Debug)]
pub(super) struct Plan {
    /// What an answer over HTTP must be like.
    pub(super) expect: Expect,
    /// For `https://`.
    pub(super) tls: Option<Arc<Connector>>,
    /// For one try, names and all.
    pub(super) timeout: Duration,
    /// How many tries may follow the first.
    pub(super) retries: u32,
    /// Before each of them.
    pub(super) interval: Duration,
}

/// Who is asked.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// Somebody of the command line.
    Target(Target),
    /// This container's weir.
    Weir(AdminListen),
}

impl Asked {
    /// Whether it speaks TLS.
    pub(super) fn is_secure(&self) -> bool {
        matches!(self, Asked::Target(Target::Url(url)) if url.secure)
    }
}

/// What is said about one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) healthy: bool,
    pub(super) line: String,
}

impl Report {
    /// About somebody who could not even be asked.
    pub(super) fn failed(who: String, why: &str) -> Report {
        Report { healthy: false, line: format!("status FAILED, {who}, {why}, took 0ms") }
    }
}

/// Asks all of them at once; the reports are in their order.
pub(super) async fn all(plan: Plan, asked: Vec<Result<Asked, Report>>) -> Vec<Report> {
    let (plan, here) = (Rc::new(plan), LocalSet::new());
    let mut reports = vec![None; asked.len()];
    let mut asking = JoinSet::new();
    for (place, asked) in asked.into_iter().enumerate() {
        match asked {
            Ok(asked) => {
                let plan = Rc::clone(&plan);
                asking.spawn_local_on(async move { (place, one(&plan, &asked).await) }, &here);
            }
            Err(report) => reports[place] = Some(report),
        }
    }
    while let Some(done) = here.run_until(asking.join_next()).await {
        if let Ok((place, report)) = done {
            reports[place] = Some(report);
        }
    }
    let lost = || Report::failed("weir".into(), "the question was given up");
    reports.into_iter().map(|report| report.unwrap_or_else(lost)).collect()
}

async fn one(plan: &Plan, asked: &Asked) -> Report {
    let clock = Clock::process();
    let began = clock.now();
    let who = shown(asked);
    let mut tries = 1;
    loop {
        let late = |_| Err(format!("no answer within {:?}", plan.timeout));
        let seen = tokio::time::timeout(plan.timeout, look(plan, asked)).await.unwrap_or_else(late);
        let took = took(clock.now(), began, tries);
        match seen {
            Ok(()) => return Report { healthy: true, line: format!("status OK, {who}, {took}") },
            Err(why) if tries > plan.retries => {
                return Report { healthy: false, line: format!("status FAILED, {who}, {why}, {took}") };
            }
            Err(_) => tokio::time::sleep(plan.interval).await,
        }
        tries += 1;
    }
}

fn took(now: Timestamp, began: Timestamp, tries: u32) -> String {
    let took = now.since(began).as_millis();
    if tries == 1 { format!("took {took}ms") } else { format!("took {took}ms in {tries} tries") }
}

/// A URL over a unix socket is written as nginx does.
fn shown(asked: &Asked) -> String {
    match asked {
        Asked::Target(target) => target.to_string(),
        Asked::Weir(AdminListen::Unix(socket)) => format!("url http://unix:{}:/healthz", socket.display()),
        Asked::Weir(AdminListen::Tcp(addr)) => format!("url http://{}/healthz", reachable(*addr)),
    }
}

async fn look(plan: &Plan, asked: &Asked) -> Result<(), String> {
    match asked {
        Asked::Target(target) => look_at(plan, target).await,
        Asked::Weir(AdminListen::Unix(socket)) => {
            verdict(probe(plan, get(plan, "/healthz"), "localhost").look_at_unix(socket).await.seen)
        }
        Asked::Weir(AdminListen::Tcp(addr)) => {
            let addr = reachable(*addr);
            verdict(probe(plan, get(plan, "/healthz"), &addr.to_string()).look(addr).await.seen)
        }
    }
}

async fn look_at(plan: &Plan, target: &Target) -> Result<(), String> {
    let at = target.at();
    let probe = match target {
        Target::Url(url) => {
            let probe = probe(plan, get(plan, &url.target), &url.authority);
            match plan.tls.as_ref().filter(|_| url.secure) {
                Some(connector) => {
                    let name = at.host.trim_matches(['[', ']']).to_owned();
                    probe.over_tls(&Tls { connector: Arc::clone(connector), name })
                }
                None => probe,
            }
        }
        Target::Tcp(_) => probe(plan, CheckKind::Tcp, &at.to_string()),
        Target::Grpc(grpc) => {
            probe(plan, CheckKind::Grpc { service: grpc.service.clone(), status: None }, &at.to_string())
        }
    };
    let addrs = match Resolver::new(&[], None).resolve(&at.host).await {
        Answer::Found { addrs, .. } => addrs,
        Answer::NoSuchName => return Err(format!("no such name: {}", at.host)),
        Answer::Failed(why) => return Err(format!("cannot resolve {}: {why}", at.host)),
    };
    let mut refused = Ok(());
    for addr in addrs {
        match probe.look(SocketAddr::new(addr, at.port)).await.seen {
            // The application may listen on another address of the name.
            seen @ Seen::Unreachable { .. } => refused = verdict(seen),
            seen => return verdict(seen),
        }
    }
    refused
}

fn get(plan: &Plan, target: &str) -> CheckKind {
    CheckKind::Http { uri: target.into(), host: None, expect: plan.expect.clone() }
}

/// One look: the thresholds of a check have nothing to count.
fn probe(plan: &Plan, kind: CheckKind, host: &str) -> Probe {
    let (interval, timeout) = (Duration::ZERO, plan.timeout);
    let check = HealthCheck { kind, interval, jitter: Duration::ZERO, timeout, fails: 1, passes: 1, port: None };
    Probe::new(&check, host)
}

/// Where to reach whoever listens on this address from the same machine.
pub(in crate::cli) fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(if addr.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    addr
}

fn verdict(seen: Seen) -> Result<(), String> {
    match seen {
        Seen::Pass => Ok(()),
        Seen::BadStatus { detail } | Seen::Unreachable { detail } | Seen::TimedOut { detail } => {
            Err(detail.to_string())
        }
        Seen::DrainingItself => Err("the application is shutting down".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weir_that_listens_everywhere_is_asked_on_loopback() {
        for (listen, reached) in
            [("0.0.0.0:9000", "127.0.0.1:9000"), ("[::]:9000", "[::1]:9000"), ("10.0.0.1:9000", "10.0.0.1:9000")]
        {
            assert_eq!(reachable(listen.parse().expect("an address")).to_string(), reached);
        }
    }
}
