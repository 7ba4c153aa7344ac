//! How long do requests take that come when they come? An open loop: requests are due at fixed times, whether or not
//! those before them are answered, and each is timed from when it was due. (A closed loop such as wrk's asks less of
//! a proxy that is slow, and so hides its worst times.)
//!
//!     load PORT RATE SECONDS CONNECTIONS
//!
//! Prints `requests`, `p50`, `p99`, `p99.9` and `max` in µs, and `late`: the 99th percentile of how late requests were
//! sent, which bounds what the load generator itself adds.

// Reading time is what this program is for.
#![allow(clippy::disallowed_methods)]

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use weir_peers::Poller;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
/// Answers are all alike: this many bytes end one.
const BODY: usize = 20;
/// How long after its end the load waits for the last answers.
const PATIENCE: Duration = Duration::from_secs(10);

struct Connection {
    socket: TcpStream,
    received: Vec<u8>,
    /// When the request under way was due.
    due: Option<Instant>,
}

fn main() -> io::Result<()> {
    let mut given = std::env::args().skip(1).map(|text| text.parse::<f64>().map_err(io::Error::other));
    let mut next = || given.next().ok_or_else(|| io::Error::other("load PORT RATE SECONDS CONNECTIONS"))?;
    let (port, rate, seconds, count) = (next()? as u16, next()?, next()?, next()? as usize);

    let mut poller = Poller::new()?;
    let mut connections = Vec::with_capacity(count);
    for number in 0..count {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        poller.watch_readable(&socket, number)?;
        connections.push(Connection { socket, received: Vec::new(), due: None });
    }

    let total = (rate * seconds) as usize;
    let interval = Duration::from_secs_f64(1.0 / rate);
    let (mut took, mut late) = (Vec::with_capacity(total), Vec::with_capacity(total));
    let (mut idle, mut ready): (VecDeque<usize>, Vec<usize>) = ((0..count).collect(), Vec::new());
    let began = Instant::now();
    let mut begun = 0;
    while took.len() < total {
        let now = Instant::now();
        while begun < total && began + interval.mul_f64(begun as f64) <= now {
            let Some(number) = idle.pop_front() else { break };
            let due = began + interval.mul_f64(begun as f64);
            connections[number].due = Some(due);
            connections[number].socket.write_all(REQUEST)?;
            late.push(now - due);
            begun += 1;
        }
        let pause = match idle.is_empty() || begun == total {
            true => Duration::from_millis(100),
            false => (began + interval.mul_f64(begun as f64)).saturating_duration_since(Instant::now()),
        };
        poller.wait(Some(pause), &mut ready)?;
        for &number in &ready {
            if connections[number].receive()?
                && let Some(due) = connections[number].due.take()
            {
                took.push(due.elapsed());
                idle.push_back(number);
            }
        }
        if began.elapsed() > Duration::from_secs_f64(seconds) + PATIENCE {
            return Err(io::Error::other(format!("{} of {total} requests were answered", took.len())));
        }
    }
    took.sort_unstable();
    late.sort_unstable();
    let micros = |sorted: &[Duration], share: f64| {
        let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(at).map_or(0.0, |took| took.as_secs_f64() * 1e6)
    };
    print!("requests {total} p50 {:.0} p99 {:.0} ", micros(&took, 0.5), micros(&took, 0.99));
    println!("p99.9 {:.0} max {:.0} late {:.0}", micros(&took, 0.999), micros(&took, 1.0), micros(&late, 0.99));
    Ok(())
}

impl Connection {
    /// Reads what has come. `true`: an answer is whole.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err(io::Error::other("a connection was closed under the load")),
                Ok(read) => self.received.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let head = self.received.windows(4).position(|window| window == b"\r\n\r\n");
        if head.is_none_or(|end| self.received.len() < end + 4 + BODY) {
            return Ok(false);
        }
        if !self.received.starts_with(b"HTTP/1.1 200") {
            let line = String::from_utf8_lossy(&self.received).lines().next().unwrap_or_default().to_owned();
            return Err(io::Error::other(format!("not 200 but {line}")));
        }
        self.received.clear();
        Ok(true)
    }
}
