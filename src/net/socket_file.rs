//! Where does a unix socket lie in the file system, and who may remove it?

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use super::folder_lock::{self, FolderLock};

/// The file of a socket that this process listens on. Dropped, it removes the file, unless it is somebody else's by then,
/// or somebody else has put another in its place meanwhile.
#[derive(Debug)]
pub struct SocketFile {
    path: Arc<Path>,
    id: FileId,
    owned: Cell<bool>,
}

/// What tells a file from another that has its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(meta: &fs::Metadata) -> FileId {
        FileId { device: meta.dev(), inode: meta.ino() }
    }
}

impl SocketFile {
    /// Listens on `path`; `mode` says who may connect. A file that a dead process left behind is replaced. Of several
    /// processes that begin in one folder each waits for the one before it, at most a second.
    ///
    /// # Errors
    /// What the kernel says; `AddrInUse` if somebody answers there; `AlreadyExists` if a file is there that is no socket.
    pub fn listen(path: &Arc<Path>, mode: u32, backlog: i32) -> io::Result<(UnixListener, SocketFile)> {
        SocketFile::listen_after(path, mode, backlog, folder_lock::pause)
    }

    fn listen_after(
        path: &Arc<Path>,
        mode: u32,
        backlog: i32,
        pause: impl FnMut(),
    ) -> io::Result<(UnixListener, SocketFile)> {
        // Until it listens. Where no lock is to be had, those that begin at once are on their own.
        let _lock = FolderLock::take_after(path, pause);
        make_way(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let id = FileId::of(&fs::symlink_metadata(path)?);
        let file = SocketFile { path: Arc::clone(path), id, owned: Cell::new(true) };
        // Before it listens: nobody can connect whom the mode shuts out.
        file.set_mode(mode)?;
        socket.listen(backlog)?;
        Ok((socket.into(), file))
    }

    /// Listens on `path`, where only this user may connect. The folder is made if it is missing, for this user alone.
    ///
    /// # Errors
    /// As [`listen`](SocketFile::listen).
    pub fn listen_privately(path: &Path, backlog: i32) -> io::Result<(UnixListener, SocketFile)> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        SocketFile::listen(&path.into(), 0o600, backlog)
    }

    /// The file of a socket that another process listens on as well, and that is its own for now.
    pub fn of_another(path: &Arc<Path>, id: FileId) -> SocketFile {
        SocketFile { path: Arc::clone(path), id, owned: Cell::new(false) }
    }

    /// Which file it is.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Whether it is this process's to remove and to change.
    pub fn is_owned(&self) -> bool {
        self.owned.get()
    }

    /// From now on it is this process's to remove, or (`false`) another's.
    pub fn set_owned(&self, owned: bool) {
        self.owned.set(owned);
    }

    /// Changes who may connect.
    ///
    /// # Errors
    /// What the kernel says: somebody may have removed the file.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = |meta: fs::Metadata| FileId::of(&meta) == self.id;
        if self.is_owned() && fs::symlink_metadata(&self.path).is_ok_and(same) {
            // Somebody may have tidied up this very moment.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket that nobody answers at.
fn make_way(path: &Path) -> io::Result<()> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !meta.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // A connect that may not wait: one that listens with a full queue is alive as well.
    let scout = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    scout.set_nonblocking(true)?;
    match scout.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Its owner has just removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn place() -> (tempfile::TempDir, Arc<Path>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.sock").into();
        (folder, path)
    }

    #[test]
    fn the_file_has_the_mode_and_goes_with_its_owner() {
        let (_folder, path) = place();
        let (_listener, file) = SocketFile::listen(&path, 0o640, 1).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        file.set_mode(0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_process_left_is_replaced_and_what_lives_is_not() {
        let (_folder, path) = place();
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a dead process leaves its file");
        let (_listener, file) = SocketFile::listen(&path, 0o600, 1).unwrap();
        let second = SocketFile::listen(&path, 0o600, 1).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        drop(file);

        fs::write(&path, "precious").unwrap();
        let refused = SocketFile::listen(&path, 0o600, 1).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn one_that_listens_with_a_full_queue_is_alive() {
        let (_folder, path) = place();
        let (_listener, _file) = SocketFile::listen(&path, 0o600, 0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        assert_eq!(SocketFile::listen(&path, 0o600, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn one_that_is_about_to_listen_is_alive() {
        let (_folder, path) = place();
        let mut starting = FolderLock::take(&path);
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        let refused = SocketFile::listen_after(&path, 0o600, 1, || {
            socket.listen(1).unwrap();
            starting = None;
        });
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&path).is_ok(), "its file is there");
    }

    #[test]
    fn a_file_goes_with_whose_it_is() {
        let (_folder, path) = place();
        let (_listener, before) = SocketFile::listen(&path, 0o600, 1).unwrap();
        let after = SocketFile::of_another(&path, before.id());
        drop(after);
        assert!(path.exists(), "it was the other's");
        let after = SocketFile::of_another(&path, before.id());
        before.set_owned(false);
        after.set_owned(true);
        drop(before);
        assert!(path.exists());
        drop(after);
        assert!(!path.exists());
    }

    #[test]
    fn a_successors_file_is_left_alone() {
        let (_folder, path) = place();
        let (_listener, file) = SocketFile::listen(&path, 0o600, 1).unwrap();
        let beside = path.with_extension("new");
        let _successor = UnixListener::bind(&beside).unwrap();
        fs::rename(&beside, &path).unwrap();
        drop(file);
        assert!(path.exists());
    }
}
