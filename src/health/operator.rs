//! What does whoever runs weir want of this peer? The first voice.

use super::{Command, Operator, Reason};
use crate::clock::Timestamp;

/// The file's wish, an override that beats it, and whether the peer exists at all.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    file: Operator,
    over: Option<Override>,
    gone: bool,
}

#[derive(Clone, Copy, Debug)]
struct Override {
    to: Operator,
    until: Option<Timestamp>,
}

impl Voice {
    pub(super) fn new(file: Operator) -> Voice {
        Voice { file, over: None, gone: false }
    }

    pub(super) fn is_down(&self) -> bool {
        self.wish() == Operator::Down
    }

    /// Why the peer is draining; `None`: it is not.
    pub(super) fn draining(&self) -> Option<Reason> {
        match (self.wish(), self.gone) {
            (Operator::Drain, _) => Some(self.reason()),
            (_, true) => Some(Reason::Gone),
            (_, false) => None,
        }
    }

    /// Whose wish it is, and which.
    pub(super) fn reason(&self) -> Reason {
        match self.over {
            Some(over) => Reason::Override(over.to),
            None => Reason::File(self.file),
        }
    }

    /// When an override expires by itself.
    pub(super) fn override_until(&self) -> Option<Timestamp> {
        self.over?.until
    }

    /// Takes a command; why the peer is enabled, if that makes it so.
    pub(super) fn obey(&mut self, command: Command) -> Reason {
        match command {
            Command::File(wish) if wish == self.file => self.reason(),
            Command::File(wish) => {
                self.file = wish;
                self.over = None;
                Reason::File(wish)
            }
            Command::Override { to, until } => {
                self.over = Some(Override { to, until });
                Reason::Override(to)
            }
            Command::Lift => {
                self.over = None;
                Reason::Lifted
            }
        }
    }

    /// DNS or the file lost it (`true`) or has it again.
    pub(super) fn set_gone(&mut self, gone: bool) -> Reason {
        self.gone = gone;
        if gone { Reason::Gone } else { Reason::Present }
    }

    /// Ends an override whose time has come, and says so.
    pub(super) fn elapse(&mut self, now: Timestamp) -> Option<Reason> {
        self.override_until().filter(|until| *until <= now)?;
        self.over = None;
        Some(Reason::Expired)
    }

    fn wish(&self) -> Operator {
        self.over.map_or(self.file, |over| over.to)
    }
}
