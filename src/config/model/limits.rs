//! What may one client ask for? `limit_req` and `limit_conn`, checked.

use std::sync::Arc;

use crate::config::template::Template;
use crate::shape::Rate;

/// What limits the requests of a location, after inheritance.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// `limit_req`; empty: none.
    pub requests: Vec<LimitReq>,
    /// `limit_req_status`.
    pub requests_status: u16,
    /// `limit_req_dry_run`: what would be done is only told.
    pub requests_dry_run: bool,
    /// `limit_req_log_level`.
    pub requests_log_level: LogLevel,
    /// `limit_conn`; empty: none.
    pub connections: Vec<LimitConn>,
    /// `limit_conn_status`.
    pub connections_status: u16,
    /// `limit_conn_dry_run`.
    pub connections_dry_run: bool,
    /// `limit_conn_log_level`.
    pub connections_log_level: LogLevel,
}

/// One `limit_req`.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitReq {
    /// `zone`.
    pub zone: Arc<LimitReqZone>,
    /// `burst`: how many requests may be ahead of the rate.
    pub burst: u64,
    /// `delay`: how many of them go on at once; `None`: all (`nodelay`).
    pub delay: Option<u64>,
}

/// `[limit_req_zone.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitReqZone {
    /// The name in the table's header.
    pub name: Arc<str>,
    /// `key`: what tells clients apart.
    pub key: Template,
    /// `rate`.
    pub rate: Rate,
    /// `size`, in clients.
    pub clients: usize,
}

/// One `limit_conn`.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitConn {
    /// `zone`.
    pub zone: Arc<LimitConnZone>,
    /// `connections`: how many requests of a client may be in flight.
    pub connections: u32,
}

/// `[limit_conn_zone.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitConnZone {
    /// The name in the table's header.
    pub name: Arc<str>,
    /// `key`: what tells clients apart.
    pub key: Template,
    /// `size`, in clients.
    pub clients: usize,
}

/// How loudly something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// `info`, and nginx's `notice`.
    Info,
    /// `warn`.
    Warn,
    /// `error`.
    Error,
}

impl LogLevel {
    /// Delays are told one level lower than refusals, as in nginx.
    pub fn lower(self) -> LogLevel {
        match self {
            LogLevel::Error => LogLevel::Warn,
            LogLevel::Warn | LogLevel::Info => LogLevel::Info,
        }
    }
}
