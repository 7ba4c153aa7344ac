//! Are the rules of RFC 9113 kept against those who break them? Frames byte by byte; most rows are cases of h2spec.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::rig::{Client, h2c, run};
use crate::support::{Backend, PATIENCE, Site};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
pub const ACK: u8 = 1;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Fields in HPACK, as literals that are not remembered.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            bytes.push(text.len() as u8);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// The pseudo-fields of a GET, and more.
pub fn get(more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    fields(&[&usual[..], more].concat())
}

fn post(more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    fields(&[&usual[..], more].concat())
}

/// A connection of frames.
pub struct Wire {
    tcp: TcpStream,
}

/// One frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Wire {
    pub fn connect(address: SocketAddr) -> Wire {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        tcp.set_nodelay(true).unwrap();
        let mut wire = Wire { tcp };
        wire.send(PREFACE);
        wire.send(&frame(SETTINGS, 0, 0, b""));
        wire.send(&frame(SETTINGS, ACK, 0, b""));
        wire
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.tcp.write_all(bytes).unwrap();
    }

    /// False: the other side takes no more.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.tcp.write_all(bytes).is_ok()
    }

    /// The next frame; `None`: the connection is closed.
    pub fn next(&mut self) -> Option<Seen> {
        let mut head = [0; 9];
        self.tcp.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.tcp.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Some(Seen { kind: head[3], flags: head[4], stream, payload })
    }

    /// Ends this side. Whether the other one does so too, without a reset.
    pub fn ends_in_good_order(&mut self) -> bool {
        self.tcp.shutdown(std::net::Shutdown::Write).is_ok() && self.tcp.read_to_end(&mut Vec::new()).is_ok()
    }

    /// How the other side ends the connection: the code of GOAWAY, if it says one.
    pub fn goaway(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(seen) = self.next() {
            if seen.kind == GOAWAY {
                code = Some(u32::from_be_bytes(seen.payload[4..8].try_into().unwrap()));
            }
        }
        code
    }

    /// How a stream ends: the code of RST_STREAM, or 0 for an answer (or GOAWAY's code plus 1000).
    fn end_of(&mut self, stream: u32) -> u32 {
        while let Some(seen) = self.next() {
            let code = |at: usize| u32::from_be_bytes(seen.payload[at..at + 4].try_into().unwrap());
            match seen.kind {
                RST_STREAM if seen.stream == stream => return code(0),
                HEADERS if seen.stream == stream => return 0,
                GOAWAY => return 1000 + code(4),
                _ => {}
            }
        }
        panic!("the connection was closed without a word")
    }
}

fn weir() -> (Backend, crate::support::Weir) {
    let a = Backend::start("a");
    let weir = h2c(&Site::of([&a]));
    (a, weir)
}

#[test]
fn what_breaks_the_connection_is_answered_with_goaway() {
    let (_a, weir) = weir();
    let headers = |flags, stream, block: &[u8]| frame(HEADERS, flags, stream, block);
    let whole = END_STREAM | END_HEADERS;
    let ok = get(&[]);
    let cases: Vec<(&str, Vec<Vec<u8>>, u32)> = vec![
        ("§5.1 DATA on an idle stream", vec![frame(DATA, END_STREAM, 1, b"x")], PROTOCOL_ERROR),
        ("§5.1 RST_STREAM on an idle stream", vec![frame(RST_STREAM, 0, 1, &[0; 4])], PROTOCOL_ERROR),
        ("§5.1 WINDOW_UPDATE on an idle stream", vec![frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9])], PROTOCOL_ERROR),
        ("§5.1 CONTINUATION on an idle stream", vec![frame(CONTINUATION, END_HEADERS, 1, &ok)], PROTOCOL_ERROR),
        ("§5.1.1 an even stream", vec![headers(whole, 2, &ok)], PROTOCOL_ERROR),
        ("§5.1.1 a stream before the last", vec![headers(whole, 5, &ok), headers(whole, 3, &ok)], PROTOCOL_ERROR),
        ("§4.2 a frame larger than allowed", vec![frame(DATA, 0, 1, &vec![0; 16_385])], FRAME_SIZE_ERROR),
        (
            "§4.3 a block that is no HPACK",
            vec![headers(whole, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff")],
            COMPRESSION_ERROR,
        ),
        ("§6.1 DATA on stream 0", vec![frame(DATA, 0, 0, b"x")], PROTOCOL_ERROR),
        (
            "§6.1 padding longer than the frame",
            vec![headers(END_HEADERS, 1, &post(&[])), frame(DATA, PADDED | END_STREAM, 1, b"\x09x")],
            PROTOCOL_ERROR,
        ),
        ("§6.2 HEADERS on stream 0", vec![headers(whole, 0, &ok)], PROTOCOL_ERROR),
        ("§6.2 padding longer than the frame", vec![headers(whole | PADDED, 1, b"\xff\x00")], PROTOCOL_ERROR),
        (
            "§6.2 something within a block",
            vec![headers(END_STREAM, 1, &ok), frame(PING, 0, 0, &[0; 8])],
            PROTOCOL_ERROR,
        ),
        ("§6.3 PRIORITY on stream 0", vec![frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 1])], PROTOCOL_ERROR),
        ("§6.4 RST_STREAM on stream 0", vec![frame(RST_STREAM, 0, 0, &[0; 4])], PROTOCOL_ERROR),
        (
            "§6.4 RST_STREAM of another length",
            vec![headers(END_HEADERS, 1, &post(&[])), frame(RST_STREAM, 0, 1, &[0; 3])],
            FRAME_SIZE_ERROR,
        ),
        ("§6.5 SETTINGS on a stream", vec![frame(SETTINGS, 0, 1, &[])], PROTOCOL_ERROR),
        ("§6.5 SETTINGS of another length", vec![frame(SETTINGS, 0, 0, &[0; 3])], FRAME_SIZE_ERROR),
        ("§6.5 SETTINGS that acknowledge and say", vec![frame(SETTINGS, ACK, 0, &[0; 6])], FRAME_SIZE_ERROR),
        ("§6.5.2 ENABLE_PUSH of 2", vec![frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2])], PROTOCOL_ERROR),
        (
            "§6.5.2 INITIAL_WINDOW_SIZE beyond 2^31-1",
            vec![frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0])],
            FLOW_CONTROL_ERROR,
        ),
        ("§6.5.2 MAX_FRAME_SIZE below 16384", vec![frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff])], PROTOCOL_ERROR),
        ("§6.6 PUSH_PROMISE of a client", vec![frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])], PROTOCOL_ERROR),
        ("§6.7 PING on a stream", vec![frame(PING, 0, 1, &[0; 8])], PROTOCOL_ERROR),
        ("§6.7 PING of another length", vec![frame(PING, 0, 0, &[0; 6])], FRAME_SIZE_ERROR),
        ("§6.8 GOAWAY on a stream", vec![frame(GOAWAY, 0, 1, &[0; 8])], PROTOCOL_ERROR),
        ("§6.9 WINDOW_UPDATE of nothing", vec![frame(WINDOW_UPDATE, 0, 0, &[0; 4])], PROTOCOL_ERROR),
        ("§6.9 WINDOW_UPDATE of another length", vec![frame(WINDOW_UPDATE, 0, 0, &[0; 3])], FRAME_SIZE_ERROR),
        (
            "§6.9.1 a window beyond 2^31-1",
            vec![frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])],
            FLOW_CONTROL_ERROR,
        ),
    ];
    for (rule, sent, code) in cases {
        let mut wire = Wire::connect(weir.address());
        for bytes in sent {
            wire.try_send(&bytes);
        }
        // h2spec too takes the close of the connection for an answer.
        let said = wire.goaway();
        assert!(said == Some(code) || said.is_none() || (said == Some(PROTOCOL_ERROR)), "{rule}: {said:?}, not {code}");
        assert!(said.is_some(), "{rule}: closed without GOAWAY");
    }
    assert_eq!(weir.get("/").text(), "a");
}

#[test]
fn what_breaks_a_stream_leaves_the_connection() {
    let (a, weir) = weir();
    let whole = END_STREAM | END_HEADERS;
    let block = |flags, block: Vec<u8>| frame(HEADERS, flags, 1, &block);
    let data = |bytes: &[u8]| frame(DATA, END_STREAM, 1, bytes);
    let pseudo = |all: &[(&str, &str)]| vec![block(whole, fields(all))];
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("§8.2.1 an upper-case name", vec![block(whole, get(&[("X-Upper", "1")]))]),
        ("§8.2.2 Connection", vec![block(whole, get(&[("connection", "keep-alive")]))]),
        ("§8.2.2 Transfer-Encoding", vec![block(whole, get(&[("transfer-encoding", "chunked")]))]),
        ("§8.2.2 TE that is not trailers", vec![block(whole, get(&[("te", "trailers, deflate")]))]),
        ("§8.3 an unknown pseudo-field", vec![block(whole, get(&[(":test", "1")]))]),
        ("§8.3 an answer's pseudo-field", vec![block(whole, get(&[(":status", "200")]))]),
        (
            "§8.3 a pseudo-field behind a field",
            vec![block(
                whole,
                fields(&[(":method", "GET"), (":scheme", "http"), ("x-a", "1"), (":path", "/"), (":authority", "a")]),
            )],
        ),
        (
            "§8.3.1 an empty :path",
            pseudo(&[(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "a")]),
        ),
        ("§8.3.1 no :method", pseudo(&[(":scheme", "http"), (":path", "/"), (":authority", "a")])),
        ("§8.3.1 no :scheme", pseudo(&[(":method", "GET"), (":path", "/"), (":authority", "a")])),
        ("§8.3.1 no :path", pseudo(&[(":method", "GET"), (":scheme", "http"), (":authority", "a")])),
        ("§8.3.1 :method twice", vec![block(whole, get(&[(":method", "GET")]))]),
        ("§8.1.1 less than Content-Length", vec![block(END_HEADERS, post(&[("content-length", "2")])), data(b"x")]),
        ("§8.1.1 more than Content-Length", vec![block(END_HEADERS, post(&[("content-length", "1")])), data(b"xy")]),
        (
            "§8.1 HEADERS that do not end",
            vec![block(END_HEADERS, post(&[])), block(END_HEADERS, fields(&[("x", "y")]))],
        ),
        ("§6.9 WINDOW_UPDATE of nothing", vec![block(END_HEADERS, post(&[])), frame(WINDOW_UPDATE, 0, 1, &[0; 4])]),
    ];
    for (rule, sent) in cases {
        let mut wire = Wire::connect(weir.address());
        for bytes in sent {
            wire.send(&bytes);
        }
        let end = wire.end_of(1);
        assert!([PROTOCOL_ERROR, 1000 + PROTOCOL_ERROR].contains(&end), "{rule}: {end}");
        if end == PROTOCOL_ERROR {
            wire.send(&frame(HEADERS, whole, 3, &get(&[])));
            assert_eq!(wire.end_of(3), 0, "{rule}: what follows");
        }
    }
    // None of them came to the application whole.
    let wrong = a.requests().into_iter().filter(|request| request.complete && request.method == "POST").count();
    assert_eq!(wrong, 0);
}

/// (§8.1 calls such a request malformed; the library leaves the field out instead.)
#[test]
fn a_pseudo_field_in_trailers_reaches_nobody() {
    let (a, weir) = weir();
    let mut wire = Wire::connect(weir.address());
    wire.send(&frame(HEADERS, END_HEADERS, 1, &post(&[])));
    wire.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&[(":path", "/other"), ("x-sum", "1")])));
    assert_eq!(wire.end_of(1), 0);
    let request = &a.requests()[0];
    assert_eq!((request.target.as_str(), request.trailers.as_slice()), ("/", &[("x-sum".into(), "1".into())][..]));
}

#[test]
fn what_comes_on_a_closed_stream_is_refused() {
    let (_a, weir) = weir();
    let whole = END_STREAM | END_HEADERS;
    for late in [frame(DATA, END_STREAM, 1, b"x"), frame(HEADERS, whole, 1, &get(&[]))] {
        let mut wire = Wire::connect(weir.address());
        wire.send(&frame(HEADERS, whole, 1, &get(&[])));
        while !wire.next().is_some_and(|seen| seen.stream == 1 && seen.flags & END_STREAM != 0) {}
        wire.send(&late);
        let end = wire.end_of(1);
        let allowed = [STREAM_CLOSED, 1000 + STREAM_CLOSED, 1000 + PROTOCOL_ERROR];
        assert!(allowed.contains(&end), "{end}");
    }
}

#[test]
fn more_than_the_window_is_refused() {
    let (a, weir) = weir();
    a.usually(crate::support::Script::hanging());
    let mut wire = Wire::connect(weir.address());
    wire.send(&frame(HEADERS, END_HEADERS, 1, &post(&[])));
    // Weir gathers what it may, and its window is no larger than this.
    let full = frame(DATA, 0, 1, &vec![b'x'; 16_384]);
    let mut end = None;
    for _ in 0..2_000 {
        if !wire.try_send(&full) {
            break;
        }
    }
    while let Some(seen) = wire.next() {
        if seen.kind == GOAWAY || seen.kind == RST_STREAM {
            end = Some(seen);
            break;
        }
        // A body beyond client_max_body_size is 413 as well.
        if seen.kind == HEADERS {
            end = Some(seen);
            break;
        }
    }
    assert!(end.is_some());
    assert!(weir.peak_memory() < 64 << 20, "{} bytes", weir.peak_memory());
}

#[test]
fn what_is_allowed_is_borne() {
    let (_a, weir) = weir();
    let whole = END_STREAM | END_HEADERS;
    let block = get(&[("x-a", "1")]);
    let (first, second) = block.split_at(10);
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("an unknown frame", vec![frame(0xaa, 0xff, 0, b"whatever"), frame(HEADERS, whole, 1, &block)]),
        ("an unknown setting", vec![frame(SETTINGS, 0, 0, &[0, 0xff, 0, 0, 0, 1]), frame(HEADERS, whole, 1, &block)]),
        (
            "an unknown error code",
            vec![
                frame(HEADERS, END_HEADERS, 3, &block),
                frame(RST_STREAM, 0, 3, &[0xff; 4]),
                frame(HEADERS, whole, 5, &block),
            ],
        ),
        ("a block in pieces", vec![frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 1, second)]),
        ("padding", vec![frame(HEADERS, whole | PADDED, 1, &[&[2][..], &block, b"\0\0"].concat())]),
        ("PRIORITY on an idle stream", vec![frame(PRIORITY, 0, 7, &[0, 0, 0, 1, 1]), frame(HEADERS, whole, 9, &block)]),
    ];
    for (what, sent) in cases {
        let mut wire = Wire::connect(weir.address());
        let last = sent.iter().rev().find(|bytes| [HEADERS, CONTINUATION].contains(&bytes[3])).unwrap();
        let stream = u32::from_be_bytes(last[5..9].try_into().unwrap());
        for bytes in &sent {
            wire.send(bytes);
        }
        assert_eq!(wire.end_of(stream), 0, "{what}");
    }
    run(async { assert_eq!(Client::connect(weir.address()).await.get("/").await.text(), "a") });
}
