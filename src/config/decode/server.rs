//! Which virtual hosts are there, and where do they listen? `[[server]]`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use super::fields::{Inherited, texts, unfit};
use super::limits::{Written, Zones};
use super::location;
use super::section::{Levels, Section, Settings};
use super::setting::{other_kind, plain, refuse_kind};
use super::tls;
use super::top::trusts_somebody;
use super::upstream::Upstreams;
use crate::config::address;
use crate::config::diagnostic::{Diagnostic, Span, Unfit};
use crate::config::directives::Place;
use crate::config::model::{ClientLimits, Listen, Server, ServerName};
use crate::config::written::{Node, Sink, Text, Value};
use crate::endpoint::Endpoint;

/// Where browsers expect TLS.
const HTTPS: u16 = 443;

/// A name or an address, and where it is written.
pub(super) type Placed<T> = (T, Span);

/// Who has what already: two servers with one name on one address cannot be told apart.
#[derive(Default)]
struct Taken {
    names: HashMap<(Endpoint, Option<ServerName>), Span>,
    defaults: HashMap<Endpoint, Span>,
    addresses: Vec<Placed<Listen>>,
}

/// Reads every `[[server]]`. Without any, a single upstream gets one that listens on port 80.
pub(super) fn read(top: &Section<'_>, upstreams: &mut Upstreams) -> Vec<Server> {
    let tables = top.tables("server");
    let outer = Inherited::read(top);
    let zones = Zones::read(top);
    let around = Written::read(top, &zones);
    if tables.is_empty() {
        return serve_the_only_one(top, &outer, &around, upstreams);
    }
    let mut taken = Taken::default();
    let mut servers = Vec::new();
    for table in tables {
        let section = Section::read(Place::Server, table, top.sink);
        let own = Inherited::read(&section);
        let written = Written::read(&section, &zones);
        let listen = listen(&section, trusts_somebody(top));
        let names = server_names(&section);
        taken.refuse_ambiguity(&listen, &names, &section);
        servers.push(Server {
            listen: listen.into_iter().map(|(listen, _)| listen).collect(),
            server_name: names.into_iter().map(|(name, _)| name).collect(),
            locations: location::read(&section, top, &[&own, &outer], &[&written, &around], &zones, upstreams),
            client: client_limits(&Levels(&[&section, top])),
            redirect_to_https: section.switch("redirect_to_https").then_some(HTTPS),
            hsts: tls::hsts(&section),
        });
    }
    find_redirect_ports(&mut servers);
    servers
}

/// A server that redirects and has TLS itself redirects to its own port.
fn find_redirect_ports(servers: &mut [Server]) {
    let listens = servers.iter().flat_map(|server| &server.listen);
    let secure: Vec<Endpoint> =
        listens.filter(|listen| listen.tls.is_some()).map(|listen| listen.address.clone()).collect();
    for server in servers {
        let own = server.listen.iter().find(|listen| secure.contains(&listen.address));
        let own = own.and_then(|listen| listen.address.port()).filter(|port| *port != 0);
        if let (Some(port), Some(own)) = (&mut server.redirect_to_https, own) {
            *port = own;
        }
    }
}

/// Limits towards clients, after inheritance.
pub(super) fn client_limits(levels: &Levels<'_, '_>) -> ClientLimits {
    let size = |key: &str| usize::try_from(levels.number(key)).unwrap_or(usize::MAX);
    ClientLimits {
        max_body_size: levels.number("client_max_body_size"),
        body_buffer_size: size("client_body_buffer_size"),
        max_head_size: size("client_max_header_size"),
        max_target_size: size("client_max_uri_size"),
        header_timeout: levels.time("client_header_timeout"),
        body_timeout: levels.time("client_body_timeout"),
        send_timeout: levels.time("send_timeout"),
        keepalive_timeout: levels.time("keepalive_timeout"),
        keepalive_requests: levels.number("keepalive_requests"),
        http2_max_concurrent_streams: u32::try_from(levels.number("http2_max_concurrent_streams")).unwrap_or(u32::MAX),
    }
}

fn serve_the_only_one(
    top: &Section<'_>,
    outer: &Inherited,
    around: &Written,
    upstreams: &mut Upstreams,
) -> Vec<Server> {
    if top.has("server") || top.has("stream") {
        return Vec::new();
    }
    let Some(upstream) = upstreams.only() else {
        let mistake = match upstreams.is_empty() {
            true => Diagnostic::error("there is nothing to do: no [upstream.NAME] and no [[server]]")
                .help("write\n    [upstream.web]\n    servers = [\"app1:5000\", \"app2:5000\"]"),
            false => Diagnostic::error("there are several upstreams and no [[server]] that says which one is for what")
                .help("write\n    [[server]]\n    listen = 80\n    [[server.location]]\n    path = \"/\"\n    proxy_pass = \"http://NAME\""),
        };
        top.sink.report_absence(mistake);
        return Vec::new();
    };
    let name = upstreams.names().next().unwrap_or_default().to_owned();
    vec![Server {
        listen: vec![Listen::on(everywhere(80))],
        server_name: Vec::new(),
        locations: vec![location::everything(Some(upstream), &name, &Levels(&[top]), &[outer], &[around])],
        client: client_limits(&Levels(&[top])),
        redirect_to_https: None,
        hsts: None,
    }]
}

/// `listen` of a server or a stream, each entry with its place. `trusts`: there are trusted proxies, who may send PROXY headers.
pub(super) fn listen(section: &Section<'_>, trusts: bool) -> Vec<Placed<Listen>> {
    let Some(node) = section.required("listen", "listen = 80") else { return Vec::new() };
    let nodes = match &node.value {
        Value::List(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if nodes.is_empty() {
        let mistake = Diagnostic::error("this server listens nowhere").at(node.span.clone());
        section.sink.report(mistake.help("write `listen = 80`"));
    }
    let mut all: Vec<Placed<Listen>> = Vec::new();
    for node in nodes {
        let Some(listen) = listen_entry(node, trusts, section.sink) else { continue };
        match all.iter().find(|(known, _)| (&known.address, known.udp) == (&listen.address, listen.udp)) {
            Some((_, first)) => {
                let mistake = Diagnostic::error("this server listens here twice").at(node.span.clone());
                section.sink.report(mistake.context(first.clone(), "first here").help("remove one of the two"));
            }
            None => all.push((listen, node.span.clone())),
        }
    }
    all
}

fn listen_entry(node: &Node, trusts: bool, sink: &Sink) -> Option<Listen> {
    let Value::Table(table) = &node.value else {
        return listen_address(node, sink).map(Listen::on);
    };
    let section = Section::read(Place::Listen, table, sink);
    let address = listen_address(section.required("address", "address = \"0.0.0.0:80\"")?, sink)?;
    let tls = match section.table("tls") {
        Some(table) => Some(tls::acceptor(table, sink)?),
        None => None,
    };
    let plain = Listen::on(address);
    let mode = mode(&section, &plain.address).unwrap_or(plain.mode);
    let proxy_protocol = section.switch("proxy_protocol");
    if proxy_protocol && !trusts {
        let place = section.key_span("proxy_protocol").unwrap_or(node.span.clone());
        let mistake = Diagnostic::error("`proxy_protocol` without `trusted_proxies`: nobody may say who the client is");
        let help = "name the proxies before this one at the top of the file: `trusted_proxies = [\"10.0.0.0/8\"]`";
        sink.report(mistake.at(place).help(help));
    }
    let (default_server, h2c) = (section.switch("default_server"), section.switch("h2c"));
    let udp = section.switch("udp");
    Some(Listen { default_server, h2c, mode, proxy_protocol, tls, udp, ..plain })
}

/// Every IPv4 address of this machine.
fn everywhere(port: u16) -> Endpoint {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into()
}

/// The mode of a unix socket's file, if it is written: octal digits, as for `chmod`.
fn mode(section: &Section<'_>, address: &Endpoint) -> Option<u32> {
    let node = section.node("mode")?;
    if let Endpoint::Ip(_) = address {
        let place = section.key_span("mode").unwrap_or(node.span.clone());
        let mistake =
            Diagnostic::error("`mode` has no meaning for a port: it is that of a unix socket's file").at(place);
        section.sink.report(mistake.help("remove it, or listen on `\"unix:/PATH\"`"));
        return None;
    }
    let message = "`mode` takes the mode of a file in octal digits: `\"0660\"`";
    match &node.value {
        Value::Text(text) => {
            let plain = match plain(text, "mode") {
                Ok(plain) => plain,
                Err(mistake) => {
                    section.sink.report(*mistake);
                    return None;
                }
            };
            match u32::from_str_radix(&plain, 8) {
                Ok(mode) if mode <= 0o777 && plain.bytes().all(|digit| digit.is_ascii_digit()) => return Some(mode),
                Ok(_) => section.sink.report(unfit(text, message.to_owned(), Unfit::because("at most `0777`"))),
                Err(_) => {
                    section.sink.report(unfit(text, message.to_owned(), Unfit::because("this is something else")))
                }
            }
        }
        _ => {
            if let Some(mistake) = other_kind(node, message) {
                section.sink.report(mistake.help("write it in quotes"));
            }
        }
    }
    None
}

fn listen_address(node: &Node, sink: &Sink) -> Option<Endpoint> {
    let message = "`listen` takes a port, or an address: `80`, `\"127.0.0.1:8080\"`, `\"[::1]:80\"`, `\"unix:/PATH\"`";
    match &node.value {
        Value::Integer(port) => match port.and_then(|port| u16::try_from(port).ok()) {
            Some(port) => Some(everywhere(port)),
            None => {
                sink.report(Diagnostic::error(message).at(node.span.clone()).label("a port is 0 to 65535"));
                None
            }
        },
        Value::Text(text) => {
            let plain = plain(text, "listen").map_err(|mistake| sink.report(*mistake)).ok()?;
            let listen = listen_words(&plain);
            listen.map_err(|why| sink.report(unfit(text, message.to_owned(), why))).ok()
        }
        _ => {
            refuse_kind(node, message, sink);
            None
        }
    }
}

/// An address; what nginx allows behind it gets its reason.
fn listen_words(text: &str) -> Result<Endpoint, Unfit> {
    let Some((address, parameter)) = text.trim().split_once(char::is_whitespace) else {
        return address::listen(text);
    };
    let help = match parameter.trim() {
        "default_server" => format!("write `{{ address = \"{address}\", default_server = true }}`"),
        _ => format!("write `\"{address}\"`"),
    };
    Err(Unfit::because("parameters stand in a table").help(help))
}

fn server_names(section: &Section<'_>) -> Vec<Placed<ServerName>> {
    let mut all: Vec<Placed<ServerName>> = Vec::new();
    for (text, name) in texts(section, "server_name") {
        match parse_server_name(&name) {
            Ok(names) => {
                for name in names {
                    match all.iter().find(|(known, _)| *known == name) {
                        Some((_, first)) => {
                            let mistake = Diagnostic::error("this server has the name twice").at(text.span.clone());
                            section
                                .sink
                                .report(mistake.context(first.clone(), "first here").help("remove one of the two"));
                        }
                        None => all.push((name, text.span.clone())),
                    }
                }
            }
            Err(why) => report_server_name(text, why, section.sink),
        }
    }
    all
}

fn report_server_name(text: &Text, why: Unfit, sink: &Sink) {
    let message = "`server_name` takes names: `\"example.com\"`, `\"*.example.org\"`, `\"www.example.*\"`";
    sink.report(unfit(text, message.to_owned(), why));
}

/// nginx's forms but regular expressions; `.example.org` is the name itself and all below it.
fn parse_server_name(text: &str) -> Result<Vec<ServerName>, Unfit> {
    if text.starts_with('~') {
        return Err(Unfit::because("regular expressions are not supported here"));
    }
    if text.split_once(char::is_whitespace).is_some() {
        let list: Vec<String> = text.split_whitespace().map(|name| format!("\"{name}\"")).collect();
        return Err(Unfit::because("several names are a list").help(format!("write `[{}]`", list.join(", "))));
    }
    if let Some((_, port)) = text.rsplit_once(':') {
        let unfit = Unfit::because("a name has no port and no scheme");
        return Err(if port.is_empty() { unfit } else { unfit.help("the port stands in `listen`") });
    }
    if text == "*" {
        return Err(Unfit::because("any name").help("leave `server_name` out: it then answers for any name"));
    }
    if let Some(below) = text.strip_prefix("*.") {
        return Ok(vec![ServerName::Suffix(format!(".{}", label_list(below)?))]);
    }
    if let Some(below) = text.strip_prefix('.') {
        let name = label_list(below)?;
        return Ok(vec![ServerName::Suffix(format!(".{name}")), ServerName::Exact(name)]);
    }
    if let Some(before) = text.strip_suffix(".*") {
        return Ok(vec![ServerName::Prefix(format!("{}.", label_list(before)?))]);
    }
    // A literal address is a name here: clients send it in Host.
    if text.parse::<Ipv4Addr>().is_ok() {
        return Ok(vec![ServerName::Exact(text.to_owned())]);
    }
    Ok(vec![ServerName::Exact(label_list(text)?)])
}

fn label_list(text: &str) -> Result<String, Unfit> {
    match text {
        "" => Err(Unfit::because("it is empty").help("leave `server_name` out: it then answers for any name")),
        _ if text.contains('*') => Err(Unfit::because("`*` stands for the first or the last parts of a name alone")),
        // Only names whose last part is a number are refused as addresses, and `www.1.*` is no address.
        _ => address::name(text).map(|name| name.trim_end_matches('.').to_owned()),
    }
}

impl Taken {
    fn refuse_ambiguity(&mut self, listen: &[Placed<Listen>], names: &[Placed<ServerName>], section: &Section<'_>) {
        for (listen, place) in listen {
            if listen.udp {
                let mistake = Diagnostic::error("a [[server]] speaks HTTP over TCP").at(place.clone());
                section.sink.report(mistake.help("remove `udp = true`, or write a [[stream]]"));
            }
            self.refuse_overlap(listen, place, section.sink);
            self.refuse_disagreement(listen, place, section.sink);
            if listen.default_server
                && let Some(first) = self.defaults.insert(listen.address.clone(), place.clone())
            {
                let mistake = Diagnostic::error("two servers are the default of the same address").at(place.clone());
                let mistake = mistake.context(first, "the first one");
                section.sink.report(mistake.help("remove `default_server = true` from one of them"));
            }
            if names.is_empty() && !section.has("server_name") {
                self.take(
                    (listen.address.clone(), None),
                    place.clone(),
                    section,
                    "another server listens here for any name",
                );
            }
            for (name, place) in names {
                let message = "another server has this name on the same address";
                self.take((listen.address.clone(), Some(name.clone())), place.clone(), section, message);
            }
        }
    }

    fn refuse_overlap(&self, listen: &Listen, place: &Span, sink: &Sink) {
        let overlaps = |taken: &Listen| overlap(&taken.address, &listen.address);
        if let Some((_, first)) = self.addresses.iter().find(|(taken, _)| overlaps(taken)) {
            let mistake = Diagnostic::error("a port is listened on for every address and for a single one");
            let mistake = mistake.at(place.clone()).context(first.clone(), "the other one");
            let mistake = mistake.note("the second of the two would find the port in use");
            sink.report(mistake.help("keep the one for every address; tell servers apart by `server_name`"));
        }
    }

    /// What belongs to the address itself is the same in every server that listens there.
    fn refuse_disagreement(&mut self, listen: &Listen, place: &Span, sink: &Sink) {
        let same_address = |(taken, _): &&Placed<Listen>| taken.address == listen.address;
        if let Some((first, at)) = self.addresses.iter().find(same_address)
            && let Some(key) = disagreement(first, listen)
        {
            let mistake = Diagnostic::error(format!("two servers listen here, and their `{key}` differs"));
            let mistake = mistake.at(place.clone()).context(at.clone(), "the other one");
            sink.report(mistake.help(format!("it belongs to the address: write the same `{key}` in both")));
        }
        self.addresses.push((listen.clone(), place.clone()));
    }

    fn take(&mut self, key: (Endpoint, Option<ServerName>), place: Span, section: &Section<'_>, message: &str) {
        let named = key.1.is_some();
        if let Some(first) = self.names.insert(key, place.clone()) {
            let mistake = Diagnostic::error(message).at(place).context(first, "the other one");
            section.sink.report(mistake.help(match named {
                true => "give it another name, or write all locations into one server",
                false => "give it a `server_name`, or another `listen`, or write all locations into one server",
            }));
        }
    }
}

fn disagreement(one: &Listen, other: &Listen) -> Option<&'static str> {
    let keys = [("mode", one.mode == other.mode), ("proxy_protocol", one.proxy_protocol == other.proxy_protocol)];
    keys.into_iter().find(|(_, same)| !same).map(|(key, _)| key)
}

/// Whether one of two addresses is every address and the other a single one, of the same port. Ports are taken
/// exclusively, so that a second weir is told; then the system refuses the second of these. (IPv6 sockets are IPv6's
/// alone.)
pub(super) fn overlap(one: &Endpoint, other: &Endpoint) -> bool {
    let (Endpoint::Ip(one), Endpoint::Ip(other)) = (one, other) else { return false };
    let every = one.ip().is_unspecified() != other.ip().is_unspecified();
    every && one.port() == other.port() && one.port() != 0 && one.is_ipv4() == other.is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_overlaps_with_a_single_one_of_its_family_and_port() {
        let table = [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("[::]:80", "[::1]:80", true),
            ("0.0.0.0:80", "127.0.0.1:81", false),
            ("0.0.0.0:80", "0.0.0.0:80", false),
            ("127.0.0.2:80", "127.0.0.1:80", false),
            ("[::]:80", "127.0.0.1:80", false),
            ("0.0.0.0:0", "127.0.0.1:0", false),
        ];
        for (one, other, expected) in table {
            let endpoint = |text: &str| Endpoint::Ip(text.parse().unwrap());
            assert_eq!(overlap(&endpoint(one), &endpoint(other)), expected, "{one} {other}");
        }
    }

    #[test]
    fn server_names_are_exact_or_open_at_one_end() {
        use ServerName::*;
        let table = [
            ("Example.COM", vec![Exact("example.com".into())]),
            ("localhost", vec![Exact("localhost".into())]),
            ("_", vec![Exact("_".into())]),
            ("127.0.0.1", vec![Exact("127.0.0.1".into())]),
            ("*.example.org", vec![Suffix(".example.org".into())]),
            (".example.org", vec![Suffix(".example.org".into()), Exact("example.org".into())]),
            ("www.example.*", vec![Prefix("www.example.".into())]),
        ];
        for (text, names) in table {
            assert_eq!(parse_server_name(text), Ok(names), "{text}");
        }
        for text in ["", "*", "a*.b", "*.a.*", "~^x$", "a b", "example.com:80", "http://a", "bücher.de", "a..b"] {
            assert!(parse_server_name(text).is_err(), "{text}");
        }
    }
}
