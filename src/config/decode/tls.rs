//! With whom is TLS spoken, and how? `tls` of a `listen` and of an upstream, and `hsts`: the files they name are read and
//! judged here, so that what comes out works.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::fields::{texts, unfit};
use super::section::{Section, Settings};
use super::setting::{plain, plain_of, refuse_kind};
use crate::clock;
use crate::config::diagnostic::{Diagnostic, Unfit};
use crate::config::directives::Place;
use crate::config::units::{self, TimeUnit};
use crate::config::written::{Node, Sink, Table, Text, Value};
use crate::tls::{
    self, Acceptor, CertificateDer, ClientPolicy, ClientSettings, Connector, KeyPair, PairError, ServerSettings, Trust,
    VerifyClient, Versions, x509,
};

/// A certificate that ends within this time is worth a warning.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// `tls = { … }` of an entry of `listen`; `None`: reported.
pub(super) fn acceptor(table: &Table, sink: &Sink) -> Option<Arc<Acceptor>> {
    let section = Section::read(Place::ListenTls, table, sink);
    let pairs = pairs(&section);
    let clients = clients(&section);
    let versions = versions(&section);
    let settings = ServerSettings { pairs: pairs?, versions: versions?, clients: clients? };
    usable(Acceptor::new(settings), &section)
}

/// `[upstream.NAME.tls]`, or its defaults; `None`: reported.
pub(super) fn connector(table: &Table, sink: &Sink) -> Option<Arc<Connector>> {
    let section = Section::read(Place::UpstreamTls, table, sink);
    let trust = trust(&section);
    let server_name = server_name(&section);
    let pair = match section.has("certificate") || section.has("key") {
        true => pairs(&section).map(|pairs| pairs.into_iter().next()),
        false => Some(None),
    };
    let versions = versions(&section);
    let settings = ClientSettings { trust: trust?, server_name: server_name?, pair: pair?, versions: versions? };
    usable(Connector::new(settings), &section)
}

/// What was made from a section; why it could not be is reported.
fn usable<T>(made: Result<T, String>, section: &Section<'_>) -> Option<Arc<T>> {
    let report = |why| {
        section.sink.report(Diagnostic::error("this cannot be used for TLS").at(section.span.clone()).label(why));
    };
    made.map(Arc::new).map_err(report).ok()
}

/// `hsts = "1y"` or `{ max_age = "1y", … }`: the value of Strict-Transport-Security (RFC 6797 §6.1).
pub(super) fn hsts(section: &Section<'_>) -> Option<Arc<str>> {
    let node = section.node("hsts")?;
    let (age, rest) = match &node.value {
        Value::Table(table) => {
            let hsts = Section::read(Place::Hsts, table, section.sink);
            hsts.required("max_age", "max_age = \"1y\"")?;
            let (subdomains, preload) = (hsts.switch("include_subdomains"), hsts.switch("preload"));
            let age = hsts.time("max_age");
            // What the list that browsers carry demands: hstspreload.org.
            if preload && (!subdomains || age < Duration::from_secs(31_536_000)) {
                let mistake =
                    Diagnostic::error("`preload` needs `include_subdomains = true` and a `max_age` of a year");
                let place = hsts.key_span("preload").unwrap_or(node.span.clone());
                section.sink.report(
                    mistake
                        .at(place)
                        .help("write `hsts = { max_age = \"1y\", include_subdomains = true, preload = true }`"),
                );
            }
            let mut rest = String::new();
            if subdomains {
                rest.push_str("; includeSubDomains");
            }
            if preload {
                rest.push_str("; preload");
            }
            (age, rest)
        }
        Value::Text(text) => {
            let plain = plain(text, "hsts").map_err(|mistake| section.sink.report(*mistake)).ok()?;
            match units::time(&plain, TimeUnit::Seconds) {
                Ok(age) => (age, String::new()),
                Err(why) => {
                    let message = "`hsts` takes a time in whole seconds: `\"1y\"`, or a table".to_owned();
                    section.sink.report(unfit(text, message, Unfit::because(why)));
                    return None;
                }
            }
        }
        _ => {
            refuse_kind(node, "`hsts` takes a time: `\"1y\"`, or a table with `max_age`", section.sink);
            return None;
        }
    };
    Some(format!("max-age={}{rest}", age.as_secs()).into())
}

/// `certificate` and `key`: one pair, or as many of each.
fn pairs(section: &Section<'_>) -> Option<Vec<KeyPair>> {
    let sink = section.sink;
    let certificate = section.required("certificate", "certificate = \"example.com.pem\"");
    let key = section.required("key", "key = \"example.com.key\"");
    let (certificate, key) = (certificate?, key?);
    let (certificates, keys) = (texts(section, "certificate"), texts(section, "key"));
    let count = |node: &Node| match &node.value {
        Value::List(list) => list.len(),
        _ => 1,
    };
    if (certificates.len(), keys.len()) != (count(certificate), count(key)) {
        // Something in them was reported already.
        return None;
    }
    if certificates.len() != keys.len() || certificates.is_empty() {
        let mistake = Diagnostic::error("each `certificate` needs its `key`").at(key.span.clone());
        let label = format!("{} for {}", some(keys.len(), "key"), some(certificates.len(), "certificate"));
        sink.report(
            mistake.label(label).help("write them in the same order: the first key is that of the first certificate"),
        );
        return None;
    }
    // All of them, to report on all of them.
    let pairs: Vec<Option<KeyPair>> =
        certificates.iter().zip(&keys).map(|(certificate, key)| pair(certificate, key, sink)).collect();
    pairs.into_iter().collect()
}

fn some(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn pair((certificate, path): &(&Text, String), (key, key_path): &(&Text, String), sink: &Sink) -> Option<KeyPair> {
    let chain = contents(certificate, path, "certificate", sink);
    let secret = contents(key, key_path, "key", sink);
    match KeyPair::from_pem(&chain?, &secret?) {
        Ok(pair) => {
            judge_time(&pair, certificate, sink);
            Some(pair)
        }
        Err(error) => {
            let (text, what) = if error.is_of_key() { (key, "key") } else { (certificate, "certificate") };
            let mistake = Diagnostic::error(format!("this is no usable `{what}`")).at(text.span.clone());
            let mistake = mistake.label(error.to_string());
            sink.report(match error {
                PairError::Mismatch => mistake
                    .context(certificate.span.clone(), "this certificate")
                    .help("the server's own certificate must be the first in its file, those of its issuers follow"),
                PairError::Key(tls::PemError::Encrypted) => {
                    mistake.help("remove the passphrase: `openssl pkey -in KEY -out PLAIN`, mode 0600")
                }
                _ => mistake.help("weir reads PEM files: text that begins with `-----BEGIN`"),
            });
            None
        }
    }
}

fn judge_time(pair: &KeyPair, certificate: &Text, sink: &Sink) {
    let now = clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let soon = now.saturating_add(i64::try_from(SOON.as_secs()).unwrap_or_default());
    let summary = pair.summary();
    let at = |diagnostic: Diagnostic| diagnostic.at(certificate.span.clone());
    let (begins, ends) = (x509::date(summary.not_before), x509::date(summary.not_after));
    if summary.not_after < now {
        let mistake = at(Diagnostic::overdue(format!("the certificate has expired on {ends}")));
        sink.report(mistake.note("weir runs with it all the same, but clients refuse it").help("renew it"));
    } else if summary.not_before > now {
        let mistake = at(Diagnostic::overdue(format!("the certificate is valid from {begins} on")));
        sink.report(mistake.note("weir runs with it all the same, but clients refuse it until then"));
    } else if summary.not_after < soon {
        sink.report(at(Diagnostic::warning(format!("the certificate expires on {ends}"))).help("renew it"));
    }
}

/// `protocols`.
fn versions(section: &Section<'_>) -> Option<Versions> {
    let Some(node) = section.node("protocols") else { return Some(Versions::ALL) };
    let mut versions = Versions { tls12: false, tls13: false };
    let mut fine = true;
    for (text, plain) in texts(section, "protocols") {
        match plain.as_str() {
            "TLSv1.2" => versions.tls12 = true,
            "TLSv1.3" => versions.tls13 = true,
            old => {
                fine = false;
                let why = match old {
                    "SSLv2" | "SSLv3" | "TLSv1" | "TLSv1.0" | "TLSv1.1" => {
                        Unfit::because("this version is broken, and not spoken").help("remove it")
                    }
                    _ if plain.contains(' ') => Unfit::because("several versions are a list"),
                    _ => Unfit::because("there is no such version"),
                };
                let message = "`protocols` takes versions of TLS: `[\"TLSv1.2\", \"TLSv1.3\"]`".to_owned();
                section.sink.report(unfit(text, message, why));
            }
        }
    }
    if fine && versions == (Versions { tls12: false, tls13: false }) {
        let mistake = Diagnostic::error("`protocols` leaves nothing to speak").at(node.span.clone());
        section.sink.report(mistake.help("write `protocols = [\"TLSv1.2\", \"TLSv1.3\"]`"));
        fine = false;
    }
    fine.then_some(versions)
}

/// `verify_client` and `client_ca_file`.
fn clients(section: &Section<'_>) -> Option<ClientPolicy> {
    let verify = match section.word("verify_client") {
        "on" => VerifyClient::On,
        "optional" => VerifyClient::Optional,
        _ => VerifyClient::Off,
    };
    let authorities = authorities(section, "client_ca_file");
    if verify != VerifyClient::Off && !section.has("client_ca_file") {
        let place = section.key_span("verify_client").unwrap_or(section.span.clone());
        let mistake = Diagnostic::error("nobody is named whose certificates are believed").at(place);
        section.sink.report_absence(mistake.help("write `client_ca_file = \"clients.pem\"`"));
        return None;
    }
    if verify == VerifyClient::Off && section.has("client_ca_file") && !section.has("verify_client") {
        let place = section.key_span("client_ca_file").unwrap_or(section.span.clone());
        let mistake = Diagnostic::error("`client_ca_file` alone asks no client for a certificate").at(place);
        section.sink.report_absence(mistake.help("write `verify_client = \"on\"` or `\"optional\"`"));
    }
    Some(ClientPolicy { verify, authorities: authorities?.unwrap_or_default() })
}

/// `verify` and `ca_file`, else `SSL_CERT_FILE`, else the roots that are compiled in.
fn trust(section: &Section<'_>) -> Option<Trust> {
    let given = authorities(section, "ca_file")?;
    if !section.switch("verify") {
        let place = section.node("verify").map_or(section.span.clone(), |node| node.span.clone());
        let warning = Diagnostic::warning("the certificates of these servers are not verified").at(place);
        section.sink.report(
            warning
                .note("whoever sits between can read and change everything")
                .help("write `ca_file = \"ca.pem\"` with the authority that has issued them"),
        );
        return Some(Trust::Anybody);
    }
    if let Some(authorities) = given {
        return Some(Trust::Authorities(authorities));
    }
    let Some(path) = section.sink.files.authorities() else { return Some(Trust::WebRoots) };
    let found = section.sink.files.read(path).map_err(|error| unreadable(&error));
    match found.and_then(|bytes| tls::certificates(&bytes).map_err(|error| error.to_string())) {
        Ok(authorities) => Some(Trust::Authorities(authorities)),
        Err(why) => {
            let mistake = Diagnostic::error(format!("SSL_CERT_FILE of the environment cannot be used: {why}"));
            section.sink.report(mistake.help("correct it, remove it, or write `ca_file` in the upstream's `tls`"));
            None
        }
    }
}

/// The certificates in the file that a key names; `Some(None)`: it is not written; `None`: reported.
fn authorities(section: &Section<'_>, key: &str) -> Option<Option<Vec<CertificateDer<'static>>>> {
    let Some(node) = section.node(key) else { return Some(None) };
    let (text, path) = plain_of(node, key, &format!("`{key}` takes the path of a file"), section.sink)?;
    let bytes = contents(text, &path, key, section.sink)?;
    match tls::certificates(&bytes) {
        Ok(list) => Some(Some(list)),
        Err(error) => {
            let mistake = Diagnostic::error(format!("this is no usable `{key}`")).at(text.span.clone());
            section.sink.report(mistake.label(error.to_string()));
            None
        }
    }
}

/// `server_name` of an upstream's `tls`.
fn server_name(section: &Section<'_>) -> Option<Option<String>> {
    let Some(name) = section.text("server_name") else { return Some(None) };
    if tls::ServerName::try_from(name.as_str()).is_ok() {
        return Some(Some(name));
    }
    let place = section.node("server_name").map_or(section.span.clone(), |node| node.span.clone());
    let mistake = Diagnostic::error("`server_name` takes the name in the servers' certificate: `\"example.com\"`");
    section.sink.report(mistake.at(place).label("a name without scheme, port and `*`"));
    None
}

fn contents(text: &Text, path: &str, key: &str, sink: &Sink) -> Option<Vec<u8>> {
    match sink.files.read(Path::new(path)) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let mistake = Diagnostic::error(format!("the file of `{key}` cannot be read")).at(text.span.clone());
            let mistake = mistake.label(unreadable(&error));
            let relative = Path::new(path).is_relative() && error.kind() == io::ErrorKind::NotFound;
            sink.report(if relative {
                mistake.note("paths begin at the folder of this configuration")
            } else {
                mistake
            });
            None
        }
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "no permission to read it".to_owned(),
        _ => error.to_string(),
    }
}
