//! ICMP echo (RFC 792, RFC 4443) from the calling thread's namespace.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::sys;

/// An echo request.
#[derive(Clone, Copy, Debug)]
pub struct Ping {
    /// To whom.
    pub to: IpAddr,
    /// Octets of data after the ICMP header.
    pub size: usize,
    /// "Don't fragment" is set, and nothing the kernel learnt about the path keeps the packet back.
    pub dont_fragment: bool,
    /// DSCP and ECN field.
    pub traffic_class: u8,
    /// How long to wait for an answer.
    pub patience: Duration,
}

impl Ping {
    /// An ordinary one, with 56 octets of data.
    pub fn to(address: impl Into<IpAddr>) -> Self {
        Self {
            to: address.into(),
            size: 56,
            dont_fragment: false,
            traffic_class: 0,
            patience: Duration::from_secs(1),
        }
    }
}

/// What came of an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was answered after this time.
    Reply(Duration),
    /// "Fragmentation needed" or "packet too big", with the MTU told.
    TooBig {
        /// Next-hop MTU.
        mtu: u32,
    },
    /// "Destination unreachable" with this code, or our own kernel refused to send it (code 255).
    Unreachable {
        /// ICMP code.
        code: u8,
    },
    /// Nothing came.
    Silence,
}

impl Answer {
    /// Whether it was answered.
    pub fn is_reply(self) -> bool {
        matches!(self, Self::Reply(_))
    }
}

/// Sends one echo request and waits for what comes of it.
pub fn ping(ping: Ping) -> io::Result<Answer> {
    let v4 = ping.to.is_ipv4();
    let socket = if v4 {
        Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?
    } else {
        Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?
    };
    set_options(&socket, ping)?;
    let identifier = unique();
    let started = Instant::now();
    match socket.send_to(
        &request(v4, identifier, ping.size),
        &SocketAddr::new(ping.to, 0).into(),
    ) {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => return Ok(Answer::TooBig { mtu: 0 }),
        Err(error) if UNREACHABLE.contains(&error.raw_os_error().unwrap_or_default()) => {
            return Ok(Answer::Unreachable { code: 255 });
        }
        Err(error) => return Err(error),
    }
    wait(&socket, v4, identifier, started, ping.patience)
}

fn set_options(socket: &Socket, ping: Ping) -> io::Result<()> {
    let class = i32::from(ping.traffic_class);
    // PROBE: "don't fragment" without regard to what the kernel believes the path can carry.
    let discover = if ping.dont_fragment {
        libc::IP_PMTUDISC_PROBE
    } else {
        libc::IP_PMTUDISC_DONT
    };
    if ping.to.is_ipv4() {
        sys::set_option(socket, libc::IPPROTO_IP, libc::IP_TOS, class)?;
        sys::set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, discover)
    } else {
        sys::set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class)?;
        sys::set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, discover)
    }
}

fn wait(
    mut socket: &Socket,
    v4: bool,
    identifier: u16,
    started: Instant,
    patience: Duration,
) -> io::Result<Answer> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let left = patience.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Ok(Answer::Silence);
        }
        socket.set_read_timeout(Some(left))?;
        let length = match io::Read::read(&mut socket, &mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        // An IPv4 raw socket hands out the IP header too, an IPv6 one does not.
        let header = if v4 { usize::from(buffer[0] & 0x0f) * 4 } else { 0 };
        let message = buffer.get(header..length).unwrap_or_default();
        if let Some(answer) = read(message, v4, identifier, started) {
            return Ok(answer);
        }
    }
}

fn read(message: &[u8], v4: bool, identifier: u16, started: Instant) -> Option<Answer> {
    let id = |octets: &[u8]| octets.get(4..6).map(|id| u16::from_be_bytes([id[0], id[1]]));
    // An error quotes the IP header and the beginning of what was sent (RFC 792, RFC 4443 3).
    let quoted = || message.get(if v4 { 28 } else { 48 }..).and_then(id) == Some(identifier);
    let mtu = message
        .get(4..8)
        .map(|m| u32::from_be_bytes([m[0], m[1], m[2], m[3]]));
    match (v4, message) {
        (true, [0, ..]) | (false, [129, ..]) if id(message) == Some(identifier) => {
            Some(Answer::Reply(started.elapsed()))
        }
        (true, [3, 4, ..]) if quoted() => mtu.map(|mtu| Answer::TooBig { mtu: mtu & 0xffff }),
        (false, [2, ..]) if quoted() => mtu.map(|mtu| Answer::TooBig { mtu }),
        (true, [3, code, ..]) | (false, [1, code, ..]) if quoted() => {
            Some(Answer::Unreachable { code: *code })
        }
        _ => None,
    }
}

fn request(v4: bool, identifier: u16, size: usize) -> Vec<u8> {
    let mut message = vec![if v4 { 8 } else { 128 }, 0, 0, 0];
    message.extend_from_slice(&identifier.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message.resize(8 + size, b'x');
    if v4 {
        // For ICMPv6 the kernel does it.
        let checksum = checksum(&message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    message
}

/// RFC 1071.
fn checksum(octets: &[u8]) -> u16 {
    let mut sum: u32 = octets
        .chunks(2)
        .map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

fn unique() -> u16 {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

const UNREACHABLE: [i32; 5] = [
    libc::ENETUNREACH,
    libc::EHOSTUNREACH,
    libc::EACCES,
    libc::EINVAL,
    libc::ECONNREFUSED,
];
