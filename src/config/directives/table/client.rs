//! Towards clients: what stands at the top or in a server, and is inherited.

use super::Fallback::Is;
use super::Kind::{Number, Size, Time};
use super::Place::{self, Top};
use super::{Directive, GIB, U32, at};
use crate::config::units::TimeUnit::Milliseconds as Ms;

const CLIENT: &[Place] = &[Top, Place::Server];

pub(super) const TABLE: &[Directive] = &[
    at(
        CLIENT,
        "client_max_body_size",
        Size(0, 1 << 40),
        Is("\"1m\""),
        "the largest body of a request; larger: 413; 0: no limit",
    ),
    at(
        CLIENT,
        "client_body_buffer_size",
        Size(0, GIB),
        Is("\"64k\""),
        "how much of a body is gathered before a peer is chosen, and kept for a retry",
    ),
    at(
        CLIENT,
        "client_max_header_size",
        Size(1 << 10, 16 << 20),
        Is("\"32k\""),
        "the largest head of a request; larger: 431",
    ),
    at(CLIENT, "client_max_uri_size", Size(1 << 6, 16 << 20), Is("\"8k\""), "the longest request target; longer: 414"),
    at(
        CLIENT,
        "client_header_timeout",
        Time(Ms, 1),
        Is("\"60s\""),
        "from a request's first byte to the end of its head",
    ),
    at(CLIENT, "client_body_timeout", Time(Ms, 1), Is("\"60s\""), "between two reads of a body"),
    at(CLIENT, "send_timeout", Time(Ms, 1), Is("\"60s\""), "between two writes to the client"),
    at(
        CLIENT,
        "keepalive_timeout",
        Time(Ms, 0),
        Is("\"75s\""),
        "how long a client's connection may be idle; 0s: it is closed after each answer",
    ),
    at(CLIENT, "keepalive_requests", Number(1, U32), Is("1000"), "requests that one connection of a client serves"),
    at(
        CLIENT,
        "http2_max_concurrent_streams",
        Number(1, 65_535),
        Is("128"),
        "requests at once on one connection of HTTP/2",
    ),
];
