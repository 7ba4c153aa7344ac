//! What if one side stops before the other has finished?

use std::io::Write;
use std::time::Duration;

use crate::rig::{App, Site, ok};

/// Longer than is gathered before a peer is asked.
const LONG: usize = 500_000;

fn post(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n")
}

#[test]
fn an_application_that_refuses_an_upload_and_closes_is_heard() {
    let app = App::start(|mut wire| {
        wire.head();
        wire.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    });
    let weir = Site::default().start(&[&app]);
    for turn in 0..40 {
        let mut client = weir.client();
        client.send(&post(LONG));
        let _ = client.stream.write_all(&vec![b'x'; LONG / 2]);
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (403, "no"), "turn {turn}");
    }
}

#[test]
fn a_client_that_sends_before_it_reads_can_read_why_it_was_refused() {
    let app = App::saying("a");
    let weir = Site::default().start(&[&app]);
    let mut client = weir.client();
    let body = vec![b'x'; 4 << 20];
    client.send(&post(body.len()));
    client.stream.write_all(&body).expect("weir reads on for a while");
    assert_eq!(client.answer().unwrap().status, 413);
}

#[test]
fn bytes_behind_the_last_request_do_not_destroy_its_answer() {
    let app = App::saying("whole");
    let weir = Site::default().start(&[&app]);
    for _ in 0..20 {
        let mut client = weir.client();
        let more = "GET /more HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2_000);
        client.send(&format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n{more}"));
        std::thread::sleep(Duration::from_millis(5));
        let rest = client.rest().expect("an end, not a reset");
        assert!(rest.ends_with(b"\r\n\r\nwhole"), "{}", String::from_utf8_lossy(&rest));
    }
}

#[test]
fn a_client_that_is_late_with_its_body_blames_nobody() {
    // One is silent until it has the whole body, the other answers at once and goes on from it.
    let apps = [
        App::start(|mut wire| while wire.request().is_some() && wire.try_send(&ok("a")).is_some() {}),
        App::start(|mut wire| {
            while let Some(head) = wire.head() {
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
                let length = if head.starts_with("POST") { LONG } else { 0 };
                if wire.bytes(length).is_none() || wire.try_send("half").is_none() {
                    return;
                }
            }
        }),
    ];
    let site = Site { top: "client_body_timeout = \"1500ms\"", ..Site::default() };
    let weir = site.start(&[&apps[0], &apps[1]]);
    for _ in 0..2 {
        let mut client = weir.client();
        client.send(&post(LONG));
        client.stream.write_all(&vec![b'x'; LONG / 2]).unwrap();
        let rest = client.rest();
        let text = rest.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        assert!(!text.contains(" 502 ") && !text.contains(" 504 "), "{text}");
    }
    assert!(!weir.says("unavail") && !weir.says("kept"), "a client's slowness was taken for a failure");
}

#[test]
fn a_cut_answer_is_cut_after_what_came_of_it() {
    let app = App::start(|mut wire| {
        wire.request();
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    });
    let weir = Site::default().start(&[&app]);
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let rest = client.rest().expect("its length tells that it is cut: no reset is needed");
    assert!(rest.ends_with(b"\r\n\r\nhalf"), "{}", String::from_utf8_lossy(&rest));
    // Without a length in the answer to HTTP/1.0, a reset must tell.
    let app = App::start(|mut wire| {
        wire.request();
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    });
    let weir = Site::default().start(&[&app]);
    let mut client = weir.client();
    client.send("GET / HTTP/1.0\r\nHost: h\r\n\r\n");
    assert!(client.rest().is_err());
}
