//! Which groups of peers are there? `[upstream.NAME]`, and those that a `proxy_pass` to an address makes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::fields::{template, texts, unfit};
use super::health_check;
use super::section::{Section, Settings};
use super::setting::{other_kind, plain, text_of, what};
use super::{source, sticky, tls};
use crate::balancer::Method;
use crate::config::diagnostic::{Diagnostic, Span, Unfit};
use crate::config::directives::Place;
use crate::config::model::{Address, Outliers, Queue, RetryBudget, Upstream, UpstreamServer};
use crate::config::template::{Template, Use};
use crate::config::written::{Key, Node, Sink, Table, Text, Value};
use crate::config::{address, balance};
use crate::health::outlier::Rule;
use crate::proxy_protocol::Version;

/// Where servers speak TLS.
const HTTPS: u16 = 443;

/// The groups found so far.
pub(super) struct Upstreams {
    list: Vec<Upstream>,
    by_name: HashMap<Arc<str>, usize>,
    /// Where the name of each stands, and whether a `proxy_pass` leads to it.
    seen: Vec<(Span, bool)>,
    /// The scheme of the first `proxy_pass` that leads to it.
    schemes: HashMap<usize, String>,
}

impl Upstreams {
    /// Reads every `[upstream.NAME]`. Relative paths begin at `folder`.
    pub(super) fn read(top: &Section<'_>, folder: &Path) -> Upstreams {
        let mut upstreams =
            Upstreams { list: Vec::new(), by_name: HashMap::new(), seen: Vec::new(), schemes: HashMap::new() };
        for (key, node) in top.table("upstream").map(|table| table.entries.as_slice()).unwrap_or_default() {
            match &node.value {
                Value::Table(table) => {
                    check_name(key, top.sink);
                    let section = Section::read(Place::Upstream, table, top.sink);
                    upstreams.push(read(&key.name, &section, folder), key.span.clone(), false);
                }
                Value::Broken => {}
                value => {
                    let mistake = Diagnostic::error("an upstream has a name").at(key.span.clone());
                    let mistake =
                        mistake.label(format!("`{}` is taken for its name, and this is {}", key.name, what(value)));
                    top.sink.report(mistake.help("write `[upstream.web]`, or any other name behind the dot"));
                }
            }
        }
        upstreams
    }

    /// The group of that name, which is used from now on.
    pub(super) fn find(&mut self, name: &str) -> Option<usize> {
        let index = *self.by_name.get(name).or_else(|| {
            // As in nginx, whose URLs have no upper case in the host.
            self.by_name.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, index)| index)
        })?;
        self.seen[index].1 = true;
        Some(index)
    }

    /// The group of one address that no `[upstream.NAME]` holds; the same one for the same text.
    pub(super) fn implicit(&mut self, text: &str, address: Address, sink: &Sink) -> usize {
        if let Some(index) = self.find(text) {
            return index;
        }
        let table = Table::default();
        let peer = Section::read(Place::Peer, &table, sink);
        let group = Section::read(Place::Upstream, &table, sink);
        let servers = vec![server_of(&peer, text, address)];
        let upstream = Upstream { name: text.into(), implicit: true, servers, ..settings_of(&group) };
        self.push(upstream, 0..0, true)
    }

    /// The group of that name, which gets a share of what goes to `main`: it is spoken to as that is, unless it has a
    /// `tls` of its own.
    pub(super) fn find_share(&mut self, name: &str, main: Option<usize>, sink: &Sink) -> Result<Option<usize>, Unfit> {
        let Some(index) = self.find(name) else { return Ok(None) };
        let main = main.and_then(|main| self.schemes.get(&main)).map_or("http", String::as_str);
        let scheme = if self.list[index].tls.is_some() { "https" } else { main }.to_owned();
        self.speak(index, &scheme, sink)?;
        Ok(Some(index))
    }

    /// A `proxy_pass` with this scheme leads to the group: all of them must agree on whether its servers speak TLS.
    pub(super) fn speak(&mut self, index: usize, scheme: &str, sink: &Sink) -> Result<(), Unfit> {
        let upstream = &mut self.list[index];
        let name = &upstream.name;
        match self.schemes.get(&index) {
            None if scheme == "http" && upstream.tls.is_some() => {
                let unfit = Unfit::because(format!("the upstream `{name}` has a `tls` table"));
                return Err(unfit.help(format!("write `\"https://{name}\"`, or remove the table")));
            }
            Some(before) if before != scheme => {
                let unfit = Unfit::because(format!("another `proxy_pass` says `{before}://{name}`"));
                return Err(unfit.help("the servers of an upstream speak TLS, or they do not: write the same in both"));
            }
            _ => {}
        }
        if scheme == "https" && upstream.tls.is_none() {
            upstream.tls = tls::connector(&Table::default(), sink);
        }
        self.schemes.insert(index, scheme.to_owned());
        Ok(())
    }

    /// The key of a group's `balance`.
    pub(super) fn key(&self, index: usize) -> Option<&Template> {
        self.list[index].key.as_ref()
    }

    /// Whether a group has sticky sessions.
    pub(super) fn is_sticky(&self, index: usize) -> bool {
        self.list[index].sticky.is_some()
    }

    /// A setting of a group that only connections can do justice to.
    pub(super) fn key_of_connections(&self, index: usize) -> Option<&'static str> {
        let upstream = &self.list[index];
        let keys = [("tls", upstream.tls.is_some()), ("proxy_protocol", upstream.proxy_protocol.is_some())];
        keys.into_iter().find(|(_, written)| *written).map(|(key, _)| key)
    }

    /// The servers of a group.
    pub(super) fn servers(&self, index: usize) -> &[UpstreamServer] {
        &self.list[index].servers
    }

    /// The names of the written groups.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().filter(|upstream| !upstream.implicit).map(|upstream| &*upstream.name)
    }

    /// If there is one group alone, it.
    pub(super) fn only(&mut self) -> Option<usize> {
        let only = self.list.len() == 1;
        self.seen.iter_mut().filter(|_| only).for_each(|(_, used)| *used = true);
        only.then_some(0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them; those that nobody uses are reported.
    pub(super) fn into_list(mut self, sink: &Sink) -> Vec<Upstream> {
        let secure = self.list.iter_mut().filter(|upstream| upstream.tls.is_some());
        secure.flat_map(|upstream| &mut upstream.servers).for_each(default_to_https);
        for (upstream, (place, used)) in self.list.iter().zip(self.seen) {
            if !used {
                let warning = Diagnostic::warning(format!("no `proxy_pass` leads to the upstream `{}`", upstream.name));
                let help = format!("write `proxy_pass = \"http://{}\"` in a location, or remove it", upstream.name);
                sink.report_if_fine(warning.at(place).help(help));
            }
        }
        self.list
    }

    fn push(&mut self, upstream: Upstream, place: Span, used: bool) -> usize {
        self.by_name.insert(upstream.name.clone(), self.list.len());
        self.seen.push((place, used));
        self.list.push(upstream);
        self.list.len() - 1
    }
}

fn check_name(key: &Key, sink: &Sink) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if key.name.is_empty() || !key.name.chars().all(allowed) {
        let mistake = Diagnostic::error(format!("{:?} cannot be the name of an upstream", key.name));
        sink.report(mistake.at(key.span.clone()).help("letters, digits, `-`, `_` and `.`"));
    }
}

fn read(name: &str, section: &Section<'_>, folder: &Path) -> Upstream {
    let (method, key) = method(section);
    let servers = servers(section, name, &method);
    refuse_port_of_a_socket(section, &servers);
    let servers_file = source::servers_file(section).map(|path| folder.join(path));
    let consul = section.table("consul").and_then(|table| source::consul(table, section));
    let docker = section.switch("docker");
    let name = name.into();
    let upstream = Upstream { name, method, key, servers, servers_file, docker, consul, ..settings_of(section) };
    sticky::check(section, upstream.sticky.as_ref(), &upstream.servers);
    upstream
}

/// A check that goes to another port has nowhere to go at a unix socket.
fn refuse_port_of_a_socket(section: &Section<'_>, servers: &[UpstreamServer]) {
    let Some(check) = section.table("health_check") else { return };
    let port = check.entries.iter().find(|(key, _)| key.name == "port");
    let socket = servers.iter().find(|server| matches!(server.address, Address::Unix(_)));
    if let (Some((key, _)), Some(socket)) = (port, socket) {
        let mistake = Diagnostic::error(format!("`{}` has no port that could be probed", socket.text));
        let help = "remove `port`, or write the servers with unix sockets into an upstream of their own";
        section.sink.report(mistake.at(key.span.clone()).help(help));
    }
}

/// Everything but the peers and the way to choose among them.
fn settings_of(section: &Section<'_>) -> Upstream {
    let proxy_protocol = proxy_protocol(section);
    Upstream {
        name: "".into(),
        implicit: false,
        method: Method::RoundRobin,
        key: None,
        servers: Vec::new(),
        servers_file: None,
        docker: false,
        consul: None,
        keepalive: keepalive(section, proxy_protocol),
        keepalive_timeout: section.time("keepalive_timeout"),
        keepalive_requests: section.number("keepalive_requests"),
        keepalive_time: section.time("keepalive_time"),
        proxy_protocol,
        queue: section.table("queue").and_then(|table| queue(table, section.sink)),
        health_check: section.table("health_check").map(|table| health_check::read(table, section.sink)),
        warmup: warmup(section),
        max_ejected: u8::try_from(section.number("max_ejected")).unwrap_or(100),
        try_when_all_fail: section.word("when_all_fail") == "last_resort",
        tls: section.table("tls").and_then(|table| tls::connector(table, section.sink)),
        sticky: section.table("sticky").and_then(|table| sticky::read(table, section.sink)),
        retry_budget: retry_budget(section.table("retry_budget").unwrap_or(&Table::default()), section.sink),
        outliers: section.table("outliers").map(|table| outliers(table, section.sink)),
    }
}

fn proxy_protocol(section: &Section<'_>) -> Option<Version> {
    match section.word("proxy_protocol") {
        "v1" => Some(Version::V1),
        "v2" => Some(Version::V2),
        _ => None,
    }
}

/// A connection that has told one client's address is of no use to another client.
fn keepalive(section: &Section<'_>, proxy_protocol: Option<Version>) -> usize {
    let keepalive = count(section.number("keepalive"));
    if proxy_protocol.is_none() {
        return keepalive;
    }
    if let Some(place) = section.key_span("keepalive").filter(|_| keepalive > 0) {
        let mistake = Diagnostic::error("`keepalive` cannot be used with `proxy_protocol`").at(place);
        let mistake = mistake.note("a connection tells the address of one client, so it is not kept for another");
        section.sink.report(mistake.help("remove it, or write `keepalive = 0`"));
    }
    0
}

/// TLS is spoken on port 443 where none is written.
fn default_to_https(server: &mut UpstreamServer) {
    let behind = server.text.rsplit_once(']').map_or(&*server.text, |(_, behind)| behind);
    if !behind.contains(':') {
        match &mut server.address {
            Address::Ip(address) => address.set_port(HTTPS),
            Address::Name { port, .. } => *port = HTTPS,
            // SRV records name their ports, unix sockets have none.
            Address::Unix(_) | Address::Service { .. } => {}
        }
    }
}

fn queue(table: &Table, sink: &Sink) -> Option<Queue> {
    let section = Section::read(Place::Queue, table, sink);
    section.required("size", "size = 100")?;
    Some(Queue { size: count(section.number("size")), timeout: section.time("timeout") })
}

fn retry_budget(table: &Table, sink: &Sink) -> RetryBudget {
    let section = Section::read(Place::RetryBudget, table, sink);
    RetryBudget {
        percent: u8::try_from(section.number("percent")).unwrap_or(100),
        min_per_second: small(section.number("min_per_second")),
    }
}

/// Only a peer that is looked at before it is admitted can be warmed up before.
fn warmup(section: &Section<'_>) -> Vec<String> {
    let Some(place) = section.key_span("warmup") else { return Vec::new() };
    let texts = texts(section, "warmup");
    if !texts.is_empty() && !section.has("health_check") {
        let mistake = Diagnostic::error("`warmup` needs a `health_check`: without one a peer is up at once").at(place);
        section.sink.report(mistake.help("add a table `[upstream.NAME.health_check]`, or remove `warmup`"));
    }
    for (text, target) in &texts {
        if let Err(why) = health_check::check_target(target) {
            let message = "`warmup` takes request targets that begin with `/`: `[\"/\"]`".to_owned();
            section.sink.report(unfit(text, message, why));
        }
    }
    texts.into_iter().map(|(_, target)| target).collect()
}

fn outliers(table: &Table, sink: &Sink) -> Outliers {
    let section = Section::read(Place::Outliers, table, sink);
    let factor = section.number("latency_factor");
    if factor == 1 {
        let place = section.key_span("latency_factor").unwrap_or(section.span.clone());
        let mistake = Diagnostic::error("`latency_factor = 1` would take out whoever is not faster than the median");
        sink.report(mistake.at(place).help("write 2 or more, or 0 if it does not matter how long a peer takes"));
    }
    Outliers {
        interval: section.time("interval"),
        rule: Rule {
            failure_share: u8::try_from(section.number("failure_share")).unwrap_or(100),
            latency_factor: small(factor),
            min_requests: section.number("min_requests"),
        },
    }
}

fn method(section: &Section<'_>) -> (Method, Option<Template>) {
    let none = (Method::RoundRobin, None);
    let Some(node) = section.node("balance") else { return none };
    let takes = "`balance` takes text: `\"round_robin\"`, `\"least_conn\"`, …";
    let Some(text) = text_of(node, takes, section.sink) else { return none };
    let written = text.template();
    match balance::parse(&written) {
        Ok((method, None)) => (method, None),
        Ok((method, Some(key))) => match hash_key(text, &written, key, section.sink) {
            Some(key) => (method, Some(key)),
            None => none,
        },
        Err(why) => {
            let message = "`balance` takes the name of an algorithm and its arguments".to_owned();
            section.sink.report(unfit(text, message, why));
            none
        }
    }
}

fn hash_key(text: &Text, written: &str, key: &str, sink: &Sink) -> Option<Template> {
    match Template::parse(key, Use::Request) {
        Ok(template) if template.is_constant() => {
            let message = "the key of `hash` is the same for every request".to_owned();
            let why = Unfit::because("there is no variable in it").help("write `\"hash $request_uri consistent\"`");
            sink.report(unfit(text, message, why).at(text.word(written, key)));
            None
        }
        Ok(template) => Some(template),
        // The whole text is no worse a template than its key, and knows where its parts stand.
        Err(_) => template(text, "balance", Use::Request, sink),
    }
}

fn servers(section: &Section<'_>, name: &str, method: &Method) -> Vec<UpstreamServer> {
    let example = "servers = [\"app1:5000\", \"app2:5000\"]";
    let others = section.has("servers_file") || section.has("consul") || section.switch("docker");
    let node = if others { section.node("servers") } else { section.required("servers", example) };
    let Some(node) = node else { return Vec::new() };
    let Value::List(nodes) = &node.value else {
        if let Some(mistake) = other_kind(node, "`servers` takes a list") {
            section.sink.report(match &node.value {
                Value::Text(text) => mistake.help(format!("write `servers = [\"{}\"]`", text.shown())),
                _ => mistake.help(format!("write `{example}`")),
            });
        }
        return Vec::new();
    };
    if nodes.is_empty() && !others {
        let mistake = Diagnostic::error(format!("there are no servers in the upstream `{name}`"));
        section.sink.report(mistake.at(node.span.clone()).help(format!("write `{example}`")));
    }
    let servers = list(nodes, method, section.sink);
    let all_backup = servers.len() == nodes.len() && !servers.is_empty() && servers.iter().all(|server| server.backup);
    if all_backup && !others {
        let mistake = Diagnostic::error(format!("every server of the upstream `{name}` is a backup"));
        let mistake = mistake.at(node.span.clone()).note("a backup stands in for servers that are none");
        section.sink.report(mistake.help("remove `backup = true` from one of them"));
    }
    servers
}

/// The entries of a list of servers; what is none of them is reported.
pub(super) fn list(nodes: &[Node], method: &Method, sink: &Sink) -> Vec<UpstreamServer> {
    let table = Table::default();
    // Read once: most servers of a long list are an address and nothing else.
    let defaults = settings_of_server(&Section::read(Place::Peer, &table, sink));
    let mut servers: Vec<UpstreamServer> = Vec::with_capacity(nodes.len());
    let mut places: HashMap<Address, Span> = HashMap::with_capacity(nodes.len());
    for node in nodes {
        let Some(server) = server(node, &defaults, method, sink) else { continue };
        if let Some(first) = places.insert(server.address.clone(), node.span.clone()) {
            let warning = Diagnostic::warning("this server is in the list twice").at(node.span.clone());
            let warning = warning.context(first, "first here").note("it is two peers, counted and judged apart");
            sink.report(warning.help("for twice the share, write `weight = 2`"));
        }
        servers.push(server);
    }
    servers
}

/// One entry of `servers`; `None`: reported.
fn server(node: &Node, defaults: &UpstreamServer, method: &Method, sink: &Sink) -> Option<UpstreamServer> {
    match &node.value {
        Value::Text(text) => {
            let (text, address) = address_of(text, sink)?;
            Some(UpstreamServer { text: text.into(), address, ..defaults.clone() })
        }
        Value::Table(table) => {
            let section = Section::read(Place::Peer, table, sink);
            refuse_contradictions(&section, method);
            let address = section.required("address", "address = \"app:5000\"")?;
            let text = text_of(address, "`address` takes text: `\"app:5000\"`", sink)?;
            let (text, address) = match section.node("service") {
                Some(_) => service_of(&section, text)?,
                None => address_of(text, sink)?,
            };
            Some(server_of(&section, &text, address))
        }
        _ => {
            let mistake = other_kind(node, "a server is an address, or a table with its address")?;
            sink.report(mistake.help("write `\"app:5000\"` or `{ address = \"app:5000\", weight = 2 }`"));
            None
        }
    }
}

fn refuse_contradictions(section: &Section<'_>, method: &Method) {
    if section.switch("down") && section.switch("drain") {
        let place = section.key_span("drain").unwrap_or(section.span.clone());
        let mistake = Diagnostic::error("a server is either `down` or to `drain`").at(place);
        section.sink.report(mistake.help("remove one of the two: `down` sends it nothing at all"));
    }
    if method.is_by_key() && !section.time("slow_start").is_zero() {
        let place = section.key_span("slow_start").unwrap_or(section.span.clone());
        let mistake = Diagnostic::error("`slow_start` cannot be used with `hash` and `ip_hash`").at(place);
        let mistake = mistake.note("the key alone decides there: a ramp would send its clients elsewhere and back");
        section.sink.report(mistake.help("remove it, or choose another `balance`"));
    }
}

/// The text, with what came from the environment, and the address it means.
fn address_of(text: &Text, sink: &Sink) -> Option<(String, Address)> {
    let plain = plain(text, "servers").map_err(|mistake| sink.report(*mistake)).ok()?;
    match address::server(&plain) {
        Ok(address) => Some((plain, address)),
        Err(why) => {
            sink.report(unfit(text, "a server is `HOST:PORT`".to_owned(), why));
            None
        }
    }
}

/// The text, and the SRV records it means together with `service`. (nginx: `server NAME service=http resolve`)
fn service_of(section: &Section<'_>, text: &Text) -> Option<(String, Address)> {
    let plain = plain(text, "address").map_err(|mistake| section.sink.report(*mistake)).ok()?;
    let service = section.text("service")?;
    match address::service(&plain, &service) {
        Ok(address) => Some((plain, address)),
        Err(why) => {
            let message = "`service` asks for the SRV records of a name".to_owned();
            section.sink.report(unfit(text, message, why));
            None
        }
    }
}

pub(super) fn server_of(section: &Section<'_>, text: &str, address: Address) -> UpstreamServer {
    UpstreamServer { text: text.into(), address, ..settings_of_server(section) }
}

/// Everything but where it is.
fn settings_of_server(section: &Section<'_>) -> UpstreamServer {
    UpstreamServer {
        text: "".into(),
        address: Address::Name { host: String::new(), port: 0 },
        weight: small(section.number("weight")),
        max_conns: small(section.number("max_conns")),
        max_fails: small(section.number("max_fails")),
        fail_timeout: section.time("fail_timeout"),
        slow_start: section.time("slow_start"),
        backup: section.switch("backup"),
        down: section.switch("down"),
        drain: section.switch("drain"),
        route: sticky::route(section),
    }
}

/// The directive table's bounds make these conversions exact.
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
