//! What becomes of a connection that goes on with another protocol?

use crate::rig::{App, Site, ok};

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Agrees on `/ws`, whoever asks for what, and then says everything back.
fn echo() -> App {
    App::start(|mut wire| {
        while let Some(request) = wire.request() {
            if !request.head.starts_with("GET /ws") {
                wire.send(&ok(&request.head));
                continue;
            }
            wire.send(AGREE);
            while let Some(byte) = wire.bytes(1) {
                if wire.try_send(&String::from_utf8_lossy(&byte)).is_none() {
                    return;
                }
            }
            return;
        }
    })
}

#[test]
fn a_tunnel_holds_its_lease_as_long_as_it_lasts() {
    let app = echo();
    let weir = Site { server: "max_conns = 1", ..Site::default() }.start(&[&app]);
    let mut tunnel = weir.client();
    tunnel.send(&format!("{ASK}first"));
    let answer = tunnel.answer().unwrap();
    assert_eq!(answer.status, 101);
    assert!(answer.head.to_ascii_lowercase().contains("\r\nupgrade: websocket\r\n"), "{}", answer.head);
    assert_eq!(tunnel.bytes(5).unwrap(), b"first", "what was sent ahead is not lost");
    tunnel.send("second");
    assert_eq!(tunnel.bytes(6).unwrap(), b"second");
    assert_eq!(weir.get("/").status, 503);
    tunnel.half_close();
    assert_eq!(tunnel.rest().unwrap(), b"");
    crate::rig::eventually("the peer is free again", || weir.get("/").status == 200);
}

#[test]
fn an_agreement_that_nobody_asked_for_is_502() {
    let app = echo();
    let weir = Site::default().start(&[&app]);
    assert_eq!(weir.get("/ws").status, 502);
    let mut old = weir.client();
    old.send(&ASK.replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!(old.answer().unwrap().status, 502);
    let mut body = weir.client();
    body.send(&ASK.replace("Host: h", "Host: h\r\nContent-Length: 1").replace("\r\n\r\n", "\r\n\r\nx"));
    assert_eq!(body.answer().unwrap().status, 502);
}

#[test]
fn http_2_is_not_asked_for() {
    let app = echo();
    let weir = Site::default().start(&[&app]);
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n");
    let seen = client.answer().unwrap().body.to_ascii_lowercase();
    assert!(!seen.contains("upgrade") && !seen.contains("h2c"), "{seen}");
}
