//! Which URL does the application's own configuration name? `-c KEY`, as a .NET configuration would find it: the
//! environment first, then settings files; `RngApi:Url` is `Url` within `RngApi`.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::file;

/// Settings files are small, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Where a key is looked up.
pub(super) struct Settings {
    variables: Vec<(String, String)>,
    files: Vec<PathBuf>,
    /// The files were named: it is a mistake if one is missing.
    named: bool,
}

impl Settings {
    /// In these variables, then in the files that were named; with none, in `appsettings.ENVIRONMENT.json`,
    /// `appsettings.json`, `settings.json` and `settings.toml` of the current folder.
    pub(super) fn new(variables: impl IntoIterator<Item = (String, String)>, named: &[PathBuf]) -> Settings {
        let variables: Vec<_> = variables.into_iter().collect();
        let usual = || {
            let environment = ["DOTNET_ENVIRONMENT", "ASPNETCORE_ENVIRONMENT"];
            let environment = environment.iter().find_map(|name| variable(&variables, name)).unwrap_or("Production");
            let own = format!("appsettings.{environment}.json");
            [&own, "appsettings.json", "settings.json", "settings.toml"].map(PathBuf::from).to_vec()
        };
        let files = if named.is_empty() { usual() } else { named.to_vec() };
        Settings { variables, files, named: !named.is_empty() }
    }

    /// The first value that the key has.
    ///
    /// # Errors
    /// A file that cannot be read, or no value anywhere: says where it was looked for, and shows no other value.
    pub(super) fn find(&self, key: &str) -> Result<String, String> {
        let spelled = key.replace(':', "__");
        for name in [spelled.as_str(), key] {
            if let Some(value) = variable(&self.variables, name) {
                return Ok(value.to_owned());
            }
        }
        let mut looked = vec![format!("the environment variable {spelled}")];
        for path in &self.files {
            match read(path) {
                Ok(document) => match lookup(&document, key) {
                    Some(value) => return Ok(value),
                    None => looked.push(path.display().to_string()),
                },
                Err(Unreadable::Missing) if !self.named => {}
                Err(Unreadable::Missing) => return Err(format!("there is no file {}", path.display())),
                Err(Unreadable::Because(why)) => return Err(format!("{}: {why}", path.display())),
            }
        }
        Err(format!("not set: looked at {}", looked.join(", ")))
    }
}

/// As .NET does, without regard to case; but the exact name first.
fn variable<'a>(variables: &'a [(String, String)], wanted: &str) -> Option<&'a str> {
    let exact = variables.iter().find(|(name, _)| name == wanted);
    let found = exact.or_else(|| variables.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)))?;
    Some(found.1.as_str()).filter(|value| !value.is_empty())
}

enum Unreadable {
    Missing,
    Because(String),
}

fn read(path: &Path) -> Result<Value, Unreadable> {
    let because = |why: String| Unreadable::Because(why);
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Unreadable::Missing,
        _ => because(format!("cannot be read: {error}")),
    })?;
    let text = file::text_of(file, MAX_FILE).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => because(error.to_string()),
        _ => because(format!("cannot be read: {error}")),
    })?;
    if path.extension().is_some_and(|extension| extension == "toml") {
        // The parser's own words quote the file, and a settings file holds secrets.
        return toml::from_str(&text).map_err(|error| because(format!("it is not TOML: {}", error.message())));
    }
    serde_json::from_str(&plain_json(&text))
        .map_err(|error| because(format!("it is not JSON, at line {} column {}", error.line(), error.column())))
}

/// The text or number that a key leads to, without regard to case. A name may itself hold a colon: `"RngApi:Url"`.
fn lookup(value: &Value, key: &str) -> Option<String> {
    match value {
        Value::Object(members) => {
            let ends = key.match_indices(':').map(|(at, _)| at).chain([key.len()]);
            ends.into_iter().find_map(|end| {
                let (head, rest) = key.split_at(end);
                let same = |(name, _): &(&String, &Value)| name.eq_ignore_ascii_case(head);
                let exact = members.get(head).or_else(|| members.iter().find(same).map(|(_, value)| value))?;
                match rest.strip_prefix(':') {
                    Some(rest) => lookup(exact, rest),
                    None => scalar(exact),
                }
            })
        }
        Value::Array(items) => {
            let (index, rest) = key.split_once(':').map_or((key, None), |(index, rest)| (index, Some(rest)));
            let item = items.get(index.parse::<usize>().ok()?)?;
            rest.map_or_else(|| scalar(item), |rest| lookup(item, rest))
        }
        _ => None,
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(switch) => Some(switch.to_string()),
        _ => None,
    }
}

/// What .NET allows in a settings file and JSON does not: comments, a comma behind the last item, a byte order mark.
/// Each is replaced by blanks, so that places stay.
fn plain_json(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut plain = String::with_capacity(text.len());
    let mut comma = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '"' => string_length(rest),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest[2..].find("*/").map_or(rest.len(), |end| end + 4),
            _ => c.len_utf8(),
        };
        let (piece, behind) = rest.split_at(taken);
        match c {
            '/' if taken > 1 => plain.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
            ',' => {
                comma = Some(plain.len());
                plain.push(',');
            }
            '}' | ']' => {
                if let Some(comma) = comma.take() {
                    plain.replace_range(comma..=comma, " ");
                }
                plain.push(c);
            }
            c => {
                if !c.is_whitespace() {
                    comma = None;
                }
                plain.push_str(piece);
            }
        }
        rest = behind;
    }
    plain
}

/// The length of the string a text begins with, with its quotes; all of it if the string never ends.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_variable_is_spelled_with_two_underscores_or_with_the_colon() {
        for (name, found) in
            [("RngApi__Url", true), ("RngApi:Url", true), ("RNGAPI__URL", true), ("RngApi_Url", false), ("Url", false)]
        {
            let settings = Settings::new(variables(&[(name, "http://api/rng")]), &[]);
            assert_eq!(settings.find("RngApi:Url").is_ok(), found, "{name}");
        }
        let both = Settings::new(variables(&[("RNGAPI__URL", "no"), ("RngApi__Url", "exact")]), &[]);
        assert_eq!(both.find("RngApi:Url").as_deref(), Ok("exact"));
        let empty = Settings::new(variables(&[("RngApi__Url", "")]), &[]);
        assert_eq!(empty.find("RngApi:Url"), Err("not set: looked at the environment variable RngApi__Url".to_owned()));
    }

    #[test]
    fn a_key_leads_through_sections_and_lists_without_regard_to_case() {
        let document: Value = serde_json::from_str(
            r#"{"RngApi": {"Url": "http://api/rng", "Port": 80}, "Flat:Key": "flat", "Hosts": [{"Url": "first"}]}"#,
        )
        .expect("JSON");
        for (key, found) in [
            ("RngApi:Url", Some("http://api/rng")),
            ("rngapi:url", Some("http://api/rng")),
            ("RngApi:Port", Some("80")),
            ("Flat:Key", Some("flat")),
            ("Hosts:0:Url", Some("first")),
            ("Hosts:1:Url", None),
            ("RngApi", None),
            ("RngApi:Url:More", None),
            ("Nothing", None),
            ("", None),
        ] {
            assert_eq!(lookup(&document, key).as_deref(), found, "{key}");
        }
    }

    #[test]
    fn comments_and_last_commas_are_allowed_as_in_dotnet() {
        let text = "\u{feff}{ // the API\n  \"Url\": \"http://a//b, }\", /* one\n more */\n \"List\": [1, 2, ],\n}\n";
        let read: Value = serde_json::from_str(&plain_json(text)).expect("JSON by now");
        assert_eq!(read, serde_json::json!({"Url": "http://a//b, }", "List": [1, 2]}));
        for text in ["{\"a\": \"", "/*", "//", "\"\\", "/", ",", ",]"] {
            let _ = plain_json(text);
        }
    }

    #[test]
    fn files_are_asked_after_the_environment_and_the_first_that_has_the_key_wins() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("it can be written");
            path
        };
        let json = file("own.json", r#"{"RngApi": {"Url": "from json"}}"#);
        let toml = file("own.toml", "[RngApi]\nUrl = \"from toml\"\nOther = \"other\"\n");
        let settings = Settings::new(variables(&[("A__B", "from the environment")]), &[json, toml]);
        assert_eq!(settings.find("A:B").as_deref(), Ok("from the environment"));
        assert_eq!(settings.find("RngApi:Url").as_deref(), Ok("from json"));
        assert_eq!(settings.find("RngApi:Other").as_deref(), Ok("other"));
        let none = settings.find("RngApi:None").expect_err("nobody has it");
        assert!(none.starts_with("not set: looked at the environment variable RngApi__None, "), "{none}");

        let absent = Settings::new([], &[folder.path().join("absent.json")]).find("A");
        assert!(absent.expect_err("no file").starts_with("there is no file "));
        let broken = Settings::new([], &[file("broken.json", "{\"Password\": \"hunter2\" x")]).find("A");
        let broken = broken.expect_err("no JSON");
        assert!(broken.ends_with("it is not JSON, at line 1 column 24") && !broken.contains("hunter2"), "{broken}");
    }

    #[test]
    fn the_file_of_the_environment_comes_before_the_common_one() {
        let files = |pairs: &[(&str, &str)]| Settings::new(variables(pairs), &[]).files;
        assert_eq!(files(&[])[..2], ["appsettings.Production.json", "appsettings.json"].map(PathBuf::from));
        let development = files(&[("ASPNETCORE_ENVIRONMENT", "Development")]);
        assert_eq!(development[0], PathBuf::from("appsettings.Development.json"));
    }
}
