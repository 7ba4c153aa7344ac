//! How is a mistake shown? As rustc does: file, line, column, the line itself, a caret, and what to type instead.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::redact;

/// A range of bytes of the file.
pub type Span = Range<usize>;

/// How many diagnostics are printed before the rest is only counted.
const MAX_SHOWN: usize = 100;

/// One mistake, or one warning.
///
/// Its texts name settings as they are written in the file; a value that came from the environment never appears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    severity: Severity,
    message: String,
    place: Option<Span>,
    label: String,
    context: Vec<(Span, String)>,
    /// The file that `place` and `context` are in: 0 is the configuration, others are counted from 1.
    file: usize,
    /// Places in other files.
    beside: Vec<(usize, Span, String)>,
    notes: Vec<String>,
    helps: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Error,
    Overdue,
    Warning,
}

impl Diagnostic {
    /// A mistake that refuses the file.
    pub fn error(message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Error, message.into())
    }

    /// What was right once and is not any more: a mistake for `weir check`, but no reason not to start again.
    pub fn overdue(message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Overdue, message.into())
    }

    /// Something allowed that is probably not meant.
    pub fn warning(message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Warning, message.into())
    }

    fn new(severity: Severity, message: String) -> Diagnostic {
        let (notes, helps, context) = (Vec::new(), Vec::new(), Vec::new());
        let (file, beside) = (0, Vec::new());
        Diagnostic { severity, message, place: None, label: String::new(), context, file, beside, notes, helps }
    }

    /// Where the caret points.
    pub fn at(mut self, place: Span) -> Diagnostic {
        self.place = Some(place);
        self
    }

    /// A few words beside the caret.
    pub fn label(mut self, label: impl Into<String>) -> Diagnostic {
        self.label = label.into();
        self
    }

    /// Another place that has to do with it.
    pub fn context(mut self, place: Span, label: impl Into<String>) -> Diagnostic {
        self.context.push((place, label.into()));
        self
    }

    /// In which of the files the caret is: 0, as without this, is the configuration itself, others are counted from 1
    /// in the order of [`Diagnostics::with_sources`].
    pub fn in_file(self, file: usize) -> Diagnostic {
        Diagnostic { file, ..self }
    }

    /// A place in another of the files that has to do with it.
    pub fn beside(mut self, file: usize, place: Span, label: impl Into<String>) -> Diagnostic {
        self.beside.push((file, place, label.into()));
        self
    }

    /// Why it is a mistake.
    pub fn note(mut self, note: impl Into<String>) -> Diagnostic {
        self.notes.push(note.into());
        self
    }

    /// What to type instead.
    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.helps.push(help.into());
        self
    }

    /// Whether it refuses the file.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Whether `weir check` must not call the file fine.
    pub fn is_mistake(&self) -> bool {
        self.severity != Severity::Warning
    }

    /// The sentence that says what is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where the caret points, in bytes; `None`: the file as a whole.
    pub fn place(&self) -> Option<Span> {
        self.place.clone()
    }

    /// What sorts diagnostics into the order of the file; those about the file as a whole come last.
    pub(super) fn position(&self) -> (usize, usize) {
        self.place.as_ref().map_or((usize::MAX, 0), |place| (place.start, place.end))
    }
}

/// Why a text is no value of its setting. Both sentences may contain the text, so they must not be shown if it came
/// from the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What is wrong.
    pub(super) why: String,
    /// What to type instead.
    pub(super) help: Option<String>,
}

impl Unfit {
    pub(super) fn because(why: impl Into<String>) -> Unfit {
        Unfit { why: why.into(), help: None }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Unfit {
        Unfit { help: Some(help.into()), ..self }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.help {
            Some(help) => write!(f, "{}; {help}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

/// All that was found in one file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    name: String,
    text: Arc<str>,
    list: Vec<Diagnostic>,
    /// Name and text of the other files that diagnostics point into.
    others: Vec<(String, Arc<str>)>,
    files: Vec<PathBuf>,
}

impl Diagnostics {
    /// Of the file `name` that contains `text`, of which secrets are not shown.
    pub fn new(name: &str, text: &str, list: Vec<Diagnostic>) -> Diagnostics {
        let others = Vec::new();
        Diagnostics { name: name.to_owned(), text: redact::secrets(text).into(), list, others, files: Vec::new() }
    }

    /// With the other files that diagnostics point into, by name and text.
    pub fn with_sources(self, others: Vec<(String, String)>) -> Diagnostics {
        let others = others.into_iter().map(|(name, text)| (name, redact::secrets(&text).into())).collect();
        Diagnostics { others, ..self }
    }

    fn source(&self, file: usize) -> (&str, &str) {
        let other = file.checked_sub(1).and_then(|file| self.others.get(file));
        other.map_or((&self.name, &self.text), |(name, text)| (name, text))
    }

    /// With the files that were read beside it, which may be to blame.
    pub(super) fn with_files(self, files: Vec<PathBuf>) -> Diagnostics {
        Diagnostics { files, ..self }
    }

    /// The files that were read beside it.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|diagnostic| diagnostic.is_error()).count()
    }

    /// How many mistakes `weir check` counts.
    pub fn mistakes(&self) -> usize {
        self.list.iter().filter(|diagnostic| diagnostic.is_mistake()).count()
    }

    /// One line for a log: the first, with its place (`peers.json:3:9: …`), and how many more there are.
    pub fn summary(&self) -> String {
        let Some(first) = self.list.first() else { return format!("{}: nothing is wrong", self.name) };
        let mut line = self.name.clone();
        if let Some(place) = &first.place {
            let before = &self.text[..visible(&self.text, place).start];
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            line += &format!(":{}:{column}", before.matches('\n').count() + 1);
        }
        line += &format!(": {}", first.message);
        match self.list.len() - 1 {
            0 => line,
            more => format!("{line} and {more} more"),
        }
    }

    /// Prints to stderr: in colour on a terminal, unless NO_COLOR is set.
    pub fn print(&self) {
        anstream::eprint!("{}", self.render(&Renderer::styled()));
    }

    /// The errors without their places: for what was never in a file.
    pub fn sentences(&self) -> String {
        let sentence = |one: &Diagnostic| {
            let parts = std::iter::once(&one.message).chain(Some(&one.label).filter(|label| !label.is_empty()));
            let parts: Vec<&str> = parts.chain(&one.notes).chain(&one.helps).map(String::as_str).collect();
            parts.join("; ")
        };
        let errors: Vec<String> = self.list.iter().filter(|one| one.is_error()).map(sentence).collect();
        errors.join(". ")
    }

    fn render(&self, renderer: &Renderer) -> String {
        let mut shown: String = self.list.iter().take(MAX_SHOWN).map(|one| self.render_one(one, renderer)).collect();
        if let Some(more @ 1..) = self.list.len().checked_sub(MAX_SHOWN) {
            shown.push_str(&format!("... and {more} more\n"));
        }
        shown
    }

    fn render_one(&self, one: &Diagnostic, renderer: &Renderer) -> String {
        let level = if one.is_mistake() { Level::ERROR } else { Level::WARNING };
        let mut group = Group::with_title(level.primary_title(&one.message));
        let (name, text) = self.source(one.file);
        if let Some(place) = &one.place {
            let label = (!one.label.is_empty()).then_some(one.label.as_str());
            let primary = AnnotationKind::Primary.span(visible(text, place)).label(label);
            let others = one
                .context
                .iter()
                .map(|(place, label)| AnnotationKind::Context.span(visible(text, place)).label(Some(label.as_str())));
            let snippet = Snippet::source(text).path(name).annotation(primary).annotations(others);
            group = group.element(snippet);
        }
        if one.place.is_none() && !name.is_empty() {
            group = group.element(Origin::path(name));
        }
        for (file, place, label) in &one.beside {
            let (name, text) = self.source(*file);
            let annotation = AnnotationKind::Context.span(visible(text, place)).label(Some(label.as_str()));
            group = group.element(Snippet::source(text).path(name).annotation(annotation));
        }
        let notes = one.notes.iter().map(|note| Level::NOTE.message(note));
        let helps = one.helps.iter().map(|help| Level::HELP.message(help));
        let report = [group.elements(notes).elements(helps)];
        format!("{}\n\n", renderer.render(&report))
    }
}

/// The span, put on character boundaries, inside the text, and not over the end of its first line: a caret under one
/// line says enough.
fn visible(text: &str, place: &Span) -> Span {
    let mut start = place.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let line = text[start..].find('\n').map_or(text.len(), |length| start + length);
    let mut end = place.end.clamp(start, line);
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

/// Without colour.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl std::error::Error for Diagnostics {}
