//! Do the levers do what they say, and only for those who may? The admin API and the commands that use it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::weir::command;
use crate::support::{Backend, Client, Gate, PATIENCE, Script, Site, Weir, eventually, sorted};

/// One request to the admin listener: the status, the head, the body.
fn exchange(stream: &mut (impl Read + Write), request: &str) -> (u16, String, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn request(method: &str, path: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n{body}")
}

/// Over the test's own socket.
fn ask(weir: &Weir, method: &str, path: &str, body: &str) -> (u16, Value) {
    weir.wait_for("the admin listener", |line| line.contains("the admin API is at"));
    let mut stream = UnixStream::connect(weir.folder().join("admin.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (status, _, body) = exchange(&mut stream, &request(method, path, "Host: localhost\r\n", body));
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

/// Over TCP, with these fields.
fn ask_tcp(address: SocketAddr, method: &str, path: &str, fields: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    exchange(&mut stream, &request(method, path, fields, ""))
}

/// Where the log says that the admin API is.
fn admin_address(weir: &Weir) -> SocketAddr {
    const SAID: &str = "the admin API is at http://";
    let line = weir.wait_for(SAID, |line| line.contains(SAID));
    line.split_once(SAID).unwrap().1.trim().parse().unwrap()
}

/// Runs a command in weir's folder, whose `upstream.toml` names its socket.
fn run(weir: &Weir, arguments: &[&str]) -> (Option<i32>, String, String) {
    weir.wait_for("the admin listener", |line| line.contains("the admin API is at"));
    command(weir.folder(), arguments)
}

/// As [`run`], which must succeed. Returns stdout.
fn must(weir: &Weir, arguments: &[&str]) -> String {
    let (code, out, err) = run(weir, arguments);
    assert_eq!(code, Some(0), "{arguments:?}\n{out}\n{err}");
    out
}

/// `web/ip:port`.
fn peer(backend: &Backend) -> String {
    format!("web/{}", backend.address())
}

fn status_of(weir: &Weir, backend: &Backend) -> Value {
    let out = must_status(weir);
    let peers = out["groups"][0]["peers"].as_array().unwrap().clone();
    let address = backend.address().to_string();
    peers.into_iter().find(|peer| peer["address"] == address.as_str()).unwrap()
}

fn must_status(weir: &Weir) -> Value {
    let (_, out, err) = run(weir, &["status", "--json"]);
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}\n{err}"))
}

#[test]
fn a_drained_peer_finishes_what_it_has_and_gets_nothing_new() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a, &b]).start();
    let gate = Gate::default();
    a.next(Script::new().read_body().gate(&gate).answer(200, "", "finished"));
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("a has it", || a.requests().len() == 1);

    let out = must(&weir, &["drain", &peer(&a), "--reason", "deploy 42"]);
    assert!(out.contains("draining, 1 in flight") && out.contains("deploy 42"), "{out}");
    let line = weir.wait_for("the override", |line| line.contains("drain by "));
    assert!(line.contains("deploy 42") && line.contains('@'), "who and why: {line}");
    assert_eq!(weir.rotation(6), "bbbbbb");
    let (code, _, err) = run(&weir, &["wait", "web", "--drained", &a.address().to_string(), "--timeout", "300ms"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("has a request in flight"), "{err}");

    gate.open();
    assert_eq!(client.response().text(), "finished");
    must(&weir, &["wait", "web", "--drained", &a.address().to_string(), "--timeout", "20s"]);
    let out = must(&weir, &["status"]);
    assert!(out.contains("draining") && out.contains("deploy 42") && out.contains("until it is lifted"), "{out}");
    must(&weir, &["undrain", &peer(&a)]);
    assert_eq!(sorted(&weir.rotation(6)), "aaabbb");
    assert_eq!(status_of(&weir, &a)["overrides"], json!([]));
}

#[test]
fn a_drain_for_a_time_ends_by_itself() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a, &b]).start();
    let mark = weir.mark();
    let out = must(&weir, &["drain", &peer(&a), "--for", "1500ms"]);
    assert!(out.contains("left"), "{out}");
    assert_eq!(weir.rotation(4), "bbbb");
    weir.wait_for_state_since(mark, a.address(), "up");
    weir.wait_since(mark, "its end", |line| line.contains("the override has expired: drain by"));
    assert_eq!(sorted(&weir.rotation(6)), "aaabbb");
    eventually("nothing is left of it", || status_of(&weir, &a)["overrides"] == json!([]));
}

#[test]
fn down_gets_no_probes_and_up_ends_it() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a, &b]).checked("").start();
    weir.wait_for_state(a.address(), "up");
    weir.wait_for_state(b.address(), "up");
    must(&weir, &["down", &peer(&a)]);
    assert_eq!(weir.rotation(4), "bbbb");
    let (code, _, err) = run(&weir, &["undrain", &peer(&a)]);
    assert_eq!(code, Some(1));
    assert!(err.contains("`weir up "), "{err}");
    let probes = crate::support::settled(Duration::from_secs(1), || a.probes() as u64);
    assert_eq!(a.probes() as u64, probes);
    must(&weir, &["up", &peer(&a)]);
    must(&weir, &["wait", "web", "--healthy", "2"]);
    assert_eq!(sorted(&weir.rotation(4)), "aabb");
}

#[test]
fn a_weight_takes_effect_in_the_rotation_and_lives_through_a_reload_of_other_things() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a, &b]).start();
    must(&weir, &["weight", &peer(&a), "3"]);
    assert_eq!(sorted(&weir.rotation(8)), "aaaaaabb");
    weir.edit(&Site::of([&a, &b]).upstream("keepalive = 7").toml());
    must(&weir, &["reload"]);
    assert_eq!(sorted(&weir.rotation(8)), "aaaaaabb");
    must(&weir, &["weight", &peer(&a), "file"]);
    assert_eq!(sorted(&weir.rotation(8)), "aaaabbbb");
}

#[test]
fn an_override_ends_when_the_files_value_for_that_peer_changes() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let site = |weight: u32| {
        let entry = |backend: &Backend, weight| format!("{{ address = \"{}\", weight = {weight} }}", backend.address());
        Site::servers([entry(&a, weight), entry(&b, 1)])
    };
    let weir = site(1).start();
    must(&weir, &["weight", &peer(&a), "3"]);
    must(&weir, &["drain", &peer(&b)]);
    let mark = weir.mark();
    weir.edit(&site(2).toml());
    must(&weir, &["reload"]);
    weir.wait_since(mark, "said", |line| line.contains("the file has changed, which ends the override: weight 3"));
    assert_eq!(status_of(&weir, &a)["weight"], 2);
    assert_eq!(status_of(&weir, &b)["state"], "draining", "the file said nothing new of b");
    weir.edit(&site(2).toml().replace(", weight = 1 }", ", weight = 1, down = true }"));
    must(&weir, &["reload"]);
    assert_eq!(status_of(&weir, &b)["state"], "down");
    assert_eq!(status_of(&weir, &b)["overrides"], json!([]));
    must(&weir, &["up", &peer(&b)]);
    assert_eq!(status_of(&weir, &b)["state"], "up", "an operator beats the file");
}

#[test]
fn overrides_and_added_servers_survive_a_restart_in_the_state_file() {
    let [a, b, c] = ["a", "b", "c"].map(Backend::start);
    let site = Site::of([&a, &b]).top("state_file = \"@DIR@/state/weir.json\"");
    let mut weir = site.start();
    must(&weir, &["drain", &peer(&a), "--for", "1h", "--reason", "deploy"]);
    must(&weir, &["weight", &peer(&b), "2"]);
    let body = json!({"server": c.address().to_string()}).to_string();
    assert_eq!(ask(&weir, "POST", "/api/9/http/upstreams/web/servers", &body).0, 201);
    let mode = std::fs::metadata(weir.folder().join("state/weir.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    weir.restart();
    assert_eq!(sorted(&weir.rotation(6)), "bbbbcc");
    let over = &status_of(&weir, &a)["overrides"][0];
    assert_eq!((&over["what"], &over["reason"]), (&json!("drain"), &json!("deploy")));
    let left = over["left_ms"].as_u64().unwrap();
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");

    must(&weir, &["undrain", &peer(&a)]);
    weir.restart();
    assert_eq!(status_of(&weir, &a)["state"], "up");
    assert_eq!(status_of(&weir, &b)["weight"], 2);
}

#[test]
fn a_broken_state_file_is_said_and_moved_aside() {
    let a = Backend::start("a");
    let mut weir = Site::of([&a]).top("state_file = \"@DIR@/weir.json\"").start();
    std::fs::write(weir.folder().join("weir.json"), "{\"version\": 1, \"sec").unwrap();
    weir.restart();
    weir.wait_for("said", |line| line.contains("the state file") && line.contains("weir.json.broken"));
    assert_eq!(weir.get("/").text(), "a");
    assert!(weir.folder().join("weir.json.broken").exists());
    must(&weir, &["drain", &peer(&a)]);
    weir.restart();
    assert_eq!(status_of(&weir, &a)["state"], "draining");
}

#[test]
fn a_peer_that_is_not_there_is_an_error_that_says_who_is() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a, &b]).start();
    for (arguments, said) in [
        (vec!["drain", "webb/x"], "did you mean `web`"),
        (vec!["drain", "web/nobody"], "there is no peer `nobody` in web; there is web/127."),
        (vec!["drain", "web/127"], "write more of it"),
        (vec!["drain", "web"], "write GROUP/PEER"),
        (vec!["wait", "webb", "--healthy", "1"], "there is no upstream `webb`"),
        (vec!["status", "webb"], "there is no upstream `webb`"),
        (vec!["wait", "web", "--drained", "nobody"], "there is no peer"),
    ] {
        let (code, out, err) = run(&weir, &arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {out}");
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
    for arguments in [vec!["weight", "web/x", "0"], vec!["drain", "web/x", "--for", "soon"], vec!["wait", "web"]] {
        assert_eq!(run(&weir, &arguments).0, Some(2), "{arguments:?}");
    }
    assert_eq!(sorted(&weir.rotation(4)), "aabb");
}

#[test]
fn without_a_weir_the_commands_say_where_they_looked() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none.sock").display().to_string();
    for arguments in [vec!["status"], vec!["reload"], vec!["plan"], vec!["drain", "web/a"]] {
        let arguments: Vec<&str> = arguments.into_iter().chain(["--admin", &socket]).collect();
        let (code, _, err) = command(folder.path(), &arguments);
        assert_eq!(code, Some(1), "{arguments:?}");
        assert!(err.contains("does weir run?") && err.contains(&socket), "{err}");
    }
}

#[test]
fn status_shows_a_table_or_json_and_its_exit_code_says_whether_every_group_serves() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::servers([
        format!("{{ address = \"{}\", max_conns = 7 }}", a.address()),
        format!("{{ address = \"{}\", backup = true }}", b.address()),
        "\"no-such-host.invalid:80\"".to_owned(),
    ])
    .start();
    weir.rotation(3);
    let out = must(&weir, &["status", "web"]);
    assert!(!out.contains('\x1b'), "no colours where there is no terminal: {out:?}");
    let row = out.lines().find(|line| line.contains(&a.address().to_string())).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    let address = a.address().to_string();
    assert_eq!((cells[0], cells[1], cells[2]), (&*address, &*address, "up"), "{out}");
    assert_eq!((cells[4], cells[5], cells[6], cells[7], cells[8]), ("1", "0/7", "3", "0", "-"), "{out}");
    assert!(out.contains("(backup)") && out.contains("no-such-host.invalid:80  has no address"), "{out}");

    let json = must_status(&weir);
    assert_eq!(json["groups"][0]["name"], "web");
    assert_eq!(json["groups"][0]["peers"][0]["requests"], 3);
    assert_eq!(json["groups"][0]["unresolved"], json!(["no-such-host.invalid:80"]));

    must(&weir, &["down", &peer(&a)]);
    must(&weir, &["down", &peer(&b)]);
    assert_eq!(run(&weir, &["status"]).0, Some(1));
}

#[test]
fn wait_returns_when_enough_are_up_and_fails_when_they_are_not_in_time() {
    let [a, b] = ["a", "b"].map(Backend::start);
    b.health(Script::status(500));
    let weir = Site::of([&a, &b]).checked("passes = 1").start();
    weir.wait_for_state(a.address(), "up");
    must(&weir, &["wait", "web", "--healthy", "1"]);
    let (code, _, err) = run(&weir, &["wait", "web", "--healthy", "2", "--timeout", "500ms"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("1 of 2 peers are up, 2 are wanted"), "{err}");
    b.health(Script::text("ok"));
    let out = must(&weir, &["wait", "web", "--healthy", "2", "--timeout", "20s"]);
    assert_eq!(out, "web: 2 of 2 peers are up\n");
}

#[test]
fn reload_waits_until_the_file_is_in_force_and_says_what_changed() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a]).start();
    weir.edit(&Site::of([&b]).toml());
    let out = must(&weir, &["reload"]);
    let (gone, new) = (format!("-web/{}", a.address()), format!("+web/{}", b.address()));
    // The file may have been noticed just before; then there is nothing left to change.
    assert!(out.contains("nothing") || out.contains(&gone) && out.contains(&new), "{out}");
    assert_eq!(weir.get("/").text(), "b");

    weir.edit(&Site::of([&a]).upstream("max_fials = 3").upstream("keepalive = \"many\"").toml());
    let (code, _, err) = run(&weir, &["reload", "--admin", &weir.folder().join("admin.sock").display().to_string()]);
    assert_eq!(code, Some(1));
    assert!(err.contains("max_fials") && err.contains("keepalive") && err.contains("upstream.toml:"), "{err}");
    assert!(err.contains("the configuration in force stays"), "{err}");
    assert_eq!(weir.get("/").text(), "b");
}

#[test]
fn plan_shows_the_difference_and_changes_nothing() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a]).start();
    let candidate = |site: Site| {
        let admin = format!("[admin]\nlisten = \"unix:{}/admin.sock\"\n", weir.folder().display());
        std::fs::write(weir.folder().join("next.toml"), site.toml() + &admin).unwrap();
    };
    let out = must(&weir, &["plan"]);
    assert_eq!(out.trim(), "nothing changed");

    candidate(Site::of([&b]).top("workers = 3"));
    let out = must(&weir, &["plan", "-c", "next.toml", "--expect-no-drop"]);
    assert!(out.contains(&format!("+web/{}", b.address())), "{out}");
    assert!(out.contains(&format!("{} goes; it has no request in flight", a.address())), "{out}");
    assert!(out.contains("`workers` takes effect at the next start"), "{out}");

    let gate = Gate::default();
    a.next(Script::new().read_body().gate(&gate).answer(200, "", "finished"));
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("a has it", || a.requests().len() == 1);
    let (code, out, _) = run(&weir, &["plan", "-c", "next.toml", "--expect-no-drop"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("it finishes the one request that it has"), "{out}");
    assert_eq!(run(&weir, &["plan", "-c", "next.toml"]).0, Some(0));
    gate.open();
    assert_eq!(client.response().text(), "finished");
    assert_eq!(weir.get("/").text(), "a", "nothing has changed");

    candidate(Site::of([&b]).upstream("max_fials = 3"));
    let (code, _, err) = run(&weir, &["plan", "-c", "next.toml"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("max_fials") && err.contains("next.toml:") && err.contains("would be refused"), "{err}");
}

#[test]
fn the_api_shows_upstreams_and_servers_as_nginx_does() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::servers([
        format!("{{ address = \"{}\", max_conns = 9, slow_start = \"30s\" }}", a.address()),
        format!("\"{}\"", b.address()),
    ])
    .upstream("queue = { size = 5 }")
    .checked("")
    .start();
    weir.wait_for_state(a.address(), "up");
    weir.wait_for_state(b.address(), "up");
    weir.rotation(4);
    assert_eq!(ask(&weir, "GET", "/api/", ""), (200, json!([9])));
    assert_eq!(ask(&weir, "GET", "/api/9/http/upstreams/?fields=", ""), (200, json!(["web"])));
    let (status, all) = ask(&weir, "GET", "/api/9/http/upstreams", "");
    assert_eq!(status, 200);
    let upstream = &all["web"];
    assert_eq!(
        (&upstream["zone"], &upstream["queue"]),
        (&json!("web"), &json!({"size": 0, "max_size": 5, "overflows": 0}))
    );
    let of_a = &upstream["peers"][0];
    let address = a.address().to_string();
    for (key, expected) in [
        ("server", json!(address)),
        ("name", json!(address)),
        ("backup", json!(false)),
        ("weight", json!(1)),
        ("state", json!("up")),
        ("active", json!(0)),
        ("max_conns", json!(9)),
        ("requests", json!(2)),
        ("responses", json!({"1xx": 0, "2xx": 2, "3xx": 0, "4xx": 0, "5xx": 0, "total": 2})),
        ("fails", json!(0)),
        ("unavail", json!(0)),
    ] {
        assert_eq!(of_a[key], expected, "{key}: {of_a}");
    }
    assert!(of_a["health_checks"]["checks"].as_u64().unwrap() > 0);
    assert_eq!(of_a["health_checks"]["last_passed"], true);
    assert!(of_a["header_time"].is_u64() && of_a["response_time"].is_u64() && of_a["downtime"].is_u64());
    assert!(of_a["selected"].as_str().unwrap().ends_with('Z'));
    assert!(of_a.get("downstart").is_none());

    let (_, only) = ask(&weir, "GET", "/api/9/http/upstreams/web?fields=zone", "");
    assert_eq!(only, json!({"zone": "web"}));
    let (_, servers) = ask(&weir, "GET", "/api/9/http/upstreams/web/servers/", "");
    let id = servers[0]["id"].as_u64().unwrap();
    assert_eq!(of_a["id"], id);
    let (_, one) = ask(&weir, "GET", &format!("/api/9/http/upstreams/web/servers/{id}"), "");
    assert_eq!(
        one,
        json!({"id": id, "server": address, "weight": 1, "max_conns": 9, "max_fails": 1, "fail_timeout": "10s",
               "slow_start": "30s", "backup": false, "down": false, "drain": false})
    );
    assert_eq!(ask(&weir, "DELETE", "/api/9/http/upstreams/web", "").0, 204);
    assert_eq!(ask(&weir, "GET", "/api/9/http/upstreams/web", "").1["peers"][0]["requests"], 0);
}

#[test]
fn what_the_api_refuses_has_nginxs_code_and_a_sentence() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).start();
    let (_, servers) = ask(&weir, "GET", "/api/9/http/upstreams/web/servers", "");
    let server = format!("/api/9/http/upstreams/web/servers/{}", servers[0]["id"]);
    let twice = json!({"server": a.address().to_string()}).to_string();
    for (method, path, body, status, code) in [
        ("GET", "/api/8/http/upstreams", "", 404, "UnknownVersion"),
        ("GET", "/api/9/slabs", "", 404, "PathNotFound"),
        ("GET", "/nothing", "", 404, "PathNotFound"),
        ("GET", "/api/9/http/upstreams/nobody", "", 404, "UpstreamNotFound"),
        ("GET", "/api/9/http/upstreams/web/servers/99999", "", 404, "UpstreamServerNotFound"),
        ("PATCH", "/api/9/http/upstreams/web/servers/99999", "{\"weight\": 1}", 404, "UpstreamServerNotFound"),
        ("PATCH", &server, "{\"weight\": 0}", 400, "UpstreamBadWeight"),
        ("PATCH", &server, "{\"backup\": true}", 400, "UpstreamServerImmutable"),
        ("PATCH", &server, "weight=1", 415, "JsonError"),
        ("DELETE", &server, "", 400, "UpstreamStatic"),
        ("PUT", &server, "{}", 405, "MethodDisabled"),
        ("POST", "/api/9/http/upstreams/web/servers", "{\"server\": \"a b\"}", 400, "UpstreamBadAddress"),
        ("POST", "/api/9/http/upstreams/web/servers", &twice, 409, "EntryExists"),
        ("POST", "/status", "", 405, "MethodDisabled"),
        ("GET", "/levers", "", 405, "MethodDisabled"),
        ("POST", "/levers", "{}", 400, "JsonError"),
        ("POST", "/levers", "{\"peer\": \"web/x\", \"lever\": \"explode\"}", 400, "BadLever"),
    ] {
        let (got, answer) = ask(&weir, method, path, body);
        assert_eq!((got, answer["error"]["code"].as_str()), (status, Some(code)), "{method} {path}: {answer}");
        assert_eq!(answer["error"]["status"], status);
        assert!(answer["error"]["text"].as_str().unwrap().len() > 10, "{answer}");
    }
    let large = format!("{{\"weight\": \"{}\"}}", "9".repeat(70_000));
    assert_eq!(ask(&weir, "PATCH", &server, &large).0, 413);
    assert_eq!(weir.get("/").text(), "a");
}

#[test]
fn patch_overrides_what_the_file_says_of_a_server() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a, &b]).start();
    let (_, servers) = ask(&weir, "GET", "/api/9/http/upstreams/web/servers", "");
    let path = format!("/api/9/http/upstreams/web/servers/{}", servers[0]["id"]);
    let change = json!({"weight": 3, "max_conns": 8, "max_fails": 4, "fail_timeout": "1m"});
    let (status, changed) = ask(&weir, "PATCH", &path, &change.to_string());
    assert_eq!(status, 200, "{changed}");
    for (key, value) in change.as_object().unwrap() {
        let expected = if key == "fail_timeout" { &json!("60s") } else { value };
        assert_eq!(&changed[key], expected, "{key}");
    }
    assert_eq!(sorted(&weir.rotation(8)), "aaaaaabb");
    assert_eq!(ask(&weir, "PATCH", &path, "{\"drain\": true}").1["drain"], true);
    assert_eq!(weir.rotation(4), "bbbb");
    assert_eq!(ask(&weir, "PATCH", &path, "{\"drain\": false}").1["drain"], false);
    assert_eq!(ask(&weir, "PATCH", &path, "{\"down\": true}").1["down"], true);
    assert_eq!(weir.rotation(4), "bbbb");
    assert_eq!(status_of(&weir, &a)["overrides"].as_array().unwrap().len(), 5);
}

#[test]
fn servers_come_and_go_by_the_api_without_a_failed_request() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a]).top("workers = 2").start();
    let (address, done) = (weir.address(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::connect(address);
                    while !done.load(SeqCst) {
                        assert_eq!(client.get("/").status, 200);
                    }
                })
            })
            .collect();
        let body = json!({"server": b.address().to_string(), "weight": 2}).to_string();
        for _ in 0..5 {
            let asked = b.requests().len();
            let (status, added) = ask(&weir, "POST", "/api/9/http/upstreams/web/servers", &body);
            assert_eq!((status, &added["weight"]), (201, &json!(2)), "{added}");
            eventually("b has traffic", || b.requests().len() > asked + 5);
            let path = format!("/api/9/http/upstreams/web/servers/{}", added["id"]);
            let (status, left) = ask(&weir, "DELETE", &path, "");
            assert_eq!((status, left.as_array().map(Vec::len)), (200, Some(1)), "{left}");
        }
        done.store(true, SeqCst);
        clients.into_iter().for_each(|client| client.join().expect("each GET was answered"));
    });
    assert_eq!(weir.rotation(3), "aaa");
    let body = json!({"server": b.address().to_string()}).to_string();
    assert_eq!(ask(&weir, "POST", "/api/9/http/upstreams/web/servers", &body).0, 201);
    must(&weir, &["reload"]);
    assert_eq!(sorted(&weir.rotation(4)), "aabb", "a reload keeps it");
}

#[test]
fn the_socket_is_its_users_alone() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).start();
    run(&weir, &["status"]);
    let mode = std::fs::metadata(weir.folder().join("admin.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn on_tcp_levers_need_the_token_and_pages_of_others_are_refused() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).rest("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"open sesame\"").start();
    let admin = admin_address(&weir);
    let host = format!("Host: {admin}\r\n");
    let token = "Authorization: Bearer open sesame\r\n";
    for (method, path, fields, status, code) in [
        ("GET", "/healthz", host.clone(), 200, ""),
        ("GET", "/status", host.clone(), 200, ""),
        ("GET", "/healthz", "Host: weir.internal\r\n".to_owned(), 200, ""),
        ("GET", "/status", "Host: evil.example\r\n".to_owned(), 403, "ForeignHost"),
        ("GET", "/status", format!("{host}Origin: http://evil.example\r\n"), 403, "ForeignOrigin"),
        ("POST", "/reload", host.clone(), 401, "TokenMissing"),
        ("POST", "/reload", format!("{host}Authorization: Bearer open sesamo\r\n"), 401, "WrongToken"),
        ("POST", "/reload", format!("{host}{token}Origin: http://evil.example\r\n"), 403, "ForeignOrigin"),
        ("POST", "/reload", format!("{host}{token}"), 200, ""),
        ("POST", "/reload", format!("Host: weir.internal\r\n{token}"), 200, ""),
    ] {
        let (got, head, body) = ask_tcp(admin, method, path, &fields);
        assert_eq!(got, status, "{method} {path} {fields}: {body}");
        assert!(body.contains(code), "{body}");
        assert_eq!(head.contains("www-authenticate: bearer"), status == 401, "{head}");
    }
    let at = admin.to_string();
    let (code, _, err) = run(&weir, &["drain", &peer(&a), "--admin", &at, "--token", "wrong"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("the token is wrong"), "{err}");
    must(&weir, &["drain", &peer(&a), "--admin", &at, "--token", "open sesame"]);
    must(&weir, &["undrain", &peer(&a), "--admin", &at]);
    must(&weir, &["healthcheck", &format!("http://{at}/healthz")]);
}

#[test]
fn on_tcp_without_a_token_the_api_can_only_be_read() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).rest("[admin]\nlisten = \"127.0.0.1:0\"").start();
    let admin = admin_address(&weir);
    let host = format!("Host: {admin}\r\n");
    assert_eq!(ask_tcp(admin, "GET", "/api/9/http/upstreams", &host).0, 200);
    let (status, _, body) = ask_tcp(admin, "POST", "/reload", &host);
    assert_eq!(status, 403);
    assert!(body.contains("set `token` in [admin]"), "{body}");
}

#[test]
fn a_client_that_says_nothing_keeps_nobody_from_asking() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).start();
    run(&weir, &["status"]);
    let socket = weir.folder().join("admin.sock");
    let _silent: Vec<UnixStream> = (0..20).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let begun = Instant::now();
    must(&weir, &["status"]);
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn a_reload_moves_the_admin_listener_and_changes_its_token() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).start();
    must(&weir, &["status"]);
    let mark = weir.mark();
    weir.edit(&Site::of([&a]).rest("[admin]\nlisten = \"unix:@DIR@/other.sock\"").toml());
    weir.wait_since(mark, "moved", |line| line.contains("the admin API is at") && line.contains("other.sock"));
    eventually("the new one answers", || command(weir.folder(), &["status"]).0 == Some(0));
    eventually("the old one is gone", || !weir.folder().join("admin.sock").exists());

    let mark = weir.mark();
    weir.edit(&Site::of([&a]).rest("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"one\"").toml());
    let line = weir.wait_since(mark, "moved", |line| line.contains("the admin API is at http://"));
    let admin: SocketAddr = line.rsplit_once("http://").unwrap().1.trim().parse().unwrap();
    let with = |token: &str| format!("Host: {admin}\r\nAuthorization: Bearer {token}\r\n");
    assert_eq!(ask_tcp(admin, "POST", "/reload", &with("one")).0, 200);
    weir.edit(&Site::of([&a]).rest("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"two\"").toml());
    eventually("the new token", || ask_tcp(admin, "GET", "/status", &with("two")).0 == 200);
    assert_eq!(ask_tcp(admin, "POST", "/reload", &with("one")).0, 401);
}

#[test]
fn a_reload_changes_the_access_log() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).start();
    weir.get("/one");
    weir.wait_for_access("combined", |line| line.contains("\"GET /one HTTP/1.1\" 200"));
    let mark = weir.mark();
    weir.edit(&Site::of([&a]).top("log_format = \"MINE $request_uri\"").toml());
    weir.wait_since(mark, "said", |line| line.contains("the access log is as the file says now"));
    weir.get("/two");
    weir.wait_for_access("the template", |line| line == "MINE /two");
}
