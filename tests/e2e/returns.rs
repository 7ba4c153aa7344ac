//! Does a `return` answer as the file says, without asking anybody?

use crate::support::{Backend, Site, Weir};

/// Weir whose location `/fixed` returns this; every other path leads to the application.
fn returning(application: &Backend, what: &str, more: &str) -> Weir {
    Site::of([application]).rest(&format!("[[server.location]]\npath = \"/fixed\"\nreturn = {what}\n{more}")).start()
}

#[test]
fn a_location_answers_with_a_status_a_text_or_a_redirect() {
    let a = Backend::start("a");
    for (what, status, text, location) in [
        ("204", 204, "", None),
        ("404", 404, "404 Not Found\n", None),
        ("200", 200, "", None),
        ("\"hello $arg_name\"", 200, "hello me", None),
        ("{ status = 410, text = \"gone\" }", 410, "gone", None),
        ("\"https://$host/new\"", 302, "302 Found\n", Some("https://weir.test/new")),
        ("\"$scheme://$host/new\"", 302, "302 Found\n", Some("http://weir.test/new")),
        ("{ status = 308, location = \"/new$is_args$args\" }", 308, "308 Permanent Redirect\n", Some("/new?name=me")),
        (
            "{ status = 301, location = \"https://$host$request_uri\" }",
            301,
            "301 Moved Permanently\n",
            Some("https://weir.test/fixed?name=me"),
        ),
    ] {
        let weir = returning(&a, what, "add_header = { X-Mine = \"$uri\" }");
        let mut client = weir.client();
        for _ in 0..2 {
            let response = client.get("/fixed?name=me");
            let seen = (response.status, response.text(), response.field("location"), response.field("x-mine"));
            assert_eq!(seen, (status, text.to_owned(), location, Some("/fixed")), "{what}");
        }
        assert_eq!(client.get("/").text(), "a", "{what}: on the same connection");
    }
    assert!(a.requests().iter().all(|request| request.target == "/"), "nobody was asked");
}

#[test]
fn what_a_client_sends_cannot_add_a_line_to_the_answer() {
    let a = Backend::start("a");
    let weir =
        returning(&a, "{ status = 302, location = \"https://$host$uri\" }", "add_header = { X-Path = \"$uri\" }");
    let response = weir.get("/fixed%0d%0aSet-Cookie:%20a=b");
    assert_eq!(response.field("location"), Some("https://weir.test/fixed%0D%0ASet-Cookie:%20a=b"));
    assert_eq!((response.field("set-cookie"), response.field("x-path")), (None, None));
}

#[test]
fn a_head_gets_the_length_and_a_body_that_nobody_wants_ends_the_connection() {
    let a = Backend::start("a");
    let weir = returning(&a, "\"hello\"", "");
    let mut client = weir.client();
    client.send("HEAD /fixed HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!((head.status, head.field("content-length")), (200, Some("5")));
    let posted = client.post("/fixed", "body");
    assert_eq!((posted.text().as_str(), posted.field("connection")), ("hello", Some("close")));
}

#[test]
fn a_server_that_returns_needs_no_location_and_444_is_silence() {
    let weir = Weir::start(
        "[[server]]\nlisten = \"127.0.0.1:0\"\nreturn = { status = 301, location = \"https://$host$request_uri\" }\n\
         [[server]]\nlisten = \"127.0.0.1:0\"\nserver_name = \"silent.test\"\nreturn = 444\n",
    );
    assert_eq!(weir.get("/a?b=c").field("location"), Some("https://weir.test/a?b=c"));
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: silent.test\r\n\r\n");
    assert!(client.closed_silently());
    weir.wait_for_access("the silence", |line| line.contains("\" 444 0 "));
}
