//! What does a client see? Bytes: this one sends what it is told and reads answers by their framing.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::PATIENCE;
use super::tls::Socket;

/// One connection to weir.
pub struct Client {
    stream: Socket,
    /// Bytes that came after what was read last.
    ahead: Vec<u8>,
}

/// One answer.
#[derive(Debug)]
pub struct Response {
    pub version: String,
    pub status: u16,
    pub reason: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Statuses of the interim answers before it.
    pub interim: Vec<u16>,
}

/// Why there is no whole answer.
#[derive(Debug)]
pub enum Broken {
    /// The connection ended before the first byte of an answer.
    Closed,
    /// It ended, or was reset, in the middle of the head or the body; with what had come of the body.
    Cut { body: Vec<u8> },
    /// Nothing came for [`PATIENCE`].
    Silent,
    /// What came is not HTTP.
    Nonsense(#[expect(dead_code, reason = "shown when a test fails")] String),
}

impl Response {
    /// The first field of that name; names are case-insensitive.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Seconds of `Retry-After`.
    pub fn retry_after(&self) -> Option<u64> {
        self.field("retry-after")?.parse().ok()
    }
}

/// GET on a connection of its own, which must be answered.
pub fn get(address: SocketAddr, path: &str) -> Response {
    let mut client = Client::connect(address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: weir.test\r\nConnection: close\r\n\r\n"));
    client.response()
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::of(TcpStream::connect_timeout(&address, PATIENCE).expect("weir accepts"))
    }

    /// `None`: nobody listens there.
    pub fn try_connect(address: SocketAddr) -> Option<Client> {
        TcpStream::connect_timeout(&address, PATIENCE).ok().map(Client::of)
    }

    /// From an address of one's own choice: all of 127.0.0.0/8 is this machine.
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect_timeout(&address.into(), PATIENCE).expect("weir accepts");
        Client::of(socket.into())
    }

    /// Over a unix socket, which is read and written as any other stream, whatever its type is called.
    pub fn connect_unix(path: &Path) -> Client {
        Client::of(OwnedFd::from(UnixStream::connect(path).expect("weir accepts")).into())
    }

    fn of(stream: TcpStream) -> Client {
        // Means nothing to a unix socket.
        let _ = stream.set_nodelay(true);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream: Socket::Plain(stream), ahead: Vec::new() }
    }

    /// Speaks TLS from now on, and asks for `name`.
    pub fn secure(self, config: &Arc<ClientConfig>, name: &str) -> Client {
        let Socket::Plain(tcp) = self.stream else { panic!("it speaks TLS already") };
        Client { stream: Socket::client(tcp, config, name), ahead: Vec::new() }
    }

    /// What TLS has agreed on.
    pub fn tls(&self) -> &rustls::ClientConnection {
        let Socket::Client(tls) = &self.stream else { panic!("it does not speak TLS") };
        &tls.conn
    }

    /// Sends bytes, which weir may not want; true if it took them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Another handle on the same connection, to write from a second thread.
    pub fn writer(&self) -> TcpStream {
        self.stream.tcp().try_clone().unwrap()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("weir takes what is sent");
    }

    /// Sends what weir may refuse to read to its end.
    pub fn send_as_far_as_possible(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// No more will be sent.
    pub fn half_close(&mut self) {
        self.stream.half_close();
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: weir.test\r\n\r\n"));
        self.response()
    }

    pub fn post(&mut self, path: &str, body: &str) -> Response {
        let length = body.len();
        self.send(format!("POST {path} HTTP/1.1\r\nHost: weir.test\r\nContent-Length: {length}\r\n\r\n{body}"));
        self.response()
    }

    /// The next whole answer; anything else fails the test.
    pub fn response(&mut self) -> Response {
        self.try_response().unwrap_or_else(|broken| panic!("no whole answer: {broken:?}"))
    }

    /// The next answer to a HEAD.
    pub fn response_to_head(&mut self) -> Response {
        self.read_response(true).unwrap_or_else(|broken| panic!("no whole answer: {broken:?}"))
    }

    pub fn try_response(&mut self) -> Result<Response, Broken> {
        self.read_response(false)
    }

    /// A head and nothing else: an interim answer, or one whose body the test reads itself.
    pub fn head(&mut self) -> Result<Response, Broken> {
        let end = loop {
            if let Some(at) = find(&self.ahead, b"\r\n\r\n") {
                break at + 4;
            }
            let begun = !self.ahead.is_empty();
            if self.fill()? == 0 {
                return Err(if begun { Broken::Cut { body: Vec::new() } } else { Broken::Closed });
            }
        };
        let head: Vec<u8> = self.ahead.drain(..end).collect();
        parse_head(&head)
    }

    fn read_response(&mut self, to_head: bool) -> Result<Response, Broken> {
        let mut interim = Vec::new();
        let mut response = loop {
            let head = self.head()?;
            match head.status {
                100 | 102..=199 => interim.push(head.status),
                _ => break head,
            }
        };
        response.interim = interim;
        if to_head || response.status == 101 || response.status == 204 || response.status == 304 {
            return Ok(response);
        }
        let chunked = response.field("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
        let length = response.field("content-length").map(str::to_owned);
        if chunked {
            self.read_chunked(&mut response)?;
        } else if let Some(length) = length {
            let length = length.parse().map_err(|_| Broken::Nonsense(format!("Content-Length: {length}")))?;
            self.read_exactly(length, &mut response.body)?;
        } else {
            while self.fill()? > 0 {}
            response.body.append(&mut self.ahead);
        }
        Ok(response)
    }

    fn read_chunked(&mut self, response: &mut Response) -> Result<(), Broken> {
        loop {
            let line = self.line(&response.body)?;
            let digits = line.split(';').next().unwrap_or("").trim().to_owned();
            let size = usize::from_str_radix(&digits, 16).map_err(|_| Broken::Nonsense(format!("chunk {line:?}")))?;
            if size == 0 {
                break;
            }
            self.read_exactly(size, &mut response.body)?;
            if !self.line(&response.body)?.is_empty() {
                return Err(Broken::Nonsense("a chunk is longer than it says".into()));
            }
        }
        loop {
            let line = self.line(&response.body)?;
            match line.split_once(':') {
                Some((name, value)) => response.trailers.push((name.to_owned(), value.trim().to_owned())),
                None if line.is_empty() => return Ok(()),
                None => return Err(Broken::Nonsense(format!("trailer {line:?}"))),
            }
        }
    }

    fn line(&mut self, so_far: &[u8]) -> Result<String, Broken> {
        loop {
            if let Some(at) = find(&self.ahead, b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if self.fill().map_err(|broken| cut(broken, so_far))? == 0 {
                return Err(Broken::Cut { body: so_far.to_vec() });
            }
        }
    }

    fn read_exactly(&mut self, count: usize, into: &mut Vec<u8>) -> Result<(), Broken> {
        let end = into.len() + count;
        loop {
            let take = self.ahead.len().min(end - into.len());
            into.extend(self.ahead.drain(..take));
            if into.len() == end {
                return Ok(());
            }
            if self.fill().map_err(|broken| cut(broken, into))? == 0 {
                return Err(Broken::Cut { body: into.clone() });
            }
        }
    }

    /// Reads and counts a body without keeping it.
    pub fn discard(&mut self, count: u64) -> u64 {
        let mut left = count.saturating_sub(self.ahead.len() as u64);
        self.ahead.clear();
        let mut buffer = vec![0; 256 << 10];
        while left > 0 {
            let take = left.min(buffer.len() as u64) as usize;
            match self.stream.read(&mut buffer[..take]) {
                Ok(0) | Err(_) => break,
                Ok(read) => left -= read as u64,
            }
        }
        count - left
    }

    /// The next `count` raw bytes, of a tunnel.
    pub fn raw(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.read_exactly(count, &mut bytes).unwrap_or_else(|broken| panic!("{count} bytes were expected: {broken:?}"));
        bytes
    }

    /// Everything until the end, whatever it is.
    pub fn rest(&mut self) -> Vec<u8> {
        while matches!(self.fill(), Ok(1..)) {}
        std::mem::take(&mut self.ahead)
    }

    /// Waits until weir closes; true if it did so without another byte.
    pub fn closed_silently(&mut self) -> bool {
        self.ahead.is_empty() && matches!(self.fill(), Ok(0))
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        socket2::SockRef::from(self.stream.tcp()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Waits until the connection ends; true if it was reset.
    pub fn is_reset(&mut self) -> bool {
        loop {
            match self.fill() {
                Ok(1..) => {}
                Err(Broken::Cut { .. }) => return true,
                Ok(0) | Err(_) => return false,
            }
        }
    }

    /// True if no byte and no end comes within `pause`.
    pub fn is_silent_for(&mut self, pause: Duration) -> bool {
        self.stream.tcp().set_read_timeout(Some(pause)).unwrap();
        let silent = self.ahead.is_empty() && matches!(self.fill(), Err(Broken::Silent));
        self.stream.tcp().set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }

    fn fill(&mut self) -> Result<usize, Broken> {
        let mut buffer = [0; 64 << 10];
        loop {
            return match self.stream.read(&mut buffer) {
                Ok(read) => {
                    self.ahead.extend_from_slice(&buffer[..read]);
                    Ok(read)
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    Err(Broken::Silent)
                }
                Err(_) => Err(Broken::Cut { body: Vec::new() }),
            };
        }
    }
}

fn cut(broken: Broken, so_far: &[u8]) -> Broken {
    match broken {
        Broken::Cut { .. } => Broken::Cut { body: so_far.to_vec() },
        other => other,
    }
}

fn parse_head(head: &[u8]) -> Result<Response, Broken> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let first = lines.next().unwrap_or("");
    let nonsense = || Broken::Nonsense(first.to_owned());
    let mut parts = first.splitn(3, ' ');
    let version = parts.next().filter(|version| version.starts_with("HTTP/1.")).ok_or_else(nonsense)?.to_owned();
    let status = parts.next().and_then(|status| status.parse().ok()).ok_or_else(nonsense)?;
    let reason = parts.next().unwrap_or("").to_owned();
    let fields = lines
        .map(|line| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned())))
        .collect::<Option<_>>()
        .ok_or_else(|| Broken::Nonsense(text.to_string()))?;
    Ok(Response { version, status, reason, fields, body: Vec::new(), trailers: Vec::new(), interim: Vec::new() })
}

pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}
