//! Whose turn is it? The connections of a worker are one task of its runtime, and take turns within it.
//!
//! So a turn costs little. And those whose turns come together go in step: first all of them read, then all of them think, then
//! all of them send ([`Crew::steps_aside`]). So the same code, the kernel's or weir's, runs several times in a row and is in the
//! core's caches, which hold one of the three but not all of them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use slab::Slab;
use tokio::task::{self, coop};

use crate::net::budget;

/// How many read before the first of them goes on. Enough for the caches, and few enough that nobody waits long.
const IN_STEP: usize = 32;

/// How many parts a turn may have behind its first, to read: to think, and to send.
const PARTS: usize = 2;

/// The connections of one worker, as tasks.
#[derive(Default)]
pub struct Crew {
    /// Each in a box, which is taken out for its turn: the list itself stays small.
    mates: RefCell<Slab<Option<Box<Mate>>>>,
    rung: Arc<Rung>,
    /// The runtime's task that all of them are was begun.
    begun: Cell<bool>,
    /// Who waits for the others of its step.
    waiting: RefCell<Vec<usize>>,
    /// The memory of such a list, while nobody is in it.
    list: RefCell<Vec<usize>>,
    /// Whose turn it is: its place, and what its waker points to.
    turn: Cell<Option<(usize, *const ())>>,
    /// There are others in the step.
    in_company: Cell<bool>,
    /// The turn is a further part of one.
    goes_on: Cell<bool>,
}

/// One connection.
struct Mate {
    life: Pin<Box<dyn Future<Output = ()>>>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Wakes one connection, from any thread.
struct Bell {
    place: usize,
    /// It is in the list.
    is_rung: AtomicBool,
    rung: Arc<Rung>,
}

/// Who is to have a turn.
#[derive(Default)]
struct Rung(Mutex<Bells>);

#[derive(Default)]
struct Bells {
    places: Vec<usize>,
    /// Wakes the task of all, while it sleeps.
    sleeper: Option<Waker>,
}

/// Ends all connections with the runtime that polls them: they know their worker, and it knows them.
struct AtWork(Rc<Crew>);

impl Drop for AtWork {
    fn drop(&mut self) {
        let mates = self.0.mates.take();
        drop(mates);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // AcqRel: what was done before is seen by the turn that it is for.
        if !self.is_rung.swap(true, Ordering::AcqRel) {
            self.rung.ring(self.place);
        }
    }
}

impl Rung {
    fn with<T>(&self, look: impl FnOnce(&mut Bells) -> T) -> T {
        // Nothing that could panic is done under the lock.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ring(&self, place: usize) {
        let sleeper = self.with(|bells| {
            bells.places.push(place);
            bells.sleeper.take()
        });
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }
}

impl Crew {
    /// Serves a connection until it is over. Whatever panics in it ends it alone.
    pub fn spawn(self: &Rc<Self>, life: impl Future<Output = ()> + 'static) {
        let place = {
            let mut mates = self.mates.borrow_mut();
            let entry = mates.vacant_entry();
            let place = entry.key();
            let bell = Arc::new(Bell { place, is_rung: AtomicBool::new(true), rung: Arc::clone(&self.rung) });
            let waker = Waker::from(Arc::clone(&bell));
            entry.insert(Some(Box::new(Mate { life: Box::pin(life), bell, waker })));
            place
        };
        self.rung.ring(place);
        if !self.begun.replace(true) {
            let at_work = AtWork(Rc::clone(self));
            // Each connection has a budget of its own.
            task::spawn_local(coop::unconstrained(async move { at_work.0.take_turns().await }));
        }
    }

    /// Goes on after all who have a turn now: for whoever is about to send. Those who are no task of the crew go on at once.
    pub async fn after_the_others(&self) {
        let mut waited = false;
        poll_fn(|cx| match !waited && self.steps_aside(cx) {
            true => {
                waited = true;
                Poll::Pending
            }
            false => Poll::Ready(()),
        })
        .await;
    }

    /// The same for whoever is polled, and will know how to go on: if it is true, `Pending` is to be returned, and the next poll comes
    /// after those of the others.
    pub fn steps_aside(&self, cx: &Context<'_>) -> bool {
        match self.turn.get() {
            Some((place, waker)) if self.in_company.get() && ptr::eq(waker, cx.waker().data()) => {
                self.waiting.borrow_mut().push(place);
                true
            }
            _ => false,
        }
    }

    /// Whether the turn goes on that was begun before the others'.
    pub fn goes_on(&self) -> bool {
        self.goes_on.get()
    }

    /// Never ends.
    async fn take_turns(&self) {
        let mut due = Vec::new();
        poll_fn(|cx| {
            self.rung.with(|bells| {
                bells.sleeper = None;
                std::mem::swap(&mut bells.places, &mut due);
            });
            for step in due.chunks(IN_STEP) {
                self.in_company.set(step.len() > 1);
                step.iter().for_each(|&place| self.turn(place));
                self.go_on();
            }
            due.clear();
            let more = self.rung.with(|bells| {
                let more = !bells.places.is_empty();
                bells.sleeper = (!more).then(|| cx.waker().clone());
                more
            });
            if more {
                // Not before the runtime has looked at the sockets: it wakes who yields after that.
                let _ = pin!(task::yield_now()).poll(cx);
            }
            Poll::<()>::Pending
        })
        .await;
    }

    /// Whoever let the others go first.
    fn go_on(&self) {
        self.goes_on.set(true);
        let mut now = self.list.take();
        for _ in 0..PARTS {
            std::mem::swap(&mut now, &mut *self.waiting.borrow_mut());
            now.iter().for_each(|&place| self.turn(place));
            now.clear();
        }
        self.list.replace(now);
        self.goes_on.set(false);
        // Who has more to do than a request has parts is polled in the next step.
        let mates = self.mates.borrow();
        for place in self.waiting.borrow_mut().drain(..) {
            if let Some(Some(mate)) = mates.get(place) {
                mate.waker.wake_by_ref();
            }
        }
    }

    fn turn(&self, place: usize) {
        // Taken out, for it may bring others while it is polled.
        let Some(mut mate) = self.mates.borrow_mut().get_mut(place).and_then(Option::take) else { return };
        if !self.goes_on.get() {
            // Before the poll: what happens in it may be a reason for another. Read as well as written (AcqRel), so that whoever
            // found the bell rung, and said no more, is seen by this poll.
            mate.bell.is_rung.swap(false, Ordering::AcqRel);
        }
        self.turn.set(Some((place, mate.waker.data())));
        let mut cx = Context::from_waker(&mate.waker);
        let polled = catch_unwind(AssertUnwindSafe(|| budget::within(|| mate.life.as_mut().poll(&mut cx))));
        self.turn.set(None);
        if let Ok(Poll::Pending) = polled {
            if let Some(there) = self.mates.borrow_mut().get_mut(place) {
                *there = Some(mate);
            }
            return;
        }
        // Over, or panicked, which the panic hook has told. What is dropped may panic as well, or look at the crew.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(mate)));
        self.mates.borrow_mut().try_remove(place);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
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
        crew.after_the_others().await;
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
