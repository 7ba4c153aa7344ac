//! Which path goes where? `[[server.location]]`, and the `proxy_*` settings after inheritance.

use std::collections::HashMap;

use super::fields::{Inherited, innermost, parse_next_upstream, unfit};
use super::limits::{self, Written, Zones};
use super::returns;
use super::section::{Levels, Section, Settings};
use super::setting::{plain, plain_of, text_of};
use super::shares;
use super::upstream::Upstreams;
use crate::config::address;
use crate::config::diagnostic::{Diagnostic, Span, Unfit};
use crate::config::directives::{Directive, Fallback, Place};
use crate::config::model::{HttpVersion, Location, PathMatch, ProxySettings};
use crate::config::suggest::closest;
use crate::config::written::{Node, Sink, Table, Value};

/// Reads the locations of a server. `outer` and `around` are the settings of the levels around, the
/// inner first.
pub(super) fn read(
    server: &Section<'_>,
    top: &Section<'_>,
    outer: &[&Inherited; 2],
    around: &[&Written; 2],
    zones: &Zones,
    upstreams: &mut Upstreams,
) -> Vec<Location> {
    let tables = server.tables("location");
    if server.has("return") {
        if let Some(place) = server.key_span("location") {
            let mistake = Diagnostic::error("this server answers all requests by its `return`").at(place);
            server.sink.report(mistake.help("put the `return` into a location, or remove the locations"));
        }
        let fixed = returns::read(server);
        let location = everything(None, "", &Levels(&[server, top]), outer, around);
        return vec![Location { fixed, ..location }];
    }
    // One that only redirects needs none.
    if tables.is_empty() && !server.has("location") && !server.switch("redirect_to_https") {
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
        let written = Written::read(&section, zones);
        let levels = Levels(&[&section, server, top]);
        let inherited = [&own, outer[0], outer[1]];
        let path = path(&section);
        if let Some((path, place)) = &path
            && let Some(first) = paths.insert(path.clone(), place.clone())
        {
            let mistake = Diagnostic::error("another location of this server has this path").at(place.clone());
            section.sink.report(mistake.context(first, "the first one").help("remove one of the two"));
        }
        let fixed = returns::read(&section);
        if section.has("return") && section.has("proxy_pass") {
            let place = section.key_span("proxy_pass").unwrap_or(section.span.clone());
            let mistake = Diagnostic::error("a location has a `return` or a `proxy_pass`, not both").at(place);
            section.sink.report(mistake.help("remove one of the two"));
        }
        let target = if section.has("return") {
            Some(Target { upstream: None, replace: None, proxy_host: String::new(), http2: false })
        } else {
            target(&section, upstreams)
        };
        for key in ["split", "split_key", "mirror"] {
            if let Some(place) = section.key_span(key).filter(|_| section.has("return")) {
                let mistake = Diagnostic::error(format!("`{key}` has no meaning beside `return`: nobody is asked"));
                section.sink.report(mistake.at(place).help("remove one of the two"));
            }
        }
        let main = target.as_ref().and_then(|target| target.upstream);
        let split = shares::split(&section, main, upstreams);
        let mirror = shares::mirror(&section, main, upstreams);
        let (Some((path, _)), Some(target)) = (path, target) else { continue };
        locations.push(Location {
            path,
            upstream: target.upstream,
            proxy: target.speaks(proxy_settings(&levels, &inherited)),
            fixed,
            replace: target.replace,
            proxy_host: target.proxy_host.into(),
            add_header: innermost(&inherited, |level| &level.add_header).unwrap_or_default(),
            limits: limits::limits(&levels, &[&written, around[0], around[1]]),
            split,
            mirror,
        });
    }
    locations
}

/// The one location of a server that has none: everything is alike. `outer` and `around` are the settings of its
/// levels.
pub(super) fn everything(
    upstream: Option<usize>,
    name: &str,
    levels: &Levels<'_, '_>,
    outer: &[&Inherited],
    around: &[&Written],
) -> Location {
    Location {
        path: PathMatch::Prefix("/".to_owned()),
        upstream,
        fixed: None,
        replace: None,
        proxy_host: name.into(),
        proxy: proxy_settings(levels, outer),
        add_header: innermost(outer, |level| &level.add_header).unwrap_or_default(),
        limits: limits::limits(levels, around),
        split: None,
        mirror: None,
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
        http_version: if levels.word("proxy_http_version") == "2" { HttpVersion::Http2 } else { HttpVersion::Http11 },
        hedge_after: innermost(inherited, |level| &level.hedge_after).flatten(),
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
    let (text, plain) = plain_of(node, "path", message, sink)?;
    check_path(&plain).map_err(|why| sink.report(unfit(text, message.to_owned(), why))).ok()?;
    Some(plain)
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
    upstream: Option<usize>,
    replace: Option<String>,
    proxy_host: String,
    /// The scheme says that HTTP/2 is spoken.
    http2: bool,
}

impl Target {
    fn speaks(&self, settings: ProxySettings) -> ProxySettings {
        let http_version = if self.http2 { HttpVersion::Http2 } else { settings.http_version };
        ProxySettings { http_version, ..settings }
    }
}

fn target(section: &Section<'_>, upstreams: &mut Upstreams) -> Option<Target> {
    let example = upstreams
        .names()
        .next()
        .map_or("proxy_pass = \"http://app:5000\"".to_owned(), |name| format!("proxy_pass = \"http://{name}\""));
    let node = section.required("proxy_pass", &example)?;
    let message = "`proxy_pass` takes `\"http://NAME\"` of an upstream, or `\"http://HOST:PORT\"`; either with `https`";
    let text = text_of(node, message, section.sink)?;
    let plain = match plain(text, "proxy_pass") {
        Ok(plain) => plain,
        Err(mistake) => {
            section.sink.report(mistake.note("where a request goes is decided by its path, not by its content"));
            return None;
        }
    };
    let target = parse_target(&plain, upstreams, section.sink);
    target.map_err(|why| section.sink.report(unfit(text, message.to_owned(), why))).ok()
}

fn parse_target(text: &str, upstreams: &mut Upstreams, sink: &Sink) -> Result<Target, Unfit> {
    let (scheme, http2, rest) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, false, rest),
        Some(("h2c" | "grpc", rest)) => ("http", true, rest),
        Some(("grpcs", rest)) => ("https", true, rest),
        Some((scheme, rest)) => {
            return Err(
                Unfit::because(format!("`{scheme}` cannot be proxied")).help(format!("write `\"http://{rest}\"`"))
            );
        }
        None => return Err(Unfit::because("the scheme is missing").help(format!("write `\"http://{text}\"`"))),
    };
    // Of a unix socket the path that replaces the prefix stands behind another colon, as in nginx.
    let unix = rest.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("unix:"));
    let (host, path) = match (unix, rest.find('/')) {
        (true, _) => match rest[5..].find(':') {
            Some(colon) => (&rest[..colon + 5], Some(&rest[colon + 6..])),
            None => (rest, None),
        },
        (false, Some(slash)) => (&rest[..slash], Some(&rest[slash..])),
        (false, None) => (rest, None),
    };
    if unix && path.is_some_and(|path| !path.starts_with('/')) {
        return Err(Unfit::because("behind the socket's path comes `:` and a path that begins with `/`"));
    }
    if let Some(wrong) =
        path.and_then(|path| path.chars().find(|c| !c.is_ascii_graphic() || "?#\"<>\\^`{|}".contains(*c)))
    {
        return Err(Unfit::because(format!("the path that replaces the prefix cannot contain {wrong:?}")));
    }
    let upstream = match upstreams.find(host) {
        Some(upstream) => upstream,
        None => plain_address(scheme, host, upstreams, sink)?,
    };
    upstreams.speak(upstream, scheme, sink)?;
    let (upstream, replace) = (Some(upstream), path.map(str::to_owned));
    Ok(Target { upstream, replace, proxy_host: host.to_owned(), http2 })
}

/// The group of an address that is not the name of an upstream.
fn plain_address(scheme: &str, host: &str, upstreams: &mut Upstreams, sink: &Sink) -> Result<usize, Unfit> {
    let name = match host.rsplit_once(':') {
        Some((name, _)) if !host.ends_with(']') => name,
        _ => host,
    };
    let has_port = name.len() < host.len();
    if has_port && upstreams.find(name).is_some() {
        let unfit = Unfit::because("an upstream has no port: its servers have");
        return Err(unfit.help(format!("write `\"{scheme}://{name}\"`")));
    }
    let address = address::server(host)?;
    let port = if scheme == "https" { 443 } else { 80 };
    // A name without a port is most likely a misspelled upstream: nobody should be sent to port 80 of a typo.
    if !has_port && matches!(address, crate::config::model::Address::Name { .. }) {
        let unfit = Unfit::because(format!("there is no upstream `{host}`"));
        return Err(match closest(host, upstreams.names()) {
            Some(known) => unfit.help(format!("did you mean `\"{scheme}://{known}\"`?")),
            None => unfit.help(format!(
                "write [upstream.{host}] with its servers, or the port of a host: `\"{scheme}://{host}:{port}\"`"
            )),
        });
    }
    let text = if has_port { host.to_owned() } else { format!("{host}:{port}") };
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
