//! What does a request look like as JSON? One object per line; what is not known is left out.

use std::io::Write;

use super::calendar::since_1970;
use super::event::{Attempt, RequestDone};
use super::line::{decimal, seconds};
use crate::endpoint::{ClientAddr, Endpoint};

/// Appends the object of a request. `second` is its time in ISO 8601, without fraction and zone.
pub(super) fn object(second: &str, done: &RequestDone<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(second.as_bytes());
    let (_, millis) = since_1970(done.at);
    // A Vec accepts whatever is written to it, here and below.
    let _ = write!(out, ".{millis:03}Z\"");
    remote(out, done.client);
    number(out, "connection", done.connection);
    text(out, "request_id", done.request_id.as_bytes());
    text(out, "remote_user", done.remote_user);
    text(out, "method", done.method);
    text(out, "target", done.target);
    text(out, "protocol", done.protocol.as_bytes());
    text(out, "host", done.host);
    number(out, "status", done.status.into());
    number(out, "request_length", done.request_length);
    number(out, "bytes_sent", done.bytes_sent);
    number(out, "body_bytes_sent", done.body_bytes_sent);
    time(out, "request_time", Some(done.request_time));
    time(out, "queue_time", done.queue_time);
    text(out, "upstream", done.group.unwrap_or_default().as_bytes());
    if !done.attempts.is_empty() {
        key(out, "attempts");
        attempts(out, done.attempts);
    }
    text(out, "why", done.why.map_or("", |why| why.as_str()).as_bytes());
    text(out, "sticky", done.sticky.map_or("", |sticky| sticky.as_str()).as_bytes());
    text(out, "limit_req", done.limit_req.map_or("", |limited| limited.as_str()).as_bytes());
    text(out, "limit_conn", done.limit_conn.map_or("", |limited| limited.as_str()).as_bytes());
    text(out, "referer", done.referer);
    text(out, "user_agent", done.user_agent);
    out.push(b'}');
}

/// Where a client comes from.
pub(super) fn remote(out: &mut Vec<u8>, client: ClientAddr) {
    key(out, "remote_addr");
    let _ = match client {
        ClientAddr::Ip(address) => write!(out, "\"{}\"", address.ip()),
        ClientAddr::Unix => write!(out, "\"{client}\""),
    };
    if let Some(port) = client.port() {
        number(out, "remote_port", port.into());
    }
}

pub(super) fn attempts(out: &mut Vec<u8>, attempts: &[Attempt]) {
    for (i, attempt) in attempts.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"[{\"peer\":" } else { b",{\"peer\":" });
        string(out, &attempt.peer);
        match &attempt.addr {
            Some(Endpoint::Ip(addr)) => drop(write!(out, ",\"addr\":\"{addr}\"")),
            Some(unix) => text(out, "addr", unix.to_string().as_bytes()),
            None => {}
        }
        if let Some(status) = attempt.answer.status() {
            number(out, "status", status.into());
        }
        text(out, "error", attempt.answer.error().unwrap_or_default().as_bytes());
        time(out, "connect_time", attempt.connect_time);
        time(out, "header_time", attempt.header_time);
        time(out, "response_time", Some(attempt.response_time));
        out.push(b'}');
    }
    out.push(b']');
}

pub(super) fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

pub(super) fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    decimal(out, value);
}

pub(super) fn time(out: &mut Vec<u8>, name: &str, value: Option<std::time::Duration>) {
    if let Some(value) = value {
        key(out, name);
        seconds(out, value);
    }
}

/// Bytes that are not UTF-8 become U+FFFD, since JSON cannot hold them.
pub(super) fn text(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    if !value.is_empty() {
        key(out, name);
        string(out, &String::from_utf8_lossy(value));
    }
}

fn string(out: &mut Vec<u8>, value: &str) {
    // A string always has a JSON form.
    let _ = serde_json::to_writer(out, value);
}
