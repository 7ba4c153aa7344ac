//! TLS towards backends: nobody is believed without proof, and what fails is said in words.

use crate::support::{Authority, Backend, Script, Weir, eventually};

/// `backends` behind `https`, with these settings of the upstream, and `ca.pem` of this authority beside.
fn start(backends: &[&Backend], authority: &Authority, upstream: &str, location: &str) -> Weir {
    let servers: Vec<String> = backends.iter().map(|backend| format!("\"{}\"", backend.address())).collect();
    let toml = format!(
        "[upstream.web]\nservers = [{}]\n{upstream}\n[[server]]\nlisten = \"127.0.0.1:0\"\n\
         [[server.location]]\npath = \"/\"\nproxy_pass = \"https://web\"\n{location}\n",
        servers.join(", ")
    );
    Weir::start_with(&toml, |folder| {
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
        authority.issue(&["weir.test"]).write(folder, "weir");
    })
}

/// An application whose certificate is for these names; its own address is added.
fn app(name: &str, authority: &Authority, names: &[&str]) -> Backend {
    let backend = Backend::start(name);
    backend.secure(authority.issue(names).server(None));
    backend
}

fn app_at_its_address(name: &str, authority: &Authority) -> Backend {
    let backend = Backend::start(name);
    backend.secure(authority.issue(&[&backend.address().ip().to_string()]).server(None));
    backend
}

const CA: &str = "tls = { ca_file = \"ca.pem\" }";
const NAMED: &str = "tls = { ca_file = \"ca.pem\", server_name = \"app.test\" }";

#[test]
fn a_server_that_proves_its_address_is_believed_and_its_connection_is_kept() {
    let authority = Authority::new("authority");
    let backend = app_at_its_address("app", &authority);
    let weir = start(&[&backend], &authority, CA, "");
    let mut client = weir.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "app");
    }
    assert_eq!(backend.connections(), 1);
    assert_eq!(backend.requests()[0].field("x-forwarded-proto"), Some("http"), "the client's own");
}

#[test]
fn nobody_is_believed_whose_issuer_is_unknown() {
    let (authority, stranger) = (Authority::new("authority"), Authority::new("stranger"));
    let backend = app_at_its_address("app", &stranger);
    let weir = start(&[&backend], &authority, CA, "");
    assert_eq!(weir.get("/").status, 502);
    let line = weir.wait_for_state(backend.address(), "unavail");
    assert!(line.contains("TLS: its certificate is of an unknown issuer"), "{line}");
    assert!(backend.requests().is_empty());
}

#[test]
fn without_a_word_the_roots_of_browsers_are_trusted_alone() {
    let authority = Authority::new("authority");
    let backend = app_at_its_address("app", &authority);
    let weir = start(&[&backend], &authority, "", "");
    assert_eq!(weir.get("/").status, 502);
    weir.wait_for_state(backend.address(), "unavail");
}

#[test]
fn a_certificate_for_another_name_or_out_of_its_time_is_refused() {
    let authority = Authority::new("authority");
    for (names, year, words) in [
        (["app.example"], 2090, "is not for app.test, but for app.example"),
        (["app.test"], 2021, "its certificate has expired"),
    ] {
        let backend = Backend::start("app");
        backend.secure(authority.issue_until(&names, year).server(None));
        let weir = start(&[&backend], &authority, NAMED, "");
        assert_eq!(weir.get("/").status, 502);
        let line = weir.wait_for_state(backend.address(), "unavail");
        assert!(line.contains(words), "{line}");
    }
}

#[test]
fn another_server_is_asked_when_one_is_not_believed() {
    let authority = Authority::new("authority");
    let [bad, good] = [app("bad", &Authority::new("stranger"), &["app.test"]), app("good", &authority, &["app.test"])];
    let weir = start(&[&bad, &good], &authority, NAMED, "");
    // POST too: nothing of it was sent.
    for _ in 0..3 {
        assert_eq!(weir.client().post("/", "body").text(), "good");
    }
}

#[test]
fn a_server_that_does_not_speak_tls_is_unavailable() {
    let authority = Authority::new("authority");
    let backend = Backend::start("plain");
    backend.usually(Script::text("plain"));
    let weir = start(&[&backend], &authority, CA, "proxy_connect_timeout = \"300ms\"");
    // It waits for the end of a line that never comes, so the handshake takes too long.
    assert!([502, 504].contains(&weir.get("/").status));
    weir.wait_for_state(backend.address(), "unavail");
}

#[test]
fn verify_false_believes_anybody_and_says_so() {
    let authority = Authority::new("authority");
    let backend = app("app", &Authority::new("stranger"), &["else.test"]);
    let weir = start(&[&backend], &authority, "tls = { verify = false }", "");
    weir.wait_for("a warning", |line| line.contains("the certificates of these servers are not verified"));
    assert_eq!(weir.get("/").text(), "app");
}

#[test]
fn weir_proves_itself_to_servers_that_ask() {
    let authority = Authority::new("authority");
    let backend = Backend::start("app");
    backend.secure(authority.issue(&["app.test"]).server(Some(&authority)));
    let own =
        "tls = { ca_file = \"ca.pem\", server_name = \"app.test\", certificate = \"weir.pem\", key = \"weir.key\" }";
    assert_eq!(start(&[&backend], &authority, own, "").get("/").text(), "app");
    assert_eq!(start(&[&backend], &authority, NAMED, "").get("/").status, 502);
}

#[test]
fn bodies_of_mebibytes_pass_both_ways() {
    let authority = Authority::new("authority");
    let backend = app("app", &authority, &["app.test"]);
    let weir = start(&[&backend], &authority, &format!("{NAMED}\n"), "");
    const LENGTH: usize = 900 << 10;
    let mut client = weir.client();
    for chunked in [false, true] {
        let body = vec![b'x'; LENGTH];
        if chunked {
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{LENGTH:x}\r\n"));
            client.send(&body);
            client.send("\r\n0\r\n\r\n");
        } else {
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n"));
            client.send(&body);
        }
        assert_eq!(client.response().status, 200);
        assert_eq!(backend.requests().last().unwrap().body_length, LENGTH as u64);
    }
    let long = 8u64 << 20;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {long}\r\n\r\n");
    backend.next(Script::new().read_body().send(head).stream(long));
    client.send("GET /down HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.discard(long), long);
    assert_eq!(client.get("/").text(), "app", "the connection is still in step");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn an_answer_without_a_length_must_be_ended_in_good_order() {
    let authority = Authority::new("authority");
    let backend = app("app", &authority, &["app.test"]);
    let weir = start(&[&backend], &authority, NAMED, "");
    let answer = "HTTP/1.1 200 OK\r\n\r\nthe whole";
    backend.next(Script::raw(answer).close());
    assert_eq!(weir.get("/").text(), "the whole");
    backend.next(Script::raw(answer).reset());
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.try_response().is_err(), "anybody on the way could have cut it");
}

#[test]
fn a_tunnel_goes_on_within_tls() {
    let authority = Authority::new("authority");
    let backend = app("app", &authority, &["app.test"]);
    let weir = start(&[&backend], &authority, NAMED, "");
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    backend.next(Script::new().send(switch).echo());
    let mut client = weir.client();
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.response().status, 101);
    client.send("hello");
    assert_eq!(client.raw(5), b"hello");
    client.half_close();
    assert!(client.closed_silently());
}

#[test]
fn probes_speak_tls_and_verify_as_requests_do() {
    let authority = Authority::new("authority");
    let check = "health_check = { uri = \"/health\", interval = \"200ms\", timeout = \"5s\", fails = 1 }";
    let good = app("good", &authority, &["app.test"]);
    let bad = app("bad", &authority, &["app.test"]);
    let weir = start(&[&good, &bad], &authority, &format!("{NAMED}\n{check}"), "");
    weir.wait_for_state(bad.address(), "up");
    bad.secure(Authority::new("stranger").issue(&["app.test"]).server(None));
    let line = weir.wait_for_state(bad.address(), "unhealthy");
    assert!(line.contains("TLS: its certificate is of an unknown issuer"), "{line}");
    eventually("the other is asked", || good.probes() >= 2);
    assert_eq!(weir.rotation(3), "goodgoodgood");
    assert!(bad.requests().is_empty());
}

#[test]
fn a_reload_that_demands_proof_does_not_go_on_with_connections_that_gave_none() {
    let authority = Authority::new("authority");
    let backend = app("app", &Authority::new("stranger"), &["app.test"]);
    let weir = start(&[&backend], &authority, "tls = { verify = false }", "");
    assert_eq!(weir.get("/").text(), "app");
    let mark = weir.mark();
    let text = std::fs::read_to_string(weir.config_file()).unwrap();
    weir.edit(&text.replace("verify = false", "ca_file = \"ca.pem\""));
    weir.wait_since(mark, "the reload", |line| line.contains("is in force"));
    eventually("nobody is believed any more", || weir.get("/").status == 502);
    assert_eq!(weir.get("/").status, 502);
}
