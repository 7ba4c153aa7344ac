//! `[[stream]]`.

use super::Fallback::{Is, Required, Unset};
use super::Kind::{Number, Own, Time};
use super::Place::Stream;
use super::{Directive, U32, at};
use crate::config::units::TimeUnit::Milliseconds as Ms;

pub(super) const TABLE: &[Directive] = &[
    at(
        &[Stream],
        "listen",
        Own("as in `[[server]]`; with `udp = true` for datagrams"),
        Required,
        "where clients connect; an address of a `[[server]]` cannot be one of a stream, too",
    ),
    at(&[Stream], "proxy_pass", Own("`\"NAME\"` of an upstream, or `\"HOST:PORT\"`"), Required, "where all of it goes"),
    at(&[Stream], "proxy_timeout", Time(Ms, 1), Is("\"10m\""), "how long a session may be silent, both ways"),
    at(
        &[Stream],
        "proxy_responses",
        Number(0, U32),
        Unset("any number, until `proxy_timeout`"),
        "UDP: datagrams that answer one of the client's, after which the session is over; 0: none is awaited",
    ),
    at(
        &[Stream],
        "proxy_requests",
        Number(0, U32),
        Is("0"),
        "UDP: datagrams of a client after which its next one begins another session; 0: any number",
    ),
    at(
        &[Stream],
        "max_sessions",
        Number(1, 1_000_000),
        Is("16384"),
        "UDP: clients that one worker remembers at once; the datagrams of others are dropped",
    ),
];
