//! Does weir's codec ever accept what hyper understands differently, or refuses?
//!
//! Written and generated messages, good and malformed, go through both. Whatever weir accepts, hyper must accept too,
//! with the same method, target, version, fields and body, message after message on the same connection: otherwise the
//! two would find the next message at different places, which is how requests are smuggled. That weir refuses what
//! hyper accepts is fine, and wanted: bare LF, CL with TE, equal lengths twice, hosts that are none, folded lines, …
//!
//! Where weir accepts what hyper does not ([`hyper_alone_refuses`], the whole list):
//! - a minor version of 2 to 9, which RFC 9110 §2.5 wants treated as 1.1;
//! - targets that are visible ASCII but not a `http::Uri` (`/<`, `` /` ``, …): forwarded byte for byte, as by nginx.
//!
//! What the two mean differently and no body hangs on: weir drops forbidden trailers, so only data is compared.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Method as HttpMethod, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use weir::http1::{BodyDecoder, Event, Framing, Limits, Method, Progress, RequestHead, ResponseHead, Version};

/// A message as one of the two understands it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    /// Method and target, or status.
    line: String,
    version: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Body,
}

#[derive(Clone, Debug, PartialEq)]
enum Body {
    Whole(Vec<u8>),
    /// The connection ended before the body did.
    Cut,
    /// Malformed; of hyper's bodies also one that was cut.
    Refused,
}

const LIMITS: Limits = Limits { head: 64 * 1024, target: 8 * 1024, fields: 100 };

fn weir_body(framing: Framing, input: &[u8]) -> (Body, usize) {
    let mut decoder = BodyDecoder::new(framing);
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let Ok(decoded) = decoder.decode(&input[at..]) else { return (Body::Refused, at) };
        match decoded.event {
            Event::Data(range) => data.extend_from_slice(&input[at..][range]),
            Event::NeedMore if decoder.eof().is_err() => return (Body::Cut, input.len()),
            Event::NeedMore | Event::End => return (Body::Whole(data), at + decoded.consumed),
        }
        at += decoded.consumed;
    }
}

fn version_of(version: Version) -> String {
    format!("{:?}", if version == Version::Http10 { http::Version::HTTP_10 } else { http::Version::HTTP_11 })
}

fn fields<'a>(fields: impl Iterator<Item = weir::http1::Field<'a>>) -> Vec<(String, Vec<u8>)> {
    let name = |name: &[u8]| String::from_utf8_lossy(name).to_ascii_lowercase();
    sorted(fields.map(|field| (name(field.name), field.value.to_vec())).collect())
}

fn sorted(mut fields: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    // A `HeaderMap` keeps the order only among the fields of one name, and so does a stable sort.
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields
}

fn from_map(map: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    sorted(map.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect())
}

/// The target as hyper would print it, if it can be one of hyper's.
fn uri(target: &[u8]) -> Option<String> {
    Uri::try_from(target).ok().map(|uri| uri.to_string())
}

/// What weir takes a connection for, up to the first message it refuses; whether hyper may refuse a head is beside it.
fn weir_requests(input: &[u8]) -> Vec<(Seen, bool)> {
    let (mut seen, mut at, mut head) = (Vec::new(), 0, RequestHead::new());
    while let Ok(Progress::Complete { consumed }) = head.parse(&input[at..], &LIMITS) {
        at += consumed;
        let (body, consumed) = weir_body(head.framing(), &input[at..]);
        at += consumed;
        let uri = uri(head.target());
        let tolerated = hyper_alone_refuses(head.request_line(), uri.is_some());
        let line = format!("{} {}", String::from_utf8_lossy(head.method()), uri.unwrap_or_default());
        let over = !matches!(body, Body::Whole(_)) || !head.keep_alive() || head.method_kind() == Method::Connect;
        seen.push((Seen { line, version: version_of(head.version()), fields: fields(head.fields()), body }, tolerated));
        if over {
            break;
        }
    }
    seen
}

/// The documented differences about requests.
fn hyper_alone_refuses(request_line: &[u8], is_uri: bool) -> bool {
    !is_uri || !(request_line.ends_with(b"HTTP/1.1") || request_line.ends_with(b"HTTP/1.0"))
}

async fn hyper_requests(input: &[u8]) -> Vec<Seen> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: http::Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (parts, body) = request.into_parts();
            let line = format!("{} {}", parts.method, parts.uri);
            let body = body.collect().await.map_or(Body::Refused, |body| Body::Whole(body.to_bytes().to_vec()));
            let (version, fields) = (format!("{:?}", parts.version), from_map(&parts.headers));
            seen.borrow_mut().push(Seen { line, version, fields, body });
            Ok::<_, Infallible>(http::Response::new(Empty::<Bytes>::new()))
        }
    });
    let (mut client, server) = duplex(1 << 20);
    let serve = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .max_buf_size(1 << 20)
        .serve_connection(TokioIo::new(server), service);
    let talk = async {
        client.write_all(input).await.expect("the pipe holds all of the input");
        client.shutdown().await.expect("the pipe is open");
        let mut answers = Vec::new();
        client.read_to_end(&mut answers).await.expect("the pipe does not fail");
    };
    let _ = tokio::join!(serve, talk);
    seen.take()
}

fn weir_answer(method: Method, input: &[u8]) -> Option<(Seen, bool)> {
    let (mut at, mut head, mut tolerated) = (0, ResponseHead::new(), false);
    while let Ok(Progress::Complete { consumed }) = head.parse(&input[at..], &LIMITS) {
        // The only documented difference about answers. An interim answer that hyper refuses ends the connection there.
        tolerated |= !matches!(&input[at..at + 8], b"HTTP/1.0" | b"HTTP/1.1");
        let framing = head.framing(method);
        at += consumed;
        if head.is_interim() {
            continue;
        }
        let (body, _) = weir_body(framing, &input[at..]);
        let (line, version) = (head.status().to_string(), version_of(head.version()));
        return Some((Seen { line, version, fields: fields(head.fields()), body }, tolerated));
    }
    None
}

async fn hyper_answer(method: Method, input: &[u8]) -> Option<Seen> {
    let (mut server, client) = duplex(1 << 20);
    let talk = async {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(server.read_u8().await.expect("hyper sends a whole request"));
        }
        server.write_all(input).await.expect("the pipe holds all of the input");
        server.shutdown().await.expect("the pipe is open");
        let _ = server.read_to_end(&mut request).await;
    };
    let ask = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(client)).await.expect("there is nothing to shake");
        let method = if method == Method::Head { HttpMethod::HEAD } else { HttpMethod::GET };
        let request = http::Request::builder().method(method).uri("/").header("host", "a").body(Empty::<Bytes>::new());
        let answer = async {
            let answer = sender.send_request(request.expect("a plain request")).await.ok()?;
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.map_or(Body::Refused, |body| Body::Whole(body.to_bytes().to_vec()));
            let (line, version) = (parts.status.as_str().to_owned(), format!("{:?}", parts.version));
            Some(Seen { line, version, fields: from_map(&parts.headers), body })
        };
        let (answer, _) = tokio::join!(answer, async {
            let _ = connection.with_upgrades().await;
        });
        answer
    };
    let (answer, ()) = tokio::join!(ask, talk);
    answer
}

/// Why hyper's reading contradicts weir's, if it does.
fn contradiction(ours: &Seen, theirs: Option<&Seen>, tolerated: bool) -> Option<String> {
    let Some(theirs) = theirs else {
        return (!tolerated).then(|| format!("weir alone accepts {ours:?}"));
    };
    let same_head = (&ours.line, &ours.version, &ours.fields) == (&theirs.line, &theirs.version, &theirs.fields);
    let body_agrees = match (&ours.body, &theirs.body) {
        (Body::Whole(ours), Body::Whole(theirs)) => ours == theirs,
        (Body::Whole(_), _) | (Body::Cut, Body::Whole(_)) => false,
        // Refused by weir, whatever hyper makes of it; or cut, and hyper does not take it for whole.
        _ => true,
    };
    (!same_head || !body_agrees).then(|| format!("weir reads {ours:?}\nhyper reads {theirs:?}"))
}

/// Runs one connection through both. How many messages weir accepted.
fn compare_requests(runtime: &tokio::runtime::Runtime, input: &[u8]) -> Result<usize, String> {
    let ours = weir_requests(input);
    let theirs = bounded(runtime, hyper_requests(input));
    for (i, (ours, tolerated)) in ours.iter().enumerate() {
        if let Some(why) = contradiction(ours, theirs.get(i), *tolerated) {
            return Err(format!("{:?}\nmessage {i}: {why}", String::from_utf8_lossy(input)));
        }
        if theirs.get(i).is_none() {
            break;
        }
    }
    Ok(ours.len())
}

fn compare_answers(runtime: &tokio::runtime::Runtime, method: Method, input: &[u8]) -> Result<usize, String> {
    let Some((ours, tolerated)) = weir_answer(method, input) else { return Ok(0) };
    let theirs = bounded(runtime, hyper_answer(method, input));
    match contradiction(&ours, theirs.as_ref(), tolerated) {
        Some(why) => Err(format!("{method:?} {:?}\n{why}", String::from_utf8_lossy(input))),
        None => Ok(1),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime without sockets")
}

fn bounded<T>(runtime: &tokio::runtime::Runtime, work: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    runtime.block_on(async { tokio::time::timeout(limit, work).await }).expect("hyper ends when its input does")
}

// ---------------------------------------------------------------------------------------------------------------------
// What goes in.

const GOOD_LINES: &[&str] = &[
    "GET / HTTP/1.1",
    "POST /a?b=c HTTP/1.1",
    "PUT /a%2Fb/../c//d HTTP/1.1",
    "HEAD / HTTP/1.0",
    "POST / HTTP/1.0",
    "OPTIONS * HTTP/1.1",
    "GET http://b/c?d HTTP/1.1",
    "GET http://b HTTP/1.1",
    "M-SEARCH /x HTTP/1.1",
    "GET /a|b{c}\"^ HTTP/1.1",
    "GET / HTTP/1.2",
    "GET /?a?b/../c HTTP/1.1",
    "DELETE //a HTTP/1.1",
];
const BAD_LINES: &[&str] = &[
    "GET /  HTTP/1.1",
    "GET  / HTTP/1.1",
    "GET / HTTP/2.0",
    "PRI * HTTP/2.0",
    "GET /",
    "GET / HTTP/1.1 ",
    "G\0T / HTTP/1.1",
    "GET /a#b HTTP/1.1",
    "GET /\u{e9} HTTP/1.1",
    "GET * HTTP/1.1",
    "GET a HTTP/1.1",
    "get / http/1.1",
    " GET / HTTP/1.1",
    "GET http://u@b/ HTTP/1.1",
    "GET ftp://b/ HTTP/1.1",
    "GET /a\tb HTTP/1.1",
    "GET / HTTP/1.10",
    "GET / HTTP/1.1\r",
];
const GOOD_FIELDS: &[&str] = &[
    "Host: a",
    "Content-Length: 5",
    "Content-Length: 0",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: x, Upgrade",
    "Expect: 100-continue",
    "X-A: b",
    "X-A:\t c\t",
    "X_A: \u{e9}",
    "Empty:",
    "Cookie: a=b; c=d",
    "Upgrade: h2c",
    "Content-Length: 00005",
    "TE: trailers",
    "Trailer: x",
];
const BAD_FIELDS: &[&str] = &[
    "Content-Length: 6",
    "Content-Length: +5",
    "Content-Length: 5, 5",
    "Content-Length: 0x5",
    "Content-Length: -1",
    "Content-Length:",
    "Content-Length : 5",
    "Content-Length: 99999999999999999999",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding:\x0bchunked",
    "Transfer-Encoding: \"chunked\"",
    "Host: b",
    "Host: a b",
    "Host:",
    "X: a\r\n b",
    " X: a",
    "X: a\0",
    "X: a\rb",
    "X: a\nb",
    "X",
    ": a",
    "X Y: a",
    "X:a\n",
    "\u{e9}: a",
    "X-A: b\r",
];
const BODIES: &[&str] = &[
    "",
    "hello",
    "hell",
    "hello!",
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\n\r\n",
    "5 ;a\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "05\r\nhello\r\n00\r\n\r\n",
    "5\r\nhello\r\n0\r\nContent-Length: 3\r\nHost: c\r\n\r\n",
    "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
    "5\r\nhello\r\n",
    "5\r\nhel",
    "5 \r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5\nhello\n0\n\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "6\r\nhello\r\n0\r\n\r\n",
    "5;\n\r\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "-1\r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nhello",
    "5\r\nhello\r\n0\r\n\n",
    "5\r\nhello\r\n0\r\n",
    "5;a\"\r\n\"\r\nhello\r\n0\r\n\r\n",
    "\r\n",
    "8000000000000000\r\nhello",
    "5\r\nhello\r\n0;x\r\nX: y\r\nZ: \r\n\r\n",
    "5\rhello\r\n0\r\n\r\n",
];
const STATUS_LINES: &[&str] = &[
    "HTTP/1.1 200 OK",
    "HTTP/1.1 200",
    "HTTP/1.1 200 ",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 404 Not  Found",
    "HTTP/1.1 204 No Content",
    "HTTP/1.1 304 Not Modified",
    "HTTP/1.1 500 \u{e9}",
    "HTTP/1.1 999 x",
    "HTTP/1.2 200 OK",
    "HTTP/1.1 205 Reset",
];
const BAD_STATUS_LINES: &[&str] = &[
    "HTTP/1.1 20 OK",
    "HTTP/1.1 2000 OK",
    "HTTP/1.1  200 OK",
    "HTTP/2.0 200 OK",
    "ICY 200 OK",
    "HTTP/1.1 099 x",
    "<html>",
    "HTTP/1.1 200\tOK",
    "http/1.1 200 OK",
    "HTTP/1.1 200 O\0K",
    "HTTP/1.1 +20 x",
    "\r\nHTTP/1.1 200 OK",
];

fn one_of(good: &'static [&'static str], bad: &'static [&'static str]) -> impl Strategy<Value = String> {
    let text = |text: &str| text.to_owned();
    prop_oneof![
        15 => prop::sample::select(good).prop_map(text),
        1 => prop::sample::select(bad).prop_map(text),
    ]
}

fn head(lines: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let fields = prop::collection::vec(one_of(GOOD_FIELDS, BAD_FIELDS), 0..5);
    // Mostly what an honest sender adds, so that more than a tenth of what is generated is a request at all.
    let honest = prop::sample::select(&["Host: a\r\n", "Host: a\r\n", "Host: a\r\n", "Host: a.b:80\r\n", ""][..]);
    (lines, honest, fields).prop_map(|(line, honest, fields)| {
        let fields: String =
            fields.iter().filter(|field| *field != "Host: a").map(|field| format!("{field}\r\n")).collect();
        format!("{line}\r\n{honest}{fields}\r\n")
    })
}

fn messages(lines: fn() -> BoxedStrategy<String>) -> impl Strategy<Value = Vec<u8>> {
    let message = (head(lines()), prop::sample::select(BODIES)).prop_map(|(head, body)| format!("{head}{body}"));
    let mutation = (any::<prop::sample::Index>(), 0..6usize, prop::sample::select(&b"\r\n\0 \t:;,0a5+"[..]));
    (prop::collection::vec(message, 1..4), prop::collection::vec(mutation, 0..2)).prop_map(|(messages, mutations)| {
        let mut bytes = messages.concat().into_bytes();
        for (index, kind, byte) in mutations {
            let at = index.index(bytes.len());
            match kind {
                0 => bytes.insert(at, byte),
                1 => bytes[at] = byte,
                2 => bytes.truncate(at + 1),
                3 => bytes[at] = bytes[at].wrapping_add(0x80),
                _ => drop(bytes.remove(at)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        bytes
    })
}

fn request_lines() -> BoxedStrategy<String> {
    one_of(GOOD_LINES, BAD_LINES).boxed()
}

fn status_lines() -> BoxedStrategy<String> {
    let interim =
        prop::sample::select(&["", "", "", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 x\r\nLink: a\r\n\r\n"][..]);
    (interim, one_of(STATUS_LINES, BAD_STATUS_LINES)).prop_map(|(interim, line)| format!("{interim}{line}")).boxed()
}

/// Runs as many generated inputs as `PROPTEST_CASES` says (2,000 if it says nothing), always the same ones, and makes
/// sure that they were worth it: enough of them accepted, enough refused.
fn generated(strategy: impl Strategy<Value = Vec<u8>>, compare: impl Fn(&[u8]) -> Result<usize, String>) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let (accepted, refused) = (std::cell::Cell::new(0u32), std::cell::Cell::new(0u32));
    let run = runner.run(&strategy, |input| {
        let messages = compare(&input).map_err(TestCaseError::fail)?;
        let count = if messages > 0 { &accepted } else { &refused };
        count.set(count.get() + 1);
        Ok(())
    });
    if let Err(why) = run {
        panic!("{why}");
    }
    let (accepted, refused) = (accepted.get(), refused.get());
    assert!(accepted * 5 > cases && refused * 5 > cases, "one-sided: {accepted} accepted, {refused} refused");
}

#[test]
fn every_written_request_means_the_same_to_both() {
    let (runtime, mut accepted) = (runtime(), 0);
    for line in GOOD_LINES.iter().chain(BAD_LINES) {
        for field in GOOD_FIELDS.iter().chain(BAD_FIELDS) {
            for (body, next) in BODIES.iter().zip(["", "GET /next HTTP/1.1\r\nHost: a\r\n\r\n"].into_iter().cycle()) {
                let input = format!("{line}\r\nHost: a\r\n{field}\r\n\r\n{body}{next}")
                    .replace("Host: a\r\nHost: a\r\n", "Host: a\r\n");
                accepted += compare_requests(&runtime, input.as_bytes()).unwrap_or_else(|why| panic!("{why}"));
            }
        }
    }
    assert!(accepted > 5_000, "only {accepted} accepted");
}

#[test]
fn every_written_answer_means_the_same_to_both() {
    let (runtime, mut accepted) = (runtime(), 0);
    for line in STATUS_LINES.iter().chain(BAD_STATUS_LINES) {
        for field in GOOD_FIELDS.iter().chain(BAD_FIELDS) {
            for (body, method) in BODIES.iter().zip([Method::Get, Method::Get, Method::Head].into_iter().cycle()) {
                let input = format!("{line}\r\n{field}\r\n\r\n{body}");
                accepted += compare_answers(&runtime, method, input.as_bytes()).unwrap_or_else(|why| panic!("{why}"));
            }
        }
    }
    assert!(accepted > 2_000, "only {accepted} accepted");
}

#[test]
fn generated_requests_mean_the_same_to_both() {
    let runtime = runtime();
    generated(messages(request_lines), |input| compare_requests(&runtime, input));
}

#[test]
fn generated_answers_mean_the_same_to_both() {
    let runtime = runtime();
    generated(messages(status_lines), |input| compare_answers(&runtime, Method::Get, input));
}
