//! Which [`Config`] does the file describe? The walk over the written form; every mistake on the way is reported, and
//! what is wrong is left out, so that the walk goes on to the next mistake.

mod fields;
mod health_check;
mod limits;
mod location;
mod returns;
mod section;
mod server;
mod setting;
mod shares;
mod source;
mod sticky;
mod stream;
mod tls;
mod top;
mod unknown;
mod upstream;

pub(super) use fields::is_field_name;
use section::Section;
use upstream::Upstreams;

use std::path::PathBuf;

use super::directives::Place;
use super::files::Files;
use super::model::{Address, ClientLimits, Config, Limits, ProxySettings, UpstreamServer};
use super::written::{self, Node, Sink, Table};
use super::{Diagnostic, Env, address};
use crate::balancer::Method;

/// The configuration, all that was found, and the files that were read for it. If an error is among what was found, the
/// configuration is not what the file says.
pub(super) fn decode(source: &str, env: &Env) -> (Config, Vec<Diagnostic>, Vec<PathBuf>) {
    let sink = Sink::new(Files::of(env));
    for mistake in env.mistakes() {
        sink.report(Diagnostic::error(mistake.clone()));
    }
    let table = written::read(source, env, &sink);
    let top = Section::read(Place::Top, &table, &sink);
    let mut upstreams = Upstreams::read(&top, env.folder());
    let servers = server::read(&top, &mut upstreams);
    let streams = stream::read(&top, &servers, &mut upstreams);
    let admin = top::admin(&top, &servers, &streams, env);
    let mut config = top::config(&top, servers, streams, admin);
    config.upstreams = upstreams.into_list(&sink);
    let files = sink.files.list();
    (config, sink.into_found(), files)
}

/// The entries of a list of servers outside of the configuration; what is none of them is reported.
pub(super) fn servers(nodes: &[Node], method: &Method, sink: &Sink) -> Vec<UpstreamServer> {
    upstream::list(nodes, method, sink)
}

impl UpstreamServer {
    /// A server of this text, at this address, with the defaults of the directive table.
    pub fn plain(text: &str, address: Address) -> UpstreamServer {
        let (table, sink) = (Table::default(), Sink::default());
        upstream::server_of(&Section::read(Place::Peer, &table, &sink), text, address)
    }
}

impl Address {
    /// A name and a port; `None`: this cannot be a name.
    pub fn name(host: &str, port: u16) -> Option<Address> {
        address::name(host).ok().map(|host| Address::Name { host, port })
    }
}

/// The defaults of the directive table.
impl Default for ProxySettings {
    fn default() -> ProxySettings {
        let (table, sink) = (Table::default(), Sink::default());
        let top = Section::read(Place::Top, &table, &sink);
        location::proxy_settings(&section::Levels(&[&top]), &[&fields::Inherited::read(&top)])
    }
}

/// The defaults of the directive table.
impl Default for ClientLimits {
    fn default() -> ClientLimits {
        let (table, sink) = (Table::default(), Sink::default());
        let top = Section::read(Place::Top, &table, &sink);
        server::client_limits(&section::Levels(&[&top]))
    }
}

/// The defaults of the directive table.
impl Default for Limits {
    fn default() -> Limits {
        let (table, sink) = (Table::default(), Sink::default());
        let top = Section::read(Place::Top, &table, &sink);
        limits::limits(&section::Levels(&[&top]), &[])
    }
}
