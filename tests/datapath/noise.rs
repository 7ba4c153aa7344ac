//! What if nothing that comes makes sense?

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::rig::{App, Dice, Site, Weir, ok};

const REQUEST: &str = "POST /a?b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n\
                       5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
                      Connection: keep-alive\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n";

/// The text with some of its bytes changed, doubled, left out, or cut off.
fn garbled(text: &str, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len() as u64) as usize;
        match dice.roll(5) {
            0 => bytes[at] = dice.roll(256) as u8,
            1 => bytes.insert(at, b"\r\n :;0fF,"[dice.roll(9) as usize]),
            2 => drop(bytes.remove(at)),
            3 => bytes.extend_from_within(at..),
            _ => bytes.truncate(at + 1),
        }
    }
    bytes
}

fn is_well(weir: &Weir) {
    let begun = Instant::now();
    let mut client = weir.client();
    client.send("GET /well HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.answer().unwrap().body, "well");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(!weir.says("panicked"));
}

#[test]
fn garbled_requests_harm_nobody() {
    let app = App::saying("well");
    let site = Site {
        top: "workers = 1\nclient_header_timeout = \"200ms\"\nclient_body_timeout = \"200ms\"",
        server: "max_fails = 0",
        location: "proxy_read_timeout = \"500ms\"",
        ..Site::default()
    };
    let weir = site.start(&[&app]);
    let mut dice = Dice(5);
    for _ in 0..1_500 {
        let mut client = weir.client();
        let bytes = garbled(REQUEST, &mut dice);
        let half = dice.roll(bytes.len() as u64) as usize;
        let _ = client.stream.write_all(&bytes[..half]);
        let _ = client.stream.write_all(&bytes[half..]);
        if dice.roll(8) == 0 {
            client.half_close();
            let _ = client.rest();
        }
    }
    is_well(&weir);
}

#[test]
fn garbled_answers_harm_nobody() {
    let dice = Mutex::new(Dice(11));
    let app = App::start(move |mut wire| {
        while let Some(request) = wire.request() {
            let bytes = match request.head.contains("/well") {
                true => ok("well").into_bytes(),
                false => garbled(ANSWER, &mut dice.lock().unwrap()),
            };
            let _ = wire.stream.write_all(&bytes);
            if !request.head.contains("/well") {
                // Whether it was whole or not: the connection goes on, or ends.
                if bytes.len() % 2 == 0 {
                    return;
                }
            }
        }
    });
    let site = Site {
        top: "workers = 1",
        server: "max_fails = 0",
        location: "proxy_read_timeout = \"50ms\"",
        ..Site::default()
    };
    let weir = site.start(&[&app]);
    for turn in 0..600 {
        let mut client = weir.client();
        client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let Ok(rest) = client.rest() else { continue };
        let text = String::from_utf8_lossy(&rest);
        assert!(text.starts_with("HTTP/1.1 "), "turn {turn}: {text}");
    }
    // What is left of garbled answers in the connections that were kept is not taken for the next ones.
    for _ in 0..5 {
        is_well(&weir);
    }
}
