//! Which settings are there? One table: where each may stand, what it takes, its default, what it does.
//!
//! The decoder, its suggestions, the defaults, the test of `config/full.toml` and `docs/configuration.md` all read it.

use super::units::TimeUnit;

mod elsewhere;
mod table;

pub use elsewhere::ELSEWHERE;
pub use table::DIRECTIVES;

/// A table of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The top of the file.
    Top,
    /// `[upstream.NAME]`.
    Upstream,
    /// `{ address = … }` in `servers` of an upstream.
    Peer,
    /// `queue = { … }` of an upstream.
    Queue,
    /// `retry_budget = { … }` of an upstream.
    RetryBudget,
    /// `outliers = { … }` of an upstream.
    Outliers,
    /// `[upstream.NAME.tls]`.
    UpstreamTls,
    /// `sticky = { … }` of an upstream.
    Sticky,
    /// `learn = { … }` in `sticky` of an upstream.
    Learn,
    /// `consul = { … }` of an upstream.
    Consul,
    /// `[upstream.NAME.health_check]`.
    HealthCheck,
    /// `[upstream.NAME.health_check.match]`.
    Match,
    /// `[[server]]`.
    Server,
    /// `{ address = … }` in `listen` of a server or a stream.
    Listen,
    /// `tls = { … }` of an entry of `listen`.
    ListenTls,
    /// `hsts = { … }` of a server.
    Hsts,
    /// `[[server.location]]`.
    Location,
    /// `{ exact = … }` in `path` of a location.
    Path,
    /// `return = { … }` of a server or a location.
    Return,
    /// `[[stream]]`.
    Stream,
    /// An entry of `split` of a location.
    Split,
    /// `mirror = { … }` of a location.
    Mirror,
    /// `[limit_req_zone.NAME]`.
    LimitReqZone,
    /// `limit_req = { … }`.
    LimitReq,
    /// `[limit_conn_zone.NAME]`.
    LimitConnZone,
    /// `limit_conn = { … }`.
    LimitConn,
    /// `[admin]`.
    Admin,
}

impl Place {
    /// Every place, in the order of the documentation.
    pub const ALL: [Place; 27] = {
        use Place::*;
        [
            Top,
            Upstream,
            Peer,
            Queue,
            RetryBudget,
            Outliers,
            UpstreamTls,
            Sticky,
            Learn,
            Consul,
            HealthCheck,
            Match,
            Server,
            Listen,
            ListenTls,
            Hsts,
            Location,
            Path,
            Return,
            Stream,
            Split,
            Mirror,
            LimitReqZone,
            LimitReq,
            LimitConnZone,
            LimitConn,
            Admin,
        ]
    };

    /// Where it is, for "`key` stands …".
    pub fn phrase(self) -> &'static str {
        match self {
            Place::Top => "at the top of the file",
            Place::Upstream => "in [upstream.NAME]",
            Place::Peer => "in an entry of `servers`",
            Place::Queue => "in `queue`",
            Place::RetryBudget => "in `retry_budget`",
            Place::Outliers => "in `outliers`",
            Place::UpstreamTls => "in [upstream.NAME.tls]",
            Place::Sticky => "in `sticky`",
            Place::Learn => "in `learn` of `sticky`",
            Place::Consul => "in `consul`",
            Place::HealthCheck => "in [upstream.NAME.health_check]",
            Place::Match => "in [upstream.NAME.health_check.match]",
            Place::Server => "in [[server]]",
            Place::Listen => "in an entry of `listen`",
            Place::ListenTls => "in `tls` of an entry of `listen`",
            Place::Hsts => "in `hsts`",
            Place::Location => "in [[server.location]]",
            Place::Path => "in `path`",
            Place::Return => "in `return`",
            Place::Stream => "in [[stream]]",
            Place::Split => "in an entry of `split`",
            Place::Mirror => "in `mirror`",
            Place::LimitReqZone => "in [limit_req_zone.NAME]",
            Place::LimitReq => "in `limit_req`",
            Place::LimitConnZone => "in [limit_conn_zone.NAME]",
            Place::LimitConn => "in `limit_conn`",
            Place::Admin => "in [admin]",
        }
    }
}

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
    /// The setting of that name in that place.
    pub fn find(place: Place, key: &str) -> Option<&'static Directive> {
        Directive::of(place).find(|directive| directive.key == key)
    }

    /// Every setting of a place.
    pub fn of(place: Place) -> impl Iterator<Item = &'static Directive> {
        DIRECTIVES.iter().filter(move |directive| directive.places.contains(&place))
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
