//! Does weir notice where an application has moved to? Each address of a name is a peer; the last good answer holds.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::dns::Dns;
use crate::support::{Backend, Client, Gate, Script, Site, Weir, eventually, sorted};

/// Weir with one server, `app`, at the port of `any`.
fn weir_for(dns: &Dns, any: &Backend) -> Site {
    weir_with(&dns.line(), any)
}

fn weir_with(top: &str, any: &Backend) -> Site {
    Site::servers([format!("\"app:{}\"", any.address().port())]).top(top)
}

fn wait_for_addresses<const N: usize>(weir: &Weir, addresses: [SocketAddr; N]) {
    let list = addresses.map(|address| address.ip().to_string()).join(", ");
    weir.wait_for(&format!("app is {list}"), |line| line.ends_with(&format!("app is {list}")));
}

fn trio() -> [Backend; 3] {
    let a = Backend::start("a");
    let (b, c) = (a.beside("b"), a.beside("c"));
    [a, b, c]
}

#[test]
fn each_address_of_a_name_is_a_peer() {
    let [a, b, c] = trio();
    let dns = Dns::start();
    dns.says([c.address(), a.address(), b.address()]);
    let weir = weir_for(&dns, &a).start();
    wait_for_addresses(&weir, [a.address(), b.address(), c.address()]);
    eventually("all are peers", || weir.get("/").status == 200);
    let seen = weir.rotation(6);
    assert_eq!(sorted(&seen), "aabbcc", "in turn: {seen}");
}

#[test]
fn a_name_without_an_address_is_one_line_and_a_503_for_its_group_alone() {
    let [a, b, _] = trio();
    let dns = Dns::start();
    let other = format!(
        "[upstream.other]\nservers = [\"{}\"]\n[[server.location]]\npath = \"/other\"\nproxy_pass = \"http://other\"",
        b.address()
    );
    // The location must stand with its server, before the upstream's table.
    let (upstream, location) = other.split_once("[[server").unwrap();
    let weir = weir_for(&dns, &a).rest(&format!("[[server{location}\n{upstream}")).start();
    let refused = weir.get("/");
    assert_eq!(refused.status, 503);
    assert!(refused.retry_after().is_some_and(|seconds| (1..=60).contains(&seconds)));
    assert_eq!(weir.get("/other").text(), "b");

    weir.wait_for("it says so", |line| line.contains("cannot resolve app"));
    dns.says([a.address()]);
    wait_for_addresses(&weir, [a.address()]);
    eventually("it has traffic", || weir.get("/").status == 200);
    let complaints = weir.log().iter().filter(|line| line.contains("cannot resolve app")).count();
    assert_eq!(complaints, 1);
}

#[test]
fn a_replica_that_is_gone_costs_no_get_and_a_new_one_gets_traffic() {
    let [a, b, c] = trio();
    let dns = Dns::start();
    dns.says([a.address(), b.address()]);
    let weir = weir_for(&dns, &a).start();
    wait_for_addresses(&weir, [a.address(), b.address()]);
    eventually("there is an answer", || weir.get("/").status == 200);

    b.stop();
    dns.says([a.address(), c.address()]);
    let mut seen = String::new();
    eventually("the new one answers", || {
        let response = weir.get("/");
        assert_eq!(response.status, 200);
        seen += &response.text();
        seen.contains('c')
    });
    let rotation = weir.rotation(6);
    assert_eq!(sorted(&rotation), "aaaccc", "in turn: {rotation}");
}

#[test]
fn the_last_good_answer_outlives_a_dns_server_that_fails() {
    let [a, b, _] = trio();
    let dns = Dns::start();
    dns.says([a.address(), b.address()]);
    let weir = weir_for(&dns, &a).start();
    wait_for_addresses(&weir, [a.address(), b.address()]);
    dns.fails();
    weir.wait_for("it says that it cannot ask", |line| line.contains("cannot resolve app"));
    assert_eq!(sorted(&weir.rotation(4)), "aabb");
}

#[test]
fn a_name_that_is_said_to_be_gone_twice_is_gone() {
    let [a, ..] = trio();
    let dns = Dns::start();
    dns.says([a.address()]);
    let weir = weir_for(&dns, &a).start();
    wait_for_addresses(&weir, [a.address()]);
    eventually("there is an answer", || weir.get("/").status == 200);
    dns.knows_nothing();
    weir.wait_for("it believes so", |line| line.ends_with("app is nowhere"));
    eventually("nobody is left", || weir.get("/").status == 503);
}

#[test]
fn an_application_that_passes_its_probes_stays_though_its_name_is_gone() {
    let [a, ..] = trio();
    let dns = Dns::start();
    dns.says([a.address()]);
    let weir = weir_for(&dns, &a).checked("").start();
    weir.wait_for("it is up", |line| line.contains("checking → up"));
    dns.knows_nothing();
    weir.wait_for("it was told twice", |line| line.contains("there is no such name any more"));
    assert_eq!(weir.rotation(3), "aaa");
}

#[test]
fn a_service_is_found_by_its_srv_records() {
    let (a, b, c) = (Backend::start("a"), Backend::start("b"), Backend::start("c"));
    let dns = Dns::start();
    dns.serves("_http._tcp.app", &[(10, 2, a.address()), (10, 0, b.address()), (20, 1, c.address())]);
    let weir = Site::servers(["{ address = \"app\", service = \"http\" }".to_owned()]).top(&dns.line()).start();
    weir.wait_for("it was found", |line| line.contains("_http._tcp.app is "));
    eventually("it has traffic", || weir.get("/").status == 200);
    let seen = weir.rotation(6);
    assert_eq!(sorted(&seen), "aaaabb", "the weights are the records', 0 counts as 1, and c is a backup: {seen}");

    a.stop();
    b.stop();
    eventually("the backup steps in", || weir.get("/").text() == "c");

    dns.serves("_http._tcp.app", &[(20, 1, c.address())]);
    weir.wait_for("c is all there is", |line| line.ends_with(&format!("_http._tcp.app is {}", c.address())));
    eventually("it is a primary now", || weir.rotation(3) == "ccc");
}

#[test]
fn replicas_are_called_by_their_own_names_in_the_log() {
    let [a, ..] = trio();
    let dns = Dns::start();
    // Loopback has no names in DNS. Nobody is asked for anything at this address: its server is down.
    let far = SocketAddr::from(([192, 0, 2, 7], a.address().port()));
    dns.calls(far, "alb_pyfla_app_2.alb_default");
    dns.says([far]);
    let server = |weight| format!("{{ address = \"app:{}\", down = true, weight = {weight} }}", far.port());
    let weir = Site::servers([server(1)]).top(&dns.line()).start();
    weir.wait_for("it has a name", |line| line.ends_with("192.0.2.7 is the replica pyfla_app_2"));
    weir.edit(&Site::servers([server(2)]).top(&dns.line()).toml());
    weir.wait_for("it is called so", |line| line.contains(&format!("~web/{far} (pyfla_app_2)")));
}

#[test]
fn failing_connects_are_no_storm_of_questions() {
    let [a, b, _] = trio();
    let dns = Dns::start();
    dns.says([a.address(), b.address()]);
    let weir = weir_for(&dns, &a).top("proxy_next_upstream_tries = 1").start();
    wait_for_addresses(&weir, [a.address(), b.address()]);
    eventually("there is an answer", || weir.get("/").status == 200);
    a.stop();
    b.stop();
    let (before, begun) = (dns.asked(), Instant::now());
    for _ in 0..1_000 {
        assert_ne!(weir.get("/").status, 200);
    }
    let (asked, seconds) = (dns.asked() - before, begun.elapsed().as_secs() as usize);
    assert!(asked <= seconds + 2, "{asked} questions in {seconds} seconds");
}

#[test]
fn after_a_failed_connect_an_address_is_looked_at_before_it_is_used_again() {
    let [a, b, _] = trio();
    let dns = Dns::start();
    dns.says([a.address(), b.address()]);
    // Failures are not counted: only the doubt keeps requests away.
    let server = format!("{{ address = \"app:{}\", max_fails = 0 }}", a.address().port());
    let weir = Site::servers([server]).top(&dns.line()).start();
    wait_for_addresses(&weir, [a.address(), b.address()]);
    eventually("both answer", || sorted(&weir.rotation(2)) == "ab");

    a.stop();
    let mark = weir.mark();
    assert_eq!(weir.rotation(2), "bb", "the request that met it was sent elsewhere");
    let said = weir.wait_for_state_since(mark, a.address(), "checking");
    assert!(said.contains("its address may be another's by now"), "{said}");
    assert_eq!(weir.rotation(20), "b".repeat(20));
    a.restart();
    weir.wait_for_state_since(mark, a.address(), "up");
    assert_eq!(sorted(&weir.rotation(2)), "ab");
}

#[test]
fn with_a_check_a_failed_connect_means_checking_until_a_pass() {
    let [a, b, _] = trio();
    let dns = Dns::start();
    dns.says([a.address(), b.address()]);
    let server = format!("{{ address = \"app:{}\", max_fails = 0 }}", a.address().port());
    let weir = Site::servers([server]).top(&dns.line()).checked("").start();
    wait_for_addresses(&weir, [a.address(), b.address()]);
    weir.wait_for_state(a.address(), "up");
    weir.wait_for_state(b.address(), "up");
    // Somebody else is there now: it accepts, and is not well.
    a.health(Script::status(404));
    a.stop();
    let mark = weir.mark();
    eventually("the failed connect was noticed", || {
        assert_eq!(weir.get("/").text(), "b");
        weir.log()[mark..].iter().any(|line| line.contains("its address may be another's by now"))
    });
    let before = a.requests().len();
    a.restart();
    let probes = a.probes();
    eventually("it was looked at", || a.probes() >= probes + 3);
    assert_eq!(weir.rotation(10), "b".repeat(10));
    assert_eq!(a.requests().len(), before, "the stranger got no request");
    a.health(Script::text("ok"));
    weir.wait_for_state_since(mark, a.address(), "up");
    eventually("it is asked again", || weir.get("/").text() == "a");
}

#[test]
fn an_answer_that_does_not_fit_is_asked_for_over_tcp() {
    let [a, b, c] = trio();
    let dns = Dns::start();
    dns.truncates();
    dns.says([a.address(), b.address(), c.address()]);
    let weir = weir_for(&dns, &a).start();
    wait_for_addresses(&weir, [a.address(), b.address(), c.address()]);
    assert!(dns.asked_over_tcp() > 0);
    assert!(dns.payload() >= 1_232, "larger answers over UDP are welcome (EDNS0): {}", dns.payload());
}

#[test]
fn a_second_dns_server_answers_for_a_silent_one_and_a_reload_may_name_another() {
    let [a, b, _] = trio();
    let (silent, dns, other) = (Dns::start(), Dns::start(), Dns::start());
    silent.is_silent();
    dns.says([a.address()]);
    other.says([b.address()]);
    let of = |servers: String| weir_with(&format!("resolver = [{servers}]\nresolver_valid = \"1s\""), &a);
    let weir = of(format!("\"{}\", \"{}\"", silent.address(), dns.address())).start();
    wait_for_addresses(&weir, [a.address()]);
    // Both are asked at once, and the other may have answered before this one has looked into its mail.
    eventually("the first is asked as well", || silent.asked() > 0);

    weir.edit(&of(format!("\"{}\"", other.address())).toml());
    wait_for_addresses(&weir, [b.address()]);
    eventually("b answers", || weir.get("/").text() == "b");
    assert!(!weir.log().iter().any(|line| line.contains("next start of weir")));
}

#[test]
fn scaling_up_brings_traffic_to_all_and_scaling_down_loses_no_request() {
    let names = ["a", "b", "c", "d", "e"];
    let first = Backend::start(names[0]);
    let more: Vec<Backend> = names[1..].iter().map(|name| first.beside(name)).collect();
    let at = |n: usize| if n == 0 { first.address() } else { more[n - 1].address() };
    let dns = Dns::start();
    dns.says([at(0), at(1)]);
    // The client's one connection must outlive all of it.
    let weir = weir_for(&dns, &first).top("keepalive_requests = 4000000000").checked("").start();
    weir.wait_for_state(at(0), "up");
    weir.wait_for_state(at(1), "up");

    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        // Ends the requests also when the test fails.
        let _stop = OnDrop(&stop);
        let client = scope.spawn(|| {
            let mut client = weir.client();
            while !stop.load(SeqCst) {
                let response = client.get("/");
                assert_eq!(response.status, 200, "after {served:?} requests: {}", response.text());
                served.fetch_add(1, SeqCst);
            }
        });

        let mark = weir.mark();
        dns.says([at(0), at(1), at(2), at(3), at(4)]);
        for n in 2..5 {
            weir.wait_for_state_since(mark, at(n), "up");
        }
        // That it takes less than two seconds is tried with containers (docker/tests/scale.sh).
        eventually("all five have traffic", || (2..5).all(|n| !more[n - 1].requests().is_empty()));

        // One request is in flight at each of the three that go.
        let gate = Gate::default();
        for n in 2..5 {
            more[n - 1].on("/slow", Script::new().read_body().gate(&gate).answer(200, "", "finished"));
        }
        let mut slow: Vec<Client> = Vec::new();
        eventually("the three are busy", || {
            let waits = |n: usize| more[n - 1].requests().iter().any(|request| request.target == "/slow");
            let mut client = weir.client();
            client.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
            thread::sleep(Duration::from_millis(20));
            slow.push(client);
            (2..5).all(waits)
        });
        let mark = weir.mark();
        dns.says([at(0), at(1)]);
        for n in 2..5 {
            weir.wait_for_state_since(mark, at(n), "draining");
        }
        // What was on its way to them by then.
        let slow_ones = |at: &Backend| at.requests().iter().filter(|request| request.target == "/slow").count();
        eventually("all slow ones have arrived", || {
            more.iter().chain([&first]).map(slow_ones).sum::<usize>() == slow.len()
        });
        let then = served.load(SeqCst);
        eventually("the client goes on", || served.load(SeqCst) >= then + 2);
        let before: Vec<usize> = (2..5).map(|n| more[n - 1].requests().len()).collect();
        assert!(weir.rotation(10).chars().all(|who| "ab".contains(who)));
        assert_eq!((2..5).map(|n| more[n - 1].requests().len()).collect::<Vec<_>>(), before, "they get nothing more");
        gate.open();
        for mut client in slow {
            // Those that a and b got are answered by their names.
            assert_eq!(client.response().status, 200);
        }
        more[1..].iter().for_each(Backend::stop);
        assert!(weir.rotation(10).chars().all(|who| "ab".contains(who)));
        stop.store(true, SeqCst);
        client.join().unwrap();
    });
}

/// Sets the flag when it is dropped.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}
