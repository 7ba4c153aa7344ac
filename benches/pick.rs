//! What does a pick cost? For every algorithm, by the number of peers: nanoseconds per pick, and what one group does in all
//! when several threads pick from it at once. All peers are eligible and idle, so least_conn and least_time meet a tie
//! of everybody: their worst case. "leased" is with what a lease adds: each pick's request lasts until the
//! thread has made 64 more, and the balancer hears of its begin and its end. With least_time it takes 0.5 to 4.5 ms, which
//! goes into the averages of the peer first.
//!
//! `cargo bench --bench pick`; with `-- least_time` only what has that in its name.
//!
//! With `--count CASE PEERS PICKS` it makes these picks and no more: `benches/instructions/run` counts what they take.

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use weir::balancer::{Balancer, Candidates, FULL, Latency, Measure, Member, Method, Timing, Two, build, ip_hash_key};
use weir::clock::Timestamp;

const PEERS: [usize; 3] = [3, 100, 10_000];
const THREADS: [usize; 3] = [1, 2, 4];
const LONG_ENOUGH: Duration = Duration::from_millis(200);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, case, peers, picks] = &arguments[..]
        && flag == "--count"
    {
        return count(case, parse(peers), parse(picks));
    }
    // `cargo test` runs benches, too, and does not want to wait.
    if !arguments.iter().any(|arg| arg == "--bench") {
        return;
    }
    let parts: Vec<&String> = arguments.iter().filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |case: &Case| parts.is_empty() || parts.iter().any(|part| case.name.contains(*part));
    print!("{:<30}", "");
    PEERS.iter().for_each(|peers| print!("{:>14}", format!("{peers} peers")));
    THREADS.iter().for_each(|threads| print!("{:>14}", format!("{threads} threads")));
    print!("\n{:<30}", "");
    PEERS.iter().for_each(|_| print!("{:>14}", "ns/pick"));
    THREADS.iter().for_each(|_| print!("{:>14}", "million/s"));
    println!();
    for case in cases().into_iter().filter(wanted) {
        print!("{:<30}", case.name);
        PEERS.iter().for_each(|peers| print!("{:>14.1}", 1e9 / picks_per_second(&case, *peers, 1)));
        let most = PEERS[PEERS.len() - 1];
        THREADS.iter().for_each(|threads| print!("{:>14.1}", picks_per_second(&case, most, *threads) / 1e6));
        println!();
    }

    if !parts.is_empty() {
        return;
    }
    print!("\n{:<30}", "µs per change of availability");
    PEERS.iter().for_each(|peers| print!("{peers:>14}"));
    println!();
    for case in cases().into_iter().filter(|case| matches!(case.method, Method::RoundRobin | Method::LeastConn)) {
        print!("{:<30}", case.name);
        PEERS.iter().for_each(|peers| print!("{:>14.1}", micros_per_change(&case, *peers)));
        println!();
    }
}

type Weight = fn(usize) -> u32;
const EQUAL: Weight = |_| 1;
const ONE_TO_FIVE: Weight = |i| i as u32 % 5 + 1;
/// Distinct primes make a cycle that is too long to prepare.
const UNWIELDY: Weight = |i| if i % 2 == 0 { 99_991 } else { 65_537 };

struct Case {
    name: &'static str,
    method: Method,
    weight: Weight,
    leased: bool,
}

fn cases() -> Vec<Case> {
    let case = |name, method| Case { name, method, weight: EQUAL, leased: false };
    let least_time = |inflight| Method::LeastTime { measure: Measure::LastByte, inflight };
    let random = |two| Method::Random { two };
    vec![
        case("round_robin", Method::RoundRobin),
        Case { weight: ONE_TO_FIVE, ..case("round_robin, weights 1…5", Method::RoundRobin) },
        Case { weight: UNWIELDY, ..case("round_robin, above the cap", Method::RoundRobin) },
        case("least_conn", Method::LeastConn),
        Case { leased: true, ..case("least_conn, leased", Method::LeastConn) },
        Case { leased: true, weight: ONE_TO_FIVE, ..case("least_conn, leased, 1…5", Method::LeastConn) },
        case("least_time last_byte", least_time(false)),
        Case { leased: true, ..case("least_time last_byte, leased", least_time(false)) },
        Case { leased: true, weight: ONE_TO_FIVE, ..case("least_time last_byte, leased, 1…5", least_time(false)) },
        case("least_time last_byte inflight", least_time(true)),
        Case { leased: true, ..case("least_time inflight, leased", least_time(true)) },
        case("ip_hash", Method::IpHash),
        case("hash", Method::Hash { consistent: false }),
        case("hash consistent", Method::Hash { consistent: true }),
        case("random", random(None)),
        case("random two least_conn", random(Some(Two::LeastConn))),
        case("random two least_time", random(Some(Two::LeastTime(Measure::Header)))),
    ]
}

/// What the method's requests bring along; a power of two of them.
fn keys(method: &Method) -> Vec<Vec<u8>> {
    let key = |i: u32| match method {
        Method::IpHash => ip_hash_key(IpAddr::V4(Ipv4Addr::from(i << 8))).to_vec(),
        Method::Hash { .. } => format!("/articles/{i}?page=2").into_bytes(),
        _ => Vec::new(),
    };
    (0..1024).map(key).collect()
}

/// What the threads together do, each picking for long enough: of processor time, since other processes may want the
/// processors, too. That is what as many processors would do, at most those there are.
fn picks_per_second(case: &Case, peers: usize, threads: usize) -> f64 {
    let tier = Tier::new(peers, case);
    let balancer = build(&case.method, &tier.members(), 1);
    balancer.availability_changed(&tier.now());
    let keys = keys(&case.method);
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
    let mut picks = 64;
    loop {
        let took = time_of(case, &*balancer, &tier, &keys, threads, picks);
        if took >= LONG_ENOUGH {
            return (picks * threads.min(processors)) as f64 / took.as_secs_f64();
        }
        let missing = LONG_ENOUGH.as_secs_f64() / took.as_secs_f64().max(1e-6);
        picks = (picks as f64 * (missing * 1.2).clamp(1.5, 100.0)) as usize;
    }
}

/// How much processor time each thread takes for `picks` picks, on average.
fn time_of(
    case: &Case,
    balancer: &dyn Balancer,
    tier: &Tier,
    keys: &[Vec<u8>],
    threads: usize,
    picks: usize,
) -> Duration {
    let together = Barrier::new(threads);
    let work = || {
        together.wait();
        let began = processor_time();
        pick_often(case, balancer, tier, keys, picks);
        processor_time() - began
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let times = workers.into_iter().map(|worker| worker.join().expect("a pick does not panic"));
        times.sum::<Duration>() / threads as u32
    })
}

/// Never inlined, so that callgrind can count what happens in here and nothing else.
#[inline(never)]
fn pick_often(case: &Case, balancer: &dyn Balancer, tier: &Tier, keys: &[Vec<u8>], picks: usize) {
    let mut running = VecDeque::with_capacity(65);
    let tier = &mut Now { tier, now: tier.began };
    for i in 0..picks {
        tier.now = tier.now + BETWEEN_PICKS;
        let picked = black_box(balancer.pick(black_box(&*tier), &keys[i % keys.len()]));
        if case.leased {
            running.extend(picked.map(|peer| (peer, tier.begin(case, balancer, peer))));
            if running.len() > 64 {
                running.pop_front().into_iter().for_each(|(peer, timing)| tier.end(balancer, peer, timing));
            }
        }
    }
    running.into_iter().for_each(|(peer, timing)| tier.end(balancer, peer, timing));
}

fn count(name: &str, peers: usize, picks: usize) {
    let case = cases().into_iter().find(|case| case.name == name).expect("a case of this bench");
    let tier = Tier::new(peers, &case);
    let balancer = build(&case.method, &tier.members(), 1);
    balancer.availability_changed(&tier.now());
    pick_often(&case, &*balancer, &tier, &keys(&case.method), picks);
}

fn parse(number: &str) -> usize {
    number.parse().expect("a number")
}

/// Of this thread, as Linux counts it.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has schedstat");
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("the first number is the time on a processor"))
}

fn micros_per_change(case: &Case, peers: usize) -> f64 {
    let mut tier = Tier::new(peers, case);
    let balancer = build(&case.method, &tier.members(), 1);
    let began = processor_time();
    let mut changes = 0;
    while processor_time() - began < LONG_ENOUGH {
        for _ in 0..16 {
            tier.absent = if tier.absent == Some(1) { None } else { Some(1) };
            balancer.availability_changed(&tier.now());
            changes += 1;
        }
    }
    (processor_time() - began).as_micros() as f64 / f64::from(changes)
}

/// Peers as in a running weir: what a pick asks is read from memory that requests write to.
struct Tier {
    peers: Vec<Peer>,
    absent: Option<usize>,
    began: Timestamp,
}

/// The same as a thread's clock has it.
struct Now<'t> {
    tier: &'t Tier,
    now: Timestamp,
}

/// What 50,000 requests a second leave.
const BETWEEN_PICKS: Duration = Duration::from_micros(20);

/// A cache line of its own each, as the real ones have several.
#[derive(Default)]
#[repr(align(64))]
struct Peer {
    text: String,
    weight: u32,
    word: AtomicU32,
    in_flight: AtomicU32,
    answers: AtomicU32,
    latency: Latency,
}

impl Tier {
    fn new(count: usize, case: &Case) -> Tier {
        let peer = |i: usize| {
            let text = format!("10.{}.{}.{}:8080", i >> 16, i >> 8 & 255, i & 255);
            let peer = Peer { text, weight: (case.weight)(i), ..Peer::default() };
            if let Some(measure) = case.method.goes_by_unfinished() {
                peer.latency.count_unfinished(measure);
            }
            peer
        };
        Tier { peers: (0..count).map(peer).collect(), absent: None, began: Timestamp::secs(1) }
    }

    /// As it is at the beginning.
    fn now(&self) -> Now<'_> {
        Now { tier: self, now: self.began }
    }

    fn members(&self) -> Vec<Member<'_>> {
        let fail_timeout = Duration::from_secs(10);
        let member = |peer| {
            let Peer { weight, text, .. }: &Peer = peer;
            Member { weight: *weight, ring_text: text, max_conns: 0, fail_timeout }
        };
        self.peers.iter().map(member).collect()
    }
}

impl Now<'_> {
    /// A request begins at a peer.
    fn begin(&self, case: &Case, balancer: &dyn Balancer, peer: usize) -> Option<Timing> {
        self.tier.peers[peer].in_flight.fetch_add(1, SeqCst);
        self.tell(balancer, peer);
        case.method.goes_by_unfinished().map(|_| self.tier.peers[peer].latency.picked(self.now))
    }

    /// It ends.
    fn end(&self, balancer: &dyn Balancer, peer: usize, timing: Option<Timing>) {
        let Peer { latency, in_flight, answers, .. } = &self.tier.peers[peer];
        if let Some(mut timing) = timing {
            let noise = answers.fetch_add(1, Relaxed).wrapping_mul(2_654_435_761) >> 20;
            let end = self.now + Duration::from_micros(500 + u64::from(noise));
            latency.header(&mut timing, end);
            latency.finished(timing, end);
        }
        in_flight.fetch_sub(1, SeqCst);
        self.tell(balancer, peer);
    }

    fn tell(&self, balancer: &dyn Balancer, peer: usize) {
        let Peer { latency, in_flight, .. } = &self.tier.peers[peer];
        if balancer.watches_use() {
            balancer.use_changed(peer, latency, &|| in_flight.load(SeqCst));
        }
    }
}

impl Candidates for Now<'_> {
    fn count(&self) -> usize {
        self.tier.peers.len()
    }
    fn eligible(&self, i: usize) -> bool {
        self.tier.peers[i].word.load(Relaxed) == 0 && self.tier.absent != Some(i)
    }
    fn in_flight(&self, i: usize) -> u32 {
        self.tier.peers[i].in_flight.load(SeqCst)
    }
    fn latency(&self, i: usize) -> &Latency {
        &self.tier.peers[i].latency
    }
    fn ramp(&self, i: usize) -> u32 {
        if self.tier.peers[i].word.load(Relaxed) == 0 { FULL } else { 0 }
    }
    fn now(&self) -> Timestamp {
        self.now
    }
}
