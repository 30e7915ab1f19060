//! What the sniffer has recorded: packets of Ethernet, and the ESP in UDP among them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::harness::runner::Failure;

/// The IP packets of a capture (pcap, Ethernet), first to last. One is there as often as an interface saw it.
pub struct Capture(Vec<u8>);

/// ESP in UDP over IPv4 without options, to port 4500.
#[derive(Clone, Copy, Debug)]
pub struct Esp {
    /// Where it came from.
    pub source: Ipv4Addr,
    /// And from which port.
    pub port: u16,
    /// Octets of the IP packet.
    pub length: u16,
    /// Whose SA it is of.
    pub spi: u32,
    /// The sequence number, as it was sent.
    pub number: u32,
}

impl Capture {
    /// Reads a file.
    pub fn read(tape: &Path) -> Result<Self, Failure> {
        Ok(Self(fs::read(tape)?))
    }

    /// All of them.
    pub fn packets(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.get(FILE_HEADER..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (header, frames) = rest.split_first_chunk::<RECORD_HEADER>()?;
            let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
            let (frame, more) = frames.split_at_checked(usize::try_from(length).ok()?)?;
            rest = more;
            Some(frame.get(ETHERNET_HEADER..).unwrap_or_default())
        })
    }

    /// The ESP among them.
    pub fn esp(&self) -> impl Iterator<Item = Esp> {
        self.packets().filter_map(esp)
    }
}

fn esp(packet: &[u8]) -> Option<Esp> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let long = |at: usize| Some(u32::from(word(at)?) << 16 | u32::from(word(at + 2)?));
    let udp = packet.first() == Some(&0x45) && packet.get(9) == Some(&17);
    let (spi, number) = (long(28)?, long(32)?);
    // RFC 3948 2.2: four octets of zero begin an IKE message; RFC 4303 2.1: up to 255 are reserved.
    (udp && word(22)? == 4500 && spi > 255).then_some(Esp {
        source: Ipv4Addr::from_bits(long(12)?),
        port: word(20)?,
        length: word(2)?,
        spi,
        number,
    })
}

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const ETHERNET_HEADER: usize = 14;
