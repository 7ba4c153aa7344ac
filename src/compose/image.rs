//! What is known of a service's container before it runs? From its Dockerfile, its image's name, and what compose says.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::command::{self, base_name};
use super::dockerfile::{self, Dockerfile};
use super::load::read;
use super::model::{Healthcheck, Project, Service};

/// Official images that people balance or wait for, and where they listen. None of them has a HEALTHCHECK.
const KNOWN: [(&str, &[u16]); 24] = [
    ("adminer", &[8080]),
    ("caddy", &[80, 443]),
    ("drupal", &[80]),
    ("elasticsearch", &[9200, 9300]),
    ("ghost", &[2368]),
    ("haproxy", &[]),
    ("httpd", &[80]),
    ("joomla", &[80]),
    ("mariadb", &[3306]),
    ("memcached", &[11211]),
    ("mongo", &[27017]),
    ("mysql", &[3306]),
    ("nats", &[4222, 6222, 8222]),
    ("nextcloud", &[80]),
    ("nginx", &[80]),
    ("node", &[]),
    ("phpmyadmin", &[80]),
    ("postgres", &[5432]),
    ("python", &[]),
    ("rabbitmq", &[5672, 15672]),
    ("redis", &[6379]),
    ("registry", &[5000]),
    ("tomcat", &[8080]),
    ("wordpress", &[80]),
];

/// Why a port is taken for one that a container listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    /// The port.
    pub(super) port: u16,
    /// In words: "its Dockerfile exposes 5000".
    pub(super) why: String,
    /// The user wrote it; else it is only what such an image usually does.
    pub(super) written: bool,
}

/// Whether something asks a container how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Yes,
    No,
    /// Nothing here says so; the image may.
    Unknown,
}

/// The Dockerfile of a service: of its `build`, or of the service that builds the image it uses.
fn dockerfile(project: &Project, service: &Service) -> Option<(String, Dockerfile)> {
    let builder = match (&service.build, &service.image) {
        (Some(_), _) => Some(service),
        (None, Some(image)) => project.services.iter().find(|other| {
            other.build.is_some() && other.image.as_ref().is_some_and(|other| other.value == image.value)
        }),
        (None, None) => None,
    };
    let build = builder?.build.as_ref()?;
    let text = match &build.inline {
        Some(text) => text.clone(),
        None => read(&build.dockerfile).ok()?,
    };
    let name = build.dockerfile.display().to_string();
    Some((name, dockerfile::read(&text, build.target.as_deref())))
}

/// `docker.io/library/redis:7@sha256:…` is `redis`; somebody's own `example/redis` is not.
fn known(image: &str) -> Option<&'static [u16]> {
    let name = without_tag(image);
    let name = ["docker.io/library/", "docker.io/", "library/"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    // PHP's FastCGI is no HTTP.
    if image.contains("fpm") {
        return Some(&[9000]);
    }
    KNOWN.iter().find(|(known, _)| *known == name).map(|(_, ports)| *ports)
}

fn without_tag(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

fn is_weir_image(image: &str) -> bool {
    base_name(without_tag(image)) == "weir"
}

/// The ports that a service is known to listen on, and why. None: nothing is known.
pub(super) fn listens(project: &Project, service: &Service) -> Vec<Evidence> {
    let mut found = Vec::new();
    let mut add = |port: u16, written: bool, why: String| found.push(Evidence { port, why, written });
    let commanded = |words: &[String]| -> Vec<u16> { command::ports(words) };
    for port in service.command.iter().chain(&service.entrypoint).flat_map(|words| commanded(&words.value)) {
        add(port, true, format!("its command says {port}"));
    }
    for port in command::ports_of_environment(|name| service.environment.get(name).map(String::as_str)) {
        add(port, true, format!("its environment says {port}"));
    }
    for range in &service.expose {
        for port in range.value.clone().take(MANY) {
            add(port, true, format!("`expose` says {port}"));
        }
    }
    for range in service.ports.iter().filter(|port| !port.not_tcp) {
        for port in range.target.clone().take(MANY) {
            add(port, true, format!("`ports` publishes {port}"));
        }
    }
    let file = dockerfile(project, service);
    let mut base = service.image.as_ref().filter(|_| file.is_none()).map(|image| image.value.clone());
    if let Some((name, file)) = file {
        for (port, line) in &file.exposes {
            add(*port, true, format!("{name}:{line} exposes {port}"));
        }
        if service.command.is_none() {
            for port in commanded(&file.command).into_iter().chain(commanded(&file.entrypoint)) {
                add(port, true, format!("the command of {name} says {port}"));
            }
        }
        let own = |variable: &str| file.variables.get(variable).filter(|_| !service.environment.contains_key(variable));
        for port in command::ports_of_environment(|variable| own(variable).map(String::as_str)) {
            add(port, true, format!("ENV of {name} says {port}"));
        }
        base = Some(file.base);
    }
    if let Some(base) = base {
        for port in known(&base).unwrap_or_default() {
            add(*port, false, format!("{} listens on {port}", without_tag(&base)));
        }
    }
    found.sort_by_key(|evidence| evidence.port);
    found.dedup_by_key(|evidence| evidence.port);
    found
}

/// A range of ports may be long; nobody lists more.
const MANY: usize = 1_000;

/// Whether Docker asks the service's containers how they are.
pub(super) fn asked(project: &Project, service: &Service) -> Asked {
    match service.healthcheck {
        Some(Healthcheck::Own) => return Asked::Yes,
        Some(Healthcheck::Disabled(_)) => return Asked::No,
        None => {}
    }
    let file = dockerfile(project, service);
    let base = match &file {
        Some((_, file)) => match file.healthcheck {
            Some(true) => return Asked::Yes,
            Some(false) => return Asked::No,
            None => Some(file.base.as_str()),
        },
        None => service.image.as_ref().map(|image| image.value.as_str()),
    };
    match base {
        Some(image) if is_weir_image(image) => Asked::Yes,
        Some(image) if known(image).is_some() => Asked::No,
        _ => Asked::Unknown,
    }
}

/// The services that run `weir run`, with this configuration if any of them mounts it.
pub(super) fn weirs<'a>(project: &'a Project, config: &Path) -> Vec<&'a Service> {
    let running: Vec<&Service> = project.services.iter().filter(|service| runs_weir(project, service)).collect();
    let mounts = |service: &&Service| mounted(project, service).is_some_and(|mounted| plain(&mounted) == plain(config));
    let mounting: Vec<&Service> = running.iter().copied().filter(|service| mounts(service)).collect();
    if mounting.is_empty() { running } else { mounting }
}

/// The `upstream.toml` that the project's weir mounts.
pub(super) fn mounted_config(project: &Project) -> Option<PathBuf> {
    let mut running = project.services.iter().filter(|service| runs_weir(project, service));
    running.find_map(|service| mounted(project, service))
}

/// The path of the host at which this weir's configuration lies.
pub(super) fn mounted(project: &Project, weir: &Service) -> Option<PathBuf> {
    let environment = environment_of(project, weir);
    let named = weir.command.as_ref().and_then(|words| {
        let at = words.value.iter().position(|word| word == "-c" || word == "--config")?;
        words.value.get(at + 1).cloned()
    });
    let inside = named.or_else(|| environment.get("WEIR_CONFIG").cloned()).unwrap_or("/etc/weir/upstream.toml".into());
    weir.mounts.iter().find_map(|mount| {
        let rest = Path::new(&inside).strip_prefix(&mount.target).ok()?;
        let path = if rest == Path::new("") { mount.source.clone() } else { mount.source.join(rest) };
        path.is_file().then_some(path)
    })
}

/// What stands in the environment of a weir's container: of its image, then of compose.
pub(super) fn environment(project: &Project, weir: &Service) -> BTreeMap<String, String> {
    environment_of(project, weir)
}

fn environment_of(project: &Project, service: &Service) -> BTreeMap<String, String> {
    let mut variables = dockerfile(project, service).map(|(_, file)| file.variables).unwrap_or_default();
    variables.extend(service.environment.clone());
    variables
}

fn runs_weir(project: &Project, service: &Service) -> bool {
    let file = dockerfile(project, service).map(|(_, file)| file);
    let entrypoint = match (&service.entrypoint, &file) {
        (Some(words), _) => words.value.first(),
        (None, Some(file)) => file.entrypoint.first(),
        (None, None) => None,
    };
    let image = match &file {
        Some(file) => file.base.as_str(),
        None => service.image.as_ref().map(|image| image.value.as_str()).unwrap_or_default(),
    };
    let is_weir = match entrypoint {
        Some(program) => base_name(program) == "weir",
        None => is_weir_image(image),
    };
    let own = service.command.as_ref().map(|words| &words.value);
    let command = own.or_else(|| file.as_ref().map(|file| &file.command).filter(|words| !words.is_empty()));
    is_weir && command.and_then(|words| words.first()).is_none_or(|word| word == "run")
}

/// Without `.` and `..`, so that two spellings of a path are one.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some_and(|name| name != "..") => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_its_name() {
        for (image, ports) in [
            ("redis", Some(&[6379][..])),
            ("redis:7-alpine", Some(&[6379])),
            ("docker.io/library/postgres:17", Some(&[5432])),
            ("httpd@sha256:abc", Some(&[80])),
            ("wordpress:6-fpm", Some(&[9000])),
            ("example/redis:7", None),
            ("localhost:5000/redis", None),
            ("pyfla_app", None),
        ] {
            assert_eq!(known(image), ports, "{image}");
        }
        for (image, weir) in
            [("weir", true), ("ghcr.io/x/weir:1.0", true), ("localhost:5000/weir", true), ("weird", false)]
        {
            assert_eq!(is_weir_image(image), weir, "{image}");
        }
    }

    #[test]
    fn spellings_of_a_path_are_one() {
        for (path, same) in
            [("./a/./b", "a/b"), ("a/../b", "b"), ("../a", "../a"), ("../../a", "../../a"), ("/a/b/..", "/a")]
        {
            assert_eq!(plain(Path::new(path)), Path::new(same), "{path}");
        }
    }
}
