//! The notation of the tests: what happens to a group, in words.
//!
//! | word | what happens |
//! | --- | --- |
//! | `P` `S` `N` `R` `T` `L` `X` | a probe passes · gets a 500 · a 404 · is refused · times out · times out while weir lags · sees the application drain itself |
//! | `ok` `hard` `soft` `again` `quit` | an ordinary request succeeds · fails hard · softly · softly, after it did elsewhere · is neutral |
//! | `trial=ok` … | a request takes the trial (which must be free), and ends like that |
//! | `last=ok` … | a request of last resort ends like that |
//! | `hold`, `held=ok` … | a request begins · ends like that |
//! | `take`, `taken=ok` … | a request takes the trial · ends like that |
//! | `down` `drain` `enable` `drain=10s` `lift` | the operator's override, for some time, and its end |
//! | `file=down` `file=drain` `file=enable` | the file says so |
//! | `gone` `present` | DNS or the file lost it · has it again |
//! | `slow` `like` | of those that were compared in an interval it takes too long · does as they do |
//! | `lags` | its answers take longer than those of its peers |
//! | `+10s` `+250ms` | time passes |
//! | `tick` | somebody looks whether time brought anything |
//!
//! Words are about the first peer, `a`, unless they begin with `b:`, `c:` and so on.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::health::outlier::Finding;
use crate::health::{
    Admission, Cell, Command, LeaseFacts, Operator, Origin, Outcome, Policy, Pool, Seen, Signal, State, Thresholds,
    Tier, Transition, Verdict,
};

/// `max_fails` 1 and `fail_timeout` 10s, as by default; no check.
pub const PLAIN: Policy = plain(1);

/// What `slow` finds.
const SLOW: Finding = Finding::Slow { median: Duration::from_millis(350), usual: Duration::from_millis(20) };

/// The same with a check at its defaults, `fails` 3 and `passes` 2.
pub const CHECKED: Policy = Policy { check: Some(Thresholds { fails: 3, passes: 2 }), ..PLAIN };

pub const fn plain(max_fails: u32) -> Policy {
    Policy { max_fails, fail_timeout: Duration::from_secs(10), check: None, slow_start: Duration::ZERO, movable: false }
}

/// A group whose time is the script's.
pub struct Group {
    pub pool: Arc<Pool>,
    cells: Vec<Cell>,
    pub now: Timestamp,
    held: Option<LeaseFacts>,
    /// Whose trials are out, oldest first.
    taken: Vec<(usize, LeaseFacts)>,
    pub transitions: Vec<Transition>,
}

/// Ten primaries, all there since the start, after this happened to `a`. Nine that have passed their probe do not
/// stand in its way.
pub fn after(script: &str, policy: Policy) -> Group {
    let mut group = Group::of(10, policy);
    for peer in 1..10 {
        group.play(peer, "P");
    }
    group.transitions.clear();
    group.then(script)
}

impl Group {
    /// Primaries that are there since the start.
    pub fn of(primaries: usize, policy: Policy) -> Group {
        let pool = Arc::new(Pool::new(50));
        let now = Timestamp::secs(1);
        let mut group = Group { pool, cells: vec![], now, held: None, taken: vec![], transitions: vec![] };
        for _ in 0..primaries {
            group.join(policy.clone(), Tier::Primary, Origin::ProcessStart);
        }
        group
    }

    /// One more peer.
    pub fn join(&mut self, policy: Policy, tier: Tier, origin: Origin) {
        self.cells.push(Cell::new(policy, Operator::Enabled, origin, &self.pool, tier, self.now));
    }

    pub fn with_backup(mut self, policy: Policy) -> Group {
        self.join(policy, Tier::Backup, Origin::ProcessStart);
        self
    }

    /// And then this happens.
    pub fn then(mut self, script: &str) -> Group {
        for word in script.split_whitespace() {
            match word.split_once(':') {
                Some((peer, word)) => self.play(usize::from(peer.as_bytes()[0] - b'a'), word),
                None => self.play(0, word),
            }
        }
        self
    }

    fn play(&mut self, peer: usize, word: &str) {
        if let Some(time) = word.strip_prefix('+') {
            self.now = self.now + duration(time);
            return;
        }
        // A request begins a millisecond after what was before, and takes another.
        let began = self.now + Duration::from_millis(1);
        let lease = LeaseFacts { began, ..LeaseFacts::default() };
        let (word, how) = word.split_once('=').unwrap_or((word, word));
        let signal = match word {
            "P" | "S" | "N" | "R" | "T" | "L" | "X" => Signal::Probe { began, seen: seen(word), lagged: word == "L" },
            "hold" => {
                self.held = Some(lease);
                self.now = began;
                return;
            }
            "take" => {
                assert!(self.cells[peer].take_trial(began), "the trial is not free at {began}");
                self.taken.push((peer, LeaseFacts { trial: true, ..lease }));
                self.now = began;
                return;
            }
            "held" => ended(self.held.take().expect("the script holds a lease"), how),
            "taken" => ended(self.oldest_trial(peer).expect("the script took a trial"), how),
            "trial" => {
                assert!(self.cells[peer].take_trial(began), "the trial is not free at {began}");
                ended(LeaseFacts { trial: true, ..lease }, how)
            }
            "last" => ended(LeaseFacts { last_resort: true, ..lease }, how),
            "ok" | "hard" | "soft" | "again" | "quit" => ended(lease, how),
            "enable" | "drain" | "down" => {
                let until = (how != word).then(|| self.now + duration(how));
                Signal::Operator(Command::Override { to: operator(word), until })
            }
            "file" => Signal::Operator(Command::File(operator(how))),
            "lift" => Signal::Operator(Command::Lift),
            "gone" => Signal::Gone,
            "present" => Signal::Present,
            "slow" | "like" => Signal::Compared { from: self.now, found: (word == "slow").then_some(SLOW) },
            "lags" => Signal::Lags,
            "tick" => Signal::Tick,
            _ => panic!("no such word: {word}"),
        };
        self.now = began + Duration::from_millis(1);
        self.observe(peer, signal);
    }

    pub fn observe(&mut self, peer: usize, signal: Signal) {
        self.transitions.extend(self.cells[peer].observe(signal, self.now));
    }

    fn oldest_trial(&mut self, of: usize) -> Option<LeaseFacts> {
        let oldest = self.taken.iter().position(|(peer, _)| *peer == of)?;
        Some(self.taken.remove(oldest).1)
    }

    pub fn trials_out(&self, of: usize) -> usize {
        self.taken.iter().filter(|(peer, _)| *peer == of).count()
    }

    pub fn a(&self) -> &Cell {
        &self.cells[0]
    }

    pub fn admission_of(&self, peer: usize, now: Timestamp) -> Admission {
        self.cells[peer].admission(now)
    }

    pub fn verdict_of(&self, peer: usize) -> Verdict {
        self.cells[peer].verdict(self.now)
    }

    pub fn verdict(&self) -> Verdict {
        self.verdict_of(0)
    }

    pub fn state(&self) -> State {
        self.verdict().state
    }

    pub fn states(&self) -> Vec<State> {
        (0..self.cells.len()).map(|peer| self.verdict_of(peer).state).collect()
    }

    pub fn reason(&self) -> String {
        self.verdict().reason.to_string()
    }

    pub fn admission(&self) -> Admission {
        self.a().admission(self.now)
    }

    /// What would be logged: `up → down: set down by the operator`.
    pub fn log(&self) -> Vec<String> {
        self.transitions.iter().map(|t| format!("{} → {}: {}", t.from, t.to, t.reason)).collect()
    }

    pub fn forget(&mut self, peer: usize) {
        self.cells.remove(peer);
    }
}

fn seen(word: &str) -> Seen {
    match word {
        "P" => Seen::Pass,
        "S" => Seen::BadStatus { detail: "GET /health answered 500".into() },
        "N" => Seen::BadStatus { detail: "GET /health answered 404: the application has no such route".into() },
        "R" => Seen::Unreachable { detail: "connection refused".into() },
        "X" => Seen::DrainingItself,
        _ => Seen::TimedOut { detail: "no answer within 1s".into() },
    }
}

fn ended(lease: LeaseFacts, how: &str) -> Signal {
    let outcome = match how {
        "ok" => Outcome::Success,
        "hard" => Outcome::Hard("connection refused".into()),
        "soft" | "again" => Outcome::Soft("closed before the head".into()),
        "quit" => Outcome::Neutral,
        _ => panic!("no such outcome: {how}"),
    };
    Signal::Outcome { lease: LeaseFacts { soft_before: how == "again", ..lease }, outcome }
}

fn operator(word: &str) -> Operator {
    match word {
        "enable" => Operator::Enabled,
        "drain" => Operator::Drain,
        "down" => Operator::Down,
        _ => panic!("no such wish: {word}"),
    }
}

fn duration(text: &str) -> Duration {
    let (digits, unit) = text.split_at(text.find(char::is_alphabetic).expect("a unit"));
    let n = digits.parse().expect("a number");
    match unit {
        "ms" => Duration::from_millis(n),
        "s" => Duration::from_secs(n),
        _ => panic!("no such unit: {unit}"),
    }
}
