//! Do streams speak TLS and the PROXY protocol, to clients and to peers, as HTTP does?

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, mpsc};

use rustls::{ClientConfig, ServerConfig};

use crate::support::raw::{Raw, dial, read, rest};
use crate::support::tls::{BOTH, Socket, TLS12};
use crate::support::{Authority, PATIENCE, Weir};

/// A stream that listens like this and leads to an upstream of `peers` with these settings.
fn launch(listen: &str, peers: &[SocketAddr], upstream: &str, authority: &Authority) -> Weir {
    let servers: Vec<String> = peers.iter().map(|peer| format!("\"{peer}\"")).collect();
    let toml = format!(
        "workers = 2\ntrusted_proxies = [\"127.0.0.1\"]\n[upstream.db]\nservers = [{}]\n{upstream}\n\
         [[stream]]\nlisten = {{ address = \"127.0.0.1:0\", {listen} }}\nproxy_pass = \"db\"\n",
        servers.join(", ")
    );
    Weir::launch_with(&toml, |folder: &Path| {
        authority.issue(&["a.test"]).write(folder, "a");
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    })
}

const TLS: &str = "tls = { certificate = \"a.pem\", key = \"a.key\" }";
const CA: &str = "tls = { ca_file = \"ca.pem\", server_name = \"app.test\" }";
const PROXIED: &str = "proxy_protocol = true";

fn secure(address: SocketAddr, config: &Arc<ClientConfig>) -> Socket {
    Socket::client(dial(address), config, "a.test")
}

fn take(socket: &mut Socket, count: usize) -> String {
    let mut bytes = vec![0; count];
    socket.read_exact(&mut bytes).expect("they come");
    String::from_utf8(bytes).unwrap()
}

/// An application that speaks TLS, says its name, and then what it hears, until that ends in good order.
fn secure_echo(name: &'static str, config: Arc<ServerConfig>) -> Raw {
    Raw::serving(move |tcp| {
        let mut tls = Socket::server(tcp, &config);
        let mut block = vec![0; 1 << 16];
        if tls.write_all(name.as_bytes()).is_err() {
            return;
        }
        loop {
            match tls.read(&mut block) {
                Ok(0) => return tls.half_close(),
                Ok(n) if tls.write_all(&block[..n]).is_ok() => {}
                _ => return,
            }
        }
    })
}

#[test]
fn tls_ends_at_weir_and_each_side_may_end_first() {
    let authority = Authority::new("authority");
    let late = Raw::serving(|mut stream| {
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        stream.write_all(format!("<{all}>").as_bytes()).unwrap();
    });
    let weir = launch(TLS, &[late.address()], "", &authority);
    for versions in [&BOTH[..], &TLS12[..]] {
        let mut client = secure(weir.listens_on("tls"), &authority.client(versions, None));
        client.write_all(b"question").unwrap();
        client.half_close();
        let mut answer = String::new();
        // An end that is not announced would be an error here.
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "<question>");
    }
    weir.wait_for_access("bytes of content", |line| line.contains(" TCP 200 10 8 "));
}

#[test]
fn what_a_client_would_speak_inside_tls_is_its_own_matter() {
    let authority = Authority::new("authority");
    let a = Raw::echo("a");
    let weir = launch(TLS, &[a.address()], "", &authority);
    let mut config = (*authority.client(&BOTH, None)).clone();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    assert_eq!(take(&mut secure(weir.listens_on("tls"), &Arc::new(config)), 1), "a");
}

#[test]
fn much_goes_through_tls_on_each_side_and_on_both() {
    const MUCH: usize = 5 << 20;
    let authority = Authority::new("authority");
    let server = authority.issue(&["app.test"]).server(None);
    let [plain, secured] = [Raw::echo("a"), secure_echo("a", server)];
    for (listen, peer, upstream) in [(TLS, &plain, ""), (TLS, &secured, CA), ("default_server = false", &secured, CA)] {
        let weir = launch(listen, &[peer.address()], upstream, &authority);
        let mut client = match listen {
            TLS => secure(weir.listens_on("tls"), &authority.client(&BOTH, None)),
            _ => Socket::Plain(dial(weir.listens_on("tcp"))),
        };
        assert_eq!(take(&mut client, 1), "a");
        let block: Vec<u8> = (0..1 << 16).map(|at| (at % 251) as u8).collect();
        let mut echoed = vec![0; block.len()];
        for round in 0..MUCH / block.len() {
            client.write_all(&block).unwrap();
            client.read_exact(&mut echoed).unwrap();
            assert!(echoed == block, "block {round} with {listen} and {upstream}");
        }
        client.half_close();
        let mut more = Vec::new();
        if let Socket::Plain(tcp) = &client {
            tcp.shutdown(std::net::Shutdown::Write).unwrap();
        }
        client.read_to_end(&mut more).expect("it ends in good order");
        assert_eq!(more, b"");
        weir.wait_for_access("its bytes", |line| line.contains(&format!(" TCP 200 {} {MUCH} ", MUCH + 1)));
    }
}

#[test]
fn a_download_that_is_read_slowly_arrives_whole_through_tls() {
    const MUCH: usize = 8 << 20;
    let authority = Authority::new("authority");
    let source = Raw::serving(|mut stream| {
        let block: Vec<u8> = (0..1 << 16).map(|at| (at % 251) as u8).collect();
        (0..MUCH / block.len()).for_each(|_| stream.write_all(&block).unwrap());
    });
    let weir = launch(TLS, &[source.address()], "", &authority);
    let mut client = secure(weir.listens_on("tls"), &authority.client(&BOTH, None));
    client.flush().unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).expect("it ends in good order");
    assert_eq!(all.len(), MUCH);
    assert_eq!(all.iter().enumerate().find(|(at, byte)| **byte != (at % (1 << 16) % 251) as u8), None);
}

#[test]
fn whoever_does_not_speak_tls_as_demanded_is_closed_and_no_peer_hears_of_it() {
    let authority = Authority::new("authority");
    let a = Raw::echo("a");
    let listen =
        "tls = { certificate = \"a.pem\", key = \"a.key\", verify_client = \"on\", client_ca_file = \"ca.pem\" }";
    let weir = launch(listen, &[a.address()], "", &authority);
    let address = weir.listens_on("tls");

    let mut plain = dial(address);
    plain.write_all(b"PING\r\n").unwrap();
    assert!(rest(&plain).map_or(true, |said| said.is_empty()), "closed, or reset");

    let stranger = Authority::new("stranger").issue(&["client.test"]);
    for own in [None, Some(&stranger)] {
        let mut client = secure(address, &authority.client(&BOTH, own));
        let mut said = Vec::new();
        let _ = client.write_all(b"hello").and_then(|()| client.read_to_end(&mut said));
        assert_eq!(said, b"");
    }
    weir.wait_for_access("no peer", |line| line.contains(" TCP 400 0 0 "));
    assert_eq!(a.accepted(), 0);

    let good = authority.issue(&["client.test"]);
    assert_eq!(take(&mut secure(address, &authority.client(&BOTH, Some(&good))), 1), "a");
}

#[test]
fn a_peer_that_does_not_prove_itself_is_not_spoken_to() {
    let authority = Authority::new("authority");
    let stranger = secure_echo("s", Authority::new("stranger").issue(&["app.test"]).server(None));
    let good = secure_echo("g", authority.issue(&["app.test"]).server(None));
    let weir = launch(PROXIED, &[stranger.address(), good.address()], CA, &authority);
    for _ in 0..3 {
        let mut client = dial(weir.listens_on("tcp"));
        client.write_all(b"PROXY UNKNOWN\r\n").unwrap();
        assert_eq!(read(&client, 1), "g");
    }
    let line = weir.wait_for_state(stranger.address(), "unavail");
    assert!(line.contains("TLS: its certificate is of an unknown issuer"), "{line}");
}

const V1: &[u8] = b"PROXY TCP4 203.0.113.5 198.51.100.2 4711 443\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x05\xc6\x33\x64\x02\x12\x67\x01\xbb";

#[test]
fn the_client_of_the_proxy_header_is_the_client_for_log_and_peer_and_the_header_comes_first() {
    let authority = Authority::new("authority");
    let (heard, listen) = mpsc::channel();
    let heard = std::sync::Mutex::new(heard);
    let app = Raw::serving(move |mut stream| {
        // Before the client has said a byte.
        let header = read(&stream, V1.len());
        let _ = stream.write_all(b"a");
        heard.lock().unwrap().send((header, String::from_utf8(rest(&stream).unwrap()).unwrap())).unwrap();
    });
    let listens = [PROXIED.to_owned(), format!("{PROXIED}, {TLS}")];
    for (listens_like, protocol) in listens.iter().zip(["tcp", "tls"]) {
        let weir = launch(listens_like, &[app.address()], "proxy_protocol = \"v1\"", &authority);
        for header in [V1, V2] {
            let mut tcp = dial(weir.listens_on(protocol));
            tcp.write_all(header).unwrap();
            let mut client = match protocol {
                "tls" => Socket::client(tcp, &authority.client(&BOTH, None), "a.test"),
                _ => Socket::Plain(tcp),
            };
            assert_eq!(take(&mut client, 1), "a");
            client.write_all(b"hello").unwrap();
            client.half_close();
            let _ = client.tcp().shutdown(std::net::Shutdown::Write);
            let (first, then) = listen.recv_timeout(PATIENCE).unwrap();
            assert_eq!((first.as_bytes(), then.as_str()), (V1, "hello"));
            weir.wait_for_access("the client", |line| line.starts_with("203.0.113.5 [") && line.contains(" 200 1 5 "));
        }
    }
}

#[test]
fn version_2_is_sent_in_front_of_tls() {
    let authority = Authority::new("authority");
    let server = authority.issue(&["app.test"]).server(None);
    let app = Raw::serving(move |mut stream| {
        let mut header = vec![0; V2.len()];
        stream.read_exact(&mut header).unwrap();
        let mut tls = Socket::server(stream, &server);
        let _ = tls.write_all(if header == V2 { b"+" } else { b"-" });
        tls.half_close();
    });
    let weir = launch(PROXIED, &[app.address()], &format!("proxy_protocol = \"v2\"\n{CA}"), &authority);
    let mut client = dial(weir.listens_on("tcp"));
    client.write_all(V1).unwrap();
    assert_eq!(read(&client, 1), "+");
}

#[test]
fn hash_goes_by_the_client_in_the_header() {
    let authority = Authority::new("authority");
    let [a, b] = ["a", "b"].map(Raw::echo);
    for balance in ["ip_hash", "hash $remote_addr consistent"] {
        let upstream = format!("balance = \"{balance}\"");
        let weir = launch(PROXIED, &[a.address(), b.address()], &upstream, &authority);
        let address = weir.listens_on("tcp");
        let pick = |third: u8| {
            let mut client = dial(address);
            client.write_all(format!("PROXY TCP4 203.0.{third}.5 198.51.100.2 4711 443\r\n").as_bytes()).unwrap();
            read(&client, 1)
        };
        let picks: Vec<String> = (0..16).map(pick).collect();
        assert!(picks.contains(&"a".into()) && picks.contains(&"b".into()), "{balance}: {picks:?}");
        assert_eq!((0..16).map(pick).collect::<Vec<_>>(), picks, "{balance}");
    }
}

#[test]
fn a_header_of_a_stranger_or_of_nonsense_ends_the_connection_and_no_peer_hears_of_it() {
    let authority = Authority::new("authority");
    let a = Raw::echo("a");
    let weir = launch(PROXIED, &[a.address()], "", &authority);
    let address = weir.listens_on("tcp");

    let from = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    from.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 9, 9), 0)).into()).unwrap();
    from.connect(&address.into()).unwrap();
    let stranger = TcpStream::from(from);
    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = (&stranger).write_all(V1);
    assert!(rest(&stranger).map_or(true, |said| said.is_empty()));
    weir.wait_for("why", |line| line.contains("127.0.9.9:") && line.contains("not among trusted_proxies"));

    let mut nonsense = dial(address);
    nonsense.write_all(b"*1\r\n$4\r\nPING\r\n").unwrap();
    assert!(rest(&nonsense).map_or(true, |said| said.is_empty()));
    assert_eq!(a.accepted(), 0);
}
