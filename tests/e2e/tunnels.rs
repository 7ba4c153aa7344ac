//! What becomes of a connection whose ends have agreed to speak another protocol (101)?

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;

use crate::support::raw::Raw;
use crate::support::{Backend, Client, Script, Site, Weir, eventually};

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: weir.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

/// An application that says everything back.
fn echo() -> Script {
    Script::new().read_body().send(AGREE).echo()
}

fn open(weir: &Weir, ask: &str) -> Client {
    let mut client = weir.client();
    client.send(ask);
    assert_eq!(client.response().status, 101);
    client
}

fn hears(client: &mut Client, words: &str) {
    client.send(words);
    assert_eq!(client.raw(words.len()), words.as_bytes());
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let a = Backend::start("a");
    a.next(echo());
    let weir = Site::of([&a]).start();
    let mut client = weir.client();
    client.send(ASK);
    let response = client.response();
    assert_eq!((response.status, response.field("upgrade")), (101, Some("websocket")));
    hears(&mut client, "\x00ping");
    assert_eq!(a.only_request().field("upgrade"), Some("websocket"));
    drop(client);
    eventually("both ends close together", || a.open_connections() == 0);
}

/// As an application does that has no room: it says so and closes, whatever the client goes on to say.
#[test]
fn a_tunnels_peer_that_has_said_all_and_listens_no_more_is_no_clients_fault() {
    let full = Raw::serving(|mut stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let agreed = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nno room";
        stream.write_all(agreed.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let weir = Site::servers([format!("\"{}\"", full.address())]).top("log_format = \"json\"").start();
    let mut client = weir.client();
    client.send("GET /ws HTTP/1.1\r\nHost: weir.test\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
    assert_eq!(client.response().status, 101);
    assert_eq!(client.raw(7), b"no room");
    client.send("x");
    eventually("it listens no more", || full.open() == 0);
    // What comes now meets that.
    client.send("y");
    let line = weir.wait_for_access("the tunnel", |line| line.contains("\"status\":101"));
    assert!(!line.contains("client_gone"), "{line}");
    assert_eq!(client.rest(), b"");
}

#[test]
fn its_line_tells_of_the_request_that_it_began_with() {
    let a = Backend::start("a");
    let fields = "$request $uri $http_x_user $status $body_bytes_sent $request_length";
    let answers = "$upstream_status $upstream_addr $upstream_http_x_said";
    let weir = Site::of([&a]).top(&format!("workers = 1\nlog_format = \"{fields} {answers}\"")).start();
    let agree = AGREE.replace("Upgrade: web", "X-Said: welcome\r\nUpgrade: web");
    a.next(Script::new().read_body().send(agree).echo());
    let ask = ASK.replace("/ws", "/a%20b").replace("Upgrade: web", "X-User: me\r\nUpgrade: web");
    let mut client = open(&weir, &ask);
    hears(&mut client, "hello");
    // Meanwhile others have the memory that its request had.
    let mut other = weir.client();
    for _ in 0..3 {
        other.send("POST /other HTTP/1.1\r\nHost: h\r\nX-User: you\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(other.response().status, 200);
    }
    hears(&mut client, " again");
    client.half_close();
    assert_eq!(client.rest(), b"");
    let line = weir.wait_for_access("the tunnel", |line| line.starts_with("GET"));
    let (both_ways, address) = (format!("11 {}", ask.len() + 11), a.address());
    assert_eq!(line, format!("GET /a%20b HTTP/1.1 /a b me 101 {both_ways} 101 {address} welcome"));
}

#[test]
fn limits_count_it_until_it_is_over() {
    let a = Backend::start("a");
    let weir = Site::of([&a])
        .location("limit_conn = { zone = \"all\", connections = 1 }")
        .rest("[limit_conn_zone.all]\nkey = \"$server_port\"")
        .start();
    a.next(echo());
    a.next(echo());
    let mut client = open(&weir, ASK);
    hears(&mut client, "hello");
    assert_eq!(weir.get("/").status, 503);
    drop(client);
    eventually("there is room for another", || {
        let mut client = weir.client();
        client.send(ASK);
        client.response().status == 101
    });
}

#[test]
fn silence_ends_it() {
    let a = Backend::start("a");
    a.usually(echo());
    let weir = Site::of([&a]).location("tunnel_timeout = \"300ms\"").start();
    let mut client = open(&weir, ASK);
    hears(&mut client, "hello");
    assert_eq!(client.rest(), b"", "an end, and no reset");
    eventually("both ends close together", || a.open_connections() == 0);
}

#[test]
fn what_either_says_last_comes_before_its_reset() {
    let a = Backend::start("a");
    a.usually(Script::new().read_body().send(format!("{AGREE}enough")).reset());
    let weir = Site::of([&a]).start();
    let mut client = open(&weir, ASK);
    assert_eq!(client.raw(6), b"enough");
    assert!(client.is_reset());
}
