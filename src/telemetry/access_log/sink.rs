//! Where do the lines go?

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::model::LogTarget;

/// An open target.
#[derive(Debug)]
pub(super) enum Sink {
    Stdout,
    Stderr,
    Off,
    File { path: PathBuf, file: File },
}

impl Sink {
    pub(super) fn open(target: &LogTarget) -> io::Result<Sink> {
        Ok(match target {
            LogTarget::Stdout => Sink::Stdout,
            LogTarget::Stderr => Sink::Stderr,
            LogTarget::Off => Sink::Off,
            LogTarget::File(path) => Sink::File { path: path.clone(), file: append_to(path)? },
        })
    }

    /// Opens the file of that name, which may be another one by now. If that fails, the old one stays in use.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Sink::File { path, file } = self {
            *file = append_to(path)?;
        }
        Ok(())
    }

    /// Writes all of it, and does not keep any back.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Sink::Stdout => {
                let mut stdout = io::stdout().lock();
                write_all(&mut stdout, bytes)?;
                stdout.flush()
            }
            Sink::Stderr => write_all(&mut io::stderr().lock(), bytes),
            Sink::File { file, .. } => write_all(file, bytes),
            Sink::Off => Ok(()),
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// As `Write::write_all`, but patient for a while with a pipe or terminal that somebody else made non-blocking.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    let mut patience = 200;
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && patience > 0 => {
                patience -= 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
