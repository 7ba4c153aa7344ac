//! What do steady clients notice while backends are killed, frozen, broken and restarted? No failed GET, no POST twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::support::{Backend, Client, Script, Site, Weir, eventually, get};

/// What the clients saw so far.
#[derive(Default)]
struct Tally {
    over: AtomicBool,
    gets: AtomicUsize,
    failed_gets: std::sync::Mutex<Vec<String>>,
    posts: AtomicUsize,
    failed_posts: AtomicUsize,
}

impl Tally {
    fn running(&self) -> bool {
        !self.over.load(SeqCst)
    }

    fn got(&self, status: u16, text: &str) {
        self.gets.fetch_add(1, SeqCst);
        if status != 200 {
            self.failed_gets.lock().unwrap().push(format!("{status} {text}"));
        }
    }
}

/// Long enough between two requests that eight clients leave the machine time for everything else.
const PACE: Duration = Duration::from_millis(10);

fn gets_on_one_connection(address: SocketAddr, tally: &Tally) {
    let mut client = Client::connect(address);
    while tally.running() {
        client.send("GET /kept HTTP/1.1\r\nHost: weir.test\r\n\r\n");
        match client.try_response() {
            Ok(response) => {
                tally.got(response.status, &response.text());
                if response.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                    client = Client::connect(address);
                }
            }
            Err(broken) => {
                tally.got(0, &format!("{broken:?}"));
                client = Client::connect(address);
            }
        }
        std::thread::sleep(PACE);
    }
}

fn gets_on_separate_connections(address: SocketAddr, tally: &Tally) {
    while tally.running() {
        let response = get(address, "/separate");
        tally.got(response.status, &response.text());
        std::thread::sleep(PACE);
    }
}

fn posts(address: SocketAddr, name: usize, tally: &Tally) {
    let mut client = Client::connect(address);
    for number in 0.. {
        if !tally.running() {
            break;
        }
        client.send(format!("POST /post-{name}-{number} HTTP/1.1\r\nHost: weir.test\r\nContent-Length: 4\r\n\r\nbody"));
        tally.posts.fetch_add(1, SeqCst);
        match client.try_response() {
            Ok(response) if response.status == 200 => {}
            Ok(response) => {
                tally.failed_posts.fetch_add(1, SeqCst);
                if response.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                    client = Client::connect(address);
                }
            }
            Err(_) => {
                tally.failed_posts.fetch_add(1, SeqCst);
                client = Client::connect(address);
            }
        }
        std::thread::sleep(PACE);
    }
}

#[test]
fn steady_clients_see_no_failed_get_whatever_happens_to_one_backend() {
    let backends = ["a", "b", "c"].map(Backend::start);
    let [a, b, c] = &backends;
    let entry = |backend: &Backend| format!("{{ address = \"{}\", fail_timeout = \"1s\" }}", backend.address());
    let weir = Site::servers(backends.each_ref().map(entry))
        .top("workers = 2")
        .location("proxy_connect_timeout = \"1s\"")
        .location("proxy_read_timeout = \"2s\"")
        .location("proxy_next_upstream = \"error timeout http_500 http_502 http_503\"")
        .rest("[upstream.web.health_check]\nuri = \"/health\"\ninterval = \"1s\"\ntimeout = \"1s\"\nfails = 2\npasses = 2")
        .start();
    for backend in &backends {
        weir.wait_for_state(backend.address(), "up");
    }
    let (address, tally) = (weir.address(), Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| gets_on_one_connection(address, &tally));
        }
        for _ in 0..2 {
            scope.spawn(|| gets_on_separate_connections(address, &tally));
        }
        for name in 0..2 {
            let tally = &tally;
            scope.spawn(move || posts(address, name, tally));
        }
        let end = EndOnDrop(&tally);
        steady(&tally);
        let phases: [(&str, &dyn Fn()); 4] = [
            ("a is killed and comes back", &|| killed(&weir, a, &tally)),
            ("b is frozen and thaws", &|| frozen(&weir, b, &tally)),
            ("c answers 500 and recovers", &|| broken(&weir, c, &tally)),
            ("all are restarted, one after the other", &|| backends.iter().for_each(|one| killed(&weir, one, &tally))),
        ];
        for (name, phase) in phases {
            phase();
            let failed = tally.failed_gets.lock().unwrap();
            assert!(
                failed.is_empty(),
                "{name}: {} of {} GETs failed: {failed:?}",
                failed.len(),
                tally.gets.load(SeqCst)
            );
        }
        drop(end);
    });

    let mut deliveries: BTreeMap<String, usize> = BTreeMap::new();
    for request in backends.iter().flat_map(Backend::requests).filter(|request| request.method == "POST") {
        *deliveries.entry(request.target).or_default() += 1;
    }
    let twice: Vec<_> = deliveries.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "delivered twice: {twice:?}");
    let (posted, lost) = (tally.posts.load(SeqCst), tally.failed_posts.load(SeqCst));
    println!("{} GETs, none failed; {posted} POSTs, {lost} of them answered with an error", tally.gets.load(SeqCst));
    assert!(lost * 10 < posted, "{lost} of {posted} POSTs failed");
}

fn killed(weir: &Weir, backend: &Backend, tally: &Tally) {
    let mark = weir.mark();
    backend.stop();
    weir.wait_since(mark, "it leaves", |line| leaves(line, backend));
    steady(tally);
    let mark = weir.mark();
    backend.restart();
    weir.wait_for_state_since(mark, backend.address(), "up");
    serves(backend);
    steady(tally);
}

fn frozen(weir: &Weir, backend: &Backend, tally: &Tally) {
    let mark = weir.mark();
    backend.freeze();
    weir.wait_since(mark, "it leaves", |line| leaves(line, backend));
    steady(tally);
    let mark = weir.mark();
    backend.thaw();
    weir.wait_for_state_since(mark, backend.address(), "up");
    serves(backend);
    steady(tally);
}

fn broken(weir: &Weir, backend: &Backend, tally: &Tally) {
    let mark = weir.mark();
    backend.usually(Script::status(500));
    weir.wait_since(mark, "it leaves", |line| leaves(line, backend));
    steady(tally);
    let mark = weir.mark();
    backend.usually(Script::text("fixed"));
    weir.wait_for_state_since(mark, backend.address(), "up");
    serves(backend);
    steady(tally);
}

fn leaves(line: &str, backend: &Backend) -> bool {
    line.contains(&backend.address().to_string()) && (line.contains("→ unavail") || line.contains("→ unhealthy"))
}

/// Waits until clients have been answered often enough to have met the present state.
fn steady(tally: &Tally) {
    let before = tally.gets.load(SeqCst);
    eventually("the clients go on", || tally.gets.load(SeqCst) >= before + 200);
}

/// Waits until a backend that came back does its part.
fn serves(backend: &Backend) {
    let before = backend.requests().len();
    eventually("it serves again", || backend.requests().len() >= before + 10);
}

/// Ends the clients, so that a failed phase is reported instead of waited for.
struct EndOnDrop<'a>(&'a Tally);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, SeqCst);
    }
}
