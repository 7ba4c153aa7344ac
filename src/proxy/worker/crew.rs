//! Whose turn is it? The connections of a worker are one task of its runtime, and take turns within it.
//!
//! So a turn costs little. And those whose turns come together go in step: first all of them read and think, then all of them
//! send ([`Crew::steps_aside`]). So the same code, the kernel's or weir's, runs several times in a row and is in the core's
//! caches, which hold one of the two but not both of them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;
use tokio::task::{self, coop};

use super::bells::{Bell, Bells};
use crate::clock::{Clock, Timestamp};
use crate::net::budget;

/// How many read before the first of them goes on. Enough for the caches, and few enough that nobody waits long.
const IN_STEP: usize = 32;

/// The connections of one worker, as tasks.
pub struct Crew {
    /// Borrowed as long as any of them has its turn.
    mates: RefCell<Slab<Mate>>,
    /// Those that wait for a place among them.
    newcomers: RefCell<Vec<Life>>,
    bells: Bells,
    /// The runtime's task that all of them are was begun.
    begun: Cell<bool>,
    /// Who waits for the others of its step.
    waiting: RefCell<Vec<usize>>,
    /// Whose turn it is: its place, and what its waker points to.
    turn: Cell<Option<(usize, *const ())>>,
    /// There are others in the step.
    in_company: Cell<bool>,
    clock: Clock,
    now: Cell<Timestamp>,
}

/// What a connection does until it is over.
type Life = Pin<Box<dyn Future<Output = ()>>>;

/// One connection.
struct Mate {
    life: Life,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Ends all connections with the runtime that polls them: they know their worker, and it knows them.
struct AtWork(Rc<Crew>);

impl Drop for AtWork {
    fn drop(&mut self) {
        let ended = (self.0.mates.take(), self.0.newcomers.take());
        drop(ended);
    }
}

impl Default for Crew {
    /// Nobody yet.
    fn default() -> Crew {
        let clock = Clock::process();
        Crew {
            mates: RefCell::default(),
            newcomers: RefCell::default(),
            bells: Bells::default(),
            begun: Cell::new(false),
            waiting: RefCell::default(),
            turn: Cell::new(None),
            in_company: Cell::new(false),
            clock,
            now: Cell::new(clock.now()),
        }
    }
}

impl Crew {
    /// Serves a connection until it is over. Whatever panics in it ends it alone.
    pub fn spawn(self: &Rc<Self>, life: impl Future<Output = ()> + 'static) {
        self.newcomers.borrow_mut().push(Box::pin(life));
        if self.begun.replace(true) {
            return self.bells.wake();
        }
        let at_work = AtWork(Rc::clone(self));
        // Each connection has a budget of its own.
        task::spawn_local(coop::unconstrained(async move { at_work.0.take_turns().await }));
    }

    /// When the present step began, or, of whoever is no task of the crew, when it last said that a turn did.
    pub fn now(&self) -> Timestamp {
        self.now.get()
    }

    /// A turn begins.
    pub fn look_at_clock(&self) {
        self.now.set(self.clock.now());
    }

    /// For whoever is polled, and will know how to go on: if it is true, `Pending` is to be returned, and the next poll comes
    /// after those of the others. False for whoever is no task of the crew.
    #[inline]
    pub fn steps_aside(&self, cx: &Context<'_>) -> bool {
        match self.turn.get() {
            Some((place, waker)) if self.in_company.get() && ptr::eq(waker, cx.waker().data()) => {
                self.waiting.borrow_mut().push(place);
                true
            }
            _ => false,
        }
    }

    /// Never ends.
    async fn take_turns(&self) {
        self.bells.are_here();
        let (mut due, mut further) = (Vec::new(), Vec::new());
        poll_fn(|cx| {
            let mut mates = self.mates.borrow_mut();
            self.bells.collect(&mut due, |place| Some(&*mates.get(place)?.bell));
            self.admit(&mut mates, &mut due);
            for step in due.chunks(IN_STEP) {
                self.step(&mut mates, step, &mut further);
            }
            drop(mates);
            due.clear();
            if !self.newcomers.borrow().is_empty() || !self.bells.sleep(cx.waker()) {
                // Not before the runtime has looked at the sockets: it wakes who yields after that.
                let _ = pin!(task::yield_now()).poll(cx);
            }
            Poll::<()>::Pending
        })
        .await;
    }

    /// Newcomers get a place, and a turn.
    fn admit(&self, mates: &mut Slab<Mate>, due: &mut Vec<usize>) {
        for life in self.newcomers.borrow_mut().drain(..) {
            let entry = mates.vacant_entry();
            let place = entry.key();
            let bell = self.bells.rung(place);
            let waker = Waker::from(Arc::clone(&bell));
            entry.insert(Mate { life, bell, waker });
            due.push(place);
        }
    }

    /// The turns of some: what they do before they send, and then the rest. `further`: memory for a list.
    fn step(&self, mates: &mut Slab<Mate>, places: &[usize], further: &mut Vec<usize>) {
        self.look_at_clock();
        self.in_company.set(places.len() > 1);
        self.turns(mates, places, true);
        std::mem::swap(further, &mut *self.waiting.borrow_mut());
        if !further.is_empty() {
            self.turns(mates, further, false);
            further.clear();
        }
        self.turn.set(None);
        // Who sends to two in one turn goes on in the next step.
        for place in self.waiting.borrow_mut().drain(..) {
            if let Some(mate) = mates.get(place) {
                mate.waker.wake_by_ref();
            }
        }
    }

    /// One part of their turns; `begins`: the first.
    fn turns(&self, mates: &mut Slab<Mate>, places: &[usize], begins: bool) {
        let mut left = places.iter();
        let mut go_on = |mates: &mut _| left.by_ref().for_each(|&place| self.turn(mates, place, begins));
        while catch_unwind(AssertUnwindSafe(|| go_on(mates))).is_err() {
            // One panicked, which the panic hook has told.
            if let Some((place, _)) = self.turn.get() {
                end(mates, place);
            }
        }
    }

    fn turn(&self, mates: &mut Slab<Mate>, place: usize, begins: bool) {
        let Some(mate) = mates.get_mut(place) else { return };
        if begins {
            mate.bell.answered();
        }
        self.turn.set(Some((place, mate.waker.data())));
        let mut cx = Context::from_waker(&mate.waker);
        if budget::within(|| mate.life.as_mut().poll(&mut cx)).is_ready() {
            end(mates, place);
        }
    }
}

/// A connection is over. What is dropped with it may panic as well.
fn end(mates: &mut Slab<Mate>, place: usize) {
    let over = mates.try_remove(place);
    let _ = catch_unwind(AssertUnwindSafe(|| drop(over)));
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::task::LocalSet;

    use super::*;

    /// What happened, in order.
    type Story = Rc<RefCell<Vec<String>>>;

    fn tell(story: &Story, what: impl Into<String>) {
        story.borrow_mut().push(what.into());
    }

    async fn reads_and_sends(crew: Rc<Crew>, story: Story, name: &'static str) {
        tell(&story, format!("{name} reads"));
        let mut waited = false;
        poll_fn(|cx| {
            if !std::mem::replace(&mut waited, true) && crew.steps_aside(cx) {
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        tell(&story, format!("{name} sends"));
    }

    /// A story that a crew has written, once `end` has come of it.
    async fn written(begin: impl FnOnce(&Rc<Crew>, &Story), end: usize) -> Vec<String> {
        let (crew, story) = (Rc::<Crew>::default(), Story::default());
        let told = Rc::clone(&story);
        let local = LocalSet::new();
        local
            .run_until(async move {
                begin(&crew, &story);
                while story.borrow().len() < end {
                    task::yield_now().await;
                }
            })
            .await;
        told.take()
    }

    #[tokio::test]
    async fn whose_turns_come_together_go_in_step() {
        let story = written(
            |crew, story| {
                for name in ["one", "two", "three"] {
                    crew.spawn(reads_and_sends(Rc::clone(crew), Rc::clone(story), name));
                }
            },
            6,
        );
        assert_eq!(story.await, ["one reads", "two reads", "three reads", "one sends", "two sends", "three sends"]);
    }

    #[tokio::test]
    async fn no_more_go_in_step_than_fit_into_the_caches() {
        let story = written(
            |crew, story| {
                for _ in 0..2 * IN_STEP {
                    crew.spawn(reads_and_sends(Rc::clone(crew), Rc::clone(story), "it"));
                }
            },
            4 * IN_STEP,
        );
        let sends: Vec<bool> = story.await.iter().map(|what| what == "it sends").collect();
        for step in sends.chunks(2 * IN_STEP) {
            assert_eq!(step.iter().filter(|sends| **sends).count(), IN_STEP);
            assert!(step.is_sorted());
        }
    }

    #[tokio::test]
    async fn a_later_step_has_a_later_time() {
        const PAUSE: Duration = Duration::from_millis(2);
        let story = written(
            |crew, story| {
                let (its_crew, its_story) = (Rc::clone(crew), Rc::clone(story));
                crew.spawn(async move {
                    let began = its_crew.now();
                    tokio::time::sleep(PAUSE).await;
                    tell(&its_story, format!("{}", its_crew.now().since(began) >= PAUSE));
                });
            },
            1,
        );
        assert_eq!(story.await, ["true"]);
    }

    #[tokio::test]
    async fn who_is_no_task_of_the_crew_does_not_wait() {
        let story = written(
            |crew, story| {
                let other = reads_and_sends(Rc::clone(crew), Rc::clone(story), "another task");
                task::spawn_local(other);
            },
            2,
        );
        assert_eq!(story.await, ["another task reads", "another task sends"]);
    }

    #[tokio::test]
    async fn who_waits_twice_in_one_turn_goes_on_in_the_next() {
        let story = written(
            |crew, story| {
                let (its_crew, its_story) = (Rc::clone(crew), Rc::clone(story));
                crew.spawn(async move {
                    reads_and_sends(Rc::clone(&its_crew), Rc::clone(&its_story), "first").await;
                    reads_and_sends(its_crew, its_story, "second").await;
                });
            },
            4,
        );
        assert_eq!(story.await, ["first reads", "first sends", "second reads", "second sends"]);
    }

    #[tokio::test]
    async fn a_panic_ends_one_connection() {
        let story = written(
            |crew, story| {
                crew.spawn(async { panic!("on purpose") });
                crew.spawn(reads_and_sends(Rc::clone(crew), Rc::clone(story), "the next"));
            },
            2,
        );
        assert_eq!(story.await, ["the next reads", "the next sends"]);
    }

    #[tokio::test]
    async fn another_thread_wakes_one() {
        let (say, heard) = oneshot::channel();
        let story = written(
            |crew, story| {
                let story = Rc::clone(story);
                crew.spawn(async move { tell(&story, heard.await.unwrap_or("nothing")) });
                std::thread::spawn(move || say.send("a word"));
            },
            1,
        );
        assert_eq!(story.await, ["a word"]);
    }

    /// A turn that begins while another thread wakes must see what it was woken for, or be followed by one that does.
    #[tokio::test]
    async fn no_wake_of_another_thread_is_lost() {
        const TIMES: usize = 20_000;
        let (crew, said, heard) = (Rc::<Crew>::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let waker = Arc::new(Mutex::new(None::<Waker>));
        let (its_said, its_heard, its_waker) = (Arc::clone(&said), Arc::clone(&heard), Arc::clone(&waker));
        let done = Rc::new(Cell::new(false));
        let tell = Rc::clone(&done);
        let hears = poll_fn(move |cx| {
            its_waker.lock().unwrap().get_or_insert_with(|| cx.waker().clone());
            its_heard.store(its_said.load(Ordering::Acquire), Ordering::Release);
            tell.set(its_heard.load(Ordering::Acquire) == TIMES);
            if tell.get() { Poll::Ready(()) } else { Poll::Pending }
        });
        let speaker = std::thread::spawn(move || {
            let waker = loop {
                if let Some(waker) = waker.lock().unwrap().clone() {
                    break waker;
                }
                std::thread::yield_now();
            };
            for time in 1..=TIMES {
                // The first has a turn begun while the second is said.
                waker.wake_by_ref();
                (0..time % 1_000).for_each(|_| std::hint::spin_loop());
                said.store(time, Ordering::Release);
                waker.wake_by_ref();
                while heard.load(Ordering::Acquire) < time {
                    std::thread::yield_now();
                }
            }
        });
        let local = LocalSet::new();
        let all_heard = local.run_until(async move {
            crew.spawn(hears);
            while !done.get() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        tokio::time::timeout(Duration::from_secs(60), all_heard).await.expect("a wake was lost");
        speaker.join().unwrap();
    }

    #[tokio::test]
    async fn one_that_always_goes_on_keeps_nobody_waiting() {
        let story = written(
            |crew, story| {
                crew.spawn(async {
                    loop {
                        task::yield_now().await;
                    }
                });
                crew.spawn(poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }));
                let story = Rc::clone(story);
                // The runtime's own work goes on as well.
                crew.spawn(async move {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    tell(&story, "slept");
                });
            },
            1,
        );
        assert_eq!(story.await, ["slept"]);
    }

    #[tokio::test]
    async fn a_connection_may_bring_another() {
        let story = written(
            |crew, story| {
                let (its_crew, its_story) = (Rc::clone(crew), Rc::clone(story));
                crew.spawn(async move {
                    let (crew, story) = (Rc::clone(&its_crew), Rc::clone(&its_story));
                    its_crew.spawn(reads_and_sends(crew, story, "the other"));
                    tell(&its_story, "one ends");
                });
            },
            3,
        );
        assert_eq!(story.await, ["one ends", "the other reads", "the other sends"]);
    }

    #[tokio::test]
    async fn places_are_used_again_and_a_late_wake_harms_nobody() {
        let crew = Rc::<Crew>::default();
        let wakers = Rc::new(RefCell::new(Vec::<Waker>::new()));
        let local = LocalSet::new();
        local
            .run_until(async {
                for round in 1..4 {
                    let kept = Rc::clone(&wakers);
                    crew.spawn(poll_fn(move |cx| {
                        kept.borrow_mut().push(cx.waker().clone());
                        Poll::Ready(())
                    }));
                    while wakers.borrow().len() < round || !crew.mates.borrow().is_empty() {
                        wakers.borrow().iter().for_each(Waker::wake_by_ref);
                        task::yield_now().await;
                    }
                    assert!(crew.mates.borrow().get(1).is_none() && wakers.borrow().len() == round);
                }
            })
            .await;
    }

    #[tokio::test]
    async fn all_end_with_their_runtime() {
        let (crew, held) = (Rc::<Crew>::default(), Rc::new(()));
        let local = LocalSet::new();
        let (its_crew, its_hold) = (Rc::clone(&crew), Rc::clone(&held));
        local
            .run_until(async {
                // As a connection knows its worker, and that the crew.
                its_crew.clone().spawn(async move {
                    let _knows = (its_crew, its_hold);
                    std::future::pending::<()>().await;
                });
                task::yield_now().await;
            })
            .await;
        assert_eq!(Rc::strong_count(&held), 2);
        drop(local);
        assert_eq!((Rc::strong_count(&held), Rc::strong_count(&crew)), (1, 1));
    }
}
