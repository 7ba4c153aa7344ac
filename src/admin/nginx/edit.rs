//! What does the body of a POST or PATCH ask for? JSON to settings, with the rules and the words of the file.

use serde_json::{Map, Value};

use crate::admin::failure::Failure;
use crate::config::model::UpstreamServer;
use crate::config::server_from;
use crate::health::Operator;
use crate::topology::{Kind, Setting};

/// What PATCH changes, in place of the file's values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Patch {
    /// Values.
    pub(super) settings: Vec<Setting>,
    /// `down: false`, `drain: false`: ends one or the other, if it is so.
    pub(super) ends: Vec<Operator>,
}

/// The keys of PATCH.
const CHANGEABLE: [(&str, Kind); 5] = [
    ("weight", Kind::Weight),
    ("max_conns", Kind::MaxConns),
    ("max_fails", Kind::MaxFails),
    ("fail_timeout", Kind::FailTimeout),
    ("slow_start", Kind::SlowStart),
];

/// The body of a PATCH.
pub(super) fn patch(body: &Map<String, Value>) -> Result<Patch, Failure> {
    if body.is_empty() {
        return Err(Failure::bad("UpstreamConfFormatError", "nothing to change: send such as {\"weight\": 2}"));
    }
    let mut patch = Patch::default();
    for (key, value) in body {
        match (key.as_str(), value) {
            ("down", Value::Bool(true)) => patch.settings.push(Setting::Use(Operator::Down)),
            ("drain", Value::Bool(true)) => patch.settings.push(Setting::Use(Operator::Drain)),
            ("down", Value::Bool(false)) => patch.ends.push(Operator::Down),
            ("drain", Value::Bool(false)) => patch.ends.push(Operator::Drain),
            ("down" | "drain", _) => {
                let text = format!("`{key}` takes true or false");
                return Err(Failure::bad("UpstreamConfFormatError", text));
            }
            ("id" | "server" | "backup" | "service" | "host" | "parent", _) => {
                let text = format!("`{key}` cannot change: add another server and delete this one");
                return Err(Failure::bad("UpstreamServerImmutable", text));
            }
            (key, value) => {
                let Some((_, kind)) = CHANGEABLE.iter().find(|(changeable, _)| *changeable == key) else {
                    let text = format!(
                        "`{key}` is unknown: weight, max_conns, max_fails, fail_timeout, slow_start, down and drain \
                         can change"
                    );
                    return Err(Failure::bad("UpstreamConfFormatError", text));
                };
                patch.settings.push(kind.of(&one(key, value)?));
            }
        }
    }
    let wishes = patch.settings.iter().filter(|setting| setting.kind() == Kind::Use).count();
    if wishes > 1 {
        return Err(Failure::bad("UpstreamConfFormatError", "a server is either `down` or to `drain`"));
    }
    Ok(patch)
}

/// The body of a POST: the entry as the file would have it, and what it means.
pub(super) fn post(body: &Map<String, Value>) -> Result<(toml::Table, UpstreamServer), Failure> {
    let Some(Value::String(address)) = body.get("server") else {
        let text = "the address is missing: send such as {\"server\": \"10.0.0.3:5000\"}";
        return Err(Failure::bad("UpstreamConfFormatError", text));
    };
    let mut entry = toml::Table::new();
    entry.insert("address".to_owned(), toml::Value::String(address.clone()));
    server_from(&entry).map_err(|why| Failure::bad("UpstreamBadAddress", why))?;
    for (key, value) in body.iter().filter(|(key, _)| *key != "server") {
        one(key, value)?;
        entry.insert(key.clone(), as_toml(key, value)?);
    }
    let server = server_from(&entry).map_err(|why| Failure::bad("UpstreamConfFormatError", why))?;
    Ok((entry, server))
}

/// A server with this key alone: so a mistake has its own code.
fn one(key: &str, value: &Value) -> Result<UpstreamServer, Failure> {
    let mut entry = toml::Table::new();
    entry.insert("address".to_owned(), toml::Value::String("192.0.2.1:2".to_owned()));
    entry.insert(key.to_owned(), as_toml(key, value)?);
    server_from(&entry).map_err(|why| Failure::bad(code(key), why))
}

fn code(key: &str) -> &'static str {
    match key {
        "weight" => "UpstreamBadWeight",
        "max_conns" => "UpstreamBadMaxConns",
        "max_fails" => "UpstreamBadMaxFails",
        "fail_timeout" => "UpstreamBadFailTimeout",
        "slow_start" => "UpstreamBadSlowStart",
        "route" => "UpstreamBadRoute",
        "service" => "UpstreamBadService",
        _ => "UpstreamConfFormatError",
    }
}

fn as_toml(key: &str, value: &Value) -> Result<toml::Value, Failure> {
    let number = |number: &serde_json::Number| number.as_i64().map(toml::Value::Integer);
    let value = match value {
        Value::Bool(switch) => Some(toml::Value::Boolean(*switch)),
        Value::String(text) => Some(toml::Value::String(text.clone())),
        Value::Number(written) => number(written),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    value.ok_or_else(|| Failure::bad(code(key), format!("`{key}` takes a whole number, a text, true or false")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn body(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn a_patch_says_what_is_to_change() {
        let settings = |text: &str| patch(&body(text)).map(|patch| patch.settings);
        assert_eq!(settings("{\"weight\": 5}"), Ok(vec![Setting::Weight(5)]));
        assert_eq!(settings("{\"fail_timeout\": \"1m\"}"), Ok(vec![Setting::FailTimeout(Duration::from_secs(60))]));
        assert_eq!(
            settings("{\"drain\": true, \"max_conns\": 3}"),
            Ok(vec![Setting::Use(Operator::Drain), Setting::MaxConns(3)])
        );
        assert_eq!(patch(&body("{\"down\": false}")).map(|patch| patch.ends), Ok(vec![Operator::Down]));
    }

    #[test]
    fn a_mistake_in_a_patch_has_the_code_of_its_key() {
        for (text, code) in [
            ("{}", "UpstreamConfFormatError"),
            ("{\"weight\": 0}", "UpstreamBadWeight"),
            ("{\"weight\": 1.5}", "UpstreamBadWeight"),
            ("{\"weight\": null}", "UpstreamBadWeight"),
            ("{\"weight\": \"${HOME}\"}", "UpstreamBadWeight"),
            ("{\"max_conns\": -1}", "UpstreamBadMaxConns"),
            ("{\"max_fails\": \"many\"}", "UpstreamBadMaxFails"),
            ("{\"fail_timeout\": \"soon\"}", "UpstreamBadFailTimeout"),
            ("{\"slow_start\": []}", "UpstreamBadSlowStart"),
            ("{\"drain\": 1}", "UpstreamConfFormatError"),
            ("{\"drain\": true, \"down\": true}", "UpstreamConfFormatError"),
            ("{\"backup\": true}", "UpstreamServerImmutable"),
            ("{\"server\": \"10.0.0.1\"}", "UpstreamServerImmutable"),
            ("{\"colour\": 1}", "UpstreamConfFormatError"),
        ] {
            assert_eq!(patch(&body(text)).map_err(|failure| failure.code), Err(code), "{text}");
        }
    }

    #[test]
    fn a_post_is_an_entry_of_servers() {
        let (entry, server) = post(&body("{\"server\": \"app:5000\", \"weight\": 2, \"backup\": true}")).expect("fine");
        assert_eq!((&*server.text, server.weight, server.backup), ("app:5000", 2, true));
        assert_eq!(server_from(&entry), Ok(server));
        for (text, code) in [
            ("{}", "UpstreamConfFormatError"),
            ("{\"server\": 5}", "UpstreamConfFormatError"),
            ("{\"server\": \"app:0\"}", "UpstreamBadAddress"),
            ("{\"server\": \"a b\"}", "UpstreamBadAddress"),
            ("{\"server\": \"app\", \"weight\": 0}", "UpstreamBadWeight"),
            ("{\"server\": \"app\", \"id\": 5}", "UpstreamConfFormatError"),
            ("{\"server\": \"app\", \"down\": true, \"drain\": true}", "UpstreamConfFormatError"),
        ] {
            assert_eq!(post(&body(text)).map_err(|failure| failure.code), Err(code), "{text}");
        }
    }
}
