//! Is an application that speaks HTTP/2 asked as one of HTTP/1.1 is, over connections that are shared?

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::frames::{GOAWAY, SETTINGS, frame};
use super::rig::{App, Client, h2c_both, read, run, site, soon, write};
use crate::support::{Gate, Weir};

/// A weir for clients of HTTP/1.1 before applications that speak HTTP/2.
fn to_http2(site: &crate::support::Site) -> Weir {
    Weir::start(&site.toml().replace("http://web", "h2c://web"))
}

#[test]
fn clients_of_either_version_reach_it() {
    let app = App::start(|mut call| async move {
        let body = call.body().await.unwrap();
        let said = format!(
            "{} {} {} {}",
            call.request.method(),
            call.request.uri(),
            call.field("content-length").unwrap_or("-"),
            String::from_utf8_lossy(&body)
        );
        assert_eq!(call.field("host"), None);
        call.answer(&[("x-a", "1")], &said);
    });
    let weir = h2c_both(&site([&app]));
    let mut client = weir.client();
    assert_eq!(client.get("/one?x").text(), "GET http://weir.test/one?x - ");
    assert_eq!(client.post("/two", "body").text(), "POST http://weir.test/two 4 body");
    client.send("POST /three HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(client.response().text(), "POST http://shop/three 3 abc");
    run(async {
        let client = Client::connect(weir.address()).await;
        let expected = format!("POST http://{}/four 4 five", weir.address());
        assert_eq!(client.post("/four", b"five").await.text(), expected);
    });
}

#[test]
fn requests_share_a_connection() {
    let gate = Gate::default();
    let held = gate.clone();
    let app = App::start(move |call| {
        let gate = held.clone();
        async move {
            if call.path() == "/held" {
                tokio::task::spawn_blocking(move || gate.pass()).await.unwrap();
            }
            call.answer(&[], "a");
        }
    });
    let weir = h2c_both(&site([&app]).top("workers = 1"));
    run(async {
        let client = Client::connect(weir.address()).await;
        let mut held = Vec::new();
        for _ in 0..20 {
            held.push(client.begin(client.request("GET", "/held"), true).await.unwrap().0);
        }
        soon("all are asked at once", || app.calls() == 20).await;
        assert_eq!(client.get("/").await.text(), "a");
        gate.open();
        for answer in held {
            assert_eq!(read(answer).await.unwrap().text(), "a");
        }
    });
    assert_eq!(app.connections(), 1);
}

#[test]
fn no_more_streams_are_opened_than_the_application_allows() {
    let gate = Gate::default();
    let held = gate.clone();
    let app = App::tuned(
        |builder| {
            builder.max_concurrent_streams(2);
        },
        move |call| {
            let gate = held.clone();
            async move {
                let path = call.path().to_owned();
                let mine = call.app.note(&format!("{} on {}", path, call.connection));
                assert!(path != "/held" || mine <= 2, "{mine} at once");
                if path == "/held" {
                    tokio::task::spawn_blocking(move || gate.pass()).await.unwrap();
                }
                call.answer(&[], "a");
            }
        },
    );
    let weir = h2c_both(&site([&app]).top("workers = 1"));
    run(async {
        let client = Client::connect(weir.address()).await;
        // The settings are known from the first answer on.
        client.get("/").await;
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(client.begin(client.request("GET", "/held"), true).await.unwrap().0);
        }
        soon("all are asked at once", || app.calls() == 6).await;
        gate.open();
        for answer in held {
            assert_eq!(read(answer).await.unwrap().text(), "a");
        }
    });
    assert_eq!(app.connections(), 3);
}

#[test]
fn trailers_and_large_bodies_go_both_ways() {
    let app = App::start(|mut call| async move {
        let body = call.body().await.unwrap();
        let check = call.request.body_mut().trailers().await.unwrap();
        assert_eq!(check.map(|trailers| trailers["x-check"].clone()).unwrap(), "9");
        let mut send = call.respond.send_response(Response::new(()), false).unwrap();
        write(&mut send, &body, false).await.unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        send.send_trailers(trailers).unwrap();
    });
    let weir = h2c_both(&site([&app]).top("client_max_body_size = \"0\""));
    let body: Vec<u8> = (0..2_000_000u32).map(|i| (i / 3) as u8).collect();
    run(async {
        let client = Client::connect(weir.address()).await;
        let (answer, mut send) = client.begin(client.request("POST", "/"), false).await.unwrap();
        let sending = async {
            write(&mut send, &body, false).await.unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-check", "9".parse().unwrap());
            send.send_trailers(trailers).unwrap();
        };
        let ((), answer) = tokio::join!(sending, read(answer));
        let answer = answer.unwrap();
        assert!(answer.body == body);
        assert_eq!(answer.trailer("x-sum"), Some("7"));
    });
}

#[test]
fn interim_answers_are_passed_on() {
    let app = App::start(|mut call| async move {
        let interim = Response::builder().status(103).header("link", "</x>").body(()).unwrap();
        call.respond.send_informational(interim).unwrap();
        call.answer(&[], "ok");
    });
    let weir = to_http2(&site([&app]));
    let response = weir.get("/");
    assert_eq!((response.interim.as_slice(), response.text().as_str()), (&[103][..], "ok"));
}

#[test]
fn an_empty_answer_has_a_length_for_clients_of_http1() {
    let app = App::start(|call| async move { call.answer(&[], "") });
    let weir = to_http2(&site([&app]));
    let mut client = weir.client();
    assert_eq!(client.get("/").field("Content-Length"), Some("0"));
    // And the connection goes on.
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn a_goaway_costs_no_request() {
    // Each connection ends after two requests.
    let app = App::accepting(|_, tcp, shared| {
        Box::pin(async move {
            let Ok(mut h2) = h2::server::handshake(tcp).await else { return };
            let mut served = 0;
            while let Some(Ok((_, mut respond))) = h2.accept().await {
                shared.calls.fetch_add(1, SeqCst);
                let mut send = respond.send_response(Response::new(()), false).unwrap();
                send.send_data(Bytes::from_static(b"a"), true).unwrap();
                served += 1;
                if served == 2 {
                    h2.graceful_shutdown();
                }
            }
        })
    });
    let weir = h2c_both(&site([&app]).top("workers = 1"));
    run(async {
        let client = Client::connect(weir.address()).await;
        let posts = (0..40).map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.post("/", b"x").await.status })
        });
        for post in posts.collect::<Vec<_>>() {
            assert_eq!(post.await.unwrap(), 200);
        }
        for _ in 0..10 {
            assert_eq!(client.post("/", b"x").await.status, 200);
        }
    });
    assert!(app.connections() >= 5, "{}", app.connections());
    assert!(!weir.log().iter().any(|line| line.contains("unavail")), "{:?}", weir.log());
}

#[test]
fn a_post_that_came_after_a_goaway_is_sent_again_on_another_connection() {
    let app = App::accepting(|connection, mut tcp, shared| {
        Box::pin(async move {
            if connection > 0 {
                let Ok(mut h2) = h2::server::handshake(tcp).await else { return };
                while let Some(Ok((_, mut respond))) = h2.accept().await {
                    let mut send = respond.send_response(Response::new(()), false).unwrap();
                    send.send_data(Bytes::from_static(b"a"), true).unwrap();
                }
                return;
            }
            // The preface, SETTINGS and HEADERS have come: none of it was looked at.
            let mut read = Vec::new();
            tcp.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
            // HEADERS of stream 1, ended or not.
            let head = |bytes: &[u8]| bytes[0] == 1 && bytes[2..] == [0, 0, 0, 1];
            while !read.windows(6).any(head) {
                let mut piece = vec![0; 4096];
                let n = tcp.read(&mut piece).await.unwrap();
                read.extend_from_slice(&piece[..n]);
            }
            shared.note("asked");
            tcp.write_all(&frame(GOAWAY, 0, 0, &[0; 8])).await.unwrap();
            let _ = tcp.read(&mut [0; 64]).await;
        })
    });
    let weir = h2c_both(&site([&app]).top("workers = 1"));
    run(async {
        let client = Client::connect(weir.address()).await;
        assert_eq!(client.post("/", b"x").await.text(), "a");
    });
    assert_eq!((app.shared.noted("asked"), app.connections()), (1, 2));
    assert!(!weir.log().iter().any(|line| line.contains("unavail")), "{:?}", weir.log());
}

#[test]
fn a_refused_post_goes_to_somebody_else_and_blames_nobody() {
    let refusing = App::start(|mut call| async move { call.respond.send_reset(Reason::REFUSED_STREAM) });
    let taking = App::named("b");
    let weir = h2c_both(&site([&refusing, &taking]));
    run(async {
        let client = Client::connect(weir.address()).await;
        for _ in 0..6 {
            assert_eq!(client.post("/", b"x").await.text(), "b");
        }
    });
    // It is asked again and again: nothing speaks against it.
    assert!(refusing.calls() >= 3, "{}", refusing.calls());
    assert!(!weir.log().iter().any(|line| line.contains("unavail")), "{:?}", weir.log());
    weir.wait_for_access("both were asked", |line| {
        line.contains(&format!("ua=\"{}, {}\" us=\"502, 200\"", refusing.address, taking.address))
    });
}

#[test]
fn a_reset_post_is_not_sent_again_and_counts() {
    let app = App::start(|mut call| async move { call.respond.send_reset(Reason::INTERNAL_ERROR) });
    let weir = h2c_both(&site([&app, &App::named("b")]));
    run(async {
        let client = Client::connect(weir.address()).await;
        let mut statuses = Vec::new();
        for _ in 0..2 {
            statuses.push(client.post("/", b"x").await.status);
        }
        statuses.sort();
        assert_eq!(statuses, [200, 502]);
    });
    weir.wait_for_state(app.address, "unavail");
    assert_eq!(app.calls(), 1);
}

#[test]
fn a_connection_that_dies_counts_as_one_failure() {
    let app = App::accepting(|connection, tcp, shared| {
        Box::pin(async move {
            let Ok(mut h2) = h2::server::handshake(tcp).await else { return };
            let mut held = Vec::new();
            while let Some(Ok((request, mut respond))) = h2.accept().await {
                let calls = shared.calls.fetch_add(1, SeqCst) + 1;
                if request.uri().path() == "/" {
                    let mut send = respond.send_response(Response::new(()), false).unwrap();
                    send.send_data(Bytes::from_static(b"a"), true).unwrap();
                    continue;
                }
                held.push(respond);
                if connection == 0 && calls == 11 {
                    // Gone, without a word.
                    return;
                }
            }
        })
    });
    let servers = crate::support::Site::servers([format!("{{ address = \"{}\", max_fails = 2 }}", app.address)]);
    let weir = h2c_both(&servers.top("workers = 1"));
    run(async {
        let client = Client::connect(weir.address()).await;
        client.get("/").await;
        let mut lost = Vec::new();
        for _ in 0..10 {
            let (answer, mut send) = client.begin(client.request("POST", "/lost"), false).await.unwrap();
            write(&mut send, b"x", true).await.unwrap();
            lost.push(answer);
        }
        for answer in lost {
            assert_eq!(read(answer).await.unwrap().status, 502);
        }
        assert_eq!(client.get("/").await.text(), "a");
    });
    assert!(!weir.log().iter().any(|line| line.contains("unavail")), "{:?}", weir.log());
}

#[test]
fn who_cannot_be_reached_is_left_out_and_counts_once() {
    let (dead, alive) = (App::accepting(|_, tcp, _| Box::pin(async move { drop(tcp) })), App::named("b"));
    let weir = h2c_both(&site([&dead, &alive]));
    run(async {
        let client = Client::connect(weir.address()).await;
        for _ in 0..4 {
            assert_eq!(client.get("/").await.text(), "b");
        }
    });
    weir.wait_for_state(dead.address, "unavail");
}

#[test]
fn an_application_that_speaks_http1_alone_is_a_bad_gateway() {
    let a = crate::support::Backend::start("a");
    let weir = to_http2(&crate::support::Site::of([&a]));
    assert_eq!(weir.get("/").status, 502);
}

#[test]
fn a_client_that_leaves_resets_the_request_at_its_application() {
    let app = App::start(|mut call| async move {
        let reason = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await.unwrap();
        call.app.note(&format!("{reason:?}"));
    });
    let weir = to_http2(&site([&app]));
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    crate::support::eventually("it is asked", || app.calls() == 1);
    drop(client);
    crate::support::eventually("it hears of it", || app.shared.noted("CANCEL") == 1);
}

#[test]
fn a_connection_with_a_proxy_header_is_one_clients_own() {
    let app = App::accepting(|_, mut tcp, shared| {
        Box::pin(async move {
            let mut header = Vec::new();
            while !header.ends_with(b"\r\n") {
                header.push(tcp.read_u8().await.unwrap());
            }
            assert!(header.starts_with(b"PROXY TCP4 127.0.0.1 127.0.0.1 "));
            shared.note(&String::from_utf8(header).unwrap());
            let Ok(mut h2) = h2::server::handshake(tcp).await else { return };
            while let Some(Ok((_, mut respond))) = h2.accept().await {
                respond.send_response(Response::new(()), true).unwrap();
            }
        })
    });
    let weir = to_http2(&site([&app]).upstream("proxy_protocol = \"v1\"").top("workers = 1"));
    for _ in 0..3 {
        assert_eq!(weir.get("/").status, 200);
    }
    assert_eq!((app.connections(), app.shared.notes.lock().unwrap().len()), (3, 3));
}

#[test]
fn idle_connections_end_when_their_time_is_over() {
    let app = App::accepting(|_, tcp, shared| {
        Box::pin(async move {
            let Ok(mut h2) = h2::server::handshake(tcp).await else { return };
            while let Some(Ok((_, mut respond))) = h2.accept().await {
                respond.send_response(Response::new(()), true).unwrap();
            }
            shared.note("ended");
        })
    });
    let weir = to_http2(&site([&app]).upstream("keepalive_timeout = \"100ms\""));
    assert_eq!(weir.get("/").status, 200);
    crate::support::eventually("it is closed", || app.shared.noted("ended") == 1);
}

#[test]
fn a_request_that_waits_too_long_costs_the_connection_its_trust() {
    let app = App::start(|call| async move {
        if call.path() == "/slow" {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        call.answer(&[], "a");
    });
    let weir =
        h2c_both(&site([&app]).top("workers = 1\nproxy_read_timeout = \"200ms\"").upstream("max_ejected = \"0%\""));
    run(async {
        let client = Client::connect(weir.address()).await;
        assert_eq!(client.get("/slow").await.status, 504);
        assert_eq!(client.get("/").await.text(), "a");
    });
    assert_eq!(app.connections(), 2);
}

#[test]
fn a_frozen_application_is_hedged_and_its_connection_serves_on() {
    let gate = Gate::default();
    let held = gate.clone();
    let slow = App::start(move |call| {
        let gate = held.clone();
        async move {
            if call.path() == "/held" {
                tokio::task::spawn_blocking(move || gate.pass()).await.unwrap();
            }
            call.answer(&[], "slow");
        }
    });
    let quick = App::named("quick");
    let location = "hedge_after = \"20ms\"\nproxy_next_upstream = \"off\"";
    // On a busy machine others are hedged as well.
    let ample = "retry_budget = { percent = 100, min_per_second = 1000 }";
    let weir = h2c_both(&site([&slow, &quick]).top("workers = 1").upstream(ample).location(location));
    let mut client = weir.client();
    crate::support::eventually("both are connected to", || {
        client.get("/");
        slow.connections() > 0 && quick.connections() > 0
    });
    let before = (slow.connections(), quick.connections());
    let asked = slow.calls();
    for _ in 0..4 {
        assert_eq!(client.get("/held").text(), "quick");
    }
    run(async {
        let client = Client::connect(weir.address()).await;
        for _ in 0..2 {
            assert_eq!(client.get("/held").await.text(), "quick");
        }
    });
    assert!(slow.calls() > asked, "it was asked");
    assert_eq!((slow.connections(), quick.connections()), before);
    gate.open();
}
