//! What does a compose file describe, as far as a balancer in it is concerned?

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::Place;

/// All files of a project as one, with `.env` and `${…}` filled in.
#[derive(Debug, Default)]
pub struct Project {
    /// Name and text of each file, in the order they were read.
    pub sources: Vec<(String, String)>,
    /// `services`, in the order of the files.
    pub services: Vec<Service>,
    /// Networks that are made elsewhere (`external: true`), where others may have names of their own.
    pub external_networks: Vec<String>,
    /// `configs` with the file each is made of.
    pub configs: BTreeMap<String, PathBuf>,
}

impl Project {
    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name.eq_ignore_ascii_case(name))
    }

    /// Their names, for a hint.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.services.iter().map(|service| service.name.as_str())
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// What it is.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// One service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its key in `services`.
    pub name: String,
    /// Where that stands.
    pub place: Place,
    /// `image`.
    pub image: Option<At<String>>,
    /// `build`.
    pub build: Option<Build>,
    /// `container_name`.
    pub container_name: Option<At<String>>,
    /// `deploy.replicas`, `scale`, or `--scale`.
    pub replicas: Option<At<u32>>,
    /// `ports`.
    pub ports: Vec<Port>,
    /// `expose`.
    pub expose: Vec<At<RangeInclusive<u16>>>,
    /// `networks`; `None`: the default one.
    pub networks: Option<Vec<Joined>>,
    /// `network_mode`.
    pub network_mode: Option<At<String>>,
    /// `healthcheck`.
    pub healthcheck: Option<Healthcheck>,
    /// `depends_on`.
    pub depends_on: Vec<Dependency>,
    /// `volumes` and `configs`, as far as they come from a path of the host.
    pub mounts: Vec<Mount>,
    /// `env_file` and `environment`.
    pub environment: BTreeMap<String, String>,
    /// `command`, in words.
    pub command: Option<At<Vec<String>>>,
    /// `entrypoint`, in words.
    pub entrypoint: Option<At<Vec<String>>>,
    /// Names of others that are known to this service alone: `extra_hosts`, and the aliases of `links`.
    pub own_names: Vec<String>,
    /// `profiles`.
    pub profiles: Vec<String>,
}

impl Service {
    /// One of which nothing is known yet.
    pub(super) fn new(name: &str, place: &Place) -> Service {
        Service {
            name: name.to_owned(),
            place: place.clone(),
            image: None,
            build: None,
            container_name: None,
            replicas: None,
            ports: Vec::new(),
            expose: Vec::new(),
            networks: None,
            network_mode: None,
            healthcheck: None,
            depends_on: Vec::new(),
            mounts: Vec::new(),
            environment: BTreeMap::new(),
            command: None,
            entrypoint: None,
            own_names: Vec::new(),
            profiles: Vec::new(),
        }
    }

    /// How many containers of it run.
    pub fn replicas(&self) -> u32 {
        self.replicas.as_ref().map_or(1, |replicas| replicas.value)
    }
}

/// `build`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The context's folder.
    pub context: PathBuf,
    /// The Dockerfile.
    pub dockerfile: PathBuf,
    /// `dockerfile_inline`.
    pub inline: Option<String>,
    /// `target`.
    pub target: Option<String>,
}

/// One entry of `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Where it stands.
    pub place: Place,
    /// The address of the host; empty: all of them.
    pub host_ip: String,
    /// Ports of the host; `None`: Docker chooses.
    pub published: Option<RangeInclusive<u16>>,
    /// Ports of the container.
    pub target: RangeInclusive<u16>,
    /// UDP, or SCTP.
    pub not_tcp: bool,
    /// `mode: ingress`: a swarm's own mesh has the port, for all replicas together.
    pub mesh: bool,
}

/// One network of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The network.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// `aliases` of the service in it.
    pub aliases: Vec<String>,
}

/// `healthcheck`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// It has a `test`.
    Own,
    /// `disable: true`, or `test: NONE`.
    Disabled(Place),
}

/// One entry of `depends_on`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The service.
    pub on: String,
    /// Where it stands.
    pub place: Place,
    /// `condition`.
    pub condition: Condition,
}

/// `depends_on.NAME.condition`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `service_started`, which the short form means.
    Started,
    /// `service_healthy`.
    Healthy,
    /// `service_completed_successfully`.
    Completed,
}

/// A path of the host in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it stands.
    pub place: Place,
    /// The path of the host.
    pub source: PathBuf,
    /// The path in the container.
    pub target: String,
    /// A bind mount, which follows the file's inode; else one of `configs`.
    pub bind: bool,
}
