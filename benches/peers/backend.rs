//! What answers behind the proxies under test? As little as HTTP allows: 20 bytes per request, connections kept.
//!
//! Only std, so that `rustc -O` builds it in a second, apart from the crate. A thread per connection: with the 64
//! connections of the benchmark that is as fast as an event loop, and it costs the proxy's core nothing.
//! Prints one line, its ports, and runs until killed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n\r\nWeb Application [1]\n";

fn main() -> std::io::Result<()> {
    let count: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3);
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let ports: Vec<String> =
        listeners.iter().map(|l| l.local_addr().map(|a| a.port().to_string())).collect::<Result<_, _>>()?;
    println!("{}", ports.join(" "));
    std::thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(move || {
                for connection in listener.incoming().flatten() {
                    std::thread::Builder::new().stack_size(64 << 10).spawn(move || serve(connection)).ok();
                }
            });
        }
    });
    Ok(())
}

/// Answers one request after the other. The requests of the benchmark have no body, so the empty line ends each.
fn serve(mut connection: TcpStream) {
    let _ = connection.set_nodelay(true);
    let (mut buffer, mut filled) = ([0u8; 4096], 0);
    loop {
        match connection.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return,
            Ok(read) => filled += read,
        }
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            if connection.write_all(ANSWER).is_err() {
                return;
            }
            filled = 0;
        } else if filled == buffer.len() {
            return;
        }
    }
}
