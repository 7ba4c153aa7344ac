//! How is a peer probed? `[upstream.NAME.health_check]`. (nginx Plus: `health_check` and `match`, spec §6.1, §6.2.)

use regex::bytes::Regex;

use super::fields::{is_field_name, unfit};
use super::section::{Section, Settings};
use super::setting::{plain, what};
use crate::config::diagnostic::{Diagnostic, Unfit};
use crate::config::directives::Place;
use crate::config::model::{BodyTest, CheckKind, Expect, HeaderTest, HealthCheck, StatusSet, ValueTest};
use crate::config::written::{Node, Sink, Table, Text, Value};

/// Reads the table of a check.
pub(super) fn read(table: &Table, sink: &Sink) -> HealthCheck {
    let section = Section::read(Place::HealthCheck, table, sink);
    let kind = section.word("type");
    refuse_foreign_keys(&section, kind);
    let uri = uri(&section);
    let expect = match section.table("match") {
        Some(table) => expect(&Section::read(Place::Match, table, sink)),
        None => {
            Expect { status: Some(StatusSet { negated: false, ranges: vec![(200, 399)] }), headers: vec![], body: None }
        }
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
    let Value::Text(text) = &node.value else {
        report_mistyped(section.sink, node, "`uri` takes text: `\"/health\"`");
        return default();
    };
    match plain(text, "uri") {
        Err(mistake) => section.sink.report(*mistake),
        Ok(uri) => match check_target(&uri) {
            Ok(()) => return uri,
            Err(why) => {
                let message = "`uri` takes a request target that begins with `/`: `\"/health\"`".to_owned();
                section.sink.report(unfit(text, message, why));
            }
        },
    }
    default()
}

fn check_target(uri: &str) -> Result<(), Unfit> {
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

fn expect(section: &Section<'_>) -> Expect {
    Expect {
        status: section.node("status").and_then(|node| status(node, section.sink)),
        headers: section.table("headers").map(|table| header_tests(table, section.sink)).unwrap_or_default(),
        body: section.node("body").and_then(|node| body(node, section.sink)),
    }
}

fn status(node: &Node, sink: &Sink) -> Option<StatusSet> {
    let message = "`status` takes statuses from 100 to 599: `200`, `\"200-399\"`, `\"! 500-599\"`";
    match &node.value {
        Value::Integer(Some(status)) => match u16::try_from(*status).ok().filter(|status| is_status(*status)) {
            Some(status) => Some(StatusSet { negated: false, ranges: vec![(status, status)] }),
            None => {
                sink.report(Diagnostic::error(message).at(node.span.clone()).label("no such status"));
                None
            }
        },
        Value::Text(text) => match plain(text, "status").map(|plain| parse_status(&plain)) {
            Ok(Ok(set)) => Some(set),
            Ok(Err(why)) => {
                sink.report(unfit(text, message.to_owned(), why));
                None
            }
            Err(mistake) => {
                sink.report(*mistake);
                None
            }
        },
        _ => {
            report_mistyped(sink, node, message);
            None
        }
    }
}

fn is_status(status: u16) -> bool {
    (100..=599).contains(&status)
}

/// `200`, `200-399 418`, `! 500-599`.
fn parse_status(text: &str) -> Result<StatusSet, Unfit> {
    let (negated, list) = match text.trim().strip_prefix('!') {
        Some(list) => (true, list),
        None => (false, text),
    };
    let mut ranges = Vec::new();
    for word in list.split_whitespace() {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if is_status(first) && is_status(last) && first <= last => ranges.push((first, last)),
            (Ok(first), Ok(last)) if first > last => {
                return Err(Unfit::because(format!("`{word}` is empty")).help(format!("write `{last}-{first}`")));
            }
            _ => return Err(Unfit::because(format!("`{word}` is no status and no range of statuses"))),
        }
    }
    match ranges.is_empty() {
        true => Err(Unfit::because("no status is named")),
        false => Ok(StatusSet { negated, ranges }),
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
            Value::Text(text) => value_test(text, sink),
            _ => {
                report_mistyped(sink, node, "a test on a field is text, `true` (present) or `false` (absent)");
                None
            }
        };
        tests.extend(test.map(|test| HeaderTest { name: key.name.to_ascii_lowercase(), test }));
    }
    tests
}

/// nginx's words: `text/html`, `= text/html`, `!= x`, `~ re`, `!~ re`.
fn value_test(text: &Text, sink: &Sink) -> Option<ValueTest> {
    let test = text.pattern();
    let operand = |operator: &str| test.strip_prefix(operator).map(str::trim);
    if let Some(pattern) = operand("!~") {
        return regex(text, pattern, sink).map(ValueTest::MatchesNot);
    }
    if let Some(pattern) = operand("~") {
        return regex(text, pattern, sink).map(ValueTest::Matches);
    }
    if let Some(value) = operand("!=") {
        return Some(ValueTest::IsNot(value.to_owned()));
    }
    Some(ValueTest::Is(operand("=").unwrap_or(&test).to_owned()))
}

fn body(node: &Node, sink: &Sink) -> Option<BodyTest> {
    let message = "`body` takes `\"~ REGEX\"` or `\"!~ REGEX\"`";
    let Value::Text(text) = &node.value else {
        report_mistyped(sink, node, message);
        return None;
    };
    let test = text.pattern();
    let (negated, pattern) = match (test.strip_prefix("!~"), test.strip_prefix('~')) {
        (Some(pattern), _) => (true, pattern.trim()),
        (_, Some(pattern)) => (false, pattern.trim()),
        (None, None) => {
            let why = Unfit::because("it begins with neither `~` nor `!~`").help(format!("write `\"~ {test}\"`"));
            sink.report(unfit(text, message.to_owned(), why));
            return None;
        }
    };
    regex(text, pattern, sink).map(|pattern| BodyTest { negated, pattern })
}

fn regex(text: &Text, pattern: &str, sink: &Sink) -> Option<Regex> {
    if pattern.is_empty() {
        sink.report(unfit(text, "a regular expression is missing".to_owned(), Unfit::because("it fits everything")));
        return None;
    }
    match Regex::new(pattern) {
        Ok(regex) => Some(regex),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            let why = Unfit::because(reason);
            let why = match pattern.strip_prefix('*') {
                Some(rest) => why.help(format!("without regard to case, write `(?i){}`", rest.trim())),
                None => why,
            };
            sink.report(unfit(text, "this regular expression cannot be read".to_owned(), why));
            None
        }
    }
}

fn report_mistyped(sink: &Sink, node: &Node, message: &str) {
    if !matches!(node.value, Value::Broken) {
        let mistake = Diagnostic::error(message).at(node.span.clone());
        sink.report(mistake.label(format!("this is {}", what(&node.value))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_lists_of_ranges() {
        let set = |negated, ranges: &[(u16, u16)]| Ok(StatusSet { negated, ranges: ranges.to_vec() });
        let table = [
            ("200", set(false, &[(200, 200)])),
            ("200-399", set(false, &[(200, 399)])),
            ("200 301-302", set(false, &[(200, 200), (301, 302)])),
            ("! 500-599", set(true, &[(500, 599)])),
        ];
        for (text, set) in table {
            assert_eq!(parse_status(text), set, "{text}");
        }
        for text in ["", "!", "ok", "99", "600", "200-", "300-200", "200,204", "2xx"] {
            assert!(parse_status(text).is_err(), "{text}");
        }
    }
}
