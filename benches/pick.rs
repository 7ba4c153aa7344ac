//! What does a pick cost? Nanoseconds per pick for every algorithm, by the number of peers and of threads that pick at
//! once. All peers are eligible and idle, so least_conn and least_time meet a tie of everybody: their worst case.
//!
//! `cargo bench --bench pick`

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use weir::balancer::{Balancer, Candidates, FULL, Latency, Measure, Member, Method, Two, build, ip_hash_key};
use weir::clock::{Clock, Timestamp};

const PEERS: [usize; 3] = [3, 100, 10_000];
const THREADS: [usize; 2] = [1, 2];
const LONG_ENOUGH: Duration = Duration::from_millis(200);

fn main() {
    // `cargo test` runs benches, too, and does not want to wait.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    print!("{:<32}", "ns per pick");
    for threads in THREADS {
        for peers in PEERS {
            print!("{:>14}", format!("{peers} / {threads} thr"));
        }
    }
    println!();
    for (name, method, weight) in methods() {
        print!("{name:<32}");
        for threads in THREADS {
            for peers in PEERS {
                let tier = Tier::new(peers, weight);
                let balancer = build(&method, &tier.members(), 1);
                balancer.availability_changed(&tier);
                print!("{:>14.1}", nanos_per_pick(&*balancer, &tier, &keys(&method), threads));
            }
        }
        println!();
    }

    print!("\n{:<32}", "µs per change of availability");
    PEERS.iter().for_each(|peers| print!("{peers:>14}"));
    println!();
    for (name, weight) in [("round_robin, equal", EQUAL), ("round_robin, weights 1…5", ONE_TO_FIVE)] {
        print!("{name:<32}");
        for peers in PEERS {
            print!("{:>14.1}", micros_per_change(&mut Tier::new(peers, weight)));
        }
        println!();
    }
}

type Weight = fn(usize) -> u32;
const EQUAL: Weight = |_| 1;
const ONE_TO_FIVE: Weight = |i| i as u32 % 5 + 1;
/// Distinct primes make a cycle that is too long to prepare.
const UNWIELDY: Weight = |i| if i % 2 == 0 { 99_991 } else { 65_537 };

fn methods() -> Vec<(&'static str, Method, Weight)> {
    let least_time = |inflight| Method::LeastTime { measure: Measure::LastByte, inflight };
    let random = |two| Method::Random { two };
    vec![
        ("round_robin, equal", Method::RoundRobin, EQUAL),
        ("round_robin, weights 1…5", Method::RoundRobin, ONE_TO_FIVE),
        ("round_robin, above the cap", Method::RoundRobin, UNWIELDY),
        ("least_conn", Method::LeastConn, EQUAL),
        ("least_time last_byte", least_time(false), EQUAL),
        ("least_time last_byte inflight", least_time(true), EQUAL),
        ("ip_hash", Method::IpHash, EQUAL),
        ("hash", Method::Hash { consistent: false }, EQUAL),
        ("hash consistent", Method::Hash { consistent: true }, EQUAL),
        ("random", random(None), EQUAL),
        ("random two least_conn", random(Some(Two::LeastConn)), EQUAL),
        ("random two least_time", random(Some(Two::LeastTime(Measure::Header))), EQUAL),
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

fn nanos_per_pick(balancer: &dyn Balancer, tier: &Tier, keys: &[Vec<u8>], threads: usize) -> f64 {
    let mut picks = 64;
    loop {
        let took = time_of(balancer, tier, keys, threads, picks);
        if took >= LONG_ENOUGH {
            return took.as_nanos() as f64 / picks as f64;
        }
        let missing = LONG_ENOUGH.as_secs_f64() / took.as_secs_f64().max(1e-6);
        picks = (picks as f64 * (missing * 1.2).clamp(1.5, 100.0)) as usize;
    }
}

/// How long each thread takes for `picks` picks, on average.
fn time_of(balancer: &dyn Balancer, tier: &Tier, keys: &[Vec<u8>], threads: usize, picks: usize) -> Duration {
    let clock = Clock::process();
    let together = Barrier::new(threads);
    let work = || {
        together.wait();
        let began = clock.now();
        for i in 0..picks {
            black_box(balancer.pick(black_box(tier), &keys[i % keys.len()]));
        }
        clock.now().since(began)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let times = workers.into_iter().map(|worker| worker.join().expect("a pick does not panic"));
        times.sum::<Duration>() / threads as u32
    })
}

fn micros_per_change(tier: &mut Tier) -> f64 {
    let balancer = build(&Method::RoundRobin, &tier.members(), 1);
    let clock = Clock::process();
    let began = clock.now();
    let mut changes = 0;
    while clock.now().since(began) < LONG_ENOUGH {
        tier.absent = if tier.absent == Some(1) { None } else { Some(1) };
        balancer.availability_changed(tier);
        changes += 1;
    }
    clock.now().since(began).as_micros() as f64 / f64::from(changes)
}

/// Peers as in a running weir: what a pick asks is read from memory that requests write to.
struct Tier {
    peers: Vec<Peer>,
    absent: Option<usize>,
    now: Timestamp,
}

#[derive(Default)]
struct Peer {
    text: String,
    weight: u32,
    word: AtomicU32,
    in_flight: AtomicU32,
    latency: Latency,
}

impl Tier {
    fn new(count: usize, weight: Weight) -> Tier {
        let peer = |i: usize| Peer {
            text: format!("10.{}.{}.{}:8080", i >> 16, i >> 8 & 255, i & 255),
            weight: weight(i),
            ..Peer::default()
        };
        Tier { peers: (0..count).map(peer).collect(), absent: None, now: Timestamp::secs(1) }
    }

    fn members(&self) -> Vec<Member<'_>> {
        let fail_timeout = Duration::from_secs(10);
        let member = |peer| {
            let Peer { weight, text, .. }: &Peer = peer;
            Member { weight: *weight, ring_text: text, fail_timeout }
        };
        self.peers.iter().map(member).collect()
    }
}

impl Candidates for Tier {
    fn count(&self) -> usize {
        self.peers.len()
    }
    fn eligible(&self, i: usize) -> bool {
        self.peers[i].word.load(Relaxed) == 0 && self.absent != Some(i)
    }
    fn in_flight(&self, i: usize) -> u32 {
        self.peers[i].in_flight.load(Relaxed)
    }
    fn latency(&self, i: usize) -> &Latency {
        &self.peers[i].latency
    }
    fn ramp(&self, i: usize) -> u32 {
        if self.peers[i].word.load(Relaxed) == 0 { FULL } else { 0 }
    }
    fn now(&self) -> Timestamp {
        self.now
    }
}
