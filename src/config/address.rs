//! Which address is meant? `80`, `":8080"`, `"[::1]:80"` to listen on; `"app:5000"` to connect to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;

use super::diagnostic::Unfit;
use super::model::Address;
use crate::endpoint::Endpoint;

/// nginx's default port, for servers of an upstream and for `listen`.
const DEFAULT_PORT: u16 = 80;

/// A unix socket's path has 107 bytes at most (Linux: `sun_path`).
const MAX_SOCKET_PATH: usize = 107;

/// An address to listen on; port 0 lets the system choose.
pub(super) fn listen(text: &str) -> Result<Endpoint, Unfit> {
    if let Some(path) = unix(text)? {
        return Ok(Endpoint::Unix(path));
    }
    listen_ip(text).map(Endpoint::Ip)
}

fn listen_ip(text: &str) -> Result<SocketAddr, Unfit> {
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err(Unfit::because(format!("an address has no `{scheme}://`")).help(format!("write `\"{rest}\"`")));
    }
    if let Ok(port) = text.parse() {
        return Ok((Ipv4Addr::UNSPECIFIED, port).into());
    }
    let (host, port) = split(text)?;
    let port = match port {
        Some(port) => number(port, 0)?,
        None => DEFAULT_PORT,
    };
    match host {
        "" | "*" => Ok((Ipv4Addr::UNSPECIFIED, port).into()),
        "localhost" => {
            Err(Unfit::because("an address is needed here, not a name").help(format!("write `\"127.0.0.1:{port}\"`")))
        }
        _ => match literal(host) {
            Some(ip) => Ok((ip, port).into()),
            None => Err(Unfit::because("an address of this machine is needed here, not a name")
                .help(format!("write `{port}` for every address, or `\"127.0.0.1:{port}\"`"))),
        },
    }
}

/// A server of an upstream: a name or a literal address, and a port.
pub(super) fn server(text: &str) -> Result<Address, Unfit> {
    // What most are, among thousands; whatever is not plainly good goes the long way, which knows every reason.
    if let Ok(address) = text.parse::<SocketAddrV4>()
        && address.port() > 0
    {
        return Ok(Address::Ip(address.into()));
    }
    if let Some((address, parameters)) = text.split_once(char::is_whitespace) {
        let parameters: Vec<String> = parameters.split_whitespace().map(as_toml).collect();
        let table = format!("write `{{ address = \"{address}\", {} }}`", parameters.join(", "));
        return Err(Unfit::because("it contains a space").help(table));
    }
    if let Some(path) = unix(text)? {
        return Ok(Address::Unix(path));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.trim_end_matches('/');
        return Err(Unfit::because(format!("an address has no `{scheme}://`")).help(format!("write `\"{rest}\"`")));
    }
    if let Some(at) = text.find(['/', '?', '#']) {
        let unfit = Unfit::because("an address has no path");
        return Err(unfit.help(format!("write `\"{}\"`; a path may stand in `proxy_pass`", &text[..at])));
    }
    let (host, port) = split(text)?;
    let port = match port {
        Some(port) => number(port, 1)?,
        None => DEFAULT_PORT,
    };
    match literal(host) {
        Some(ip) => Ok(Address::Ip((ip, port).into())),
        None => Ok(Address::Name { host: name(host)?, port }),
    }
}

/// The SRV records of a service of a host: `http` means `_http._tcp.HOST`; a service with a dot in it is the beginning
/// of the name as it stands (nginx: `service`).
pub(super) fn service(host: &str, service: &str) -> Result<Address, Unfit> {
    if let Some((host, _)) = host.split_once(':').filter(|_| !host.starts_with('[')) {
        return Err(Unfit::because("the records tell the port").help(format!("write `address = \"{host}\"`")));
    }
    if literal(host).is_some() {
        return Err(Unfit::because("this is an address, which has no SRV records"));
    }
    if service.is_empty() {
        return Err(Unfit::because("`service` is empty").help("write `service = \"http\"`"));
    }
    let host = name(host)?;
    let asked = if service.contains('.') { format!("{service}.{host}") } else { format!("_{service}._tcp.{host}") };
    name(&asked)
        .map(|name| Address::Service { name })
        .map_err(|unfit| Unfit::because(format!("`{asked}` cannot be a name")).help(unfit.help.unwrap_or(unfit.why)))
}

/// The path of a unix socket, if one is meant.
fn unix(text: &str) -> Result<Option<Arc<Path>>, Unfit> {
    if text.starts_with('/') {
        return Err(Unfit::because("a socket is marked as one").help(format!("write `\"unix:{text}\"`")));
    }
    after_unix(text).map(socket).transpose()
}

/// What stands behind nginx's `unix:`, in any case.
fn after_unix(text: &str) -> Option<&str> {
    text.split_at_checked(5).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("unix:")).map(|(_, path)| path)
}

/// The path of a unix socket.
pub(super) fn socket(path: &str) -> Result<Arc<Path>, Unfit> {
    match path {
        "" => Err(Unfit::because("the path of the socket is missing").help("write `\"unix:/run/app.sock\"`")),
        _ if !path.starts_with('/') => Err(Unfit::because("the path of a socket begins with `/`")),
        _ if path.ends_with('/') => Err(Unfit::because("the name of the socket is missing")),
        _ if path.chars().any(char::is_control) => Err(Unfit::because("it contains a control character")),
        _ if path.len() > MAX_SOCKET_PATH => Err(Unfit::because("the path of a socket has at most 107 bytes")),
        _ => Ok(Path::new(path).into()),
    }
}

/// A DNS server: an address, and a port if it is not 53.
pub(super) fn resolver(text: &str) -> Result<SocketAddr, Unfit> {
    let (host, port) = split(text)?;
    let port = port.map_or(Ok(53), |port| number(port, 1))?;
    match literal(host) {
        Some(ip) => Ok((ip, port).into()),
        None => Err(Unfit::because("the address of a DNS server is needed here, not a name")),
    }
}

/// Host and port; brackets are kept. Refuses a bare IPv6 address, whose port could not be told from its last group.
fn split(text: &str) -> Result<(&str, Option<&str>), Unfit> {
    if text.is_empty() {
        return Err(Unfit::because("it is empty"));
    }
    if let Some(inside) = text.strip_prefix('[') {
        let Some((_, behind)) = inside.split_once(']') else {
            return Err(Unfit::because("`[` is never closed"));
        };
        let host = &text[..text.len() - behind.len()];
        return match behind.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if behind.is_empty() => Ok((host, None)),
            None => Err(Unfit::because("behind `]` comes `:` and the port")),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            Err(Unfit::because("an IPv6 address is written in brackets").help(format!("write `\"[{text}]:80\"`")))
        }
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

/// A literal address; IPv6 in brackets.
fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

fn number(port: &str, min: u16) -> Result<u16, Unfit> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(number) if digits && number >= min => Ok(number),
        _ => Err(Unfit::because(format!("`{port}` is not a port: {min} to 65535"))),
    }
}

/// A name of a host, lower case. Underscores are allowed: Docker's services have them.
pub(super) fn name(host: &str) -> Result<String, Unfit> {
    if host.is_empty() {
        return Err(Unfit::because("the host is missing"));
    }
    if host.starts_with('[') {
        return Err(Unfit::because(format!("`{host}` is not an IPv6 address")));
    }
    let labels: Vec<&str> = host.strip_suffix('.').unwrap_or(host).split('.').collect();
    if labels.last().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        let unfit = Unfit::because(format!("`{host}` is not an IPv4 address"));
        return Err(if labels.len() == 1 { unfit.help("write `\"HOST:PORT\"`") } else { unfit });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if let Some(wrong) = host.chars().find(|c| !allowed(*c) && *c != '.') {
        let unfit = Unfit::because(format!("a name cannot contain {wrong:?}"));
        return Err(if wrong.is_ascii() { unfit } else { unfit.help("write the name in its ASCII form, `xn--…`") });
    }
    if host.len() > 253 || labels.iter().any(|label| label.is_empty() || label.len() > 63) {
        return Err(Unfit::because("a name consists of parts of 1 to 63 letters, 253 in all"));
    }
    Ok(host.to_ascii_lowercase())
}

/// nginx's `weight=2` or `backup`, as TOML.
fn as_toml(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((key, value)) if value.bytes().all(|byte| byte.is_ascii_digit()) && !key.ends_with("timeout") => {
            format!("{key} = {value}")
        }
        Some((key, value)) => format!("{key} = \"{value}\""),
        None => format!("{parameter} = true"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why<T: std::fmt::Debug>(result: Result<T, Unfit>) -> String {
        result.unwrap_err().why
    }

    #[test]
    fn listen_takes_ports_and_literal_addresses() {
        let table = [
            ("80", "0.0.0.0:80"),
            (":8080", "0.0.0.0:8080"),
            ("*:80", "0.0.0.0:80"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("127.0.0.1", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("[::]", "[::]:80"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ];
        for (text, address) in table {
            assert_eq!(listen(text), Ok(Endpoint::Ip(address.parse().unwrap())), "{text}");
        }
        assert_eq!(listen("unix:/run/weir.sock"), Ok(Endpoint::Unix(Path::new("/run/weir.sock").into())));
    }

    #[test]
    fn listen_refuses_names_and_nonsense() {
        let table = [
            ("", "it is empty"),
            ("localhost:80", "an address is needed here, not a name"),
            ("example.com:80", "an address of this machine is needed here, not a name"),
            ("::1", "an IPv6 address is written in brackets"),
            ("[::1", "`[` is never closed"),
            ("[::1]80", "behind `]` comes `:` and the port"),
            ("127.0.0.1:65536", "`65536` is not a port: 0 to 65535"),
            ("127.0.0.1:+80", "`+80` is not a port: 0 to 65535"),
            ("127.0.0.1:", "`` is not a port: 0 to 65535"),
            ("unix:", "the path of the socket is missing"),
            ("unix:weir.sock", "the path of a socket begins with `/`"),
            ("unix:/run/", "the name of the socket is missing"),
            ("/run/weir.sock", "a socket is marked as one"),
            ("http://127.0.0.1:80", "an address has no `http://`"),
        ];
        for (text, reason) in table {
            assert_eq!(why(listen(text)), reason, "{text}");
        }
    }

    #[test]
    fn servers_are_names_or_literals_with_port_80_by_default() {
        let named = |host: &str, port| Ok(Address::Name { host: host.to_owned(), port });
        let table = [
            ("pyfla_app1:5000", named("pyfla_app1", 5000)),
            ("App.Example.COM", named("app.example.com", 80)),
            ("app.:1", named("app.", 1)),
            ("10.0.0.1", Ok(Address::Ip("10.0.0.1:80".parse().unwrap()))),
            ("10.0.0.1:5000", Ok(Address::Ip("10.0.0.1:5000".parse().unwrap()))),
            ("10.0.0.1:080", Ok(Address::Ip("10.0.0.1:80".parse().unwrap()))),
            ("[::1]:5000", Ok(Address::Ip("[::1]:5000".parse().unwrap()))),
            ("Unix:/run/app.sock", Ok(Address::Unix(Path::new("/run/app.sock").into()))),
        ];
        for (text, address) in table {
            assert_eq!(server(text), address, "{text}");
        }
    }

    #[test]
    fn a_service_is_asked_for_as_nginx_does() {
        for (host, of, asked) in [
            ("backend.Example.com", "http", "_http._tcp.backend.example.com"),
            ("app", "_web._udp", "_web._udp.app"),
            ("app", "web.v1", "web.v1.app"),
            ("app.", "http", "_http._tcp.app."),
        ] {
            assert_eq!(service(host, of), Ok(Address::Service { name: asked.to_owned() }), "{host} {of}");
        }
        for (host, of, reason) in [
            ("app:80", "http", "the records tell the port"),
            ("10.0.0.1", "http", "this is an address, which has no SRV records"),
            ("[::1]", "http", "this is an address, which has no SRV records"),
            ("app", "", "`service` is empty"),
            ("app", "a b", "`_a b._tcp.app` cannot be a name"),
            ("", "http", "the host is missing"),
        ] {
            assert_eq!(why(service(host, of)), reason, "{host} {of}");
        }
    }

    #[test]
    fn servers_that_cannot_be_connected_to_are_refused() {
        let table = [
            ("", "it is empty"),
            (":5000", "the host is missing"),
            ("app:0", "`0` is not a port: 1 to 65535"),
            ("10.0.0.1:0", "`0` is not a port: 1 to 65535"),
            ("10.0.0.1:+80", "`+80` is not a port: 1 to 65535"),
            ("app:http", "`http` is not a port: 1 to 65535"),
            ("app:70000", "`70000` is not a port: 1 to 65535"),
            ("127.0.0.300:80", "`127.0.0.300` is not an IPv4 address"),
            ("5000", "`5000` is not an IPv4 address"),
            ("http://app:5000", "an address has no `http://`"),
            ("app:5000/x", "an address has no path"),
            ("app:5000 weight=2", "it contains a space"),
            ("::1", "an IPv6 address is written in brackets"),
            ("[zz]:1", "`[zz]` is not an IPv6 address"),
            ("bücher:80", "a name cannot contain 'ü'"),
            ("a..b", "a name consists of parts of 1 to 63 letters, 253 in all"),
            ("unix:app.sock", "the path of a socket begins with `/`"),
            ("unix:/run/a\0b", "it contains a control character"),
            ("unix:/run/app.sock weight=2", "it contains a space"),
        ];
        for (text, reason) in table {
            assert_eq!(why(server(text)), reason, "{text}");
        }
        let help = server("app:5000 weight=2 fail_timeout=5s backup").unwrap_err().help.unwrap();
        assert_eq!(help, "write `{ address = \"app:5000\", weight = 2, fail_timeout = \"5s\", backup = true }`");
    }
}
