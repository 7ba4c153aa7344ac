//! Who can reach whom from the host? Published ports and fixed names can be had once.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;

use super::{Check, network_mode};
use crate::compose::image::plain;
use crate::compose::model::{Port, Service};
use crate::config::Diagnostic;
use crate::config::diagnostic::Span;
use crate::config::model::AdminListen;
use crate::endpoint::Endpoint;

/// Adds what is wrong with `ports` and `container_name`.
pub(super) fn check(check: &Check<'_>, found: &mut Vec<Diagnostic>) {
    for weir in &check.weirs {
        weir_ports(check, weir, found);
        mounted_file(check, weir, found);
    }
    for service in &check.project.services {
        several_of_one(service, found);
    }
    taken_twice(check, found);
}

/// Where weir listens and where it is published must be the same.
fn weir_ports(check: &Check<'_>, weir: &Service, found: &mut Vec<Diagnostic>) {
    if network_mode(weir).is_some() {
        return;
    }
    let listens = listens(check);
    for Listening { address, udp, place } in &listens {
        let port = address.port();
        let at = |diagnostic: Diagnostic| match place {
            Some(place) => diagnostic.at(place.clone()),
            None => diagnostic,
        };
        let published =
            |port: u16| weir.ports.iter().any(|entry| entry.not_tcp == *udp && entry.target.contains(&port));
        if address.ip().is_loopback() {
            if published(port) {
                let message = format!("{address} can be reached from weir's own container alone");
                let mistake = weir.place.beside(at(Diagnostic::error(message)), "publishing it does not help");
                found.push(mistake.help(format!("write `listen = {port}`")));
            }
        } else if port != 0 && !published(port) && !weir.expose.iter().any(|range| range.value.contains(&port)) {
            let message = format!("port {port} of weir is not published");
            let warning = weir.place.beside(at(Diagnostic::warning(message)), "nobody outside reaches it there");
            let protocol = if *udp { "/udp" } else { "" };
            let help = format!("write `ports: [\"{}:{port}{protocol}\"]`", if port == 80 { 8080 } else { port });
            let inside = format!("or, if it is for other containers alone, `expose: [\"{port}\"]`");
            found.push(warning.help(help).help(inside));
        }
    }
    let admin = match check.config.admin.listen {
        Some(AdminListen::Tcp(address)) => Some(address.port()),
        _ => None,
    };
    for entry in &weir.ports {
        let same: Vec<&Listening> = listens.iter().filter(|listening| listening.udp == entry.not_tcp).collect();
        let ports: Vec<u16> = same.iter().map(|listening| listening.address.port()).chain(admin).collect();
        // Port 0 is one that the system chooses.
        if ports.iter().any(|port| *port == 0 || entry.target.contains(port)) {
            continue;
        }
        let target = entry.target.start();
        let protocol = if entry.not_tcp { "UDP port" } else { "port" };
        let mistake = entry.place.of(Diagnostic::error(format!("weir does not listen on {protocol} {target}")));
        let Some(first) = same.iter().find(|listening| !listening.address.ip().is_loopback()) else {
            found.push(mistake.help("remove it"));
            continue;
        };
        let listening = same.iter().map(|listening| listening.address.to_string()).collect::<Vec<_>>().join(", ");
        let mistake = match &first.place {
            Some(place) => mistake.beside(0, place.clone(), format!("it listens on {listening}")),
            None => mistake.note(format!("it listens on {listening}")),
        };
        let host = entry.published.as_ref().map_or(8080, |published| *published.start());
        let protocol = if entry.not_tcp { "/udp" } else { "" };
        found.push(mistake.help(format!("write `\"{host}:{}{protocol}\"`", first.address.port())));
    }
}

/// One address that weir listens on.
#[derive(Debug)]
struct Listening {
    address: SocketAddr,
    udp: bool,
    place: Option<Span>,
}

/// Each address once, of servers and then of streams.
fn listens(check: &Check<'_>) -> Vec<Listening> {
    let servers = check.config.servers.iter().enumerate().flat_map(|(index, server)| {
        let place = move |nth| check.places.listen(index, nth);
        server.listen.iter().enumerate().map(move |(nth, listen)| (listen, place(nth)))
    });
    let streams = check.config.streams.iter().enumerate().flat_map(|(index, stream)| {
        let place = move |nth| check.places.stream_listen(index, nth);
        stream.listen.iter().enumerate().map(move |(nth, listen)| (listen, place(nth)))
    });
    let mut listens: Vec<Listening> = Vec::new();
    for (listen, place) in servers.chain(streams) {
        let Endpoint::Ip(address) = listen.address else { continue };
        if !listens.iter().any(|known| known.address == address && known.udp == listen.udp) {
            listens.push(Listening { address, udp: listen.udp, place });
        }
    }
    listens
}

/// A mounted file is the file that was there when the container started: editors put another in its place.
fn mounted_file(check: &Check<'_>, weir: &Service, found: &mut Vec<Diagnostic>) {
    let path = plain(check.path);
    for mount in weir.mounts.iter().filter(|mount| mount.bind && mount.source == path) {
        let warning = mount.place.of(Diagnostic::warning("a file is mounted: weir will not see it edited"));
        let warning =
            warning.note("most editors save a new file in place of the old one, and the container keeps the old");
        let inside = mount.target.rsplit_once('/').map_or("/etc/weir", |(folder, _)| folder);
        // As the compose file itself would name it.
        let base = Path::new(&check.project.sources[mount.place.file].0).parent().map(plain).unwrap_or_default();
        let folder = path.parent().unwrap_or(Path::new(""));
        let help = match folder.strip_prefix(&base) {
            Ok(folder) if folder == Path::new("") => {
                format!("put it into a folder of its own and mount that: `./alb:{inside}:ro`")
            }
            Ok(folder) => format!("mount its folder: `./{}:{inside}:ro`", folder.display()),
            Err(_) => format!("mount its folder, `{}`, as `{inside}`", folder.display()),
        };
        found.push(warning.help(help));
    }
}

/// What there is only one of cannot be had by several replicas.
fn several_of_one(service: &Service, found: &mut Vec<Diagnostic>) {
    let replicas = service.replicas();
    let Some(place) = service.replicas.as_ref().map(|replicas| &replicas.place).filter(|_| replicas > 1) else {
        return;
    };
    if let Some(name) = &service.container_name {
        let message = format!("{replicas} containers of `{}` cannot all be called `{}`", service.name, name.value);
        let mistake = name.place.of(Diagnostic::error(message)).label("one name");
        let mistake = place.beside(mistake, format!("{replicas} replicas"));
        found.push(mistake.help(format!("remove `container_name`: `{}` is the name of them all", service.name)));
    }
    for entry in service.ports.iter().filter(|entry| !entry.mesh) {
        let Some(published) = entry.published.as_ref().filter(|published| published.len() < replicas as usize) else {
            continue;
        };
        let (first, target) = (published.start(), entry.target.start());
        let message = format!("{replicas} containers of `{}` cannot all have port {first} of the host", service.name);
        let mistake = place.beside(entry.place.of(Diagnostic::error(message)), format!("{replicas} replicas"));
        let last = u32::from(*first) + replicas - 1;
        let help =
            format!("remove it: weir reaches port {target} without; or publish a range: `\"{first}-{last}:{target}\"`");
        found.push(mistake.help(help));
    }
}

fn taken_twice(check: &Check<'_>, found: &mut Vec<Diagnostic>) {
    let ports: Vec<(&Service, &Port)> = check
        .project
        .services
        .iter()
        .flat_map(|service| service.ports.iter().map(move |port| (service, port)))
        .collect();
    for (index, (service, port)) in ports.iter().enumerate() {
        let earlier = ports[..index].iter().find(|(other, earlier)| together(other, service) && collide(earlier, port));
        let (Some((other, earlier)), Some(published)) = (earlier, &port.published) else { continue };
        let message = format!("port {} of the host is taken twice", published.start());
        let mistake = port.place.of(Diagnostic::error(message)).label(format!("by `{}`", service.name));
        let mistake = earlier.place.beside(mistake, format!("by `{}`", other.name));
        let free = u32::from(*published.end()) + 1;
        found.push(
            mistake.help(format!("write another port in front of the colon: `\"{free}:{}\"`", port.target.start())),
        );
    }
    let named = |service: &Service| service.container_name.as_ref().map(|name| name.value.clone());
    for (index, service) in check.project.services.iter().enumerate() {
        let Some(name) = &service.container_name else { continue };
        let twin = check.project.services[..index].iter().find(|other| named(other).as_ref() == Some(&name.value));
        if let Some(twin) = twin {
            let mistake = name.place.of(Diagnostic::error(format!("two containers cannot be called `{}`", name.value)));
            found.push(twin.place.beside(mistake, "this is one, too").help("remove one of the two `container_name`"));
        }
    }
}

/// Whether both may run at once: with profiles of their own only if one is common to both.
fn together(a: &Service, b: &Service) -> bool {
    a.profiles.is_empty() || b.profiles.is_empty() || a.profiles.iter().any(|profile| b.profiles.contains(profile))
}

fn collide(a: &Port, b: &Port) -> bool {
    let overlap = |a: &RangeInclusive<u16>, b: &RangeInclusive<u16>| a.start() <= b.end() && b.start() <= a.end();
    let any = |ip: &str| matches!(ip, "" | "0.0.0.0" | "::");
    let address = a.host_ip == b.host_ip || any(&a.host_ip) || any(&b.host_ip);
    // Of a range Docker takes what is free.
    let fixed = |range: &RangeInclusive<u16>, target: &RangeInclusive<u16>| range.len() == target.len();
    match (&a.published, &b.published) {
        (Some(first), Some(second)) => {
            let fixed = fixed(first, &a.target) && fixed(second, &b.target);
            fixed && a.not_tcp == b.not_tcp && address && overlap(first, second)
        }
        _ => false,
    }
}
