//! Which other files does a configuration name, and what is in them? Certificates and keys, read once, with it.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use super::Env;
use crate::file;

/// The largest file of certificates, in bytes: a bundle of every authority there is has a quarter of that.
const MAX_FILE: u64 = 1 << 20;

/// The files beside a configuration.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Knows where the paths of the configuration are.
    env: Env,
    /// `SSL_CERT_FILE`: whom to believe when the configuration does not say.
    authorities: Option<PathBuf>,
    read: RefCell<Vec<PathBuf>>,
}

impl Files {
    /// The files beside the configuration of these surroundings.
    pub(super) fn of(env: &Env) -> Files {
        let authorities = env.get("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        Files { env: env.clone(), authorities, read: RefCell::default() }
    }

    /// `SSL_CERT_FILE`, if it is set.
    pub(super) fn authorities(&self) -> Option<&Path> {
        self.authorities.as_deref()
    }

    /// What is in a file.
    ///
    /// # Errors
    /// It cannot be read, or is larger than a file of certificates can be.
    pub(super) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let path = self.env.here(path);
        let mut read = self.read.borrow_mut();
        if !read.contains(&path) {
            read.push(path.clone());
        }
        file::contents(&path, MAX_FILE)
    }

    /// All that were asked for, be it in vain.
    pub(super) fn list(&self) -> Vec<PathBuf> {
        self.read.borrow().clone()
    }
}
