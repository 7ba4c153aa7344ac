//! What happens to whom when weir is told to end?

use std::io::Write;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use rustix::process::Signal;

use crate::rig::{App, Site, ok};

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
    assert_eq!(idle.rest().unwrap(), b"", "closed without a word");
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
