//! What may a backend do to a proxy? Whatever a [`Script`] says, byte for byte; it remembers all that it was asked.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::client::find;
use super::gate::Gate;
use super::{PATIENCE, eventually};

/// An application on a loopback address of its own, so that its port can be nobody else's while it is stopped.
/// It answers with its name until told otherwise. One thread per connection.
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

/// One request as it came.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Which connection brought it, counted from 0.
    pub connection: usize,
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

    fn at_port(name: &str, port: u16) -> Backend {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, SeqCst);
        let process = std::process::id();
        let ip = Ipv4Addr::new(127, 16 + (process % 200) as u8, 1 + (number / 250) as u8, 1 + (number % 250) as u8);
        let listener = TcpListener::bind((ip, port)).expect("all of 127.0.0.0/8 is this machine");
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { usual: Mutex::new(Script::text(name)), ..Shared::default() });
        let acceptor = Mutex::new(Some(accept(listener, shared.clone())));
        Backend { address, shared, acceptor }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
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
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
        acceptor.join().expect("the acceptor ends");
        self.shared.closing.store(false, SeqCst);
    }

    /// Listens again, on the same port.
    pub fn restart(&self) {
        let mut listener = None;
        eventually("the port can be bound again", || {
            listener = TcpListener::bind(self.address).ok();
            listener.is_some()
        });
        *self.acceptor.lock().unwrap() = listener.map(|listener| accept(listener, self.shared.clone()));
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
    paths: Mutex<HashMap<String, Script>>,
    next: Mutex<VecDeque<Script>>,
    seen: Mutex<Vec<Request>>,
    accepted: AtomicUsize,
    open: Mutex<HashMap<usize, TcpStream>>,
    frozen: (Mutex<bool>, Condvar),
    closing: AtomicBool,
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

fn accept(listener: TcpListener, shared: Arc<Shared>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if shared.closing.load(SeqCst) {
                return;
            }
            let number = shared.accepted.fetch_add(1, SeqCst);
            let _ = stream.set_nodelay(true);
            shared.open.lock().unwrap().insert(number, stream.try_clone().expect("descriptors suffice"));
            let shared = shared.clone();
            std::thread::spawn(move || {
                let mut wire = Wire { number, stream, ahead: Vec::new(), shared };
                while wire.serve_one().is_some() {}
                wire.shared.open.lock().unwrap().remove(&number);
            });
        }
    })
}

/// One connection, seen from the application.
struct Wire {
    number: usize,
    stream: TcpStream,
    ahead: Vec<u8>,
    shared: Arc<Shared>,
}

impl Wire {
    /// `None` when the connection is over.
    fn serve_one(&mut self) -> Option<()> {
        let head = self.read_head()?;
        self.shared.wait_while_frozen();
        let mut request = parse(&head);
        request.connection = self.number;
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
                    self.fill()?;
                },
                Step::Close => {
                    let _ = self.stream.shutdown(Shutdown::Both);
                    return None;
                }
                Step::Reset => {
                    self.shared.open.lock().unwrap().remove(&self.number);
                    let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
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
