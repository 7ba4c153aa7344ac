//! Is every mistake shown as it should be, and are the files of `config/` fine?
//!
//! Each `tests/config_cases/NAME.toml` is checked, and what is said about it is compared with `NAME.stderr`. Lines
//! `# env: NAME=value` set its environment. `WEIR_BLESS=1 cargo test --test config` writes the `.stderr` files anew.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use weir::config::directives::{Directive, Fallback, Place};
use weir::config::{self, Env, reference};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn blessing() -> bool {
    std::env::var_os("WEIR_BLESS").is_some()
}

fn env_of(text: &str) -> Env {
    Env::of(text.lines().filter_map(|line| line.strip_prefix("# env: ")?.split_once('=')))
}

/// What `weir check` says about a text.
fn said_about(text: &str) -> String {
    match config::parse("upstream.toml", text, &env_of(text)) {
        Ok(loaded) => format!("{}fine\n", loaded.warnings),
        Err(mistakes) => mistakes.to_string(),
    }
}

#[test]
fn every_case_is_answered_as_recorded() {
    let mut cases: Vec<PathBuf> = fs::read_dir(folder("tests/config_cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    cases.sort();
    assert!(cases.len() > 50, "only {} cases were found", cases.len());
    let mut different = String::new();
    for case in cases {
        let said = said_about(&fs::read_to_string(&case).unwrap());
        let recorded = case.with_extension("stderr");
        if blessing() {
            fs::write(&recorded, &said).unwrap();
        } else if fs::read_to_string(&recorded).unwrap_or_default() != said {
            writeln!(different, "--- {}\n{said}", case.display()).unwrap();
        }
    }
    assert!(different.is_empty(), "not as recorded (WEIR_BLESS=1 records anew):\n{different}");
}

fn loaded(text: &str) -> config::Loaded {
    config::parse("upstream.toml", text, &Env::of([])).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn file(name: &str) -> String {
    fs::read_to_string(folder(name)).unwrap()
}

#[test]
fn the_files_of_the_config_folder_are_fine() {
    for entry in fs::read_dir(folder("config")).unwrap() {
        let path = entry.unwrap().path();
        let loaded = config::load(&path, &Env::of([])).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    }
    assert!(file("config/minimal.toml").lines().count() <= 10);
}

/// A line of full.toml: its table's place, its key, its value, whether it is commented out.
struct Line {
    number: usize,
    place: Place,
    key: String,
    value: String,
    active: bool,
}

/// Every `key = value` of full.toml. A line that begins with `#` and a letter is a setting commented out.
fn lines_of_full_toml(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut place = Place::Top;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            place = match line.split(']').next().unwrap().trim_start_matches('[') {
                "admin" => Place::Admin,
                "limit_req_zone.per_client" => Place::LimitReqZone,
                "limit_conn_zone.per_client" => Place::LimitConnZone,
                "server" => Place::Server,
                "server.location" => Place::Location,
                "stream" => Place::Stream,
                header if header.ends_with(".servers") => Place::Peer,
                header if header.ends_with(".health_check") => Place::HealthCheck,
                header if header.ends_with(".match") => Place::Match,
                header if header.ends_with(".tls") => Place::UpstreamTls,
                header if header.starts_with("upstream.") => Place::Upstream,
                header => panic!("[{header}]"),
            };
            continue;
        }
        let active = !line.starts_with('#');
        let Some((key, value)) = line.trim_start_matches('#').split_once(" = ") else { continue };
        if key.contains(' ') || key.is_empty() {
            continue;
        }
        let value = value.split("  #").next().unwrap().trim().to_owned();
        lines.push(Line { number, place, key: key.to_owned(), value, active });
    }
    lines
}

#[test]
fn full_toml_has_every_setting_at_its_default() {
    let text = file("config/full.toml");
    let mut lines = lines_of_full_toml(&text);
    // Tables within a line are places of their own.
    for (place, key, value) in [
        (Place::Listen, "address", "\"0.0.0.0:80\""),
        (Place::Listen, "default_server", "false"),
        (Place::Listen, "h2c", "false"),
        (Place::Listen, "proxy_protocol", "false"),
        (Place::Listen, "mode", "\"0666\""),
        (Place::ListenTls, "certificate", "\"example.com.pem\""),
        (Place::ListenTls, "key", "\"example.com.key\""),
        (Place::ListenTls, "protocols", "[\"TLSv1.2\", \"TLSv1.3\"]"),
        (Place::ListenTls, "verify_client", "\"off\""),
        (Place::Hsts, "max_age", "\"1y\""),
        (Place::Hsts, "include_subdomains", "false"),
        (Place::Hsts, "preload", "false"),
        (Place::Listen, "udp", "false"),
        (Place::Path, "exact", "\"/rpc\""),
        (Place::Queue, "size", "100"),
        (Place::Queue, "timeout", "\"60s\""),
        (Place::RetryBudget, "percent", "20"),
        (Place::RetryBudget, "min_per_second", "10"),
        (Place::Outliers, "interval", "\"10s\""),
        (Place::Outliers, "failure_share", "\"50%\""),
        (Place::Outliers, "latency_factor", "3"),
        (Place::Outliers, "min_requests", "20"),
        (Place::Sticky, "path", "\"/\""),
        (Place::Sticky, "httponly", "false"),
        (Place::Sticky, "secure", "false"),
        (Place::Sticky, "nocache", "false"),
        (Place::Learn, "create", "\"$upstream_cookie_sid\""),
        (Place::Learn, "lookup", "\"$cookie_sid\""),
        (Place::Learn, "size", "100000"),
        (Place::Learn, "timeout", "\"10m\""),
        (Place::Learn, "header", "false"),
        (Place::Split, "upstream", "\"rpc\""),
        (Place::Split, "percent", "5"),
        (Place::Mirror, "upstream", "\"rpc\""),
        (Place::Mirror, "percent", "100"),
        (Place::Mirror, "max", "100"),
        (Place::Mirror, "timeout", "\"10s\""),
        (Place::LimitReq, "zone", "\"per_client\""),
        (Place::LimitReq, "burst", "0"),
        (Place::LimitReq, "delay", "0"),
        (Place::LimitReq, "nodelay", "false"),
        (Place::LimitConn, "zone", "\"per_client\""),
        (Place::LimitConn, "connections", "10"),
        (Place::Consul, "service", "\"web\""),
        (Place::Consul, "address", "\"127.0.0.1:8500\""),
    ] {
        assert!(text.contains(&format!("{key} = {value}")), "{key}");
        // A port has no mode: it stands in a comment.
        let (active, key, value) = (key != "mode", key.to_owned(), value.to_owned());
        lines.push(Line { number: 0, place, key, value, active });
    }
    for (place, key, value) in
        [(Place::Listen, "tls", "{ certificate = "), (Place::ListenTls, "client_ca_file", "\"clients.pem\"")]
    {
        assert!(text.contains(&format!("{key} = {value}")), "{key}");
        let (key, value) = (key.to_owned(), value.to_owned());
        lines.push(Line { number: 0, place, key, value, active: false });
    }
    for key in ["cookie", "expires", "domain", "samesite", "secret", "route", "learn"] {
        assert!(text.contains(&format!("{key} = ")), "{key}");
        lines.push(Line { number: 0, place: Place::Sticky, key: key.to_owned(), value: String::new(), active: false });
    }
    for (place, key) in
        [(Place::Location, "return"), (Place::Return, "status"), (Place::Return, "location"), (Place::Return, "text")]
    {
        assert!(text.contains(&format!("{key} = ")), "{key}");
        lines.push(Line { number: 0, place, key: key.to_owned(), value: String::new(), active: false });
    }
    for (key, value) in [("tag", "\"blue\""), ("datacenter", "\"dc1\""), ("token", "\"${CONSUL_TOKEN:-secret}\"")] {
        assert!(text.contains(&format!("{key} = {value}")), "{key}");
        lines.push(Line { number: 0, place: Place::Consul, key: key.into(), value: value.into(), active: false });
    }
    // What makes the second upstream a gRPC one, and the third one of TCP, and shows what a `match` is without
    // being the default of it.
    let beside = [(Place::HealthCheck, "\"grpc\""), (Place::HealthCheck, "\"tcp\""), (Place::Match, "\"200-399\"")];
    for directive in Directive::all() {
        let found: Vec<&Line> = lines
            .iter()
            .filter(|line| line.key == directive.key && directive.places.contains(&line.place))
            .filter(|line| !beside.contains(&(line.place, line.value.as_str())))
            .collect();
        match directive.default {
            _ if ["upstream", "server", "stream", "location", "admin", "health_check", "match", "servers", "tls"]
                .contains(&directive.key) => {}
            _ if ["status", "limit_req_zone", "limit_conn_zone"].contains(&directive.key) => {}
            Fallback::Is(default) => {
                assert!(!found.is_empty(), "`{}` is missing", directive.key);
                for line in found {
                    assert!(line.active && line.value == default, "{} = {}, not {default}", line.key, line.value);
                }
            }
            Fallback::Unset(_) => assert!(found.iter().any(|line| !line.active), "`#{}` is missing", directive.key),
            Fallback::Required => assert!(found.iter().any(|line| line.active), "`{}` is missing", directive.key),
        }
    }
}

#[test]
fn full_toml_means_what_a_file_without_its_defaults_means() {
    let bare = r#"
        [upstream.web]
        servers = ["pyfla_app1:5000"]
        health_check = {}
        [upstream.secure]
        servers = ["secure_app:8443"]
        [upstream.rpc]
        servers = ["grpc_app"]
        health_check = { type = "grpc" }
        [upstream.redis]
        servers = ["redis1:6379", "redis2:6379"]
        health_check = { type = "tcp" }
        [[stream]]
        listen = 6379
        proxy_pass = "redis"
        [[server]]
        listen = 80
        [[server.location]]
        path = "/"
        proxy_pass = "http://web"
        [[server.location]]
        path = "/secure/"
        proxy_pass = "https://secure"
        [[server.location]]
        path = { exact = "/rpc" }
        proxy_pass = "http://rpc"
    "#;
    assert_eq!(loaded(&file("config/full.toml")).config, loaded(bare).config);
}

#[test]
fn each_setting_that_full_toml_comments_out_can_be_used() {
    let text = file("config/full.toml");
    let usual = loaded(&text).config;
    let lines = lines_of_full_toml(&text);
    // Those that name files need them: they have cases of their own.
    let names_files = |line: &Line| ["ca_file", "certificate", "key", "tls"].contains(&line.key.as_str());
    let optional: Vec<&Line> = lines.iter().filter(|line| !line.active && !names_files(line)).collect();
    assert!(optional.len() >= 8);
    for line in optional {
        let changed: Vec<&str> = text
            .lines()
            .enumerate()
            .map(|(number, content)| if number == line.number { content.trim_start_matches('#') } else { content })
            .collect();
        assert_ne!(loaded(&changed.join("\n")).config, usual, "`{}` changes nothing", line.key);
    }
}

#[test]
fn the_documentation_has_the_directive_table() {
    let path = folder("docs/configuration.md");
    let written = fs::read_to_string(&path).unwrap();
    let mut text = written.clone();
    for (name, content) in [("settings", reference::settings()), ("variables", reference::variables())] {
        let begin = text.find(&format!("<!-- {name}")).unwrap();
        let begin = begin + text[begin..].find('\n').unwrap() + 1;
        let end = text.find(&format!("<!-- /{name} -->")).unwrap();
        text.replace_range(begin..end, &format!("\n{content}\n"));
    }
    let text = text.replace("\n\n\n", "\n\n");
    if blessing() {
        fs::write(&path, &text).unwrap();
    }
    assert!(text == written || blessing(), "docs/configuration.md is behind (WEIR_BLESS=1 writes it anew)");
}
