//! Who is to have a turn? Each connection has a bell, which whatever it waits for rings: from its worker's own thread as good as
//! always, which takes no atomic operation then, and from any other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

thread_local! {
    /// The list that is kept on this thread, if any.
    static HERE: RefCell<Option<Rc<Near>>> = const { RefCell::new(None) };
}

/// The bells of one worker's connections.
#[derive(Default)]
pub struct Bells {
    near: Rc<Near>,
}

/// Wakes one connection.
pub struct Bell {
    place: usize,
    /// It was rung here, and its turn has not begun. Only the worker's own thread looks at it.
    near: AtomicBool,
    /// It was rung from afar, and is in that list.
    afar: AtomicBool,
    list: Arc<Afar>,
}

/// Whose bells were rung on the worker's own thread.
#[derive(Default)]
struct Near {
    places: RefCell<Vec<usize>>,
    /// Whom to wake if it is asleep: whoever looks at the list.
    sleeper: RefCell<Option<Waker>>,
    asleep: Cell<bool>,
    afar: Arc<Afar>,
}

/// Whose bells were rung on others.
#[derive(Default)]
struct Afar(Mutex<Rung>);

#[derive(Default)]
struct Rung {
    places: Vec<usize>,
    sleeper: Option<Waker>,
    asleep: bool,
}

impl Near {
    fn ring(&self, place: Option<usize>) {
        if let Some(place) = place {
            self.places.borrow_mut().push(place);
        }
        if self.asleep.take()
            && let Some(sleeper) = &*self.sleeper.borrow()
        {
            sleeper.wake_by_ref();
        }
    }
}

impl Afar {
    fn with<T>(&self, look: impl FnOnce(&mut Rung) -> T) -> T {
        // Nothing that could panic is done under the lock.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ring(&self, place: usize) {
        let sleeper = self.with(|rung| {
            rung.places.push(place);
            if std::mem::take(&mut rung.asleep) { rung.sleeper.clone() } else { None }
        });
        sleeper.into_iter().for_each(Waker::wake);
    }
}

/// Remembers whom to wake. A task's waker does not change, so that it is cloned once.
fn remember(known: &mut Option<Waker>, sleeper: &Waker) {
    if !known.as_ref().is_some_and(|known| known.will_wake(sleeper)) {
        *known = Some(sleeper.clone());
    }
}

impl Bells {
    /// From now on this thread is where they are mostly rung.
    pub fn are_here(&self) {
        HERE.set(Some(Rc::clone(&self.near)));
    }

    /// A bell for a place, rung already.
    pub fn rung(&self, place: usize) -> Arc<Bell> {
        let (near, afar) = (AtomicBool::new(true), AtomicBool::new(false));
        Arc::new(Bell { place, near, afar, list: Arc::clone(&self.near.afar) })
    }

    /// Somebody came who has no bell yet.
    pub fn wake(&self) {
        self.near.ring(None);
    }

    /// Those whose bells were rung, in the place of an empty list. Whoever asks is awake. `bell`: the one of a place.
    pub fn collect<'a>(&self, due: &mut Vec<usize>, bell: impl Fn(usize) -> Option<&'a Bell>) {
        self.near.asleep.set(false);
        std::mem::swap(due, &mut *self.near.places.borrow_mut());
        self.near.afar.with(|rung| {
            rung.asleep = false;
            for place in rung.places.drain(..) {
                let Some(bell) = bell(place) else { continue };
                // Before its turn, and read as well as written (AcqRel): whoever found it rung, and said no more, is seen by that
                // turn.
                bell.afar.swap(false, Ordering::AcqRel);
                if bell.is_first_ring() {
                    due.push(place);
                }
            }
        });
    }

    /// From now on the first ring wakes `sleeper`. False if there was one already.
    pub fn sleep(&self, sleeper: &Waker) -> bool {
        let near = &self.near;
        let sleeps = near.places.borrow().is_empty()
            && near.afar.with(|rung| {
                remember(&mut rung.sleeper, sleeper);
                rung.asleep = rung.places.is_empty();
                rung.asleep
            });
        near.asleep.set(sleeps);
        if sleeps {
            remember(&mut near.sleeper.borrow_mut(), sleeper);
        }
        sleeps
    }
}

/// Nothing is kept for a thread whose worker is gone.
impl Drop for Bells {
    fn drop(&mut self) {
        let _ = HERE.try_with(|here| {
            let is_its = here.borrow().as_ref().is_some_and(|near| Rc::ptr_eq(near, &self.near));
            if is_its { here.take() } else { None }
        });
    }
}

impl Bell {
    /// The turn begins. Before the connection is polled: what happens in that may be a reason for another.
    #[inline]
    pub fn answered(&self) {
        self.near.store(false, Ordering::Relaxed);
    }

    /// On the worker's own thread: that it is rung is remembered. Whether it was not before.
    fn is_first_ring(&self) -> bool {
        let first = !self.near.load(Ordering::Relaxed);
        self.near.store(true, Ordering::Relaxed);
        first
    }

    /// False: this is another thread.
    fn ring_here(&self) -> bool {
        let ring = |here: &RefCell<Option<Rc<Near>>>| match &*here.borrow() {
            Some(near) if Arc::ptr_eq(&near.afar, &self.list) => {
                if self.is_first_ring() {
                    near.ring(Some(self.place));
                }
                true
            }
            _ => false,
        };
        // A thread that ends has no list any more.
        HERE.try_with(ring).unwrap_or(false)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // AcqRel: what was done before is seen by the turn that it is for.
        if !self.ring_here() && !self.afar.swap(true, Ordering::AcqRel) {
            self.list.ring(self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Sleeper(AtomicUsize);

    impl Wake for Sleeper {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Sleeper {
        fn woken(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    /// So many connections, none of which has a turn to come.
    fn connections(bells: &Bells, count: usize) -> Vec<(Arc<Bell>, Waker)> {
        let connection = |place| {
            let bell = bells.rung(place);
            bell.answered();
            (Arc::clone(&bell), Waker::from(bell))
        };
        (0..count).map(connection).collect()
    }

    fn due(bells: &Bells, connections: &[(Arc<Bell>, Waker)]) -> Vec<usize> {
        let mut due = Vec::new();
        bells.collect(&mut due, |place| connections.get(place).map(|(bell, _)| &**bell));
        due
    }

    #[test]
    fn who_is_rung_for_has_one_turn_however_often() {
        let bells = Bells::default();
        bells.are_here();
        let all = connections(&bells, 3);
        for place in [2, 0, 2, 2] {
            all[place].1.wake_by_ref();
        }
        assert_eq!(due(&bells, &all), [2, 0]);
        assert!(due(&bells, &all).is_empty());
        all[0].1.wake_by_ref();
        assert!(due(&bells, &all).is_empty(), "its turn has not begun");
        all[0].0.answered();
        all[0].1.wake_by_ref();
        assert_eq!(due(&bells, &all), [0]);
    }

    #[test]
    fn other_threads_ring_as_well() {
        let bells = Bells::default();
        bells.are_here();
        let all = connections(&bells, 3);
        all[1].1.wake_by_ref();
        let wakers: Vec<Waker> = [2, 1, 2].map(|place| all[place].1.clone()).into();
        thread::spawn(move || wakers.into_iter().for_each(Waker::wake)).join().unwrap();
        assert_eq!(due(&bells, &all), [1, 2]);
        all.iter().for_each(|(bell, _)| bell.answered());
        let waker = all[2].1.clone();
        thread::spawn(move || waker.wake()).join().unwrap();
        assert_eq!(due(&bells, &all), [2]);
    }

    #[test]
    fn the_first_ring_wakes_the_sleeper() {
        let (bells, sleeper) = (Bells::default(), Arc::<Sleeper>::default());
        bells.are_here();
        let all = connections(&bells, 2);
        let waker = Waker::from(Arc::clone(&sleeper));
        for (round, from_afar) in [false, true, false].into_iter().enumerate() {
            assert!(bells.sleep(&waker));
            assert_eq!(sleeper.woken(), round);
            let ring: Vec<Waker> = all.iter().map(|(_, waker)| waker.clone()).collect();
            let ring = move || ring.into_iter().for_each(Waker::wake);
            if from_afar {
                thread::spawn(ring).join().unwrap()
            } else {
                ring()
            }
            assert_eq!(sleeper.woken(), round + 1);
            assert!(!bells.sleep(&waker), "they are due");
            assert_eq!(due(&bells, &all), [0, 1]);
            all.iter().for_each(|(bell, _)| bell.answered());
        }
    }

    #[test]
    fn a_worker_that_is_not_the_last_of_its_thread_hears_its_bells_too() {
        let (one, other) = (Bells::default(), Bells::default());
        one.are_here();
        let of_one = connections(&one, 1);
        other.are_here();
        let of_other = connections(&other, 1);
        of_one[0].1.wake_by_ref();
        of_other[0].1.wake_by_ref();
        assert_eq!((due(&one, &of_one), due(&other, &of_other)), (vec![0], vec![0]));
        drop(one);
        of_other[0].0.answered();
        of_other[0].1.wake_by_ref();
        assert_eq!(due(&other, &of_other), [0]);
    }

    #[test]
    fn whoever_is_gone_harms_nobody() {
        let bells = Bells::default();
        bells.are_here();
        let mut all = connections(&bells, 1);
        let late = all.remove(0).1;
        late.wake_by_ref();
        thread::spawn(move || late.wake()).join().unwrap();
        assert_eq!(due(&bells, &all), [0], "nobody has the place, which whoever has turns sees");
    }
}
