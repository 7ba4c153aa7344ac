//! What does the API show of a group and its peers? The objects of ngx_http_api_module, as far as weir knows their values.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::balancer::Measure;
use crate::clock::Moment;
use crate::config::model::UpstreamServer;
use crate::health::{Operator, State, Tier};
use crate::telemetry;
use crate::topology::{Group, Kind, Seat, Setting};

/// The seats of a group, each with whether it is a backup.
pub(super) fn seats(group: &Group) -> impl Iterator<Item = (&Seat, bool)> {
    let tiers = group.tiers().iter();
    tiers.flat_map(|tier| tier.seats.iter().map(move |seat| (seat, tier.which == Tier::Backup)))
}

/// An `upstream`.
pub(super) fn upstream(group: &Group, moment: Moment) -> Value {
    let peers: Vec<Value> = seats(group).map(|(seat, backup)| peer(seat, backup, moment)).collect();
    let mut upstream = json!({ "peers": peers, "zone": group.name() });
    if let Some(queue) = group.config.queue {
        upstream["queue"] = json!({ "size": group.waiting(), "max_size": queue.size, "overflows": group.overflows() });
    }
    upstream
}

/// A peer. Not known for each peer, and so left out: `ssl`, `responses.codes`, `response_time_hist`, `sent`, `received`.
fn peer(seat: &Seat, backup: bool, moment: Moment) -> Value {
    let now = moment.now;
    let (peer, tally) = (&seat.peer, &seat.peer.tally);
    let verdict = peer.cell.verdict(now);
    let [r1, r2, r3, r4, r5] = tally.responses.each_ref().map(|class| class.load(Relaxed));
    let mut health_checks = json!({
        "checks": tally.checks.load(Relaxed),
        "fails": tally.check_fails.load(Relaxed),
        "unhealthy": tally.unhealthy.load(Relaxed),
    });
    if let Some(passed) = verdict.last_probe_passed {
        health_checks["last_passed"] = json!(passed);
    }
    let out = matches!(verdict.state, State::Unavail | State::Checking | State::Unhealthy);
    let so_far = Duration::from_micros(tally.downtime.load(Relaxed));
    let downtime = if out { so_far + now.since(verdict.since) } else { so_far };
    let mut shown = json!({
        "id": peer.id.number(),
        "server": &*peer.name,
        "name": &*peer.text,
        "backup": backup,
        "weight": seat.server.weight,
        "state": verdict.state.name(),
        "active": peer.in_flight(),
        "requests": tally.requests.load(Relaxed),
        "responses": { "1xx": r1, "2xx": r2, "3xx": r3, "4xx": r4, "5xx": r5, "total": r1 + r2 + r3 + r4 + r5 },
        "fails": tally.fails.load(Relaxed),
        "unavail": tally.unavail.load(Relaxed),
        "health_checks": health_checks,
        "downtime": millis(downtime),
    });
    let mut more = |key: &str, value: Value| shown[key] = value;
    if seat.server.max_conns > 0 {
        more("max_conns", json!(seat.server.max_conns));
    }
    if let Some(time) = peer.latency.average(Measure::Header) {
        more("header_time", json!(millis(time)));
    }
    if let Some(time) = peer.latency.average(Measure::LastByte) {
        more("response_time", json!(millis(time)));
    }
    if out {
        more("downstart", json!(telemetry::utc(moment.calendar(verdict.since))));
    }
    if let Some(at) = peer.last_attempt() {
        more("selected", json!(telemetry::utc(moment.calendar(at))));
    }
    shown
}

/// The object of a server: its parameters, operators' values included.
pub(super) fn server(seat: &Seat) -> Value {
    let mut shown = parameters(&seat.server);
    shown.insert("id".into(), json!(seat.peer.id.number()));
    shown.insert("server".into(), json!(&*seat.peer.name));
    if seat.peer.host.is_some() {
        shown.insert("host".into(), json!(&*seat.server.text));
    }
    let wished = seat.overrides.iter().rev().find(|over| over.setting.kind() == Kind::Use);
    let wish = wished.map_or(Kind::Use.of(&seat.server), |over| over.setting);
    shown.insert("down".into(), json!(wish == Setting::Use(Operator::Down)));
    shown.insert("drain".into(), json!(wish == Setting::Use(Operator::Drain)));
    Value::Object(shown)
}

/// The object of a server whose name has no address yet: without an id.
pub(super) fn server_without_address(server: &UpstreamServer) -> Value {
    Value::Object(parameters(server))
}

fn parameters(server: &UpstreamServer) -> Map<String, Value> {
    let seconds = |time: Duration| format!("{}s", time.as_secs());
    let shown = json!({
        "server": &*server.text,
        "weight": server.weight,
        "max_conns": server.max_conns,
        "max_fails": server.max_fails,
        "fail_timeout": seconds(server.fail_timeout),
        "slow_start": seconds(server.slow_start),
        "backup": server.backup,
        "down": server.down,
        "drain": server.drain,
    });
    let mut shown = shown.as_object().cloned().unwrap_or_default();
    if let Some(route) = &server.route {
        shown.insert("route".into(), json!(&**route));
    }
    shown
}

/// `?fields=a,b`: these keys alone.
pub(super) fn only(value: Value, fields: Option<&str>) -> Value {
    let (Some(fields), Value::Object(object)) = (fields, &value) else { return value };
    let wanted: Vec<&str> = fields.split(',').collect();
    object.iter().filter(|(key, _)| wanted.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
