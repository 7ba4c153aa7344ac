//! How requests wait: in the queue for room, and for a first verdict.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, yield_now};
use tokio::time::{advance, sleep};

use super::super::acquire::MOST_UNDECIDED;
use super::fixture::*;
use crate::clock::{Clock, Timestamp};
use crate::config::model::{Queue, Upstream};
use crate::health::{Command, Operator, Outcome, Seen};
use crate::topology::{Change, Lease, Live, Nobody, Topology, Tried, Why, acquire};

/// A published group, and requests to it.
struct Scene {
    live: Arc<Live>,
    clock: Clock,
}

impl Scene {
    fn new(upstream: Upstream) -> Scene {
        let clock = Clock::process();
        let topology = Topology::build_seeded(Arc::new(config(vec![upstream])), 1, clock.now());
        Scene { live: Arc::new(Live::new(topology)), clock }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn group(&self) -> Arc<crate::topology::Group> {
        self.live.load().groups()[0].clone()
    }

    fn apply(&self, change: Change) {
        let (next, applied) = self.live.load().apply(change, self.now());
        self.live.publish(next, &applied, self.now());
    }

    /// A GET that waits as long as it must; it has tried those letters. Runs until it waits or ends.
    async fn request(&self, tried: &[&str]) -> JoinHandle<Result<Lease, Nobody>> {
        let mut before = Tried::new();
        tried.iter().for_each(|letter| before.insert(peer(&self.group(), letter).id));
        let (live, id, clock) = (self.live.clone(), self.group().id(), self.clock);
        let task = tokio::spawn(async move {
            let current = || live.load().group(id).cloned();
            acquire(current, &get(&before), &clock).await
        });
        settle().await;
        task
    }

    fn probe(&self, letter: &str, seen: Seen) {
        peer(&self.group(), letter).observe_probe(self.now(), seen, false, self.now());
    }
}

/// Lets every task run as far as it can.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

/// What a request has got: a letter, why not, or that it still waits.
async fn outcome(task: &mut JoinHandle<Result<Lease, Nobody>>) -> (String, Option<Lease>) {
    if !task.is_finished() {
        return ("waits".to_owned(), None);
    }
    match task.await.expect("no task is cancelled here") {
        Ok(lease) => (lease.peer().text.to_string(), Some(lease)),
        Err(nobody) => (format!("{:?}", nobody.why), None),
    }
}

fn queued(servers: &str, size: usize, seconds: u64) -> Upstream {
    Upstream { queue: Some(Queue { size, timeout: Duration::from_secs(seconds) }), ..upstream(servers) }
}

fn checked(servers: &str) -> Upstream {
    Upstream { health_check: Some(check()), ..upstream(servers) }
}

#[tokio::test(start_paused = true)]
async fn a_free_peer_is_had_without_waiting() {
    let scene = Scene::new(queued("a", 1, 60));
    let mut task = scene.request(&[]).await;
    assert_eq!(outcome(&mut task).await.0, "a");
}

#[tokio::test(start_paused = true)]
async fn who_is_replaced_while_a_request_chooses_is_nobodys_fault() {
    let scene = Scene::new(upstream("a"));
    let mut seen = Some(scene.group());
    scene.apply(Change::Config(Arc::new(config(vec![upstream("b")]))));
    let current = || seen.take().or_else(|| Some(scene.group()));
    let lease = acquire(current, &get(&Tried::new()), &scene.clock).await.expect("b is free");
    assert_eq!(&*lease.peer().text, "b");
}

#[tokio::test(start_paused = true)]
async fn the_queue_serves_in_the_order_of_arrival() {
    let scene = Scene::new(queued("a max_conns=1", 10, 60));
    let mut held = scene.group().try_lease(&get(&Tried::new()), scene.now()).expect("a is free");
    let mut tasks = Vec::new();
    for _ in 0..4 {
        tasks.push(scene.request(&[]).await);
    }
    assert_eq!(scene.group().waiting(), 4);
    for left in (0..4).rev() {
        held.finish(Outcome::Success, scene.now());
        settle().await;
        let mut first = tasks.remove(0);
        let (peer, lease) = outcome(&mut first).await;
        assert_eq!((peer.as_str(), scene.group().waiting()), ("a", left));
        for task in &mut tasks {
            assert_eq!(outcome(task).await.0, "waits");
        }
        held = lease.expect("it has a");
    }
    drop(held);
    assert_eq!(peer(&scene.group(), "a").in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_overtake_those_who_wait() {
    let scene = Scene::new(queued("a max_conns=1", 10, 60));
    let held = scene.group().try_lease(&get(&Tried::new()), scene.now()).expect("a is free");
    let mut first = scene.request(&[]).await;
    held.finish(Outcome::Success, scene.now());
    // The slot is free, and the one who waits for it has not run yet.
    let newcomer = scene.group().try_lease(&get(&Tried::new()), scene.now());
    assert_eq!(told(&newcomer), "Room");
    settle().await;
    assert_eq!(outcome(&mut first).await.0, "a");
}

#[tokio::test(start_paused = true)]
async fn who_cannot_use_the_free_peer_lets_others_have_it() {
    let scene = Scene::new(queued("a max_conns=1, b max_conns=1", 10, 60));
    let (now, tried) = (scene.now(), Tried::new());
    let [on_a, on_b] = [0, 1].map(|_| scene.group().try_lease(&get(&tried), now).expect("both are free"));
    let mut not_a = scene.request(&["a"]).await;
    let mut any = scene.request(&[]).await;
    on_a.finish(Outcome::Success, now);
    settle().await;
    assert_eq!((outcome(&mut not_a).await.0.as_str(), outcome(&mut any).await.0.as_str()), ("waits", "a"));
    on_b.finish(Outcome::Success, now);
    settle().await;
    assert_eq!(outcome(&mut not_a).await.0, "b");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_leaves_the_queue() {
    let scene = Scene::new(queued("a max_conns=1", 10, 60));
    let held = scene.group().try_lease(&get(&Tried::new()), scene.now()).expect("a is free");
    let gone = scene.request(&[]).await;
    let mut second = scene.request(&[]).await;
    gone.abort();
    settle().await;
    assert_eq!(scene.group().waiting(), 1);
    held.finish(Outcome::Success, scene.now());
    settle().await;
    assert_eq!(outcome(&mut second).await.0, "a");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_when_it_is_its_turn_hands_it_on() {
    let scene = Scene::new(queued("a max_conns=1", 10, 60));
    let held = scene.group().try_lease(&get(&Tried::new()), scene.now()).expect("a is free");
    let gone = scene.request(&[]).await;
    let mut second = scene.request(&[]).await;
    held.finish(Outcome::Success, scene.now());
    gone.abort();
    settle().await;
    assert_eq!(outcome(&mut second).await.0, "a");
}

#[tokio::test(start_paused = true)]
async fn the_queue_has_a_size_and_a_time_out() {
    let scene = Scene::new(queued("a max_conns=1", 1, 5));
    let _held = scene.group().try_lease(&get(&Tried::new()), scene.now()).expect("a is free");
    let mut waits = scene.request(&[]).await;
    let mut too_many = scene.request(&[]).await;
    assert_eq!((outcome(&mut too_many).await.0.as_str(), scene.group().overflows()), ("QueueFull", 1));
    advance(Duration::from_millis(4_900)).await;
    settle().await;
    assert_eq!(outcome(&mut waits).await.0, "waits");
    sleep(Duration::from_millis(200)).await;
    assert_eq!(outcome(&mut waits).await.0, "QueueTimeout");
    assert_eq!(scene.group().waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_is_refused_at_once_when_nobody_is_up_any_more() {
    let scene = Scene::new(queued("a max_conns=1", 10, 60));
    let _held = scene.group().try_lease(&get(&Tried::new()), scene.now()).expect("a is free");
    let mut waits = scene.request(&[]).await;
    peer(&scene.group(), "a").set_operator(Command::Override { to: Operator::Down, until: None }, scene.now());
    settle().await;
    assert_eq!(outcome(&mut waits).await.0, "Unavailable");
}

#[tokio::test(start_paused = true)]
async fn new_peers_serve_those_who_wait() {
    let scene = Scene::new(queued("a max_conns=1, app:80 max_conns=2", 10, 60));
    let _held = scene.group().try_lease(&get(&Tried::new()), scene.now()).expect("a is free");
    let mut tasks = [scene.request(&[]).await, scene.request(&[]).await, scene.request(&[]).await];
    scene.apply(Change::Resolved { host: "app".into(), addrs: vec![IpAddr::from([10, 1, 0, 1])] });
    settle().await;
    let mut got = Vec::new();
    let mut leases = Vec::new();
    for task in &mut tasks {
        let (told, lease) = outcome(task).await;
        got.push(told);
        leases.extend(lease);
    }
    assert_eq!(got, ["app:80", "app:80", "waits"]);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_removed_refuses_those_who_wait() {
    let scene = Scene::new(queued("a max_conns=1", 10, 60));
    let _held = scene.group().try_lease(&get(&Tried::new()), scene.now()).expect("a is free");
    let mut waits = scene.request(&[]).await;
    scene.apply(Change::Config(Arc::new(config(vec![]))));
    settle().await;
    assert_eq!(outcome(&mut waits).await.0, "NoPeers");
}

#[tokio::test(start_paused = true)]
async fn the_first_verdict_is_waited_for() {
    let scene = Scene::new(checked("a, b"));
    let mut waits = scene.request(&[]).await;
    assert_eq!(outcome(&mut waits).await.0, "waits");
    scene.probe("b", Seen::Pass);
    settle().await;
    assert_eq!(outcome(&mut waits).await.0, "b");
}

#[tokio::test(start_paused = true)]
async fn no_longer_than_until_all_have_failed() {
    let scene = Scene::new(checked("a, b"));
    let mut waits = scene.request(&[]).await;
    let refused = || Seen::Unreachable { detail: "connection refused".into() };
    scene.probe("a", refused());
    settle().await;
    assert_eq!(outcome(&mut waits).await.0, "waits");
    scene.probe("b", refused());
    settle().await;
    assert_eq!(outcome(&mut waits).await.0, "Unavailable");
}

#[tokio::test(start_paused = true)]
async fn and_at_most_the_time_out_of_a_probe() {
    let scene = Scene::new(checked("a"));
    let mut waits = scene.request(&[]).await;
    sleep(Duration::from_millis(900)).await;
    assert_eq!(outcome(&mut waits).await.0, "waits");
    sleep(Duration::from_millis(200)).await;
    assert_eq!(outcome(&mut waits).await.0, "Unavailable");
}

#[tokio::test(start_paused = true)]
async fn a_bounded_number_waits_for_a_verdict_and_who_leaves_makes_room() {
    let scene = Scene::new(checked("a"));
    let mut waiting = Vec::new();
    for _ in 0..MOST_UNDECIDED {
        waiting.push(scene.request(&[]).await);
    }
    let mut refused = scene.request(&[]).await;
    assert_eq!(outcome(&mut refused).await.0, "Unavailable");
    waiting.swap_remove(7).abort();
    settle().await;
    waiting.push(scene.request(&[]).await);
    scene.probe("a", Seen::Pass);
    settle().await;
    for task in &mut waiting {
        assert_eq!(outcome(task).await.0, "a");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_where_waiting_does_not_help() {
    let scene = Scene::new(upstream("a max_conns=1"));
    let _held = scene.group().try_lease(&get(&Tried::new()), scene.now()).expect("a is free");
    let mut refused = scene.request(&[]).await;
    assert_eq!(outcome(&mut refused).await.0, format!("{:?}", Why::Full));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_between_threads() {
    let scene = Scene::new(queued("a max_conns=2, b max_conns=1", 1_000, 30));
    let (id, clock) = (scene.group().id(), scene.clock);
    let mut tasks = Vec::new();
    for n in 0..50 {
        let live = scene.live.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..40 {
                let tried = Tried::new();
                // A lost one would make this wait for the time-out of the queue.
                let lease = acquire(|| live.load().group(id).cloned(), &get(&tried), &clock).await.expect("room");
                for _ in 0..n % 4 {
                    yield_now().await;
                }
                lease.finish(Outcome::Success, clock.now());
            }
        }));
    }
    for task in tasks {
        task.await.expect("served");
    }
    assert_eq!(scene.group().waiting(), 0);
    assert!(scene.group().seats().all(|seat| seat.peer.in_flight() == 0));
}

#[tokio::test(start_paused = true)]
async fn a_queue_under_load_serves_everybody_and_leaves_nobody() {
    let scene = Scene::new(queued("a max_conns=2, b max_conns=1, c max_conns=1 backup", 1_000, 60));
    let (id, clock) = (scene.group().id(), scene.clock);
    let mut tasks = Vec::new();
    for n in 0u64..200 {
        let live = scene.live.clone();
        tasks.push(tokio::spawn(async move {
            let tried = Tried::new();
            let lease = acquire(|| live.load().group(id).cloned(), &get(&tried), &clock).await.expect("room in time");
            sleep(Duration::from_millis(1 + n % 7)).await;
            // Some leave without a word.
            if n % 3 == 0 { drop(lease) } else { _ = lease.finish(Outcome::Success, clock.now()) }
        }));
    }
    for task in tasks {
        task.await.expect("served");
    }
    assert_eq!(scene.group().waiting(), 0);
    assert!(scene.group().seats().all(|seat| seat.peer.in_flight() == 0));
}
