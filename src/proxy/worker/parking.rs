//! Where idle connections wait, as little more than their sockets, until they have something to say, or are called.
//!
//! A connection that takes turns has a task, a bell, a timer, a seat and a place in the runtime, which together weigh
//! several times what it has to remember. So one that has been idle for a while gives all of that up.

use std::cell::{OnceCell, RefCell};
use std::future::{pending, poll_fn};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;

use super::Worker;
use crate::clock::Timestamp;
use crate::endpoint::Endpoint;
use crate::net::Watch;
use crate::proxy::http::parked::Parked;

/// How long a connection is idle before it is parked. To be parked and go on costs about half a request, which whoever asks every second
/// is spared.
pub(super) const IDLE: Duration = Duration::from_secs(3);
/// How long before the end of its time it is called: the end itself is its own business, and the worker looks once a second.
const AHEAD: Duration = Duration::from_secs(3);
/// How long it would have to be able to stay.
const WORTHWHILE: Duration = Duration::from_secs(7);
/// How many are called before others have their turns.
const AT_A_TIME: usize = 256;

/// The parked connections of a worker.
#[derive(Default)]
pub struct Parking {
    spaces: RefCell<Slab<Box<Parked>>>,
    /// When each is called at the latest, beside the spaces: all are looked through once a second.
    until: RefCell<Vec<Timestamp>>,
    /// Whom to let go on, whether they have something to say or not.
    called: RefCell<Vec<usize>>,
    /// Somebody was called, or parked for the first time.
    news: Notify,
    /// Made for the first of them.
    watch: OnceCell<Watch>,
}

/// When a connection that is parked now would be called, if its time ends at `end`; `None`: it is not worth while.
pub fn stays_until(now: Timestamp, end: Timestamp) -> Option<Timestamp> {
    let until = end - AHEAD;
    (until >= now + WORTHWHILE).then_some(until)
}

impl Parking {
    /// Whether nobody is parked.
    pub fn is_empty(&self) -> bool {
        self.spaces.borrow().is_empty()
    }

    /// Keeps a connection until it has something to say, and no longer than `until`.
    ///
    /// # Errors
    /// There is no room for it: it is to go on at once.
    pub fn park(&self, parked: Box<Parked>, until: Timestamp) -> Result<(), (io::Error, Box<Parked>)> {
        let mut spaces = self.spaces.borrow_mut();
        let space = spaces.vacant_entry();
        let key = space.key();
        if let Err(error) = self.watch().and_then(|watch| watch.add(parked.socket(), key)) {
            return Err((error, parked));
        }
        space.insert(parked);
        let mut calls = self.until.borrow_mut();
        if calls.len() <= key {
            calls.resize(key + 1, Timestamp::NEVER);
        }
        calls[key] = until;
        Ok(())
    }

    fn watch(&self) -> io::Result<&Watch> {
        if self.watch.get().is_none() {
            let _ = self.watch.set(Watch::new()?);
            self.news.notify_one();
        }
        self.watch.get().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Calls those whose time comes.
    pub fn call_due(&self, now: Timestamp) {
        for (key, until) in self.until.borrow_mut().iter_mut().enumerate() {
            if *until <= now {
                *until = Timestamp::NEVER;
                self.called.borrow_mut().push(key);
                self.news.notify_one();
            }
        }
    }

    /// Calls those that came from certain listeners.
    pub fn call(&self, from: impl Fn(&Endpoint) -> bool) {
        let spaces = self.spaces.borrow();
        let called = spaces.iter().filter(|(_, parked)| from(parked.listener()));
        self.called.borrow_mut().extend(called.map(|(key, _)| key));
        self.news.notify_one();
    }

    /// Lets them go on, as they speak and as they are called. Never ends.
    pub async fn attend(&self, worker: &Rc<Worker>) {
        loop {
            let go_on = tokio::select! {
                () = self.news.notified() => self.take_called(),
                heard = self.heard() => heard,
            };
            go_on.into_iter().for_each(|key| self.resume(worker, key));
            tokio::task::yield_now().await;
        }
    }

    fn take_called(&self) -> Vec<usize> {
        let mut called = self.called.borrow_mut();
        let left = called.len().saturating_sub(AT_A_TIME);
        if left > 0 {
            self.news.notify_one();
        }
        called.split_off(left)
    }

    async fn heard(&self) -> Vec<usize> {
        let Some(watch) = self.watch.get() else { return pending().await };
        let mut heard = Vec::new();
        if poll_fn(|cx| watch.poll(cx, &mut heard)).await.is_err() {
            // The runtime ends.
            pending::<()>().await;
        }
        heard
    }

    /// Whoever is not there any more was called and has spoken as well.
    fn resume(&self, worker: &Rc<Worker>, key: usize) {
        let Some(parked) = self.spaces.borrow_mut().try_remove(key) else { return };
        self.until.borrow_mut()[key] = Timestamp::NEVER;
        if let Some(watch) = self.watch.get() {
            watch.remove(parked.socket());
        }
        parked.resume(worker);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;
    use tokio::task::LocalSet;
    use tokio::time::{sleep, timeout};

    use super::super::fixture;
    use super::*;
    use crate::clock::Clock;
    use crate::endpoint::ClientAddr;
    use crate::mailbox::Command;
    use crate::net::{Accepted, Stream};
    use crate::topology::{Change, Live};

    const WEB: &str = "[[server]]\nlisten = \"127.0.0.1:0\"\nkeepalive_timeout = \"30s\"\nclient_header_timeout = \"20s\"\n\
                       [[server.location]]\npath = \"/\"\nreturn = \"web\"\n";
    const ELSEWHERE: &str = "[[server]]\nlisten = \"127.0.0.2:0\"\n[[server.location]]\npath = \"/\"\nreturn = 404\n";
    const ASKED: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

    #[test]
    fn who_could_not_stay_for_long_is_not_parked() {
        let table =
            [(Timestamp::secs(109), None), (Timestamp::secs(110), Some(107)), (Timestamp::secs(175), Some(172))];
        for (end, until) in table {
            assert_eq!(stays_until(Timestamp::secs(100), end), until.map(Timestamp::secs), "{end}");
        }
    }

    /// A worker at work, and its clients.
    struct World {
        worker: Rc<Worker>,
        live: Live,
        commands: mpsc::UnboundedSender<Command>,
        address: Endpoint,
        began: Timestamp,
    }

    impl World {
        async fn with<F: Future<Output = ()>>(story: impl FnOnce(World) -> F) {
            let (worker, live) = fixture::worker(fixture::topology(WEB));
            let (commands, obeyed) = mpsc::unbounded_channel();
            let address = "127.0.0.1:0".parse::<SocketAddr>().unwrap().into();
            let world = World { worker: Rc::clone(&worker), live, commands, address, began: Clock::process().now() };
            let local = LocalSet::new();
            local.spawn_local(worker.run(obeyed));
            local.run_until(story(world)).await;
        }

        fn client(&self) -> Stream {
            let (client, stream) = Stream::pair().unwrap();
            let accepted = Accepted { stream, remote: ClientAddr::Unix, local: None };
            self.worker.serve(accepted, self.worker.service(&self.address).unwrap());
            client
        }

        fn parked(&self) -> usize {
            self.worker.parking.spaces.borrow().len()
        }

        /// Seconds since it began.
        fn seconds(&self) -> u64 {
            Clock::process().now().since(self.began).as_secs()
        }

        /// Waits until so many are parked.
        async fn are_parked(&self, count: usize) {
            let parked = async {
                while self.parked() != count {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(Duration::from_secs(10), parked).await.expect("they are idle");
        }
    }

    async fn asks(client: &mut Stream) -> String {
        client.write_all(ASKED).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"web") {
            assert!(client.read_buf(&mut answer).await.unwrap() > 0, "it ended: {answer:?}");
        }
        String::from_utf8(answer).unwrap()
    }

    async fn is_closed(client: &mut Stream) -> bool {
        client.read(&mut [0; 1]).await.unwrap() == 0
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_idle_takes_no_turns_and_is_served_again() {
        World::with(|world| async move {
            let (mut used, mut fresh) = (world.client(), world.client());
            asks(&mut used).await;
            world.are_parked(2).await;
            assert!(world.worker.seats.is_empty(), "a seat each is for those that take turns");
            for parked in [1, 0] {
                asks(if parked == 1 { &mut used } else { &mut fresh }).await;
                assert_eq!(world.parked(), parked);
            }
            world.are_parked(2).await;
            drop(used);
            world.are_parked(1).await;
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_now_and_then_is_not_parked() {
        World::with(|world| async move {
            let mut client = world.client();
            for _ in 0..20 {
                asks(&mut client).await;
                sleep(IDLE / 2).await;
                assert_eq!(world.parked(), 0);
            }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn their_time_ends_as_if_they_were_not() {
        World::with(|world| async move {
            let (mut used, mut fresh) = (world.client(), world.client());
            asks(&mut used).await;
            world.are_parked(2).await;
            assert!(is_closed(&mut fresh).await);
            assert_eq!(world.seconds(), 20);
            assert!(is_closed(&mut used).await);
            assert_eq!((world.seconds(), world.parked()), (30, 0));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_begins_anew_with_each_request() {
        World::with(|world| async move {
            let mut client = world.client();
            for end in [25, 50] {
                asks(&mut client).await;
                sleep(Duration::from_secs(end - world.seconds())).await;
            }
            asks(&mut client).await;
            assert!(is_closed(&mut client).await);
            assert_eq!(world.seconds(), 80);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_listener_goes_they_may_ask_once_more() {
        World::with(|world| async move {
            let (mut asking, mut silent) = (world.client(), world.client());
            asks(&mut asking).await;
            asks(&mut silent).await;
            world.are_parked(2).await;
            let last = world.worker.service(&world.address);
            let elsewhere = Arc::clone(fixture::topology(ELSEWHERE).config());
            let (after, applied) = world.live.load().apply(Change::Config(elsewhere), Timestamp::ZERO);
            world.live.publish(after, &applied, Timestamp::ZERO);
            let gone = world.seconds();
            world.commands.send(Command::Unlisten(world.address.clone(), last, mpsc::channel(1).0)).unwrap();
            assert!(asks(&mut asking).await.contains("Connection: close"));
            assert!(is_closed(&mut asking).await && is_closed(&mut silent).await);
            assert!(world.seconds() <= gone + 6, "{}", world.seconds() - gone);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_closes_them_at_once() {
        World::with(|world| async move {
            let mut clients: Vec<Stream> = (0..2 * AT_A_TIME + 1).map(|_| world.client()).collect();
            for client in &mut clients {
                asks(client).await;
            }
            world.are_parked(clients.len()).await;
            let now = world.seconds();
            world.commands.send(Command::Drain).unwrap();
            for client in &mut clients {
                assert!(is_closed(client).await);
            }
            assert!(world.parked() == 0 && world.seconds() <= now + 1);
        })
        .await;
    }
}
