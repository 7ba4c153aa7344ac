//! Where is the admin listener? A unix socket of mode 0600, or a TCP address; never a port of the data path.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::model::AdminListen;
use crate::endpoint::{Endpoint, ListenSocket, Place};
use crate::net::held::{Held, Holding, duplicates};
use crate::net::inherited::{Inherited, Lot};
use crate::net::listener;
use crate::net::socket_file::SocketFile;

/// The admin listener, bound. Its socket file goes when it is dropped.
pub struct Listener {
    socket: Socket,
    /// Where a duplicate and the file are.
    held: Rc<Held>,
    place: Place,
}

enum Socket {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.held.release(&self.place);
    }
}

/// A connection to it.
pub enum Stream {
    /// From this machine, by somebody who may open the socket.
    Unix(UnixStream),
    /// From anywhere.
    Tcp(TcpStream),
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visitor {
    /// Somebody who may open the socket; in words.
    Owner(Arc<str>),
    /// Anybody who reaches the port.
    Stranger,
}

impl Listener {
    /// Binds, unless it is there already. A socket file that nobody answers at is replaced; its folder is made if it is
    /// missing, for this user alone. Must be called within a runtime.
    ///
    /// # Errors
    /// What the kernel says, or that another weir answers there.
    pub fn bind(listen: &AdminListen, held: &Rc<Held>, inherited: &mut Inherited) -> io::Result<Listener> {
        let place = place_of(listen);
        let (socket, holding) = match inherited.take(&place) {
            Some(lot) => adopt(lot)?,
            None => holding(match listen {
                AdminListen::Unix(path) => bind_unix(path)?,
                AdminListen::Tcp(address) => {
                    let socket = std::net::TcpListener::bind(address)?;
                    socket.set_nonblocking(true)?;
                    (ListenSocket::Tcp(socket), None)
                }
            })?,
        };
        let socket = match socket {
            ListenSocket::Tcp(socket) => Socket::Tcp(TcpListener::from_std(socket)?),
            ListenSocket::Unix(socket) => {
                let path = socket.local_addr()?.as_pathname().map(Path::to_owned).unwrap_or_default();
                Socket::Unix(UnixListener::from_std(socket)?, path)
            }
        };
        held.hold(place.clone(), holding);
        Ok(Listener { socket, held: Rc::clone(held), place })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// What the kernel says; the next call may succeed.
    pub async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Socket::Unix(listener, ..) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
            Socket::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
        }
    }

    /// Where it really is, for the log: port 0 has become a port.
    pub fn shown(&self) -> String {
        match &self.socket {
            Socket::Unix(_, path) => format!("unix:{}", path.display()),
            Socket::Tcp(listener) => match listener.local_addr() {
                Ok(address) => format!("http://{address}"),
                Err(_) => "a TCP port".to_owned(),
            },
        }
    }
}

impl Stream {
    /// Who is at the other end.
    pub fn visitor(&self) -> Visitor {
        match self {
            Stream::Unix(stream) => Visitor::Owner(match stream.peer_cred() {
                Ok(cred) => format!("uid {}", cred.uid()).into(),
                Err(_) => "somebody of this machine".into(),
            }),
            Stream::Tcp(_) => Visitor::Stranger,
        }
    }
}

/// How many may wait to be accepted.
const BACKLOG: i32 = 128;

/// What this listener is called among the sockets of the process.
fn place_of(listen: &AdminListen) -> Place {
    Place::Connections(match listen {
        AdminListen::Unix(path) => Endpoint::Unix(path.as_path().into()),
        AdminListen::Tcp(address) => Endpoint::Ip(*address),
    })
}

fn bind_unix(path: &Path) -> io::Result<(ListenSocket, Option<SocketFile>)> {
    match SocketFile::listen_privately(path, BACKLOG) {
        Ok((socket, file)) => Ok((ListenSocket::Unix(socket), Some(file))),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another weir answers there"))
        }
        Err(error) => Err(error),
    }
}

/// A socket that somebody else has bound; of several the first, since a listener of this kind has one.
fn adopt(lot: Lot) -> io::Result<(ListenSocket, Holding)> {
    let adopted = listener::adopt(lot, 1)?;
    let (_, socket) = adopted.sockets.into_iter().next().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((socket, adopted.holding))
}

/// Keeps a duplicate.
fn holding((socket, file): (ListenSocket, Option<SocketFile>)) -> io::Result<(ListenSocket, Holding)> {
    let sockets = duplicates(std::slice::from_ref(&socket))?;
    Ok((socket, Holding { sockets, file }))
}
