//! Does one weir follow another without a client noticing? `weir run --takeover`, SIGUSR2, and what a service manager
//! hands over and hears.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::raw::{Datagrams, Raw, dial, read};
use crate::support::weir::command;
use crate::support::{Backend, Client, PATIENCE, Script, Site, Weir, eventually, listens};

/// Requests without a pause, on kept connections and on new ones, until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn on(address: SocketAddr) -> Load {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |keeps: bool| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            thread::spawn(move || {
                let mut failures = Vec::new();
                let mut client = Client::connect(address);
                while !stop.load(SeqCst) {
                    let sent = client.try_send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n");
                    let answer = client.try_response();
                    let again = match &answer {
                        Ok(response) if response.status == 200 => {
                            answered.fetch_add(1, SeqCst);
                            !keeps || response.field("connection").is_some_and(|value| value == "close")
                        }
                        other => {
                            failures.push(format!("sent: {sent}, then {other:?}"));
                            true
                        }
                    };
                    if again {
                        client = Client::connect(address);
                    }
                    thread::sleep(Duration::from_millis(1));
                }
                failures
            })
        };
        let clients = [true, true, false, false].map(client).into();
        Load { stop, answered, clients }
    }

    /// Waits for so many more answers.
    fn goes_on(&self, more: usize) {
        let until = self.answered.load(SeqCst) + more;
        eventually("clients are served", || self.answered.load(SeqCst) >= until);
    }

    /// Stops it: nothing may have failed.
    #[track_caller]
    fn ends_without_a_failure(self) {
        self.stop.store(true, SeqCst);
        for client in self.clients {
            let failures = client.join().expect("every connect was taken");
            assert!(failures.is_empty(), "{failures:?}");
        }
    }
}

/// A process that a test has not started itself: killed in the end.
struct Stray(Pid);

impl Drop for Stray {
    fn drop(&mut self) {
        // It may have ended.
        let _ = kill_process(self.0, Signal::KILL);
    }
}

fn websocket(weir: &Weir, applications: &[&Backend]) -> Client {
    let agrees = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    applications.iter().for_each(|app| app.on("/ws", Script::new().read_body().send(agrees).echo()));
    let mut client = weir.client();
    client.send("GET /ws HTTP/1.1\r\nHost: weir.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    assert_eq!(client.response().status, 101);
    client
}

/// Waits until the successor has the sockets, and says where it listens.
fn succeeds(old: &Weir, new: &mut Weir) -> SocketAddr {
    old.wait_for("it lets go", |line| line.contains("the successor (process"));
    new.wait_for("it is told so", |line| line.contains("has handed over"));
    new.addresses(1)[0]
}

#[test]
fn a_successor_takes_over_under_load_and_not_one_request_fails() {
    let [a, b] = ["a", "b"].map(Backend::start);
    let mut old = Site::of([&a, &b]).top("workers = 2").checked("").start();
    let mut socket = websocket(&old, &[&a, &b]);
    let load = Load::on(old.address());
    load.goes_on(200);
    let mut new = old.successor();
    assert_eq!(succeeds(&old, &mut new), old.address());
    load.goes_on(400);
    socket.send("\x00ping");
    assert_eq!(socket.raw(5), b"\x00ping", "a WebSocket lives on");
    assert!(old.is_running());
    new.wait_for_access("it has served", |line| line.contains("200"));
    drop(socket);
    assert_eq!(old.wait_exit().code(), Some(0));
    load.goes_on(100);
    load.ends_without_a_failure();
    assert_eq!(new.get("/").status, 200);
    new.sigterm();
    assert_eq!(new.wait_exit().code(), Some(0));
}

#[test]
fn numbers_of_workers_may_differ() {
    let a = Backend::start("a");
    let site = Site::of([&a]);
    let mut weir = site.clone().top("workers = 3").start();
    let load = Load::on(weir.address());
    load.goes_on(100);
    for workers in [1, 4] {
        weir.edit(&site.clone().top(&format!("workers = {workers}")).toml());
        let mut new = weir.successor();
        succeeds(&weir, &mut new);
        load.goes_on(200);
        assert_eq!(weir.wait_exit().code(), Some(0));
        weir = new;
    }
    load.goes_on(100);
    load.ends_without_a_failure();
}

#[test]
fn a_websocket_ends_with_the_old_process() {
    let a = Backend::start("a");
    let mut old = Site::of([&a]).top("shutdown_timeout = \"300ms\"").start();
    let mut socket = websocket(&old, &[&a]);
    let mut new = old.successor();
    succeeds(&old, &mut new);
    assert_eq!(old.wait_exit().code(), Some(0));
    assert!(socket.rest().is_empty(), "nothing more comes");
    assert_eq!(new.get("/").status, 200);
}

#[test]
fn an_idle_client_may_ask_once_more() {
    let a = Backend::start("a");
    let mut old = Site::of([&a]).start();
    let mut idle = old.client();
    assert_eq!(idle.get("/").status, 200);
    let mut new = old.successor();
    succeeds(&old, &mut new);
    // Its worker may hear of the successor only after a request.
    eventually("its last answer says so", || {
        let answer = idle.get("/");
        assert_eq!(answer.status, 200);
        answer.field("connection") == Some("close")
    });
    assert_eq!(old.wait_exit().code(), Some(0));
}

#[test]
fn whoever_cannot_be_a_successor_leaves_the_old_one_as_it_was() {
    let a = Backend::start("a");
    let site = Site::of([&a]);
    let mut old = site.start();
    let run = |name: &str, toml: &str| {
        let admin = format!("\n[admin]\nlisten = \"unix:{}/admin.sock\"\n", old.folder().display());
        std::fs::write(old.folder().join(name), toml.to_owned() + &admin).unwrap();
        command(old.folder(), &["run", "-c", name, "--takeover"])
    };
    // Mistakes in the file.
    let (code, _, said) = run("bad.toml", &site.toml().replace("proxy_pass", "proxy_past"));
    assert_eq!(code, Some(1));
    assert!(said.contains("proxy_past") && said.contains("bad.toml:"), "{said}");
    // A port that somebody else has.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!("[\"127.0.0.1:0\", \"{}\"]", other.local_addr().unwrap());
    let (code, _, said) = run("more.toml", &site.clone().listen(&more).toml());
    assert_eq!(code, Some(1));
    assert!(said.contains("is in use by another program"), "{said}");
    old.wait_for("it was asked", |line| line.contains("it is gone; this weir goes on"));
    // Another weir altogether.
    let (code, _, said) = run("other.toml", &site.clone().listen("\"127.0.0.2:0\"").toml());
    assert_eq!(code, Some(1));
    assert!(said.contains("listens on none of the addresses of this configuration"), "{said}");

    assert!(old.is_running());
    assert_eq!(old.get("/").status, 200);
    let (code, said, _) = command(old.folder(), &["status", "-c", "more.toml"]);
    assert_eq!(code, Some(0), "its admin listener answers: {said}");
    let mut new = old.successor();
    succeeds(&old, &mut new);
}

#[test]
fn a_successor_that_is_killed_before_it_accepts_changes_nothing() {
    let a = Backend::start("a");
    let check = "[upstream.web.health_check]\nuri = \"/health\"\ninterval = \"1h\"\ntimeout = \"500ms\"";
    let mut old = Site::of([&a]).rest(check).start();
    eventually("it passed its probe", || old.get("/").status == 200);
    // The next who probes is kept waiting: a successor does not accept before it knows its peers.
    a.health(Script::hanging());
    let load = Load::on(old.address());
    load.goes_on(50);
    let probes = a.probes();
    let new = old.successor();
    old.wait_for("it has the sockets", |line| line.contains("wants to take over"));
    new.wait_for("and says so", |line| line.contains("taking over from the weir at"));
    eventually("it looks around", || a.probes() > probes);
    drop(new);
    old.wait_for("the old one goes on", |line| line.contains("it is gone; this weir goes on"));
    load.goes_on(100);
    load.ends_without_a_failure();
    a.health(Script::status(200));
    let mut new = old.successor();
    succeeds(&old, &mut new);
    assert_eq!(new.get("/").status, 200);
    assert_eq!(old.wait_exit().code(), Some(0));
}

#[test]
fn when_the_old_one_dies_on_the_way_the_successor_goes_on_alone() {
    let a = Backend::start("a");
    let check = "[upstream.web.health_check]\nuri = \"/health\"\ninterval = \"1h\"\ntimeout = \"500ms\"";
    let old = Site::of([&a]).rest(check).start();
    eventually("it passed its probe", || old.get("/").status == 200);
    a.health(Script::hanging());
    let mut new = old.successor();
    new.wait_for("it has the sockets", |line| line.contains("taking over from the weir at"));
    let address = old.address();
    drop(old);
    let mut waiting = Client::connect(address);
    waiting.send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    a.health(Script::status(200));
    assert_eq!(waiting.response().text(), "a", "who connected in between has waited");
    new.wait_for("it says so", |line| line.contains("is gone without a word"));
    assert_eq!(new.addresses(1), [address]);
    let (code, _, said) = command(new.folder(), &["status", "-c", "upstream.toml"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_predecessor_that_does_not_answer_is_left_alone() {
    let a = Backend::start("a");
    let mut old = Site::of([&a]).start();
    let socket = old.folder().join("admin.sock.takeover");
    eventually("successors may ask", || listens(&socket));
    old.signal(Signal::STOP);
    let mut refused = old.successor();
    assert_eq!(refused.wait_exit().code(), Some(1));
    refused.wait_for("why", |line| line.contains("it was silent for 5s"));
    old.signal(Signal::CONT);
    assert_eq!(old.get("/").status, 200);
    assert!(old.is_running());
}

#[test]
fn one_takes_over_at_a_time_and_a_silent_one_hinders_nobody_for_long() {
    let a = Backend::start("a");
    let old = Site::of([&a]).start();
    let socket = old.folder().join("admin.sock.takeover");
    eventually("successors may ask", || listens(&socket));
    let silent = UnixStream::connect(&socket).unwrap();
    let mut second = old.successor();
    assert_eq!(second.wait_exit().code(), Some(1));
    second.wait_for("why", |line| line.contains("another takeover is under way"));
    drop(silent);
    old.wait_for("it goes on", |line| line.contains("this weir goes on"));
    let mut third = old.successor();
    succeeds(&old, &mut third);
}

#[test]
fn without_a_predecessor_it_starts_as_usual_and_off_means_off() {
    let a = Backend::start("a");
    let site = Site::of([&a]);
    let mut weir = Weir::launch_adapted(&site.toml(), |command| _ = command.arg("--takeover"));
    weir.addresses(1);
    weir.wait_for("it says so", |line| line.contains("no weir to take over from"));

    let weir = site.clone().top("takeover = \"off\"").start();
    assert!(!weir.folder().join("admin.sock.takeover").exists());
    let mut refused = weir.successor();
    assert_eq!(refused.wait_exit().code(), Some(1));
    refused.wait_for("why", |line| line.contains("the configuration has no place for it"));
    weir.signal(Signal::USR2);
    weir.wait_for("nor by a signal", |line| line.contains("no successor is started"));
    assert_eq!(weir.get("/").status, 200);
}

#[test]
fn sigusr2_starts_a_successor_by_the_path_of_the_program() {
    let a = Backend::start("a");
    let mut old = Site::of([&a]).start();
    let load = Load::on(old.address());
    load.goes_on(50);
    old.signal(Signal::USR2);
    let line = old.wait_for("a successor", |line| line.contains("started a successor (process"));
    let pid = line.split("(process ").nth(1).and_then(|rest| rest.trim_end_matches(')').parse().ok());
    let _successor = Stray(Pid::from_raw(pid.expect("its number follows")).expect("a process"));
    old.wait_for("it lets go", |line| line.contains("the successor (process"));
    load.goes_on(200);
    assert_eq!(old.wait_exit().code(), Some(0));
    load.goes_on(100);
    load.ends_without_a_failure();
}

#[test]
fn a_successor_of_sigusr2_that_fails_is_said_and_the_old_one_goes_on() {
    let a = Backend::start("a");
    let old = Site::of([&a]).start();
    let socket = old.folder().join("admin.sock.takeover");
    eventually("successors may ask", || listens(&socket));
    std::fs::write(old.config_file(), "nonsense").unwrap();
    old.signal(Signal::USR2);
    old.wait_for("why", |line| line.contains("the successor (process") && line.contains("exit status: 1"));
    old.wait_for("and what is wrong", |line| line.contains("upstream.toml:1"));
    assert_eq!(old.get("/").status, 200);
}

#[test]
fn streams_datagrams_unix_sockets_and_the_admin_listener_are_handed_over() {
    let a = Backend::start("a");
    let (echo, dns) = (Raw::echo("e"), Datagrams::answering("d", 1));
    let streams = format!(
        "[upstream.echo]\nservers = [\"{}\"]\n[upstream.dns]\nservers = [\"{}\"]\n\
         [[stream]]\nlisten = \"127.0.0.2:0\"\nproxy_pass = \"echo\"\n\
         [[stream]]\nlisten = {{ address = \"127.0.0.1:0\", udp = true }}\nproxy_pass = \"dns\"\n",
        echo.address(),
        dns.address()
    );
    let listen = "[\"127.0.0.1:0\", \"unix:@DIR@/weir.sock\"]";
    let mut old = Site::of([&a]).top("workers = 2").listen(listen).rest(&streams).start();
    let (tcp, udp) = (old.listens_on("tcp"), old.listens_on("udp"));
    let unix = old.folder().join("weir.sock");
    let asks = || {
        assert_eq!(Client::connect_unix(&unix).get("/").text(), "a");
        let mut stream = dial(tcp);
        stream.write_all(b"x").unwrap();
        assert_eq!(read(&stream, 2), "ex");
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send_to(b"q", udp).unwrap();
        let mut answer = [0; 8];
        let (count, from) = client.recv_from(&mut answer).unwrap();
        assert_eq!((&answer[..count], from), (&b"dq"[..], udp));
        let (code, _, said) = command(old.folder(), &["status", "-c", "upstream.toml"]);
        assert_eq!(code, Some(0), "{said}");
    };
    asks();
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let before = (inode(&unix), inode(&old.folder().join("admin.sock")));
    let mut new = old.successor();
    succeeds(&old, &mut new);
    assert_eq!((new.listens_on("tcp"), new.listens_on("udp")), (tcp, udp));
    asks();
    assert_eq!(old.wait_exit().code(), Some(0));
    let folder = new.folder().to_owned();
    assert_eq!((inode(&unix), inode(&folder.join("admin.sock"))), before, "the files stay");
    assert_eq!(Client::connect_unix(&unix).get("/").text(), "a");
    let (code, _, said) = command(&folder, &["status", "-c", "upstream.toml"]);
    assert_eq!(code, Some(0), "{said}");
    eventually("the next may ask", || listens(&folder.join("admin.sock.takeover")));
    new.sigterm();
    assert_eq!(new.wait_exit().code(), Some(0));
    let left = ["weir.sock", "admin.sock", "admin.sock.takeover"].map(|name| folder.join(name).exists());
    assert_eq!(left, [false; 3], "and go with the last who has them");
}

#[test]
fn an_answer_to_a_datagram_that_is_on_its_way_is_passed_on() {
    let slow = UdpSocket::bind("127.0.0.1:0").unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut old = Weir::launch(&format!(
        "[upstream.dns]\nservers = [\"{}\"]\n\
         [[stream]]\nlisten = {{ address = \"127.0.0.1:0\", udp = true }}\nproxy_pass = \"dns\"\n",
        slow.local_addr().unwrap()
    ));
    let udp = old.listens_on("udp");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"q", udp).unwrap();
    let mut bytes = [0; 8];
    let (_, session) = slow.recv_from(&mut bytes).unwrap();
    let new = old.successor();
    new.wait_for("it is told so", |line| line.contains("has handed over"));
    old.wait_for("it lets go", |line| line.contains("the successor (process"));
    slow.send_to(b"a", session).unwrap();
    let (count, from) = client.recv_from(&mut bytes).expect("the answer comes");
    assert_eq!((&bytes[..count], from), (&b"a"[..], udp));
    assert_eq!(old.wait_exit().code(), Some(0));
}

#[test]
fn what_operators_have_changed_and_who_fails_is_known_to_the_successor() {
    let [a, b, c] = ["a", "b", "c"].map(Backend::start);
    let old = Site::of([&a, &b, &c]).location("proxy_next_upstream = \"error timeout\"").start();
    assert_eq!(old.rotation(3), "abc");
    b.stop();
    eventually("a request has found out", || {
        old.get("/");
        old.log().iter().any(|line| line.contains(&b.address().to_string()) && line.contains("→ unavail"))
    });
    let peer = format!("web/{}", c.address());
    let (code, _, said) = command(old.folder(), &["drain", &peer, "--reason", "deploy", "-c", "upstream.toml"]);
    assert_eq!(code, Some(0), "{said}");
    let mut new = old.successor();
    succeeds(&old, &mut new);
    new.wait_for_state(b.address(), "unavail");
    assert_eq!((0..4).map(|_| crate::support::get(old.address(), "/").text()).collect::<String>(), "aaaa");
    let (_, said, _) = command(old.folder(), &["status", "-c", "upstream.toml"]);
    assert!(said.contains("draining") && said.contains("deploy"), "{said}");
}

#[test]
fn a_socket_of_the_service_manager_is_used_and_outlives_weir() {
    let a = Backend::start("a");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let toml = Site::of([&a]).top("workers = 2").listen(&format!("\"{address}\"")).toml();
    let mut first = Weir::launch_activated(&toml, socket.try_clone().unwrap().into());
    assert_eq!(first.addresses(1), [address]);
    let load = Load::on(address);
    load.goes_on(50);
    load.ends_without_a_failure();
    first.sigterm();
    assert_eq!(first.wait_exit().code(), Some(0));

    let mut waiting = Client::connect(address);
    waiting.send("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n");
    let mut second = Weir::launch_activated(&toml, socket.into());
    assert_eq!(waiting.response().text(), "a", "who came in between has waited");
    let mut third = second.successor();
    succeeds(&second, &mut third);
    drop(waiting);
    assert_eq!(second.wait_exit().code(), Some(0));
    assert!(TcpStream::connect(address).is_ok());
}

#[test]
fn sockets_of_the_service_manager_that_no_listen_names_are_said() {
    let a = Backend::start("a");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut weir = Weir::launch_activated(&Site::of([&a]).toml(), socket.into());
    weir.addresses(1);
    weir.wait_for("it says so", |line| line.contains(&format!("{address} is in no `listen`")));
}

#[test]
fn the_service_manager_hears_of_each_turn() {
    let a = Backend::start("a");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let hears = || {
        let mut message = [0; 4096];
        let count = manager.recv(&mut message).expect("weir says something");
        String::from_utf8_lossy(&message[..count]).into_owned()
    };
    let mut old = Weir::launch_adapted(&Site::of([&a]).toml(), |command| _ = command.env("NOTIFY_SOCKET", &path));
    old.addresses(1);
    assert_eq!(hears(), "READY=1\nSTATUS=serving\n");

    old.sighup();
    let reloading = hears();
    let mut lines = reloading.lines();
    assert_eq!(lines.next(), Some("RELOADING=1"));
    let time = lines.next().and_then(|line| line.strip_prefix("MONOTONIC_USEC=")?.parse::<u64>().ok());
    assert!(time.is_some_and(|time| time > 0), "{reloading}");
    assert_eq!(hears(), "READY=1\nSTATUS=nothing has changed\n");

    let mut new = old.successor_adapted(|command| _ = command.env("NOTIFY_SOCKET", &path));
    succeeds(&old, &mut new);
    assert_eq!(hears(), format!("MAINPID={}\n", new.pid().as_raw_nonzero()));
    assert_eq!(hears(), "READY=1\nSTATUS=serving\n", "of the successor");
    assert_eq!(old.wait_exit().code(), Some(0));

    new.sigterm();
    assert_eq!(hears(), "STOPPING=1\nSTATUS=finishing what is in flight\n");
    assert_eq!(new.wait_exit().code(), Some(0));
}
