//! Do peers come and go as a file, the labels of containers, or Consul say? Against the real binary; the engine and the
//! agent are stand-ins.

use std::net::SocketAddr;

use crate::support::api::{Agent, Container, Engine};
use crate::support::{Backend, Gate, Script, Weir, eventually, sorted};

/// A configuration whose upstream has these lines.
fn site(top: &str, upstream: &str) -> String {
    format!(
        "{top}\n[upstream.web]\n{upstream}\n[[server]]\nlisten = \"127.0.0.1:0\"\n\
         [[server.location]]\npath = \"/\"\nproxy_pass = \"http://web\"\n"
    )
}

fn replace(weir: &Weir, name: &str, text: &str) {
    let fresh = weir.folder().join(format!("{name}.new"));
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(fresh, weir.folder().join(name)).unwrap();
}

#[test]
fn a_file_of_servers_is_followed_and_a_broken_one_changes_nothing() {
    let (a, b, c) = (Backend::start("a"), Backend::start("b"), Backend::start("c"));
    let weir = Weir::start(&site("", "servers_file = \"peers.json\""));
    weir.wait_for("there is no file", |line| line.contains("peers.json cannot be read"));
    assert_eq!(weir.get("/").status, 503);

    replace(
        &weir,
        "peers.json",
        &format!("[\"{}\", {{\"address\": \"{}\", \"weight\": 2}}]", a.address(), b.address()),
    );
    eventually("there are peers", || weir.get("/").status == 200);
    assert_eq!(sorted(&weir.rotation(6)), "aabbbb");

    let mark = weir.mark();
    replace(&weir, "peers.json", &format!("[\n  \"{}\",\n  {{\"adress\": \"x\"}}\n]", c.address()));
    weir.wait_since(mark, "it is refused, with its place", |line| {
        line.contains("peers.json:3:4: unknown setting `adress`") && line.contains("were read before stay")
    });
    assert_eq!(sorted(&weir.rotation(6)), "aabbbb");

    // A request is in flight at a peer that goes.
    let gate = Gate::default();
    a.on("/slow", Script::new().read_body().gate(&gate).answer(200, "", "finished"));
    b.on("/slow", Script::text("b"));
    let asked = || [&a, &b].iter().flat_map(|backend| backend.requests()).filter(|r| r.target == "/slow").count();
    let mut sent = 0;
    let mut slow = loop {
        let mut client = weir.client();
        client.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
        sent += 1;
        eventually("somebody was asked", || asked() == sent);
        if a.requests().iter().any(|request| request.target == "/slow") {
            break client;
        }
    };
    let prometheus = format!("[{{\"targets\": [\"{}\"], \"labels\": {{\"job\": \"web\"}}}}]", c.address());
    replace(&weir, "peers.json", &prometheus);
    eventually("c has taken over", || weir.rotation(3) == "ccc");
    gate.open();
    assert_eq!(slow.response().text(), "finished");
}

#[test]
fn peers_of_a_file_are_there_before_the_first_request_and_beside_those_of_the_configuration() {
    let (a, b) = (Backend::start("a"), Backend::start("b"));
    let folder = tempfile::tempdir().unwrap();
    let peers = folder.path().join("peers.toml");
    std::fs::write(&peers, format!("servers = [\"{}\"]", b.address())).unwrap();
    let upstream = format!("servers = [\"{}\"]\nservers_file = \"{}\"", a.address(), peers.display());
    let weir = Weir::start(&site("", &upstream));
    assert_eq!(sorted(&weir.rotation(4)), "aabb");

    let mark = weir.mark();
    weir.edit(&site("", &format!("servers = [\"{}\"]", a.address())));
    weir.wait_since(mark, "the file is not asked any more", |line| line.contains(&format!("-web/{}", b.address())));
    assert_eq!(weir.rotation(3), "aaa");
}

fn container(name: &'static str, address: SocketAddr, more: &[(&'static str, &str)]) -> Container {
    let labels = more.iter().map(|(label, value)| (*label, (*value).to_owned()));
    Container { name, address, labels: [("weir.upstream", "web".to_owned())].into_iter().chain(labels).collect() }
}

/// A weir that follows an engine.
fn docked() -> (tempfile::TempDir, Engine, Weir) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let engine = Engine::start(&socket);
    let top = format!("docker_socket = \"{}\"", socket.display());
    let weir = Weir::start(&site(&top, "docker = true"));
    (folder, engine, weir)
}

#[test]
fn containers_join_by_their_labels_and_leave_before_their_process_does() {
    let (a, b) = (Backend::start("a"), Backend::start("b"));
    let (_folder, engine, weir) = docked();
    assert_eq!(weir.get("/").status, 503);
    engine.runs(container("web_1", a.address(), &[]));
    eventually("a has joined", || weir.get("/").status == 200);
    engine.runs(container("web_2", b.address(), &[("weir.weight", "2")]));
    weir.wait_for("b has joined", |line| {
        line.ends_with(&format!("web: docker has web_1:{}, web_2:{}", a.address().port(), b.address().port()))
    });
    eventually("by its weight", || sorted(&weir.rotation(3)) == "abb");
    assert!(engine.targets().iter().any(|target| target.starts_with("/v1.44/containers/json")));

    // A signal that reloads is no end.
    engine.kills("web_2", "1");
    let mark = weir.mark();
    engine.kills("web_1", "15");
    weir.wait_since(mark, "it drains while it lives", |line| {
        line.contains(&format!("web: docker has web_2:{}", b.address().port()))
    });
    eventually("it gets nothing more", || weir.rotation(3) == "bbb");
    engine.buries("web_1");
    a.stop();
    assert_eq!(weir.rotation(3), "bbb");

    a.restart();
    engine.runs(container("web_1", a.address(), &[]));
    eventually("it is back", || weir.rotation(3).contains('a'));
}

#[test]
fn an_engine_that_starts_anew_is_asked_again_and_labels_without_sense_are_told_once() {
    let (a, b) = (Backend::start("a"), Backend::start("b"));
    let (_folder, engine, weir) = docked();
    engine.runs(container("web_1", a.address(), &[]));
    eventually("a has joined", || weir.get("/").status == 200);
    engine.runs(container("odd_1", b.address(), &[("weir.port", "http")]));
    weir.wait_for("the odd one is told of", |line| {
        line.contains("the container odd_1 is no peer: the label weir.port takes a number")
    });
    engine.restarts_with(vec![container("web_2", b.address(), &[])]);
    weir.wait_for("it notices", |line| line.contains("what was found before stays"));
    eventually("b is all there is", || weir.rotation(3) == "bbb");
    assert_eq!(weir.log().iter().filter(|line| line.contains("odd_1 is no peer")).count(), 1);
}

#[test]
fn instances_that_pass_in_consul_are_peers() {
    let (a, b) = (Backend::start("a"), Backend::start("b"));
    let agent = Agent::start();
    agent.passes(&[(a.address(), 1), (b.address(), 2)]);
    let consul = format!(
        "consul = {{ service = \"web\", address = \"{}\", tag = \"blue\", token = \"s3cret\" }}",
        agent.address
    );
    let weir = Weir::start(&site("", &consul));
    eventually("there are peers", || weir.get("/").status == 200);
    assert_eq!(sorted(&weir.rotation(3)), "abb");
    let (target, head) = agent.requests()[0].clone();
    assert_eq!(target, "/v1/health/service/web?passing=1&tag=blue");
    assert!(head.to_ascii_lowercase().contains("x-consul-token: s3cret"), "{head}");

    agent.passes(&[(a.address(), 1)]);
    eventually("b has left", || weir.rotation(3) == "aaa");
    assert!(agent.requests().iter().any(|(target, _)| target.contains("&index=") && target.contains("&wait=60s")));

    agent.breaks();
    weir.wait_for("it says so", |line| {
        line.contains("consul: /v1/health/service/web was answered with 500: rpc error") && !line.contains("s3cret")
    });
    assert_eq!(weir.rotation(3), "aaa", "what was found before stays");
}

#[test]
fn nobody_in_consul_is_believed_when_it_is_said_twice() {
    let a = Backend::start("a");
    let agent = Agent::start();
    agent.passes(&[(a.address(), 1)]);
    let weir = Weir::start(&site("", &format!("consul = {{ service = \"web\", address = \"{}\" }}", agent.address)));
    eventually("there is a peer", || weir.get("/").status == 200);
    let before = agent.requests().len();
    agent.passes(&[]);
    eventually("it asks again", || agent.requests().len() > before);
    weir.wait_for("it believes so", |line| line.ends_with("web: consul has nobody"));
    eventually("nobody is left", || weir.get("/").status == 503);
    assert!(agent.requests().len() >= before + 2);
}
