//! Where does the worker accept connections, until when, and for whom?

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::Worker;
use crate::clock::Timestamp;
use crate::endpoint::Endpoint;
use crate::net::{Accepted, Listener};
use crate::proxy::http::connection;
use crate::proxy::stream;
use crate::topology::Service;

/// How long nothing more is said of it when the machine has no room for a connection.
const ACCEPT_SILENCE: Duration = Duration::from_secs(10);
/// How long no connection is accepted then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Errors of one connection that went away before it was accepted.
fn is_momentary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// A socket that is listened on.
pub(super) struct Listening {
    /// As configured: what tells listeners apart.
    address: Endpoint,
    /// Its task accepts as long as this is here.
    socket: Rc<RefCell<Option<Listener>>>,
    /// What was accepted when a reload had removed the listener already, and nobody had said so yet: that command tells
    /// who serves them.
    late: Rc<RefCell<Vec<Accepted>>>,
    task: tokio::task::AbortHandle,
}

impl Worker {
    pub(super) fn listen(self: &Rc<Self>, listener: Listener, address: Endpoint) {
        let socket = Rc::new(RefCell::new(Some(listener)));
        let late = Rc::default();
        let accepting = Rc::clone(self).accept(Rc::clone(&socket), Rc::clone(&late), address.clone());
        let task = tokio::task::spawn_local(accepting).abort_handle();
        self.listening.borrow_mut().push(Listening { address, socket, late, task });
    }

    /// Closes listening sockets, after taking what had already connected: closing a socket resets its queue. Idle
    /// connections are told to look whether they should end. `last`: what the listener was before a reload removed it.
    pub(super) fn unlisten(self: &Rc<Self>, which: impl Fn(&Endpoint) -> bool, last: Option<&Service>) {
        self.listening.borrow_mut().retain(|listening| {
            if !which(&listening.address) {
                return true;
            }
            listening.task.abort();
            let socket = listening.socket.take();
            let Some(service) = self.service(&listening.address).or_else(|| last.cloned()) else { return false };
            listening.late.take().into_iter().for_each(|accepted| self.serve(accepted, service.clone()));
            if let Some(socket) = socket {
                while let Some(accepted) = socket.accept_now() {
                    match accepted {
                        Ok(accepted) => self.serve(accepted, service.clone()),
                        Err(error) => tracing::error!("cannot accept on {}: {error}", listening.address),
                    }
                }
            }
            false
        });
        self.parking.call(which);
        self.seats.wake_all();
    }

    async fn accept(
        self: Rc<Self>,
        socket: Rc<RefCell<Option<Listener>>>,
        late: Rc<RefCell<Vec<Accepted>>>,
        address: Endpoint,
    ) {
        let mut said: Option<Timestamp> = None;
        loop {
            let accepted = poll_fn(|cx| match &*socket.borrow() {
                Some(listener) => listener.poll_accept(cx).map(Some),
                None => Poll::Ready(None),
            });
            match accepted.await {
                None => return,
                Some(Ok(accepted)) => match self.service(&address) {
                    Some(service) => self.serve(accepted, service),
                    None => late.borrow_mut().push(accepted),
                },
                Some(Err(error)) if is_momentary(&error) => {}
                Some(Err(error)) => {
                    // Out of descriptors or memory: the backlog keeps them while connections end. One line tells it.
                    let now = self.clock.now();
                    if said.is_none_or(|said| now.since(said) >= ACCEPT_SILENCE) {
                        tracing::error!("cannot accept on {address}: {error}; connections wait until others end");
                        said = Some(now);
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    pub(super) fn serve(self: &Rc<Self>, accepted: Accepted, service: Service) {
        // Seated at once, not when its task first runs: a worker that drains must not take itself for empty meanwhile.
        let seat = self.seat();
        match service {
            Service::Http(listener) => self.crew.spawn(connection::serve(seat, accepted, listener)),
            Service::Stream(route) => self.crew.spawn(stream::serve(seat, accepted, route)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::Command;
    use crate::net::listener;
    use crate::proxy::worker::fixture;
    use crate::topology::{Change, Topology};
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::Arc;
    use tokio::sync::mpsc;

    const ADDRESS: &str = "127.0.0.1:0";
    const ASKED: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    const WEB: &str = "[[server]]\nlisten = \"127.0.0.1:0\"\n[[server.location]]\npath = \"/\"\nreturn = \"web\"\n";
    const NOTHING: &str = "[[server]]\nlisten = \"127.0.0.2:0\"\n[[server.location]]\npath = \"/\"\nreturn = 404\n";

    /// The snapshot `before` a reload removed the listener, and the one after it.
    fn snapshots(before: &str) -> (Topology, Topology) {
        let before = fixture::topology(before);
        let groups = before.config().upstreams.clone();
        let mut config = (**fixture::topology(NOTHING).config()).clone();
        config.upstreams = groups;
        let (after, _) = before.apply(Change::Config(Arc::new(config)), Timestamp::ZERO);
        (before, after)
    }

    /// What a client hears that had connected when a reload removed the listener. `before`: what the listener was;
    /// `accepted`: whether the worker had accepted it by then.
    fn heard(before: &str, accepted: bool) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address: Endpoint = ADDRESS.parse::<std::net::SocketAddr>().unwrap().into();
        let (before, after) = snapshots(before);
        let last = before.service(&address);
        let (worker, _live) = fixture::worker(after);
        runtime.block_on(tokio::task::LocalSet::new().run_until(async move {
            let mut bound = listener::bind(&address, 0, 1).unwrap();
            let Endpoint::Ip(real) = bound.address else { panic!("a port") };
            worker.obey(Command::Listen(bound.sockets.remove(0).1, address.clone()));
            let mut client = TcpStream::connect(real).unwrap();
            client.write_all(ASKED).unwrap();
            let late = Rc::clone(&worker.listening.borrow()[0].late);
            while accepted && late.borrow().is_empty() {
                tokio::task::yield_now().await;
            }
            worker.obey(Command::Unlisten(address, last, mpsc::channel(1).0));
            let reading = tokio::task::spawn_blocking(move || {
                let mut text = String::new();
                client.read_to_string(&mut text).map(|_| text)
            });
            reading.await.unwrap().unwrap_or_default()
        }))
    }

    #[test]
    fn who_has_connected_just_when_a_reload_removes_the_listener_is_served_as_it_was() {
        for accepted in [false, true] {
            let text = heard(WEB, accepted);
            assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("web"), "{accepted}: {text}");
            assert!(text.contains("Connection: close"), "{accepted}: {text}");
        }
    }

    #[test]
    fn of_a_stream_too() {
        let peer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let text = format!(
            "[upstream.db]\nservers = [\"{}\"]\n[[stream]]\nlisten = \"127.0.0.1:0\"\nproxy_pass = \"db\"\n",
            peer.local_addr().unwrap()
        );
        let serving = std::thread::spawn(move || {
            for _ in 0..2 {
                let mut stream = peer.accept().unwrap().0;
                // Closing a socket with something unread in it would be a reset.
                stream.read_exact(&mut [0; ASKED.len()]).unwrap();
                stream.write_all(b"bytes").unwrap();
            }
        });
        for accepted in [false, true] {
            assert_eq!(heard(&text, accepted), "bytes", "{accepted}");
        }
        serving.join().unwrap();
    }
}
