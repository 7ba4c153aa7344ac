//! What does nonsense do? A request that is not one is refused and never forwarded; an answer that is not one is a 502.

use std::time::Duration;

use crate::support::client::Broken;
use crate::support::{Backend, Script, Site, Weir, eventually};

/// What is sent, and the status that it deserves.
type Case = (&'static str, &'static [u8], u16);

/// Ways to make a proxy and a backend disagree about where a request ends, and other malformed heads.
const REFUSED: &[Case] = &[
    (
        "both framings",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
        400,
    ),
    (
        "both framings, the other way",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nG",
        400,
    ),
    ("two lengths", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
    ("two equal lengths", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    ("a list of lengths", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello", 400),
    ("a signed length", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello", 400),
    ("a negative length", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400),
    ("a hexadecimal length", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\nhello", 400),
    (
        "a length beyond 64 bits",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
        400,
    ),
    ("an empty length", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n\r\n", 400),
    ("a space before the colon", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello", 400),
    (
        "a space before the colon of Transfer-Encoding",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("a folded line", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400),
    (
        "a folded Transfer-Encoding",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("xchunked", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    ("chunked, identity", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501),
    ("gzip, chunked", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    (
        "two Transfer-Encodings",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("chunks in HTTP/1.0", b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("a NUL in a value", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", 400),
    ("a bare CR in a value", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", 400),
    ("a bare LF after a line", b"GET / HTTP/1.1\r\nHost: h\nX: a\r\n\r\n", 400),
    ("no Host", b"GET / HTTP/1.1\r\nX: a\r\n\r\n", 400),
    ("two Hosts", b"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", 400),
    ("a Host with a path", b"GET / HTTP/1.1\r\nHost: h/x\r\n\r\n", 400),
    ("a Host with a user", b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    ("a field without a name", b"GET / HTTP/1.1\r\nHost: h\r\n: a\r\n\r\n", 400),
    ("a field without a colon", b"GET / HTTP/1.1\r\nHost: h\r\nnonsense\r\n\r\n", 400),
    ("a name with a space", b"GET / HTTP/1.1\r\nHost: h\r\nX Y: a\r\n\r\n", 400),
    ("a line that begins with a space", b"GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400),
    ("no target", b"GET HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("a target without a slash", b"GET x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("a space in the target", b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("a fragment", b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("a NUL in the path", b"GET /a%00b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("a broken escape", b"GET /a%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("above the root", b"GET /../etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("above the root, escaped", b"GET /%2e%2e/etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("no version", b"GET /\r\nHost: h\r\n\r\n", 400),
    ("nonsense for a version", b"GET / HTTP/x\r\nHost: h\r\n\r\n", 400),
    ("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
    ("HTTP/2 by prior knowledge", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("CONNECT", b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", 405),
    ("TRACE", b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 405),
];

/// Bodies whose framing breaks after a good head.
const BAD_CHUNKS: &[(&str, &str)] = &[
    ("not a number", "x\r\n"),
    ("a negative size", "-1\r\n"),
    ("a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("a size beyond 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("no line end behind the data", "5\r\nhello0\r\n\r\n"),
    ("data longer than its size", "3\r\nhello\r\n0\r\n\r\n"),
    ("bare line feeds", "5\nhello\n0\n\n"),
    (
        "an endless extension",
        concat!("5;", "x=yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\0"),
    ),
];

fn one() -> (Backend, Weir) {
    let a = Backend::start("a");
    let weir = Site::of([&a]).start();
    (a, weir)
}

#[test]
fn malformed_requests_are_refused_and_never_forwarded() {
    let (a, weir) = one();
    for (name, bytes, status) in REFUSED {
        let mut client = weir.client();
        client.send_as_far_as_possible(bytes);
        match client.try_response() {
            Ok(response) => assert_eq!(response.status, *status, "{name}"),
            Err(broken) => panic!("{name}: {broken:?}"),
        }
        assert!(!matches!(client.try_response(), Ok(_) | Err(Broken::Silent)), "{name}: the connection goes on");
        assert_eq!(a.requests().len(), 0, "{name}: forwarded");
    }
    assert_eq!(weir.get("/").text(), "a");
}

#[test]
fn what_follows_a_refused_request_is_not_taken_for_another() {
    let (a, weir) = one();
    let mut client = weir.client();
    client.send_as_far_as_possible(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n\
         GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    assert_eq!(client.response().status, 400);
    assert!(client.rest().is_empty());
    assert_eq!(a.requests().len(), 0);
}

#[test]
fn broken_chunks_are_refused_and_never_forwarded() {
    let (a, weir) = one();
    for (name, body) in BAD_CHUNKS {
        let mut client = weir.client();
        client
            .send_as_far_as_possible(format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        match client.try_response() {
            Ok(response) => assert_eq!(response.status, 400, "{name}"),
            Err(broken) => panic!("{name}: {broken:?}"),
        }
        assert_eq!(a.requests().len(), 0, "{name}: forwarded");
    }
}

#[test]
fn a_request_byte_by_byte_is_the_same_request() {
    let (a, weir) = one();
    let mut client = weir.client();
    for byte in b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.response().text(), "a");
    assert_eq!((a.only_request().target.as_str(), a.only_request().body), ("/x", b"ab".to_vec()));
}

#[test]
fn unusual_but_sound_requests_go_through() {
    let (a, weir) = one();
    for request in [
        "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http://h/abs HTTP/1.1\r\nHost: other\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nhOsT:h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "PROPFIND / HTTP/1.1\r\nHost: h\r\n\r\n",
        "DELETE / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab",
        "GET / HTTP/1.1\r\nHost: h\r\nX:\r\nY: \t a \t \r\n\r\n",
    ] {
        let mut client = weir.client();
        client.send(request);
        let response = client.response();
        assert_eq!(response.status, 200, "{request:?}");
    }
    assert_eq!(a.requests().len(), 9);
    assert_eq!(a.requests()[1].field("host"), Some("h"), "the authority of an absolute target wins");
}

// --- limits

#[test]
fn a_body_beyond_the_limit_is_413_and_one_at_the_limit_passes() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("client_max_body_size = \"1k\"").start();
    assert_eq!(weir.client().post("/", &"x".repeat(1024)).status, 200);
    let mut client = weir.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1025\r\n\r\n");
    assert_eq!(client.response().status, 413, "before a byte of it came");
    let mut client = weir.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send_as_far_as_possible(format!("401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025)));
    assert_eq!(client.response().status, 413, "chunks are counted");
    assert_eq!(a.requests().len(), 1);
}

#[test]
fn the_default_limit_of_a_body_is_1m() {
    let (_a, weir) = one();
    let mut client = weir.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", (1 << 20) + 1));
    assert_eq!(client.response().status, 413);
    assert_eq!(weir.client().post("/", &"x".repeat(1 << 20)).status, 200);
}

#[test]
fn a_long_target_is_414_and_a_large_head_431() {
    let (a, weir) = one();
    let mut client = weir.client();
    client.send_as_far_as_possible(format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(9_000)));
    assert_eq!(client.response().status, 414);
    let mut client = weir.client();
    client.send_as_far_as_possible(format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(40_000)));
    assert_eq!(client.response().status, 431);
    let mut client = weir.client();
    client.send_as_far_as_possible("GET / HTTP/1.1\r\nHost: h\r\n");
    for _ in 0..10_000 {
        client.send_as_far_as_possible("X: y\r\n");
    }
    // Unread bytes may turn the close into a reset, which may overtake the answer.
    match client.try_response() {
        Ok(response) => assert_eq!(response.status, 431),
        Err(Broken::Cut { .. } | Broken::Closed) => {}
        Err(broken) => panic!("{broken:?}"),
    }
    assert_eq!(a.requests().len(), 0);
}

// --- answers

/// Answers that are none.
const NONSENSE: &[(&str, &str)] = &[
    ("not HTTP", "hello, who is there?\r\n\r\n"),
    ("SSH", "SSH-2.0-OpenSSH_9.2\r\n"),
    ("HTTP/0.9", "<html>just a body</html>"),
    ("no status", "HTTP/1.1\r\n\r\n"),
    ("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
    ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab"),
    ("both framings", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("an unknown encoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n"),
    ("two encodings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
    ("a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nab"),
    ("a NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
    ("a field without colon", "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 0\r\n\r\n"),
    ("half a head", "HTTP/1.1 200 OK\r\nContent-Le"),
    ("nothing", ""),
];

#[test]
fn nonsense_of_a_backend_is_502() {
    let (a, weir) = one();
    for (name, answer) in NONSENSE {
        a.next(Script::raw(answer).close());
        let response = weir.get("/");
        assert_eq!(response.status, 502, "{name}: {}", response.text());
    }
    assert_eq!(weir.get("/").text(), "a");
}

#[test]
fn nonsense_counts_as_the_backends_failure() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let weir = Site::of([&a, &b]).start();
    a.next(Script::raw("SSH-2.0-OpenSSH_9.2\r\n").close());
    weir.get("/");
    weir.wait_for_state(a.address(), "unavail");
}

#[test]
fn a_head_beyond_64k_is_502_and_one_below_passes() {
    let (a, weir) = one();
    let line = format!("X-Fill: {}\r\n", "x".repeat(1000));
    a.next(Script::new().read_body().answer(200, &line.repeat(50), "fits"));
    assert_eq!(weir.get("/").text(), "fits");
    a.next(Script::new().read_body().answer(200, &line.repeat(100), "too large"));
    assert_eq!(weir.get("/").status, 502);
}

#[test]
fn an_endless_head_is_cut_off() {
    let (a, weir) = one();
    a.next(Script::raw("HTTP/1.1 200 OK\r\nX: ").stream(1 << 30));
    assert_eq!(weir.get("/").status, 502);
    eventually("the backend is hung up on", || a.open_connections() == 0);
    assert!(a.streamed() < 64 << 20, "{}", a.streamed());
}

#[test]
fn a_cut_body_is_cut_for_the_client_too_and_counts() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n",
    ] {
        let [a, b] = ["a", "b"].map(Backend::start);
        let weir = Site::of([&a, &b]).start();
        a.next(Script::raw(answer).close());
        let mut client = weir.client();
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        match client.try_response() {
            Err(Broken::Cut { body }) => assert_eq!(body, b"half", "{answer:?}"),
            // Nonsense that comes together with its head is found before the client has got a byte.
            Ok(response) if answer.contains("nonsense") => assert_eq!(response.status, 502),
            other => panic!("{answer:?}: {other:?}"),
        }
        weir.wait_for_state(a.address(), "unavail");
        assert_eq!(b.requests().len(), 0, "nothing is sent again after a byte of the answer went out");
    }
}

#[test]
fn bytes_behind_an_answer_are_not_the_next_answer() {
    let (a, weir) = one();
    a.next(Script::raw(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    ));
    let mut client = weir.client();
    assert_eq!(client.get("/1").text(), "ok");
    assert_eq!(client.get("/2").text(), "a");
    assert_eq!(a.connections(), 2);
}

#[test]
fn an_answer_to_head_with_a_body_does_not_become_the_next_answer() {
    let (a, weir) = one();
    a.next(Script::raw("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"));
    let mut client = weir.client();
    client.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.response_to_head().status, 200);
    assert_eq!(client.get("/").text(), "a");
}

#[test]
fn a_switch_of_protocols_that_nobody_asked_for_is_502() {
    let (a, weir) = one();
    a.next(Script::raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n").hang());
    assert_eq!(weir.get("/").status, 502);
}

#[test]
fn interim_answers_without_end_do_not_hang_the_client() {
    let (a, _) = one();
    let weir = Site::of([&a]).location("proxy_read_timeout = \"1s\"").start();
    a.next(Script::raw("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10)).pause(Duration::from_millis(10)).hang());
    assert_eq!(weir.get("/").status, 504);
}
