//! What does a request look like in the access log? (nginx: `ngx_http_log_module.c`, spec §8)

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use super::calendar::{Civil, since_1970};
use super::event::{Attempt, RequestDone};
use super::json;
use super::session::SessionDone;
use crate::config::model::LogFormat;
use crate::config::template::{LogVariable, Part, Variable};
use crate::endpoint::{ClientAddr, Endpoint};
use crate::http1::encode::Address;
pub(super) use crate::http1::encode::decimal;

/// Writes lines; remembers the latest second's name, since most requests share it.
#[derive(Debug, Default)]
pub(super) struct LineWriter {
    second: Option<u64>,
    local: String,
    iso8601: String,
    /// A value while it is not yet escaped.
    scratch: Vec<u8>,
}

impl LineWriter {
    /// Appends one line.
    pub(super) fn line(&mut self, format: &LogFormat, done: &RequestDone<'_>, out: &mut Vec<u8>) {
        self.name(done.at);
        match format {
            LogFormat::Combined => self.combined(done, out),
            LogFormat::Json => json::object(&self.iso8601, done, out),
            LogFormat::Template(template) => template.parts.iter().for_each(|part| match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => self.variable(variable, done, out),
            }),
        }
        out.push(b'\n');
    }

    /// Appends the line of a session.
    pub(super) fn session(&mut self, format: &LogFormat, done: &SessionDone<'_>, out: &mut Vec<u8>) {
        self.name(done.at);
        match format {
            LogFormat::Combined => done.combined(&self.local, out),
            LogFormat::Json => done.json(&self.iso8601, out),
            LogFormat::Template(_) => return self.line(format, &done.as_request(), out),
        }
        out.push(b'\n');
    }

    /// `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer"
    /// "$http_user_agent"`, and the suffix of upstream variables that everybody adds.
    fn combined(&self, done: &RequestDone<'_>, out: &mut Vec<u8>) {
        remote_addr(out, done.client);
        out.extend_from_slice(b" - ");
        value(out, done.remote_user);
        out.extend_from_slice(b" [");
        out.extend_from_slice(self.local.as_bytes());
        out.extend_from_slice(b"] \"");
        request(out, done);
        out.extend_from_slice(b"\" ");
        decimal(out, done.status.into());
        out.push(b' ');
        decimal(out, done.body_bytes_sent);
        out.extend_from_slice(b" \"");
        value(out, done.referer);
        out.extend_from_slice(b"\" \"");
        value(out, done.user_agent);
        out.extend_from_slice(b"\" rt=");
        seconds(out, done.request_time);
        out.extend_from_slice(b" uct=\"");
        each(out, done, connect_time);
        out.extend_from_slice(b"\" uht=\"");
        each(out, done, header_time);
        out.extend_from_slice(b"\" urt=\"");
        each(out, done, response_time);
        out.extend_from_slice(b"\" ua=\"");
        each(out, done, addr);
        out.extend_from_slice(b"\" us=\"");
        each(out, done, status);
        out.push(b'"');
    }

    fn variable(&mut self, variable: &Variable, done: &RequestDone<'_>, out: &mut Vec<u8>) {
        match variable {
            Variable::Log(variable) => self.log_variable(*variable, done, out),
            Variable::RemoteAddr => remote_addr(out, done.client),
            Variable::RemotePort => match done.client.port() {
                Some(port) => decimal(out, port.into()),
                None => value(out, b""),
            },
            Variable::RemoteUser => value(out, done.remote_user),
            Variable::ServerProtocol => value(out, done.protocol.as_bytes()),
            Variable::Host => value(out, done.host),
            Variable::Request => request(out, done),
            Variable::RequestMethod => value(out, done.method),
            Variable::RequestUri => value(out, done.target),
            Variable::Connection => decimal(out, done.connection),
            Variable::Http(name) if name == "referer" => value(out, done.referer),
            Variable::Http(name) if name == "user_agent" => value(out, done.user_agent),
            Variable::RequestId if !done.request_id.is_empty() => value(out, done.request_id.as_bytes()),
            other => {
                self.scratch.clear();
                let known = done.variables.append(other, &mut self.scratch);
                value(out, if known { &self.scratch } else { &[] });
            }
        }
    }

    fn log_variable(&self, variable: LogVariable, done: &RequestDone<'_>, out: &mut Vec<u8>) {
        match variable {
            LogVariable::TimeLocal => out.extend_from_slice(self.local.as_bytes()),
            LogVariable::TimeIso8601 => {
                out.extend_from_slice(self.iso8601.as_bytes());
                out.extend_from_slice(b"+00:00");
            }
            LogVariable::Msec => {
                let (since, millis) = since_1970(done.at);
                seconds(out, Duration::from_secs(since) + Duration::from_millis(millis.into()));
            }
            LogVariable::Protocol => value(out, done.protocol.as_bytes()),
            LogVariable::Status => decimal(out, done.status.into()),
            LogVariable::BodyBytesSent => decimal(out, done.body_bytes_sent),
            LogVariable::BytesSent => decimal(out, done.bytes_sent),
            LogVariable::RequestLength | LogVariable::BytesReceived => decimal(out, done.request_length),
            LogVariable::RequestTime | LogVariable::SessionTime => seconds(out, done.request_time),
            LogVariable::UpstreamAddr => each(out, done, addr),
            LogVariable::UpstreamStatus => each(out, done, status),
            LogVariable::UpstreamConnectTime => each(out, done, connect_time),
            LogVariable::UpstreamHeaderTime => each(out, done, header_time),
            LogVariable::UpstreamResponseTime => each(out, done, response_time),
            LogVariable::UpstreamQueueTime => optional_seconds(out, done.queue_time),
            LogVariable::UpstreamName => value(out, done.group.unwrap_or_default().as_bytes()),
            LogVariable::Sticky => value(out, done.sticky.map_or("", |sticky| sticky.as_str()).as_bytes()),
            LogVariable::LimitReqStatus => {
                value(out, done.limit_req.map_or("", |limited| limited.as_str()).as_bytes());
            }
            LogVariable::LimitConnStatus => {
                value(out, done.limit_conn.map_or("", |limited| limited.as_str()).as_bytes());
            }
            LogVariable::RetryReason => value(out, done.why.map_or("", |why| why.as_str()).as_bytes()),
        }
    }

    fn name(&mut self, at: SystemTime) {
        let (second, _) = since_1970(at);
        if self.second != Some(second) {
            let civil = Civil::of(at);
            (self.second, self.local, self.iso8601) = (Some(second), civil.local(), civil.iso8601());
        }
    }
}

/// `$remote_addr`.
pub(super) fn remote_addr(out: &mut Vec<u8>, client: ClientAddr) {
    match client {
        ClientAddr::Ip(address) => out.extend_from_slice(Address::of(address.ip()).as_bytes()),
        ClientAddr::Unix => display(out, client),
    }
}

/// `$request`: the request line.
fn request(out: &mut Vec<u8>, done: &RequestDone<'_>) {
    if done.method.is_empty() && done.target.is_empty() {
        return out.push(b'-');
    }
    escaped(out, done.method);
    out.push(b' ');
    escaped(out, done.target);
    out.push(b' ');
    escaped(out, done.protocol.as_bytes());
}

/// One entry per attempt.
pub(super) fn each(out: &mut Vec<u8>, done: &RequestDone<'_>, entry: fn(&mut Vec<u8>, &Attempt)) {
    if done.attempts.is_empty() {
        out.push(b'-');
    }
    for (i, attempt) in done.attempts.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        entry(out, attempt);
    }
}

pub(super) fn addr(out: &mut Vec<u8>, attempt: &Attempt) {
    match &attempt.addr {
        Some(Endpoint::Ip(SocketAddr::V4(addr))) => {
            out.extend_from_slice(Address::of((*addr.ip()).into()).as_bytes());
            out.push(b':');
            decimal(out, addr.port().into());
        }
        Some(Endpoint::Ip(addr)) => display(out, addr),
        Some(Endpoint::Unix(path)) => {
            out.extend_from_slice(b"unix:");
            escaped(out, path.as_os_str().as_bytes());
        }
        None => value(out, attempt.peer.as_bytes()),
    }
}

fn status(out: &mut Vec<u8>, attempt: &Attempt) {
    match attempt.answer.status() {
        Some(status) => decimal(out, status.into()),
        None => out.push(b'-'),
    }
}

pub(super) fn connect_time(out: &mut Vec<u8>, attempt: &Attempt) {
    optional_seconds(out, attempt.connect_time);
}

fn header_time(out: &mut Vec<u8>, attempt: &Attempt) {
    optional_seconds(out, attempt.header_time);
}

fn response_time(out: &mut Vec<u8>, attempt: &Attempt) {
    seconds(out, attempt.response_time);
}

/// An escaped value; nothing is `-`.
fn value(out: &mut Vec<u8>, value: &[u8]) {
    if value.is_empty() { out.push(b'-') } else { escaped(out, value) }
}

/// nginx's `\xXX` for a quote, a backslash and what is not printable ASCII, so that nobody forges a line or a field.
fn escaped(out: &mut Vec<u8>, value: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let unsafe_byte = |byte: &u8| *byte < 0x20 || *byte >= 0x7f || *byte == b'"' || *byte == b'\\';
    let mut rest = value;
    while let Some(at) = rest.iter().position(unsafe_byte) {
        let byte = usize::from(rest[at]);
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'\\', b'x', DIGITS[byte >> 4], DIGITS[byte & 15]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // A Vec accepts whatever is written to it.
    let _ = write!(out, "{value}");
}

/// Seconds with three decimals, cut off.
pub(super) fn seconds(out: &mut Vec<u8>, time: Duration) {
    decimal(out, time.as_secs());
    let millis = time.subsec_millis();
    out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis)]);
}

fn digit(number: u32) -> u8 {
    b'0' + (number % 10) as u8
}

fn optional_seconds(out: &mut Vec<u8>, time: Option<Duration>) {
    match time {
        Some(time) => seconds(out, time),
        None => out.push(b'-'),
    }
}

/// Shows a request to `reader`: one retry, an ordinary browser.
#[cfg(test)]
pub(super) fn sample<T>(reader: impl FnOnce(RequestDone<'_>) -> T) -> T {
    use super::event::{Answer, Failure, NoVariables};

    let millis = Duration::from_millis;
    let attempts = [
        Attempt {
            peer: "app1:5000".into(),
            addr: Some(std::net::SocketAddr::from(([127, 0, 0, 1], 18_099)).into()),
            answer: Answer::Failed(Failure::Connect),
            connect_time: None,
            header_time: None,
            response_time: millis(1),
        },
        Attempt {
            peer: "app2:5000".into(),
            addr: Some(std::net::SocketAddr::from(([127, 0, 0, 1], 18_081)).into()),
            answer: Answer::Status(200),
            connect_time: Some(millis(0)),
            header_time: Some(millis(12)),
            response_time: millis(15),
        },
    ];
    reader(RequestDone {
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(971_186_136_042),
        connection: 7,
        client: std::net::SocketAddr::from(([192, 0, 2, 1], 40_000)).into(),
        remote_user: b"",
        method: b"GET",
        target: b"/a?b=c",
        protocol: "HTTP/1.1",
        host: b"example.com",
        referer: b"",
        user_agent: b"Mozilla/5.0 (X11)",
        request_id: "",
        status: 200,
        request_length: 120,
        bytes_sent: 800,
        body_bytes_sent: 612,
        request_time: millis(1_017),
        queue_time: None,
        group: Some("web-alb"),
        attempts: &attempts,
        why: None,
        sticky: None,
        limit_req: None,
        limit_conn: None,
        variables: &NoVariables,
    })
}

#[cfg(test)]
mod tests {
    use super::super::event::{Answer, Failure, Variables, Why};
    use super::*;
    use crate::config::template::Template;

    fn line(format: &LogFormat, change: impl FnOnce(&mut RequestDone<'_>)) -> String {
        sample(|mut done| {
            change(&mut done);
            let mut out = Vec::new();
            LineWriter::default().line(format, &done, &mut out);
            String::from_utf8(out).expect("a line is UTF-8")
        })
    }

    fn template(variables: &[Variable]) -> LogFormat {
        let separated = |variable: &Variable| [Part::Variable(variable.clone()), Part::Literal("|".to_owned())];
        LogFormat::Template(Template { parts: variables.iter().flat_map(separated).collect() })
    }

    #[test]
    fn combined_is_nginxs_with_the_upstream_suffix() {
        assert_eq!(
            line(&LogFormat::Combined, |_| ()),
            "192.0.2.1 - - [10/Oct/2000:13:55:36 +0000] \"GET /a?b=c HTTP/1.1\" 200 612 \"-\" \"Mozilla/5.0 (X11)\" \
             rt=1.017 uct=\"-, 0.000\" uht=\"-, 0.012\" urt=\"0.001, 0.015\" \
             ua=\"127.0.0.1:18099, 127.0.0.1:18081\" us=\"502, 200\"\n"
        );
    }

    #[test]
    fn a_request_that_nobody_could_take_is_in_the_groups_name() {
        let nobody = [Attempt {
            peer: "mc".into(),
            addr: None,
            answer: Answer::Failed(Failure::NoPeer),
            connect_time: None,
            header_time: None,
            response_time: Duration::ZERO,
        }];
        let line = sample(|done| {
            let mut out = Vec::new();
            let done = RequestDone { attempts: &nobody, status: 503, ..done };
            LineWriter::default().line(&LogFormat::Combined, &done, &mut out);
            String::from_utf8(out).expect("a line is UTF-8")
        });
        assert!(line.ends_with("uct=\"-\" uht=\"-\" urt=\"0.000\" ua=\"mc\" us=\"503\"\n"), "{line}");
    }

    #[test]
    fn what_was_not_understood_or_asked_is_a_dash() {
        let line = line(&LogFormat::Combined, |done| {
            (done.method, done.target, done.protocol, done.user_agent) = (b"", b"", "", b"");
            (done.status, done.body_bytes_sent, done.attempts) = (400, 0, &[]);
        });
        assert!(line.contains("] \"-\" 400 0 \"-\" \"-\" rt=1.017 uct=\"-\" "), "{line}");
        assert!(line.ends_with(" ua=\"-\" us=\"-\"\n"), "{line}");
    }

    #[test]
    fn nobody_forges_a_field_or_a_line() {
        let line = line(&LogFormat::Combined, |done| {
            (done.target, done.user_agent) = (b"/\"\\\n", "caf\u{e9} \x7f".as_bytes());
        });
        assert!(line.contains(r#""GET /\x22\x5C\x0A HTTP/1.1""#), "{line}");
        assert!(line.contains(r#""caf\xC3\xA9 \x7F""#), "{line}");
    }

    #[test]
    fn a_template_has_nginxs_variables() {
        use LogVariable::*;
        let table = [
            (Variable::RemoteAddr, "192.0.2.1"),
            (Variable::RemotePort, "40000"),
            (Variable::Connection, "7"),
            (Variable::RequestMethod, "GET"),
            (Variable::RequestUri, "/a?b=c"),
            (Variable::Request, "GET /a?b=c HTTP/1.1"),
            (Variable::Host, "example.com"),
            (Variable::Http("user_agent".to_owned()), "Mozilla/5.0 (X11)"),
            (Variable::Http("referer".to_owned()), "-"),
            (Variable::Log(TimeIso8601), "2000-10-10T13:55:36+00:00"),
            (Variable::Log(Msec), "971186136.042"),
            (Variable::Log(BytesSent), "800"),
            (Variable::Log(RequestLength), "120"),
            (Variable::Log(UpstreamStatus), "502, 200"),
            (Variable::Log(UpstreamQueueTime), "-"),
            (Variable::Log(UpstreamName), "web-alb"),
            (Variable::Log(RetryReason), "-"),
        ];
        for (variable, value) in table {
            assert_eq!(line(&template(std::slice::from_ref(&variable)), |_| ()), format!("{value}|\n"), "{variable:?}");
        }
    }

    #[test]
    fn other_variables_are_asked_of_the_request() {
        struct Accept;
        impl Variables for Accept {
            fn append(&self, variable: &Variable, out: &mut Vec<u8>) -> bool {
                let known = *variable == Variable::Http("accept".to_owned());
                out.extend_from_slice(b"text/\"html\"");
                known
            }
        }
        let format = template(&[Variable::Http("accept".to_owned()), Variable::Uri]);
        let line = sample(|done| {
            let mut out = Vec::new();
            LineWriter::default().line(&format, &RequestDone { variables: &Accept, ..done }, &mut out);
            String::from_utf8(out).expect("a line is UTF-8")
        });
        assert_eq!(line, "text/\\x22html\\x22|-|\n");
    }

    #[test]
    fn json_is_one_object_with_numbers_as_numbers() {
        let line = line(&LogFormat::Json, |done| {
            done.target = b"/\"\n\xff";
            done.why = Some(Why::OutOfTries);
        });
        assert_eq!(line.matches('\n').count(), 1);
        let object: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let expected = serde_json::json!({
            "time": "2000-10-10T13:55:36.042Z", "remote_addr": "192.0.2.1", "remote_port": 40000, "connection": 7,
            "method": "GET", "target": "/\"\n\u{fffd}", "protocol": "HTTP/1.1", "host": "example.com", "status": 200,
            "request_length": 120, "bytes_sent": 800, "body_bytes_sent": 612, "request_time": 1.017,
            "upstream": "web-alb",
            "attempts": [
                { "peer": "app1:5000", "addr": "127.0.0.1:18099", "status": 502, "error": "connect", "response_time": 0.001 },
                { "peer": "app2:5000", "addr": "127.0.0.1:18081", "status": 200, "connect_time": 0.0,
                  "header_time": 0.012, "response_time": 0.015 },
            ],
            "why": "out_of_tries", "user_agent": "Mozilla/5.0 (X11)",
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn times_are_cut_to_milliseconds() {
        for (micros, text) in [(0, "0.000"), (999, "0.000"), (1_999, "0.001"), (61_012_345, "61.012")] {
            let mut out = Vec::new();
            seconds(&mut out, Duration::from_micros(micros));
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn the_name_of_the_second_follows_the_clock() {
        let mut writer = LineWriter::default();
        for (second, name) in [(0, "01/Jan/1970:00:00:00"), (1, "01/Jan/1970:00:00:01"), (1, "01/Jan/1970:00:00:01")] {
            writer.name(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
            assert_eq!(writer.local, format!("{name} +0000"));
        }
    }
}
