//! What answers behind the proxies under test? As little as HTTP allows: `/` gives 20 bytes, `/1k` 1 KiB, `/1m` 1 MiB,
//! `/hold` nothing, ever, and `/ws` becomes a WebSocket that sends back whatever comes. Bodies of requests are read and
//! forgotten. Connections are kept, unless the request says otherwise.
//!
//!     backend [COUNT]      listens on so many addresses, prints them in one line, and runs until killed

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use weir_peers::{Poller, WEBSOCKET_ACCEPT};

/// What a head ends with.
const END: &[u8] = b"\r\n\r\n";

/// At which of the answers the one that agrees to a WebSocket is.
const UPGRADE: usize = 3;

struct Connection {
    socket: TcpStream,
    head: Vec<u8>,
    body_left: usize,
    /// What is to be sent once the request is whole.
    answer: Option<usize>,
    sent: usize,
    /// The answer is the last one.
    close: bool,
    /// Whatever comes goes back.
    echo: bool,
    /// How the read went that was made before its turn, and whether that was all.
    received: io::Result<bool>,
}

fn main() -> io::Result<()> {
    let count: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3);
    let listeners = listen(count)?;
    let mut poller = Poller::new()?;
    let mut addresses = Vec::new();
    for (number, listener) in listeners.iter().enumerate() {
        listener.set_nonblocking(true)?;
        poller.watch_readable(listener, number)?;
        addresses.push(listener.local_addr()?.to_string());
    }
    println!("{}", addresses.join(" "));

    let answers = [answer(20), answer(1 << 10), answer(1 << 20), upgrade()];
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free = Vec::new();
    let mut ready = Vec::new();
    let mut scratch = vec![0; 256 << 10];
    loop {
        poller.wait(None, &mut ready)?;
        for &number in &ready {
            if let Some(listener) = listeners.get(number) {
                while let Ok((socket, _)) = listener.accept() {
                    socket.set_nonblocking(true)?;
                    socket.set_nodelay(true)?;
                    let place = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    poller.watch(&socket, count + place)?;
                    connections[place] = Some(Connection::new(socket));
                }
            } else if let Some(connection) = &mut connections[number - count] {
                connection.receive(&mut scratch);
            }
        }
        // All of them are read before the first is answered, which keeps both parts of the kernel's work in the cache.
        for number in ready.iter().filter_map(|number| number.checked_sub(count)) {
            if let Some(connection) = &mut connections[number]
                && connection.advance(&answers, &mut scratch).is_err()
            {
                connections[number] = None;
                free.push(number);
            }
        }
    }
}

/// 127.0.0.1, 127.0.0.2 and so on, all on the port that the first one got: 10,000 ports would be too many.
fn listen(count: usize) -> io::Result<Vec<TcpListener>> {
    let first = TcpListener::bind("127.0.0.1:0")?;
    let port = first.local_addr()?.port();
    let address = |number: u32| Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + number);
    let others = (1..count as u32).map(|number| TcpListener::bind((address(number), port)));
    std::iter::once(Ok(first)).chain(others).collect()
}

fn answer(length: usize) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
    answer.extend(std::iter::repeat_n('w', length - 1));
    answer.push('\n');
    answer.into_bytes()
}

fn upgrade() -> Vec<u8> {
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    format!("{head}Sec-WebSocket-Accept: {WEBSOCKET_ACCEPT}\r\n\r\n").into_bytes()
}

impl Connection {
    fn new(socket: TcpStream) -> Connection {
        Connection { socket, head: Vec::new(), body_left: 0, answer: None, sent: 0, close: false, echo: false, received: Ok(false) }
    }

    /// Reads and writes until the socket would block. An error: the connection is over. As few calls and as little work as that
    /// takes: a backend that is slower than a proxy would measure itself.
    fn advance(&mut self, answers: &[Vec<u8>], scratch: &mut [u8]) -> io::Result<()> {
        let mut drained = std::mem::replace(&mut self.received, Ok(false))?;
        loop {
            while let Some(answer) = self.answer
                && self.body_left == 0
            {
                match self.socket.write(&answers[answer][self.sent..]) {
                    Ok(written) => self.sent += written,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
                if self.sent == answers[answer].len() {
                    (self.answer, self.sent, self.echo) = (None, 0, answer == UPGRADE);
                    if self.close {
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                }
            }
            if drained {
                return Ok(());
            }
            match self.read(scratch) {
                Ok(all) => drained = all,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads once, if nothing is to be sent first. What comes of it is told by the next [`Connection::advance`].
    fn receive(&mut self, scratch: &mut [u8]) {
        if self.answer.is_none() {
            self.received = self.read(scratch).or_else(|error| match error.kind() {
                io::ErrorKind::WouldBlock => Ok(true),
                _ => Err(error),
            });
        }
    }

    /// Whether nothing is left to be read: what is less than was asked for is all there is, and the next of it is announced.
    fn read(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        let read = self.socket.read(scratch)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.take(&scratch[..read])?;
        Ok(read < scratch.len())
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.echo {
            // Messages are small, and whoever sent one waits for it: what does not fit ends the connection.
            return self.socket.write_all(bytes);
        }
        if self.body_left > 0 {
            self.body_left = self.body_left.saturating_sub(bytes.len());
            return Ok(());
        }
        if self.head.is_empty() && bytes.ends_with(END) {
            self.request(bytes);
            return Ok(());
        }
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head.windows(END.len()).position(|window| window == END) else {
            return if self.head.len() > 64 << 10 { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) };
        };
        let mut head = std::mem::take(&mut self.head);
        let behind = head.len() - end - END.len();
        self.request(&head[..end + END.len()]);
        self.body_left = self.body_left.saturating_sub(behind);
        head.clear();
        self.head = head;
        Ok(())
    }

    /// Takes a whole head.
    fn request(&mut self, head: &[u8]) {
        let mut lines = head.split(|&byte| byte == b'\n');
        let first = lines.next().unwrap_or_default();
        (self.body_left, self.close) = (0, false);
        for line in lines.filter(|line| matches!(line.first(), Some(b'C' | b'c'))) {
            let line = String::from_utf8_lossy(line).to_ascii_lowercase();
            match line.split_once(':') {
                Some(("content-length", digits)) => self.body_left = digits.trim().parse().unwrap_or(0),
                Some(("connection", options)) => self.close = options.trim() == "close",
                _ => {}
            }
        }
        self.answer = match first.split(|&byte| byte == b' ').nth(1) {
            Some(b"/1k") => Some(1),
            Some(b"/1m") => Some(2),
            Some(b"/hold") => None,
            Some(b"/ws") => Some(UPGRADE),
            _ => Some(0),
        };
    }
}
