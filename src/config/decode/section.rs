//! What does a table of the file say? Every key is looked up in the directive table and its value read, once, whether
//! or not anybody asks for it later; asking cannot fail.

use std::time::Duration;

use super::setting::{Setting, mistyped, read_default, read_setting};
use super::unknown::unknown_key;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::directives::{Directive, Fallback, Place};
use crate::config::suggest::closest;
use crate::config::written::{Key, Node, Sink, Table, Value};

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

    /// What holds for a text that is not written; empty if the directive table has nothing.
    pub(super) fn default_text(&self, key: &str) -> String {
        match Directive::find(self.place, key).map(|directive| directive.default) {
            Some(Fallback::Is(text)) => text.trim_matches('"').to_owned(),
            _ => String::new(),
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
        let section = levels().find(|section| section.has(key)).or_else(|| levels().next_back());
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
