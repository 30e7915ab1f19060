//! Control messages (cmsg(3)): what the kernel says beside a datagram, and what we ask of it.
//!
//! Written and read as octets, in the kernel's layout: a length of the machine's word, level, type, then data, each message
//! aligned to the word. So no pointer is followed and any octets can be read.

use std::ffi::c_int;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Room for the control messages of one datagram, aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Control {
    bytes: [u8; CAPACITY],
}

/// What the control messages of a received datagram said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// The address it was sent to.
    pub(crate) local: Option<IpAddr>,
    /// Its TOS or traffic class octet: DSCP and ECN.
    pub(crate) traffic_class: Option<u8>,
    /// Several datagrams of one flow were joined: the length of each but the last (UDP_GRO).
    pub(crate) segment: Option<u16>,
    /// The error that an earlier datagram to the message's address met (`errno`), read from the error queue.
    pub(crate) error: Option<i32>,
}

impl Control {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; CAPACITY] }
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    /// Asks to send from `local` (unless unspecified) with this traffic class. Returns the octets used.
    pub(crate) fn ask(&mut self, local: IpAddr, traffic_class: u8, v6: bool) -> usize {
        let mut used = 0;
        match local {
            IpAddr::V4(address) if !v6 && !address.is_unspecified() => {
                // struct in_pktinfo: interface index, source, (ignored when sending) destination.
                let mut info = [0u8; 12];
                info[4..8].copy_from_slice(&address.octets());
                used = self.push(used, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            IpAddr::V6(address) if v6 && !address.is_unspecified() => {
                // struct in6_pktinfo: source, interface index.
                let mut info = [0u8; 20];
                info[..16].copy_from_slice(&address.octets());
                used = self.push(used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
        let class = c_int::from(traffic_class).to_ne_bytes();
        if v6 {
            self.push(used, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class)
        } else {
            self.push(used, libc::IPPROTO_IP, libc::IP_TOS, &class)
        }
    }

    /// Asks, after what took `used` octets, to be cut into datagrams of `size` octets (UDP_SEGMENT). Returns the octets used.
    pub(crate) fn ask_segments(&mut self, used: usize, size: u16) -> usize {
        self.push(used, libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes())
    }

    /// Reads what the kernel wrote into the first `len` octets. Total: unknown, short and broken messages are skipped.
    pub(crate) fn said(&self, len: usize) -> Said {
        let mut said = Said::default();
        let mut rest = self.bytes.get(..len).unwrap_or(&self.bytes);
        while let Some((length, level, kind)) = read_header(rest) {
            let Some(data) = rest.get(HEADER..length) else {
                break;
            };
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    // The last field is the destination in the header; spec_dst would be the interface's own address, which
                    // differs only for broadcast and multicast.
                    if let Some(&octets) = data.get(8..).and_then(<[u8]>::first_chunk::<4>) {
                        said.local = Some(Ipv4Addr::from(octets).into());
                    }
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    if let Some(&octets) = data.first_chunk::<16>() {
                        said.local = Some(Ipv6Addr::from(octets).into());
                    }
                }
                (libc::IPPROTO_IP, libc::IP_TOS) => said.traffic_class = data.first().copied(),
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    said.traffic_class = data
                        .first_chunk::<4>()
                        .and_then(|&octets| u8::try_from(c_int::from_ne_bytes(octets)).ok());
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    said.segment = data
                        .first_chunk::<4>()
                        .and_then(|&octets| u16::try_from(c_int::from_ne_bytes(octets)).ok());
                }
                // struct sock_extended_err begins with the error.
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                    said.error = data
                        .first_chunk::<4>()
                        .and_then(|&octets| i32::try_from(u32::from_ne_bytes(octets)).ok());
                }
                _ => {}
            }
            let Some(next) = rest.get(align(length)..) else {
                break;
            };
            rest = next;
        }
        said
    }

    fn push(&mut self, used: usize, level: c_int, kind: c_int, data: &[u8]) -> usize {
        let length = HEADER + data.len();
        let end = used + align(length);
        // Two messages of at most 20 octets of data always fit; were it ever otherwise, nothing is asked for.
        let Some(room) = self.bytes.get_mut(used..end) else {
            return used;
        };
        room.fill(0);
        room[..WORD].copy_from_slice(&length.to_ne_bytes());
        room[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        room[WORD + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
        room[HEADER..length].copy_from_slice(data);
        end
    }
}

fn read_header(bytes: &[u8]) -> Option<(usize, c_int, c_int)> {
    let (length, rest) = bytes.split_first_chunk::<WORD>()?;
    let (level, rest) = rest.split_first_chunk::<4>()?;
    let kind = rest.first_chunk::<4>()?;
    let length = usize::from_ne_bytes(*length);
    (length >= HEADER).then_some((length, c_int::from_ne_bytes(*level), c_int::from_ne_bytes(*kind)))
}

/// The next multiple of the word, without overflow: a length that large is outside of every buffer anyway.
const fn align(length: usize) -> usize {
    length.saturating_add(WORD - 1) & !(WORD - 1)
}

const WORD: usize = size_of::<usize>();
const HEADER: usize = WORD + 8;
/// Address and traffic class of IPv6 take 64 octets; the rest is for options added later.
pub(crate) const CAPACITY: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn control(bytes: &[u8]) -> Control {
        let mut control = Control::new();
        control.bytes[..bytes.len()].copy_from_slice(bytes);
        control
    }

    #[test]
    fn the_layout_is_that_of_the_libc_macros() {
        // SAFETY: CMSG_LEN and CMSG_SPACE only compute.
        let (len, space) = unsafe { (libc::CMSG_LEN(12), libc::CMSG_SPACE(12)) };
        assert_eq!(HEADER + 12, len as usize);
        assert_eq!(align(HEADER + 12), space as usize);
    }

    #[test]
    fn an_ipv6_request_reads_back() {
        let mut asked = Control::new();
        let local: IpAddr = "2001:db8::7".parse().unwrap();
        let used = asked.ask(local, 0xb9, true);
        assert_eq!(
            asked.said(used),
            Said {
                local: Some(local),
                traffic_class: Some(0xb9),
                segment: None,
                error: None,
            }
        );
    }

    #[test]
    fn an_ipv4_request_puts_the_source_where_the_kernel_looks() {
        let mut asked = Control::new();
        let used = asked.ask("192.0.2.9".parse().unwrap(), 3, false);
        assert_eq!(asked.bytes[HEADER + 4..HEADER + 8], [192, 0, 2, 9]);
        assert_eq!(asked.said(used).traffic_class, Some(3));
    }

    #[test]
    fn no_source_is_asked_for_when_any_will_do_or_the_family_differs() {
        for (local, v6) in [
            ("0.0.0.0", false),
            ("::", true),
            ("192.0.2.1", true),
            ("2001:db8::1", false),
        ] {
            let mut asked = Control::new();
            let used = asked.ask(local.parse().unwrap(), 0, v6);
            assert_eq!(used, align(HEADER + 4), "{local}");
        }
    }

    #[test]
    fn segments_are_asked_for_behind_the_rest_and_a_length_of_joined_datagrams_is_read() {
        let mut asked = Control::new();
        let class = asked.ask("2001:db8::7".parse().unwrap(), 0, true);
        let used = asked.ask_segments(class, 1472);
        assert_eq!(used, class + align(HEADER + 2));
        assert_eq!(
            asked.bytes[class + HEADER..class + HEADER + 2],
            1472u16.to_ne_bytes()
        );
        let mut heard = Control::new();
        let used = heard.push(0, libc::SOL_UDP, libc::UDP_GRO, &1472i32.to_ne_bytes());
        assert_eq!(heard.said(used).segment, Some(1472));
    }

    #[test]
    fn a_received_ipv4_destination_is_the_last_field() {
        let mut info = Control::new();
        let mut data = [0u8; 12];
        data[4..8].copy_from_slice(&[10, 0, 0, 1]);
        data[8..].copy_from_slice(&[10, 0, 0, 255]);
        let used = info.push(0, libc::IPPROTO_IP, libc::IP_PKTINFO, &data);
        assert_eq!(info.said(used).local, Some("10.0.0.255".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn any_octets_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..=CAPACITY), len in 0usize..300) {
            let _ = control(&bytes).said(len);
        }

        #[test]
        fn any_lengths_can_be_read(length in any::<usize>(), kind in 0i32..80) {
            let mut bytes = [0u8; 64];
            bytes[..WORD].copy_from_slice(&length.to_ne_bytes());
            bytes[WORD + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
            let _ = control(&bytes).said(64);
        }
    }
}
