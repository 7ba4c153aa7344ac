//! What is the configuration of a test? One upstream, one server, one location, and what the test adds to each.

use super::backend::Backend;
use super::weir::Weir;

/// An `upstream.toml` in the making.
#[derive(Clone)]
pub struct Site {
    servers: Vec<String>,
    listen: String,
    top: String,
    upstream: String,
    location: String,
    rest: String,
}

impl Site {
    /// Plain entries, one per backend, in this order.
    pub fn of<const N: usize>(backends: [&Backend; N]) -> Site {
        Site::servers(backends.map(|backend| format!("\"{}\"", backend.address())))
    }

    /// Entries as they stand in `servers = [ … ]`.
    pub fn servers(entries: impl IntoIterator<Item = String>) -> Site {
        Site {
            servers: entries.into_iter().collect(),
            listen: "\"127.0.0.1:0\"".into(),
            top: String::new(),
            upstream: String::new(),
            location: String::new(),
            rest: String::new(),
        }
    }

    /// Says where it listens, as it stands behind `listen = `.
    pub fn listen(mut self, value: &str) -> Site {
        self.listen = value.into();
        self
    }

    /// Adds a line at the top of the file.
    pub fn top(mut self, line: &str) -> Site {
        self.top += &format!("{line}\n");
        self
    }

    /// Adds a line to `[upstream.web]`.
    pub fn upstream(mut self, line: &str) -> Site {
        self.upstream += &format!("{line}\n");
        self
    }

    /// Adds a line to the location `/`.
    pub fn location(mut self, line: &str) -> Site {
        self.location += &format!("{line}\n");
        self
    }

    /// Adds whole tables at the end.
    pub fn rest(mut self, tables: &str) -> Site {
        self.rest += &format!("{tables}\n");
        self
    }

    /// Adds a health check of `/health` at a pace for tests.
    pub fn checked(self, more: &str) -> Site {
        self.rest(&format!(
            "[upstream.web.health_check]\nuri = \"/health\"\ninterval = \"200ms\"\ntimeout = \"500ms\"\n{more}"
        ))
    }

    pub fn toml(&self) -> String {
        let Site { servers, listen, top, upstream, location, rest } = self;
        let servers = servers.join(",\n  ");
        format!(
            "{top}\n[upstream.web]\nservers = [\n  {servers}\n]\n{upstream}\n\
             [[server]]\nlisten = {listen}\n\
             [[server.location]]\npath = \"/\"\nproxy_pass = \"http://web\"\n{location}\n{rest}\n"
        )
    }

    pub fn start(&self) -> Weir {
        Weir::start(&self.toml())
    }
}
