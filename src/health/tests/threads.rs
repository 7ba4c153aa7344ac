//! Does the cell hold what the machine promises when many workers use it at once?

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use super::script::{PLAIN, plain};
use crate::clock::Timestamp;
use crate::health::{
    Admission, Cell, LeaseFacts, Operator, Origin, Outcome, Policy, Pool, Signal, State, Tier, Transition,
};

const WORKERS: u64 = 4;
const ROUNDS: u64 = 20_000;

/// Workers whose every look at the clock is a millisecond later than anybody's before.
struct World {
    pool: Arc<Pool>,
    cells: Vec<Cell>,
    clock: AtomicU64,
}

impl World {
    fn of(peers: usize, policy: Policy) -> World {
        let pool = Arc::new(Pool::new(50));
        let join = |_| {
            let (operator, origin, tier) = (Operator::Enabled, Origin::ProcessStart, Tier::Primary);
            Cell::new(policy.clone(), operator, origin, &pool, tier, Timestamp::secs(1))
        };
        let cells = (0..peers).map(join).collect();
        World { pool, cells, clock: AtomicU64::new(1_000) }
    }

    fn now(&self) -> Timestamp {
        Timestamp::millis(self.clock.fetch_add(1, SeqCst))
    }

    fn end(&self, peer: usize, lease: LeaseFacts, outcome: Outcome) -> Option<Transition> {
        self.cells[peer].observe(Signal::Outcome { lease, outcome }, self.now())
    }

    /// Runs `work` on all workers, with a number that is another each time and the same in every run.
    fn run(&self, work: impl Fn(u64) + Sync) {
        let rounds = |worker: u64| (0..ROUNDS).map(move |round| mixed(worker * ROUNDS + round));
        thread::scope(|scope| {
            for worker in 0..WORKERS {
                let work = &work;
                scope.spawn(move || rounds(worker).for_each(work));
            }
        });
    }

    fn states(&self) -> Vec<State> {
        let now = self.now();
        self.cells.iter().map(|cell| cell.verdict(now).state).collect()
    }
}

/// A step of splitmix64.
fn mixed(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^ (z >> 27)
}

#[test]
fn concurrent_failures_neither_exceed_the_cap_nor_lose_a_slot() {
    let world = World::of(6, Policy { fail_timeout: Duration::from_millis(50), ..PLAIN });
    world.run(|dice| {
        let peer = (dice % 6) as usize;
        let began = world.now();
        let lease = LeaseFacts { began, trial: world.cells[peer].take_trial(began), ..LeaseFacts::default() };
        let outcome = if (dice >> 8) % 4 == 0 { Outcome::Soft("reset".into()) } else { Outcome::Success };
        world.end(peer, lease, outcome);
        assert!(world.pool.counts(Tier::Primary).ejected <= 3);
    });
    let unavail = world.states().into_iter().filter(|state| *state == State::Unavail).count() as u32;
    assert_eq!(world.pool.counts(Tier::Primary).ejected, unavail);

    for peer in 0..6 {
        let lease = LeaseFacts { began: world.now(), last_resort: true, ..LeaseFacts::default() };
        world.end(peer, lease, Outcome::Success);
    }
    let counts = world.pool.counts(Tier::Primary);
    assert_eq!((counts.members, counts.up, counts.ejected), (6, 6, 0));
}

#[test]
fn one_worker_at_a_time_has_the_trial_and_it_always_comes_back() {
    let world = World::of(1, Policy { fail_timeout: Duration::from_millis(20), ..PLAIN });
    let (holders, taken) = (AtomicU32::new(0), AtomicU32::new(0));
    world.run(|dice| {
        let began = world.now();
        let trial = world.cells[0].take_trial(began);
        if trial {
            assert_eq!(holders.fetch_add(1, SeqCst), 0, "two have the trial");
            taken.fetch_add(1, SeqCst);
            holders.fetch_sub(1, SeqCst);
        }
        let outcome = match dice % 3 {
            0 => Outcome::Success,
            1 => Outcome::Hard("refused".into()),
            _ => Outcome::Neutral,
        };
        world.end(0, LeaseFacts { began, trial, ..LeaseFacts::default() }, outcome);
    });
    assert!(taken.load(SeqCst) > 0, "nobody had a trial: the test tests nothing");

    let lease = LeaseFacts { began: world.now(), ..LeaseFacts::default() };
    world.end(0, lease, Outcome::Hard("refused".into()));
    world.clock.fetch_add(100, SeqCst);
    assert_eq!(world.cells[0].admission(world.now()), Admission::Trial);
}

#[test]
fn every_ejection_and_every_return_is_reported_to_exactly_one_worker() {
    let world = World::of(1, Policy { fail_timeout: Duration::from_millis(20), ..plain(3) });
    let (out, back) = (AtomicU32::new(0), AtomicU32::new(0));
    world.run(|dice| {
        let began = world.now();
        let trial = world.cells[0].take_trial(began);
        let outcome = if dice % 2 == 0 { Outcome::Success } else { Outcome::Hard("refused".into()) };
        match world.end(0, LeaseFacts { began, trial, ..LeaseFacts::default() }, outcome).map(|t| (t.from, t.to)) {
            Some((State::Up, State::Unavail)) => out.fetch_add(1, SeqCst),
            Some((State::Unavail, State::Up)) => back.fetch_add(1, SeqCst),
            None => 0,
            Some(other) => panic!("{other:?}"),
        };
    });
    let (out, back) = (out.load(SeqCst), back.load(SeqCst));
    assert!(out > 0);
    assert_eq!(out - back, u32::from(world.states()[0] == State::Unavail));
}

#[test]
fn a_success_while_the_peer_serves_does_not_wait_for_the_lock() {
    let world = World::of(1, PLAIN);
    let lease = LeaseFacts { began: world.now(), ..LeaseFacts::default() };
    // Were the lock wanted, this would hang, and the test with it.
    world.cells[0].while_locked(|| assert_eq!(world.end(0, lease, Outcome::Success), None));
}
