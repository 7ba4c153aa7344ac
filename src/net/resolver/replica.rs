//! What is the host at this address called? Reverse DNS tells the names of replicas, for people to read.

use std::net::IpAddr;

use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::Dns;

/// What reverse DNS says of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reverse {
    /// The host is called so, without its domain or its container network.
    Called(String),
    /// It has no name, or one that says no more than the address does.
    Nameless,
    /// Nobody could say.
    Failed,
}

impl Dns {
    pub(super) async fn reverse(&self, addr: IpAddr) -> Reverse {
        match self.records(Name::from(addr), RecordType::PTR).await {
            Err(_) => Reverse::Failed,
            Ok(None) => Reverse::Nameless,
            Ok(Some(lookup)) => {
                let names = lookup.answers().iter().filter_map(|record| match &record.data {
                    RData::PTR(name) => Some(name.0.to_ascii()),
                    _ => None,
                });
                let name = names.filter_map(|name| own_name(&name, addr)).next();
                name.map_or(Reverse::Nameless, Reverse::Called)
            }
        }
    }
}

/// The part of a whole name that tells a replica from its siblings.
///
/// Docker's DNS answers `CONTAINER.NETWORK`. Compose begins both with the project's name, which says nothing here, and a
/// swarm ends the container's with the id of its task. Everywhere else it is the first label.
fn own_name(whole: &str, addr: IpAddr) -> Option<String> {
    let whole = whole.trim_end_matches('.');
    let (before_last, last) = whole.rsplit_once('.').unwrap_or((whole, ""));
    let of_docker = !last.is_empty() && (last.contains('_') || !before_last.contains('.'));
    let name = if of_docker {
        without_project(without_task(before_last), last)
    } else {
        whole.split('.').next().unwrap_or_default()
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let says_something = name != "localhost" && !name.contains(&addr.to_string().replace(['.', ':'], "-"));
    let fits = (1..=63).contains(&name.len()) && name.chars().all(allowed) && name.parse::<IpAddr>().is_err();
    (says_something && fits).then(|| name.to_owned())
}

/// `web_app.2.TASK` is `web_app.2`; a task's id has 25 letters and digits.
fn without_task(container: &str) -> &str {
    match container.rsplit_once('.') {
        Some((service, task)) if task.len() == 25 && task.bytes().all(|byte| byte.is_ascii_alphanumeric()) => service,
        _ => container,
    }
}

/// `alb_pyfla_app_2` on the network `alb_default` is `pyfla_app_2`; Compose v2 writes `alb-pyfla_app-2`.
fn without_project<'c>(container: &'c str, network: &str) -> &'c str {
    let ends = network.rmatch_indices('_').map(|(at, _)| &network[..at]);
    let mut rests = ends.filter_map(|project| container.strip_prefix(project)?.strip_prefix(['_', '-']));
    rests.find(|rest| !rest.is_empty()).unwrap_or(container)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_called_as_people_call_it() {
        for (whole, called) in [
            ("alb_pyfla_app_2.alb_default.", Some("pyfla_app_2")),
            ("alb-pyfla_app-2.alb_default.", Some("pyfla_app-2")),
            ("my_site_web_1.my_site_back_end.", Some("web_1")),
            ("pyfla_app1.alb_default.", Some("pyfla_app1")),
            ("nginx_alb.bridge2.", Some("nginx_alb")),
            ("stack_web.2.abcdefghijklmnopqrstuvwxy.stack_default.", Some("web.2")),
            ("web-0.web.shop.svc.cluster.local.", Some("web-0")),
            ("app7.example.com.", Some("app7")),
            ("172-18-0-5.web.shop.svc.cluster.local.", None),
            ("ip-172-18-0-5.ec2.internal.", None),
            ("localhost.", None),
            ("lonely.", Some("lonely")),
            ("bad\\032name.net_1.", None),
            (".", None),
        ] {
            assert_eq!(own_name(whole, [172, 18, 0, 5].into()).as_deref(), called, "{whole}");
        }
    }
}
