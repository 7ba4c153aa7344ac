//! Why did the connection fail, in two or three words?

use std::io::{self, ErrorKind};

use rustix::io::Errno;

/// A short sentence without the peer's name. Never an operating system's number.
pub(super) fn describe(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "connection reset",
        ErrorKind::ConnectionAborted => "connection aborted",
        ErrorKind::HostUnreachable => "host unreachable",
        ErrorKind::NetworkUnreachable => "network unreachable",
        ErrorKind::NetworkDown => "network down",
        ErrorKind::TimedOut => "the connection timed out",
        ErrorKind::AddrNotAvailable => "address not available",
        ErrorKind::NotFound => "no such socket",
        ErrorKind::WouldBlock => "its queue of connections is full",
        ErrorKind::PermissionDenied => "permission denied",
        ErrorKind::UnexpectedEof => "the answer was cut short",
        ErrorKind::InvalidData | ErrorKind::InvalidInput => "malformed answer",
        _ if is_own_want(error) => "out of file descriptors or memory",
        _ => "the connection failed",
    }
}

/// Whether weir itself lacks something (descriptors, buffers): nothing that the peer could be blamed for.
pub(super) fn is_own_want(error: &io::Error) -> bool {
    const WANTS: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    error.raw_os_error().is_some_and(|code| WANTS.iter().any(|want| want.raw_os_error() == code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_connection_is_named_as_an_operator_would_name_it() {
        let table = [
            (Errno::CONNREFUSED, "connection refused"),
            (Errno::CONNRESET, "connection reset"),
            (Errno::HOSTUNREACH, "host unreachable"),
            (Errno::NETUNREACH, "network unreachable"),
            (Errno::NOENT, "no such socket"),
            (Errno::MFILE, "out of file descriptors or memory"),
            (Errno::ISDIR, "the connection failed"),
        ];
        for (errno, text) in table {
            assert_eq!(describe(&io::Error::from_raw_os_error(errno.raw_os_error())), text, "{errno:?}");
        }
    }

    #[test]
    fn a_lack_of_descriptors_is_weirs_own_and_a_refusal_is_not() {
        assert!(is_own_want(&Errno::MFILE.into()));
        assert!(!is_own_want(&Errno::CONNREFUSED.into()));
    }
}
