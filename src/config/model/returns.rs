//! What is answered without asking anybody? The checked form of `return`.

use crate::config::template::Template;

/// `return`: an answer for which nobody is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Return {
    /// The status; 444: the connection ends without an answer.
    pub status: u16,
    /// Where the client shall go, with a status that says so.
    pub location: Option<Template>,
    /// The body; `None`: the status and its name, if a body is due.
    pub text: Option<Template>,
}
