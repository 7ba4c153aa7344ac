//! What does a table of the file say? Every key is looked up in the directive table and its value read, once, whether
//! or not anybody asks for it later; asking cannot fail.

use std::time::Duration;

use crate::config::diagnostic::{Diagnostic, Span, Unfit};
use crate::config::directives::{Directive, ELSEWHERE, Fallback, Kind, Place};
use crate::config::suggest::closest;
use crate::config::units;
use crate::config::written::{Key, Node, Sink, Table, Text, Value};

/// A table, read.
pub(super) struct Section<'a> {
    pub(super) place: Place,
    pub(super) span: Span,
    pub(super) sink: &'a Sink,
    entries: Vec<Entry<'a>>,
    /// Known keys that unknown ones were taken for: they are not missing, but misspelled.
    misspelled: Vec<&'static str>,
}

struct Entry<'a> {
    directive: &'static Directive,
    key: &'a Key,
    node: &'a Node,
    setting: Setting,
}

/// A value of one of the common kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Setting {
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

impl<'a> Section<'a> {
    /// Reads a table that stands in `place`.
    pub(super) fn read(place: Place, table: &'a Table, sink: &'a Sink) -> Section<'a> {
        let mut section =
            Section { place, span: table.span.clone(), sink, entries: Vec::new(), misspelled: Vec::new() };
        for (key, node) in &table.entries {
            match Directive::find(place, &key.name) {
                Some(directive) => {
                    let setting = read_setting(directive, node).unwrap_or_else(|mistake| {
                        mistake.into_iter().for_each(|mistake| sink.report(*mistake));
                        Setting::Broken
                    });
                    section.entries.push(Entry { directive, key, node, setting });
                }
                None => {
                    sink.report(unknown_key(place, key));
                    section.misspelled.extend(closest(&key.name, Directive::of(place).map(|directive| directive.key)));
                }
            }
        }
        section
    }

    /// The value of a key of a kind of its own, if it is written.
    pub(super) fn node(&self, key: &str) -> Option<&'a Node> {
        self.entry(key).map(|entry| entry.node)
    }

    /// Where a key is written.
    pub(super) fn key_span(&self, key: &str) -> Option<Span> {
        self.entry(key).map(|entry| entry.key.span.clone())
    }

    /// Whether a key is written, be it wrongly.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// A text, if it is written.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        match &self.entry(key)?.setting {
            Setting::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// A number, if it is written.
    pub(super) fn optional_number(&self, key: &str) -> Option<u64> {
        match self.entry(key)?.setting {
            Setting::Number(number) => Some(number),
            _ => None,
        }
    }

    /// A time, if it is written.
    pub(super) fn optional_time(&self, key: &str) -> Option<Duration> {
        match self.entry(key)?.setting {
            Setting::Time(time) => Some(time),
            _ => None,
        }
    }

    /// The node of a key that must be written; reports if it is not.
    pub(super) fn required(&self, key: &str, example: &str) -> Option<&'a Node> {
        let node = self.node(key);
        if node.is_none() && !self.misspelled.contains(&key) {
            let mistake = Diagnostic::error(format!("`{key}` is missing")).at(self.span.clone());
            self.sink.report_absence(mistake.help(format!("write `{example}`")));
        }
        node
    }

    /// A table of its own below this one.
    pub(super) fn table(&self, key: &str) -> Option<&'a Table> {
        let entry = self.entry(key)?;
        match &entry.node.value {
            Value::Table(table) => Some(table),
            Value::Broken => None,
            _ => {
                self.sink.report(mistyped(entry.directive, entry.node, None));
                None
            }
        }
    }

    /// Several tables of one name below this one: `[[key]]`.
    pub(super) fn tables(&self, key: &str) -> Vec<&'a Table> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let nodes = match &entry.node.value {
            Value::List(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(entry.node),
        };
        let mut tables = Vec::new();
        for node in nodes {
            match &node.value {
                // `[server]` instead of `[[server]]` is a table where a list is due: the same meaning as long as it
                // is the only one, but the next one would be refused as a duplicate, so it is refused now.
                Value::Table(table) if matches!(entry.node.value, Value::List(_)) => tables.push(table),
                Value::Broken => {}
                _ => self.sink.report(mistyped(entry.directive, node, None)),
            }
        }
        tables
    }

    fn entry(&self, key: &str) -> Option<&Entry<'a>> {
        debug_assert!(Directive::find(self.place, key).is_some(), "{key} is no setting of {:?}", self.place);
        self.entries.iter().find(|entry| entry.key.name == key)
    }
}

/// Sections of which the inner ones win over the outer: a location, its server, the top of the file.
pub(super) struct Levels<'s, 'a>(pub(super) &'s [&'s Section<'a>]);

/// Asking for values that have a default. Asking for a key that the directive table does not have with that kind is a
/// mistake of this program, which the test of defaults finds.
pub(super) trait Settings<'a> {
    fn innermost(&self, key: &str) -> (&Section<'a>, Place);

    fn switch(&self, key: &str) -> bool {
        matches!(value(self.innermost(key), key), Setting::Switch(true))
    }

    /// A number, a size in bytes, or a percentage.
    fn number(&self, key: &str) -> u64 {
        match value(self.innermost(key), key) {
            Setting::Number(number) => number,
            _ => 0,
        }
    }

    fn time(&self, key: &str) -> Duration {
        match value(self.innermost(key), key) {
            Setting::Time(time) => time,
            _ => Duration::ZERO,
        }
    }

    fn word(&self, key: &str) -> &'static str {
        match value(self.innermost(key), key) {
            Setting::Word(word) => word,
            _ => "",
        }
    }
}

impl<'a> Settings<'a> for Section<'a> {
    fn innermost(&self, _key: &str) -> (&Section<'a>, Place) {
        (self, self.place)
    }
}

impl<'a> Settings<'a> for Levels<'_, 'a> {
    fn innermost(&self, key: &str) -> (&Section<'a>, Place) {
        let levels = || self.0.iter().filter(|section| Directive::find(section.place, key).is_some());
        let section = levels().find(|section| section.has(key)).or_else(|| levels().last());
        let section = section.unwrap_or(&self.0[0]);
        (section, section.place)
    }
}

fn value((section, place): (&Section<'_>, Place), key: &str) -> Setting {
    let written = section.entry(key).map(|entry| &entry.setting).filter(|setting| **setting != Setting::Broken);
    written.cloned().unwrap_or_else(|| match Directive::find(place, key) {
        Some(Directive { default: Fallback::Is(default), kind, .. }) => read_default(*kind, default),
        _ => Setting::Own,
    })
}

/// The default of a setting, which the directive table holds as one would write it.
fn read_default(kind: Kind, default: &str) -> Setting {
    match default {
        "true" => Setting::Switch(true),
        "false" => Setting::Switch(false),
        _ => read_text(kind, default.trim_matches('"')).unwrap_or(Setting::Own),
    }
}

/// `Err(None)`: reported already.
fn read_setting(directive: &'static Directive, node: &Node) -> Result<Setting, Option<Box<Diagnostic>>> {
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
            let plain = plain(text, directive.key).map_err(|mistake| Some(Box::new(mistake)))?;
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
pub(super) fn plain(text: &Text, key: &str) -> Result<String, Diagnostic> {
    text.plain().map_err(|variable| {
        let mistake = Diagnostic::error(format!("`{key}` cannot contain a variable of the request"));
        mistake.at(text.span.clone()).label(format!("`{variable}`")).help("write `$$` for a dollar")
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
fn mistyped(directive: &Directive, node: &Node, unfit: Option<Unfit>) -> Diagnostic {
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
        ("server" | "location", Value::Table(_)) => {
            let prefix = if directive.key == "location" { "server." } else { "" };
            Some(format!("write `[[{prefix}{}]]` with double brackets", directive.key))
        }
        (key, Value::Integer(Some(number @ 0..=100))) if directive.kind == Kind::Percent => {
            Some(format!("write `{key} = \"{number}%\"`"))
        }
        _ => None,
    }
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

/// A key that the directive table does not have in that place.
fn unknown_key(place: Place, key: &Key) -> Diagnostic {
    let name = key.name.as_str();
    let mistake = |message: String| Diagnostic::error(message).at(key.span.clone());
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    };
    if let Some((.., instead)) = ELSEWHERE.iter().find(|(places, pattern, _)| places.contains(&place) && fits(pattern))
    {
        return mistake(format!("`{name}` is not a setting of weir")).note(*instead);
    }
    let here = Directive::of(place).map(|directive| directive.key);
    let elsewhere: Vec<Place> =
        Place::ALL.into_iter().filter(|place| Directive::find(*place, name).is_some()).collect();
    if let Some(first) = elsewhere.first() {
        let places: Vec<&str> = elsewhere.iter().map(|place| place.phrase()).collect();
        let mistake = mistake(format!("`{name}` cannot stand {}", place.phrase()));
        let mistake = mistake.help(format!("it stands {}", places.join(", or ")));
        return match first {
            Place::Top => mistake.help("what belongs to the top must come before the first line in [brackets]"),
            _ => mistake,
        };
    }
    if let Some(known) = closest(name, here) {
        return mistake(format!("unknown setting `{name}`")).help(format!("did you mean `{known}`?"));
    }
    let everywhere = Place::ALL.into_iter().flat_map(|place| Directive::of(place).map(move |found| (place, found.key)));
    let (places, keys): (Vec<Place>, Vec<&str>) = everywhere.unzip();
    let mistake = mistake(format!("unknown setting `{name}`"));
    match closest(name, keys.iter().copied()) {
        Some(known) => {
            let place = keys.iter().position(|key| *key == known).map_or("", |index| places[index].phrase());
            mistake.help(format!("did you mean `{known}`, which stands {place}?"))
        }
        None => mistake.help("every setting is in docs/configuration.md and in config/full.toml"),
    }
}
