//! What do `$variables` stand for in this request?

use std::cell::OnceCell;
use std::net::IpAddr;

use super::connection::Client;
use super::headers::joined;
use crate::config::template::{Part, Template, TlsVariable, Variable};
use crate::endpoint::{ClientAddr, Endpoint};
use crate::http1::{Field, Known, RequestHead, ResponseHead, encode, split_port};
use crate::proxy_protocol::Addresses;
use crate::telemetry;
use crate::tls::Facts;
use crate::tls::x509::Summary;

/// A request as templates see it.
pub struct Scope<'a> {
    /// The head as it came.
    pub head: &'a RequestHead,
    /// Its connection.
    pub client: &'a Client,
    /// The client's address, after trusted proxies.
    pub address: ClientAddr,
    /// The decoded path: `$uri`.
    pub path: &'a [u8],
    /// `$server_name`.
    pub server_name: &'a str,
    /// `$proxy_host`.
    pub proxy_host: &'a str,
    /// `$request_id`, made when first asked for.
    pub request_id: &'a RequestId,
    /// The head of the peer's answer, once it is passed on.
    pub answer: Option<&'a ResponseHead>,
}

/// 32 hexadecimal digits that no other request has, made when first asked for.
#[derive(Clone, Debug, Default)]
pub struct RequestId(OnceCell<String>);

impl RequestId {
    /// The digits.
    pub fn get(&self) -> &str {
        self.0.get_or_init(|| format!("{:032x}", rand::random::<u128>()))
    }

    /// The digits, if anybody asked for them.
    pub fn made(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

impl Scope<'_> {
    /// Appends the template's text. A variable without a value is empty.
    pub fn append(&self, template: &Template, out: &mut Vec<u8>) {
        for part in &template.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => drop(self.variable(variable, out)),
            }
        }
    }

    /// Appends a variable's value; false if it has none.
    fn variable(&self, variable: &Variable, out: &mut Vec<u8>) -> bool {
        let head = self.head;
        match variable {
            Variable::RemoteAddr => match self.address.ip() {
                Some(ip) => out.extend_from_slice(encode::Address::of(ip).as_bytes()),
                None => out.extend_from_slice(b"unix:"),
            },
            Variable::BinaryRemoteAddr => match self.address.ip().map(|ip| ip.to_canonical()) {
                Some(IpAddr::V4(ip)) => out.extend_from_slice(&ip.octets()),
                Some(IpAddr::V6(ip)) => out.extend_from_slice(&ip.octets()),
                None => out.extend_from_slice(b"unix:"),
            },
            Variable::RemotePort => return number(out, self.address.port()),
            Variable::RemoteUser => return append(out, remote_user(head).as_deref()),
            Variable::ServerAddr => match &self.client.local {
                Endpoint::Ip(address) => out.extend_from_slice(encode::Address::of(address.ip()).as_bytes()),
                unix => out.extend_from_slice(unix.to_string().as_bytes()),
            },
            Variable::ServerPort => return number(out, self.client.local.port()),
            Variable::ServerProtocol => out.extend_from_slice(protocol(head).as_bytes()),
            Variable::ServerName => out.extend_from_slice(self.server_name.as_bytes()),
            Variable::Scheme => out.extend_from_slice(self.client.security.scheme().as_bytes()),
            Variable::Tls(variable) => return tls_variable(*variable, self.client.security.facts(), out),
            Variable::Host => match head.host() {
                Some(host) => out.extend(host_alone(host).iter().map(u8::to_ascii_lowercase)),
                None => out.extend_from_slice(self.server_name.as_bytes()),
            },
            Variable::Http(name) => {
                return values(self.head.fields().filter(|field| !field.is_unusual()), name, out);
            }
            Variable::Request => out.extend_from_slice(head.request_line()),
            Variable::RequestMethod => out.extend_from_slice(head.method()),
            Variable::RequestUri => out.extend_from_slice(head.origin_form()),
            Variable::Uri => out.extend_from_slice(self.path),
            Variable::Args => return append(out, head.query()),
            Variable::IsArgs => {
                if head.query().is_some_and(|query| !query.is_empty()) {
                    out.push(b'?');
                }
            }
            Variable::Arg(name) => return append(out, argument(head.query().unwrap_or_default(), name)),
            Variable::Cookie(name) => {
                return append(out, self.cookies(name).next());
            }
            Variable::UpstreamHttp(name) => {
                return self.answer.is_some_and(|answer| values(answer.fields(), name, out));
            }
            Variable::UpstreamCookie(name) => {
                let mut fields = self.answer.into_iter().flat_map(|answer| answer.fields());
                return append(out, fields.find_map(|field| set_cookie(&field, name)));
            }
            Variable::RequestId => out.extend_from_slice(self.request_id.get().as_bytes()),
            Variable::ProxyHost => out.extend_from_slice(self.proxy_host.as_bytes()),
            Variable::ProxyAddXForwardedFor => {
                let before = joined(head, Known::XForwardedFor);
                out.extend_from_slice(&before);
                if let Some(ip) = self.address.ip() {
                    if !before.is_empty() {
                        out.extend_from_slice(b", ");
                    }
                    out.extend_from_slice(encode::Address::of(ip).as_bytes());
                }
            }
            Variable::Connection => encode::decimal(out, self.client.serial),
            Variable::ProxyProtocolAddr => return ip(out, self.proxied().map(|said| said.source.ip())),
            Variable::ProxyProtocolPort => return number(out, self.proxied().map(|said| said.source.port())),
            Variable::ProxyProtocolServerAddr => return ip(out, self.proxied().map(|said| said.destination.ip())),
            Variable::ProxyProtocolServerPort => {
                return number(out, self.proxied().map(|said| said.destination.port()));
            }
            Variable::RealipRemoteAddr => match self.client.sender() {
                ClientAddr::Ip(address) => out.extend_from_slice(encode::Address::of(address.ip()).as_bytes()),
                ClientAddr::Unix => out.extend_from_slice(b"unix:"),
            },
            Variable::RealipRemotePort => return number(out, self.client.sender().port()),
            Variable::Log(_) => return false,
        }
        true
    }

    /// What the connection's PROXY header said.
    fn proxied(&self) -> Option<Addresses> {
        self.client.proxied.as_ref().map(|proxied| proxied.addresses)
    }

    /// The values of all cookies of a name, in their order.
    pub fn cookies(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let fields = self.head.fields().filter(|field| field.known == Known::Cookie);
        fields.flat_map(move |field| cookies(field.value, name))
    }
}

/// `$http_NAME`: the values of a field, joined; the name has `_` where the field has `-`.
fn values<'a>(fields: impl Iterator<Item = Field<'a>>, name: &str, out: &mut Vec<u8>) -> bool {
    let is_meant = |field: &[u8]| {
        let same = |(a, b): (&u8, u8)| if *a == b'-' { b == b'_' } else { a.to_ascii_lowercase() == b };
        field.len() == name.len() && field.iter().zip(name.bytes()).all(same)
    };
    let mut found = false;
    for field in fields.filter(|field| is_meant(field.name)) {
        if found {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(field.value);
        found = true;
    }
    found
}

impl telemetry::Variables for Scope<'_> {
    fn append(&self, variable: &Variable, out: &mut Vec<u8>) -> bool {
        self.variable(variable, out)
    }
}

/// `$ssl_*`; without TLS none of them has a value.
fn tls_variable(variable: TlsVariable, facts: Option<&Facts>, out: &mut Vec<u8>) -> bool {
    let Some(facts) = facts else { return false };
    let certificate = |part: fn(&Summary) -> &str| facts.certificate.as_ref().map(|c| part(c).as_bytes());
    let value: Option<&[u8]> = match variable {
        TlsVariable::Https => Some(b"on"),
        TlsVariable::Protocol => Some(facts.protocol.as_bytes()),
        TlsVariable::Cipher => Some(facts.cipher.as_bytes()),
        TlsVariable::ServerName => facts.server_name.as_deref().map(str::as_bytes),
        TlsVariable::SessionReused => Some(if facts.resumed { b"r" } else { b"." }),
        TlsVariable::ClientVerify => {
            out.extend_from_slice(facts.client.text().as_bytes());
            return true;
        }
        TlsVariable::ClientSubject => certificate(|c| &c.subject),
        TlsVariable::ClientIssuer => certificate(|c| &c.issuer),
        TlsVariable::ClientSerial => certificate(|c| &c.serial),
    };
    append(out, value)
}

fn append(out: &mut Vec<u8>, value: Option<&[u8]>) -> bool {
    out.extend_from_slice(value.unwrap_or_default());
    value.is_some()
}

fn ip(out: &mut Vec<u8>, value: Option<IpAddr>) -> bool {
    if let Some(value) = value {
        out.extend_from_slice(encode::Address::of(value).as_bytes());
    }
    value.is_some()
}

fn number(out: &mut Vec<u8>, value: Option<u16>) -> bool {
    if let Some(value) = value {
        encode::decimal(out, value.into());
    }
    value.is_some()
}

/// `HTTP/1.1`.
pub fn protocol(head: &RequestHead) -> &'static str {
    head.version().as_str()
}

/// The host without its port.
pub fn host_alone(host: &[u8]) -> &[u8] {
    split_port(host).0
}

/// The value of an argument of the query: the first of that name, as it came. (nginx: `ngx_http_arg`.)
fn argument<'a>(query: &'a [u8], name: &str) -> Option<&'a [u8]> {
    query.split(|b| *b == b'&').find_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=')?;
        pair[..at].eq_ignore_ascii_case(name.as_bytes()).then_some(&pair[at + 1..])
    })
}

/// The values of the cookies of a name in one Cookie field.
fn cookies<'a>(field: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    field.split(|b| matches!(b, b';' | b',')).filter_map(move |pair| named(pair, name))
}

/// The value that one Set-Cookie field gives to a cookie. (nginx: `$upstream_cookie_NAME`.)
fn set_cookie<'a>(field: &Field<'a>, name: &str) -> Option<&'a [u8]> {
    let pair = field.value.split(|b| *b == b';').next().filter(|_| field.known == Known::SetCookie)?;
    named(pair, name)
}

/// The value of `NAME=VALUE`, if that is the name.
fn named<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let at = pair.iter().position(|b| *b == b'=')?;
    pair[..at].trim_ascii().eq_ignore_ascii_case(name.as_bytes()).then(|| pair[at + 1..].trim_ascii())
}

/// The user of Basic credentials (RFC 7617).
pub fn remote_user(head: &RequestHead) -> Option<Vec<u8>> {
    let credentials = head.field(Known::Authorization)?;
    let (scheme, token) = credentials.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut decoded = base64(token.trim_ascii())?;
    let colon = decoded.iter().position(|b| *b == b':')?;
    decoded.truncate(colon);
    Some(decoded)
}

/// Standard alphabet (RFC 4648 §4): eight lines, for a name in a log; not worth a dependency.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut out, mut bits, mut held) = (Vec::with_capacity(text.len()), 0u32, 0u32);
    for byte in text.iter().take_while(|b| **b != b'=') {
        let six = ALPHABET.iter().position(|known| known == byte)?;
        bits = (bits << 6) | u32::try_from(six).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::super::secure::Security;
    use super::*;
    use crate::http1::Limits;

    /// What a variable stands for in a GET with these fields.
    fn value(variable: Variable, fields: &[(&[u8], &[u8])]) -> String {
        let mut head = RequestHead::new();
        let host: (&[u8], &[u8]) = (b"Host", b"a");
        head.compose(b"GET", b"/x?y=1", std::iter::once(host).chain(fields.iter().copied()), &Limits::default())
            .unwrap();
        let address: std::net::SocketAddr = "192.0.2.7:4711".parse().unwrap();
        let (local, listener) = (address.into(), address.into());
        let (proxied, security) = (None, Security::Plain);
        let (remote, hosts, h2c) = (address.into(), None, false);
        let client = Client { remote, local, listener, serial: 1, hosts, h2c, proxied, security };
        let scope = Scope {
            head: &head,
            client: &client,
            address: address.into(),
            path: b"/x",
            server_name: "",
            proxy_host: "",
            request_id: &RequestId::default(),
            answer: None,
        };
        let mut out = Vec::new();
        scope.variable(&variable, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_field_is_found_by_the_name_that_templates_have_for_it() {
        let template = Template::parse("$http_x_user", crate::config::template::Use::Request);
        let Part::Variable(variable) = &template.unwrap().parts[0] else { panic!("it is a variable") };
        let named = |name: &'static str| value(variable.clone(), &[(name.as_bytes(), b"me"), (b"x-user", b"too")]);
        assert_eq!(named("X-User"), "me, too");
        assert_eq!(named("X-Users"), "too");
        assert_eq!(named("X_User"), "too", "names with underscores are ignored");
    }

    #[test]
    fn an_argument_is_the_first_of_its_name_as_it_came() {
        for (query, name, expected) in [
            ("a=1&b=2", "b", Some("2")),
            ("A=1", "a", Some("1")),
            ("a=1&a=2", "a", Some("1")),
            ("a=x%20y", "a", Some("x%20y")),
            ("ab=1", "a", None),
            ("a", "a", None),
            ("a=", "a", Some("")),
            ("", "a", None),
        ] {
            assert_eq!(argument(query.as_bytes(), name), expected.map(str::as_bytes), "{query} {name}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        for (field, expected) in
            [("sid=7", Some("7")), ("a=1; sid=7; b=2", Some("7")), ("xsid=1;sid = 7 ", Some("7")), ("sidx=1", None)]
        {
            assert_eq!(cookies(field.as_bytes(), "sid").next(), expected.map(str::as_bytes), "{field}");
        }
    }

    #[test]
    fn the_user_of_basic_credentials_is_read() {
        assert_eq!(base64(b"QWxhZGRpbjpvcGVuIHNlc2FtZQ==").unwrap(), b"Aladdin:open sesame");
        assert_eq!(base64(b"a!"), None);
    }
}
