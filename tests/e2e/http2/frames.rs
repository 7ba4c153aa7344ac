//! A client that writes and reads frames of HTTP/2 byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::PATIENCE;

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
pub const PADDED: u8 = 8;
pub const ACK: u8 = 1;

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
    request("GET", "/", more)
}

/// The pseudo-fields of a request, and more.
pub fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a")];
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

impl Seen {
    /// The number that the payload has at this place: RST_STREAM's code is at 0, GOAWAY's at 4.
    pub fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

impl Wire {
    /// A connection on which both sides' settings are agreed upon.
    pub fn connect(address: SocketAddr) -> Wire {
        let mut wire = Wire::dial(address);
        wire.send(PREFACE);
        wire.send(&frame(SETTINGS, 0, 0, b""));
        wire.send(&frame(SETTINGS, ACK, 0, b""));
        wire
    }

    /// A connection on which nothing was said.
    pub fn dial(address: SocketAddr) -> Wire {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        tcp.set_nodelay(true).unwrap();
        Wire { tcp }
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
                code = Some(seen.number(4));
            }
        }
        code
    }
}
