use std::io::ErrorKind;

use ::http::{HeaderMap, HeaderValue, Response};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::prelude::*;
use regex::bytes::Regex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::config::model::{BodyTest, Expect, StatusSet};

const LIMIT: Duration = Duration::from_secs(1);

fn check(kind: CheckKind) -> HealthCheck {
    let interval = Duration::from_secs(5);
    HealthCheck { kind, interval, jitter: Duration::ZERO, timeout: LIMIT, fails: 3, passes: 2, port: None }
}

fn expecting(body: Option<BodyTest>) -> CheckKind {
    let status = Some(StatusSet { negated: false, ranges: vec![(200, 399)] });
    CheckKind::Http {
        uri: "/health".into(),
        host: None,
        expect: Expect { status, headers: Vec::new(), body, json: Vec::new() },
    }
}

fn http() -> Probe {
    Probe::new(&check(expecting(None)), "app1:5000")
}

fn http_with_body(pattern: &str) -> Probe {
    let pattern = Regex::new(pattern).expect("the test's own pattern");
    Probe::new(&check(expecting(Some(BodyTest { negated: false, pattern }))), "app1:5000")
}

fn grpc(status: Option<u32>) -> Probe {
    Probe::new(&check(CheckKind::Grpc { service: String::new(), status }), "app1:5000")
}

/// What an application does after it has sent its answer.
#[derive(Clone, Copy)]
enum Then {
    Close,
    StayOpen,
}

/// Looks at an application that reads a request, sends `answer` whatever it was, and returns the request, too.
async fn ask(probe: &Probe, answer: &[u8], then: Then) -> (Look, String) {
    let (near, far) = duplex(1024);
    let answer = answer.to_vec();
    let application = tokio::spawn(async move {
        let (mut reading, mut writing) = tokio::io::split(far);
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let Ok(byte) = reading.read_u8().await else { break };
            request.push(byte);
        }
        // A probe that has heard enough hangs up, so that this may fail.
        let _ = writing.write_all(&answer).await;
        match then {
            Then::Close => drop(writing.shutdown().await),
            Then::StayOpen => drop(reading.read_u8().await),
        }
        request
    });
    let look = probe.look_over(async { Ok(near) }).await;
    let request = application.await.expect("the application does not panic");
    (look, String::from_utf8(request).expect("a probe's head is text"))
}

async fn seen(probe: &Probe, answer: &[u8], then: Then) -> Seen {
    ask(probe, answer, then).await.0.seen
}

fn bad(detail: &str) -> Seen {
    Seen::BadStatus { detail: detail.into() }
}

fn unreachable(detail: &str) -> Seen {
    Seen::Unreachable { detail: detail.into() }
}

#[tokio::test(start_paused = true)]
async fn a_probe_says_who_asks_and_does_not_announce_to_close() {
    let (_, request) = ask(&http(), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Then::StayOpen).await;
    let version = env!("CARGO_PKG_VERSION");
    let lines = format!("GET /health HTTP/1.1\r\nHost: app1:5000\r\nUser-Agent: weir/{version} (health check)\r\n\r\n");
    assert_eq!(request, lines);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_judged_by_its_head_without_waiting_for_a_body() {
    for (answer, told) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"[..], Seen::Pass),
        (b"HTTP/1.0 302 FOUND\r\nLocation: /\r\n\r\n", Seen::Pass),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 5\r\n\r\n", bad("GET /health answered 500")),
        (b"HTTP/1.1 404 No\r\n\r\n", bad("GET /health answered 404: the application has no such route")),
        (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Seen::Pass),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", bad("GET /health answered 101")),
    ] {
        assert_eq!(seen(&http(), answer, Then::StayOpen).await, told, "{}", answer.escape_ascii());
    }
}

#[tokio::test(start_paused = true)]
async fn nonsense_is_no_answer() {
    let huge = [&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'x'; 200_000], b"\r\n\r\n"].concat();
    let many = [&b"HTTP/1.1 200 OK\r\n"[..], &b"X: y\r\n".repeat(5_000), b"\r\n"].concat();
    for (answer, told) in [
        (&b"hello\r\n\r\n"[..], "malformed answer"),
        (b"\0\xff\0\xff\0\xff\r\n\r\n", "malformed answer"),
        (b"HTTP/1.1 999999 X\r\n\r\n", "malformed answer"),
        (b"HTTP/7 200 OK\r\n\r\n", "malformed answer"),
        (b"SSH-2.0-OpenSSH_9.7\r\n", "malformed answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -7\r\n\r\n", "malformed answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "malformed answer"),
        (&huge, "malformed answer"),
        (&many, "malformed answer"),
        (b"", "the connection was closed before a whole answer"),
        (b"HTTP/1.1 200", "the connection was closed before a whole answer"),
    ] {
        let start = &answer[..answer.len().min(40)];
        assert_eq!(seen(&http(), answer, Then::Close).await, unreachable(told), "{}", start.escape_ascii());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_read_only_if_it_is_tested() {
    let (look, _) =
        ask(&http_with_body("^ready$"), b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready", Then::StayOpen).await;
    assert_eq!(look.seen, Seen::Pass);
    let late = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nrea";
    assert_eq!(seen(&http(), late, Then::StayOpen).await, Seen::Pass);
    let timed_out = Seen::TimedOut { detail: "no answer within 1s".into() };
    assert_eq!(seen(&http_with_body("rea"), late, Then::StayOpen).await, timed_out);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_match_is_a_bad_answer_and_a_broken_one_is_none() {
    let probe = http_with_body("ready");
    for (answer, told) in [
        (&b"HTTP/1.0 200 OK\r\n\r\nstarting"[..], bad("GET /health answered 200, but the body does not match")),
        (b"HTTP/1.0 200 OK\r\n\r\nready", Seen::Pass),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n", Seen::Pass),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nready", unreachable("malformed answer")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nready", unreachable("the answer was cut short")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nready", unreachable("the answer was cut short")),
    ] {
        assert_eq!(seen(&probe, answer, Then::Close).await, told, "{}", answer.escape_ascii());
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_256_kib_of_a_body_are_read() {
    let (near, mut far) = duplex(1024);
    let application = tokio::spawn(async move {
        far.write_all(b"HTTP/1.0 200 OK\r\n\r\n").await?;
        // As if it were endless; 1 MiB keeps a failing test short.
        for _ in 0..1024 {
            far.write_all(&[b'.'; 1024]).await?;
        }
        Ok::<_, io::Error>(())
    });
    let look = http_with_body("ready").look_over(async { Ok(near) }).await;
    assert_eq!(look.seen, bad("GET /health answered 200, but the body does not match"));
    let ended = application.await.expect("no panic");
    assert!(ended.is_err(), "the probe hung up before the first MiB was read: {ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_application_costs_the_limit_and_no_more() {
    let (look, _) = ask(&http(), b"", Then::StayOpen).await;
    assert_eq!(look.seen, Seen::TimedOut { detail: "no answer within 1s".into() });
    assert_eq!(look.took.as_secs_f64().round(), 1.0);
    assert!(look.lag < LIMIT / 2, "weir was not late: {:?}", look.lag);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_accepts_is_told_apart_from_a_late_answer() {
    let look = http().look_over(std::future::pending::<io::Result<DuplexStream>>()).await;
    assert_eq!(look.seen, Seen::TimedOut { detail: "no connection within 1s".into() });
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_unreachable_for_every_type() {
    for probe in [http(), grpc(None), Probe::new(&check(CheckKind::Tcp), "app1:5000")] {
        let refused = async { Err::<DuplexStream, _>(ErrorKind::ConnectionRefused.into()) };
        assert_eq!(probe.look_over(refused).await.seen, unreachable("connection refused"));
    }
}

#[tokio::test(start_paused = true)]
async fn weirs_own_lack_of_descriptors_is_told_as_its_own_lateness() {
    let out_of_descriptors = async { Err::<DuplexStream, _>(rustix::io::Errno::MFILE.into()) };
    let look = http().look_over(out_of_descriptors).await;
    let detail = "weir could not look: out of file descriptors or memory".into();
    assert_eq!((look.seen, look.lag), (Seen::TimedOut { detail }, LIMIT));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_be_sent_is_said_and_not_sent() {
    let kind = CheckKind::Http {
        uri: "/he alth".into(),
        host: None,
        expect: Expect { status: None, headers: Vec::new(), body: None, json: Vec::new() },
    };
    let probe = Probe::new(&check(kind), "app1:5000");
    let told = unreachable("GET /he alth cannot be sent: its uri or host is not valid");
    assert_eq!(seen(&probe, b"", Then::Close).await, told);
}

#[tokio::test(start_paused = true)]
async fn an_accepted_connection_passes_a_tcp_check() {
    let (near, _far) = duplex(64);
    let look = Probe::new(&check(CheckKind::Tcp), "app1:5000").look_over(async { Ok(near) }).await;
    assert_eq!(look.seen, Seen::Pass);
}

#[tokio::test(start_paused = true)]
async fn saying_503_and_close_is_draining_only_after_answers_that_kept_the_connection() {
    const KEPT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    const CLOSED: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    const OLD: &[u8] = b"HTTP/1.0 200 OK\r\n\r\n";
    const OLD_KEPT: &[u8] = b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n";
    const LEAVING: &[u8] = b"HTTP/1.1 503 No\r\nConnection: foo, Close\r\n\r\n";
    const SICK: &[u8] = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n";
    let sick = || bad("GET /health answered 503");
    for (answers, last) in [
        (&[LEAVING][..], sick()),
        (&[KEPT, LEAVING], Seen::DrainingItself),
        (&[KEPT, LEAVING, LEAVING], Seen::DrainingItself),
        (&[KEPT, SICK], sick()),
        (&[KEPT, SICK, LEAVING], Seen::DrainingItself),
        (&[CLOSED, LEAVING], sick()),
        (&[KEPT, CLOSED, LEAVING], sick()),
        (&[OLD, LEAVING], sick()),
        (&[OLD_KEPT, LEAVING], Seen::DrainingItself),
    ] {
        let probe = http();
        let mut told = None;
        for answer in answers {
            told = Some(seen(&probe, answer, Then::Close).await);
        }
        assert_eq!(told, Some(last), "{answers:?}");
    }
}

/// Looks at a gRPC server that answers with this HTTP status, these fields, this body and these trailers.
async fn ask_grpc(probe: &Probe, status: u16, body: &'static [u8], trailers: &[(&'static str, &'static str)]) -> Seen {
    let (near, far) = duplex(4096);
    let map: HeaderMap = trailers
        .iter()
        .map(|&(name, value)| (::http::HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    let service = service_fn(move |request: ::http::Request<hyper::body::Incoming>| {
        let trailers = map.clone();
        async move {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            assert_eq!(
                (&request.headers()["te"], &request.headers()["grpc-timeout"]),
                (&HeaderValue::from_static("trailers"), &HeaderValue::from_static("1000m"))
            );
            assert_eq!(request.into_body().collect().await?.to_bytes(), &b"\0\0\0\0\0"[..]);
            let body = Full::new(Bytes::from_static(body)).with_trailers(async move { Some(Ok(trailers)) });
            let body: BoxBody<Bytes, std::convert::Infallible> = body.boxed();
            let mut response = Response::new(body);
            *response.status_mut() = ::http::StatusCode::from_u16(status).expect("a status");
            Ok::<_, hyper::Error>(response)
        }
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let serving = tokio::spawn(async move { server.serve_connection(TokioIo::new(far), service).await });
    let look = probe.look_over(async { Ok(near) }).await;
    serving.abort();
    look.seen
}

#[tokio::test(start_paused = true)]
async fn a_grpc_server_is_healthy_when_it_says_serving() {
    const SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";
    const NOT_SERVING: &[u8] = b"\0\0\0\0\x02\x08\x02";
    let fine = [("grpc-status", "0")];
    for (status, body, trailers, told) in [
        (200, SERVING, &fine[..], Seen::Pass),
        (200, NOT_SERVING, &fine, bad("the gRPC health check answered NOT_SERVING")),
        (200, b"\0\0\0\0\0", &fine, bad("the gRPC health check answered UNKNOWN")),
        (502, b"", &[], bad("the gRPC health check answered HTTP status 502")),
        (200, SERVING, &[], unreachable("malformed answer")),
        (200, b"nonsense", &fine, unreachable("malformed answer")),
        (200, &[0; 100_000], &fine, unreachable("malformed answer")),
        (
            200,
            b"",
            &[("grpc-status", "12")],
            bad("the gRPC health check answered 12: the application has no health service"),
        ),
        (200, b"", &[("grpc-status", "14")], bad("the gRPC health check answered grpc-status 14")),
    ] {
        assert_eq!(ask_grpc(&grpc(None), status, body, trailers).await, told);
    }
}

#[tokio::test(start_paused = true)]
async fn a_configured_grpc_status_is_healthy_too() {
    assert_eq!(ask_grpc(&grpc(Some(12)), 200, b"", &[("grpc-status", "12")]).await, Seen::Pass);
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_speak_http2_is_no_grpc_server() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\xff\xff\xff\0\0\0\0\0\0\0"] {
        let (near, mut far) = duplex(4096);
        far.write_all(answer).await.expect("it fits");
        let look = grpc(None).look_over(async { Ok(near) }).await;
        assert_eq!(look.seen, unreachable("malformed answer"), "{}", answer.escape_ascii());
        drop(far);
    }
}

#[tokio::test(start_paused = true)]
async fn a_grpc_server_that_does_not_even_read_leaves_no_task_behind() {
    // Room for the preface alone: whatever HTTP/2 wants to say after it stays stuck.
    let (near, mut far) = duplex(30);
    let look = grpc(None).look_over(async { Ok(near) }).await;
    assert_eq!(look.seen, Seen::TimedOut { detail: "no answer within 1s".into() });
    tokio::task::yield_now().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).await.expect("the probe's end is closed, not forgotten");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is sent: it is judged, in time, and only a whole and fitting answer passes.
    #[test]
    fn no_answer_is_too_strange_to_be_judged(
        start in prop::sample::select(vec![
            "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "\0\0\0\x04\0\0\0\0\0", "\0\0\0\x04\0\0\0\0\0\0\0\x04\x01\x04\0\0\0\x01",
        ]),
        noise in prop::collection::vec(any::<u8>(), 0..200),
        closes: bool,
    ) {
        let answer = [start.as_bytes(), &noise].concat();
        let then = if closes { Then::Close } else { Then::StayOpen };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
        runtime.block_on(async {
            for probe in [http_with_body("never sent: \u{2603}"), grpc(None)] {
                let (near, mut far) = duplex(4096);
                let answer = answer.clone();
                let application = tokio::spawn(async move {
                    let _ = far.write_all(&answer).await;
                    if let Then::StayOpen = then {
                        let _ = far.read_to_end(&mut Vec::new()).await;
                    }
                });
                let look = probe.look_over(async { Ok(near) }).await;
                assert_ne!(look.seen, Seen::Pass);
                assert!(look.took <= LIMIT + LIMIT / 10, "{:?}", look.took);
                application.await.expect("the probe hangs up when it has seen enough");
            }
            assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
        });
    }
}

#[test]
fn a_look_may_move_between_threads() {
    fn movable<T: Send>(_: T) {}
    movable(http().look(([127, 0, 0, 1], 80).into()));
    movable(http().look_at_unix(Path::new("/nowhere")));
}
