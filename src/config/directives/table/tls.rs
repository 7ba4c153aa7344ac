//! TLS: towards servers `[upstream.NAME.tls]`, towards clients `tls` of an entry of `listen`, and `hsts`.

use super::Fallback::{Is, Required, Unset};
use super::Kind::{Choice, Own, Switch, Text, Time};
use super::Place::{Hsts, ListenTls, UpstreamTls};
use super::{Directive, at};
use crate::config::units::TimeUnit::Seconds;

const PEM: &str = "the path of a PEM file";
const VERSIONS: &str = "a list: `[\"TLSv1.2\", \"TLSv1.3\"]`";

pub(super) const TABLE: &[Directive] = &[
    at(&[UpstreamTls], "verify", Switch, Is("true"), "whether the servers' certificates must be valid"),
    at(
        &[UpstreamTls],
        "ca_file",
        Own(PEM),
        Unset("the file that `SSL_CERT_FILE` of the environment names, else the roots of browsers, compiled in"),
        "who must have issued the servers' certificates",
    ),
    at(
        &[UpstreamTls],
        "server_name",
        Text,
        Unset("each server's own name or address, as written"),
        "the name that is asked for (SNI) and must stand in the certificate",
    ),
    at(&[UpstreamTls], "certificate", Own(PEM), Unset("none"), "what weir proves itself with"),
    at(&[UpstreamTls], "key", Own(PEM), Unset("none"), "the key of `certificate`"),
    at(&[UpstreamTls], "protocols", Own(VERSIONS), Is("[\"TLSv1.2\", \"TLSv1.3\"]"), "the versions that are spoken"),
    //
    at(
        &[ListenTls],
        "certificate",
        Own("the path of a PEM file, or a list: an RSA and an ECDSA one, or several names"),
        Required,
        "the server's certificate, followed by those of its issuers",
    ),
    at(&[ListenTls], "key", Own("the path of a PEM file, or a list as long as `certificate`"), Required, "its key"),
    at(&[ListenTls], "protocols", Own(VERSIONS), Is("[\"TLSv1.2\", \"TLSv1.3\"]"), "the versions that are spoken"),
    at(
        &[ListenTls],
        "verify_client",
        Choice(&["off", "optional", "on"]),
        Is("\"off\""),
        "whether clients must have a certificate; on: without one they get 400, and of a `[[stream]]` nothing",
    ),
    at(&[ListenTls], "client_ca_file", Own(PEM), Unset("none"), "who must have issued the clients' certificates"),
    //
    at(&[Hsts], "max_age", Time(Seconds, 0), Required, "how long browsers remember it"),
    at(&[Hsts], "include_subdomains", Switch, Is("false"), "for all names below as well"),
    at(&[Hsts], "preload", Switch, Is("false"), "consent to be put on the list that browsers carry"),
];
