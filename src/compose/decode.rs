//! What does a service say? Each setting in the short and the long form that compose has for it. What is of no concern
//! to a balancer is passed over; so is what compose itself refuses, but for what the checks depend on.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::command::words;
use super::interpolate::interpolate;
use super::load::{Files, read};
use super::model::{At, Build, Condition, Dependency, Healthcheck, Joined, Mount, Port, Project, Service};
use super::yaml::{Entry, Node, Value};
use crate::config::{Diagnostic, env};

/// Reads what a service says on top of what an earlier file, or what it extends, has said.
pub(super) fn service(files: &Files<'_>, node: &Rc<Node>, base: &Path, service: &mut Service) {
    for entry in node.entries() {
        let value = &entry.node;
        match entry.key.as_str() {
            "image" => service.image = text(files, value),
            "build" => service.build = build(files, value, base),
            "container_name" => service.container_name = text(files, value),
            "scale" => service.replicas = number(files, value).or(service.replicas.take()),
            "deploy" => {
                let replicas = value.get("replicas").and_then(|replicas| number(files, replicas));
                service.replicas = replicas.or(service.replicas.take());
            }
            "ports" => extend(&mut service.ports, value, |item| port(files, item)),
            "expose" => extend(&mut service.expose, value, |item| {
                let text = text(files, item)?;
                let value = range(text.value.split('/').next().unwrap_or_default())?;
                Some(At { value, place: text.place })
            }),
            "networks" => networks_of(files, value, service),
            "network_mode" => service.network_mode = text(files, value),
            "healthcheck" => service.healthcheck = healthcheck(files, value).or(service.healthcheck.take()),
            "depends_on" => depends_on(files, value, service),
            "volumes" => extend(&mut service.mounts, value, |item| volume(files, item, base)),
            "configs" => extend(&mut service.mounts, value, |item| config(files, item)),
            "env_file" => {
                for item in value.items() {
                    env_file(files, &item, base, service);
                }
            }
            "command" => service.command = command(files, value),
            "entrypoint" => service.entrypoint = command(files, value),
            "links" => extend(&mut service.own_names, value, |item| {
                let link = text(files, item)?.value;
                Some(link.rsplit(':').next().unwrap_or(&link).to_owned())
            }),
            "extra_hosts" => extra_hosts(files, value, service),
            "profiles" => extend(&mut service.profiles, value, |item| text(files, item).map(|text| text.value)),
            _ => {}
        }
    }
    // Wins over `env_file`, wherever it stands.
    if let Some(environment) = node.get("environment") {
        environment_of(files, environment, service);
    }
}

/// `networks` at the top: those that are made elsewhere.
pub(super) fn networks(root: &Node, project: &mut Project) {
    let networks = root.get("networks").map(|networks| networks.entries()).unwrap_or_default();
    for entry in networks {
        let external = entry.node.get("external").is_some_and(|external| match &external.value {
            Value::Scalar(text) => text == "true",
            Value::Map(_) => true,
            _ => false,
        });
        if external && !project.external_networks.contains(&entry.key) {
            project.external_networks.push(entry.key.clone());
        }
    }
}

/// `configs` at the top: the files they are made of.
pub(super) fn configs(files: &Files<'_>, root: &Node, base: &Path, project: &mut Project) {
    let configs = root.get("configs").map(|configs| configs.entries()).unwrap_or_default();
    for entry in configs {
        if let Some(file) = entry.node.get("file").and_then(|file| text(files, file)) {
            project.configs.insert(entry.key.clone(), super::image::plain(&base.join(file.value)));
        }
    }
    // A service names a config; now it is known where it is.
    for service in &mut project.services {
        for mount in service.mounts.iter_mut().filter(|mount| !mount.bind) {
            if let Some(path) = mount.source.to_str().and_then(|name| project.configs.get(name)) {
                mount.source = path.clone();
            }
        }
    }
}

/// A text with `${…}` filled in; what cannot be filled in is reported.
pub(super) fn text(files: &Files<'_>, node: &Node) -> Option<At<String>> {
    let Value::Scalar(written) = &node.value else { return None };
    match interpolate(written, &|name| files.env.get(name).map(str::to_owned)) {
        Ok(value) => Some(At { value, place: node.place.clone() }),
        Err(why) => {
            files.report(node.place.of(Diagnostic::error("compose cannot fill in this text")).label(why));
            None
        }
    }
}

fn number(files: &Files<'_>, node: &Node) -> Option<At<u32>> {
    let text = text(files, node)?;
    Some(At { value: text.value.parse().ok()?, place: text.place })
}

/// Adds the items of a list; `!override` and `!reset` forget the earlier ones.
fn extend<T>(list: &mut Vec<T>, node: &Rc<Node>, read: impl FnMut(&Rc<Node>) -> Option<T>) {
    if node.overrides {
        list.clear();
    }
    let items = node.items();
    list.extend(items.iter().filter_map(read));
}

fn build(files: &Files<'_>, node: &Node, base: &Path) -> Option<Build> {
    let of = |key: &str| node.get(key).and_then(|node| text(files, node)).map(|text| text.value);
    let (context, dockerfile) = match &node.value {
        Value::Scalar(_) => (text(files, node)?.value, None),
        _ => (of("context").unwrap_or(".".into()), of("dockerfile")),
    };
    let context = base.join(context);
    let dockerfile = context.join(dockerfile.unwrap_or("Dockerfile".into()));
    Some(Build {
        dockerfile: super::image::plain(&dockerfile),
        context,
        inline: of("dockerfile_inline"),
        target: of("target"),
    })
}

/// `[[IP:]PUBLISHED:]TARGET[/PROTOCOL]`, or a table.
fn port(files: &Files<'_>, node: &Rc<Node>) -> Option<Port> {
    if let Value::Map(_) = &node.value {
        let of = |key: &str| node.get(key).and_then(|node| text(files, node)).map(|text| text.value);
        return Some(Port {
            place: node.place.clone(),
            host_ip: of("host_ip").unwrap_or_default(),
            published: of("published").and_then(|published| range(&published)),
            target: range(&of("target")?)?,
            not_tcp: of("protocol").is_some_and(|protocol| protocol != "tcp"),
            mesh: of("mode").is_some_and(|mode| mode == "ingress"),
        });
    }
    let At { value, place } = text(files, node)?;
    let (ports, protocol) = value.split_once('/').unwrap_or((&value, "tcp"));
    let (before, target) = ports.rsplit_once(':').map_or((None, ports), |(before, target)| (Some(before), target));
    let (host_ip, published) = match before.map(|before| before.rsplit_once(':').unwrap_or(("", before))) {
        Some((ip, published)) => (ip.trim_matches(['[', ']']).to_owned(), range(published)),
        None => (String::new(), None),
    };
    Some(Port { place, host_ip, published, target: range(target)?, not_tcp: protocol != "tcp", mesh: false })
}

/// `80`, `5001-5003`.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first > 0 && first <= last).then_some(first..=last)
}

fn networks_of(files: &Files<'_>, node: &Rc<Node>, service: &mut Service) {
    let joined = service.networks.get_or_insert_default();
    if node.overrides {
        joined.clear();
    }
    let mut join = |name: String, place, aliases| match joined.iter_mut().find(|known| known.name == name) {
        Some(known) => known.aliases.extend(aliases),
        None => joined.push(Joined { name, place, aliases }),
    };
    for (At { value: name, place }, more) in named(files, node) {
        let aliases = more.and_then(|more| Some(more.get("aliases")?.items())).unwrap_or_default();
        let aliases = aliases.iter().filter_map(|alias| Some(text(files, alias)?.value)).collect();
        join(name, place, aliases);
    }
}

/// A list of names, or a table with more of each.
fn named(files: &Files<'_>, node: &Rc<Node>) -> Vec<(At<String>, Option<Rc<Node>>)> {
    let long =
        |entry: &Entry| (At { value: entry.key.clone(), place: entry.place.clone() }, Some(Rc::clone(&entry.node)));
    match &node.value {
        Value::Map(entries) => entries.iter().map(long).collect(),
        _ => node.items().iter().filter_map(|item| Some((text(files, item)?, None))).collect(),
    }
}

fn healthcheck(files: &Files<'_>, node: &Rc<Node>) -> Option<Healthcheck> {
    let disabled =
        node.get("disable").and_then(|disable| text(files, disable)).is_some_and(|text| text.value == "true");
    let test = node.get("test").map(|test| test.items()).unwrap_or_default();
    let none = test.first().and_then(|first| text(files, first)).is_some_and(|text| text.value == "NONE");
    match (disabled || none, test.is_empty()) {
        (true, _) => Some(Healthcheck::Disabled(node.place.clone())),
        (false, false) => Some(Healthcheck::Own),
        // Times alone: the test is the image's.
        (false, true) => None,
    }
}

fn depends_on(files: &Files<'_>, node: &Rc<Node>, service: &mut Service) {
    if node.overrides {
        service.depends_on.clear();
    }
    let mut depend =
        |dependency: Dependency| match service.depends_on.iter_mut().find(|known| known.on == dependency.on) {
            Some(known) => *known = dependency,
            None => service.depends_on.push(dependency),
        };
    for (At { value: on, place }, more) in named(files, node) {
        let condition = more.and_then(|more| text(files, more.get("condition")?));
        let condition = match condition.as_ref().map(|condition| condition.value.as_str()) {
            Some("service_healthy") => Condition::Healthy,
            Some("service_completed_successfully") => Condition::Completed,
            _ => Condition::Started,
        };
        depend(Dependency { on, place, condition });
    }
}

/// `SOURCE:TARGET[:MODE]` whose source is a path, or a table of type `bind`.
fn volume(files: &Files<'_>, node: &Rc<Node>, base: &Path) -> Option<Mount> {
    let (source, target) = match &node.value {
        Value::Map(_) => {
            let of = |key: &str| node.get(key).and_then(|node| text(files, node)).map(|text| text.value);
            if of("type").as_deref() != Some("bind") {
                return None;
            }
            (of("source")?, of("target")?)
        }
        _ => {
            let text = text(files, node)?.value;
            let (source, rest) = text.split_once(':')?;
            if !source.starts_with(['.', '/', '~']) {
                return None;
            }
            (source.to_owned(), rest.split(':').next().unwrap_or(rest).to_owned())
        }
    };
    let source = super::image::plain(&base.join(source));
    Some(Mount { place: node.place.clone(), source, target, bind: true })
}

/// `NAME`, or a table; where its file is, is known when all of the file was read.
fn config(files: &Files<'_>, node: &Rc<Node>) -> Option<Mount> {
    let of = |key: &str| node.get(key).and_then(|node| text(files, node)).map(|text| text.value);
    let (source, target) = match &node.value {
        Value::Map(_) => (of("source")?, of("target")),
        _ => (text(files, node)?.value, None),
    };
    let target = target.unwrap_or_else(|| format!("/{source}"));
    Some(Mount { place: node.place.clone(), source: PathBuf::from(source), target, bind: false })
}

fn env_file(files: &Files<'_>, item: &Rc<Node>, base: &Path, service: &mut Service) {
    let Some(path) = text(files, item.get("path").unwrap_or(item)) else { return };
    let optional = item.get("required").and_then(|required| text(files, required));
    match read(&base.join(&path.value)) {
        Ok(text) => service.environment.extend(env::variables_of(&text)),
        Err(_) if optional.is_some_and(|required| required.value == "false") => {}
        Err(error) => {
            let mistake = Diagnostic::error(format!("`env_file` {} cannot be read", path.value));
            files.report(path.place.of(mistake).label(error.to_string()));
        }
    }
}

/// A map, or a list of `NAME=value`; a name alone has the value that `docker compose` has for it, if any.
fn environment_of(files: &Files<'_>, node: &Rc<Node>, service: &mut Service) {
    let mut set = |name: &str, value: Option<String>| {
        if let Some(value) = value.or_else(|| files.env.get(name).map(str::to_owned)) {
            service.environment.insert(name.to_owned(), value);
        }
    };
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                files.hide(entry.node.place.clone());
                set(&entry.key, text(files, &entry.node).map(|text| text.value));
            }
        }
        _ => {
            let items = node.items();
            items.iter().for_each(|item| files.hide(item.place.clone()));
            for item in items.iter().filter_map(|item| text(files, item)) {
                match item.value.split_once('=') {
                    Some((name, value)) => set(name, Some(value.to_owned())),
                    None => set(&item.value, None),
                }
            }
        }
    }
}

/// A list of words, or a line for them.
fn command(files: &Files<'_>, node: &Rc<Node>) -> Option<At<Vec<String>>> {
    let value = match &node.value {
        Value::List(items) => items.iter().filter_map(|item| Some(text(files, item)?.value)).collect(),
        Value::Scalar(_) => words(&text(files, node)?.value),
        _ => return None,
    };
    Some(At { value, place: node.place.clone() })
}

fn extra_hosts(files: &Files<'_>, node: &Rc<Node>, service: &mut Service) {
    let names: BTreeMap<String, ()> = match &node.value {
        Value::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), ())).collect(),
        _ => {
            let lines = node.items();
            let lines = lines.iter().filter_map(|item| text(files, item));
            lines.filter_map(|line| Some((line.value.split([':', '=']).next()?.to_owned(), ()))).collect()
        }
    };
    service.own_names.extend(names.into_keys());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;
    use std::path::PathBuf;

    /// The only service of a text.
    fn service(text: &str) -> Service {
        let folder = tempfile::tempdir().expect("a folder");
        let path: PathBuf = folder.path().join("compose.yaml");
        std::fs::write(&path, text).expect("it can be written");
        let env = Env::of([("TAG", "7")]);
        let project = super::super::load::project(&[path], &[], &env);
        project.unwrap_or_else(|mistakes| panic!("{mistakes}")).services.swap_remove(0)
    }

    /// Address, published ports, ports of the container, whether it is not TCP.
    type Told = (String, Option<RangeInclusive<u16>>, RangeInclusive<u16>, bool);

    fn ports(text: &str) -> Vec<Told> {
        let service = service(&format!("services:\n  app:\n    ports:\n{text}"));
        service.ports.into_iter().map(|port| (port.host_ip, port.published, port.target, port.not_tcp)).collect()
    }

    #[test]
    fn ports_have_a_short_form_and_a_long_one() {
        let any = String::new;
        for (text, port) in [
            ("- \"8080:80\"", (any(), Some(8080..=8080), 80..=80, false)),
            ("- 80", (any(), None, 80..=80, false)),
            ("- \"127.0.0.1:8080:80\"", ("127.0.0.1".into(), Some(8080..=8080), 80..=80, false)),
            ("- \"127.0.0.1::80\"", ("127.0.0.1".into(), None, 80..=80, false)),
            ("- \"[::1]:8080:80\"", ("::1".into(), Some(8080..=8080), 80..=80, false)),
            ("- \"5001-5003:5000\"", (any(), Some(5001..=5003), 5000..=5000, false)),
            ("- \"53:53/udp\"", (any(), Some(53..=53), 53..=53, true)),
            ("- \"${PORT:-8080}:${NONE:-80}\"", (any(), Some(8080..=8080), 80..=80, false)),
            ("- {target: 80, published: \"8080\", protocol: tcp}", (any(), Some(8080..=8080), 80..=80, false)),
            ("- target: 80\n        mode: host", (any(), None, 80..=80, false)),
        ] {
            assert_eq!(ports(&format!("      {text}\n")), [port], "{text}");
        }
        for text in ["- web", "- \"80:web\"", "- {published: 80}", "- 99999", "- \"9-1\""] {
            assert_eq!(ports(&format!("      {text}\n")), [], "{text}");
        }
    }

    #[test]
    fn lists_and_maps_say_the_same() {
        for environment in ["{A: one, B: 2}", "[A=one, B=2]", "[\"A=one\", \"B=2\", NONE]"] {
            let service = service(&format!("services:\n  app:\n    environment: {environment}\n"));
            let told: Vec<_> =
                service.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(told, [("A", "one"), ("B", "2")], "{environment}");
        }
        for (written, condition) in [
            ("[db]", Condition::Started),
            ("{db: {condition: service_started}}", Condition::Started),
            ("{db: {condition: service_healthy}}", Condition::Healthy),
            ("{db: {condition: service_completed_successfully}}", Condition::Completed),
        ] {
            let service = service(&format!("services:\n  app:\n    depends_on: {written}\n"));
            assert_eq!(
                (service.depends_on[0].on.as_str(), service.depends_on[0].condition),
                ("db", condition),
                "{written}"
            );
        }
        for networks in ["[front]", "{front: }", "{front: {}}"] {
            let service = service(&format!("services:\n  app:\n    networks: {networks}\n"));
            let names: Vec<_> = service.networks.iter().flatten().map(|joined| joined.name.as_str()).collect();
            assert_eq!(names, ["front"], "{networks}");
        }
        for command in ["python -m http.server 80", "[python, -m, http.server, \"80\"]"] {
            let service = service(&format!("services:\n  app:\n    command: {command}\n"));
            assert_eq!(service.command.expect("a command").value, ["python", "-m", "http.server", "80"]);
        }
    }

    #[test]
    fn a_health_check_may_be_there_switched_off_or_only_timed() {
        for (written, read) in [
            ("{test: [CMD, a]}", Some("own")),
            ("{test: curl -f localhost}", Some("own")),
            ("{disable: true}", Some("off")),
            ("{test: [NONE]}", Some("off")),
            ("{interval: 5s}", None),
        ] {
            let service = service(&format!("services:\n  app:\n    healthcheck: {written}\n"));
            let told = service.healthcheck.map(|check| match check {
                Healthcheck::Own => "own",
                Healthcheck::Disabled(_) => "off",
            });
            assert_eq!(told, read, "{written}");
        }
    }

    #[test]
    fn extensions_anchors_and_extends_are_followed() {
        let text = "x-app: &app\n  image: redis:${TAG}\n  expose: [1]\nservices:\n  app:\n    <<: *app\n    extends: {service: base}\n  \
                    base:\n    environment: {A: base}\n    expose: [2]\n";
        let app = service(text);
        assert_eq!(app.image.map(|image| image.value).as_deref(), Some("redis:7"));
        assert_eq!(app.environment["A"], "base");
        assert_eq!(app.expose.iter().map(|port| *port.value.start()).collect::<Vec<_>>(), [2, 1]);
    }
}
