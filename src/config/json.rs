//! What stands in a JSON file? The same tree with spans that a TOML file becomes, so that one decoder reads both.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::diagnostic::{Diagnostic, Span};
use super::written::{Key, Node, Sink, Table, Text, Value};

/// Nothing that weir reads is nested deeper.
const DEPTH: usize = 8;

/// Reads the text of a file; `None`: it is not JSON, which is reported.
pub(super) fn read(source: &str, sink: &Sink) -> Option<Node> {
    match serde_json::from_str::<&RawValue>(source) {
        Ok(raw) => Some(Reader { source, sink }.node(raw, DEPTH)),
        Err(error) => {
            let line_start =
                source.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
            let at = (line_start + error.column().saturating_sub(1)).min(source.len());
            // serde_json's own words end with the place, which is shown beside them anyway.
            let words = error.to_string();
            let words = words.split(" at line ").next().unwrap_or_default();
            sink.report(Diagnostic::error(format!("this is not JSON: {words}")).at(at..at + 1));
            None
        }
    }
}

struct Reader<'a> {
    source: &'a str,
    sink: &'a Sink,
}

impl<'a> Reader<'a> {
    fn node(&self, raw: &'a RawValue, depth: usize) -> Node {
        let span = self.span(raw);
        let text = raw.get();
        let value = match text.as_bytes().first() {
            Some(b'[' | b'{') if depth == 0 => self.refuse(&span, "this is nested too deeply"),
            Some(b'[') => {
                let items: Vec<&'a RawValue> = serde_json::from_str(text).unwrap_or_default();
                Value::List(items.into_iter().map(|item| self.node(item, depth - 1)).collect())
            }
            Some(b'{') => {
                let Members(members) = serde_json::from_str(text).unwrap_or_default();
                let entry = |(name, raw): (String, &'a RawValue)| {
                    let span = self.key(&name, self.span(raw));
                    (Key { name, span }, self.node(raw, depth - 1))
                };
                Value::Table(Table { span: span.clone(), entries: members.into_iter().map(entry).collect() })
            }
            Some(b'"') => {
                let written: String = serde_json::from_str(text).unwrap_or_default();
                // JSON files are written by programs: nothing is filled in.
                Value::Text(Text::literal(span.clone(), written))
            }
            Some(b't') => Value::Switch(true),
            Some(b'f') => Value::Switch(false),
            Some(b'n') => self.refuse(&span, "`null` has no meaning here"),
            _ if text.contains(['.', 'e', 'E']) => Value::Float,
            _ => Value::Integer(text.parse().ok()),
        };
        Node { span, value }
    }

    fn refuse(&self, span: &Span, message: &str) -> Value {
        self.sink.report(Diagnostic::error(message).at(span.clone()));
        Value::Broken
    }

    /// A raw value is a slice of the source.
    fn span(&self, raw: &RawValue) -> Span {
        let start = (raw.get().as_ptr() as usize).saturating_sub(self.source.as_ptr() as usize);
        start..start + raw.get().len()
    }

    /// Where the key of a value stands; the value itself if the key is written with escapes.
    fn key(&self, name: &str, value: Span) -> Span {
        let before = self.source.get(..value.start).unwrap_or_default().trim_end();
        let before = before.strip_suffix(':').unwrap_or(before).trim_end();
        let quoted = before.strip_suffix('"').and_then(|rest| rest.strip_suffix(name)?.strip_suffix('"'));
        quoted.map_or(value, |rest| rest.len()..before.len())
    }
}

/// The members of an object in their order; a name that comes twice is there twice.
#[derive(Default)]
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
