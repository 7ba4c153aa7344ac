//! Is TCP passed on as it is, with all that is known of peers? `[[stream]]`.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use crate::support::raw::{Raw, dial, own_address, read, rest};
use crate::support::{Backend, PATIENCE, Script, Weir, eventually, sorted};

/// An `upstream.toml` with the upstream `db` and a stream that leads to it.
fn toml(peers: &[SocketAddr], upstream: &str, stream: &str) -> String {
    let servers = peers.iter().map(|peer| format!("{{ address = \"{peer}\" }}"));
    of_servers(servers.collect(), upstream, stream)
}

fn of_servers(servers: Vec<String>, upstream: &str, stream: &str) -> String {
    let servers = servers.join(", ");
    format!(
        "workers = 2\n[upstream.db]\nservers = [{servers}]\n{upstream}\n\
         [[stream]]\nlisten = \"127.0.0.1:0\"\nproxy_pass = \"db\"\n{stream}\n"
    )
}

fn start(toml: &str) -> (Weir, SocketAddr) {
    let weir = Weir::launch(toml);
    let address = weir.listens_on("tcp");
    (weir, address)
}

/// A port at which nobody listens.
fn nobody() -> SocketAddr {
    (own_address(), 1).into()
}

/// The letters that `count` connections get, each closed before the next.
fn letters(address: SocketAddr, count: usize) -> String {
    (0..count).map(|_| read(&dial(address), 1)).collect()
}

#[test]
fn connections_rotate_and_are_logged() {
    let [a, b, c] = ["a", "b", "c"].map(Raw::echo);
    let (weir, address) = start(&toml(&[a.address(), b.address(), c.address()], "", ""));
    assert_eq!(letters(address, 6), "abcabc");
    let mut client = dial(address);
    client.write_all(b"hello").unwrap();
    assert_eq!(read(&client, 6), "ahello");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&client).unwrap(), b"");
    let line = weir.wait_for_access("the session's line", |line| line.contains(" TCP 200 6 5 "));
    assert!(line.starts_with("127.0.0.1 [") && line.contains(&format!("\"{}\" uct=\"0.", a.address())), "{line}");
}

#[test]
fn each_side_may_end_before_the_other() {
    // The client first: the application answers when it has heard all.
    let late = Raw::serving(|mut stream| {
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        stream.write_all(format!("<{all}>").as_bytes()).unwrap();
    });
    let (_weir, address) = start(&toml(&[late.address()], "", ""));
    let mut client = dial(address);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&client).unwrap(), b"<question>");

    // The application first: it still hears what the client says.
    let (heard, listen) = std::sync::mpsc::channel();
    let early = Raw::serving(move |mut stream| {
        stream.write_all(b"bye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        heard.send(all).unwrap();
    });
    let (_weir, address) = start(&toml(&[early.address()], "", ""));
    let mut client = dial(address);
    assert_eq!(rest(&client).unwrap(), b"bye");
    client.write_all(b"after the end").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(listen.recv_timeout(PATIENCE).unwrap(), "after the end");
}

#[test]
fn an_end_and_a_reset_come_after_the_words_before_them() {
    let peer = Raw::serving(move |mut stream| {
        let mut asked = [0; 5];
        stream.read_exact(&mut asked).unwrap();
        stream.write_all(b"good bye").unwrap();
        if &asked == b"reset" {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    });
    let (_weir, address) = start(&toml(&[peer.address()], "", ""));
    for (asked, resets) in [("close", false), ("reset", true)] {
        let mut client = dial(address);
        client.write_all(asked.as_bytes()).unwrap();
        assert_eq!(read(&client, 8), "good bye", "{asked}");
        assert_eq!(rest(&client).is_err(), resets, "{asked}");
    }
}

#[test]
fn much_goes_both_ways_at_once_and_is_counted() {
    const EACH: usize = 24 << 20;
    let mirror = Raw::serving(|mut stream| {
        let mut reader = stream.try_clone().unwrap();
        let reading = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()).unwrap());
        let block: Vec<u8> = (0..1 << 16).map(|at| (at % 251) as u8).collect();
        (0..EACH / block.len()).for_each(|_| stream.write_all(&block).unwrap());
        let _ = stream.shutdown(Shutdown::Write);
        assert_eq!(reading.join().unwrap(), EACH as u64);
    });
    let (weir, address) = start(&toml(&[mirror.address()], "", ""));
    let client = dial(address);
    let mut writer = client.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        let block = vec![7; 1 << 16];
        (0..EACH / block.len()).for_each(|_| writer.write_all(&block).unwrap());
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let all = rest(&client).unwrap();
    writing.join().unwrap();
    assert_eq!(all.len(), EACH);
    let wrong = all.iter().enumerate().find(|(at, byte)| **byte != (at % (1 << 16) % 251) as u8);
    assert_eq!(wrong, None);
    weir.wait_for_access("its bytes", |line| line.contains(&format!(" TCP 200 {EACH} {EACH} ")));
}

#[test]
fn much_and_little_may_take_turns() {
    let a = Raw::echo("a");
    let (_weir, address) = start(&toml(&[a.address()], "", ""));
    let client = dial(address);
    assert_eq!(read(&client, 1), "a");
    for round in 0..3 {
        const MUCH: usize = 6 << 20;
        let mut writer = client.try_clone().unwrap();
        let block: Vec<u8> = (0..MUCH).map(|at| (at % 251) as u8).collect();
        let expected = block.clone();
        let writing = std::thread::spawn(move || writer.write_all(&block).unwrap());
        let mut echoed = vec![0; MUCH];
        (&client).read_exact(&mut echoed).unwrap();
        writing.join().unwrap();
        assert!(echoed == expected, "round {round}");
        for number in 0..40 {
            let word = format!("{round}:{number};");
            (&client).write_all(word.as_bytes()).unwrap();
            assert_eq!(read(&client, word.len()), word);
        }
    }
}

#[test]
fn unix_sockets_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
        }
    });
    let text = format!(
        "[upstream.db]\nservers = [\"unix:{}\"]\n\
         [[stream]]\nlisten = \"unix:@DIR@/in.sock\"\nproxy_pass = \"db\"\n",
        path.display()
    );
    let weir = Weir::launch(&text);
    weir.wait_for("it listens", |line| line.contains("listening on unix:"));
    let mut client = std::os::unix::net::UnixStream::connect(weir.folder().join("in.sock")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    client.read_to_string(&mut all).unwrap();
    assert_eq!(all, "hello");
    weir.wait_for_access("its line", |line| line.starts_with("unix: [") && line.contains("\"unix:"));
}

#[test]
fn a_reader_that_is_slow_slows_the_writer_and_no_memory_is_filled() {
    let source = Raw::serving(|mut stream| {
        let block = vec![1; 1 << 16];
        while stream.write_all(&block).is_ok() {}
    });
    let (weir, address) = start(&toml(&[source.address()], "", ""));
    let before = weir.peak_memory();
    let clients: Vec<TcpStream> = (0..20).map(|_| dial(address)).collect();
    clients.iter().for_each(|client| drop(read(client, 1 << 20)));
    assert!(weir.peak_memory() - before < 24 << 20, "{} bytes", weir.peak_memory() - before);
}

#[test]
fn a_refused_connect_is_tried_at_the_next_peer() {
    let a = Raw::echo("a");
    let dead = nobody();
    let (weir, address) = start(&toml(&[dead, a.address()], "", ""));
    assert_eq!(letters(address, 3), "aaa");
    weir.wait_for_state(dead, "unavail");
    weir.wait_for_access("both in one line", |line| line.contains(&format!("\"{dead}, {}\"", a.address())));
}

#[test]
fn without_a_peer_the_connection_ends_at_once() {
    let dead = nobody();
    let (weir, address) = start(&toml(&[dead], "", ""));
    assert_eq!(rest(&dial(address)).unwrap(), b"");
    weir.wait_for_access("502", |line| line.contains(" TCP 502 0 0 ") && line.contains(&dead.to_string()));

    let (weir, address) = start(&of_servers(vec![format!("{{ address = \"{dead}\", down = true }}")], "", ""));
    assert_eq!(rest(&dial(address)).unwrap(), b"");
    weir.wait_for_access("503 in the group's name", |line| line.contains(" TCP 503 0 0 ") && line.contains("\"db\""));
}

#[test]
fn proxy_next_upstream_off_asks_one_peer_alone() {
    let a = Raw::echo("a");
    let (weir, address) = start(&toml(&[nobody(), a.address()], "", "proxy_next_upstream = \"off\""));
    assert_eq!(rest(&dial(address)).unwrap(), b"");
    weir.wait_for_access("502", |line| line.contains(" TCP 502 "));
    assert_eq!(letters(address, 2), "aa");
}

#[test]
fn least_conn_counts_connections_for_their_whole_life() {
    let [a, b] = ["a", "b"].map(Raw::echo);
    let (_weir, address) = start(&toml(&[a.address(), b.address()], "balance = \"least_conn\"", ""));
    let hold = |count: usize| -> Vec<(String, TcpStream)> {
        (0..count).map(|_| dial(address)).map(|client| (read(&client, 1), client)).collect()
    };
    let mut held = hold(4);
    assert_eq!(sorted(&held.iter().map(|(letter, _)| letter.as_str()).collect::<String>()), "aabb");
    held.retain(|(letter, _)| letter == "a");
    eventually("the connections to b are over", || b.open() == 0);
    let more: String =
        hold(2).into_iter().map(|(letter, client)| (letter, held.push((String::new(), client))).0).collect();
    assert_eq!(more, "bb");
}

#[test]
fn max_conns_and_queue_hold_for_connections() {
    let a = Raw::echo("a");
    let server = format!("{{ address = \"{}\", max_conns = 1 }}", a.address());
    let (weir, address) = start(&of_servers(vec![server], "queue = { size = 1, timeout = \"60s\" }", ""));
    let first = dial(address);
    assert_eq!(read(&first, 1), "a");
    let mut waiting = dial(address);
    waiting.write_all(b"early").unwrap();
    // One waits. The next finds the queue full, whichever of the two that is.
    let third = dial(address);
    weir.wait_for_access("one too many", |line| line.contains(" TCP 503 "));
    assert_eq!(a.accepted(), 1);
    drop(first);
    let answered = [&waiting, &third].map(rest_begins);
    assert_eq!(answered.iter().filter(|byte| byte.as_deref() == Some("a")).count(), 1, "{answered:?}");
}

/// The first byte, if one comes before the end.
fn rest_begins(mut client: &TcpStream) -> Option<String> {
    let mut byte = [0];
    matches!(client.read(&mut byte), Ok(1)).then(|| String::from_utf8_lossy(&byte).into_owned())
}

#[test]
fn what_a_client_says_before_it_has_a_peer_is_not_lost() {
    let a = Raw::echo("a");
    let server = format!("{{ address = \"{}\", max_conns = 1 }}", a.address());
    let (_weir, address) = start(&of_servers(vec![server], "queue = { size = 5, timeout = \"60s\" }", ""));
    let first = dial(address);
    assert_eq!(read(&first, 1), "a");
    let mut second = dial(address);
    second.write_all(b"all that I have to say").unwrap();
    second.shutdown(Shutdown::Write).unwrap();
    drop(first);
    assert_eq!(rest(&second).unwrap(), b"aall that I have to say");
}

#[test]
fn a_silent_session_ends_after_proxy_timeout() {
    let a = Raw::echo("a");
    let (weir, address) =
        start(&format!("log_format = \"json\"\n{}", toml(&[a.address()], "", "proxy_timeout = \"300ms\"")));
    let mut client = dial(address);
    assert_eq!(rest(&client).unwrap(), b"a");
    eventually("the application hears of the end", || a.open() == 0);
    weir.wait_for_access("idle", |line| line.contains("\"end\":\"idle\"") && line.contains("\"status\":200"));
    let _ = client.write_all(b"x");
}

/// As a server does that has no room: it says so and closes, whatever the client goes on to say.
#[test]
fn what_a_peer_has_said_before_it_closed_arrives_though_it_takes_no_more() {
    // More than the client takes at once, and no more than weir does.
    const SAID: usize = 48 * 1024;
    let full = Raw::serving(|mut stream| {
        stream.write_all(&[b'x'; SAID]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let (weir, address) = start(&format!("log_format = \"json\"\n{}", toml(&[full.address()], "", "")));
    let mut client = dial(address);
    SockRef::from(&client).set_recv_buffer_size(8 * 1024).unwrap();
    client.read_exact(&mut [0]).unwrap();
    client.write_all(b"y").unwrap();
    eventually("it listens no more", || full.open() == 0);
    // What comes now meets that.
    client.write_all(b"z").unwrap();
    weir.wait_for_access("the session", |line| line.contains("\"end\":\"peer_reset\""));
    assert_eq!(rest(&client).unwrap().len(), SAID - 1, "it ends as the peer has ended");
}

#[test]
fn a_reset_is_passed_on_as_a_reset() {
    let resetting = Raw::serving(|mut stream| {
        let mut byte = [0];
        let _ = stream.read(&mut byte);
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let (weir, address) = start(&format!("log_format = \"json\"\n{}", toml(&[resetting.address()], "", "")));
    let mut client = dial(address);
    client.write_all(b"x").unwrap();
    assert_eq!(rest(&client).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    weir.wait_for_access("whose doing it was", |line| line.contains("\"end\":\"peer_reset\""));

    let (told, listen) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let watching = Raw::serving(move |mut stream| {
        stream.write_all(b"a").unwrap();
        told.lock().unwrap().send(rest(&stream).map_err(|error| error.kind())).unwrap();
    });
    let (weir, address) = start(&format!("log_format = \"json\"\n{}", toml(&[watching.address()], "", "")));
    let client = dial(address);
    assert_eq!(read(&client, 1), "a");
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(listen.recv_timeout(PATIENCE).unwrap(), Err(std::io::ErrorKind::ConnectionReset));
    weir.wait_for_access("whose doing it was", |line| line.contains("\"end\":\"client_reset\""));
}

#[test]
fn a_client_stays_on_its_peer_by_hash_of_its_address() {
    let [a, b, c] = ["a", "b", "c"].map(Raw::echo);
    let peers = [a.address(), b.address(), c.address()];
    for balance in ["hash $remote_addr consistent", "ip_hash"] {
        let (_weir, address) = start(&toml(&peers, &format!("balance = \"{balance}\""), ""));
        let seen = letters(address, 5);
        assert_eq!(seen, seen[..1].repeat(5), "{balance}");
    }
    let (_weir, address) = start(&toml(&peers, "balance = \"hash $remote_addr:$remote_port\"", ""));
    let seen = sorted(&letters(address, 40));
    assert!(["a", "b", "c"].iter().all(|letter| seen.contains(letter)), "each port is another key: {seen}");
}

#[test]
fn a_tcp_probe_takes_a_peer_out_and_brings_connections_elsewhere() {
    let [a, b] = ["a", "b"].map(Raw::echo);
    let check = "health_check = { type = \"tcp\", interval = \"100ms\", timeout = \"2s\", fails = 2, passes = 1 }";
    let (weir, address) = start(&toml(&[a.address(), b.address()], check, ""));
    weir.wait_for_state(a.address(), "up");
    weir.wait_for_state(b.address(), "up");
    let open = loop {
        let client = dial(address);
        if read(&client, 1) == "a" {
            break client;
        }
    };
    a.stop_listening();
    weir.wait_for_state(a.address(), "unhealthy");
    assert_eq!(letters(address, 4), "bbbb");
    // What was connected goes on.
    (&open).write_all(b"still here").unwrap();
    assert_eq!(read(&open, 10), "still here");
}

#[test]
fn an_http_probe_on_another_port_judges_the_peer() {
    let [a, b] = ["a", "b"].map(Raw::echo);
    let check = Backend::start("check");
    let port = check.address().port();
    // Both peers live on addresses of their own; the check answers at the same port of each.
    let checks = [a.address(), b.address()].map(|peer| {
        let listener = std::net::TcpListener::bind((peer.ip(), port)).unwrap();
        let healthy = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let state = healthy.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = [0; 1024];
                let _ = stream.read(&mut head);
                let status = if state.load(std::sync::atomic::Ordering::SeqCst) { 200 } else { 500 };
                let _ = stream.write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes());
            }
        });
        healthy
    });
    let check = format!(
        "health_check = {{ uri = \"/health\", port = {port}, interval = \"100ms\", timeout = \"2s\", fails = 2 }}"
    );
    let (weir, address) = start(&toml(&[a.address(), b.address()], &check, ""));
    weir.wait_for_state(a.address(), "up");
    weir.wait_for_state(b.address(), "up");
    checks[0].store(false, std::sync::atomic::Ordering::SeqCst);
    weir.wait_for_state(a.address(), "unhealthy");
    assert_eq!(letters(address, 4), "bbbb");
}

#[test]
fn open_connections_outlive_a_reload_and_new_ones_go_where_it_says() {
    let [a, b] = ["a", "b"].map(Raw::echo);
    let (weir, address) = start(&toml(&[a.address()], "", ""));
    let mut open = dial(address);
    assert_eq!(read(&open, 1), "a");
    // Another peer at the same listener.
    let mark = weir.mark();
    weir.edit(&toml(&[b.address()], "", ""));
    weir.wait_since(mark, "in force", |line| line.contains("is in force"));
    assert_eq!(letters(address, 2), "bb");
    open.write_all(b"more").unwrap();
    assert_eq!(read(&open, 4), "more");
    // Another group at the same listener.
    let mark = weir.mark();
    let other = toml(&[b.address()], "", "").replace("proxy_pass = \"db\"", "proxy_pass = \"other\"");
    weir.edit(&format!("{other}\n[upstream.other]\nservers = [\"{}\"]\n", a.address()));
    weir.wait_since(mark, "in force", |line| line.contains("is in force"));
    assert_eq!(letters(address, 2), "aa");
    // No stream any more.
    let mark = weir.mark();
    weir.edit(&format!(
        "[upstream.db]\nservers = [\"{}\"]\n[[server]]\nlisten = \"127.0.0.2:0\"\n[[server.location]]\npath = \"/\"\nproxy_pass = \"http://db\"\n",
        b.address()
    ));
    weir.wait_since(mark, "the listener is gone", |line| line.contains("no longer listening on tcp://"));
    eventually("the port refuses", || TcpStream::connect(address).is_err());
    open.write_all(b"even so").unwrap();
    assert_eq!(read(&open, 7), "even so");
}

#[test]
fn open_connections_may_finish_after_sigterm() {
    let a = Raw::echo("a");
    let (mut weir, address) = start(&toml(&[a.address()], "", ""));
    let mut open = dial(address);
    assert_eq!(read(&open, 1), "a");
    weir.sigterm();
    weir.wait_for("it stops", |line| line.contains("stopping"));
    eventually("the port refuses", || TcpStream::connect(address).is_err());
    open.write_all(b"last words").unwrap();
    assert_eq!(read(&open, 10), "last words");
    assert!(weir.is_running());
    drop(open);
    assert_eq!(weir.wait_exit().code(), Some(0));
}

#[test]
fn shutdown_timeout_cuts_what_does_not_end() {
    let a = Raw::echo("a");
    let (mut weir, address) = start(&format!("shutdown_timeout = \"200ms\"\n{}", toml(&[a.address()], "", "")));
    let open = dial(address);
    assert_eq!(read(&open, 1), "a");
    weir.sigterm();
    assert_eq!(weir.wait_exit().code(), Some(0));
    drop(rest(&open));
    eventually("the application hears of the end", || a.open() == 0);
}

#[test]
fn a_server_and_a_stream_live_side_by_side() {
    let web = Backend::start("web");
    web.usually(Script::text("web"));
    let a = Raw::echo("a");
    let text = format!(
        "{}\n[upstream.web]\nservers = [\"{}\"]\n[[server]]\nlisten = \"127.0.0.2:0\"\n\
         [[server.location]]\npath = \"/\"\nproxy_pass = \"http://web\"\n",
        toml(&[a.address()], "", ""),
        web.address()
    );
    let weir = Weir::start(&text);
    assert_eq!(weir.get("/").text(), "web");
    assert_eq!(letters(weir.listens_on("tcp"), 1), "a");
}
