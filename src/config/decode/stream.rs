//! What is passed on without HTTP, and where does it listen? `[[stream]]`.

use super::fields::{next_upstream, parse_next_upstream, unfit};
use super::section::{Levels, Section, Settings};
use super::server::{self, Placed, overlap};
use super::setting::{plain, plain_of};
use super::top::trusts_somebody;
use super::upstream::Upstreams;
use crate::config::address;
use crate::config::diagnostic::{Diagnostic, Unfit};
use crate::config::directives::{Directive, Fallback, Place};
use crate::config::model::{Address, Listen, NextUpstream, Server, StreamServer, StreamSettings};
use crate::config::suggest::closest;
use crate::config::template::{Part, Template, Variable};
use crate::config::written::{Sink, Value};
use crate::endpoint::Endpoint;

/// Reads every `[[stream]]`. `servers` have their addresses already.
pub(super) fn read(top: &Section<'_>, servers: &[Server], upstreams: &mut Upstreams) -> Vec<StreamServer> {
    let mut streams = Vec::new();
    let mut taken: Vec<Placed<Listen>> = Vec::new();
    for table in top.tables("stream") {
        let section = Section::read(Place::Stream, table, top.sink);
        let listen = server::listen(&section, trusts_somebody(top));
        for entry in &listen {
            refuse_taken(entry, servers, &taken, section.sink);
        }
        taken.extend(listen.iter().cloned());
        let proxy = settings(&section, top);
        let Some(upstream) = target(&section, upstreams) else { continue };
        let path = upstreams.servers(upstream).iter().find(|server| matches!(server.address, Address::Unix(_)));
        if let Some(path) = path.filter(|_| listen.iter().any(|(listen, _)| listen.udp)) {
            let place = section.node("proxy_pass").map_or(section.span.clone(), |node| node.span.clone());
            let mistake = Diagnostic::error("datagrams are not sent to unix sockets").at(place);
            section.sink.report(mistake.label(format!("`{}` is among its servers", path.text)));
        }
        let udp = listen.iter().any(|(listen, _)| listen.udp);
        if let Some(key) = upstreams.key_of_connections(upstream).filter(|_| udp) {
            let place = section.node("proxy_pass").map_or(section.span.clone(), |node| node.span.clone());
            let mistake = Diagnostic::error("datagrams cannot be sent as this upstream wants it").at(place);
            let mistake = mistake.label(format!("it has `{key}`, which is for connections"));
            section.sink.report(mistake.help("write the servers for datagrams into an upstream of their own"));
        }
        streams.push(StreamServer { listen: listen.into_iter().map(|(listen, _)| listen).collect(), upstream, proxy });
    }
    streams
}

/// A port leads to one stream, or to servers, and never to both.
fn refuse_taken((listen, place): &Placed<Listen>, servers: &[Server], taken: &[Placed<Listen>], sink: &Sink) {
    if listen.default_server {
        let mistake = Diagnostic::error("a [[stream]] has no names, so nothing can be its default").at(place.clone());
        sink.report(mistake.help("remove `default_server = true`"));
    }
    for (key, written) in [("tls", listen.tls.is_some()), ("proxy_protocol", listen.proxy_protocol)] {
        if listen.udp && written {
            let mistake = Diagnostic::error(format!("`{key}` is for connections, and datagrams have none"));
            sink.report(mistake.at(place.clone()).help(format!("remove `{key}` or `udp = true`")));
        }
    }
    if listen.udp && matches!(listen.address, Endpoint::Unix(_)) {
        let mistake = Diagnostic::error("datagrams are taken at an address of IP alone").at(place.clone());
        sink.report(mistake.help("remove `udp = true`, or write `{ address = \"0.0.0.0:53\", udp = true }`"));
    }
    let same = |other: &Listen| {
        other.udp == listen.udp && (other.address == listen.address || overlap(&other.address, &listen.address))
    };
    if let Some((_, first)) = taken.iter().find(|(other, _)| same(other)) {
        let mistake = Diagnostic::error("another stream listens there").at(place.clone());
        sink.report(mistake.context(first.clone(), "the other one").help("give one of the two another port"));
    }
    if servers.iter().flat_map(|server| &server.listen).any(same) {
        let mistake = Diagnostic::error("a [[server]] listens there").at(place.clone());
        let mistake = mistake.note("a port is for HTTP, or for a stream that is passed on as it is");
        sink.report(mistake.help("give one of the two another port"));
    }
}

fn settings(section: &Section<'_>, top: &Section<'_>) -> StreamSettings {
    let levels = Levels(&[section, top]);
    StreamSettings {
        connect_timeout: levels.time("proxy_connect_timeout"),
        timeout: section.time("proxy_timeout"),
        next_upstream: retries(section, top),
        next_upstream_tries: u32::try_from(levels.number("proxy_next_upstream_tries")).unwrap_or(u32::MAX),
        next_upstream_timeout: levels.time("proxy_next_upstream_timeout"),
        responses: section.optional_number("proxy_responses"),
        requests: section.number("proxy_requests"),
        max_sessions: usize::try_from(section.number("max_sessions")).unwrap_or(usize::MAX),
    }
}

/// `proxy_next_upstream`, of the stream or else of the top of the file, where HTTP's words are of no concern here.
fn retries(section: &Section<'_>, top: &Section<'_>) -> NextUpstream {
    let all = match section.node("proxy_next_upstream") {
        Some(node) => {
            let own = next_upstream(node, section.sink);
            if own.invalid_header || own.non_idempotent || !own.statuses.is_empty() {
                let mistake =
                    Diagnostic::error("a stream knows no HTTP, so it is `error` or `timeout` that is tried again");
                let mistake = mistake.at(node.span.clone()).note("only connecting is ever tried again");
                section.sink.report(mistake.help("write `\"error timeout\"` or `\"off\"`"));
            }
            own
        }
        None => {
            let default = match Directive::find(Place::Stream, "proxy_next_upstream").map(|found| found.default) {
                Some(Fallback::Is(words)) => words.trim_matches('"'),
                _ => "",
            };
            let written = match top.node("proxy_next_upstream").map(|node| &node.value) {
                // What is wrong with it is said by whoever reads the servers.
                Some(Value::Text(text)) => plain(text, "proxy_next_upstream").ok(),
                _ => None,
            };
            parse_next_upstream(written.as_deref().unwrap_or(default), |_, _| {})
        }
    };
    NextUpstream { error: all.error, timeout: all.timeout, ..NextUpstream::default() }
}

fn target(section: &Section<'_>, upstreams: &mut Upstreams) -> Option<usize> {
    let name = upstreams.names().next().unwrap_or("app:5000").to_owned();
    let node = section.required("proxy_pass", &format!("proxy_pass = \"{name}\""))?;
    let message = "`proxy_pass` of a stream takes `\"NAME\"` of an upstream, or `\"HOST:PORT\"`";
    let (text, plain) = plain_of(node, "proxy_pass", message, section.sink)?;
    let upstream = match parse_target(&plain, upstreams, section.sink) {
        Ok(upstream) => upstream,
        Err(why) => {
            section.sink.report(unfit(text, message.to_owned(), why));
            return None;
        }
    };
    if upstreams.is_sticky(upstream) {
        let mistake = Diagnostic::error("this upstream is `sticky`, which needs HTTP").at(node.span.clone());
        section
            .sink
            .report(mistake.help("write `balance = \"hash $remote_addr consistent\"` in an upstream of its own"));
    }
    if let Some(variable) = upstreams.key(upstream).and_then(unknown_to_streams) {
        let mistake = Diagnostic::error("the key of this upstream's `hash` asks for what a stream does not have");
        let mistake = mistake.at(node.span.clone()).label(format!("its `balance` has {variable}"));
        let mistake = mistake.note("a stream knows `$remote_addr` and `$remote_port`");
        section
            .sink
            .report(mistake.help("write `balance = \"hash $remote_addr consistent\"` in an upstream of its own"));
    }
    Some(upstream)
}

fn parse_target(text: &str, upstreams: &mut Upstreams, sink: &Sink) -> Result<usize, Unfit> {
    if let Some(upstream) = upstreams.find(text) {
        return Ok(upstream);
    }
    let address = address::server(text)?;
    let has_port = match &address {
        Address::Name { host, .. } => text.len() > host.len(),
        Address::Ip(_) => text.parse::<std::net::SocketAddr>().is_ok(),
        Address::Unix(_) | Address::Service { .. } => true,
    };
    if !has_port {
        if let Address::Ip(_) = address {
            return Err(
                Unfit::because("the port is missing").help(format!("write `\"{text}:6379\"`, or what its port is"))
            );
        }
        let unfit = Unfit::because(format!("there is no upstream `{text}`"));
        return Err(match closest(text, upstreams.names()) {
            Some(known) => unfit.help(format!("did you mean `\"{known}\"`?")),
            None => unfit.help(format!("write [upstream.{text}] with its servers, or the port of a host")),
        });
    }
    if let Some((name, _)) = text.rsplit_once(':')
        && !matches!(address, Address::Unix(_))
        && upstreams.find(name).is_some()
    {
        let unfit = Unfit::because("an upstream has no port: its servers have");
        return Err(unfit.help(format!("write `\"{name}\"`")));
    }
    Ok(upstreams.implicit(text, address, sink))
}

/// What of a key only a request of HTTP has, in words.
fn unknown_to_streams(key: &Template) -> Option<&'static str> {
    let foreign =
        |part: &Part| !matches!(part, Part::Literal(_) | Part::Variable(Variable::RemoteAddr | Variable::RemotePort));
    key.parts.iter().any(foreign).then_some("a variable of HTTP requests")
}
