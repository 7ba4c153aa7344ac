//! Which other files does a configuration name, and what is in them? Certificates and keys, read once, with it.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Env;

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
        let mut bytes = Vec::new();
        // Not a pipe, on which reading could wait for ever.
        if !std::fs::metadata(&path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
        }
        if File::open(&path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)? as u64 > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
        }
        Ok(bytes)
    }

    /// All that were asked for, be it in vain.
    pub(super) fn list(&self) -> Vec<PathBuf> {
        self.read.borrow().clone()
    }
}
