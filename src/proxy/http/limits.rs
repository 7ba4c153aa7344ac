//! May a request go on, or does its client ask for too much? `limit_req`, then `limit_conn`, as in nginx.

use std::fmt;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::connection::Connection;
use super::grpc;
use super::reply::Reply;
use super::scratch::Scratch;
use super::story::Story;
use crate::config::model::LogLevel;
use crate::config::template::Template;
use crate::endpoint::ClientAddr;
use crate::shape::{Admission, Full, Held, MAX_LIMITS, Notices, RequestLimit};
use crate::telemetry::Limited;
use crate::topology::Route;

/// What limits say of a request.
pub enum Gate {
    /// It goes on. Until these are dropped it is in flight.
    Open(Vec<Held>),
    /// It is answered so.
    Closed(Reply),
    /// Its client left while it waited.
    Left,
}

/// Asks all limits of the route. Waits where `limit_req` says so.
pub async fn enter(conn: &mut Connection, s: &mut Scratch, story: &mut Story, route: &Route) -> Gate {
    if !route.gates.requests.is_empty() {
        match admit(conn, s, story, route) {
            Admission::Pass => {}
            Admission::Delay { wait, .. } => {
                if !pause(conn, s, wait).await {
                    return Gate::Left;
                }
                // The call's own time ended the wait, not its turn.
                if conn.deadline.is_over(conn.worker.now()) {
                    return Gate::Closed(grpc::DEADLINE);
                }
            }
            Admission::Refuse { retry_after, .. } => {
                let reply = Reply::new(route.location.limits.requests_status, "requests come too fast");
                // Not a whole second may be left, and `Retry-After: 0` invites to ask at once.
                return Gate::Closed(Reply { retry_after: Some(retry_after.max(Duration::from_secs(1))), ..reply });
            }
        }
    }
    if route.gates.connections.is_empty() {
        return Gate::Open(Vec::new());
    }
    match count(conn, s, story, route) {
        Ok(held) => Gate::Open(held),
        Err(reply) => Gate::Closed(reply),
    }
}

/// What is to be done because of `limit_req`; in a dry run, nothing.
fn admit(conn: &Connection, s: &mut Scratch, story: &mut Story, route: &Route) -> Admission {
    let (limits, gates) = (&route.location.limits, &route.gates.requests);
    let now = conn.worker.now();
    let mut ids = [None; MAX_LIMITS];
    for ((id, gate), limit) in ids.iter_mut().zip(gates).zip(&limits.requests) {
        *id = with_key(conn, s, story, route, &limit.zone.key, |key| gate.buckets.id(key));
    }
    if ids.iter().all(Option::is_none) {
        return Admission::Pass;
    }
    let dry = limits.requests_dry_run;
    let admission = RequestLimit::admit(gates, &ids, now);
    let (by, excess, verb, level) = match admission {
        Admission::Pass => {
            story.limit_req = Some(Limited::Passed);
            return admission;
        }
        Admission::Delay { by, excess, .. } => (by, excess, "delaying", limits.requests_log_level.lower()),
        Admission::Refuse { by, excess, .. } => (by, excess, "limiting", limits.requests_log_level),
    };
    let delayed = matches!(admission, Admission::Delay { .. });
    story.limit_req = Some(match (delayed, dry) {
        (true, false) => Limited::Delayed,
        (true, true) => Limited::DelayedDryRun,
        (false, false) => Limited::Rejected,
        (false, true) => Limited::RejectedDryRun,
    });
    let buckets = &gates[by].buckets;
    let notices = if delayed { &buckets.delayed } else { &buckets.refused };
    let what = format_args!("{verb} requests, excess: {}.{:03}", excess / 1_000, excess % 1_000);
    tell(conn, notices, level, &Notice { what, zone: &limits.requests[by].zone.name, dry, client: story.address });
    if dry { Admission::Pass } else { admission }
}

/// Counts the request in all zones of `limit_conn`, or in none.
fn count(conn: &Connection, s: &mut Scratch, story: &mut Story, route: &Route) -> Result<Vec<Held>, Reply> {
    let limits = &route.location.limits;
    let mut held = Vec::with_capacity(route.gates.connections.len());
    for (gate, limit) in route.gates.connections.iter().zip(&limits.connections) {
        match with_key(conn, s, story, route, &limit.zone.key, |key| gate.enter(key)) {
            Ok(one) => held.extend(one),
            Err(full) => {
                let dry = limits.connections_dry_run;
                story.limit_conn = Some(if dry { Limited::RejectedDryRun } else { Limited::Rejected });
                let what = match full {
                    Full::Client => format_args!("limiting connections"),
                    Full::Zone => {
                        format_args!("limiting connections of new clients, for there is no more room for them")
                    }
                };
                let notice = Notice { what, zone: &limit.zone.name, dry, client: story.address };
                tell(conn, &gate.zone.refused, limits.connections_log_level, &notice);
                return match dry {
                    true => Ok(Vec::new()),
                    false => Err(Reply {
                        retry_after: Some(Duration::from_secs(1)),
                        ..Reply::new(limits.connections_status, "too many requests at once")
                    }),
                };
            }
        }
    }
    if !held.is_empty() {
        story.limit_conn = Some(Limited::Passed);
    }
    Ok(held)
}

fn with_key<T>(
    conn: &Connection,
    s: &mut Scratch,
    story: &Story,
    route: &Route,
    template: &Template,
    look: impl FnOnce(&[u8]) -> T,
) -> T {
    let mut key = std::mem::take(&mut s.key);
    key.clear();
    story.scope(conn, s, Some(route)).append(template, &mut key);
    let seen = look(&key);
    s.key = key;
    seen
}

/// Waits for this time. False: the client left meanwhile.
async fn pause(conn: &mut Connection, s: &mut Scratch, wait: Duration) -> bool {
    conn.deadline.set(conn.worker.now(), wait);
    poll_fn(|cx| {
        if conn.stream.has_left(cx, &mut s.client_in) {
            return Poll::Ready(false);
        }
        conn.deadline.poll(cx).map(|()| true)
    })
    .await
}

/// What the log is told of a limit.
struct Notice<'a> {
    what: fmt::Arguments<'a>,
    zone: &'a str,
    dry: bool,
    client: ClientAddr,
}

/// Writes a line, if it is time for one.
fn tell(conn: &Connection, notices: &Notices, level: LogLevel, notice: &Notice<'_>) {
    let Some(untold) = notices.note(conn.worker.now()) else { return };
    let Notice { what, zone, dry, client } = notice;
    let dry = if *dry { ", dry run" } else { "" };
    let more = match untold {
        0 => String::new(),
        untold => format!(" ({untold} more since the last such line)"),
    };
    match level {
        LogLevel::Error => tracing::error!("{what} by zone `{zone}`{dry}, client {client}{more}"),
        LogLevel::Warn => tracing::warn!("{what} by zone `{zone}`{dry}, client {client}{more}"),
        LogLevel::Info => tracing::info!("{what} by zone `{zone}`{dry}, client {client}{more}"),
    }
}
