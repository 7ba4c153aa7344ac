//! Does the configuration fit the project? Each check points into both files and says what to type.

mod names;
mod ports;
mod publishing;
mod starting;

use std::path::Path;

use super::model::{Joined, Project, Service};
use crate::config::diagnostic::Span;
use crate::config::model::{Address, Upstream};
use crate::config::places::Places;
use crate::config::{Config, Diagnostic};

/// What is compared.
#[derive(Debug)]
pub(super) struct Check<'a> {
    /// The compose files.
    pub(super) project: &'a Project,
    /// The configuration.
    pub(super) config: &'a Config,
    /// Where in its file things stand.
    pub(super) places: &'a Places,
    /// That file.
    pub(super) path: &'a Path,
    /// The services that run weir with it.
    pub(super) weirs: Vec<&'a Service>,
}

/// One server of the configuration that is given by name.
#[derive(Clone, Copy, Debug)]
struct Named<'a> {
    upstream: &'a Upstream,
    index: usize,
    host: &'a str,
    /// `None`: SRV records tell it.
    port: Option<u16>,
}

impl<'a> Check<'a> {
    /// All that was found: what is wrong with the configuration in its order, then with the compose files in theirs.
    pub(super) fn run(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        if self.weirs.is_empty() {
            found.push(self.no_weir());
        }
        let here = self.weirs.first().copied();
        for server in self.named() {
            let service = names::check(self, here, server, &mut found);
            if let Some(service) = service {
                ports::check(self, server, service, &mut found);
            }
        }
        starting::unasked(self, &mut found);
        publishing::check(self, &mut found);
        starting::check(self, &mut found);
        found
    }

    fn no_weir(&self) -> Diagnostic {
        let message = "no service here runs weir: what it can reach, and who can reach it, is not checked";
        Diagnostic::warning(message)
            .in_file(1)
            .help("is its `image` called `weir`, or built with `ENTRYPOINT [\"/weir\"]`?")
    }

    /// Every server that has a name, in the order of the configuration.
    fn named(&self) -> impl Iterator<Item = Named<'a>> {
        let config = self.config;
        config.upstreams.iter().flat_map(|upstream| {
            upstream.servers.iter().enumerate().filter_map(move |(index, server)| {
                let (host, port) = match &server.address {
                    Address::Name { host, port } => (host.as_str(), Some(*port)),
                    // `_http._tcp.app`: the name behind the labels of the service.
                    Address::Service { name } => (behind_labels(name)?, None),
                    _ => return None,
                };
                Some(Named { upstream, index, host, port })
            })
        })
    }

    /// Where a server stands in `upstream.toml`.
    fn place(&self, server: Named<'_>) -> Option<Span> {
        if !server.upstream.implicit {
            return self.places.server(&server.upstream.name, server.index);
        }
        let group = self.config.upstreams.iter().position(|upstream| std::ptr::eq(upstream, server.upstream));
        let servers = self.config.servers.iter().enumerate();
        let mut locations = servers.flat_map(|(index, server)| {
            server.locations.iter().enumerate().map(move |(location, proxied)| (index, location, proxied))
        });
        match locations.find(|(.., location)| location.upstream == group) {
            Some((server, location, _)) => self.places.pass(server, location),
            None => {
                let stream = self.config.streams.iter().position(|stream| Some(stream.upstream) == group)?;
                self.places.stream_pass(stream)
            }
        }
    }

    /// The diagnostic, pointing to a server of `upstream.toml`.
    fn at(&self, server: Named<'_>, diagnostic: Diagnostic) -> Diagnostic {
        match self.place(server) {
            Some(place) => diagnostic.at(place),
            None => diagnostic,
        }
    }

    /// The service that a name means for weir, be it not reachable.
    fn service(&self, host: &str) -> Option<&'a Service> {
        let host = host.strip_prefix("tasks.").unwrap_or(host);
        let by_name = self.project.service(host);
        by_name.or_else(|| self.project.services.iter().find(|service| answers_to(service, host)))
    }
}

fn behind_labels(mut name: &str) -> Option<&str> {
    while name.starts_with('_') {
        name = name.split_once('.')?.1;
    }
    Some(name)
}

/// Whether a service has this name besides its own: as a container, by an alias, or as one of its replicas.
fn answers_to(service: &Service, host: &str) -> bool {
    let container = service.container_name.as_ref().is_some_and(|name| name.value.eq_ignore_ascii_case(host));
    let alias = |joined: &Joined| joined.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(host));
    container || service.networks.iter().flatten().any(alias) || is_replica(service, host)
}

/// `PROJECT-SERVICE-1`, or with `_` as compose once had it.
fn is_replica(service: &Service, host: &str) -> bool {
    ['-', '_'].iter().any(|part| {
        let Some((name, number)) = host.rsplit_once(*part) else { return false };
        let of_service = name.to_ascii_lowercase().strip_suffix(&service.name.to_ascii_lowercase()).map(str::to_owned);
        !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && of_service.is_some_and(|project| project.len() > 1 && project.ends_with(*part))
    })
}

/// The networks of a service; the default one has no place.
fn networks(service: &Service) -> Vec<&str> {
    match (&service.network_mode, &service.networks) {
        (Some(_), _) => Vec::new(),
        (None, None) => vec!["default"],
        (None, Some(joined)) if joined.is_empty() => vec!["default"],
        (None, Some(joined)) => joined.iter().map(|joined| joined.name.as_str()).collect(),
    }
}

/// `network_mode: host`, or whose network it is otherwise.
fn network_mode(service: &Service) -> Option<&str> {
    service.network_mode.as_ref().map(|mode| mode.value.as_str())
}

/// `a, b and c`.
fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}
