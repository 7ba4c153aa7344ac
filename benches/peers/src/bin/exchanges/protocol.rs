//! What is said on a connection? As little of each protocol as it takes to ask and to know that the answer is whole and good.
//! Reads no socket.

use std::io;

use weir_peers::{WEBSOCKET_ACCEPT, WEBSOCKET_KEY};

/// A head that is longer is none.
const HEAD: usize = 64 << 10;

/// What is asked.
#[derive(Clone)]
pub enum Request {
    /// One request at a time for this path, on a connection that is kept or not.
    Http1 { path: String, close: bool },
    /// So many at once.
    Http2 { streams: usize },
    /// Messages of so many bytes.
    WebSocket { bytes: usize },
}

impl Request {
    /// `http1:PATH`, `close:PATH`, `http2:STREAMS` or `websocket:BYTES`.
    pub fn parse(text: &str) -> io::Result<Request> {
        let (kind, value) = text.split_once(':').unwrap_or((text, ""));
        let number = || value.parse().map_err(io::Error::other);
        match kind {
            "http1" | "close" => Ok(Request::Http1 { path: value.to_owned(), close: kind == "close" }),
            "http2" => Ok(Request::Http2 { streams: number()? }),
            // The length of a longer one does not fit its first two bytes.
            "websocket" => Ok(Request::WebSocket { bytes: number()?.min(125) }),
            _ => Err(io::Error::other(format!("http1, close, http2 or websocket, not {kind}"))),
        }
    }

    /// Its name within TLS (RFC 7301).
    pub fn alpn(&self) -> &'static [u8] {
        if matches!(self, Request::Http2 { .. }) { b"h2" } else { b"http/1.1" }
    }
}

/// One end of a connection.
pub enum Protocol {
    Http1(Http1),
    Http2(Http2),
    WebSocket(WebSocket),
}

impl Protocol {
    /// Nothing is said yet.
    pub fn new(request: &Request) -> Protocol {
        match request {
            Request::Http1 { path, close } => Protocol::Http1(Http1::new(path, *close)),
            Request::Http2 { streams } => Protocol::Http2(Http2 { free: *streams, ..Http2::default() }),
            Request::WebSocket { bytes } => Protocol::WebSocket(WebSocket::new(*bytes)),
        }
    }

    /// Begins as many exchanges as may be. How many they are.
    pub fn begin(&mut self, out: &mut Vec<u8>) -> usize {
        match self {
            Protocol::Http1(http1) => http1.begin(out),
            Protocol::Http2(http2) => http2.begin(out),
            Protocol::WebSocket(websocket) => websocket.begin(out),
        }
    }

    /// Takes bytes. How many exchanges they ended.
    pub fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Protocol::Http1(http1) => http1.receive(bytes),
            Protocol::Http2(http2) => http2.receive(bytes, out),
            Protocol::WebSocket(websocket) => websocket.receive(bytes, out),
        }
    }

    /// Whether the connection ends with the exchange.
    pub fn ends(&self) -> bool {
        matches!(self, Protocol::Http1(Http1 { close: true, .. }))
    }

    /// The connection has ended. How many exchanges that ended.
    pub fn end(&mut self) -> io::Result<usize> {
        match self {
            Protocol::Http1(Http1 { close: true, whole: true, .. }) => Ok(1),
            _ => Err(io::Error::other("a connection was closed under the load")),
        }
    }
}

/// One request after the other.
pub struct Http1 {
    request: Vec<u8>,
    close: bool,
    busy: bool,
    answer: Answer,
    /// The answer is, and only the end of the connection is missing.
    whole: bool,
}

/// What is known of an answer.
enum Answer {
    /// As much of its head as has come.
    Head(Vec<u8>),
    /// How much of its body is missing.
    Body(usize),
}

impl Http1 {
    fn new(path: &str, close: bool) -> Http1 {
        let connection = if close { "Connection: close\r\n" } else { "" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n{connection}\r\n").into_bytes();
        Http1 { request, close, busy: false, answer: Answer::Head(Vec::new()), whole: false }
    }

    fn begin(&mut self, out: &mut Vec<u8>) -> usize {
        if std::mem::replace(&mut self.busy, true) {
            return 0;
        }
        out.extend_from_slice(&self.request);
        1
    }

    fn receive(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        if let Answer::Head(head) = &mut self.answer {
            let Some(rest) = take_head(head, bytes)? else { return Ok(0) };
            bytes = rest;
            self.answer = Answer::Body(content_length(head)?);
        }
        if let Answer::Body(left) = &mut self.answer {
            *left = left.checked_sub(bytes.len()).ok_or_else(|| io::Error::other("more than was asked for"))?;
            if *left > 0 {
                return Ok(0);
            }
        }
        (self.answer, self.whole) = (Answer::Head(Vec::new()), self.close);
        if self.close {
            return Ok(0);
        }
        self.busy = false;
        Ok(1)
    }
}

/// Adds bytes to a head. What follows it, once it is whole.
fn take_head<'b>(head: &mut Vec<u8>, bytes: &'b [u8]) -> io::Result<Option<&'b [u8]>> {
    let before = head.len();
    head.extend_from_slice(bytes);
    let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if head.len() > HEAD { Err(io::Error::other("an endless head")) } else { Ok(None) };
    };
    head.truncate(end + 4);
    Ok(Some(&bytes[end + 4 - before..]))
}

fn content_length(head: &[u8]) -> io::Result<usize> {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let first = text.lines().next().unwrap_or_default();
    if !first.starts_with("http/1.1 200") {
        return Err(io::Error::other(format!("not 200 but {first}")));
    }
    let value = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    value.and_then(|digits| digits.trim().parse().ok()).ok_or_else(|| io::Error::other("an answer without a length"))
}

/// Messages there and back. The server returns the client's own frame, mask and all: no proxy looks into it.
pub struct WebSocket {
    frame: Vec<u8>,
    stage: Stage,
    busy: bool,
}

/// How far a WebSocket is.
enum Stage {
    /// Nobody has asked for it.
    New,
    /// Asked for, and so much of the answer has come.
    Asked(Vec<u8>),
    /// So much of a message is missing.
    Open(usize),
}

impl WebSocket {
    fn new(bytes: usize) -> WebSocket {
        // A text, masked with zeros (RFC 6455, section 5.2).
        let mut frame = vec![0x81, 0x80 | bytes as u8, 0, 0, 0, 0];
        frame.extend(std::iter::repeat_n(b'w', bytes));
        WebSocket { frame, stage: Stage::New, busy: false }
    }

    fn begin(&mut self, out: &mut Vec<u8>) -> usize {
        if std::mem::replace(&mut self.busy, true) {
            return 0;
        }
        if matches!(self.stage, Stage::New) {
            let head = "GET /ws HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
            let version = "Sec-WebSocket-Version: 13\r\n";
            out.extend(format!("{head}{version}Sec-WebSocket-Key: {WEBSOCKET_KEY}\r\n\r\n").into_bytes());
            self.stage = Stage::Asked(Vec::new());
        } else {
            self.send(out);
        }
        1
    }

    fn send(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.frame);
        self.stage = Stage::Open(self.frame.len());
    }

    fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        match &mut self.stage {
            Stage::Open(left) if *left >= bytes.len() => *left -= bytes.len(),
            Stage::New | Stage::Open(_) => return Err(io::Error::other("more than was sent")),
            Stage::Asked(head) => {
                if take_head(head, bytes)?.is_none() {
                    return Ok(0);
                }
                let head = String::from_utf8_lossy(head).into_owned();
                if !head.starts_with("HTTP/1.1 101") || !head.contains(WEBSOCKET_ACCEPT) {
                    return Err(io::Error::other(format!("no WebSocket but {head}")));
                }
                self.send(out);
            }
        }
        let whole = matches!(self.stage, Stage::Open(0));
        self.busy &= !whole;
        Ok(usize::from(whole))
    }
}

/// Streams of one connection (RFC 9113). Of what the server says only the status and the ends of streams are read.
#[derive(Default)]
pub struct Http2 {
    /// Streams that may be begun.
    pub free: usize,
    /// Streams begun so far.
    begun: u32,
    /// Bytes of a frame that is not whole.
    received: Vec<u8>,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:method GET`, `:scheme http` and `:path /`, of HPACK's static table (RFC 7541, appendix A).
const FIELDS: [u8; 3] = [0x82, 0x86, 0x84];
/// `:authority bench`, to be known from now on.
const AUTHORITY: &[u8] = b"\x41\x05bench";
/// The same, known.
const AUTHORITY_AGAIN: &[u8] = b"\xbe";
/// `:status 200`.
const STATUS_200: u8 = 0x88;

impl Http2 {
    fn begin(&mut self, out: &mut Vec<u8>) -> usize {
        let first = self.begun == 0;
        if first {
            out.extend_from_slice(PREFACE);
            frame(out, SETTINGS, 0, 0, &[]);
            // As much as a window may have: the connection's never ends.
            frame(out, WINDOW_UPDATE, 0, 0, &(i32::MAX - 65_535).to_be_bytes());
        }
        let count = std::mem::take(&mut self.free);
        for nth in 0..count {
            let authority = if first && nth == 0 { AUTHORITY } else { AUTHORITY_AGAIN };
            let stream = self.begun * 2 + 1;
            frame(out, HEADERS, END_STREAM | END_HEADERS, stream, &[&FIELDS, authority].concat());
            self.begun += 1;
        }
        count
    }

    fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        self.received.extend_from_slice(bytes);
        let (mut at, mut done) = (0, 0);
        while let Some((head, rest)) = self.received[at..].split_first_chunk::<FRAME_HEAD>() {
            let [high, middle, low, kind, flags, ..] = *head;
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            let Some(payload) = rest.get(..length) else { break };
            match kind {
                HEADERS if !is_200(payload) => return Err(io::Error::other("not 200")),
                HEADERS | DATA => done += usize::from(flags & END_STREAM != 0),
                SETTINGS if flags & ACK == 0 => frame(out, SETTINGS, ACK, 0, &[]),
                PING if flags & ACK == 0 => frame(out, PING, ACK, 0, payload),
                RST_STREAM => return Err(io::Error::other("a stream was reset")),
                GOAWAY => return Err(io::Error::other("a connection was closed under the load")),
                _ => {}
            }
            at += FRAME_HEAD + length;
        }
        self.received.drain(..at);
        self.free += done;
        Ok(done)
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Whether a field block begins with the status 200, after new sizes of the table (RFC 7541, section 6.3).
fn is_200(block: &[u8]) -> bool {
    block.iter().find(|byte| **byte & 0xe0 != 0x20) == Some(&STATUS_200)
}
