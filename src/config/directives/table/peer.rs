//! `{ address = … }` in `servers` of an upstream.

use super::Fallback::{Is, Required, Unset};
use super::Kind::{Number, Own, Switch, Text, Time};
use super::Place::Peer;
use super::{Directive, U32, at};
use crate::config::units::TimeUnit::Seconds;

pub(super) const TABLE: &[Directive] = &[
    at(
        &[Peer],
        "address",
        Own("`\"HOST:PORT\"`; without a port 80, with TLS 443; or `\"unix:/PATH\"`"),
        Required,
        "where the peer is; each address of a name is a peer",
    ),
    at(
        &[Peer],
        "service",
        Text,
        Unset("the addresses of the name"),
        "SRV records to ask for: `\"http\"` is `_http._tcp.ADDRESS`; the address is then a name without a port",
    ),
    at(&[Peer], "weight", Number(1, 65_535), Is("1"), "its share of the requests"),
    at(&[Peer], "max_conns", Number(0, U32), Is("0"), "requests it may process at once, over all workers; 0: no limit"),
    at(
        &[Peer],
        "max_fails",
        Number(0, 1_000_000),
        Is("1"),
        "failures within `fail_timeout` that make it unavailable; 0: never",
    ),
    at(
        &[Peer],
        "fail_timeout",
        Time(Seconds, 0),
        Is("\"10s\""),
        "the window of `max_fails`, and how long it is unavailable",
    ),
    at(
        &[Peer],
        "slow_start",
        Time(Seconds, 0),
        Is("\"0s\""),
        "how long it ramps up to its weight after a recovery; 0s: at once",
    ),
    at(&[Peer], "backup", Switch, Is("false"), "gets requests only when the others cannot"),
    at(&[Peer], "down", Switch, Is("false"), "gets no requests"),
    at(&[Peer], "drain", Switch, Is("false"), "gets only requests that are bound to it"),
    at(
        &[Peer],
        "route",
        Text,
        Unset("its address"),
        "what `sticky` knows it by, 1 to 32 characters; a name for it that outlives its address",
    ),
];
