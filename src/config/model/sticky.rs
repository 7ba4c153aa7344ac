//! By what does a client come back to its peer? The checked form of `sticky`.

use std::time::Duration;

use crate::affinity::Secret;
use crate::config::template::Template;

/// `sticky = { … }`: by what a client comes back to the peer that served it. (nginx: `sticky`.)
#[derive(Clone, Debug, PartialEq)]
pub enum Sticky {
    /// `cookie`: weir sets one.
    Cookie(StickyCookie),
    /// `route`: the first of these that is not empty names a server's `route`.
    Route(Vec<Template>),
    /// `learn`: the application makes the sessions.
    Learn(Learn),
}

/// `sticky = { cookie = … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct StickyCookie {
    /// `cookie`: its name.
    pub name: String,
    /// `expires`; `None`: it ends with the browser's session.
    pub expires: Option<Duration>,
    /// `domain`.
    pub domain: Option<Template>,
    /// `path`; empty: the attribute is left out.
    pub path: String,
    /// `httponly`.
    pub httponly: bool,
    /// `secure`.
    pub secure: bool,
    /// `samesite`.
    pub samesite: Option<Template>,
    /// `nocache`: an answer that sets the cookie says `Cache-Control: private`.
    pub nocache: bool,
    /// `secret`; `None`: one is made up.
    pub secret: Option<Secret>,
}

impl StickyCookie {
    /// `expires = "max"`: ten years, as in nginx.
    pub const MAX: Duration = Duration::from_secs(315_360_000);
}

/// `sticky = { learn = { … } }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Learn {
    /// `create`: the first that is not empty is the session that an answer makes.
    pub create: Vec<Template>,
    /// `lookup`: the first that is not empty is the session that a request is of.
    pub lookup: Vec<Template>,
    /// `size`: how many sessions are remembered.
    pub size: usize,
    /// `timeout`: after how long without a request one is forgotten.
    pub timeout: Duration,
    /// `header`: learned when the head of the answer comes, not at its end.
    pub header: bool,
}
