//! Does every use of a peer end, however its client does?

use std::time::Duration;

use crate::rig::{App, Dice, Site, Weir, eventually, ok};

/// Takes its time in all that it does.
fn slow() -> App {
    App::start(|mut wire| {
        let mut dice = Dice(wire.stream.peer_addr().map_or(1, |address| address.port().into()));
        while let Some(request) = wire.request() {
            let mut pause = |most| std::thread::sleep(Duration::from_millis(dice.roll(most)));
            if request.head.contains("/hold") {
                std::thread::sleep(Duration::from_millis(700));
                if wire.try_send(&ok("held")).is_none() {
                    return;
                }
                continue;
            }
            pause(6);
            let half = "x".repeat(40_000);
            if wire.try_send(&format!("HTTP/1.1 200 OK\r\nContent-Length: 80000\r\n\r\n{half}")).is_none() {
                return;
            }
            pause(6);
            if wire.try_send(&half).is_none() {
                return;
            }
        }
    })
}

/// A client that breaks off at any point, in any way.
fn break_off(weir: &Weir, dice: &mut Dice) {
    let mut client = weir.client();
    // What was not asked for in full does not come.
    client.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let upload = dice.roll(3);
    let (whole, sent) = match upload {
        0 => ("GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 0),
        1 => ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789".to_owned(), 0),
        _ => ("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n".to_owned(), dice.roll(200_001)),
    };
    let cut = if dice.roll(3) == 0 { dice.roll(whole.len() as u64) as usize } else { whole.len() };
    client.send(&whole[..cut]);
    if cut == whole.len() && sent > 0 {
        let _ = client.try_send(&"y".repeat(sent as usize));
    }
    match dice.roll(4) {
        0 => {}
        1 => {
            let _ = client.head();
        }
        2 => {
            let _ = client.bytes(dice.roll(80_000) as usize + 1);
        }
        _ => std::thread::sleep(Duration::from_millis(dice.roll(8))),
    }
    match dice.roll(3) {
        0 => client.reset(),
        1 => {
            client.half_close();
            std::thread::sleep(Duration::from_millis(2));
        }
        _ => {}
    }
}

/// Two requests at a time are served, by one peer each: so both have room, which is for one.
fn both_peers_are_free(weir: &Weir) -> bool {
    let mut clients = [weir.client(), weir.client()];
    clients.iter_mut().for_each(|client| client.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n"));
    clients.iter_mut().all(|client| client.answer().is_some_and(|answer| answer.status == 200))
}

fn in_flight_returns_to_zero(site: &Site) {
    let apps = [slow(), slow()];
    let weir = site.start(&[&apps[0], &apps[1]]);
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let weir = &weir;
            scope.spawn(move || {
                let mut dice = Dice(thread * 1_000 + 17);
                (0..60).for_each(|_| break_off(weir, &mut dice));
            });
        }
    });
    eventually("both peers are free again", || both_peers_are_free(&weir));
}

#[test]
fn in_flight_returns_to_zero_whenever_clients_break_off() {
    in_flight_returns_to_zero(&Site { top: "workers = 2", server: "max_conns = 1, max_fails = 0", ..Site::default() });
}

#[test]
fn in_flight_returns_to_zero_when_clients_leave_the_queue_too() {
    in_flight_returns_to_zero(&Site {
        top: "workers = 2",
        server: "max_conns = 1, max_fails = 0",
        upstream: "queue = { size = 4, timeout = \"2s\" }",
        ..Site::default()
    });
}

#[test]
fn an_answer_that_was_put_aside_does_not_keep_its_peer() {
    let bad = App::start(|mut wire| {
        while wire.request().is_some() {
            if wire.try_send("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy").is_none() {
                return;
            }
        }
    });
    let site = Site {
        server: "max_conns = 1, max_fails = 0",
        location: "proxy_next_upstream = \"error http_503\"",
        ..Site::default()
    };
    let weir = site.start(&[&bad, &bad]);
    for _ in 0..20 {
        let answer = weir.get("/");
        assert_eq!((answer.status, answer.body.as_str()), (503, "busy"), "the last true answer");
    }
}
