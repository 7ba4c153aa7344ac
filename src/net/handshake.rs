//! How does a connection become a TLS connection? The handshake of either side, which ends with a `Stream` that reads and
//! writes content.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::server::Acceptor;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig};

use super::Stream;
use super::tls::{Session, Wire, tls_error};
use crate::tls::{self, ServerName};

/// The first byte of a TLS record that holds a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 0x16;
/// The first bit of a ClientHello of SSL 2, which some clients of long ago begin with.
const SSL2: u8 = 0x80;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection broke, or was closed.
    #[error("{}", closed(.0))]
    Socket(io::Error),
    /// Either side does not accept the other.
    #[error("{0}")]
    Refused(String),
}

fn closed(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the connection was closed within the handshake".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the connection was reset within the handshake".to_owned()
        }
        _ => error.to_string(),
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> HandshakeError {
        match tls_error(&error) {
            Some(refused) => HandshakeError::Refused(tls::describe(refused)),
            None => HandshakeError::Socket(error),
        }
    }
}

/// What a client begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A handshake.
    Tls,
    /// Something in plain text.
    Plain,
    /// Nothing: it has left.
    Nothing,
}

/// What a client begins with on a port for TLS; nothing is read. (nginx: `ngx_http_ssl_handshake`)
pub fn poll_opening(stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<Opening>> {
    let mut first = [0];
    Poll::Ready(Ok(match (ready!(stream.poll_peek(cx, &mut first))?, first) {
        (0, _) => Opening::Nothing,
        (_, [byte]) if byte == HANDSHAKE || byte & SSL2 != 0 => Opening::Tls,
        _ => Opening::Plain,
    }))
}

/// A handshake as the server, under way. Its errors have been told to the client.
pub struct Accepting {
    state: State,
}

enum State {
    /// Until the client has said which name it wants.
    Hello(Box<Acceptor>),
    Rest(Box<Session>),
    Over,
}

impl Default for Accepting {
    fn default() -> Accepting {
        Accepting { state: State::Hello(Box::default()) }
    }
}

impl Accepting {
    /// Goes on. `choose` knows what a client gets that asks for this name (SNI); `None`: nothing. Ready when the stream is one of
    /// content.
    ///
    /// # Errors
    /// The socket's, or why the two sides do not agree.
    pub fn poll(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        choose: impl FnOnce(Option<&str>) -> Option<Arc<ServerConfig>>,
    ) -> Poll<Result<(), HandshakeError>> {
        let mut choose = Some(choose);
        loop {
            match &mut self.state {
                State::Hello(acceptor) => {
                    let mut wire = Wire { socket: stream.socket(), cx };
                    match acceptor.read_tls(&mut wire) {
                        Ok(0) => {
                            return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()));
                        }
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                        Err(error) => return Poll::Ready(Err(error.into())),
                    }
                    let begun = acceptor.accept().and_then(|accepted| match (accepted, choose.take()) {
                        (Some(accepted), Some(choose)) => {
                            let config = choose(accepted.client_hello().server_name());
                            config.map(|config| accepted.into_connection(config)).transpose()
                        }
                        (_, kept) => {
                            choose = kept;
                            Ok(None)
                        }
                    });
                    match begun {
                        Ok(None) if choose.is_none() => {
                            return Poll::Ready(Err(HandshakeError::Refused("nobody speaks TLS here".to_owned())));
                        }
                        Ok(None) => {}
                        Ok(Some(connection)) => {
                            self.state = State::Rest(Box::new(Session::new(Connection::Server(connection))));
                        }
                        Err((error, mut alert)) => {
                            // If the alert cannot go now, the client will do without.
                            let _ = alert.write(&mut wire);
                            return Poll::Ready(Err(HandshakeError::Refused(tls::describe(&error))));
                        }
                    }
                }
                State::Rest(session) => {
                    ready!(session.poll_handshake(stream.socket(), cx))?;
                    if let State::Rest(session) = std::mem::replace(&mut self.state, State::Over) {
                        stream.secure(session);
                    }
                }
                State::Over => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Makes the connection to a peer a TLS connection. The caller bounds the time.
///
/// # Errors
/// The socket's, or why the two sides do not agree.
pub async fn connect(
    stream: &mut Stream,
    config: &Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<(), HandshakeError> {
    let connection = ClientConnection::new(Arc::clone(config), name)
        .map_err(|error| HandshakeError::Refused(tls::describe(&error)))?;
    let mut session = Box::new(Session::new(Connection::Client(connection)));
    poll_fn(|cx| session.poll_handshake(stream.socket(), cx)).await?;
    stream.secure(session);
    Ok(())
}
