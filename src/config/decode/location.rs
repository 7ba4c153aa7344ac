//! Which path goes where? `[[server.location]]`, and the `proxy_*` settings after inheritance.

use std::collections::HashMap;

use super::fields::{Inherited, innermost, parse_next_upstream, unfit};
use super::section::{Levels, Section, Settings};
use super::setting::{plain, what};
use super::upstream::Upstreams;
use crate::config::address;
use crate::config::diagnostic::{Diagnostic, Span, Unfit};
use crate::config::directives::{Directive, Fallback, Place};
use crate::config::model::{Location, PathMatch, ProxySettings};
use crate::config::suggest::closest;
use crate::config::written::{Node, Sink, Table, Value};

/// Reads the locations of a server. `outer` are the settings of the levels around, the inner first.
pub(super) fn read(
    server: &Section<'_>,
    top: &Section<'_>,
    outer: &[&Inherited; 2],
    upstreams: &mut Upstreams,
) -> Vec<Location> {
    let tables = server.tables("location");
    if tables.is_empty() && !server.has("location") {
        let mistake = Diagnostic::error("this server has no location, so it does not know what to do with a request");
        let name = upstreams.names().next().unwrap_or("NAME").to_owned();
        let help =
            format!("write below it\n    [[server.location]]\n    path = \"/\"\n    proxy_pass = \"http://{name}\"");
        server.sink.report_absence(mistake.at(server.span.clone()).help(help));
    }
    let mut locations = Vec::new();
    let mut paths: HashMap<PathMatch, Span> = HashMap::new();
    for table in tables {
        let section = Section::read(Place::Location, table, server.sink);
        let own = Inherited::read(&section);
        let levels = Levels(&[&section, server, top]);
        let inherited = [&own, outer[0], outer[1]];
        let path = path(&section);
        if let Some((path, place)) = &path
            && let Some(first) = paths.insert(path.clone(), place.clone())
        {
            let mistake = Diagnostic::error("another location of this server has this path").at(place.clone());
            section.sink.report(mistake.context(first, "the first one").help("remove one of the two"));
        }
        let target = target(&section, upstreams);
        let (Some((path, _)), Some(target)) = (path, target) else { continue };
        locations.push(Location {
            path,
            upstream: target.upstream,
            replace: target.replace,
            proxy_host: target.proxy_host.into(),
            proxy: proxy_settings(&levels, &inherited),
            add_header: innermost(&inherited, |level| &level.add_header).unwrap_or_default(),
        });
    }
    locations
}

/// The location of a file without servers: everything goes to its upstream.
pub(super) fn everything(upstream: usize, name: &str, top: &Section<'_>, outer: &Inherited) -> Location {
    Location {
        path: PathMatch::Prefix("/".to_owned()),
        upstream,
        replace: None,
        proxy_host: name.into(),
        proxy: proxy_settings(&Levels(&[top]), &[outer]),
        add_header: outer.add_header.clone().unwrap_or_default(),
    }
}

/// The `proxy_*` settings of the innermost level that has each.
pub(super) fn proxy_settings(levels: &Levels<'_, '_>, inherited: &[&Inherited]) -> ProxySettings {
    ProxySettings {
        connect_timeout: levels.time("proxy_connect_timeout"),
        send_timeout: levels.time("proxy_send_timeout"),
        read_timeout: levels.time("proxy_read_timeout"),
        next_upstream: innermost(inherited, |level| &level.next_upstream).unwrap_or_else(|| {
            match Directive::find(Place::Top, "proxy_next_upstream").map(|directive| directive.default) {
                Some(Fallback::Is(words)) => parse_next_upstream(words.trim_matches('"'), |_, _| {}),
                _ => Default::default(),
            }
        }),
        next_upstream_tries: u32::try_from(levels.number("proxy_next_upstream_tries")).unwrap_or(u32::MAX),
        next_upstream_timeout: levels.time("proxy_next_upstream_timeout"),
        set_header: innermost(inherited, |level| &level.set_header).unwrap_or_default(),
        hide_header: innermost(inherited, |level| &level.hide_header).unwrap_or_default(),
        max_response_head: usize::try_from(levels.number("proxy_max_response_header_size")).unwrap_or(usize::MAX),
        tunnel_timeout: levels.time("tunnel_timeout"),
    }
}

fn path(section: &Section<'_>) -> Option<(PathMatch, Span)> {
    let node = section.required("path", "path = \"/\"")?;
    match &node.value {
        Value::Table(table) => exact(table, section.sink),
        _ => path_text(node, section.sink).map(|path| (PathMatch::Prefix(path), node.span.clone())),
    }
}

fn exact(table: &Table, sink: &Sink) -> Option<(PathMatch, Span)> {
    let section = Section::read(Place::Path, table, sink);
    let node = section.required("exact", "exact = \"/x\"")?;
    path_text(node, sink).map(|path| (PathMatch::Exact(path), node.span.clone()))
}

fn path_text(node: &Node, sink: &Sink) -> Option<String> {
    let message = "`path` takes the beginning of a path, `\"/x/\"`, or `{ exact = \"/x\" }`";
    match &node.value {
        Value::Text(text) => {
            let plain = plain(text, "path").map_err(|mistake| sink.report(*mistake)).ok()?;
            match check_path(&plain) {
                Ok(()) => return Some(plain),
                Err(why) => sink.report(unfit(text, message.to_owned(), why)),
            }
        }
        Value::Broken => {}
        value => {
            let mistake = Diagnostic::error(message).at(node.span.clone());
            sink.report(mistake.label(format!("this is {}", what(value))));
        }
    }
    None
}

/// A path as requests are compared with it: decoded, without dot segments, without arguments.
fn check_path(path: &str) -> Result<(), Unfit> {
    if let Some(exact) = path.strip_prefix('=') {
        return Err(Unfit::because("nginx's `=`").help(format!("write `{{ exact = \"{}\" }}`", exact.trim())));
    }
    if let Some(prefix) = path.strip_prefix("^~") {
        let help = format!("write `\"{}\"`: without regular expressions `^~` has no meaning", prefix.trim());
        return Err(Unfit::because("nginx's `^~`").help(help));
    }
    if path.starts_with('~') {
        return Err(Unfit::because("regular expressions are not supported here"));
    }
    if !path.starts_with('/') {
        return Err(Unfit::because("it does not begin with `/`").help(format!("write `\"/{path}\"`")));
    }
    if path.contains(['?', '#']) {
        return Err(Unfit::because("a path is compared without arguments"));
    }
    if path.chars().any(char::is_control) {
        return Err(Unfit::because("it contains a control character"));
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(Unfit::because("paths are compared without `.` and `..`, so this one never fits"));
    }
    let digits = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if path.split('%').skip(1).any(digits) {
        return Err(Unfit::because("paths are compared decoded, so this one never fits")
            .help("write the characters themselves"));
    }
    Ok(())
}

/// Where a location leads.
struct Target {
    upstream: usize,
    replace: Option<String>,
    proxy_host: String,
}

fn target(section: &Section<'_>, upstreams: &mut Upstreams) -> Option<Target> {
    let example = upstreams
        .names()
        .next()
        .map_or("proxy_pass = \"http://app:5000\"".to_owned(), |name| format!("proxy_pass = \"http://{name}\""));
    let node = section.required("proxy_pass", &example)?;
    let message = "`proxy_pass` takes `\"http://NAME\"` of an upstream, or `\"http://HOST:PORT\"`";
    match &node.value {
        Value::Text(text) => {
            let plain = match plain(text, "proxy_pass") {
                Ok(plain) => plain,
                Err(mistake) => {
                    section
                        .sink
                        .report(mistake.note("where a request goes is decided by its path, not by its content"));
                    return None;
                }
            };
            match parse_target(&plain, upstreams, section.sink) {
                Ok(target) => return Some(target),
                Err(why) => section.sink.report(unfit(text, message.to_owned(), why)),
            }
        }
        Value::Broken => {}
        value => {
            let mistake = Diagnostic::error(message).at(node.span.clone());
            section.sink.report(mistake.label(format!("this is {}", what(value))));
        }
    }
    None
}

fn parse_target(text: &str, upstreams: &mut Upstreams, sink: &Sink) -> Result<Target, Unfit> {
    let rest = match text.split_once("://") {
        Some(("http", rest)) => rest,
        Some(("https", _)) => return Err(Unfit::because("TLS towards backends is not supported yet")),
        Some((scheme, rest)) => {
            return Err(
                Unfit::because(format!("`{scheme}` cannot be proxied")).help(format!("write `\"http://{rest}\"`"))
            );
        }
        None => return Err(Unfit::because("the scheme is missing").help(format!("write `\"http://{text}\"`"))),
    };
    if rest.starts_with("unix:") {
        return Err(Unfit::because("unix sockets of applications are not supported yet"));
    }
    let (host, path) = match rest.find('/') {
        Some(slash) => (&rest[..slash], Some(&rest[slash..])),
        None => (rest, None),
    };
    if let Some(wrong) =
        path.and_then(|path| path.chars().find(|c| !c.is_ascii_graphic() || "?#\"<>\\^`{|}".contains(*c)))
    {
        return Err(Unfit::because(format!("the path that replaces the prefix cannot contain {wrong:?}")));
    }
    let upstream = match upstreams.find(host) {
        Some(upstream) => upstream,
        None => plain_address(host, upstreams, sink)?,
    };
    Ok(Target { upstream, replace: path.map(str::to_owned), proxy_host: host.to_owned() })
}

/// The group of an address that is not the name of an upstream.
fn plain_address(host: &str, upstreams: &mut Upstreams, sink: &Sink) -> Result<usize, Unfit> {
    let name = match host.rsplit_once(':') {
        Some((name, _)) if !host.ends_with(']') => name,
        _ => host,
    };
    let has_port = name.len() < host.len();
    if has_port && upstreams.find(name).is_some() {
        let unfit = Unfit::because("an upstream has no port: its servers have");
        return Err(unfit.help(format!("write `\"http://{name}\"`")));
    }
    let address = address::server(host)?;
    // A name without a port is most likely a misspelled upstream: nobody should be sent to port 80 of a typo.
    if !has_port && matches!(address, crate::config::model::Address::Name { .. }) {
        let unfit = Unfit::because(format!("there is no upstream `{host}`"));
        return Err(match closest(host, upstreams.names()) {
            Some(known) => unfit.help(format!("did you mean `\"http://{known}\"`?")),
            None => unfit.help(format!(
                "write [upstream.{host}] with its servers, or the port of a host: `\"http://{host}:80\"`"
            )),
        });
    }
    let text = if has_port { host.to_owned() } else { format!("{host}:80") };
    Ok(upstreams.implicit(&text, address, sink))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_no_request_can_have_are_refused() {
        for path in ["/", "/a", "/a/", "/a b", "/ä", "/100%", "/.well-known/"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        for path in ["", "a", "= /x", "~ x", "^~ /x", "/a?b", "/a/../b", "/./a", "/a%20b", "/a\n"] {
            assert!(check_path(path).is_err(), "{path:?}");
        }
    }
}
