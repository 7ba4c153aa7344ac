//! What is kept of an idle connection while it takes no turns.

use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use super::connection::{Client, Connection, go_on};
use super::side::Side;
use crate::clock::Timestamp;
use crate::endpoint::Endpoint;
use crate::net::{Deadline, ParkedStream};
use crate::proxy::worker::Worker;

/// An idle connection of HTTP/1.1. What can be found out anew is not kept.
#[derive(Debug)]
pub struct Parked {
    stream: ParkedStream,
    client: Client,
    requests: u64,
    keepalive_timeout: Duration,
    idle_since: Timestamp,
}

impl Parked {
    /// Its socket.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// The address that was listened on.
    pub fn listener(&self) -> &Endpoint {
        &self.client.listener
    }

    /// It takes turns again, as idle as it was.
    pub fn resume(self, worker: &Rc<Worker>) {
        let Parked { stream, client, requests, keepalive_timeout, idle_since } = self;
        let stream = match stream.resume() {
            Ok(stream) => Side::Http1(stream),
            // It is as if the client's machine had gone.
            Err(error) => return tracing::error!("a connection of {} cannot go on: {error}", client.remote),
        };
        let seat = worker.seat();
        seat.slot.begin_idle(idle_since);
        let connection = Connection {
            worker: Rc::clone(worker),
            seat,
            stream,
            deadline: Deadline::new(),
            client,
            requests,
            keepalive_timeout,
            expects_header: false,
            route: None,
            told: None,
        };
        worker.crew.spawn(go_on(connection, false));
    }
}

impl Connection {
    /// Takes no more turns until something comes, or until `until`.
    pub(super) fn park(mut self, until: Timestamp) {
        let worker = Rc::clone(&self.worker);
        let Side::Http1(stream) = &mut self.stream else { return };
        let stream = match stream.park() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!("an idle connection is not parked: {error}");
                return worker.crew.spawn(go_on(self, false));
            }
        };
        // It keeps its seat until it is parked: a worker that drains must not take itself for empty meanwhile.
        let Connection { seat, client, requests, keepalive_timeout, .. } = self;
        let parked = Parked { stream, client, requests, keepalive_timeout, idle_since: seat.slot.idle_since() };
        if let Err((error, parked)) = worker.parking.park(Box::new(parked), until) {
            tracing::debug!("an idle connection is not parked: {error}");
            parked.resume(&worker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_connection_is_small() {
        println!("{}", size_of::<Parked>());
        assert!(size_of::<Parked>() <= 224, "{} bytes", size_of::<Parked>());
    }
}
