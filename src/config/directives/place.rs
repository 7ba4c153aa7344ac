//! Which tables has the file?

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

/// The levels of which the innermost wins.
pub(super) const EVERYWHERE: &[Place] = &[Place::Top, Place::Server, Place::Location];

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
