//! Does the client's address survive the proxies around weir? The PROXY protocol, accepted and sent, and the fields that
//! trusted proxies write.

use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::Duration;

use crate::support::client::Broken;
use crate::support::{Backend, Client, Site, Weir, eventually};

const V1: &[u8] = b"PROXY TCP4 203.0.113.5 198.51.100.2 4711 443\r\n";
/// The same in version 2, with a field (TLV) that says nothing.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10\xcb\x00\x71\x05\xc6\x33\x64\x02\x12\x67\x01\xbb\xee\x00\x01x";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

const ACCEPTS: &str = r#"{ address = "127.0.0.1:0", proxy_protocol = true }"#;
const FORMAT: &str = "log_format = \"$remote_addr:$remote_port $server_addr:$server_port \
    $proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port \
    $realip_remote_addr $uri\"";

/// Behind proxies on this machine.
fn behind_proxies(backends: &Backend) -> Site {
    Site::of([backends]).listen(ACCEPTS).top("trusted_proxies = [\"127.0.0.1\"]").top(FORMAT)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: weir.test\r\n\r\n")
}

fn client_with(weir: &Weir, header: &[u8]) -> Client {
    let mut client = weir.client();
    client.send(header);
    client
}

/// Weir closes without a word.
fn is_refused(client: &mut Client) -> bool {
    matches!(client.try_response(), Err(Broken::Closed | Broken::Cut { .. }))
}

#[test]
fn the_client_in_the_header_is_the_client_for_log_and_application() {
    for (name, header) in [("v1", V1), ("v2", V2)] {
        let a = Backend::start("a");
        let weir = behind_proxies(&a).start();
        let mut client = client_with(&weir, &[header, get("/1").as_bytes()].concat());
        assert_eq!(client.response().text(), "a", "{name}");
        // It holds for the whole connection.
        assert_eq!(client.get("/2").text(), "a");
        for (request, path) in a.requests().iter().zip(["/1", "/2"]) {
            assert_eq!(request.field("x-forwarded-for"), Some("203.0.113.5"), "{name}");
            assert_eq!(request.field("x-real-ip"), Some("203.0.113.5"));
            assert_eq!(request.field("x-forwarded-port"), Some("443"));
            assert_eq!(request.field("forwarded"), Some("for=203.0.113.5;proto=http;host=weir.test"));
            let line = format!("203.0.113.5:4711 198.51.100.2:443 203.0.113.5:4711 198.51.100.2:443 127.0.0.1 {path}");
            weir.wait_for_access(&line, |seen| seen == line);
        }
    }
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let a = Backend::start("a");
    let weir = behind_proxies(&a).start();
    for header in [V1, V2] {
        let mut client = weir.client();
        for byte in header {
            client.send([*byte]);
            sleep(Duration::from_millis(1));
        }
        assert_eq!(client.get("/").text(), "a");
    }
    assert!(a.requests().iter().all(|request| request.field("x-real-ip") == Some("203.0.113.5")));
}

#[test]
fn a_proxy_that_speaks_for_itself_keeps_its_own_address() {
    let a = Backend::start("a");
    let weir = behind_proxies(&a).start();
    for (header, path) in [(UNKNOWN, "/unknown"), (LOCAL, "/local")] {
        let mut client = client_with(&weir, header);
        assert_eq!(client.get(path).text(), "a");
        let end = format!(" -:- -:- 127.0.0.1 {path}");
        let line = weir.wait_for_access(path, |line| line.ends_with(path));
        assert!(line.starts_with("127.0.0.1:") && line.ends_with(&end), "{line}");
    }
    assert!(a.requests().iter().all(|request| request.field("x-real-ip") == Some("127.0.0.1")));
}

#[test]
fn who_is_not_trusted_is_not_heard() {
    let a = Backend::start("a");
    let weir = behind_proxies(&a).start();
    let mut stranger = Client::connect_from(Ipv4Addr::new(127, 0, 9, 9).into(), weir.address());
    stranger.send_as_far_as_possible([V1, get("/").as_bytes()].concat());
    assert!(is_refused(&mut stranger));
    weir.wait_for("why", |line| {
        line.contains("closed a connection of 127.0.9.9:") && line.contains("not among trusted_proxies")
    });
    assert_eq!(a.requests().len(), 0);
    assert_eq!(client_with(&weir, V1).get("/").text(), "a", "others are served");
}

#[test]
fn what_does_not_begin_with_a_header_is_closed_with_one_line_and_nothing_forwarded() {
    let a = Backend::start("a");
    let weir = behind_proxies(&a).top("workers = 1").start();
    let mut long = LOCAL.to_vec();
    long[14] = 0xff;
    for bytes in [get("/").into_bytes(), b"PROXY TCP4 203.0.113.5 198.51.100.2 x 443\r\n".to_vec(), long] {
        let mut client = weir.client();
        client.send_as_far_as_possible(&bytes);
        assert!(is_refused(&mut client), "{:?}", String::from_utf8_lossy(&bytes));
    }
    weir.wait_for("why", |line| line.contains("closed a connection of 127.0.0.1:") && line.contains("no PROXY header"));
    assert_eq!(client_with(&weir, V1).get("/").text(), "a");
    let lines = weir.log().iter().filter(|line| line.contains("closed a connection")).count();
    assert_eq!(lines, 1, "the others of the next ten seconds are counted");
    assert_eq!(a.requests().len(), 1);
}

#[test]
fn a_header_that_does_not_come_in_time_ends_the_connection() {
    let a = Backend::start("a");
    let weir = behind_proxies(&a).top("client_header_timeout = \"200ms\"").start();
    let mut client = client_with(&weir, b"PROXY TCP4 203.0.113.5");
    assert!(is_refused(&mut client));
    weir.wait_for("why", |line| line.contains("its PROXY header did not come in time"));
}

#[test]
fn ip_hash_goes_by_the_client_in_the_header() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a, &b])
        .listen(ACCEPTS)
        .top("trusted_proxies = [\"127.0.0.1\"]")
        .upstream("balance = \"ip_hash\"")
        .start();
    let pick = |third: u8| {
        let header = format!("PROXY TCP4 203.0.{third}.5 198.51.100.2 4711 443\r\n");
        client_with(&weir, header.as_bytes()).get("/").text()
    };
    let picks: Vec<String> = (0..16).map(pick).collect();
    assert!(picks.contains(&"a".into()) && picks.contains(&"b".into()), "they differ: {picks:?}");
    assert_eq!((0..16).map(pick).collect::<Vec<_>>(), picks, "each stays where it is");
}

#[test]
fn fields_are_believed_if_the_client_in_the_header_is_a_trusted_proxy_itself() {
    let a = Backend::start("a");
    let site = Site::of([&a]).listen(ACCEPTS).top("trusted_proxies = [\"127.0.0.1\", \"203.0.113.0/24\"]");
    let ask = |site: &Site| {
        let weir = site.start();
        let request = "GET / HTTP/1.1\r\nHost: weir.test\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n";
        let mut client = client_with(&weir, &[V1, request.as_bytes()].concat());
        assert_eq!(client.response().status, 200);
        a.requests().last().unwrap().field("x-real-ip").unwrap().to_owned()
    };
    assert_eq!(ask(&site), "192.0.2.9");
    assert_eq!(ask(&site.top("real_ip_header = \"proxy_protocol\"")), "203.0.113.5");
}

#[test]
fn the_field_that_tells_the_client_can_be_chosen() {
    let a = Backend::start("a");
    for (header, expected) in [("X-Forwarded-For", "192.0.2.1"), ("X-Real-IP", "192.0.2.2"), ("Forwarded", "192.0.2.3")]
    {
        let weir = Site::of([&a])
            .top("trusted_proxies = [\"127.0.0.1\"]\nlog_format = \"$remote_addr $uri\"")
            .top(&format!("real_ip_header = \"{header}\""))
            .start();
        let mut client = weir.client();
        client.send(
            "GET /x HTTP/1.1\r\nHost: weir.test\r\nX-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 192.0.2.2\r\n\
             Forwarded: for=6.6.6.6\r\nForwarded: for=192.0.2.3;proto=https\r\n\r\n",
        );
        assert_eq!(client.response().status, 200);
        weir.wait_for_access(expected, |line| line == format!("{expected} /x"));
        let request = a.requests().pop().unwrap();
        assert_eq!(request.field("x-real-ip"), Some(expected));
        let list = "for=6.6.6.6, for=192.0.2.3;proto=https, for=127.0.0.1;proto=http;host=weir.test";
        assert_eq!(request.field("forwarded"), Some(list), "what came before is kept");
    }
}

#[test]
fn a_unix_socket_takes_headers_too() {
    let a = Backend::start("a");
    let weir = Site::of([&a])
        .listen(r#"["127.0.0.1:0", { address = "unix:@DIR@/weir.sock", proxy_protocol = true }]"#)
        .top("trusted_proxies = [\"unix:\"]")
        .start();
    weir.wait_for("it listens there", |line| line.contains("listening on unix:"));
    let mut client = Client::connect_unix(&weir.folder().join("weir.sock"));
    client.send(V2);
    assert_eq!(client.get("/").text(), "a");
    assert_eq!(a.only_request().field("x-forwarded-for"), Some("203.0.113.5"));
}

#[test]
fn applications_are_told_of_each_client_on_a_connection_of_its_own() {
    for version in ["v1", "v2"] {
        let a = Backend::start("a");
        a.expect_proxy_header();
        let weir = Site::of([&a]).upstream(&format!("proxy_protocol = \"{version}\"")).start();
        let mut client = weir.client();
        assert_eq!(client.get("/1").text(), "a");
        assert_eq!(client.get("/2").text(), "a");
        let port = client.writer().local_addr().unwrap().port();
        let to = weir.address().port();
        let expected = match version {
            "v1" => format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} {to}\r\n").into_bytes(),
            _ => {
                let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01";
                [fixed.as_slice(), &port.to_be_bytes(), &to.to_be_bytes()].concat()
            }
        };
        let requests = a.requests();
        assert_eq!(requests.len(), 2);
        assert!(requests.iter().all(|request| request.proxy_header == expected), "{requests:#?}");
        assert_eq!(a.connections(), 2, "none is kept");
        assert_eq!(requests[0].field("connection"), Some("close"));
    }
}

#[test]
fn probes_speak_for_weir_itself() {
    for (version, header) in [("v1", UNKNOWN), ("v2", LOCAL)] {
        let a = Backend::start("a");
        a.expect_proxy_header();
        let weir = Site::of([&a]).upstream(&format!("proxy_protocol = \"{version}\"")).checked("").start();
        eventually("it is up", || weir.get("/").status == 200);
        assert_eq!(a.health_request().expect("it was probed").proxy_header, header);
    }
}

#[test]
fn one_weir_behind_another_sees_the_client() {
    let a = Backend::start("a");
    for version in ["v1", "v2"] {
        let inner = behind_proxies(&a).start();
        let outer = Site::servers([format!("\"{}\"", inner.address())])
            .upstream(&format!("proxy_protocol = \"{version}\""))
            .start();
        let mut client = Client::connect_from(Ipv4Addr::new(127, 0, 7, 7).into(), outer.address());
        assert_eq!(client.get("/x").text(), "a");
        let line = inner.wait_for_access("the request", |line| line.ends_with("/x"));
        assert!(line.starts_with("127.0.7.7:"), "{line}");
    }
}

#[test]
fn a_client_of_a_unix_socket_is_unknown_to_applications() {
    let a = Backend::start("a");
    a.expect_proxy_header();
    let weir =
        Site::of([&a]).listen(r#"["127.0.0.1:0", "unix:@DIR@/weir.sock"]"#).upstream("proxy_protocol = \"v2\"").start();
    weir.wait_for("it listens there", |line| line.contains("listening on unix:"));
    assert_eq!(Client::connect_unix(&weir.folder().join("weir.sock")).get("/").text(), "a");
    assert_eq!(a.only_request().proxy_header, LOCAL);
}

#[test]
fn a_reload_makes_a_listener_expect_headers() {
    let a = Backend::start("a");
    let site = Site::of([&a]).top("trusted_proxies = [\"127.0.0.1\"]");
    let weir = site.start();
    let mut before = weir.client();
    assert_eq!(before.get("/").text(), "a");
    weir.edit(&site.listen(ACCEPTS).toml());
    weir.wait_for("it is in force", |line| line.contains("is in force: routes"));
    assert_eq!(client_with(&weir, V1).get("/").text(), "a");
    assert_eq!(a.requests().last().unwrap().field("x-real-ip"), Some("203.0.113.5"));
    assert_eq!(before.get("/").text(), "a", "who came before goes on");
}
