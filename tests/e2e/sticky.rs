//! Does a client come back to the peer that served it, and does it get another when it must?

use std::collections::HashSet;

use crate::support::{Backend, Client, Gate, Response, Script, Site, Weir, eventually};

const SECRET: &str = "secret = \"0123456789abcdef\"";

fn abc() -> [Backend; 3] {
    ["a", "b", "c"].map(Backend::start)
}

/// Two workers, so that what one knows the other must know, too.
fn site<const N: usize>(backends: [&Backend; N], sticky: &str) -> Site {
    Site::of(backends).top("workers = 2").upstream(&format!("sticky = {{ {sticky} }}"))
}

/// A server of `servers` with parameters.
fn entry(backend: &Backend, parameters: &str) -> String {
    format!("{{ address = \"{}\", {parameters} }}", backend.address())
}

/// A client that keeps cookies as a browser does, on a connection of its own for each request.
#[derive(Clone, Default)]
struct Browser {
    cookie: Option<String>,
}

impl Browser {
    fn get(&mut self, weir: &Weir, path: &str) -> Response {
        let response = ask(&mut weir.client(), path, self.cookie.as_deref());
        if let Some(set) = response.field("set-cookie") {
            self.cookie = set.split(';').next().map(str::to_owned);
        }
        response
    }

    fn text(&mut self, weir: &Weir) -> String {
        self.get(weir, "/").text()
    }

    /// A browser that was served by this peer.
    fn of(weir: &Weir, peer: &str) -> Browser {
        let mut browser = Browser::default();
        eventually("the rotation comes to the peer", || {
            browser = Browser::default();
            browser.text(weir) == peer
        });
        browser
    }
}

fn ask(client: &mut Client, path: &str, cookie: Option<&str>) -> Response {
    let cookie = cookie.map(|cookie| format!("Cookie: theme=dark; {cookie}\r\n")).unwrap_or_default();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: weir.test\r\n{cookie}Connection: close\r\n\r\n"));
    client.response()
}

#[test]
fn a_client_with_the_cookie_stays_with_its_peer() {
    let [a, b, c] = abc();
    let weir = site([&a, &b, &c], &format!("cookie = \"srv_id\", {SECRET}")).start();
    for peer in ["a", "b", "c"] {
        let mut browser = Browser::of(&weir, peer);
        let cookie = browser.cookie.clone();
        for _ in 0..50 {
            let response = browser.get(&weir, "/");
            assert_eq!((response.text().as_str(), response.field("set-cookie")), (peer, None), "it is set once");
        }
        assert_eq!(browser.cookie, cookie);
    }
}

#[test]
fn the_cookie_tells_nothing_and_has_the_attributes_of_the_file() {
    let a = Backend::start("a");
    let attributes = "cookie = \"srv_id\", expires = \"1h\", domain = \"$host\", samesite = \"lax\", httponly = true, \
                      secure = true, nocache = true";
    let weir = site([&a], attributes).start();
    let response = weir.get("/");
    let set = response.field("set-cookie").expect("it is set");
    let shape = regex::Regex::new(
        r"^srv_id=[A-Za-z0-9_-]{32}; expires=\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT; max-age=3600; domain=weir\.test; httponly; secure; samesite=lax; path=/$",
    );
    assert!(shape.unwrap().is_match(set), "{set}");
    assert_eq!(response.field("cache-control"), Some("private"));
}

#[test]
fn a_cookie_that_weir_did_not_make_is_ignored_and_replaced() {
    let [a, b, _] = abc();
    let weir = site([&a, &b], &format!("cookie = \"srv_id\", {SECRET}")).start();
    let elsewhere = site([&a, &b], "cookie = \"srv_id\", secret = \"another secret's text\"").start();
    let good = Browser::of(&weir, "a").cookie.unwrap();
    let mut changed = good.clone().into_bytes();
    changed[10] ^= 1;
    let foreign = Browser::of(&elsewhere, "a").cookie.unwrap();
    for forged in [
        String::from_utf8(changed).unwrap(),
        foreign,
        "srv_id=".to_owned(),
        format!("srv_id={}", a.address()),
        format!("srv_id={}", "A".repeat(32)),
        format!("srv_id={}", "A".repeat(8_000)),
        good.replace("srv_id", "other"),
    ] {
        let served: HashSet<String> = (0..2)
            .map(|_| {
                let response = ask(&mut weir.client(), "/", Some(&forged));
                assert!(response.field("set-cookie").is_some(), "{forged}");
                response.text()
            })
            .collect();
        assert_eq!(served.len(), 2, "the rotation goes on: {forged}");
    }
    let both = format!("srv_id=forged; {good}");
    let response = ask(&mut weir.client(), "/", Some(&both));
    assert_eq!((response.text().as_str(), response.field("set-cookie")), ("a", None), "one of its cookies is good");
}

#[test]
fn a_peer_that_dies_costs_its_clients_nothing_but_a_new_cookie() {
    let [a, b, _] = abc();
    let weir = site([&a, &b], &format!("cookie = \"srv_id\", {SECRET}")).start();
    let mut browser = Browser::of(&weir, "a");
    let before = browser.cookie.clone();
    a.stop();
    let response = browser.get(&weir, "/");
    assert_eq!((response.status, response.text().as_str()), (200, "b"));
    assert_ne!(browser.cookie, before, "the cookie is for the peer that answered");
    a.restart();
    for _ in 0..5 {
        let response = browser.get(&weir, "/");
        assert_eq!((response.text().as_str(), response.field("set-cookie")), ("b", None), "it stays there");
    }
}

#[test]
fn an_answer_that_was_a_failure_and_weirs_own_bind_nobody() {
    let [a, b, _] = abc();
    let named = "proxy_next_upstream = \"error timeout http_503\"";
    let weir = site([&a], "cookie = \"srv_id\"").location(named).start();
    a.next(Script::status(503));
    let response = weir.get("/");
    assert_eq!((response.status, response.field("set-cookie")), (503, None), "the peer's");
    a.stop();
    assert_eq!((weir.get("/").status, weir.get("/").field("set-cookie")), (502, None), "weir's");

    let full = Site::servers([entry(&b, "max_conns = 1")]).upstream("sticky = { cookie = \"srv_id\" }").start();
    let gate = Gate::default();
    b.next(Script::new().read_body().gate(&gate).answer(200, "", "b"));
    let mut held = full.client();
    held.send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    eventually("the peer is busy", || b.requests().len() == 1);
    let refused = full.get("/");
    assert_eq!((refused.status, refused.field("set-cookie")), (503, None));
    gate.open();
    assert!(held.response().field("set-cookie").is_some());
}

#[test]
fn a_draining_peer_keeps_its_clients_and_gets_no_new_ones() {
    let [a, b, c] = abc();
    let sticky = format!("sticky = {{ cookie = \"srv_id\", {SECRET} }}");
    let plain = [&a, &b, &c].map(|peer| entry(peer, "weight = 1"));
    let weir = Site::servers(plain).upstream(&sticky).start();
    let mut old = Browser::of(&weir, "a");
    let drained = [entry(&a, "drain = true"), entry(&b, "weight = 1"), entry(&c, "weight = 1")];
    weir.edit(&Site::servers(drained).upstream(&sticky).toml());
    weir.wait_for_state(a.address(), "draining");
    for _ in 0..5 {
        assert_eq!(old.text(&weir), "a");
        assert_ne!(Browser::default().text(&weir), "a");
    }
}

#[test]
fn two_weirs_with_one_secret_understand_each_others_cookies() {
    let [a, b, _] = abc();
    let site = site([&a, &b], &format!("cookie = \"srv_id\", {SECRET}"));
    let (one, other) = (site.start(), site.start());
    for peer in ["a", "b"] {
        let mut browser = Browser::of(&one, peer);
        for _ in 0..4 {
            assert_eq!(browser.text(&other), peer);
            assert_eq!(browser.text(&one), peer);
        }
    }
    let said = |weir: &Weir| weir.log().iter().any(|line| line.contains("secret made up"));
    assert!(!said(&one));
}

#[test]
fn without_a_secret_cookies_hold_as_long_as_the_process_which_says_so() {
    let [a, b, _] = abc();
    let site = site([&a, &b], "cookie = \"srv_id\"");
    let (one, other) = (site.start(), site.start());
    one.wait_for("it says so", |line| line.contains("upstream web seals its sticky cookies with a secret made up"));
    let mut browser = Browser::of(&one, "a");
    one.edit(&site.clone().upstream("keepalive = 5").toml());
    one.wait_for("the new file", |line| line.contains("is in force"));
    assert_eq!((browser.text(&one), browser.text(&one)), ("a".to_owned(), "a".to_owned()), "a reload keeps it");
    assert!(browser.get(&other, "/").field("set-cookie").is_some());
}

#[test]
fn with_a_state_file_cookies_outlive_a_restart() {
    let [a, b, _] = abc();
    let mut weir = site([&a, &b], "cookie = \"srv_id\"").top("state_file = \"@DIR@/weir.json\"").start();
    let mut browser = Browser::of(&weir, "a");
    weir.restart();
    assert_eq!((browser.text(&weir), browser.text(&weir)), ("a".to_owned(), "a".to_owned()));
}

#[test]
fn a_secret_is_in_no_log() {
    let a = Backend::start("a");
    let site = site([&a], &format!("cookie = \"srv_id\", {SECRET}"));
    let weir = site.start();
    weir.edit(&site.clone().upstream("colour = 1").toml());
    weir.wait_for("the bad file", |line| line.contains("is not used"));
    weir.edit(&site.clone().upstream("keepalive = 5").toml());
    weir.wait_for("the new file", |line| line.contains("is in force"));
    assert!(!weir.log().iter().any(|line| line.contains("0123456789abcdef")));
}

#[test]
fn a_route_in_the_request_leads_to_its_server() {
    let [a, b, c] = abc();
    let servers = [entry(&a, "route = \"x\""), entry(&b, "route = \"y\""), entry(&c, "weight = 1")];
    let sticky = "sticky = { route = [\"$cookie_route\", \"$arg_route\"] }";
    let weir = Site::servers(servers).upstream(sticky).start();
    for (path, cookie, expected) in [
        ("/?route=y", None, "b"),
        ("/?route=y", Some("route=x"), "a"),
        ("/?route=y", Some("route="), "b"),
        ("/", Some("route=x"), "a"),
    ] {
        for _ in 0..3 {
            let response = ask(&mut weir.client(), path, cookie);
            assert_eq!((response.text().as_str(), response.field("set-cookie")), (expected, None), "{path} {cookie:?}");
        }
    }
    let served: HashSet<String> = (0..6).map(|_| weir.get("/?route=z").text()).collect();
    assert_eq!(served.len(), 3, "a route that nobody has binds nobody");
}

/// A backend that makes a session of this name on `/login`.
fn with_login(name: &str, session: &str) -> Backend {
    let backend = Backend::start(name);
    let fields = format!("Set-Cookie: other=1; path=/\r\nSet-Cookie: sid={session}; httponly\r\n");
    backend.on("/login", Script::new().read_body().answer(200, &fields, name));
    backend
}

const LEARN: &str = "learn = { create = \"$upstream_cookie_sid\", lookup = \"$cookie_sid\", header = true }";

#[test]
fn a_session_of_the_application_is_learned_and_kept_over_a_reload() {
    let (a, b) = (with_login("a", "s-a"), with_login("b", "s-b"));
    let site = site([&a, &b], LEARN);
    let weir = site.start();
    assert_eq!(weir.get("/login").text(), "a");
    assert_eq!(weir.get("/login").text(), "b");
    let check = || {
        for _ in 0..10 {
            assert_eq!(ask(&mut weir.client(), "/", Some("sid=s-a")).text(), "a");
            assert_eq!(ask(&mut weir.client(), "/", Some("sid=s-b")).text(), "b");
        }
        let unknown: HashSet<String> = (0..2).map(|_| ask(&mut weir.client(), "/", Some("sid=s-x")).text()).collect();
        assert_eq!(unknown.len(), 2, "a session that nobody made is balanced");
    };
    check();
    weir.edit(&site.clone().upstream("keepalive = 5").toml());
    weir.wait_for("the new file", |line| line.contains("is in force"));
    check();
}

#[test]
fn a_session_whose_peer_dies_goes_on_at_the_next() {
    let (a, b) = (with_login("a", "s-a"), with_login("b", "s-b"));
    let weir = site([&a, &b], LEARN).start();
    assert_eq!(weir.get("/login").text(), "a");
    a.stop();
    assert_eq!(ask(&mut weir.client(), "/", Some("sid=s-a")).text(), "b");
    a.restart();
    for _ in 0..4 {
        assert_eq!(ask(&mut weir.client(), "/", Some("sid=s-a")).text(), "b", "it was learned again");
    }
}

#[test]
fn a_session_whose_peer_a_reload_removes_moves_once() {
    let (a, b, c) = (with_login("a", "s-a"), with_login("b", "s-b"), with_login("c", "s-c"));
    let weir = site([&a, &b, &c], LEARN).start();
    assert_eq!(weir.get("/login").text(), "a");
    weir.edit(&site([&b, &c], LEARN).toml());
    weir.wait_for("the new file", |line| line.contains("is in force"));
    let peer = ask(&mut weir.client(), "/", Some("sid=s-a")).text();
    for _ in 0..5 {
        assert_eq!(ask(&mut weir.client(), "/", Some("sid=s-a")).text(), peer);
    }
}

#[test]
fn without_header_a_session_is_learned_at_the_end_of_the_answer() {
    let [a, b, _] = abc();
    let learn = "learn = { create = \"$upstream_http_x_session\", lookup = \"$arg_s\" }";
    let weir = site([&a, &b], learn).start();
    let gate = Gate::default();
    let head = "HTTP/1.1 200 OK\r\nX-Session: s1\r\nContent-Length: 1\r\n\r\n";
    a.next(Script::new().read_body().send(head).gate(&gate).send("a"));
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    eventually("the peer has answered", || a.requests().len() == 1);
    let served: HashSet<String> = (0..4).map(|_| weir.get("/?s=s1").text()).collect();
    assert_eq!(served.len(), 2, "not known yet");
    gate.open();
    assert_eq!(client.response().text(), "a");
    // On the same connection: what it was told is known there at the latest.
    for _ in 0..4 {
        assert_eq!(client.get("/?s=s1").text(), "a");
    }
}

#[test]
fn the_access_log_tells_who_was_bound() {
    let [a, b, _] = abc();
    let weir =
        site([&a, &b], "cookie = \"srv_id\"").top("log_format = \"$request_uri $sticky $upstream_cookie_app\"").start();
    a.usually(Script::new().read_body().answer(200, "Set-Cookie: app=7; path=/\r\n", "a"));
    let mut client = weir.client();
    let cookie = |response: &Response| {
        let set = response.fields.iter().find(|(_, value)| value.starts_with("srv_id=")).expect("it is set");
        set.1.split(';').next().unwrap().to_owned()
    };
    let bound = cookie(&ask(&mut client, "/1", None));
    ask(&mut weir.client(), "/2", Some(&bound));
    a.stop();
    ask(&mut weir.client(), "/3", Some(&bound));
    for line in ["/1 new 7", "/2 bound 7", "/3 moved -"] {
        weir.wait_for_access(line, |logged| logged == line);
    }
}
