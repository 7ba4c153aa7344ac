//! Who puts a socket into a folder now? One process at a time: between bind and listen a socket refuses connections as a
//! dead process's does, and another one that starts would take its file for such a one's.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

/// The lock on a folder (flock(2), which leaves no file behind), until this is dropped.
#[derive(Debug)]
pub struct FolderLock {
    #[expect(dead_code, reason = "closed, it unlocks")]
    folder: OwnedFd,
}

/// How long the next look at a lock that somebody has is put off.
const PAUSE: Duration = Duration::from_millis(5);
/// How often it is looked at: for a second. Who puts a socket there has it for less than a millisecond, and whoever keeps it
/// for another purpose keeps nobody from starting.
const LOOKS: usize = 200;

impl FolderLock {
    /// Waits for the lock on the folder of this file. `None`: the folder cannot be locked, or somebody has it for longer than
    /// a second. Blocks the thread.
    pub fn take(path: &Path) -> Option<FolderLock> {
        FolderLock::take_after(path, pause)
    }

    /// The same, with `pause` between two looks.
    pub(super) fn take_after(path: &Path, mut pause: impl FnMut()) -> Option<FolderLock> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        for _ in 0..LOOKS {
            match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Some(FolderLock { folder }),
                Err(Errno::WOULDBLOCK | Errno::INTR) => pause(),
                // Not on this file system.
                Err(_) => return None,
            }
        }
        None
    }
}

/// Between two looks.
pub(super) fn pause() {
    thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_at_a_time_and_the_next_one_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.sock");
        let mut first = FolderLock::take(&path);
        assert!(first.is_some());
        let mut pauses = 0;
        let second = FolderLock::take_after(&path, || {
            pauses += 1;
            if pauses == 3 {
                first = None;
            }
        });
        assert!(second.is_some());
        assert_eq!(pauses, 3);
    }

    #[test]
    fn one_who_keeps_it_holds_up_nobody_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.sock");
        let _kept = FolderLock::take(&path).unwrap();
        let mut pauses = 0;
        assert!(FolderLock::take_after(&path, || pauses += 1).is_none());
        assert_eq!(pauses, 200);
        assert!(FolderLock::take(&path.join("not/there")).is_none());
    }
}
