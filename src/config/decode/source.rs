//! Who finds peers beside `servers`? A watched file, labels of containers, Consul.

use std::path::PathBuf;

use super::fields::unfit;
use super::section::Section;
use super::setting::plain_of;
use crate::config::address;
use crate::config::diagnostic::{Diagnostic, Unfit};
use crate::config::directives::Place;
use crate::config::model::{Address, Consul};
use crate::config::written::Table;

/// Consul's own default port.
const AGENT: &str = "127.0.0.1:8500";

/// `servers_file`; `None`: not written, or reported.
pub(super) fn servers_file(section: &Section<'_>) -> Option<PathBuf> {
    let text = section.text("servers_file")?;
    let place = section.node("servers_file").map_or(section.span.clone(), |node| node.span.clone());
    let path = PathBuf::from(&text);
    let known = path.extension().is_some_and(|extension| extension == "json" || extension == "toml");
    if !known || text.contains('\0') {
        let mistake = Diagnostic::error("`servers_file` takes the path of a JSON or TOML file").at(place);
        let mistake = mistake.note("its name says which of the two it is");
        section.sink.report(mistake.help("write `servers_file = \"peers.json\"` or `\"peers.toml\"`"));
        return None;
    }
    Some(path)
}

/// `consul = { … }`; `None`: reported.
pub(super) fn consul(table: &Table, outer: &Section<'_>) -> Option<Consul> {
    let section = Section::read(Place::Consul, table, outer.sink);
    section.required("service", "service = \"web\"")?;
    let consul = Consul {
        service: section.text("service")?,
        address: agent(&section)?,
        tag: section.text("tag"),
        datacenter: section.text("datacenter"),
        token: section.text("token"),
    };
    for (key, text) in [("service", Some(&consul.service)), ("tag", consul.tag.as_ref())] {
        if text.is_some_and(String::is_empty) {
            let place = section.node(key).map_or(section.span.clone(), |node| node.span.clone());
            section.sink.report(Diagnostic::error(format!("`{key}` is empty")).at(place));
        }
    }
    if consul.token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        let place = section.node("token").map_or(section.span.clone(), |node| node.span.clone());
        section.sink.report(Diagnostic::error("`token` has characters that no token has").at(place));
    }
    Some(consul)
}

/// Where the agent is, at Consul's port unless another is written.
fn agent(section: &Section<'_>) -> Option<Address> {
    let Some(node) = section.node("address") else { return address::server(AGENT).ok() };
    let takes = "`address` takes text: `\"127.0.0.1:8500\"`";
    let (text, written) = plain_of(node, "address", takes, section.sink)?;
    let has_port = written.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let whole = if has_port { written } else { format!("{written}:8500") };
    match address::server(&whole) {
        Ok(address @ (Address::Ip(_) | Address::Name { .. })) => Some(address),
        Ok(_) => {
            let why = Unfit::because("an agent is asked over TCP alone");
            section.sink.report(unfit(text, "`address` is `HOST:PORT` of a Consul agent".to_owned(), why));
            None
        }
        Err(why) => {
            section.sink.report(unfit(text, "`address` is `HOST:PORT` of a Consul agent".to_owned(), why));
            None
        }
    }
}
