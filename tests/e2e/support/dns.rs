//! Which addresses does a name have? A DNS server that says the same of every name, until it is told otherwise.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

/// What is answered.
#[derive(Clone, Debug)]
enum Answer {
    Addresses(Vec<Ipv4Addr>),
    Code(u8),
}

/// A DNS server on loopback. Its TTL is 600 s, as Docker's.
pub struct Dns {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
}

const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

impl Dns {
    /// A server that knows no name.
    pub fn start() -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let address = socket.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(Answer::Code(NXDOMAIN)));
        let known = answer.clone();
        // Ends with the test's process: nobody else can reach it.
        thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                let reply = reply(&packet[..length], &known.lock().unwrap());
                let _ = socket.send_to(&reply, from);
            }
        });
        Dns { address, answer }
    }

    /// The line that makes weir ask here, and often.
    pub fn line(&self) -> String {
        format!("resolver = [\"{}\"]\nresolver_valid = \"1s\"", self.address)
    }

    /// Names have these addresses from now on.
    pub fn says<const N: usize>(&self, addresses: [SocketAddr; N]) {
        let v4 = addresses.map(|address| match address {
            SocketAddr::V4(v4) => *v4.ip(),
            SocketAddr::V6(_) => unreachable!("backends are on 127.0.0.0/8"),
        });
        *self.answer.lock().unwrap() = Answer::Addresses(v4.to_vec());
    }

    /// It cannot answer (SERVFAIL).
    pub fn fails(&self) {
        *self.answer.lock().unwrap() = Answer::Code(SERVFAIL);
    }

    /// There is no such name (NXDOMAIN).
    pub fn knows_nothing(&self) {
        *self.answer.lock().unwrap() = Answer::Code(NXDOMAIN);
    }
}

fn reply(query: &[u8], answer: &Answer) -> Vec<u8> {
    const A: u16 = 1;
    let mut end = 12;
    while query[end] != 0 {
        end += usize::from(query[end]) + 1;
    }
    let kind = u16::from_be_bytes([query[end + 1], query[end + 2]]);
    let (code, addresses): (u8, &[Ipv4Addr]) = match answer {
        Answer::Addresses(addresses) if kind == A => (0, addresses),
        Answer::Addresses(_) => (0, &[]),
        Answer::Code(code) => (*code, &[]),
    };
    let head = [query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0];
    let mut reply = [&head[..], &query[12..end + 5]].concat();
    for address in addresses {
        // A pointer to the name, type A, class IN, the TTL, four bytes.
        reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 0x58, 0, 4]);
        reply.extend_from_slice(&address.octets());
    }
    reply
}
