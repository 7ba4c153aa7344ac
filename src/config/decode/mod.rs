//! Which [`Config`] does the file describe? The walk over the written form; every mistake on the way is reported, and
//! what is wrong is left out, so that the walk goes on to the next mistake.

mod fields;
mod health_check;
mod location;
mod section;
mod server;
mod setting;
mod top;
mod unknown;
mod upstream;

use section::Section;
use upstream::Upstreams;

use super::directives::Place;
use super::model::{ClientLimits, Config, ProxySettings};
use super::written::{self, Sink, Table};
use super::{Diagnostic, Env};

/// The configuration and all that was found. If an error is among that, the configuration is not what the file says.
pub(super) fn decode(source: &str, env: &Env) -> (Config, Vec<Diagnostic>) {
    let sink = Sink::default();
    for mistake in env.mistakes() {
        sink.report(Diagnostic::error(mistake.clone()));
    }
    let table = written::read(source, env, &sink);
    let top = Section::read(Place::Top, &table, &sink);
    let mut upstreams = Upstreams::read(&top);
    let servers = server::read(&top, &mut upstreams);
    let admin = top::admin(&top, &servers, env);
    let mut config = top::config(&top, servers, admin);
    config.upstreams = upstreams.into_list(&sink);
    (config, sink.into_found())
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
