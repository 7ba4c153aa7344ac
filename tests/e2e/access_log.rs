//! What does the access log tell of a request? One line each, in nginx's words.

use regex::Regex;

use crate::support::{Backend, Script, Site};

fn matches(line: &str, pattern: &str) {
    assert!(
        Regex::new(pattern).expect("the pattern of the test is sound").is_match(line),
        "{line}\nis not like\n{pattern}"
    );
}

#[test]
fn the_default_is_combined_with_what_the_upstream_did() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).start();
    let mut client = weir.client();
    client.send("GET /x?q=1 HTTP/1.1\r\nHost: h\r\nUser-Agent: test/1 \"q\"\r\nReferer: http://r/\r\n\r\n");
    client.response();
    let line = weir.wait_for_access("the request", |line| line.contains("GET /x?q=1"));
    matches(
        &line,
        r#"^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /x\?q=1 HTTP/1\.1" 200 1 "http://r/" "test/1 \\x22q\\x22""#,
    );
    matches(
        &line,
        r#" rt=\d+\.\d{3} uct="\d+\.\d{3}" uht="\d+\.\d{3}" urt="\d+\.\d{3}" ua="127\.[\d.]+:\d+" us="200"$"#,
    );
}

#[test]
fn json_is_one_object_a_line() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("log_format = \"json\"").start();
    weir.get("/json?q=%22");
    let line = weir.wait_for_access("the request", |line| line.contains("/json"));
    let object: serde_json::Value = serde_json::from_str(&line).expect("a line is a JSON object");
    assert_eq!(object["status"], 200, "{line}");
}

#[test]
fn a_template_says_what_the_user_wants() {
    let a = Backend::start("a");
    let weir = Site::of([&a])
        .top("log_format = \"$request_method $uri $args [$upstream_addr] $status $$ $http_x_user\"")
        .start();
    let mut client = weir.client();
    client.send("GET /a%20b?c=d HTTP/1.1\r\nHost: h\r\nX-User: me\r\n\r\n");
    client.response();
    let wanted = format!("GET /a b c=d [{}] 200 $ me", a.address());
    weir.wait_for_access(&wanted, |line| line == wanted);
}

#[test]
fn a_file_gets_the_lines_and_stdout_none() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("access_log = \"@DIR@/access.log\"").start();
    weir.get("/to-the-file");
    let file = weir.folder().join("access.log");
    crate::support::eventually("the line is in the file", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("GET /to-the-file"))
    });
}

#[test]
fn what_never_reached_a_peer_and_what_was_no_request_is_logged_too() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).start();
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.response().status, 400);
    weir.wait_for_access("the refused one", |line| line.contains(" 400 ") && line.contains("us=\"-\""));
    a.next(Script::hanging());
    let mut client = weir.client();
    client.send("GET /left HTTP/1.1\r\nHost: h\r\n\r\n");
    crate::support::eventually("a has it", || a.requests().len() == 1);
    drop(client);
    weir.wait_for_access("the client that left", |line| line.contains("GET /left") && line.contains(" 499 "));
}
