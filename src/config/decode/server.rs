//! Which virtual hosts are there, and where do they listen? `[[server]]`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use super::fields::{Inherited, texts, unfit};
use super::location;
use super::section::{Levels, Section, Settings};
use super::setting::{plain, what};
use super::upstream::Upstreams;
use crate::config::address;
use crate::config::diagnostic::{Diagnostic, Span, Unfit};
use crate::config::directives::Place;
use crate::config::model::{ClientLimits, Listen, Server, ServerName};
use crate::config::written::{Node, Sink, Text, Value};

/// A name or an address, and where it is written.
type Placed<T> = (T, Span);

/// Who has what already: two servers with one name on one address cannot be told apart.
#[derive(Default)]
struct Taken {
    names: HashMap<(SocketAddr, Option<ServerName>), Span>,
    defaults: HashMap<SocketAddr, Span>,
    addresses: Vec<Placed<SocketAddr>>,
}

/// Reads every `[[server]]`. Without any, a single upstream gets one that listens on port 80.
pub(super) fn read(top: &Section<'_>, upstreams: &mut Upstreams) -> Vec<Server> {
    let tables = top.tables("server");
    let outer = Inherited::read(top);
    if tables.is_empty() {
        return serve_the_only_one(top, &outer, upstreams);
    }
    let mut taken = Taken::default();
    let mut servers = Vec::new();
    for table in tables {
        let section = Section::read(Place::Server, table, top.sink);
        let own = Inherited::read(&section);
        let listen = listen(&section);
        let names = server_names(&section);
        taken.refuse_ambiguity(&listen, &names, &section);
        servers.push(Server {
            listen: listen.into_iter().map(|(listen, _)| listen).collect(),
            server_name: names.into_iter().map(|(name, _)| name).collect(),
            locations: location::read(&section, top, &[&own, &outer], upstreams),
            client: client_limits(&Levels(&[&section, top])),
        });
    }
    servers
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
    }
}

fn serve_the_only_one(top: &Section<'_>, outer: &Inherited, upstreams: &mut Upstreams) -> Vec<Server> {
    if top.has("server") {
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
    let address = (Ipv4Addr::UNSPECIFIED, 80).into();
    vec![Server {
        listen: vec![Listen { address, default_server: false }],
        server_name: Vec::new(),
        locations: vec![location::everything(upstream, &name, top, outer)],
        client: client_limits(&Levels(&[top])),
    }]
}

fn listen(section: &Section<'_>) -> Vec<Placed<Listen>> {
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
        let Some(listen) = listen_entry(node, section.sink) else { continue };
        match all.iter().find(|(known, _)| known.address == listen.address) {
            Some((_, first)) => {
                let mistake = Diagnostic::error("this server listens here twice").at(node.span.clone());
                section.sink.report(mistake.context(first.clone(), "first here").help("remove one of the two"));
            }
            None => all.push((listen, node.span.clone())),
        }
    }
    all
}

fn listen_entry(node: &Node, sink: &Sink) -> Option<Listen> {
    let Value::Table(table) = &node.value else {
        return listen_address(node, sink).map(|address| Listen { address, default_server: false });
    };
    let section = Section::read(Place::Listen, table, sink);
    let address = listen_address(section.required("address", "address = \"0.0.0.0:80\"")?, sink)?;
    Some(Listen { address, default_server: section.switch("default_server") })
}

fn listen_address(node: &Node, sink: &Sink) -> Option<SocketAddr> {
    let message = "`listen` takes a port, or an address: `80`, `\"127.0.0.1:8080\"`, `\"[::1]:80\"`";
    match &node.value {
        Value::Integer(port) => match port.and_then(|port| u16::try_from(port).ok()) {
            Some(port) => Some((Ipv4Addr::UNSPECIFIED, port).into()),
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
        Value::Broken => None,
        value => {
            let mistake = Diagnostic::error(message).at(node.span.clone());
            sink.report(mistake.label(format!("this is {}", what(value))));
            None
        }
    }
}

/// An address; what nginx allows behind it gets its reason.
fn listen_words(text: &str) -> Result<SocketAddr, Unfit> {
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
            self.refuse_overlap(listen.address, place, section.sink);
            if listen.default_server
                && let Some(first) = self.defaults.insert(listen.address, place.clone())
            {
                let mistake = Diagnostic::error("two servers are the default of the same address").at(place.clone());
                let mistake = mistake.context(first, "the first one");
                section.sink.report(mistake.help("remove `default_server = true` from one of them"));
            }
            if names.is_empty() && !section.has("server_name") {
                self.take((listen.address, None), place.clone(), section, "another server listens here for any name");
            }
            for (name, place) in names {
                let message = "another server has this name on the same address";
                self.take((listen.address, Some(name.clone())), place.clone(), section, message);
            }
        }
    }

    fn refuse_overlap(&mut self, address: SocketAddr, place: &Span, sink: &Sink) {
        if let Some((_, first)) = self.addresses.iter().find(|(taken, _)| overlap(*taken, address)) {
            let mistake = Diagnostic::error("a port is listened on for every address and for a single one");
            let mistake = mistake.at(place.clone()).context(first.clone(), "the other one");
            let mistake = mistake.note("the second of the two would find the port in use");
            sink.report(mistake.help("keep the one for every address; tell servers apart by `server_name`"));
        }
        self.addresses.push((address, place.clone()));
    }

    fn take(&mut self, key: (SocketAddr, Option<ServerName>), place: Span, section: &Section<'_>, message: &str) {
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

/// Whether one of two addresses is every address and the other a single one, of the same port. Ports are taken
/// exclusively, so that a second weir is told; then the system refuses the second of these. (IPv6 sockets are IPv6's
/// alone.)
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
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
            assert_eq!(overlap(one.parse().unwrap(), other.parse().unwrap()), expected, "{one} {other}");
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
