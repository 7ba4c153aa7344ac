//! What would a proxied request cost if nothing were done for it? Per request: recv, send, recv, send, and one
//! epoll_wait for several of them. No HTTP is understood; each client's connection has one to a backend.
//!
//! Only for messages that fit a socket's buffer: a partial write ends the connection.
//!
//!     bare PORT BACKEND…

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use weir_peers::Poller;

fn main() -> io::Result<()> {
    let mut given = std::env::args().skip(1);
    let port: u16 = given.next().unwrap_or_default().parse().map_err(io::Error::other)?;
    let backends: Vec<SocketAddr> =
        given.map(|text| text.parse().map_err(io::Error::other)).collect::<Result<_, _>>()?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    let mut poller = Poller::new()?;
    poller.watch_readable(&listener, 0)?;

    // Socket 2n+2 is a client's, 2n+3 that of its backend: what comes in on one goes out on the other.
    let mut sockets: Vec<Option<TcpStream>> = vec![None, None];
    let mut ready = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        poller.wait(None, &mut ready)?;
        for &number in &ready {
            if number == 0 {
                while let Ok((client, _)) = listener.accept() {
                    let backend = TcpStream::connect(backends[sockets.len() / 2 % backends.len()])?;
                    for socket in [client, backend] {
                        socket.set_nonblocking(true)?;
                        socket.set_nodelay(true)?;
                        poller.watch_readable(&socket, sockets.len())?;
                        sockets.push(Some(socket));
                    }
                }
            } else if pass(&sockets, number, &mut buffer).is_err() {
                (sockets[number], sockets[number ^ 1]) = (None, None);
            }
        }
    }
}

/// One message from a socket to its partner. It is known to be whole, so nobody asks whether there is more.
fn pass(sockets: &[Option<TcpStream>], number: usize, buffer: &mut [u8]) -> io::Result<()> {
    let (Some(mut from), Some(mut to)) = (sockets[number].as_ref(), sockets[number ^ 1].as_ref()) else {
        return Ok(());
    };
    let read = from.read(buffer)?;
    let written = to.write(&buffer[..read])?;
    if read == 0 || written < read { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}
