//! To whom does a share of a location's requests go? `split` and `mirror`, checked.

use std::sync::Arc;
use std::time::Duration;

use crate::config::template::Template;

/// `split`, with `split_key`.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// `split_key`: what keeps a client with its share; `None`: requests are dealt out in turn.
    pub key: Option<Template>,
    /// Who gets how much; the rest is for `proxy_pass`.
    pub shares: Vec<Share>,
}

/// One entry of `split`.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Index into [`Config::upstreams`](super::Config::upstreams).
    pub upstream: usize,
    /// That upstream's name: `$proxy_host`.
    pub name: Arc<str>,
    /// `percent`, in hundredths of a percent.
    pub share: u32,
}

/// `mirror`: whose answers nobody sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// Who gets how much.
    pub share: Share,
    /// `max`: copies that may be under way at once.
    pub max: usize,
    /// `timeout`: how long the mirror may be silent.
    pub timeout: Duration,
}
