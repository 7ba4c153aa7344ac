//! TLS towards clients: who is proven to whom, what may go on, what is refused, and that a new certificate needs no restart.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};

use crate::support::tls::{BOTH, TLS12};
use crate::support::weir::command;
use crate::support::{Authority, Backend, Client, Gate, PARKED, Script, Weir, eventually, get};

const PAIR: &str = "certificate = \"a.pem\", key = \"a.key\"";

/// One server on one port of TLS, in front of `backend`.
fn site(backend: &Backend, tls: &str, server: &str) -> String {
    format!(
        "shutdown_timeout = \"10s\"\n[upstream.web]\nservers = [\"{}\"]\n\
         [[server]]\nlisten = {{ address = \"127.0.0.1:0\", tls = {{ {tls} }} }}\n{server}\n\
         [[server.location]]\npath = \"/\"\nproxy_pass = \"http://web\"\n\
         proxy_set_header = {{ X-Tls = \"$scheme $https $ssl_protocol $ssl_server_name $ssl_session_reused\", \
         X-Client = \"$ssl_client_verify $ssl_client_s_dn\" }}\n",
        backend.address()
    )
}

/// One weir with a certificate for `a.test`, what issued that, and what it serves.
fn start(tls: &str, server: &str) -> (Weir, Authority, Backend) {
    let (backend, authority) = (Backend::start("app"), Authority::new("authority"));
    let weir = Weir::start_with(&site(&backend, tls, server), |folder| {
        authority.issue(&["a.test"]).write(folder, "a");
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    });
    (weir, authority, backend)
}

fn connect(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Client {
    Client::connect(address).secure(config, name)
}

#[test]
fn both_versions_are_spoken_and_the_application_hears_of_it() {
    let (weir, authority, backend) = start(PAIR, "");
    for (versions, protocol) in [(&BOTH[..], ProtocolVersion::TLSv1_3), (&TLS12[..], ProtocolVersion::TLSv1_2)] {
        let mut client = connect(weir.address(), &authority.client(versions, None), "a.test");
        assert_eq!(client.get("/").text(), "app");
        assert_eq!(client.get("/again").text(), "app", "on the same connection");
        assert_eq!(client.tls().protocol_version(), Some(protocol));
    }
    let asked = backend.requests();
    assert_eq!(asked[0].field("x-tls"), Some("https on TLSv1.3 a.test ."));
    assert_eq!(asked[2].field("x-tls"), Some("https on TLSv1.2 a.test ."));
    assert_eq!(asked[0].field("x-forwarded-proto"), Some("https"));
    assert_eq!(asked[0].field("x-client"), Some("NONE"));
}

#[test]
fn a_client_that_pauses_goes_on_in_its_session() {
    let (weir, authority, backend) = start(PAIR, "");
    for versions in [&BOTH[..], &TLS12[..]] {
        let config = authority.client(versions, None);
        let (mut client, mut late) =
            (connect(weir.address(), &config, "a.test"), connect(weir.address(), &config, "a.test"));
        assert_eq!(client.get("/").text(), "app");
        std::thread::sleep(PARKED);
        assert_eq!((client.get("/").text(), late.get("/").text()), ("app".to_owned(), "app".to_owned()));
        drop(client);
        assert_eq!(late.get("/again").text(), "app");
    }
    assert!(
        backend.requests().iter().all(|asked| asked.field("x-tls").is_some_and(|tls| tls.starts_with("https on TLS")))
    );
}

#[test]
fn alpn_agrees_on_http_1_1() {
    let (weir, authority, _backend) = start(PAIR, "");
    let mut config = (*authority.client(&BOTH, None)).clone();
    config.alpn_protocols = vec![b"spdy/3".to_vec(), b"http/1.1".to_vec()];
    let mut client = connect(weir.address(), &Arc::new(config), "a.test");
    assert_eq!(client.get("/").text(), "app");
    assert_eq!(client.tls().alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[test]
fn a_version_that_is_not_listed_is_not_spoken() {
    let (weir, authority, backend) = start(&format!("{PAIR}, protocols = \"TLSv1.3\""), "");
    let mut old = connect(weir.address(), &authority.client(&TLS12, None), "a.test");
    assert!(!old.try_send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    let mut new = connect(weir.address(), &authority.client(&BOTH, None), "a.test");
    assert_eq!(new.get("/").text(), "app");
    assert_eq!(backend.requests().len(), 1);
}

#[test]
fn a_client_that_comes_back_goes_on_with_its_session_whoever_its_worker_is() {
    let (backend, authority) = (Backend::start("app"), Authority::new("authority"));
    let toml = format!("workers = 2\n{}", site(&backend, PAIR, ""));
    let weir = Weir::start_with(&toml, |folder| authority.issue(&["a.test"]).write(folder, "a"));
    for versions in [&BOTH[..], &TLS12[..]] {
        let config = authority.client(versions, None);
        let mut kinds = Vec::new();
        for _ in 0..6 {
            let mut client = connect(weir.address(), &config, "a.test");
            assert_eq!(client.get("/").status, 200);
            kinds.push(client.tls().handshake_kind());
        }
        assert!(!matches!(kinds[0], Some(HandshakeKind::Resumed)), "{kinds:?}");
        assert!(kinds[1..].iter().all(|kind| matches!(kind, Some(HandshakeKind::Resumed))), "{kinds:?}");
    }
}

#[test]
fn each_server_proves_itself_with_its_own_certificate() {
    let (backend, known, other) = (Backend::start("app"), Authority::new("known"), Authority::new("other"));
    let server = |extra: &str, name: &str| {
        format!(
            "[[server]]\nlisten = {extra}\nserver_name = \"{name}\"\n\
             [[server.location]]\npath = \"/\"\nproxy_pass = \"http://{}\"\n",
            backend.address()
        )
    };
    let toml = [
        server("{ address = \"127.0.0.1:0\", tls = { certificate = \"a.pem\", key = \"a.key\" } }", "a.test"),
        server("{ address = \"127.0.0.1:0\", tls = { certificate = [\"x.pem\", \"b.pem\"], key = [\"x.key\", \"b.key\"] } }", "*.b.test"),
        server("\"127.0.0.1:0\"", "c.test"),
    ]
    .concat();
    let weir = Weir::start_with(&toml, |folder| {
        known.issue(&["a.test", "c.test", "else.test"]).write(folder, "a");
        other.issue(&["x.b.test"]).write(folder, "x");
        other.issue(&["b.b.test"]).write(folder, "b");
    });
    for (authority, name) in
        [(&known, "a.test"), (&other, "b.b.test"), (&other, "x.b.test"), (&known, "c.test"), (&known, "else.test")]
    {
        let mut client = connect(weir.address(), &authority.client(&BOTH, None), name);
        client.send(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n"));
        assert_eq!(client.response().status, 200, "{name}");
    }
    let mut stranger = connect(weir.address(), &known.client(&BOTH, None), "b.b.test");
    assert!(!stranger.try_send("GET / HTTP/1.1\r\nHost: b.b.test\r\n\r\n"), "its certificate is of the other");
}

#[test]
fn clients_without_a_fine_certificate_are_told_so_in_http() {
    let (weir, authority, backend) = start(&format!("{PAIR}, verify_client = \"on\", client_ca_file = \"ca.pem\""), "");
    let good = authority.issue(&["client.test"]);
    let stranger = Authority::new("stranger").issue(&["client.test"]);
    let expired = authority.issue_until(&["client.test"], 2021);
    for (own, status, words) in [
        (Some(&good), 200, "app"),
        (None, 400, "no required SSL certificate was sent"),
        (Some(&stranger), 400, "the SSL certificate error"),
        (Some(&expired), 400, "the SSL certificate error"),
    ] {
        let answer = connect(weir.address(), &authority.client(&BOTH, own), "a.test").get("/");
        assert_eq!(answer.status, status);
        assert!(answer.text().contains(words), "{}", answer.text());
    }
    assert_eq!(backend.only_request().field("x-client"), Some("SUCCESS CN=client.test"));
}

#[test]
fn an_optional_certificate_may_be_missing_but_not_wrong() {
    let (weir, authority, backend) =
        start(&format!("{PAIR}, verify_client = \"optional\", client_ca_file = \"ca.pem\""), "");
    let good = authority.issue(&["client.test"]);
    let stranger = Authority::new("stranger").issue(&["client.test"]);
    for (own, status) in [(None, 200), (Some(&good), 200), (Some(&stranger), 400)] {
        assert_eq!(connect(weir.address(), &authority.client(&TLS12, own), "a.test").get("/").status, status);
    }
    let heard: Vec<String> = backend.requests().iter().map(|r| r.field("x-client").unwrap().to_owned()).collect();
    assert_eq!(heard, ["NONE", "SUCCESS CN=client.test"]);
}

#[test]
fn a_session_that_goes_on_does_not_lose_its_certificate() {
    let (weir, authority, _backend) =
        start(&format!("{PAIR}, verify_client = \"on\", client_ca_file = \"ca.pem\""), "");
    let config = authority.client(&BOTH, Some(&authority.issue(&["client.test"])));
    for _ in 0..3 {
        assert_eq!(connect(weir.address(), &config, "a.test").get("/").status, 200);
    }
}

#[test]
fn nobody_gets_around_a_server_that_demands_certificates_by_asking_for_another_first() {
    let (backend, authority) = (Backend::start("app"), Authority::new("authority"));
    let server = |name: &str, tls: &str| {
        format!(
            "[[server]]\nlisten = {{ address = \"127.0.0.1:0\", tls = {{ {PAIR}{tls} }} }}\nserver_name = \"{name}\"\n\
             [[server.location]]\npath = \"/\"\nproxy_pass = \"http://{}\"\n",
            backend.address()
        )
    };
    let toml =
        server("open.test", "") + &server("closed.test", ", verify_client = \"on\", client_ca_file = \"ca.pem\"");
    let weir = Weir::start_with(&toml, |folder| {
        authority.issue(&["open.test", "closed.test"]).write(folder, "a");
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    });
    let config = authority.client(&BOTH, None);
    let mut client = connect(weir.address(), &config, "open.test");
    client.send("GET / HTTP/1.1\r\nHost: open.test\r\n\r\n");
    assert_eq!(client.response().status, 200);
    client.send("GET / HTTP/1.1\r\nHost: closed.test\r\n\r\n");
    assert_eq!(client.response().status, 421);
    // Nor by a session that was begun where nothing was demanded.
    let mut client = connect(weir.address(), &config, "closed.test");
    client.send("GET / HTTP/1.1\r\nHost: closed.test\r\n\r\n");
    assert_eq!(client.response().status, 400);
}

#[test]
fn plain_http_on_a_port_for_tls_is_told_so() {
    let (weir, _authority, backend) = start(PAIR, "");
    let answer = get(weir.address(), "/");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("the plain HTTP request was sent to HTTPS port"), "{}", answer.text());
    assert!(backend.requests().is_empty());
}

#[test]
fn noise_and_halves_of_handshakes_end_without_an_answer_and_hurt_nobody() {
    let (mut weir, authority, _backend) = start(PAIR, "client_header_timeout = \"300ms\"");
    let mut silent = weir.client();
    let mut half = weir.client();
    half.send(b"\x16\x03\x01\x02\x00\x01\x00");
    let mut noise = weir.client();
    noise.send(b"\x16\x03\x01\x00\x05hello");
    let mut huge = weir.client();
    huge.send_as_far_as_possible([b"\x16\x03\x01\x40\x00\x01\x00\xff\xff".as_slice(), &[0; 70_000]].concat());
    assert!(silent.rest().is_empty());
    assert!(half.rest().is_empty());
    let alert = noise.rest();
    assert!(alert.is_empty() || alert[0] == 0x15, "{alert:02x?}");
    huge.rest();
    assert_eq!(connect(weir.address(), &authority.client(&BOTH, None), "a.test").get("/").status, 200);
    assert!(weir.is_running());
}

#[test]
fn a_stalled_handshake_does_not_keep_weir_from_stopping() {
    let (mut weir, _authority, _backend) = start(PAIR, "");
    let mut stalled = weir.client();
    stalled.send(b"\x16\x03\x01\x02\x00\x01\x00");
    let begun = std::time::Instant::now();
    weir.sigterm();
    assert!(weir.wait_exit().success());
    assert!(begun.elapsed() < std::time::Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn a_new_certificate_is_used_without_a_restart_and_a_bad_one_is_not() {
    let (mut weir, authority, backend) = start(PAIR, "");
    let second = Authority::new("second");
    let mut old = connect(weir.address(), &authority.client(&BOTH, None), "a.test");
    assert_eq!(old.get("/").text(), "app");
    let gate = Gate::default();
    backend.next(Script::new().read_body().gate(&gate).answer(200, "", "late"));
    old.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    eventually("the request is under way", || backend.requests().len() == 2);

    let mark = weir.mark();
    second.issue(&["a.test"]).write(weir.folder(), "a");
    weir.wait_since(mark, "the new pair", |line| line.contains("is in force"));
    let trusts_second = second.client(&BOTH, None);
    eventually("new clients see the new one", || {
        connect(weir.address(), &trusts_second, "a.test").try_send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    });
    gate.open();
    assert_eq!(old.response().text(), "late", "the old connection goes on");
    assert_eq!(old.get("/").text(), "app");

    let mark = weir.mark();
    std::fs::write(weir.folder().join("a.key"), "nonsense").unwrap();
    weir.wait_since(mark, "why it is not used", |line| line.contains("this is no usable `key`"));
    weir.wait_since(mark, "what holds", |line| line.contains("the configuration in force stays"));
    assert_eq!(connect(weir.address(), &second.client(&BOTH, None), "a.test").get("/").text(), "app");

    let mark = weir.mark();
    authority.issue(&["a.test"]).write(weir.folder(), "a");
    weir.wait_since(mark, "the repaired pair", |line| line.contains("is in force"));
    assert_eq!(connect(weir.address(), &authority.client(&BOTH, None), "a.test").get("/").text(), "app");
    assert!(weir.is_running());
}

#[test]
fn check_refuses_an_expired_certificate_and_run_does_not() {
    let (backend, authority) = (Backend::start("app"), Authority::new("authority"));
    let weir = Weir::start_with(&site(&backend, PAIR, ""), |folder| {
        authority.issue_until(&["a.test"], 2021).write(folder, "a");
    });
    weir.wait_for("it is said", |line| line.contains("the certificate has expired on 2021-01-01"));
    let (code, _, said) = command(weir.folder(), &["check", "-c", "upstream.toml"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("upstream.toml:5:"), "{said}");
    assert!(said.contains("the certificate has expired on 2021-01-01"), "{said}");
}

#[test]
fn bodies_of_mebibytes_pass_both_ways() {
    let (weir, authority, backend) = start(PAIR, "client_max_body_size = 0");
    const LENGTH: usize = 8 << 20;
    let mut client = connect(weir.address(), &authority.client(&BOTH, None), "a.test");
    client.send(format!("POST /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: {LENGTH}\r\n\r\n"));
    client.send(vec![b'x'; LENGTH]);
    assert_eq!(client.response().status, 200);
    assert_eq!(backend.only_request().body_length, LENGTH as u64);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
    backend.next(Script::new().read_body().send(head).stream(LENGTH as u64));
    client.send("GET /down HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.discard(LENGTH as u64), LENGTH as u64);
    assert_eq!(client.get("/").text(), "app", "the connection is still in step");
}

#[test]
fn an_answer_that_is_cut_does_not_end_in_good_order() {
    let (weir, authority, backend) = start(PAIR, "");
    backend.next(Script::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").close());
    let mut client = connect(weir.address(), &authority.client(&BOTH, None), "a.test");
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(client.try_response().is_err());
}

#[test]
fn a_tunnel_goes_through_tls_and_ends_side_by_side() {
    let (weir, authority, backend) = start(PAIR, "");
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    backend.next(Script::new().send(switch).echo());
    let mut client = connect(weir.address(), &authority.client(&BOTH, None), "a.test");
    client.send("GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.response().status, 101);
    for size in [5, 70_000] {
        let message = vec![b'm'; size];
        client.send(&message);
        assert_eq!(client.raw(size), message);
    }
    client.half_close();
    assert!(client.closed_silently(), "the end is announced, not cut");
}

#[test]
fn plain_requests_are_redirected_and_secure_ones_are_told_to_stay_secure() {
    let (backend, authority) = (Backend::start("app"), Authority::new("authority"));
    let toml = site(&backend, PAIR, "server_name = \"a.test\"\nhsts = { max_age = \"1y\", include_subdomains = true }")
        + "[[server]]\nlisten = \"127.0.0.2:0\"\nredirect_to_https = true\n";
    let mut weir = Weir::start_with(&toml, |folder| authority.issue(&["a.test"]).write(folder, "a"));
    let addresses = weir.addresses(2);
    let mut plain = Client::connect(addresses[1]);
    plain.send("GET /x?y=1 HTTP/1.1\r\nHost: a.test:80\r\n\r\n");
    let answer = plain.response();
    assert_eq!((answer.status, answer.field("location")), (301, Some("https://a.test/x?y=1")));
    plain.send("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    let answer = plain.response();
    assert_eq!((answer.status, answer.field("location")), (308, Some("https://a.test/")));
    assert_eq!(answer.field("strict-transport-security"), None, "RFC 6797 §7.2: not on plain connections");

    backend.usually(Script::new().read_body().answer(200, "Strict-Transport-Security: max-age=0\r\n", "app"));
    let mut client = connect(addresses[0], &authority.client(&BOTH, None), "a.test");
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let answer = client.response();
    let fields: Vec<&str> = answer
        .fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("strict-transport-security"))
        .map(|(_, v)| v.as_str())
        .collect();
    assert_eq!(fields, ["max-age=31536000; includeSubDomains"]);
    backend.stop();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let answer = client.response();
    assert_eq!(
        (answer.status, answer.field("strict-transport-security")),
        (502, Some(fields[0])),
        "also on weir's own answers"
    );
}

#[test]
fn a_proxy_header_comes_before_the_handshake() {
    let (backend, authority) = (Backend::start("app"), Authority::new("authority"));
    let toml = "trusted_proxies = [\"127.0.0.1\"]\n".to_owned()
        + &site(&backend, PAIR, "").replace("tls = {", "proxy_protocol = true, tls = {");
    let weir = Weir::start_with(&toml, |folder| authority.issue(&["a.test"]).write(folder, "a"));
    let mut client = weir.client();
    client.send("PROXY TCP4 203.0.113.5 198.51.100.2 4711 443\r\n");
    let mut client = client.secure(&authority.client(&BOTH, None), "a.test");
    assert_eq!(client.get("/").text(), "app");
    let asked = backend.only_request();
    assert_eq!(asked.field("x-real-ip"), Some("203.0.113.5"));
    assert_eq!(asked.field("x-forwarded-proto"), Some("https"));
}
