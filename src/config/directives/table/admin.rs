//! `[admin]`.

use super::Fallback::Unset;
use super::Kind::{Own, Text};
use super::Place::Admin;
use super::{Directive, at};

pub(super) const TABLE: &[Directive] = &[
    at(
        &[Admin],
        "listen",
        Own("`\"unix:/PATH\"`, `\"127.0.0.1:9000\"` or `\"off\"`"),
        Unset("`$XDG_RUNTIME_DIR/weir.sock`, else `/run/weir/weir.sock`, else `/tmp/weir-UID/weir.sock`"),
        "where the admin API listens",
    ),
    at(
        &[Admin],
        "token",
        Text,
        Unset("on TCP the API can only be read"),
        "what a client of the admin API must know to change something over TCP",
    ),
];
