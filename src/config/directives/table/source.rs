//! Where servers come from beside the file: `consul` of an upstream.

use super::Fallback::{Is, Required, Unset};
use super::Kind::{Own, Text};
use super::Place::Consul;
use super::{Directive, at};

pub(super) const TABLE: &[Directive] = &[
    at(&[Consul], "service", Text, Required, "the name of the service"),
    at(&[Consul], "address", Own("`\"HOST:PORT\"`"), Is("\"127.0.0.1:8500\""), "an agent's HTTP API, without TLS"),
    at(&[Consul], "tag", Text, Unset("any"), "only instances with this tag"),
    at(&[Consul], "datacenter", Text, Unset("the agent's own"), "where the service is"),
    at(&[Consul], "token", Text, Unset("none"), "the ACL token: `service:read` and `node:read` are enough"),
];
