//! How often is a request delivered?

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::rig::{App, Dice, PATIENCE, Site, eventually, ok};

/// How often each path was asked for.
type Deliveries = Arc<Mutex<HashMap<String, usize>>>;

/// Serves a few requests on each connection and then closes it: at once, a little later, before the answer, or with a
/// reset. Never does it say so.
fn fickle(seed: u64, seen: &Deliveries) -> App {
    let (seen, seeds) = (Arc::clone(seen), Mutex::new(seed));
    App::start(move |mut wire| {
        let mut dice = Dice({
            let mut seed = seeds.lock().unwrap();
            *seed += 1;
            *seed
        });
        loop {
            let Some(request) = wire.request() else { return };
            let path = request.head.split(' ').nth(1).unwrap_or_default().to_owned();
            *seen.lock().unwrap().entry(path).or_default() += 1;
            match dice.roll(6) {
                0 => return,
                1 => return wire.reset(),
                2 => return wire.send(&ok("last")),
                3 => {
                    wire.send(&ok("last"));
                    std::thread::sleep(Duration::from_micros(dice.roll(3_000)));
                    return wire.reset();
                }
                _ => {
                    if wire.try_send(&ok("more")).is_none() {
                        return;
                    }
                }
            }
        }
    })
}

#[test]
fn a_post_is_delivered_once_at_most_whatever_its_backends_do() {
    let seen = Deliveries::default();
    let apps = [fickle(1, &seen), fickle(1_000, &seen), fickle(2_000, &seen)];
    let site = Site { top: "workers = 2", server: "max_fails = 0", ..Site::default() };
    let weir = site.start(&[&apps[0], &apps[1], &apps[2]]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let weir = &weir;
            scope.spawn(move || {
                let mut dice = Dice(thread);
                let mut client = weir.client();
                for turn in 0..150 {
                    client.send(&format!("POST /{thread}/{turn} HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"));
                    let answer = client.answer().expect("200 or 502, but an answer");
                    assert!(matches!(answer.status, 200 | 502), "{answer:?}");
                    std::thread::sleep(Duration::from_micros(dice.roll(4_000)));
                }
            });
        }
    });
    let seen = seen.lock().unwrap();
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert!(seen.len() > 400, "most are delivered: {}", seen.len());
}

#[test]
fn a_get_never_notices_that_its_idle_connection_was_closed() {
    // Closes each connection after its first answer, some time between at once and two milliseconds later.
    let turn = Mutex::new(Dice(7));
    let app = App::start(move |mut wire| {
        let pause = turn.lock().unwrap().roll(2_000);
        if wire.request().is_some() {
            wire.send(&ok("a"));
            std::thread::sleep(Duration::from_micros(pause));
        }
    });
    let weir = Site { top: "workers = 1", ..Site::default() }.start(&[&app]);
    let (mut client, mut dice) = (weir.client(), Dice(3));
    for turn in 0..400 {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        let answer = client.answer().expect("the client's own connection is kept");
        assert_eq!((answer.status, answer.body.as_str()), (200, "a"), "turn {turn}");
        std::thread::sleep(Duration::from_micros(dice.roll(2_000)));
    }
    assert!(!weir.says("unavail"));
}

#[test]
fn a_post_that_waits_is_not_given_up_for_what_a_probe_says() {
    let sick = Arc::new(AtomicBool::new(false));
    let (frozen, done) = (Arc::clone(&sick), Arc::new(AtomicBool::new(false)));
    let gate = Arc::clone(&done);
    let app = App::start(move |mut wire| {
        while let Some(request) = wire.request() {
            if request.head.starts_with("POST") {
                frozen.store(true, SeqCst);
                eventually("the probes have failed", || gate.load(SeqCst));
            } else if frozen.load(SeqCst) {
                // Closes without a word: unreachable, as far as a probe can see.
                return;
            }
            if wire.try_send(&ok("done")).is_none() {
                return;
            }
        }
    });
    let other = App::saying("other");
    let site = Site {
        upstream: "[upstream.web.health_check]\nuri = \"/health\"\ninterval = \"1s\"\ntimeout = \"500ms\"\nfails = 1",
        ..Site::default()
    };
    let weir = site.start(&[&app, &other]);
    let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx";
    eventually("both are up", || weir.get("/").body == "other");
    // Of two in a row each gets one.
    let mut clients = [weir.client(), weir.client()];
    clients.iter_mut().for_each(|client| client.send(post));
    eventually("the probes have failed", || weir.says("unhealthy"));
    std::thread::sleep(Duration::from_millis(200));
    done.store(true, SeqCst);
    let mut bodies = clients.each_mut().map(|client| client.answer().unwrap().body);
    bodies.sort();
    assert!(bodies.contains(&"done".to_owned()) && !bodies[1].contains("502"), "{bodies:?}");
    assert!(sick.load(SeqCst));
}

#[test]
fn an_idle_connection_that_its_application_has_closed_is_closed_here_too() {
    let (ended, seen) = std::sync::mpsc::channel();
    let app = App::start(move |mut wire| {
        wire.request();
        wire.send(&ok("a"));
        wire.half_close();
        let _ = ended.send(wire.rest());
    });
    let weir = Site::default().start(&[&app]);
    assert_eq!(weir.get("/").body, "a");
    // keepalive_timeout is 60s.
    let rest = seen.recv_timeout(PATIENCE).expect("it ends long before");
    assert_eq!(rest.unwrap(), b"");
}
