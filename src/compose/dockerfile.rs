//! What does a Dockerfile say of the container? Its ports, its HEALTHCHECK, its command, for one of its stages.

use std::collections::BTreeMap;

use super::command::words;

/// What the last stage, or the one asked for, says, with what it takes over from earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dockerfile {
    /// The image that it begins with, where that is not a stage; empty: there is no FROM.
    pub(super) base: String,
    /// `EXPOSE`, and its line.
    pub(super) exposes: Vec<(u16, usize)>,
    /// `HEALTHCHECK`: `Some(false)` is NONE, `None` says nothing.
    pub(super) healthcheck: Option<bool>,
    /// `ENV`.
    pub(super) variables: BTreeMap<String, String>,
    /// `ENTRYPOINT`, in words.
    pub(super) entrypoint: Vec<String>,
    /// `CMD`, in words.
    pub(super) command: Vec<String>,
}

/// Reads a Dockerfile up to the end of `target`, or to its own end. What cannot be read is passed over.
pub(super) fn read(text: &str, target: Option<&str>) -> Dockerfile {
    let mut stages: Vec<(String, Dockerfile)> = Vec::new();
    let mut arguments = BTreeMap::new();
    for (line, instruction) in instructions(text) {
        let (name, rest) = instruction.split_once(char::is_whitespace).unwrap_or((&instruction, ""));
        let rest = rest.trim();
        if name.eq_ignore_ascii_case("FROM") {
            let wanted =
                |stage: &(String, Dockerfile)| target.is_some_and(|target| stage.0.eq_ignore_ascii_case(target));
            if stages.last().is_some_and(wanted) {
                break;
            }
            stages.push(stage(&filled(rest, &arguments), &stages));
            continue;
        }
        let Some((_, file)) = stages.last_mut() else {
            if name.eq_ignore_ascii_case("ARG") {
                assign(rest, &mut arguments);
            }
            continue;
        };
        match name.to_ascii_uppercase().as_str() {
            "ARG" => {
                let mut own = BTreeMap::new();
                assign(rest, &mut own);
                arguments.extend(own.into_iter().filter(|(_, value)| !value.is_empty()));
            }
            "ENV" => assign(&filled(rest, &arguments), &mut file.variables),
            "EXPOSE" => {
                let known = file.variables.iter().chain(&arguments);
                let known = known.map(|(name, value)| (name.clone(), value.clone())).collect();
                file.exposes.extend(exposed(&filled(rest, &known)).map(|port| (port, line)));
            }
            "HEALTHCHECK" => file.healthcheck = Some(!rest.eq_ignore_ascii_case("NONE")),
            "ENTRYPOINT" => {
                file.entrypoint = command(rest);
                // An entry point of its own forgets the command of the stage before.
                file.command.clear();
            }
            "CMD" => file.command = command(rest),
            _ => {}
        }
    }
    stages.pop().map(|(_, file)| file).unwrap_or_default()
}

/// `FROM [--platform=…] IMAGE [AS NAME]`: a stage of its own, or one that goes on where an earlier one ended.
fn stage(rest: &str, stages: &[(String, Dockerfile)]) -> (String, Dockerfile) {
    let words: Vec<&str> = rest.split_whitespace().filter(|word| !word.starts_with("--")).collect();
    let image = words.first().copied().unwrap_or_default();
    let name = match words.get(1) {
        Some(word) if word.eq_ignore_ascii_case("as") => words.get(2).copied().unwrap_or_default(),
        _ => "",
    };
    let earlier = stages.iter().find(|(stage, _)| !stage.is_empty() && stage.eq_ignore_ascii_case(image));
    let fresh = || Dockerfile { base: image.to_owned(), ..Dockerfile::default() };
    (name.to_owned(), earlier.map_or_else(fresh, |(_, file)| file.clone()))
}

/// Instructions with their line, continued lines joined and comments left out.
fn instructions(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (begin, mut instruction) = open.take().unwrap_or((number, String::new()));
        match line.strip_suffix('\\') {
            Some(line) => {
                instruction.push_str(line);
                instruction.push(' ');
                open = Some((begin, instruction));
            }
            None => {
                instruction.push_str(line);
                found.push((begin, instruction));
            }
        }
    }
    found.extend(open);
    found
}

/// `["a", "b"]`, or a line for a shell.
fn command(rest: &str) -> Vec<String> {
    match serde_json::from_str::<Vec<String>>(rest) {
        Ok(words) => words,
        Err(_) => vec!["sh".into(), "-c".into(), rest.to_owned()],
    }
}

fn exposed(rest: &str) -> impl Iterator<Item = u16> {
    let ports = rest.split_whitespace().filter_map(|word| match word.split_once('/') {
        Some((port, protocol)) => protocol.eq_ignore_ascii_case("tcp").then_some(port),
        None => Some(word),
    });
    let ranges = ports.filter_map(|port| {
        let (first, last) = port.split_once('-').unwrap_or((port, port));
        Some((first.parse::<u16>().ok()?, last.parse::<u16>().ok()?))
    });
    ranges.flat_map(|(first, last)| first..=last).collect::<Vec<_>>().into_iter()
}

/// `NAME=value NAME2="value 2"`, or the old `NAME value`.
fn assign(rest: &str, variables: &mut BTreeMap<String, String>) {
    let parts = words(rest);
    match parts.first().map(|first| first.contains('=')) {
        Some(true) => {
            let pairs = parts.iter().filter_map(|part| part.split_once('='));
            variables.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        _ => {
            let (name, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            variables.insert(name.to_owned(), value.trim().to_owned());
        }
    }
}

/// What is not known stays as it is, and so is no number.
fn filled(text: &str, known: &BTreeMap<String, String>) -> String {
    super::interpolate::interpolate(text, &|name| known.get(name).cloned()).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stage_says_what_the_container_is() {
        let text = "ARG VERSION=3\n# comment\nFROM python:${VERSION}-slim AS base\nEXPOSE 9\nENV PORT=8000 NAME=\"a b\"\n\
                    FROM rust AS build\nEXPOSE 7\nHEALTHCHECK CMD x\nFROM base\nEXPOSE $PORT 53/udp \\\n  9000-9001/tcp\n\
                    HEALTHCHECK --interval=1s \\\n  CMD [\"/weir\", \"healthcheck\"]\nENTRYPOINT [\"python\"]\nCMD app.py --x\n";
        let file = read(text, None);
        assert_eq!(file.base, "python:3-slim");
        assert_eq!(file.exposes, [(9, 4), (8000, 10), (9000, 10), (9001, 10)]);
        assert_eq!(file.healthcheck, Some(true));
        assert_eq!(file.variables["NAME"], "a b");
        assert_eq!(file.entrypoint, ["python"]);
        assert_eq!(file.command, ["sh", "-c", "app.py --x"]);

        let build = read(text, Some("build"));
        assert_eq!((build.base.as_str(), &build.exposes[..], build.healthcheck), ("rust", &[(7, 7)][..], Some(true)));
    }

    #[test]
    fn none_is_a_word_and_nothing_is_nothing() {
        assert_eq!(read("FROM a\nHEALTHCHECK NONE\n", None).healthcheck, Some(false));
        assert_eq!(read("FROM a\n", None).healthcheck, None);
        assert_eq!(read("", None), Dockerfile::default());
        assert_eq!(read("FROM\nEXPOSE x $ ${\nENV\nCMD\n\\", None).exposes, []);
    }
}
