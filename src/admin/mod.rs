//! Eyes and levers, on a listener of their own: never on the data path, never able to slow it.
//!
//! | file | question |
//! | --- | --- |
//! | `listener` | where is it, and who is at the other end? |
//! | `follow` | and after a reload? |
//! | `guard` | may they look, or change something? |
//! | `failure` | what do they hear if not? |
//! | `desk` | what do the handlers stand on? |
//! | `nginx` | the API of nginx Plus: `/api/9/http/upstreams` |
//! | `status` | `/status`: groups and peers as they are |
//! | `levers` | `/levers`: drain, undrain, down, up, weight |
//! | `change` | `/reload` and `/plan`: the file |

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

pub mod change;
mod desk;
mod failure;
mod follow;
mod guard;
pub mod levers;
mod listener;
mod nginx;
pub mod status;

pub use desk::Desk;
pub use follow::follow;
pub use listener::Listener;

use failure::Failure;
use listener::{Stream, Visitor};
use status::Status;

use crate::control::operator;

/// How long a client may take for a head, and be idle.
const HEAD: Duration = Duration::from_secs(10);
/// How long a request may take, its body included.
const REQUEST: Duration = Duration::from_secs(30);
/// How long a connection may live: a client that does not read goes, too.
const CONNECTION: Duration = Duration::from_secs(300);
/// Connections at once. Those beyond wait in the kernel.
const CONNECTIONS: usize = 64;
/// The largest body, but for a whole configuration.
const BODY: usize = 64 << 10;
/// The largest configuration to plan, with what JSON puts around it.
const CONFIGURATION: usize = 4 << 20;

/// Answers on this listener until dropped.
pub async fn serve(listener: Listener, desk: Desk) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let router = router(desk);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok(stream) => {
                let router = router.clone().layer(Extension(stream.visitor()));
                match stream {
                    Stream::Unix(stream) => answer(TokioIo::new(stream), router, place),
                    Stream::Tcp(stream) => answer(TokioIo::new(stream), router, place),
                }
            }
            Err(error) => {
                tracing::warn!("admin: cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One router a concern: metrics and a dashboard are one more line each.
fn router(desk: Desk) -> Router {
    let file = Router::new()
        .route("/plan", post(change::plan).fallback(|| async { Failure::method("POST") }))
        .layer(DefaultBodyLimit::max(CONFIGURATION));
    let small = Router::new()
        .route("/healthz", get(|| async { "ok\n" }).fallback(|| async { Failure::method("GET and HEAD") }))
        .route("/status", get(status).fallback(|| async { Failure::method("GET") }))
        .route("/levers", post(levers::pull).fallback(|| async { Failure::method("POST") }))
        .route("/reload", post(change::reload).fallback(|| async { Failure::method("POST") }))
        .route("/api", any(nginx::answer))
        .route("/api/", any(nginx::answer))
        .route("/api/{*path}", any(nginx::answer))
        .layer(DefaultBodyLimit::max(BODY));
    let nothing = || async { Failure::not_found("PathNotFound", "there are /healthz, /status and /api/9/") };
    small.merge(file).fallback(nothing).layer(middleware::from_fn_with_state(desk.clone(), guarded)).with_state(desk)
}

/// Lets through who may, and ends what takes too long.
async fn guarded(
    State(desk): State<Desk>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
    next: Next,
) -> Response {
    let topology = desk.topology();
    // The token in force: a reload may have changed it.
    let token = topology.config().admin.token.as_deref();
    if let Err(refused) = guard::admit(&visitor, request.method(), request.uri().path(), request.headers(), token) {
        return refused.into_response();
    }
    match timeout(REQUEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let text = format!("no whole request within {REQUEST:?}, or no answer");
            Failure { status: StatusCode::REQUEST_TIMEOUT, code: "TooLate", text }.into_response()
        }
    }
}

/// `?peer=GROUP/PEER`: these peers alone.
#[derive(Deserialize)]
struct Wanted {
    peer: Option<String>,
}

async fn status(State(desk): State<Desk>, Query(wanted): Query<Wanted>) -> Result<Json<Status>, Failure> {
    let topology = desk.topology();
    let status = Status::of(&topology, desk.now());
    Ok(Json(match wanted.peer {
        Some(peer) => status.only(&operator::target(&topology, &peer)?),
        None => status,
    }))
}

fn answer<S>(stream: TokioIo<S>, router: Router, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD);
    tokio::task::spawn_local(async move {
        // A client that breaks off has had what it wanted.
        let _ = timeout(CONNECTION, server.serve_connection(stream, TowerToHyperService::new(router))).await;
        drop(place);
    });
}
