//! What do the two planes say to each other? Messages of the control plane to the workers, and back.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use crate::id::PeerId;

/// What the control plane tells a worker.
#[derive(Debug)]
pub enum Command {
    /// Accept from this socket as well. The address is the configured one, which tells listeners apart.
    Listen(TcpListener, SocketAddr),
    /// Stop accepting on this address: take what is already queued, then close.
    Unlisten(SocketAddr),
    /// A peer was found unreachable: waits for its answers end, its idle connections go.
    Abandon(PeerId),
    /// Stop accepting, close what is idle, finish what is in flight.
    Drain,
}

/// What a worker tells the control plane.
#[derive(Debug)]
pub enum Notice {
    /// A connect to a peer of this name failed: its addresses may have changed.
    ConnectFailed {
        /// The name.
        host: Arc<str>,
    },
}
