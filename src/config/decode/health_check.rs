//! How is a peer probed? `[upstream.NAME.health_check]`. (nginx Plus: `health_check` and `match`, spec §6.1, §6.2.)

use super::fields::{is_field_name, unfit};
use super::section::{Section, Settings};
use super::setting::{plain, plain_of, refuse_kind, text_of};
use crate::config::diagnostic::{Diagnostic, Unfit};
use crate::config::directives::Place;
use crate::config::expect::{self, Unread};
use crate::config::json_test::{self, JsonTest};
use crate::config::model::{BodyTest, CheckKind, Expect, HeaderTest, HealthCheck, StatusSet, ValueTest};
use crate::config::written::{Node, Sink, Table, Text, Value};

/// Reads the table of a check.
pub(super) fn read(table: &Table, sink: &Sink) -> HealthCheck {
    let section = Section::read(Place::HealthCheck, table, sink);
    let kind = section.word("type");
    refuse_foreign_keys(&section, kind);
    let uri = uri(&section);
    let expect = match section.table("match") {
        Some(table) => read_match(&Section::read(Place::Match, table, sink)),
        None => Expect {
            status: Some(StatusSet { negated: false, ranges: vec![(200, 399)] }),
            headers: Vec::new(),
            body: None,
            json: Vec::new(),
        },
    };
    let number = |key: &str| u32::try_from(section.number(key)).unwrap_or(u32::MAX);
    HealthCheck {
        kind: match kind {
            "tcp" => CheckKind::Tcp,
            "grpc" => CheckKind::Grpc {
                service: section.text("grpc_service").unwrap_or_default(),
                status: section.optional_number("grpc_status").and_then(|status| u32::try_from(status).ok()),
            },
            _ => CheckKind::Http { uri, host: host(&section), expect },
        },
        interval: section.time("interval"),
        jitter: section.time("jitter"),
        timeout: section.time("timeout"),
        fails: number("fails"),
        passes: number("passes"),
        port: section.optional_number("port").and_then(|port| u16::try_from(port).ok()),
    }
}

/// Keys that the type of the check has no use for: they would be dropped silently.
fn refuse_foreign_keys(section: &Section<'_>, kind: &str) {
    for (owner, keys) in [("http", &["uri", "host", "match"][..]), ("grpc", &["grpc_service", "grpc_status"])] {
        for key in keys.iter().filter(|_| owner != kind) {
            if let Some(place) = section.key_span(key) {
                let mistake =
                    Diagnostic::error(format!("`{key}` has no meaning in a check of type `{kind}`")).at(place);
                section.sink.report(mistake.help(format!("remove it, or write `type = \"{owner}\"`")));
            }
        }
    }
}

fn uri(section: &Section<'_>) -> String {
    let default = || "/".to_owned();
    let Some(node) = section.node("uri") else { return default() };
    let takes = "`uri` takes text: `\"/health\"`";
    let Some((text, uri)) = plain_of(node, "uri", takes, section.sink) else { return default() };
    match check_target(&uri) {
        Ok(()) => uri,
        Err(why) => {
            let message = "`uri` takes a request target that begins with `/`: `\"/health\"`".to_owned();
            section.sink.report(unfit(text, message, why));
            default()
        }
    }
}

/// What is wrong with a request target, if anything is.
pub(super) fn check_target(uri: &str) -> Result<(), Unfit> {
    if !uri.starts_with('/') {
        return Err(match uri.split_once("://") {
            Some((_, rest)) => {
                let path = rest.find('/').map_or("/", |slash| &rest[slash..]);
                Unfit::because("without a scheme and a host: each peer is asked").help(format!("write `\"{path}\"`"))
            }
            None => Unfit::because("it does not begin with `/`").help(format!("write `\"/{uri}\"`")),
        });
    }
    match uri.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        Some(wrong) => Err(Unfit::because(format!("{wrong:?} must be written percent-encoded"))),
        None => Ok(()),
    }
}

fn host(section: &Section<'_>) -> Option<String> {
    let host = section.text("host")?;
    if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@\\\"<>".contains(&byte)) {
        let place = section.node("host").map_or(section.span.clone(), |node| node.span.clone());
        let mistake = Diagnostic::error("`host` takes the value of a Host field: `\"example.com\"`").at(place);
        section.sink.report(mistake);
        return None;
    }
    Some(host)
}

fn read_match(section: &Section<'_>) -> Expect {
    Expect {
        status: section.node("status").and_then(|node| status(node, section.sink)),
        headers: section.table("headers").map(|table| header_tests(table, section.sink)).unwrap_or_default(),
        body: section.node("body").and_then(|node| body(node, section.sink)),
        json: section.node("json").map(|node| json(node, section.sink)).unwrap_or_default(),
    }
}

fn status(node: &Node, sink: &Sink) -> Option<StatusSet> {
    match &node.value {
        Value::Integer(Some(status)) => match u16::try_from(*status).ok().filter(|status| expect::is_status(*status)) {
            Some(status) => Some(StatusSet { negated: false, ranges: vec![(status, status)] }),
            None => {
                sink.report(Diagnostic::error(expect::STATUS).at(node.span.clone()).label("no such status"));
                None
            }
        },
        Value::Text(text) => match plain(text, "status") {
            Ok(plain) => understood(text, expect::status(&plain), sink),
            Err(mistake) => {
                sink.report(*mistake);
                None
            }
        },
        _ => {
            refuse_kind(node, expect::STATUS, sink);
            None
        }
    }
}

fn header_tests(table: &Table, sink: &Sink) -> Vec<HeaderTest> {
    let mut tests: Vec<HeaderTest> = Vec::new();
    for (key, node) in &table.entries {
        if !is_field_name(&key.name) {
            let mistake = Diagnostic::error(format!("{:?} cannot be the name of a field", key.name));
            sink.report(mistake.at(key.span.clone()).help("letters, digits and `-`"));
            continue;
        }
        let test = match &node.value {
            Value::Switch(true) => Some(ValueTest::Present),
            Value::Switch(false) => Some(ValueTest::Absent),
            Value::Text(text) => understood(text, expect::value(&text.pattern()), sink),
            _ => {
                refuse_kind(node, "a test on a field is text, `true` (present) or `false` (absent)", sink);
                None
            }
        };
        tests.extend(test.map(|test| HeaderTest { name: key.name.to_ascii_lowercase(), test }));
    }
    tests
}

fn body(node: &Node, sink: &Sink) -> Option<BodyTest> {
    let text = text_of(node, "`body` takes `\"~ REGEX\"` or `\"!~ REGEX\"`", sink)?;
    understood(text, expect::body(&text.pattern()), sink)
}

/// One test, or a list of them.
fn json(node: &Node, sink: &Sink) -> Vec<JsonTest> {
    let nodes = match &node.value {
        Value::List(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let test = |node: &Node| {
        let text = text_of(node, "`json` takes a test or a list of tests: `\"status == ok\"`", sink)?;
        understood(text, json_test::parse(&text.pattern()), sink)
    };
    nodes.iter().filter_map(test).collect()
}

/// What a text of the file says, if it could be read; reports if not.
fn understood<T>(text: &Text, read: Result<T, Unread>, sink: &Sink) -> Option<T> {
    read.map_err(|unread| sink.report(unfit(text, unread.message, unread.why))).ok()
}
