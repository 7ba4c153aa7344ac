//! Is this value what the setting takes? The common kinds: numbers, times, sizes, switches, words, texts.

use std::time::Duration;

use crate::config::diagnostic::{Diagnostic, Unfit};
use crate::config::directives::{Directive, Kind};
use crate::config::suggest::closest;
use crate::config::units;
use crate::config::written::{Node, Sink, Text, Value};

/// A value of one of the common kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Switch(bool),
    /// A number, a size in bytes, or a percentage.
    Number(u64),
    Time(Duration),
    Word(&'static str),
    Text(String),
    /// A kind of its own: whoever asks reads the node.
    Own,
    /// Reported already.
    Broken,
}

/// The default of a setting, which the directive table holds as one would write it.
pub(super) fn read_default(kind: Kind, default: &str) -> Setting {
    match default {
        "true" => Setting::Switch(true),
        "false" => Setting::Switch(false),
        _ => read_text(kind, default.trim_matches('"')).unwrap_or(Setting::Own),
    }
}

/// `Err(None)`: reported already.
pub(super) fn read_setting(directive: &'static Directive, node: &Node) -> Result<Setting, Option<Box<Diagnostic>>> {
    let mistyped = |why: Option<Unfit>| Err(Some(Box::new(mistyped(directive, node, why))));
    match (directive.kind, &node.value) {
        (_, Value::Broken) => Err(None),
        (Kind::Own(_), _) => Ok(Setting::Own),
        (Kind::Switch, Value::Switch(switch)) => Ok(Setting::Switch(*switch)),
        (kind @ (Kind::Number(..) | Kind::Size(..) | Kind::Time(..)), Value::Integer(Some(integer))) => {
            match read_text(kind, &integer.to_string()) {
                Ok(setting) => Ok(setting),
                Err(unfit) => mistyped(Some(unfit)),
            }
        }
        (kind, Value::Text(text)) => {
            let plain = plain(text, directive.key).map_err(Some)?;
            let quoted = matches!(kind, Kind::Switch | Kind::Number(..)) && !text.has_placeholder();
            match read_text(kind, &plain) {
                Ok(_) if quoted => {
                    let help = format!("write it without quotes: `{} = {}`", directive.key, text.shown());
                    mistyped(Some(Unfit::because("this is text").help(help)))
                }
                Ok(setting) => Ok(setting),
                Err(_) if text.is_from_env() => mistyped(Some(from_env())),
                Err(unfit) => mistyped(Some(unfit)),
            }
        }
        _ => mistyped(None),
    }
}

/// The text of a setting in which variables of the request have no place.
pub(super) fn plain(text: &Text, key: &str) -> Result<String, Box<Diagnostic>> {
    text.plain().map_err(|variable| {
        let mistake = Diagnostic::error(format!("`{key}` cannot contain a variable of the request"));
        mistake.at(text.span.clone()).label(format!("`{variable}`")).help("write `$$` for a dollar").into()
    })
}

fn read_text(kind: Kind, text: &str) -> Result<Setting, Unfit> {
    let unfit = |why: String| Unfit::because(why);
    match kind {
        Kind::Text => Ok(Setting::Text(text.to_owned())),
        Kind::Own(_) => Ok(Setting::Own),
        Kind::Switch => match text {
            "true" => Ok(Setting::Switch(true)),
            "false" => Ok(Setting::Switch(false)),
            _ => Err(unfit(String::new())),
        },
        Kind::Number(min, max) => match text.parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(Setting::Number(number)),
            Ok(number) if number < min => Err(unfit(format!("at least {min}"))),
            Ok(_) => Err(unfit(format!("at most {max}"))),
            Err(_) if text.starts_with('-') => Err(unfit("it is negative".to_owned())),
            Err(_) => Err(unfit(String::new())),
        },
        Kind::Size(min, max) => match units::size(text).map_err(unfit)? {
            size if size < min => Err(unfit(format!("at least {min} bytes"))),
            size if size > max => Err(unfit(format!("at most {max} bytes"))),
            size => Ok(Setting::Number(size)),
        },
        Kind::Time(unit, min) => match units::time(text, unit).map_err(unfit)? {
            time if time < Duration::from_millis(min) => Err(unfit(format!("at least {min}ms"))),
            time => Ok(Setting::Time(time)),
        },
        Kind::Percent => match text.strip_suffix('%').map(str::parse::<u64>) {
            Some(Ok(percent)) if percent <= 100 => Ok(Setting::Number(percent)),
            Some(Ok(_)) => Err(unfit("more than 100%".to_owned())),
            _ => Err(unfit(String::new())),
        },
        Kind::Choice(words) => match words.iter().find(|word| **word == text) {
            Some(word) => Ok(Setting::Word(word)),
            None => Err(Unfit {
                why: String::new(),
                help: closest(text, words.iter().copied()).map(|word| format!("did you mean `\"{word}\"`?")),
            }),
        },
    }
}

fn from_env() -> Unfit {
    Unfit::because("what comes from the environment here is something else")
}

/// A value that is not of the setting's kind.
pub(super) fn mistyped(directive: &Directive, node: &Node, unfit: Option<Unfit>) -> Diagnostic {
    let key = directive.key;
    let Unfit { why, help } = unfit.unwrap_or_else(|| Unfit::because(format!("this is {}", what(&node.value))));
    let mistake =
        Diagnostic::error(format!("`{key}` takes {}", expected(directive.kind))).at(node.span.clone()).label(why);
    match help.or_else(|| hint(directive, node)) {
        Some(help) => mistake.help(help),
        None => mistake,
    }
}

/// What a kind takes, for "`key` takes …".
fn expected(kind: Kind) -> String {
    match kind {
        Kind::Switch => "`true` or `false`".to_owned(),
        Kind::Number(0, max) if max >= u64::from(u32::MAX) => "a whole number, 0 or more".to_owned(),
        Kind::Number(min, max) if max >= u64::from(u32::MAX) => format!("a whole number, {min} or more"),
        Kind::Number(min, max) => format!("a whole number from {min} to {max}"),
        Kind::Size(..) => "a size: bytes, or with `k`, `m`, `g`: `\"64k\"`".to_owned(),
        Kind::Time(units::TimeUnit::Seconds, _) => "a time in whole seconds: `\"10s\"`, `\"1m30s\"`".to_owned(),
        Kind::Time(units::TimeUnit::Milliseconds, _) => "a time: `\"500ms\"`, `\"10s\"`, `\"1m30s\"`".to_owned(),
        Kind::Percent => "a percentage: `\"50%\"`".to_owned(),
        Kind::Choice(words) => {
            "one of ".to_owned() + &words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
        }
        Kind::Text => "text in quotes".to_owned(),
        Kind::Own(grammar) => grammar.to_owned(),
    }
}

fn hint(directive: &Directive, node: &Node) -> Option<String> {
    match (directive.key, &node.value) {
        ("weight", Value::Integer(Some(0))) => Some("to take a server out, write `down = true`".to_owned()),
        ("server" | "location" | "stream", Value::Table(_)) => {
            let prefix = if directive.key == "location" { "server." } else { "" };
            Some(format!("write `[[{prefix}{}]]` with double brackets", directive.key))
        }
        (key, Value::Integer(Some(number @ 0..=100))) if directive.kind == Kind::Percent => {
            Some(format!("write `{key} = \"{number}%\"`"))
        }
        _ => None,
    }
}

/// The text that a setting takes. Anything else is reported, with what the setting takes.
pub(super) fn text_of<'a>(node: &'a Node, takes: &str, sink: &Sink) -> Option<&'a Text> {
    match &node.value {
        Value::Text(text) => Some(text),
        _ => {
            refuse_kind(node, takes, sink);
            None
        }
    }
}

/// The same, with what it says: variables of the request have no place in it.
pub(super) fn plain_of<'a>(node: &'a Node, key: &str, takes: &str, sink: &Sink) -> Option<(&'a Text, String)> {
    let text = text_of(node, takes, sink)?;
    plain(text, key).map(|plain| (text, plain)).map_err(|mistake| sink.report(*mistake)).ok()
}

/// Reports a value that is not of the kind that its setting takes.
pub(super) fn refuse_kind(node: &Node, takes: &str, sink: &Sink) {
    if let Some(mistake) = other_kind(node, takes) {
        sink.report(mistake);
    }
}

/// That a value is not of the kind that its setting takes; `None`: it was reported already.
pub(super) fn other_kind(node: &Node, takes: &str) -> Option<Diagnostic> {
    let is_known = matches!(node.value, Value::Broken);
    let mistake = || Diagnostic::error(takes).at(node.span.clone()).label(format!("this is {}", what(&node.value)));
    (!is_known).then(mistake)
}

/// What a value is, for "this is …".
pub(super) fn what(value: &Value) -> &'static str {
    match value {
        Value::Text(text) if text.is_from_env() => "text from the environment",
        Value::Text(_) => "text",
        Value::Integer(None) => "a number far too large",
        Value::Integer(_) => "a number",
        Value::Float => "a fraction",
        Value::Switch(_) => "a switch",
        Value::Date => "a date",
        Value::List(_) => "a list",
        Value::Table(_) => "a table",
        Value::Broken => "unreadable",
    }
}
