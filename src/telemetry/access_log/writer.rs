//! How do the lines get out? The only thread that waits for a disk or a pipe.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::{Batch, Message, Shared, Sink};
use crate::clock::{Clock, Timestamp};

/// How often drops are reported.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// Writes until nobody is left who could send something.
pub(super) fn run(mut sink: Sink, inbox: &Receiver<Message>, shared: &Shared) {
    let mut report = Report::default();
    loop {
        let message = match report.due_in(shared) {
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(time) => inbox.recv_timeout(time),
        };
        if shared.reopen.swap(false, Relaxed)
            && let Err(error) = sink.reopen()
        {
            tracing::error!(%error, "cannot open the access log anew; the old file stays in use");
        }
        match message {
            Ok(Message::Batch(batch)) => write(&mut sink, batch, shared, &mut report),
            Ok(Message::Sink(new)) => sink = new,
            Ok(Message::Look) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return report.publish(shared),
        }
    }
}

fn write(sink: &mut Sink, batch: Batch, shared: &Shared, report: &mut Report) {
    let Batch { mut bytes, lines, home } = batch;
    if let Err(error) = sink.write(&bytes) {
        // A part of them may have been written; who reads the number wants to know of what is missing.
        shared.dropped.fetch_add(lines, Relaxed);
        report.cause = Some(error);
    }
    bytes.clear();
    // If the worker has gone, or has enough of them, nobody needs it.
    let _ = home.try_send(bytes);
}

/// What was told about drops.
#[derive(Debug, Default)]
struct Report {
    reported: u64,
    last: Option<Timestamp>,
    cause: Option<io::Error>,
}

impl Report {
    /// When to look again, having published what is due; `None` if there is nothing to tell.
    fn due_in(&mut self, shared: &Shared) -> Option<Duration> {
        if shared.dropped.load(Relaxed) == self.reported {
            return None;
        }
        let now = Clock::process().now();
        let due = self.last.map_or(now, |last| last + REPORT_EVERY);
        if due > now {
            return Some(due.since(now));
        }
        self.last = Some(now);
        self.publish(shared);
        None
    }

    fn publish(&mut self, shared: &Shared) {
        let dropped = shared.dropped.load(Relaxed);
        let lines = dropped - self.reported;
        self.reported = dropped;
        match self.cause.take() {
            _ if lines == 0 => {}
            Some(error) => tracing::warn!(lines, %error, "access log: lines were lost"),
            None => tracing::warn!(lines, "access log: lines were lost, since writing them is too slow"),
        }
    }
}
