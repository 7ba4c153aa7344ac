//! Which servers does a file of peers list? (`servers_file`) A list of what may stand in `servers`, as JSON or TOML, or
//! Prometheus' `file_sd` form.

use std::path::Path;

use super::decode;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::model::UpstreamServer;
use super::written::{self, Node, Sink, Value};
use super::{Env, json};
use crate::balancer::Method;

/// Reads the text of a file; `path` tells its format, and is what diagnostics call it. `method` is the group's, which
/// some parameters do not go with. An empty list is no mistake.
///
/// # Errors
/// Every mistake in it. Then nothing of it is to be used.
pub fn parse(path: &Path, text: &str, method: &Method) -> Result<Vec<UpstreamServer>, Diagnostics> {
    let sink = Sink::default();
    let servers = match path.extension().is_some_and(|extension| extension == "toml") {
        true => of_toml(text, method, &sink),
        false => of_json(text, method, &sink),
    };
    let found: Vec<Diagnostic> = sink.into_found().into_iter().filter(Diagnostic::is_error).collect();
    if found.is_empty() { Ok(servers) } else { Err(Diagnostics::new(&path.display().to_string(), text, found)) }
}

/// `servers = [ … ]`.
fn of_toml(text: &str, method: &Method, sink: &Sink) -> Vec<UpstreamServer> {
    let table = written::read(text, &Env::default(), sink);
    if table.entries.is_empty() {
        sink.report_absence(
            Diagnostic::error("`servers` is missing").at(0..0).help("write `servers = [\"app1:5000\"]`"),
        );
    }
    of_members(&table, method, sink)
}

/// A list, or an object with `servers`.
fn of_json(text: &str, method: &Method, sink: &Sink) -> Vec<UpstreamServer> {
    match json::read(text, sink) {
        Some(Node { value: Value::List(nodes), .. }) => of_list(nodes, method, sink),
        Some(Node { value: Value::Table(table), .. }) if !table.entries.is_empty() => of_members(&table, method, sink),
        Some(Node { span, .. }) => {
            let mistake = Diagnostic::error("a file of peers is a list").at(span);
            sink.report(mistake.help("write `[\"app1:5000\", { \"address\": \"app2:5000\", \"weight\": 2 }]`"));
            Vec::new()
        }
        None => Vec::new(),
    }
}

fn of_members(table: &written::Table, method: &Method, sink: &Sink) -> Vec<UpstreamServer> {
    let mut servers = Vec::new();
    for (key, node) in &table.entries {
        match &node.value {
            Value::List(nodes) if key.name == "servers" => servers.extend(decode::servers(nodes, method, sink)),
            Value::Broken => {}
            _ if key.name == "servers" => {
                sink.report(Diagnostic::error("`servers` takes a list").at(node.span.clone()));
            }
            _ => {
                let mistake = Diagnostic::error(format!("`{}` cannot stand in a file of peers", key.name));
                sink.report(mistake.at(key.span.clone()).help("it has `servers` alone"));
            }
        }
    }
    servers
}

/// Servers, and Prometheus' `{ "targets": [ … ], "labels": { … } }`, whose labels mean nothing to weir.
fn of_list(nodes: Vec<Node>, method: &Method, sink: &Sink) -> Vec<UpstreamServer> {
    let mut plain = Vec::new();
    for node in nodes {
        let Value::Table(table) = &node.value else {
            plain.push(node);
            continue;
        };
        if table.entries.iter().all(|(key, _)| key.name != "targets") {
            plain.push(node);
            continue;
        }
        let Value::Table(table) = node.value else { continue };
        for (key, node) in table.entries {
            match (key.name.as_str(), node.value) {
                ("targets", Value::List(targets)) => plain.extend(targets),
                ("targets", _) => sink.report(Diagnostic::error("`targets` takes a list").at(node.span)),
                ("labels", _) => {}
                (name, _) => {
                    let mistake = Diagnostic::error(format!("`{name}` cannot stand beside `targets`")).at(key.span);
                    sink.report(mistake.help("there are `targets` and `labels`"));
                }
            }
        }
    }
    decode::servers(&plain, method, sink)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str, text: &str) -> Result<Vec<String>, String> {
        let servers = parse(Path::new(path), text, &Method::RoundRobin).map_err(|mistakes| mistakes.summary())?;
        let shown = |server: &UpstreamServer| {
            let backup = if server.backup { " backup" } else { "" };
            format!("{} {}{backup}", server.text, server.weight)
        };
        Ok(servers.iter().map(shown).collect())
    }

    #[test]
    fn each_form_lists_servers_with_the_parameters_of_servers() {
        let table = [
            ("p.json", r#"["a:1", {"address": "b:2", "weight": 3, "backup": true}]"#, &["a:1 1", "b:2 3 backup"][..]),
            ("p.json", r#"{"servers": ["a:1"]}"#, &["a:1 1"]),
            (
                "p.json",
                r#"[{"targets": ["a:1", "b"], "labels": {"job": "x", "n": "${n}"}}, "c:3"]"#,
                &["a:1 1", "b 1", "c:3 1"],
            ),
            ("p.json", "[]", &[]),
            ("p.toml", "servers = [\"a:1\", { address = \"b:2\", weight = 2 }]", &["a:1 1", "b:2 2"]),
            ("p.toml", "[[servers]]\naddress = \"a:1\"\n", &["a:1 1"]),
            ("p.toml", "servers = []", &[]),
        ];
        for (path, text, servers) in table {
            let servers: Vec<String> = servers.iter().map(|server| (*server).to_owned()).collect();
            assert_eq!(read(path, text), Ok(servers), "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let table = [
            ("p.json", "", "p.json:1:1: this is not JSON: EOF while parsing a value"),
            ("p.json", "[\n \"a:1\",\n \"b:2\"\n", "p.json:4:1: this is not JSON: EOF while parsing a list"),
            ("p.json", "[\"a:1\", 7]", "p.json:1:9: a server is an address, or a table with its address"),
            ("p.json", "[\n  {\"address\": \"a:1\", \"wieght\": 2}\n]", "p.json:2:22: unknown setting `wieght`"),
            ("p.json", "[{\"address\": \"a:1\", \"weight\": null}]", "p.json:1:31: `null` has no meaning here"),
            ("p.json", "[\"http://a:1\"]", "p.json:1:2: a server is `HOST:PORT`"),
            ("p.json", "{\"peers\": []}", "p.json:1:2: `peers` cannot stand in a file of peers"),
            ("p.json", "\"a:1\"", "p.json:1:1: a file of peers is a list"),
            ("p.json", "{}", "p.json:1:1: a file of peers is a list"),
            (
                "p.json",
                "[[[[[[[[[[[[1]]]]]]]]]]]]",
                "p.json:1:2: a server is an address, or a table with its address and 1 more",
            ),
            ("p.json", "[{\"targets\": \"a:1\"}]", "p.json:1:14: `targets` takes a list"),
            ("p.toml", "", "p.toml:1:1: `servers` is missing"),
            ("p.toml", "servers = \"a:1\"", "p.toml:1:11: `servers` takes a list"),
            ("p.toml", "servers = [\"a:x\"]\nweight = 2", "p.toml:1:12: a server is `HOST:PORT` and 1 more"),
        ];
        for (path, text, said) in table {
            assert_eq!(read(path, text), Err(said.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_ramp_does_not_go_with_a_key() {
        let text = r#"[{"address": "a:1", "slow_start": "10s"}]"#;
        let mistakes = parse(Path::new("p.json"), text, &Method::IpHash).unwrap_err().summary();
        assert!(mistakes.contains("`slow_start` cannot be used with"), "{mistakes}");
    }
}
