//! Is what a client of HTTP/2 may send, and how long it may take, bounded as for HTTP/1.1?

use super::rig::{Client, h2c, read, run, soon, write};
use crate::support::{Backend, Script, Site};

#[test]
fn a_head_that_is_too_large_is_431() {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]).top("client_max_header_size = \"4k\""));
    run(async {
        let client = Client::connect(weir.address()).await;
        client.get("/").await;
        let request = client.request("GET", "/").header("x-large", "x".repeat(5_000));
        assert_eq!(client.ask(request, b"").await.unwrap().status, 431);
        assert_eq!(client.get("/").await.text(), "a");
    });
}

#[test]
fn a_target_that_is_too_long_is_414() {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]).top("client_max_uri_size = \"100\""));
    run(async {
        let client = Client::connect(weir.address()).await;
        assert_eq!(client.get(&format!("/{}", "x".repeat(200))).await.status, 414);
    });
}

#[test]
fn a_body_that_does_not_come_is_408() {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]).top("client_body_timeout = \"100ms\""));
    run(async {
        let client = Client::connect(weir.address()).await;
        let (answer, mut send) = client.begin(client.request("POST", "/"), false).await.unwrap();
        write(&mut send, b"half", false).await.unwrap();
        assert_eq!(read(answer).await.unwrap().status, 408);
        assert_eq!(client.get("/").await.text(), "a");
    });
}

#[test]
fn an_answer_that_is_not_taken_is_given_up_after_send_timeout() {
    let a = Backend::start("a");
    a.on("/endless", Script::new().read_body().stream(50 << 20));
    let weir = h2c(&Site::of([&a]).top("send_timeout = \"100ms\""));
    run(async {
        let client = Client::connect(weir.address()).await;
        let (answer, _) = client.begin(client.request("GET", "/endless"), true).await.unwrap();
        let answer = answer.await.unwrap();
        soon("it ends", || weir.log().iter().any(|line| line.contains("never")) || a.open_connections() == 0).await;
        drop(answer);
        assert_eq!(client.get("/").await.text(), "a");
    });
}

#[test]
fn no_more_streams_are_served_at_once_than_allowed() {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]).top("http2_max_concurrent_streams = 3"));
    run(async {
        let client = Client::connect(weir.address()).await;
        client.get("/").await;
        assert_eq!(client.send.current_max_send_streams(), 3);
    });
}

#[test]
fn a_connection_ends_gracefully_when_it_has_served_enough() {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]).top("keepalive_requests = 3"));
    run(async {
        let client = Client::connect(weir.address()).await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.text(), "a");
        }
        soon("it ends without an error", || *client.ended.lock().unwrap() == Some(Ok(()))).await;
    });
}

#[test]
fn an_idle_connection_ends_gracefully() {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]).top("keepalive_timeout = \"100ms\""));
    run(async {
        let client = Client::connect(weir.address()).await;
        assert_eq!(client.get("/").await.text(), "a");
        soon("it ends without an error", || *client.ended.lock().unwrap() == Some(Ok(()))).await;
    });
}

#[test]
fn a_client_that_only_connects_is_closed_in_time() {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]).top("client_header_timeout = \"100ms\""));
    for begun in [&b"PRI * HTTP/2.0\r\n"[..], super::frames::PREFACE] {
        let mut client = weir.client();
        client.send(begun);
        client.rest();
    }
}
