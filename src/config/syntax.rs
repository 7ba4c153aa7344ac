//! Why is this no TOML? The parser's errors, without those that only follow from others, in words that help.

use toml::de::{DeTable, DeValue, Error};

use super::diagnostic::{Diagnostic, Span};
use super::directives::{Directive, Kind};

/// The mistakes, and the ranges of the file whose content nobody can trust any more.
pub(super) fn explain(source: &str, document: &DeTable<'_>, errors: &[Error]) -> (Vec<Diagnostic>, Vec<Span>) {
    let mut errors: Vec<(Span, &str)> =
        errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
    errors.sort_by_key(|(place, _)| (place.start, place.end));
    let mut unclosed = Vec::new();
    if errors.iter().any(|(_, message)| message.starts_with("unclosed array")) {
        unclosed_lists(source, document, &mut unclosed);
    }
    let (mut mistakes, mut spoiled) = (Vec::new(), Vec::new());
    for list in unclosed {
        let mistake = Diagnostic::error("this list is never closed").at(list.start..list.start + 1);
        mistakes.push(mistake.help("write `]` behind its last entry"));
        spoiled.push(list);
    }
    let mut within_duplicate = 0;
    for (place, message) in errors {
        let line = line_of(source, place.start);
        if looks_like_nginx(&source[line.clone()]) {
            let mistake = Diagnostic::error("this is not TOML: it looks like a file of nginx").at(line);
            let everything = 0..source.len();
            return (vec![mistake.help(NGINX_IN_TOML)], Vec::from([everything]));
        }
        if spoiled.iter().any(|spoiled: &Span| spoiled.contains(&place.start) || spoiled.end == place.start) {
            continue;
        }
        if message == "duplicate key" {
            if place.start >= within_duplicate {
                let header = source[line.clone()].trim_start().starts_with('[');
                within_duplicate = if header { table_end(source, line.end) } else { 0 };
                mistakes.push(duplicate(source, &line, place));
            }
            continue;
        }
        mistakes.push(reworded(source, &line, message).at(place));
        spoiled.push(line);
    }
    (mistakes, spoiled)
}

const NGINX_IN_TOML: &str = "write\n    [upstream.web]\n    servers = [\"app1:5000\", \"app2:5000\"]";

/// `upstream web {`, `server {`, `listen 80;`.
fn looks_like_nginx(line: &str) -> bool {
    let line = line.trim();
    let begins = line.starts_with(|c: char| c.is_ascii_alphabetic());
    begins && !line.contains(['=', '[']) && (line.ends_with('{') || line.ends_with(';'))
}

/// Where the table that begins before `at` ends: at the next header, or at the end of the file.
fn table_end(source: &str, at: usize) -> usize {
    source.get(at..).and_then(|rest| rest.find("\n[")).map_or(source.len(), |offset| at + offset)
}

/// The outermost lists that reach to the end of the file without a bracket.
fn unclosed_lists(source: &str, table: &DeTable<'_>, found: &mut Vec<Span>) {
    for (_, value) in table.iter() {
        let span = value.span();
        match value.get_ref() {
            DeValue::Array(list) => {
                let text = source.get(span.clone()).unwrap_or_default();
                let last = source.get(span.end..).is_some_and(|behind| behind.trim().is_empty());
                if last && text.starts_with('[') && !text.starts_with("[[") && !text.ends_with(']') {
                    found.push(span);
                    continue;
                }
                for entry in list.iter().filter_map(|entry| entry.get_ref().as_table()) {
                    unclosed_lists(source, entry, found);
                }
            }
            DeValue::Table(table) => unclosed_lists(source, table, found),
            _ => {}
        }
    }
}

fn duplicate(source: &str, line: &Span, place: Span) -> Diagnostic {
    let key = source.get(place.clone()).unwrap_or_default();
    if source[line.clone()].trim_start().starts_with("[upstream.") {
        let mistake = Diagnostic::error(format!("duplicate upstream `{key}`")).at(place);
        return mistake.help("give one of the two another name, or write all servers into one list");
    }
    let mistake = Diagnostic::error(format!("`{key}` is written twice")).at(place).label("the second one");
    match source[line.clone()].trim_start().strip_prefix('[') {
        Some(_) if matches!(key, "server" | "location") => {
            mistake.help("several of them are written with double brackets: `[[server]]`, `[[server.location]]`")
        }
        _ => mistake.help("keep one of the two"),
    }
}

fn reworded(source: &str, line: &Span, message: &str) -> Diagnostic {
    let (key, value) = source[line.clone()].split_once('=').unwrap_or_default();
    let value = value.split('#').next().unwrap_or_default().trim();
    if message.starts_with("string values must be quoted") {
        return match value {
            "" => Diagnostic::error("a value is missing").help("write one behind the `=`, or remove the line"),
            "on" | "yes" if is_switch(key) => Diagnostic::error("a switch is `true` or `false`").help("write `true`"),
            "off" | "no" if is_switch(key) => Diagnostic::error("a switch is `true` or `false`").help("write `false`"),
            _ if value.contains(['"', '[', '{']) => Diagnostic::error("text must be quoted").help("write it in quotes"),
            _ => Diagnostic::error("text must be quoted").help(format!("write `\"{}\"`", value.trim_end_matches(';'))),
        };
    }
    if message.starts_with("invalid basic string") || message.starts_with("invalid literal string") {
        return Diagnostic::error(format!("this text cannot be read: {message}"))
            .help("a text ends on its own line with the quote it began with; a backslash in \"…\" is written `\\\\`, or use '…'");
    }
    Diagnostic::error(format!("this is not TOML: {message}"))
}

fn is_switch(key: &str) -> bool {
    Directive::all().any(|directive| directive.key == key.trim() && directive.kind == Kind::Switch)
}

/// The line of a byte, without its newline.
fn line_of(source: &str, at: usize) -> Span {
    // By bytes, which a newline cannot be part of a character of: the place itself need not be between characters.
    let (before, behind) = source.as_bytes().split_at(at.min(source.len()));
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let end = behind.iter().position(|byte| *byte == b'\n').map_or(source.len(), |length| before.len() + length);
    start..end
}
