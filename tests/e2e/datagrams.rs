//! Are datagrams passed on, with a session for each client? `[[stream]]` with `udp = true`.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::support::raw::{Datagrams, own_address};
use crate::support::{PATIENCE, Weir, eventually, sorted};

fn toml(peers: &[SocketAddr], upstream: &str, stream: &str) -> String {
    let servers: Vec<String> = peers.iter().map(|peer| format!("\"{peer}\"")).collect();
    format!(
        "workers = 2\nlog_format = \"json\"\n[upstream.dns]\nservers = [{}]\n{upstream}\n\
         [[stream]]\nlisten = {{ address = \"127.0.0.1:0\", udp = true }}\nproxy_pass = \"dns\"\n{stream}\n",
        servers.join(", ")
    )
}

fn start(toml: &str) -> (Weir, SocketAddr) {
    let weir = Weir::launch(toml);
    let address = weir.listens_on("udp");
    (weir, address)
}

/// A client that hears of `weir` alone.
fn client(weir: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(weir).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn hear(client: &UdpSocket) -> String {
    let mut buffer = vec![0; 65_536];
    let count = client.recv(&mut buffer).expect("an answer comes");
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

fn ask(client: &UdpSocket, question: &str) -> String {
    client.send(question.as_bytes()).unwrap();
    hear(client)
}

#[test]
fn a_client_keeps_its_peer_and_another_gets_the_next() {
    let [a, b] = ["a", "b"].map(|name| Datagrams::answering(name, 1));
    let (_weir, address) = start(&toml(&[a.address(), b.address()], "", ""));
    let (one, two) = (client(address), client(address));
    assert_eq!(ask(&one, "1"), "a1");
    assert_eq!(ask(&two, "2"), "b2");
    assert_eq!([ask(&one, "3"), ask(&two, "4"), ask(&one, "5")], ["a3", "b4", "a5"]);
    let seen = a.seen();
    assert!(seen.iter().all(|(from, _)| *from == seen[0].0), "one session, one socket: {seen:?}");
}

#[test]
fn a_datagram_may_be_as_large_as_they_get() {
    let a = Datagrams::answering("", 1);
    let (_weir, address) = start(&toml(&[a.address()], "", ""));
    let one = client(address);
    for length in [0, 1, 1_472, 60_000, 65_507] {
        let question = "x".repeat(length);
        assert_eq!(ask(&one, &question).len(), length);
    }
}

#[test]
fn a_session_ends_with_the_expected_answers() {
    let [a, b] = ["a", "b"].map(|name| Datagrams::answering(name, 2));
    let (weir, address) = start(&toml(&[a.address(), b.address()], "", "proxy_responses = 2"));
    let one = client(address);
    assert_eq!([ask(&one, "1"), hear(&one)], ["a1", "a1"]);
    weir.wait_for_access("the session", |line| {
        line.contains("\"protocol\":\"UDP\",\"status\":200,\"bytes_sent\":4,\"bytes_received\":1,")
            && line.contains("\"end\":\"done\"")
    });
    assert_eq!([ask(&one, "2"), hear(&one)], ["b2", "b2"]);
}

#[test]
fn without_expected_answers_each_datagram_is_balanced() {
    let [a, b] = ["a", "b"].map(|name| Datagrams::answering(name, 0));
    let (weir, address) = start(&toml(&[a.address(), b.address()], "", "proxy_responses = 0\nproxy_requests = 1"));
    let one = client(address);
    for number in 0..4 {
        one.send(format!("{number}").as_bytes()).unwrap();
        eventually("it is there", || a.seen().len() + b.seen().len() == number + 1);
    }
    assert_eq!((a.seen().len(), b.seen().len()), (2, 2));
    weir.wait_for_access("a line each", |line| line.contains("\"end\":\"done\""));
}

#[test]
fn proxy_requests_begins_another_session() {
    let [a, b] = ["a", "b"].map(|name| Datagrams::answering(name, 1));
    let (_weir, address) = start(&toml(&[a.address(), b.address()], "", "proxy_requests = 2"));
    let one = client(address);
    let answers: String = (0..6).map(|_| ask(&one, "")).collect();
    assert_eq!(answers, "aabbaa");
}

#[test]
fn a_question_that_is_refused_is_asked_elsewhere() {
    let a = Datagrams::answering("a", 1);
    let dead = SocketAddr::from((own_address(), 1));
    let (weir, address) = start(&toml(&[dead, a.address()], "", "proxy_responses = 1"));
    let answers: Vec<String> = (0..3).map(|_| ask(&client(address), "q")).collect();
    assert_eq!(answers, ["aq", "aq", "aq"]);
    let line = weir.wait_for_state(dead, "unavail");
    assert!(line.contains("connection refused"), "{line}");
}

#[test]
fn a_client_whose_peer_is_gone_moves_on() {
    let [a, b] = ["a", "b"].map(|name| Datagrams::answering(name, 1));
    let (weir, address) = start(&toml(&[a.address(), b.address()], "", ""));
    let one = client(address);
    assert_eq!(ask(&one, "1"), "a1");
    a.stop();
    // The system tells of it after a datagram was lost.
    one.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut buffer = [0; 64];
    eventually("somebody else answers", || {
        one.send(b"2").unwrap();
        matches!(one.recv(&mut buffer), Ok(2)) && buffer[0] == b'b'
    });
    weir.wait_for_state(a.address(), "unavail");
}

#[test]
fn nobody_to_ask_is_logged() {
    let dead = SocketAddr::from((own_address(), 1));
    let (weir, address) = start(&toml(&[dead], "", ""));
    client(address).send(b"q").unwrap();
    weir.wait_for_access("502", |line| line.contains("\"status\":502") && line.contains("\"error\":\"connect\""));
}

#[test]
fn a_silent_session_ends_after_proxy_timeout() {
    let [a, b] = ["a", "b"].map(|name| Datagrams::answering(name, 1));
    let (weir, address) = start(&toml(&[a.address(), b.address()], "", "proxy_timeout = \"200ms\""));
    let one = client(address);
    assert_eq!(ask(&one, "1"), "a1");
    weir.wait_for_access("idle", |line| line.contains("\"status\":200") && line.contains("\"end\":\"idle\""));
    assert_eq!(ask(&one, "2"), "b2");
}

#[test]
fn an_answer_that_does_not_come_is_a_failure_where_one_is_expected() {
    let [a, b] = [("a", 0), ("b", 1)].map(|(name, times)| Datagrams::answering(name, times));
    let limits = "proxy_timeout = \"200ms\"\nproxy_responses = 1";
    let (weir, address) = start(&toml(&[a.address(), b.address()], "", limits));
    client(address).send(b"1").unwrap();
    weir.wait_for_access("502", |line| line.contains("\"status\":502") && line.contains("\"end\":\"idle\""));
    let line = weir.wait_for_state(a.address(), "unavail");
    assert!(line.contains("no answer within 200ms"), "{line}");
}

#[test]
fn no_more_clients_are_remembered_than_max_sessions() {
    let a = Datagrams::answering("a", 1);
    let text = toml(&[a.address()], "", "max_sessions = 3").replace("workers = 2", "workers = 1");
    let (weir, address) = start(&text);
    let clients: Vec<UdpSocket> = (0..3).map(|_| client(address)).collect();
    let answers: String = clients.iter().map(|client| ask(client, "")).collect();
    assert_eq!(sorted(&answers), "aaa");
    client(address).send(b"one too many").unwrap();
    weir.wait_for("it says so", |line| line.contains("3 sessions of datagrams (max_sessions)"));
    assert_eq!(ask(&clients[0], "x"), "ax");
    assert!(a.seen().iter().all(|(_, bytes)| bytes != b"one too many"));
}

#[test]
fn least_conn_and_max_conns_count_sessions() {
    let [a, b] = ["a", "b"].map(|name| Datagrams::answering(name, 1));
    let (_weir, address) = start(&toml(&[a.address(), b.address()], "balance = \"least_conn\"", ""));
    let clients: Vec<UdpSocket> = (0..4).map(|_| client(address)).collect();
    let answers: String = clients.iter().map(|client| ask(client, "")).collect();
    assert_eq!(sorted(&answers), "aabb");

    let text = toml(&[a.address()], "", "");
    let quoted = format!("\"{}\"", a.address());
    let (weir, address) = start(&text.replace(&quoted, &format!("{{ address = {quoted}, max_conns = 1 }}")));
    let one = client(address);
    assert_eq!(ask(&one, ""), "a");
    client(address).send(b"one too many").unwrap();
    weir.wait_for_access("503", |line| line.contains("\"status\":503") && line.contains("\"end\":\"no_peer\""));
    assert_eq!(ask(&one, ""), "a");
}

#[test]
fn sessions_end_at_shutdown_and_with_their_listener() {
    let a = Datagrams::answering("a", 1);
    let (mut weir, address) = start(&toml(&[a.address()], "", ""));
    let one = client(address);
    assert_eq!(ask(&one, "1"), "a1");
    weir.sigterm();
    assert_eq!(weir.wait_exit().code(), Some(0));

    let (weir, address) = start(&toml(&[a.address()], "", ""));
    let one = client(address);
    assert_eq!(ask(&one, "1"), "a1");
    let tcp = toml(&[a.address()], "", "").replace("{ address = \"127.0.0.1:0\", udp = true }", "\"127.0.0.1:0\"");
    weir.edit(&tcp);
    weir.wait_for("the listener is gone", |line| line.contains("no longer listening on udp://"));
    weir.wait_for_access("and the session", |line| line.contains("\"end\":\"stopped\""));
}

#[test]
fn a_reload_sends_new_clients_to_the_new_peer() {
    let [a, b] = ["a", "b"].map(|name| Datagrams::answering(name, 1));
    let (weir, address) = start(&toml(&[a.address()], "", ""));
    let one = client(address);
    assert_eq!(ask(&one, "1"), "a1");
    weir.edit(&toml(&[b.address()], "", ""));
    weir.wait_for("in force", |line| line.contains("is in force"));
    assert_eq!(ask(&one, "2"), "a2");
    assert_eq!(ask(&client(address), "3"), "b3");
}
