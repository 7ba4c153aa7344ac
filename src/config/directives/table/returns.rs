//! `return` of a server or a location.

use super::Fallback::Unset;
use super::Kind::{Number, Own};
use super::Place::{self, Location, Return};
use super::{Directive, at};

pub(super) const TABLE: &[Directive] = &[
    at(
        &[Place::Server, Location],
        "return",
        Own("`204`, `\"text\"`, `\"https://…\"` (302), or a table"),
        Unset("requests go to `proxy_pass`"),
        "an answer for which nobody is asked; in a server: for all its requests",
    ),
    //
    at(
        &[Return],
        "status",
        Number(200, 599),
        Unset("200 with `text`, 302 with `location`"),
        "the status; 444: the connection ends without an answer",
    ),
    at(&[Return], "location", Own("a template of a URL"), Unset("no redirect"), "where the client shall go"),
    at(&[Return], "text", Own("a template"), Unset("the status and its name"), "the body of the answer"),
];
