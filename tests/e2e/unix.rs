//! Does weir speak over unix sockets as it does over ports? To clients, and to applications.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::support::{Backend, Client, PARKED, Script, Site, Weir, eventually, listens, sorted};

/// Listens on a port, for the harness, and on a socket in weir's folder.
const BOTH: &str = r#"["127.0.0.1:0", "unix:@DIR@/weir.sock"]"#;

fn socket(weir: &Weir) -> PathBuf {
    let path = weir.folder().join("weir.sock");
    weir.wait_for("it listens there", |line| line.contains("listening on unix:") && line.contains("weir.sock"));
    path
}

fn get_unix(path: &Path) -> String {
    Client::connect_unix(path).get("/").text()
}

/// Applications behind sockets in a folder of their own.
fn applications<const N: usize>(names: [&str; N]) -> (tempfile::TempDir, [Backend; N], Site) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let backends = names.map(|name| Backend::start_unix(name, &path(name)));
    let site = Site::servers(names.map(|name| format!("\"unix:{}\"", path(name).display())));
    (folder, backends, site)
}

#[test]
fn all_workers_answer_on_one_socket_and_one_connection_serves_many_requests() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a, &b]).top("workers = 4").listen(BOTH).start();
    let path = socket(&weir);
    let seen: String = (0..6).map(|_| get_unix(&path)).collect();
    assert_eq!(sorted(&seen), "aaabbb", "in turn: {seen}");
    let mut client = Client::connect_unix(&path);
    let seen: String = (0..4).map(|_| client.get("/").text()).collect();
    assert_eq!(sorted(&seen), "aabb");
    std::thread::sleep(PARKED);
    assert!(["a", "b"].contains(&&*client.get("/").text()), "also after a pause");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666, "as in nginx");
}

#[test]
fn a_client_without_an_address_is_told_as_such() {
    let a = Backend::start("a");
    let weir = Site::of([&a])
        .top("log_format = \"$remote_addr|$remote_port|$server_addr|$server_port|$uri\"")
        .listen(BOTH)
        .location("proxy_set_header = { X-Them = \"$remote_addr $proxy_add_x_forwarded_for\" }")
        .start();
    let path = socket(&weir);
    let mut client = Client::connect_unix(&path);
    client.send("GET /x HTTP/1.1\r\nHost: weir.test\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let request = a.only_request();
    assert_eq!(request.field("x-forwarded-for"), None, "{}", request.head);
    assert_eq!(request.field("x-real-ip"), None);
    assert_eq!(request.field("x-forwarded-port"), None);
    assert_eq!(request.field("forwarded"), Some("for=unknown;proto=http;host=weir.test"));
    assert_eq!(request.field("x-them"), Some("unix: 6.6.6.6"));
    let line = weir.wait_for_access("the request", |line| line.ends_with("|/x"));
    assert_eq!(line, format!("unix:|-|unix:{}|-|/x", path.display()));
}

#[test]
fn who_comes_over_a_socket_may_be_trusted_to_speak_for_others() {
    let a = Backend::start("a");
    let weir =
        Site::of([&a]).top("trusted_proxies = [\"unix:\"]\nlog_format = \"$remote_addr $uri\"").listen(BOTH).start();
    let path = socket(&weir);
    let mut client = Client::connect_unix(&path);
    client.send("GET /x HTTP/1.1\r\nHost: weir.test\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.5\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let request = a.only_request();
    assert_eq!(request.field("x-forwarded-for"), Some("6.6.6.6, 203.0.113.5"));
    assert_eq!(request.field("x-real-ip"), Some("203.0.113.5"));
    weir.wait_for_access("the client", |line| line == "203.0.113.5 /x");

    // Over the port it is not.
    let mut client = weir.client();
    client.send("GET /y HTTP/1.1\r\nHost: weir.test\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
    assert_eq!(client.response().status, 200);
    weir.wait_for_access("the sender", |line| line == "127.0.0.1 /y");
}

#[test]
fn a_file_left_by_a_dead_process_is_replaced_and_a_living_one_is_respected() {
    let a = Backend::start("a");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a dead process leaves its file");

    let listen = format!("[\"127.0.0.1:0\", {{ address = \"unix:{}\", mode = \"0640\" }}]", path.display());
    let site = Site::of([&a]).listen(&listen);
    let mut first = site.start();
    first.wait_for("it listens there", |line| line.contains("listening on unix:"));
    assert_eq!(get_unix(&path), "a");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);

    let mut second = Weir::launch(&site.toml());
    assert_eq!(second.wait_exit().code(), Some(1));
    second.wait_for("why", |line| line.contains("another program answers there"));
    assert_eq!(get_unix(&path), "a", "the first one has not noticed");

    first.sigterm();
    assert!(first.wait_exit().success());
    assert!(!path.exists(), "it goes with its owner");
}

#[test]
fn of_several_that_start_at_once_where_a_dead_one_was_one_listens() {
    let a = Backend::start("a");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.sock");
    drop(UnixListener::bind(&path).unwrap());
    let toml = Site::of([&a]).listen(&format!("\"unix:{}\"", path.display())).toml();
    let mut weirs = [(); 4].map(|()| Weir::launch(&toml));
    eventually("the others give up", || weirs.iter_mut().map(|weir| u32::from(weir.is_running())).sum::<u32>() == 1);
    for weir in &mut weirs {
        if weir.is_running() {
            weir.wait_for("it listens", |line| line.contains("listening on unix:"));
        } else {
            weir.wait_for("why", |line| line.contains("another program answers there"));
        }
    }
    assert_eq!(get_unix(&path), "a");
}

#[test]
fn a_file_that_is_no_socket_is_not_touched() {
    let a = Backend::start("a");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.sock");
    std::fs::write(&path, "precious").unwrap();
    let mut weir = Weir::launch(&Site::of([&a]).listen(&format!("\"unix:{}\"", path.display())).toml());
    assert_eq!(weir.wait_exit().code(), Some(1));
    weir.wait_for("why", |line| line.contains("a file is there that is no socket"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_reload_adds_changes_and_removes_sockets() {
    let a = Backend::start("a");
    let site = Site::of([&a]);
    let weir = site.start();
    let path = weir.folder().join("weir.sock");
    weir.edit(&site.clone().listen(BOTH).toml());
    eventually("it listens", || listens(&path));
    assert_eq!(get_unix(&path), "a");

    let other_mode = r#"["127.0.0.1:0", { address = "unix:@DIR@/weir.sock", mode = "0600" }]"#;
    weir.edit(&site.clone().listen(other_mode).toml());
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    eventually("the mode has changed", || mode() == 0o600);
    assert_eq!(get_unix(&path), "a");

    weir.edit(&site.toml());
    eventually("it is gone", || !path.exists());
    assert_eq!(weir.get("/").text(), "a");
}

#[test]
fn what_a_successor_has_put_in_place_is_left_there() {
    let a = Backend::start("a");
    let mut weir = Site::of([&a]).listen(BOTH).start();
    let path = socket(&weir);
    let beside = weir.folder().join("new.sock");
    let _successor = UnixListener::bind(&beside).unwrap();
    std::fs::rename(&beside, &path).unwrap();
    weir.sigterm();
    assert!(weir.wait_exit().success());
    assert!(path.exists());
}

#[test]
fn applications_behind_sockets_take_turns_and_are_logged_by_their_paths() {
    let (folder, [a, b], site) = applications(["a", "b"]);
    let weir = site.top("log_format = \"$upstream_addr $uri\"").start();
    let seen = weir.rotation(4);
    assert_eq!(sorted(&seen), "aabb");
    assert_eq!(a.requests().len(), b.requests().len());
    assert!(a.connections() <= 2, "connections are kept: {}", a.connections());
    assert_eq!(weir.get("/x").status, 200);
    let path = |name| format!("unix:{} /x", folder.path().join(name).display());
    weir.wait_for_access("who was asked", |line| line == path("a") || line == path("b"));
}

#[test]
fn an_application_that_is_gone_costs_nobody_an_error_and_comes_back() {
    let (_folder, [a, _b], site) = applications(["a", "b"]);
    let weir = site.checked("fails = 1\npasses = 1").start();
    eventually("both have passed a probe", || sorted(&weir.rotation(4)) == "aabb");
    let mark = weir.mark();
    a.stop();
    assert_eq!(weir.rotation(4), "bbbb", "its socket refuses: somebody else is asked");
    weir.wait_since(mark, "the probes notice", |line| line.contains("/a") && line.contains("connection refused"));
    a.restart();
    eventually("it is back", || weir.get("/").text() == "a");
    let probe = a.health_request().expect("it was probed");
    assert_eq!(probe.field("host"), Some("localhost"), "as in nginx");
}

#[test]
fn one_application_by_its_socket_alone_with_a_path_in_place_of_the_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let a = Backend::start_unix("a", &path);
    a.on("/inner/x", Script::text("inner"));
    let weir = Weir::start(&format!(
        "[[server]]\nlisten = \"127.0.0.1:0\"\n[[server.location]]\npath = \"/app/\"\n\
         proxy_pass = \"http://unix:{0}:/inner/\"\n[[server.location]]\npath = \"/\"\nproxy_pass = \"http://unix:{0}\"\n",
        path.display()
    ));
    assert_eq!(weir.get("/app/x").text(), "inner");
    assert_eq!(weir.get("/y").text(), "a");
}
