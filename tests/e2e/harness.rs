//! Does the harness itself see what happens? Backend and client, without weir between them.

use std::net::TcpStream;

use crate::support::client::Broken;
use crate::support::{Backend, Client, Gate, Script, get};

#[test]
fn a_backend_answers_with_its_name_and_keeps_the_connection() {
    let a = Backend::start("a");
    let mut client = Client::connect(a.address());
    assert_eq!(client.get("/").text(), "a");
    assert_eq!(client.post("/x?y", "body").text(), "a");
    let requests = a.requests();
    assert_eq!((requests[0].connection, requests[1].connection), (0, 0));
    assert_eq!((requests[1].target.as_str(), requests[1].body.as_slice()), ("/x?y", b"body".as_slice()));
}

#[test]
fn scripts_for_the_next_request_come_before_those_of_a_path() {
    let a = Backend::start("a");
    a.on("/x", Script::text("x"));
    a.next(Script::status(500));
    assert_eq!(get(a.address(), "/x").status, 500);
    assert_eq!(get(a.address(), "/x?y").text(), "x");
}

#[test]
fn a_cut_body_is_not_taken_for_a_whole_one() {
    let a = Backend::start("a");
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        a.next(Script::raw(cut).close());
        let mut client = Client::connect(a.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        match client.try_response() {
            Err(Broken::Cut { body }) => assert_eq!(body, b"half"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn trailers_and_interim_answers_are_seen() {
    let a = Backend::start("a");
    a.next(Script::raw(
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nab\r\n1;x=y\r\nc\r\n0\r\nX-Sum: 3\r\n\r\n",
    ));
    let mut client = Client::connect(a.address());
    let response = client.get("/");
    assert_eq!(response.interim, [103]);
    assert_eq!(response.text(), "abc");
    assert_eq!(response.trailers, [("X-Sum".to_owned(), "3".to_owned())]);
}

#[test]
fn a_stopped_backend_refuses_and_comes_back_on_the_same_port() {
    let a = Backend::start("a");
    let mut client = Client::connect(a.address());
    client.get("/");
    a.stop();
    assert!(TcpStream::connect(a.address()).is_err());
    client.send_as_far_as_possible("GET / HTTP/1.1\r\n\r\n");
    assert!(client.try_response().is_err());
    a.restart();
    assert_eq!(get(a.address(), "/").text(), "a");
}

#[test]
fn a_frozen_backend_accepts_and_answers_only_once_it_is_thawed() {
    let a = Backend::start("a");
    a.freeze();
    let mut client = Client::connect(a.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.is_silent_for(std::time::Duration::from_millis(100)));
    assert_eq!(a.requests().len(), 0);
    a.thaw();
    assert_eq!(client.response().text(), "a");
}

#[test]
fn a_reset_is_not_an_ordinary_end() {
    let a = Backend::start("a");
    a.next(Script::new().read_body().reset());
    let mut client = Client::connect(a.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(matches!(client.try_response(), Err(Broken::Cut { .. })));
}

#[test]
fn a_gate_holds_an_answer_back() {
    let (a, gate) = (Backend::start("a"), Gate::default());
    a.next(Script::new().read_body().gate(&gate).answer(200, "", "late"));
    let mut client = Client::connect(a.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.is_silent_for(std::time::Duration::from_millis(100)));
    gate.open();
    assert_eq!(client.response().text(), "late");
}
