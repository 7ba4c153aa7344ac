//! Does one frozen backend cost a client milliseconds? Another is asked as well, once, and whoever answers first serves.

use std::future::poll_fn;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use tokio::sync::Semaphore;

use crate::http2::rig::{self, App, Call};
use crate::http2::tls;
use crate::support::raw::Raw;
use crate::support::{Authority, Backend, Gate, PATIENCE, Script, Site, Weir, eventually, get, sorted};

fn ab() -> [Backend; 2] {
    ["a", "b"].map(Backend::start)
}

/// A place where nothing is repaired by a retry, so that what is seen is the hedge's doing.
fn site(backends: [&Backend; 2], after: &str) -> Site {
    Site::of(backends).location(&format!("hedge_after = \"{after}\"\nproxy_next_upstream = \"off\""))
}

fn held(gate: &Gate, body: &str) -> Script {
    Script::new().read_body().gate(gate).answer(200, "", body)
}

/// A budget for any number of requests that are hedged because the machine is busy.
const AMPLE: &str = "retry_budget = { percent = 100, min_per_second = 1000 }";

const GET: &str = "GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n";

#[test]
fn a_frozen_backend_costs_a_client_milliseconds_and_is_not_blamed() {
    let [a, b] = ab();
    // Without idle connections: what is open is in use.
    let weir = site([&a, &b], "20ms").upstream(&format!("keepalive = 0\n{AMPLE}")).start();
    // On a busy machine one of these may be hedged as well.
    let both_serve = || ["a", "b"].into_iter().for_each(|who| eventually(who, || weir.get("/").text() == who));
    both_serve();
    a.usually(Script::hanging());
    let begun = Instant::now();
    for _ in 0..4 {
        assert_eq!(weir.get("/").text(), "b");
    }
    // proxy_read_timeout is a minute.
    assert!(begun.elapsed() < PATIENCE);
    let both = format!("ua=\"{}, {}\" us=\"-, 200\"", a.address(), b.address());
    weir.wait_for_access("both addresses, the one that answered last", |line| line.contains(&both));
    eventually("whoever was left is left indeed", || a.open_connections() == 0);
    a.usually(Script::text("a"));
    both_serve();
    assert!(!weir.log().iter().any(|line| line.contains("unavail")), "{:#?}", weir.log());
}

#[test]
fn the_first_one_may_still_be_the_faster() {
    let [a, b] = ab();
    let (slow, never) = (Gate::default(), Gate::default());
    a.next(held(&slow, "a"));
    b.next(held(&never, "b"));
    let weir = site([&a, &b], "1ms").start();
    let mut client = weir.client();
    client.send(GET);
    eventually("both are asked", || a.requests().len() == 1 && b.requests().len() == 1);
    slow.open();
    assert_eq!(client.response().text(), "a");
    let both = format!("ua=\"{}, {}\" us=\"-, 200\"", b.address(), a.address());
    weir.wait_for_access("both addresses, the one that answered last", |line| line.contains(&both));
    never.open();
    // Nothing of b's answer is left anywhere.
    for _ in 0..4 {
        assert!(["a", "b"].contains(&client.get("/").text().as_str()));
    }
}

#[test]
fn if_the_first_fails_meanwhile_the_second_answers() {
    let [a, b] = ab();
    let (breaks, answers) = (Gate::default(), Gate::default());
    a.next(Script::new().read_body().gate(&breaks).close());
    b.next(held(&answers, "b"));
    let weir = site([&a, &b], "1ms").start();
    let mut client = weir.client();
    client.send(GET);
    eventually("both are asked", || a.requests().len() == 1 && b.requests().len() == 1);
    breaks.open();
    weir.wait_for_state(a.address(), "unavail");
    answers.open();
    assert_eq!(client.response().text(), "b");
    weir.wait_for_access("both and what they came to", |line| line.contains("us=\"502, 200\""));
}

#[test]
fn if_the_second_fails_the_first_is_waited_for() {
    let [a, b] = ab();
    let answers = Gate::default();
    a.next(held(&answers, "a"));
    b.next(Script::new().read_body().reset());
    let weir = site([&a, &b], "1ms").start();
    let mut client = weir.client();
    client.send(GET);
    weir.wait_for_state(b.address(), "unavail");
    answers.open();
    assert_eq!(client.response().text(), "a");
    weir.wait_for_access("both and what they came to", |line| line.contains("us=\"502, 200\""));
}

#[test]
fn a_client_that_leaves_ends_both() {
    let [a, b] = ab();
    for peer in [&a, &b] {
        peer.usually(Script::hanging());
    }
    let weir = site([&a, &b], "1ms").start();
    let mut client = weir.client();
    client.send(GET);
    eventually("both are asked", || a.requests().len() == 1 && b.requests().len() == 1);
    drop(client);
    eventually("both are left", || a.open_connections() + b.open_connections() == 0);
    weir.wait_for_access("the request", |line| line.contains(" 499 "));
}

#[test]
fn what_must_not_be_sent_twice_waits_for_one() {
    let refused = "retry_budget = { percent = 0, min_per_second = 0 }";
    let post = "POST / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 2\r\n\r\nab";
    let body = "GET / HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 2\r\n\r\nab";
    let upgrade = "GET / HTTP/1.1\r\nHost: weir.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    for (request, upstream) in [(post, ""), (body, ""), (upgrade, ""), (GET, refused)] {
        let [a, b] = ab();
        let gate = Gate::default();
        a.next(held(&gate, "a"));
        let weir = site([&a, &b], "1ms").upstream(upstream).start();
        let mut client = weir.client();
        client.send(request);
        assert!(client.is_silent_for(Duration::from_millis(150)), "{request}");
        assert_eq!(b.requests().len(), 0, "{request}");
        gate.open();
        assert_eq!(client.response().text(), "a", "{request}");
    }
}

#[test]
fn a_client_that_is_bound_to_a_peer_waits_for_it() {
    let [a, b] = ab();
    a.usually(Script::new().read_body().answer(200, "", "a"));
    let weir =
        site([&a, &b], "1ms").upstream("sticky = { cookie = \"srv_id\", secret = \"0123456789abcdef\" }").start();
    let first = weir.get("/");
    let (bound, other) = if first.text() == "a" { (&a, &b) } else { (&b, &a) };
    let cookie = first.field("set-cookie").and_then(|set| set.split(';').next()).expect("it binds").to_owned();
    let gate = Gate::default();
    for peer in [bound, other] {
        peer.on("/held", held(&gate, peer.address().to_string().as_str()));
    }
    let mut client = weir.client();
    client.send(format!("GET /held HTTP/1.1\r\nHost: weir.test\r\nCookie: {cookie}\r\n\r\n"));
    assert!(client.is_silent_for(Duration::from_millis(150)));
    assert!(!other.requests().iter().any(|request| request.target == "/held"));
    gate.open();
    assert_eq!(client.response().text(), bound.address().to_string());
}

#[test]
fn a_percentile_is_that_of_the_groups_own_answers() {
    let [a, b] = ab();
    let weir = site([&a, &b], "p50").start();
    weir.rotation(60);
    a.usually(Script::new().read_body().pause(Duration::from_millis(500)).answer(200, "", "a"));
    eventually("half of the answers are known to take a millisecond or two", || weir.rotation(4) == "bbbb");
    let both = format!("ua=\"{}, {}\" us=\"-, 200\"", a.address(), b.address());
    weir.wait_for_access("both addresses", |line| line.contains(&both));
}

// --- interim answers (1xx)

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";

/// Says that it will answer, and does not.
fn promising(interim: &str) -> Script {
    Script::new().read_body().send(interim).hang()
}

#[test]
fn hints_of_the_first_reach_the_client_and_are_no_answer() {
    let [a, b] = ab();
    let gate = Gate::default();
    a.next(promising(HINTS));
    b.next(held(&gate, "b"));
    let weir = site([&a, &b], "1ms").start();
    let mut client = weir.client();
    client.send(GET);
    assert_eq!(client.head().unwrap().status, 103);
    eventually("the other is asked", || b.requests().len() == 1);
    gate.open();
    assert_eq!(client.response().text(), "b");
    eventually("the first is left", || a.open_connections() == 0);
    assert!(["a", "b"].contains(&client.get("/").text().as_str()), "the connection goes on");
}

#[test]
fn a_promise_of_the_second_does_not_win() {
    for interim in [HINTS, "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\nX-Half: "] {
        let [a, b] = ab();
        let gate = Gate::default();
        a.next(held(&gate, "a"));
        b.next(promising(interim));
        let weir = site([&a, &b], "1ms").start();
        let mut client = weir.client();
        client.send(GET);
        eventually("both are asked", || a.requests().len() == 1 && b.requests().len() == 1);
        assert!(client.is_silent_for(Duration::from_millis(100)));
        gate.open();
        assert_eq!(client.response().text(), "a", "{interim}");
        eventually("the second is left", || b.open_connections() == 0);
    }
}

#[test]
fn the_second_may_answer_after_its_hints() {
    let [a, b] = ab();
    a.next(Script::hanging());
    b.next(Script::new().read_body().send(HINTS).send(HINTS).answer(200, "", "b"));
    let weir = site([&a, &b], "1ms").start();
    assert_eq!(weir.get("/").text(), "b");
}

#[test]
fn nor_does_what_is_no_answer() {
    let too_many = HINTS.repeat(17);
    for nonsense in ["SSH-2.0-OpenSSH_9.6\r\n\r\n", too_many.as_str()] {
        let [a, b] = ab();
        let gate = Gate::default();
        a.next(held(&gate, "a"));
        b.next(promising(nonsense));
        let weir = site([&a, &b], "1ms").start();
        let mut client = weir.client();
        client.send(GET);
        weir.wait_for_state(b.address(), "unavail");
        gate.open();
        assert_eq!(client.response().text(), "a");
        weir.wait_for_access("both and what they came to", |line| line.contains("us=\"502, 200\""));
    }
}

// --- over TLS and HTTP/2

fn start_secured(toml: &str, authority: &Authority) -> Weir {
    Weir::start_with(toml, |folder| std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap())
}

#[test]
fn a_backend_of_tls_is_hedged_too() {
    let authority = Authority::new("authority");
    let [a, b] = ab();
    for backend in [&a, &b] {
        backend.secure(authority.issue(&[&backend.address().ip().to_string()]).server(None));
    }
    let site = site([&a, &b], "100ms").top("workers = 1").upstream("tls = { ca_file = \"ca.pem\" }");
    let weir = start_secured(&site.toml().replace("http://web", "https://web"), &authority);
    // Some go over connections that stand already.
    weir.rotation(4);
    a.usually(Script::hanging());
    for _ in 0..4 {
        assert_eq!(weir.get("/").text(), "b");
    }
    a.usually(Script::text("a"));
    eventually("whoever was left answers again", || sorted(&weir.rotation(4)) == "aabb");
    assert!(!weir.log().iter().any(|line| line.contains("unavail")), "{:#?}", weir.log());
}

/// Freezes in its handshake.
#[test]
fn nor_is_its_handshake_waited_for() {
    let authority = Authority::new("authority");
    let [a, b] = ab();
    for backend in [&a, &b] {
        backend.secure(authority.issue(&[&backend.address().ip().to_string()]).server(None));
    }
    a.freeze();
    let site = site([&a, &b], "20ms").upstream("tls = { ca_file = \"ca.pem\" }");
    let weir = start_secured(&site.toml().replace("http://web", "https://web"), &authority);
    for _ in 0..4 {
        assert_eq!(weir.get("/").text(), "b");
    }
    a.thaw();
}

/// An application of HTTP/2 that answers with its name, once there is a permit; `hints`: first with 103.
fn app(name: &'static str, permits: &Arc<Semaphore>, hints: bool) -> App {
    let permits = Arc::clone(permits);
    App::start(move |mut call: Call| {
        let permits = Arc::clone(&permits);
        async move {
            if hints {
                let hints = Response::builder().status(103).header("link", "</a.css>").body(()).unwrap();
                call.respond.send_informational(hints).unwrap();
            }
            let left = poll_fn(|cx| call.respond.poll_reset(cx));
            let reason = tokio::select! {
                biased;
                permit = permits.acquire() => {
                    permit.unwrap().forget();
                    None
                }
                reason = left => reason.ok(),
            };
            match reason {
                None => call.answer(&[], name),
                Some(reason) => drop(call.app.note(&format!("{reason:?}"))),
            }
        }
    })
}

fn many() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(1000))
}

fn site_of(apps: [&App; 2], after: &str) -> Site {
    rig::site(apps).top("workers = 1").location(&format!("hedge_after = \"{after}\"\nproxy_next_upstream = \"off\""))
}

fn h2c(site: &Site) -> Weir {
    Weir::start(&site.toml().replace("http://web", "h2c://web"))
}

#[test]
fn a_stream_of_http2_is_left_and_its_connection_goes_on() {
    let thaw = Arc::new(Semaphore::new(0));
    let (a, b) = (app("a", &thaw, false), app("b", &many(), false));
    let weir = h2c(&site_of([&a, &b], "100ms"));
    for _ in 0..4 {
        assert_eq!(weir.get("/").text(), "b");
    }
    eventually("a hears of each", || a.shared.noted("CANCEL") == a.calls());
    assert!(a.calls() > 0);
    thaw.add_permits(1000);
    eventually("it answers again", || sorted(&weir.rotation(4)) == "aabb");
    assert_eq!((a.connections(), b.connections()), (1, 1));
    assert!(!weir.log().iter().any(|line| line.contains("unavail")), "{:#?}", weir.log());
}

#[test]
fn hints_of_http2_are_no_answer_whoever_gives_them() {
    let never = Arc::new(Semaphore::new(0));
    for hints in [true, false] {
        let answers = Arc::new(Semaphore::new(0));
        // The one that says it will answer is asked first, and then second.
        let (a, b) = match hints {
            true => (app("a", &never, true), app("b", &answers, false)),
            false => (app("a", &answers, false), app("b", &never, true)),
        };
        let weir = h2c(&site_of([&a, &b], "1ms"));
        let mut client = weir.client();
        client.send(GET);
        eventually("both are asked", || a.calls() == 1 && b.calls() == 1);
        if hints {
            assert_eq!(client.head().unwrap().status, 103);
        }
        assert!(client.is_silent_for(Duration::from_millis(100)));
        answers.add_permits(1);
        assert_eq!(client.response().text(), if hints { "b" } else { "a" });
        let left = if hints { &a } else { &b };
        eventually("who was left hears of it", || left.shared.noted("CANCEL") == 1);
    }
}

/// While the connection to the first is being opened, the second serves; and nobody is left waiting for who has left.
#[test]
fn a_connection_of_http2_that_is_being_opened_is_not_waited_for() {
    let (authority, silent) =
        (Authority::new("authority"), Raw::serving(|mut tcp| drop(tcp.read_to_end(&mut Vec::new()))));
    let b = tls::app(&authority, &[b"h2"]);
    let servers = [silent.address(), b.address].map(|address| format!("\"{address}\""));
    let site = Site::servers(servers).top("workers = 1").upstream("tls = { ca_file = \"ca.pem\" }");
    let site = site.location("hedge_after = \"20ms\"\nproxy_next_upstream = \"off\"");
    let weir = start_secured(&site.toml().replace("http://web", "grpcs://web"), &authority);
    let address = weir.address();
    let clients: Vec<_> = (0..8).map(|_| std::thread::spawn(move || get(address, "/"))).collect();
    for client in clients {
        let answer = client.join().unwrap();
        assert_eq!((answer.status, answer.field("x-scheme")), (200, Some("https")));
    }
    assert_eq!(b.connections(), 1);
    eventually("nothing is left of the first", || silent.open() == 0);
}
