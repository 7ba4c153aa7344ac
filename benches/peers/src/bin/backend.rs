//! What answers behind the proxies under test? As little as HTTP allows: `/` gives 20 bytes, `/1k` 1 KiB, `/1m` 1 MiB,
//! `/hold` nothing, ever, and `/ws` becomes a WebSocket that sends back whatever comes. Bodies of requests are read and
//! forgotten. Connections are kept, unless the request says otherwise.
//!
//!     backend [COUNT]      listens on so many addresses, prints them in one line, and runs until killed

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use weir_peers::{Poller, WEBSOCKET_ACCEPT};

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
            } else if let Some(connection) = &mut connections[number - count]
                && connection.advance(&answers, &mut scratch).is_err()
            {
                connections[number - count] = None;
                free.push(number - count);
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
        Connection { socket, head: Vec::new(), body_left: 0, answer: None, sent: 0, close: false, echo: false }
    }

    /// Reads and writes until the socket would block. An error: the connection is over.
    fn advance(&mut self, answers: &[Vec<u8>], scratch: &mut [u8]) -> io::Result<()> {
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
            match self.socket.read(scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                // Messages are small, and whoever sent one waits for it: what does not fit ends the connection.
                Ok(read) if self.echo => self.socket.write_all(&scratch[..read])?,
                Ok(read) if self.body_left > 0 => self.body_left = self.body_left.saturating_sub(read),
                Ok(read) => self.request(&scratch[..read])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes bytes of a head, and of what follows it.
    fn request(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if self.head.len() > 64 << 10 { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) };
        };
        let head = String::from_utf8_lossy(&self.head[..end]).to_ascii_lowercase();
        let length = head.split("\r\ncontent-length:").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.and_then(|digits| digits.trim().parse().ok()).unwrap_or(0);
        self.body_left = length.saturating_sub(self.head.len() - end - 4);
        self.answer = match head.split(' ').nth(1) {
            Some("/1k") => Some(1),
            Some("/1m") => Some(2),
            Some("/hold") => None,
            Some("/ws") => Some(UPGRADE),
            _ => Some(0),
        };
        self.close = head.contains("\r\nconnection: close");
        self.head.clear();
        Ok(())
    }
}
