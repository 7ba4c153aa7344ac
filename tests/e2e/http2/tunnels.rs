//! Does a request for a WebSocket reach an application of HTTP/2 (RFC 8441), whatever its client speaks?

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use tokio::sync::Notify;

use super::rig::{App, Call, Client, h2c_both, run, site, soon, write};
use crate::support::{Site, Weir, eventually};

/// With the key of RFC 6455 §1.3.
const ASK: &str = "GET /echo?x HTTP/1.1\r\nHost: weir.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn ask(path: &str) -> String {
    ASK.replace("/echo?x", path)
}

/// What an application of HTTP/2 does with what it is asked for.
async fn serve(call: Call) {
    let protocol = call.request.extensions().get::<Protocol>().map(|protocol| protocol.as_str().to_owned());
    let Some(protocol) = protocol else { return call.answer(&[], "plain") };
    let uri = call.request.uri().clone();
    let key = call.field("sec-websocket-key").is_some();
    let version = call.field("sec-websocket-version").unwrap_or("-");
    call.app.note(&format!("{} {uri} for {protocol}, version {version}, key {key}", call.request.method()));
    let path = call.path().to_owned();
    if path == "/refused" {
        return refuse(call);
    }
    let Call { request, mut respond, app, .. } = call;
    let response = Response::builder().header("sec-websocket-protocol", "chat").body(()).unwrap();
    let mut send = respond.send_response(response, false).unwrap();
    let mut body = request.into_body();
    match path.as_str() {
        "/last-words" => {
            write(&mut send, b"bye", true).await.unwrap();
            while let Ok(bytes) = next(&mut body).await {
                if bytes.is_empty() {
                    app.note("the client's end");
                    return;
                }
                app.note(&format!("heard {}", String::from_utf8_lossy(&bytes)));
            }
        }
        "/reset" => {
            write(&mut send, b"well", false).await.unwrap();
            next(&mut body).await.unwrap();
            send.send_reset(Reason::CANCEL);
        }
        _ => match echo(&mut body, &mut send).await {
            Ok(()) => drop(app.note("an end")),
            Err(error) => drop(app.note(&format!("{:?}", error.reason()))),
        },
    }
}

fn refuse(mut call: Call) {
    let response = Response::builder().status(403).body(()).unwrap();
    let mut send = call.respond.send_response(response, false).unwrap();
    send.send_data(Bytes::from_static(b"not you"), true).unwrap();
}

/// The next bytes; none is the end.
async fn next(body: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let Some(piece) = body.data().await else { return Ok(Bytes::new()) };
    let piece = piece?;
    body.flow_control().release_capacity(piece.len())?;
    Ok(piece)
}

async fn echo(body: &mut RecvStream, send: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
    loop {
        let piece = next(body).await?;
        write(send, &piece, piece.is_empty()).await?;
        if piece.is_empty() {
            return Ok(());
        }
    }
}

/// One that takes extended CONNECT.
fn app() -> App {
    let tune = |builder: &mut h2::server::Builder| {
        builder.enable_connect_protocol();
    };
    App::tuned(tune, serve)
}

/// One that does not.
fn without() -> App {
    App::start(serve)
}

fn start(site: &Site) -> Weir {
    h2c_both(site)
}

fn connect(client: &Client, path: &str, protocol: &'static str) -> http::request::Builder {
    let uri = format!("http://{}{path}", client.address);
    Request::connect(uri).extension(Protocol::from_static(protocol)).header("sec-websocket-version", "13")
}

#[test]
fn an_upgrade_of_http1_becomes_an_extended_connect() {
    let app = app();
    let weir = start(&site([&app]));
    let mut client = weir.client();
    client.send(format!("{ASK}first"));
    let answer = client.response();
    assert_eq!((answer.status, answer.field("upgrade")), (101, Some("websocket")));
    assert_eq!(answer.field("sec-websocket-accept"), Some(ACCEPT));
    assert_eq!(answer.field("sec-websocket-protocol"), Some("chat"));
    assert_eq!(client.raw(5), b"first", "what was sent ahead is not lost");
    client.send("second");
    assert_eq!(client.raw(6), b"second");
    assert_eq!(app.shared.noted("CONNECT http://weir.test/echo?x for websocket, version 13, key false"), 1);
    // Half a close: the application hears the end, and so does then the client.
    client.half_close();
    assert_eq!(client.rest(), b"");
    eventually("the end is passed on as one", || app.shared.noted("an end") == 1);
    weir.wait_for_access("the tunnel", |line| line.contains("\"GET /echo?x HTTP/1.1\" 101 11 "));
}

#[test]
fn an_extended_connect_passes_with_its_protocol() {
    let app = app();
    let weir = start(&site([&app]));
    run(async {
        let client = Client::connect(weir.address()).await;
        for protocol in ["websocket", "connect-udp"] {
            let (answer, mut send) = client.begin(connect(&client, "/echo", protocol), false).await.unwrap();
            let answer = answer.await.unwrap();
            assert_eq!(answer.status(), 200);
            let names: Vec<_> = answer.headers().keys().map(|name| name.as_str()).collect();
            assert_eq!(names, ["sec-websocket-protocol"]);
            let mut body = answer.into_body();
            for text in ["hello", "again"] {
                write(&mut send, text.as_bytes(), false).await.unwrap();
                assert_eq!(next(&mut body).await.unwrap(), text);
            }
            write(&mut send, b"", true).await.unwrap();
            assert_eq!(next(&mut body).await.unwrap(), "");
            let asked = format!("CONNECT http://{}/echo for {protocol}, version 13, key false", weir.address());
            assert_eq!(app.shared.noted(&asked), 1);
        }
        assert_eq!(app.shared.noted("an end"), 2);
    });
}

#[test]
fn a_refusal_is_passed_on_and_the_connection_goes_on() {
    let app = app();
    let weir = start(&site([&app]).top("workers = 1"));
    let mut client = weir.client();
    client.send(ask("/refused"));
    let answer = client.response();
    assert_eq!((answer.status, answer.text()), (403, "not you".to_owned()));
    assert_eq!(client.get("/").text(), "plain");
    run(async {
        let client = Client::connect(weir.address()).await;
        let (answer, _send) = client.begin(connect(&client, "/refused", "websocket"), false).await.unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 403);
        assert_eq!(next(&mut answer.into_body()).await.unwrap(), "not you");
        assert_eq!(client.get("/").await.text(), "plain");
    });
    assert_eq!(app.connections(), 1);
}

/// Nothing else is asked of it: a request without the upgrade would be another one.
#[test]
fn a_peer_that_does_not_offer_it_is_not_asked() {
    let app = without();
    let weir = start(&site([&app]).top("log_format = \"json\""));
    let mut client = weir.client();
    client.send(ASK);
    assert_eq!(client.response().status, 502);
    run(async {
        let client = Client::connect(weir.address()).await;
        let (answer, _send) = client.begin(connect(&client, "/echo", "websocket"), false).await.unwrap();
        assert_eq!(answer.await.unwrap().status(), 502);
    });
    assert_eq!(app.calls(), 0);
    weir.wait_for("it says why", |line| line.contains("does not offer extended CONNECT (RFC 8441)"));
    weir.wait_for_access("so does the line", |line| line.contains("\"error\":\"no_extended_connect\""));
    assert_eq!(client.get("/").text(), "plain", "nobody is blamed");
}

#[test]
fn one_that_offers_it_is_asked_instead() {
    let (cannot, can) = (without(), app());
    let weir = start(&site([&cannot, &can]));
    for _ in 0..4 {
        let mut client = weir.client();
        client.send(ASK);
        assert_eq!(client.response().status, 101);
    }
    assert_eq!(cannot.calls(), 0);
}

/// Until the settings have come nobody knows what they say, and one who leaves meanwhile takes nothing with him.
#[test]
fn the_peers_settings_are_waited_for() {
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let app = App::accepting(move |connection, tcp, shared| {
        let gate = Arc::clone(&opened);
        Box::pin(async move {
            gate.notified().await;
            let mut builder = h2::server::Builder::new();
            let mut h2 = builder.enable_connect_protocol().handshake(tcp).await.unwrap();
            while let Some(Ok((request, respond))) = h2.accept().await {
                shared.calls.fetch_add(1, SeqCst);
                tokio::spawn(serve(Call { connection, request, respond, app: Arc::clone(&shared) }));
            }
        })
    });
    let weir = start(&site([&app]).top("workers = 1"));
    let mut clients = [weir.client(), weir.client(), weir.client()];
    for client in &mut clients {
        client.send(ASK);
    }
    eventually("there is a connection", || app.connections() == 1);
    let [first, mut second, last] = clients;
    drop((first, last));
    weir.wait_for_access("they have left", |line| line.contains(" 499 "));
    gate.notify_one();
    assert_eq!(second.response().status, 101);
    assert_eq!((app.calls(), app.connections()), (1, 1));
}

#[test]
fn settings_that_never_come_are_waited_for_as_long_as_a_connection() {
    let app = App::accepting(|_, tcp, _| {
        Box::pin(async move {
            std::future::pending::<()>().await;
            drop(tcp);
        })
    });
    let weir = start(&site([&app]).location("proxy_connect_timeout = \"200ms\""));
    let mut client = weir.client();
    client.send(ASK);
    assert_eq!(client.response().status, 504);
    weir.wait_for("the peer is blamed", |line| line.contains("no settings of HTTP/2 within 200ms"));
}

#[test]
fn a_peer_that_closes_before_its_settings_is_said_so_of() {
    let app = App::accepting(|_, tcp, _| {
        Box::pin(async move {
            tcp.readable().await.unwrap();
            drop(tcp);
        })
    });
    let weir = start(&site([&app]));
    let mut client = weir.client();
    client.send(ASK);
    assert_eq!(client.response().status, 502);
    weir.wait_for("it is blamed", |line| line.contains("closed the connection before its settings came"));
}

/// The next request finds out that the connection is gone, and is not to suffer from it.
#[test]
fn a_connection_that_its_peer_has_closed_meanwhile_is_replaced() {
    let closing = Arc::new(Notify::new());
    let close = Arc::clone(&closing);
    let app = App::accepting(move |connection, tcp, shared| {
        let close = Arc::clone(&close);
        Box::pin(async move {
            let mut builder = h2::server::Builder::new();
            let mut h2 = builder.enable_connect_protocol().handshake(tcp).await.unwrap();
            loop {
                let accepted = tokio::select! {
                    accepted = h2.accept() => accepted,
                    () = close.notified(), if connection == 0 => return,
                };
                let Some(Ok((request, respond))) = accepted else { return };
                tokio::spawn(serve(Call { connection, request, respond, app: Arc::clone(&shared) }));
            }
        })
    });
    let weir = start(&site([&app]).top("workers = 1"));
    assert_eq!(weir.get("/").text(), "plain");
    closing.notify_one();
    let mut client = weir.client();
    client.send(ASK);
    assert_eq!(client.response().status, 101);
    assert_eq!(app.connections(), 2);
    assert!(!weir.log().iter().any(|line| line.contains("unavail") || line.contains("kept")), "{:#?}", weir.log());
}

#[test]
fn only_a_handshake_may_be_agreed_to() {
    let app = app();
    let weir = start(&site([&app]));
    for request in
        [ASK.replace("Sec-WebSocket-Key", "X-Key"), ASK.replace("ZQ==\r\n", "\r\n"), ASK.replace("GET", "OPTIONS")]
    {
        let mut client = weir.client();
        client.send(request);
        assert_eq!(client.response().status, 400);
    }
    assert_eq!(app.calls(), 0);
    // An upgrade that may be left out is: what it asks for is answered without it.
    let mut client = weir.client();
    client.send(ASK.replace("Upgrade: websocket", "Upgrade: tls/1.3"));
    assert_eq!(client.response().text(), "plain");
}

#[test]
fn a_tunnel_holds_its_lease_as_long_as_it_lasts() {
    let app = app();
    let weir = start(&Site::servers([format!("{{ address = \"{}\", max_conns = 1 }}", app.address)]));
    let mut client = weir.client();
    client.send(ASK);
    assert_eq!(client.response().status, 101);
    assert_eq!(weir.get("/").status, 503);
    client.half_close();
    assert_eq!(client.rest(), b"");
    eventually("the peer is free again", || weir.get("/").status == 200);
}

#[test]
fn who_has_said_all_is_still_spoken_to() {
    let app = app();
    let weir = start(&site([&app]));
    let mut client = weir.client();
    client.send(ask("/last-words"));
    assert_eq!(client.response().status, 101);
    assert_eq!(client.rest(), b"bye");
    client.send("and you");
    eventually("it is heard", || app.shared.noted("heard and you") == 1);
    client.half_close();
    eventually("and so is the end", || app.shared.noted("the client's end") == 1);
}

#[test]
fn a_client_that_is_reset_resets_the_peers_stream() {
    let app = app();
    let weir = start(&site([&app]).top("workers = 1"));
    let mut client = weir.client();
    client.send(ASK);
    assert_eq!(client.response().status, 101);
    client.reset();
    eventually("the application hears of it", || app.shared.noted("Some(CANCEL)") == 1);
    run(async {
        let client = Client::connect(weir.address()).await;
        let (answer, mut send) = client.begin(connect(&client, "/echo", "websocket"), false).await.unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        send.send_reset(Reason::CANCEL);
        soon("the application hears of it", || app.shared.noted("Some(CANCEL)") == 2).await;
        assert_eq!(client.get("/").await.text(), "plain");
    });
    assert_eq!(app.connections(), 1);
}

#[test]
fn a_peers_stream_that_is_reset_resets_the_client() {
    let app = app();
    let weir = start(&site([&app]));
    let mut client = weir.client();
    client.send(ask("/reset"));
    assert_eq!(client.response().status, 101);
    assert_eq!(client.raw(4), b"well");
    client.send("x");
    assert!(client.is_reset());
    run(async {
        let client = Client::connect(weir.address()).await;
        let (answer, mut send) = client.begin(connect(&client, "/reset", "websocket"), false).await.unwrap();
        let mut body = answer.await.unwrap().into_body();
        assert_eq!(next(&mut body).await.unwrap(), "well");
        write(&mut send, b"x", false).await.unwrap();
        assert_eq!(next(&mut body).await.unwrap_err().reason(), Some(Reason::CANCEL));
    });
}

#[test]
fn silence_ends_it_on_both_sides() {
    let app = app();
    let weir = start(&site([&app]).location("tunnel_timeout = \"200ms\""));
    let mut client = weir.client();
    client.send(ASK);
    assert_eq!(client.response().status, 101);
    assert_eq!(client.rest(), b"");
    eventually("the application hears of it", || app.shared.noted("Some(CANCEL)") == 1);
}

/// More than all windows and buffers on the way hold, while nobody reads.
#[test]
fn a_slow_reader_is_waited_for() {
    const ALL: usize = 16 << 20;
    let app = app();
    let weir = start(&site([&app]));
    let mut client = weir.client();
    client.send(ASK);
    assert_eq!(client.response().status, 101);
    let mut writer = client.writer();
    let sent = std::thread::spawn(move || {
        use std::io::Write;
        let piece: Vec<u8> = (0..1 << 16).map(|at| (at % 251) as u8).collect();
        for _ in 0..ALL / piece.len() {
            writer.write_all(&piece).unwrap();
        }
    });
    // The other streams of the connection do not wait.
    assert_eq!(weir.get("/").text(), "plain");
    assert!(weir.memory() < 200 << 20);
    let piece: Vec<u8> = (0..1 << 16).map(|at| (at % 251) as u8).collect();
    for _ in 0..ALL / piece.len() {
        assert!(client.raw(piece.len()) == piece);
    }
    sent.join().unwrap();
}
