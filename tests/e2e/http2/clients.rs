//! Is a client of HTTP/2 served as one of HTTP/1.1 is?

use http::Request;

use super::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, Wire, frame, get};
use super::rig::{Client, h2c, read, run, soon, write};
use crate::support::{Backend, Gate, Script, Site};

#[test]
fn one_port_speaks_both_versions() {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]));
    assert_eq!(weir.get("/one").text(), "a");
    run(async {
        let client = Client::connect(weir.address()).await;
        let answer = client.get("/two?x=y").await;
        assert_eq!((answer.status, answer.text()), (200, "a".to_owned()));
    });
    assert_eq!(a.requests()[1].target, "/two?x=y");
    weir.wait_for_access("both versions are told", |line| line.contains("\"GET /one HTTP/1.1\" 200"));
    weir.wait_for_access("both versions are told", |line| line.contains("\"GET /two?x=y HTTP/2.0\" 200 1 "));
}

#[test]
fn a_port_without_h2c_does_not_speak_it() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).start();
    let mut client = weir.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.response().status, 505);
}

#[test]
fn a_proxy_header_may_stand_before_the_preface() {
    let a = Backend::start("a");
    let toml = super::rig::to_h2c(&Site::of([&a]).top("trusted_proxies = [\"127.0.0.1\"]").toml())
        .replace("h2c = true", "h2c = true, proxy_protocol = true");
    let weir = crate::support::Weir::start(&toml);
    run(async {
        let mut tcp = tokio::net::TcpStream::connect(weir.address()).await.unwrap();
        let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut tcp, header).await.unwrap();
        let client = Client::over(tcp, weir.address()).await;
        assert_eq!(client.get("/").await.text(), "a");
    });
    assert_eq!(a.requests()[0].field("X-Forwarded-For"), Some("192.0.2.7"));
}

#[test]
fn fields_reach_the_application_in_the_form_of_http1() {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]));
    run(async {
        let client = Client::connect(weir.address()).await;
        let request = Request::get("http://shop.test/")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("te", "trailers")
            .header("x-under_score", "1")
            .header("x-kept", "yes");
        client.ask(request, b"").await.unwrap();
    });
    let request = &a.requests()[0];
    assert_eq!(request.field("Host"), Some("shop.test"));
    assert_eq!((request.field("Cookie"), request.count("Cookie")), (Some("a=1; b=2"), 1));
    assert_eq!(request.field("X-Kept"), Some("yes"));
    assert_eq!(request.field("X-Forwarded-Host"), Some("shop.test"));
    for absent in ["TE", "X-Under_Score", "Connection", "Transfer-Encoding", "Content-Length"] {
        assert_eq!(request.field(absent), None, "{absent}");
    }
}

#[test]
fn fields_of_an_answer_lose_what_belongs_to_a_connection() {
    let a = Backend::start("a");
    a.next(Script::raw(
        "HTTP/1.1 200 Fine\r\nServer: app\r\nDate: then\r\nConnection: keep-alive, X-Own\r\nX-Own: 1\r\n\
         Keep-Alive: timeout=5\r\nX-Twice: 1\r\nX-Twice: 2\r\nContent-Length: 2\r\n\r\nok",
    ));
    let weir = h2c(&Site::of([&a]).location("add_header = { X-Added = \"$server_protocol\" }"));
    run(async {
        let answer = Client::connect(weir.address()).await.get("/").await;
        let mut names: Vec<_> = answer.fields.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        assert_eq!(names, ["content-length", "date", "server", "x-added", "x-twice"]);
        assert_eq!(answer.fields.get_all("x-twice").iter().count(), 2);
        assert_eq!((answer.field("server"), answer.field("x-added")), (Some("app"), Some("HTTP/2.0")));
    });
}

#[test]
fn a_body_of_any_length_goes_both_ways() {
    let a = Backend::start("a");
    let body: String = (0..600_000u32).map(|i| char::from(b'a' + (i / 7 % 26) as u8)).collect();
    a.usually(Script::text(&body));
    let weir = h2c(&Site::of([&a]).top("client_max_body_size = \"0\""));
    run(async {
        let client = Client::connect(weir.address()).await;
        let announced = client.request("POST", "/").header("content-length", body.len());
        assert!(client.ask(announced, body.as_bytes()).await.unwrap().text() == body);
        assert!(client.post("/", body.as_bytes()).await.text() == body);
    });
    let requests = a.requests();
    assert!(requests.iter().all(|request| request.body == body.as_bytes()));
    assert_eq!(requests[0].field("Content-Length"), Some("600000"));
    assert_eq!((requests[1].field("Content-Length"), requests[1].field("Transfer-Encoding")), (None, Some("chunked")));
}

#[test]
fn a_short_body_of_unknown_length_gets_one() {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]));
    run(async { Client::connect(weir.address()).await.post("/", b"short").await });
    assert_eq!(a.requests()[0].field("Content-Length"), Some("5"));
    assert_eq!(a.requests()[0].body, b"short");
}

#[test]
fn trailers_go_both_ways() {
    let a = Backend::start("a");
    a.next(Script::new().read_body().send(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nContent-Length: 1\r\n\r\n",
    ));
    let weir = h2c(&Site::of([&a]));
    run(async {
        let client = Client::connect(weir.address()).await;
        let (answer, mut send) = client.begin(client.request("POST", "/"), false).await.unwrap();
        write(&mut send, b"body", false).await.unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-check", "9".parse().unwrap());
        send.send_trailers(trailers).unwrap();
        let answer = read(answer).await.unwrap();
        assert_eq!((answer.text(), answer.trailer("x-sum")), ("ok".to_owned(), Some("7")));
        assert_eq!(answer.trailer("content-length"), None);
    });
    let request = &a.requests()[0];
    assert_eq!(request.body, b"body");
    assert_eq!(request.trailers, [("x-check".to_owned(), "9".to_owned())]);
}

#[test]
fn head_204_and_304_have_no_body() {
    let a = Backend::start("a");
    a.on("/head", Script::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"));
    a.on("/none", Script::raw("HTTP/1.1 204 No Content\r\n\r\n"));
    a.on("/same", Script::raw("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\n"));
    let weir = h2c(&Site::of([&a]));
    run(async {
        let client = Client::connect(weir.address()).await;
        let head = client.ask(client.request("HEAD", "/head"), b"").await.unwrap();
        assert_eq!((head.status, head.field("content-length"), head.text()), (200, Some("5"), String::new()));
        let none = client.get("/none").await;
        assert_eq!((none.status, none.text()), (204, String::new()));
        let same = client.get("/same").await;
        assert_eq!((same.status, same.field("etag"), same.text()), (304, Some("\"x\""), String::new()));
    });
}

#[test]
fn interim_answers_are_passed_on() {
    let a = Backend::start("a");
    a.next(Script::raw("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    let weir = h2c(&Site::of([&a]));
    run(async {
        let client = Client::connect(weir.address()).await;
        let (mut answer, _) = client.begin(client.request("GET", "/"), true).await.unwrap();
        let interim = std::future::poll_fn(|cx| answer.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!((interim.status().as_u16(), interim.headers()["link"].to_str().unwrap()), (103, "</x>"));
        assert_eq!(read(answer).await.unwrap().text(), "ok");
    });
}

#[test]
fn whoever_waits_for_100_continue_gets_it() {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]));
    run(async {
        let client = Client::connect(weir.address()).await;
        let request = client.request("POST", "/").header("expect", "100-continue").header("content-length", "4");
        let (mut answer, mut send) = client.begin(request, false).await.unwrap();
        let interim = std::future::poll_fn(|cx| answer.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!(interim.status(), 100);
        write(&mut send, b"body", true).await.unwrap();
        assert_eq!(read(answer).await.unwrap().text(), "a");
    });
    assert_eq!(a.requests()[0].field("Expect"), None);
}

#[test]
fn many_requests_share_a_connection_and_none_waits_for_another() {
    let (a, gate) = (Backend::start("a"), Gate::default());
    a.on("/slow", Script::new().read_body().gate(&gate).answer(200, "", "slow"));
    let weir = h2c(&Site::of([&a]));
    run(async {
        let client = Client::connect(weir.address()).await;
        let (slow, _) = client.begin(client.request("GET", "/slow"), true).await.unwrap();
        for _ in 0..50 {
            assert_eq!(client.get("/").await.text(), "a");
        }
        gate.open();
        assert_eq!(read(slow).await.unwrap().text(), "slow");
    });
}

/// The frames of an answer to a GET, until `enough` of them have come: what they are, what is in them, and whether the stream ends.
fn frames(wire: &mut Wire, enough: impl Fn(&[(u8, Vec<u8>, bool)]) -> bool) -> Vec<(u8, Vec<u8>, bool)> {
    let mut seen = Vec::new();
    while !enough(&seen) {
        let next = wire.next().expect("an answer");
        if matches!(next.kind, DATA | HEADERS) {
            let data = if next.kind == DATA { next.payload } else { Vec::new() };
            seen.push((next.kind, data, next.flags & END_STREAM != 0));
        }
    }
    seen
}

#[test]
fn a_short_body_is_one_frame_which_ends_the_stream() {
    let a = Backend::start("a");
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        a.next(Script::raw(answer));
        let weir = h2c(&Site::of([&a]));
        let mut wire = Wire::connect(weir.address());
        wire.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &get(&[])));
        let seen = frames(&mut wire, |seen| seen.last().is_some_and(|(_, _, ends)| *ends));
        assert_eq!(seen, [(HEADERS, vec![], false), (DATA, b"hello".to_vec(), true)], "{answer}");
    }
}

#[test]
fn what_has_come_of_a_body_does_not_wait_for_the_rest() {
    let (a, gate) = (Backend::start("a"), Gate::default());
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    a.next(Script::new().read_body().send(head).gate(&gate).send("world"));
    let weir = h2c(&Site::of([&a]));
    let mut wire = Wire::connect(weir.address());
    wire.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &get(&[])));
    let seen = frames(&mut wire, |seen| seen.len() == 2);
    assert_eq!(seen[1], (DATA, b"hello".to_vec(), false));
    gate.open();
    let rest = frames(&mut wire, |seen| seen.last().is_some_and(|(_, _, ends)| *ends));
    assert_eq!(rest, [(DATA, b"world".to_vec(), true)]);
}

#[test]
fn a_client_that_takes_nothing_keeps_only_its_own_stream_waiting() {
    let a = Backend::start("a");
    a.on("/endless", Script::new().read_body().stream(50 << 20));
    let weir = h2c(&Site::of([&a]));
    run(async {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(64 << 10).initial_connection_window_size(16 << 20);
        let client = Client::with(weir.address(), &mut builder).await;
        let (endless, _) = client.begin(client.request("GET", "/endless"), true).await.unwrap();
        let endless = endless.await.unwrap();
        for _ in 0..20 {
            assert_eq!(client.get("/").await.text(), "a");
        }
        drop(endless);
    });
}

#[test]
fn a_reset_tells_the_application_and_the_log_says_499() {
    let (a, gate) = (Backend::start("a"), Gate::default());
    a.on("/slow", Script::new().read_body().gate(&gate).answer(200, "", "slow"));
    let weir = h2c(&Site::of([&a]));
    run(async {
        let client = Client::connect(weir.address()).await;
        let (answer, mut send) = client.begin(client.request("GET", "/slow"), true).await.unwrap();
        soon("the application has it", || a.requests().len() == 1).await;
        send.send_reset(h2::Reason::CANCEL);
        assert!(read(answer).await.is_err());
        assert_eq!(client.get("/").await.text(), "a");
    });
    weir.wait_for_access("the client left", |line| line.contains("\"GET /slow HTTP/2.0\" 499 "));
    gate.open();
}

#[test]
fn an_answer_that_is_cut_is_reset_not_ended() {
    let a = Backend::start("a");
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        a.next(Script::raw(cut).close());
        let weir = h2c(&Site::of([&a]));
        run(async {
            let client = Client::connect(weir.address()).await;
            let answer = client.ask(client.request("POST", "/"), b"x").await;
            let error = answer.expect_err("it is not whole");
            assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR), "{error}");
        });
    }
}

#[test]
fn what_weir_itself_answers_is_short_and_plain() {
    let a = Backend::start("a");
    a.stop();
    let weir = h2c(&Site::of([&a]).top("client_max_body_size = \"10\""));
    run(async {
        let client = Client::connect(weir.address()).await;
        let answer = client.get("/").await;
        assert_eq!(answer.text(), "502 Bad Gateway: the upstream server cannot be reached\n");
        assert_eq!((answer.status, answer.field("server"), answer.field("connection")), (502, Some("weir"), None));
        for (request, body, status) in [
            (client.request("POST", "/").header("content-length", "11"), &b"12345678901"[..], 413),
            (client.request("POST", "/"), b"12345678901", 413),
            (client.request("TRACE", "/"), b"", 405),
            (Request::builder().method("CONNECT").uri("a.test:443"), b"", 405),
            (client.request("GET", "/%00"), b"", 400),
            (client.request("GET", "/").header("host", "other.test"), b"", 400),
        ] {
            assert_eq!(client.ask(request, body).await.unwrap().status, status);
        }
        // None of them cost the connection.
        assert_eq!(client.get("/").await.status, 502);
    });
}
