//! Where in `upstream.toml` does something stand that the [`Config`](super::Config) has? For who compares the file with
//! another one; the order is that of the configuration.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Span;

/// Places of a file without mistakes.
#[derive(Clone, Debug, Default)]
pub struct Places {
    upstreams: Vec<(String, Span, Vec<Span>)>,
    listens: Vec<Vec<Span>>,
    passes: Vec<Vec<Option<Span>>>,
    streams: Vec<(Vec<Span>, Option<Span>)>,
}

/// The places of a text; what cannot be read has none.
pub fn of(text: &str) -> Places {
    let (document, _) = DeTable::parse_recoverable(text);
    let document = document.get_ref();
    let mut places = Places::default();
    if let Some(DeValue::Table(upstreams)) = get(document, "upstream").map(Spanned::get_ref) {
        for (name, upstream) in upstreams {
            let DeValue::Table(table) = upstream.get_ref() else { continue };
            let servers = get(table, "servers").map(|servers| spans(servers, "address")).unwrap_or_default();
            places.upstreams.push((name.get_ref().to_string(), name.span(), servers));
        }
    }
    for server in get(document, "server").map(items).unwrap_or_default() {
        let DeValue::Table(table) = server.get_ref() else { continue };
        places.listens.push(get(table, "listen").map(|listen| spans(listen, "address")).unwrap_or_default());
        let locations = get(table, "location").map(items).unwrap_or_default();
        let pass = |location: &&Spanned<DeValue<'_>>| match location.get_ref() {
            DeValue::Table(table) => get(table, "proxy_pass").map(Spanned::span),
            _ => None,
        };
        places.passes.push(locations.iter().map(pass).collect());
    }
    for stream in get(document, "stream").map(items).unwrap_or_default() {
        let DeValue::Table(table) = stream.get_ref() else { continue };
        let listens = get(table, "listen").map(|listen| spans(listen, "address")).unwrap_or_default();
        places.streams.push((listens, get(table, "proxy_pass").map(Spanned::span)));
    }
    places
}

impl Places {
    /// The name of an upstream in its header.
    pub fn upstream(&self, name: &str) -> Option<Span> {
        self.upstreams.iter().find(|(known, ..)| known == name).map(|(_, span, _)| span.clone())
    }

    /// The address of an upstream's server.
    pub fn server(&self, upstream: &str, index: usize) -> Option<Span> {
        let (.., servers) = self.upstreams.iter().find(|(known, ..)| known == upstream)?;
        servers.get(index).cloned()
    }

    /// An address that a `[[server]]` listens on.
    pub fn listen(&self, server: usize, index: usize) -> Option<Span> {
        self.listens.get(server)?.get(index).cloned()
    }

    /// The `proxy_pass` of a location.
    pub fn pass(&self, server: usize, location: usize) -> Option<Span> {
        self.passes.get(server)?.get(location)?.clone()
    }

    /// An address that a `[[stream]]` listens on.
    pub fn stream_listen(&self, stream: usize, index: usize) -> Option<Span> {
        self.streams.get(stream)?.0.get(index).cloned()
    }

    /// The `proxy_pass` of a `[[stream]]`.
    pub fn stream_pass(&self, stream: usize) -> Option<Span> {
        self.streams.get(stream)?.1.clone()
    }
}

fn get<'a, 'i>(table: &'a DeTable<'i>, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
}

fn items<'a, 'i>(value: &'a Spanned<DeValue<'i>>) -> Vec<&'a Spanned<DeValue<'i>>> {
    match value.get_ref() {
        DeValue::Array(items) => items.iter().collect(),
        _ => vec![value],
    }
}

/// Each item of a list or a single value; of a table its `key`.
fn spans(value: &Spanned<DeValue<'_>>, key: &str) -> Vec<Span> {
    let span = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
        DeValue::Table(table) => get(table, key).map_or(item.span(), Spanned::span),
        _ => item.span(),
    };
    items(value).into_iter().map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_listen_and_pass_has_its_place() {
        let text = "[upstream.web]\nservers = [\"a:1\", { address = \"b:2\" }]\n[[upstream.api.servers]]\naddress = \"c:3\"\n\
                    [[server]]\nlisten = 80\nlocation = [{ path = \"/\", proxy_pass = \"http://web\" }]\n\
                    [[server]]\nlisten = [81, { address = \"82\" }]\n[[server.location]]\nreturn = 204\n\
                    [[stream]]\nlisten = 90\nproxy_pass = \"db:5432\"\n";
        let places = of(text);
        let shown = |span: Option<Span>| span.map(|span| &text[span]);
        assert_eq!(shown(places.upstream("web")), Some("web"));
        assert_eq!(shown(places.server("web", 0)), Some("\"a:1\""));
        assert_eq!(shown(places.server("web", 1)), Some("\"b:2\""));
        assert_eq!(shown(places.server("web", 2)), None);
        assert_eq!(shown(places.server("api", 0)), Some("\"c:3\""));
        assert_eq!(shown(places.listen(0, 0)), Some("80"));
        assert_eq!(shown(places.listen(1, 1)), Some("\"82\""));
        assert_eq!(shown(places.pass(0, 0)), Some("\"http://web\""));
        assert_eq!(shown(places.pass(1, 0)), None);
        assert_eq!(shown(places.stream_listen(0, 0)), Some("90"));
        assert_eq!(shown(places.stream_pass(0)), Some("\"db:5432\""));
    }
}
