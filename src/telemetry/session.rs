//! What is told when a session of a `[[stream]]` is over, and what does its line look like? (nginx:
//! `ngx_stream_log_module`, with the format of its documentation.)

use std::io::Write;
use std::time::{Duration, SystemTime};

use super::calendar::since_1970;
use super::event::{Attempt, NoVariables, RequestDone};
use super::json;
use super::line::{addr, connect_time, decimal, each, remote_addr, seconds};
use crate::endpoint::ClientAddr;

/// A session is over: a connection of TCP, or a client's datagrams of UDP. One for each, emitted where it ends.
#[derive(Clone, Copy, Debug)]
pub struct SessionDone<'a> {
    /// The calendar's time at the end.
    pub at: SystemTime,
    /// Its serial number, among connections of HTTP as well.
    pub connection: u64,
    /// The client.
    pub client: ClientAddr,
    /// `TCP` or `UDP`: `$protocol`.
    pub protocol: &'static str,
    /// 200: it had a peer; 400: there was no TLS with the client; 499: the client left before; 502: no peer could be connected to; 503: there was none.
    pub status: u16,
    /// Bytes to the client.
    pub bytes_sent: u64,
    /// Bytes from the client.
    pub bytes_received: u64,
    /// From its beginning to its end.
    pub session_time: Duration,
    /// In the group's queue; `None`: it did not wait.
    pub queue_time: Option<Duration>,
    /// The name of the group.
    pub group: &'a str,
    /// Who was asked, in order.
    pub attempts: &'a [Attempt],
    /// How it ended.
    pub end: SessionEnd,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionEnd {
    /// Both sides have said all; of UDP: all answers came.
    Done,
    /// Nobody said anything for `proxy_timeout`.
    Idle,
    /// The client's connection broke.
    ClientReset,
    /// The peer's connection broke; of UDP: nobody listens there any more.
    PeerReset,
    /// It never had a peer.
    NoPeer,
    /// Of UDP: weir stops, or a reload has removed the listener.
    Stopped,
}

impl SessionEnd {
    /// A short name, for the JSON log and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            SessionEnd::Done => "done",
            SessionEnd::Idle => "idle",
            SessionEnd::ClientReset => "client_reset",
            SessionEnd::PeerReset => "peer_reset",
            SessionEnd::NoPeer => "no_peer",
            SessionEnd::Stopped => "stopped",
        }
    }
}

impl<'a> SessionDone<'a> {
    /// As a template sees it, whose variables are those of requests.
    pub(super) fn as_request(&self) -> RequestDone<'a> {
        RequestDone {
            at: self.at,
            connection: self.connection,
            client: self.client,
            remote_user: b"",
            method: b"",
            target: b"",
            protocol: self.protocol,
            host: b"",
            referer: b"",
            user_agent: b"",
            request_id: "",
            status: self.status,
            request_length: self.bytes_received,
            bytes_sent: self.bytes_sent,
            body_bytes_sent: self.bytes_sent,
            request_time: self.session_time,
            queue_time: self.queue_time,
            group: Some(self.group),
            attempts: self.attempts,
            why: None,
            sticky: None,
            limit_req: None,
            limit_conn: None,
            variables: &NoVariables,
        }
    }

    /// `$remote_addr [$time_local] $protocol $status $bytes_sent $bytes_received $session_time "$upstream_addr"`, and how
    /// long connecting took.
    pub(super) fn combined(&self, time_local: &str, out: &mut Vec<u8>) {
        let as_request = self.as_request();
        remote_addr(out, self.client);
        // A Vec accepts whatever is written to it, here and below.
        let _ = write!(out, " [{time_local}] {} ", self.protocol);
        for number in [self.status.into(), self.bytes_sent, self.bytes_received] {
            decimal(out, number);
            out.push(b' ');
        }
        seconds(out, self.session_time);
        out.extend_from_slice(b" \"");
        each(out, &as_request, addr);
        out.extend_from_slice(b"\" uct=\"");
        each(out, &as_request, connect_time);
        out.push(b'"');
    }

    /// One object. `second` is its time in ISO 8601, without fraction and zone.
    pub(super) fn json(&self, second: &str, out: &mut Vec<u8>) {
        let (_, millis) = since_1970(self.at);
        let _ = write!(out, "{{\"time\":\"{second}.{millis:03}Z\"");
        json::remote(out, self.client);
        json::number(out, "connection", self.connection);
        json::text(out, "protocol", self.protocol.as_bytes());
        json::number(out, "status", self.status.into());
        json::number(out, "bytes_sent", self.bytes_sent);
        json::number(out, "bytes_received", self.bytes_received);
        json::time(out, "session_time", Some(self.session_time));
        json::time(out, "queue_time", self.queue_time);
        json::text(out, "upstream", self.group.as_bytes());
        if !self.attempts.is_empty() {
            json::key(out, "attempts");
            json::attempts(out, self.attempts);
        }
        json::text(out, "end", self.end.as_str().as_bytes());
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::{LineWriter, sample};
    use super::*;
    use crate::config::model::LogFormat;
    use crate::config::template::{Template, Use};

    fn line(format: &LogFormat) -> String {
        sample(|request| {
            let done = SessionDone {
                at: request.at,
                connection: 7,
                client: request.client,
                protocol: "TCP",
                status: 200,
                bytes_sent: 800,
                bytes_received: 120,
                session_time: Duration::from_millis(1_017),
                queue_time: None,
                group: "redis",
                attempts: request.attempts,
                end: SessionEnd::Done,
            };
            let mut out = Vec::new();
            LineWriter::default().session(format, &done, &mut out);
            String::from_utf8(out).expect("a line is UTF-8")
        })
    }

    #[test]
    fn a_session_is_a_line_in_nginxs_format() {
        assert_eq!(
            line(&LogFormat::Combined),
            "192.0.2.1 [10/Oct/2000:13:55:36 +0000] TCP 200 800 120 1.017 \"127.0.0.1:18099, 127.0.0.1:18081\" \
             uct=\"-, 0.000\"\n"
        );
    }

    #[test]
    fn a_session_is_one_object_of_json() {
        let object: serde_json::Value = serde_json::from_str(&line(&LogFormat::Json)).expect("JSON");
        let expected = serde_json::json!({
            "time": "2000-10-10T13:55:36.042Z", "remote_addr": "192.0.2.1", "remote_port": 40000, "connection": 7,
            "protocol": "TCP", "status": 200, "bytes_sent": 800, "bytes_received": 120, "session_time": 1.017,
            "upstream": "redis",
            "attempts": [
                { "peer": "app1:5000", "addr": "127.0.0.1:18099", "status": 502, "error": "connect", "response_time": 0.001 },
                { "peer": "app2:5000", "addr": "127.0.0.1:18081", "status": 200, "connect_time": 0.0,
                  "header_time": 0.012, "response_time": 0.015 },
            ],
            "end": "done",
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn a_template_has_the_variables_of_nginxs_streams() {
        let text = "$remote_addr $protocol $status $bytes_sent $bytes_received $session_time $upstream_name [$request]";
        let template = Template::parse(text, Use::Log).expect("a template");
        assert_eq!(line(&LogFormat::Template(template)), "192.0.2.1 TCP 200 800 120 1.017 redis [-]\n");
    }
}
