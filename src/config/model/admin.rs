//! Who may look in and change something? The checked form of `[admin]`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The admin listener.
#[derive(Clone, PartialEq, Eq)]
pub struct Admin {
    /// `listen`: `None` is `"off"`.
    pub listen: Option<AdminListen>,
    /// `token`, needed for levers on TCP.
    pub token: Option<String>,
}

/// Where the admin listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// A unix socket, mode 0600.
    Unix(PathBuf),
    /// A TCP address.
    Tcp(SocketAddr),
}

/// Without the token, which is nobody's business in a log.
impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("Admin").field("listen", &self.listen).field("token", &token).finish()
    }
}
