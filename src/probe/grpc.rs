//! What does the application say to grpc.health.v1.Health/Check? HTTP/2 with prior knowledge; the two messages of the
//! protocol are small enough to be written and read by hand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use super::http::{drive, unreachable};
use super::{Seen, Wire};

/// More of an answer is not read: a HealthCheckResponse has one small field.
const MAX_MESSAGE: usize = 4 * 1024;

/// What grpc-status says when all went well.
const OK: u32 = 0;

/// A check that can be sent again and again, and what its answer must be.
#[derive(Debug)]
pub(super) struct Question {
    /// `None`: no request can be made of the server's text.
    uri: Option<Uri>,
    message: Bytes,
    /// For the application: how long the answer is worth anything.
    timeout: Duration,
    /// Also healthy with this grpc-status.
    status: Option<u32>,
}

impl Question {
    pub(super) fn new(server: &str, service: &str, status: Option<u32>, timeout: Duration) -> Question {
        let uri = format!("http://{server}/grpc.health.v1.Health/Check").parse().ok();
        Question { uri, message: request_message(service), timeout, status }
    }

    pub(super) async fn ask(&self, wire: impl Wire) -> Seen {
        let Some(uri) = &self.uri else {
            let detail = "the gRPC check cannot be sent: the server's name is not valid in a request".into();
            return Seen::Unreachable { detail };
        };
        let mut request = Request::new(Full::new(self.message.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(USER_AGENT, HeaderValue::from_static(super::USER_AGENT));
        // At most eight digits (gRPC over HTTP2, "Timeout").
        let millis = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX).min(99_999_999);
        if let Ok(value) = HeaderValue::from_str(&format!("{millis}m")) {
            headers.insert("grpc-timeout", value);
        }

        let mut builder = http2::Builder::new(Tasks::default());
        builder.max_header_list_size(16 * 1024);
        let (mut sender, connection) = match builder.handshake(TokioIo::new(wire)).await {
            Ok(pair) => pair,
            Err(error) => return unreachable(&error),
        };
        let exchange = async move {
            let response = sender.send_request(request).await?;
            self.judge(response).await
        };
        drive(exchange, connection).await.unwrap_or_else(|error| unreachable(&error))
    }

    async fn judge(&self, response: Response<Incoming>) -> Result<Seen, hyper::Error> {
        let malformed = || Seen::Unreachable { detail: "malformed answer".into() };
        if response.status() != 200 {
            let detail = format!("the gRPC health check answered HTTP status {}", response.status().as_u16());
            return Ok(Seen::BadStatus { detail: detail.into() });
        }
        let (head, mut body) = response.into_parts();
        let mut message = Vec::new();
        let mut status = grpc_status(&head.headers);
        while let Some(frame) = body.frame().await.transpose()? {
            match frame.into_data() {
                Ok(data) if message.len() + data.len() > MAX_MESSAGE => return Ok(malformed()),
                Ok(data) => message.extend_from_slice(&data),
                Err(frame) => status = frame.trailers_ref().and_then(grpc_status).or(status),
            }
        }
        let Some(status) = status else { return Ok(malformed()) };
        let detail = if status != OK {
            if Some(status) == self.status {
                return Ok(Seen::Pass);
            }
            match status {
                5 => "the gRPC health check answered 5: the application has no such service".into(),
                12 => "the gRPC health check answered 12: the application has no health service".into(),
                _ => format!("the gRPC health check answered grpc-status {status}").into(),
            }
        } else {
            let Some(serving) = serving_status(&message) else { return Ok(malformed()) };
            let name = match serving {
                1 => return Ok(Seen::Pass),
                2 => "NOT_SERVING",
                3 => "SERVICE_UNKNOWN",
                _ => "UNKNOWN",
            };
            format!("the gRPC health check answered {name}").into()
        };
        Ok(Seen::BadStatus { detail })
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// `HealthCheckRequest { string service = 1; }`, after the five bytes that frame every gRPC message.
fn request_message(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), &message].concat().into()
}

/// `HealthCheckResponse { ServingStatus status = 1; }` after its frame; `None` if it is not one.
fn serving_status(framed: &[u8]) -> Option<u64> {
    let (frame, mut message) = framed.split_at_checked(5)?;
    let length = u32::from_be_bytes(frame[1..].try_into().ok()?);
    if frame[0] != 0 || message.len() != length as usize {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut message)?,
            (_, 0) => drop(varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = varint(&mut message)?;
                message = message.get(usize::try_from(length).ok()?..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// Takes a varint of at most ten bytes off the front.
fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The tasks of one HTTP/2 connection. They end with the last holder of the set, which is the connection itself.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_request_for_the_whole_server_is_an_empty_message() {
        assert_eq!(&request_message("")[..], b"\0\0\0\0\0");
    }

    #[test]
    fn the_request_for_a_service_holds_its_name() {
        assert_eq!(&request_message("shop.Cart")[..], b"\0\0\0\0\x0b\x0a\x09shop.Cart");
        let long = request_message(&"x".repeat(300));
        assert_eq!(&long[..8], b"\0\0\0\x01\x2f\x0a\xac\x02");
    }

    #[test]
    fn the_answer_is_the_first_field() {
        for (bytes, status) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Some(1)),
            (b"\0\0\0\0\x02\x08\x02", Some(2)),
            (b"\0\0\0\0\0", Some(0)),
            (b"\0\0\0\0\x06\x12\x02hi\x08\x01", Some(1)),
            (b"\0\0\0\0\x03\x08\x81\x00", Some(1)),
            (b"\x01\0\0\0\x02\x08\x01", None),
            (b"\0\0\0\0\x02\x08", None),
            (b"\0\0\0\0\x01\x08", None),
            (b"\0\0\0", None),
            (b"", None),
        ] {
            assert_eq!(serving_status(bytes), status, "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange_to_be_read(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let length = u32::try_from(body.len()).expect("under 64").to_be_bytes();
            let framed = [&[0][..], &length, &body].concat();
            let _ = serving_status(&framed);
            let _ = serving_status(&body);
        }

        #[test]
        fn a_request_reads_back_as_one_field_of_its_length(service in "[a-z.]{1,200}") {
            let message = request_message(&service);
            prop_assert_eq!(serving_status(&message), Some(0), "field 1 as text is skipped, not taken for a status");
            prop_assert!(message.ends_with(service.as_bytes()));
        }
    }
}
