//! What the programs share. Which sockets are ready? epoll, edge-triggered, with a number for each socket. And what a client
//! and a server of a WebSocket agree on.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// A key that a client may ask for a WebSocket with (RFC 6455, section 1.3),
pub const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// and what it is answered.
pub const WEBSOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Sockets by number.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    /// Nothing is watched yet.
    pub fn new() -> io::Result<Poller> {
        Ok(Poller { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(512) })
    }

    /// From now on `number` is told when the socket becomes readable, writable or broken.
    pub fn watch(&self, socket: impl AsFd, number: usize) -> io::Result<()> {
        let all = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(number as u64), all)?)
    }

    /// As [`Poller::watch`], but says only when there is something to read.
    pub fn watch_readable(&self, socket: impl AsFd, number: usize) -> io::Result<()> {
        let readable = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(number as u64), readable)?)
    }

    /// Waits, at most for `limit`, and puts the numbers of those that are ready into `ready`.
    pub fn wait(&mut self, limit: Option<Duration>, ready: &mut Vec<usize>) -> io::Result<()> {
        let limit = limit.map(|limit| Timespec { tv_sec: limit.as_secs() as _, tv_nsec: limit.subsec_nanos() as _ });
        self.events.clear();
        ready.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.iter().map(|event| event.data.u64() as usize));
        Ok(())
    }
}
