//! What does a pick read? All that a request must know of a peer's health, in 64 bits.

use super::Admission;
use crate::clock::Timestamp;

/// From the lowest bit: three bits of kind, three flags, 58 bits of microseconds (9,000 years).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(u64);

/// What a request may do, before time and token have their say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ordinary,
    Bound,
    /// Last resort until then, a trial from then on.
    TrialFrom(Timestamp),
    LastResort,
    SaysNo,
    Unprobed,
    Refused,
}

const KINDS: u64 = 0b111;
/// Somebody has the trial. Independent of the kind: a peer may drain, or fail its probes, while its trial is out.
const TRIAL_OUT: u64 = 1 << 3;
/// It is on a ramp, or was until recently.
const RAMPS: u64 = 1 << 4;
/// The time of live successes matters, for probes that time out.
const CHECKED: u64 = 1 << 5;
const TIME_AT: u32 = 6;
const LAST_TIME: u64 = u64::MAX >> TIME_AT;

impl Word {
    pub(super) fn new(kind: Kind, ramps: bool, checked: bool) -> Word {
        let (kind, time) = match kind {
            Kind::Ordinary => (0, 0),
            Kind::Bound => (1, 0),
            Kind::TrialFrom(at) => (2, at.as_micros().min(LAST_TIME)),
            Kind::LastResort => (3, 0),
            Kind::SaysNo => (4, 0),
            Kind::Unprobed => (5, 0),
            Kind::Refused => (6, 0),
        };
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };
        Word(kind | flag(ramps, RAMPS) | flag(checked, CHECKED) | time << TIME_AT)
    }

    pub(super) fn from_bits(bits: u64) -> Word {
        Word(bits)
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }

    pub(super) fn kind(self) -> Kind {
        match self.0 & KINDS {
            0 => Kind::Ordinary,
            1 => Kind::Bound,
            2 => Kind::TrialFrom(Timestamp::micros(self.0 >> TIME_AT)),
            3 => Kind::LastResort,
            4 => Kind::SaysNo,
            5 => Kind::Unprobed,
            _ => Kind::Refused,
        }
    }

    pub(super) fn admission(self, now: Timestamp) -> Admission {
        match self.kind() {
            Kind::Ordinary => Admission::Ordinary,
            Kind::Bound => Admission::Bound,
            Kind::TrialFrom(at) if at <= now && !self.trial_out() => Admission::Trial,
            Kind::TrialFrom(_) | Kind::LastResort => Admission::LastResort,
            Kind::SaysNo => Admission::SaysNo,
            Kind::Unprobed => Admission::Unprobed,
            Kind::Refused => Admission::Refused,
        }
    }

    /// Whether the peer gets traffic as it should, so that a success is no news.
    pub(super) fn serves(self) -> bool {
        matches!(self.kind(), Kind::Ordinary | Kind::Bound)
    }

    pub(super) fn trial_out(self) -> bool {
        self.0 & TRIAL_OUT != 0
    }

    pub(super) fn with_trial_out(self, out: bool) -> Word {
        Word(if out { self.0 | TRIAL_OUT } else { self.0 & !TRIAL_OUT })
    }

    pub(super) fn ramps(self) -> bool {
        self.0 & RAMPS != 0
    }

    pub(super) fn checked(self) -> bool {
        self.0 & CHECKED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_gives_back_what_was_put_in() {
        let at = Timestamp::secs(31_536_000_000);
        let kinds = [
            Kind::Ordinary,
            Kind::Bound,
            Kind::TrialFrom(at),
            Kind::LastResort,
            Kind::SaysNo,
            Kind::Unprobed,
            Kind::Refused,
        ];
        for kind in kinds {
            for bits in 0..8 {
                let (ramps, checked, out) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
                let word = Word::new(kind, ramps, checked).with_trial_out(out);
                let word = Word::from_bits(word.bits());
                assert_eq!((word.kind(), word.ramps(), word.checked(), word.trial_out()), (kind, ramps, checked, out));
            }
        }
    }

    #[test]
    fn a_time_too_late_to_fit_is_the_latest_that_fits() {
        let word = Word::new(Kind::TrialFrom(Timestamp::NEVER), false, false);
        assert_eq!(word.admission(Timestamp::secs(1_000_000_000)), Admission::LastResort);
    }

    #[test]
    fn a_trial_is_on_offer_from_its_time_on_and_to_one_at_a_time() {
        let word = Word::new(Kind::TrialFrom(Timestamp::secs(10)), false, false);
        assert_eq!(word.admission(Timestamp::secs(9)), Admission::LastResort);
        assert_eq!(word.admission(Timestamp::secs(10)), Admission::Trial);
        assert_eq!(word.with_trial_out(true).admission(Timestamp::secs(10)), Admission::LastResort);
    }
}
