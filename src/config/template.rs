//! Text with `$variables` of the request: `"$host-$arg_user"`.

use std::ops::Range;

use super::suggest::closest;

/// A parsed template. `$name` and `$name`-with-suffix (`$http_x_user`, `$arg_id`, `$cookie_sid`) are the request's,
/// `$$` is a dollar. `${NAME}` was replaced from the environment before the template was parsed, and what it stood for
/// is read as if it had been written in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its parts, in order.
    pub parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Literal(String),
    /// A variable.
    Variable(Variable),
}

/// A variable of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `$remote_addr`: the client's address (after trusted proxies).
    RemoteAddr,
    /// `$binary_remote_addr`: the client's address in 4 or 16 bytes.
    BinaryRemoteAddr,
    /// `$remote_port`.
    RemotePort,
    /// `$remote_user`: of the Basic credentials.
    RemoteUser,
    /// `$server_addr`: the address the client connected to.
    ServerAddr,
    /// `$server_port`.
    ServerPort,
    /// `$server_protocol`: `HTTP/1.1`.
    ServerProtocol,
    /// `$server_name` of the server that answers.
    ServerName,
    /// `$scheme`.
    Scheme,
    /// `$host`: from the target or the Host field, without port, lower case.
    Host,
    /// `$http_NAME`: any field of the request. Holds the name lower case and with `_` for `-`, as it is written:
    /// `$http_X_User` is `Http("x_user")` and stands for the field `X-User`.
    Http(String),
    /// `$request`: the whole request line.
    Request,
    /// `$request_method`.
    RequestMethod,
    /// `$request_uri`: the target with its arguments, as it came.
    RequestUri,
    /// `$uri`: the decoded path without dot segments.
    Uri,
    /// `$args` and `$query_string`.
    Args,
    /// `$is_args`: `?` or nothing.
    IsArgs,
    /// `$arg_NAME`: the first argument of that name.
    Arg(String),
    /// `$cookie_NAME`.
    Cookie(String),
    /// `$upstream_cookie_NAME`: of the answer's `Set-Cookie` fields.
    UpstreamCookie(String),
    /// `$upstream_http_NAME`: any field of the answer, written as in [`Http`](Variable::Http).
    UpstreamHttp(String),
    /// `$request_id`: 32 random hexadecimal digits.
    RequestId,
    /// `$proxy_host`.
    ProxyHost,
    /// `$proxy_add_x_forwarded_for`.
    ProxyAddXForwardedFor,
    /// `$connection`: serial number of the client's connection.
    Connection,
    /// `$proxy_protocol_addr`: the client in the PROXY header.
    ProxyProtocolAddr,
    /// `$proxy_protocol_port`: its port.
    ProxyProtocolPort,
    /// `$proxy_protocol_server_addr`: what the client connected to, in the PROXY header.
    ProxyProtocolServerAddr,
    /// `$proxy_protocol_server_port`: its port.
    ProxyProtocolServerPort,
    /// `$realip_remote_addr`: the other end of the connection itself, whatever trusted proxies say.
    RealipRemoteAddr,
    /// `$realip_remote_port`: its port.
    RealipRemotePort,
    /// `$ssl_*` and `$https`: of the client's TLS connection; empty without one.
    Tls(TlsVariable),
    /// `$msec`, `$time_local`, `$time_iso8601` and what is known at the end of a request only: for `log_format`.
    Log(LogVariable),
}

/// A variable of the client's TLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVariable {
    /// `$https`: `on`.
    Https,
    /// `$ssl_protocol`: `TLSv1.3`.
    Protocol,
    /// `$ssl_cipher`: its name at IANA.
    Cipher,
    /// `$ssl_server_name`: what the client asked for (SNI).
    ServerName,
    /// `$ssl_session_reused`: `r`, or `.` for a full handshake.
    SessionReused,
    /// `$ssl_client_verify`: `SUCCESS`, `FAILED:reason`, `NONE`.
    ClientVerify,
    /// `$ssl_client_s_dn` (RFC 4514).
    ClientSubject,
    /// `$ssl_client_i_dn`.
    ClientIssuer,
    /// `$ssl_client_serial`.
    ClientSerial,
}

/// A variable that only the access log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is nginx's variable of that name, listed in docs/configuration.md")]
pub enum LogVariable {
    TimeLocal,
    TimeIso8601,
    Msec,
    Status,
    BodyBytesSent,
    BytesSent,
    RequestLength,
    RequestTime,
    UpstreamAddr,
    UpstreamStatus,
    UpstreamConnectTime,
    UpstreamHeaderTime,
    UpstreamResponseTime,
    UpstreamQueueTime,
    UpstreamName,
    RetryReason,
    Sticky,
    LimitReqStatus,
    LimitConnStatus,
    Protocol,
    BytesReceived,
    SessionTime,
}

/// Where a template stands, and so which variables it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Before or while the request is processed: what is known at its end is refused.
    Request,
    /// When a peer has answered: also what its answer says.
    Answer,
    /// `log_format`: everything.
    Log,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The bytes of the text that are wrong, the dollar included.
    pub at: Range<usize>,
    /// What is wrong with them.
    pub message: String,
    /// What to type instead.
    pub help: String,
}

impl Template {
    /// Reads a template. Every unknown variable is reported.
    pub fn parse(text: &str, place: Use) -> Result<Template, Vec<TemplateError>> {
        let (mut parts, mut mistakes) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(dollar) = text[at..].find('$').map(|offset| at + offset) {
            push_literal(&mut parts, &text[at..dollar]);
            let rest = &text[dollar + 1..];
            if rest.starts_with('$') {
                push_literal(&mut parts, "$");
                at = dollar + 2;
                continue;
            }
            let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            at = dollar + 1 + length;
            match lookup(&rest[..length], place) {
                Ok(variable) => parts.push(Part::Variable(variable)),
                Err((message, help)) => mistakes.push(TemplateError { at: dollar..at, message, help }),
            }
        }
        push_literal(&mut parts, &text[at..]);
        if mistakes.is_empty() { Ok(Template { parts }) } else { Err(mistakes) }
    }

    /// Whether it says the same for every request.
    pub fn is_constant(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Literal(_)))
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Literal(before)) => before.push_str(text),
        _ => parts.push(Part::Literal(text.to_owned())),
    }
}

fn lookup(name: &str, place: Use) -> Result<Variable, (String, String)> {
    if name.is_empty() {
        return Err(("a variable has no name".to_owned(), "write `$$` for a dollar".to_owned()));
    }
    let suffix = |prefix| name.strip_prefix(prefix).filter(|suffix: &&str| !suffix.is_empty());
    if let Some(field) = suffix("http_") {
        return Ok(Variable::Http(field.to_ascii_lowercase()));
    }
    if let Some(argument) = suffix("arg_") {
        return Ok(Variable::Arg(argument.to_owned()));
    }
    if let Some(cookie) = suffix("cookie_") {
        return Ok(Variable::Cookie(cookie.to_owned()));
    }
    let of_answers = [
        ("upstream_cookie_", Variable::UpstreamCookie as fn(String) -> Variable),
        ("upstream_http_", |field| Variable::UpstreamHttp(field.to_ascii_lowercase())),
    ];
    for (prefix, variable) in of_answers {
        if let Some(suffix) = suffix(prefix) {
            return match place {
                Use::Answer | Use::Log => Ok(variable(suffix.to_owned())),
                Use::Request => {
                    let why = format!("`${name}` is known only when a peer has answered");
                    Err((why, "it may stand in `add_header`, in `create` of `sticky`, and in `log_format`".to_owned()))
                }
            };
        }
    }
    let of_requests = REQUEST_VARIABLES.iter().find(|(known, _)| *known == name);
    if let Some((_, variable)) = of_requests {
        return Ok(variable.clone());
    }
    let of_logs = LOG_VARIABLES.iter().find(|(known, _)| *known == name);
    match of_logs {
        Some((_, variable)) if place == Use::Log => return Ok(Variable::Log(*variable)),
        Some(_) => {
            let why = format!("`${name}` is known only when the request is over");
            return Err((why, "it may stand in `log_format` alone".to_owned()));
        }
        None => {}
    }
    let mut known: Vec<&str> = REQUEST_VARIABLES.iter().map(|(name, _)| *name).collect();
    if place == Use::Log {
        known.extend(LOG_VARIABLES.iter().map(|(name, _)| *name));
    }
    let help = match closest(name, known) {
        Some(known) => format!("did you mean `${known}`?"),
        None => "fields are `$http_NAME`, arguments `$arg_NAME`, cookies `$cookie_NAME`; `$$` is a dollar".to_owned(),
    };
    Err((format!("unknown variable `${name}`"), help))
}

/// The variables a request has, beside `$http_NAME`, `$arg_NAME` and `$cookie_NAME`.
pub(super) const REQUEST_VARIABLES: [(&str, Variable); 37] = [
    ("remote_addr", Variable::RemoteAddr),
    ("binary_remote_addr", Variable::BinaryRemoteAddr),
    ("remote_port", Variable::RemotePort),
    ("remote_user", Variable::RemoteUser),
    ("server_addr", Variable::ServerAddr),
    ("server_port", Variable::ServerPort),
    ("server_protocol", Variable::ServerProtocol),
    ("server_name", Variable::ServerName),
    ("scheme", Variable::Scheme),
    ("host", Variable::Host),
    ("request", Variable::Request),
    ("request_method", Variable::RequestMethod),
    ("request_uri", Variable::RequestUri),
    ("uri", Variable::Uri),
    ("document_uri", Variable::Uri),
    ("args", Variable::Args),
    ("query_string", Variable::Args),
    ("is_args", Variable::IsArgs),
    ("request_id", Variable::RequestId),
    ("proxy_host", Variable::ProxyHost),
    ("proxy_add_x_forwarded_for", Variable::ProxyAddXForwardedFor),
    ("connection", Variable::Connection),
    ("proxy_protocol_addr", Variable::ProxyProtocolAddr),
    ("proxy_protocol_port", Variable::ProxyProtocolPort),
    ("proxy_protocol_server_addr", Variable::ProxyProtocolServerAddr),
    ("proxy_protocol_server_port", Variable::ProxyProtocolServerPort),
    ("realip_remote_addr", Variable::RealipRemoteAddr),
    ("realip_remote_port", Variable::RealipRemotePort),
    ("https", Variable::Tls(TlsVariable::Https)),
    ("ssl_protocol", Variable::Tls(TlsVariable::Protocol)),
    ("ssl_cipher", Variable::Tls(TlsVariable::Cipher)),
    ("ssl_server_name", Variable::Tls(TlsVariable::ServerName)),
    ("ssl_session_reused", Variable::Tls(TlsVariable::SessionReused)),
    ("ssl_client_verify", Variable::Tls(TlsVariable::ClientVerify)),
    ("ssl_client_s_dn", Variable::Tls(TlsVariable::ClientSubject)),
    ("ssl_client_i_dn", Variable::Tls(TlsVariable::ClientIssuer)),
    ("ssl_client_serial", Variable::Tls(TlsVariable::ClientSerial)),
];

/// The variables that only the access log has.
pub(super) const LOG_VARIABLES: [(&str, LogVariable); 22] = [
    ("time_local", LogVariable::TimeLocal),
    ("time_iso8601", LogVariable::TimeIso8601),
    ("msec", LogVariable::Msec),
    ("status", LogVariable::Status),
    ("body_bytes_sent", LogVariable::BodyBytesSent),
    ("bytes_sent", LogVariable::BytesSent),
    ("request_length", LogVariable::RequestLength),
    ("request_time", LogVariable::RequestTime),
    ("upstream_addr", LogVariable::UpstreamAddr),
    ("upstream_status", LogVariable::UpstreamStatus),
    ("upstream_connect_time", LogVariable::UpstreamConnectTime),
    ("upstream_header_time", LogVariable::UpstreamHeaderTime),
    ("upstream_response_time", LogVariable::UpstreamResponseTime),
    ("upstream_queue_time", LogVariable::UpstreamQueueTime),
    ("upstream_name", LogVariable::UpstreamName),
    ("retry_reason", LogVariable::RetryReason),
    ("sticky", LogVariable::Sticky),
    ("limit_req_status", LogVariable::LimitReqStatus),
    ("limit_conn_status", LogVariable::LimitConnStatus),
    ("protocol", LogVariable::Protocol),
    ("bytes_received", LogVariable::BytesReceived),
    ("session_time", LogVariable::SessionTime),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Template {
        Template::parse(text, Use::Request).unwrap()
    }

    fn mistakes(text: &str, place: Use) -> Vec<(Range<usize>, String, String)> {
        let mistakes = Template::parse(text, place).unwrap_err();
        mistakes.into_iter().map(|mistake| (mistake.at, mistake.message, mistake.help)).collect()
    }

    #[test]
    fn text_and_variables_alternate() {
        use Part::*;
        let table: [(&str, Vec<Part>); 7] = [
            ("", vec![]),
            ("plain", vec![Literal("plain".into())]),
            ("$host", vec![Variable(super::Variable::Host)]),
            (
                "$host-$arg_id",
                vec![Variable(super::Variable::Host), Literal("-".into()), Variable(super::Variable::Arg("id".into()))],
            ),
            ("$http_X_User", vec![Variable(super::Variable::Http("x_user".into()))]),
            ("$cookie_sid$uri", vec![Variable(super::Variable::Cookie("sid".into())), Variable(super::Variable::Uri)]),
            ("a$$b$$", vec![Literal("a$b$".into())]),
        ];
        for (text, parts) in table {
            assert_eq!(parsed(text), Template { parts }, "{text}");
        }
    }

    #[test]
    fn every_unknown_variable_is_reported_where_it_stands() {
        assert_eq!(
            mistakes("a $hots $uri $remote_adr", Use::Request),
            [
                (2..7, "unknown variable `$hots`".to_owned(), "did you mean `$host`?".to_owned()),
                (13..24, "unknown variable `$remote_adr`".to_owned(), "did you mean `$remote_addr`?".to_owned()),
            ]
        );
    }

    #[test]
    fn a_lone_dollar_is_refused() {
        for text in ["$", "5 $ each", "$-"] {
            assert_eq!(mistakes(text, Use::Request)[0].2, "write `$$` for a dollar", "{text}");
        }
    }

    #[test]
    fn what_is_known_at_the_end_may_stand_in_a_log_format_alone() {
        assert!(Template::parse("$status $upstream_addr", Use::Log).is_ok());
        assert_eq!(mistakes("$status", Use::Request)[0].1, "`$status` is known only when the request is over");
    }
}
