//! How many exchanges does a proxy manage? A closed loop for what wrk does not speak: TLS with or without sessions that go
//! on, HTTP/2, WebSocket, and connections that end after each answer.
//!
//!     exchanges PORT SECONDS CONNECTIONS TRANSPORT PROTOCOL
//!
//! TRANSPORT is `plain`, `tls`, or `resume`: TLS that goes on with the connection's last session. PROTOCOL is `http1:PATH`;
//! `close:PATH`, with a new connection for each request; `http2:STREAMS`, so many requests at once on each connection; or
//! `websocket:BYTES`, messages of this length that come back.
//!
//! After one exchange everywhere it prints `ready` and waits for a line, so that what is measured begins with connections
//! that are open and sessions that are known. It ends with no exchange under way, and prints `exchanges`, `seconds`, and of
//! the handshakes in this time the `full` and the `resumed` ones.

// Reading time is what this program is for.
#![allow(clippy::disallowed_methods)]

mod protocol;
mod transport;

use std::io;
use std::time::{Duration, Instant};

use protocol::{Protocol, Request};
use transport::{Security, Transport};
use weir_peers::Poller;

/// How long after its end the load waits for the last answers.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> io::Result<()> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [port, seconds, connections, transport, protocol] = given.as_slice() else {
        return Err(io::Error::other("exchanges PORT SECONDS CONNECTIONS TRANSPORT PROTOCOL"));
    };
    let request = Request::parse(protocol)?;
    let slots = (0..number::<usize>(connections)?).map(|_| {
        let security = Security::parse(transport, request.alpn())?;
        Ok(Slot { security, request: request.clone(), connection: None })
    });
    let mut load = Load {
        port: number(port)?,
        poller: Poller::new()?,
        slots: slots.collect::<io::Result<_>>()?,
        buffer: vec![0; 256 << 10],
        tally: Tally::default(),
    };
    load.run(Duration::ZERO)?;
    println!("ready");
    io::stdin().read_line(&mut String::new())?;
    load.tally = Tally::default();
    let began = Instant::now();
    load.run(Duration::from_secs_f64(number(seconds)?))?;
    let Tally { exchanges, full, resumed } = load.tally;
    println!("exchanges {exchanges} seconds {:.3} full {full} resumed {resumed}", began.elapsed().as_secs_f64());
    Ok(())
}

fn number<N: std::str::FromStr<Err: Into<Box<dyn std::error::Error + Send + Sync>>>>(text: &str) -> io::Result<N> {
    text.parse().map_err(io::Error::other)
}

#[derive(Default)]
struct Tally {
    exchanges: u64,
    full: u64,
    resumed: u64,
}

/// The place of one connection at a time.
struct Slot {
    /// Of this place alone, so that its sessions are.
    security: Security,
    request: Request,
    connection: Option<(Transport, Protocol)>,
}

struct Load {
    port: u16,
    poller: Poller,
    slots: Vec<Slot>,
    buffer: Vec<u8>,
    tally: Tally,
}

impl Load {
    /// Begins exchanges everywhere, and another one after each, for so long; then those under way end.
    fn run(&mut self, time: Duration) -> io::Result<()> {
        let deadline = Instant::now() + time;
        let mut under_way = 0;
        for number in 0..self.slots.len() {
            under_way += self.begin(number)?;
        }
        let mut ready = Vec::new();
        while under_way > 0 {
            self.poller.wait(Some(Duration::from_secs(1)), &mut ready)?;
            let goes_on = Instant::now() < deadline;
            for &number in &ready {
                let (done, begun) = self.advance(number, goes_on)?;
                self.tally.exchanges += done as u64;
                under_way = under_way + begun - done;
            }
            if Instant::now() > deadline + PATIENCE {
                return Err(io::Error::other(format!("{under_way} exchanges got no answer")));
            }
        }
        Ok(())
    }

    /// Begins as many exchanges as the place may have at once, with a connection if there is none. How many they are.
    fn begin(&mut self, number: usize) -> io::Result<usize> {
        let slot = &mut self.slots[number];
        if slot.connection.is_none() {
            let transport = Transport::connect(self.port, &slot.security)?;
            self.poller.watch_readable(transport.socket(), number)?;
            slot.connection = Some((transport, Protocol::new(&slot.request)));
        }
        let Some((transport, protocol)) = &mut slot.connection else { return Ok(0) };
        let begun = protocol.begin(transport.outgoing());
        transport.flush()?;
        Ok(begun)
    }

    /// Takes what has come. How many exchanges ended, and how many others have begun.
    fn advance(&mut self, number: usize, goes_on: bool) -> io::Result<(usize, usize)> {
        let Some((transport, protocol)) = &mut self.slots[number].connection else { return Ok((0, 0)) };
        let (mut done, mut begun) = (0, 0);
        loop {
            match transport.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => {
                    done += protocol.receive(&self.buffer[..read], transport.outgoing())?;
                    if goes_on && !protocol.ends() {
                        begun += protocol.begin(transport.outgoing());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    transport.flush()?;
                    return Ok((done, begun));
                }
                Err(error) => return Err(error),
            }
        }
        done += protocol.end()?;
        match transport.resumed() {
            Some(true) => self.tally.resumed += 1,
            Some(false) => self.tally.full += 1,
            None => {}
        }
        self.slots[number].connection = None;
        if goes_on {
            begun += self.begin(number)?;
        }
        Ok((done, begun))
    }
}
