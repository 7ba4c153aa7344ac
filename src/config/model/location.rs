//! What becomes of a request? The checked form of `[[server.location]]`.

use std::sync::Arc;

use super::limits::Limits;
use super::proxy::ProxySettings;
use super::returns::Return;
use super::shares::{Mirror, Split};
use crate::config::template::Template;

/// `[[server.location]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// `path`.
    pub path: PathMatch,
    /// Index into [`Config::upstreams`](super::Config::upstreams); `None`: it answers by itself, see `fixed`.
    pub upstream: Option<usize>,
    /// `return`.
    pub fixed: Option<Return>,
    /// The path in `proxy_pass`, which replaces the matched prefix; `None`: the target is forwarded as it came.
    pub replace: Option<String>,
    /// The text after the scheme in `proxy_pass`: `$proxy_host`.
    pub proxy_host: Arc<str>,
    /// `proxy_*` after inheritance.
    pub proxy: ProxySettings,
    /// `add_header`: fields put on answers, name (as written) and value; those with an empty value are left out.
    pub add_header: Vec<(String, Template)>,
    /// `limit_req` and `limit_conn` after inheritance.
    pub limits: Limits,
    /// `split`: who gets a share of the requests in place of `upstream`.
    pub split: Option<Split>,
    /// `mirror`: who gets copies of a share of them.
    pub mirror: Option<Mirror>,
}

/// `path` of a location.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// `"/x/"`: the longest prefix wins.
    Prefix(String),
    /// `{ exact = "/x" }`: this path alone, before any prefix.
    Exact(String),
}
