//! Does weir reach the service that a server names?

use super::{Check, Named, listed, network_mode, networks};
use crate::compose::model::Service;
use crate::config::Diagnostic;
use crate::config::suggest::closest;

/// The service that the name leads to, if it leads to one; what is wrong with it is added to `found`.
pub(super) fn check<'a>(
    check: &Check<'a>,
    weir: Option<&Service>,
    server: Named<'a>,
    found: &mut Vec<Diagnostic>,
) -> Option<&'a Service> {
    let own_network = weir.and_then(network_mode);
    let Some(service) = check.service(server.host) else {
        found.extend(unknown(check, weir, server).map(|unknown| check.at(server, unknown)));
        return None;
    };
    let weir = weir?;
    if std::ptr::eq(service, weir) {
        return Some(service);
    }
    match own_network {
        Some("host") => {
            let place = weir.network_mode.as_ref().map(|mode| &mode.place)?;
            let message = format!("weir is on the host's network, where `{}` is no name", server.host);
            let mistake =
                place.beside(check.at(server, Diagnostic::error(message)), "names of services are not known here");
            found.push(
                mistake.help("remove `network_mode`, and publish weir's ports; or write the port that the host has"),
            );
            return Some(service);
        }
        Some(_) => return Some(service),
        None => {}
    }
    if let Some(mode) = &service.network_mode {
        let message = format!("`{}` has no name on a network: its `network_mode` is `{}`", service.name, mode.value);
        let mistake =
            mode.place.beside(check.at(server, Diagnostic::error(message)), "this takes it off every network");
        let help = match mode.value.strip_prefix("service:") {
            Some(other) => format!("write `{other}`, whose network it shares"),
            None if mode.value == "host" => {
                "write `host.docker.internal`, and give weir `extra_hosts: [\"host.docker.internal:host-gateway\"]`"
                    .into()
            }
            None => "remove `network_mode`".into(),
        };
        found.push(mistake.help(help));
        return Some(service);
    }
    let (ours, theirs) = (networks(weir), networks(service));
    if !ours.iter().any(|network| theirs.contains(network)) {
        found.push(apart(check, weir, service, server, &ours, &theirs));
    }
    Some(service)
}

fn apart(
    check: &Check<'_>,
    weir: &Service,
    service: &Service,
    server: Named<'_>,
    ours: &[&str],
    theirs: &[&str],
) -> Diagnostic {
    let message = format!("`{}` and `{}` share no network", weir.name, service.name);
    let mut mistake = check.at(server, Diagnostic::error(message)).label("weir cannot reach it");
    for (service, networks) in [(weir, ours), (service, theirs)] {
        let place = service.networks.iter().flatten().next().map_or(&service.place, |joined| &joined.place);
        mistake = place.beside(mistake, format!("`{}` is on {}", service.name, listed(networks.iter().copied())));
    }
    let all = |networks: &[&str], more: &str| {
        let list: Vec<&str> = networks.iter().copied().chain([more]).collect();
        list.join(", ")
    };
    let shared = theirs.first().copied().unwrap_or("default");
    mistake.help(format!("give `{}` the network: `networks: [{}]`", weir.name, all(ours, shared)))
}

/// What to say of a name that is no service; `None`: it may well be somebody outside.
fn unknown(check: &Check<'_>, weir: Option<&Service>, server: Named<'_>) -> Option<Diagnostic> {
    let host = server.host;
    let known_to_weir = |weir: &Service| weir.own_names.iter().any(|name| name.eq_ignore_ascii_case(host));
    if weir.is_some_and(known_to_weir) {
        return None;
    }
    if host == "localhost" || host.ends_with(".localhost") {
        return own_container(check, weir);
    }
    if host == "host.docker.internal" {
        let help = "give weir `extra_hosts: [\"host.docker.internal:host-gateway\"]`";
        let message = "`host.docker.internal` is known on Linux only where `extra_hosts` names it";
        let mistake = Diagnostic::warning(message).help(help);
        return Some(match weir {
            Some(weir) => weir.place.beside(mistake, "has no such entry"),
            None => mistake,
        });
    }
    // A name with a dot is somebody else's; so may be one on a network that others are on.
    if host.trim_end_matches('.').contains('.') {
        return None;
    }
    let message = format!("there is no service `{host}`");
    let outside = weir.is_some_and(|weir| {
        networks(weir).iter().any(|network| check.project.external_networks.iter().any(|external| external == network))
    });
    let mistake = match outside {
        true => Diagnostic::warning(format!("{message}, unless another project has it on this network")),
        false => Diagnostic::error(message),
    };
    Some(match closest(host, candidates(check)) {
        Some(near) => {
            let mistake = mistake.help(format!("did you mean `{near}`?"));
            match check.service(near) {
                Some(service) => service.place.beside(mistake, "this one?"),
                None => mistake,
            }
        }
        None => match others(check) {
            others if others.is_empty() => mistake,
            others => mistake.help(format!("these are: {others}")),
        },
    })
}

/// What may have been meant: first who is not named yet.
fn candidates<'a>(check: &Check<'a>) -> Vec<&'a str> {
    let names = check.project.services.iter().flat_map(|service| {
        let container = service.container_name.as_ref().map(|name| name.value.as_str());
        [Some(service.name.as_str()), container].into_iter().flatten()
    });
    let named = |name: &&str| check.named().any(|server| server.host.eq_ignore_ascii_case(name));
    let (named, fresh): (Vec<&str>, Vec<&str>) = names.partition(named);
    fresh.into_iter().chain(named).collect()
}

/// The services that are not weir.
fn others(check: &Check<'_>) -> String {
    let others =
        check.project.services.iter().filter(|service| !check.weirs.iter().any(|weir| std::ptr::eq(*weir, *service)));
    listed(others.map(|service| service.name.as_str()).take(20))
}

/// `localhost` is weir itself, unless others share its network.
fn own_container(check: &Check<'_>, weir: Option<&Service>) -> Option<Diagnostic> {
    let weir = weir?;
    let shares = |service: &Service| network_mode(service).is_some_and(|mode| mode == format!("service:{}", weir.name));
    if network_mode(weir).is_some() || check.project.services.iter().any(shares) {
        return None;
    }
    let others = others(check);
    let mistake = Diagnostic::error("`localhost` is weir's own container").label("nobody else listens there");
    let mistake = weir.place.beside(mistake, "weir runs here");
    Some(if others.is_empty() { mistake } else { mistake.help(format!("write the name of a service: {others}")) })
}
