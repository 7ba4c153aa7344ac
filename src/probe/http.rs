//! What does the application answer to GET? One request on a connection of its own.

use std::error::Error as _;
use std::io;
use std::pin::pin;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::expect::{self, BODY_PREFIX, Unmet};
use super::{Answer, Connection, Seen, Wire, connect};
use crate::config::model::Expect;

/// The largest head of an answer, in bytes; a larger one is malformed.
const MAX_HEAD: usize = 64 * 1024;

/// A request that can be sent again and again, and what its answer must be.
#[derive(Debug)]
pub(super) struct Question {
    /// `GET /health`.
    asked: String,
    /// `None`: no request can be made of the `uri` and `host` that were written.
    request: Option<(PathAndQuery, HeaderValue)>,
    expect: Expect,
}

impl Question {
    pub(super) fn new(uri: &str, host: &str, expect: Expect) -> Question {
        let target = uri.parse().ok().zip(HeaderValue::from_str(host).ok());
        Question { asked: format!("GET {uri}"), request: target, expect }
    }

    /// Asks once. The connection is neither reused nor announced to be closed: whether an application keeps it is
    /// worth knowing.
    pub(super) async fn ask(&self, wire: impl Wire) -> Answer {
        let Some((target, host)) = &self.request else {
            let detail = format!("{} cannot be sent: its uri or host is not valid", self.asked);
            return Seen::Unreachable { detail: detail.into() }.into();
        };
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = Uri::from(target.clone());
        request.headers_mut().insert(HOST, host.clone());
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(super::USER_AGENT));

        let mut builder = http1::Builder::new();
        builder.title_case_headers(true).max_buf_size(MAX_HEAD);
        let (mut sender, connection) = match builder.handshake(TokioIo::new(wire)).await {
            Ok(pair) => pair,
            Err(error) => return unreachable(&error).into(),
        };
        let exchange = async move {
            let response = sender.send_request(request).await?;
            self.judge(response).await
        };
        drive(exchange, connection).await.unwrap_or_else(|error| unreachable(&error).into())
    }

    async fn judge(&self, response: Response<Incoming>) -> Result<Answer, hyper::Error> {
        let status = response.status().as_u16();
        let kept = keeps_connection(response.version(), response.headers());
        let connection = Some(Connection { kept, unavailable: status == 503 });
        let unmet = match expect::unmet_by_head(&self.expect, status, response.headers()) {
            Some(unmet) => Some(unmet),
            None => self.judge_body(status, response.into_body()).await?,
        };
        let seen = match unmet {
            None => Seen::Pass,
            Some(unmet) => Seen::BadStatus { detail: format!("{} answered {unmet}", self.asked).into() },
        };
        Ok(Answer { seen, connection })
    }

    async fn judge_body(&self, status: u16, mut body: Incoming) -> Result<Option<Unmet>, hyper::Error> {
        if self.expect.body.is_none() && self.expect.json.is_empty() {
            return Ok(None);
        }
        let mut prefix = Vec::new();
        while prefix.len() < BODY_PREFIX {
            let Some(frame) = body.frame().await.transpose()? else { break };
            if let Some(data) = frame.data_ref() {
                prefix.extend_from_slice(&data[..data.len().min(BODY_PREFIX - prefix.len())]);
            }
        }
        Ok(expect::unmet_by_body(&self.expect, status, &prefix))
    }
}

/// RFC 9112 section 9.3: `close` ends a connection, and HTTP/1.0 keeps it only if it says so.
fn keeps_connection(version: Version, headers: &HeaderMap) -> bool {
    let says = |wanted: &str| {
        let options = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        options.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case(wanted))
    };
    !says("close") && (version > Version::HTTP_10 || says("keep-alive"))
}

/// The exchange, with its connection driven here and not in a task of its own, so that nothing is left when the look is
/// given up.
pub(super) async fn drive<T>(
    exchange: impl Future<Output = Result<T, hyper::Error>>,
    connection: impl Future<Output = Result<(), hyper::Error>>,
) -> Result<T, hyper::Error> {
    let mut exchange = pin!(exchange);
    let mut connection = Box::pin(connection);
    let (outcome, fault) = tokio::select! {
        biased;
        outcome = exchange.as_mut() => (outcome, None),
        ended = connection.as_mut() => {
            drop(connection);
            (exchange.await, ended.err())
        }
    };
    // A cancelled exchange only says that the connection ended; the connection knows why.
    outcome.map_err(|error| if error.is_canceled() { fault.unwrap_or(error) } else { error })
}

/// Nonsense is no answer: it counts as unreachable, since no status speaks for the application.
pub(super) fn unreachable(error: &hyper::Error) -> Seen {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    let detail = match io {
        _ if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => {
            "the connection was closed before a whole answer"
        }
        Some(error) => connect::describe(error),
        None => "malformed answer",
    };
    Seen::Unreachable { detail: detail.into() }
}
