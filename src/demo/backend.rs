//! What do the embedded applications of `weir demo` answer?
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /` | `Web Application [n]` |
//! | `GET /health` | 200 `ok`, or 503 while broken |
//! | `/break`, `/fix` | makes `/health` fail, or pass again; any method, so that a browser can do it |
//! | `/slow?ms=N` | as `/`, after N milliseconds, a minute at most |

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The longest that `/slow` waits.
const SLOWEST: Duration = Duration::from_secs(60);
/// How long requests in flight may take after the end was asked for.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves "Web Application \[`id`\]" until `shutdown`, then finishes what is in flight, for two seconds at most.
/// Prints nothing.
pub async fn serve(listener: TcpListener, id: usize, shutdown: CancellationToken) {
    let application = Arc::new(Application { id, broken: AtomicBool::new(false) });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, application.clone(), shutdown.clone()));
                }
                // Out of descriptors, mostly: some will be free again in a moment.
                Err(_) => sleep(Duration::from_millis(50)).await,
            },
        }
    }
    drop(listener);
    // What is left after that ends with the set.
    let _ = timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await;
}

async fn serve_connection(stream: TcpStream, application: Arc<Application>, shutdown: CancellationToken) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let application = application.clone();
        async move { Ok::<_, Infallible>(application.answer(request.uri().path(), request.uri().query()).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new());
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // A client that breaks off is the client's affair.
        _ = connection.as_mut() => {}
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

struct Application {
    id: usize,
    broken: AtomicBool,
}

impl Application {
    async fn answer(&self, path: &str, query: Option<&str>) -> Response<Full<Bytes>> {
        let id = self.id;
        match path {
            "/" => self.page(),
            "/health" if self.broken.load(Relaxed) => text(StatusCode::SERVICE_UNAVAILABLE, "broken\n".into()),
            "/health" => text(StatusCode::OK, "ok\n".into()),
            "/break" => {
                self.broken.store(true, Relaxed);
                text(StatusCode::OK, format!("Web Application [{id}] is broken: /health answers 503 until /fix\n"))
            }
            "/fix" => {
                self.broken.store(false, Relaxed);
                text(StatusCode::OK, format!("Web Application [{id}] is well: /health answers 200\n"))
            }
            "/slow" => {
                sleep(wait(query)).await;
                self.page()
            }
            _ => text(StatusCode::NOT_FOUND, "not found; try / /health /break /fix /slow?ms=1000\n".into()),
        }
    }

    fn page(&self) -> Response<Full<Bytes>> {
        text(StatusCode::OK, format!("Web Application [{}]\n", self.id))
    }
}

/// `ms=1500`; a second if it is not said.
fn wait(query: Option<&str>) -> Duration {
    let ms = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("ms=")?.parse().ok());
    ms.map_or(Duration::from_secs(1), Duration::from_millis).min(SLOWEST)
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    /// An application on loopback, ended with the test.
    struct Running {
        addr: SocketAddr,
        shutdown: CancellationToken,
        task: JoinHandle<()>,
    }

    async fn running(id: usize) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let addr = listener.local_addr().expect("bound");
        let shutdown = CancellationToken::new();
        Running { addr, task: tokio::spawn(serve(listener, id, shutdown.clone())), shutdown }
    }

    /// Status and body of an answer to `request` (`GET /`), on a connection of its own.
    async fn ask(addr: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.expect("it listens");
        let head = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
        format!("{} {}", &head[9..12], body.trim_end())
    }

    #[tokio::test]
    async fn an_application_tells_its_number() {
        let app = running(2).await;
        assert_eq!(ask(app.addr, "GET /").await, "200 Web Application [2]");
        assert_eq!(ask(app.addr, "GET /slow?ms=0").await, "200 Web Application [2]");
        assert!(ask(app.addr, "GET /nothing").await.starts_with("404 "));
    }

    #[tokio::test]
    async fn breaking_fails_the_health_check_until_it_is_fixed() {
        let app = running(1).await;
        assert_eq!(ask(app.addr, "GET /health").await, "200 ok");
        assert!(ask(app.addr, "POST /break").await.starts_with("200 "));
        assert_eq!(ask(app.addr, "GET /health").await, "503 broken");
        assert_eq!(ask(app.addr, "GET /").await, "200 Web Application [1]", "only its health is broken");
        assert!(ask(app.addr, "GET /fix").await.starts_with("200 "));
        assert_eq!(ask(app.addr, "GET /health").await, "200 ok");
    }

    #[tokio::test]
    async fn shutdown_finishes_what_is_in_flight_and_frees_the_port() {
        let app = running(3).await;
        let slow = tokio::spawn(ask(app.addr, "GET /slow?ms=200"));
        let idle = TcpStream::connect(app.addr).await.expect("it listens");
        // Both are accepted once a later request was answered.
        ask(app.addr, "GET /").await;
        app.shutdown.cancel();
        assert_eq!(slow.await.expect("no panic"), "200 Web Application [3]");
        app.task.await.expect("no panic");
        assert!(TcpStream::connect(app.addr).await.is_err(), "nobody listens any more");
        drop(idle);
    }

    #[test]
    fn slow_waits_as_long_as_it_is_told_up_to_a_minute() {
        for (query, ms) in [
            (None, 1_000),
            (Some("ms=20"), 20),
            (Some("a=b&ms=20"), 20),
            (Some("ms=-1"), 1_000),
            (Some("ms=999999999999"), 60_000),
        ] {
            assert_eq!(wait(query).as_millis(), ms, "{query:?}");
        }
    }
}
