//! What does the PROXY protocol look like on the wire? Both versions, as bytes; waits for nothing, reads no socket.
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, in the following "the spec".)

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proxy_protocol_rs::{HeaderBuilder, ParseError, V2_SIGNATURE};

/// The longest header that is read, in bytes (as in nginx). Version 1 has at most 107; version 2 could have 64 KiB, all
/// but 52 of them in fields that nobody asks for here.
pub const MAX_HEADER: usize = 4096;

/// Signature, version, family and length of version 2.
const V2_FIXED: usize = 16;

/// How a header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Whose connection it is, as the proxy that accepted it saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What the client connected to.
    pub destination: SocketAddr,
}

/// How far a header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More must come.
    Partial,
    /// It is whole.
    Complete {
        /// How many bytes it has.
        consumed: usize,
        /// `None`: the proxy speaks for itself (LOCAL), or does not know (UNKNOWN), or not by IP.
        addresses: Option<Addresses>,
    },
}

/// This is no header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It begins as none does.
    #[error("there is no PROXY header")]
    Missing,
    /// It says that it is longer than [`MAX_HEADER`].
    #[error("a PROXY header of {0} bytes is too long")]
    TooLong(usize),
    /// Something in it is wrong.
    #[error("malformed PROXY header: {0}")]
    Invalid(String),
}

/// Reads a header off the front of `bytes`.
///
/// # Errors
/// If no bytes that follow could make it one.
pub fn parse(bytes: &[u8]) -> Result<Progress, Malformed> {
    if let Some((fixed, _)) = bytes.split_at_checked(V2_FIXED)
        && fixed.starts_with(V2_SIGNATURE)
    {
        let length = V2_FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
        if length > MAX_HEADER {
            return Err(Malformed::TooLong(length));
        }
    }
    match proxy_protocol_rs::parse(bytes) {
        Ok((info, consumed)) => {
            let addresses = info.source_inet().zip(info.destination_inet());
            let addresses = addresses.map(|(source, destination)| Addresses { source, destination });
            Ok(Progress::Complete { consumed, addresses })
        }
        Err(ParseError::Incomplete) if begins_as_one(bytes) => Ok(Progress::Partial),
        Err(ParseError::Incomplete | ParseError::NotProxyProtocol) => Err(Malformed::Missing),
        Err(error) => Err(Malformed::Invalid(error.to_string())),
    }
}

/// Whether the first bytes are those of a header: what is none need not be waited for.
fn begins_as_one(bytes: &[u8]) -> bool {
    let agrees = |with: &[u8]| bytes.iter().zip(with).all(|(byte, wanted)| byte == wanted);
    agrees(b"PROXY ") || agrees(V2_SIGNATURE)
}

/// Writes a header. Without addresses it is UNKNOWN (version 1) or LOCAL (version 2): the receiver keeps those of the
/// connection. Addresses of different families become both IPv6, as HAProxy has it.
pub fn encode(version: Version, addresses: Option<Addresses>) -> Vec<u8> {
    let builder = match (version, addresses.map(of_one_family)) {
        (Version::V1, None) => HeaderBuilder::v1_unknown(),
        (Version::V1, Some((source, destination))) => HeaderBuilder::v1_proxy(source, destination),
        (Version::V2, None) => HeaderBuilder::v2_local(),
        (Version::V2, Some((source, destination))) => HeaderBuilder::v2_proxy(source, destination),
    };
    builder.build()
}

fn of_one_family(Addresses { source, destination }: Addresses) -> (SocketAddr, SocketAddr) {
    // Without the zone of a link-local address, which means nothing elsewhere.
    let plain = |address: SocketAddr| SocketAddr::new(address.ip(), address.port());
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => plain(address),
    };
    match source.is_ipv4() == destination.is_ipv4() {
        true => (plain(source), plain(destination)),
        false => (mapped(source), mapped(destination)),
    }
}

/// The address that stands for "somewhere" beside one of this family: what a client of a unix socket connected to.
pub fn unspecified_like(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> (usize, Option<(String, String)>) {
        match parse(bytes) {
            Ok(Progress::Complete { consumed, addresses }) => {
                (consumed, addresses.map(|a| (a.source.to_string(), a.destination.to_string())))
            }
            other => panic!("{other:?}: {bytes:?}"),
        }
    }

    fn pair(source: &str, destination: &str) -> Option<(String, String)> {
        Some((source.to_owned(), destination.to_owned()))
    }

    /// A header of version 2: command, family and protocol, what follows the length.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE.as_slice(), &[0x20 | command, family], &length, rest].concat()
    }

    const IPV4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 0x01, 0xbb];

    #[test]
    fn the_examples_of_the_spec_are_understood() {
        // Section 2.1, worst cases of each family included.
        let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535 65534\r\n";
        for (text, addresses) in [
            (
                "PROXY TCP4 255.255.255.255 255.255.255.254 65535 65534\r\n",
                pair("255.255.255.255:65535", "255.255.255.254:65534"),
            ),
            (
                longest,
                pair(
                    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65534",
                ),
            ),
            ("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", pair("192.168.0.1:56324", "192.168.0.11:443")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", pair("[2001:db8::1]:56324", "[2001:db8::2]:443")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
        ] {
            let request = format!("{text}GET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n");
            assert_eq!(whole(request.as_bytes()), (text.len(), addresses), "{text}");
        }
    }

    #[test]
    fn version_2_tells_addresses_and_hides_nothing_behind_its_fields() {
        let ipv6: Vec<u8> = (0..36).collect();
        let authority: &[u8] = &[0x02, 0x00, 0x03, b'a', b'.', b'b'];
        let with_field = [IPV4, authority].concat();
        for (header, addresses) in [
            (v2(1, 0x11, IPV4), pair("192.0.2.1:4711", "198.51.100.2:443")),
            (v2(1, 0x11, &with_field), pair("192.0.2.1:4711", "198.51.100.2:443")),
            (
                v2(1, 0x21, &ipv6),
                pair("[1:203:405:607:809:a0b:c0d:e0f]:8225", "[1011:1213:1415:1617:1819:1a1b:1c1d:1e1f]:8739"),
            ),
            (v2(1, 0x31, &[0; 216]), None),
            (v2(0, 0x00, &[]), None),
            (v2(0, 0x11, IPV4), None),
        ] {
            let bytes = [header.as_slice(), b"rest"].concat();
            assert_eq!(whole(&bytes), (header.len(), addresses), "{header:?}");
        }
    }

    #[test]
    fn every_part_of_a_header_is_the_beginning_of_one() {
        for header in [
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n".to_vec(),
            b"PROXY UNKNOWN\r\n".to_vec(),
            v2(1, 0x11, IPV4),
            v2(0, 0, &[]),
        ] {
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end]), Ok(Progress::Partial), "{:?}", &header[..end]);
            }
            assert_eq!(whole(&header).0, header.len());
        }
    }

    #[test]
    fn what_is_no_header_is_seen_at_once() {
        let too_long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 93]].concat();
        let mut announces = v2(1, 0x11, IPV4);
        announces[14..16].copy_from_slice(&4081u16.to_be_bytes());
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"P ".to_vec(),
            b"\r\n\r\nGET".to_vec(),
            b"PROXY\r\n".to_vec(),
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n".to_vec(),
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 x\r\n".to_vec(),
            b"PROXY TCP4 192.168.0.1  192.168.0.11 56324 443\r\n".to_vec(),
            b"PROXY TCP4 192.168.0.256 192.168.0.11 56324 443\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 2001:db8::2 56324 443\r\n".to_vec(),
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 65536\r\n".to_vec(),
            b"PROXY UDP4 192.168.0.1 192.168.0.11 56324 443\r\n".to_vec(),
            b"PROXY UNKNOWNx\r\n".to_vec(),
            too_long,
            announces,
            v2(2, 0x11, IPV4),
            v2(1, 0x11, &IPV4[..11]),
            v2(1, 0x41, IPV4),
            [V2_SIGNATURE.as_slice(), &[0x11, 0x11, 0, 12], IPV4].concat(),
        ] {
            assert!(parse(&bytes).is_err(), "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let addresses = |source: &str, destination: &str| {
            Some(Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
        };
        let v4 = addresses("192.0.2.1:4711", "198.51.100.2:443");
        let v6 = addresses("[2001:db8::1]:4711", "[2001:db8::2]:443");
        assert_eq!(encode(Version::V1, v4), b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n");
        assert_eq!(encode(Version::V1, v6), b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n");
        assert_eq!(encode(Version::V1, None), b"PROXY UNKNOWN\r\n");
        assert_eq!(encode(Version::V2, v4), v2(1, 0x11, IPV4));
        assert_eq!(encode(Version::V2, None), v2(0, 0, &[]));
        for version in [Version::V1, Version::V2] {
            for sent in [v4, v6, None] {
                let header = encode(version, sent);
                let read = Progress::Complete { consumed: header.len(), addresses: sent };
                assert_eq!(parse(&header), Ok(read), "{version:?} {sent:?}");
            }
            let mixed = addresses("[2001:db8::1]:4711", "198.51.100.2:443");
            let as_read = addresses("[2001:db8::1]:4711", "[::ffff:198.51.100.2]:443");
            let header = encode(version, mixed);
            assert_eq!(parse(&header), Ok(Progress::Complete { consumed: header.len(), addresses: as_read }));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_take_more_than_there_is(
            begins in 0usize..3,
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        ) {
            let start: &[u8] = [&b""[..], b"PROXY ", V2_SIGNATURE][begins];
            let bytes = [start, &bytes].concat();
            if let Ok(Progress::Complete { consumed, .. }) = parse(&bytes) {
                proptest::prop_assert!(0 < consumed && consumed <= bytes.len());
            }
        }
    }
}
