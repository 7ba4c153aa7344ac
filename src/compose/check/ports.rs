//! Is the port one that the service listens on?

use super::{Check, Named};
use crate::compose::image::{self, Evidence};
use crate::compose::model::Service;
use crate::config::Diagnostic;

/// Adds what is wrong with the port of a server, and of its health check.
pub(super) fn check(check: &Check<'_>, server: Named<'_>, service: &Service, found: &mut Vec<Diagnostic>) {
    // weir itself listens where its configuration says.
    let (Some(port), false) = (server.port, check.weirs.iter().any(|weir| std::ptr::eq(*weir, service))) else {
        return;
    };
    let listens = image::listens(check.project, service);
    if listens.is_empty() {
        return;
    }
    if !listens.iter().any(|evidence| evidence.port == port) {
        found.push(elsewhere(check, server, service, port, &listens));
    }
    let probed = server.upstream.health_check.as_ref().and_then(|probe| probe.port);
    if let Some(probed) = probed.filter(|probed| *probed != port && !listens.iter().any(|known| known.port == *probed))
    {
        let message = format!("`{}` does not listen on port {probed}, where its health check asks", service.name);
        let warning = check.at(server, Diagnostic::warning(message)).note(reasons(&listens));
        found.push(warning.help(format!("if it does, say so: `expose: [\"{probed}\"]`")));
    }
}

fn elsewhere(check: &Check<'_>, server: Named<'_>, service: &Service, port: u16, listens: &[Evidence]) -> Diagnostic {
    let published = service
        .ports
        .iter()
        .find(|entry| !entry.not_tcp && entry.published.as_ref().is_some_and(|published| published.contains(&port)));
    if let Some(entry) = published {
        let inside = entry.target.start();
        let message = format!("port {port} of `{}` is the host's: among containers it is {inside}", service.name);
        let mistake = check.at(server, Diagnostic::error(message));
        let mistake = entry.place.beside(mistake, format!("published: {port} on the host, {inside} in the container"));
        return mistake.help(format!("write `{}:{inside}`", server.host));
    }
    let message = format!("`{}` does not listen on port {port}", service.name);
    let written = listens.iter().any(|evidence| evidence.written);
    let mistake = if written { Diagnostic::error(message) } else { Diagnostic::warning(message) };
    let mistake = service.place.beside(check.at(server, mistake), "this service").note(reasons(listens));
    let ports: Vec<String> = listens.iter().map(|evidence| evidence.port.to_string()).collect();
    let mistake = match &ports[..] {
        [only] => mistake.help(format!("write `{}:{only}`", server.host)),
        _ => mistake
            .help(format!("write one of these: {}", ports.iter().take(10).cloned().collect::<Vec<_>>().join(", "))),
    };
    mistake.help(format!("or, if it does listen there, say so in the compose file: `expose: [\"{port}\"]`"))
}

/// `its Dockerfile exposes 5000; "expose" says 8000`.
fn reasons(listens: &[Evidence]) -> String {
    let mut reasons: Vec<&str> = listens.iter().map(|evidence| evidence.why.as_str()).collect();
    reasons.truncate(5);
    reasons.join("; ")
}
