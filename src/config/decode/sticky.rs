//! How does a client come back to its peer? `sticky` of an upstream, and the `route` of its servers.

use std::sync::Arc;
use std::time::Duration;

use super::fields::{is_field_name, one_template, template, unfit};
use super::section::{Section, Settings};
use super::setting::{plain, text_of, what};
use crate::affinity::Secret;
use crate::config::diagnostic::{Diagnostic, Unfit};
use crate::config::directives::Place;
use crate::config::model::{Learn, Sticky, StickyCookie, UpstreamServer};
use crate::config::suggest::closest;
use crate::config::template::{Part, Template, Use};
use crate::config::units::{self, TimeUnit};
use crate::config::written::{Node, Sink, Table, Value};

/// What there is to choose from.
const WAYS: [&str; 3] = ["cookie", "route", "learn"];
/// What belongs to a cookie alone.
const OF_COOKIES: [&str; 8] = ["expires", "domain", "path", "httponly", "secure", "samesite", "nocache", "secret"];
/// nginx's words.
const SAME_SITE: [&str; 3] = ["strict", "lax", "none"];
/// A shorter secret can be guessed by whoever has a cookie.
const MIN_SECRET: usize = 16;
/// As nginx has it.
const MAX_ROUTE: usize = 32;

/// Reads `sticky = { … }`; `None`: reported.
pub(super) fn read(table: &Table, sink: &Sink) -> Option<Sticky> {
    let section = Section::read(Place::Sticky, table, sink);
    let mut ways = WAYS.into_iter().filter(|way| section.has(way));
    let Some(way) = ways.next() else {
        let mistake = Diagnostic::error("`sticky` does not say by what a client comes back").at(section.span.clone());
        sink.report_absence(mistake.help("write `sticky = { cookie = \"srv_id\" }`, or `route`, or `learn`"));
        return None;
    };
    if let Some(second) = ways.next() {
        let place = section.key_span(second).unwrap_or(section.span.clone());
        let mistake = Diagnostic::error(format!("`sticky` takes `{way}` or `{second}`, not both")).at(place);
        sink.report(mistake.help("remove one of the two"));
    }
    for key in OF_COOKIES.into_iter().filter(|_| way != "cookie") {
        if let Some(place) = section.key_span(key) {
            let mistake = Diagnostic::error(format!("`{key}` belongs to `cookie`, and there is none")).at(place);
            sink.report(mistake.help("remove it"));
        }
    }
    match way {
        "cookie" => cookie(&section).map(Sticky::Cookie),
        "route" => templates(&section, "route", Use::Request).map(Sticky::Route),
        _ => learn(section.table("learn")?, sink).map(Sticky::Learn),
    }
}

/// Reads the `route` of a server.
pub(super) fn route(section: &Section<'_>) -> Option<Arc<str>> {
    let route = section.text("route")?;
    if (1..=MAX_ROUTE).contains(&route.len()) {
        return Some(route.into());
    }
    let place = section.node("route").map_or(section.span.clone(), |node| node.span.clone());
    section.sink.report(Diagnostic::error("`route` takes 1 to 32 characters").at(place));
    None
}

/// What `sticky` and the servers say must fit.
pub(super) fn check(section: &Section<'_>, sticky: Option<&Sticky>, servers: &[UpstreamServer]) {
    if matches!(sticky, Some(Sticky::Route(_))) && servers.iter().all(|server| server.route.is_none()) {
        let place = section.node("sticky").map_or(section.span.clone(), |node| node.span.clone());
        let mistake = Diagnostic::error("no server of this upstream has a `route`, so nobody is bound").at(place);
        section.sink.report_absence(mistake.help("write `{ address = \"app1:5000\", route = \"a\" }` in `servers`"));
    }
}

fn cookie(section: &Section<'_>) -> Option<StickyCookie> {
    let name = section.text("cookie");
    if name.as_deref().is_some_and(|name| !is_field_name(name)) {
        let place = section.node("cookie").map_or(section.span.clone(), |node| node.span.clone());
        let mistake = Diagnostic::error("this cannot be the name of a cookie").at(place);
        section.sink.report(mistake.help("letters, digits, `-` and `_`"));
    }
    let samesite = samesite(section);
    let is_none = samesite.as_ref().is_some_and(|samesite| constant(samesite).is_some_and(|word| word == "none"));
    if is_none && !section.switch("secure") {
        let place = section.key_span("samesite").unwrap_or(section.span.clone());
        let warning = Diagnostic::warning("browsers refuse a cookie with `samesite = \"none\"` that is not `secure`");
        section.sink.report_if_fine(warning.at(place).help("write `secure = true`"));
    }
    let cookie = StickyCookie {
        name: name.clone().unwrap_or_default(),
        expires: expires(section),
        domain: domain(section),
        path: path(section),
        httponly: section.switch("httponly"),
        secure: section.switch("secure"),
        samesite,
        nocache: section.switch("nocache"),
        secret: secret(section),
    };
    name.map(|_| cookie)
}

fn expires(section: &Section<'_>) -> Option<Duration> {
    let node = section.node("expires")?;
    let message = || "`expires` takes a time in whole seconds, `\"1h\"`, or `\"max\"`".to_owned();
    let (text, read) = match &node.value {
        Value::Text(text) => match plain(text, "expires") {
            Ok(plain) if plain == "max" => return Some(StickyCookie::MAX),
            Ok(plain) => (Some(text), units::time(&plain, TimeUnit::Seconds)),
            Err(mistake) => {
                section.sink.report(*mistake);
                return None;
            }
        },
        Value::Integer(Some(seconds)) => (None, units::time(&seconds.to_string(), TimeUnit::Seconds)),
        Value::Broken => return None,
        value => (None, Err(format!("this is {}", what(value)))),
    };
    let read = read.and_then(|time| match time {
        Duration::ZERO => Err("the cookie would never be good".to_owned()),
        time if time > StickyCookie::MAX => Err("longer than `\"max\"`, ten years".to_owned()),
        time => Ok(time),
    });
    read.map_err(|why| match text {
        Some(text) => section.sink.report(unfit(text, message(), Unfit::because(why))),
        None => section.sink.report(Diagnostic::error(message()).at(node.span.clone()).label(why)),
    })
    .ok()
}

fn domain(section: &Section<'_>) -> Option<Template> {
    let (text, domain) = one_template(section, "domain")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    match constant(&domain) {
        Some(name) if name.is_empty() || !name.chars().all(allowed) => {
            let why = Unfit::because("letters, digits, `-` and `.`");
            section.sink.report(unfit(text, "this cannot be the domain of a cookie".to_owned(), why));
            None
        }
        _ => Some(domain),
    }
}

fn samesite(section: &Section<'_>) -> Option<Template> {
    let (text, samesite) = one_template(section, "samesite")?;
    match constant(&samesite) {
        Some(word) if !SAME_SITE.contains(&word) => {
            let message = "`samesite` takes `\"strict\"`, `\"lax\"`, `\"none\"` or a variable".to_owned();
            let why = Unfit::because("no such word");
            section.sink.report(match closest(word, SAME_SITE) {
                Some(known) => unfit(text, message, why.help(format!("did you mean `\"{known}\"`?"))),
                None => unfit(text, message, why),
            });
            None
        }
        _ => Some(samesite),
    }
}

fn path(section: &Section<'_>) -> String {
    let Some(path) = section.text("path") else { return "/".to_owned() };
    let sound = |path: &str| path.starts_with('/') && path.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b';');
    if !path.is_empty() && !sound(&path) {
        let place = section.node("path").map_or(section.span.clone(), |node| node.span.clone());
        let mistake = Diagnostic::error("`path` of a cookie begins with `/` and has neither spaces nor `;`").at(place);
        section.sink.report(mistake.help("write `path = \"/\"`"));
    }
    path
}

fn secret(section: &Section<'_>) -> Option<Secret> {
    let secret = section.text("secret")?;
    if secret.len() < MIN_SECRET {
        let place = section.node("secret").map_or(section.span.clone(), |node| node.span.clone());
        let mistake = Diagnostic::error(format!("`secret` has at least {MIN_SECRET} characters")).at(place);
        let mistake = mistake.note("whoever has a cookie could guess a shorter one");
        section.sink.report(mistake.help("`openssl rand -hex 32` makes one"));
    }
    Some(Secret::new(secret))
}

fn learn(table: &Table, sink: &Sink) -> Option<Learn> {
    let section = Section::read(Place::Learn, table, sink);
    let required = |key, example: &str, place| section.required(key, example).and(templates(&section, key, place));
    let create = required("create", "create = \"$upstream_cookie_sid\"", Use::Answer);
    let lookup = required("lookup", "lookup = \"$cookie_sid\"", Use::Request);
    Some(Learn {
        create: create?,
        lookup: lookup?,
        size: usize::try_from(section.number("size")).unwrap_or(usize::MAX),
        timeout: section.time("timeout"),
        header: section.switch("header"),
    })
}

/// A template or a list of templates, each with a variable in it; `None`: reported.
fn templates(section: &Section<'_>, key: &str, place: Use) -> Option<Vec<Template>> {
    let node = section.node(key)?;
    let nodes = match &node.value {
        Value::List(nodes) => nodes.as_slice(),
        Value::Broken => return None,
        _ => std::slice::from_ref(node),
    };
    if nodes.is_empty() {
        let mistake = Diagnostic::error(format!("`{key}` is empty")).at(node.span.clone());
        section.sink.report(mistake.help("name a variable"));
    }
    let templates: Vec<Template> = nodes.iter().filter_map(|node| variable(node, key, place, section.sink)).collect();
    (templates.len() == nodes.len() && !nodes.is_empty()).then_some(templates)
}

fn variable(node: &Node, key: &str, place: Use, sink: &Sink) -> Option<Template> {
    let text = text_of(node, &format!("`{key}` takes a variable, or a list of variables"), sink)?;
    let template = template(text, key, place, sink)?;
    if template.is_constant() {
        let why = Unfit::because("there is no variable in it");
        sink.report(unfit(text, format!("`{key}` is the same for every request"), why));
        return None;
    }
    Some(template)
}

/// The text of a template without variables.
fn constant(template: &Template) -> Option<&str> {
    match template.parts.as_slice() {
        [] => Some(""),
        [Part::Literal(text)] => Some(text),
        _ => None,
    }
}
