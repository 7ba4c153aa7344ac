//! How long may anyone keep weir waiting? Each side has its limits, and each limit its own answer.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::client::Broken;
use crate::support::{Backend, Gate, PARKED, PATIENCE, Script, Site, eventually};

/// An address that neither accepts nor refuses: its queue of waiting connections is full, and nobody empties it.
pub struct Unreachable {
    pub address: SocketAddr,
    _listener: socket2::Socket,
    _queued: Vec<TcpStream>,
}

impl Unreachable {
    pub fn new() -> Unreachable {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queued.push(stream);
            assert!(queued.len() < 16, "a queue of length 0 is soon full");
        }
        Unreachable { address, _listener: listener, _queued: queued }
    }
}

#[test]
fn a_connect_that_takes_too_long_is_504() {
    let nowhere = Unreachable::new();
    let weir =
        Site::servers([format!("\"{}\"", nowhere.address)]).location("proxy_connect_timeout = \"300ms\"").start();
    assert_eq!(weir.get("/").status, 504);
}

#[test]
fn a_connect_that_takes_too_long_is_tried_elsewhere_even_for_a_post() {
    let (nowhere, b) = (Unreachable::new(), Backend::start("b"));
    let weir = Site::servers([nowhere.address, b.address()].map(|address| format!("\"{address}\"")))
        .location("proxy_connect_timeout = \"300ms\"")
        .start();
    assert_eq!(weir.client().post("/", "body").text(), "b");
    weir.wait_for_state(nowhere.address, "unavail");
}

#[test]
fn a_backend_that_never_answers_is_504() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).location("proxy_read_timeout = \"300ms\"").start();
    a.next(Script::hanging());
    let begun = Instant::now();
    let response = weir.get("/");
    assert_eq!(response.status, 504);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    eventually("its connection is not kept", || a.open_connections() == 0);
}

#[test]
fn half_a_head_that_goes_no_further_is_504() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).location("proxy_read_timeout = \"300ms\"").start();
    a.next(Script::raw("HTTP/1.1 200 OK\r\nContent-").hang());
    assert_eq!(weir.get("/").status, 504);
}

#[test]
fn a_body_that_stands_still_is_cut() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).location("proxy_read_timeout = \"300ms\"").start();
    a.next(Script::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").hang());
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    match client.try_response() {
        Err(Broken::Cut { body }) => assert_eq!(body, b"half"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_read_time_out_is_between_two_reads_and_not_for_the_whole() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).location("proxy_read_timeout = \"2s\"").start();
    let mut script = Script::raw("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n");
    for _ in 0..8 {
        script = script.pause(Duration::from_millis(350)).send("x");
    }
    a.next(script);
    assert_eq!(weir.get("/").text(), "xxxxxxxx");
}

#[test]
fn a_backend_that_does_not_read_its_request_is_504() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("client_max_body_size = 0").location("proxy_send_timeout = \"300ms\"").start();
    a.next(Script::new().gate(&Gate::default()));
    let mut client = weir.client();
    client.send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n");
    let mut writer = client.writer();
    let upload = std::thread::spawn(move || {
        use std::io::Write;
        let zeros = vec![0; 64 << 10];
        for _ in 0..1500 {
            if writer.write_all(&zeros).is_err() {
                break;
            }
        }
    });
    // Unread bytes may turn the close into a reset, which may overtake the answer.
    match client.try_response() {
        Ok(response) => assert_eq!(response.status, 504),
        Err(Broken::Cut { .. } | Broken::Closed) => {}
        Err(broken) => panic!("{broken:?}"),
    }
    drop(client);
    upload.join().unwrap();
}

#[test]
fn half_a_request_is_408() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("client_header_timeout = \"300ms\"").start();
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHo");
    assert_eq!(client.response().status, 408);
    assert!(client.closed_silently());
}

#[test]
fn a_head_that_trickles_in_is_not_waited_for_either() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("client_header_timeout = \"500ms\"").start();
    let mut client = weir.client();
    let mut writer = client.writer();
    let begun = Instant::now();
    let trickle = std::thread::spawn(move || {
        use std::io::Write;
        let _ = writer.write_all(b"GET / HTTP/1.1\r\nX: ");
        while begun.elapsed() < PATIENCE && writer.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    match client.try_response() {
        Ok(response) => assert_eq!(response.status, 408),
        Err(Broken::Cut { .. } | Broken::Closed) => {}
        Err(broken) => panic!("{broken:?}"),
    }
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    drop(client);
    trickle.join().unwrap();
}

#[test]
fn a_body_that_does_not_come_is_408_and_reaches_no_application() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("client_body_timeout = \"300ms\"").start();
    let mut client = weir.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(client.response().status, 408);
    assert_eq!(a.requests().len(), 0);
}

#[test]
fn an_idle_client_is_closed_after_keepalive_timeout_without_a_word() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("keepalive_timeout = \"300ms\"").start();
    let mut client = weir.client();
    client.get("/");
    assert!(client.closed_silently());
}

#[test]
fn a_client_that_pauses_is_served_again_on_its_connection() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("keepalive_timeout = \"1h\"\nclient_header_timeout = \"1h\"").start();
    let (mut client, mut late) = (weir.client(), weir.client());
    assert_eq!(client.get("/").text(), "a");
    // Whenever it asks: after this long it is parked as a rule, and if not it is served all the same.
    std::thread::sleep(PARKED);
    assert_eq!((client.get("/").text(), late.get("/").text()), ("a".to_owned(), "a".to_owned()));
    assert_eq!(client.get("/").text(), "a", "and at once");
    drop(client);
    std::thread::sleep(PARKED);
    assert_eq!(late.get("/").text(), "a");
}

#[test]
fn a_client_that_never_says_anything_is_closed_after_client_header_timeout_without_a_word() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("client_header_timeout = \"300ms\"").start();
    assert!(weir.client().closed_silently());
}

#[test]
fn a_client_is_closed_after_keepalive_requests() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("keepalive_requests = 3").start();
    let mut client = weir.client();
    assert_eq!(client.get("/").field("connection"), None);
    client.get("/");
    let last = client.get("/");
    assert_eq!(last.field("connection").map(str::to_ascii_lowercase).as_deref(), Some("close"));
    assert!(client.closed_silently());
}

#[test]
fn a_backend_connection_serves_keepalive_requests() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("workers = 1").upstream("keepalive_requests = 2").start();
    let mut client = weir.client();
    for _ in 0..6 {
        assert_eq!(client.get("/").text(), "a");
    }
    assert_eq!(a.connections(), 3);
}

#[test]
fn an_idle_backend_connection_is_closed_after_its_keepalive_timeout() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).upstream("keepalive_timeout = \"300ms\"").start();
    assert_eq!(weir.get("/").text(), "a");
    eventually("it is closed", || a.open_connections() == 0);
}

#[test]
fn a_client_that_does_not_read_is_closed_after_send_timeout() {
    let a = Backend::start("a");
    let weir = Site::of([&a]).top("send_timeout = \"500ms\"").start();
    a.next(Script::raw("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").stream(1_000_000_000));
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    client.head().unwrap();
    eventually("the exchange is given up, the backend freed", || a.open_connections() == 0);
    assert!(a.streamed() < 1_000_000_000);
    assert!(!weir.log().iter().any(|line| line.contains("unavail")), "which is not the backend's fault");
}
