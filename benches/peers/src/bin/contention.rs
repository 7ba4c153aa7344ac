//! What does it cost to write where another core writes, too? The constants of scaling.py.
//!
//! Two threads, one on each of two cores, work and now and then touch a cache line: one of their own, or the same one.
//! The difference is what sharing costs. Of many short runs those count in which both threads ran all the time, and of
//! these the faster ones: whoever else uses the machine only adds.
//!
//!     contention      prints `name ns` per line

// Reading time is what this program is for.
#![allow(clippy::disallowed_methods)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::thread::scope;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

const TIMES: u32 = 3_000;
const RUNS: usize = 400;

/// One cache line, and its neighbour that the prefetcher takes along.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

type Touch = fn(&Arc<Line>);

const TOUCHES: [(&str, Touch); 4] = [
    ("load", |line| _ = black_box(line.0.load(SeqCst))),
    ("fetch_add", |line| _ = line.0.fetch_add(1, Relaxed)),
    ("average", average),
    ("arc", |line| drop(black_box(Arc::clone(line)))),
];

fn main() {
    let own = || [Arc::default(), Arc::default()];
    let same = || {
        let line = Arc::default();
        [Arc::clone(&line), line]
    };
    // Two threads at once in either case: cores that are busy together may each be slower than one alone.
    let work = typical(&own(), |_| {});
    println!("work {work:.1}");
    for (name, touch) in TOUCHES {
        println!("{name}_own {:.1}", typical(&own(), touch) - work);
        println!("{name}_shared {:.1}", typical(&same(), touch) - work);
    }
    println!("fetch_add_tight {:.1}", tight(&same()));
}

/// A moving average in one word: weir's way, compare and swap.
fn average(line: &Arc<Line>) {
    let mut seen = line.0.load(Relaxed);
    while let Err(now) = line.0.compare_exchange_weak(seen, (seen * 19 + 1000) / 20, Relaxed, Relaxed) {
        seen = now;
    }
}

/// ns per turn of some work and one touch.
fn typical(lines: &[Arc<Line>; 2], touch: Touch) -> f64 {
    lower_quartile(|| together(lines, |line| turns(line, touch)))
}

/// ns per touch, of either thread, when two threads do nothing else.
fn tight(lines: &[Arc<Line>; 2]) -> f64 {
    let touches = |line: &Arc<Line>| (0..TIMES * 100).for_each(|_| _ = line.0.fetch_add(1, Relaxed));
    // Both end at about the same time: a touch costs the line half of what it costs a thread.
    lower_quartile(|| together(lines, touches)) / 100.0 / 2.0
}

fn lower_quartile(mut run: impl FnMut() -> Option<f64>) -> f64 {
    let mut seen: Vec<f64> = (0..RUNS).filter_map(|_| run()).collect();
    seen.sort_unstable_by(f64::total_cmp);
    seen.get(seen.len() / 4).copied().unwrap_or(f64::NAN)
}

/// ns per turn, on average over both threads. `None` if they did not run at the same time.
fn together(lines: &[Arc<Line>; 2], run: impl Fn(&Arc<Line>) + Sync) -> Option<f64> {
    let (here, run) = (&AtomicU64::new(0), &run);
    let ran: Vec<(Instant, Instant)> = scope(|scope| {
        let begin = |(at, line)| {
            scope.spawn(move || {
                pin(at);
                here.fetch_add(1, SeqCst);
                while here.load(SeqCst) < 2 {
                    std::hint::spin_loop();
                }
                let began = Instant::now();
                run(line);
                (began, Instant::now())
            })
        };
        let workers: Vec<_> = lines.iter().enumerate().map(begin).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    let all = ran.iter().map(|ran| ran.1).max()? - ran.iter().map(|ran| ran.0).min()?;
    let each: Duration = ran.iter().map(|ran| ran.1 - ran.0).sum();
    let both = each.as_secs_f64() > 1.95 * all.as_secs_f64();
    both.then(|| each.as_secs_f64() * 1e9 / f64::from(TIMES) / lines.len() as f64)
}

fn turns(line: &Arc<Line>, touch: Touch) {
    let mut state = 1u64;
    for _ in 0..TIMES {
        // Of varying length, or the threads would fall into step.
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        for _ in 0..400 + (state >> 56) {
            state = black_box(state.rotate_left(5) ^ 0x9e37);
        }
        touch(line);
    }
    black_box(state);
}

/// Puts this thread on the `at`th of the cores that the process may use.
fn pin(at: usize) {
    let may = sched_getaffinity(None).expect("the process knows its cores");
    let core = (0..CpuSet::MAX_CPU).filter(|core| may.is_set(*core)).nth(at).expect("two cores are needed");
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).expect("a core that may be used can be chosen");
}
