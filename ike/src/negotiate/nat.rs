//! NAT detection (RFC 7296 2.23).

use std::net::{IpAddr, SocketAddr};

use sha1::{Digest, Sha1};

/// Where there is a NAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatStatus {
    /// Before us: the peer saw another address than ours.
    pub nat_local: bool,
    /// Before the peer: it has another address than we see.
    pub nat_remote: bool,
}

impl NatStatus {
    /// Anywhere on the path.
    pub fn any(self) -> bool {
        self.nat_local || self.nat_remote
    }
}

/// The contents of a NAT_DETECTION notify: SHA-1 over SPIi | SPIr | address | port.
pub fn detection_hash(spi_i: u64, spi_r: u64, end: SocketAddr) -> [u8; 20] {
    let mut hash = Sha1::new();
    hash.update(spi_i.to_be_bytes());
    hash.update(spi_r.to_be_bytes());
    match end.ip() {
        IpAddr::V4(a) => hash.update(a.octets()),
        IpAddr::V6(a) => hash.update(a.octets()),
    }
    hash.update(end.port().to_be_bytes());
    hash.finalize().into()
}

/// Compares the peer's notifies with the path its message came by. `None` if it sent none of either kind: it
/// does not speak NAT traversal.
///
/// `sources` are the contents of all its NAT_DETECTION_SOURCE_IP (a host with many addresses sends one each),
/// `destination` of its NAT_DETECTION_DESTINATION_IP.
pub fn detect<'a>(
    (spi_i, spi_r): (u64, u64),
    (local, remote): (SocketAddr, SocketAddr),
    sources: impl IntoIterator<Item = &'a [u8]>,
    destination: Option<&[u8]>,
) -> Option<NatStatus> {
    let seen = detection_hash(spi_i, spi_r, remote);
    let mut sources = sources.into_iter().peekable();
    sources.peek()?;
    let destination = destination?;
    Some(NatStatus {
        nat_local: destination != detection_hash(spi_i, spi_r, local),
        nat_remote: !sources.any(|hash| hash == seen),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "192.0.2.1:500";
    const BOB: &str = "198.51.100.1:500";

    fn end(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn finds_no_nat_where_both_ends_see_the_same_addresses() {
        let source = detection_hash(1, 0, end(ALICE));
        let destination = detection_hash(1, 0, end(BOB));
        let status = detect((1, 0), (end(BOB), end(ALICE)), [&source[..]], Some(&destination));
        assert_eq!(status, Some(NatStatus::default()));
    }

    #[test]
    fn finds_the_nat_before_the_peer_and_the_one_before_us() {
        let private = detection_hash(1, 0, end("10.0.0.5:500"));
        let destination = detection_hash(1, 0, end(BOB));
        let status = detect((1, 0), (end(BOB), end(ALICE)), [&private[..]], Some(&destination));
        assert_eq!(
            status,
            Some(NatStatus {
                nat_local: false,
                nat_remote: true
            })
        );
        let status = detect(
            (1, 0),
            (end("10.0.0.9:500"), end(ALICE)),
            [&private[..]],
            Some(&destination),
        );
        assert_eq!(
            status,
            Some(NatStatus {
                nat_local: true,
                nat_remote: true
            })
        );
    }

    #[test]
    fn one_matching_source_of_many_is_enough() {
        let (other, right) = (
            detection_hash(1, 2, end("[2001:db8::1]:500")),
            detection_hash(1, 2, end(ALICE)),
        );
        let destination = detection_hash(1, 2, end(BOB));
        let status = detect(
            (1, 2),
            (end(BOB), end(ALICE)),
            [&other[..], &right[..]],
            Some(&destination),
        );
        assert_eq!(status, Some(NatStatus::default()));
    }

    #[test]
    fn a_peer_without_the_notifies_does_not_speak_nat_traversal() {
        assert_eq!(detect((1, 2), (end(BOB), end(ALICE)), [], None), None);
    }
}
