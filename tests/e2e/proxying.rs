//! Does an exchange survive the proxy? What goes through, what is changed on the way, and what it costs in memory.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use crate::support::client::Broken;
use crate::support::raw::Raw;
use crate::support::{Backend, Gate, Script, Site, Weir, eventually, settled};

const MIB: u64 = 1 << 20;

/// One backend and weir before it.
fn one() -> (Backend, Weir) {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("workers = 1").start();
    (a, weir)
}

// --- bodies

#[test]
fn a_download_of_200_mib_needs_little_memory() {
    let (a, weir) = one();
    let size = 200 * MIB;
    weir.get("/");
    let before = weir.peak_memory();
    a.next(Script::raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")).stream(size));
    let mut client = weir.client();
    client.send("GET /big HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    assert_eq!(client.head().unwrap().field("content-length"), Some(size.to_string().as_str()));
    assert_eq!(client.discard(size), size);
    assert!(weir.peak_memory() - before < 24 * MIB, "{} bytes more", weir.peak_memory() - before);
}

#[test]
fn an_upload_of_200_mib_needs_little_memory() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("workers = 1").top("client_max_body_size = 0").start();
    let size = 200 * MIB;
    weir.get("/");
    let before = weir.peak_memory();
    let mut client = weir.client();
    client.send(format!("PUT /big HTTP/1.1\r\nHost: weir.test\r\nContent-Length: {size}\r\n\r\n"));
    let zeros = vec![0; MIB as usize];
    for _ in 0..200 {
        client.send(&zeros);
    }
    assert_eq!(client.response().text(), "a");
    let request = a.requests().pop().expect("the upload");
    assert_eq!(request.body_length, size);
    assert!(weir.peak_memory() - before < 24 * MIB, "{} bytes more", weir.peak_memory() - before);
}

/// What is long goes through a pipe; what comes behind it must not.
#[test]
fn long_bodies_arrive_byte_for_byte_and_their_connections_go_on() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("workers = 1").top("client_max_body_size = 0").start();
    let long: String = (0..3 * MIB).map(|at| char::from(b'!' + (at % 89) as u8)).collect();
    let mut client = weir.client();
    let mut writer = client.writer();
    for turn in 0..3 {
        a.next(Script::text(&long));
        a.next(Script::text("behind it"));
        // Both at once: the second request is read with the end of the first.
        let asked = format!(
            "POST /{turn} HTTP/1.1\r\nHost: weir.test\r\nContent-Length: {}\r\n\r\n{long}GET /behind HTTP/1.1\r\nHost: weir.test\r\n\r\n",
            long.len()
        );
        std::thread::scope(|scope| {
            scope.spawn(|| writer.write_all(asked.as_bytes()).unwrap());
            let answer = client.response();
            assert_eq!(answer.status, 200);
            assert!(answer.text() == long, "turn {turn}");
            assert_eq!(client.response().text(), "behind it");
        });
    }
    let uploads: Vec<_> = a.requests().into_iter().filter(|request| request.method == "POST").collect();
    assert_eq!(uploads.iter().map(|upload| upload.body_length).collect::<Vec<_>>(), [3 * MIB; 3]);
    assert!(uploads.iter().all(|upload| long.as_bytes().starts_with(&upload.body)));
    assert_eq!(a.connections(), 1);
}

#[test]
fn long_bodies_without_a_length_arrive_byte_for_byte_at_a_client_that_knows_no_chunks() {
    let (a, weir) = one();
    let long: String = (0..3 * MIB).map(|at| char::from(b'!' + (at % 89) as u8)).collect();
    let chunk = |data: &[u8]| format!("{:x}\r\n{}\r\n", data.len(), str::from_utf8(data).unwrap());
    let chunked: String = long.as_bytes().chunks(MIB as usize).map(chunk).collect();
    a.next(Script::raw(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}0\r\n\r\n")));
    a.next(Script::raw(format!("HTTP/1.1 200 OK\r\n\r\n{long}")).close());
    for framing in ["chunks", "the end of the connection"] {
        let mut client = weir.client();
        client.send("GET / HTTP/1.0\r\nHost: weir.test\r\n\r\n");
        let said = String::from_utf8(client.rest()).unwrap();
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{framing}: {head}");
        assert!(body == long, "{framing}: {} bytes of {}", body.len(), long.len());
    }
}

#[test]
fn what_a_backend_says_behind_a_long_answer_is_nobodys() {
    let size = 2 * MIB as usize;
    let talkative = Raw::serving(move |mut stream| {
        let mut byte = [0];
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
            asked.push(byte[0]);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        let behind = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
        let _ = stream.write_all(&[head.as_bytes(), &vec![b'x'; size], behind.as_bytes()].concat());
        // It keeps its connection.
        let _ = stream.read(&mut byte);
    });
    let weir = Weir::start(&format!(
        "workers = 1\n[upstream.web]\nservers = [\"{}\"]\n[[server]]\nlisten = \"127.0.0.1:0\"\n[[server.location]]\npath = \"/\"\nproxy_pass = \"http://web\"\n",
        talkative.address()
    ));
    let mut client = weir.client();
    for _ in 0..3 {
        let answer = client.get("/");
        assert_eq!((answer.status, answer.text().len()), (200, size));
    }
}

#[test]
fn a_client_that_does_not_read_stops_the_backend_from_sending() {
    let (a, weir) = one();
    let size = 200 * MIB;
    weir.get("/");
    let before = weir.peak_memory();
    a.next(Script::raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")).stream(size));
    let mut client = weir.client();
    client.send("GET /big HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    client.head().unwrap();
    let sent = settled(Duration::from_millis(500), || a.streamed());
    assert!(sent < 64 * MIB, "{sent} bytes left the backend: more than the sockets' buffers hold");
    assert!(weir.peak_memory() - before < 24 * MIB);
    assert_eq!(client.discard(size), size, "and nothing is lost");
}

#[test]
fn a_backend_that_does_not_read_stops_the_client_from_sending() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("workers = 1").top("client_max_body_size = 0").start();
    weir.get("/");
    let before = weir.peak_memory();
    let gate = Gate::default();
    a.next(Script::new().gate(&gate).read_body().answer(200, "", "read"));
    let size = 200 * MIB;
    let mut client = weir.client();
    client.send(format!("PUT /big HTTP/1.1\r\nHost: weir.test\r\nContent-Length: {size}\r\n\r\n"));
    let sent = Arc::new(AtomicU64::new(0));
    let writer = {
        let (mut stream, sent) = (client.writer(), sent.clone());
        std::thread::spawn(move || {
            let zeros = vec![0; 64 << 10];
            for _ in 0..size / (64 << 10) {
                stream.write_all(&zeros).expect("weir takes it in the end");
                sent.fetch_add(64 << 10, SeqCst);
            }
        })
    };
    let taken = settled(Duration::from_millis(500), || sent.load(SeqCst));
    assert!(taken < 64 * MIB, "{taken} bytes left the client: more than the sockets' buffers hold");
    assert!(weir.peak_memory() - before < 24 * MIB);
    gate.open();
    writer.join().unwrap();
    assert_eq!(client.response().text(), "read");
    assert_eq!(a.requests().pop().unwrap().body_length, size);
}

#[test]
fn an_answer_is_passed_on_as_it_comes() {
    let (a, weir) = one();
    let gate = Gate::default();
    a.next(
        Script::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .gate(&gate)
            .send("0\r\n\r\n"),
    );
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    client.head().unwrap();
    let first = client.raw(10);
    assert_eq!(first, b"5\r\nfirst\r\n", "before the answer has ended");
    gate.open();
    assert_eq!(client.raw(5), b"0\r\n\r\n");
}

#[test]
fn a_slow_upload_occupies_no_application() {
    let (a, weir) = one();
    let mut client = weir.client();
    client.send("POST / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 10\r\n\r\nhalf.");
    assert!(client.is_silent_for(Duration::from_millis(300)));
    assert_eq!(a.connections(), 0, "small bodies are gathered first");
    client.send("whole");
    assert_eq!(client.response().text(), "a");
    assert_eq!(a.only_request().body, b"half.whole");
}

#[test]
fn bodies_keep_their_bytes_whatever_the_framing() {
    let (a, weir) = one();
    let mut client = weir.client();
    client.send("POST /length HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response().status, 200);
    client.send(
        "POST /chunked HTTP/1.1\r\nHost: weir.test\r\nTransfer-Encoding: chunked\r\n\r\n\
         2;ext=\"x\"\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    );
    assert_eq!(client.response().status, 200);
    client.send("POST /empty HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let large = "x".repeat(500_000);
    client.send("POST /large HTTP/1.1\r\nHost: weir.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for part in large.as_bytes().chunks(7_777) {
        client.send(format!("{:x}\r\n", part.len()));
        client.send(part);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let bodies: Vec<Vec<u8>> = a.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [b"hello".to_vec(), b"hello".to_vec(), Vec::new(), large.into_bytes()]);
}

#[test]
fn answers_keep_their_bytes_whatever_the_framing() {
    for (answer, closes) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", true),
        ("HTTP/1.0 200 OK\r\n\r\nhello", true),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", true),
    ] {
        let (a, weir) = one();
        a.usually(if closes { Script::raw(answer).close() } else { Script::raw(answer) });
        let mut client = weir.client();
        for _ in 0..3 {
            let response = client.get("/");
            assert_eq!((response.status, response.text().as_str()), (200, "hello"), "{answer:?}");
            assert_eq!(response.version, "HTTP/1.1", "{answer:?}");
        }
        assert_eq!(a.connections(), if closes { 3 } else { 1 }, "{answer:?}");
    }
}

#[test]
fn an_http_1_0_client_gets_no_chunks_and_an_end() {
    let (a, weir) = one();
    a.usually(Script::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
    let mut client = weir.client();
    client.send("GET / HTTP/1.0\r\nHost: weir.test\r\n\r\n");
    let response = client.response();
    assert_eq!(response.field("transfer-encoding"), None);
    assert_eq!(response.text(), "hello");
    assert!(client.closed_silently());
}

#[test]
fn answers_without_body_leave_the_connection_usable() {
    let (a, weir) = one();
    a.on("/head", Script::new().read_body().send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"));
    a.on("/204", Script::raw("HTTP/1.1 204 No Content\r\n\r\n"));
    a.on("/304", Script::raw("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\n"));
    let mut client = weir.client();
    client.send("HEAD /head HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    assert_eq!(client.response_to_head().field("content-length"), Some("5"));
    let no_content = client.get("/204");
    assert_eq!(
        (no_content.status, no_content.field("content-length"), no_content.field("transfer-encoding")),
        (204, None, None)
    );
    assert_eq!(client.get("/304").field("etag"), Some("\"x\""));
    assert_eq!(client.get("/").text(), "a");
    assert_eq!(a.connections(), 1, "towards the backend as well");
}

#[test]
fn trailers_reach_a_client_that_wants_them() {
    let (a, weir) = one();
    a.next(Script::raw(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 42\r\n\r\n",
    ));
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: weir.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    let response = client.response();
    assert_eq!(response.text(), "ab");
    assert_eq!(response.trailers, [("X-Sum".to_owned(), "42".to_owned())]);
}

#[test]
fn a_chunked_request_with_trailers_arrives_whole() {
    let (a, weir) = one();
    let mut client = weir.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: weir.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 42\r\n\r\n",
    );
    assert_eq!(client.response().text(), "a");
    assert_eq!(client.get("/").text(), "a", "the connection goes on behind the trailers");
    assert_eq!(a.requests()[0].body, b"ab");
}

// --- connections

#[test]
fn connections_are_kept_on_both_sides() {
    let (a, weir) = one();
    let mut client = weir.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "a");
    }
    for _ in 0..10 {
        assert_eq!(weir.get("/").text(), "a");
    }
    assert_eq!(a.connections(), 1, "one after the other, all requests fit on one");
}

#[test]
fn keepalive_0_opens_a_connection_for_each_request() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).upstream("keepalive = 0").start();
    let mut client = weir.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "a");
    }
    assert_eq!(a.connections(), 3);
    assert!(a.requests().iter().all(|request| request.field("connection") == Some("close")));
}

#[test]
fn connection_close_of_a_client_is_honoured() {
    let (_a, weir) = one();
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: weir.test\r\nConnection: close\r\n\r\n");
    let response = client.response();
    assert_eq!(response.field("connection").map(str::to_ascii_lowercase).as_deref(), Some("close"));
    assert!(client.closed_silently());
}

#[test]
fn an_http_1_0_client_may_ask_to_keep_its_connection() {
    let (_a, weir) = one();
    let mut client = weir.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nHost: weir.test\r\nConnection: keep-alive\r\n\r\n");
        let response = client.response();
        assert_eq!(response.text(), "a");
        assert_eq!(response.field("connection").map(str::to_ascii_lowercase).as_deref(), Some("keep-alive"));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (a, weir) = one();
    for path in ["/1", "/2", "/3"] {
        a.on(path, Script::text(path));
    }
    let mut client = weir.client();
    client.send(
        "GET /1 HTTP/1.1\r\nHost: weir.test\r\n\r\n\
         POST /2 HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 4\r\n\r\nbody\
         GET /3 HTTP/1.1\r\nHost: weir.test\r\n\r\n",
    );
    let answers = [client.response().text(), client.response().text(), client.response().text()];
    assert_eq!(answers, ["/1", "/2", "/3"]);
}

#[test]
fn a_client_that_has_closed_its_half_is_not_left_hanging() {
    let (_a, weir) = one();
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    client.half_close();
    // Answered, or taken as gone (as nginx does): but over.
    match client.try_response() {
        Ok(response) => assert_eq!(response.text(), "a"),
        Err(Broken::Closed | Broken::Cut { .. }) => {}
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_client_that_leaves_ends_the_exchange_with_the_backend() {
    let (a, weir) = one();
    a.next(Script::raw("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").stream(1_000_000_000));
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    client.head().unwrap();
    drop(client);
    eventually("the backend's connection is closed", || a.open_connections() == 0);
    assert!(a.streamed() < 1_000_000_000);
}

// --- expectations, early and interim answers

#[test]
fn expect_100_continue_is_answered_before_the_body_comes() {
    let (a, weir) = one();
    let mut client = weir.client();
    client.send("POST / HTTP/1.1\r\nHost: weir.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 100);
    client.send("body");
    assert_eq!(client.response().text(), "a");
    assert_eq!(a.only_request().body, b"body");
}

#[test]
fn expect_100_continue_of_a_body_too_large_is_refused_without_asking_for_it() {
    let (a, weir) = one();
    let mut client = weir.client();
    client.send("POST / HTTP/1.1\r\nHost: weir.test\r\nExpect: 100-continue\r\nContent-Length: 1048577\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.interim.as_slice()), (413, [].as_slice()));
    assert_eq!(a.requests().len(), 0);
}

#[test]
fn an_answer_before_the_end_of_the_upload_reaches_the_client() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("client_max_body_size = 0").start();
    a.next(Script::new().send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"));
    let mut client = weir.client();
    client.send("POST / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 1000000\r\n\r\n");
    client.send(vec![b'x'; 500_000]);
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
}

#[test]
fn early_hints_go_to_clients_that_know_them() {
    let (a, weir) = one();
    a.usually(Script::raw(
        "HTTP/1.1 103 Early Hints\r\nLink: </x.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ));
    let response = weir.client().get("/");
    assert_eq!((response.interim.as_slice(), response.text().as_str()), ([103].as_slice(), "ok"));
    let mut old = weir.client();
    old.send("GET / HTTP/1.0\r\nHost: weir.test\r\n\r\n");
    let response = old.response();
    assert_eq!((response.interim.as_slice(), response.text().as_str()), ([].as_slice(), "ok"));
}
