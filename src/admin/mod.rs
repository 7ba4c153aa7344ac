//! Eyes and levers, on a listener of their own: never on the data path, never able to slow it.
//!
//! For now its only eye is `/healthz`: 200 while the process accepts, whatever the peers do.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::config::model::AdminListen;

/// How long a client may take for a head.
const HEAD: Duration = Duration::from_secs(10);

/// The admin listener, bound.
pub struct Admin {
    socket: Socket,
}

enum Socket {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

impl Admin {
    /// Binds. A socket file that nobody answers at is replaced; its folder is made if it is missing, for this user
    /// alone. Must be called within a runtime.
    ///
    /// # Errors
    /// What the kernel says, or that another weir answers there.
    pub fn bind(listen: &AdminListen) -> io::Result<Admin> {
        let socket = match listen {
            AdminListen::Unix(path) => Socket::Unix(bind_unix(path)?, path.clone()),
            AdminListen::Tcp(address) => {
                let socket = std::net::TcpListener::bind(address)?;
                socket.set_nonblocking(true)?;
                Socket::Tcp(TcpListener::from_std(socket)?)
            }
        };
        Ok(Admin { socket })
    }

    /// Answers until dropped.
    pub async fn serve(self) {
        loop {
            let accepted = match &self.socket {
                Socket::Unix(listener, _) => listener.accept().await.map(|(stream, _)| answer(TokioIo::new(stream))),
                Socket::Tcp(listener) => listener.accept().await.map(|(stream, _)| answer(TokioIo::new(stream))),
            };
            if let Err(error) = accepted {
                tracing::warn!("admin: cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Socket::Unix(_, path) = &self.socket {
            // Somebody may have tidied up already.
            let _ = fs::remove_file(path);
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another weir answers there"));
        }
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn answer<S: AsyncRead + AsyncWrite + Unpin + 'static>(stream: TokioIo<S>) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD);
    tokio::task::spawn_local(async move {
        // A client that breaks off has had what it wanted.
        let _ = server.serve_connection(stream, service_fn(respond)).await;
    });
}

async fn respond(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/healthz") => (StatusCode::OK, "ok\n"),
        (_, "/healthz") => (StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n"),
        _ => (StatusCode::NOT_FOUND, "there is /healthz\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    Ok(response)
}
