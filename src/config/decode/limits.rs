//! What may one client ask for? `[limit_req_zone.NAME]`, `[limit_conn_zone.NAME]`, and who uses them.

use std::sync::Arc;

use super::fields::{template, unfit};
use super::section::{Levels, Section, Settings};
use super::setting::{other_kind, plain, text_of, what};
use crate::config::diagnostic::{Diagnostic, Span, Unfit};
use crate::config::directives::Place;
use crate::config::model::{LimitConn, LimitConnZone, LimitReq, LimitReqZone, Limits, LogLevel};
use crate::config::suggest::closest;
use crate::config::template::{Template, Use};
use crate::config::written::{Key, Node, Sink, Table, Value};
use crate::shape::{Buckets, Connections, MAX_LIMITS, Rate};

/// The zones of the file.
pub(super) struct Zones {
    requests: Vec<Named<LimitReqZone>>,
    connections: Vec<Named<LimitConnZone>>,
}

/// A zone by its name. `None`: it is written, but wrongly.
type Named<T> = (String, Option<Arc<T>>);

impl Zones {
    pub(super) fn read(top: &Section<'_>) -> Zones {
        Zones {
            requests: named(top, "limit_req_zone", |name, table| requests_zone(name, table, top.sink)),
            connections: named(top, "limit_conn_zone", |name, table| connections_zone(name, table, top.sink)),
        }
    }
}

/// The limits that are written at one level. `None`: not here, so those of the level around it hold.
#[derive(Debug, Default)]
pub(super) struct Written {
    requests: Option<Vec<LimitReq>>,
    connections: Option<Vec<LimitConn>>,
}

impl Written {
    pub(super) fn read(section: &Section<'_>, zones: &Zones) -> Written {
        let requests = |table: &Table| limit_req(table, zones, section.sink);
        let connections = |table: &Table| limit_conn(table, zones, section.sink);
        Written {
            requests: list(section, "limit_req", "{ zone = \"per_client\", burst = 20 }", requests),
            connections: list(section, "limit_conn", "{ zone = \"per_client\", connections = 10 }", connections),
        }
    }
}

/// The limits that hold, the innermost level first.
pub(super) fn limits(levels: &Levels<'_, '_>, written: &[&Written]) -> Limits {
    let status = |key: &str| u16::try_from(levels.number(key)).unwrap_or(503);
    let level = |key: &str| match levels.word(key) {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        _ => LogLevel::Info,
    };
    Limits {
        requests: written.iter().find_map(|level| level.requests.clone()).unwrap_or_default(),
        requests_status: status("limit_req_status"),
        requests_dry_run: levels.switch("limit_req_dry_run"),
        requests_log_level: level("limit_req_log_level"),
        connections: written.iter().find_map(|level| level.connections.clone()).unwrap_or_default(),
        connections_status: status("limit_conn_status"),
        connections_dry_run: levels.switch("limit_conn_dry_run"),
        connections_log_level: level("limit_conn_log_level"),
    }
}

fn named<T>(top: &Section<'_>, kind: &str, read: impl Fn(&Key, &Table) -> Option<T>) -> Vec<Named<T>> {
    let mut zones = Vec::new();
    for (key, node) in top.table(kind).map(|table| table.entries.as_slice()).unwrap_or_default() {
        let zone = match &node.value {
            Value::Table(table) => read(key, table),
            Value::Broken => None,
            value => {
                let mistake = Diagnostic::error("a zone has a name").at(key.span.clone());
                let mistake =
                    mistake.label(format!("`{}` is taken for its name, and this is {}", key.name, what(value)));
                top.sink.report(mistake.help(format!("write `[{kind}.per_client]`, or any other name behind the dot")));
                None
            }
        };
        zones.push((key.name.clone(), zone.map(Arc::new)));
    }
    zones
}

fn requests_zone(name: &Key, table: &Table, sink: &Sink) -> Option<LimitReqZone> {
    let section = Section::read(Place::LimitReqZone, table, sink);
    let key = key(&section);
    let rate = rate(&section);
    let clients = clients(&section, Buckets::BYTES_PER_CLIENT);
    Some(LimitReqZone { name: name.name.as_str().into(), key: key?, rate: rate?, clients })
}

fn connections_zone(name: &Key, table: &Table, sink: &Sink) -> Option<LimitConnZone> {
    let section = Section::read(Place::LimitConnZone, table, sink);
    let clients = clients(&section, Connections::BYTES_PER_CLIENT);
    Some(LimitConnZone { name: name.name.as_str().into(), key: key(&section)?, clients })
}

fn clients(section: &Section<'_>, bytes: u64) -> usize {
    usize::try_from(section.number("size") / bytes).unwrap_or(usize::MAX)
}

fn key(section: &Section<'_>) -> Option<Template> {
    let node = section.required("key", "key = \"$remote_addr\"")?;
    let message = "`key` takes a template: `\"$remote_addr\"`, `\"$http_x_api_key\"`";
    let text = text_of(node, message, section.sink)?;
    let key = template(text, "key", Use::Request, section.sink)?;
    if !text.template().is_empty() {
        return Some(key);
    }
    let why = Unfit::because("requests with an empty key are not limited, and this is always empty");
    section.sink.report(unfit(text, message.to_owned(), why.help("write `key = \"$remote_addr\"`")));
    None
}

fn rate(section: &Section<'_>) -> Option<Rate> {
    let node = section.required("rate", "rate = \"10r/s\"")?;
    let message = "`rate` takes requests per second or per minute: `\"10r/s\"`, `\"30r/m\"`";
    match &node.value {
        Value::Text(text) => match plain(text, "rate") {
            Ok(plain) => match parse_rate(&plain) {
                Ok(rate) => return Some(rate),
                Err(why) => section.sink.report(unfit(text, message.to_owned(), why)),
            },
            Err(mistake) => section.sink.report(*mistake),
        },
        value => {
            let mistake = other_kind(node, message)?;
            section.sink.report(match value {
                Value::Integer(Some(number @ 1..)) => mistake.help(format!("write `rate = \"{number}r/s\"`")),
                _ => mistake,
            });
        }
    }
    None
}

fn parse_rate(text: &str) -> Result<Rate, Unfit> {
    let (number, rate): (_, fn(u64) -> Rate) = match (text.strip_suffix("r/s"), text.strip_suffix("r/m")) {
        (Some(number), _) => (number, Rate::per_second),
        (_, Some(number)) => (number, Rate::per_minute),
        _ => return Err(Unfit::because("`r/s` or `r/m` is missing at its end")),
    };
    match number.trim().parse() {
        Ok(0) => Err(Unfit::because("nobody could ever ask").help("to refuse everybody, write `return = 403`")),
        Ok(number) if number <= Rate::MAX => Ok(rate(number)),
        Ok(_) => Err(Unfit::because(format!("at most {}", Rate::MAX))),
        Err(_) if number.contains('.') => Err(Unfit::because("fractions are not possible")
            .help("write it per minute: half a request per second is `\"30r/m\"`")),
        Err(_) => Err(Unfit::because("this is no whole number")),
    }
}

/// One table or a list of them; `[]` is none, in place of those of the level around.
fn list<T>(
    section: &Section<'_>,
    key: &str,
    example: &str,
    read: impl Fn(&Table) -> Option<(T, Span)>,
) -> Option<Vec<T>>
where
    T: Zoned,
{
    let node = section.node(key)?;
    let sink = section.sink;
    let nodes = match &node.value {
        Value::List(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut limits: Vec<(T, Span)> = Vec::new();
    for node in nodes {
        let Some((limit, place)) = one(node, key, example, sink, &read) else { continue };
        match limits.iter().find(|(known, _)| known.zone() == limit.zone()) {
            Some((_, first)) => {
                let mistake = Diagnostic::error("this zone limits twice").at(place);
                sink.report(mistake.context(first.clone(), "first here").help("remove one of the two"));
            }
            None => limits.push((limit, place)),
        }
    }
    if limits.len() > MAX_LIMITS {
        let mistake = Diagnostic::error(format!("these are more than {MAX_LIMITS} limits")).at(node.span.clone());
        sink.report(mistake.help("remove some"));
    }
    Some(limits.into_iter().map(|(limit, _)| limit).collect())
}

fn one<T>(node: &Node, key: &str, example: &str, sink: &Sink, read: impl Fn(&Table) -> Option<T>) -> Option<T> {
    match &node.value {
        Value::Table(table) => return read(table),
        _ => {
            let mistake = other_kind(node, &format!("`{key}` takes a table, or a list of tables"))?;
            sink.report(mistake.help(format!("write `{key} = {example}`")));
        }
    }
    None
}

/// A limit that goes by a zone.
trait Zoned {
    fn zone(&self) -> &str;
}

impl Zoned for LimitReq {
    fn zone(&self) -> &str {
        &self.zone.name
    }
}

impl Zoned for LimitConn {
    fn zone(&self) -> &str {
        &self.zone.name
    }
}

fn limit_req(table: &Table, zones: &Zones, sink: &Sink) -> Option<(LimitReq, Span)> {
    let section = Section::read(Place::LimitReq, table, sink);
    let (zone, place) = zone(&section, "limit_req_zone", &zones.requests)?;
    let burst = section.number("burst");
    if section.switch("nodelay") && section.has("delay") {
        let at = section.key_span("delay").unwrap_or(section.span.clone());
        let mistake = Diagnostic::error("with `nodelay` nothing is delayed, so `delay` has no meaning").at(at);
        sink.report(mistake.help("remove one of the two"));
    }
    let delay = (!section.switch("nodelay")).then(|| section.number("delay"));
    Some((LimitReq { zone, burst, delay }, place))
}

fn limit_conn(table: &Table, zones: &Zones, sink: &Sink) -> Option<(LimitConn, Span)> {
    let section = Section::read(Place::LimitConn, table, sink);
    let connections = section.required("connections", "connections = 10").map(|_| section.number("connections"));
    let (zone, place) = zone(&section, "limit_conn_zone", &zones.connections)?;
    Some((LimitConn { zone, connections: u32::try_from(connections?).unwrap_or(u32::MAX) }, place))
}

fn zone<T>(section: &Section<'_>, kind: &str, zones: &[Named<T>]) -> Option<(Arc<T>, Span)> {
    let node = section.required("zone", "zone = \"per_client\"")?;
    let Value::Text(text) = &node.value else { return None };
    let name = section.text("zone")?;
    if let Some((_, zone)) = zones.iter().find(|(known, _)| *known == name) {
        return zone.clone().map(|zone| (zone, node.span.clone()));
    }
    let why = Unfit::because(format!("there is no [{kind}.{name}]"));
    section.sink.report(unfit(
        text,
        "`zone` takes the name of a zone".to_owned(),
        match closest(&name, zones.iter().map(|(known, _)| known.as_str())) {
            Some(known) => why.help(format!("did you mean `\"{known}\"`?")),
            None => why.help(match kind {
                "limit_req_zone" => {
                    format!("write\n    [{kind}.{name}]\n    key = \"$remote_addr\"\n    rate = \"10r/s\"")
                }
                _ => format!("write\n    [{kind}.{name}]\n    key = \"$remote_addr\""),
            }),
        },
    ));
    None
}
