//! TLS inside a connection: records instead of bytes on the socket, driven by polls like the socket itself.
//!
//! What is written is encrypted at once and kept until the socket takes it: at most 64 KiB, and nothing more is accepted
//! before that is gone. So a write that was accepted may still wait here: [`Session::poll_flush`].

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use rustls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::Socket;

/// One TLS session over a socket that its owner passes in.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    /// Decrypted bytes that nobody has read yet.
    readable: usize,
    /// The other side has ended, in good order or not.
    ended: bool,
    /// This side has said that it ends.
    closing: bool,
}

impl Session {
    /// A session whose handshake goes on: see [`Session::poll_handshake`].
    pub fn new(connection: Connection) -> Session {
        Session { connection, readable: 0, ended: false, closing: false }
    }

    /// What was agreed.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Goes on with the handshake. Ready when it is over and all of it was sent.
    ///
    /// # Errors
    /// Those of the socket; those of TLS as the source of an `InvalidData`, after the other side was told.
    pub fn poll_handshake(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush(socket, cx))?;
            if !self.connection.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_pump(socket, cx))?;
            if self.ended && self.connection.is_handshaking() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Reads decrypted bytes; 0 is the end that the other side has announced.
    ///
    /// # Errors
    /// Those of the socket and of TLS. An end that was not announced is `UnexpectedEof`: anybody on the way could have
    /// made it.
    pub fn poll_read(&mut self, socket: &mut Socket, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.readable > 0 || self.ended {
                match self.connection.reader().read(into) {
                    Ok(n) => {
                        self.readable = self.readable.saturating_sub(n);
                        return Poll::Ready(Ok(n));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = 0,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            ready!(self.poll_pump(socket, cx))?;
        }
    }

    /// Ready when a read would not wait: bytes, an end or an error are there.
    pub fn poll_readable(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.readable == 0 && !self.ended {
            ready!(self.poll_pump(socket, cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether decrypted bytes or an end are known to be there.
    pub fn has_news(&self) -> bool {
        self.readable > 0 || self.ended
    }

    /// Encrypts what there is room for of `slices`. What the socket does not take at once follows by itself with the next
    /// poll of any kind. An error means that none of `slices` was sent.
    pub fn poll_write_vectored(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(socket, cx))?;
        if self.closing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let n = self.connection.writer().write_vectored(slices)?;
        match self.poll_send(socket, cx) {
            // Nothing left this machine: the caller may say that none of it was sent.
            (0, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(n)),
        }
    }

    /// Ready when the socket has taken all that was written.
    pub fn poll_flush(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(socket, cx).1
    }

    /// Tells the other side that this one has said all (close_notify). It goes out with the next flush.
    pub fn close(&mut self) {
        if !self.closing {
            self.closing = true;
            self.connection.send_close_notify();
        }
    }

    /// Whether anything waits for the socket.
    pub fn is_flushed(&self) -> bool {
        !self.connection.wants_write()
    }

    /// Sends what waits. Returns how many bytes the socket took, and whether that was all.
    fn poll_send(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> (usize, Poll<io::Result<()>>) {
        let mut sent = 0;
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Wire { socket, cx }) {
                Ok(0) => return (sent, Poll::Ready(Err(io::ErrorKind::WriteZero.into()))),
                Ok(n) => sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (sent, Poll::Pending),
                Err(error) => return (sent, Poll::Ready(Err(error))),
            }
        }
        (sent, Poll::Ready(Ok(())))
    }

    /// Reads once from the socket and decrypts. Sends on the way what waits to be sent, so that whoever only reads need
    /// not think of it.
    fn poll_pump(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An error of sending is found by the next write; what was received is read all the same.
        let _ = self.poll_send(socket, cx);
        match self.connection.read_tls(&mut Wire { socket, cx }) {
            Ok(n) => self.ended |= n == 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
        match self.connection.process_new_packets() {
            Ok(state) => {
                self.readable = state.plaintext_bytes_to_read();
                self.ended |= state.peer_has_closed();
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                // The alert that says why. If it cannot go now, the other side will do without.
                let _ = self.poll_send(socket, cx);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)))
            }
        }
    }

    /// Whether the other side has sent no byte of content and has not ended. Reads what is there: tickets and keys come
    /// at any time, and are no content.
    pub fn is_quiet(&mut self, socket: &mut Socket) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.poll_readable(socket, &mut cx).is_pending()
    }

    /// Says goodbye without waiting for anything.
    pub fn close_now(&mut self, socket: &mut Socket) {
        self.close();
        let mut cx = Context::from_waker(Waker::noop());
        // The socket closes next: what it does not take now is lost.
        let _ = self.poll_send(socket, &mut cx);
    }
}

/// The error of TLS behind an error of the socket.
pub fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// A socket as rustls knows it: instead of waiting, it says that it would have to.
pub struct Wire<'a, 'b> {
    /// The socket.
    pub socket: &'a mut Socket,
    /// Whom to wake.
    pub cx: &'a mut Context<'b>,
}

impl Read for Wire<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(into);
        match Pin::new(&mut *self.socket).poll_read(self.cx, &mut buf) {
            Poll::Ready(Ok(())) => Ok(buf.filled().len()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Wire<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        settled(Pin::new(&mut *self.socket).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        settled(Pin::new(&mut *self.socket).poll_write_vectored(self.cx, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn settled(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}
