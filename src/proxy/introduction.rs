//! Whose connection is this really? The PROXY header that a proxy before weir begins it with.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::worker::Worker;
use crate::endpoint::{ClientAddr, Endpoint};
use crate::net::proxy_header::{HeaderError, HeaderReader};
use crate::net::{Deadline, Stream};
use crate::proxy_protocol::Addresses;

/// Reads the PROXY header of a connection of `sender` to `listener` before anything else, within `limit`. `Some(None)`: the
/// connection's own addresses hold. `None`: there is no header that could be believed, which was logged, and the connection
/// ends.
pub async fn read(
    worker: &Worker,
    stream: &mut Stream,
    deadline: &mut Deadline,
    (sender, listener): (ClientAddr, &Endpoint),
    limit: Duration,
) -> Option<Option<Addresses>> {
    let complain = |why: &str| complain(worker, sender, listener, why);
    if !worker.with(|topology| topology.config().trusted_proxies.trusts(sender)) {
        complain("it is not among trusted_proxies, and so may not send a PROXY header");
        return None;
    }
    match wait(worker, stream, deadline, limit).await {
        Ok(addresses) => return Some(addresses),
        // Whoever looks whether a port is open does this all day.
        Err(Refused::Unreadable(HeaderError::Nothing) | Refused::Draining) => {}
        Err(Refused::Unreadable(error)) => complain(&error.to_string()),
        Err(Refused::Late) => complain("its PROXY header did not come in time"),
    }
    None
}

enum Refused {
    Unreadable(HeaderError),
    Late,
    Draining,
}

async fn wait(
    worker: &Worker,
    stream: &mut Stream,
    deadline: &mut Deadline,
    limit: Duration,
) -> Result<Option<Addresses>, Refused> {
    let mut reader = HeaderReader::default();
    let began = worker.now();
    deadline.set(began, limit);
    poll_fn(|cx| {
        if let Poll::Ready(read) = reader.poll(cx, stream) {
            return Poll::Ready(read.map_err(Refused::Unreadable));
        }
        if worker.is_draining() {
            let (from, limit) = worker.last_call(began);
            deadline.tighten(from, limit);
        }
        deadline.poll(cx).map(|()| Err(if worker.is_draining() { Refused::Draining } else { Refused::Late }))
    })
    .await
}

fn complain(worker: &Worker, sender: ClientAddr, listener: &Endpoint, why: &str) {
    match worker.headerless.due(worker.now()) {
        Some(0) => tracing::warn!("closed a connection of {sender} to {listener}: {why}"),
        Some(more) => {
            tracing::warn!(
                "closed a connection of {sender} to {listener}: {why}; {more} more since the last such line"
            );
        }
        None => tracing::debug!("closed a connection of {sender} to {listener}: {why}"),
    }
}
