//! What is in a file? Read whole, and never more than its reader can use.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// What is in a regular file: not in a pipe, on which reading could wait for ever.
///
/// # Errors
/// It cannot be read, is no file, or is larger than `limit` bytes.
pub fn contents(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = regular(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    within(read, limit).map(|()| bytes)
}

/// The text of a regular file, as [`contents`].
///
/// # Errors
/// Those of [`contents`], and what is no UTF-8.
pub fn text(path: &Path, limit: u64) -> io::Result<String> {
    text_of(regular(path)?, limit)
}

/// The text that somebody says, to its end.
///
/// # Errors
/// It cannot be read, is no UTF-8, or is longer than `limit` bytes.
pub fn text_of(from: impl Read, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = from.take(limit + 1).read_to_string(&mut text)?;
    within(read, limit).map(|()| text)
}

fn regular(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no file"));
    }
    File::open(path)
}

fn within(read: usize, limit: u64) -> io::Result<()> {
    if read as u64 > limit {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is larger than {} MiB", limit >> 20)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_told_from_what_just_fits() {
        const MIB: u64 = 1 << 20;
        let said = |length| text_of(io::repeat(b'x').take(length), MIB).map(|text| text.len() as u64);
        assert_eq!(said(MIB).unwrap(), MIB);
        let error = said(MIB + 1).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
        assert_eq!(text_of(&b"\xff"[..], MIB).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        for path in ["/dev/zero", "/"] {
            let error = contents(Path::new(path), 1).unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (ErrorKind::InvalidInput, "it is no file"),
                "{path}"
            );
        }
        assert_eq!(text(Path::new("/nowhere/at/all"), 1).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
