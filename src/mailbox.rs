//! What do the two planes say to each other? Messages of the control plane to the workers, and back.

use std::convert::Infallible;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::endpoint::{Endpoint, ListenSocket};
use crate::id::PeerId;
use crate::topology::Service;

/// What the control plane tells a worker.
#[derive(Debug)]
pub enum Command {
    /// Accept from this socket as well. The address is the configured one, which tells listeners apart.
    Listen(ListenSocket, Endpoint),
    /// Stop accepting on this address: take what is already queued, which is served as it was until now, then close.
    /// The last is let go of when that is done.
    Unlisten(Endpoint, Option<Service>, Pending),
    /// Take datagrams from this socket as well. The address is the configured one.
    ListenDatagrams(UdpSocket, SocketAddr),
    /// Take no more datagrams on this address: its sessions end.
    UnlistenDatagrams(SocketAddr),
    /// A peer was found unreachable: waits for its answers end, its idle connections go.
    Abandon(PeerId),
    /// These peers are gone: their idle connections go, and connects to them that are under way are given up.
    Forget(Arc<[PeerId]>),
    /// Stop accepting, close what is idle, finish what is in flight.
    Drain,
    /// The same, and another process accepts from the same sockets: clients that are idle may ask once more.
    HandOver,
}

/// Something that is not done yet: as long as anybody has this. Nothing is ever sent.
pub type Pending = mpsc::Sender<Infallible>;

/// What a worker tells the control plane.
#[derive(Debug)]
pub enum Notice {
    /// A connect to a peer of this name failed: its addresses may have changed.
    ConnectFailed {
        /// The name.
        host: Arc<str>,
    },
}
