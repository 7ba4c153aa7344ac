//! Is HTTP/2 spoken within TLS where both ends agree on it (ALPN)?

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use http::Response;
use rustls::pki_types::ServerName;
use tokio::sync::Semaphore;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::rig::{App, Client, run, site, to_h2c};
use crate::support::tls::BOTH;
use crate::support::{Authority, Backend, Site, Weir, eventually};

/// A weir that speaks TLS to its clients.
fn start(authority: &Authority, toml: &str) -> Weir {
    let tls = "listen = { address = \"127.0.0.1:0\", tls = { certificate = \"weir.pem\", key = \"weir.key\" } }\n";
    Weir::start_with(&toml.replace("listen = \"127.0.0.1:0\"\n", tls), |folder| {
        authority.issue(&["weir.test", "other.test"]).write(folder, "weir");
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    })
}

/// A client that offers these protocols, and what was agreed on.
async fn connect(weir: &Weir, authority: &Authority, offered: &[&[u8]]) -> (Option<Vec<u8>>, Client) {
    let mut config = rustls::ClientConfig::clone(&authority.client(&BOTH, None));
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    let tcp = tokio::net::TcpStream::connect(weir.address()).await.unwrap();
    let name = ServerName::try_from("weir.test").unwrap();
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let agreed = tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    (agreed, Client::over(tls, weir.address()).await)
}

#[test]
fn clients_that_offer_it_get_it() {
    let (authority, a) = (Authority::new("authority"), Backend::start("a"));
    let weir = start(&authority, &Site::of([&a]).top("client_max_body_size = \"0\"").toml());
    run(async {
        let (agreed, client) = connect(&weir, &authority, &[b"http/1.1", b"h2"]).await;
        assert_eq!(agreed.as_deref(), Some(&b"h2"[..]));
        let request = http::Request::get("https://weir.test/one");
        assert_eq!(client.ask(request, b"").await.unwrap().text(), "a");
        let body = vec![b'x'; 500_000];
        let request = http::Request::post("https://weir.test/two");
        assert_eq!(client.ask(request, &body).await.unwrap().text(), "a");
    });
    let requests = a.requests();
    assert_eq!(requests[0].field("X-Forwarded-Proto"), Some("https"));
    assert_eq!((requests[1].target.as_str(), requests[1].body_length), ("/two", 500_000));
    weir.wait_for_access("the version is told", |line| line.contains("\"GET /one HTTP/2.0\" 200"));
}

#[test]
fn a_large_answer_comes_whole() {
    let (authority, a) = (Authority::new("authority"), Backend::start("a"));
    let body = "0123456789".repeat(100_000);
    a.usually(crate::support::Script::text(&body));
    let weir = start(&authority, &Site::of([&a]).toml());
    run(async {
        let (_, client) = connect(&weir, &authority, &[b"h2"]).await;
        let request = http::Request::get("https://weir.test/");
        assert!(client.ask(request, b"").await.unwrap().text() == body);
    });
}

#[test]
fn applications_are_spoken_to_in_it_over_tls() {
    let authority = Authority::new("authority");
    let app = app(&authority, &[b"h2"]);
    for pass in ["proxy_pass = \"grpcs://web\"", "proxy_pass = \"https://web\"\nproxy_http_version = \"2\""] {
        let before = app.connections();
        let toml = site([&app]).top("workers = 1").upstream("tls = { ca_file = \"ca.pem\" }").toml();
        let weir = start(&authority, &toml.replace("proxy_pass = \"http://web\"", pass));
        run(async {
            let (_, client) = connect(&weir, &authority, &[b"h2"]).await;
            for _ in 0..3 {
                let request = http::Request::post("https://weir.test/x");
                assert_eq!(client.ask(request, b"body").await.unwrap().field("x-scheme"), Some("https"));
            }
        });
        assert_eq!(app.connections(), before + 1, "{pass}");
    }
}

#[test]
fn an_application_that_does_not_agree_is_said_so_of() {
    let authority = Authority::new("authority");
    let app = app(&authority, &[]);
    let toml = site([&app]).upstream("tls = { ca_file = \"ca.pem\" }").toml();
    let weir = Weir::start_with(&toml.replace("http://web", "grpcs://web"), |folder| {
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    });
    assert_eq!(weir.get("/").status, 502);
    eventually("it was asked", || app.connections() > 0);
    let line = weir.wait_for_state(app.address, "unavail");
    assert!(line.contains("it does not agree on HTTP/2"), "{line}");
}

#[test]
fn a_bounded_number_waits_for_a_connection_that_is_being_opened() {
    const WAITING: usize = 1024;
    const MORE: usize = 50;
    let (authority, gate) = (Authority::new("authority"), Arc::new(Semaphore::new(0)));
    let app = gated(&authority, &[b"h2"], Arc::clone(&gate));
    let pass = "proxy_pass = \"grpcs://web\"\nproxy_connect_timeout = \"20s\"";
    let site = site([&app]).top("workers = 1\nhttp2_max_concurrent_streams = 2000\nlog_format = \"json\"");
    let toml = site.upstream("tls = { ca_file = \"ca.pem\" }").toml().replace("proxy_pass = \"http://web\"", pass);
    let weir = Weir::start_with(&to_h2c(&toml), |folder| {
        std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    });
    run(async {
        let client = Client::connect(weir.address()).await;
        let (told, mut answers) = tokio::sync::mpsc::unbounded_channel();
        // One opens the connection.
        for _ in 0..1 + WAITING + MORE {
            let (client, told) = (client.clone(), told.clone());
            tokio::spawn(async move {
                let answer = client.get("/").await;
                told.send((answer.status, answer.field("retry-after").map(str::to_owned))).unwrap();
            });
        }
        for _ in 0..MORE {
            assert_eq!(answers.recv().await, Some((503, Some("1".to_owned()))));
        }
        gate.add_permits(Semaphore::MAX_PERMITS / 2);
        for _ in 0..1 + WAITING {
            assert_eq!(answers.recv().await, Some((200, None)));
        }
    });
    weir.wait_for_access("it says why", |line| line.contains("\"error\":\"busy\""));
    assert!(!weir.log().iter().any(|line| line.contains("unavail")), "nobody is blamed");
}

/// An application that speaks HTTP/2 within TLS, and offers these protocols.
pub fn app(authority: &Authority, offered: &[&[u8]]) -> App {
    gated(authority, offered, Arc::new(Semaphore::new(1000)))
}

/// The same; no connection is answered before it has a permit.
fn gated(authority: &Authority, offered: &[&[u8]], gate: Arc<Semaphore>) -> App {
    let mut config = rustls::ServerConfig::clone(&authority.issue(&["127.0.0.1"]).server(None));
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    App::accepting(move |_, tcp, shared| {
        let (acceptor, gate) = (acceptor.clone(), Arc::clone(&gate));
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            let Ok(tls) = acceptor.accept(tcp).await else { return };
            let Ok(mut h2) = h2::server::handshake(tls).await else { return };
            while let Some(Ok((request, mut respond))) = h2.accept().await {
                shared.calls.fetch_add(1, SeqCst);
                let scheme = request.uri().scheme_str().unwrap_or_default().to_owned();
                respond.send_response(Response::builder().header("x-scheme", scheme).body(()).unwrap(), true).unwrap();
            }
        })
    })
}
