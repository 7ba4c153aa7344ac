//! `[[server]]`, and an entry of its `listen`.

use super::Fallback::{Is, Required, Unset};
use super::Kind::{Own, Switch};
use super::Place::{self, Listen};
use super::{Directive, at};

pub(super) const TABLE: &[Directive] = &[
    at(
        &[Place::Server],
        "listen",
        Own("`80`, `\"127.0.0.1:8080\"`, `\":8080\"`, `\"[::1]:80\"`, `\"unix:/PATH\"`, a table, or a list of these"),
        Required,
        "where clients connect; a number is a port on every IPv4 address",
    ),
    at(
        &[Place::Server],
        "server_name",
        Own("a name or a list: `\"example.com\"`, `\"*.example.org\"`, `\"www.example.*\"`"),
        Is("[]"),
        "the Host names it answers for; none: any",
    ),
    at(
        &[Place::Server],
        "redirect_to_https",
        Switch,
        Is("false"),
        "requests that come without TLS are redirected: 301, or 308 if they are neither GET nor HEAD",
    ),
    at(
        &[Place::Server],
        "hsts",
        Own("a time in seconds, or a table: `{ max_age = \"1y\", include_subdomains = true }`"),
        Unset("no such field"),
        "how long browsers use TLS alone: Strict-Transport-Security on answers over TLS",
    ),
    at(&[Place::Server], "location", Own("tables: `[[server.location]]`"), Required, "which path goes where"),
    //
    at(&[Listen], "address", Own("as `listen` itself"), Required, "where clients connect"),
    at(
        &[Listen],
        "default_server",
        Switch,
        Is("false"),
        "answers for names that no server of this address has; else the first one does",
    ),
    at(
        &[Listen],
        "h2c",
        Switch,
        Is("false"),
        "clients may speak HTTP/2 from the first byte, without TLS; HTTP/1.1 is spoken here as well",
    ),
    at(
        &[Listen],
        "mode",
        Own("octal digits: `\"0660\"`"),
        Unset("`\"0666\"`"),
        "the mode of a unix socket's file: who may connect",
    ),
    at(
        &[Listen],
        "proxy_protocol",
        Switch,
        Is("false"),
        "every connection begins with a PROXY header, version 1 or 2, and comes from `trusted_proxies`",
    ),
    at(
        &[Listen],
        "tls",
        Own("a table: `{ certificate = \"example.com.pem\", key = \"example.com.key\" }`"),
        Unset("that of another server of this address; none has it: plain connections"),
        "TLS towards clients; each server of an address may have its own, chosen by name (SNI)",
    ),
    at(&[Listen], "udp", Switch, Is("false"), "datagrams instead of connections; in a `[[stream]]` alone"),
];
