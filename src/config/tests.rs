//! What the file means, on small examples. How mistakes are shown is recorded in `tests/config_cases`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::model::*;
use super::template::{Part, Template, Use, Variable};
use super::*;
use crate::balancer::Method;

fn config(text: &str) -> Config {
    loaded(text, &Env::of([])).config
}

fn loaded(text: &str, env: &Env) -> Loaded {
    parse("upstream.toml", text, env).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn mistakes(text: &str) -> String {
    parse("upstream.toml", text, &Env::of([])).unwrap_err().to_string()
}

/// `lines` in a location that leads to one application.
fn location(lines: &str) -> Location {
    let text = format!(
        "[[server]]\nlisten = 80\n[[server.location]]\npath = \"/\"\nproxy_pass = \"http://127.0.0.1:5000\"\n{lines}"
    );
    config(&text).servers.remove(0).locations.remove(0)
}

#[test]
fn a_single_upstream_needs_no_server() {
    let config = config("[upstream.web]\nservers = [\"127.0.0.1:5001\", \"app:5002\"]");
    let server = &config.servers[0];
    assert_eq!(server.listen, [Listen::on(std::net::SocketAddr::from(([0, 0, 0, 0], 80)))]);
    assert_eq!(server.server_name, []);
    assert_eq!(server.locations[0].path, PathMatch::Prefix("/".into()));
    assert_eq!(&*server.locations[0].proxy_host, "web");
    let peers: Vec<_> =
        config.upstreams[0].servers.iter().map(|server| (&*server.text, server.address.clone())).collect();
    assert_eq!(
        peers,
        [
            ("127.0.0.1:5001", Address::Ip("127.0.0.1:5001".parse().unwrap())),
            ("app:5002", Address::Name { host: "app".into(), port: 5002 }),
        ]
    );
}

#[test]
fn the_defaults_are_those_of_the_decisions() {
    let config = config("[upstream.web]\nservers = [\"app:5000\"]\nhealth_check = {}");
    let upstream = &config.upstreams[0];
    let secs = Duration::from_secs;
    assert_eq!(config.workers, None);
    assert_eq!(config.access_log, LogTarget::Stdout);
    assert_eq!(config.log_format, LogFormat::Combined);
    assert_eq!(config.shutdown_timeout, secs(30));
    assert_eq!(upstream.method, Method::RoundRobin);
    assert_eq!((upstream.keepalive, upstream.keepalive_requests), (32, 1000));
    assert_eq!((upstream.keepalive_timeout, upstream.keepalive_time), (secs(60), secs(3600)));
    assert_eq!((upstream.max_ejected, upstream.try_when_all_fail), (50, false));
    assert_eq!(upstream.retry_budget, RetryBudget { percent: 20, min_per_second: 10 });
    assert_eq!(upstream.outliers, None);
    assert_eq!(upstream.queue, None);
    let server = &upstream.servers[0];
    assert_eq!((server.weight, server.max_conns, server.max_fails), (1, 0, 1));
    assert_eq!((server.fail_timeout, server.slow_start), (secs(10), secs(0)));
    assert_eq!((server.backup, server.down, server.drain), (false, false, false));
    let check = upstream.health_check.as_ref().unwrap();
    assert_eq!((check.interval, check.jitter, check.timeout), (secs(5), secs(0), secs(1)));
    assert_eq!((check.fails, check.passes, check.port), (3, 2, None));
    let expect = Expect {
        status: Some(StatusSet { negated: false, ranges: vec![(200, 399)] }),
        headers: vec![],
        body: None,
        json: vec![],
    };
    assert_eq!(check.kind, CheckKind::Http { uri: "/".into(), host: None, expect });
    assert_eq!(ClientLimits::default(), config.servers[0].client);
    assert_eq!(
        ClientLimits::default(),
        ClientLimits {
            max_body_size: 1 << 20,
            body_buffer_size: 64 << 10,
            max_head_size: 32 << 10,
            max_target_size: 8 << 10,
            header_timeout: secs(60),
            body_timeout: secs(60),
            send_timeout: secs(60),
            keepalive_timeout: secs(75),
            keepalive_requests: 1000,
            http2_max_concurrent_streams: 128,
        }
    );
    assert_eq!(ProxySettings::default(), config.servers[0].locations[0].proxy);
    assert_eq!(
        ProxySettings::default(),
        ProxySettings {
            connect_timeout: secs(5),
            send_timeout: secs(60),
            read_timeout: secs(60),
            next_upstream: NextUpstream { error: true, timeout: true, ..NextUpstream::default() },
            next_upstream_tries: 0,
            next_upstream_timeout: secs(0),
            set_header: vec![],
            hide_header: vec![],
            max_response_head: 64 << 10,
            tunnel_timeout: secs(3600),
            http_version: HttpVersion::Http11,
            hedge_after: None,
        }
    );
}

#[test]
fn the_innermost_level_wins() {
    let text = r#"
        proxy_connect_timeout = "1s"
        proxy_read_timeout = "1s"
        proxy_next_upstream = "off"
        client_max_body_size = "1k"
        keepalive_timeout = "1s"
        [[server]]
        listen = 80
        proxy_read_timeout = "2s"
        client_max_body_size = "2k"
        location = [
          { path = "/", proxy_pass = "http://127.0.0.1:1" },
          { path = "/a", proxy_pass = "http://127.0.0.1:1", proxy_read_timeout = "3s", proxy_next_upstream = "http_503" },
        ]
    "#;
    let server = config(text).servers.remove(0);
    let seen: Vec<_> = server
        .locations
        .iter()
        .map(|location| &location.proxy)
        .map(|proxy| {
            (proxy.connect_timeout.as_secs(), proxy.read_timeout.as_secs(), proxy.next_upstream.statuses.clone())
        })
        .collect();
    assert_eq!(seen, [(1, 2, vec![]), (1, 3, vec![503])]);
    assert!(!server.locations[0].proxy.next_upstream.error);
    assert_eq!((server.client.max_body_size, server.client.keepalive_timeout.as_secs()), (2 << 10, 1));
}

#[test]
fn a_level_that_sets_any_field_inherits_none() {
    let text = r#"
        proxy_set_header = { X-Top = "1" }
        add_header = { X-Top = "1" }
        proxy_hide_header = ["X-Powered-By"]
        [[server]]
        listen = 80
        location = [
          { path = "/", proxy_pass = "http://127.0.0.1:1" },
          { path = "/a", proxy_pass = "http://127.0.0.1:1", proxy_set_header = { X-Own = "$host" }, proxy_hide_header = [] },
        ]
    "#;
    let names = |headers: &[(String, Template)]| headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let locations = config(text).servers.remove(0).locations;
    assert_eq!(names(&locations[0].proxy.set_header), ["X-Top"]);
    assert_eq!(locations[0].proxy.hide_header, ["x-powered-by"]);
    assert_eq!(
        locations[1].proxy.set_header,
        [("X-Own".to_owned(), Template { parts: vec![Part::Variable(Variable::Host)] })]
    );
    assert_eq!(names(&locations[1].add_header), ["X-Top"]);
    assert!(locations[1].proxy.hide_header.is_empty());
}

#[test]
fn the_same_key_means_the_group_in_an_upstream_and_the_client_elsewhere() {
    let config = config("keepalive_timeout = \"7s\"\n[upstream.web]\nservers = [\"a:1\"]\nkeepalive_timeout = \"3s\"");
    assert_eq!(config.upstreams[0].keepalive_timeout, Duration::from_secs(3));
    assert_eq!(config.servers[0].client.keepalive_timeout, Duration::from_secs(7));
}

#[test]
fn proxy_pass_to_an_address_makes_a_group_of_it_once() {
    let text = r#"
        [upstream.web]
        servers = ["a:1"]
        [[server]]
        listen = 80
        location = [
          { path = "/1", proxy_pass = "http://app:5000" },
          { path = "/2/", proxy_pass = "http://app:5000/v2/" },
          { path = "/3", proxy_pass = "http://127.0.0.1" },
          { path = "/4", proxy_pass = "http://WEB/" },
        ]
    "#;
    let config = config(text);
    let groups: Vec<_> = config.upstreams.iter().map(|upstream| (&*upstream.name, upstream.implicit)).collect();
    assert_eq!(groups, [("web", false), ("app:5000", true), ("127.0.0.1:80", true)]);
    let locations = &config.servers[0].locations;
    let targets: Vec<_> = locations.iter().map(|location| (location.upstream, location.replace.as_deref())).collect();
    assert_eq!(targets, [(Some(1), None), (Some(1), Some("/v2/")), (Some(2), None), (Some(0), Some("/"))]);
    assert_eq!(&*locations[0].proxy_host, "app:5000");
}

#[test]
fn proxy_next_upstream_is_a_set_of_words() {
    let next = location(
        "proxy_next_upstream = \"error http_503 http_500 invalid_header non_idempotent http_500 grpc_unavailable\"",
    );
    assert_eq!(
        next.proxy.next_upstream,
        NextUpstream {
            error: true,
            timeout: false,
            invalid_header: true,
            statuses: vec![500, 503],
            grpc: vec![14],
            non_idempotent: true,
        }
    );
    assert_eq!(location("proxy_next_upstream = \"off\"").proxy.next_upstream, NextUpstream::default());
}

#[test]
fn a_hash_key_is_a_template() {
    let config = config("[upstream.web]\nservers = [\"a:1\"]\nbalance = \"hash $arg_user consistent\"");
    assert_eq!(config.upstreams[0].method, Method::Hash { consistent: true });
    assert_eq!(config.upstreams[0].key, Some(Template::parse("$arg_user", Use::Request).unwrap()));
}

#[test]
fn the_environment_is_inserted_and_read_again_in_templates_alone() {
    let env = Env::of([("TOKEN", "pa$$ord"), ("FORMAT", "$status"), ("EMPTY", ""), ("HOST", "app")]);
    let text = r#"
        log_format = "${FORMAT} $$ ${EMPTY:-none}"
        [upstream.web]
        servers = ["${HOST}:${PORT:-5000}"]
        [admin]
        token = "${TOKEN}-$$5"
    "#;
    let config = loaded(text, &env).config;
    assert_eq!(config.log_format, LogFormat::Template(Template::parse("$status $$ none", Use::Log).unwrap()));
    assert_eq!(&*config.upstreams[0].servers[0].text, "app:5000");
    assert_eq!(config.admin.token.as_deref(), Some("pa$$ord-$5"));
}

#[test]
fn what_comes_from_the_environment_is_never_shown() {
    const SECRET: &str = "hunter2/-:$x ~(";
    let env = Env::of([("SECRET", SECRET)]);
    let mut refused = 0;
    for directive in directives::Directive::all() {
        for value in ["\"${SECRET}\"", "\"http://${SECRET}\"", "[\"${SECRET}\"]", "{ x = \"${SECRET}\" }"] {
            let line = format!("{} = {value}", directive.key);
            for text in [
                format!("{line}\n[upstream.web]\nservers = [\"a:1\"]"),
                format!("[upstream.web]\n{line}\n[upstream.web.health_check]\n{line}\nmatch = {{ {line} }}"),
                format!("[upstream.web]\nservers = [{{ {line} }}]\n[admin]\n{line}"),
                format!("[[server]]\n{line}\n[[server.location]]\n{line}\nproxy_set_header = {value}"),
            ] {
                let said = match parse("upstream.toml", &text, &env) {
                    Ok(loaded) => loaded.warnings.to_string(),
                    Err(mistakes) => mistakes.to_string(),
                };
                refused += usize::from(said.contains("error"));
                assert!(!said.contains("hunter2"), "{text}\n{said}");
            }
        }
    }
    assert!(refused > 500, "only {refused} values were refused");
}

#[test]
fn the_admin_listener_is_a_unix_socket_unless_the_file_says_otherwise() {
    let admin = |lines: &str| config(&format!("[upstream.web]\nservers = [\"a:1\"]\n{lines}")).admin.listen;
    let tcp = |text: &str| Some(AdminListen::Tcp(text.parse().unwrap()));
    assert_eq!(admin(""), Some(AdminListen::Unix(PathBuf::from("/run/weir/weir.sock"))));
    assert_eq!(admin("[admin]"), Some(AdminListen::Unix(PathBuf::from("/run/weir/weir.sock"))));
    assert_eq!(admin("[admin]\nlisten = \"unix:/x.sock\""), Some(AdminListen::Unix(PathBuf::from("/x.sock"))));
    assert_eq!(admin("[admin]\nlisten = \"127.0.0.1:9000\""), tcp("127.0.0.1:9000"));
    assert_eq!(admin("[admin]\nlisten = \"off\""), None);
}

#[test]
fn all_mistakes_are_shown_in_the_order_of_the_file() {
    let text = "workers = 0\n[upstream.web]\nservers = [\"a:0\"]\nbalance = \"x\"\ncolour = 1\n";
    let lines: Vec<String> = mistakes(text).lines().filter(|line| line.contains("-->")).map(str::to_owned).collect();
    let places: Vec<&str> = lines.iter().map(|line| line.rsplit("toml:").next().unwrap()).collect();
    assert_eq!(places, ["1:11", "3:12", "4:11", "5:1"]);
}

#[test]
fn a_file_that_cannot_be_read_is_one_mistake() {
    for (path, reason) in [("/nowhere/upstream.toml", "No such file"), ("/", "Is a directory")] {
        let mistakes = load(Path::new(path), &Env::of([])).unwrap_err();
        assert_eq!(mistakes.errors(), 1);
        assert!(mistakes.to_string().contains(reason), "{mistakes}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"workers = \xff").unwrap();
    assert!(load(file.path(), &Env::of([])).unwrap_err().to_string().contains("UTF-8"));
}

#[test]
fn the_command_line_beats_weir_config() {
    let env = Env::of([("WEIR_CONFIG", "/b.toml")]);
    assert_eq!(find(Some(Path::new("/a.toml")), &env), Ok(PathBuf::from("/a.toml")));
    assert_eq!(find(None, &env), Ok(PathBuf::from("/b.toml")));
}

#[test]
fn more_mistakes_than_anybody_reads_are_counted() {
    let text: String = (0..150).map(|n| format!("x{n} = 1\n")).collect();
    assert!(mistakes(&text).ends_with("... and 51 more\n"), "{}", mistakes(&text));
}

#[test]
fn deep_nesting_is_refused_and_not_recursed_into() {
    for text in [
        format!("servers = {}", "[".repeat(100_000)),
        format!("a = {}", "{ a = ".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
    ] {
        assert!(parse("upstream.toml", &text, &Env::of([])).is_err());
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*") {
        let _ = parse("upstream.toml", &text, &Env::of([])).map_err(|mistakes| mistakes.to_string());
    }

    #[test]
    fn no_value_of_any_setting_makes_it_panic(
        directive in proptest::sample::select(directives::Directive::all().collect::<Vec<_>>()),
        value in prop_oneof![
            "[ -~äß€]{0,12}".prop_map(|text| format!("'''{text}'''")),
            "[$${}A-Za-z_:~!=0-9 .-]{0,12}".prop_map(|text| format!("{text:?}")),
            "-?[0-9]{1,40}",
            "[\\[\\]{}\"',=a-z0-9 ]{0,12}",
            Just("{}".to_owned()),
            Just("[]".to_owned()),
            Just("[[]]".to_owned()),
            Just("[{}]".to_owned()),
        ],
    ) {
        let line = format!("{} = {value}", directive.key);
        for text in [
            format!("{line}\n[upstream.web]\nservers = [\"a:1\"]"),
            format!("[upstream.web]\nservers = [\"a:1\"]\n{line}\n[upstream.web.health_check]\n{line}\n[upstream.web.health_check.match]\n{line}"),
            format!("[upstream.web]\nservers = [{{ address = \"a:1\", {line} }}]"),
            format!("[[server]]\n{line}\n[[server.location]]\n{line}\n[admin]\n{line}"),
        ] {
            let _ = parse("upstream.toml", &text, &Env::of([])).map_err(|mistakes| mistakes.to_string());
        }
    }
}
