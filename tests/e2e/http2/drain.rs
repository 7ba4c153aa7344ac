//! Is a connection of HTTP/2 told before it ends, and is what is in flight on it finished?

use super::frames::{ACK, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, WINDOW_UPDATE, Wire, frame, get};
use super::rig::{Client, h2c, read, run, soon, to_h2c};
use crate::support::{Backend, Gate, Script, Site};

#[test]
fn a_stop_finishes_what_is_in_flight() {
    let (a, gate) = (Backend::start("a"), Gate::default());
    a.on("/held", Script::new().read_body().gate(&gate).answer(200, "", "held"));
    let mut weir = h2c(&Site::of([&a]));
    run(async {
        let client = Client::connect(weir.address()).await;
        let (held, _) = client.begin(client.request("GET", "/held"), true).await.unwrap();
        soon("it is asked", || a.requests().len() == 1).await;
        weir.sigterm();
        // GOAWAY: nothing new is begun on this connection.
        let mut send = client.send.clone();
        soon("the client knows", || {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            matches!(send.poll_ready(&mut cx), std::task::Poll::Ready(Err(_)))
        })
        .await;
        gate.open();
        assert_eq!(read(held).await.unwrap().text(), "held");
        soon("it ends without an error", || *client.ended.lock().unwrap() == Some(Ok(()))).await;
    });
    assert!(weir.wait_exit().success());
}

#[test]
fn an_idle_connection_does_not_keep_weir_from_stopping() {
    let a = Backend::start("a");
    let mut weir = h2c(&Site::of([&a]));
    run(async {
        let client = Client::connect(weir.address()).await;
        assert_eq!(client.get("/").await.text(), "a");
        weir.sigterm();
        soon("it ends without an error", || *client.ended.lock().unwrap() == Some(Ok(()))).await;
    });
    assert!(weir.wait_exit().success());
    let silent = h2c(&Site::of([&a]));
    let mut client = silent.client();
    client.send(super::frames::PREFACE);
    client.send(super::frames::frame(super::frames::SETTINGS, 0, 0, b""));
    let mut silent = silent;
    silent.sigterm();
    assert!(silent.wait_exit().success());
}

#[test]
fn a_listener_that_a_reload_removes_says_goaway() {
    let a = Backend::start("a");
    let site = Site::of([&a]);
    let weir = h2c(&site);
    run(async {
        let client = Client::connect(weir.address()).await;
        assert_eq!(client.get("/").await.text(), "a");
        weir.edit(&to_h2c(&site.toml()).replace("127.0.0.1:0", "127.0.0.2:0"));
        weir.sighup();
        soon("it ends without an error", || *client.ended.lock().unwrap() == Some(Ok(()))).await;
    });
}

/// A reset would destroy what it has not read, and make the client take an answered request for a failed one.
#[test]
fn a_client_that_still_sends_when_its_connection_ends_is_not_reset() {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]).top("keepalive_requests = 1"));
    let mut wire = Wire::connect(weir.address());
    wire.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &get(&[])));
    let mut last = None;
    while let Some(seen) = wire.next() {
        match seen.kind {
            PING if seen.flags & ACK == 0 => wire.send(&frame(PING, ACK, 0, &seen.payload)),
            GOAWAY => last = Some(seen.payload[..4].to_vec()),
            _ => {}
        }
    }
    assert_eq!(last, Some(vec![0, 0, 0, 1]));
    // What crosses GOAWAY on its way, or follows it.
    for _ in 0..20 {
        assert!(wire.try_send(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])));
        std::thread::yield_now();
    }
    assert!(wire.try_send(&frame(HEADERS, END_STREAM | END_HEADERS, 3, &get(&[]))));
    assert!(wire.ends_in_good_order());
    assert_eq!(a.requests().len(), 1);
}
