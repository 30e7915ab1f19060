//! What carries the messages of a path: UDP, or one TCP connection for IKE and ESP together (RFC 9329).
//!
//! A [`Path`] through TCP is told from one through UDP by its local port, for UDP lives on two ports only. The end that
//! opens the connection gives it a port of its own, so that no two IKE SAs ever share a connection (RFC 9329 6.1); the end
//! that was connected to writes [`PORT_TCP`], whatever port it listens on. The remote end is the peer's as TCP has it.

use std::net::SocketAddr;

use super::{PORT_IKE, PORT_NAT_T, Path};

/// Stands for the port on which we wait for TCP connections, in the local end of a path. No connection has this port itself.
pub const PORT_TCP: u16 = 0;

/// What carries a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP, or IP protocol 50 for ESP.
    Udp,
    /// A TCP connection (RFC 9329).
    Tcp,
}

impl Path {
    /// What carries it.
    pub fn transport(&self) -> Transport {
        match self.local.port() {
            PORT_IKE | PORT_NAT_T => Transport::Udp,
            _ => Transport::Tcp,
        }
    }

    /// It is a TCP connection.
    pub fn is_tcp(&self) -> bool {
        self.transport() == Transport::Tcp
    }

    /// It is a TCP connection that the peer has opened. Only the peer can open it again (RFC 9329 6.1).
    pub fn is_tcp_of_peer(&self) -> bool {
        self.local.port() == PORT_TCP
    }

    /// Our end as NAT detection knows it (RFC 9329 6.5: with the ports of TCP). Should we listen on another port than that
    /// of RFC 9329 2, the peer finds a NAT that is not there, and no harm is done: over TCP nothing depends on it.
    pub(crate) fn detected_local(&self) -> SocketAddr {
        match self.local.port() {
            PORT_TCP => SocketAddr::new(self.local.ip(), PORT_NAT_T),
            _ => self.local,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_port(port: u16) -> Path {
        Path {
            local: ([192, 0, 2, 1], port).into(),
            remote: ([192, 0, 2, 2], 4500).into(),
        }
    }

    #[test]
    fn tells_tcp_from_udp_by_the_local_port() {
        assert!(!from_port(500).is_tcp() && !from_port(4500).is_tcp());
        assert!(from_port(50_000).is_tcp() && !from_port(50_000).is_tcp_of_peer());
        assert!(from_port(PORT_TCP).is_tcp() && from_port(PORT_TCP).is_tcp_of_peer());
    }

    #[test]
    fn nat_detection_covers_the_port_that_the_peer_connected_to() {
        assert_eq!(
            from_port(PORT_TCP).detected_local(),
            ([192, 0, 2, 1], 4500).into()
        );
        assert_eq!(
            from_port(50_000).detected_local(),
            ([192, 0, 2, 1], 50_000).into()
        );
    }
}
