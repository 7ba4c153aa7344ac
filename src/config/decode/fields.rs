//! What do texts mean that are more than one value: templates, lists of names, tables of HTTP fields?

use super::section::Section;
use super::setting::{plain_of, text_of};
use crate::config::diagnostic::{Diagnostic, Span, Unfit};
use crate::config::model::{HedgeAfter, NextUpstream};
use crate::config::suggest::closest;
use crate::config::template::{Part, Template, Use};
use crate::config::units::{self, TimeUnit};
use crate::config::written::{Key, Node, Sink, Text, Value};

/// Fields that weir writes itself, because they frame the message or concern one connection alone (RFC 9110 §7.6.1,
/// RFC 9112 §6). Setting them from outside would let a request be read in two ways.
const OWN_FIELDS: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "date",
];

/// The settings with a grammar of their own that a level may inherit from the one around it. `None`: not written here.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    pub(super) next_upstream: Option<NextUpstream>,
    pub(super) hedge_after: Option<Option<HedgeAfter>>,
    pub(super) set_header: Option<Vec<(String, Template)>>,
    pub(super) hide_header: Option<Vec<String>>,
    pub(super) add_header: Option<Vec<(String, Template)>>,
}

impl Inherited {
    pub(super) fn read(section: &Section<'_>) -> Inherited {
        Inherited {
            next_upstream: section.node("proxy_next_upstream").map(|node| next_upstream(node, section.sink)),
            hedge_after: section.node("hedge_after").map(|node| hedge_after(node, section.sink)),
            set_header: headers(section, "proxy_set_header", Use::Request),
            hide_header: hide_header(section),
            add_header: headers(section, "add_header", Use::Answer),
        }
    }
}

/// The first level that has the setting, else the default, which is empty but for `proxy_next_upstream`.
pub(super) fn innermost<T: Clone>(levels: &[&Inherited], of: impl Fn(&Inherited) -> &Option<T>) -> Option<T> {
    levels.iter().find_map(|level| of(level).clone())
}

/// A template; `None` (reported): it is none.
pub(super) fn template(text: &Text, key: &str, place: Use, sink: &Sink) -> Option<Template> {
    let template = text.template();
    match Template::parse(&template, place) {
        Ok(template) => Some(template),
        Err(_) if text.is_from_env() => {
            let mistake = Diagnostic::error(format!("`{key}` contains an unknown variable")).at(text.span.clone());
            let mistake = mistake.note("what comes from the environment is read as if it were written here");
            sink.report(mistake.help("a dollar in the environment's value is written `$$`"));
            None
        }
        Err(mistakes) => {
            for mistake in mistakes {
                sink.report(Diagnostic::error(mistake.message).at(text.part(mistake.at)).help(mistake.help));
            }
            None
        }
    }
}

/// A text that is not what its setting takes. Why is said only if the text is the file's own.
pub(super) fn unfit(text: &Text, message: String, unfit: Unfit) -> Diagnostic {
    let mistake = Diagnostic::error(message).at(text.span.clone());
    match (text.is_from_env(), unfit.help) {
        (true, _) => mistake.label("what comes from the environment here is something else"),
        (false, None) => mistake.label(unfit.why),
        (false, Some(help)) => mistake.label(unfit.why).help(help),
    }
}

/// A text, or a list of texts, with request variables refused; what is neither is reported.
pub(super) fn texts<'a>(section: &Section<'a>, key: &str) -> Vec<(&'a Text, String)> {
    let Some(node) = section.node(key) else { return Vec::new() };
    let nodes = match &node.value {
        Value::List(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let takes = format!("`{key}` takes text, or a list of texts");
    nodes.iter().filter_map(|node| plain_of(node, key, &takes, section.sink)).collect()
}

/// The one text that a setting takes.
pub(super) fn one_text<'a>(section: &Section<'a>, key: &str) -> Option<(&'a Text, String)> {
    plain_of(section.node(key)?, key, &format!("`{key}` takes text in quotes"), section.sink)
}

/// The one template of a request that a setting takes.
pub(super) fn one_template<'a>(section: &Section<'a>, key: &str) -> Option<(&'a Text, Template)> {
    let text = text_of(section.node(key)?, &format!("`{key}` takes text in quotes"), section.sink)?;
    template(text, key, Use::Request, section.sink).map(|template| (text, template))
}

/// Whether a field may be called so (RFC 9110 §5.1: a token).
pub(in crate::config) fn is_field_name(name: &str) -> bool {
    let symbols = "!#$%&'*+-.^_`|~";
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || symbols.contains(c))
}

fn headers(section: &Section<'_>, key: &str, place: Use) -> Option<Vec<(String, Template)>> {
    let table = section.table(key)?;
    let mut headers: Vec<(String, Template)> = Vec::new();
    for (name, node) in &table.entries {
        if let Some(mistake) = refuse_field(name, key) {
            section.sink.report(mistake);
            continue;
        }
        if headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name.name)) {
            let mistake = Diagnostic::error(format!("`{}` is set twice", name.name)).at(name.span.clone());
            section.sink.report(mistake.note("names of fields are the same in upper and lower case"));
            continue;
        }
        let text = text_of(node, "the value of a field is text in quotes", section.sink);
        let value = text.and_then(|text| header_value(text, &name.name, place, section.sink));
        headers.extend(value.map(|value| (name.name.clone(), value)));
    }
    Some(headers)
}

fn refuse_field(name: &Key, key: &str) -> Option<Diagnostic> {
    let at = |message: String| Diagnostic::error(message).at(name.span.clone());
    if !is_field_name(&name.name) {
        return Some(at(format!("{:?} cannot be the name of a field", name.name)).help("letters, digits and `-`"));
    }
    if !OWN_FIELDS.contains(&name.name.to_ascii_lowercase().as_str()) {
        return None;
    }
    let mistake = at(format!("`{}` cannot be set in `{key}`: weir writes it itself", name.name));
    Some(match name.name.to_ascii_lowercase().as_str() {
        "upgrade" | "connection" => mistake.help("remove the line: WebSocket and keep-alive work without it"),
        _ => mistake.help("remove the line"),
    })
}

fn header_value(text: &Text, name: &str, place: Use, sink: &Sink) -> Option<Template> {
    let value = template(text, name, place, sink)?;
    let control =
        |part: &Part| matches!(part, Part::Literal(text) if text.chars().any(|c| c.is_control() && c != '\t'));
    if value.parts.iter().any(control) {
        let mistake = Diagnostic::error("the value of a field cannot contain line breaks or control characters");
        sink.report(mistake.at(text.span.clone()));
        return None;
    }
    Some(value)
}

fn hide_header(section: &Section<'_>) -> Option<Vec<String>> {
    section.node("proxy_hide_header")?;
    let mut names = Vec::new();
    for (text, name) in texts(section, "proxy_hide_header") {
        if is_field_name(&name) {
            names.push(name.to_ascii_lowercase());
        } else {
            let why = Unfit::because("letters, digits and `-` are allowed");
            section.sink.report(unfit(text, "this cannot be the name of a field".to_owned(), why));
        }
    }
    Some(names)
}

pub(super) fn next_upstream(node: &Node, sink: &Sink) -> NextUpstream {
    let takes = "`proxy_next_upstream` takes words in one text: `\"error timeout\"`";
    let Some((text, words)) = plain_of(node, "proxy_next_upstream", takes, sink) else {
        return NextUpstream::default();
    };
    parse_next_upstream(&words, |word, unfit_word| {
        let message = "`proxy_next_upstream` takes `off`, or words that name failures".to_owned();
        let mistake = unfit(text, message, unfit_word);
        let place: Span = if text.is_from_env() { text.span.clone() } else { text.word(&words, word) };
        sink.report(mistake.at(place));
    })
}

/// `None`: off, or reported.
fn hedge_after(node: &Node, sink: &Sink) -> Option<HedgeAfter> {
    let message = "`hedge_after` takes a time, a percentile, or `off`: `\"100ms\"`, `\"p95\"`";
    let (text, plain) = plain_of(node, "hedge_after", message, sink)?;
    let parsed = match plain.strip_prefix('p').map(str::parse::<u8>) {
        _ if plain == "off" => return None,
        Some(Ok(percent @ 50..=99)) => Ok(HedgeAfter::Percentile(percent)),
        Some(_) => Err(Unfit::because("percentiles are `p50` to `p99`".to_owned())),
        None => match units::time(&plain, TimeUnit::Milliseconds) {
            Ok(time) if time.is_zero() => Err(Unfit::because("at least 1ms".to_owned())),
            Ok(time) => Ok(HedgeAfter::Time(time)),
            Err(why) => Err(Unfit::because(why)),
        },
    };
    parsed.map_err(|why| sink.report(unfit(text, message.to_owned(), why))).ok()
}

/// The failures that a text names; `wrong` is told every word that names none.
pub(super) fn parse_next_upstream<'a>(words: &'a str, mut wrong: impl FnMut(&'a str, Unfit)) -> NextUpstream {
    const WORDS: [&str; 17] = [
        "off",
        "error",
        "timeout",
        "invalid_header",
        "non_idempotent",
        "http_403",
        "http_404",
        "http_429",
        "http_500",
        "http_502",
        "http_503",
        "http_504",
        "grpc_cancelled",
        "grpc_deadline_exceeded",
        "grpc_resource_exhausted",
        "grpc_internal",
        "grpc_unavailable",
    ];
    let mut next = NextUpstream::default();
    if words.trim().is_empty() {
        wrong(words, Unfit::because("it is empty").help("to try nothing again, write `\"off\"`"));
    }
    for word in words.split_whitespace() {
        match word {
            "off" if words.trim() == "off" => {}
            "off" => wrong(word, Unfit::because("`off` stands alone")),
            "on" => wrong(word, Unfit::because("`on` is no such word").help("write `\"error timeout\"`")),
            "error" => next.error = true,
            "timeout" => next.timeout = true,
            "invalid_header" => next.invalid_header = true,
            "non_idempotent" => next.non_idempotent = true,
            "grpc_cancelled" => next.grpc.push(1),
            "grpc_deadline_exceeded" => next.grpc.push(4),
            "grpc_resource_exhausted" => next.grpc.push(8),
            "grpc_internal" => next.grpc.push(13),
            "grpc_unavailable" => next.grpc.push(14),
            _ => match word.strip_prefix("http_").and_then(|status| status.parse().ok()) {
                Some(status) if WORDS.contains(&word) => next.statuses.push(status),
                Some(_) => wrong(word, Unfit::because("only 403, 404, 429, 500, 502, 503 and 504 can be tried again")),
                None => {
                    let unfit = Unfit::because(format!("`{word}` is no such word"));
                    wrong(
                        word,
                        match closest(word, WORDS) {
                            Some(known) => unfit.help(format!("did you mean `{known}`?")),
                            None => {
                                unfit.help(format!("there are {}", WORDS.map(|word| format!("`{word}`")).join(", ")))
                            }
                        },
                    );
                }
            },
        }
    }
    next.grpc.sort_unstable();
    next.grpc.dedup();
    next.statuses.sort_unstable();
    next.statuses.dedup();
    next
}
