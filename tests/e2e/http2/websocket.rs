//! Does an extended CONNECT (RFC 8441) reach an application that knows only upgrades?

use bytes::Bytes;
use h2::ext::Protocol;
use http::Request;

use super::rig::{Client, h2c, run, soon, write};
use crate::support::{Backend, Script, Site};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

fn connect(client: &Client, protocol: &'static str) -> http::request::Builder {
    Request::builder()
        .method("CONNECT")
        .uri(format!("http://{}/chat?x", client.address))
        .extension(Protocol::from_static(protocol))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
}

#[test]
fn it_becomes_a_tunnel() {
    let a = Backend::start("a");
    a.on("/chat", Script::raw(SWITCH).echo());
    let weir = h2c(&Site::of([&a]));
    run(async {
        let client = Client::connect(weir.address()).await;
        // The setting is known from the first answer on.
        client.get("/").await;
        assert!(client.send.is_extended_connect_protocol_enabled());
        let (answer, mut send) = client.begin(connect(&client, "websocket"), false).await.unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut names: Vec<_> = answer.headers().keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["sec-websocket-protocol"]);
        let mut body = answer.into_body();
        for text in ["hello", "again"] {
            write(&mut send, text.as_bytes(), false).await.unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), Bytes::from_static(text.as_bytes()));
        }
        // Half a close: what was sent comes back to its end.
        write(&mut send, b"last", true).await.unwrap();
        let mut rest = Vec::new();
        while let Some(piece) = body.data().await {
            rest.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(rest, b"last");
        assert_eq!(client.get("/").await.text(), "a");
    });
    let request = a.requests().into_iter().find(|request| request.target == "/chat?x").unwrap();
    assert_eq!((request.method.as_str(), request.field("Upgrade")), ("GET", Some("websocket")));
    assert!(request.field("Connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert_eq!(request.field("Sec-WebSocket-Key").unwrap().len(), 24);
    assert_eq!(request.field("Sec-WebSocket-Version"), Some("13"));
}

#[test]
fn a_refusal_is_passed_on() {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]));
    run(async {
        let client = Client::connect(weir.address()).await;
        // To the client a 200 would be the agreement, so one that comes without a 101 is none.
        for (script, status) in [(Script::status(403), 403), (Script::text("ok"), 502)] {
            a.next(script);
            let (answer, _send) = client.begin(connect(&client, "websocket"), false).await.unwrap();
            assert_eq!(answer.await.unwrap().status(), status);
        }
    });
}

#[test]
fn a_tunnel_that_its_client_leaves_ends_at_the_application() {
    let a = Backend::start("a");
    a.on("/chat", Script::raw(SWITCH).echo());
    let weir = h2c(&Site::of([&a]));
    run(async {
        let client = Client::connect(weir.address()).await;
        let (answer, mut send) = client.begin(connect(&client, "websocket"), false).await.unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        send.send_reset(h2::Reason::CANCEL);
        soon("the application's connection ends", || a.open_connections() == 0).await;
    });
}

#[test]
fn h2c_within_it_is_refused() {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]));
    run(async {
        let client = Client::connect(weir.address()).await;
        let (answer, _send) = client.begin(connect(&client, "h2c"), false).await.unwrap();
        assert_eq!(answer.await.unwrap().status(), 501);
    });
    assert_eq!(a.requests().len(), 0);
}
