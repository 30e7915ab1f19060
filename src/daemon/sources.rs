//! Where inputs come from and datagrams go to: UDP 500, and the port that IKE shares with ESP.
//!
//! On 500 the daemon has sockets of its own. On 4500 the dataplane's queues receive, and punt what is IKE.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use xvpn_dataplane::api::Punted;
use xvpn_dataplane::io::udp::{IkeInbox, IkeSocket};
use xvpn_dataplane::queue::PuntReceiver;

use super::offload::Refused;
use super::tcp::{Arrival, Ends, Streams};

/// The port of IKE (RFC 7296 2).
const PORT_IKE: u16 = 500;
/// The port that IKE and ESP in UDP share (RFC 3948).
const PORT_NAT_T: u16 = 4500;
/// Stands for the port on which we wait for TCP connections.
const PORT_TCP: u16 = 0;
/// Hints read from one socket before something else gets its turn.
const HINTS_AT_ONCE: usize = 64;

/// The ports that are really bound for 500 and 4500. `ike` knows only the numbers of the RFCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// For 500.
    pub ike: u16,
    /// For 4500.
    pub nat_t: u16,
    /// On which we wait for TCP connections.
    pub tcp: u16,
}

impl Ports {
    /// The bound port for a port of the RFCs.
    pub fn bound(&self, port: u16) -> u16 {
        match port {
            PORT_IKE => self.ike,
            PORT_NAT_T => self.nat_t,
            PORT_TCP => self.tcp,
            other => other,
        }
    }
}

/// What arrived.
#[derive(Debug)]
pub enum Arrived {
    /// An IKE message, without a non-ESP marker.
    Ike {
        /// Where it was sent to; the port is that of the RFCs.
        local: SocketAddr,
        /// From where.
        remote: SocketAddr,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A TCP connection of ours is open, for the first time or again.
    Connected(Ends),
    /// A packet waits for a tunnel that is made on demand.
    Wanted {
        /// The tunnel.
        tunnel: u32,
    },
    /// Something that the kernel refused, so that a queue does without it for a while.
    Refused(Refused),
    /// ESP that no SA fits.
    UnknownSpi {
        /// The SPI.
        spi: u32,
        /// From where.
        remote: SocketAddr,
    },
}

/// What to put on the wire.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// An IKE message; on 4500 it gets a non-ESP marker (RFC 3948 2.2).
    Ike,
    /// A NAT-keepalive (RFC 3948 2.3).
    Keepalive,
}

/// The dataplane's side of the port that IKE and ESP share.
pub struct Upward {
    /// What the queues hand up.
    pub punts: PuntReceiver,
    /// To send from it, one per address.
    pub nat_t: Vec<IkeSocket>,
}

/// All sockets of the control side.
pub struct Sources {
    ike: Vec<AsyncFd<IkeSocket>>,
    /// What was read from each of these sockets and not handed out yet.
    read: Vec<VecDeque<Arrived>>,
    nat_t: Vec<IkeSocket>,
    punts: AsyncFd<PuntReceiver>,
    inbox: IkeInbox,
    turn: usize,
    /// TCP connections.
    pub streams: Streams,
}

impl Sources {
    /// Binds the IKE port on every address, and takes over the dataplane's side of the other and the TCP connections. In a tokio
    /// runtime only.
    pub fn open(listen: &[IpAddr], ports: Ports, upward: Upward, streams: Streams) -> io::Result<Self> {
        let Upward { punts, nat_t } = upward;
        let bind = |address: &IpAddr| {
            let address = SocketAddr::new(*address, ports.ike);
            let socket = IkeSocket::bind(address).map_err(|error| explain_bind(address, &error))?;
            watched(socket)
        };
        let ike = listen.iter().map(bind).collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            read: ike.iter().map(|_| VecDeque::new()).collect(),
            ike,
            nat_t,
            punts: watched(punts)?,
            inbox: IkeInbox::new(),
            turn: 0,
            streams,
        })
    }

    /// The addresses of UDP listened on.
    pub fn bound(&self) -> Vec<SocketAddr> {
        let own = self.ike.iter().map(|socket| socket.get_ref().bound());
        own.chain(self.nat_t.iter().map(IkeSocket::bound)).collect()
    }

    /// The next arrival. May be dropped while it waits; nothing is lost.
    pub async fn next(&mut self) -> Arrived {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next arrival that was read already, if there is one: what came in one batch is dealt with in one go.
    pub fn next_read(&mut self) -> Option<Arrived> {
        self.read.iter_mut().find_map(VecDeque::pop_front)
    }

    /// What became of messages that could not be delivered, by the peer's address and port. ICMP says so: a hint, no fact.
    pub fn undelivered(&self) -> Vec<(SocketAddr, io::Error)> {
        let sockets = self.ike.iter().map(AsyncFd::get_ref);
        sockets
            .flat_map(|socket| std::iter::from_fn(|| socket.undelivered()).take(HINTS_AT_ONCE))
            .collect()
    }

    /// Sends a datagram from a local address and port (of the RFCs).
    pub fn send(&self, local: SocketAddr, remote: SocketAddr, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        let own = self.ike.iter().map(AsyncFd::get_ref);
        let none = || {
            io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("no socket listens on {local}"),
            )
        };
        if local.port() != PORT_IKE && local.port() != PORT_NAT_T {
            // TCP keeps its own NAT mappings (RFC 9329 6.6).
            return match kind {
                Kind::Ike => self.streams.send(Ends { local, remote }, bytes),
                Kind::Keepalive => Ok(()),
            };
        }
        if local.port() == PORT_IKE {
            let socket = fitting(own, local.ip()).ok_or_else(none)?;
            return match kind {
                Kind::Ike => socket.send(local.ip(), remote, bytes),
                Kind::Keepalive => socket.send_keepalive(local.ip(), remote),
            };
        }
        let socket = fitting(self.nat_t.iter(), local.ip()).ok_or_else(none)?;
        match kind {
            Kind::Ike => socket.send_marked(local.ip(), remote, bytes),
            Kind::Keepalive => socket.send_keepalive(local.ip(), remote),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Arrived> {
        // Each source in turn is asked first, so that a flood on one does not silence another.
        let count = self.ike.len() + 2;
        let turn = (self.turn + 1) % count;
        self.turn = turn;
        for index in (0..count).map(|step| (turn + step) % count) {
            let polled = match index.checked_sub(self.ike.len()) {
                None => self.poll_socket(index, cx),
                Some(0) => self.poll_punts(cx),
                Some(_) => self.streams.poll_arrival(cx).map(Arrived::from),
            };
            if let Poll::Ready(arrived) = polled {
                return Poll::Ready(arrived);
            }
        }
        Poll::Pending
    }

    fn poll_punts(&mut self, cx: &mut Context<'_>) -> Poll<Arrived> {
        loop {
            let Ok(mut guard) = ready!(self.punts.poll_read_ready(cx)) else {
                return Poll::Pending;
            };
            match guard.get_inner().pop() {
                Some(Punted::Ike { local, remote, bytes }) => {
                    let local = SocketAddr::new(local.ip(), PORT_NAT_T);
                    return Poll::Ready(Arrived::Ike { local, remote, bytes });
                }
                Some(Punted::Wanted { tunnel }) => {
                    return Poll::Ready(Arrived::Wanted { tunnel: tunnel.0 });
                }
                Some(Punted::Refused(refused)) => {
                    let refused = match refused {
                        xvpn_dataplane::Refused::Gso { remote } => Refused::Gso { remote },
                        xvpn_dataplane::Refused::Tun { tunnel, udp } => Refused::Tun {
                            tunnel: tunnel.0,
                            udp,
                        },
                    };
                    return Poll::Ready(Arrived::Refused(refused));
                }
                Some(Punted::UnknownSpi { spi, remote }) => {
                    return Poll::Ready(Arrived::UnknownSpi { spi: spi.0, remote });
                }
                None => guard.clear_ready(),
            }
        }
    }

    fn poll_socket(&mut self, index: usize, cx: &mut Context<'_>) -> Poll<Arrived> {
        let (Some(socket), Some(read)) = (self.ike.get(index), self.read.get_mut(index)) else {
            return Poll::Pending;
        };
        loop {
            if let Some(arrived) = read.pop_front() {
                return Poll::Ready(arrived);
            }
            let Ok(mut guard) = ready!(socket.poll_read_ready(cx)) else {
                return Poll::Pending;
            };
            let inbox = &mut self.inbox;
            let received = guard.try_io(|socket| {
                inbox.receive(socket.get_ref(), |meta, bytes| {
                    read.push_back(Arrived::Ike {
                        local: SocketAddr::new(meta.local.ip(), PORT_IKE),
                        remote: meta.remote,
                        bytes: bytes.to_vec(),
                    });
                })
            });
            match received {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    // Usually one that ICMP left on the socket, and reading took it off. Should it stay, others go first.
                    tracing::debug!(%error, "receiving on the IKE port");
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Err(_would_block) => {}
            }
        }
    }
}

impl From<Arrival> for Arrived {
    fn from(arrival: Arrival) -> Self {
        match arrival {
            Arrival::Ike { ends, message } => Self::Ike {
                local: ends.local,
                remote: ends.remote,
                bytes: message,
            },
            Arrival::Connected(ends) => Self::Connected(ends),
        }
    }
}

/// Has the runtime watch a descriptor.
#[allow(
    deprecated,
    reason = "its successor is unsafe, for types that close or change their descriptor; ours keep one for life"
)]
fn watched<T: AsRawFd>(source: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::new(source)
}

/// The local address of packets to a peer, by the kernel's routes as they are now.
pub fn local_address_for(peer: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match peer {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a UDP socket sends nothing; it only makes the kernel look up the route.
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(SocketAddr::new(peer, PORT_IKE))?;
    Ok(socket.local_addr()?.ip())
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is the standard library's"
)]
/// What an operator can do about an address that cannot be bound.
fn explain_bind(address: SocketAddr, error: &io::Error) -> io::Error {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another IKE daemon uses it (strongSwan, libreswan, another xvpn?): `ss -lunp sport = :{}` names it; stop it, or \
             set `gateway.port` and `gateway.nat_port`, or other addresses in `gateway.listen`",
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => {
            "this host does not have the address: correct `gateway.listen`".to_owned()
        }
        io::ErrorKind::PermissionDenied => "run the daemon as root or with CAP_NET_BIND_SERVICE".to_owned(),
        _ => "correct `gateway.listen`".to_owned(),
    };
    io::Error::new(
        error.kind(),
        format!("cannot listen on UDP {address}: {error}; {remedy}"),
    )
}

/// The socket bound to this address, or else one bound to any address of its family.
fn fitting<'a>(sockets: impl Iterator<Item = &'a IkeSocket> + Clone, local: IpAddr) -> Option<&'a IkeSocket> {
    let exact = sockets.clone().find(|socket| socket.bound().ip() == local);
    let any = |socket: &&IkeSocket| {
        socket.bound().ip().is_unspecified() && socket.bound().is_ipv4() == local.is_ipv4()
    };
    exact.or_else(|| sockets.clone().find(any))
}
