//! What may a backend do to a proxy? Whatever a [`Script`] says, byte for byte; it remembers all that it was asked.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::ServerConfig;

use super::client::find;
use super::gate::Gate;
use super::tls::Socket;
use super::{PATIENCE, eventually};

/// An application on a loopback address of its own, so that its port can be nobody else's while it is stopped.
/// It answers with its name until told otherwise. One thread per connection.
pub struct Backend {
    address: SocketAddr,
    /// Where it listens instead, if that is a unix socket.
    path: Option<PathBuf>,
    shared: Arc<Shared>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

/// One request as it came.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Which connection brought it, counted from 0.
    pub connection: usize,
    /// The PROXY header of that connection, of a backend that [expects](Backend::expect_proxy_header) one.
    pub proxy_header: Vec<u8>,
    /// The head, with its empty line.
    pub head: String,
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
    /// The first MiB of the body.
    pub body: Vec<u8>,
    /// The length of the whole body, without its framing.
    pub body_length: u64,
    pub trailers: Vec<(String, String)>,
    /// Whether the whole request came.
    pub complete: bool,
}

impl Request {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// How many fields have this name.
    pub fn count(&self, name: &str) -> usize {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count()
    }
}

/// What a backend does after the head of a request came.
#[derive(Clone, Default)]
pub struct Script(Vec<Step>);

#[derive(Clone)]
enum Step {
    ReadBody,
    Answer { status: u16, fields: String, body: String },
    Send(Vec<u8>),
    Stream(u64),
    Pause(Duration),
    Gate(Gate),
    Echo,
    Close,
    Reset,
    Hang,
}

impl Script {
    /// Nothing yet; the body of the request is not read unless the script says so.
    pub fn new() -> Script {
        Script::default()
    }

    /// Reads the request to its end and answers with this body.
    pub fn text(body: &str) -> Script {
        Script::new().read_body().answer(200, "", body)
    }

    /// Reads the request to its end and answers with this status.
    pub fn status(status: u16) -> Script {
        Script::new().read_body().answer(status, "", &format!("status {status}"))
    }

    /// Reads the request to its end and sends these bytes.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Script {
        Script::new().read_body().send(bytes)
    }

    /// Reads the request to its end and says nothing.
    pub fn hanging() -> Script {
        Script::new().hang()
    }

    pub fn read_body(self) -> Script {
        self.and(Step::ReadBody)
    }

    /// A well-formed answer with `Content-Length`; `fields` are whole lines. A HEAD gets no body.
    pub fn answer(self, status: u16, fields: &str, body: &str) -> Script {
        self.and(Step::Answer { status, fields: fields.into(), body: body.into() })
    }

    pub fn send(self, bytes: impl AsRef<[u8]>) -> Script {
        self.and(Step::Send(bytes.as_ref().to_vec()))
    }

    /// Sends this many zero bytes; [`Backend::streamed`] tells how far it got.
    pub fn stream(self, count: u64) -> Script {
        self.and(Step::Stream(count))
    }

    pub fn pause(self, time: Duration) -> Script {
        self.and(Step::Pause(time))
    }

    /// Waits until the test opens the gate.
    pub fn gate(self, gate: &Gate) -> Script {
        self.and(Step::Gate(gate.clone()))
    }

    /// Sends back whatever comes, until the end.
    pub fn echo(self) -> Script {
        self.and(Step::Echo)
    }

    /// Closes in good order: FIN.
    pub fn close(self) -> Script {
        self.and(Step::Close)
    }

    /// Closes with RST.
    pub fn reset(self) -> Script {
        self.and(Step::Reset)
    }

    /// Does nothing until the other side closes.
    pub fn hang(self) -> Script {
        self.and(Step::Hang)
    }

    fn and(mut self, step: Step) -> Script {
        self.0.push(step);
        self
    }
}

impl Backend {
    /// Starts an application that answers with `name`, on `/health` too.
    pub fn start(name: &str) -> Backend {
        Backend::at_port(name, 0)
    }

    /// Starts another at the same port of another address, as the replicas of one name are.
    pub fn beside(&self, name: &str) -> Backend {
        Backend::at_port(name, self.address.port())
    }

    /// Speaks TLS from now on, on every connection that is opened.
    pub fn secure(&self, config: Arc<ServerConfig>) {
        *self.shared.tls.lock().unwrap() = Some(config);
    }

    fn at_port(name: &str, port: u16) -> Backend {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, SeqCst);
        let process = std::process::id();
        let ip = Ipv4Addr::new(127, 16 + (process % 200) as u8, 1 + (number / 250) as u8, 1 + (number % 250) as u8);
        let listener = TcpListener::bind((ip, port)).expect("all of 127.0.0.0/8 is this machine");
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { usual: Mutex::new(Script::text(name)), ..Shared::default() });
        let acceptor = Mutex::new(Some(accept(move || listener.accept().map(|(stream, _)| stream), shared.clone())));
        Backend { address, path: None, shared, acceptor }
    }

    /// Starts an application behind a unix socket.
    pub fn start_unix(name: &str, path: &Path) -> Backend {
        let shared = Arc::new(Shared { usual: Mutex::new(Script::text(name)), ..Shared::default() });
        let acceptor = Mutex::new(Some(accept(unix(path), shared.clone())));
        Backend { address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), path: Some(path.into()), shared, acceptor }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on every connection must begin with a PROXY header.
    pub fn expect_proxy_header(&self) {
        self.shared.proxied.store(true, SeqCst);
    }

    /// What it does for paths that have no script of their own.
    pub fn usually(&self, script: Script) {
        *self.shared.usual.lock().unwrap() = script;
    }

    /// What it does for this path, arguments not counted.
    pub fn on(&self, path: &str, script: Script) {
        self.shared.paths.lock().unwrap().insert(path.into(), script);
    }

    /// What it does for the next request, `/health` excepted; several calls queue up.
    pub fn next(&self, script: Script) {
        self.shared.next.lock().unwrap().push_back(script);
    }

    /// What it does on `/health`.
    pub fn health(&self, script: Script) {
        self.on("/health", script);
    }

    /// Like a process that was killed: the port refuses, all connections end.
    pub fn stop(&self) {
        self.stop_listening();
        for stream in self.shared.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// The port refuses; connections that exist go on.
    pub fn stop_listening(&self) {
        let Some(acceptor) = self.acceptor.lock().unwrap().take() else { return };
        self.shared.closing.store(true, SeqCst);
        match &self.path {
            Some(path) => drop(UnixStream::connect(path)),
            None => drop(TcpStream::connect_timeout(&self.address, PATIENCE)),
        }
        acceptor.join().expect("the acceptor ends");
        self.shared.closing.store(false, SeqCst);
    }

    /// Listens again, on the same port.
    pub fn restart(&self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
            *self.acceptor.lock().unwrap() = Some(accept(unix(path), self.shared.clone()));
            return;
        }
        let mut listener = None;
        eventually("the port can be bound again", || {
            listener = TcpListener::bind(self.address).ok();
            listener.is_some()
        });
        *self.acceptor.lock().unwrap() =
            listener.map(|listener| accept(move || listener.accept().map(|(stream, _)| stream), self.shared.clone()));
    }

    /// Like SIGSTOP: the kernel accepts, nobody answers.
    pub fn freeze(&self) {
        *self.shared.frozen.0.lock().unwrap() = true;
    }

    pub fn thaw(&self) {
        *self.shared.frozen.0.lock().unwrap() = false;
        self.shared.frozen.1.notify_all();
    }

    /// Ends all connections on which it waits for a request, as an application does whose keep-alive time is over.
    pub fn close_connections(&self) {
        for stream in self.shared.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        eventually("the connections have ended", || self.open_connections() == 0);
    }

    /// What it was asked, `/health` excepted.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap().iter().filter(|request| request.target != "/health").cloned().collect()
    }

    /// How often `/health` was asked for.
    pub fn probes(&self) -> usize {
        self.shared.seen.lock().unwrap().iter().filter(|request| request.target == "/health").count()
    }

    /// The latest request for `/health`.
    pub fn health_request(&self) -> Option<Request> {
        self.shared.seen.lock().unwrap().iter().rfind(|request| request.target == "/health").cloned()
    }

    /// The only request that it got.
    pub fn only_request(&self) -> Request {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "one request was expected: {requests:#?}");
        requests.into_iter().next().expect("there is one")
    }

    /// How many connections it accepted.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(SeqCst)
    }

    pub fn open_connections(&self) -> usize {
        self.shared.open.lock().unwrap().len()
    }

    /// Bytes that its `stream` steps could send.
    pub fn streamed(&self) -> u64 {
        self.shared.streamed.load(SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.thaw();
        self.stop();
    }
}

#[derive(Default)]
struct Shared {
    usual: Mutex<Script>,
    tls: Mutex<Option<Arc<ServerConfig>>>,
    paths: Mutex<HashMap<String, Script>>,
    next: Mutex<VecDeque<Script>>,
    seen: Mutex<Vec<Request>>,
    accepted: AtomicUsize,
    open: Mutex<HashMap<usize, TcpStream>>,
    frozen: (Mutex<bool>, Condvar),
    closing: AtomicBool,
    proxied: AtomicBool,
    streamed: AtomicU64,
}

impl Shared {
    fn script(&self, target: &str) -> Script {
        let path = target.split('?').next().unwrap_or("");
        if path != "/health"
            && let Some(script) = self.next.lock().unwrap().pop_front()
        {
            return script;
        }
        self.paths.lock().unwrap().get(path).cloned().unwrap_or_else(|| self.usual.lock().unwrap().clone())
    }

    fn wait_while_frozen(&self) {
        let frozen = self.frozen.0.lock().unwrap();
        drop(self.frozen.1.wait_while(frozen, |frozen| *frozen).unwrap());
    }
}

/// Accepts on a path. What is accepted is read and written as any other stream, whatever its type is called.
fn unix(path: &Path) -> impl FnMut() -> io::Result<TcpStream> + use<> {
    let listener = UnixListener::bind(path).expect("nobody else has the path");
    move || listener.accept().map(|(stream, _)| TcpStream::from(OwnedFd::from(stream)))
}

fn accept(mut next: impl FnMut() -> io::Result<TcpStream> + Send + 'static, shared: Arc<Shared>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        loop {
            let Ok(stream) = next() else { continue };
            if shared.closing.load(SeqCst) {
                return;
            }
            let number = shared.accepted.fetch_add(1, SeqCst);
            let _ = stream.set_nodelay(true);
            shared.open.lock().unwrap().insert(number, stream.try_clone().expect("descriptors suffice"));
            let shared = shared.clone();
            let stream = match &*shared.tls.lock().unwrap() {
                Some(config) => Socket::server(stream, config),
                None => Socket::Plain(stream),
            };
            std::thread::spawn(move || {
                let mut wire = Wire { number, stream, ahead: Vec::new(), proxy_header: Vec::new(), shared };
                if !wire.shared.proxied.load(SeqCst) || wire.read_proxy_header().is_some() {
                    while wire.serve_one().is_some() {}
                }
                wire.shared.open.lock().unwrap().remove(&number);
            });
        }
    })
}

/// One connection, seen from the application.
struct Wire {
    number: usize,
    stream: Socket,
    ahead: Vec<u8>,
    proxy_header: Vec<u8>,
    shared: Arc<Shared>,
}

impl Wire {
    /// `None` when the connection is over.
    fn serve_one(&mut self) -> Option<()> {
        let head = self.read_head()?;
        self.shared.wait_while_frozen();
        let mut request = parse(&head);
        request.connection = self.number;
        request.proxy_header = self.proxy_header.clone();
        let index = {
            let mut seen = self.shared.seen.lock().unwrap();
            seen.push(request.clone());
            seen.len() - 1
        };
        let mut body_read = false;
        for step in self.shared.script(&request.target).0 {
            match step {
                Step::ReadBody => {
                    let whole = self.read_body(&mut request).is_some();
                    request.complete = whole;
                    self.shared.seen.lock().unwrap()[index] = request.clone();
                    if !whole {
                        return None;
                    }
                    body_read = true;
                }
                Step::Answer { status, fields, body } => {
                    let length = body.len();
                    let sent = if request.method == "HEAD" { "" } else { &body };
                    let answer = format!("HTTP/1.1 {status} Because\r\n{fields}Content-Length: {length}\r\n\r\n{sent}");
                    self.stream.write_all(answer.as_bytes()).ok()?;
                }
                Step::Send(bytes) => self.stream.write_all(&bytes).ok()?,
                Step::Stream(count) => self.stream_zeros(count)?,
                Step::Pause(time) => std::thread::sleep(time),
                Step::Gate(gate) => gate.pass(),
                Step::Echo => loop {
                    let bytes = std::mem::take(&mut self.ahead);
                    self.stream.write_all(&bytes).ok()?;
                    if self.fill().is_none() {
                        self.stream.half_close();
                        return None;
                    }
                },
                Step::Close => {
                    self.stream.half_close();
                    let _ = self.stream.tcp().shutdown(Shutdown::Both);
                    return None;
                }
                Step::Reset => {
                    self.shared.open.lock().unwrap().remove(&self.number);
                    let _ = socket2::SockRef::from(self.stream.tcp()).set_linger(Some(Duration::ZERO));
                    return None;
                }
                Step::Hang => {
                    while self.fill().is_some() {
                        self.ahead.clear();
                    }
                    return None;
                }
            }
        }
        let close = request.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        (body_read && !close).then_some(())
    }

    /// A line, or a signature, four bytes and as many as the last two say.
    fn read_proxy_header(&mut self) -> Option<()> {
        let length = loop {
            match self.ahead.as_slice() {
                [b'P', ..] => {
                    if let Some(end) = find(&self.ahead, b"\r\n") {
                        break end + 2;
                    }
                }
                [b'\r', ..] if self.ahead.len() >= 16 => {
                    let length = 16 + usize::from(u16::from_be_bytes([self.ahead[14], self.ahead[15]]));
                    if self.ahead.len() >= length {
                        break length;
                    }
                }
                [] | [b'\r', ..] => {}
                other => panic!("no PROXY header: {:?}", String::from_utf8_lossy(other)),
            }
            self.fill()?;
        };
        self.proxy_header = self.ahead.drain(..length).collect();
        Some(())
    }

    fn read_head(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.ahead, b"\r\n\r\n") {
                return Some(self.ahead.drain(..at + 4).collect());
            }
            self.fill()?;
        }
    }

    fn read_body(&mut self, request: &mut Request) -> Option<()> {
        if request.field("transfer-encoding").is_some() {
            loop {
                let line = self.line()?;
                let size = u64::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
                if size == 0 {
                    break;
                }
                self.take_body(size, request)?;
                self.line()?;
            }
            loop {
                let line = self.line()?;
                match line.split_once(':') {
                    Some((name, value)) => request.trailers.push((name.into(), value.trim().into())),
                    None => return Some(()),
                }
            }
        }
        let length = request.field("content-length").map_or(Some(0), |length| length.parse().ok())?;
        self.take_body(length, request)
    }

    fn take_body(&mut self, count: u64, request: &mut Request) -> Option<()> {
        const KEPT: usize = 1 << 20;
        let mut left = count;
        while left > 0 {
            if self.ahead.is_empty() {
                self.fill()?;
            }
            let take = (self.ahead.len() as u64).min(left) as usize;
            let keep = take.min(KEPT.saturating_sub(request.body.len()));
            request.body.extend_from_slice(&self.ahead[..keep]);
            request.body_length += take as u64;
            self.ahead.drain(..take);
            left -= take as u64;
        }
        Some(())
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.ahead, b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..at + 2).collect();
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.fill()?;
        }
    }

    fn stream_zeros(&mut self, count: u64) -> Option<()> {
        let zeros = vec![0; 64 << 10];
        let mut left = count;
        while left > 0 {
            let take = left.min(zeros.len() as u64) as usize;
            let sent = self.stream.write(&zeros[..take]).ok()?;
            self.shared.streamed.fetch_add(sent as u64, SeqCst);
            left -= sent as u64;
        }
        Some(())
    }

    fn fill(&mut self) -> Option<()> {
        let mut buffer = [0; 64 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => None,
            Ok(read) => {
                self.ahead.extend_from_slice(&buffer[..read]);
                Some(())
            }
        }
    }
}

fn parse(head: &[u8]) -> Request {
    let head = String::from_utf8_lossy(head).into_owned();
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    let mut first = lines.next().unwrap_or("").split(' ').map(str::to_owned);
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let fields = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Request { head: head.clone(), method, target, fields, ..Request::default() }
}
