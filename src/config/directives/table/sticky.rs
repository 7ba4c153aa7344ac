//! `sticky` of an upstream, and `learn` in it.

use super::Fallback::{Is, Required, Unset};
use super::Kind::{Number, Own, Switch, Text, Time};
use super::Place::{Learn, Sticky};
use super::{Directive, at};
use crate::config::units::TimeUnit::Milliseconds as Ms;

pub(super) const TABLE: &[Directive] = &[
    at(&[Sticky], "cookie", Text, Unset("no cookie is set"), "the name of a cookie that binds a client to its peer"),
    at(
        &[Sticky],
        "expires",
        Own("a time in seconds: `\"1h\"`, or `\"max\"` (ten years)"),
        Unset("until the browser ends"),
        "how long the cookie is good; it is renewed past half of that",
    ),
    at(
        &[Sticky],
        "domain",
        Own("a name, or a template of one"),
        Unset("only the host that was asked for"),
        "the domain that the cookie is for",
    ),
    at(&[Sticky], "path", Text, Is("\"/\""), "the path that the cookie is for; empty: the directory of the request"),
    at(&[Sticky], "httponly", Switch, Is("false"), "scripts cannot read the cookie"),
    at(&[Sticky], "secure", Switch, Is("false"), "the cookie is sent over TLS alone"),
    at(
        &[Sticky],
        "samesite",
        Own("`\"strict\"`, `\"lax\"`, `\"none\"` or a variable"),
        Unset("the browser decides"),
        "whether the cookie comes with requests from other sites",
    ),
    at(&[Sticky], "nocache", Switch, Is("false"), "an answer that sets the cookie says `Cache-Control: private`"),
    at(
        &[Sticky],
        "secret",
        Text,
        Unset("made up at start, and kept in `state_file` if there is one: no other instance knows it"),
        "what cookies are sealed with, 16 characters or more; equal on all instances",
    ),
    at(
        &[Sticky],
        "route",
        Own("a variable or a list: `[\"$cookie_route\", \"$arg_route\"]`"),
        Unset("no such variables"),
        "variables of which the first that is not empty names the `route` of a server",
    ),
    at(
        &[Sticky],
        "learn",
        Own("a table: `{ create = \"$upstream_cookie_sid\", lookup = \"$cookie_sid\" }`"),
        Unset("nothing is learned"),
        "remembers which peer made a session of the application's own",
    ),
    //
    at(
        &[Learn],
        "create",
        Own("a variable or a list: `\"$upstream_cookie_sid\"`"),
        Required,
        "variables of an answer of which the first that is not empty is a session that it makes",
    ),
    at(
        &[Learn],
        "lookup",
        Own("a variable or a list: `\"$cookie_sid\"`"),
        Required,
        "variables of a request of which the first that is not empty is the session it belongs to",
    ),
    at(
        &[Learn],
        "size",
        Number(16, 10_000_000),
        Is("100000"),
        "how many sessions are remembered; in place of one more, the one unused for longest goes",
    ),
    at(&[Learn], "timeout", Time(Ms, 1_000), Is("\"10m\""), "after how long without a request a session is forgotten"),
    at(&[Learn], "header", Switch, Is("false"), "learn when the head of an answer has come, not at its end"),
];
