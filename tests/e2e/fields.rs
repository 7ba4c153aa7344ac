//! Which fields reach the other side? The client's own, those that tell where it came from, and none of the hop's.

use crate::support::backend::Request;
use crate::support::{Backend, Response, Script, Site, Weir};

fn asked(site: &Site, a: &Backend, lines: &str) -> (Request, Response) {
    let weir = site.start();
    let response = send(&weir, lines);
    (a.only_request(), response)
}

fn send(weir: &Weir, lines: &str) -> Response {
    let mut client = weir.client();
    client.send(format!("GET /path?q=1 HTTP/1.1\r\nHost: Weir.Test:8080\r\n{lines}\r\n"));
    client.response()
}

#[test]
fn the_request_line_and_the_host_go_through_byte_for_byte() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).start();
    let mut client = weir.client();
    client.send("GET /direct/a%2Fb/../x//y?q=%20&&z HTTP/1.1\r\nHost: Weir.Test:8080\r\nX-Case: MiXed\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let request = a.only_request();
    assert_eq!(request.target, "/direct/a%2Fb/../x//y?q=%20&&z");
    assert_eq!(request.field("host"), Some("Weir.Test:8080"));
    assert!(request.head.contains("X-Case: MiXed\r\n"), "{}", request.head);
    assert!(request.head.starts_with("GET /direct/a%2Fb/../x//y?q=%20&&z HTTP/1.1\r\n"));
}

#[test]
fn fields_that_belong_to_one_hop_stop_here() {
    let a = Backend::start("a");
    a.usually(Script::new().read_body().answer(
        200,
        "Connection: X-Drop\r\nX-Drop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nX-Stay: 1\r\n",
        "a",
    ));
    let (request, response) = asked(
        &Site::of([&a]),
        &a,
        "Connection: X-Foo, keep-alive\r\nX-Foo: 1\r\nKeep-Alive: 300\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\nX-Bar: 1\r\n",
    );
    for name in ["x-foo", "keep-alive", "proxy-connection", "te", "upgrade"] {
        assert_eq!(request.field(name), None, "{name} in\n{}", request.head);
    }
    assert_eq!(request.field("x-bar"), Some("1"));
    for name in ["x-drop", "proxy-connection"] {
        assert_eq!(response.field(name), None, "{name} in {response:?}");
    }
    assert_ne!(response.field("keep-alive"), Some("timeout=5"));
    assert_eq!(response.field("x-stay"), Some("1"));
}

#[test]
fn connection_cannot_name_away_what_weir_relies_on() {
    let a = Backend::start("a");
    let (request, _) = asked(&Site::of([&a]), &a, "Connection: Host, X-Forwarded-For, X-Real-IP\r\n");
    assert_eq!(request.field("host"), Some("Weir.Test:8080"));
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-real-ip"), Some("127.0.0.1"));
}

#[test]
fn the_backend_learns_who_asked_and_how() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).start();
    send(&weir, "");
    let request = a.only_request();
    let port = weir.address().port().to_string();
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "Weir.Test:8080"),
        ("x-forwarded-port", &port),
    ] {
        assert!(
            request.field(name).is_some_and(|got| got.eq_ignore_ascii_case(value)),
            "{name}: {value}\n{}",
            request.head
        );
        assert_eq!(request.count(name), 1, "{name}");
    }
    assert!(request.field("forwarded").is_some_and(|value| value.contains("for=127.0.0.1")), "{}", request.head);
}

#[test]
fn a_stranger_cannot_pretend_to_be_a_proxy() {
    let a = Backend::start("a");
    let (request, _) = asked(
        &Site::of([&a]),
        &a,
        "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
         Forwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n",
    );
    assert!(!request.head.contains("6.6.6.6") && !request.head.contains("evil"), "{}", request.head);
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
}

#[test]
fn a_trusted_proxy_is_believed_from_the_right() {
    let a = Backend::start("a");
    let site = Site::of([&a])
        .top("trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]")
        .upstream("balance = \"hash $remote_addr\"");
    let (request, _) =
        asked(&site, &a, "X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.1.2.3\r\nX-Forwarded-Proto: https\r\n");
    assert_eq!(request.field("x-forwarded-for"), Some("6.6.6.6, 192.0.2.7, 10.1.2.3, 127.0.0.1"));
    assert_eq!(request.field("x-real-ip"), Some("192.0.2.7"), "the first from the right that is not trusted");
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
}

#[test]
fn names_with_underscores_are_ignored() {
    let a = Backend::start("a");
    let (request, _) = asked(&Site::of([&a]), &a, "X_Token: 1\r\nX-Token: 2\r\n");
    assert!(!request.head.contains("X_Token"), "{}", request.head);
    assert_eq!(request.field("x-token"), Some("2"));
}

#[test]
fn several_fields_of_one_name_all_arrive() {
    let a = Backend::start("a");
    a.usually(Script::new().read_body().answer(200, "Set-Cookie: x=1\r\nSet-Cookie: y=2\r\n", "a"));
    let (request, response) = asked(&Site::of([&a]), &a, "Accept: a\r\nCookie: c=1\r\nAccept: b\r\n");
    assert_eq!(request.count("accept"), 2);
    let cookies: Vec<&str> =
        response.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case("set-cookie")).map(|(_, v)| v.as_str()).collect();
    assert_eq!(cookies, ["x=1", "y=2"]);
}

#[test]
fn server_date_status_and_reason_are_the_backends() {
    let a = Backend::start("a");
    a.usually(Script::raw(
        "HTTP/1.1 299 Quite Alright\r\nServer: app/1\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n",
    ));
    let (_, response) = asked(&Site::of([&a]), &a, "");
    assert_eq!((response.status, response.reason.as_str()), (299, "Quite Alright"));
    assert_eq!(response.field("server"), Some("app/1"));
    assert_eq!(response.field("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
}

#[test]
fn proxy_set_header_sets_replaces_and_removes() {
    let a = Backend::start("a");
    let site = Site::of([&a]).location(
        "proxy_set_header = { Host = \"$proxy_host\", X-User = \"$arg_q-$request_method\", Accept = \"\", X-Dollar = \"$$\" }",
    );
    let (request, _) = asked(&site, &a, "Accept: text/html\r\nX-User: liar\r\n");
    assert_eq!(request.field("host"), Some("web"));
    assert_eq!((request.field("x-user"), request.count("x-user")), (Some("1-GET"), 1));
    assert_eq!(request.field("accept"), None);
    assert_eq!(request.field("x-dollar"), Some("$"));
}

#[test]
fn errors_of_weir_are_plain_text_for_curl() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).start();
    a.stop();
    let response = weir.get("/");
    assert_eq!(response.status, 502);
    assert!(response.field("content-type").is_some_and(|value| value.starts_with("text/plain")), "{response:?}");
    assert!(response.text().contains("502"), "{response:?}");
    assert!(response.field("server").is_some_and(|value| value.starts_with("weir")), "{response:?}");
    assert!(response.field("date").is_some(), "{response:?}");
}

#[test]
fn add_header_and_proxy_hide_header_shape_the_answer() {
    let a = Backend::start("a");
    a.usually(Script::new().read_body().answer(200, "X-Powered-By: magic\r\nX-Stay: 1\r\n", "a"));
    let site = Site::of([&a])
        .location("proxy_hide_header = [\"X-Powered-By\"]")
        .location("add_header = { X-Served-For = \"$remote_addr\" }");
    let (_, response) = asked(&site, &a, "");
    assert_eq!(response.field("x-powered-by"), None);
    assert_eq!(response.field("x-stay"), Some("1"));
    assert_eq!(response.field("x-served-for"), Some("127.0.0.1"));
}
