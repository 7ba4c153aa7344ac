//! What is told of a session when it is over?

use super::Course;
use crate::clock::{self, Timestamp};
use crate::endpoint::ClientAddr;
use crate::proxy::worker::Worker;
use crate::telemetry::{SessionDone, SessionEnd};

/// A session's story so far.
#[derive(Debug)]
pub struct Story {
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
    /// The client.
    pub client: ClientAddr,
    /// `$connection`.
    pub serial: u64,
    /// When it began.
    pub began: Timestamp,
    /// Bytes to the client.
    pub sent: u64,
    /// Bytes from the client.
    pub received: u64,
    /// What became of it; until then 499: the client left before.
    pub status: u16,
    /// How it ended.
    pub end: SessionEnd,
}

impl Story {
    /// A story that has begun.
    pub fn new(protocol: &'static str, client: ClientAddr, serial: u64, began: Timestamp) -> Story {
        Story { protocol, client, serial, began, sent: 0, received: 0, status: 499, end: SessionEnd::ClientReset }
    }

    /// Tells it: the session is over.
    pub fn tell(&self, worker: &Worker, course: &Course) {
        if !worker.log.is_on() {
            return;
        }
        worker.log.write_session(&SessionDone {
            at: clock::wall(),
            connection: self.serial,
            client: self.client,
            protocol: self.protocol,
            status: self.status,
            bytes_sent: self.sent,
            bytes_received: self.received,
            session_time: worker.now().since(self.began),
            queue_time: course.queue_time,
            group: &course.route.group_name,
            attempts: &course.attempts,
            end: self.end,
        });
    }
}
