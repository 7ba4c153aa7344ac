//! What happens to whom when weir is told to end?

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;

use crate::rig::{App, Site, Wire, eventually, ok};

#[test]
fn whoever_had_connected_before_the_end_began_is_served() {
    let app = App::saying("served");
    let mut weir = Site { top: "workers = 2", ..Site::default() }.start(&[&app]);
    // Stopped, so that all of them wait in the kernel's queue when the signal to end arrives.
    weir.signal(Signal::STOP);
    let mut clients: Vec<_> = (0..300).map(|_| weir.client()).collect();
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
    weir.signal(Signal::TERM);
    weir.signal(Signal::CONT);
    let served =
        clients.iter_mut().filter_map(|client| client.answer()).filter(|answer| answer.body == "served").count();
    assert_eq!(served, 300);
    assert_eq!(weir.exit_code(), Some(0));
}

#[test]
fn a_long_answer_is_finished_and_idle_connections_are_not_waited_for() {
    let (go, gate) = channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let app = App::start(move |mut wire| {
        while let Some(request) = wire.request() {
            if request.head.contains("/long") {
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
                gate.lock().unwrap().recv().unwrap();
                wire.send("half");
            } else {
                wire.send(&ok("short"));
            }
        }
    });
    let mut weir = Site::default().start(&[&app]);
    let (mut idle, mut long) = (weir.client(), weir.client());
    idle.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(idle.answer().unwrap().body, "short");
    long.send("GET /long HTTP/1.1\r\nHost: h\r\n\r\n");
    long.head().unwrap();
    weir.signal(Signal::TERM);
    assert_eq!(idle.rest().unwrap(), b"", "closed without a word, after 5 s in which it might have asked once more");
    go.send(()).unwrap();
    assert_eq!(long.bytes(8).unwrap(), b"halfhalf");
    assert_eq!(weir.exit_code(), Some(0));
}

#[test]
fn half_a_head_does_not_hold_the_end_up() {
    let app = App::saying("a");
    let mut weir = Site::default().start(&[&app]);
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HT");
    assert_eq!(client.answer().unwrap().body, "a");
    let begun = std::time::Instant::now();
    weir.signal(Signal::TERM);
    assert_eq!(weir.exit_code(), Some(0));
    assert!(begun.elapsed().as_secs() < 15, "shutdown_timeout is 30s: {:?}", begun.elapsed());
    let _ = client.stream.write(b"T");
}

#[test]
fn the_connections_of_a_removed_listener_end_after_their_requests() {
    let (go, gate) = channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let app = App::start(move |mut wire| {
        while let Some(request) = wire.request() {
            if request.head.contains("/long") {
                gate.lock().unwrap().recv().unwrap();
            }
            wire.send(&ok("whole"));
        }
    });
    let weir = Site::default().start(&[&app]);
    let there = "listen = \"127.0.0.1:0\"";
    weir.edit(there, "listen = [\"127.0.0.1:0\", \"127.0.0.2:0\"]");
    eventually("it listens there too", || weir.addresses().len() == 2);
    let other = || Wire::new(TcpStream::connect(weir.addresses()[1]).unwrap());
    let (mut idle, mut busy) = (other(), other());
    idle.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(idle.answer().unwrap().body, "whole");
    busy.send("GET /long HTTP/1.1\r\nHost: h\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    weir.edit("listen = [\"127.0.0.1:0\", \"127.0.0.2:0\"]", there);
    eventually("it is gone", || weir.says("no longer listening"));
    assert_eq!(idle.rest().unwrap(), b"", "closed without a word");
    go.send(()).unwrap();
    let answer = busy.answer().unwrap();
    assert_eq!(answer.body, "whole");
    assert!(answer.head.contains("Connection: close"), "{}", answer.head);
    assert_eq!(weir.get("/").body, "whole");
}
