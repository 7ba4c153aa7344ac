//! Which listening sockets has this process, and whom could it hand them to? The workers accept from them; here lie
//! duplicates, and the files of those that have one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::socket_file::{FileId, SocketFile};
use crate::endpoint::Place;

/// All listening sockets of the process, by their configured addresses. Letting go of one does not close it for whoever
/// has it: that is who accepts.
#[derive(Debug, Default)]
pub struct Held {
    places: RefCell<BTreeMap<Place, Holding>>,
}

/// What is held of one address.
#[derive(Debug)]
pub struct Holding {
    /// Duplicates, one of each socket.
    pub sockets: Vec<OwnedFd>,
    /// Of a unix socket its file.
    pub file: Option<SocketFile>,
}

/// Duplicates for another process.
#[derive(Debug)]
pub struct Lent {
    /// The configured address.
    pub place: Place,
    /// One of each socket.
    pub sockets: Vec<OwnedFd>,
    /// Of a unix socket its file, if it is this process's.
    pub file: Option<FileId>,
}

impl Held {
    /// Holds these for this place from now on.
    pub fn hold(&self, place: Place, holding: Holding) {
        self.places.borrow_mut().insert(place, holding);
    }

    /// Lets go of a place; the file of a unix socket goes.
    pub fn release(&self, place: &Place) {
        self.places.borrow_mut().remove(place);
    }

    /// Changes who may connect to a unix socket whose file is this process's.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_mode(&self, place: &Place, mode: u32) -> io::Result<()> {
        let places = self.places.borrow();
        let file = places.get(place).and_then(|holding| holding.file.as_ref());
        file.filter(|file| file.is_owned()).map_or(Ok(()), |file| file.set_mode(mode))
    }

    /// Duplicates of all sockets.
    ///
    /// # Errors
    /// This process has no room for more descriptors.
    pub fn lend(&self) -> io::Result<Vec<Lent>> {
        let places = self.places.borrow();
        let lend = |(place, holding): (&Place, &Holding)| {
            let file = holding.file.as_ref().filter(|file| file.is_owned()).map(SocketFile::id);
            Ok(Lent { place: place.clone(), sockets: duplicates(&holding.sockets)?, file })
        };
        places.iter().map(lend).collect()
    }

    /// The files of these are another process's from now on.
    pub fn leave_files(&self, places: &[Place]) {
        self.own(false, |place| places.contains(place));
    }

    /// All files are this process's from now on.
    pub fn own_files(&self) {
        self.own(true, |_| true);
    }

    fn own(&self, owned: bool, which: impl Fn(&Place) -> bool) {
        for (_, holding) in self.places.borrow().iter().filter(|(place, _)| which(place)) {
            holding.file.iter().for_each(|file| file.set_owned(owned));
        }
    }
}

/// A duplicate of each.
///
/// # Errors
/// This process has no room for more descriptors.
pub fn duplicates<S: AsFd>(sockets: &[S]) -> io::Result<Vec<OwnedFd>> {
    sockets.iter().map(|socket| socket.as_fd().try_clone_to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn files_of_places_that_another_process_has_stay_and_others_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let [mine, theirs] = ["mine", "theirs"].map(|name| folder.path().join(name));
        let held = Held::default();
        let place = |path: &std::path::Path| Place::Connections(crate::endpoint::Endpoint::Unix(path.into()));
        for path in [&mine, &theirs] {
            let (socket, file) = SocketFile::listen_privately(path, 1).expect("it listens");
            held.hold(place(path), Holding { sockets: vec![socket.into()], file: Some(file) });
        }
        let lent = held.lend().expect("room");
        assert_eq!(lent.iter().filter(|lent| lent.file.is_some()).count(), 2);
        held.leave_files(&[place(&theirs)]);
        [&mine, &theirs].into_iter().for_each(|path| held.release(&place(path)));
        assert!(!mine.exists() && theirs.exists());
        assert!(UnixStream::connect(&theirs).is_ok(), "a duplicate listens on");
    }
}
