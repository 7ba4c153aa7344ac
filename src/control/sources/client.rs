//! What does an HTTP API answer? One GET on a connection of its own; whole answers are bounded, and none is waited for
//! without end.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// An answer whose body is still to be read.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    body: Incoming,
    /// Drives the connection, and ends with the answer.
    _connection: Connection,
}

struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks for `target`. `limit`: until the head of the answer.
///
/// # Errors
/// What went wrong, in words; an answer that is no 200 is an error, too.
pub(super) async fn get(
    wire: impl AsyncRead + AsyncWrite + Unpin + 'static,
    host: &str,
    target: &str,
    token: Option<(&str, &str)>,
    limit: Duration,
) -> Result<Answer, String> {
    let mut request = Request::get(target).header("host", host).header("accept", "application/json");
    if let Some((field, value)) = token {
        request = request.header(field, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| format!("cannot ask for {target}: {error}"))?;
    let ask = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(wire)).await?;
        let connection = Connection(tokio::task::spawn_local(connection).abort_handle());
        Ok::<_, hyper::Error>((sender.send_request(request).await?, connection))
    };
    let asked = timeout(limit, ask).await.map_err(|_| format!("no answer within {limit:?}"))?;
    let (response, connection) = asked.map_err(|error| format!("no answer: {error}"))?;
    let (head, body) = response.into_parts();
    let answer = Answer { headers: head.headers, body, _connection: connection };
    if head.status != StatusCode::OK {
        let path = target.split('?').next().unwrap_or_default();
        return Err(format!("{path} was answered with {}{}", head.status.as_u16(), answer.reason().await));
    }
    Ok(answer)
}

impl Answer {
    /// The whole body.
    pub(super) async fn whole(self, limit: Duration) -> Result<Bytes, String> {
        let body = timeout(limit, Limited::new(self.body, MAX_ANSWER).collect()).await;
        match body.map_err(|_| format!("no whole answer within {limit:?}"))? {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) => Err(format!("the answer is cut or too long: {error}")),
        }
    }

    /// The next piece of an answer that goes on for ever; `None`: it has ended.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.body.frame().await?.ok()?.into_data() {
                Ok(data) => return Some(data),
                Err(_) => continue,
            }
        }
    }

    /// The beginning of what an error says, for the log.
    async fn reason(self) -> String {
        let text = self.whole(Duration::from_secs(1)).await.unwrap_or_default();
        let text: String = String::from_utf8_lossy(&text).chars().filter(|c| !c.is_control()).take(200).collect();
        if text.is_empty() { text } else { format!(": {text}") }
    }
}

/// A text as a part of a target (RFC 3986 section 2.1).
pub(super) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}
