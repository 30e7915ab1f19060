//! What a datagram on the wire is: ESP, IKE behind the non-ESP marker, or a keepalive (RFC 3948 2, RFC 4303 2.1).

use crate::api::{Encapsulation, Spi};
use crate::discard::Discard;
use crate::esp::layout::HEADER;

/// A datagram by its first octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// ESP: SPI and the low 32 bits of the sequence number.
    Esp {
        /// Whose SA.
        spi: Spi,
        /// RFC 4303 2.2.
        sequence: u32,
    },
    /// An IKE message, without its marker.
    Ike(&'a [u8]),
    /// Not for anybody.
    None(Discard),
}

impl<'a> Datagram<'a> {
    /// Reads the first octets.
    pub fn parse(octets: &'a [u8], encapsulation: Encapsulation) -> Self {
        match encapsulation {
            Encapsulation::Udp if octets == [KEEPALIVE] => return Self::None(Discard::NatKeepalive),
            Encapsulation::Udp => {
                if let Some(message) = octets.strip_prefix(&NON_ESP_MARKER) {
                    return if message.is_empty() {
                        Self::None(Discard::TruncatedOuter)
                    } else {
                        Self::Ike(message)
                    };
                }
            }
            Encapsulation::None => {}
        }
        match octets.first_chunk::<HEADER>() {
            Some(&[a, b, c, d, e, f, g, h]) => match u32::from_be_bytes([a, b, c, d]) {
                0..=LAST_RESERVED_SPI => Self::None(Discard::ReservedSpi),
                spi => Self::Esp {
                    spi: Spi(spi),
                    sequence: u32::from_be_bytes([e, f, g, h]),
                },
            },
            None => Self::None(Discard::TruncatedOuter),
        }
    }
}

/// RFC 3948 2.3.
pub const KEEPALIVE: u8 = 0xff;

/// RFC 3948 2.2.
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// RFC 4303 2.1: 1 to 255 are reserved by IANA, 0 is for local use.
const LAST_RESERVED_SPI: u32 = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_esp_ike_and_keepalive_apart() {
        let udp = |octets| Datagram::parse(octets, Encapsulation::Udp);
        assert_eq!(udp(&[0xff]), Datagram::None(Discard::NatKeepalive));
        assert_eq!(udp(&[0, 0, 0, 0, 7]), Datagram::Ike(&[7]));
        assert_eq!(udp(&[0, 0, 0, 0]), Datagram::None(Discard::TruncatedOuter));
        assert_eq!(
            udp(&[0, 0, 1, 0, 0, 0, 0, 5, 9]),
            Datagram::Esp {
                spi: Spi(256),
                sequence: 5
            }
        );
        assert_eq!(
            udp(&[0, 0, 0, 255, 0, 0, 0, 5]),
            Datagram::None(Discard::ReservedSpi)
        );
        assert_eq!(
            udp(&[1, 2, 3, 4, 5, 6, 7]),
            Datagram::None(Discard::TruncatedOuter)
        );
        assert_eq!(udp(&[]), Datagram::None(Discard::TruncatedOuter));
    }

    #[test]
    fn without_udp_there_is_no_ike_and_no_keepalive() {
        let raw = |octets| Datagram::parse(octets, Encapsulation::None);
        assert_eq!(
            raw(&[0, 0, 0, 0, 0, 0, 0, 1]),
            Datagram::None(Discard::ReservedSpi)
        );
        assert_eq!(raw(&[0xff]), Datagram::None(Discard::TruncatedOuter));
    }
}
