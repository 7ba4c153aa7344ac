//! Which project do these files make? Later files change earlier ones, as with `docker compose -f a -f b`.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::Place;
use super::decode;
use super::model::{At, Project, Service};
use super::yaml::{self, Node, Value};
use crate::config::suggest::closest;
use crate::config::{Diagnostic, Diagnostics, Env};
use crate::file;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Files that include and extend others.
const MAX_FILES: usize = 64;
/// Services that extend others that extend others.
const MAX_EXTENDS: usize = 16;

/// What a folder is searched for, as compose does, and what changes it.
const USUAL: [(&str, &str); 4] = [
    ("compose.yaml", "compose.override.yaml"),
    ("compose.yml", "compose.override.yml"),
    ("docker-compose.yml", "docker-compose.override.yml"),
    ("docker-compose.yaml", "docker-compose.override.yaml"),
];

/// What all files of a project have in common.
pub(super) struct Files<'a> {
    /// The environment of `docker compose`.
    pub(super) env: &'a Env,
    sources: RefCell<Vec<(String, String)>>,
    found: RefCell<Vec<Diagnostic>>,
    secrets: RefCell<Vec<Place>>,
}

/// One file, parsed.
struct Opened {
    root: Rc<Node>,
    /// The folder that its paths begin at.
    base: PathBuf,
}

/// Reads the files of a project. `Err` holds every mistake that makes it none.
pub(super) fn project(paths: &[PathBuf], scale: &[(String, u32)], env: &Env) -> Result<Project, Diagnostics> {
    let files = Files { env, sources: RefCell::default(), found: RefCell::default(), secrets: RefCell::default() };
    let mut project = Project::default();
    let paths: Vec<PathBuf> = paths.iter().flat_map(|path| of_folder(path)).collect();
    // As compose has it: paths in all of them begin at the folder of the first.
    let base = paths.first().map(|path| folder(path)).unwrap_or_default();
    for path in &paths {
        if let Some(root) = files.open(path, None) {
            files.add(&mut project, &Opened { root, base: base.clone() });
        }
    }
    for (name, replicas) in scale {
        files.scale(&mut project, name, *replicas);
    }
    let found = files.found.into_inner();
    project.sources = files.sources.into_inner();
    for place in files.secrets.into_inner() {
        mask(&mut project.sources[place.file].1, &place);
    }
    if found.iter().any(Diagnostic::is_error) {
        return Err(Diagnostics::new("", "", found).with_sources(project.sources));
    }
    Ok(project)
}

/// `*` for every byte but the ends of lines, so that all places stay.
fn mask(text: &mut String, place: &Place) {
    if let Some(secret) = text.get(place.span.clone()) {
        let masked: String = secret.bytes().map(|byte| if byte == b'\n' { '\n' } else { '*' }).collect();
        text.replace_range(place.span.clone(), &masked);
    }
}

/// A folder stands for the files that compose would take from it.
fn of_folder(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let usual = USUAL.iter().find(|(name, _)| path.join(name).is_file());
    let (name, change) = usual.unwrap_or(&USUAL[0]);
    [name, change]
        .map(|name| path.join(name))
        .into_iter()
        .filter(|file| file.is_file() || usual.is_none())
        .take(2)
        .collect()
}

fn folder(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

impl Files<'_> {
    /// Reports a mistake.
    pub(super) fn report(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }

    /// What stands here is never shown, although a mistake stands beside it.
    pub(super) fn hide(&self, place: Place) {
        self.secrets.borrow_mut().push(place);
    }

    /// Reads a file; `from` is where another one names it.
    fn open(&self, path: &Path, from: Option<&Place>) -> Option<Rc<Node>> {
        let refuse = |message: String| {
            let mistake = Diagnostic::error(message);
            self.report(from.map_or(mistake.clone(), |from| from.of(mistake)));
            None
        };
        let file = self.sources.borrow().len();
        if file >= MAX_FILES {
            return refuse("these are too many files".to_owned());
        }
        let text = match read(path) {
            Ok(text) => text,
            Err(error) => return refuse(format!("{} cannot be read: {error}", path.display())),
        };
        self.sources.borrow_mut().push((path.display().to_string(), text.clone()));
        yaml::parse(&text, file).map_err(|mistake| self.report(*mistake)).ok()
    }

    /// Adds what a file says to the project.
    fn add(&self, project: &mut Project, file: &Opened) {
        if let Some(include) = file.root.get("include") {
            for item in include.items() {
                self.include(project, &item, &file.base);
            }
        }
        let Some(services) = file.root.get("services") else {
            if file.root.get("include").is_none() {
                self.report(without_services(&file.root));
            }
            return;
        };
        if !matches!(services.value, Value::Map(_) | Value::Null) {
            self.report(services.place.of(Diagnostic::error("`services` takes a service a key")));
        }
        for entry in services.entries() {
            let known = project.services.iter().position(|service| service.name == entry.key);
            let mut service = match known {
                Some(index) => project.services[index].clone(),
                None => Service::new(&entry.key, &entry.place),
            };
            self.extended(&entry.key, file, &mut service, MAX_EXTENDS);
            match known {
                Some(index) => project.services[index] = service,
                None => project.services.push(service),
            }
        }
        decode::networks(&file.root, project);
        decode::configs(self, &file.root, &file.base, project);
    }

    /// `include: other.yaml`: its paths begin at its own folder.
    fn include(&self, project: &mut Project, item: &Rc<Node>, base: &Path) {
        let path = item.get("path").unwrap_or(item);
        for path in path.items() {
            let Some(name) = decode::text(self, &path) else { continue };
            let path_of = base.join(&name.value);
            if let Some(root) = self.open(&path_of, Some(&name.place)) {
                let base = folder(&path_of);
                self.add(project, &Opened { root, base });
            }
        }
    }

    /// Reads a service with what it `extends` beneath it.
    fn extended(&self, name: &str, file: &Opened, service: &mut Service, depth: usize) {
        let Some(node) = file.root.get("services").and_then(|services| services.get(name)) else { return };
        if let Some(extends) = node.get("extends") {
            let base = extends.get("service").unwrap_or(extends);
            let elsewhere = extends.get("file").and_then(|path| decode::text(self, path));
            if depth == 0 {
                self.report(extends.place.of(Diagnostic::error("services extend each other too deeply")));
            } else if let Some(base) = decode::text(self, base) {
                match elsewhere {
                    None => {
                        self.extends(&base, file, service, depth);
                    }
                    Some(path) => {
                        let path_of = file.base.join(&path.value);
                        if let Some(root) = self.open(&path_of, Some(&path.place)) {
                            let base_of = folder(&path_of);
                            self.extends(&base, &Opened { root, base: base_of }, service, depth);
                        }
                    }
                }
            }
        }
        decode::service(self, node, &file.base, service);
    }

    fn extends(&self, base: &At<String>, file: &Opened, service: &mut Service, depth: usize) {
        let services = file.root.get("services");
        if services.and_then(|services| services.get(&base.value)).is_none() {
            let names = services.map(|services| services.entries()).unwrap_or_default();
            let known = closest(&base.value, names.iter().map(|entry| entry.key.as_str()));
            self.report(base.place.of(no_such_service(&base.value, known)));
            return;
        }
        self.extended(&base.value, file, service, depth - 1);
    }

    fn scale(&self, project: &mut Project, name: &str, replicas: u32) {
        let Some(service) = project.services.iter_mut().find(|service| service.name == name) else {
            let known = closest(name, project.names());
            self.report(no_such_service(name, known).note("`--scale` names it"));
            return;
        };
        service.replicas = Some(At { value: replicas, place: service.place.clone() });
    }
}

fn no_such_service(name: &str, known: Option<&str>) -> Diagnostic {
    let mistake = Diagnostic::error(format!("there is no service `{name}`"));
    match known {
        Some(known) => mistake.help(format!("did you mean `{known}`?")),
        None => mistake,
    }
}

/// A file of the first format has its services at the top.
fn without_services(root: &Node) -> Diagnostic {
    let looks_like_one = |node: &Node| node.get("image").is_some() || node.get("build").is_some();
    let first = root.entries().iter().find(|entry| looks_like_one(&entry.node));
    match first {
        Some(entry) => {
            let message = "this is a compose file of the first format, which has no `services:`";
            let mistake = entry.place.of(Diagnostic::error(message)).label("a service at the top of the file");
            mistake.help("put `services:` in the first line, and two blanks before every line beneath it")
        }
        None => {
            let mistake = root.place.of(Diagnostic::error("there are no `services:` in this file"));
            match closest("services", root.entries().iter().map(|entry| entry.key.as_str())) {
                Some(key) => mistake.help(format!("did you mean `services` by `{key}`?")),
                None => mistake.help("is it a compose file?"),
            }
        }
    }
}

/// The text of a file.
pub(super) fn read(path: &Path) -> io::Result<String> {
    file::text(path, MAX_FILE)
}
