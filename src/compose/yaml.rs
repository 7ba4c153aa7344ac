//! What stands in a YAML file? A tree that knows where each value stands, with aliases followed and `<<` merged.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::Place;
use crate::config::Diagnostic;

/// Nothing that compose knows is nested deeper.
const MAX_DEPTH: usize = 64;
/// How many entries `<<` may bring in, all together: what a few lines of aliases of aliases could make endless.
const MAX_MERGED: usize = 100_000;

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
    /// `!reset` or `!override`: what an earlier file says of it is forgotten.
    pub(super) overrides: bool,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    /// Text, a number, a switch: YAML's types mean little to compose.
    Scalar(String),
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

/// One `key: value`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Rc<Node>,
}

impl Node {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Rc<Node>> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The entries; none if it is no map.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list, or the value itself in place of a list of one.
    pub(super) fn items(self: &Rc<Node>) -> Vec<Rc<Node>> {
        match &self.value {
            Value::List(items) => items.clone(),
            Value::Null => Vec::new(),
            _ => vec![Rc::clone(self)],
        }
    }
}

/// Reads the first document of a file, the `file`th of the project.
///
/// # Errors
/// It is not YAML, or too deep, or its aliases make too much of it.
pub(super) fn parse(text: &str, file: usize) -> Result<Rc<Node>, Box<Diagnostic>> {
    Builder::new(text, file).document()
}

struct Builder<'a> {
    text: &'a str,
    file: usize,
    /// Where each character begins, in bytes; none if they are all of one byte.
    offsets: Vec<usize>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    merged: usize,
}

/// A list or a map that has not ended.
struct Open {
    place: Place,
    anchor: usize,
    overrides: bool,
    content: Content,
}

enum Content {
    List(Vec<Rc<Node>>),
    Map { entries: Vec<Entry>, key: Option<(String, Place)> },
}

impl<'a> Builder<'a> {
    fn new(text: &'a str, file: usize) -> Builder<'a> {
        let offsets = match text.is_ascii() {
            true => Vec::new(),
            false => text.char_indices().map(|(at, _)| at).collect(),
        };
        Builder { text, file, offsets, open: Vec::new(), anchors: HashMap::new(), merged: 0 }
    }

    fn document(mut self) -> Result<Rc<Node>, Box<Diagnostic>> {
        for event in Parser::new_from_str(self.text) {
            let (event, span) = event.map_err(|error| {
                let place = self.place(*error.marker(), *error.marker());
                self.mistake(format!("this is not YAML: {}", error.info()), &place)
            })?;
            let place = self.place(span.start, span.end);
            let whole = match event {
                Event::Scalar(text, style, anchor, tag) => {
                    let overrides = tag.is_some_and(|tag| overrides(&tag.suffix));
                    let plain = style == ScalarStyle::Plain;
                    let value = match plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                        true => Value::Null,
                        false => Value::Scalar(text.into_owned()),
                    };
                    self.ended(Node { place, value, overrides }, anchor)?
                }
                Event::Alias(anchor) => match self.anchors.get(&anchor) {
                    Some(node) => {
                        let node = Rc::clone(node);
                        self.put(node, place)?
                    }
                    None => return Err(self.mistake("this alias stands within what it refers to".to_owned(), &place)),
                },
                Event::SequenceStart(anchor, tag) => {
                    let overrides = tag.is_some_and(|tag| overrides(&tag.suffix));
                    self.begin(Open { place, anchor, overrides, content: Content::List(Vec::new()) })?
                }
                Event::MappingStart(anchor, tag) => {
                    let overrides = tag.is_some_and(|tag| overrides(&tag.suffix));
                    let content = Content::Map { entries: Vec::new(), key: None };
                    self.begin(Open { place, anchor, overrides, content })?
                }
                Event::SequenceEnd | Event::MappingEnd => self.end(&place)?,
                Event::DocumentEnd => break,
                _ => None,
            };
            if let Some(whole) = whole {
                return Ok(whole);
            }
        }
        Ok(Rc::new(Node { place: Place { file: self.file, span: 0..0 }, value: Value::Null, overrides: false }))
    }

    fn begin(&mut self, open: Open) -> Result<Option<Rc<Node>>, Box<Diagnostic>> {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.mistake("this is nested too deeply".to_owned(), &open.place));
        }
        self.open.push(open);
        Ok(None)
    }

    fn end(&mut self, end: &Place) -> Result<Option<Rc<Node>>, Box<Diagnostic>> {
        let Some(open) = self.open.pop() else { return Ok(None) };
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => Value::Map(self.merge(entries)?),
        };
        let place = Place { file: self.file, span: open.place.span.start..end.span.end.max(open.place.span.end) };
        self.ended(Node { place, value, overrides: open.overrides }, open.anchor)
    }

    fn ended(&mut self, node: Node, anchor: usize) -> Result<Option<Rc<Node>>, Box<Diagnostic>> {
        let (node, place) = (Rc::new(node), None::<Place>);
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        let place = place.unwrap_or_else(|| node.place.clone());
        self.put(node, place)
    }

    /// Puts a value where it belongs; the whole document, if it is that.
    fn put(&mut self, node: Rc<Node>, place: Place) -> Result<Option<Rc<Node>>, Box<Diagnostic>> {
        match self.open.last_mut().map(|open| &mut open.content) {
            None => return Ok(Some(node)),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, key }) => match key.take() {
                Some((key, place)) => entries.push(Entry { key, place, node }),
                None => match &node.value {
                    Value::Scalar(name) => {
                        let again = name != "<<" && entries.iter().any(|entry| entry.key == *name);
                        if again {
                            let message = format!("`{name}` is written twice");
                            return Err(self.mistake(message, &place));
                        }
                        *key = Some((name.clone(), place));
                    }
                    _ => return Err(self.mistake("a key must be a word".to_owned(), &place)),
                },
            },
        }
        Ok(None)
    }

    /// What `<<` brings in; what stands in the map itself wins, then what was brought in first.
    fn merge(&mut self, written: Vec<Entry>) -> Result<Vec<Entry>, Box<Diagnostic>> {
        if written.iter().all(|entry| entry.key != "<<") {
            return Ok(written);
        }
        let (merges, mut entries): (Vec<Entry>, Vec<Entry>) = written.into_iter().partition(|entry| entry.key == "<<");
        let mut known: std::collections::HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        for merge in merges {
            for source in merge.node.items() {
                for entry in source.entries() {
                    self.merged += 1;
                    if self.merged > MAX_MERGED {
                        return Err(self.mistake("`<<` brings in too much".to_owned(), &merge.place));
                    }
                    if known.insert(entry.key.clone()) {
                        entries.push(entry.clone());
                    }
                }
            }
        }
        Ok(entries)
    }

    fn place(&self, start: Marker, end: Marker) -> Place {
        let byte = |marker: Marker| match self.offsets.is_empty() {
            true => marker.index().min(self.text.len()),
            false => self.offsets.get(marker.index()).copied().unwrap_or(self.text.len()),
        };
        Place { file: self.file, span: byte(start)..byte(end) }
    }

    fn mistake(&self, message: String, place: &Place) -> Box<Diagnostic> {
        Box::new(place.of(Diagnostic::error(message)))
    }
}

/// compose's tags for a file that changes another.
fn overrides(tag: &str) -> bool {
    matches!(tag, "reset" | "override")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(node: &Node) -> String {
        match &node.value {
            Value::Null => "~".into(),
            Value::Scalar(text) => text.clone(),
            Value::List(items) => format!("[{}]", items.iter().map(|item| shown(item)).collect::<Vec<_>>().join(", ")),
            Value::Map(entries) => {
                let entries = entries.iter().map(|entry| format!("{}: {}", entry.key, shown(&entry.node)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
        }
    }

    #[test]
    fn a_file_becomes_a_tree_with_aliases_followed_and_merges_made() {
        for (text, tree) in [
            ("a: 1\nb: [x, 'y: z', \"\"]\n", "{a: 1, b: [x, y: z, ]}"),
            ("a:\nb: ~\nc: null\nd: 'null'\n", "{a: ~, b: ~, c: ~, d: null}"),
            ("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\n", "{x: {a: 1, b: 2}, y: {b: 3, a: 1}}"),
            ("x: &x {a: 1}\nz: &z {a: 2, c: 3}\ny: {<<: [*x, *z]}\n", "{x: {a: 1}, z: {a: 2, c: 3}, y: {a: 1, c: 3}}"),
            ("x: &x [1]\ny: *x\n", "{x: [1], y: [1]}"),
            ("a: |\n  two\n  lines\n", "{a: two\nlines\n}"),
            ("a: 1\n---\nb: 2\n", "{a: 1}"),
            ("", "~"),
            ("# nothing\n", "~"),
        ] {
            assert_eq!(parse(text, 0).map(|node| shown(&node)), Ok(tree.to_owned()), "{text}");
        }
    }

    #[test]
    fn places_are_bytes_also_behind_letters_of_several() {
        let text = "größe: \"ä\"\nports:\n  - \"80:80\"\n";
        let tree = parse(text, 0).expect("YAML");
        let ports = &tree.entries()[1];
        assert_eq!(&text[ports.place.span.clone()], "ports");
        let port = &ports.node.items()[0];
        assert_eq!(&text[port.place.span.clone()], "\"80:80\"");
    }

    #[test]
    fn what_is_not_yaml_is_told_where() {
        for (text, told) in [
            ("a: [1, 2\nb: 3\n", "this is not YAML"),
            ("a: 1\na: 2\n", "`a` is written twice"),
            ("a: &a [*a]\n", "this alias stands within what it refers to"),
            ("a: *b\n", "this is not YAML"),
            ("a: \t- b\n\t- c\n", "this is not YAML"),
        ] {
            let mistake = parse(text, 0).expect_err(text);
            assert!(mistake.message().starts_with(told) && mistake.place().is_some(), "{text}: {}", mistake.message());
        }
        let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
        assert!(parse(&deep, 0).is_err());
    }

    #[test]
    fn merges_of_merges_end() {
        let mut text = String::from("a0: &a0 {k: 1}\n");
        for n in 1..2_000 {
            let from = vec![format!("*a{}", n - 1); 60].join(", ");
            text += &format!("a{n}: &a{n} {{k{n}: 1, <<: [{from}]}}\n");
        }
        assert_eq!(
            parse(&text, 0).map(|_| ()).map_err(|error| error.message().to_owned()),
            Err("`<<` brings in too much".into())
        );
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[a-z&*<:\\-\\[\\]{}#|>!%@'\",? \n\t~0-9ä]{0,80}") {
            let _ = parse(&text, 0);
        }
    }
}
