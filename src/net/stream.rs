//! One connection, to a client or to a peer, as the datapath sees it: polled reads and writes on bytes.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use socket2::SockRef;
use tokio::io::{AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connected socket, registered with the worker that owns it.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
}

impl Stream {
    /// Takes an accepted or connected socket. Small writes go out at once (`TCP_NODELAY`): a proxy joins what belongs
    /// together itself.
    pub fn new(tcp: TcpStream) -> Stream {
        // Fails only on a socket that is already dead, which the first read tells better.
        let _ = tcp.set_nodelay(true);
        Stream { tcp }
    }

    /// Connects to `address`. The caller bounds the time.
    ///
    /// # Errors
    /// What the kernel says. A connection to itself is refused: on loopback the kernel may give a socket the very port
    /// that it calls, if nobody listens there (RFC 9293 §3.5, simultaneous open).
    pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
        let stream = TcpStream::connect(address).await.map(Stream::new)?;
        if address.ip().is_loopback() && stream.local_addr().is_ok_and(|own| own == address) {
            // A reset leaves the port free for whom it belongs to.
            stream.reset_on_close();
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(stream)
    }

    /// This end's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Reads into the unused tail of `into`, returning the count; 0 is the end of the stream.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(into);
        ready!(tokio::io::AsyncRead::poll_read(Pin::new(&mut self.tcp), cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Writes what the kernel takes of `slices`.
    pub fn poll_write_vectored(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match slices {
            [one] => Pin::new(&mut self.tcp).poll_write(cx, one),
            many => Pin::new(&mut self.tcp).poll_write_vectored(cx, many),
        }
    }

    /// Ready when a read would not wait. Costs no system call while nothing has come.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_read_ready(cx)
    }

    /// Whether the kernel has announced neither bytes nor an end since the last read. Costs no system call. May not know
    /// of an end yet, and after a read that filled its buffer to the brim may expect bytes that are not there.
    pub fn looks_quiet(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.tcp.poll_read_ready(&mut cx).is_pending()
    }

    /// Asks the kernel itself whether the peer has sent nothing and not closed: one system call.
    pub fn is_quiet(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        match SockRef::from(&self.tcp).peek(&mut byte) {
            Err(e) => e.kind() == io::ErrorKind::WouldBlock,
            Ok(_) => false,
        }
    }

    /// Ends this side's sending (FIN), so that the client reads to the end of the answer.
    pub fn shutdown_write(&self) {
        // Fails only when the other side is gone already.
        let _ = SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Write);
    }

    /// Makes the coming close a reset: the reader must not take a cut body for a whole one.
    pub fn reset_on_close(&self) {
        // Fails only when the other side is gone already.
        let _ = SockRef::from(&self.tcp).set_linger(Some(std::time::Duration::ZERO));
    }
}
