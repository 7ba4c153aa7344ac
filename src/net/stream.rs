//! One connection, to a client or to a peer, as the datapath sees it: polled reads and writes on bytes.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use rustls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::socket::Socket;
use super::tls::Session;
use crate::endpoint::Endpoint;

/// How long nothing is tried after a unix socket had no room for another connection.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// A connected socket, registered with the worker that owns it, with or without TLS.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    tls: Option<Box<Tls>>,
}

/// What a connection has beside its socket once it speaks TLS.
#[derive(Debug)]
struct Tls {
    session: Box<Session>,
    /// The end of sending (FIN) follows once all was sent.
    fin: bool,
    /// The connection ends without a goodbye, so that nobody takes what was sent for the whole.
    cut: bool,
}

/// A connection that nobody waits for.
#[derive(Debug)]
pub struct ParkedStream {
    socket: OwnedFd,
    is_tcp: bool,
    tls: Option<Box<Tls>>,
}

impl ParkedStream {
    /// Registers it with the runtime of this thread.
    ///
    /// # Errors
    /// The kernel has no room for it; it is closed then.
    pub fn resume(self) -> io::Result<Stream> {
        let socket = match self.is_tcp {
            true => Socket::tcp(TcpStream::from_std(self.socket.into())?),
            false => Socket::unix(UnixStream::from_std(self.socket.into())?),
        };
        Ok(Stream { socket, tls: self.tls })
    }
}

impl AsFd for ParkedStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// For libraries that bring their own framing (HTTP/2). The datapath itself polls [`Stream::poll_read`].
impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let n = ready!(Stream::poll_read(&mut self, cx, into.initialize_unfilled()))?;
        into.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Stream::poll_write(&mut self, cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write_vectored(&mut self, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_flush(&mut self, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown_write();
        Stream::poll_flush(&mut self, cx)
    }
}

impl Stream {
    /// Takes a connected socket, whose small writes go out at once (`TCP_NODELAY`): a proxy joins what belongs together itself.
    pub fn new(tcp: TcpStream) -> Stream {
        Stream { socket: Socket::tcp(tcp), tls: None }
    }

    /// Takes an accepted or connected unix socket.
    pub fn unix(unix: UnixStream) -> Stream {
        Stream { socket: Socket::unix(unix), tls: None }
    }

    /// Both ends of a connection within this process.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn pair() -> io::Result<(Stream, Stream)> {
        UnixStream::pair().map(|(one, other)| (Stream::unix(one), Stream::unix(other)))
    }

    /// Connects to `address`. The caller bounds the time. `speaks`: something is said as soon as the connection stands.
    ///
    /// # Errors
    /// What the kernel says. A connection to itself is refused: on loopback the kernel may give a socket the very port
    /// that it calls, if nobody listens there (RFC 9293 §3.5, simultaneous open).
    pub async fn connect(address: &Endpoint, speaks: bool) -> io::Result<Stream> {
        let address = match address {
            Endpoint::Ip(address) => *address,
            Endpoint::Unix(path) => return Stream::connect_unix(path).await,
        };
        let mut stream = connected(address, speaks).await.map(Stream::new)?;
        if address.ip().is_loopback() && stream.local_addr() == Some(address) {
            // A reset leaves the port free for whom it belongs to.
            stream.reset_on_close();
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(stream)
    }

    /// An application whose queue is full for a moment is waited for, as the kernel itself does over TCP; of a unix
    /// socket it only says so.
    async fn connect_unix(path: &Path) -> io::Result<Stream> {
        loop {
            match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(FULL_PAUSE).await,
                connected => return connected.map(Stream::unix),
            }
        }
    }

    /// Whether nothing is on its way in it: then it may be parked.
    pub fn may_park(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.session.is_flushed() && !tls.session.has_news())
    }

    /// The connection without what is needed to wait for it, to be used in this one's place. What comes meanwhile stays with the kernel.
    ///
    /// # Errors
    /// There are no descriptors left for a moment; nothing has changed then.
    pub fn park(&mut self) -> io::Result<ParkedStream> {
        let socket = self.socket.as_fd().try_clone_to_owned()?;
        Ok(ParkedStream { socket, is_tcp: self.socket.is_tcp(), tls: self.tls.take() })
    }

    /// The socket itself, if bytes go through it as they are.
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        if self.tls.is_none() { self.socket.as_tcp() } else { None }
    }

    /// This end's address; `None`: it has none, as a unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.local_addr()
    }

    /// The protocol agreed on inside TLS (ALPN): `h2`, `http/1.1`; `None`: none was, or there is no TLS.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tls()?.alpn_protocol()
    }

    /// Whether bytes go through the socket as they are.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// The socket, if bytes go through it as they are.
    #[inline]
    pub fn plain(&self) -> Option<&Socket> {
        if self.tls.is_none() { Some(&self.socket) } else { None }
    }

    /// What TLS has agreed on; `None`: the connection is plain.
    pub fn tls(&self) -> Option<&Connection> {
        self.tls.as_ref().map(|tls| tls.session.connection())
    }

    /// From now on what is read and written is content of this session, whose handshake is over.
    pub(super) fn secure(&mut self, session: Box<Session>) {
        self.tls = Some(Box::new(Tls { session, fin: false, cut: false }));
    }

    /// What lies under TLS.
    pub(super) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Copies what has come without taking it, under any TLS; 0 is the end of the stream. Ready again and again as long as it is not
    /// read.
    pub fn poll_peek(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        self.socket.poll_peek(cx, into)
    }

    /// Reads into the unused tail of `into`, returning the count; 0 is the end of the stream.
    #[inline]
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(tls) = &mut self.tls {
            let read = tls.session.poll_read(&mut self.socket, cx, into);
            self.end_if_due();
            return read;
        }
        self.socket.poll_read(cx, into)
    }

    /// Writes what the kernel takes of `bytes`. With TLS, what fits into its own buffer, which the kernel takes from as
    /// soon as it can: [`Stream::poll_flush`]. An error means that nothing of them was sent.
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &self.tls {
            None => self.socket.poll_write(cx, bytes, false),
            Some(_) => self.poll_write_vectored(cx, &[IoSlice::new(bytes)]),
        }
    }

    /// The same with what stands in several places.
    pub fn poll_write_vectored(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Some(tls) = &mut self.tls {
            return tls.session.poll_write_vectored(&mut self.socket, cx, slices);
        }
        self.socket.poll_write_vectored(cx, slices, false)
    }

    /// The same with what is written last: the end of this side's sending comes next, without a wait. Without TLS it goes in one segment
    /// with the last bytes. (Of a close alone that is true only if nothing is unread: else it is a reset, and they are never sent.)
    pub fn poll_write_last(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.tls.is_some() {
            return self.poll_write_vectored(cx, slices);
        }
        self.socket.poll_write_vectored(cx, slices, true)
    }

    /// Ready when the kernel has all that was written: always, without TLS. Who stops writing for a while polls this
    /// first.
    #[inline]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.tls.is_none() { Poll::Ready(Ok(())) } else { self.poll_flush_tls(cx) }
    }

    fn poll_flush_tls(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(tls) = &mut self.tls else { return Poll::Ready(Ok(())) };
        let flushed = tls.session.poll_flush(&mut self.socket, cx);
        self.end_if_due();
        flushed
    }

    /// Ready when a read would not wait. Costs no system call while nothing has come.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.tls {
            None => self.socket.poll_read_ready(cx),
            Some(tls) => tls.session.poll_readable(&mut self.socket, cx),
        }
    }

    /// Whether it is known without a look that there is nothing to read; then whoever polls is woken when there is. With TLS it
    /// is not known.
    #[inline]
    pub fn is_silent(&self, cx: &mut Context<'_>) -> bool {
        self.tls.is_none() && self.socket.poll_read_ready(cx).is_pending()
    }

    /// Whether the kernel has announced neither bytes nor an end since the last read. Costs no system call. May not know
    /// of an end yet, and after a read that filled its buffer to the brim may expect bytes that are not there.
    #[inline]
    pub fn looks_quiet(&self) -> bool {
        let known = self.tls.as_ref().is_some_and(|tls| tls.session.has_news());
        !known && self.socket.looks_quiet()
    }

    /// Asks the kernel itself whether the peer has sent nothing and not closed: one system call. With TLS, only content
    /// is something: its own messages are taken in on the way.
    pub fn is_quiet(&mut self) -> bool {
        if let Some(tls) = &mut self.tls {
            return tls.session.is_quiet(&mut self.socket) && self.socket.is_quiet();
        }
        self.socket.is_quiet()
    }

    /// Ends this side's sending (FIN), so that the client reads to the end of the answer. With TLS the end is announced,
    /// and FIN follows what was still to be sent.
    pub fn shutdown_write(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.session.close();
            tls.fin = true;
            let mut cx = Context::from_waker(Waker::noop());
            // What the kernel does not take now follows with the next poll.
            let _ = tls.session.poll_flush(&mut self.socket, &mut cx);
            return self.end_if_due();
        }
        self.socket.shutdown_write();
    }

    fn end_if_due(&mut self) {
        if let Some(tls) = &mut self.tls
            && tls.fin
            && tls.session.is_flushed()
        {
            tls.fin = false;
            self.socket.shutdown_write();
        }
    }

    /// Makes the coming close a reset: the reader must not take a cut body for a whole one.
    pub fn reset_on_close(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.cut = true;
        }
        self.socket.reset_on_close();
    }
}

/// A socket that is connected to `address`.
async fn connected(address: SocketAddr, speaks: bool) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    net::sockopt::set_tcp_nodelay(&socket, true)?;
    if speaks {
        // The last segment of the handshake goes with the first bytes, not alone: two segments less, for the answer acknowledges both.
        // If none came it would go after 200 ms. What follows is acknowledged as ever (Linux: net/ipv4/tcp_input.c,
        // `tcp_rcv_synsent_state_process`). Where it is not to be had, nothing is lost.
        let _ = net::sockopt::set_tcp_quickack(&socket, false);
    }
    match net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let tcp = TcpStream::from_std(socket.into())?;
    poll_fn(|cx| tcp.poll_write_ready(cx)).await?;
    // The kernel has announced whether there is an error to be asked for.
    match tcp.try_io(Interest::ERROR, || Ok(())) {
        Ok(()) => tcp.take_error()?.map_or(Ok(tcp), Err),
        Err(_) => Ok(tcp),
    }
}

/// Whoever closes a TLS connection says so (RFC 8446 §6.1), unless it is cut on purpose.
impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(tls) = &mut self.tls
            && !tls.cut
        {
            tls.session.close_now(&mut self.socket);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::socket_file::SocketFile;
    use super::*;

    #[tokio::test]
    async fn whoever_is_connected_to_gets_small_writes_at_once() {
        for ip in ["127.0.0.1", "::1"] {
            // A machine may have no IPv6.
            let Ok(listener) = std::net::TcpListener::bind((ip, 0)) else { continue };
            let stream = Stream::connect(&listener.local_addr().unwrap().into(), false).await.unwrap();
            let tcp = stream.tcp().unwrap();
            assert_eq!(tcp.peer_addr().unwrap(), listener.local_addr().unwrap());
            assert!(tcp.nodelay().unwrap(), "{ip}");
        }
    }

    #[tokio::test]
    async fn an_application_hears_of_a_connection_at_once_or_with_the_first_bytes() {
        use std::io::Read;
        let application = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        application.set_nonblocking(true).unwrap();
        let address = application.local_addr().unwrap().into();
        let _silent = Stream::connect(&address, false).await.unwrap();
        let _accepted = application.accept().expect("it may speak first");

        let mut speaking = Stream::connect(&address, true).await.unwrap();
        let hello = [IoSlice::new(b"hello")];
        assert_eq!(poll_fn(|cx| speaking.poll_write_vectored(cx, &hello)).await.unwrap(), 5);
        let mut heard = [0; 5];
        application.accept().expect("it has been spoken to").0.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
    }

    #[tokio::test]
    async fn what_is_written_last_arrives_with_the_end() {
        use std::io::Read;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = Stream::connect(&listener.local_addr().unwrap().into(), true).await.unwrap();
        let words = [IoSlice::new(b"good bye")];
        assert_eq!(poll_fn(|cx| stream.poll_write_last(cx, &words)).await.unwrap(), 8);
        stream.shutdown_write();
        let mut heard = String::new();
        listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "good bye");
    }

    #[tokio::test]
    async fn a_connect_fails_with_what_the_kernel_says() {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let refused = Stream::connect(&nobody.into(), true).await;
        assert_eq!(refused.map_err(|error| error.kind()).map(drop), Err(io::ErrorKind::ConnectionRefused));
        // No connection can be made to all (RFC 9293 has no multicast), which is known at once.
        let all = SocketAddr::from(([255, 255, 255, 255], 80));
        assert!(Stream::connect(&all.into(), true).await.is_err());
    }

    #[tokio::test]
    async fn an_application_whose_queue_is_full_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path: Arc<Path> = folder.path().join("app.sock").into();
        let (application, _file) = SocketFile::listen(&path, 0o600, 0).unwrap();
        let address = Endpoint::Unix(path);
        let _first = Stream::connect(&address, true).await.unwrap();
        let mut second = Box::pin(Stream::connect(&address, true));
        let begun = tokio::time::timeout(Duration::from_millis(1), &mut second).await;
        assert!(begun.is_err(), "there is room for one");
        let _accepted = application.accept().unwrap();
        assert!(second.await.is_ok());
    }
}
