//! What do the labels of a container ask for? Pure: from the engine's list to servers of groups.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use crate::config::model::{Address, UpstreamServer};

/// A running container, as `GET /containers/json` lists it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Listed {
    pub(super) id: String,
    names: Vec<String>,
    labels: HashMap<String, String>,
    ports: Vec<Port>,
    network_settings: Settings,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Port {
    private_port: u16,
    r#type: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Settings {
    networks: BTreeMap<String, Network>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    #[serde(rename = "IPAddress")]
    v4: String,
    #[serde(rename = "GlobalIPv6Address")]
    v6: String,
}

/// What a container wants to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) group: String,
    pub(super) server: UpstreamServer,
}

impl Listed {
    /// Its name, for people.
    pub(super) fn name(&self) -> &str {
        // Links of old add names with more than one slash.
        let own = self.names.iter().filter_map(|name| name.strip_prefix('/')).find(|name| !name.contains('/'));
        own.unwrap_or(self.id.get(..12).unwrap_or(&self.id))
    }

    /// The server that it wants to be.
    ///
    /// # Errors
    /// Why it cannot be one, and what to write.
    pub(super) fn wish(&self) -> Result<Wish, String> {
        let group = self.label("weir.upstream").ok_or("the label weir.upstream is missing")?.to_owned();
        let port = self.port()?;
        let addr = SocketAddr::new(self.address()?, port);
        let mut server = UpstreamServer::plain(&format!("{}:{port}", self.name()), Address::Ip(addr));
        if let Some(weight) = self.number("weir.weight", 1, 65_535)? {
            server.weight = weight;
        }
        if let Some(max_conns) = self.number("weir.max_conns", 0, u32::MAX)? {
            server.max_conns = max_conns;
        }
        server.backup = match self.label("weir.backup") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err("the label weir.backup takes true or false".to_owned()),
        };
        Ok(Wish { group, server })
    }

    /// `weir.port`, else the only port that the image exposes.
    fn port(&self) -> Result<u16, String> {
        if let Some(port) = self.number("weir.port", 1, 65_535)? {
            return u16::try_from(port).map_err(|_| "the label weir.port takes 1 to 65535".to_owned());
        }
        let mut exposed: Vec<u16> =
            self.ports.iter().filter(|port| port.r#type == "tcp").map(|port| port.private_port).collect();
        exposed.sort_unstable();
        exposed.dedup();
        match exposed[..] {
            [port] if port > 0 => Ok(port),
            _ => Err(format!("it exposes {} ports; write the label weir.port", exposed.len())),
        }
    }

    /// Its address in `weir.network`, else in the first of its networks.
    fn address(&self) -> Result<IpAddr, String> {
        let networks = &self.network_settings.networks;
        let of = |network: &Network| network.v4.parse().or_else(|_| network.v6.parse()).ok();
        match self.label("weir.network") {
            // Compose begins the names of networks with the project's.
            Some(wanted) => {
                let fits =
                    |name: &str| name == wanted || name.strip_suffix(wanted).is_some_and(|rest| rest.ends_with('_'));
                let found =
                    networks.get(wanted).or(networks.iter().find(|(name, _)| fits(name)).map(|(_, network)| network));
                let found =
                    found.ok_or_else(|| format!("it is not in the network {wanted} of its label weir.network"))?;
                of(found).ok_or_else(|| format!("it has no address in the network {wanted}"))
            }
            None => {
                networks.values().find_map(of).ok_or_else(|| "it has no address of its own in any network".to_owned())
            }
        }
    }

    fn number(&self, label: &str, min: u32, max: u32) -> Result<Option<u32>, String> {
        let Some(text) = self.label(label) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        number.map(Some).ok_or_else(|| format!("the label {label} takes a number, {min} to {max}"))
    }

    fn label(&self, label: &str) -> Option<&str> {
        self.labels.get(label).map(|text| text.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(labels: &[(&str, &str)], ports: &[u16], networks: &[(&str, &str)]) -> Listed {
        let labels: HashMap<_, _> = labels.iter().copied().collect();
        let ports: Vec<_> =
            ports.iter().map(|port| serde_json::json!({"PrivatePort": port, "Type": "tcp", "IP": "::"})).collect();
        let networks: HashMap<_, _> =
            networks.iter().map(|(name, ip)| (*name, serde_json::json!({"IPAddress": ip}))).collect();
        serde_json::from_value(serde_json::json!({
            "Id": "0123456789abcdef", "Names": ["/other/link", "/alb_app_1"], "Image": "app", "State": "running",
            "Labels": labels, "Ports": ports, "NetworkSettings": {"Networks": networks},
        }))
        .expect("as the engine lists it")
    }

    fn wish(listed: &Listed) -> Result<String, String> {
        let Wish { group, server } = listed.wish()?;
        let Address::Ip(addr) = server.address else { panic!("a literal address") };
        let backup = if server.backup { " backup" } else { "" };
        Ok(format!("{group}: {} at {addr} weight {}{backup}", server.text, server.weight))
    }

    const WEB: (&str, &str) = ("weir.upstream", "web");
    const NET: &[(&str, &str)] = &[("alb_default", "172.18.0.5")];

    #[test]
    fn labels_make_a_container_a_server() {
        let both = &[("alb_back", "172.19.0.2"), ("alb_front", "172.20.0.2")][..];
        for (labels, ports, networks, wanted) in [
            (&[WEB, ("weir.port", "5000")][..], &[][..], NET, "web: alb_app_1:5000 at 172.18.0.5:5000 weight 1"),
            (&[WEB], &[5000, 5000], NET, "web: alb_app_1:5000 at 172.18.0.5:5000 weight 1"),
            (
                &[WEB, ("weir.weight", "3"), ("weir.backup", "true")],
                &[80],
                NET,
                "web: alb_app_1:80 at 172.18.0.5:80 weight 3 backup",
            ),
            (&[WEB, ("weir.network", "front")], &[80], both, "web: alb_app_1:80 at 172.20.0.2:80 weight 1"),
            (&[WEB], &[80], both, "web: alb_app_1:80 at 172.19.0.2:80 weight 1"),
        ] {
            assert_eq!(wish(&listed(labels, ports, networks)), Ok(wanted.to_owned()), "{labels:?}");
        }
    }

    #[test]
    fn labels_that_make_no_sense_say_what_to_write() {
        for (labels, ports, networks, why) in [
            (&[][..], &[80][..], NET, "the label weir.upstream is missing"),
            (&[WEB], &[80, 81], NET, "it exposes 2 ports; write the label weir.port"),
            (&[WEB], &[], NET, "it exposes 0 ports; write the label weir.port"),
            (&[WEB, ("weir.port", "x")], &[80], NET, "the label weir.port takes a number, 1 to 65535"),
            (&[WEB, ("weir.weight", "0")], &[80], NET, "the label weir.weight takes a number, 1 to 65535"),
            (&[WEB, ("weir.backup", "yes")], &[80], NET, "the label weir.backup takes true or false"),
            (&[WEB, ("weir.network", "x")], &[80], NET, "it is not in the network x of its label weir.network"),
            (&[WEB], &[80], &[("host", "")], "it has no address of its own in any network"),
        ] {
            assert_eq!(wish(&listed(labels, ports, networks)), Err(why.to_owned()), "{labels:?}");
        }
    }
}
