//! What does a server or a location answer without asking anybody? `return`. (nginx: `ngx_http_rewrite_module`, `return`.)

use super::fields::{one_template, template, unfit};
use super::section::Section;
use super::setting::refuse_kind;
use crate::config::diagnostic::{Diagnostic, Unfit};
use crate::config::directives::Place;
use crate::config::model::Return;
use crate::config::template::{Part, Template, Use, Variable};
use crate::config::written::{Node, Sink, Table, Text, Value};

/// The statuses with which a `Location` means that the client goes there.
const REDIRECTS: [u64; 5] = [301, 302, 303, 307, 308];
const USAGE: &str = "`return` takes a status, a text, or a table: `204`, `\"hello\"`, `{ status = 301, location = \"https://$host$request_uri\" }`";

/// Reads `return`, if it is written here.
pub(super) fn read(section: &Section<'_>) -> Option<Return> {
    let node = section.node("return")?;
    let sink = section.sink;
    match &node.value {
        Value::Integer(Some(status @ 200..=599)) => {
            u16::try_from(*status).ok().and_then(|status| bare(status, node, sink))
        }
        Value::Text(text) => {
            if let Some(mistake) = in_nginxs_words(text.shown()) {
                sink.report(mistake.at(node.span.clone()));
                return None;
            }
            let template = template(text, "return", Use::Request, sink)?;
            Some(match is_url(&template) {
                true => {
                    location(text, template, sink).map(|url| Return { status: 302, location: Some(url), text: None })?
                }
                false => Return { status: 200, location: None, text: Some(template) },
            })
        }
        Value::Table(table) => of_table(table, sink),
        Value::Integer(_) => {
            sink.report(Diagnostic::error(USAGE).at(node.span.clone()).label("a status is a number from 200 to 599"));
            None
        }
        _ => {
            refuse_kind(node, USAGE, sink);
            None
        }
    }
}

/// What nginx writes as `return 301 /new`, in one text: it would be sent as it stands, with status 200.
fn in_nginxs_words(text: &str) -> Option<Diagnostic> {
    let (status, rest) = text.split_once(' ').unwrap_or((text, ""));
    let number = status.parse::<u64>().ok().filter(|number| status.len() == 3 && (200..=599).contains(number))?;
    let rest = rest.trim();
    let table = match REDIRECTS.contains(&number) {
        true if rest.is_empty() => format!("{{ status = {number}, location = \"https://$host$request_uri\" }}"),
        true => format!("{{ status = {number}, location = {rest:?} }}"),
        false if rest.is_empty() => status.to_owned(),
        false => format!("{{ status = {number}, text = {rest:?} }}"),
    };
    let mistake = Diagnostic::error("a status does not stand in the text of an answer");
    Some(mistake.help(format!("write `return = {table}`, or `{{ text = {text:?} }}` if that is to be sent")))
}

fn bare(status: u16, node: &Node, sink: &Sink) -> Option<Return> {
    if REDIRECTS.contains(&u64::from(status)) {
        sink.report(goes_nowhere(status.into()).at(node.span.clone()));
        return None;
    }
    Some(Return { status, location: None, text: None })
}

fn goes_nowhere(status: u64) -> Diagnostic {
    let mistake = Diagnostic::error(format!("a redirect ({status}) says where to"));
    mistake.help(format!("write `return = {{ status = {status}, location = \"https://$host$request_uri\" }}`"))
}

fn of_table(table: &Table, sink: &Sink) -> Option<Return> {
    let section = Section::read(Place::Return, table, sink);
    let (url, text) = (one_template(&section, "location"), one_template(&section, "text"));
    let status = section.optional_number("status");
    let place = |key: &str| section.key_span(key).unwrap_or(section.span.clone());
    if section.has("location") && section.has("text") {
        let mistake = Diagnostic::error("`return` takes `location` or `text`, not both").at(place("text"));
        sink.report(mistake.help("remove one of the two"));
        return None;
    }
    if let Some((written, url)) = url {
        let status = status.unwrap_or(302);
        if !REDIRECTS.contains(&status) {
            let mistake =
                Diagnostic::error(format!("an answer with status {status} leads nowhere")).at(place("location"));
            sink.report(mistake.help("write 301, 302, 303, 307 or 308, or `text` instead of `location`"));
            return None;
        }
        let location = Some(location(written, url, sink)?);
        return Some(Return { status: u16::try_from(status).unwrap_or(302), location, text: None });
    }
    let is_reported = |key: &str, read: bool| section.has(key) && !read;
    if section.has("location") || is_reported("text", text.is_some()) || is_reported("status", status.is_some()) {
        return None;
    }
    let Some(status) = status.or(text.as_ref().map(|_| 200)) else {
        let mistake = Diagnostic::error("`return` does not say what").at(section.span.clone());
        sink.report_absence(mistake.help("write `return = { status = 404, text = \"not here\" }`"));
        return None;
    };
    if REDIRECTS.contains(&status) {
        sink.report(goes_nowhere(status).at(place("status")));
        return None;
    }
    let bodiless = matches!(status, 204 | 304 | 444);
    if let (true, Some((written, _))) = (bodiless, &text) {
        let why = Unfit::because(format!("an answer with status {status} has no body"));
        sink.report(unfit(written, "this text would never be sent".to_owned(), why));
    }
    Some(Return { status: u16::try_from(status).unwrap_or(200), location: None, text: text.map(|(_, text)| text) })
}

/// Whether a text alone is where to go, as in nginx.
fn is_url(template: &Template) -> bool {
    match template.parts.first() {
        Some(Part::Literal(text)) => text.starts_with("http://") || text.starts_with("https://"),
        Some(Part::Variable(variable)) => *variable == Variable::Scheme,
        None => false,
    }
}

fn location(written: &Text, url: Template, sink: &Sink) -> Option<Template> {
    let unfit_character = url.parts.iter().find_map(|part| match part {
        Part::Literal(text) => text.chars().find(|c| !c.is_ascii_graphic()),
        Part::Variable(_) => None,
    });
    let why = match unfit_character {
        Some(c) => Unfit::because(format!("{c:?} cannot stand in a URL")).help("write it as `%` and two digits"),
        None if url.parts.is_empty() => Unfit::because("it is empty"),
        None => return Some(url),
    };
    sink.report(unfit(written, "`location` takes a URL".to_owned(), why));
    None
}
