//! Which settings are there? One table: where each may stand, what it takes, its default, what it does.
//!
//! The decoder, its suggestions, the defaults, the test of `config/full.toml` and `docs/configuration.md` all read it.

use super::units::TimeUnit;

mod elsewhere;
mod place;
mod table;

pub use elsewhere::ELSEWHERE;
pub use place::Place;

/// What a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number within these bounds.
    Number(u64, u64),
    /// A size in bytes within these bounds.
    Size(u64, u64),
    /// A time of at least this many milliseconds.
    Time(TimeUnit, u64),
    /// A percentage.
    Percent,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Text.
    Text,
    /// A grammar of its own: what it looks like, for documentation.
    Own(&'static str),
}

/// What holds when a setting is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// This value, as it would be written in the file.
    Is(&'static str),
    /// No value: what that means.
    Unset(&'static str),
    /// It must be written.
    Required,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Directive {
    /// Its name.
    pub key: &'static str,
    /// Where it may stand. With several places the innermost wins.
    pub places: &'static [Place],
    /// What it takes.
    pub kind: Kind,
    /// What holds without it.
    pub default: Fallback,
    /// What it does, in one line.
    pub doc: &'static str,
}

impl Directive {
    /// Every setting of weir.
    pub fn all() -> impl Iterator<Item = &'static Directive> {
        table::PARTS.iter().copied().flatten()
    }

    /// The setting of that name in that place.
    pub fn find(place: Place, key: &str) -> Option<&'static Directive> {
        Directive::of(place).find(|directive| directive.key == key)
    }

    /// Every setting of a place.
    pub fn of(place: Place) -> impl Iterator<Item = &'static Directive> {
        Directive::all().filter(move |directive| directive.places.contains(&place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_a_key_once() {
        for place in Place::ALL {
            let mut keys: Vec<_> = Directive::of(place).map(|directive| directive.key).collect();
            keys.sort_unstable();
            assert!(!keys.is_empty() && keys.windows(2).all(|pair| pair[0] != pair[1]), "{place:?}: {keys:?}");
        }
    }

    #[test]
    fn what_is_elsewhere_is_not_here() {
        for (places, key, _) in ELSEWHERE {
            for place in *places {
                assert!(Directive::find(*place, key).is_none(), "{key} in {place:?}");
            }
        }
    }
}
