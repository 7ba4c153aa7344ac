//! What stands in the file? Its TOML as a tree with spans, every `${NAME}` filled in, and what is wrong so far.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Env;
use super::diagnostic::{Diagnostic, Span};
use super::env::is_name;
use super::files::Files;
use super::syntax;

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: Value,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Value {
    Text(Text),
    /// `None`: more than 128 bits can hold.
    Integer(Option<i128>),
    Float,
    Switch(bool),
    Date,
    List(Vec<Node>),
    Table(Table),
    /// Something that was reported already.
    Broken,
}

/// A table; its span is that of its header, or of its braces.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) span: Span,
    pub(super) entries: Vec<(Key, Node)>,
}

/// A key and where it stands.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) span: Span,
}

/// A string whose `${…}` were filled in. What came from the environment must not be shown.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) span: Span,
    written: String,
    pieces: Vec<Piece>,
    /// Whether the file shows the string letter by letter, so that a part of it has a place of its own.
    verbatim: bool,
}

#[derive(Clone, Debug)]
enum Piece {
    File(String),
    Environment(String),
}

impl Text {
    /// A text in which nothing is filled in: a dollar is a dollar.
    pub(super) fn literal(span: Span, written: String) -> Text {
        Text { span, pieces: vec![Piece::File(written.replace('$', "$$"))], verbatim: false, written }
    }

    /// As it stands in the file: the only form that may be shown.
    pub(super) fn shown(&self) -> &str {
        &self.written
    }

    /// Whether a part of it came from the environment.
    pub(super) fn is_from_env(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Environment(_)))
    }

    /// Whether it is written with a `${…}`, be it that its default was used.
    pub(super) fn has_placeholder(&self) -> bool {
        self.pieces.len() > 1
            || self.is_from_env()
            || matches!(&self.pieces[..], [Piece::File(text)] if *text != self.written)
    }

    /// As a template reads it: what the environment said is read as if it stood in the file.
    pub(super) fn template(&self) -> String {
        self.pieces.iter().map(|(Piece::File(text) | Piece::Environment(text))| text.as_str()).collect()
    }

    /// Where variables of the request have no place: `$$` is a dollar, what the environment said is taken as it is.
    /// `Err`: the request variable (or lone dollar) it contains, as written in the file.
    pub(super) fn plain(&self) -> Result<String, String> {
        let mut plain = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Environment(text) => plain.push_str(text),
                Piece::File(text) if !text.contains('$') => plain.push_str(text),
                Piece::File(text) => {
                    let mut parts = text.split("$$");
                    plain.push_str(no_variable(parts.next().unwrap_or_default())?);
                    for part in parts {
                        plain.push('$');
                        plain.push_str(no_variable(part)?);
                    }
                }
            }
        }
        Ok(plain)
    }

    /// As a regular expression, in which a lone `$` has its own meaning.
    pub(super) fn pattern(&self) -> String {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Environment(text) => text.clone(),
            Piece::File(text) => text.replace("$$", "$"),
        });
        pieces.collect()
    }

    /// Where a part of the text stands in the file, as closely as can be said.
    pub(super) fn part(&self, part: Range<usize>) -> Span {
        if self.verbatim && part.end <= self.written.len() {
            self.span.start + 1 + part.start..self.span.start + 1 + part.end
        } else {
            self.span.clone()
        }
    }

    /// Where a word of the text stands; `word` must be a slice of what [`Text::template`] returned.
    pub(super) fn word(&self, of: &str, word: &str) -> Span {
        match (word.as_ptr() as usize).checked_sub(of.as_ptr() as usize) {
            Some(start) => self.part(start..start + word.len()),
            None => self.span.clone(),
        }
    }
}

/// The text, if there is no dollar in it; else the dollar and the name behind it.
fn no_variable(text: &str) -> Result<&str, String> {
    let Some(dollar) = text.find('$') else { return Ok(text) };
    let rest = &text[dollar + 1..];
    let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    Err(text[dollar..=dollar + length].to_owned())
}

/// What the walk over a file has found so far.
#[derive(Debug, Default)]
pub(super) struct Sink {
    found: RefCell<Vec<Diagnostic>>,
    /// What syntax errors made unreadable: nothing else is said about it.
    spoiled: RefCell<Vec<Span>>,
    /// The files that it names.
    pub(super) files: Files,
}

impl Sink {
    /// For a configuration beside these files.
    pub(super) fn new(files: Files) -> Sink {
        Sink { files, ..Sink::default() }
    }

    /// Reports a mistake or a warning.
    pub(super) fn report(&self, diagnostic: Diagnostic) {
        let place = diagnostic.place().map_or(0, |place| place.start);
        if !self.spoiled.borrow().iter().any(|spoiled| (spoiled.start..=spoiled.end).contains(&place)) {
            self.found.borrow_mut().push(diagnostic);
        }
    }

    /// Reports that something is missing or unused: what nobody can know if the syntax was broken somewhere.
    pub(super) fn report_absence(&self, diagnostic: Diagnostic) {
        if self.spoiled.borrow().is_empty() {
            self.report(diagnostic);
        }
    }

    /// Reports what is worth a word only if nothing else is wrong, since it may follow from that.
    pub(super) fn report_if_fine(&self, diagnostic: Diagnostic) {
        if !self.found.borrow().iter().any(Diagnostic::is_error) {
            self.report_absence(diagnostic);
        }
    }

    /// All that was found, in the order of the file, each once.
    pub(super) fn into_found(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|diagnostic| diagnostic.position());
        found.dedup();
        found
    }
}

/// Reads the text of a file. What syntax errors leave over is there as well.
pub(super) fn read(source: &str, env: &Env, sink: &Sink) -> Table {
    let (document, errors) = DeTable::parse_recoverable(source);
    let (mistakes, spoiled) = syntax::explain(source, document.get_ref(), &errors);
    mistakes.into_iter().for_each(|mistake| sink.report(mistake));
    sink.spoiled.replace(spoiled);
    Reader { source, env, sink }.table(0..0, document.into_inner())
}

struct Reader<'a> {
    source: &'a str,
    env: &'a Env,
    sink: &'a Sink,
}

impl Reader<'_> {
    fn table(&self, span: Span, table: DeTable<'_>) -> Table {
        let entries = table.into_iter().map(|(key, value)| {
            let span = key.span();
            (Key { name: key.into_inner().into_owned(), span }, self.node(value))
        });
        Table { span, entries: entries.collect() }
    }

    fn node(&self, value: Spanned<DeValue<'_>>) -> Node {
        let span = value.span();
        let value = match value.into_inner() {
            DeValue::String(text) => self.text(&span, &text).map_or(Value::Broken, Value::Text),
            DeValue::Integer(integer) => Value::Integer(i128::from_str_radix(integer.as_str(), integer.radix()).ok()),
            DeValue::Float(_) => Value::Float,
            DeValue::Boolean(switch) => Value::Switch(switch),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(list) => Value::List(list.into_iter().map(|value| self.node(value)).collect()),
            DeValue::Table(table) => Value::Table(self.table(span.clone(), table)),
        };
        Node { span, value }
    }

    /// Fills in `${NAME}` and `${NAME:-default}`; `None`: reported.
    fn text(&self, span: &Span, written: &str) -> Option<Text> {
        let inside = self.source.get(span.start + 1..span.end.saturating_sub(1));
        let mut text = Text {
            span: span.clone(),
            written: written.to_owned(),
            pieces: Vec::new(),
            verbatim: inside == Some(written),
        };
        let (mut rest, mut offset, mut file, mut whole) = (written, 0, String::new(), true);
        while let Some(dollar) = rest.find('$') {
            let behind = &rest[dollar + 1..];
            file.push_str(&rest[..dollar]);
            let taken = if behind.starts_with('$') {
                file.push_str("$$");
                dollar + 2
            } else if let Some(placeholder) = behind.strip_prefix('{') {
                let at = offset + dollar;
                let length = placeholder.find('}').unwrap_or(placeholder.len());
                let place = text.part(at..(at + length + 3).min(written.len()));
                let closed = length < placeholder.len();
                match self.placeholder(closed.then(|| &placeholder[..length]), place) {
                    Some(Piece::File(default)) => file.push_str(&default),
                    Some(filled) => {
                        text.pieces.push(Piece::File(std::mem::take(&mut file)));
                        text.pieces.push(filled);
                    }
                    None => whole = false,
                }
                (dollar + 2 + length + 1).min(rest.len())
            } else {
                file.push('$');
                dollar + 1
            };
            offset += taken;
            rest = &rest[taken..];
        }
        file.push_str(rest);
        text.pieces.push(Piece::File(file));
        text.verbatim &= !text.has_placeholder();
        whole.then_some(text)
    }

    /// What `${placeholder}` stands for; `None` (reported): nothing.
    fn placeholder(&self, placeholder: Option<&str>, place: Span) -> Option<Piece> {
        let Some(placeholder) = placeholder else {
            let mistake = Diagnostic::error("`${` is never closed").at(place);
            self.sink.report(mistake.help("write `${NAME}`, or `$${` for a dollar and a brace"));
            return None;
        };
        let (name, default) = match placeholder.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (placeholder, None),
        };
        if !is_name(name) {
            let mistake =
                Diagnostic::error(format!("`{name}` cannot be the name of an environment variable")).at(place);
            self.sink.report(mistake.help("write `${NAME}` or `${NAME:-default}`: letters, digits and `_`"));
            return None;
        }
        if default.is_some_and(|default| default.contains("${")) {
            let mistake = Diagnostic::error("a default cannot contain another `${…}`").at(place);
            self.sink.report(mistake.help("set a variable to the value wanted, or write the default itself"));
            return None;
        }
        match (self.env.get(name), default) {
            (None, None) => {
                self.sink.report(self.unset(name, place));
                None
            }
            (None | Some(""), Some(default)) => Some(Piece::File(default.to_owned())),
            (Some(value), _) => Some(Piece::Environment(value.to_owned())),
        }
    }

    fn unset(&self, name: &str, place: Span) -> Diagnostic {
        let mistake = Diagnostic::error(format!("the environment variable `{name}` is not set")).at(place);
        let mistake = match super::template::REQUEST_VARIABLES.iter().any(|(variable, _)| *variable == name) {
            true => mistake.note(format!("`${{…}}` is the environment's; the variable of the request is `${name}`")),
            false => mistake.label("neither in the environment nor in `.env`"),
        };
        mistake.help(format!("set it, write it into `.env` beside this file, or give a default: `${{{name}:-…}}`"))
    }
}
