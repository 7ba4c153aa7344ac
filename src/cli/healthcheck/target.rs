//! Who is asked? URLs and addresses of the command line, taken apart.

use std::fmt;

use http::Uri;
use http::uri::Scheme;

/// One of those who are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// GET of a URL.
    Url(Url),
    /// Whether a connection is accepted.
    Tcp(HostPort),
    /// The gRPC health protocol.
    Grpc(Grpc),
}

/// An `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `https`.
    pub(super) secure: bool,
    /// Where.
    pub(super) at: HostPort,
    /// The host, and the port if it was written: the Host field.
    pub(super) authority: String,
    /// The path and the query.
    pub(super) target: String,
}

/// A host, by its name or its address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// As written, with the brackets of an IPv6 address.
    pub(super) host: String,
    /// At least 1.
    pub(super) port: u16,
}

/// `HOST:PORT[/SERVICE]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grpc {
    /// Where.
    pub(super) at: HostPort,
    /// Empty: the server as a whole.
    pub(super) service: String,
}

impl Target {
    /// Where.
    pub(super) fn at(&self) -> &HostPort {
        match self {
            Target::Url(Url { at, .. }) | Target::Tcp(at) | Target::Grpc(Grpc { at, .. }) => at,
        }
    }
}

/// Reads a URL; `http://`, the port and the path may be left out.
pub(super) fn url(text: &str) -> Result<Url, String> {
    let written = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = written.parse().map_err(|_| "not a URL; write it as http://HOST[:PORT][/PATH]".to_owned())?;
    let secure = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => false,
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        _ => return Err("only http:// and https:// can be asked".into()),
    };
    let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or("the host is missing")?;
    if authority.as_str().contains('@') {
        return Err("a user name in a URL is not sent; leave it out".into());
    }
    // The parser takes a port out of range for none at all.
    let port = match authority.as_str()[authority.host().len()..].strip_prefix(':').map(str::parse) {
        None if secure => 443,
        None => 80,
        Some(Ok(port @ 1..)) => port,
        Some(_) => return Err("the port must be a number from 1 to 65535".into()),
    };
    Ok(Url {
        secure,
        at: HostPort { host: authority.host().into(), port },
        authority: authority.as_str().into(),
        target: uri.path_and_query().map_or("/", |target| target.as_str()).into(),
    })
}

/// Reads `HOST:PORT`, for a connection alone.
pub(super) fn tcp(text: &str) -> Result<HostPort, String> {
    let text = text.strip_prefix("tcp://").unwrap_or(text);
    let wrong = || "write it as HOST:PORT, such as redis:6379".to_owned();
    let url = url(text).map_err(|_| wrong())?;
    match url.target.as_str() {
        "/" if url.authority.len() > url.at.host.len() && !text.ends_with('/') => Ok(url.at),
        _ => Err(wrong()),
    }
}

/// Reads `HOST:PORT[/SERVICE]`.
pub(super) fn grpc(text: &str) -> Result<Grpc, String> {
    let (at, service) = text.split_once('/').unwrap_or((text, ""));
    let at = tcp(at).map_err(|_| "write it as HOST:PORT or HOST:PORT/SERVICE, such as app:50051/shop.Cart")?;
    Ok(Grpc { at, service: service.to_owned() })
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Url(url) => write!(f, "url {url}"),
            Target::Tcp(at) => write!(f, "tcp {at}"),
            Target::Grpc(Grpc { at, service }) if service.is_empty() => write!(f, "grpc {at}"),
            Target::Grpc(Grpc { at, service }) => write!(f, "grpc {at}/{service}"),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.secure { "https" } else { "http" }, self.authority, self.target)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_leave_out_scheme_port_and_path() {
        for (text, shown, host, port) in [
            ("http://app:5000/health", "http://app:5000/health", "app", 5000),
            ("app:5000/health?deep=1", "http://app:5000/health?deep=1", "app", 5000),
            ("http://app", "http://app/", "app", 80),
            ("http://pyfla_app1:5000", "http://pyfla_app1:5000/", "pyfla_app1", 5000),
            ("http://[::1]:5000/x", "http://[::1]:5000/x", "[::1]", 5000),
            ("https://app/health", "https://app/health", "app", 443),
            ("https://app:8443", "https://app:8443/", "app", 8443),
        ] {
            let url = url(text).expect(text);
            assert_eq!((url.to_string().as_str(), url.at.host.as_str(), url.at.port), (shown, host, port));
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port_and_for_grpc_a_service() {
        for (text, shown) in [
            ("redis:6379", "tcp redis:6379"),
            ("tcp://redis:6379", "tcp redis:6379"),
            ("127.0.0.1:80", "tcp 127.0.0.1:80"),
            ("[::1]:80", "tcp [::1]:80"),
        ] {
            assert_eq!(tcp(text).map(|at| Target::Tcp(at).to_string()).as_deref(), Ok(shown));
        }
        for text in ["redis", "redis:0", "redis:6379/x", "redis:6379/", ":6379", "http://redis:6379/", ""] {
            assert!(tcp(text).is_err(), "{text}");
        }
        for (text, shown) in [("app:50051", "grpc app:50051"), ("app:50051/shop.Cart", "grpc app:50051/shop.Cart")] {
            assert_eq!(grpc(text).map(|grpc| Target::Grpc(grpc).to_string()).as_deref(), Ok(shown));
        }
        assert!(grpc("app/shop.Cart").is_err());
    }
}
