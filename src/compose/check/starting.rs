//! Who waits for whom, and who asks how a service is?

use super::{Check, Named, listed};
use crate::compose::image::{self, Asked};
use crate::compose::model::{Condition, Dependency, Service};
use crate::config::Diagnostic;
use crate::config::model::StreamServer;
use crate::config::suggest::closest;

/// Adds what is wrong with `depends_on`.
pub(super) fn check(check: &Check<'_>, found: &mut Vec<Diagnostic>) {
    for service in &check.project.services {
        for dependency in &service.depends_on {
            found.extend(depends(check, service, dependency));
        }
    }
}

fn depends(check: &Check<'_>, service: &Service, dependency: &Dependency) -> Option<Diagnostic> {
    let on = &dependency.on;
    let Some(other) = check.project.service(on) else {
        let mistake = dependency.place.of(Diagnostic::error(format!("there is no service `{on}`")));
        return Some(match closest(on, check.project.names()) {
            Some(near) => mistake.help(format!("did you mean `{near}`?")),
            None => mistake.help(format!("these are: {}", listed(check.project.names().take(20)))),
        });
    };
    match (dependency.condition, image::asked(check.project, other)) {
        (Condition::Healthy, Asked::No) => {
            let message = format!("`{on}` has no health check: `{}` would never start", service.name);
            let mistake = other.place.beside(dependency.place.of(Diagnostic::error(message)), "no `healthcheck` here");
            Some(mistake.help(example(check, other)))
        }
        (Condition::Started, Asked::Yes) if !weir_waits_itself(check, service, other) => {
            let message = format!("`{}` does not wait until `{on}` is healthy, only until it runs", service.name);
            let warning = dependency.place.of(Diagnostic::warning(message));
            Some(warning.help(format!("write `depends_on: {{ {on}: {{ condition: service_healthy }} }}`")))
        }
        _ => None,
    }
}

/// weir gives nobody a request before its own health check passes.
fn weir_waits_itself(check: &Check<'_>, service: &Service, on: &Service) -> bool {
    let balanced = |server: Named<'_>| {
        server.upstream.health_check.is_some()
            && check.service(server.host).is_some_and(|named| std::ptr::eq(named, on))
    };
    check.weirs.iter().any(|weir| std::ptr::eq(*weir, service)) && check.named().any(balanced)
}

/// Adds a warning for each upstream of which nobody asks how it is: neither weir nor Docker.
pub(super) fn unasked(check: &Check<'_>, found: &mut Vec<Diagnostic>) {
    let mut told = Vec::new();
    for server in check.named().filter(|server| server.upstream.health_check.is_none()) {
        let Some(service) = check.service(server.host) else { continue };
        let mut streams = check.config.streams.iter().filter(|stream| leads_to(check, stream, server)).peekable();
        let probe = if streams.peek().is_some() { "type = \"tcp\"" } else { "uri = \"/health\"" };
        // Of datagrams weir asks nothing.
        if streams.any(|stream| stream.listen.iter().any(|listen| listen.udp)) {
            continue;
        }
        if image::asked(check.project, service) == Asked::Yes || told.contains(&&*server.upstream.name) {
            continue;
        }
        told.push(&*server.upstream.name);
        let message = format!("nobody asks whether `{}` is healthy", service.name);
        let warning = check.at(server, Diagnostic::warning(message));
        let label = match service.build {
            Some(_) => "no `healthcheck` here, nor in its Dockerfile",
            None => "no `healthcheck` here",
        };
        let warning = service.place.beside(warning, label);
        let header = match (server.upstream.implicit, &server.upstream.name) {
            (true, _) => format!("give it an `[upstream.NAME]` with `health_check = {{ {probe} }}`"),
            (false, name) => format!("`health_check = {{ {probe} }}` in `[upstream.{name}]` makes weir ask"),
        };
        found.push(warning.help(header).help(example(check, service)));
    }
}

fn leads_to(check: &Check<'_>, stream: &StreamServer, server: Named<'_>) -> bool {
    check.config.upstreams.get(stream.upstream).is_some_and(|upstream| std::ptr::eq(upstream, server.upstream))
}

/// A health check for the compose file, by weir's own means if the image has them.
fn example(check: &Check<'_>, service: &Service) -> String {
    let image = service.image.as_ref().map(|image| image.value.as_str()).unwrap_or_default();
    let test = ["postgres", "redis", "mariadb", "mysql"]
        .iter()
        .find(|known| image.rsplit('/').next().unwrap_or(image).split([':', '@']).next() == Some(**known));
    let test = match test {
        Some(&"postgres") => "[\"CMD\", \"pg_isready\"]".to_owned(),
        Some(&"redis") => "[\"CMD\", \"redis-cli\", \"ping\"]".to_owned(),
        Some(&"mariadb") => "[\"CMD\", \"healthcheck.sh\", \"--connect\", \"--innodb_initialized\"]".to_owned(),
        Some(_) => "[\"CMD\", \"mysqladmin\", \"ping\"]".to_owned(),
        None => {
            let port = image::listens(check.project, service).first().map_or(80, |evidence| evidence.port);
            format!("[\"CMD\", \"/weir\", \"healthcheck\", \"http://localhost:{port}/health\"]")
        }
    };
    format!("`healthcheck: {{ test: {test} }}` in `{}` of the compose file makes Docker ask", service.name)
}
