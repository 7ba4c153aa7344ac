//! `[[server.location]]`, and its `path`.

use super::Fallback::{Is, Required, Unset};
use super::Kind::Own;
use super::Place::{Location, Path};
use super::{Directive, at};

pub(super) const TABLE: &[Directive] = &[
    at(
        &[Location],
        "path",
        Own("`\"/x/\"`, or `{ exact = \"/x\" }`"),
        Required,
        "the longest prefix wins; an exact path comes before any prefix",
    ),
    //
    at(&[Path], "exact", Own("a path that begins with `/`"), Required, "this path alone"),
    //
    at(
        &[Location],
        "proxy_pass",
        Own(
            "`\"http://NAME\"`, `\"http://HOST:PORT\"`, either with `https`, and with a path that replaces the prefix; `h2c`, `grpc` and `grpcs` speak HTTP/2",
        ),
        Required,
        "the upstream, or one application by its address; not with `return`",
    ),
    at(
        &[Location],
        "split",
        Own("a list: `[{ upstream = \"web-v2\", percent = 5 }]`"),
        Is("[]"),
        "upstreams that get a share of the requests, as canaries do; the rest goes to `proxy_pass`",
    ),
    at(
        &[Location],
        "split_key",
        Own("a template: `\"$remote_addr\"`"),
        Unset("requests are dealt out in turn"),
        "what keeps a client with its share, as in nginx's `split_clients`",
    ),
    at(
        &[Location],
        "mirror",
        Own("a table: `{ upstream = \"shadow\", percent = 10 }`"),
        Unset("no request is copied"),
        "an upstream that gets copies of requests; nobody waits for its answers, and nobody sees them",
    ),
];
