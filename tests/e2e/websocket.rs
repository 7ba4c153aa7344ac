//! Does a WebSocket get through? Both ends are tungstenite's, which knows nothing of weir.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::handshake::server;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use crate::http2::rig;
use crate::support::tls::BOTH;
use crate::support::{Authority, PATIENCE, Site, Weir, eventually};

/// What the application speaks, if its client does.
const PROTOCOL: &str = "chat.v2";

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(2 * PATIENCE, test).await.expect("it ends in time") })
}

/// An application of WebSockets.
struct App {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    /// How its connections were closed by their clients.
    closed: mpsc::UnboundedReceiver<Option<CloseFrame>>,
}

impl App {
    /// What it does with a connection is in the path.
    fn start(name: &'static str) -> App {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (told, closed) = mpsc::unbounded_channel();
        let open = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&open);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((tcp, _)) = listener.accept().await {
                    let (told, counted) = (told.clone(), Arc::clone(&counted));
                    tokio::spawn(async move {
                        counted.fetch_add(1, SeqCst);
                        serve(name, tcp, &told).await;
                        counted.fetch_sub(1, SeqCst);
                    });
                }
            });
        });
        App { address, open, closed }
    }

    fn open(&self) -> usize {
        self.open.load(SeqCst)
    }
}

#[expect(clippy::result_large_err, reason = "a refusal is a whole answer")]
async fn serve(name: &str, tcp: TcpStream, told: &mpsc::UnboundedSender<Option<CloseFrame>>) {
    let mut path = String::new();
    let agree = |request: &server::Request, mut response: server::Response| {
        path = request.uri().path().to_owned();
        let asked = request.headers().get("sec-websocket-protocol").and_then(|asked| asked.to_str().ok());
        if asked.is_some_and(|asked| asked.split(", ").any(|asked| asked == PROTOCOL)) {
            response.headers_mut().insert("sec-websocket-protocol", PROTOCOL.parse().unwrap());
        }
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr_async(tcp, agree).await else { return };
    match path.as_str() {
        "/name" => drop(socket.send(Message::text(name)).await),
        "/pings" => drop(socket.send(Message::Ping("anybody?".into())).await),
        "/closes" => drop(socket.close(Some(close(4001, "enough"))).await),
        "/dies" => {
            let _ = socket.next().await;
            return;
        }
        "/breaks" => {
            let _ = socket.next().await;
            return socket2::SockRef::from(socket.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
        }
        _ => {}
    }
    while let Some(Ok(message)) = socket.next().await {
        let sent = match message {
            Message::Close(frame) => {
                let _ = told.send(frame);
                Ok(())
            }
            Message::Pong(heard) => socket.send(Message::Binary([b"pong: ", &heard[..]].concat().into())).await,
            // Answered by tungstenite.
            Message::Ping(_) => Ok(()),
            message => socket.send(message).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

fn close(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame { code: CloseCode::from(code), reason: reason.into() }
}

type Socket<S> = WebSocketStream<S>;

async fn open_over<S: AsyncRead + AsyncWrite + Unpin>(io: S, path: &str, protocols: &str) -> (Socket<S>, Response) {
    let mut request = format!("ws://weir.test{path}").into_client_request().unwrap();
    if !protocols.is_empty() {
        request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
    }
    client_async(request, io).await.expect("both agree")
}

async fn open(weir: &Weir, path: &str) -> Socket<TcpStream> {
    let tcp = TcpStream::connect(weir.address()).await.unwrap();
    open_over(tcp, path, "").await.0
}

async fn next<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>) -> Message {
    socket.next().await.expect("it has not ended").expect("it has not failed")
}

/// Text, binary, nothing and a mebibyte come back as they went.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>) {
    let large: Vec<u8> = (0..1 << 20).map(|at| (at % 251) as u8).collect();
    for message in [
        Message::text("hello"),
        Message::text(""),
        Message::binary(vec![0, 255, 10, 13]),
        Message::binary(large),
        Message::text("ä".repeat(1 << 19)),
    ] {
        socket.send(message.clone()).await.unwrap();
        assert!(next(socket).await == message);
    }
}

fn one() -> (App, Weir) {
    let app = App::start("a");
    let weir = site(&app).start();
    (app, weir)
}

fn site(app: &App) -> Site {
    Site::servers([format!("\"{}\"", app.address)])
}

#[test]
fn messages_of_all_sizes_come_back() {
    let (_app, weir) = one();
    run(async { exchange(&mut open(&weir, "/echo").await).await });
}

#[test]
fn fragments_make_a_message() {
    let (_app, weir) = one();
    run(async {
        let mut socket = open(&weir, "/echo").await;
        let pieces: Vec<String> = (0..64).map(|at| format!("{at} ").repeat(1000)).collect();
        for (at, piece) in pieces.iter().enumerate() {
            let code = if at == 0 { Data::Text } else { Data::Continue };
            let last = at + 1 == pieces.len();
            socket.send(Message::Frame(Frame::message(piece.clone(), OpCode::Data(code), last))).await.unwrap();
            // A control frame may come between two fragments (RFC 6455 §5.4).
            if at == 32 {
                socket.send(Message::Ping("between".into())).await.unwrap();
            }
        }
        assert_eq!(next(&mut socket).await, Message::Pong("between".into()));
        assert_eq!(next(&mut socket).await, Message::text(pieces.concat()));
    });
}

#[test]
fn pings_are_answered_from_end_to_end() {
    let (_app, weir) = one();
    run(async {
        let mut socket = open(&weir, "/echo").await;
        socket.send(Message::Ping("you?".into())).await.unwrap();
        assert_eq!(next(&mut socket).await, Message::Pong("you?".into()));
        let mut socket = open(&weir, "/pings").await;
        assert_eq!(next(&mut socket).await, Message::Ping("anybody?".into()));
        assert_eq!(next(&mut socket).await, Message::binary(&b"pong: anybody?"[..]));
    });
}

#[test]
fn a_client_closes_with_a_code_and_a_reason() {
    let (mut app, weir) = one();
    run(async {
        let mut socket = open(&weir, "/echo").await;
        socket.send(Message::Close(Some(close(4002, "goodbye")))).await.unwrap();
        // The other end answers with the same, and closes the connection.
        assert_eq!(next(&mut socket).await, Message::Close(Some(close(4002, "goodbye"))));
        assert!(socket.next().await.is_none());
        assert_eq!(app.closed.recv().await, Some(Some(close(4002, "goodbye"))));
    });
    eventually("nothing is left of it", || app.open() == 0);
}

#[test]
fn so_does_an_application() {
    let (app, weir) = one();
    run(async {
        let mut socket = open(&weir, "/closes").await;
        assert_eq!(next(&mut socket).await, Message::Close(Some(close(4001, "enough"))));
        assert!(socket.next().await.is_none());
    });
    eventually("nothing is left of it", || app.open() == 0);
}

#[test]
fn a_subprotocol_is_agreed_on_between_the_ends() {
    let (_app, weir) = one();
    run(async {
        for (asked, agreed) in [("chat.v1, chat.v2", Some(PROTOCOL)), ("", None)] {
            let tcp = TcpStream::connect(weir.address()).await.unwrap();
            let (mut socket, response) = open_over(tcp, "/echo", asked).await;
            let said = response.headers().get("sec-websocket-protocol").map(|said| said.to_str().unwrap());
            assert_eq!(said, agreed);
            exchange(&mut socket).await;
        }
    });
}

#[test]
fn many_go_on_at_once() {
    const SOCKETS: usize = 100;
    let (app, weir) = one();
    run(async {
        let mut sockets = Vec::new();
        for _ in 0..SOCKETS {
            sockets.push(open(&weir, "/echo").await);
        }
        assert_eq!(app.open(), SOCKETS);
        for round in 0..10 {
            // All of them speak before anybody listens.
            for (at, socket) in sockets.iter_mut().enumerate() {
                socket.send(Message::text(format!("{round} of {at}"))).await.unwrap();
            }
            for (at, socket) in sockets.iter_mut().enumerate() {
                assert_eq!(next(socket).await, Message::text(format!("{round} of {at}")));
            }
        }
    });
    eventually("nothing is left of them", || app.open() == 0);
}

#[test]
fn an_application_that_dies_is_no_close_of_its_own() {
    let (_app, weir) = one();
    run(async {
        let mut other = open(&weir, "/echo").await;
        let mut socket = open(&weir, "/dies").await;
        socket.send(Message::text("x")).await.unwrap();
        let end = socket.next().await.unwrap().unwrap_err();
        assert!(matches!(end, Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)), "{end}");
        let mut socket = open(&weir, "/breaks").await;
        socket.send(Message::text("x")).await.unwrap();
        let end = socket.next().await.unwrap().unwrap_err();
        assert!(matches!(&end, Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionReset), "{end}");
        exchange(&mut other).await;
    });
}

#[test]
fn it_goes_over_tls() {
    let (authority, app) = (Authority::new("authority"), App::start("a"));
    let site =
        site(&app).listen("{ address = \"127.0.0.1:0\", tls = { certificate = \"weir.pem\", key = \"weir.key\" } }");
    let weir = Weir::start_with(&site.toml(), |folder| authority.issue(&["weir.test"]).write(folder, "weir"));
    run(async {
        let tcp = TcpStream::connect(weir.address()).await.unwrap();
        let name = ServerName::try_from("weir.test").unwrap();
        let tls = TlsConnector::from(authority.client(&BOTH, None)).connect(name, tcp).await.unwrap();
        let mut socket = open_over(tls, "/echo", "").await.0;
        exchange(&mut socket).await;
        socket.send(Message::Close(Some(close(4002, "goodbye")))).await.unwrap();
        assert_eq!(next(&mut socket).await, Message::Close(Some(close(4002, "goodbye"))));
        assert!(socket.next().await.is_none());
    });
    eventually("nothing is left of it", || app.open() == 0);
}

#[test]
fn it_outlives_a_reload_that_removes_its_application() {
    let (a, b) = (App::start("a"), App::start("b"));
    let weir = site(&a).start();
    run(async {
        let mut old = open(&weir, "/name").await;
        assert_eq!(next(&mut old).await, Message::text("a"));
        let mark = weir.mark();
        weir.edit(&site(&b).toml());
        weir.sighup();
        weir.wait_since(mark, "the reload", |line| line.contains("upstream.toml is in force"));
        let mut new = open(&weir, "/name").await;
        assert_eq!(next(&mut new).await, Message::text("b"));
        exchange(&mut old).await;
        exchange(&mut new).await;
    });
}

/// An application that takes WebSockets by extended CONNECT alone (RFC 8441), and sends all messages back.
fn of_http2() -> rig::App {
    let tune = |builder: &mut h2::server::Builder| {
        builder.enable_connect_protocol();
    };
    rig::App::tuned(tune, |call| async move {
        let rig::Call { request, mut respond, .. } = call;
        let mut send = respond.send_response(http::Response::new(()), false).unwrap();
        let mut body = request.into_body();
        let (inner, outer) = tokio::io::duplex(64 << 10);
        let (mut out, mut into) = tokio::io::split(outer);
        let echo = async move {
            let mut socket = WebSocketStream::from_raw_socket(inner, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() || message.is_binary() {
                    socket.send(message).await.unwrap();
                }
            }
        };
        let up = async {
            while let Some(Ok(piece)) = body.data().await {
                body.flow_control().release_capacity(piece.len()).unwrap();
                if into.write_all(&piece).await.is_err() {
                    return;
                }
            }
        };
        let down = async {
            let mut piece = vec![0; 16 << 10];
            loop {
                let n = out.read(&mut piece).await.unwrap();
                if rig::write(&mut send, &piece[..n], n == 0).await.is_err() || n == 0 {
                    return;
                }
            }
        };
        tokio::join!(echo, up, down);
    })
}

#[test]
fn an_application_of_http2_is_reached_too() {
    let app = of_http2();
    let weir = Weir::start(&rig::site([&app]).top("workers = 1").toml().replace("http://web", "h2c://web"));
    run(async {
        let mut sockets = Vec::new();
        for _ in 0..10 {
            sockets.push(open(&weir, "/echo").await);
        }
        for socket in &mut sockets {
            exchange(socket).await;
            socket.send(Message::Ping("you?".into())).await.unwrap();
            assert_eq!(next(socket).await, Message::Pong("you?".into()));
        }
        for mut socket in sockets {
            socket.send(Message::Close(Some(close(4002, "goodbye")))).await.unwrap();
            assert_eq!(next(&mut socket).await, Message::Close(Some(close(4002, "goodbye"))));
            assert!(socket.next().await.is_none());
        }
    });
    assert_eq!(app.connections(), 1);
}
