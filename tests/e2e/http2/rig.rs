//! A client and an application that speak HTTP/2, and a weir between them.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{PATIENCE, Site, Weir};

/// Runs a test that must end in time.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(2 * PATIENCE, test).await.expect("it ends in time") })
}

/// Waits until it is so, while everything else goes on.
pub async fn soon(claim: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {claim}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A weir whose clients may speak HTTP/2, before a site whose peers speak HTTP/1.1.
pub fn h2c(site: &Site) -> Weir {
    Weir::start(&to_h2c(&site.toml()))
}

/// The same before peers that speak HTTP/2.
pub fn h2c_both(site: &Site) -> Weir {
    Weir::start(&to_h2c(&site.toml()).replace("http://web", "h2c://web"))
}

/// A configuration whose first listener speaks HTTP/2.
pub fn to_h2c(toml: &str) -> String {
    let changed = toml.replace("listen = \"127.0.0.1:0\"\n", "listen = { address = \"127.0.0.1:0\", h2c = true }\n");
    assert_ne!(changed, toml);
    changed
}

/// What a connection goes over.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// A connection of a client.
#[derive(Clone)]
pub struct Client {
    pub send: SendRequest<Bytes>,
    pub address: SocketAddr,
    /// How the connection ended.
    pub ended: Arc<Mutex<Option<Result<(), String>>>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub fields: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Client {
        Client::with(address, &mut h2::client::Builder::new()).await
    }

    pub async fn with(address: SocketAddr, builder: &mut h2::client::Builder) -> Client {
        let tcp = TcpStream::connect(address).await.expect("it accepts");
        Client::tuned(tcp, address, builder).await
    }

    /// Over a connection that stands.
    pub async fn over(io: impl Io, address: SocketAddr) -> Client {
        Client::tuned(io, address, &mut h2::client::Builder::new()).await
    }

    async fn tuned(io: impl Io, address: SocketAddr, builder: &mut h2::client::Builder) -> Client {
        let (send, connection) = builder.handshake(io).await.unwrap();
        let ended = Arc::new(Mutex::new(None));
        let end = Arc::clone(&ended);
        tokio::spawn(async move {
            let how = connection.await.map_err(|error| error.to_string());
            *end.lock().unwrap() = Some(how);
        });
        Client { send, address, ended }
    }

    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("http://{}{path}", self.address))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(self.request("GET", path), b"").await.expect("an answer")
    }

    pub async fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.ask(self.request("POST", path), body).await.expect("an answer")
    }

    /// Sends a whole request, and reads a whole answer.
    pub async fn ask(&self, request: http::request::Builder, body: &[u8]) -> Result<Answer, h2::Error> {
        let (answer, mut send) = self.begin(request, body.is_empty()).await?;
        let (sent, answer) = tokio::join!(
            async { if body.is_empty() { Ok(()) } else { write(&mut send, body, true).await } },
            read(answer)
        );
        // Who answers early may refuse the rest.
        let _ = sent;
        answer
    }

    pub async fn begin(
        &self,
        request: http::request::Builder,
        whole: bool,
    ) -> Result<(h2::client::ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.send.clone().ready().await?.send_request(request.body(()).unwrap(), whole)
    }
}

/// Reads a whole answer.
pub async fn read(answer: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut stream) = answer.await?.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    let trailers = stream.trailers().await?.unwrap_or_default();
    Ok(Answer { status: head.status.as_u16(), fields: head.headers, body, trailers })
}

/// Writes with regard to the window.
pub async fn write(send: &mut SendStream<Bytes>, mut bytes: &[u8], end: bool) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        let room = match std::future::poll_fn(|cx| send.poll_capacity(cx)).await {
            Some(room) => room?,
            None => return Err(h2::Reason::CANCEL.into()),
        };
        let n = room.min(bytes.len());
        send.send_data(Bytes::copy_from_slice(&bytes[..n]), false)?;
        bytes = &bytes[n..];
    }
    if end { send.send_data(Bytes::new(), true) } else { Ok(()) }
}

/// One request as an application got it.
pub struct Call {
    pub connection: usize,
    pub request: Request<RecvStream>,
    pub respond: SendResponse<Bytes>,
    pub app: Arc<Shared>,
}

impl Call {
    pub fn path(&self) -> &str {
        self.request.uri().path()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name).map(|value| value.to_str().unwrap())
    }

    /// Reads the body.
    pub async fn body(&mut self) -> Result<Vec<u8>, h2::Error> {
        let stream = self.request.body_mut();
        let mut body = Vec::new();
        while let Some(piece) = stream.data().await {
            let piece = piece?;
            stream.flow_control().release_capacity(piece.len())?;
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// Answers with these fields and this body.
    pub fn answer(mut self, fields: &[(&str, &str)], body: &str) {
        let response =
            fields.iter().fold(Response::builder(), |response, (name, value)| response.header(*name, *value));
        let mut send = self.respond.send_response(response.body(()).unwrap(), body.is_empty()).unwrap();
        if !body.is_empty() {
            let _ = send.send_data(Bytes::copy_from_slice(body.as_bytes()), true);
        }
    }
}

/// What an application remembers.
#[derive(Default)]
pub struct Shared {
    pub connections: AtomicUsize,
    pub calls: AtomicUsize,
    pub notes: Mutex<HashMap<String, usize>>,
}

impl Shared {
    /// How often this was noted, this time among them.
    pub fn note(&self, what: &str) -> usize {
        let mut notes = self.notes.lock().unwrap();
        let n = notes.entry(what.to_owned()).or_default();
        *n += 1;
        *n
    }

    pub fn noted(&self, what: &str) -> usize {
        self.notes.lock().unwrap().get(what).copied().unwrap_or_default()
    }
}

/// What may be done with a connection of an application, before its requests.
pub type Tune = fn(&mut h2::server::Builder);

/// An application that speaks HTTP/2 alone.
pub struct App {
    pub address: SocketAddr,
    pub shared: Arc<Shared>,
}

type Life = Pin<Box<dyn Future<Output = ()> + Send>>;

impl App {
    /// One that does this with each request.
    pub fn start<F: Future<Output = ()> + Send + 'static>(handle: impl Fn(Call) -> F + Send + Sync + 'static) -> App {
        App::tuned(|_| {}, handle)
    }

    pub fn tuned<F: Future<Output = ()> + Send + 'static>(
        tune: Tune,
        handle: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> App {
        let handle: Arc<dyn Fn(Call) -> Life + Send + Sync> = Arc::new(move |call| Box::pin(handle(call)));
        App::accepting(move |connection, tcp, shared| {
            let handle = Arc::clone(&handle);
            Box::pin(async move {
                let mut builder = h2::server::Builder::new();
                builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 22);
                tune(&mut builder);
                let Ok(mut h2) = builder.handshake(tcp).await else { return };
                while let Some(Ok((request, respond))) = h2.accept().await {
                    shared.calls.fetch_add(1, SeqCst);
                    let app = Arc::clone(&shared);
                    tokio::spawn(handle(Call { connection, request, respond, app }));
                }
            })
        })
    }

    /// One that does this with each connection.
    pub fn accepting(serve: impl Fn(usize, TcpStream, Arc<Shared>) -> Life + Send + 'static) -> App {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let app = App { address, shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((tcp, _)) = listener.accept().await {
                    let connection = shared.connections.fetch_add(1, SeqCst);
                    tokio::spawn(serve(connection, tcp, Arc::clone(&shared)));
                }
            });
        });
        app
    }

    /// One that answers with its name.
    pub fn named(name: &'static str) -> App {
        App::start(move |call| async move { call.answer(&[], name) })
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }

    pub fn calls(&self) -> usize {
        self.shared.calls.load(SeqCst)
    }
}

/// The configuration of a group of such applications.
pub fn site<const N: usize>(apps: [&App; N]) -> Site {
    Site::servers(apps.map(|app| format!("\"{}\"", app.address)))
}
