//! Which addresses does a name have? A DNS server that says the same of every name, until it is told otherwise.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

/// What is answered to questions for addresses.
#[derive(Clone, Debug)]
enum Answer {
    Addresses(Vec<Ipv4Addr>),
    Code(u8),
    Silence,
}

/// A DNS server on loopback, over UDP and TCP. Its TTL is 600 s, as Docker's.
pub struct Dns {
    address: SocketAddr,
    known: Arc<Known>,
}

#[derive(Default)]
struct Known {
    answer: Mutex<Option<Answer>>,
    services: Mutex<HashMap<String, Vec<Service>>>,
    replicas: Mutex<HashMap<String, String>>,
    /// UDP answers are cut to nothing, as one that does not fit.
    truncates: Mutex<bool>,
    asked: AtomicUsize,
    over_tcp: AtomicUsize,
    /// The largest UDP answer that a question said it can take (EDNS0).
    payload: AtomicUsize,
}

/// Priority, weight, and where: the target's name says its address.
type Service = (u16, u16, SocketAddr);

const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

const A: u16 = 1;
const PTR: u16 = 12;
const SRV: u16 = 33;
const OPT: u16 = 41;

impl Dns {
    /// A server that knows no name.
    pub fn start() -> Dns {
        // The same port for both, which another test may have for one of them.
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").expect("loopback");
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let known = Arc::new(Known::default());
        // They end with the test's process: nobody else can reach them.
        let of_udp = known.clone();
        thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut packet) {
                if let Some(reply) = of_udp.reply(&packet[..length], true) {
                    let _ = udp.send_to(&reply, from);
                }
            }
        });
        let of_tcp = known.clone();
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let known = of_tcp.clone();
                thread::spawn(move || known.serve(stream));
            }
        });
        Dns { address, known }
    }

    /// The line that makes weir ask here, and often.
    pub fn line(&self) -> String {
        format!("resolver = [\"{}\"]\nresolver_valid = \"1s\"", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Names have these addresses from now on.
    pub fn says<const N: usize>(&self, addresses: [SocketAddr; N]) {
        self.answers(Answer::Addresses(addresses.map(v4).to_vec()));
    }

    /// It cannot answer (SERVFAIL).
    pub fn fails(&self) {
        self.answers(Answer::Code(SERVFAIL));
    }

    /// There is no such name (NXDOMAIN).
    pub fn knows_nothing(&self) {
        self.answers(Answer::Code(NXDOMAIN));
    }

    /// It says nothing at all.
    pub fn is_silent(&self) {
        self.answers(Answer::Silence);
    }

    /// A service (`_http._tcp.app`) has these records: priority, weight, and where.
    pub fn serves(&self, service: &str, records: &[Service]) {
        self.known.services.lock().unwrap().insert(service.to_owned(), records.to_vec());
    }

    /// The host at an address has this whole name.
    pub fn calls(&self, address: SocketAddr, name: &str) {
        let [a, b, c, d] = v4(address).octets();
        self.known.replicas.lock().unwrap().insert(format!("{d}.{c}.{b}.{a}.in-addr.arpa"), name.to_owned());
    }

    /// Over UDP everything is too long from now on.
    pub fn truncates(&self) {
        *self.known.truncates.lock().unwrap() = true;
    }

    /// How often it was asked for the addresses (A) of a name.
    pub fn asked(&self) -> usize {
        self.known.asked.load(SeqCst)
    }

    /// How often it was asked over TCP.
    pub fn asked_over_tcp(&self) -> usize {
        self.known.over_tcp.load(SeqCst)
    }

    /// The largest answer over UDP that weir said it can take (EDNS0); 0: it never said so.
    pub fn payload(&self) -> usize {
        self.known.payload.load(SeqCst)
    }

    fn answers(&self, answer: Answer) {
        *self.known.answer.lock().unwrap() = Some(answer);
    }
}

fn v4(address: SocketAddr) -> Ipv4Addr {
    match address.ip() {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(_) => unreachable!("backends are on 127.0.0.0/8"),
    }
}

impl Known {
    fn serve(&self, mut stream: TcpStream) {
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
            if stream.read_exact(&mut packet).is_err() {
                return;
            }
            self.over_tcp.fetch_add(1, SeqCst);
            let Some(reply) = self.reply(&packet, false) else { return };
            let framed = [&(reply.len() as u16).to_be_bytes()[..], &reply].concat();
            if stream.write_all(&framed).is_err() {
                return;
            }
        }
    }

    /// `None`: silence.
    fn reply(&self, query: &[u8], over_udp: bool) -> Option<Vec<u8>> {
        let mut end = 12;
        let mut labels = Vec::new();
        while query[end] != 0 {
            let label = &query[end + 1..=end + usize::from(query[end])];
            labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
            end += label.len() + 1;
        }
        let name = labels.join(".");
        let kind = u16::from_be_bytes([query[end + 1], query[end + 2]]);
        // Behind the question: the root's name, the type, and as its class the size (RFC 6891).
        if let [0, high, low, size @ ..] = &query[end + 5..]
            && u16::from_be_bytes([*high, *low]) == OPT
            && let [high, low, ..] = size
        {
            self.payload.fetch_max(u16::from_be_bytes([*high, *low]).into(), SeqCst);
        }
        let (code, records) = match kind {
            SRV => match self.services.lock().unwrap().get(&name) {
                Some(records) => (0, records.iter().map(srv).collect()),
                None => (NXDOMAIN, Vec::new()),
            },
            PTR => match self.replicas.lock().unwrap().get(&name) {
                Some(called) => (0, vec![encoded(called)]),
                None => (NXDOMAIN, Vec::new()),
            },
            _ => match name.strip_prefix("at-").map(|rest| rest.replace('-', ".").parse::<Ipv4Addr>()) {
                Some(Ok(address)) if kind == A => (0, vec![address.octets().to_vec()]),
                Some(_) => (0, Vec::new()),
                None => {
                    self.asked.fetch_add((kind == A).into(), SeqCst);
                    match self.answer.lock().unwrap().clone().unwrap_or(Answer::Code(NXDOMAIN)) {
                        Answer::Addresses(addresses) if kind == A => {
                            (0, addresses.iter().map(|address| address.octets().to_vec()).collect())
                        }
                        Answer::Addresses(_) => (0, Vec::new()),
                        Answer::Code(code) => (code, Vec::new()),
                        Answer::Silence => return None,
                    }
                }
            },
        };
        let cut = over_udp && *self.truncates.lock().unwrap();
        let (records, flags) = if cut { (Vec::new(), 0x83) } else { (records, 0x81) };
        let head = [query[0], query[1], flags, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
        let mut reply = [&head[..], &query[12..end + 5]].concat();
        for data in records {
            // A pointer to the name, the type, class IN, the TTL, the data.
            reply.extend_from_slice(&[0xc0, 12, 0, kind as u8, 0, 1, 0, 0, 2, 0x58, 0, data.len() as u8]);
            reply.extend_from_slice(&data);
        }
        Some(reply)
    }
}

fn srv((priority, weight, address): &Service) -> Vec<u8> {
    let target = format!("at-{}", v4(*address).to_string().replace('.', "-"));
    let numbers = [*priority, *weight, address.port()].map(u16::to_be_bytes).concat();
    [numbers, encoded(&target)].concat()
}

/// A name as labels with their lengths.
fn encoded(name: &str) -> Vec<u8> {
    let labels = name.trim_end_matches('.').split('.');
    labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).chain([0]).collect()
}
