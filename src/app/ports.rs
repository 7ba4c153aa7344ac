//! Which sockets does weir begin with? Those of the weir that it follows, those that the service manager has opened, and
//! the rest it binds itself.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use super::StartError;
use crate::admin;
use crate::config::Config;
use crate::control::publisher;
use crate::control::takeover::Successor;
use crate::endpoint::{Endpoint, Place};
use crate::net::datagrams::Datagrams;
use crate::net::listener::Listeners;
use crate::net::{Held, Inherited};

/// Sockets that are bound, before anybody accepts from them.
pub struct Ports {
    /// For connections, by configured address.
    pub listeners: Vec<(Endpoint, Listeners)>,
    /// For datagrams.
    pub datagrams: Vec<(SocketAddr, Datagrams)>,
    /// The admin listener: that it cannot be had is no reason not to serve.
    pub admin: Option<io::Result<admin::Listener>>,
    /// What could be handed on.
    pub held: Rc<Held>,
    /// What the predecessor has offered and this configuration listens on.
    pub taken: Vec<Place>,
}

impl Ports {
    /// Those of a configuration, for so many workers.
    ///
    /// # Errors
    /// One cannot be had, or none of the predecessor's is in the configuration.
    pub fn gather(
        config: &Config,
        workers: usize,
        mut inherited: Inherited,
        mut successor: Option<&mut Successor>,
    ) -> Result<Ports, StartError> {
        let lots = successor.as_mut().map(|successor| successor.take_lots()).unwrap_or_default();
        let offered: Vec<Place> = lots.iter().map(|lot| lot.place.clone()).collect();
        inherited.extend(lots);
        let there = inherited.len();
        let listeners = publisher::bind_all(publisher::addresses(config), workers, &mut inherited);
        let listeners = listeners.map_err(StartError::Listen)?;
        let datagrams = publisher::bind_datagrams(publisher::datagram_addresses(config), workers, &mut inherited);
        let datagrams = datagrams.map_err(StartError::Listen)?;
        if successor.is_some() && inherited.len() == there {
            let why = "the weir that runs listens on none of the addresses of this configuration";
            return Err(StartError::Takeover(why.to_owned()));
        }
        let held = Rc::new(Held::default());
        let admin = config.admin.listen.as_ref().map(|listen| admin::Listener::bind(listen, &held, &mut inherited));
        let rest: Vec<Place> = inherited.rest().into_iter().map(|lot| lot.place).collect();
        rest.iter().for_each(|place| tracing::info!("{place} is in no `listen`: its socket is closed"));
        let taken = offered.into_iter().filter(|place| !rest.contains(place)).collect();
        Ok(Ports { listeners, datagrams, admin, held, taken })
    }
}
